//! What stands after a field's colon: words, phrases, patterns, regular expressions, and whatever they lead to.

use nom::bytes::complete::tag;
use nom::character::complete::digit0;
use nom::combinator::opt;
use nom::sequence::preceded;
use nom::{Err, Parser};

use super::super::ast::{Filter, Regex, Test, WildcardPart};
use super::super::lex;
use super::super::limits::{FUZZY_EDITS_MAX, NEAR_WORDS_MAX, REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};
use super::atom::{Escapes, at_quote, bare, push_part, quoted, space, unexpected, value_end, word_ahead};
use super::filter::{Subject, group, is_not, regex_operand};
use super::input::{Fault, Located, Parsed};
use super::{compare, function, ip, refuse, time};
use crate::record::text;

/// A value, a comparison, a range, a list or a group of these.
pub(super) fn value<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    let negation =
        if is_not(i) { 3 } else { usize::from(lex::comparison_at(i.text).is_none() && i.text.starts_with('!')) };
    if negation > 0 {
        let (rest, filter) = value(after_space(i.skip(negation).deeper()?), subject)?;
        return Ok((rest.level_with(&i), Filter::Not(Box::new(filter))));
    }
    if i.text.starts_with('(') && !(*subject == Subject::Time && time::at_round_range(i)) {
        let (rest, filter) = group(i, Some(subject))?;
        value_end(rest)?;
        return Ok((rest, filter));
    }
    single(i, subject)
}

/// The input after white space.
fn after_space(i: Located<'_>) -> Located<'_> {
    i.skip(lex::space_len(i.text))
}

/// A value that is no group and no negation.
fn single<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    match i.first() {
        None | Some(')' | '|' | ']' | '}' | ',') => Err(missing(i).stop()),
        Some('(') => time::range(i),
        Some('[' | '{') if *subject == Subject::Time => time::range(i),
        Some('[' | '{') => compare::range(i, subject),
        Some('~') => regex(i.skip(1), subject),
        Some('=') if i.text.starts_with("=~") => regex(i.skip(2), subject),
        Some('!') if i.text.starts_with("!~") => {
            let (rest, filter) = regex(i.skip(2).deeper()?, subject)?;
            Ok((rest.level_with(&i), Filter::Not(Box::new(filter))))
        }
        Some('>' | '<' | '=' | '!') => compare::comparison(i, subject),
        Some('/') => match slashed(i)? {
            Some((rest, regex)) => {
                i.count_clause()?;
                Ok((rest, subject.test(Test::Regex(regex))))
            }
            None => word(i, subject),
        },
        _ => word(i, subject),
    }
}

/// The fault of a place where a value should be.
pub(super) fn missing(i: Located<'_>) -> Fault {
    let fault = i.fault("a value is missing here").expected("a word, a phrase in quotes, a comparison, a range or `(`");
    if i.text.starts_with(',') { fault.hint("a list is `field:in(a, b)`, a range `field:[1 TO 5]`") } else { fault }
}

/// The expression after `~`, `=~` or `!~`.
fn regex<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    i.count_clause()?;
    let (rest, regex) = regex_operand(i)?;
    Ok((rest, subject.test(Test::Regex(regex))))
}

/// A value that begins with a word or a string.
fn word<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    let word = word_ahead(i);
    if lex::is_operator_word(word) && !i.skip(word.len()).text.starts_with('~') {
        let fault = Fault::new(i.span(word.len()), format!("the operator `{word}` stands where a value should be"));
        return Err(fault.hint(format!("to search for the word, quote it: \"{word}\"")).stop());
    }
    if function::at_list(i) {
        return function::list(i, subject);
    }
    let name = lex::name_len(i.text);
    if name > 0 && i.skip(name).text.starts_with(['(', '[']) {
        return function::call(i, name, subject);
    }
    i.count_clause()?;
    if *subject == Subject::Time {
        return time::value(i);
    }
    if *subject != Subject::Any
        && let Some(range) = ip::network(i, word)?
    {
        let rest = i.skip(word.len());
        value_end(rest)?;
        return Ok((rest, subject.test(Test::IpRange(range))));
    }
    text_filter(i, subject)
}

