//! Terms: what an index holds of a text. Words, their class, wholes, and the hash.
//!
//! A text is folded, then split in words by the rules of [`crate::record`]'s texts. Each word is a term. Its
//! [`Class`], a pure function of its bytes, says where it is kept: in the dictionary, in the set of quads, or in the
//! block's filter. A *whole* is a window of words that are joined by one punctuation character each and of which no
//! part says much: four numbers of up to three digits joined by `.` (an IPv4 address), or six pairs of hex digits
//! joined by `:` or all by `-` (a MAC address). Whether some words are a whole depends on nothing outside them,
//! so that `10.0.0.1` is found also where `x.10.0.0.1:80` stands. A UUID is no whole: its first and its last part are
//! identifiers, each as selective as it would be.

use crate::record::text::{fold_char, is_word_char};

/// Version of the rules on this page.
pub const TERM_RULES_VERSION: u8 = 1;

/// Longest word that a dictionary takes, in bytes: what is longer is hardly typed, and tantivy's keys have a limit.
pub const WORD_BYTES_MAX: usize = 40;

/// Shortest word that is an identifier, by the rules of [`class`].
pub const IDENTIFIER_BYTES_MIN: usize = 6;

/// Where a word is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In the dictionary: words of a language, names, short numbers.
    Word,
    /// Four hex digits, as their number, in the block's set of quads: most of a UUID is such, so that a block may
    /// have nearly all that there are.
    Quad(u16),
    /// In the block's filter: what looks like an identifier, which hardly repeats.
    Identifier,
}

/// The class of a folded word. The rules, of which the first that fits counts:
///
/// 1. more than [`WORD_BYTES_MAX`] bytes: identifier;
/// 2. exactly four of `0-9a-f`: quad;
/// 3. fewer than 6 bytes, or no ASCII digit: word;
/// 4. at least 4 digits (so each number from 6 digits on): identifier;
/// 5. at least 8 bytes, all of `0-9a-f`: identifier;
/// 6. at least 2 digits, and at least 2 changes between digits and others: identifier;
/// 7. more than 24 bytes: identifier; else word.
pub fn class(word: &[u8]) -> Class {
    if word.len() > WORD_BYTES_MAX {
        return Class::Identifier;
    }
    if word.len() == 4
        && let Some(quad) = quad(word)
    {
        return Class::Quad(quad);
    }
    if word.len() < IDENTIFIER_BYTES_MIN {
        return Class::Word;
    }
    let mut digits = 0;
    for b in word {
        digits += usize::from(b.is_ascii_digit());
        if digits == 4 {
            return Class::Identifier;
        }
    }
    let identifier = match digits {
        0 => false,
        _ => {
            let changes = word.windows(2).filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit()).count();
            (word.len() >= 8 && word.iter().all(|&b| is_hex(b))) || (digits >= 2 && changes >= 2) || word.len() > 24
        }
    };
    if identifier { Class::Identifier } else { Class::Word }
}

/// Is the byte one of `0-9a-f`?
#[inline]
pub fn is_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

/// Four hex digits as a number.
fn quad(word: &[u8]) -> Option<u16> {
    word.iter().try_fold(0u16, |n, &b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        Some(n << 4 | u16::from(digit))
    })
}

/// Four hex digits of a number.
pub fn quad_text(quad: u16) -> [u8; 4] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [12, 8, 4, 0].map(|shift| HEX[usize::from(quad >> shift & 15)])
}

/// Zeros that must follow a text for [`hash_at`].
pub const PADDING: usize = 8;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const STEP: u64 = 0xd6e8_feb8_6659_fd93;
const LAST: u64 = 0xa076_1d64_78bd_642f;

/// High and low half of the product, xored.
#[inline]
fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The hash of a term that stands in a buffer with [`PADDING`] more bytes after it; see [`term_hash`].
#[inline]
pub fn hash_at(buffer: &[u8], start: usize, len: usize) -> u64 {
    let load = |at: usize| buffer.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (mut at, mut left) = (start, len);
    let mut hash = SEED.wrapping_mul(len as u64);
    while left > 8 {
        hash = fold_multiply(hash ^ load(at), STEP);
        at += 8;
        left -= 8;
    }
    let mask = if left == 0 { 0 } else { u64::MAX >> (64 - 8 * left) };
    fold_multiply(hash ^ (load(at) & mask), LAST).max(1)
}

