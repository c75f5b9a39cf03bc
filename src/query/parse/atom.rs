//! The smallest parts: white space, keywords, bare words, strings and names.

use nom::character::complete::digit1;
use nom::combinator::{map_res, recognize};
use nom::{Err, Input, Parser};

use super::super::ast::WildcardPart;
use super::super::lex;
use super::super::limits::NAME_BYTES_MAX;
use super::input::{Fault, Located, Parsed};

/// White space and comments, also none.
pub(super) fn space(i: Located<'_>) -> Parsed<'_, ()> {
    Ok((i.skip(lex::space_len(i.text)), ()))
}

/// A parser with white space before it.
pub(super) fn spaced<'a, T>(
    mut inner: impl FnMut(Located<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Located<'a>) -> Parsed<'a, T> {
    move |i| {
        let (rest, ()) = space(i)?;
        inner(rest)
    }
}

/// A mark such as `(`, with white space before it.
pub(super) fn mark<'a>(mark: &'static str) -> impl FnMut(Located<'a>) -> Parsed<'a, Located<'a>> {
    spaced(move |i| nom::bytes::complete::tag(mark)(i))
}

/// The rest after some bytes, and these: lengths from [`lex`] are in bytes, where nom's `take` counts characters.
pub(super) fn taken(i: Located<'_>, bytes: usize) -> (Located<'_>, Located<'_>) {
    i.take_split(bytes)
}

/// The bare word that stands here, unread; empty where none does.
pub(super) fn word_ahead(i: Located<'_>) -> &str {
    i.text.get(..lex::bare_len(i.text)).unwrap_or_default()
}

/// A keyword in any case, as a whole bare word, with white space before it.
pub(super) fn keyword<'a>(word: &'static str) -> impl FnMut(Located<'a>) -> Parsed<'a, ()> {
    spaced(move |i: Located<'a>| {
        if word_ahead(i).eq_ignore_ascii_case(word) {
            Ok((i.skip(word.len()), ()))
        } else {
            Err(Err::Error(i.fault("a keyword is missing").expected(word)))
        }
    })
}

