//! Logic and clauses: `a AND NOT (b OR field:c)`.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::{opt, value as known};
use nom::{Err, Parser};

use super::super::ast::{FieldRef, Filter, Regex, Test};
use super::super::lex;
use super::atom::{
    Escapes, at_quote, bare_name, checked_name, keyword, mark, quoted, space, unexpected, value_end, word_ahead,
};
use super::function;
use super::input::{Fault, Located, Parsed};
use super::refuse;
use super::stream;
use super::value::{self, text_filter};

/// What a value is tested against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// No field is named: any field of the record.
    Any,
    /// The record's time.
    Time,
    /// The field of this name.
    Field(Box<str>),
}

impl Subject {
    /// The subject that a name stands for.
    pub fn named(name: Box<str>) -> Self {
        if is_time_name(&name) { Subject::Time } else { Subject::Field(name) }
    }

    /// The test of this subject.
    pub fn test(&self, test: Test) -> Filter {
        let field = match self {
            Subject::Any => FieldRef::Any,
            Subject::Time => FieldRef::Named("timestamp".into()),
            Subject::Field(name) => FieldRef::Named(name.clone()),
        };
        Filter::Field { field, test }
    }
}

/// Is this one of the names of the record's time? (`@timestamp` bare is `timestamp`; quoted it comes as it is.)
pub(super) fn is_time_name(name: &str) -> bool {
    matches!(name, "timestamp" | "_time" | "@timestamp")
}

/// A filter: clauses with AND, written or implied, before OR. With a subject it is the inside of `field:(..)`.
///
/// Here and in [`conjunction`] a loop stands for nom's `separated_list1`: these are the functions that recurse, and
/// each level of a combinator costs kilobytes of stack in a debug build.
pub(super) fn expression<'a>(i: Located<'a>, subject: Option<&Subject>) -> Parsed<'a, Filter> {
    let (mut rest, first) = conjunction(i, subject)?;
    let mut parts = vec![first];
    while let (after, Some(())) = opt(or).parse(rest)? {
        let (next, part) = conjunction(after, subject)?;
        parts.push(part);
        rest = next;
    }
    Ok((rest, flat(parts, Filter::Or)))
}

/// `OR`, `||`
fn or(i: Located<'_>) -> Parsed<'_, ()> {
    alt((known((), mark("||")), keyword("or"))).parse(i)
}

/// `AND`, `&&`, or nothing where another clause begins.
fn and(i: Located<'_>) -> Parsed<'_, ()> {
    alt((known((), mark("&&")), keyword("and"), another_clause)).parse(i)
}

/// Joins parts: a single one stands for itself, and parts of the same kind are taken in.
fn flat(parts: Vec<Filter>, join: fn(Vec<Filter>) -> Filter) -> Filter {
    let kind = std::mem::discriminant(&join(Vec::new()));
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        let same = std::mem::discriminant(&part) == kind;
        match part {
            Filter::And(inner) | Filter::Or(inner) if same => out.extend(inner),
            part => out.push(part),
        }
    }
    if out.len() > 1 { join(out) } else { out.pop().unwrap_or(Filter::All) }
}

/// `a AND b`, `a && b`, `a b`.
fn conjunction<'a>(i: Located<'a>, subject: Option<&Subject>) -> Parsed<'a, Filter> {
    let (mut rest, first) = negation(i, subject)?;
    let mut parts = vec![first];
    while let (after, Some(())) = opt(and).parse(rest)? {
        let (next, part) = negation(after, subject)?;
        parts.push(part);
        rest = next;
    }
    Ok((rest, flat(parts, Filter::And)))
}

/// Does another clause begin here, with no operator before it?
fn another_clause(i: Located<'_>) -> Parsed<'_, ()> {
    let (rest, ()) = space(i)?;
    let ends = match rest.first() {
        None | Some(')' | '|') => true,
        _ => word_ahead(rest).eq_ignore_ascii_case("or") && !rest.skip(2).text.starts_with('~'),
    };
    if ends { Err(Err::Error(rest.fault("the filter ends here"))) } else { Ok((rest, ())) }
}

/// `NOT a`, `-a`, `!a`, `+a`.
///
/// This, [`clause`], [`group`] and [`value::value`] are all that recurses besides the two above, and do little else, so
/// that their frames stay small.
fn negation<'a>(i: Located<'a>, subject: Option<&Subject>) -> Parsed<'a, Filter> {
    let (i, ()) = space(i)?;
    let Some((rest, negated)) = prefix(i)? else {
        return match subject {
            None => clause(i),
            Some(subject) => {
                no_field_inside(i, subject)?;
                value::value(i, subject)
            }
        };
    };
    let (rest, inner) = negation(rest.deeper()?, subject)?;
    Ok((rest.level_with(&i), if negated { Filter::Not(Box::new(inner)) } else { inner }))
}

