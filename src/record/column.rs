//! The values of one field in a block, one after the other, in the form they were encoded in.
//!
//! A column is dense: it holds a value for each record that has the field, and [`super::Presence`] tells which
//! records these are. Whoever reads one works on [`Data`] where it knows how, and else on the texts.

use super::{Codes, Tag};

/// Values of one field.
#[derive(Clone, Debug)]
pub struct Column {
    /// The types of the values.
    pub tags: Tags,
    /// The texts.
    pub data: Data,
}

/// Types of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Tags {
    /// All of one type.
    One(Tag),
    /// One for each value; for [`Data::Dictionary`] one for each entry.
    Each(Box<[Tag]>),
}

/// Texts of values.
#[derive(Clone, Debug)]
pub enum Data {
    /// All the same.
    Constant {
        /// How many.
        len: u32,
        /// The text.
        text: Box<[u8]>,
    },
    /// Few distinct ones: an entry is a type and a text, each once.
    Dictionary {
        /// The entries' texts; any variant but this one.
        entries: Box<Data>,
        /// Index of each value's entry.
        codes: Codes,
    },
    /// Integers whose text is what `i64` prints.
    Integer(Vec<i64>),
    /// Numbers with `places` digits after the point: the text is that of `value / 10^places`, all places written.
    Decimal {
        /// The digits as an integer.
        values: Vec<i64>,
        /// 1 to 18.
        places: u8,
    },
    /// Bytes of a fixed form.
    Fixed {
        /// How the bytes are written.
        form: FixedForm,
        /// `form.width()` bytes a value.
        bytes: Vec<u8>,
    },
    /// Anything.
    Plain(Texts),
}

/// A text of fixed length that is kept as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FixedForm {
    /// Dotted IPv4 without leading zeros: 4 bytes.
    Ipv4,
    /// Lower-case `8-4-4-4-12` hex digits: 16 bytes.
    Uuid,
    /// A fixed text before, then lower-case hex digits, two a byte.
    Hex {
        /// What stands before the digits, the same in each value.
        prefix: Box<[u8]>,
        /// Bytes, half the number of digits.
        width: u8,
    },
}

impl FixedForm {
    /// Bytes a value.
    pub fn width(&self) -> usize {
        match self {
            FixedForm::Ipv4 => 4,
            FixedForm::Uuid => 16,
            FixedForm::Hex { width, .. } => usize::from(*width),
        }
    }

    /// The bytes of a text; `None` where it is none of this form.
    pub fn read(&self, text: &str) -> Option<Vec<u8>> {
        let digits = match self {
            FixedForm::Ipv4 => None,
            FixedForm::Uuid => Some(text.replace('-', "")),
            FixedForm::Hex { prefix, .. } => Some(text.strip_prefix(std::str::from_utf8(prefix).ok()?)?.to_string()),
        };
        let value = match digits {
            None => text.parse::<std::net::Ipv4Addr>().ok()?.octets().to_vec(),
            Some(digits) if digits.is_ascii() && digits.len() == 2 * self.width() => {
                let byte = |i: usize| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok();
                (0..self.width()).map(byte).collect::<Option<_>>()?
            }
            Some(_) => return None,
        };
        // Whatever was taken too kindly above is written another way.
        let mut written = Vec::with_capacity(text.len());
        self.write(&value, &mut written);
        (written == text.as_bytes()).then_some(value)
    }

    /// Appends the text of a value.
    pub fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hex = |bytes: &[u8], out: &mut Vec<u8>| {
            for b in bytes {
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
        };
        match self {
            FixedForm::Ipv4 => {
                for (i, b) in value.iter().enumerate() {
                    if i > 0 {
                        out.push(b'.');
                    }
                    write_integer(i64::from(*b), out);
                }
            }
            FixedForm::Uuid => {
                for (i, part) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
                    if i > 0 {
                        out.push(b'-');
                    }
                    hex(value.get(part).unwrap_or_default(), out);
                }
            }
            FixedForm::Hex { prefix, .. } => {
                out.extend_from_slice(prefix);
                hex(value, out);
            }
        }
    }
}

/// Texts one after the other.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The bytes of all.
    pub bytes: Vec<u8>,
    /// Where each one ends; it begins where the one before ends.
    pub ends: Vec<u32>,
}

