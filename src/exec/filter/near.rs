//! Words within some distance of each other, in any order.

use crate::record::text::{fold, words};

/// `"a b"~3`, ready for search.
#[derive(Debug)]
pub(crate) struct Near {
    /// The words, folded, each once, with how often it must occur.
    needed: Vec<(Box<str>, u32)>,
    /// Words that may lie between the first and the last of a match, both taken in.
    span_max: usize,
}

impl Near {
    pub(crate) fn new<'a>(typed: impl IntoIterator<Item = &'a str>, distance: u32) -> Self {
        let mut needed: Vec<(Box<str>, u32)> = Vec::new();
        for text in typed {
            for word in words(&fold(text)) {
                match needed.iter_mut().find(|(w, _)| **w == *word) {
                    Some((_, count)) => *count += 1,
                    None => needed.push((word.into(), 1)),
                }
            }
        }
        let asked: usize = needed.iter().map(|(_, count)| *count as usize).sum();
        Near { needed, span_max: asked + distance as usize }
    }

    /// The words, folded.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.needed.iter().map(|(word, _)| &**word)
    }

    /// Do the words stand so in a folded text? One pass: a window over the places of the words that were asked for.
    pub(crate) fn matches_folded(&self, text: &str) -> bool {
        let mut missing: Vec<i64> = self.needed.iter().map(|(_, count)| i64::from(*count)).collect();
        let mut window: std::collections::VecDeque<(usize, usize)> = std::collections::VecDeque::new();
        for (at, word) in words(text).enumerate() {
            let Some(which) = self.needed.iter().position(|(w, _)| **w == *word) else { continue };
            window.push_back((at, which));
            missing[which] -= 1;
            while let Some(&(first, old)) = window.front() {
                if at - first < self.span_max {
                    break;
                }
                missing[old] += 1;
                window.pop_front();
            }
            if missing.iter().all(|&m| m <= 0) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (text, asked, distance, found) in [
            ("a x y b", &["a", "b"][..], 2, true),
            ("a x y b", &["a", "b"], 1, false),
            ("b a", &["a", "b"], 0, true),
            ("a z z z a b", &["a", "b"], 0, true),
            ("a b", &["a", "a"], 5, false),
            ("a b a", &["a", "a"], 1, true),
            ("x foo-bar baz", &["Foo-Bar", "baz"], 0, true),
        ] {
            assert_eq!(Near::new(asked.iter().copied(), distance).matches_folded(text), found, "{text} {asked:?}");
        }
    }
}