/// The input after a prefix of a clause, and whether it negates; nothing where none stands here.
fn prefix(i: Located<'_>) -> Result<Option<(Located<'_>, bool)>, Err<Fault>> {
    let word = word_ahead(i);
    if is_not(i) {
        return Ok(Some((i.skip(word.len()), true)));
    }
    let sign = match i.first() {
        Some('!') if !i.text.starts_with("!=") && !i.text.starts_with("!~") => return Ok(Some((i.skip(1), true))),
        Some(sign @ ('-' | '+')) => sign,
        _ => return Ok(None),
    };
    let rest = i.skip(1);
    match rest.first() {
        Some('-' | '+') => Err(Fault::new(i.span(2), format!("`{sign}` twice before a clause"))
            .hint(format!("to search for the text, quote it: \"{word}\""))
            .stop()),
        Some(c) if !c.is_whitespace() && c != ')' && c != '|' => Ok(Some((rest, sign == '-'))),
        _ => Err(i
            .fault(format!("`{sign}` has no clause right after it"))
            .hint(format!("to search for the character, quote it: \"{sign}\""))
            .stop()),
    }
}

/// Does the operator `NOT` stand here? (`not~1` is an approximate word.)
pub(super) fn is_not(i: Located<'_>) -> bool {
    word_ahead(i).eq_ignore_ascii_case("not") && !i.skip(3).text.starts_with('~')
}

/// `( .. )`, one level deeper.
pub(super) fn group<'a>(i: Located<'a>, subject: Option<&Subject>) -> Parsed<'a, Filter> {
    let (rest, _) = mark("(")(i)?;
    let (rest, filter) = expression(rest.deeper()?, subject)?;
    Ok((group_end(i, rest.level_with(&i))?, filter))
}

/// The input after the `)` of the group that opens at `i`.
fn group_end<'a>(i: Located<'a>, rest: Located<'a>) -> Result<Located<'a>, Err<Fault>> {
    let (rest, ()) = space(rest)?;
    if rest.text.starts_with(')') {
        return Ok(rest.skip(1));
    }
    let fault = if rest.is_empty() {
        Fault::new(i.span(1), "the parenthesis that opens here is not closed").expected("`)`")
    } else {
        unexpected(rest).expected("`)`, or a clause")
    };
    Err(fault.stop())
}

/// Refuses `name:` inside of `field:(..)`.
fn no_field_inside(i: Located<'_>, subject: &Subject) -> Result<(), Err<Fault>> {
    let name = lex::name_len(i.text);
    let after = i.skip(name).text;
    if name == 0 || !after.starts_with(':') || after.starts_with("://") || *subject == Subject::Time {
        return Ok(());
    }
    Err(Fault::new(i.span(name + 1), "a field inside of another field's parentheses")
        .hint("close the parenthesis before it; or quote the value, where the colon is part of it")
        .stop())
}

/// The fault of a place where a clause should be.
fn missing(i: Located<'_>) -> Fault {
    let fault = i.fault(match i.first() {
        None => "the query ends where a clause should be",
        _ => "a clause is missing here",
    });
    fault.expected("a word, a phrase, `field:value`, a comparison or `(`")
}

