//! Lines out of chunks: a line that lies in one chunk is lent, and only one across chunks is copied.

use super::{LINE_BYTES_MAX, REJECTED_BYTES_MAX};

/// A piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line without its end (`\n` or `\r\n`).
    Whole(&'a [u8]),
    /// One beyond [`LINE_BYTES_MAX`]: its beginning.
    TooLong(&'a [u8]),
}

/// What is left of the chunks before.
#[derive(Debug, Default)]
pub(super) struct Lines {
    carry: Vec<u8>,
    /// The line under way is too long; the carry holds its beginning.
    too_long: bool,
    /// The carry was handed out, and goes at the next call.
    done: bool,
    /// Lines handed out.
    pub(super) number: u64,
}

impl Lines {
    /// The next line of `rest` with its number, from 1; `rest` shrinks. Without one, what is left of `rest` is kept
    /// for the next chunk. `last`: there is none, so that what is left is a line too.
    pub(super) fn next<'s, 'c: 's>(&'s mut self, rest: &mut &'c [u8], last: bool) -> Option<(u64, Line<'s>)> {
        if self.done {
            self.carry.clear();
            self.too_long = false;
            self.done = false;
        }
        let (head, tail) = match memchr::memchr(b'\n', rest) {
            Some(end) => rest.split_at(end),
            None if last && !(rest.is_empty() && self.carry.is_empty()) => (*rest, &[][..]),
            None => {
                self.keep(rest);
                *rest = &[];
                return None;
            }
        };
        *rest = tail.get(1..).unwrap_or_default();
        self.number += 1;
        if self.carry.is_empty() {
            return Some((self.number, whole(head)));
        }
        self.keep(head);
        self.done = true;
        Some((self.number, self.carried()))
    }

    fn carried(&self) -> Line<'_> {
        if self.too_long { Line::TooLong(&self.carry) } else { whole(&self.carry) }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_long {
            return;
        }
        // One more, for a `\r` that does not count.
        if self.carry.len() + part.len() > LINE_BYTES_MAX + 1 {
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

fn whole(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LINE_BYTES_MAX {
        Line::TooLong(line.get(..REJECTED_BYTES_MAX).unwrap_or(line))
    } else {
        Line::Whole(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut put = |line: Line<'_>| match line {
            Line::Whole(l) => out.push((true, l.to_vec())),
            Line::TooLong(l) => out.push((false, l.to_vec())),
        };
        for (i, chunk) in chunks.iter().enumerate() {
            let mut rest = *chunk;
            while let Some((_, line)) = lines.next(&mut rest, i + 1 == chunks.len()) {
                put(line);
            }
        }
        out
    }

    #[test]
    fn any_cut_gives_the_same() {
        let text = b"one\r\n\ntwo\nthree";
        let all = lines(&[text]);
        assert_eq!(all.len(), 4);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(lines(&[a, b]), all);
        }
    }

    #[test]
    fn around_the_limit() {
        for (len, fits) in [(LINE_BYTES_MAX, true), (LINE_BYTES_MAX + 1, false), (LINE_BYTES_MAX * 3, false)] {
            let mut text = vec![b'x'; len];
            text.extend_from_slice(b"\r\nafter\n");
            let whole = lines(&[&text]);
            let parts: Vec<&[u8]> = text.chunks(100_000).collect();
            assert_eq!((whole[0].0, whole.len(), &whole[1].1[..]), (fits, 2, &b"after"[..]));
            assert_eq!(lines(&parts), whole);
        }
    }
}
