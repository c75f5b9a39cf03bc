//! Pipes but for `stats`: `| sort by (a desc) | limit 10`.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::char;
use nom::combinator::{map, opt};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded};
use nom::{Err, Parser};

use super::super::ast::{FieldPattern, Pipe, Sort, SortKey};
use super::super::lex;
use super::super::limits::PIPES_MAX;
use super::atom::{at_quote, count, keyword, mark, name, space, unexpected, value_end, word_ahead};
use super::filter::expression;
use super::input::{Fault, Located, Parsed};
use super::{names, refuse, stats};

/// How many rows `head`, `limit` and `top` give where no number is named.
const ROWS_DEFAULT: u64 = 10;

/// All pipes, to the end of the query.
pub(super) fn pipes(mut i: Located<'_>) -> Parsed<'_, Vec<Pipe>> {
    let mut pipes = Vec::new();
    loop {
        let (at, ()) = space(i)?;
        if at.is_empty() {
            return Ok((at, pipes));
        }
        refuse::line_filter(at)?;
        if !at.text.starts_with('|') || at.text.starts_with("||") {
            return Err(unexpected(at).expected("`|` and a pipe, or the end").stop());
        }
        if pipes.len() >= PIPES_MAX {
            return Err(at.fault(format!("more than PIPES_MAX ({PIPES_MAX}) pipes")).stop());
        }
        let (rest, pipe) = preceded(char('|'), one).parse(at)?;
        pipes.push(pipe);
        i = rest;
    }
}

/// One pipe, after its `|`.
fn one(i: Located<'_>) -> Parsed<'_, Pipe> {
    let (i, ()) = space(i)?;
    let len = lex::name_len(i.text);
    let raw = i.text.get(..len).unwrap_or_default();
    let lower = raw.to_ascii_lowercase();
    let rest = i.skip(len);
    match lower.as_str() {
        "fields" | "keep" => map(patterns, Pipe::Fields).parse(rest),
        "delete" | "drop" | "rm" | "del" => map(patterns, Pipe::Delete).parse(rest),
        "filter" | "where" => map(|i| expression(i, None), Pipe::Filter).parse(rest),
        "limit" | "head" => map(rows("`limit`"), |n| Pipe::Limit(n.unwrap_or(ROWS_DEFAULT))).parse(rest),
        "offset" | "skip" => map(count("`offset`"), Pipe::Offset).parse(rest),
        "sort" | "order" => map(sort, Pipe::Sort).parse(rest),
        "top" => top(rest),
        "uniq" => uniq(rest),
        "stats" => map(stats::stats, Pipe::Stats).parse(rest),
        _ if stats::begins(i, &lower) => map(stats::stats, Pipe::Stats).parse(i),
        _ => Err(unknown(i, raw, &lower).stop()),
    }
}

/// A pipe that does not exist.
fn unknown(i: Located<'_>, raw: &str, lower: &str) -> Fault {
    if raw.is_empty() {
        return i.fault("a pipe is missing here").expected("a pipe such as `stats`, `sort`, `fields` or `limit`");
    }
    let fault = |message: String| Fault::new(i.span(raw.len()), message);
    if let Some((_, hint)) = names::FOREIGN_PIPES.iter().find(|(n, _)| *n == lower) {
        return fault(format!("the pipe `{raw}` is not part of this language")).hint(*hint);
    }
    let (after, ()) = space(i.skip(raw.len())).unwrap_or((i, ()));
    if names::LATER_PIPES.contains(&lower) {
        let fault = fault(format!("the pipe `{raw}` is not supported yet"));
        return match lower {
            "count" => fault.hint("write `| stats count()`"),
            "first" => fault.hint("write `| sort by (field) | limit 10`"),
            "last" => fault.hint("write `| sort by (field desc) | limit 10`"),
            "timechart" => fault.hint("write `| stats by (_time:5m) count()`"),
            _ => fault,
        };
    }
    if after.text.starts_with('(') {
        return stats::unknown_function(i, raw, lower);
    }
    if lex::comparison_at(after.text).is_some() {
        return fault(format!("there is no pipe `{raw}`")).hint(format!("to filter, write `| filter {raw}..`"));
    }
    fault(format!("there is no pipe `{raw}`"))
        .hint_opt(names::did_you_mean(lower, names::PIPES))
        .expected("a pipe such as `stats`, `sort`, `fields` or `limit`")
}

/// A number of rows that may be left out.
fn rows<'a>(what: &'static str) -> impl FnMut(Located<'a>) -> Parsed<'a, Option<u64>> {
    move |i| {
        let (at, ()) = space(i)?;
        if at.is_empty() || at.text.starts_with(['|', ')']) {
            return Ok((i, None));
        }
        map(count(what), Some).parse(at)
    }
}

/// Names with commas between them, in parentheses or not.
pub(super) fn listed<'a, T>(
    mut item: impl FnMut(Located<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Located<'a>) -> Parsed<'a, Vec<T>> {
    move |i| {
        let (at, ()) = space(i)?;
        let item = |i: Located<'a>| {
            // Once a list has begun, a part that is missing is an error and not the list's end.
            item(i).map_err(|e| match e {
                Err::Error(fault) => fault.stop(),
                e => e,
            })
        };
        if !at.text.starts_with('(') {
            return separated_list1(mark(","), item).parse(i);
        }
        let (rest, items) = preceded(mark("("), separated_list1(mark(","), item)).parse(at)?;
        let (rest, ()) = space(rest)?;
        if !rest.text.starts_with(')') {
            let fault = if rest.is_empty() {
                Fault::new(at.span(1), "the parenthesis that opens here is not closed")
            } else {
                unexpected(rest)
            };
            return Err(fault.expected("`,` or `)`").stop());
        }
        Ok((rest.skip(1), items))
    }
}

/// Names of fields, each with a `*` at its end or not, or `*` alone.
fn patterns(i: Located<'_>) -> Parsed<'_, Vec<FieldPattern>> {
    listed(|i| {
        let (at, ()) = space(i)?;
        if at.text.starts_with('*') {
            let rest = at.skip(1);
            value_end(rest)?;
            return Ok((rest, FieldPattern { name: "".into(), prefix: true }));
        }
        if at.text.starts_with('-') {
            let hint = "to drop fields write `| delete a, b`";
            return Err(at.fault("a `-` before a field's name").hint(hint).stop());
        }
        let (rest, name) = name(at)?;
        let (rest, star) = opt(tag("*")).parse(rest)?;
        value_end(rest)?;
        Ok((rest, FieldPattern { name, prefix: star.is_some() }))
    })(i)
}

/// A name that nothing can be part of but its own characters.
pub(super) fn whole_name(i: Located<'_>) -> Parsed<'_, Box<str>> {
    let (rest, found) = name(i)?;
    if rest.text.starts_with('(') {
        return Err(unexpected(rest).hint("the name of a column such as `count()` needs quotes: \"count()\"").stop());
    }
    value_end(rest)?;
    Ok((rest, found))
}

/// `a`, `a desc`, `-a`
fn sort_key(i: Located<'_>) -> Parsed<'_, SortKey> {
    let (i, ()) = space(i)?;
    let (rest, sign) = opt(alt((char('-'), char('+')))).parse(i)?;
    let (rest, field) = whole_name(rest)?;
    let (rest, order) = opt(alt((map(keyword("desc"), |()| true), map(keyword("asc"), |()| false)))).parse(rest)?;
    if sign.is_some() && order.is_some() {
        return Err(Fault::new(i.until(&rest), "an order is named twice").expected("`-field` or `field desc`").stop());
    }
    Ok((rest, SortKey { field, descending: order.unwrap_or(sign == Some('-')) }))
}

/// `by (a desc, b) desc offset 5 limit 10 rank as r`
fn sort(i: Located<'_>) -> Parsed<'_, Sort> {
    let mut sort = Sort { by: Vec::new(), descending: false, offset: 0, limit: None, rank: None };
    let (rest, by) = opt(keyword("by")).parse(i)?;
    let (mut rest, ()) = space(rest)?;
    let word = word_ahead(rest);
    let options = ["desc", "asc", "offset", "limit", "rank"].iter().any(|o| word.eq_ignore_ascii_case(o));
    if by.is_some() || !options && !rest.is_empty() && !rest.text.starts_with(['|', ')']) {
        let (after, keys) = listed(sort_key)(rest)?;
        sort.by = keys;
        rest = after;
    }
    if let (after, Some(descending)) =
        opt(alt((map(keyword("desc"), |()| true), map(keyword("asc"), |()| false)))).parse(rest)?
    {
        sort.descending = descending;
        rest = after;
    }
    // Each option once, in any order.
    let (mut offset, mut limit) = (None, None);
    loop {
        let (at, ()) = space(rest)?;
        let word = word_ahead(at).to_ascii_lowercase();
        let after = at.skip(word.len());
        let twice = match word.as_str() {
            "offset" => {
                let (next, n) = count("`offset`")(after)?;
                rest = next;
                offset.replace(n).is_some()
            }
            "limit" => {
                let (next, n) = count("`limit`")(after)?;
                rest = next;
                limit.replace(n).is_some()
            }
            "rank" => {
                let (next, column) = rank(after)?;
                rest = next;
                sort.rank.replace(column).is_some()
            }
            _ => break,
        };
        if twice {
            return Err(Fault::new(at.span(word.len()), format!("`{word}` is named twice")).stop());
        }
    }
    sort.offset = offset.unwrap_or(0);
    sort.limit = limit;
    Ok((rest, sort))
}

/// The column's name after `rank`: `rank as r`, or `rank` by itself.
fn rank(i: Located<'_>) -> Parsed<'_, Box<str>> {
    let (rest, column) = opt(preceded(keyword("as"), whole_name)).parse(i)?;
    Ok((rest, column.unwrap_or_else(|| "rank".into())))
}

/// `top 5 by (a, b) hits as h rank as r`
fn top(i: Located<'_>) -> Parsed<'_, Pipe> {
    let (at, ()) = space(i)?;
    let numbered = at.first().is_some_and(|c| c.is_ascii_digit());
    let (rest, limit) = if numbered { map(count("`top`"), Some).parse(at)? } else { (i, None) };
    let (rest, _) = opt(keyword("by")).parse(rest)?;
    let (at, ()) = space(rest)?;
    if at.is_empty() || at.text.starts_with('|') {
        return Err(at.fault("`top` needs fields").expected("`top 5 by (field)`").stop());
    }
    let (mut rest, by) = listed(whole_name)(rest)?;
    let (mut hits, mut rank_column) = (None, None);
    loop {
        let with_hits: Parsed<'_, ()> = preceded(opt(keyword("with")), keyword("hits")).parse(rest);
        if let Ok((after, ())) = with_hits {
            let (after, column) = opt(preceded(keyword("as"), whole_name)).parse(after)?;
            hits = Some(column.unwrap_or_else(|| "hits".into()));
            rest = after;
        } else if let (after, Some(())) = opt(keyword("rank")).parse(rest)? {
            let (after, column) = rank(after)?;
            rank_column = Some(column);
            rest = after;
        } else {
            break;
        }
    }
    let limit = limit.unwrap_or(ROWS_DEFAULT);
    Ok((rest, Pipe::Top { limit, by, hits: hits.unwrap_or_else(|| "hits".into()), rank: rank_column }))
}

/// `uniq by (a, b) with hits limit 10`
fn uniq(i: Located<'_>) -> Parsed<'_, Pipe> {
    let (rest, by_word) = opt(keyword("by")).parse(i)?;
    let (at, ()) = space(rest)?;
    let word = word_ahead(at);
    let options = ["with", "hits", "limit"].iter().any(|o| word.eq_ignore_ascii_case(o));
    let names_here = by_word.is_some() || !options && !at.is_empty() && !at.text.starts_with(['|', ')']);
    let (mut rest, by) = match names_here {
        true => match every_field(rest) {
            Ok((rest, ())) => (rest, Vec::new()),
            Err(_) => listed(whole_name)(rest)?,
        },
        false => (rest, Vec::new()),
    };
    let (mut hits, mut limit) = (false, None);
    loop {
        let with_hits: Parsed<'_, ()> = preceded(opt(keyword("with")), keyword("hits")).parse(rest);
        if let Ok((after, ())) = with_hits {
            (hits, rest) = (true, after);
        } else if let (after, Some(n)) = opt(preceded(keyword("limit"), count("`limit`"))).parse(rest)? {
            (limit, rest) = (Some(n), after);
        } else {
            break;
        }
    }
    let (at, ()) = space(rest)?;
    if at_quote(at) {
        return Err(unexpected(at).expected("`with hits`, `limit N`, `|` or the end").stop());
    }
    Ok((rest, Pipe::Uniq { by, hits, limit }))
}

/// `*` or `(*)`
fn every_field(i: Located<'_>) -> Parsed<'_, ()> {
    let star = || preceded(space, tag("*"));
    map(alt((delimited(mark("("), star(), mark(")")), star())), |_| ()).parse(i)
}
