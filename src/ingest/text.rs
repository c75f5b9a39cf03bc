//! Plain lines: the whole line is the message; a time and a level are taken from it where they are clear.

use super::level;
use super::time;
use super::writer::Writer;
use crate::record::{Level, Tag, Timestamp};
use std::borrow::Cow;

/// What stands before a time may be so long: names of files, hosts and containers that collectors put there.
const PREFIX_BYTES_MAX: usize = 128;
/// Words that may stand before a time.
const PREFIX_WORDS_MAX: usize = 2;

/// What a line says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextLine {
    /// The time at its beginning.
    pub(super) time: Option<Timestamp>,
    /// The level near its beginning.
    pub(super) level: Option<Level>,
}

impl TextLine {
    /// Looks at a line. Only its beginning counts: times and levels further on are part of what it tells.
    pub(super) fn read(line: &str, arrival: Timestamp) -> Self {
        match leading_time(line, arrival) {
            Some(found) => {
                TextLine { time: Some(found.time), level: found.level.or_else(|| level::after_time(line, found.end)) }
            }
            None => TextLine { time: None, level: level::at_start(line) },
        }
    }

    /// Adds the fields of a record.
    pub(super) fn write(self, text: &str, writer: &mut Writer) {
        if let Some(time) = self.time {
            writer.set_time(time);
        }
        writer.field("message", Tag::String, text);
        if let Some(level) = self.level {
            writer.field("level", Tag::String, level.name());
        }
    }
}

/// A time at the beginning of a line, and the end of it.
struct Found {
    time: Timestamp,
    end: usize,
    /// Where the form of the time has the level in it.
    level: Option<Level>,
}

fn leading_time(line: &str, arrival: Timestamp) -> Option<Found> {
    let bytes = line.as_bytes();
    let open = usize::from(matches!(bytes.first(), Some(b'[' | b'(' | b'<')));
    let start = line.get(open..)?;
    let found = |(time, end): (Timestamp, usize), from: usize| Found { time, end: from + end, level: None };
    if let Some(at_start) = time::full(start).or_else(|| time::short(start, arrival)) {
        let mut found = found(at_start, open);
        found.level = level::glog(start);
        return Some(found);
    }
    if bytes.first() == Some(&b'[')
        && let Some(dotted) = time::dotted(start, arrival)
    {
        return Some(found(dotted, 1));
    }
    // Behind words that collectors put before a line; they have something in them that words of prose don't.
    let mut at = 0;
    for _ in 0..PREFIX_WORDS_MAX {
        let rest = line.get(at..)?;
        let len = rest.find([' ', '\t'])?;
        let word = rest.get(..len)?;
        at += len + rest.get(len..)?.bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
        if at > PREFIX_BYTES_MAX {
            return None;
        }
        let rest = line.get(at..)?;
        if let Some(clear) = time::epoch_and_date(rest, arrival) {
            return Some(found(clear, at));
        }
        if word.bytes().all(|b| b.is_ascii_alphabetic() || b >= 0x80 || matches!(b, b',' | b'.' | b':' | b'\'')) {
            return None;
        }
        let open = usize::from(rest.starts_with('['));
        if let Some(full) = time::full(rest.get(open..)?) {
            return Some(found(full, at + open));
        }
    }
    None
}

/// The text of a line; each run of bytes that is no UTF-8 becomes U+FFFD. Most lines are valid, and checked faster so.
pub(super) fn lossy(line: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed)
}

/// The place of the first byte that is no text: a control character other than those of layout and colour, or none of
/// UTF-8.
pub(super) fn binary_at(line: &[u8]) -> Option<usize> {
    let control = line.iter().position(|&b| b < 0x20 && !matches!(b, b'\t' | b'\r' | 0x08 | 0x0c | 0x1b));
    let invalid = std::str::from_utf8(line).err().map(|e| e.valid_up_to());
    control.into_iter().chain(invalid).min()
}
