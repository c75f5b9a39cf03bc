//! Filters that look like calls: `in(a, b)`, `ipv4_range(..)`, `range(1, 5]`; others are refused by name.

use nom::branch::alt;
use nom::combinator::value as known;
use nom::multi::separated_list1;
use nom::{Err, Parser};

use super::super::ast::{Filter, Test};
use super::super::limits::LIST_LENGTH_MAX;
use super::atom::{mark, space, value_end, word_ahead};
use super::filter::Subject;
use super::input::{Fault, Located, Parsed};
use super::value::operand;
use super::{compare, ip, refuse};

/// Do `in` and a list begin here?
pub(super) fn at_list(i: Located<'_>) -> bool {
    if !word_ahead(i).eq_ignore_ascii_case("in") {
        return false;
    }
    matches!(space(i.skip(2)), Ok((rest, ())) if rest.text.starts_with(['(', '[']))
}

/// `in(a, b)`, `IN [a b]`
pub(super) fn list<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    i.count_clause()?;
    if *subject == Subject::Time {
        return Err(Fault::new(i.span(2), "`in` does not take times").hint("join times with `OR`").stop());
    }
    let (rest, values) = arguments(i.skip(2), "in")?;
    Ok((rest, subject.test(Test::In(values))))
}

/// A call with its name here. The name is one of the filters', or an error.
pub(super) fn call<'a>(i: Located<'a>, name_len: usize, subject: &Subject) -> Parsed<'a, Filter> {
    let name = i.text.get(..name_len).unwrap_or_default();
    if name.eq_ignore_ascii_case("in") {
        return list(i, subject);
    }
    match name {
        "range" => compare::range_call(i, name_len, subject),
        "ipv4_range" | "ipv6_range" if *subject != Subject::Time && i.skip(name_len).text.starts_with('(') => {
            i.count_clause()?;
            let (rest, values) = arguments(i.skip(name_len), "an address range")?;
            let range = ip::from_arguments(i, name == "ipv6_range", &values)?;
            Ok((rest, subject.test(Test::IpRange(range))))
        }
        _ => Err(refuse::function(i, name).stop()),
    }
}

/// Values in parentheses with commas between them, or in brackets with commas or white space.
fn arguments<'a>(i: Located<'a>, what: &'static str) -> Parsed<'a, Vec<Box<str>>> {
    let (rest, close) = alt((known(")", mark("(")), known("]", mark("[")))).parse(i)?;
    let (inside, ()) = space(rest)?;
    if inside.text.starts_with(close) {
        return Err(Fault::new(i.until(&inside.skip(1)), "an empty list matches nothing").expected("a value").stop());
    }
    let separator = move |i: Located<'a>| match mark(",")(i) {
        Ok((rest, _)) => Ok((rest, ())),
        // In brackets white space is enough, as in `IN [a b]`.
        Err(e) => match space(i)? {
            (rest, ()) if close == "]" && rest.at > i.at && !rest.text.starts_with(']') && !rest.is_empty() => {
                Ok((rest, ()))
            }
            _ => Err(e),
        },
    };
    let (end, values) = separated_list1(separator, |i| {
        let (rest, (text, _)) = operand(i, "a value of the list")?;
        Ok((rest, text))
    })
    .parse(rest)?;
    if values.len() > LIST_LENGTH_MAX {
        let message = format!("a list is longer than LIST_LENGTH_MAX ({LIST_LENGTH_MAX} values)");
        return Err(Fault::new(i.until(&end), message).stop());
    }
    let closed: Result<_, Err<Fault>> = mark(close)(end);
    let Ok((end, _)) = closed else { return Err(refuse::list_end(i, end, what, close).stop()) };
    value_end(end)?;
    Ok((end, values))
}