/// The hash of a term, which is what filters hold: with `f(a, b)` the xor of both halves of the 128 bit product,
/// and the term cut in pieces of 8 bytes (little-endian, the last one of 1 to 8 bytes filled up with zeros),
/// `h = SEED * len (mod 2^64)`, then `h = f(h ^ piece, STEP)` for each piece but the last one, for which it is
/// `f(h ^ piece, LAST)`; 0 becomes 1.
pub fn term_hash(term: &[u8]) -> u64 {
    let mut buffer = Vec::with_capacity(term.len() + PADDING);
    buffer.extend_from_slice(term);
    buffer.extend_from_slice(&[0; PADDING]);
    hash_at(&buffer, 0, term.len())
}

/// Bytes of texts that are folded at a time.
const RUN_BYTES: usize = 16 << 10;

/// Terms that come together at most where a text is one of many: so many places of a table can be looked at at once.
pub const TERMS_AT_ONCE: usize = 32;

/// A term of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term<'a> {
    /// Its bytes, folded.
    pub bytes: &'a [u8],
    /// Its hash.
    pub hash: u64,
    /// Where it begins in the folded text.
    pub start: usize,
    /// Is it a whole, not a word?
    pub whole: bool,
}

/// Cuts texts into terms; keeps its buffers.
#[derive(Debug, Default)]
pub struct Tokenizer {
    folded: Vec<u8>,
    text: String,
}

/// Which bytes are part of a word; those of characters beyond ASCII are looked at apart.
const WORD_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        table[b] = (b as u8).is_ascii_alphanumeric() || b == b'_' as usize;
        b += 1;
    }
    table
};

