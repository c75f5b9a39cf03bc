//! Objects over several lines, as pretty-printers write them.

use crate::ingest::{LINE_BYTES_MAX, REJECTED_BYTES_MAX};

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is no part of such an object.
    Pass,
    /// It was taken in.
    Held,
    /// It was the last one: [`Pretty::take`] is an object.
    Whole,
    /// It is no part of the object under way, which is broken therefore: [`Pretty::take`] is what there is of it.
    Broken,
}

/// The object under way. It begins with a line that is `{` alone and ends where its braces do; its lines are indented,
/// or begin with a quote or a closing bracket. So a line that is broken off takes nothing with it that follows.
#[derive(Debug, Default)]
pub(crate) struct Pretty {
    text: Vec<u8>,
    depth: usize,
    pub(crate) too_long: bool,
    pub(crate) start_line: u64,
}

impl Pretty {
    /// Is an object under way?
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// Takes the lines of the object, which is closed therewith.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.depth = 0;
        std::mem::take(&mut self.text)
    }

    /// Looks at a line.
    pub(crate) fn line(&mut self, number: u64, line: &[u8]) -> Step {
        if !self.is_open() {
            if line.first() != Some(&b'{') || line.trim_ascii() != b"{" {
                return Step::Pass;
            }
            self.text.clear();
            self.too_long = false;
            self.start_line = number;
            self.depth = 1;
            self.keep(line);
            return Step::Held;
        }
        if !matches!(line.first(), Some(b' ' | b'\t' | b'}' | b']' | b'"')) {
            self.depth = 0;
            return Step::Broken;
        }
        self.keep(line);
        self.count(line);
        if self.is_open() { Step::Held } else { Step::Whole }
    }

    fn count(&mut self, line: &[u8]) {
        let (mut in_string, mut escaped) = (false, false);
        for &c in line {
            match c {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => self.depth = self.depth.saturating_add(1),
                b'}' | b']' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn keep(&mut self, line: &[u8]) {
        if self.too_long {
            return;
        }
        self.too_long = self.text.len() + line.len() + 1 > LINE_BYTES_MAX;
        if self.too_long {
            self.text.truncate(REJECTED_BYTES_MAX);
            self.text.shrink_to(REJECTED_BYTES_MAX);
            return;
        }
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
    }
}
