//! Times: `_time:5m`, `timestamp:>=2026-11-05`, `[2026-01-01 TO now]`, `offset 1h`.

use nom::combinator::opt;
use nom::{Err, Parser};

use super::super::ast::{CompareOp, Filter, Test, TimePoint, TimeRange};
use super::super::lex;
use super::atom::{Escapes, at_quote, keyword, quoted, space, value_end, word_ahead};
use super::compare::{Bounds, Comparison, bounds};
use super::filter::Subject;
use super::input::{Fault, Located, Parsed};
use super::refuse;
use crate::record::{Timestamp, parse_duration_ns};

/// A time as it was written: how much of it, and where it begins and ends.
#[derive(Clone, Debug, PartialEq)]
enum Written {
    /// A point: `now-1h`, a Unix time, or a time with a fraction of a second.
    Point(TimePoint),
    /// A year, month, day, hour, minute or second: its begin, and the begin of the next one.
    Span(Timestamp, Timestamp),
    /// A duration with no sign: `5m`.
    Age(i64),
}

/// Reads a time with the text that a value can be.
fn written(text: &str) -> Option<Written> {
    if let Some(rest) = text.strip_prefix("now") {
        if rest.is_empty() {
            return Some(Written::Point(TimePoint::Now(0)));
        }
        return rest.starts_with(['-', '+']).then(|| parse_duration_ns(rest)).flatten().map(point_from_now);
    }
    if let Some(ns) = parse_duration_ns(text) {
        return Some(if text.starts_with(['-', '+']) { point_from_now(ns) } else { Written::Age(ns) });
    }
    if let Some(span) = calendar(text) {
        return Some(span);
    }
    Timestamp::parse(text).ok().map(|t| Written::Point(TimePoint::At(t)))
}

fn point_from_now(ns: i64) -> Written {
    Written::Point(TimePoint::Now(ns))
}

/// Reads `2026`, `2026-11`, `2026-11-05`, `..T10`, `..T10:20`, `..T10:20:30`, each with a zone or none for UTC.
fn calendar(text: &str) -> Option<Written> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, marks: &[u8]| bytes.get(at).is_some_and(|b| marks.contains(b));
    let mut parts = [number(0, 4)?, 1, 1, 0, 0, 0];
    let mut unit = 0;
    let mut end = 4;
    // Each part: the marks before it.
    for (index, marks) in [&b"-"[..], b"-", b"Tt ", b":", b":"].into_iter().enumerate() {
        if !is(end, marks) || index > 0 && unit != index {
            break;
        }
        // What is no part of the date is left for the zone: in `2026-11-05-01:30` the third `-` begins one.
        let Some(n) = number(end + 1, 2) else { break };
        *parts.get_mut(index + 1)? = n;
        unit = index + 1;
        end += 3;
    }
    let zone = zone_seconds(text.get(end..)?)?;
    let [year, month, day, hour, minute, second] = parts;
    let make = |p: [i64; 6]| Timestamp::from_civil([p[0], p[1], p[2]], [p[3], p[4], p[5]], 0, zone);
    let start = make([year, month, day, hour, minute, second])?;
    let next = match unit {
        0 => make([year + 1, 1, 1, 0, 0, 0])?,
        1 if month == 12 => make([year + 1, 1, 1, 0, 0, 0])?,
        1 => make([year, month + 1, 1, 0, 0, 0])?,
        _ => {
            let seconds = [86_400, 3_600, 60, 1].get(unit - 2)?;
            Timestamp(start.0.checked_add(seconds * 1_000_000_000)?)
        }
    };
    Some(Written::Span(start, next))
}

/// The seconds east of UTC of a zone: nothing or `Z` for UTC, `+02:00`, `-0130`.
fn zone_seconds(text: &str) -> Option<i64> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    let colon_right = rest.find(':').is_none_or(|at| at == 2) && rest.len() - digits.len() <= 1;
    if digits.len() != 4 || !colon_right || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A time, quoted or bare.
