//! The distinct terms of one block, by class.

use crate::format::bundle::{Class, Digraphs, Quads, Term, WORD_BYTES_MAX, class};

/// Slots of the table at first: a block of 16 K records has some 50 K terms.
const SLOTS_MIN: usize = 1 << 14;
/// A table that grew beyond this is given back after the block.
const SLOTS_KEPT_MAX: usize = 1 << 19;
/// Slots looked at for one term. Hashes are not secret, so that someone could make many terms meet in one place;
/// then terms are taken again, which costs room and no correctness, but no time without bound.
pub(super) const PROBES_MAX: usize = 64;

/// Set in a slot where the term went to the filter.
const FILTERED: u64 = 1 << 31;

/// The distinct terms of a block.
#[derive(Debug)]
pub(super) struct Distinct {
    /// Of each term in a slot the upper half of its hash, and below that one more than its place in `words`, or one more
    /// than that of its hash in `filtered`, with [`FILTERED`]; 0 where there is none.
    slots: Vec<u64>,
    used: usize,
    /// Words of the dictionary: a byte with the length, then the word.
    pub words: Words,
    /// Hashes of what goes to the filter.
    pub filtered: Vec<u64>,
    /// Are these distinct for sure?
    pub filtered_distinct: bool,
    /// Words of four hex digits.
    pub quads: Quads,
    /// Digraphs of the words in the filter.
    pub digraphs: Digraphs,
    /// Are those of the words that come now known to be there?
    pub digraphs_known: bool,
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct {
            slots: vec![0; SLOTS_MIN],
            used: 0,
            words: Words::default(),
            filtered: Vec::new(),
            filtered_distinct: true,
            quads: Quads::default(),
            digraphs: Digraphs::default(),
            digraphs_known: false,
        }
    }
}

impl Distinct {
    /// Takes some terms in. The table is larger than what is near, and most terms of a large block are new to it: so their
    /// places are all fetched first, for which memory is waited for once.
    pub fn add_all(&mut self, terms: &[Term<'_>]) {
        let mask = self.slots.len() - 1;
        let fetched = terms.iter().fold(0, |any, term| any | self.slots[(term.hash >> 32) as usize & mask]);
        std::hint::black_box(fetched);
        terms.iter().for_each(|term| self.add(*term));
    }

    /// Takes a term in.
    #[inline]
    pub fn add(&mut self, term: Term<'_>) {
        // To put one in again costs less than to look whether it is there.
        if term.bytes.len() == 4
            && !term.whole
            && let Class::Quad(quad) = class(term.bytes)
        {
            return self.quads.insert(quad);
        }
        let mask = self.slots.len() - 1;
        let tag = term.hash >> 32;
        let mut at = tag as usize & mask;
        for _ in 0..PROBES_MAX {
            match self.slots[at] {
                0 => return self.take(term, Some(at)),
                slot if slot >> 32 == tag && self.is_same(term, slot) => return,
                _ => at = (at + 1) & mask,
            }
        }
        self.take(term, None);
    }

    /// Is the term the one of this slot? A hash alone says so only where no more than the hash is kept.
    #[inline]
    fn is_same(&self, term: Term<'_>, slot: u64) -> bool {
        let place = (slot as u32 & (FILTERED as u32 - 1)) as usize - 1;
        match slot & FILTERED {
            0 => !term.whole && self.words.at(place) == term.bytes,
            _ => self.filtered[place] == term.hash && (term.whole || class(term.bytes) == Class::Identifier),
        }
    }

    /// Keeps a term that was not there.
    fn take(&mut self, term: Term<'_>, slot: Option<usize>) {
        let class = if term.whole { Class::Identifier } else { class(term.bytes) };
        let place = match class {
            Class::Word => u64::from(self.words.push(term.bytes, term.hash)) + 1,
            Class::Quad(quad) => return self.quads.insert(quad),
            Class::Identifier => {
                self.filtered.push(term.hash);
                if !term.whole && !self.digraphs_known {
                    self.digraphs.insert(term.bytes);
                }
                self.filtered.len() as u64 | FILTERED
            }
        };
        let Some(slot) = slot else {
            self.filtered_distinct = false;
            return;
        };
        self.slots[slot] = term.hash >> 32 << 32 | place;
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        self.slots = larger(&self.slots, self.slots.len() * 2);
    }

    /// Takes a word of four hex digits in.
    #[inline]
    pub fn add_quad(&mut self, quad: u16) {
        self.quads.insert(quad);
    }

    /// Moves all words to the filter.
    pub fn filter_words(&mut self) {
        for (word, hash) in self.words.iter() {
            self.filtered.push(hash);
            self.digraphs.insert(word);
        }
        self.words.clear();
        self.filtered_distinct = false;
    }

    /// Empties the set, and keeps its memory unless it is much.
    pub fn clear(&mut self) {
        if self.slots.len() > SLOTS_KEPT_MAX {
            *self = Distinct::default();
            return;
        }
        self.slots.fill(0);
        self.used = 0;
        self.words.clear();
        self.filtered.clear();
        self.filtered_distinct = true;
        self.quads.clear();
        self.digraphs = Digraphs::default();
        self.digraphs_known = false;
    }
}

/// The slots of a table with this power of two of slots: each has the upper half of its term's hash above, and is 0 where
/// there is none.
pub(super) fn larger(slots: &[u64], size: usize) -> Vec<u64> {
    let mut all = vec![0; size];
    for &slot in slots.iter().filter(|slot| **slot != 0) {
        let mut at = (slot >> 32) as usize & (size - 1);
        while all[at] != 0 {
            at = (at + 1) & (size - 1);
        }
        all[at] = slot;
    }
    all
}

/// Words one after the other, each after a byte with its length, and their hashes.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    bytes: Vec<u8>,
    hashes: Vec<u64>,
}

