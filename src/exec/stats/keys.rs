//! Keys of groups as bytes: the same bytes for the same group, whatever form its column has.

use crate::record::{Column, Data, FixedForm, Tag, Tags};
use std::borrow::Cow;

/// First byte of a time, and of a text that is a UUID; of other texts it is their length plus two.
const TIME: u8 = 0;
const UUID: u8 = 1;
const TEXT_MIN: u64 = 2;
/// Where the dashes of a UUID stand.
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];

/// The value of one key of a group. Values with the same text are in one group, whatever their types: `200` and
/// `"200"`, and what is missing with what is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyValue<'t> {
    Time(i64),
    Value(Tag, Cow<'t, str>),
}

impl<'t> KeyValue<'t> {
    /// Of a record that lacks the field.
    pub(crate) fn missing() -> Self {
        KeyValue::Value(Tag::String, Cow::Borrowed(""))
    }

    /// The type, which is not part of what tells groups apart.
    pub(crate) fn tag(&self) -> Tag {
        match self {
            KeyValue::Time(_) => Tag::String,
            KeyValue::Value(tag, _) => *tag,
        }
    }

    /// Appends bytes that differ for different groups, also where several keys follow each other.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            KeyValue::Time(time) => {
                out.push(TIME);
                out.extend_from_slice(&time.to_le_bytes());
            }
            KeyValue::Value(_, text) => encode_text(text.as_bytes(), out),
        }
    }

    /// The first key of some bytes, and the bytes behind it.
    pub(crate) fn decode(bytes: &'t [u8], tag: Tag) -> (Self, &'t [u8]) {
        match bytes.split_first() {
            None => (KeyValue::missing(), bytes),
            Some((&TIME, rest)) => {
                let (time, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
                (KeyValue::Time(i64::from_le_bytes(*time)), rest)
            }
            Some((&UUID, rest)) => {
                let (value, rest) = rest.split_at(rest.len().min(16));
                let mut text = Vec::with_capacity(36);
                FixedForm::Uuid.write(value, &mut text);
                (KeyValue::Value(tag, Cow::Owned(String::from_utf8(text).unwrap_or_default())), rest)
            }
            Some(_) => {
                let (mut len, mut at) = (0u64, 0);
                while let Some(byte) = bytes.get(at) {
                    len |= u64::from(byte & 0x7f) << (7 * at).min(63);
                    at += 1;
                    if byte & 0x80 == 0 {
                        break;
                    }
                }
                let len = usize::try_from(len.saturating_sub(TEXT_MIN)).unwrap_or(usize::MAX);
                let (text, rest) = bytes[at..].split_at(len.min(bytes.len() - at));
                (KeyValue::Value(tag, Cow::Borrowed(std::str::from_utf8(text).unwrap_or_default())), rest)
            }
        }
    }
}

/// Appends a text as a key.
#[inline]
pub(crate) fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    if let Some(value) = uuid_bytes(text) {
        return encode_uuid(&value, out);
    }
    let mut len = text.len() as u64 + TEXT_MIN;
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(text);
}

/// Appends a UUID as a key: as its text is.
#[inline]
fn encode_uuid(value: &[u8], out: &mut Vec<u8>) {
    out.push(UUID);
    out.extend_from_slice(value);
}

/// The bytes of a text that is a UUID as columns keep them: lower case, with dashes.
fn uuid_bytes(text: &[u8]) -> Option<[u8; 16]> {
    /// Where each byte's two digits stand.
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    /// The value of each digit; 255 of what is none.
    const DIGITS: [u8; 256] = {
        let (mut digits, mut i) = ([255; 256], 0);
        while i < 16 {
            digits[b"0123456789abcdef"[i] as usize] = i as u8;
            i += 1;
        }
        digits
    };
    let text: &[u8; 36] = text.try_into().ok()?;
    if UUID_DASHES.iter().any(|&at| text[at] != b'-') {
        return None;
    }
    let (mut value, mut all) = ([0; 16], 0);
    for (byte, at) in value.iter_mut().zip(AT) {
        let (high, low) = (DIGITS[usize::from(text[at])], DIGITS[usize::from(text[at + 1])]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(value)
}

/// Writes values of a column as keys.
pub(super) struct Encoder<'a> {
    column: &'a Column,
    /// UUIDs are kept as they are in keys.
    uuids: Option<&'a [u8]>,
    buffer: Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(column: &'a Column) -> Self {
        let uuids = match (&column.data, &column.tags) {
            (Data::Fixed { form: FixedForm::Uuid, bytes }, Tags::One(_)) => Some(&**bytes),
            _ => None,
        };
        Encoder { column, uuids, buffer: Vec::new() }
    }

    /// Appends the value at a place, and tells its type.
    #[inline]
    pub(super) fn value(&mut self, place: usize, out: &mut Vec<u8>) -> Tag {
        let tag = self.column.tag(place);
        if let Some(bytes) = self.uuids {
            encode_uuid(bytes.get(place * 16..place * 16 + 16).unwrap_or(&[0; 16]), out);
            return tag;
        }
        let text = self.column.text(place, &mut self.buffer);
        encode_text(text, out);
        // As a key, null is the empty text.
        if text.is_empty() { Tag::String } else { tag }
    }
}

/// Keys of groups, one list after the other, each with the types of its values.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// `width` for each.
    tags: Vec<Tag>,
    width: usize,
}

impl Tuples {
    /// Of lists of so many keys.
    pub(super) fn new(width: usize) -> Self {
        Tuples { width, ..Default::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes and the types of one.
    pub(super) fn get(&self, i: u32) -> (&[u8], &[Tag]) {
        let i = i as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        (&self.bytes[start..self.ends[i]], &self.tags[i * self.width..(i + 1) * self.width])
    }

    /// Appends a list of one key; gives its number.
    pub(super) fn push(&mut self, value: &KeyValue<'_>) -> u32 {
        value.encode(&mut self.bytes);
        self.tags.push(value.tag());
        self.end()
    }

    /// Appends a list of one key that is written as it is; gives its number.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Tag) -> u32 {
        let tag = write(&mut self.bytes);
        self.tags.push(tag);
        self.end()
    }

    /// Appends what stands in one list and then in another.
    pub(super) fn push_joined(&mut self, left: (&[u8], &[Tag]), right: (&[u8], &[Tag])) -> u32 {
        for (bytes, tags) in [left, right] {
            self.bytes.extend_from_slice(bytes);
            self.tags.extend_from_slice(tags);
        }
        self.end()
    }

    fn end(&mut self) -> u32 {
        self.ends.push(self.bytes.len());
        self.ends.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_come_back(
            values in proptest::collection::vec(
                prop_oneof![
                    any::<i64>().prop_map(KeyValue::Time),
                    prop_oneof![
                        ".{0,9}", "[0-9a-fA]{8}-[0-9a-f]{4}-4000-8000-[0-9a-f]{12}", "[0-9a-f-]{36}", "a{120,300}",
                    ].prop_map(|text| KeyValue::Value(Tag::String, text.into())),
                ],
                0..4,
            ),
        ) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| value.encode(&mut bytes));
            let mut rest = &*bytes;
            for value in &values {
                let (decoded, after) = KeyValue::decode(rest, Tag::String);
                prop_assert_eq!(&decoded, value);
                rest = after;
            }
            prop_assert!(rest.is_empty());
        }
    }
}
