//! Which format an input has, by its first lines.

use super::{Format, clf, json, logfmt, syslog};
use crate::record::Timestamp;

/// Most that is looked at before the format is settled, in bytes and in lines.
pub(super) const SAMPLE_BYTES_MAX: usize = 64 << 10;
const SAMPLE_LINES_MAX: usize = 50;

/// How an input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Never [`Format::Auto`].
    pub(super) format: Format,
    /// It was found out: a line that is not of the format may be text.
    pub(super) guessed: bool,
    /// The whole input is one JSON array.
    pub(super) array: bool,
}

/// The plan, or nothing where more input could change it; `last`: there is no more. Only what does not depend on how
/// the input was cut is looked at, so that every cut gives the same plan. A byte order mark is gone already.
pub(super) fn plan(format: Format, sample: &[u8], last: bool, arrival: Timestamp) -> Option<Plan> {
    let sample = sample.get(..SAMPLE_BYTES_MAX).unwrap_or(sample);
    let last = last || sample.len() == SAMPLE_BYTES_MAX;
    let guessed = format == Format::Auto;
    if !guessed && format != Format::Json {
        return Some(Plan { format, guessed, array: false });
    }
    match begins_array(sample) {
        Some(true) => return Some(Plan { format: Format::Json, guessed, array: true }),
        Some(false) => {}
        None if last => {}
        None => return None,
    }
    if !guessed {
        return Some(Plan { format, guessed, array: false });
    }
    let mut lines = 0;
    let end = memchr::memchr_iter(b'\n', sample).find(|_| {
        lines += 1;
        lines == SAMPLE_LINES_MAX
    });
    let sample = match end {
        Some(end) => sample.get(..end).unwrap_or(sample),
        None if last => sample,
        None => return None,
    };
    Some(Plan { format: vote(sample, arrival), guessed, array: false })
}

/// Does the input begin as an array of objects, or as an empty one? Unknown where too little of it is there.
fn begins_array(sample: &[u8]) -> Option<bool> {
    let at = json::skip_space(sample, 0);
    if *sample.get(at)? != b'[' {
        return Some(false);
    }
    let at = json::skip_space(sample, at + 1);
    Some(matches!(*sample.get(at)?, b'{' | b']'))
}

/// The format that at least half of the lines have; text where there is none.
fn vote(sample: &[u8], arrival: Timestamp) -> Format {
    let mut votes = [0usize; Format::ALL.len()];
    let mut lines = 0;
    for line in sample.split(|&b| b == b'\n').filter(|l| !l.trim_ascii().is_empty()) {
        // An object over several lines has but its first line in the form of JSON.
        if lines == 0 && line.trim_ascii() == b"{" {
            return Format::Json;
        }
        lines += 1;
        votes[of_line(line, arrival) as usize] += 1;
    }
    let best = [Format::Json, Format::Clf, Format::Syslog, Format::Logfmt].into_iter();
    best.filter(|&f| votes[f as usize] * 2 >= lines && lines > 0)
        .max_by_key(|&f| votes[f as usize])
        .unwrap_or(Format::Text)
}

fn of_line(line: &[u8], arrival: Timestamp) -> Format {
    if looks_like_json(line) {
        return Format::Json;
    }
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    if clf::is_line(&text) {
        Format::Clf
    } else if syslog::is_line(&text, arrival) {
        Format::Syslog
    } else if logfmt::is_line(&text) {
        Format::Logfmt
    } else {
        Format::Text
    }
}

/// Does a line begin with a brace? In the midst of JSON that is an object, if perhaps a broken one.
pub(super) fn opens_brace(line: &[u8]) -> bool {
    line.get(json::skip_space(line, 0)) == Some(&b'{')
}

/// Does a line begin as an object does, so that it is most likely one wherever it stands?
pub(super) fn looks_like_json(line: &[u8]) -> bool {
    let at = json::skip_space(line, 0);
    if line.get(at) != Some(&b'{') {
        return false;
    }
    matches!(line.get(json::skip_space(line, at + 1)), None | Some(b'"' | b'}'))
}