impl Words {
    /// Appends a word; where it is now.
    fn push(&mut self, word: &[u8], hash: u64) -> u32 {
        debug_assert!(word.len() <= WORD_BYTES_MAX);
        let place = self.bytes.len() as u32;
        self.bytes.push(word.len() as u8);
        self.bytes.extend_from_slice(word);
        self.hashes.push(hash);
        place
    }
    #[inline]
    fn at(&self, place: usize) -> &[u8] {
        let len = usize::from(self.bytes[place]);
        &self.bytes[place + 1..place + 1 + len]
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }
    /// All words with their hashes, as they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut place = 0;
        self.hashes.iter().map(move |&hash| {
            let word = self.at(place);
            place += 1 + word.len();
            (word, hash)
        })
    }
    fn clear(&mut self) {
        self.bytes.clear();
        self.hashes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bundle::term_hash;

    fn term(bytes: &[u8], hash: u64) -> Term<'_> {
        Term { bytes, hash, start: 0, whole: false }
    }

    #[test]
    fn words_of_one_hash_stay_apart() {
        let mut d = Distinct::default();
        for i in 0..1000 {
            for _ in 0..2 {
                d.add(term(format!("word{}", char::from(b'a' + i as u8 % 26)).as_bytes(), 7));
            }
        }
        for bytes in [&b"12345678"[..], b"beef", b"1234", b"beef", b"abcdef12"] {
            d.add(term(bytes, 7));
        }
        assert_eq!((d.words.len(), d.quads.len(), d.filtered.as_slice()), (26, 2, &[7][..]));
    }

    #[test]
    fn grows_and_bounds_what_meets_in_one_place() {
        let mut d = Distinct::default();
        for round in 0..2 {
            for i in 0..100_000u64 {
                d.add(term(format!("{i:06}").as_bytes(), term_hash(&i.to_le_bytes())));
            }
            assert_eq!((d.filtered.len(), d.filtered_distinct), (100_000, true), "{round}");
        }
        d.clear();
        for i in 1..1000u64 {
            d.add(term(format!("{i:06}").as_bytes(), 7 << 32 | i));
        }
        assert_eq!((d.filtered.len(), d.filtered_distinct), (999, false));
    }
}
