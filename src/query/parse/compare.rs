//! Comparisons and ranges of a field's value: `>= 5ms`, `[500 TO 599]`, `range(1, 5]`.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::value as known;
use nom::{Err, Parser};

use super::super::ast::{CompareOp, Filter, Operand, Test};
use super::atom::{keyword, mark, space, value_end, word_ahead};
use super::filter::Subject;
use super::input::{Fault, Located, Parsed};
use super::value::{EXACT, operand};
use super::{refuse, time};
use crate::record::Quantity;

/// What a comparison asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Order(CompareOp),
}

/// `=`, `==`, `!=`, `<`, `<=`, `>`, `>=`
fn operator(i: Located<'_>) -> Parsed<'_, Comparison> {
    use CompareOp::{Greater, GreaterOrEqual, Less, LessOrEqual};
    let (rest, op) = alt((
        known(Comparison::Equal, tag("==")),
        known(Comparison::NotEqual, tag("!=")),
        known(Comparison::Order(GreaterOrEqual), tag(">=")),
        known(Comparison::Order(LessOrEqual), tag("<=")),
        known(Comparison::Equal, tag("=")),
        known(Comparison::Order(Greater), tag(">")),
        known(Comparison::Order(Less), tag("<")),
    ))
    .parse(i)?;
    refuse::operator(i, rest)?;
    Ok((rest, op))
}

/// A comparison of a field with a value.
pub(super) fn comparison<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    if *subject == Subject::Any {
        return Err(refuse::comparison_without_field(i).stop());
    }
    i.count_clause()?;
    let (rest, op) = operator(i)?;
    // A negation counts as a level, so that the canonical text, where it is one, is no deeper than this text.
    let rest = if op == Comparison::NotEqual { rest.deeper()? } else { rest };
    if *subject == Subject::Time {
        let (rest, filter) = time::compared(rest, op)?;
        return Ok((rest.level_with(&i), filter));
    }
    let what = if matches!(op, Comparison::Order(_)) { "the value to compare with" } else { EXACT };
    let (end, (text, quoted)) = operand(rest, what)?;
    value_end(end)?;
    let test = match op {
        Comparison::Equal | Comparison::NotEqual if text.is_empty() => Test::Empty,
        Comparison::Equal | Comparison::NotEqual => Test::Exact(text),
        Comparison::Order(_) if text.is_empty() => {
            return Err(Fault::new(rest.until(&end), "nothing is less or greater than an empty text")
                .hint("for records that lack a field write `field:\"\"`")
                .stop());
        }
        Comparison::Order(order) => Test::Compare(order, with_quantity(text, quoted)),
    };
    let filter = subject.test(test);
    let filter = if op == Comparison::NotEqual { Filter::Not(Box::new(filter)) } else { filter };
    Ok((end.level_with(&i), filter))
}

/// An operand: a number where it is one and was not quoted.
fn with_quantity(text: Box<str>, quoted: bool) -> Operand {
    let quantity = if quoted { None } else { Quantity::parse(&text) };
    Operand { text, quantity }
}

/// The bounds of a range, whatever they are: each with whether it is taken in.
pub(super) struct Bounds<T> {
    pub low: Option<(T, bool)>,
    pub high: Option<(T, bool)>,
}

/// `[low TO high}` with any bound; `*` is an open end. The separator is `TO` or a comma.
pub(super) fn bounds<'a, T>(
    i: Located<'a>,
    mut bound: impl FnMut(Located<'a>, bool) -> Parsed<'a, T>,
) -> Parsed<'a, Bounds<T>> {
    let (rest, open) = alt((known(true, mark("[")), known(false, mark("{")), known(false, mark("(")))).parse(i)?;
    let mut end_of_range = |i: Located<'a>, is_high: bool| -> Parsed<'a, Option<T>> {
        let (i, ()) = space(i)?;
        if word_ahead(i) == "*" {
            return Ok((i.skip(1), None));
        }
        bound(i, is_high).map(|(rest, value)| (rest, Some(value)))
    };
    let (rest, low) = end_of_range(rest, false)?;
    let (rest, ()) = alt((known((), mark(",")), keyword("to")))
        .parse(rest)
        .map_err(|_: Err<Fault>| range_fault(rest, "`TO` or `,` between the ends of a range"))?;
    let (rest, high) = end_of_range(rest, true)?;
    let (rest, close) = alt((known(true, mark("]")), known(false, mark("}")), known(false, mark(")"))))
        .parse(rest)
        .map_err(|_: Err<Fault>| range_fault(rest, "`]` or `}` at the end of a range"))?;
    value_end(rest)?;
    if low.is_none() && high.is_none() {
        return Err(Fault::new(i.until(&rest), "a range with no end on either side")
            .hint("for records that have the field write `field:*`")
            .stop());
    }
    Ok((rest, Bounds { low: low.map(|v| (v, open)), high: high.map(|v| (v, close)) }))
}

/// The fault of a range that does not go on as one.
fn range_fault(i: Located<'_>, expected: &'static str) -> Err<Fault> {
    let i = space(i).map_or(i, |(rest, ())| rest);
    i.fault("the range does not go on here").expected(expected).hint("one of several values is `field:in(a, b)`").stop()
}

/// A range of a field's values.
pub(super) fn range<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    if *subject == Subject::Any {
        return Err(i.fault("a range with no field before it").hint("write `field:[1 TO 5]`").stop());
    }
    i.count_clause()?;
    let (rest, Bounds { low, high }) = bounds(i, |i, _| {
        let (rest, (text, quoted)) = operand(i, "an end of the range")?;
        if text.is_empty() {
            return Err(Fault::new(i.until(&rest), "an end of a range can't be empty")
                .hint("an open end is `*`")
                .stop());
        }
        Ok((rest, with_quantity(text, quoted)))
    })?;
    Ok((rest, subject.test(Test::Range { low, high })))
}

/// `range(1, 5]`, with the name already seen.
pub(super) fn range_call<'a>(i: Located<'a>, name_len: usize, subject: &Subject) -> Parsed<'a, Filter> {
    let (rest, ()) = space(i.skip(name_len))?;
    if *subject == Subject::Time { time::range(rest) } else { range(rest, subject) }
}
