//! What is refused, and what is said about it: habits from other languages, and forms that are not supported yet.

use nom::Err;

use super::super::ast::WildcardPart;
use super::super::lex;
use super::atom::{at_quote, space, unexpected, word_ahead};
use super::input::{Fault, Located};
use super::names;

/// `> 5` with nothing before it.
pub(super) fn comparison_without_field(i: Located<'_>) -> Fault {
    let op = lex::comparison_at(i.text).unwrap_or("=");
    let fault = Fault::new(i.span(op.len()), "a comparison with no field").expected("a field's name before it");
    let rest = i.skip(op.len());
    let after = rest.skip(lex::space_len(rest.text));
    if at_quote(after) && op.starts_with('!') {
        fault.hint("for records without a text write `NOT \"text\"`")
    } else if at_quote(after) {
        fault.hint(format!("name the field, as in `message{op}\"..\"`, or leave the `{op}` out for a phrase"))
    } else {
        let value: String = word_ahead(after).chars().take(40).collect();
        let value = if value.is_empty() { "1000" } else { &value };
        fault.hint(format!("Did you mean duration:{op}{value}? A comparison needs the name of a field before it"))
    }
}

/// A wildcard in a field's name: `http*:500`.
pub(super) fn wildcard_in_name(i: Located<'_>, word: &str) -> Result<(), Err<Fault>> {
    let Some(colon) = word.find(':') else { return Ok(()) };
    let name = word.get(..colon).unwrap_or_default();
    let rest = word.get(colon..).unwrap_or_default();
    let plain = name.chars().all(|c| c.is_alphanumeric() || "_.-@*?".contains(c));
    let starts = name.starts_with(|c| lex::is_name_start(c) || c == '*');
    if rest.starts_with("://") || !plain || !starts || !lex::has_wildcard(name) {
        return Ok(());
    }
    Err(wildcard_name(i, colon).stop())
}

/// The fault of a field's name of so many bytes that has a wildcard.
pub(super) fn wildcard_name(i: Located<'_>, len: usize) -> Fault {
    Fault::new(i.span(len), "a wildcard in a field's name is not supported")
        .hint("`*:word` looks in every field; join fields with `OR`; quote the text if it is no field")
}

/// Words that compare in other languages: `a LIKE 'x%'`, `a contains "x"`, `a IS NULL`, `a BETWEEN 1 AND 5`.
pub(super) fn foreign_operator(i: Located<'_>, next: Located<'_>) -> Result<(), Err<Fault>> {
    const WORDS: &[(&str, &str)] = &[
        ("like", "write a pattern, `field:pre*`, or a regular expression, `field:~\"re\"`"),
        ("ilike", "write a pattern, `field:pre*`; words and patterns ignore case"),
        ("rlike", "write `field:~\"re\"`"),
        ("regexp", "write `field:~\"re\"`"),
        ("matches", "write `field:~\"re\"`"),
        ("between", "write a range, `field:[1 TO 5]`"),
        ("contains", "write `field:word`, or `field:*part*` for a part of a word"),
        ("has", "write `field:word`"),
        ("startswith", "write `field:pre*`, or `field:~\"^pre\"` for the whole value"),
        ("endswith", "write `field:~\"end$\"`"),
        ("is", "write `field:*` for a value that is there, `field:\"\"` for one that is missing or empty"),
    ];
    let word = word_ahead(next);
    let Some((name, hint)) = WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) else { return Ok(()) };
    let (after, ()) = space(next.skip(word.len()))?;
    let upper = word.chars().all(|c| c.is_ascii_uppercase());
    let null = |i: Located<'_>| word_ahead(i).eq_ignore_ascii_case("null");
    let meant = match *name {
        "is" => {
            let not = word_ahead(after).eq_ignore_ascii_case("not");
            null(after) || not && null(after.skip(3 + lex::space_len(after.skip(3).text)))
        }
        // In lower case these are words that people search for, unless a string or a number follows.
        "between" => after.first().is_some_and(|c| c.is_ascii_digit()) || upper && !after.is_empty(),
        _ => at_quote(after) || upper && !after.is_empty() && !after.text.starts_with(['|', ')']) && !joins(after),
    };
    if !meant {
        return Ok(());
    }
    Err(Fault::new(next.span(word.len()), format!("the operator `{word}` is not part of this language"))
        .expected("`:`, `=`, `!=`, `<`, `<=`, `>`, `>=`, `=~` or `IN`")
        .hint(format!("{hint}; to search for the words themselves, quote them: \"{} {word}\"", word_ahead(i)))
        .stop())
}

