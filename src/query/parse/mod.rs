//! Text to syntax tree: nom's combinators over an input that knows its place.
//!
//! Promises: no input panics or overflows the stack; time is linear in the text, since a part that begins like a form
//! is that form or an error, and nothing is read again in another way. A negation counts as a level of nesting.
//! May not know: I/O. **The only importer of nom.**

mod atom;
mod compare;
mod filter;
mod function;
mod input;
mod ip;
mod names;
mod pipe;
mod refuse;
mod stats;
mod stream;
mod time;
mod value;

use std::fmt::{self, Write};

use self::input::{Counts, Fault, Located, Parsed};
use super::ast::{Filter, Query};
use super::error::ParseError;
use super::limits::QUERY_BYTES_MAX;

/// Reads a query: a filter, then pipes. An empty text is `*`.
///
/// What it gives prints, and the print reads back as the same.
///
/// ```
/// let query = duramen::query::parse("level:error duration > 1s | limit 5")?;
/// assert_eq!(query.to_string(), "level:error AND duration>1s | limit 5");
/// # Ok::<(), duramen::query::ParseError>(())
/// ```
pub fn parse(text: &str) -> Result<Query, ParseError> {
    whole(text, |i| {
        let (rest, filter) = optional_filter(i)?;
        let (rest, pipes) = pipe::pipes(rest)?;
        Ok((rest, Query { filter, pipes }))
    })
}

/// Reads a filter alone, with no pipes. An empty text is `*`.
pub fn parse_filter(text: &str) -> Result<Filter, ParseError> {
    whole(text, |i| {
        let (rest, filter) = optional_filter(i)?;
        let (rest, ()) = atom::space(rest)?;
        if rest.is_empty() {
            return Ok((rest, filter));
        }
        let fault = atom::unexpected(rest);
        Err(if rest.text.starts_with('|') { fault.hint("only a filter is taken here, no pipes") } else { fault }.stop())
    })
}

/// The filter before the first pipe; nothing stands for every record.
fn optional_filter(i: Located<'_>) -> Parsed<'_, Filter> {
    let (i, ()) = atom::space(i)?;
    if i.is_empty() || i.text.starts_with('|') && !i.text.starts_with("||") {
        return Ok((i, Filter::All));
    }
    refuse::foreign_query(i)?;
    filter::expression(i, None)
}

/// Runs a parser over a whole text, and checks that the canonical text of what it gives is no longer than a query.
fn whole<T: fmt::Display>(text: &str, parser: impl Fn(Located<'_>) -> Parsed<'_, T>) -> Result<T, ParseError> {
    let too_long = |what: &str| {
        let message = format!("{what} longer than QUERY_BYTES_MAX ({QUERY_BYTES_MAX} bytes)");
        ParseError::new(text, QUERY_BYTES_MAX.min(text.len())..text.len(), message, String::new(), None)
    };
    if text.len() > QUERY_BYTES_MAX {
        return Err(too_long("the query is"));
    }
    let counts = Counts::default();
    let parsed = match parser(Located::new(text, &counts)) {
        Ok((_, parsed)) => parsed,
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => return Err(fault.located_in(text)),
        // Only parsers for input that is still arriving ask for more, and none here does.
        Err(nom::Err::Incomplete(_)) => {
            return Err(Fault::new(text.len()..text.len(), "more is needed").located_in(text));
        }
    };
    // `name:(a b c ..)` is printed with the name before each: that may be much longer than what was typed.
    if write!(Room(QUERY_BYTES_MAX), "{parsed}").is_err() {
        return Err(too_long("the query's canonical text is"));
    }
    Ok(parsed)
}

/// Counts what is written down to zero, and then fails.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(s.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

impl Fault {
    fn located_in(self, text: &str) -> ParseError {
        ParseError::new(
            text,
            self.span,
            self.message.into_owned(),
            self.expected.into_owned(),
            self.hint.map(std::borrow::Cow::into_owned),
        )
    }
}
