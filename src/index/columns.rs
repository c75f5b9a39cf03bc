//! Takes the values of columns in, without writing them out as text where their form allows it.

use super::IndexBuilder;
use crate::format::bundle::{PADDING, Term, hash_at};
use crate::record::{Column, Data, FixedForm, Tag, Tags, Texts, for_each_element, write_decimal, write_integer};

/// Numbers below this are remembered, so that each is taken in once a block.
const SMALL_NUMBERS: u64 = 1 << 17;

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
        self.tokenizer.terms_of_texts(&texts.bytes, &texts.ends, |term| block.add(term));
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

    /// Adds a word of ASCII that is folded, from a buffer that ends in [`PADDING`] zeros.
    #[inline]
    fn add_padded(&mut self, padded: &[u8], start: usize, end: usize, whole: bool) {
        let bytes = padded.get(start..end).unwrap_or_default();
        self.block.add(Term { bytes, hash: hash_at(padded, start, bytes.len()), start, whole });
    }

    fn add_integer(&mut self, n: i64) {
        if !self.seen.first(n.unsigned_abs()) {
            return;
        }
        let mut digits = [0u8; 20 + PADDING];
        let start = write_digits(n.unsigned_abs(), &mut digits);
        self.add_padded(&digits, start, 20, false);
    }

    fn add_decimal(&mut self, n: i64, places: u8) {
        let Some(unit) = 10u64.checked_pow(u32::from(places)).filter(|_| places > 0) else {
            let mut text = Vec::new();
            write_decimal(n, places, &mut text);
            return self.add_value(Tag::Number, &text);
        };
        let (whole, part) = (n.unsigned_abs() / unit, n.unsigned_abs() % unit);
        if self.seen.first(whole) {
            let mut digits = [0u8; 20 + PADDING];
            let start = write_digits(whole, &mut digits);
            self.add_padded(&digits, start, 20, false);
        }
        let mut digits = [b'0'; 20 + PADDING];
        digits[20..].fill(0);
        write_digits(part, &mut digits);
        self.add_padded(&digits, 20 - usize::from(places).min(20), 20, false);
    }

    fn add_ipv4(&mut self, address: &[u8; 4]) {
        let mut text = Vec::with_capacity(16 + PADDING);
        for (i, byte) in address.iter().enumerate() {
            if i > 0 {
                text.push(b'.');
            }
            self.add_integer(i64::from(*byte));
            write_integer(i64::from(*byte), &mut text);
        }
        let end = text.len();
        text.resize(end + PADDING, 0);
        self.add_padded(&text, 0, end, true);
    }

    fn add_uuid(&mut self, uuid: &[u8; 16]) {
        let mut hex = [0u8; 12 + PADDING];
        write_hex(&uuid[..4], &mut hex);
        self.add_padded(&hex, 0, 8, false);
        for quad in uuid[4..10].as_chunks().0 {
            self.block.add_quad(u16::from_be_bytes(*quad));
        }
        write_hex(&uuid[10..], &mut hex);
        self.add_padded(&hex, 0, 12, false);
    }

    /// Values of a prefix that is part of the digits' word.
    fn add_hex(&mut self, prefix: &[u8], width: usize, bytes: &[u8]) {
        let mut text = prefix.to_ascii_lowercase();
        let end = text.len() + 2 * width;
        text.resize(end + PADDING, 0);
        if width == 0 || end == 0 {
            return self.add_padded(&text, 0, end, false);
        }
        for value in bytes.chunks_exact(width) {
            write_hex(value, &mut text[prefix.len()..]);
            self.add_padded(&text, 0, end, false);
        }
    }
}

/// Writes a number so that it ends before byte 20; where it begins.
fn write_digits(mut n: u64, digits: &mut [u8; 20 + PADDING]) -> usize {
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