/// Does an operator between clauses stand here?
fn joins(i: Located<'_>) -> bool {
    i.text.starts_with("&&") || lex::is_operator_word(word_ahead(i))
}

/// Operators that look like ours: `<>`, `=<`, `=>`, `===`.
pub(super) fn operator(i: Located<'_>, rest: Located<'_>) -> Result<(), Err<Fault>> {
    let Some(next @ ('>' | '<' | '=' | '~')) = rest.first() else { return Ok(()) };
    let len = rest.at - i.at + next.len_utf8();
    let written = i.text.get(..len).unwrap_or_default();
    let meant = match written {
        "<>" => "`!=`",
        "=<" => "`<=`",
        "=>" => "`>=`",
        "===" | "!==" => "`=` or `!=`",
        _ => "one of `=`, `!=`, `<`, `<=`, `>`, `>=`, `=~`, `!~`",
    };
    Err(Fault::new(i.span(len), format!("`{written}` is no comparison")).hint(format!("Did you mean {meant}?")).stop())
}

/// LogsQL's `field:="pre"*`.
pub(super) fn exact_prefix(i: Located<'_>, rest: Located<'_>) -> Result<(), Err<Fault>> {
    if !rest.text.starts_with('*') {
        return Ok(());
    }
    Err(Fault::new(i.until(&rest.skip(1)), "`field:=\"pre\"*` is not supported yet").hint(PREFIX_HINT).stop())
}

const PREFIX_HINT: &str = "for values that begin with a text write `field:~\"^pre\"`";

/// A bare value with a wildcard where whole values are compared.
pub(super) fn wildcard_operand(i: Located<'_>, word: &str, parts: &[WildcardPart], exact: bool) -> Fault {
    let span = i.span(word.len());
    match parts {
        [WildcardPart::Many] => {
            Fault::new(span, "`*` is no value to compare with").hint("for records that have the field write `field:*`")
        }
        [WildcardPart::Literal(_), WildcardPart::Many] if exact => {
            Fault::new(span, "`field:=pre*` is not supported yet").hint(PREFIX_HINT)
        }
        _ => Fault::new(span, "comparisons and lists take no wildcards")
            .hint("for a pattern write `field:a*b`; to compare with the characters themselves, quote the value"),
    }
}

/// What can't begin an operand.
pub(super) fn operand(i: Located<'_>) -> Fault {
    let fault = unexpected(i).expected("a word, a number or a text in quotes");
    match i.first() {
        Some('(') => fault.hint("for one of several values write `field:in(a, b)` or `field:(a OR b)`"),
        _ => fault,
    }
}

/// `field=/re/`: the text, or what matches it?
pub(super) fn regex_operand(i: Located<'_>, len: usize) -> Fault {
    Fault::new(i.span(len), "a regular expression stands where a value should be")
        .hint("for the expression write `field:/re/` or `field=~\"re\"`, for the text itself quote it")
}

/// What to do about a regular expression that other engines take.
pub(super) fn regex_hint(fault: Fault, pattern: &str) -> Fault {
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|around| pattern.contains(around)) {
        fault.hint("look-around is not supported, so that matching takes linear time; join two filters with AND")
    } else if pattern.starts_with(['*', '+', '?']) {
        fault.hint("a repetition has nothing before it; for any text write `.*`")
    } else {
        fault.hint("a character that means itself needs a backslash: `\\(`, `\\[`, `\\.`")
    }
}

