//! A word or phrase, case ignored, with word boundaries at its ends.

use super::scan::{Boundaries, FoldedSearch};
use crate::record::text::{fold, is_word_char};

/// A phrase, ready for search.
#[derive(Debug)]
pub(crate) struct Phrase {
    folded: Box<str>,
    search: FoldedSearch,
    ends: Boundaries,
}

impl Phrase {
    pub(crate) fn new(text: &str) -> Self {
        let folded = fold(text);
        let ends = Boundaries {
            left: folded.chars().next().is_some_and(is_word_char),
            right: folded.chars().next_back().is_some_and(is_word_char),
        };
        Phrase { search: FoldedSearch::new(&folded), folded: folded.into(), ends }
    }

    /// The phrase, folded.
    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// At which of its ends a word must end.
    pub(crate) fn ends(&self) -> Boundaries {
        self.ends
    }

    /// Does it stand in a folded text?
    pub(crate) fn matches_folded(&self, text: &str) -> bool {
        self.matches_from(text.as_bytes(), 0)
    }

    /// The search over many texts at once, where the phrase allows it.
    pub(crate) fn search(&self) -> &FoldedSearch {
        &self.search
    }

    /// Does it stand in a text at or after a place? `text` is folded, or needs no folding but of ASCII letters and is
    /// looked at in folded form: only what stands beside a match is read here.
    fn matches_from(&self, text: &[u8], mut from: usize) -> bool {
        if self.folded.is_empty() {
            return false;
        }
        // Matches may overlap: in `xab ab a` the phrase `ab a` must not be missed for a false start.
        while let Some(at) = text.get(from..).and_then(|rest| self.search.find_folded(rest)) {
            let start = from + at;
            if self.ends.hold(text, start, start + self.folded.len()) {
                return true;
            }
            from = start + 1;
        }
        false
    }

    /// Are the boundaries right of a match at these bytes of a text?
    pub(crate) fn bounded(&self, text: &[u8], start: usize) -> bool {
        self.ends.hold(text, start, start + self.folded.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds() {
        for (text, needle, found) in [
            ("connection reset by peer", "connection reset", true),
            ("reconnection reset", "connection reset", false),
            ("xab ab", "AB", true),
            ("ab ab a", "ab a", true),
            ("xa a a", "a a", true),
            ("aab", "ab", false),
            ("20ms", "20", false),
            ("a/b/c", "/b/", true),
            ("aé", "a", false),
            ("ÉCOLE", "école", true),
            ("anything", "", false),
        ] {
            assert_eq!(Phrase::new(needle).matches_folded(&fold(text)), found, "{text} {needle}");
        }
    }
}