impl Tokenizer {
    /// Calls `each` with each term of a text: words in order, a whole right after its last word.
    #[inline]
    pub fn terms(&mut self, text: &str, mut each: impl FnMut(Term<'_>)) {
        self.folded.clear();
        if text.is_ascii() {
            self.folded.extend_from_slice(text.as_bytes());
            self.folded.make_ascii_lowercase();
            self.scan_all_ascii(&mut each);
        } else {
            self.text.clear();
            for c in text.chars() {
                if c.is_ascii() { self.text.push(c.to_ascii_lowercase()) } else { self.text.extend(fold_char(c)) }
            }
            self.scan_any(&mut each);
        }
    }

    /// The same for a text that is folded already.
    pub fn terms_of_folded(&mut self, folded: &str, mut each: impl FnMut(Term<'_>)) {
        self.folded.clear();
        if folded.is_ascii() {
            self.folded.extend_from_slice(folded.as_bytes());
            self.scan_all_ascii(&mut each);
        } else {
            self.text.clear();
            self.text.push_str(folded);
            self.scan_any(&mut each);
        }
    }

    /// Calls `each` with the terms of texts that stand one after the other, each of which ends where `ends` says, some terms
    /// at a time. What is no UTF-8 has no terms.
    pub fn terms_of_texts(&mut self, bytes: &[u8], ends: &[u32], mut each: impl FnMut(&[Term<'_>])) {
        let (mut ends, mut start) = (ends, 0usize);
        while let Some(&first) = ends.first() {
            // As much at a time as stays in the nearest cache, and one text at least.
            let most = (start + RUN_BYTES).max(first as usize);
            let run = ends.partition_point(|&end| end as usize <= most).max(1);
            let (now, rest) = ends.split_at(run);
            let end = now.last().map_or(start, |&end| end as usize);
            let part = bytes.get(start..end).unwrap_or_default();
            let mut from = 0;
            let texts = now.iter().map(|&end| std::mem::replace(&mut from, end as usize - start)..end as usize - start);
            if part.is_ascii() {
                self.folded.clear();
                self.folded.extend_from_slice(part);
                self.folded.make_ascii_lowercase();
                self.folded.extend_from_slice(&[0; PADDING]);
                let mut group = Group::new(&mut each);
                texts.for_each(|text| scan_ascii(&self.folded, text.start, text.end, &mut |term| group.push(term)));
                group.end();
            } else {
                let texts =
                    texts.map(|text| std::str::from_utf8(part.get(text).unwrap_or_default()).unwrap_or_default());
                texts.for_each(|text| self.terms(text, |term| each(&[term])));
            }
            (ends, start) = (rest, end);
        }
    }

    /// Calls `each` with the terms of ASCII bytes in `folded`.
    #[inline]
    fn scan_all_ascii(&mut self, each: &mut impl FnMut(Term<'_>)) {
        let end = self.folded.len();
        self.folded.extend_from_slice(&[0; PADDING]);
        scan_ascii(&self.folded, 0, end, each);
    }

    /// Calls `each` with the terms of `text`.
    fn scan_any(&mut self, each: &mut impl FnMut(Term<'_>)) {
        self.folded.extend_from_slice(self.text.as_bytes());
        self.folded.extend_from_slice(&[0; PADDING]);
        let buffer = self.folded.as_slice();
        let mut windows = Windows::default();
        let mut start = None;
        for (at, c) in self.text.char_indices() {
            match (is_word_char(c), start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    windows.word(buffer, from, at, each);
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            windows.word(buffer, from, self.text.len(), each);
        }
    }
}

/// Calls `each` with the terms of ASCII bytes in part of a buffer that has [`PADDING`] more at its end.
#[inline]
fn scan_ascii<'a>(buffer: &'a [u8], from: usize, end: usize, each: &mut impl FnMut(Term<'a>)) {
    let mut windows = Windows::default();
    let mut at = from;
    while at < end {
        while at < end && !WORD_BYTES[usize::from(buffer[at])] {
            at += 1;
        }
        let start = at;
        while at < end && WORD_BYTES[usize::from(buffer[at])] {
            at += 1;
        }
        if start < at {
            windows.word(buffer, start, at, each);
        }
    }
}

/// Terms that are handed on together.
struct Group<'a, F> {
    terms: [Term<'a>; TERMS_AT_ONCE],
    len: usize,
    each: F,
}

impl<'a, F: FnMut(&[Term<'a>])> Group<'a, F> {
    fn new(each: F) -> Self {
        Group { terms: [Term::default(); TERMS_AT_ONCE], len: 0, each }
    }
    #[inline]
    fn push(&mut self, term: Term<'a>) {
        self.terms[self.len] = term;
        self.len += 1;
        if self.len == TERMS_AT_ONCE {
            self.end();
        }
    }
    fn end(&mut self) {
        (self.each)(&self.terms[..self.len]);
        self.len = 0;
    }
}

/// Finds wholes while words come in.
#[derive(Default)]
struct Windows {
    /// Where the last eight words begin.
    starts: [usize; 8],
    words: usize,
    /// Where the last word ends.
    end: usize,
    /// So many words of one to three digits, joined by `.`, came last.
    numbers: u32,
    /// So many pairs of hex digits, joined by `joiner`, came last.
    pairs: u32,
    joiner: u8,
}

impl Windows {
    #[inline]
    fn word<'a>(&mut self, buffer: &'a [u8], start: usize, end: usize, each: &mut impl FnMut(Term<'a>)) {
        let term = |start: usize, whole| Term {
            bytes: buffer.get(start..end).unwrap_or_default(),
            hash: hash_at(buffer, start, end - start),
            start,
            whole,
        };
        let word = term(start, false);
        each(word);
        let len = end - start;
        let joined = if self.words > 0 && self.end + 1 == start { buffer[self.end] } else { 0 };
        self.starts[self.words % 8] = start;
        self.words += 1;
        self.end = end;
        if len > 3 {
            (self.numbers, self.pairs) = (0, 0);
            return;
        }
        let goes_on = joined == b'.';
        self.numbers = match word.bytes.iter().all(u8::is_ascii_digit) {
            true if goes_on => self.numbers + 1,
            true => 1,
            false => 0,
        };
        self.pairs = if len != 2 || !word.bytes.iter().all(|&b| is_hex(b)) {
            0
        } else if self.pairs == 0 || !matches!(joined, b':' | b'-') {
            1
        } else if self.pairs == 1 || joined == self.joiner {
            self.pairs + 1
        } else {
            2
        };
        self.joiner = joined;
        if self.numbers >= 4 {
            each(term(self.starts[(self.words - 4) % 8], true));
        }
        if self.pairs >= 6 {
            each(term(self.starts[(self.words - 6) % 8], true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        Tokenizer::default().terms(text, |t| {
            assert_eq!(t.hash, term_hash(t.bytes));
            out.push(format!("{}{}", if t.whole { "=" } else { "" }, String::from_utf8_lossy(t.bytes)));
        });
        out
    }

    #[test]
    fn words_and_wholes() {
        for (text, expect) in [
            ("", ""),
            ("GET /api 20ms", "get api 20ms"),
            ("x.10.0.0.1:80", "x 10 0 0 1 =10.0.0.1 80"),
            ("1.2.3.4.5", "1 2 3 4 =1.2.3.4 5 =2.3.4.5"),
            ("1.2.3. 4", "1 2 3 4"),
            ("1.2.3.4567", "1 2 3 4567"),
            ("Ärger-İx", "ärger i x"),
            ("é 10.0.0.1", "é 10 0 0 1 =10.0.0.1"),
            ("00:1B:44:11:3A:B7", "00 1b 44 11 3a b7 =00:1b:44:11:3a:b7"),
            ("00:1b:44-11-3a-b7", "00 1b 44 11 3a b7"),
            ("9:00-1b-44-11-3a-b7", "9 00 1b 44 11 3a b7 =00-1b-44-11-3a-b7"),
        ] {
            assert_eq!(terms(text).join(" "), expect, "{text}");
        }
    }

    #[test]
    fn texts_side_by_side_have_the_terms_of_each() {
        let some = ["", "GET /api", "20", ".1.2.3", "4", "", "x", "y-Z", "10.0.0.1", "Ärger", "İx 5"];
        let mut texts: Vec<String> = some.map(String::from).to_vec();
        texts.extend((0..3000).map(|n| format!("{n} Word{n}.{}:80", n % 7)));
        texts.insert(500, "long ".repeat(RUN_BYTES));
        texts.insert(1500, "é".into());
        let (mut bytes, mut ends, mut expect, mut found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut tokenizer = Tokenizer::default();
        for text in &texts {
            bytes.extend_from_slice(text.as_bytes());
            ends.push(bytes.len() as u32);
            tokenizer.terms(text, |term| expect.push((term.bytes.to_vec(), term.hash, term.whole)));
        }
        tokenizer.terms_of_texts(&bytes, &ends, |terms| {
            found.extend(terms.iter().map(|term| (term.bytes.to_vec(), term.hash, term.whole)));
        });
        assert_eq!(found, expect);
        // A text that begins within a character is none.
        let mut words = Vec::new();
        tokenizer.terms_of_texts("a éb c".as_bytes(), &[3, 7], |terms| {
            words.extend(terms.iter().map(|term| term.bytes.to_vec()))
        });
        assert!(words.is_empty(), "{words:?}");
    }

    #[test]
    fn classes() {
        for (word, expect) in [
            ("timeout", Class::Word),
            ("20ms", Class::Word),
            ("12345", Class::Word),
            ("8080", Class::Quad(0x8080)),
            ("beef", Class::Quad(0xbeef)),
            ("123456", Class::Identifier),
            ("sha256", Class::Word),
            ("base64", Class::Word),
            ("v1beta2", Class::Identifier),
            ("7f3a9c", Class::Identifier),
            ("x86_64", Class::Identifier),
            ("550e8400", Class::Identifier),
            ("deadbeef", Class::Word),
            ("deadbee1", Class::Identifier),
            ("req_d6ee7a3a5f179f68", Class::Identifier),
            ("internationalization", Class::Word),
            ("user_00119", Class::Identifier),
        ] {
            assert_eq!(class(word.as_bytes()), expect, "{word}");
        }
        assert_eq!(class(&[b'a'; WORD_BYTES_MAX]), Class::Word);
        assert_eq!(class(&[b'a'; WORD_BYTES_MAX + 1]), Class::Identifier);
        assert_eq!(quad_text(0x80af), *b"80af");
    }
}
