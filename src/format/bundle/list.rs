//! The flat term list: the dictionary of a bundle of few blocks, sorted and front-coded, each word with its blocks.
//!
//! The blocks are bits of one byte, so that a word in every block costs no more than any other.

use super::terms::WORD_BYTES_MAX;
use crate::format::{DecodeError, Reader, put_u32};

/// A list serves at most so many blocks: one bit each, and the eighth block makes a segment large enough for tantivy.
pub const LIST_BLOCKS_MAX: u32 = 7;

/// A word whose number is a multiple of this is written whole, so that a look-up finds it without those before.
const GROUP: usize = 16;
/// Fewest bytes a word takes: what it shares, the length of the rest, one byte, blocks.
const ENTRY_BYTES_MIN: usize = 4;

/// A list of words with their blocks.
#[derive(Clone, Debug, Default)]
pub struct TermList {
    count: usize,
    /// Where each group begins in `entries`.
    groups: Vec<u32>,
    entries: Vec<u8>,
}

impl TermList {
    /// Makes a list of words, sorted and distinct, each of 1 to [`WORD_BYTES_MAX`] bytes, with the bits of their blocks.
    pub fn build<'a>(words: impl Iterator<Item = (&'a [u8], u8)>) -> TermList {
        let mut list = TermList::default();
        let mut last: &[u8] = &[];
        for (word, blocks) in words {
            debug_assert!(last < word && word.len() <= WORD_BYTES_MAX && blocks != 0);
            let shared = if list.count % GROUP == 0 {
                list.groups.push(list.entries.len() as u32);
                0
            } else {
                word.iter().zip(last).take_while(|(a, b)| a == b).count()
            };
            list.entries.push(shared as u8);
            list.entries.push((word.len() - shared) as u8);
            list.entries.extend_from_slice(&word[shared..]);
            list.entries.push(blocks);
            list.count += 1;
            last = word;
        }
        list
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.count
    }
    /// No words?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.entries.len() + self.groups.len() * 4
    }

    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.count as u32);
        self.groups.iter().for_each(|&g| put_u32(out, g));
        out.extend_from_slice(&self.entries);
    }

    /// Decodes what [`TermList::encode`] wrote, of so many blocks, and checks all of it.
    pub fn decode(bytes: &[u8], blocks: u32) -> Result<TermList, DecodeError> {
        let mut r = Reader::new(bytes, "index term list");
        if blocks > LIST_BLOCKS_MAX {
            return Err(r.error(format!("at most {LIST_BLOCKS_MAX} blocks"), blocks));
        }
        let count = r.u32()? as usize;
        if count > r.remaining() / ENTRY_BYTES_MIN {
            return Err(r.error("as many words as there is room for", count));
        }
        let groups = (0..count.div_ceil(GROUP)).map(|_| r.u32()).collect::<Result<Vec<_>, _>>()?;
        let base = r.position();
        let (mut word, mut last) = (Vec::new(), Vec::new());
        for i in 0..count {
            if i % GROUP == 0 {
                if groups[i / GROUP] as usize != r.position() - base {
                    return Err(r.error(format!("a group at {}", r.position() - base), groups[i / GROUP]));
                }
                // So that the first word of a group can share nothing.
                word.clear();
            }
            let mask = entry(&mut r, &mut word)?;
            if word <= last || word.len() > WORD_BYTES_MAX || std::str::from_utf8(&word).is_err() {
                return Err(r.error("words in order", String::from_utf8_lossy(&word)));
            }
            if mask == 0 || mask >> blocks != 0 {
                return Err(r.error(format!("some of {blocks} blocks"), mask));
            }
            last.clone_from(&word);
        }
        r.end()?;
        Ok(TermList { count, groups, entries: bytes.get(base..).unwrap_or_default().to_vec() })
    }

    /// The blocks of a word; 0 where the list has no such word.
    pub fn get(&self, word: &[u8]) -> Result<u8, DecodeError> {
        // The last group whose first word is not greater.
        let (mut low, mut high) = (0, self.groups.len());
        let mut buffer = Vec::new();
        while low < high {
            let middle = (low + high) / 2;
            buffer.clear();
            entry(&mut self.at(middle), &mut buffer)?;
            if buffer.as_slice() <= word { low = middle + 1 } else { high = middle }
        }
        let Some(group) = low.checked_sub(1) else { return Ok(0) };
        let mut r = self.at(group);
        buffer.clear();
        for _ in 0..GROUP.min(self.count - group * GROUP) {
            let mask = entry(&mut r, &mut buffer)?;
            if buffer.as_slice() == word {
                return Ok(mask);
            }
        }
        Ok(0)
    }

    /// Calls `each` with every word, ascending, and its blocks.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], u8)) -> Result<(), DecodeError> {
        let mut r = Reader::new(&self.entries, "index term list");
        let mut word = Vec::new();
        while r.remaining() > 0 {
            let mask = entry(&mut r, &mut word)?;
            each(&word, mask);
        }
        Ok(())
    }

    fn at(&self, group: usize) -> Reader<'_> {
        let from = self.groups.get(group).map_or(self.entries.len(), |&g| g as usize);
        Reader::new(self.entries.get(from..).unwrap_or_default(), "index term list")
    }
}

/// Reads an entry over the word before it; gives its blocks.
fn entry(r: &mut Reader<'_>, word: &mut Vec<u8>) -> Result<u8, DecodeError> {
    let shared = usize::from(r.u8()?);
    if shared > word.len() {
        return Err(r.error(format!("at most {} bytes shared", word.len()), shared));
    }
    let rest = usize::from(r.u8()?);
    word.truncate(shared);
    word.extend_from_slice(r.take(rest)?);
    r.u8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_word() {
        for n in [0usize, 1, 15, 16, 17, 1000] {
            let mut words: Vec<Vec<u8>> = (0..n).map(|i| format!("w{:x}", i * 7919 % 10_007).into_bytes()).collect();
            words.sort();
            let mask = |i: usize| (i % 7 + 1) as u8;
            let list = TermList::build(words.iter().enumerate().map(|(i, w)| (w.as_slice(), mask(i))));
            let mut bytes = Vec::new();
            list.encode(&mut bytes);
            let list = TermList::decode(&bytes, 3).unwrap();
            for (i, w) in words.iter().enumerate() {
                assert_eq!(list.get(w), Ok(mask(i)));
                assert_eq!(list.get(&[w.as_slice(), b"!"].concat()), Ok(0));
            }
            assert_eq!((list.get(b""), list.get(b"zzz"), list.len()), (Ok(0), Ok(0), n));
            let mut seen = Vec::new();
            list.for_each(|w, _| seen.push(w.to_vec())).unwrap();
            assert_eq!(seen, words);
            assert!(n == 0 || TermList::decode(&bytes, 1).is_err() || n == 1);
            assert!(TermList::decode(&bytes[..bytes.len() - 1], 3).is_err());
        }
    }
}
