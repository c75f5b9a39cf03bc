//! Collects the values of one column and finds the form that they take least room in.

use super::short::{begins, same};
use crate::record::{Codes, Column, Data, FixedForm, Tag, Tags, Texts};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// Rows after which it is first asked whether values repeat enough for a dictionary.
const DICTIONARY_TRIAL_ROWS: usize = 1024;
/// Integers with at most so many distinct values stay in a dictionary: their counts answer groupings without reading.
const DICTIONARY_INTEGERS_MAX: usize = 256;
/// Digits of an integer that surely fits in an i64.
const INTEGER_DIGITS_MAX: usize = 18;
const EMPTY: u32 = u32::MAX;

/// Values of one column, in order.
#[derive(Debug, Default)]
pub struct ColumnBuilder {
    /// Distinct values while there is a dictionary, else all values.
    texts: Texts,
    tags: Vec<Tag>,
    codes: Vec<u32>,
    /// An open hash table of entries, a power of two in size; empty once the dictionary is given up.
    slots: Vec<u32>,
    plain: bool,
}

impl ColumnBuilder {
    /// Number of values.
    pub fn len(&self) -> usize {
        if self.plain { self.texts.len() } else { self.codes.len() }
    }
    /// No values?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a value.
    #[inline]
    pub fn push(&mut self, tag: Tag, text: &str) {
        self.push_bytes(tag, text.as_bytes());
    }

    /// Adds a value whose text was checked to be UTF-8.
    #[inline]
    pub(super) fn push_bytes(&mut self, tag: Tag, text: &[u8]) {
        if self.plain {
            self.texts.push(text);
            self.tags.push(tag);
            return;
        }
        // Neighbours are often equal.
        if let Some(&last) = self.codes.last()
            && self.tags[last as usize] == tag
            && same(self.texts.get(last as usize), text)
        {
            self.codes.push(last);
            return;
        }
        self.push_distinct(tag, text);
    }

