//! The words of a segment that is being built, each with its blocks.
//!
//! One table serves all blocks. Most words have at most eight bytes: these are compared and sorted as one number, and
//! most of what is known of a word lies side by side, since each word of each block comes by here once, and what is in
//! no cache takes longer than all the rest.

use super::distinct::{PROBES_MAX, Words, larger};

/// Slots of the table at first: a small segment has a few hundred words.
const SLOTS_MIN: usize = 1 << 10;
/// Words that are fetched at once.
const WORDS_AT_ONCE: usize = 32;
/// Blocks that one mask tells of.
const WINDOW_BLOCKS: u32 = 64;

/// A word.
#[derive(Debug)]
struct Entry {
    /// Its first eight bytes as a number that sorts as they do; zeros behind a shorter word.
    first: u64,
    /// Which blocks of the window have it.
    mask: u64,
    /// The last window of blocks that has it.
    window: u32,
    /// One more than the number of the run before this window; 0 for none.
    earlier: u32,
    /// Where it begins in `bytes`.
    start: u32,
    /// Its bytes.
    len: u8,
}

/// The blocks of a word in an earlier window.
#[derive(Debug)]
struct Run {
    mask: u64,
    window: u32,
    /// As of an entry.
    earlier: u32,
}

/// Words with their blocks, as long as blocks come in.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// The upper half of the word's hash, and below it one more than its number; 0 where there is none.
    slots: Vec<u64>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    runs: Vec<Run>,
    blocks: u32,
    /// Blocks without words.
    empty: Vec<u32>,
    tokens: u64,
}

impl Postings {
    /// Adds the words of the next block.
    pub fn add_block(&mut self, words: &Words) {
        if words.len() == 0 {
            self.empty.push(self.blocks);
        }
        let mut group = [(&[][..], 0); WORDS_AT_ONCE];
        let mut all = words.iter();
        loop {
            let count = group.iter_mut().zip(&mut all).map(|(place, word)| *place = word).count();
            if count == 0 {
                break;
            }
            self.fetch(&group[..count]);
            group[..count].iter().for_each(|(word, hash)| self.add(word, *hash));
        }
        self.tokens += words.len() as u64;
        self.blocks += 1;
    }

    /// Number of blocks so far.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }
    /// Those that have no word.
    pub fn empty(&self) -> &[u32] {
        &self.empty
    }
    /// Words of all blocks, each counted in each block.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.bytes.capacity()
            + self.runs.capacity() * size_of::<Run>()
    }

    fn word(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start as usize..entry.start as usize + usize::from(entry.len)]
    }

    /// Fetches what is known of words, of all of them before any is looked at: so memory is waited for once.
    fn fetch(&self, words: &[(&[u8], u64)]) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let mut slots = [0; WORDS_AT_ONCE];
        slots.iter_mut().zip(words).for_each(|(slot, (_, hash))| *slot = self.slots[(hash >> 32) as usize & mask]);
        let entries = slots.iter().filter_map(|slot| self.entries.get((*slot as u32 as usize).checked_sub(1)?));
        std::hint::black_box(entries.fold(0, |any, entry| any | entry.first));
    }

    #[inline]
    fn add(&mut self, word: &[u8], hash: u64) {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let (tag, first) = (hash >> 32, first_eight(word));
        let mask = self.slots.len() - 1;
        let mut at = tag as usize & mask;
        let mut free = None;
        for _ in 0..PROBES_MAX {
            let slot = self.slots[at];
            if slot == 0 {
                free = Some(at);
                break;
            }
            if slot >> 32 == tag {
                let number = (slot as u32 - 1) as usize;
                let entry = &self.entries[number];
                let same = entry.first == first
                    && usize::from(entry.len) == word.len()
                    && (word.len() <= 8 || self.word(entry) == word);
                if same {
                    return self.mark(number);
                }
            }
            at = (at + 1) & mask;
        }
        // Where too many meet in one place, a word may get here again: its entries are joined in the end.
        let (window, bit) = (self.blocks / WINDOW_BLOCKS, self.blocks % WINDOW_BLOCKS);
        let (start, len) = (self.bytes.len() as u32, word.len() as u8);
        self.bytes.extend_from_slice(word);
        self.entries.push(Entry { first, mask: 1 << bit, window, earlier: 0, start, len });
        if let Some(free) = free {
            self.slots[free] = tag << 32 | self.entries.len() as u64;
        }
    }

    /// The current block has this word.
    #[inline]
    fn mark(&mut self, number: usize) {
        let entry = &mut self.entries[number];
        let (window, bit) = (self.blocks / WINDOW_BLOCKS, self.blocks % WINDOW_BLOCKS);
        if entry.window != window {
            self.runs.push(Run { mask: entry.mask, window: entry.window, earlier: entry.earlier });
            entry.earlier = self.runs.len() as u32;
            (entry.window, entry.mask) = (window, 0);
        }
        entry.mask |= 1 << bit;
    }

    fn grow(&mut self) {
        self.slots = larger(&self.slots, (self.slots.len() * 2).max(SLOTS_MIN));
    }

    /// Calls `each` with every word, ascending, and its blocks, ascending.
    pub fn for_each<'p, E>(&'p self, mut each: impl FnMut(&'p [u8], &[u32]) -> Result<(), E>) -> Result<(), E> {
        let mut order: Vec<(u64, u32)> = self.entries.iter().map(|entry| entry.first).zip(0..).collect();
        let entry = |number: u32| &self.entries[number as usize];
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.word(entry(a.1)).cmp(self.word(entry(b.1)))));
        let mut blocks = Vec::new();
        let mut order = order.as_slice();
        while let [(_, number), ..] = *order {
            let word = self.word(entry(number));
            let same = order.iter().take_while(|(_, other)| self.word(entry(*other)) == word).count();
            blocks.clear();
            order[..same].iter().for_each(|(_, number)| self.blocks_of(entry(*number), &mut blocks));
            blocks.sort_unstable();
            blocks.dedup();
            each(word, &blocks)?;
            order = &order[same..];
        }
        Ok(())
    }

    fn blocks_of(&self, entry: &Entry, blocks: &mut Vec<u32>) {
        let (mut mask, mut window, mut earlier) = (entry.mask, entry.window, entry.earlier);
        loop {
            while mask != 0 {
                blocks.push(window * WINDOW_BLOCKS + mask.trailing_zeros());
                mask &= mask - 1;
            }
            let Some(run) = (earlier as usize).checked_sub(1).map(|run| &self.runs[run]) else { return };
            (mask, window, earlier) = (run.mask, run.window, run.earlier);
        }
    }
}

