//! Words that differ from a word by a few edits.

use crate::record::text::{fold, words};

/// `word~1`, ready for search.
#[derive(Debug)]
pub(crate) struct Fuzzy {
    word: Vec<char>,
    edits: usize,
}

impl Fuzzy {
    pub(crate) fn new(word: &str, edits: u8) -> Self {
        Fuzzy { word: fold(word).chars().collect(), edits: edits.into() }
    }

    /// The word's characters, folded.
    pub(crate) fn word(&self) -> &[char] {
        &self.word
    }
    /// Most edits.
    pub(crate) fn edits(&self) -> usize {
        self.edits
    }

    /// Is one of the words of a folded text near enough?
    pub(crate) fn matches_folded(&self, text: &str) -> bool {
        let mut chars = Vec::new();
        words(text).any(|word| {
            // A character takes at most four bytes, so that far longer words need not be decoded.
            if word.len() > 4 * (self.word.len() + self.edits) {
                return false;
            }
            chars.clear();
            chars.extend(word.chars());
            chars.len().abs_diff(self.word.len()) <= self.edits && self.is_near(&chars)
        })
    }

    /// Optimal string alignment distance (Damerau-Levenshtein where no part is edited twice) of at most `edits`.
    fn is_near(&self, other: &[char]) -> bool {
        let (a, b) = (&self.word, other);
        let width = b.len() + 1;
        let (mut before, mut last, mut row) = (vec![0; width], (0..width).collect::<Vec<_>>(), vec![0; width]);
        for i in 1..=a.len() {
            row[0] = i;
            for j in 1..width {
                let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replace.min(last[j] + 1).min(row[j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(before[j - 2] + 1);
                }
                row[j] = least;
            }
            if row.iter().all(|&d| d > self.edits) && last.iter().all(|&d| d > self.edits) {
                return false;
            }
            std::mem::swap(&mut before, &mut last);
            std::mem::swap(&mut last, &mut row);
        }
        last[width - 1] <= self.edits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits() {
        for (text, word, edits, found) in [
            ("the timeout of", "timeout", 0, true),
            ("the tiemout of", "timeout", 1, true),
            ("timeouts", "timeout", 1, true),
            ("imeout", "Timeout", 1, true),
            ("tiimeoutt", "timeout", 1, false),
            ("tiimeoutt", "timeout", 2, true),
            ("ca", "abc", 2, false),
            ("x", "ab", 2, true),
            ("", "ab", 2, false),
        ] {
            assert_eq!(Fuzzy::new(word, edits).matches_folded(text), found, "{text} {word} {edits}");
        }
    }
}
