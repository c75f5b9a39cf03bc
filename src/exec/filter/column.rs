//! Tests of all values of a column, in the form that they are kept in.

use super::bits::Bits;
use super::texts::plain;
use super::{FieldKind, Scratch, ValueTest};
use crate::query::ast::IpRange;
use crate::record::text::fold;
use crate::record::{Column, Data, Field, FixedForm, Presence, Tag, Tags};
use rustc_hash::FxHashSet;
use std::cmp::Ordering;

/// The rows of a field, of a block of so many, that pass a test.
pub(crate) fn matching_rows(field: &Field, rows: u32, test: &ValueTest, kind: FieldKind) -> Bits {
    rows_at(&field.presence, rows, matching_places(&field.column, test, kind))
}

/// The rows, of a block of so many, whose values stand at these places.
pub(crate) fn rows_at(presence: &Presence, rows: u32, places: Bits) -> Bits {
    match presence {
        Presence::All => places,
        Presence::Rows(present) if places.count() == present.len() => {
            Bits::of_rows(rows as usize, present.iter().copied())
        }
        Presence::Rows(present) => {
            Bits::of_rows(rows as usize, places.iter().filter_map(|place| present.get(place).copied()))
        }
    }
}

/// The places of a column whose values pass a test.
pub(crate) fn matching_places(column: &Column, test: &ValueTest, kind: FieldKind) -> Bits {
    Values { tags: &column.tags, data: &column.data }.matching(test, kind)
}

/// The values of a column, or the entries of its dictionary.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    tags: &'a Tags,
    data: &'a Data,
}

impl<'a> Values<'a> {
    fn len(self) -> usize {
        self.data.len()
    }

    /// The type of a value.
    pub(super) fn tag(self, i: usize) -> Tag {
        match (self.tags, self.data) {
            (Tags::One(tag), _) => *tag,
            (Tags::Each(tags), Data::Dictionary { codes, .. }) => tags[codes.at(i) as usize],
            (Tags::Each(tags), _) => tags[i],
        }
    }

    /// Is one of them of this type?
    pub(super) fn has_tag(self, tag: Tag) -> bool {
        match self.tags {
            Tags::One(one) => *one == tag,
            Tags::Each(each) => each.contains(&tag),
        }
    }

    fn matching(self, test: &ValueTest, kind: FieldKind) -> Bits {
        let len = self.len();
        let all = |holds: bool| if holds { Bits::all(len) } else { Bits::none(len) };
        match self.data {
            Data::Constant { text, .. } if matches!(self.tags, Tags::One(_)) => {
                let text = std::str::from_utf8(text).unwrap_or_default();
                all(len > 0 && test.matches(self.tag(0), text, kind, &mut Scratch::default()))
            }
            Data::Dictionary { entries, codes } => {
                let passing = Values { tags: self.tags, data: entries }.matching(test, kind);
                match passing.count() {
                    count if count == entries.len() => all(true),
                    _ => Bits::of_codes(codes, &passing.rows().collect::<Vec<_>>()),
                }
            }
            Data::Integer(values) => self.integers(values, 0, test, kind),
            Data::Decimal { values, places } => self.integers(values, *places, test, kind),
            Data::Fixed { form: FixedForm::Ipv4, bytes } if !self.has_tag(Tag::Null) => match test {
                ValueTest::IpRange(IpRange::V4(first, last)) => {
                    let (addresses, _) = bytes.as_chunks::<4>();
                    Bits::of_values(addresses, |a| (*first..=*last).contains(&u32::from_be_bytes(a)))
                }
                _ => self.fixed(&FixedForm::Ipv4, bytes, test, kind),
            },
            Data::Fixed { form, bytes } => self.fixed(form, bytes, test, kind),
            Data::Plain(texts) => plain(texts, self, test, kind),
            Data::Constant { .. } => self.each(test, kind),
        }
    }

    /// The slow way, that is always right.
    pub(super) fn each(self, test: &ValueTest, kind: FieldKind) -> Bits {
        let (mut buffer, mut scratch) = (Vec::new(), Scratch::default());
        Bits::from_fn(self.len(), |i| {
            let text = std::str::from_utf8(self.data.text(i, &mut buffer)).unwrap_or_default();
            test.matches(self.tag(i), text, kind, &mut scratch)
        })
    }