/// A word, a phrase or a pattern, and what its suffix makes of it.
pub(super) fn text_filter<'a>(i: Located<'a>, subject: &Subject) -> Parsed<'a, Filter> {
    let starts_quoted = at_quote(i);
    let (rest, parts) = pattern(i)?;
    let (rest, test) = match parts.as_slice() {
        [] if rest.text.starts_with('~') => return Err(unexpected(rest).stop()),
        [] if *subject == Subject::Any => {
            let fault = Fault::new(i.until(&rest), "an empty phrase is found nowhere");
            return Err(fault.hint("for records that lack a field write `field:\"\"`").stop());
        }
        [] => (rest, Test::Empty),
        [WildcardPart::Literal(text)] if rest.text.starts_with('~') => {
            let (end, digits) = preceded(tag("~"), digit0).parse(rest)?;
            let span = i.until(&end);
            value_end(end)?;
            let test = if starts_quoted { near(span, text, digits.text)? } else { fuzzy(span, text, digits.text)? };
            (end, test)
        }
        [WildcardPart::Literal(text)] => (rest, Test::Phrase(text.clone())),
        [WildcardPart::Many] if *subject == Subject::Any => {
            value_end(rest)?;
            return Ok((rest, Filter::All));
        }
        [WildcardPart::Many] => (rest, Test::Exists),
        _ => (rest, Test::Wildcard(parts.into())),
    };
    value_end(rest)?;
    Ok((rest, subject.test(test)))
}

