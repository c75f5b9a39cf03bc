//! Takes the values of columns in, without writing them out as text where their form allows it.

use super::IndexBuilder;
use super::distinct::Distinct;
use crate::format::bundle::{PADDING, Symbol, TERMS_AT_ONCE, Term, hash_at};
use crate::record::{Column, Data, FixedForm, Tag, Tags, Texts, for_each_element, write_decimal};

/// Numbers below this are remembered, so that each is taken in once a block.
const SMALL_NUMBERS: u64 = 1 << 17;

/// Values of hex digits after which it is looked whether all pairs of digits are there.
const VALUES_AT_ONCE: usize = 128;

/// Numbers that the block has.
#[derive(Debug)]
pub(super) struct Seen(Box<[u64]>);

impl Default for Seen {
    fn default() -> Self {
        Seen(vec![0; (SMALL_NUMBERS / 64) as usize].into())
    }
}

impl Seen {
    /// Is this the first time that the number comes?
    #[inline]
    fn first(&mut self, n: u64) -> bool {
        if n >= SMALL_NUMBERS {
            return true;
        }
        let (word, bit) = (&mut self.0[(n / 64) as usize], 1u64 << (n % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
    pub fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// Terms that will be taken in together.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// One after the other.
    bytes: Vec<u8>,
    /// Where each ends, and whether it is a whole.
    ends: Vec<(usize, bool)>,
}

impl Waiting {
    /// Adds a term of ASCII that is folded.
    #[inline]
    fn push(&mut self, bytes: &[u8], whole: bool, block: &mut Distinct) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push((self.bytes.len(), whole));
        if self.ends.len() == TERMS_AT_ONCE {
            self.give(block);
        }
    }

    /// Gives all to the block.
    fn give(&mut self, block: &mut Distinct) {
        self.bytes.extend_from_slice(&[0; PADDING]);
        let mut terms = [Term::default(); TERMS_AT_ONCE];
        let mut start = 0;
        for (term, &(end, whole)) in terms.iter_mut().zip(&self.ends) {
            let bytes = self.bytes.get(start..end).unwrap_or_default();
            *term = Term { bytes, hash: hash_at(&self.bytes, start, bytes.len()), start, whole };
            start = end;
        }
        block.add_all(terms.get(..self.ends.len()).unwrap_or_default());
        self.bytes.clear();
        self.ends.clear();
    }
}

impl IndexBuilder {
    /// Adds the values of a column: of a dictionary its entries, of a constant the one, else all. Of an array, its
    /// JSON and each of its elements.
    pub fn add_column(&mut self, column: &Column) {
        match &column.data {
            Data::Constant { len: 0, .. } => {}
            Data::Constant { text, .. } => self.add_value(column.tag(0), text),
            Data::Dictionary { entries, .. } => self.add_data(entries, &column.tags),
            data => self.add_data(data, &column.tags),
        }
    }

    /// Adds strings: of a dictionary its entries, of a constant the one, else all.
    pub fn add_strings(&mut self, data: &Data) {
        match data {
            Data::Constant { len: 0, .. } => {}
            Data::Constant { text, .. } => self.add_value(Tag::String, text),
            Data::Dictionary { entries, .. } => self.add_data(entries, &Tags::One(Tag::String)),
            data => self.add_data(data, &Tags::One(Tag::String)),
        }
    }

    /// Adds texts, one after the other.
    pub fn add_texts(&mut self, texts: &Texts) {
        let block = &mut self.block;
        self.tokenizer.terms_of_texts(&texts.bytes, &texts.ends, |terms| block.add_all(terms));
    }

    fn add_data(&mut self, data: &Data, tags: &Tags) {
        match data {
            Data::Integer(values) => values.iter().for_each(|&n| self.add_integer(n)),
            Data::Decimal { values, places } => values.iter().for_each(|&n| self.add_decimal(n, *places)),
            Data::Fixed { form: FixedForm::Ipv4, bytes } => {
                bytes.as_chunks().0.iter().for_each(|address| self.add_ipv4(address));
            }
            Data::Fixed { form: FixedForm::Uuid, bytes } => {
                bytes.as_chunks().0.iter().for_each(|uuid| self.add_uuid(uuid));
            }
            Data::Fixed { form: FixedForm::Hex { prefix, width }, bytes }
                if prefix.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') =>
            {
                self.add_hex(prefix, usize::from(*width), bytes);
            }
            Data::Plain(texts) if matches!(tags, Tags::One(tag) if *tag != Tag::Array) => self.add_texts(texts),
            data => {
                let mut buffer = Vec::new();
                for i in 0..data.len() {
                    let tag = match tags {
                        Tags::One(tag) => *tag,
                        Tags::Each(tags) => tags.get(i).copied().unwrap_or(Tag::Array),
                    };
                    self.add_value(tag, data.text(i, &mut buffer));
                }
            }
        }
        self.waiting.give(&mut self.block);
    }

    fn add_value(&mut self, tag: Tag, text: &[u8]) {
        // As whoever reads the value: what is no UTF-8 has no text.
        let text = std::str::from_utf8(text).unwrap_or_default();
        self.add_text(text);
        // Elements without escapes stand in the array's JSON as they are, between characters of no word.
        if tag == Tag::Array && text.contains('\\') {
            for_each_element(text, &mut |_, text| self.add_text(text));
        }
    }

    #[inline]
    fn add_word(&mut self, word: &[u8]) {
        self.waiting.push(word, false, &mut self.block);
    }

    fn add_integer(&mut self, n: i64) {
        if !self.seen.first(n.unsigned_abs()) {
            return;
        }
        let mut digits = [0; 20];
        let start = write_digits(n.unsigned_abs(), &mut digits);
        self.add_word(&digits[start..]);
    }

    fn add_decimal(&mut self, n: i64, places: u8) {
        let Some(unit) = 10u64.checked_pow(u32::from(places)).filter(|_| places > 0) else {
            self.waiting.give(&mut self.block);
            let mut text = Vec::new();
            write_decimal(n, places, &mut text);
            return self.add_value(Tag::Number, &text);
        };
        let (whole, part) = (n.unsigned_abs() / unit, n.unsigned_abs() % unit);
        if self.seen.first(whole) {
            let mut digits = [0; 20];
            let start = write_digits(whole, &mut digits);
            self.add_word(&digits[start..]);
        }
        let mut digits = [b'0'; 20];
        write_digits(part, &mut digits);
        self.add_word(&digits[20 - usize::from(places).min(20)..]);
    }

    fn add_ipv4(&mut self, address: &[u8; 4]) {
        let (mut text, mut end) = ([b'.'; 16], 0);
        for byte in address {
            self.add_integer(i64::from(*byte));
            let mut digits = [0; 20];
            let start = write_digits(u64::from(*byte), &mut digits);
            text[end..end + 20 - start].copy_from_slice(&digits[start..]);
            end += 20 - start + 1;
        }
        self.waiting.push(&text[..end - 1], true, &mut self.block);
    }

    fn add_uuid(&mut self, uuid: &[u8; 16]) {
        let mut hex = [0; 12];
        write_hex(&uuid[..4], &mut hex);
        self.add_word(&hex[..8]);
        for quad in uuid[4..10].as_chunks().0 {
            self.block.add_quad(u16::from_be_bytes(*quad));
        }
        write_hex(&uuid[10..], &mut hex);
        self.add_word(&hex);
    }

    /// Values of a prefix that is part of the digits' word.
    fn add_hex(&mut self, prefix: &[u8], width: usize, bytes: &[u8]) {
        let mut text = prefix.to_ascii_lowercase();
        text.resize(text.len() + 2 * width, 0);
        if width == 0 || text.is_empty() {
            return self.add_word(&text);
        }
        // All pairs of digits are there soon; then those of one value are of all.
        let first = prefix.last().map_or(Symbol::EDGE, |b| Symbol::of(b.to_ascii_lowercase()));
        for values in bytes.chunks(width * VALUES_AT_ONCE) {
            for value in values.chunks_exact(width) {
                write_hex(value, &mut text[prefix.len()..]);
                self.add_word(&text);
            }
            if !self.block.digraphs_known {
                self.waiting.give(&mut self.block);
                self.block.digraphs_known = self.block.digraphs.has_all_digits_after(first);
                if self.block.digraphs_known {
                    // None of these values may have been of the filter so far.
                    self.block.digraphs.insert(&text);
                }
            }
        }
        self.waiting.give(&mut self.block);
        self.block.digraphs_known = false;
    }
}

/// Writes a number so that it ends before byte 20; where it begins.
fn write_digits(mut n: u64, digits: &mut [u8; 20]) -> usize {
    let mut at = 20;
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return at;
        }
    }
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (two, b) in out.chunks_exact_mut(2).zip(bytes) {
        two.copy_from_slice(&[HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
    }
}
