//! Logfmt: `level=info msg="text \"quoted\"" duration=15 cached`.

use super::Reason;
use super::writer::Writer;
use crate::record::{Number, Tag};

/// A `key=value`, or a key alone.
struct Pair<'a> {
    key: &'a str,
    value: Value<'a>,
}

enum Value<'a> {
    /// A key alone, which says yes.
    None,
    Bare(&'a str),
    /// The inside of the quotes, and whether there are escapes in it.
    Quoted(&'a str, bool),
}

/// Adds the fields of a line. There must be a `key=value` in it.
pub(super) fn parse(line: &str, writer: &mut Writer) -> Result<(), Reason> {
    let (mut at, mut pairs) = (0, 0);
    let mut buffer = String::new();
    while let Some((pair, end)) = next(line, at)? {
        at = end;
        match pair.value {
            Value::None => writer.field(pair.key, Tag::Bool, "true"),
            Value::Bare(text) => {
                pairs += 1;
                let tag = match text {
                    "true" | "false" => Tag::Bool,
                    _ if Number::is_json(text) => Tag::Number,
                    _ => Tag::String,
                };
                writer.field(pair.key, tag, text);
            }
            Value::Quoted(text, false) => {
                pairs += 1;
                writer.field(pair.key, Tag::String, text);
            }
            Value::Quoted(text, true) => {
                pairs += 1;
                buffer.clear();
                unescape(text, &mut buffer);
                writer.field(pair.key, Tag::String, &buffer);
            }
        }
    }
    if pairs == 0 { Err(Reason::NotLogfmt) } else { Ok(()) }
}

/// Is a line logfmt beyond doubt? It begins with a pair, at least half of it are pairs, and keys look like names.
pub(super) fn is_line(line: &str) -> bool {
    let (mut at, mut pairs, mut bare) = (0, 0, 0);
    loop {
        match next(line, at) {
            Ok(Some((pair, end))) => {
                at = end;
                let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/' | b'@');
                if !pair.key.bytes().all(is_name) {
                    return false;
                }
                match pair.value {
                    Value::None if pairs == 0 => return false,
                    Value::None => bare += 1,
                    Value::Bare(_) | Value::Quoted(..) => pairs += 1,
                }
            }
            Ok(None) => return pairs >= 2 && bare <= pairs,
            Err(_) => return false,
        }
    }
}

/// The pair at or behind `at`, and where it ends.
fn next(line: &str, at: usize) -> Result<Option<(Pair<'_>, usize)>, Reason> {
    let b = line.as_bytes();
    let is_space = |i: usize| b.get(i).is_some_and(|c| *c <= b' ');
    let mut from = at;
    while is_space(from) {
        from += 1;
    }
    if from >= b.len() {
        return Ok(None);
    }
    let mut at = from;
    while at < b.len() && !is_space(at) && b.get(at) != Some(&b'=') {
        at += 1;
    }
    let key = line.get(from..at).unwrap_or_default();
    if b.get(at) != Some(&b'=') {
        return Ok(Some((Pair { key, value: Value::None }, at)));
    }
    if key.is_empty() {
        return Err(Reason::NotLogfmt);
    }
    at += 1;
    let from = at;
    if b.get(at) != Some(&b'"') {
        while at < b.len() && !is_space(at) {
            at += 1;
        }
        return Ok(Some((Pair { key, value: Value::Bare(line.get(from..at).unwrap_or_default()) }, at)));
    }
    at += 1;
    let mut escaped = false;
    loop {
        at = match memchr::memchr2(b'"', b'\\', b.get(at..).unwrap_or_default()) {
            Some(found) => at + found,
            None => return Err(Reason::LogfmtQuote(from)),
        };
        if b.get(at) == Some(&b'"') {
            break;
        }
        escaped = true;
        at += 2;
    }
    let value = Value::Quoted(line.get(from + 1..at).unwrap_or_default(), escaped);
    Ok(Some((Pair { key, value }, at + 1)))
}

/// The escapes of Go's `strconv.Quote`, which writers of logfmt use; an unknown one stays as it is.
fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let hex = |digits: usize| {
            let code = u32::from_str_radix(escape.get(2..2 + digits)?, 16).ok()?;
            Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 2 + digits))
        };
        let found = match escape.as_bytes().get(1) {
            Some(b'n') => Some(('\n', 2)),
            Some(b't') => Some(('\t', 2)),
            Some(b'r') => Some(('\r', 2)),
            Some(&c @ (b'"' | b'\\' | b'\'' | b'/')) => Some((char::from(c), 2)),
            Some(b'x') => hex(2),
            Some(b'u') => hex(4),
            Some(b'U') => hex(8),
            _ => None,
        };
        let (c, len) = found.unwrap_or(('\\', 1));
        out.push(c);
        rest = escape.get(len..).unwrap_or_default();
    }
    out.push_str(rest);
}
