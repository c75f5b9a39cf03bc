//! Search for one text in many texts that stand one after the other, case ignored.
//!
//! A search of the whole column at once is some ten times as fast as one search a value. It works on bytes: ASCII
//! letters are folded on the fly, and values with one of the two characters whose folding gives ASCII letters are
//! pointed out, so that what is found is what a search of the folded texts finds.

use crate::record::Texts;
use crate::record::text::is_word_char;
use memchr::memmem;

/// Bytes that are looked through at a time for one that is none of ASCII.
const RUN_BYTES: usize = 1024;
/// Bytes folded at a time: they stay in the first-level cache.
const CHUNK_BYTES: usize = 16 << 10;

/// The only characters outside of ASCII that fold to something with an ASCII letter in it: the Kelvin sign and the
/// capital I with a dot.
const FOLD_TO_ASCII: [&str; 2] = ["\u{212a}", "\u{130}"];

/// At which ends of a match a word must end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundaries {
    pub(crate) left: bool,
    pub(crate) right: bool,
}

impl Boundaries {
    /// Do the boundaries hold of a match at `start..end` of a text?
    pub(crate) fn hold(self, text: &[u8], start: usize, end: usize) -> bool {
        !(self.left && word_char_before(text, start) || self.right && word_char_after(text, end))
    }
}

/// Does a word character end right before this place?
pub(crate) fn word_char_before(text: &[u8], at: usize) -> bool {
    match text.get(..at).and_then(<[u8]>::last) {
        None => false,
        Some(b) if b.is_ascii() => b.is_ascii_alphanumeric() || *b == b'_',
        Some(_) => {
            let from = (at.saturating_sub(4)..at).rev().find(|&i| text[i] & 0xc0 != 0x80).unwrap_or(at);
            decode(&text[from..at]).is_some_and(is_word_char)
        }
    }
}

/// Does a word character begin at this place?
pub(crate) fn word_char_after(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        None => false,
        Some(b) if b.is_ascii() => b.is_ascii_alphanumeric() || *b == b'_',
        Some(_) => {
            let to = (at + 1..text.len().min(at + 4)).find(|&i| text[i] & 0xc0 != 0x80);
            decode(&text[at..to.unwrap_or(text.len().min(at + 4))]).is_some_and(is_word_char)
        }
    }
}

fn decode(bytes: &[u8]) -> Option<char> {
    std::str::from_utf8(bytes).ok()?.chars().next()
}

/// A folded text, ready to be searched for.
#[derive(Debug)]
pub(crate) struct FoldedSearch {
    finder: memmem::Finder<'static>,
    ascii: bool,
    letters: bool,
}

impl FoldedSearch {
    pub(crate) fn new(folded: &str) -> Self {
        FoldedSearch {
            finder: memmem::Finder::new(folded.as_bytes()).into_owned(),
            ascii: folded.is_ascii(),
            letters: folded.bytes().any(|b| b.is_ascii_alphabetic()),
        }
    }

    fn len(&self) -> usize {
        self.finder.needle().len()
    }

    /// The first place in a folded text.
    pub(crate) fn find_folded(&self, folded: &[u8]) -> Option<usize> {
        self.finder.find(folded)
    }

    /// Calls `hit(place, text, at)` for the values that may have the text, in which `text` is the value at the place,
    /// not folded, and `at` where in it a match begins; where that is not known, since folding changes more of the
    /// value than ASCII letters, the value is to be looked at as a whole. A value may come more than once. Goes on with
    /// the next value where `hit` answers true, else behind the beginning of the match. No value has the empty text.
    pub(crate) fn scan<'t>(&self, texts: &'t Texts, mut hit: impl FnMut(usize, &'t [u8], Option<usize>) -> bool) {
        let bytes = &*texts.bytes;
        if self.len() == 0 {
            return;
        }
        if !self.ascii {
            // Folding makes nothing but ASCII of ASCII.
            let mut values = Walk { texts, place: 0 };
            let mut from = 0;
            while let Some(at) = non_ascii_from(bytes, from) {
                let Some((place, start, end)) = values.of(at) else { return };
                hit(place, &bytes[start..end], None);
                from = end;
            }
            return;
        }
        let mut values = Walk { texts, place: 0 };
        // Where the search goes on, in bytes of all texts.
        let mut from = 0;
        let mut accept = |at: usize, hit: &mut dyn FnMut(usize, &'t [u8], Option<usize>) -> bool| {
            let (place, start, end) = values.of(at)?;
            // A match may not reach into the next value.
            let decided = at + self.len() <= end && hit(place, &bytes[start..end], Some(at - start));
            Some(if decided { end } else { at + 1 })
        };
        let mut odd = FOLD_TO_ASCII.map(|c| (memmem::Finder::new(c), Walk { texts, place: 0 }));
        let chunk = CHUNK_BYTES.max(4 * self.len());
        let mut buffer = Vec::with_capacity(if self.letters { chunk + self.len() } else { 0 });
        while from < bytes.len() {
            let base = from;
            let end = bytes.len().min(base + chunk + self.len() - 1);
            let here = &bytes[base..end];
            // Also a text without letters: what the second of these folds to ends in a character that is in no word.
            if !is_ascii(here) {
                let here = &bytes[base..bytes.len().min(end + 2)];
                for (finder, values) in &mut odd {
                    for at in finder.find_iter(here) {
                        let Some((place, start, end)) = values.of(base + at) else { return };
                        hit(place, &bytes[start..end], None);
                    }
                }
            }
            let folded = match self.letters {
                true => {
                    buffer.clear();
                    buffer.extend(here.iter().map(u8::to_ascii_lowercase));
                    &*buffer
                }
                false => here,
            };
            // Matches that begin in the overlap are found again from the next chunk on.
            while let Some(at) = folded.get(from - base..).and_then(|rest| self.finder.find(rest)) {
                match accept(from + at, &mut hit) {
                    Some(next) => from = next,
                    None => return,
                }
            }
            from = from.max(base + chunk);
        }
    }
}

