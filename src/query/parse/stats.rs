//! `stats by (level, _time:5m) count() as n, p95(duration) if (level:error)`

use nom::bytes::complete::tag;
use nom::combinator::opt;
use nom::multi::separated_list1;
use nom::sequence::preceded;
use nom::{Err, Parser};

use super::super::ast::{Bucket, CalendarStep, Filter, GroupKey, Stats, StatsFunction, StatsKind};
use super::super::lex;
use super::atom::{at_quote, count, keyword, mark, name, space, unexpected, value_end, word_ahead};
use super::filter::{group, is_time_name};
use super::input::{Fault, Located, Parsed};
use super::pipe::{listed, whole_name};
use super::{names, time};
use crate::record::{Number, Quantity, Unit};

/// Does a `stats` with its name left out begin here, with this word?
pub(super) fn begins(i: Located<'_>, lower: &str) -> bool {
    lower == "by" || i.skip(lower.len()).text.starts_with('(') && kind_named(lower).is_some()
}

/// Everything after the word `stats`: the keys may stand before or after the functions.
pub(super) fn stats(i: Located<'_>) -> Parsed<'_, Stats> {
    let (rest, before) = opt(preceded(keyword("by"), listed(group_key))).parse(i)?;
    let (rest, functions) = separated_list1(mark(","), function).parse(rest)?;
    let (end, after) = opt(preceded(keyword("by"), listed(group_key))).parse(rest)?;
    let by = match (before, after) {
        (Some(_), Some(_)) => {
            return Err(Fault::new(rest.until(&end), "`by` stands both before and after the functions").stop());
        }
        (before, after) => before.or(after).unwrap_or_default(),
    };
    Ok((end, Stats { by, functions }))
}

/// What a function of this name computes; `quantile` still lacks its phi.
fn kind_named(lower: &str) -> Option<StatsKind> {
    Some(match lower {
        "count" => StatsKind::Count,
        "count_uniq" => StatsKind::CountUniq,
        "sum" => StatsKind::Sum,
        "avg" => StatsKind::Avg,
        "min" => StatsKind::Min,
        "max" => StatsKind::Max,
        "median" => StatsKind::Median,
        "values" => StatsKind::Values,
        "uniq_values" => StatsKind::UniqValues,
        "quantile" => StatsKind::Quantile(0.0),
        _ => {
            let percent: f64 = lower.strip_prefix('p').filter(|d| d.len() == 2)?.parse::<u8>().ok()?.into();
            if !(50.0..=99.0).contains(&percent) {
                return None;
            }
            StatsKind::Quantile(percent / 100.0)
        }
    })
}

/// `count_uniq(a, b) limit 10 if (level:error) as n`
fn function(i: Located<'_>) -> Parsed<'_, StatsFunction> {
    let (i, ()) = space(i)?;
    let len = lex::name_len(i.text);
    let raw = i.text.get(..len).unwrap_or_default();
    let lower = raw.to_ascii_lowercase();
    if raw.is_empty() {
        let fault = i.fault("a stats function is missing here");
        return Err(fault.expected("a function such as `count()` or `avg(duration)`").stop());
    }
    let Some(kind) = kind_named(&lower) else { return Err(unknown_function(i, raw, &lower).stop()) };
    let (open, ()) = space(i.skip(len))?;
    if !open.text.starts_with('(') {
        // Splunk's `stats count by host` can mean nothing else.
        if kind == StatsKind::Count {
            return options(i.skip(len), kind, Vec::new());
        }
        let fault = open.fault(format!("`{raw}` needs the name of a field")).expected("`(`");
        return Err(fault.hint(format!("write `{raw}(field)`")).stop());
    }
    let (rest, kind) = match kind {
        StatsKind::Quantile(_) if lower == "quantile" => {
            let (rest, phi) = phi(open.skip(1))?;
            (rest, StatsKind::Quantile(phi))
        }
        kind => (open.skip(1), kind),
    };
    let (rest, fields) = arguments(open, rest, raw, kind == StatsKind::Count)?;
    options(rest, kind, fields)
}

/// The first argument of `quantile`, with the comma after it.
fn phi(i: Located<'_>) -> Parsed<'_, f64> {
    let (i, ()) = space(i)?;
    let word = word_ahead(i);
    // Zero has one spelling, so that `-0` prints and reads back as itself.
    let phi = word.parse::<f64>().ok().filter(|phi| (0.0..=1.0).contains(phi)).map(f64::abs);
    let plain = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let Some(phi) = phi.filter(|_| plain) else {
        let fault = Fault::new(i.span(word.len()), "`quantile` takes a number from 0 to 1 first");
        return Err(fault.expected("`quantile(0.95, field)`").stop());
    };
    let (rest, ()) = space(i.skip(word.len()))?;
    match rest.text.starts_with(',') {
        true => Ok((rest.skip(1), phi)),
        false => Err(unexpected(rest).expected("`,` and a field's name").stop()),
    }
}

/// The fields between the parentheses; `*`, and nothing for `count`, is all of them.
fn arguments<'a>(open: Located<'a>, i: Located<'a>, function: &str, may_be_empty: bool) -> Parsed<'a, Vec<Box<str>>> {
    let (at, ()) = space(i)?;
    if at.text.starts_with(')') {
        if may_be_empty {
            return Ok((at.skip(1), Vec::new()));
        }
        let fault = at.fault(format!("`{function}` needs the name of a field"));
        return Err(fault.expected("a field's name, or `*` for every field").stop());
    }
    if word_ahead(at) == "*" {
        let (rest, ()) = space(at.skip(1))?;
        if rest.text.starts_with(')') {
            return Ok((rest.skip(1), Vec::new()));
        }
        return Err(unexpected(rest).expected("`)`").stop());
    }
    let argument = |i| {
        let (rest, field) = name(i)?;
        if rest.text.starts_with(['*', '?']) {
            let hint = "name the fields, or write `*` for all of them";
            return Err(rest.fault("a stats function takes no wildcard in a name").hint(hint).stop());
        }
        value_end(rest)?;
        Ok((rest, field))
    };
    let (rest, fields) = separated_list1(mark(","), argument).parse(at)?;
    let (rest, ()) = space(rest)?;
    match rest.text.starts_with(')') {
        true => Ok((rest.skip(1), fields)),
        false if rest.is_empty() => {
            Err(Fault::new(open.span(1), "this parenthesis is not closed").expected("`)`").stop())
        }
        false => Err(unexpected(rest).expected("`,` or `)`").stop()),
    }
}

/// `limit N`, `if (filter)` and the alias.
fn options(i: Located<'_>, kind: StatsKind, fields: Vec<Box<str>>) -> Parsed<'_, StatsFunction> {
    let mut made = StatsFunction { kind, fields, condition: None, alias: None, limit: None };
    let mut rest = i;
    loop {
        let (at, ()) = space(rest)?;
        let word = word_ahead(at);
        if word.eq_ignore_ascii_case("limit") && made.limit.is_none() {
            if !matches!(made.kind, StatsKind::CountUniq | StatsKind::UniqValues | StatsKind::Values) {
                let fault = Fault::new(at.span(5), "`limit` belongs to `count_uniq`, `uniq_values` and `values`");
                return Err(fault.hint("to limit rows write `| limit 10`; an alias of this name needs `as`").stop());
            }
            let (after, n) = count("`limit`")(at.skip(5))?;
            (made.limit, rest) = (Some(n), after);
        } else if word.eq_ignore_ascii_case("if") && made.condition.is_none() {
            let (after, filter) = condition(at.skip(2))?;
            (made.condition, rest) = (Some(filter), after);
        } else {
            break;
        }
    }
    let (after, alias) = opt(preceded(keyword("as"), whole_name)).parse(rest)?;
    if alias.is_some() {
        made.alias = alias;
        return Ok((after, made));
    }
    // The word `as` may be left out, as in LogsQL: `count() hits`.
    let (at, ()) = space(rest)?;
    let word = word_ahead(at);
    let ends = at.first().is_none_or(|c| matches!(c, ',' | '|' | ')')) || word.eq_ignore_ascii_case("by");
    if word.eq_ignore_ascii_case("as") {
        return Err(at.skip(2).fault("the name of the column is missing after `as`").expected("a name").stop());
    }
    if !ends && (at_quote(at) || at.first().is_some_and(lex::is_name_start)) {
        let (after, alias) = whole_name(at)?;
        made.alias = Some(alias);
        rest = after;
    }
    Ok((rest, made))
}

/// `(filter)` after `if`
fn condition(i: Located<'_>) -> Parsed<'_, Filter> {
    let (at, ()) = space(i)?;
    if !at.text.starts_with('(') {
        return Err(unexpected(at).expected("`if (filter)`").stop());
    }
    group(at, None)
}

/// A function that does not exist.
pub(super) fn unknown_function(i: Located<'_>, raw: &str, lower: &str) -> Fault {
    let fault = |message: String| Fault::new(i.span(raw.len()), message);
    if names::LATER_FUNCTIONS.contains(&lower) {
        return fault(format!("the stats function `{raw}` is not supported yet"));
    }
    if let Some((_, ours)) = names::FOREIGN_FUNCTIONS.iter().find(|(n, _)| *n == lower) {
        return fault(format!("there is no stats function `{raw}`")).hint(format!("Did you mean `{ours}`?"));
    }
    fault(format!("there is no stats function `{raw}`"))
        .expected("a function such as `count()`, `avg(field)` or `p95(field)`")
        .hint_opt(names::did_you_mean(lower, names::FUNCTIONS))
}

/// `level`, `_time:5m offset 1h`, `_time:week`, `size:10KiB`
fn group_key(i: Located<'_>) -> Parsed<'_, GroupKey> {
    let (at, ()) = space(i)?;
    let (rest, field) = name(at)?;
    if rest.text.starts_with('(') {
        return whole_name(at).map(|(rest, field)| (rest, GroupKey { field, bucket: None }));
    }
    let (rest, colon) = opt(tag(":")).parse(rest)?;
    if colon.is_none() {
        value_end(rest)?;
        return Ok((rest, GroupKey { field, bucket: None }));
    }
    let (rest, ()) = space(rest)?;
    let (rest, bucket) = if is_time_name(&field) { time_bucket(rest)? } else { number_bucket(rest)? };
    value_end(rest)?;
    Ok((rest, GroupKey { field, bucket: Some(bucket) }))
}

/// `5m`, `day`, `month`, and the offset after it.
fn time_bucket(i: Located<'_>) -> Parsed<'_, Bucket> {
    const STEPS: &[(&str, i64)] = &[
        ("nanosecond", 1),
        ("microsecond", 1_000),
        ("millisecond", 1_000_000),
        ("second", 1_000_000_000),
        ("minute", 60_000_000_000),
        ("hour", 3_600_000_000_000),
        ("day", 86_400_000_000_000),
    ];
    let word = word_ahead(i);
    let lower = word.to_ascii_lowercase();
    let calendar = match lower.as_str() {
        "week" => Some(CalendarStep::Week),
        "month" => Some(CalendarStep::Month),
        "year" => Some(CalendarStep::Year),
        _ => None,
    };
    let named = STEPS.iter().find(|(name, _)| *name == lower).map(|(_, ns)| *ns);
    let after = i.skip(word.len());
    let (rest, step_ns) = match (calendar, named) {
        (Some(_), _) => (after, 0),
        (_, Some(ns)) => (after, ns),
        _ => time::duration("a step of time")(i)?,
    };
    let (rest, offset) = opt(preceded(keyword("offset"), time::duration("`offset`"))).parse(rest)?;
    match calendar {
        Some(_) if offset.is_some() => {
            let fault = Fault::new(i.until(&rest), format!("`offset` with `{word}` is not supported yet"));
            Err(fault.hint("with a fixed step it is: `_time:7d offset 1d`").stop())
        }
        Some(step) => Ok((rest, Bucket::Calendar(step))),
        None if step_ns <= 0 => Err(Fault::new(i.until(&rest), "a step must be more than zero").stop()),
        None => Ok((rest, Bucket::Time { step_ns, offset_ns: offset.unwrap_or(0) })),
    }
}

/// Characters that a step of numbers may have when it is printed: more is no step that anybody wants.
const STEP_CHARS_MAX: usize = 40;

/// `100`, `10KiB`, `250ms`
fn number_bucket(i: Located<'_>) -> Parsed<'_, Bucket> {
    let word = word_ahead(i);
    if word.starts_with('/') {
        let fault = Fault::new(i.span(word.len()), "buckets of networks are not supported yet");
        return Err(fault.stop());
    }
    let step = Quantity::parse(word).filter(|step| {
        let text = step.number.to_string();
        step.number > Number::ZERO && text.len() <= STEP_CHARS_MAX && !text.contains('e')
    });
    let Some(step) = step else {
        let fault = Fault::new(i.span(word.len()), "a bucket's step must be a number greater than zero");
        return Err(fault.expected("`field:100`, `field:10KiB` or `field:250ms`").stop());
    };
    // `2K` is 2000: a count is no unit of its own.
    let unit = step.unit.filter(|unit| *unit != Unit::Count);
    let rest = i.skip(word.len());
    let offset: Result<_, Err<Fault>> = keyword("offset")(rest);
    if let Ok((after, ())) = offset {
        return Err(Fault::new(i.until(&after), "`offset` is not supported yet for buckets of numbers").stop());
    }
    Ok((rest, Bucket::Number { step: Quantity { unit, ..step } }))
}