    /// Values that are `n / 10^places`, all places written.
    fn integers(self, values: &[i64], places: u8, test: &ValueTest, kind: FieldKind) -> Bits {
        // Nulls and arrays can't have such a text.
        match test {
            ValueTest::Exists => Bits::all(values.len()),
            ValueTest::Compare(compare) if compare.all_numbers() => match compare.plain_range(places, kind) {
                // One comparison in place of two.
                Some((first, last)) => {
                    let width = last.wrapping_sub(first) as u64;
                    Bits::of_values(values, |value| (value.wrapping_sub(first) as u64) <= width)
                }
                None => Bits::none(values.len()),
            },
            ValueTest::OneOf(texts) if places == 0 => {
                // Only the text that `i64` prints is a value's text.
                let mut wanted: Vec<i64> =
                    texts.iter().filter_map(|t| t.parse::<i64>().ok().filter(|n| n.to_string() == **t)).collect();
                wanted.sort_unstable();
                match *wanted {
                    [] => Bits::none(values.len()),
                    [one] => Bits::of_values(values, |value| value == one),
                    _ => Bits::of_values(values, |value| wanted.binary_search(&value).is_ok()),
                }
            }
            // A text of digits, a point and a sign has no letters, and no space.
            ValueTest::Phrase(phrase)
                if !phrase.folded().bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) =>
            {
                Bits::none(values.len())
            }
            ValueTest::IpRange(_) => Bits::none(values.len()),
            _ => self.each(test, kind),
        }
    }

    /// Texts of a fixed form: compared as bytes where the whole text is asked for.
    fn fixed(self, form: &FixedForm, bytes: &[u8], test: &ValueTest, kind: FieldKind) -> Bits {
        let textual = matches!(self.tags, Tags::One(Tag::Number | Tag::String));
        let wanted: Option<FxHashSet<Vec<u8>>> = match test {
            _ if !textual => None,
            ValueTest::OneOf(texts) => Some(texts.iter().filter_map(|text| form.read(text)).collect()),
            ValueTest::Phrase(phrase) => whole_len(form).and_then(|len| match phrase.folded().len().cmp(&len) {
                Ordering::Less => None,
                // Nothing stands beside it: the boundaries hold.
                Ordering::Equal => Some(form.read(phrase.folded()).into_iter().collect()),
                Ordering::Greater => Some(FxHashSet::default()),
            }),
            ValueTest::Exists => return Bits::all(self.len()),
            _ => None,
        };
        let Some(wanted) = wanted else { return self.each(test, kind) };
        match (wanted.len(), wanted.iter().next()) {
            (0, _) | (_, None) => Bits::none(self.len()),
            (1, Some(one)) => fixed_equal(bytes, one),
            _ => {
                let values: Vec<&[u8]> = bytes.chunks_exact(form.width().max(1)).collect();
                Bits::of_values(&values, |value| wanted.contains(value))
            }
        }
    }
}

/// The values of one width that are this one, in the widest steps that its width allows.
fn fixed_equal(bytes: &[u8], one: &[u8]) -> Bits {
    fn chunks<const N: usize>(bytes: &[u8], one: &[u8]) -> Option<Bits> {
        let one: [u8; N] = one.try_into().ok()?;
        Some(Bits::of_values(bytes.as_chunks::<N>().0, |value| value == one))
    }
    let known = chunks::<4>(bytes, one).or_else(|| chunks::<8>(bytes, one)).or_else(|| chunks::<16>(bytes, one));
    known.unwrap_or_else(|| {
        let width = one.len().max(1);
        Bits::from_fn(bytes.len() / width, |i| bytes.get(i * width..(i + 1) * width) == Some(one))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::ast::{CompareOp, Operand, Regex, Test, WildcardPart};
    use crate::record::{Codes, Quantity, Texts};
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
            regex("a (b|k)", false),
            regex("[0-9]+ms$", false),
            Test::Phrase("σ".into()),
            Test::In(vec!["ab".into(), "kK".into(), "10.0.0.1".into()]),
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
            "[aAbBéΣKk1 \u{212a}\u{130}-]{0,6}".prop_map(|s| (Tag::String, s)),
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
        let codes = values.iter().map(|v| distinct.binary_search(v).unwrap_or(0) as u32);
        let codes = Codes::of(codes, distinct.len());
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
            let slow = Values { tags: &column.tags, data: &column.data }.each(&prepared, kind);
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
    fn many_rows_follow_presence() {
        let column = Column { tags: Tags::One(Tag::Number), data: Data::Integer((0..1000).map(|n| n % 3).collect()) };
        let rows: Vec<u32> = (0..1000).map(|i| i * 2 + 5).collect();
        let field = Field { presence: Presence::Rows(rows.clone().into()), column: column.into() };
        for wanted in [vec!["0".into(), "2".into()], vec!["0".into(), "1".into(), "2".into()]] {
            let test = ValueTest::new(&Test::In(wanted.clone())).expect("it compiles");
            let expect = rows.iter().enumerate().filter(|(i, _)| wanted.contains(&(i % 3).to_string().into()));
            let found = matching_rows(&field, 2100, &test, FieldKind::of("a"));
            assert_eq!(found, Bits::of_rows(2100, expect.map(|(_, row)| *row)));
        }
    }

    #[test]
    fn rows_follow_presence() {
        let column = Column { tags: Tags::One(Tag::Number), data: Data::Integer(vec![5, 6, 7]) };
        let field = Field { presence: Presence::Rows([2, 4, 9].into()), column: column.into() };
        let test = ValueTest::new(&Test::In(vec!["5".into(), "7".into()])).expect("it compiles");
        assert_eq!(matching_rows(&field, 10, &test, FieldKind::of("a")).rows().collect::<Vec<_>>(), [2, 9]);
    }
}
