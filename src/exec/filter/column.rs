//! Tests of all values of a column, in the form that they are kept in.

use super::{FieldKind, Scratch, ValueTest};
use crate::query::ast::IpRange;
use crate::record::text::fold;
use crate::record::{Column, Data, Field, FixedForm, Presence, Tag, Tags, Texts};
use roaring::RoaringBitmap;
use rustc_hash::FxHashSet;
use std::cmp::Ordering;

/// Places or rows that match, as bits; the fast way to a bitmap.
struct Bits(Vec<u8>);

impl Bits {
    fn new(len: usize) -> Self {
        Bits(vec![0; len.div_ceil(8)])
    }
    #[inline]
    fn set(&mut self, i: usize) {
        self.0[i / 8] |= 1 << (i % 8);
    }
    fn get(&self, i: usize) -> bool {
        self.0[i / 8] & (1 << (i % 8)) != 0
    }
    fn from_fn(len: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Bits::new(len);
        for (byte, first) in bits.0.iter_mut().zip((0..len).step_by(8)) {
            let n = (len - first).min(8);
            *byte = (0..n).fold(0, |b, i| b | u8::from(holds(first + i)) << i);
        }
        bits
    }
    fn into_bitmap(self) -> RoaringBitmap {
        RoaringBitmap::from_lsb0_bytes(0, &self.0)
    }
}

/// The rows of a field that pass a test.
pub(crate) fn matching_rows(field: &Field, test: &ValueTest, kind: FieldKind) -> RoaringBitmap {
    rows_at(&field.presence, matching_places(&field.column, test, kind))
}

/// The rows whose values stand at these places.
pub(crate) fn rows_at(presence: &Presence, places: RoaringBitmap) -> RoaringBitmap {
    match presence {
        Presence::All => places,
        Presence::Rows(rows) if places.len() == rows.len() as u64 => sorted(rows.iter().copied()),
        Presence::Rows(rows) => sorted(places.iter().filter_map(|place| rows.get(place as usize).copied())),
    }
}

/// Rows in rising order as a bitmap.
pub(crate) fn sorted(rows: impl Iterator<Item = u32>) -> RoaringBitmap {
    let mut bitmap = RoaringBitmap::new();
    for row in rows {
        // Presence is ascending; a row that is not would be put in its place all the same.
        if bitmap.try_push(row).is_err() {
            bitmap.insert(row);
        }
    }
    bitmap
}

/// The places of a column whose values pass a test.
pub(crate) fn matching_places(column: &Column, test: &ValueTest, kind: FieldKind) -> RoaringBitmap {
    let len = column.len();
    let all = |holds: bool| {
        let mut places = RoaringBitmap::new();
        if holds {
            places.insert_range(0..len as u32);
        }
        places
    };
    match &column.data {
        Data::Constant { text, .. } if matches!(column.tags, Tags::One(_)) => {
            let text = std::str::from_utf8(text).unwrap_or_default();
            all(len > 0 && test.matches(column.tag(0), text, kind, &mut Scratch::default()))
        }
        Data::Dictionary { codes, .. } => {
            let Some(entries) = column.entries() else { return each_value(column, test, kind).into_bitmap() };
            let passing = matching_places(&entries, test, kind);
            if passing.is_empty() {
                return passing;
            }
            if passing.len() == entries.len() as u64 {
                return all(true);
            }
            if passing.len() == 1 {
                let only = passing.min().unwrap_or_default();
                return Bits::from_fn(len, |i| codes[i] == only).into_bitmap();
            }
            let table: Vec<bool> = (0..entries.len() as u32).map(|entry| passing.contains(entry)).collect();
            Bits::from_fn(len, |i| table.get(codes[i] as usize).copied().unwrap_or(false)).into_bitmap()
        }
        Data::Integer(values) => integers(values, 0, column, test, kind).into_bitmap(),
        Data::Decimal { values, places } => integers(values, *places, column, test, kind).into_bitmap(),
        Data::Fixed { form: FixedForm::Ipv4, bytes } if !has_null(&column.tags) => match test {
            ValueTest::IpRange(IpRange::V4(first, last)) => Bits::from_fn(len, |i| {
                let address = bytes.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
                address.is_some_and(|a| (*first..=*last).contains(&a))
            })
            .into_bitmap(),
            _ => fixed(&FixedForm::Ipv4, bytes, column, test, kind).into_bitmap(),
        },
        Data::Fixed { form, bytes } => fixed(form, bytes, column, test, kind).into_bitmap(),
        Data::Plain(texts) => plain(texts, column, test, kind).into_bitmap(),
        Data::Constant { .. } => each_value(column, test, kind).into_bitmap(),
    }
}

