//! Why a text is no query, and where.
//!
//! Promises: the span lies inside the text, on character boundaries; the same error reads well on a terminal
//! ([`std::fmt::Display`]) and goes out as JSON (`serde::Serialize`). May not know: the grammar.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::ops::Range;

/// Characters of the query that are shown on each side of the place, at most: a query may be very long.
const EXCERPT_CHARS_MAX: u8 = 60;

/// A text that is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// Where, in bytes of the text. Empty where something is missing, as at the end.
    pub span: Range<usize>,
    /// What could stand there; empty where the message says it all.
    pub expected: String,
    /// What was probably meant.
    pub hint: Option<String>,
    /// The line with the place, as far as it is shown.
    excerpt: Box<str>,
    /// Columns of the excerpt before the place, and of the place: at most [`EXCERPT_CHARS_MAX`].
    columns: (u8, u8),
}

impl ParseError {
    /// An error at a place in a text; the span is moved inwards to what the text has.
    pub(super) fn new(text: &str, span: Range<usize>, message: String, expected: String, hint: Option<String>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end.max(start));
        let before = text.get(..start).unwrap_or_default();
        let after = text.get(start..).unwrap_or_default();
        let line_before = before.rsplit('\n').next().unwrap_or_default();
        let line_after = after.split('\n').next().unwrap_or_default();
        let left: Vec<char> = line_before.chars().rev().take(EXCERPT_CHARS_MAX.into()).collect();
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let mut excerpt: String = left.iter().rev().map(|&c| printable(c)).collect();
        excerpt.extend(line_after.chars().take(EXCERPT_CHARS_MAX.into()).map(printable));
        let width = text.get(start..end).unwrap_or_default().split('\n').next().unwrap_or_default().chars().count();
        let columns = |n: usize| u8::try_from(n).unwrap_or(EXCERPT_CHARS_MAX).min(EXCERPT_CHARS_MAX);
        let columns = (columns(left.len()), columns(width).max(1));
        ParseError { message, span: start..end, expected, hint, excerpt: excerpt.into(), columns }
    }

    /// The code under which the error goes out over HTTP.
    pub const CODE: &'static str = "bad_query";

    /// The message with what was expected, in one line, without the query's text.
    pub fn summary(&self) -> String {
        if self.expected.is_empty() {
            self.message.clone()
        } else {
            format!("{}; expected {}", self.message, self.expected)
        }
    }
}

/// The nearest character boundary at or before a place.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, width) = (usize::from(self.columns.0), usize::from(self.columns.1));
        writeln!(f, "{} (at byte {})", self.message, self.span.start)?;
        writeln!(f, "  {}", self.excerpt)?;
        write!(f, "  {:before$}{}", "", "^".repeat(width))?;
        if !self.expected.is_empty() {
            write!(f, "\nexpected: {}", self.expected)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

impl Serialize for ParseError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("ParseError", 4)?;
        s.serialize_field("code", Self::CODE)?;
        s.serialize_field("message", &self.summary())?;
        s.serialize_field("hint", &self.hint)?;
        s.serialize_field("span", &[self.span.start, self.span.end])?;
        s.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place() {
        let e = ParseError::new("é a OR", 7..7, "a clause is missing".into(), "a clause".into(), None);
        assert_eq!(e.to_string(), "a clause is missing (at byte 7)\n  é a OR\n        ^\nexpected: a clause");
        let e = ParseError::new("aé", 2..2, "m".into(), String::new(), Some("h".into()));
        assert_eq!(e.span, 1..1);
        assert_eq!(
            serde_json::to_value(&e).unwrap(),
            serde_json::json!({"code": "bad_query", "message": "m", "hint": "h", "span": [1, 1]})
        );
    }

    #[test]
    fn long_queries_are_cut() {
        let text = "x".repeat(10_000);
        let e = ParseError::new(&text, 5_000..9_000, "m".into(), String::new(), None);
        assert!(e.to_string().len() < 400);
    }
}
