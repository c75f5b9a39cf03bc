//! Lines of plain text that continue the one before: stack traces and what is indented.

use super::text::TextLine;
use crate::record::Timestamp;

/// Most lines in one message; the next one begins another. A Java stack overflow has 1,024 frames.
pub const MESSAGE_LINES_MAX: usize = 2000;
/// Most bytes in a message of several lines.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// The text that more lines may join. Only the one before is known, so that memory stays bounded.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    held: Option<Held>,
    /// The buffer of the text before.
    spare: String,
}

/// A text held back.
#[derive(Debug)]
pub(super) struct Held {
    /// The number of its first line.
    pub(super) line: u64,
    /// Its lines, with `\n` between them.
    pub(super) text: String,
    /// When its first line arrived.
    pub(super) arrival: Timestamp,
    lines: usize,
    /// It ends with an indented line of a Python traceback; the line that names the exception may follow.
    in_traceback: bool,
}

const TRACEBACK: &str = "Traceback (most recent call last):";

/// Beginnings of lines that only continue something.
const CONTINUES: [&str; 8] = [
    "at ",
    "Caused by: ",
    "Suppressed: ",
    "... ",
    TRACEBACK,
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
    "goroutine ",
];

impl Joiner {
    /// Does the line continue the text held back? Then it was added to it.
    pub(super) fn joins(&mut self, line: &str) -> bool {
        let Some(held) = &mut self.held else { return false };
        if held.lines >= MESSAGE_LINES_MAX || held.text.len() + line.len() + 1 > MESSAGE_BYTES_MAX {
            return false;
        }
        let indented = line.starts_with([' ', '\t']);
        let joins = if indented {
            TextLine::read(line.trim_start(), held.arrival).time.is_none()
        } else {
            continues(line) || names_exception(line, held.in_traceback)
        };
        if joins {
            held.in_traceback = line.trim_start().starts_with(TRACEBACK) || (held.in_traceback && indented);
            held.lines += 1;
            held.text.push('\n');
            held.text.push_str(line);
        }
        joins
    }

    /// Holds a text back.
    pub(super) fn begin(&mut self, line: u64, text: &str, arrival: Timestamp) {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.clear();
        buffer.push_str(text);
        let in_traceback = text.ends_with(TRACEBACK);
        self.held = Some(Held { line, text: buffer, arrival, lines: 1, in_traceback });
    }

    /// Takes the text held back.
    pub(super) fn take(&mut self) -> Option<Held> {
        self.held.take()
    }

    /// Gives the buffer of a text back, to be used again.
    pub(super) fn give_back(&mut self, text: String) {
        if text.capacity() <= MESSAGE_BYTES_MAX {
            self.spare = text;
        }
    }
}

fn continues(line: &str) -> bool {
    let Some(start) = CONTINUES.iter().find(|start| line.starts_with(**start)) else { return false };
    let rest = line.get(start.len()..).unwrap_or_default();
    match *start {
        // `at org.x.Y.z(Y.java:1)` and `at f (file.js:1:2)`, not `at 10:00 the pump stopped`.
        "at " => rest.contains(['(', '/']) || rest.contains(".java"),
        // `... 12 more`
        "... " => rest.ends_with(" more") || rest.ends_with(" common frames omitted"),
        "goroutine " => rest.ends_with("]:"),
        _ => true,
    }
}

/// Is it `java.lang.IllegalStateException: text` or, behind the frames of a Python traceback, `ValueError: text`?
fn names_exception(line: &str, in_traceback: bool) -> bool {
    let name = line.split([':', ' ']).next().unwrap_or_default();
    let after = line.get(name.len()..).unwrap_or_default();
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(word);
    if !is_name || !(after.is_empty() || after.starts_with(':')) {
        return false;
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    in_traceback || (name.contains('.') && ["Exception", "Error", "Throwable"].iter().any(|e| last.ends_with(e)))
}