fn has_null(tags: &Tags) -> bool {
    has_tag(tags, Tag::Null)
}

fn has_tag(tags: &Tags, tag: Tag) -> bool {
    match tags {
        Tags::One(one) => *one == tag,
        Tags::Each(each) => each.contains(&tag),
    }
}

/// The slow way, that is always right.
fn each_value(column: &Column, test: &ValueTest, kind: FieldKind) -> Bits {
    let (mut buffer, mut scratch) = (Vec::new(), Scratch::default());
    Bits::from_fn(column.len(), |i| {
        let text = std::str::from_utf8(column.text(i, &mut buffer)).unwrap_or_default();
        test.matches(column.tag(i), text, kind, &mut scratch)
    })
}

/// Values that are `n / 10^places`, all places written.
fn integers(values: &[i64], places: u8, column: &Column, test: &ValueTest, kind: FieldKind) -> Bits {
    // Nulls and arrays can't have such a text.
    match test {
        ValueTest::Exists => Bits::from_fn(values.len(), |_| true),
        ValueTest::Compare(compare) if compare.all_numbers() => match compare.plain_range(places, kind) {
            // One comparison in place of two.
            Some((first, last)) => {
                let width = last.wrapping_sub(first) as u64;
                Bits::from_fn(values.len(), |i| (values[i].wrapping_sub(first) as u64) <= width)
            }
            None => Bits::new(values.len()),
        },
        ValueTest::OneOf(texts) if places == 0 => {
            // Only the text that `i64` prints is a value's text.
            let mut wanted: Vec<i64> =
                texts.iter().filter_map(|t| t.parse::<i64>().ok().filter(|n| n.to_string() == **t)).collect();
            wanted.sort_unstable();
            match *wanted {
                [] => Bits::new(values.len()),
                [one] => Bits::from_fn(values.len(), |i| values[i] == one),
                _ => Bits::from_fn(values.len(), |i| wanted.binary_search(&values[i]).is_ok()),
            }
        }
        // A text of digits, a point and a sign has no letters, and no space.
        ValueTest::Phrase(phrase)
            if !phrase.folded().bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) =>
        {
            Bits::new(values.len())
        }
        ValueTest::IpRange(_) => Bits::new(values.len()),
        _ => each_value(column, test, kind),
    }
}

/// Texts of a fixed form: compared as bytes where the whole text is asked for.
fn fixed(form: &FixedForm, bytes: &[u8], column: &Column, test: &ValueTest, kind: FieldKind) -> Bits {
    let textual = matches!(column.tags, Tags::One(Tag::Number | Tag::String));
    let wanted: Option<FxHashSet<Vec<u8>>> = match test {
        _ if !textual => None,
        ValueTest::OneOf(texts) => Some(texts.iter().filter_map(|text| form.read(text)).collect()),
        ValueTest::Phrase(phrase) => whole_len(form).and_then(|len| match phrase.folded().len().cmp(&len) {
            Ordering::Less => None,
            // Nothing stands beside it: the boundaries hold.
            Ordering::Equal => Some(form.read(phrase.folded()).into_iter().collect()),
            Ordering::Greater => Some(FxHashSet::default()),
        }),
        ValueTest::Exists => return Bits::from_fn(column.len(), |_| true),
        _ => None,
    };
    let width = form.width();
    let value = |i: usize| bytes.get(i * width..(i + 1) * width).unwrap_or_default();
    match wanted {
        None => each_value(column, test, kind),
        Some(wanted) => match (wanted.len(), wanted.iter().next()) {
            (0, _) | (_, None) => Bits::new(column.len()),
            (1, Some(one)) => Bits::from_fn(column.len(), |i| value(i) == &**one),
            _ => Bits::from_fn(column.len(), |i| wanted.contains(value(i))),
        },
    }
}

/// The length of all texts of a form, where they have one and are the same when folded.
fn whole_len(form: &FixedForm) -> Option<usize> {
    match form {
        FixedForm::Ipv4 => None,
        FixedForm::Uuid => Some(36),
        FixedForm::Hex { prefix, width } => {
            let prefix = std::str::from_utf8(prefix).ok()?;
            (fold(prefix) == prefix).then(|| prefix.len() + 2 * usize::from(*width))
        }
    }
}

