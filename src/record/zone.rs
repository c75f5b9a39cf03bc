//! Zone maps: what is known of all values of a field in a block, without reading them.

use super::{Column, Data, FixedForm, Number, Quantity, Tag, ValueCounts, for_each_element, is_empty_value};

/// A zone map counts each value where there are at most so many; a block's dictionary of 256 entries takes one byte
/// a code, and up to here the counts cost less than they save.
pub const ZONE_COUNTS_MAX: usize = 256;
/// Bytes kept of the least and the greatest text.
pub const ZONE_BOUND_BYTES_MAX: usize = 64;

/// What is known of the values of one field in one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZoneMap {
    /// Records that have the field.
    pub values: u32,
    /// Among them, values that count as empty: null, `""`, `[]`, `{}`.
    pub empty: u32,
    /// The least text, cut to [`ZONE_BOUND_BYTES_MAX`] bytes: every text is at least this.
    pub min: Box<[u8]>,
    /// The greatest text, and whether it was cut: then texts may be greater, but begin with it.
    pub max: (Box<[u8]>, bool),
    /// Least and greatest of the values (and array elements) that parse as a plain number, rounded outward.
    pub plain: Option<(f64, f64)>,
    /// The same for numbers with a unit, in base units.
    pub with_unit: Option<(f64, f64)>,
    /// Is one of the values an array? Then its elements count, too.
    pub has_array: bool,
    /// Distinct values (type and text), where known.
    pub distinct: Option<u32>,
    /// Each value with its number of records, where there are at most [`ZONE_COUNTS_MAX`]; by type and text.
    pub counts: Option<ValueCounts>,
}