/// What to do about a number with a missing or unknown unit.
pub(super) fn unit_hint(word: &str) -> String {
    let digits: String = word.chars().take_while(|c| c.is_ascii_digit() || "+-.".contains(*c)).collect();
    format!("give a unit: `{digits}s`, `{digits}m`, `{digits}h` or `{digits}d`")
}

/// A call that is no filter here.
pub(super) fn function(i: Located<'_>, name: &str) -> Fault {
    let span = i.span(name.len());
    if let Some((_, hint)) = names::LATER_FILTERS.iter().find(|(n, _)| *n == name) {
        let fault = Fault::new(span, format!("`{name}()` is not supported yet"));
        return if hint.is_empty() { fault } else { fault.hint(*hint) };
    }
    if names::is_metric_query(name) {
        return Fault::new(span, format!("`{name}(..)` is no filter: what is computed comes after the filter"))
            .hint("write the filter first: `{service=\"api\"} error | stats by (_time:5m) count()`");
    }
    if i.skip(name.len()).text.starts_with('[') {
        return Fault::new(i.span(name.len() + 1), format!("`{name}[` is neither a word nor a function"))
            .hint("quote a text that has brackets in it");
    }
    Fault::new(span, format!("there is no filter function `{name}`"))
        .hint_opt(names::did_you_mean(name, names::FILTERS))
        .hint_opt_else(|| format!("to search for the text, quote it: \"{name}(..)\"; before a group put a space"))
}

/// A list that does not go on or end as one.
pub(super) fn list_end(i: Located<'_>, end: Located<'_>, what: &str, close: &'static str) -> Fault {
    let (at, ()) = space(end).unwrap_or((end, ()));
    if at.is_empty() {
        return Fault::new(i.span(1), "the list that opens here is not closed").expected(format!("`{close}`"));
    }
    if what == "in" && (at.text.starts_with('|') || close == ")" && at.first().is_some_and(|c| c != ')')) {
        let fault = Fault::new(i.until(&at.skip(at.first().map_or(0, char::len_utf8))), "this is no list of values");
        // Whatever comes first decides: a subquery has a pipe before its parenthesis closes.
        let subquery = at.text.find(['|', ')']).is_some_and(|end| at.skip(end).text.starts_with('|'));
        return if subquery {
            Fault { message: "`in(<subquery>)` is not supported yet".into(), ..fault }
                .hint("run the inner query first, and list its values")
        } else {
            fault.expected("`,` between the values").hint("quote a value with white space or punctuation in it")
        };
    }
    unexpected(at).expected(format!("`,` or `{close}`"))
}

/// Queries of other languages that begin like one of ours.
pub(super) fn foreign_query(i: Located<'_>) -> Result<(), Err<Fault>> {
    let word = word_ahead(i);
    if !word.eq_ignore_ascii_case("select") {
        return Ok(());
    }
    let rest = i.skip(word.len());
    if rest.text.split_whitespace().any(|w| w.eq_ignore_ascii_case("from")) {
        return Err(Fault::new(i.span(word.len()), "this looks like SQL, and the language is not SQL")
            .expected("a filter, then pipes")
            .hint("write `level:error | fields message, url | limit 10`; to search for the words, quote them")
            .stop());
    }
    Ok(())
}

/// LogQL's line filters: `|= "x"`, `|~ "re"`, `|> "pattern"`.
pub(super) fn line_filter(i: Located<'_>) -> Result<(), Err<Fault>> {
    let (mark, hint) = match i.text.get(..2) {
        Some(mark @ "|=") => (mark, "write the text as a phrase: `{service=\"api\"} \"text\"`"),
        Some(mark @ "|~") => (mark, "write the expression as `~\"re\"` or `/re/`"),
        Some(mark @ "|>") => (mark, "write the text with `*` for what varies: `\"took \"*\" ms\"`"),
        _ => return Ok(()),
    };
    Err(Fault::new(i.span(2), format!("`{mark}` is LogQL's line filter")).hint(hint).stop())
}

impl Fault {
    /// The hint, where none is known yet.
    fn hint_opt_else(self, hint: impl FnOnce() -> String) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint()) }
    }
}
