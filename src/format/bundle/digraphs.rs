//! Digraphs: which two characters stand next to each other in the words of a block's filter.
//!
//! A filter can't be asked for part of a word. Identifiers, though, are made of few characters: where no identifier
//! of a block has `ti`, none begins with `timeo`. The set is a bitmap of 39 by 39 symbols: `a-z`, `0-9`, `_`, any byte
//! beyond ASCII, and the word's edge, which stands before its first and after its last character.

use crate::format::{DecodeError, Reader, put_u64};

/// Number of symbols; the last one is the edge.
pub const SYMBOLS: usize = 39;
const EDGE: u8 = 38;
const WORDS: usize = (SYMBOLS * SYMBOLS).div_ceil(64);
/// Bytes a block.
pub const DIGRAPHS_BYTES: usize = WORDS * 8;

const SYMBOL: [u8; 256] = {
    let mut table = [37; 256];
    let mut b = 0;
    while b < 26 {
        table[b'a' as usize + b] = b as u8;
        b += 1;
    }
    let mut b = 0;
    while b < 10 {
        table[b'0' as usize + b] = 26 + b as u8;
        b += 1;
    }
    table[b'_' as usize] = 36;
    table
};

/// Pairs of symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digraphs([u64; WORDS]);

impl Default for Digraphs {
    fn default() -> Self {
        Digraphs([0; WORDS])
    }
}

/// A symbol: what of a byte counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Symbol(u8);

impl Symbol {
    /// Before and after a word.
    pub const EDGE: Symbol = Symbol(EDGE);
    /// Of a byte of a folded word.
    #[inline]
    pub fn of(byte: u8) -> Symbol {
        Symbol(SYMBOL[usize::from(byte)])
    }
    /// Its number, below [`SYMBOLS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Digraphs {
    /// Puts the pairs of a word in.
    #[inline]
    pub fn insert(&mut self, word: &[u8]) {
        let mut last = Symbol::EDGE;
        for &b in word {
            let next = Symbol::of(b);
            self.set(last, next);
            last = next;
        }
        self.set(last, Symbol::EDGE);
    }

    #[inline]
    fn set(&mut self, a: Symbol, b: Symbol) {
        let bit = a.index() * SYMBOLS + b.index();
        // Nearly all are there soon, and a write would have to be waited for by the next look.
        if self.0[bit / 64] >> (bit % 64) & 1 == 0 {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Do all hex digits follow this symbol and each other, and does a word end in each? Then a further word of them that
    /// begins so has no pair that is not there.
    pub fn has_all_digits_after(&self, first: Symbol) -> bool {
        let digits = || b"0123456789abcdef".iter().map(|&b| Symbol::of(b));
        digits()
            .all(|b| self.follows(first, b) && self.follows(b, Symbol::EDGE) && digits().all(|a| self.follows(a, b)))
    }

    /// May the second symbol follow the first?
    #[inline]
    pub fn follows(&self, a: Symbol, b: Symbol) -> bool {
        let bit = a.index() * SYMBOLS + b.index();
        self.0[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// Can a word have this part, at its beginning unless `open_left`, at its end unless `open_right`?
    pub fn may_have(&self, part: &[u8], open_left: bool, open_right: bool) -> bool {
        let (Some(&first), Some(&last)) = (part.first(), part.last()) else { return !self.is_empty() };
        (open_left || self.follows(Symbol::EDGE, Symbol::of(first)))
            && (open_right || self.follows(Symbol::of(last), Symbol::EDGE))
            && (part.len() > 1 || (0..SYMBOLS as u8).any(|s| self.follows(Symbol(s), Symbol::of(first))))
            && part.windows(2).all(|w| self.follows(Symbol::of(w[0]), Symbol::of(w[1])))
    }

    /// Puts all pairs of the other set in.
    pub fn unite(&mut self, other: &Digraphs) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|&w| put_u64(out, w));
    }
    /// Decodes the sets of `blocks` blocks, and nothing after them.
    pub fn decode_all(bytes: &[u8], blocks: u32) -> Result<Vec<Digraphs>, DecodeError> {
        let mut r = Reader::new(bytes, "index digraphs");
        if bytes.len() as u64 != u64::from(blocks) * DIGRAPHS_BYTES as u64 {
            return Err(r.error(format!("sets of {blocks} blocks"), format!("{} bytes", bytes.len())));
        }
        let mut all = Vec::with_capacity(blocks as usize);
        for _ in 0..blocks {
            let mut set = Digraphs::default();
            for word in &mut set.0 {
                *word = r.u64()?;
            }
            all.push(set);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_words() {
        let mut d = Digraphs::default();
        d.insert(b"req_7f3a");
        d.insert("é1".as_bytes());
        for (part, left, right, expect) in [
            ("req", false, true, true),
            ("eq", false, true, false),
            ("eq", true, true, true),
            ("3a", true, false, true),
            ("3f", true, true, false),
            ("r", false, true, true),
            ("a", false, true, false),
            ("time", true, true, false),
            ("é", true, true, true),
            ("", true, true, true),
        ] {
            assert_eq!(d.may_have(part.as_bytes(), left, right), expect, "{part}");
        }
        let digits = "0123456789abcdef";
        let pairs = |first: char| digits.chars().map(move |second| format!("{first}{second}"));
        let all: Vec<String> = digits.chars().flat_map(pairs).collect();
        let mut full = Digraphs::default();
        for pair in &all {
            assert!(!full.has_all_digits_after(Symbol::EDGE), "{pair}");
            full.insert(pair.as_bytes());
        }
        assert!(full.has_all_digits_after(Symbol::EDGE) && !full.has_all_digits_after(Symbol::of(b'_')));
        let before = full.clone();
        full.insert(digits.as_bytes());
        assert_eq!(full, before);
        let mut bytes = Vec::new();
        d.encode(&mut bytes);
        assert_eq!(bytes.len(), DIGRAPHS_BYTES);
        assert_eq!(Digraphs::decode_all(&bytes, 1), Ok(vec![d]));
        assert!(Digraphs::decode_all(&bytes, 2).is_err());
    }
}