/// Texts one after the other.
fn plain(texts: &Texts, column: &Column, test: &ValueTest, kind: FieldKind) -> Bits {
    let mut scratch = Scratch::default();
    let mut bits = Bits::new(texts.len());
    // Values that have the text that was searched for.
    let mut seen = Bits::new(texts.len());
    let valid = |text: &[u8], test: &mut dyn FnMut(&str) -> bool| std::str::from_utf8(text).is_ok_and(test);
    match test {
        ValueTest::Phrase(phrase) if phrase.search().can_scan(texts) => {
            phrase.search().scan(texts, |place, text, at| {
                seen.set(place);
                let found = phrase.bounded(text, at);
                if found {
                    bits.set(place);
                }
                found
            });
        }
        // The literal finds values that are worth a closer look; one look a value is enough.
        ValueTest::Wildcard(_) | ValueTest::Regex(_) => {
            let search = match test {
                ValueTest::Wildcard(wildcard) => wildcard.longest(),
                ValueTest::Regex(regex) => regex.search(),
                _ => None,
            };
            let Some(search) = search.filter(|s| s.can_scan(texts)) else { return each_value(column, test, kind) };
            search.scan(texts, |place, text, _| {
                seen.set(place);
                if valid(text, &mut |t| test.matches_text(t, kind, &mut scratch)) {
                    bits.set(place);
                }
                true
            });
        }
        _ => return each_value(column, test, kind),
    }
    if has_tag(&column.tags, Tag::Array) {
        // Without escapes, what stands in an element stands in the array.
        let escapes = memchr::memchr(b'\\', &texts.bytes).is_some();
        let worth_a_look = |p: &usize| (escapes || seen.get(*p)) && !bits.get(*p) && column.tag(*p) == Tag::Array;
        let places: Vec<usize> = (0..texts.len()).filter(worth_a_look).collect();
        for place in places {
            if valid(texts.get(place), &mut |t| test.matches_element(t, kind, &mut scratch)) {
                bits.set(place);
            }
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::ast::{CompareOp, Operand, Regex, Test, WildcardPart};
    use crate::record::Quantity;
    use proptest::prelude::*;

    fn tests() -> Vec<Test> {
        let operand = |text: &str| Operand { text: text.into(), quantity: Quantity::parse(text) };
        let compare = |op, text: &str| Test::Compare(op, operand(text));
        let regex = |pattern: &str, ignore_case| Test::Regex(Regex { pattern: pattern.into(), ignore_case });
        let literal = |text: &str| WildcardPart::Literal(text.into());
        vec![
            Test::Phrase("ab".into()),
            Test::Phrase("a b".into()),
            Test::Phrase("1".into()),
            Test::Phrase("-1".into()),
            Test::Phrase("é".into()),
            Test::Phrase("k".into()),
            Test::Near { words: vec!["a".into(), "b".into()], distance: 1 },
            Test::Fuzzy { word: "ab".into(), edits: 1 },
            Test::Wildcard([literal("a"), WildcardPart::Many].into()),
            Test::Wildcard([WildcardPart::One, literal("b")].into()),
            Test::Exact("ab".into()),
            Test::Exact("1".into()),
            Test::In(vec!["1".into(), "-1".into(), "01".into(), "ab".into()]),
            Test::Exists,
            compare(CompareOp::Greater, "0"),
            compare(CompareOp::LessOrEqual, "1.50"),
            compare(CompareOp::Less, "1ms"),
            compare(CompareOp::Less, "b"),
            Test::Range { low: Some((operand("0"), true)), high: Some((operand("b"), false)) },
            Test::Range { low: Some((operand("-1"), true)), high: Some((operand("1"), false)) },
            regex("^$", false),
            regex("ab+", true),
            regex("k", true),
            regex("1|a b", false),
            Test::IpRange(IpRange::V4(0x0a00_0000, 0x0aff_ffff)),
            // Of fixed forms.
            Test::In(vec!["a0b00".into(), "10.0.0.1".into(), "010.0.0.1".into(), "A0b00".into()]),
            Test::Exact("a0a000000".into()),
            Test::Phrase("a0A000000".into()),
            Test::Phrase("a0a0000001".into()),
            Test::Exact("01010101-0101-0101-0101-010101010101".into()),
            Test::Phrase("01010101-0101-0101-0101-010101010101".into()),
            Test::Phrase("01010101-0101".into()),
        ]
    }

    fn value() -> impl Strategy<Value = (Tag, String)> {
        prop_oneof![
            Just((Tag::Null, String::new())),
            any::<bool>().prop_map(|b| (Tag::Bool, b.to_string())),
            (-3i64..3).prop_map(|n| (Tag::Number, n.to_string())),
            (-300i64..300).prop_map(|n| (Tag::Number, format!("{:.2}", n as f64 / 100.0))),
            "[aAbBéKk1 \u{212a}\u{130}-]{0,6}".prop_map(|s| (Tag::String, s)),
            "[12]{1,2}(ms|s|KB|%)".prop_map(|s| (Tag::String, s)),
            "(10|11)\\.0\\.0\\.[0-9]".prop_map(|s| (Tag::String, s)),
            proptest::collection::vec("(\"[aAb1\u{e9} ]{0,3}\"|1|-1|null|\\[\"ab\"\\]|\"a\\\\u0062\")", 0..3)
                .prop_map(|items| (Tag::Array, format!("[{}]", items.join(",")))),
        ]
    }

    /// Texts of each variant of data that can hold these values.
    fn columns(values: &[(Tag, String)]) -> Vec<Column> {
        let mut texts = Texts::default();
        values.iter().for_each(|(_, t)| texts.push(t.as_bytes()));
        let tags = Tags::Each(values.iter().map(|(t, _)| *t).collect());
        let mut distinct = values.to_vec();
        distinct.sort();
        distinct.dedup();
        let codes = values.iter().map(|v| distinct.binary_search(v).unwrap_or(0) as u32).collect();
        let mut entries = Texts::default();
        distinct.iter().for_each(|(_, t)| entries.push(t.as_bytes()));
        let entry_tags = Tags::Each(distinct.iter().map(|(t, _)| *t).collect());
        vec![
            Column { tags, data: Data::Plain(texts) },
            Column { tags: entry_tags, data: Data::Dictionary { entries: Box::new(Data::Plain(entries)), codes } },
        ]
    }

    fn check(column: Column, field: &str) {
        let kind = FieldKind::of(field);
        for test in tests() {
            let prepared = ValueTest::new(&test).expect("the tests compile");
            let slow = each_value(&column, &prepared, kind).into_bitmap();
            let fast = matching_places(&column, &prepared, kind);
            assert_eq!(fast, slow, "{test:?} of {column:?}");
        }
    }

    proptest! {
        #[test]
        fn fast_and_slow_agree(values in proptest::collection::vec(value(), 0..30)) {
            for column in columns(&values) {
                check(column, "duration");
            }
        }

        #[test]
        fn fast_and_slow_agree_on_numbers(
            values in proptest::collection::vec(prop_oneof![-200i64..200, any::<i64>()], 1..30), places in 1u8..4,
        ) {
            for field in ["a", "duration"] {
                for tag in [Tag::Number, Tag::String] {
                    let tags = || Tags::One(tag);
                    check(Column { tags: tags(), data: Data::Integer(values.clone()) }, field);
                    check(Column { tags: tags(), data: Data::Decimal { values: values.clone(), places } }, field);
                    let text = values[0].to_string().into_bytes().into();
                    check(Column { tags: tags(), data: Data::Constant { len: 3, text } }, field);
                }
            }
            let bytes: Vec<u8> = values.iter().flat_map(|n| [10 + (n & 1) as u8, 0, 0, *n as u8]).collect();
            let hex = |prefix: &[u8], width| FixedForm::Hex { prefix: prefix.into(), width };
            for form in [FixedForm::Ipv4, hex(b"a", 2), hex(b"a", 4), hex(b"A", 4)] {
                check(Column { tags: Tags::One(Tag::String), data: Data::Fixed { form, bytes: bytes.clone() } }, "a");
            }
            let values_of = |i: usize| values[i % values.len()];
            let bytes: Vec<u8> = (0..32).map(|i| values_of(i) as u8).collect();
            for bytes in [bytes, vec![1; 32]] {
                check(Column { tags: Tags::One(Tag::String), data: Data::Fixed { form: FixedForm::Uuid, bytes } }, "a");
            }
        }
    }

    #[test]
    fn rows_follow_presence() {
        let column = Column { tags: Tags::One(Tag::Number), data: Data::Integer(vec![5, 6, 7]) };
        let field = Field { presence: Presence::Rows([2, 4, 9].into()), column: column.into() };
        let test = ValueTest::new(&Test::In(vec!["5".into(), "7".into()])).expect("it compiles");
        assert_eq!(matching_rows(&field, &test, FieldKind::of("a")), RoaringBitmap::from_iter([2, 9]));
    }
}
