//! Stream selectors: `{service="api", env=~"prod.*"}`.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::value as known;
use nom::multi::separated_list1;
use nom::{Err, Parser};

use super::super::ast::{Filter, LabelOp, LabelTest};
use super::super::lex;
use super::atom::{Escapes, at_quote, keyword, mark, name, quoted, space, unexpected, value_end};
use super::input::{Fault, Located, Parsed};
use super::value::{checked_regex, operand, optional_mark};

/// The selector that begins here; alternatives inside of it become an OR.
pub(super) fn selector(i: Located<'_>) -> Parsed<'_, Filter> {
    let (rest, _) = mark("{")(i)?;
    let (empty, ()) = space(rest)?;
    if empty.text.starts_with('}') {
        i.count_clause()?;
        let rest = empty.skip(1);
        value_end(rest)?;
        return Ok((rest, Filter::All));
    }
    let (rest, mut streams) = separated_list1(keyword("or"), labels).parse(rest)?;
    let (rest, ()) = space(rest)?;
    if !rest.text.starts_with('}') {
        let fault = if rest.is_empty() {
            Fault::new(i.span(1), "the stream selector that opens here is not closed")
        } else {
            unexpected(rest).hint("inside of `{..}` stand labels: `{service=\"api\", env=~\"prod.*\"}`")
        };
        return Err(fault.expected("`,` or `}`").stop());
    }
    let rest = rest.skip(1);
    value_end(rest)?;
    let filter = if streams.len() > 1 { Filter::Or(streams) } else { streams.pop().unwrap_or(Filter::All) };
    Ok((rest, filter))
}

/// Labels that must all hold, with commas between them; one more at the end does no harm.
fn labels(i: Located<'_>) -> Parsed<'_, Filter> {
    i.count_clause()?;
    let (rest, tests) = separated_list1(mark(","), label).parse(i)?;
    let (rest, _) = optional_mark(",")(rest)?;
    Ok((rest, Filter::Stream(tests)))
}

/// What an operator asks of a label, before its value is known.
#[derive(Clone, Copy)]
struct Kind {
    negated: bool,
    regex: bool,
}

/// `service="api"`
fn label(i: Located<'_>) -> Parsed<'_, LabelTest> {
    let (start, ()) = space(i)?;
    if start.first().is_none_or(|c| c != '"' && c != '\'' && c != '`' && !lex::is_name_start(c)) {
        return Err(Err::Error(start.fault("a label is missing here").expected("a label's name")));
    }
    let (rest, label) = name(start)?;
    let (rest, ()) = space(rest)?;
    let operator: Result<_, Err<Fault>> = alt((
        known(Kind { negated: false, regex: true }, tag("=~")),
        known(Kind { negated: true, regex: true }, tag("!~")),
        known(Kind { negated: true, regex: false }, tag("!=")),
        known(Kind { negated: false, regex: false }, tag("=")),
    ))
    .parse(rest);
    let Ok((rest, kind)) = operator else {
        let fault = rest.fault("a label needs an operator").expected("`=`, `!=`, `=~` or `!~`");
        let lists = ["in", "not_in"].iter().any(|w| super::atom::word_ahead(rest).eq_ignore_ascii_case(w));
        let fault = if lists { fault.hint("for one of several values write `label=~\"a|b\"`") } else { fault };
        return Err(fault.stop());
    };
    let (at, ()) = space(rest)?;
    let (rest, text) = match at_quote(at) && kind.regex {
        true => quoted(at, Escapes::Regex).map(|(rest, text)| (rest, text.into_boxed_str()))?,
        false => operand(at, "a label's value").map(|(rest, (text, _))| (rest, text))?,
    };
    let op = match kind {
        Kind { regex: false, negated: false } => LabelOp::Equal(text),
        Kind { regex: false, negated: true } => LabelOp::NotEqual(text),
        // An empty expression is legal here, as in Prometheus: it matches a label that is missing.
        Kind { negated, .. } => {
            let pattern = if text.is_empty() { text } else { checked_regex(at, &rest, &text, false)?.pattern };
            if negated { LabelOp::NotMatches(pattern) } else { LabelOp::Matches(pattern) }
        }
    };
    Ok((rest, LabelTest { label, op }))
}