/// The first eight bytes of a word as a number that sorts as they do.
#[inline]
fn first_eight(word: &[u8]) -> u64 {
    match word.first_chunk::<8>() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => word.iter().fold(0, |n, &b| n << 8 | u64::from(b)) << (8 * (8 - word.len()) as u32 % 64),
    }
}

#[cfg(test)]
mod tests {
    use super::super::distinct::Distinct;
    use super::*;
    use crate::format::bundle::{Term, term_hash};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// What comes out of words put in block by block, under hashes of so many bits.
    fn check(blocks: &[BTreeSet<String>], hash_bits: u32) {
        let mut postings = Postings::default();
        let mut expect: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for (number, words) in (0..).zip(blocks) {
            let mut distinct = Distinct::default();
            for word in words {
                let hash = term_hash(word.as_bytes()) >> (64 - hash_bits) << (64 - hash_bits);
                distinct.add(Term { bytes: word.as_bytes(), hash: hash.max(1), start: 0, whole: false });
                expect.entry(word.as_bytes()).or_default().push(number);
            }
            postings.add_block(&distinct.words);
        }
        let mut found = Vec::new();
        let all: Result<(), ()> = postings.for_each(|word, blocks| {
            found.push((word.to_vec(), blocks.to_vec()));
            Ok(())
        });
        assert_eq!(all, Ok(()));
        assert_eq!(found, expect.into_iter().map(|(word, blocks)| (word.to_vec(), blocks)).collect::<Vec<_>>());
        assert_eq!(postings.tokens(), blocks.iter().map(|words| words.len() as u64).sum::<u64>());
        assert_eq!(postings.blocks() as usize, blocks.len());
    }

    proptest! {
        #[test]
        fn words_come_back_with_their_blocks(
            blocks in proptest::collection::vec(
                proptest::collection::btree_set(prop_oneof!["[aé]{1,3}", "[ab]{7,10}", "commonpart[a-c]{1,2}"], 0..12),
                0..150,
            ),
        ) {
            check(&blocks, 64);
        }
    }

    #[test]
    fn words_that_meet_in_one_place_stay_apart() {
        let name =
            |n: usize| format!("w{}", "abcdefghij".chars().cycle().skip(n % 10).take(1 + n / 10).collect::<String>());
        let blocks: Vec<BTreeSet<String>> = (0..70).map(|b| (b % 3..300).map(name).collect()).collect();
        check(&blocks, 64);
        check(&blocks[..9], 2);
        check(&blocks, 1);
    }

    #[test]
    fn words_sort_as_their_bytes() {
        for (less, more) in
            [("a", "b"), ("a", "aa"), ("abcdefgh", "abcdefghi"), ("abcdefgh", "b"), ("", "a"), ("a", "é")]
        {
            assert!((first_eight(less.as_bytes()), less) < (first_eight(more.as_bytes()), more), "{less} {more}");
        }
    }
}
