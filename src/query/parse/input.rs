//! The input of the combinators: text that knows where it stands and how deep, and the error they give.

use nom::error::{ErrorKind, ParseError as NomError};
use nom::{CompareResult, Input, Needed};
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use super::super::limits::{CLAUSES_MAX, NESTING_DEPTH_MAX, REGEX_COUNT_MAX};

/// What is counted over the whole query.
#[derive(Debug, Default)]
pub(super) struct Counts {
    clauses: Cell<usize>,
    regexes: Cell<usize>,
}

/// Part of the query's text, with its place in the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located<'a> {
    /// The text from here on.
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub at: usize,
    /// How many parentheses and negations are open around it.
    depth: usize,
    counts: &'a Counts,
}

/// What a parser gives: the rest of the input and a value, or a fault.
pub(super) type Parsed<'a, T> = nom::IResult<Located<'a>, T, Fault>;

impl<'a> Located<'a> {
    pub fn new(text: &'a str, counts: &'a Counts) -> Self {
        Located { text, at: 0, depth: 0, counts }
    }

    /// The first character.
    pub fn first(&self) -> Option<char> {
        self.text.chars().next()
    }

    /// Is nothing left?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The input after `bytes` bytes; none where these are no whole characters.
    pub fn skip(self, bytes: usize) -> Self {
        match self.text.get(bytes..) {
            Some(text) => Located { text, at: self.at + bytes, ..self },
            None => self,
        }
    }

    /// The place of the first `bytes` bytes.
    pub fn span(&self, bytes: usize) -> Range<usize> {
        self.at..self.at + bytes
    }

    /// The place from here to where `rest` begins.
    pub fn until(&self, rest: &Located<'a>) -> Range<usize> {
        self.at..rest.at.max(self.at)
    }

    /// A fault at the first character here.
    pub fn fault(&self, message: impl Into<Cow<'static, str>>) -> Fault {
        let width = if self.text.starts_with("\r\n") { 0 } else { self.first().map_or(0, char::len_utf8) };
        Fault::new(self.span(width), message)
    }

    /// The same input, one level deeper.
    pub fn deeper(self) -> Result<Self, nom::Err<Fault>> {
        if self.depth >= NESTING_DEPTH_MAX {
            let message = format!("nested deeper than NESTING_DEPTH_MAX ({NESTING_DEPTH_MAX} levels)");
            return Err(self.fault(message).stop());
        }
        Ok(Located { depth: self.depth + 1, ..self })
    }

    /// The same input, as deep as another one.
    pub fn level_with(self, other: &Located<'a>) -> Self {
        Located { depth: other.depth, ..self }
    }

    /// Counts a clause.
    pub fn count_clause(&self) -> Result<(), nom::Err<Fault>> {
        self.counts.clauses.set(self.counts.clauses.get() + 1);
        if self.counts.clauses.get() > CLAUSES_MAX {
            return Err(self.fault(format!("more than CLAUSES_MAX ({CLAUSES_MAX}) clauses")).stop());
        }
        Ok(())
    }

    /// Counts a regular expression.
    pub fn count_regex(&self) -> Result<(), nom::Err<Fault>> {
        self.counts.regexes.set(self.counts.regexes.get() + 1);
        if self.counts.regexes.get() > REGEX_COUNT_MAX {
            let message = format!("more than REGEX_COUNT_MAX ({REGEX_COUNT_MAX}) regular expressions");
            return Err(self.fault(message).stop());
        }
        Ok(())
    }
}

impl<'a> Input for Located<'a> {
    type Item = char;
    type Iter = std::str::Chars<'a>;
    type IterIndices = std::str::CharIndices<'a>;

    fn input_len(&self) -> usize {
        self.text.len()
    }
    fn take(&self, index: usize) -> Self {
        Located { text: self.text.get(..index).unwrap_or(self.text), ..*self }
    }
    fn take_from(&self, index: usize) -> Self {
        self.skip(index)
    }
    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.take_from(index), self.take(index))
    }
    fn position<P: Fn(char) -> bool>(&self, predicate: P) -> Option<usize> {
        self.text.char_indices().find(|&(_, c)| predicate(c)).map(|(i, _)| i)
    }
    fn iter_elements(&self) -> Self::Iter {
        self.text.chars()
    }
    fn iter_indices(&self) -> Self::IterIndices {
        self.text.char_indices()
    }
    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        self.text.slice_index(count)
    }
}

impl nom::Compare<&str> for Located<'_> {
    fn compare(&self, other: &str) -> CompareResult {
        self.text.compare(other)
    }
    /// Only ASCII case is ignored: `compare_no_case` of nom lowers whole strings, which can change their length.
    fn compare_no_case(&self, other: &str) -> CompareResult {
        match self.text.get(..other.len()) {
            Some(head) if head.eq_ignore_ascii_case(other) => CompareResult::Ok,
            _ => CompareResult::Error,
        }
    }
}

impl nom::Offset for Located<'_> {
    fn offset(&self, second: &Self) -> usize {
        second.at.saturating_sub(self.at)
    }
}

/// Why a parser gave up. Becomes a [`super::super::ParseError`] once the query's text is at hand.
#[derive(Debug)]
pub(super) struct Fault {
    pub span: Range<usize>,
    pub message: Cow<'static, str>,
    pub expected: Cow<'static, str>,
    pub hint: Option<Cow<'static, str>>,
}

impl Fault {
    pub fn new(span: Range<usize>, message: impl Into<Cow<'static, str>>) -> Self {
        Fault { span, message: message.into(), expected: Cow::Borrowed(""), hint: None }
    }
    /// What could stand there.
    pub fn expected(mut self, expected: impl Into<Cow<'static, str>>) -> Self {
        self.expected = expected.into();
        self
    }
    /// What was probably meant.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// What was probably meant, where that is known.
    pub fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hint = hint.map(Cow::Owned).or(self.hint);
        self
    }
    /// The fault as one that no other reading can mend.
    pub fn stop(self) -> nom::Err<Fault> {
        nom::Err::Failure(self)
    }
}

impl<'a> NomError<Located<'a>> for Fault {
    fn from_error_kind(input: Located<'a>, _: ErrorKind) -> Self {
        input.fault("this can't be read")
    }
    fn append(_: Located<'a>, _: ErrorKind, other: Self) -> Self {
        other
    }
    /// Of two readings the one that came further tells more.
    fn or(self, other: Self) -> Self {
        if self.span.start > other.span.start { self } else { other }
    }
}

/// A value that does not fit (a number too great): the parser that knows what it stands for says so.
impl<'a, E> nom::error::FromExternalError<Located<'a>, E> for Fault {
    fn from_external_error(input: Located<'a>, _: ErrorKind, _: E) -> Self {
        input.fault("this can't be read")
    }
}