/// As [`slice::is_ascii`], in the widest steps that there are.
fn is_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, b| all | b) < 0x80
}

/// The first byte at or behind a place that is none of ASCII.
fn non_ascii_from(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for run in bytes.get(from..)?.chunks(RUN_BYTES) {
        if !is_ascii(run) {
            return run.iter().position(|b| !b.is_ascii()).map(|i| at + i);
        }
        at += run.len();
    }
    None
}

/// The values that are exactly this text, which is not empty, and all that it stands in: calls with the place, and
/// whether it is the whole.
pub(crate) fn find_exact(texts: &Texts, wanted: &[u8], mut hit: impl FnMut(usize, bool)) {
    let finder = memmem::Finder::new(wanted);
    let mut values = Walk { texts, place: 0 };
    let mut from = 0;
    while let Some(at) = texts.bytes.get(from..).and_then(|rest| finder.find(rest)) {
        let at = from + at;
        let Some((place, start, end)) = values.of(at) else { return };
        // A match may not reach into the next value.
        from = at + 1;
        if at + wanted.len() <= end {
            hit(place, at == start && at + wanted.len() == end);
            from = end;
        }
    }
}

/// Finds the value that a byte belongs to, for bytes that rise.
struct Walk<'t> {
    texts: &'t Texts,
    place: usize,
}

impl Walk<'_> {
    /// Place, first byte and end of the value at this byte. Gallops: matches are mostly near or very far.
    fn of(&mut self, at: usize) -> Option<(usize, usize, usize)> {
        let ends = &*self.texts.ends;
        let mut step = 1;
        let mut low = self.place;
        while ends.get(low + step).is_some_and(|&end| end as usize <= at) {
            low += step;
            step *= 2;
        }
        let high = ends.len().min(low + step + 1);
        let place = low + ends.get(low..high)?.partition_point(|&end| end as usize <= at);
        let end = *ends.get(place)? as usize;
        self.place = place;
        Some((place, if place == 0 { 0 } else { ends[place - 1] as usize }, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::text::{fold, fold_char};
    use proptest::prelude::*;

    /// What the search of unfolded texts relies on, for every character.
    #[test]
    fn folding_keeps_what_the_scan_needs() {
        for c in ('\u{80}'..=char::MAX).filter(|c| !FOLD_TO_ASCII.contains(&c.to_string().as_str())) {
            let folded: Vec<char> = fold_char(c).collect();
            assert!(folded.iter().all(|f| !f.is_ascii()), "{c:?}");
            assert!(folded.iter().all(|f| is_word_char(*f) == is_word_char(c)), "{c:?}");
        }
        for c in FOLD_TO_ASCII {
            assert!(c.chars().flat_map(fold_char).any(|f| f.is_ascii_alphabetic()));
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_search_of_each_finds(
            values in proptest::collection::vec("[aAbB é\u{212a}\u{130}Σσki]{0,12}", 0..40),
            needle in prop_oneof!["[ab ]{1,3}", "[aki]{1,2}", "[σé]a?", "[ ]{1,2}"],
            padding in 0usize..3,
        ) {
            let mut texts = Texts::default();
            let pad = "x".repeat(padding * (CHUNK_BYTES - 7));
            for v in &values {
                texts.push(v.as_bytes());
                texts.push(pad.as_bytes());
            }
            let search = FoldedSearch::new(&needle);
            let mut found = std::collections::BTreeSet::new();
            let contains = |text: &[u8]| fold(&String::from_utf8_lossy(text)).contains(&needle);
            search.scan(&texts, |place, text, at| {
                let is_match = at.is_some() || contains(text);
                if is_match {
                    found.insert(place);
                }
                is_match
            });
            let expect = (0..texts.len()).filter(|&i| contains(texts.get(i))).collect();
            prop_assert_eq!(found, expect);
        }

        #[test]
        fn finds_whole_values(values in proptest::collection::vec("[ab]{0,5}", 0..40), wanted in "[ab]{1,3}") {
            let mut texts = Texts::default();
            values.iter().for_each(|v| texts.push(v.as_bytes()));
            let (mut whole, mut within) = (Vec::new(), std::collections::BTreeSet::new());
            find_exact(&texts, wanted.as_bytes(), |place, is_whole| {
                within.insert(place);
                if is_whole {
                    whole.push(place);
                }
            });
            let places = |holds: &dyn Fn(&str) -> bool| -> Vec<usize> {
                (0..values.len()).filter(|&i| holds(&values[i])).collect()
            };
            prop_assert_eq!(whole, places(&|v| *v == *wanted));
            prop_assert_eq!(within.into_iter().collect::<Vec<_>>(), places(&|v| v.contains(&*wanted)));
        }
    }
}
