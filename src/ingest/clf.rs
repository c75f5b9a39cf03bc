//! Access logs: the Common and the Combined Log Format, and what nginx and Apache put behind them.

use super::Reason;
use super::time;
use super::writer::Writer;
use crate::record::{Number, Tag, Timestamp};
use std::borrow::Cow;

/// A line's parts, as they stand there.
struct Access<'a> {
    vhost: Option<&'a str>,
    remote_addr: &'a str,
    ident: &'a str,
    remote_user: &'a str,
    time: Timestamp,
    request: &'a str,
    status: &'a str,
    bytes: &'a str,
    /// What stands behind the bytes.
    rest: &'a str,
}

/// Adds the fields of a line.
pub(super) fn parse(line: &str, writer: &mut Writer) -> Result<(), Reason> {
    let access = split(line).ok_or(Reason::NotClf)?;
    writer.set_time(access.time);
    let request = unquote(access.request);
    writer.field("message", Tag::String, &request);
    let mut put = |name: &str, text: &str| {
        if text != "-" && !text.is_empty() {
            writer.field(name, Tag::String, text);
        }
    };
    put("vhost", access.vhost.unwrap_or("-"));
    put("remote_addr", access.remote_addr);
    put("ident", access.ident);
    put("remote_user", access.remote_user);
    if let Some((method, url, protocol)) = request_parts(&request) {
        put("method", method);
        put("url", url);
        put("protocol", protocol);
    }
    let mut rest = access.rest.trim_start();
    for name in ["referer", "user_agent", "x_forwarded_for"] {
        let Some((inside, after)) = quoted(rest) else { break };
        put(name, &unquote(inside));
        rest = after.trim_start();
    }
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if Number::is_json(first) {
        writer.field("request_time", Tag::Number, first);
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        writer.field("extra", Tag::String, rest);
    }
    for (name, text) in [("status", access.status), ("bytes", access.bytes)] {
        if text != "-" {
            writer.field(name, if Number::is_json(text) { Tag::Number } else { Tag::String }, text);
        }
    }
    let level = match access.status.as_bytes() {
        [b'5', _, _] => "error",
        [b'4', _, _] => "warn",
        _ => "info",
    };
    writer.field("level", Tag::String, level);
    Ok(())
}

/// Is it such a line?
pub(super) fn is_line(line: &str) -> bool {
    split(line).is_some()
}

fn split(line: &str) -> Option<Access<'_>> {
    let open = line.find(" [")?;
    let (before, rest) = (line.get(..open)?, line.get(open + 2..)?);
    let mut words = before.splitn(4, ' ');
    let (first, second) = (words.next()?, words.next()?);
    let (third, more) = (words.next()?, words.next());
    // A virtual host with its port stands before the address in Apache's `vhost_combined`.
    let has_port = |w: &str| w.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok());
    let (vhost, remote_addr, ident, remote_user) = match more {
        Some(user) if third == "-" && has_port(first) => (Some(first), second, third, user),
        // Names of users may have spaces in them.
        Some(_) => (None, first, second, before.get(first.len() + second.len() + 2..)?),
        None => (None, first, second, third),
    };
    if remote_addr.is_empty() || ident.is_empty() || remote_user.is_empty() {
        return None;
    }
    let (time, end) = time::full(rest)?;
    let rest = rest.get(end..)?.strip_prefix("] ")?;
    let (request, rest) = quoted(rest)?;
    let mut words = rest.strip_prefix(' ')?.splitn(3, ' ');
    let (status, bytes) = (words.next()?, words.next()?);
    let is_count = |w: &str| w == "-" || (!w.is_empty() && w.bytes().all(|b| b.is_ascii_digit()));
    if !is_count(status) || !is_count(bytes) {
        return None;
    }
    Some(Access {
        vhost,
        remote_addr,
        ident,
        remote_user,
        time,
        request,
        status,
        bytes,
        rest: words.next().unwrap_or_default(),
    })
}

/// The inside of the quotes that a text begins with, and what stands behind them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let b = inner.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', b.get(at..)?)?;
        if b.get(at) == Some(&b'"') {
            return Some((inner.get(..at)?, inner.get(at + 1..)?));
        }
        at += 2;
    }
}

/// Takes the backslash from before quotes and backslashes. Other escapes (`\x16`) stand for bytes, and stay.
fn unquote(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next @ ('"' | '\\')) if c == '\\' => {
                out.push(next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Method, URL and protocol of a request line. What clients send may be anything; then it is the message alone.
fn request_parts(request: &str) -> Option<(&str, &str, &str)> {
    let (method, rest) = request.split_once(' ')?;
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_') {
        return None;
    }
    match rest.rsplit_once(' ') {
        Some((url, protocol)) if protocol.starts_with("HTTP/") => Some((method, url, protocol)),
        _ => Some((method, rest, "-")),
    }
}