impl ZoneMap {
    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.min.len() + self.max.0.len() + self.counts.as_ref().map_or(0, ValueCounts::memory)
    }

    /// What is known of a column.
    pub fn of(column: &Column) -> Self {
        let mut zone = ZoneMap::default();
        let mut buffer = Vec::new();
        let text_of = |bytes: &[u8]| -> String { String::from_utf8_lossy(bytes).into_owned() };
        match &column.data {
            Data::Constant { len, text } => {
                zone.add(column.tag(0), &text_of(text), *len);
                zone.distinct = Some(1);
                zone.counts = Some([(column.tag(0), text, *len)].into_iter().collect());
            }
            Data::Dictionary { entries, codes } => {
                let counts = codes.counts(entries.len());
                let tag = |entry: usize| match &column.tags {
                    super::Tags::One(tag) => *tag,
                    super::Tags::Each(tags) => tags[entry],
                };
                let mut listed = Vec::new();
                for (entry, &count) in counts.iter().enumerate() {
                    let text = entries.text(entry, &mut buffer);
                    zone.add(tag(entry), std::str::from_utf8(text).unwrap_or_default(), count);
                    if entries.len() <= ZONE_COUNTS_MAX {
                        listed.push((tag(entry), Box::<[u8]>::from(text), count));
                    }
                }
                zone.distinct = Some(entries.len() as u32);
                if entries.len() <= ZONE_COUNTS_MAX {
                    listed.sort();
                    zone.counts = Some(listed.into_iter().collect());
                }
            }
            Data::Integer(values) if !values.is_empty() => {
                let (low, high) = values.iter().fold((i64::MAX, i64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
                zone.plain = Some((outward(low.into()).0, outward(high.into()).1));
                zone.unbounded_texts(values.len());
            }
            Data::Decimal { values, places } if !values.is_empty() => {
                let (low, high) = values.iter().fold((i64::MAX, i64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
                let number = |v: i64| Number::from_decimal(v, *places);
                zone.plain = Some((outward(number(low)).0, outward(number(high)).1));
                zone.unbounded_texts(values.len());
            }
            // None of these texts is a number, and their bytes as text are not worth making for a bound.
            Data::Fixed { form: FixedForm::Ipv4 | FixedForm::Uuid, .. } => zone.unbounded_texts(column.len()),
            Data::Fixed { form: FixedForm::Hex { prefix, width: width @ 1.. }, bytes }
                if prefix.first().is_none_or(|&b| !begins_number(b))
                    && matches!(column.tags, super::Tags::One(Tag::Number | Tag::String)) =>
            {
                for i in hex_bounds(bytes, usize::from(*width), prefix.is_empty()) {
                    let text = column.text(i, &mut buffer);
                    zone.add(column.tag(i), std::str::from_utf8(text).unwrap_or_default(), 1);
                }
                zone.values = column.len() as u32;
            }
            Data::Plain(texts)
                if matches!(column.tags, super::Tags::One(Tag::Number | Tag::String)) && !texts.is_empty() =>
            {
                zone.of_texts(texts, column.tag(0));
            }
            Data::Integer(_) | Data::Decimal { .. } | Data::Fixed { .. } | Data::Plain(_) => {
                for i in 0..column.len() {
                    let text = column.text(i, &mut buffer);
                    zone.add(column.tag(i), std::str::from_utf8(text).unwrap_or_default(), 1);
                }
            }
        }
        zone
    }

    /// What is known of strings or numbers. Most texts are neither the least nor the greatest, and no numbers, which their
    /// first bytes tell.
    fn of_texts(&mut self, texts: &super::Texts, tag: Tag) {
        let boundary = |all: &str| texts.ends.iter().all(|&end| all.is_char_boundary(end as usize));
        let is_text = std::str::from_utf8(&texts.bytes).is_ok_and(boundary);
        let (mut low, mut high) = (0, 0);
        for i in 0..texts.len() {
            let text = texts.get(i);
            let key = first_eight(text);
            if let Some(&first) = text.first()
                && low < key
                && key < high
                && is_text
            {
                self.values += 1;
                if begins_number(first) {
                    self.add_number(std::str::from_utf8(text).unwrap_or_default());
                }
                continue;
            }
            self.add(tag, std::str::from_utf8(text).unwrap_or_default(), 1);
            (low, high) = (first_eight(&self.min), first_eight(&self.max.0));
        }
    }

    /// Values of which none is empty and nothing is known of the texts' order.
    fn unbounded_texts(&mut self, values: usize) {
        self.values = values as u32;
        self.max = (Box::default(), true);
    }

    /// What is known of the values of both together; counts and the number of distinct values are given up.
    pub fn merge(&mut self, other: &ZoneMap) {
        if other.values == 0 {
            return;
        }
        if self.values == 0 {
            *self = other.clone();
        } else {
            self.values += other.values;
            self.empty += other.empty;
            if other.min < self.min {
                self.min = other.min.clone();
            }
            // A cut bound stands for all texts that begin with it, so the shorter of two that agree is the wider.
            let wider = |a: &(Box<[u8]>, bool), b: &(Box<[u8]>, bool)| a.1 && b.0.starts_with(&a.0);
            if wider(&other.max, &self.max) || (!wider(&self.max, &other.max) && other.max.0 > self.max.0) {
                self.max = other.max.clone();
            }
            let join = |a: Option<(f64, f64)>, b: Option<(f64, f64)>| match (a, b) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
            self.plain = join(self.plain, other.plain);
            self.with_unit = join(self.with_unit, other.with_unit);
            self.has_array |= other.has_array;
        }
        self.distinct = None;
        self.counts = None;
    }

    /// Takes in a value that `count` records have.
    pub fn add(&mut self, tag: Tag, text: &str, count: u32) {
        let bytes = text.as_bytes();
        let first = self.values == 0;
        self.values += count;
        if is_empty_value(tag, bytes) {
            self.empty += count;
        }
        if first || bytes < &*self.min {
            self.min = bytes[..bytes.len().min(ZONE_BOUND_BYTES_MAX)].into();
        }
        let cut = bytes.len() > ZONE_BOUND_BYTES_MAX;
        let head = &bytes[..bytes.len().min(ZONE_BOUND_BYTES_MAX)];
        if first || head > &*self.max.0 || (head == &*self.max.0 && cut) {
            self.max = (head.into(), cut);
        }
        match tag {
            Tag::Number | Tag::String => self.add_number(text),
            Tag::Array => {
                self.has_array = true;
                self.add_number(text);
                for_each_element(text, &mut |_, text| self.add_number(text));
            }
            Tag::Null | Tag::Bool | Tag::Object => {}
        }
    }

    fn add_number(&mut self, text: &str) {
        // Most texts are no numbers; Quantity::parse sees that at the first byte.
        if let Some(q) = Quantity::parse(text) {
            let range = if q.unit.is_some() { &mut self.with_unit } else { &mut self.plain };
            // Most numbers lie well within what came before.
            if let (Some((a, b)), Some((low, high))) = (*range, q.number.around())
                && a <= low
                && high <= b
            {
                return;
            }
            let (low, high) = outward(q.number);
            *range = Some(range.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
        }
    }
}

/// The first bytes of a text as a number: of two that differ, the texts are in the same order.
fn first_eight(text: &[u8]) -> u64 {
    let mut eight = [0; 8];
    let len = text.len().min(8);
    eight[..len].copy_from_slice(&text[..len]);
    u64::from_be_bytes(eight)
}

/// May a number begin with this byte?
fn begins_number(b: u8) -> bool {
    b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.')
}

/// Of values of so many bytes, which are texts of hex digits: the places of the least, of the greatest, and of all that
/// may be numbers, where the digits are all of the text.
fn hex_bounds(bytes: &[u8], width: usize, is_all: bool) -> Vec<usize> {
    // Digits, an exponent, and days.
    let in_number = |b: &u8| [b >> 4, b & 15].into_iter().all(|digit| matches!(digit, 0..=9 | 0xd | 0xe));
    let (mut found, mut least, mut greatest) = (Vec::new(), 0, 0);
    let (mut low, mut high): (&[u8], &[u8]) = (&[], &[]);
    for (i, value) in bytes.chunks_exact(width).enumerate() {
        // Digits in lower case sort as what they stand for, and most values differ in the first byte.
        if i == 0 || (value[0] <= low[0] && value < low) {
            (least, low) = (i, value);
        }
        if i == 0 || (value[0] >= high[0] && value > high) {
            (greatest, high) = (i, value);
        }
        if is_all && value.iter().all(in_number) {
            found.push(i);
        }
    }
    if !low.is_empty() {
        found.extend([least, greatest]);
    }
    found
}

/// The nearest floats at or below, and at or above.
pub(crate) fn outward(n: Number) -> (f64, f64) {
    let f = n.to_f64();
    if n.is_short() || f.is_finite() && Number::from_f64(f) == Some(n) { (f, f) } else { (f.next_down(), f.next_up()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Tags, Texts};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is known of digits kept as bytes is what is known of their texts.
        #[test]
        fn digits_as_bytes_are_as_their_texts(
            prefix in prop_oneof!["", "req_", "-", "1"], width in 1u8..40,
            values in proptest::collection::vec(proptest::collection::vec(0u8..20, 80), 0..40),
        ) {
            // Digits of which many make numbers.
            let digits = b"01234567890000dde9abcf".as_slice();
            let texts = values.iter().map(|value| {
                let of = |&n: &u8| char::from(digits[usize::from(n) % digits.len()]);
                format!("{prefix}{}", value[..usize::from(width) * 2].iter().map(of).collect::<String>())
            });
            let texts: Vec<String> = texts.collect();
            let (mut plain, mut bytes) = (Texts::default(), Vec::new());
            for text in &texts {
                plain.push(text.as_bytes());
                let digits: Vec<u32> = text[prefix.len()..].chars().filter_map(|c| c.to_digit(16)).collect();
                bytes.extend(digits.chunks(2).map(|two| (two[0] << 4 | two[1]) as u8));
            }
            let form = FixedForm::Hex { prefix: prefix.as_bytes().into(), width };
            for tag in [Tag::Number, Tag::String] {
                let of = |data: Data| ZoneMap::of(&Column { tags: Tags::One(tag), data });
                let as_bytes = Data::Fixed { form: form.clone(), bytes: bytes.clone() };
                prop_assert_eq!(of(as_bytes), of(Data::Plain(plain.clone())));
            }
        }

        #[test]
        fn texts_together_are_as_one_by_one(
            values in proptest::collection::vec(prop_oneof!["[a-cé]{0,10}", "(10|a){30,36}", "-?[0-9]{1,3}(ms)?", "\\PC{0,3}"], 0..60),
            cut in any::<bool>(),
        ) {
            let mut texts = Texts::default();
            values.iter().for_each(|value| texts.push(value.as_bytes()));
            if cut {
                // Perhaps within a character.
                texts.ends.iter_mut().step_by(2).for_each(|end| *end = end.saturating_sub(1));
                texts.ends.sort_unstable();
            }
            for tag in [Tag::Number, Tag::String] {
                let mut expect = ZoneMap::default();
                (0..texts.len()).for_each(|i| expect.add(tag, std::str::from_utf8(texts.get(i)).unwrap_or_default(), 1));
                let column = Column { tags: Tags::One(tag), data: Data::Plain(texts.clone()) };
                prop_assert_eq!(ZoneMap::of(&column), expect);
            }
        }

        #[test]
        fn numbers_within_others_change_nothing(
            texts in proptest::collection::vec("-?[0-9]{1,20}(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?(ms|s|KiB|%)?", 1..30),
        ) {
            let mut zone = ZoneMap::default();
            let (mut plain, mut with_unit) = (None, None);
            for text in &texts {
                zone.add(Tag::String, text, 1);
                let Some(q) = Quantity::parse(text) else { continue };
                let range: &mut Option<(f64, f64)> = if q.unit.is_some() { &mut with_unit } else { &mut plain };
                let f = q.number.to_f64();
                let is_exact = f.is_finite() && Number::from_f64(f) == Some(q.number);
                let (low, high) = if is_exact { (f, f) } else { (f.next_down(), f.next_up()) };
                *range = Some(range.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
            }
            prop_assert_eq!((zone.plain, zone.with_unit), (plain, with_unit));
        }
    }

    #[test]
    fn ranges() {
        let mut z = ZoneMap::default();
        for (tag, text) in [
            (Tag::String, "b"),
            (Tag::Number, "9007199254740993"),
            (Tag::Array, r#"["1.5s",["-3"]]"#),
            (Tag::Null, ""),
            (Tag::String, &"z".repeat(100)),
        ] {
            z.add(tag, text, 1);
        }
        assert_eq!((z.values, z.empty, z.has_array), (5, 1, true));
        assert_eq!(&*z.min, b"");
        assert_eq!(z.max, (vec![b'z'; 64].into(), true));
        assert_eq!(z.with_unit, Some((1.5e9, 1.5e9)));
        let (low, high) = z.plain.unwrap();
        assert_eq!(low, -3.0);
        assert!(
            high >= 9007199254740993u64 as f64
                && Number::from_f64(high).unwrap() >= Number::parse("9007199254740993").unwrap()
        );
    }
}