impl Texts {
    /// Appends a text.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }
    /// The text at a place.
    #[inline]
    pub fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Appends an integer in decimal.
pub fn write_integer(n: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = n.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a decimal with all its places.
pub fn write_decimal(n: i64, places: u8, out: &mut Vec<u8>) {
    let places = usize::from(places);
    if n < 0 {
        out.push(b'-');
    }
    let mut digits = Vec::with_capacity(24);
    match i64::try_from(n.unsigned_abs()) {
        Ok(n) => write_integer(n, &mut digits),
        Err(_) => digits.extend_from_slice(n.unsigned_abs().to_string().as_bytes()),
    }
    let missing = (places + 1).saturating_sub(digits.len());
    digits.splice(0..0, std::iter::repeat_n(b'0', missing));
    let (whole, part) = digits.split_at(digits.len() - places);
    out.extend_from_slice(whole);
    out.push(b'.');
    out.extend_from_slice(part);
}

impl Data {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Data::Constant { len, .. } => *len as usize,
            Data::Dictionary { codes, .. } => codes.len(),
            Data::Integer(values) | Data::Decimal { values, .. } => values.len(),
            Data::Fixed { form, bytes } => bytes.len() / form.width().max(1),
            Data::Plain(texts) => texts.len(),
        }
    }
    /// No values?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of a value, borrowed where it stands as text, else written to `buffer`.
    #[inline]
    pub fn text<'a>(&'a self, i: usize, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Data::Constant { text, .. } => text,
            Data::Plain(texts) => texts.get(i),
            Data::Dictionary { entries, codes } => entries.text(codes.at(i) as usize, buffer),
            _ => {
                buffer.clear();
                match self {
                    Data::Integer(values) => write_integer(values[i], buffer),
                    Data::Decimal { values, places } => write_decimal(values[i], *places, buffer),
                    Data::Fixed { form, bytes } => {
                        let width = form.width();
                        form.write(&bytes[i * width..(i + 1) * width], buffer);
                    }
                    Data::Constant { .. } | Data::Plain(_) | Data::Dictionary { .. } => {}
                }
                buffer
            }
        }
    }

    /// Appends the text of a value.
    #[inline]
    pub fn append_text(&self, i: usize, out: &mut Vec<u8>) {
        match self {
            Data::Constant { text, .. } => out.extend_from_slice(text),
            Data::Plain(texts) => out.extend_from_slice(texts.get(i)),
            Data::Dictionary { entries, codes } => entries.append_text(codes.at(i) as usize, out),
            Data::Integer(values) => write_integer(values[i], out),
            Data::Decimal { values, places } => write_decimal(values[i], *places, out),
            Data::Fixed { form, bytes } => {
                let width = form.width();
                form.write(&bytes[i * width..(i + 1) * width], out);
            }
        }
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match self {
            Data::Constant { text, .. } => text.len(),
            Data::Dictionary { entries, codes } => entries.memory() + codes.memory(),
            Data::Integer(values) | Data::Decimal { values, .. } => values.len() * 8,
            Data::Fixed { bytes, .. } => bytes.len(),
            Data::Plain(texts) => texts.bytes.len() + texts.ends.len() * 4,
        }
    }
}

impl Column {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }
    /// No values?
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
    /// The type of a value.
    #[inline]
    pub fn tag(&self, i: usize) -> Tag {
        match (&self.tags, &self.data) {
            (Tags::One(tag), _) => *tag,
            (Tags::Each(tags), Data::Dictionary { codes, .. }) => tags[codes.at(i) as usize],
            (Tags::Each(tags), _) => tags[i],
        }
    }
    /// The text of a value; see [`Data::text`]. It is UTF-8.
    #[inline]
    pub fn text<'a>(&'a self, i: usize, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        self.data.text(i, buffer)
    }
    /// The distinct values where the column knows them (a constant or a dictionary), as a column of their own.
    pub fn entries(&self) -> Option<Column> {
        match &self.data {
            Data::Constant { text, .. } => {
                Some(Column { tags: self.tags.clone(), data: Data::Constant { len: 1, text: text.clone() } })
            }
            Data::Dictionary { entries, .. } => Some(Column { tags: self.tags.clone(), data: (**entries).clone() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_each_form() {
        let check = |data: Data, expect: &[&str]| {
            let mut buffer = Vec::new();
            let texts: Vec<String> =
                (0..data.len()).map(|i| String::from_utf8_lossy(data.text(i, &mut buffer)).into_owned()).collect();
            assert_eq!(texts, expect);
        };
        check(
            Data::Integer(vec![0, -1, i64::MIN, i64::MAX]),
            &["0", "-1", "-9223372036854775808", "9223372036854775807"],
        );
        check(
            Data::Decimal { values: vec![0, -5, 12345, i64::MIN], places: 3 },
            &["0.000", "-0.005", "12.345", "-9223372036854775.808"],
        );
        check(Data::Fixed { form: FixedForm::Ipv4, bytes: vec![10, 0, 0, 255] }, &["10.0.0.255"]);
        check(
            Data::Fixed { form: FixedForm::Uuid, bytes: (0..16).collect() },
            &["00010203-0405-0607-0809-0a0b0c0d0e0f"],
        );
        check(
            Data::Fixed { form: FixedForm::Hex { prefix: (*b"req_").into(), width: 2 }, bytes: vec![0xab, 1, 2, 3] },
            &["req_ab01", "req_0203"],
        );
    }

    #[test]
    fn fixed_texts_are_read() {
        let uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f";
        let hex = FixedForm::Hex { prefix: (*b"req_").into(), width: 2 };
        assert_eq!(FixedForm::Uuid.read(uuid), Some((0..16).collect()));
        assert_eq!(hex.read("req_ab01"), Some(vec![0xab, 1]));
        assert_eq!(FixedForm::Ipv4.read("10.0.0.255"), Some(vec![10, 0, 0, 255]));
        for (form, text) in [
            (&FixedForm::Uuid, "000102030-405-0607-0809-0a0b0c0d0e0f"),
            (&FixedForm::Uuid, "00010203-0405-0607-0809-0A0b0c0d0e0f"),
            (&hex, "req_AB01"),
            (&hex, "req_+b01"),
            (&hex, "ab01"),
            (&hex, "req_ab0102"),
            (&FixedForm::Ipv4, "10.0.0.01"),
        ] {
            assert_eq!(form.read(text), None, "{text}");
        }
    }
}
