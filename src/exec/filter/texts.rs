//! Tests of texts that stand one after the other: searched as a whole where that tells, and then value by value.

use super::bits::Bits;
use super::column::Values;
use super::scan::{FoldedSearch, find_exact};
use super::{FieldKind, Scratch, ValueTest};
use crate::record::{Tag, Texts};

/// The values of a column of plain texts that pass a test.
pub(super) fn plain(texts: &Texts, values: Values<'_>, test: &ValueTest, kind: FieldKind) -> Bits {
    let has_arrays = values.has_tag(Tag::Array);
    let mut scratch = Scratch::default();
    let mut bits = Bits::none(texts.len());
    // Values that have the text that was searched for, or may have it.
    let mut seen = Bits::none(texts.len());
    let valid = |text: &[u8], test: &mut dyn FnMut(&str) -> bool| std::str::from_utf8(text).is_ok_and(test);
    match test {
        ValueTest::Phrase(phrase) => phrase.search().scan(texts, |place, text, at| {
            seen.set(place);
            let found = match at {
                Some(at) => phrase.bounded(text, at),
                None => valid(text, &mut |t| test.matches_text(t, kind, &mut scratch)),
            };
            if found {
                bits.set(place);
            }
            found
        }),
        // The literal finds values that are worth a closer look; one look a value is enough.
        ValueTest::Wildcard(wildcard) => {
            let Some(search) = wildcard.longest() else { return values.each(test, kind) };
            look_closer(search, texts, &mut seen, &mut bits, |text| {
                valid(text, &mut |t| test.matches_text(t, kind, &mut scratch))
            });
        }
        ValueTest::Regex(regex) => {
            let own = regex.of_this_thread();
            match regex.search() {
                Some(search) => look_closer(search, texts, &mut seen, &mut bits, |text| own.is_match(text)),
                // A null has no text, where here it has an empty one.
                None if has_arrays || values.has_tag(Tag::Null) => return values.each(test, kind),
                None => bits = Bits::from_fn(texts.len(), |i| own.is_match(texts.get(i))),
            }
        }
        ValueTest::OneOf(wanted) if wanted.iter().all(|text| !text.is_empty()) => match wanted.iter().next() {
            Some(only) if wanted.len() == 1 => find_exact(texts, only.as_bytes(), |place, is_whole| {
                seen.set(place);
                if is_whole {
                    bits.set(place);
                }
            }),
            _ if has_arrays => return values.each(test, kind),
            _ => {
                let len_max = wanted.iter().map(|text| text.len()).max().unwrap_or_default();
                let mut has_len = vec![false; len_max + 1];
                wanted.iter().for_each(|text| has_len[text.len()] = true);
                bits = Bits::from_fn(texts.len(), |i| {
                    let text = texts.get(i);
                    has_len.get(text.len()) == Some(&true)
                        && std::str::from_utf8(text).is_ok_and(|text| wanted.contains(text))
                });
            }
        },
        _ => return values.each(test, kind),
    }
    if has_arrays {
        // Without escapes, what stands in an element stands in the array.
        let escapes = memchr::memchr(b'\\', &texts.bytes).is_some();
        let worth_a_look = |p: &usize| (escapes || seen.get(*p)) && !bits.get(*p) && values.tag(*p) == Tag::Array;
        let places: Vec<usize> = (0..texts.len()).filter(worth_a_look).collect();
        for place in places {
            if valid(texts.get(place), &mut |t| test.matches_element(t, kind, &mut scratch)) {
                bits.set(place);
            }
        }
    }
    bits
}

/// Tests the values that a search points out.
fn look_closer(
    search: &FoldedSearch,
    texts: &Texts,
    seen: &mut Bits,
    bits: &mut Bits,
    mut passes: impl FnMut(&[u8]) -> bool,
) {
    search.scan(texts, |place, text, _| {
        // Some are pointed out twice.
        if !seen.get(place) {
            seen.set(place);
            if passes(text) {
                bits.set(place);
            }
        }
        true
    });
}
