//! Syslog: RFC 5424, and RFC 3164 as programs really write it, also without its priority, as in files.

use super::Reason;
use super::level;
use super::time;
use super::writer::Writer;
use crate::record::{Level, Tag, Timestamp};

const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
/// Longest tag taken as the name of a program; RFC 3164 allows 32, systemd's units go further.
const TAG_BYTES_MAX: usize = 128;

/// Adds the fields of a line.
pub(super) fn parse(line: &str, writer: &mut Writer) -> Result<(), Reason> {
    let line = without_count(line);
    let (priority, rest) = match priority(line) {
        Some((priority, rest)) => (Some(priority), rest),
        None => (None, line),
    };
    let mut severity = None;
    if let Some(priority) = priority {
        let (facility, of_severity) = (usize::from(priority >> 3), priority & 7);
        severity = Some(Level::from_syslog(of_severity));
        writer.field("facility", Tag::String, FACILITIES.get(facility).copied().unwrap_or_default());
        writer.field("severity", Tag::String, SEVERITIES[usize::from(of_severity)]);
    }
    let message = match rest.strip_prefix("1 ").filter(|_| priority.is_some()) {
        Some(rest) => modern(rest, writer).ok_or(Reason::NotSyslog)?,
        None => bsd(rest, priority.is_some(), writer).ok_or(Reason::NotSyslog)?,
    };
    writer.field("message", Tag::String, message);
    // Files have no priority; then the message's own word counts.
    if let Some(level) = severity.or_else(|| level::at_start(message)) {
        writer.field("level", Tag::String, level.name());
    }
    Ok(())
}

/// Is a line syslog beyond doubt? A time of RFC 3339 also begins lines of others, so that then a tag must follow.
pub(super) fn is_line(line: &str, arrival: Timestamp) -> bool {
    let line = without_count(line);
    if let Some((_, rest)) = priority(line) {
        return rest.starts_with("1 ") || header_time(rest, arrival).is_some();
    }
    let Some((_, end)) = header_time(line, arrival) else { return false };
    let Some((host, rest)) = line.get(end..).and_then(|l| l.strip_prefix(' ')).and_then(hostname) else { return false };
    let iso = line.starts_with(|c: char| c.is_ascii_digit());
    !iso || (Level::parse(host).is_none() && tag(rest).is_some())
}

/// The length before a message that RFC 6587 frames with it: `123 <34>1 ..`.
fn without_count(line: &str) -> &str {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    match line.get(digits..).and_then(|l| l.strip_prefix(' ')) {
        Some(rest) if digits > 0 && rest.starts_with('<') => rest,
        _ => line,
    }
}

fn priority(line: &str) -> Option<(u8, &str)> {
    let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // 23 facilities of 8 severities.
    let priority = digits.parse().ok().filter(|p| *p <= 191)?;
    Some((priority, rest))
}

/// RFC 5424 behind its version: `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]`; gives the message.
fn modern<'a>(line: &'a str, writer: &mut Writer) -> Option<&'a str> {
    let (time, mut rest) = line.split_once(' ')?;
    if time != "-" {
        let (time, end) = time::full(time).filter(|(_, end)| *end == time.len())?;
        debug_assert!(end > 0);
        writer.set_time(time);
    }
    for name in ["hostname", "app_name", "proc_id", "msg_id"] {
        let (word, after) = rest.split_once(' ')?;
        if word != "-" {
            writer.field(name, Tag::String, word);
        }
        rest = after;
    }
    let rest = match rest.strip_prefix('-') {
        Some(rest) => rest,
        None => structured_data(rest, writer)?,
    };
    let message = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    Some(message.strip_prefix('\u{feff}').unwrap_or(message))
}

