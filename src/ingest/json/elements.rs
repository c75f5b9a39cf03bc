//! The elements of an array that is the whole input, out of chunks, without holding more than one of them.

use super::scan::string_special;
use crate::ingest::{LINE_BYTES_MAX, REJECTED_BYTES_MAX};

/// A piece of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element<'a> {
    /// An element's bytes, perhaps with white space behind it, and the number of the line that it begins on.
    Whole(&'a [u8], u64),
    /// One beyond the limit of a line: its beginning.
    TooLong(&'a [u8], u64),
    /// Nothing, where an element must stand.
    Missing(u64),
    /// The array is closed.
    End,
}

/// Where the scan is. Strings must be known, since brackets and commas in them don't count.
#[derive(Debug)]
pub(crate) struct Elements {
    carry: Vec<u8>,
    too_long: bool,
    /// The carry was handed out, and goes at the next call.
    done: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Something other than white space was seen of the element under way.
    begun: bool,
    /// The last stop was a comma, so that an element must come.
    after_comma: bool,
    /// The last element was broken; a comma behind it is its own.
    after_broken: bool,
    /// The closing bracket was seen, and is told at the next call.
    closed: bool,
    start_line: u64,
    /// The line of the next byte, from 1.
    pub(crate) line: u64,
}

/// What ended an element.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Comma,
    Bracket,
    /// A line's end in a string: no JSON has that, so that what follows may be looked at afresh, and one missing
    /// quote does not take the rest of the input with it.
    BrokenString,
}

impl Elements {
    /// Behind the opening bracket, on this line.
    pub(crate) fn new(line: u64) -> Self {
        Elements {
            carry: Vec::new(),
            too_long: false,
            done: false,
            depth: 0,
            in_string: false,
            escaped: false,
            begun: false,
            after_comma: false,
            after_broken: false,
            closed: false,
            start_line: line,
            line,
        }
    }

    /// The next element of `rest`, which shrinks. Without one, what is left of `rest` is kept for the next chunk.
    pub(crate) fn next<'s, 'c: 's>(&'s mut self, rest: &mut &'c [u8]) -> Option<Element<'s>> {
        self.forget();
        if self.closed {
            return Some(Element::End);
        }
        loop {
            let whole = *rest;
            let (from, stop) = self.scan(whole);
            let Some((len, stop)) = stop else {
                if self.begun {
                    self.keep(whole.get(from..).unwrap_or_default());
                }
                *rest = &[];
                return None;
            };
            // The line's end that broke a string is read again, as the end of a line.
            *rest = whole.get(len + usize::from(stop != Stop::BrokenString)..).unwrap_or_default();
            let (begun, must) = (self.begun, self.after_comma);
            let own_comma = self.after_broken && stop == Stop::Comma;
            self.begun = false;
            self.after_comma = stop == Stop::Comma;
            self.after_broken = stop == Stop::BrokenString;
            self.closed = stop == Stop::Bracket;
            (self.depth, self.in_string, self.escaped) = (0, false, false);
            if begun {
                return Some(self.element(whole.get(from..len).unwrap_or_default()));
            }
            match stop {
                Stop::Comma if own_comma => {}
                Stop::Bracket if !must => return Some(Element::End),
                _ => return Some(Element::Missing(self.line)),
            }
        }
    }

    /// What is left where the input ends within the array.
    pub(crate) fn last(&mut self) -> Option<Element<'_>> {
        self.forget();
        if !self.begun {
            return None;
        }
        self.begun = false;
        Some(self.element(&[]))
    }

    fn forget(&mut self) {
        if self.done {
            self.carry.clear();
            self.too_long = false;
            self.done = false;
        }
    }

    /// Where the element under way begins in `b`, and what ends it where.
    fn scan(&mut self, b: &[u8]) -> (usize, Option<(usize, Stop)>) {
        let (mut from, mut at) = (0, 0);
        while let Some(&c) = b.get(at) {
            if self.in_string {
                if self.escaped && c != b'\n' {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                at = string_special(b, at);
                match b.get(at) {
                    Some(b'"') => self.in_string = false,
                    Some(b'\\') => self.escaped = true,
                    Some(b'\n') => return (from, Some((at, Stop::BrokenString))),
                    _ => {}
                }
                at += 1;
                continue;
            }
            match c {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                b',' if self.depth == 0 => return (from, Some((at, Stop::Comma))),
                b']' if self.depth == 0 => return (from, Some((at, Stop::Bracket))),
                _ => {
                    if !self.begun {
                        self.begun = true;
                        self.start_line = self.line;
                        from = at;
                    }
                    match c {
                        b'"' => self.in_string = true,
                        b'[' | b'{' => self.depth = self.depth.saturating_add(1),
                        b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                }
            }
            at += 1;
        }
        (from, None)
    }

    fn element<'s, 'c: 's>(&'s mut self, part: &'c [u8]) -> Element<'s> {
        let lent = self.carry.is_empty();
        if !lent {
            self.keep(part);
            self.done = true;
        }
        let bytes: &[u8] = if lent { part } else { &self.carry };
        if self.too_long || bytes.len() > LINE_BYTES_MAX {
            Element::TooLong(bytes.get(..REJECTED_BYTES_MAX).unwrap_or(bytes), self.start_line)
        } else {
            Element::Whole(bytes, self.start_line)
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_long {
            return;
        }
        if self.carry.len() + part.len() > LINE_BYTES_MAX {
            let room = REJECTED_BYTES_MAX.saturating_sub(self.carry.len()).min(part.len());
            self.carry.extend_from_slice(part.get(..room).unwrap_or_default());
            self.carry.truncate(REJECTED_BYTES_MAX);
            self.carry.shrink_to(REJECTED_BYTES_MAX);
            self.too_long = true;
        } else {
            self.carry.extend_from_slice(part);
        }
    }
}
