//! Tests of one value, and of all values of a column.
//!
//! Promises: [`ValueTest::matches`] says what a test means, value by value; [`column`] gives the same answer for whole
//! columns, faster. A null has no text, so that nothing matches it; a value that is not there neither.

mod address;
pub(crate) mod bits;
pub(crate) mod column;
pub(crate) mod compare;
pub(crate) mod fuzzy;
mod near;
pub(crate) mod outline;
mod phrase;
pub(crate) mod regex;
mod scan;
mod stream;
mod texts;
pub(crate) mod wildcard;

pub(crate) use compare::{Compare, FieldKind};
pub(crate) use stream::StreamTest;

use super::ExecError;
use crate::query::ast::{IpRange, Test};
use crate::record::{ARRAY_DEPTH_MAX, Tag, elements, is_empty_value, text};
use fuzzy::Fuzzy;
use near::Near;
use phrase::Phrase;
use regex::RegexTest;
use rustc_hash::FxHashSet;
use wildcard::Wildcard;

/// A test of one value, ready to be run.
#[derive(Debug)]
pub(crate) enum ValueTest {
    Phrase(Phrase),
    Near(Near),
    Fuzzy(Fuzzy),
    Wildcard(Wildcard),
    /// The whole value is one of these.
    OneOf(FxHashSet<Box<str>>),
    /// The value is not empty.
    Exists,
    Compare(Compare),
    Regex(Box<RegexTest>),
    IpRange(IpRange),
}

/// Buffers that are used again from value to value.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    folded: String,
}

impl Scratch {
    /// The folded form of a text.
    fn fold<'s>(&'s mut self, text: &str) -> &'s str {
        self.folded.clear();
        if text.is_ascii() {
            self.folded.push_str(text);
            self.folded.make_ascii_lowercase();
        } else {
            text::fold_into(text, &mut self.folded);
        }
        &self.folded
    }
}

impl ValueTest {
    /// Prepares a test that concerns single values: not [`Test::Empty`], nor an [`Test::In`] with an empty text, which
    /// also take records that lack the field.
    pub(crate) fn new(test: &Test) -> Result<Self, ExecError> {
        Ok(match test {
            Test::Phrase(text) => ValueTest::Phrase(Phrase::new(text)),
            Test::Near { words, distance } => ValueTest::Near(Near::new(words.iter().map(|w| &**w), *distance)),
            Test::Fuzzy { word, edits: 0 } => ValueTest::Phrase(Phrase::new(word)),
            Test::Fuzzy { word, edits } => ValueTest::Fuzzy(Fuzzy::new(word, *edits)),
            Test::Wildcard(parts) => ValueTest::Wildcard(Wildcard::new(parts)),
            Test::Exact(text) => ValueTest::OneOf(FxHashSet::from_iter([text.clone()])),
            Test::In(texts) => ValueTest::OneOf(texts.iter().cloned().collect()),
            Test::Exists | Test::Empty => ValueTest::Exists,
            Test::Compare(op, operand) => ValueTest::Compare(Compare::one(*op, operand)),
            Test::Range { low, high } => ValueTest::Compare(Compare::range(low.as_ref(), high.as_ref())),
            Test::Regex(regex) => ValueTest::Regex(Box::new(RegexTest::new(regex)?)),
            Test::IpRange(range) => ValueTest::IpRange(*range),
        })
    }

    /// Does a value pass? The meaning of every test.
    pub(crate) fn matches(&self, tag: Tag, text: &str, kind: FieldKind, scratch: &mut Scratch) -> bool {
        self.matches_at(0, tag, text, kind, scratch)
    }

    /// Does an element of an array pass, or one of an element that is an array?
    pub(crate) fn matches_element(&self, array: &str, kind: FieldKind, scratch: &mut Scratch) -> bool {
        self.element_matches_at(0, array, kind, scratch)
    }

    fn matches_at(&self, depth: usize, tag: Tag, text: &str, kind: FieldKind, scratch: &mut Scratch) -> bool {
        match (self, tag) {
            (ValueTest::Exists, _) => !is_empty_value(tag, text.as_bytes()),
            (_, Tag::Null) => false,
            (_, Tag::Array) => {
                self.matches_text(text, kind, scratch) || self.element_matches_at(depth, text, kind, scratch)
            }
            _ => self.matches_text(text, kind, scratch),
        }
    }

    fn element_matches_at(&self, depth: usize, array: &str, kind: FieldKind, scratch: &mut Scratch) -> bool {
        depth < ARRAY_DEPTH_MAX
            && !matches!(self, ValueTest::Exists)
            && elements(array).iter().any(|(tag, text)| self.matches_at(depth + 1, *tag, text, kind, scratch))
    }

    fn matches_text(&self, text: &str, kind: FieldKind, scratch: &mut Scratch) -> bool {
        match self {
            _ if self.is_too_short(text.as_bytes()) => false,
            ValueTest::Phrase(phrase) => phrase.matches_folded(scratch.fold(text)),
            ValueTest::Near(near) => near.matches_folded(scratch.fold(text)),
            ValueTest::Fuzzy(fuzzy) => fuzzy.matches_folded(scratch.fold(text)),
            ValueTest::Wildcard(wildcard) => wildcard.matches_folded(scratch.fold(text)),
            ValueTest::OneOf(texts) => texts.contains(text),
            ValueTest::Exists => !text.is_empty(),
            ValueTest::Compare(compare) => compare.matches(text, kind),
            ValueTest::Regex(regex) => regex.is_match(text.as_bytes()),
            ValueTest::IpRange(range) => address::contains(*range, text),
        }
    }

    /// Is a text too short to pass, if it is no array?
    pub(crate) fn is_too_short(&self, text: &[u8]) -> bool {
        // A text of ASCII is as long as its folded form.
        matches!(self, ValueTest::Phrase(phrase) if text.len() < phrase.folded().len() && text.is_ascii())
    }

    /// About how much a value costs, in arbitrary steps; cheap tests go first.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            ValueTest::Exists => 1,
            ValueTest::OneOf(_) => 2,
            ValueTest::Compare(_) | ValueTest::IpRange(_) => 3,
            ValueTest::Phrase(_) => 5,
            ValueTest::Wildcard(_) => 10,
            ValueTest::Regex(_) => 15,
            ValueTest::Near(_) | ValueTest::Fuzzy(_) => 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_arrays_do_not_overflow_the_stack() {
        let test = |text: &str| ValueTest::new(&Test::Exact(text.into())).expect("it compiles");
        let nested = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
        let matches =
            |depth: usize| test("7").matches(Tag::Array, &nested(depth), FieldKind::of("a"), &mut Scratch::default());
        assert!(matches(1) && matches(ARRAY_DEPTH_MAX));
        assert!(!matches(100_000));
    }
}