/// `[id param="value" ..][id2 ..]`, as fields `sd.id.param`; gives what stands behind it.
fn structured_data<'a>(text: &'a str, writer: &mut Writer) -> Option<&'a str> {
    let mut rest = text;
    let (mut name, mut value) = (String::new(), String::new());
    if !rest.starts_with('[') {
        return None;
    }
    while let Some(inner) = rest.strip_prefix('[') {
        let len = inner.find([' ', ']'])?;
        let id = inner.get(..len).filter(|id| !id.is_empty())?;
        rest = inner.get(len..)?;
        let mut params = 0;
        while let Some(inner) = rest.strip_prefix(' ') {
            let (param, inner) = inner.split_once("=\"")?;
            value.clear();
            rest = param_value(inner, &mut value)?;
            name.clear();
            name.extend(["sd.", id, ".", param]);
            writer.field(&name, Tag::String, &value);
            params += 1;
        }
        if params == 0 {
            name.clear();
            name.extend(["sd.", id]);
            writer.field(&name, Tag::Object, "{}");
        }
        rest = rest.strip_prefix(']')?;
    }
    Some(rest)
}

/// A value up to its closing quote; `\"`, `\\` and `\]` are escapes, another backslash is itself (section 6.3.3).
fn param_value<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
        out.push_str(rest.get(..at)?);
        let after = rest.get(at + 1..)?;
        if rest.as_bytes().get(at) == Some(&b'"') {
            return Some(after);
        }
        rest = match after.chars().next()? {
            c @ ('"' | '\\' | ']') => {
                out.push(c);
                after.get(1..)?
            }
            _ => {
                out.push('\\');
                after
            }
        };
    }
}

/// `Jun 14 15:16:01`, also with the year or in RFC 3339.
fn header_time(line: &str, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let iso = || {
        let (time, end) = time::full(line)?;
        // Other programs put a space between date and time, and have no host behind it.
        (line.as_bytes().get(10) == Some(&b'T')).then_some((time, end))
    };
    time::syslog(line, arrival)
        .or_else(|| if line.starts_with(|c: char| c.is_ascii_digit()) { iso() } else { time::full(line) })
}

/// RFC 3164 behind its priority: `Mmm dd hh:mm:ss HOST TAG[PID]: MESSAGE`; gives the message. With a priority anything
/// may follow (section 4.3.3), and is the message then.
fn bsd<'a>(line: &'a str, has_priority: bool, writer: &mut Writer) -> Option<&'a str> {
    let Some((time, end)) = header_time(line, writer.arrival()) else {
        return has_priority.then(|| tagged(line, writer));
    };
    // Cisco puts a colon behind the time.
    let rest = line.get(end..)?;
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    writer.set_time(time);
    let rest = rest.trim_start_matches(' ');
    // Without a host there is a tag at once: what programs send to /dev/log.
    if tag(rest).is_some() {
        return Some(tagged(rest, writer));
    }
    match hostname(rest) {
        Some((host, rest)) => {
            writer.field("hostname", Tag::String, host);
            Some(tagged(rest, writer))
        }
        None => Some(rest),
    }
}

/// A word that may be a host's name, and what stands behind it.
fn hostname(line: &str) -> Option<(&str, &str)> {
    let (host, rest) = line.split_once(' ')?;
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'/' | b'@');
    let is_host = host.bytes().all(is_part) && host.bytes().any(|b| b.is_ascii_alphanumeric());
    is_host.then_some((host, rest.trim_start_matches(' ')))
}

/// A tag: name, process id, and what stands behind it.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let len = text.find([':', '[', ' '])?;
    let name = text.get(..len).filter(|n| !n.is_empty() && n.len() <= TAG_BYTES_MAX)?;
    let mut rest = text.get(len..)?;
    let mut pid = None;
    if let Some(inner) = rest.strip_prefix('[') {
        let (inside, after) = inner.split_once(']')?;
        if inside.is_empty() || inside.len() > TAG_BYTES_MAX || inside.contains(' ') {
            return None;
        }
        pid = Some(inside);
        rest = after;
    }
    // Behind a process id the colon may be missing.
    match rest.strip_prefix(':') {
        Some(after) if after.is_empty() || after.starts_with(' ') => {
            Some((name, pid, after.strip_prefix(' ').unwrap_or(after)))
        }
        _ if pid.is_some() => rest.strip_prefix(' ').map(|after| (name, pid, after)),
        _ => None,
    }
}

/// Adds the fields of the tag, where there is one; gives the message.
fn tagged<'a>(text: &'a str, writer: &mut Writer) -> &'a str {
    let Some((name, pid, message)) = tag(text) else { return text };
    writer.field("app_name", Tag::String, name);
    if let Some(pid) = pid {
        writer.field("proc_id", Tag::String, pid);
    }
    message
}