/// A whole number, with white space before it.
pub(super) fn count<'a>(what: &'static str) -> impl FnMut(Located<'a>) -> Parsed<'a, u64> {
    spaced(move |i: Located<'a>| {
        let (rest, n) = map_res(recognize(digit1::<_, Fault>), |d: Located<'a>| d.text.parse::<u64>())
            .parse(i)
            .map_err(|_| i.fault(format!("{what} must be a whole number")).expected("a whole number").stop())?;
        // `top 5(a)`
        if !rest.text.starts_with('(') {
            value_end(rest)?;
        }
        Ok((rest, n))
    })
}

/// A bare word as the parts of a pattern, its escapes resolved. Not empty.
pub(super) fn bare(i: Located<'_>) -> Parsed<'_, Vec<WildcardPart>> {
    let len = lex::bare_len(i.text);
    if len == 0 {
        return Err(Err::Error(unexpected(i)));
    }
    let (rest, word) = taken(i, len);
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = word.text.char_indices();
    while let Some((at, c)) = chars.next() {
        let wild = match c {
            '*' => WildcardPart::Many,
            '?' => WildcardPart::One,
            '\\' => {
                match chars.next() {
                    Some((_, c)) if lex::is_escapable(c) => literal.push(c),
                    other => {
                        let span = i.at + at..i.at + at + 1 + other.map_or(0, |(_, c)| c.len_utf8());
                        let hint = format!("quote it with backticks: `{}`", word.text.replace('`', ""));
                        return Err(Fault::new(span, "a backslash here must stand before a punctuation mark")
                            .hint(hint)
                            .stop());
                    }
                }
                continue;
            }
            c => {
                literal.push(c);
                continue;
            }
        };
        push_part(&mut parts, WildcardPart::Literal(std::mem::take(&mut literal).into()));
        push_part(&mut parts, wild);
    }
    push_part(&mut parts, WildcardPart::Literal(literal.into()));
    Ok((rest, parts))
}

/// Appends to a pattern: empty literals vanish, and stars next to each other are one.
pub(super) fn push_part(parts: &mut Vec<WildcardPart>, part: WildcardPart) {
    match (&part, parts.last()) {
        (WildcardPart::Literal(text), _) if text.is_empty() => {}
        (WildcardPart::Many, Some(WildcardPart::Many)) => {}
        _ => parts.push(part),
    }
}

/// What the backslashes of a string mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// `\n`, `\x41`, `\u00e9` and marks for themselves; others are refused.
    Text,
    /// As far as they are escapes of a regular expression too, they stay: `"\d+"` and `"\\d+"` are the same.
    Regex,
}

/// A string in any of the three quotes, its escapes resolved.
pub(super) fn quoted(i: Located<'_>, escapes: Escapes) -> Parsed<'_, String> {
    let quote = match i.first() {
        Some(c @ ('"' | '\'' | '`')) => c,
        _ => return Err(Err::Error(i.fault("a string is missing").expected("a quoted string"))),
    };
    let Some(len) = lex::quoted_len(i.text) else {
        let fault = Fault::new(i.span(1), format!("the string that begins here has no closing {quote}"));
        let hint = if quote == '\'' {
            "an apostrophe begins a string: put the text in double quotes"
        } else {
            "to search for a quotation mark itself, put the text in another kind of quotes"
        };
        return Err(fault.hint(hint).stop());
    };
    let (rest, whole) = taken(i, len);
    let inner = whole.text.get(1..len - 1).unwrap_or_default();
    if quote == '`' {
        return Ok((rest, inner.to_owned()));
    }
    let mut out = String::with_capacity(inner.len());
    let mut left = inner;
    while let Some(at) = left.find('\\') {
        out.push_str(left.get(..at).unwrap_or_default());
        let escape = left.get(at + 1..).unwrap_or_default();
        let start = i.at + 1 + (inner.len() - left.len()) + at;
        let used = unescape(escape, escapes, &mut out).ok_or_else(|| {
            let c = escape.chars().next();
            Fault::new(start..start + 1 + c.map_or(0, char::len_utf8), "there is no such escape in a string")
                .expected(r#"one of \\ \" \' \n \r \t \x41 \u00e9 \u{1f600}"#)
                .hint(r"for a backslash itself write \\, or put the text in backticks")
                .stop()
        })?;
        left = escape.get(used..).unwrap_or_default();
    }
    out.push_str(left);
    Ok((rest, out))
}

/// Resolves the escape after a backslash; how many bytes it took.
fn unescape(escape: &str, escapes: Escapes, out: &mut String) -> Option<usize> {
    let c = escape.chars().next()?;
    let simple = match c {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'f' => Some('\u{c}'),
        'v' => Some('\u{b}'),
        'a' => Some('\u{7}'),
        'b' if escapes == Escapes::Text => Some('\u{8}'),
        _ => None,
    };
    if let Some(c) = simple {
        out.push(c);
        return Some(1);
    }
    let hex = |digits: &str, used: usize| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let c = u32::from_str_radix(digits, 16).ok().filter(|_| plain).and_then(char::from_u32)?;
        Some((c, used))
    };
    let coded = match c {
        'x' => escape.get(1..3).and_then(|d| hex(d, 3)),
        'u' if escape.starts_with("u{") => escape.find('}').and_then(|end| hex(escape.get(2..end)?, end + 1)),
        'u' => escape.get(1..5).and_then(|d| hex(d, 5)),
        'U' => escape.get(1..9).and_then(|d| hex(d, 9)),
        _ => None,
    };
    match coded {
        Some((c, used)) if escapes == Escapes::Text || lex::is_bare(c) && c.is_alphanumeric() => {
            out.push(c);
            Some(used)
        }
        _ if escapes == Escapes::Regex => {
            // The regular expression's own parser judges it.
            if !matches!(c, '"' | '\'' | '`' | '\\') {
                out.push('\\');
            }
            out.push(c);
            Some(c.len_utf8())
        }
        _ if c.is_ascii_punctuation() => {
            out.push(c);
            Some(1)
        }
        _ => None,
    }
}

/// Does a quotation mark stand here?
pub(super) fn at_quote(i: Located<'_>) -> bool {
    matches!(i.first(), Some('"' | '\'' | '`'))
}

/// The name of a field or column: bare or quoted, with white space before it. `@name` is `name`.
pub(super) fn name(i: Located<'_>) -> Parsed<'_, Box<str>> {
    let (i, ()) = space(i)?;
    if at_quote(i) {
        let (rest, text) = quoted(i, Escapes::Text)?;
        return Ok((rest, checked_name(i, &rest, text)?));
    }
    let len = lex::name_len(i.text);
    if len == 0 {
        let fault = if i.is_empty() || i.text.starts_with('|') {
            i.fault("a name is missing here")
        } else {
            unexpected(i).hint("quote a name with other characters")
        };
        return Err(Err::Error(fault.expected("a field's name")));
    }
    let (rest, raw) = taken(i, len);
    Ok((rest, checked_name(i, &rest, bare_name(raw.text))?))
}

/// A bare name without its escapes and without the `@` before it.
pub(super) fn bare_name(raw: &str) -> String {
    let raw = raw.strip_prefix('@').filter(|rest| !rest.is_empty()).unwrap_or(raw);
    let mut chars = raw.chars();
    let mut name = String::with_capacity(raw.len());
    while let Some(c) = chars.next() {
        name.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    name
}

/// A name that is not empty and not too long.
pub(super) fn checked_name(i: Located<'_>, rest: &Located<'_>, name: String) -> Result<Box<str>, Err<Fault>> {
    if name.is_empty() {
        return Err(Fault::new(i.until(rest), "a field's name can't be empty").stop());
    }
    if name.len() > NAME_BYTES_MAX {
        let message = format!("a name is longer than NAME_BYTES_MAX ({NAME_BYTES_MAX} bytes)");
        return Err(Fault::new(i.until(rest), message).stop());
    }
    Ok(name.into())
}

/// Checks that a value ends here: what follows it is a place where another part can begin.
pub(super) fn value_end(i: Located<'_>) -> Result<(), Err<Fault>> {
    match i.first() {
        None | Some(')' | '|' | ',' | ']' | '}' | '#') => {}
        Some(c) if c.is_whitespace() => {}
        Some('&') if i.text.starts_with("&&") => {}
        Some('^') => {
            let digits = i.text.chars().skip(1).take_while(|c| c.is_ascii_digit() || *c == '.').count();
            return Err(Fault::new(i.span(1 + digits), "a boost is not supported: records have no score")
                .hint("leave `^N` out; to search for the character itself, quote the text")
                .stop());
        }
        Some(_) => return Err(unexpected(i).stop()),
    }
    if i.text.starts_with('#') {
        return Err(i
            .fault("a `#` right after a word is neither part of it nor a comment")
            .hint("quote the text, or put a space before a comment")
            .stop());
    }
    Ok(())
}

/// A fault that names the character here, and says what to do about it.
pub(super) fn unexpected(i: Located<'_>) -> Fault {
    let Some(c) = i.first() else { return i.fault("the query ends here too early") };
    let shown = if c.is_control() { format!("U+{:04X}", u32::from(c)) } else { format!("`{c}`") };
    let fault = i.fault(format!("{shown} can't stand here"));
    match c {
        ')' => fault.hint("there is no opening parenthesis for it"),
        '(' => fault.hint("put a space before a group, or quote the text"),
        ',' | ';' => fault.hint("lists stand in `in(..)`; quote a text that has punctuation in it"),
        '&' => fault.hint("the operator is `&&` or `AND`; quote a text with `&` in it"),
        '~' => fault.hint("a regular expression is `field:~\"re\"` or `/re/`, an approximate word `word~1`"),
        _ => fault.hint("quote a text that has such characters in it"),
    }
}