    fn push_distinct(&mut self, tag: Tag, text: &[u8]) {
        if self.texts.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(tag, text) & mask;
        loop {
            let entry = self.slots[at];
            if entry == EMPTY {
                let code = self.texts.len() as u32;
                self.slots[at] = code;
                self.texts.push(text);
                self.tags.push(tag);
                self.codes.push(code);
                break;
            }
            if self.tags[entry as usize] == tag && same(self.texts.get(entry as usize), text) {
                self.codes.push(entry);
                return;
            }
            at = (at + 1) & mask;
        }
        if self.codes.len() >= DICTIONARY_TRIAL_ROWS && self.texts.len() * 2 > self.codes.len() {
            self.give_up();
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        self.slots = vec![EMPTY; size];
        for entry in 0..self.texts.len() {
            let mut at = hash(self.tags[entry], self.texts.get(entry)) & (size - 1);
            while self.slots[at] != EMPTY {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = entry as u32;
        }
    }

    /// From codes to the values themselves.
    fn give_up(&mut self) {
        let mut texts = Texts::default();
        let mut tags = Vec::with_capacity(self.codes.len());
        for &code in &self.codes {
            texts.push(self.texts.get(code as usize));
            tags.push(self.tags[code as usize]);
        }
        *self = ColumnBuilder { texts, tags, codes: Vec::new(), slots: Vec::new(), plain: true };
    }

    /// The column, in the form found.
    pub fn finish(mut self) -> Column {
        if !self.plain && self.texts.len() == 1 {
            let tags = Tags::One(self.tags[0]);
            return Column {
                tags,
                data: Data::Constant { len: self.codes.len() as u32, text: self.texts.get(0).into() },
            };
        }
        if !self.plain && self.texts.len() * 2 > self.codes.len() {
            self.give_up();
        }
        let one = self.tags.first().copied().filter(|first| self.tags.iter().all(|t| t == first));
        let textual = |tag: Option<Tag>| matches!(tag, Some(Tag::Number | Tag::String));
        if !self.plain
            && self.texts.len() > DICTIONARY_INTEGERS_MAX
            && one == Some(Tag::Number)
            && all_integers(&self.texts)
        {
            self.give_up();
        }
        let tags = match one {
            Some(tag) => Tags::One(tag),
            None => Tags::Each(self.tags.into()),
        };
        let data = if textual(one) { typed(self.texts) } else { Data::Plain(self.texts) };
        if self.plain {
            Column { tags, data }
        } else {
            let codes = Codes::of(self.codes, data.len());
            Column { tags, data: Data::Dictionary { entries: Box::new(data), codes } }
        }
    }
}

fn hash(tag: Tag, text: &[u8]) -> usize {
    FxBuildHasher.hash_one((tag as u8, text)) as usize
}

fn all_integers(texts: &Texts) -> bool {
    (0..texts.len()).all(|i| canonical_integer(texts.get(i)).is_some())
}

/// The integer whose text this is, where `i64` prints the same text.
pub(super) fn canonical_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > INTEGER_DIGITS_MAX || (digits[0] == b'0' && (digits.len() > 1 || negative)) {
        return None;
    }
    let mut n = 0i64;
    for &d in digits {
        if !d.is_ascii_digit() {
            return None;
        }
        n = n * 10 + i64::from(d - b'0');
    }
    Some(if negative { -n } else { n })
}

/// The digits of a decimal and its places, where all places are written and nothing else would be lost.
pub(super) fn canonical_decimal(text: &[u8]) -> Option<(i64, u8)> {
    let point = memchr::memchr(b'.', text)?;
    let (negative, whole) = match &text[..point] {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let part = &text[point + 1..];
    let digits = whole.len() + part.len();
    if whole.is_empty() || part.is_empty() || digits > INTEGER_DIGITS_MAX || (whole[0] == b'0' && whole.len() > 1) {
        return None;
    }
    let mut n = 0i64;
    for &d in whole.iter().chain(part) {
        if !d.is_ascii_digit() {
            return None;
        }
        n = n * 10 + i64::from(d - b'0');
    }
    // "-0.0" is another text than that of 0.
    if negative && n == 0 {
        return None;
    }
    Some((if negative { -n } else { n }, part.len() as u8))
}

/// Are all of these integers, decimals of as many places, or of one fixed form?
pub(super) fn has_form<'a>(texts: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut all = Texts::default();
    texts.for_each(|text| all.push(text));
    !matches!(typed(all), Data::Plain(_))
}

/// The narrowest form that gives every text back.
fn typed(texts: Texts) -> Data {
    let all = || (0..texts.len()).map(|i| texts.get(i));
    let Some(first) = all().next() else { return Data::Plain(texts) };
    if canonical_integer(first).is_some()
        && let Some(values) = all().map(canonical_integer).collect()
    {
        return Data::Integer(values);
    }
    if let Some((_, places)) = canonical_decimal(first) {
        let values = all().map(|t| canonical_decimal(t).filter(|d| d.1 == places).map(|d| d.0)).collect();
        if let Some(values) = values {
            return Data::Decimal { values, places };
        }
    }
    for form in fixed_forms(first) {
        let mut bytes = Vec::with_capacity(texts.len() * form.width());
        if all().all(|t| read_fixed(&form, t, &mut bytes)) {
            return Data::Fixed { form, bytes };
        }
    }
    Data::Plain(texts)
}

/// The forms that a text may have.
fn fixed_forms(first: &[u8]) -> Vec<FixedForm> {
    let mut forms = Vec::new();
    if first.len() <= 15 && first.iter().filter(|&&b| b == b'.').count() == 3 {
        forms.push(FixedForm::Ipv4);
    }
    if first.len() == 36 && first[8] == b'-' {
        forms.push(FixedForm::Uuid);
    }
    let digits = first.iter().rev().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).count() & !1;
    // Short runs are words such as "face"; long ones take one byte of width.
    if (8..=510).contains(&digits) {
        let prefix = first[..first.len() - digits].into();
        forms.push(FixedForm::Hex { prefix, width: (digits / 2) as u8 });
    }
    forms
}

/// What each byte is worth as a hex digit; more than 15 where it is none.
const NIBBLES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut n = 0;
    while n < 16 {
        table[b"0123456789abcdef"[n] as usize] = n as u8;
        n += 1;
    }
    table
};

/// Appends what an even number of hex digits stand for; false where one is none.
#[inline]
fn read_hex(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let mut all = 0;
    out.extend(digits.as_chunks::<2>().0.iter().map(|&[high, low]| {
        let (high, low) = (NIBBLES[usize::from(high)], NIBBLES[usize::from(low)]);
        all |= high | low;
        high << 4 | low
    }));
    all < 16
}

