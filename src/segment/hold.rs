//! What the form of a column alone says of its texts: a search for a word need not read columns of numbers.

use crate::format::chunk::{Chunk, ChunkTags, Encoding};
use crate::record::text::fold;
use crate::record::{FixedForm, Tag};

/// Longest text of an `i64`, and of one with a point and a zero before it.
const INTEGER_CHARS_MAX: usize = 20;
const DECIMAL_CHARS_MAX: usize = 22;
const IPV4_CHARS_MAX: usize = 15;
const UUID_CHARS: usize = 36;

/// May a folded text stand in the folded text of one of a chunk's values?
pub(super) fn may_hold(chunk: &Chunk, folded: &str) -> bool {
    match chunk.tags {
        // What stands in an element of an array need not stand in the array's text: strings are escaped there.
        ChunkTags::One(Tag::Number | Tag::String) => encoding_may_hold(&chunk.encoding, folded),
        ChunkTags::One(_) | ChunkTags::Each(_) => true,
    }
}

fn encoding_may_hold(encoding: &Encoding, folded: &str) -> bool {
    let made_of = |chars: &[u8], len_max: usize| folded.len() <= len_max && folded.bytes().all(|b| chars.contains(&b));
    match encoding {
        Encoding::Constant(text) => std::str::from_utf8(text).map_or(true, |text| fold(text).contains(folded)),
        Encoding::Dictionary { entries, .. } => encoding_may_hold(entries, folded),
        Encoding::Integer(_) => made_of(b"0123456789-", INTEGER_CHARS_MAX),
        Encoding::Decimal { .. } => made_of(b"0123456789-.", DECIMAL_CHARS_MAX),
        Encoding::Fixed { form: FixedForm::Ipv4, .. } => made_of(b"0123456789.", IPV4_CHARS_MAX),
        Encoding::Fixed { form: FixedForm::Uuid, .. } => made_of(b"0123456789abcdef-", UUID_CHARS),
        Encoding::Fixed { form: FixedForm::Hex { prefix, width }, .. } => {
            std::str::from_utf8(prefix).map_or(true, |prefix| hex_may_hold(&fold(prefix), usize::from(*width), folded))
        }
        Encoding::Plain(_) | Encoding::Template(_) => true,
    }
}

/// Folding goes character by character, so that the folded text is the folded prefix and then the digits.
fn hex_may_hold(prefix: &str, width: usize, folded: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let splits = folded.char_indices().map(|(at, _)| at).chain([folded.len()]);
    prefix.contains(folded)
        || splits
            .map(|at| folded.split_at(at))
            .any(|(left, digits)| digits.len() <= 2 * width && digits.bytes().all(is_hex) && prefix.ends_with(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::chunk::PageWriter;
    use crate::segment::column::ColumnBuilder;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|n| (n >> (n & 63)).to_string()),
            "-?[0-9]{1,3}\\.[0-9]{2}",
            "[0-9]{1,2}\\.[0-9]{1,2}\\.0\\.1",
            "[0-9a-f]{8}-[0-9a-f]{4}-4000-8000-[0-9a-f]{12}",
            "K_\u{212a}[0-9a-f]{8}",
            "[0-9a-f]{9}",
            "[abAB0-9 ]{0,6}",
        ]
    }

    proptest! {
        /// Whatever stands in a value may be held by its column, however it is encoded.
        #[test]
        fn nothing_is_missed(
            values in prop_oneof![
                proptest::collection::vec(value(), 1..4),
                proptest::collection::vec("K_\u{212a}[0-9a-f]{8}", 1..4),
                proptest::collection::vec("[0-9a-f]{8}-[0-9a-f]{4}-4000-8000-[0-9a-f]{12}", 1..4),
                proptest::collection::vec(any::<i64>().prop_map(|n| n.to_string()), 1..4),
                proptest::collection::vec("-?[0-9]{1,3}\\.[0-9]{2}", 1..4),
            ],
            which in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), len in 0usize..40,
            number: bool,
        ) {
            let tag = if number { Tag::Number } else { Tag::String };
            let mut builder = ColumnBuilder::default();
            // Some encodings come only with many rows.
            for _ in 0..3 {
                values.iter().for_each(|v| builder.push(tag, v));
            }
            let chunk = PageWriter::new(1).column(&builder.finish());
            let chars: Vec<char> = fold(which.get::<String>(&values)).chars().collect();
            let start = if chars.is_empty() { 0 } else { from.index(chars.len()) };
            let part: String = chars.iter().skip(start).take(len).collect();
            prop_assert!(may_hold(&chunk, &part), "{:?} in {:?}", part, chunk.encoding);
        }
    }

    #[test]
    fn forms_are_told_apart() {
        let check = |values: &dyn Fn(usize) -> String, folded: &str, expect: bool| {
            let mut builder = ColumnBuilder::default();
            (0..3000).for_each(|i| builder.push(Tag::String, &values(i)));
            let chunk = PageWriter::new(1).column(&builder.finish());
            assert_eq!(may_hold(&chunk, folded), expect, "{folded} in {}", chunk.encoding.name());
        };
        let uuid = |i: usize| format!("{i:08x}-0000-4000-8000-{i:012x}");
        check(&uuid, "needle-7f", false);
        check(&uuid, "7f-0", true);
        let hex = |i: usize| format!("Req_{i:016x}");
        check(&hex, "needle", false);
        check(&hex, "q_00a", true);
        check(&hex, "req", true);
        check(&hex, "eq_x", false);
        check(&|i| i.to_string(), "a1", false);
        check(&|i| i.to_string(), "12", true);
        check(&|i| format!("10.0.{}.{}", i / 256, i % 256), "0.1", true);
        check(&|i| format!("10.0.{}.{}", i / 256, i % 256), "-1", false);
        check(&|i| format!("text {i}"), "needle", true);
    }
}