/// One clause with no field before it yet.
fn clause(i: Located<'_>) -> Parsed<'_, Filter> {
    if !i.text.starts_with('(') {
        return single_clause(i);
    }
    let (rest, filter) = group(i, None)?;
    value_end(rest)?;
    Ok((rest, filter))
}

/// A clause that is no group.
fn single_clause(i: Located<'_>) -> Parsed<'_, Filter> {
    match i.first() {
        None | Some(')' | '|') => Err(missing(i).stop()),
        Some('{') => stream::selector(i),
        Some('>' | '<' | '=') => Err(refuse::comparison_without_field(i).stop()),
        Some('!') if i.text.starts_with("!=") => Err(refuse::comparison_without_field(i).stop()),
        Some('~' | '!') => value::value(i, &Subject::Any),
        Some('[') => Err(i.fault("a range with no field before it").hint("write `field:[1 TO 5]`").stop()),
        Some(':') => Err(i.fault("a colon with no field before it").expected("a field's name before the colon").stop()),
        Some('"' | '\'' | '`') => quoted_clause(i),
        Some('/') if lex::regex_len(i.text).is_some() => value::value(i, &Subject::Any),
        Some('*') if i.text.starts_with("*:") => any_field(i),
        _ => word_clause(i),
    }
}

/// `*:x` is `x`, and Lucene's `*:*` is every record.
fn any_field(i: Located<'_>) -> Parsed<'_, Filter> {
    let rest = i.skip(2);
    if word_ahead(rest) == "*" {
        i.count_clause()?;
        return Ok((rest.skip(1), Filter::All));
    }
    value::value(rest, &Subject::Any)
}

/// A string: a phrase, or a field's name where a colon or a comparison follows.
fn quoted_clause(i: Located<'_>) -> Parsed<'_, Filter> {
    let (rest, text) = quoted(i, Escapes::Text)?;
    let (next, ()) = space(rest)?;
    let comparison = lex::comparison_at(next.text).is_some_and(|op| op != ":");
    if rest.text.starts_with(':') || comparison {
        let name = checked_name(i, &rest, text)?;
        return field_clause(i, name, if comparison { next } else { rest });
    }
    if next.at > rest.at
        && let Some(clause) = list_of(i, rest, next, || text)?
    {
        return Ok(clause);
    }
    i.count_clause()?;
    text_filter(i, &Subject::Any)
}

/// A clause that begins with a bare word: a word, a field's name, a function or a keyword.
fn word_clause(i: Located<'_>) -> Parsed<'_, Filter> {
    let len = lex::name_len(i.text);
    let word = word_ahead(i);
    let raw = i.text.get(..len).unwrap_or_default();
    let after = i.skip(len);
    if len > 0 && after.text.starts_with(':') && !after.text.starts_with("://") {
        if after.text.starts_with("::") {
            return Err(Fault::new(i.span(word.len().max(len + 2)), "`::` could begin a value or be part of a word")
                .hint(format!("quote it: \"{word}\""))
                .stop());
        }
        // Elasticsearch's `book.\*:x` asks every field of this prefix, and not one of this name.
        if raw.contains("\\*") {
            return Err(refuse::wildcard_name(i, len).stop());
        }
        return field_clause(i, checked_name(i, &after, bare_name(raw))?, after);
    }
    if len > 0 && after.text.starts_with('(') && !lex::is_operator_word(raw) {
        return function::call(i, len, &Subject::Any);
    }
    if len >= word.len()
        && len > 0
        && let Some(clause) = named_by_what_follows(i, raw, after)?
    {
        return Ok(clause);
    }
    if lex::is_operator_word(word) && !i.skip(word.len()).text.starts_with('~') {
        let message = format!("the operator `{word}` has no clause before it");
        return Err(Fault::new(i.span(word.len()), message).hint("to search for the word, quote it").stop());
    }
    refuse::wildcard_in_name(i, word)?;
    i.count_clause()?;
    text_filter(i, &Subject::Any)
}

/// `name > 5`, `name IN (..)`, `name NOT IN (..)`: a name that is a field only by what follows it.
fn named_by_what_follows<'a>(
    i: Located<'a>,
    raw: &str,
    after: Located<'a>,
) -> Result<Option<(Located<'a>, Filter)>, Err<Fault>> {
    let (next, ()) = space(after)?;
    if lex::is_operator_word(raw) {
        return Ok(None);
    }
    if lex::comparison_at(next.text).is_some() {
        return field_clause(i, checked_name(i, &after, bare_name(raw))?, next).map(Some);
    }
    if next.at == after.at {
        return Ok(None);
    }
    refuse::foreign_operator(i, next)?;
    list_of(i, after, next, || bare_name(raw))
}

/// `IN (..)` or `NOT IN (..)` at `next`, of the field that stands from `i` to `after`; nothing where there is no list.
fn list_of<'a>(
    i: Located<'a>,
    after: Located<'a>,
    next: Located<'a>,
    name: impl FnOnce() -> String,
) -> Result<Option<(Located<'a>, Filter)>, Err<Fault>> {
    let (list, negated) = opt(keyword("not")).parse(next)?;
    let (list, ()) = space(list)?;
    if !function::at_list(list) {
        return Ok(None);
    }
    let subject = Subject::named(checked_name(i, &after, name())?);
    let level = if negated.is_some() { list.deeper()? } else { list };
    let (rest, filter) = value::value(level, &subject)?;
    let filter = if negated.is_some() { Filter::Not(Box::new(filter)) } else { filter };
    Ok(Some((rest.level_with(&i), filter)))
}

/// What follows a field's name: a colon and a value, or a comparison.
fn field_clause<'a>(i: Located<'a>, name: Box<str>, rest: Located<'a>) -> Parsed<'a, Filter> {
    let (rest, _) = opt(tag(":")).parse(rest)?;
    let (rest, ()) = space(rest)?;
    match &*name {
        // Lucene's and Elasticsearch's ways to ask for presence.
        "_exists_" | "_missing_" => {
            i.count_clause()?;
            let (end, field) = super::atom::name(rest)?;
            value_end(end)?;
            let test = if &*name == "_exists_" { Test::Exists } else { Test::Empty };
            return Ok((end, Subject::named(field).test(test)));
        }
        "_stream" if rest.text.starts_with('{') => return stream::selector(rest),
        "_stream" => {
            let fault = rest.fault("`_stream` takes a selector").expected("`_stream:{label=\"value\"}`");
            return Err(fault.hint("labels are fields too: `label:value`").stop());
        }
        _ => {}
    }
    value::value(rest, &Subject::named(name))
}

/// A regular expression after `~`: quoted, in slashes, or bare.
pub(super) fn regex_operand(i: Located<'_>) -> Parsed<'_, Regex> {
    let (i, ()) = space(i)?;
    if let Some(found) = value::slashed(i)? {
        return Ok(found);
    }
    let (rest, pattern) = if at_quote(i) {
        quoted(i, Escapes::Regex)?
    } else {
        let word = word_ahead(i);
        if word.is_empty() {
            let fault = i.fault("a regular expression is missing here");
            return Err(fault.expected("a regular expression in quotes or slashes").stop());
        }
        (i.skip(word.len()), word.to_owned())
    };
    value_end(rest)?;
    let regex = value::checked_regex(i, &rest, &pattern, false)?;
    Ok((rest, regex))
}