fn time(i: Located<'_>) -> Parsed<'_, Written> {
    let (i, ()) = space(i)?;
    let (rest, text) = if at_quote(i) {
        quoted(i, Escapes::Text)?
    } else {
        let word = word_ahead(i);
        if word.is_empty() {
            return Err(i.fault("a time is missing here").expected(TIME_FORMS).stop());
        }
        (i.skip(word.len()), word.to_owned())
    };
    match written(&text) {
        Some(time) => Ok((rest, time)),
        None => Err(not_a_time(i, &rest, &text).stop()),
    }
}

/// What a time can be, for errors.
const TIME_FORMS: &str = "`5m`, `now-1h`, `2026-11-05`, `2026-11-05T10:20:30Z` or a Unix time";

fn not_a_time(i: Located<'_>, rest: &Located<'_>, text: &str) -> Fault {
    let shown: String = text.chars().take(80).collect();
    let fault = Fault::new(i.until(rest), format!("`{shown}` is not a time")).expected(TIME_FORMS);
    if text.ends_with('*') {
        fault.hint("leave the `*` out: `timestamp:2026-11` is the whole month")
    } else if text.contains('/') {
        fault.hint("rounding such as `now/d` is not supported; `timestamp:2026-11-05` is a whole day")
    } else {
        fault
    }
}

/// The value after `_time:`: a duration, a date or a time; also what holds of the time's text.
pub(super) fn value(i: Located<'_>) -> Parsed<'_, Filter> {
    let whole = Subject::Time;
    if word_ahead(i) == "*" {
        let rest = i.skip(1);
        value_end(rest)?;
        return Ok((rest, whole.test(Test::Exists)));
    }
    if at_quote(i) {
        let (rest, text) = quoted(i, Escapes::Text)?;
        if text.is_empty() {
            value_end(rest)?;
            return Ok((rest, whole.test(Test::Empty)));
        }
    }
    let (rest, time) = time(i)?;
    with_offset(i, rest, within(time))
}

/// The range that a time stands for by itself.
fn within(time: Written) -> TimeRange {
    let (start, end) = match time {
        Written::Age(ns) => ((TimePoint::Now(ns.saturating_neg()), false), (TimePoint::Now(0), true)),
        Written::Span(start, next) => ((TimePoint::At(start), true), (TimePoint::At(next), false)),
        Written::Point(point) => ((point.clone(), true), (point, true)),
    };
    TimeRange { start: Some(start), end: Some(end), offset_ns: 0 }
}

/// The operand of a comparison, with its operator already read.
pub(super) fn compared(i: Located<'_>, op: Comparison) -> Parsed<'_, Filter> {
    use CompareOp::{Greater, GreaterOrEqual, Less, LessOrEqual};
    let (rest, time) = time(i)?;
    let order = match op {
        Comparison::Equal => return with_offset(i, rest, within(time)),
        Comparison::NotEqual => {
            let (rest, filter) = with_offset(i, rest, within(time))?;
            return Ok((rest, Filter::Not(Box::new(filter))));
        }
        Comparison::Order(order) => order,
    };
    // Less than an hour ago is later than the time an hour ago: with an age, the order turns round.
    let (order, time) = match time {
        Written::Age(ns) => {
            let turned = match order {
                Less => Greater,
                LessOrEqual => GreaterOrEqual,
                Greater => Less,
                GreaterOrEqual => LessOrEqual,
            };
            (turned, point_from_now(ns.saturating_neg()))
        }
        time => (order, time),
    };
    let none = TimeRange { start: None, end: None, offset_ns: 0 };
    let range = match order {
        Greater => TimeRange { start: Some((first_of(time), false)), ..none },
        GreaterOrEqual => TimeRange { start: Some((first_of(time), true)), ..none },
        Less => TimeRange { end: Some((first_of(time), false)), ..none },
        LessOrEqual => TimeRange { end: Some(end_of(time)), ..none },
    };
    with_offset(i, rest, range)
}

/// The point at which a time begins.
fn first_of(time: Written) -> TimePoint {
    match time {
        Written::Point(point) => point,
        Written::Span(start, _) => TimePoint::At(start),
        Written::Age(ns) => TimePoint::Now(ns.saturating_neg()),
    }
}

/// An upper end that takes the time in: the whole of a day, a month and so on.
fn end_of(time: Written) -> (TimePoint, bool) {
    match time {
        Written::Span(_, next) => (TimePoint::At(next), false),
        time => (first_of(time), true),
    }
}

/// Does `(` begin a range here, and not a group? In a range a comma stands after the first time.
pub(super) fn at_round_range(i: Located<'_>) -> bool {
    let after = i.skip(1);
    let after = after.skip(lex::space_len(after.text));
    let len = if at_quote(after) { lex::quoted_len(after.text).unwrap_or(0) } else { lex::bare_len(after.text) };
    let after = after.skip(len);
    after.skip(lex::space_len(after.text)).text.starts_with(',')
}

/// `[2026-01-01 TO now]`
pub(super) fn range(i: Located<'_>) -> Parsed<'_, Filter> {
    i.count_clause()?;
    let (rest, Bounds { low, high }) = bounds(i, |i, _| {
        let (i, ()) = space(i)?;
        let (rest, found) = time(i)?;
        match found {
            Written::Age(_) => {
                let hint = format!("write `now-{}`", word_ahead(i));
                Err(Fault::new(i.until(&rest), "a duration is no end of a range").hint(hint).stop())
            }
            found => Ok((rest, found)),
        }
    })?;
    let start = low.map(|(time, inclusive)| (first_of(time), inclusive));
    let end = high.map(|(time, inclusive)| if inclusive { end_of(time) } else { (first_of(time), false) });
    with_offset(i, rest, TimeRange { start, end, offset_ns: 0 })
}

/// Reads `offset 1h` after a span of time. `offset` with no number after it is a word of its own.
fn with_offset<'a>(i: Located<'a>, rest: Located<'a>, mut range: TimeRange) -> Parsed<'a, Filter> {
    value_end(rest)?;
    let (after, found) = opt(keyword("offset")).parse(rest)?;
    let (after, ()) = space(after)?;
    let word = word_ahead(after);
    if found.is_none() || !word.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit()) {
        return Ok((rest.level_with(&i), Filter::Time(range)));
    }
    let Some(ns) = parse_duration_ns(word) else {
        let fault = Fault::new(after.span(word.len()), format!("`offset` takes a duration, and `{word}` is none"));
        return Err(fault.expected("`offset 1h`").hint(refuse::unit_hint(word)).stop());
    };
    range.offset_ns = ns;
    let rest = after.skip(word.len());
    value_end(rest)?;
    Ok((rest.level_with(&i), Filter::Time(range)))
}

/// A duration, with white space before it.
pub(super) fn duration<'a>(what: &'static str) -> impl FnMut(Located<'a>) -> Result<(Located<'a>, i64), Err<Fault>> {
    move |i| {
        let (i, ()) = space(i)?;
        let word = word_ahead(i);
        match parse_duration_ns(word) {
            Some(ns) => Ok((i.skip(word.len()), ns)),
            None => {
                let fault = Fault::new(i.span(word.len()), format!("{what} must be a duration"));
                Err(fault.expected("`5m` or `1h30m`").stop())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_the_calendar() {
        for (text, start, next) in [
            ("2026", "2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"),
            ("2026Z", "2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"),
            ("2026-12Z", "2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"),
            ("2026-02", "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"),
            ("2026-11-05", "2026-11-05T00:00:00.000Z", "2026-11-06T00:00:00.000Z"),
            ("2026-11-05+02:00", "2026-11-04T22:00:00.000Z", "2026-11-05T22:00:00.000Z"),
            ("2026-11-05T10", "2026-11-05T10:00:00.000Z", "2026-11-05T11:00:00.000Z"),
            ("2026-11-05 10:20", "2026-11-05T10:20:00.000Z", "2026-11-05T10:21:00.000Z"),
            ("2026-11-05T10:20:30-0130", "2026-11-05T11:50:30.000Z", "2026-11-05T11:50:31.000Z"),
        ] {
            match written(text) {
                Some(Written::Span(a, b)) => assert_eq!((a.to_string(), b.to_string()), (start.into(), next.into())),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in ["2026-13", "2026-02-30", "2026-11-05T10:20:30+9", "20261", "2026-1", "now/d", "nowish", "5"] {
            assert!(!matches!(written(text), Some(Written::Span(..))), "{text}");
        }
        assert_eq!(written("now-1h"), Some(Written::Point(TimePoint::Now(-3_600_000_000_000))));
        assert_eq!(written("-1h"), Some(Written::Point(TimePoint::Now(-3_600_000_000_000))));
        assert_eq!(written("5m"), Some(Written::Age(300_000_000_000)));
    }
}