/// The address whose canonical text this is.
pub(super) fn read_ipv4(mut text: &[u8]) -> Option<[u8; 4]> {
    let mut address = [0; 4];
    for (i, byte) in address.iter_mut().enumerate() {
        if i > 0 {
            text = text.strip_prefix(b".")?;
        }
        let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) || (digits > 1 && text[0] == b'0') {
            return None;
        }
        let (number, rest) = text.split_at(digits);
        *byte = u8::try_from(number.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'))).ok()?;
        text = rest;
    }
    text.is_empty().then_some(address)
}

/// Is this the text of a UUID in lower case?
pub(super) fn is_uuid(text: &[u8]) -> bool {
    let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = |(at, &b): (usize, &u8)| if hyphen(at) { b == b'-' } else { NIBBLES[usize::from(b)] < 16 };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

/// Appends the bytes of a text of this form; false where it is none.
pub(super) fn read_fixed(form: &FixedForm, text: &[u8], out: &mut Vec<u8>) -> bool {
    match form {
        FixedForm::Ipv4 => read_ipv4(text).map(|address| out.extend_from_slice(&address)).is_some(),
        FixedForm::Uuid => {
            is_uuid(text) && [0..8, 9..13, 14..18, 19..23, 24..36].into_iter().all(|part| read_hex(&text[part], out))
        }
        FixedForm::Hex { prefix, width } => {
            text.len() == prefix.len() + usize::from(*width) * 2
                && begins(text, prefix)
                && read_hex(&text[prefix.len()..], out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[(Tag, String)]) -> Column {
        let mut b = ColumnBuilder::default();
        values.iter().for_each(|(tag, text)| b.push(*tag, text));
        let column = b.finish();
        assert_eq!(column.len(), values.len());
        let mut buffer = Vec::new();
        for (i, (tag, text)) in values.iter().enumerate() {
            assert_eq!(
                (column.tag(i), String::from_utf8_lossy(column.text(i, &mut buffer))),
                (*tag, text.as_str().into())
            );
        }
        column
    }

    #[test]
    fn forms() {
        let strings = |n: usize, f: &dyn Fn(usize) -> String| {
            check(&(0..n).map(|i| (Tag::String, f(i))).collect::<Vec<_>>()).data
        };
        let numbers = |n: usize, f: &dyn Fn(usize) -> String| {
            check(&(0..n).map(|i| (Tag::Number, f(i))).collect::<Vec<_>>()).data
        };
        assert!(matches!(strings(9, &|_| "x".into()), Data::Constant { .. }));
        assert!(matches!(strings(99, &|i| format!("{}", i % 3)), Data::Dictionary { .. }));
        assert!(matches!(numbers(3000, &|i| (i as i64 - 70).to_string()), Data::Integer(_)));
        assert!(matches!(numbers(3000, &|i| format!("{i}.50")), Data::Decimal { places: 2, .. }));
        assert!(matches!(
            strings(3000, &|i| format!("10.0.{}.{}", i / 256, i % 256)),
            Data::Fixed { form: FixedForm::Ipv4, .. }
        ));
        assert!(matches!(strings(3000, &|i| format!("req_{i:016x}")), Data::Fixed { form: FixedForm::Hex { .. }, .. }));
        assert!(matches!(
            strings(3000, &|i| format!("{i:08x}-0000-4000-8000-{i:012x}")),
            Data::Fixed { form: FixedForm::Uuid, .. }
        ));
        assert!(matches!(strings(3000, &|i| format!("text {i}")), Data::Plain(_)));
        for odd in
            ["-0", "007", "1.0", "-0.0", "1e5", "99999999999999999999", "10.0.0.256", "10.0.0.01", "ABCDEF0123456789"]
        {
            check(&[(Tag::String, odd.to_string()), (Tag::Number, odd.to_string()), (Tag::String, "12345678".into())]);
            check(&[(Tag::String, "12".into()), (Tag::String, odd.to_string())]);
        }
    }

    proptest! {
        #[test]
        fn any_column_comes_back(
            values in proptest::collection::vec(
                (0u8..6, prop_oneof![".{0,12}", "-?[0-9]{1,20}(\\.[0-9]{1,3})?", "[0-9a-f]{8}", "x_[0-9a-f]{16}", "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]\\.[0-9]"]),
                1..60,
            ),
            repeat in 1usize..80,
        ) {
            let all: Vec<(Tag, String)> = values.iter().cycle().take(values.len() * repeat).map(|(t, s)| (Tag::from_u8(*t).unwrap(), s.clone())).collect();
            check(&all);
        }
    }
}