/// Bare words and strings next to each other, with a wildcard between them: `"a b"*c`, `tim*`.
fn pattern(i: Located<'_>) -> Parsed<'_, Vec<WildcardPart>> {
    let mut parts = Vec::new();
    let mut rest = i;
    loop {
        let wild_before = matches!(parts.last(), Some(WildcardPart::Many | WildcardPart::One));
        let started = rest.at > i.at;
        if at_quote(rest) && (!started || wild_before) {
            let (next, text) = quoted(rest, Escapes::Text)?;
            push_part(&mut parts, WildcardPart::Literal(text.into()));
            rest = next;
        } else if !started || rest.text.starts_with(['*', '?']) {
            let (next, more) = bare(rest).map_err(|e| match e {
                Err::Error(fault) => fault.stop(),
                e => e,
            })?;
            more.into_iter().for_each(|part| push_part(&mut parts, part));
            rest = next;
        } else {
            return Ok((rest, parts));
        }
    }
}

/// `"a b"~3`
fn near(span: std::ops::Range<usize>, text: &str, digits: &str) -> Result<Test, Err<Fault>> {
    let words: Vec<Box<str>> = text::words(text).map(Into::into).collect();
    if words.len() < 2 {
        let fault = Fault::new(span, "`~` after a string is a distance between words, and needs two of them");
        return Err(fault.hint("for an approximate word leave the quotes out: `word~1`").stop());
    }
    let Some(distance) = digits.parse().ok().filter(|n| *n <= NEAR_WORDS_MAX) else {
        let message = format!("a distance is a number of words up to NEAR_WORDS_MAX ({NEAR_WORDS_MAX})");
        return Err(Fault::new(span, message).expected("`\"a b\"~3`").stop());
    };
    Ok(Test::Near { words, distance })
}

/// `word~1`
fn fuzzy(span: std::ops::Range<usize>, word: &str, digits: &str) -> Result<Test, Err<Fault>> {
    if !word.chars().all(text::is_word_char) {
        let fault = Fault::new(span, "`~` makes one word approximate, and this is more than a word");
        return Err(fault.hint("for words near each other write `\"a b\"~3`").stop());
    }
    let edits = if digits.is_empty() { Some(FUZZY_EDITS_MAX) } else { digits.parse().ok() };
    let Some(edits) = edits.filter(|n| *n <= FUZZY_EDITS_MAX) else {
        let message = format!("a word may be at most FUZZY_EDITS_MAX ({FUZZY_EDITS_MAX}) edits away");
        return Err(Fault::new(span, message).expected("`word~1` or `word~2`").stop());
    };
    Ok(Test::Fuzzy { word: word.into(), edits })
}

/// `/re/i`, where one begins here.
pub(super) fn slashed(i: Located<'_>) -> Result<Option<(Located<'_>, Regex)>, Err<Fault>> {
    let Some((body, len)) = lex::regex_len(i.text) else { return Ok(None) };
    let rest = i.skip(len);
    let pattern = i.text.get(1..1 + body).unwrap_or_default();
    let regex = checked_regex(i, &rest, pattern, len > body + 2)?;
    Ok(Some((rest, regex)))
}

/// A regular expression whose syntax and size are right. `\/` is written as `/` in it.
pub(super) fn checked_regex(
    i: Located<'_>,
    rest: &Located<'_>,
    pattern: &str,
    ignore_case: bool,
) -> Result<Regex, Err<Fault>> {
    let span = i.until(rest);
    if pattern.is_empty() {
        let fault = Fault::new(span, "an empty regular expression matches everything");
        return Err(fault.hint("leave it out, or write `field:*` for records that have the field").stop());
    }
    if pattern.len() > REGEX_BYTES_MAX {
        let message = format!("a regular expression is longer than REGEX_BYTES_MAX ({REGEX_BYTES_MAX} bytes)");
        return Err(Fault::new(span, message).stop());
    }
    i.count_regex()?;
    let pattern = without_escaped_slashes(pattern);
    let built =
        regex::RegexBuilder::new(&pattern).case_insensitive(ignore_case).size_limit(REGEX_COMPILED_BYTES_MAX).build();
    match built {
        Ok(_) => Ok(Regex { pattern: pattern.into(), ignore_case }),
        Err(regex::Error::CompiledTooBig(_)) => {
            let message = format!(
                "a regular expression compiles to more than REGEX_COMPILED_BYTES_MAX ({REGEX_COMPILED_BYTES_MAX} bytes)"
            );
            Err(Fault::new(span, message).hint("use smaller repetitions: `\\w+` for `\\w{1,1000}`").stop())
        }
        Err(error) => {
            // The crate draws its own carets over several lines; its last line says what is wrong.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let fault = Fault::new(span, format!("not a regular expression: {reason}"));
            Err(refuse::regex_hint(fault, &pattern).stop())
        }
    }
}

/// `\/` outside of slashes is just `/`: one spelling, so that the same expression is the same text.
fn without_escaped_slashes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('/') => out.push('/'),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

/// What the right side of `=` is called in an error.
pub(super) const EXACT: &str = "a value";

/// One value of a list or the right side of a comparison: its text, and whether it was quoted.
pub(super) fn operand<'a>(i: Located<'a>, what: &'static str) -> Parsed<'a, (Box<str>, bool)> {
    let (i, ()) = space(i)?;
    if at_quote(i) {
        let (rest, text) = quoted(i, Escapes::Text)?;
        refuse::exact_prefix(i, rest)?;
        return Ok((rest, (text.into(), true)));
    }
    let word = word_ahead(i);
    if word.is_empty() {
        let fault = if i.first().is_none_or(|c| matches!(c, ')' | '|' | ']' | '}' | ',')) {
            i.fault(format!("{what} is missing here")).expected("a word, a number or a text in quotes")
        } else {
            refuse::operand(i)
        };
        return Err(fault.stop());
    }
    if let Some((_, len)) = lex::regex_len(i.text) {
        return Err(refuse::regex_operand(i, len).stop());
    }
    if lex::is_operator_word(word) {
        let fault = Fault::new(i.span(word.len()), format!("the operator `{word}` stands where {what} should be"));
        return Err(fault.hint(format!("to compare with the word, quote it: \"{word}\"")).stop());
    }
    let (rest, parts) = bare(i)?;
    match parts.as_slice() {
        [WildcardPart::Literal(text)] => Ok((rest, (text.clone(), false))),
        parts => Err(refuse::wildcard_operand(i, word, parts, what == EXACT).stop()),
    }
}

/// A mark that may be left out, with white space before it.
pub(super) fn optional_mark<'a>(m: &'static str) -> impl FnMut(Located<'a>) -> Parsed<'a, bool> {
    move |i| opt(super::atom::mark(m)).map(|found| found.is_some()).parse(i)
}
