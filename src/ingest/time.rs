//! Times: as values of fields, and at the beginning of lines, in the forms that programs write them.

use crate::record::{Number, Tag, Timestamp};

/// A value that should be a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It is.
    Time(Timestamp),
    /// It is, but not one that 64 bits of nanoseconds hold.
    OutOfRange(String),
    /// It is not.
    Unreadable(String),
}

/// Numbers below this (2000-01-01, in seconds) are durations and counters where the field's name leaves it open.
const UNSURE_MIN: i64 = 946_684_800;
const DAY_NS: i64 = 86_400_000_000_000;

/// Reads the value of a field. `unsure`: the name is also used for what is no time.
pub(super) fn read_value(tag: Tag, text: &str, unsure: bool) -> Read {
    if !matches!(tag, Tag::String | Tag::Number) {
        return Read::Unreadable(format!("{} is none", if tag == Tag::Bool { "a boolean" } else { "an array" }));
    }
    if let Some(time) = millis_utc(text.as_bytes()) {
        return Read::Time(time);
    }
    let number = Number::parse(text);
    if unsure && number.is_some_and(|n| n < Number::from(UNSURE_MIN)) {
        return Read::Unreadable("too small a number".into());
    }
    use crate::record::TimestampError::{OutOfRange, Unreadable};
    match Timestamp::parse(text) {
        Ok(time) => Read::Time(time),
        Err(error @ OutOfRange(_)) if unsure && number.is_some() => Read::Unreadable(error.to_string()),
        Err(error @ OutOfRange(_)) => Read::OutOfRange(error.to_string()),
        Err(error @ Unreadable(_)) => match full(text) {
            Some((time, end)) if end == text.len() => Read::Time(time),
            _ => Read::Unreadable(error.to_string()),
        },
    }
}

/// `YYYY-MM-DDTHH:MM:SS.sssZ`, which is most of what is written: JavaScript's form, and that of many others.
#[inline]
fn millis_utc(b: &[u8]) -> Option<Timestamp> {
    let b: &[u8; 24] = b.try_into().ok()?;
    let marks = [b[4], b[7], b[10], b[13], b[16], b[19], b[23]];
    if marks != *b"--T::.Z" {
        return None;
    }
    let mut bad = 0;
    let mut number = |places: &[usize]| {
        places.iter().fold(0i64, |n, &at| {
            let digit = b[at].wrapping_sub(b'0');
            bad |= u8::from(digit > 9);
            n * 10 + i64::from(digit)
        })
    };
    let (year, month, day) = (number(&[0, 1, 2, 3]), number(&[5, 6]), number(&[8, 9]));
    let (hour, minute, second) = (number(&[11, 12]), number(&[14, 15]), number(&[17, 18]));
    let millis = number(&[20, 21, 22]);
    if bad != 0 {
        return None;
    }
    Timestamp::from_civil([year, month, day], [hour, minute, second], millis * 1_000_000, 0)
}

/// A cursor over a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    b: &'a [u8],
    at: usize,
}

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];

impl<'a> Cursor<'a> {
    pub(super) fn new(b: &'a [u8]) -> Self {
        Cursor { b, at: 0 }
    }
    fn peek(&self) -> Option<u8> {
        self.b.get(self.at).copied()
    }
    /// A number of `min` to `max` digits, not followed by another digit.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let mut n = 0;
        let from = self.at;
        while let Some(b @ b'0'..=b'9') = self.peek() {
            if self.at - from == max {
                return None;
            }
            n = n * 10 + i64::from(b - b'0');
            self.at += 1;
        }
        (self.at - from >= min).then_some(n)
    }
    /// Exactly so many digits, whatever follows.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let part = self.b.get(self.at..self.at + count)?;
        let n = part.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))?;
        self.at += count;
        Some(n)
    }
    fn one_of(&mut self, set: &[u8]) -> Option<u8> {
        let b = self.peek().filter(|b| set.contains(b))?;
        self.at += 1;
        Some(b)
    }
    fn name<const N: usize>(&mut self, names: &[&[u8; 3]; N]) -> Option<i64> {
        let word: [u8; 3] = self.b.get(self.at..self.at + 3)?.try_into().ok()?;
        let word = word.map(|b| b.to_ascii_lowercase());
        let index = names.iter().position(|n| **n == word)?;
        self.at += 3;
        Some(index as i64 + 1)
    }
    /// One or two spaces, as before a day of one digit.
    fn gap(&mut self) -> Option<()> {
        self.one_of(b" ")?;
        self.one_of(b" ");
        Some(())
    }
    /// `H:MM:SS`, the separator as it comes first.
    fn clock(&mut self) -> Option<(i64, i64, i64)> {
        let hour = self.number(1, 2)?;
        self.one_of(b":")?;
        let minute = self.number(1, 2)?;
        self.one_of(b":")?;
        Some((hour, minute, self.number(1, 2)?))
    }
    /// `.123` or `,123`, in nanoseconds; nothing is zero.
    fn fraction(&mut self) -> i64 {
        let digit_next = self.b.get(self.at + 1).is_some_and(u8::is_ascii_digit);
        if !digit_next || self.one_of(b".,").is_none() {
            return 0;
        }
        let (mut n, mut scale) = (0, 100_000_000);
        while let Some(b @ b'0'..=b'9') = self.peek() {
            n += i64::from(b - b'0') * scale;
            scale /= 10;
            self.at += 1;
        }
        n
    }
    /// `Z`, ` UTC`, ` GMT`, `+02:00`, ` -0700`, in seconds east; nothing is UTC.
    fn zone(&mut self) -> i64 {
        let mut ahead = *self;
        if ahead.one_of(b"Zz").is_some() && !ahead.in_word() {
            *self = ahead;
            return 0;
        }
        let mut ahead = *self;
        ahead.one_of(b" ");
        if let Some(word) = ahead.b.get(ahead.at..ahead.at + 3)
            && (word == b"UTC" || word == b"GMT")
        {
            ahead.at += 3;
            if !ahead.in_word() {
                *self = ahead;
            }
            return 0;
        }
        let Some(sign) = ahead.one_of(b"+-") else { return 0 };
        let Some(hours) = ahead.digits(2) else { return 0 };
        let colon = ahead.one_of(b":").is_some();
        let minutes = match ahead.digits(2) {
            Some(minutes) => minutes,
            None if colon => return 0,
            None => 0,
        };
        if hours > 23 || minutes > 59 || ahead.in_word() {
            return 0;
        }
        *self = ahead;
        (hours * 3600 + minutes * 60) * if sign == b'-' { -1 } else { 1 }
    }
    fn in_word(&self) -> bool {
        self.peek().is_some_and(|b| b.is_ascii_alphanumeric())
    }
    fn end(self, time: Option<Timestamp>) -> Option<(Timestamp, usize)> {
        if self.in_word() { None } else { Some((time?, self.at)) }
    }
}

/// A time with date and year at the beginning of a text, and where it ends.
pub(super) fn full(text: &str) -> Option<(Timestamp, usize)> {
    let start = Cursor::new(text.as_bytes());
    match start.peek()? {
        b'0'..=b'9' => ymd(start).or_else(|| dmy(start)).or_else(|| compact(start)),
        _ => named(start),
    }
}

/// `2015-10-18 18:01:47,978`, `2024/01/02T03:04:05.6+02:00`, `2005-06-03-15.42.50.675872` (BGL).
fn ymd(mut c: Cursor<'_>) -> Option<(Timestamp, usize)> {
    let year = c.digits(4)?;
    let mark = c.one_of(b"-/")?;
    let month = c.number(1, 2)?;
    c.one_of(&[mark])?;
    let day = c.number(1, 2)?;
    c.one_of(b"Tt ")?;
    clocked(c, year, month, day)
}

fn clocked(mut c: Cursor<'_>, year: i64, month: i64, day: i64) -> Option<(Timestamp, usize)> {
    let (h, m, s) = c.clock()?;
    let nanos = c.fraction();
    let zone = c.zone();
    c.end(Timestamp::from_civil([year, month, day], [h, m, s], nanos, zone))
}

/// `10/Oct/2000:13:55:36 -0700`, `01 Jan 2024 00:00:00.123`, `02-Jan-2024 03:04:05`.
fn dmy(mut c: Cursor<'_>) -> Option<(Timestamp, usize)> {
    let day = c.number(1, 2)?;
    let mark = c.one_of(b"/- ")?;
    let month = c.name(&MONTHS)?;
    c.one_of(&[mark])?;
    let year = c.number(4, 4)?;
    c.one_of(b": ")?;
    clocked(c, year, month, day)
}

/// `20171223-22:15:29:606`, `20240102T030405Z`, `20240102 03:04:05.123`.
fn compact(mut c: Cursor<'_>) -> Option<(Timestamp, usize)> {
    let (year, month, day) = (c.digits(4)?, c.digits(2)?, c.digits(2)?);
    let mark = c.one_of(b"-T ")?;
    let (h, m, s, nanos);
    if mark == b'T' {
        (h, m, s) = (c.digits(2)?, c.digits(2)?, c.digits(2)?);
        nanos = c.fraction();
    } else {
        (h, m, s) = c.clock()?;
        nanos = match c.one_of(b":") {
            // Milliseconds, not padded.
            Some(_) => c.number(1, 3)? * 1_000_000,
            None => c.fraction(),
        };
    }
    let zone = c.zone();
    c.end(Timestamp::from_civil([year, month, day], [h, m, s], nanos, zone))
}

/// `Sun Dec 04 04:47:44 2005`, `Mon, 02 Jan 2006 15:04:05 GMT`, `Jan 02, 2006 15:04:05`, `Jan  2 2006 15:04:05`.
fn named(mut c: Cursor<'_>) -> Option<(Timestamp, usize)> {
    if c.name(&WEEKDAYS).is_some() {
        let comma = c.one_of(b",").is_some();
        c.gap()?;
        if comma {
            return dmy(c);
        }
        let month = c.name(&MONTHS)?;
        c.gap()?;
        let day = c.number(1, 2)?;
        c.one_of(b" ")?;
        let (h, m, s) = c.clock()?;
        let nanos = c.fraction();
        c.one_of(b" ")?;
        let year = c.number(4, 4)?;
        return c.end(Timestamp::from_civil([year, month, day], [h, m, s], nanos, 0));
    }
    let month = c.name(&MONTHS)?;
    c.gap()?;
    let day = c.number(1, 2)?;
    c.one_of(b",");
    c.one_of(b" ")?;
    let year = c.number(4, 4)?;
    c.one_of(b" ")?;
    clocked(c, year, month, day)
}

/// A time without a year: the latest one that is not more than a day after the arrival. So a line of 31 December that
/// arrives on 1 January is of the year before, and a clock that runs ahead a little does no harm.
fn without_year(arrival: Timestamp, of_year: impl Fn(i64) -> Option<Timestamp>) -> Option<Timestamp> {
    let latest = Timestamp(arrival.0.saturating_add(DAY_NS));
    let (year, ..) = latest.civil();
    // Eight years back there was a 29 February, also around 1900 and 2100.
    (0..=8).find_map(|back| of_year(year - back).filter(|time| *time <= latest))
}

/// Syslog's `Jun 14 15:16:01`, at the beginning of a text, and where it ends.
pub(super) fn syslog(text: &str, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let mut c = Cursor::new(text.as_bytes());
    let month = c.name(&MONTHS)?;
    c.gap()?;
    let day = c.number(1, 2)?;
    c.one_of(b" ")?;
    let (h, m, s) = c.clock()?;
    let nanos = c.fraction();
    c.end(without_year(arrival, |year| Timestamp::from_civil([year, month, day], [h, m, s], nanos, 0)))
}

/// Forms without a year or with two digits of it; only at the very beginning of a line, each with what makes it clear.
pub(super) fn short(text: &str, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let start = Cursor::new(text.as_bytes());
    match start.peek()? {
        b'0'..=b'9' => {
            android(start, arrival).or_else(|| two_digit_year(start, arrival)).or_else(|| epoch(start, arrival))
        }
        b'I' | b'W' | b'E' | b'F' | b'D' => glog(start, arrival),
        _ => syslog(text, arrival),
    }
}

/// Android's `03-17 16:13:38.811`; the fraction is asked for.
fn android(mut c: Cursor<'_>, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let month = c.digits(2)?;
    c.one_of(b"-")?;
    let day = c.digits(2)?;
    c.one_of(b" ")?;
    let (h, m, s) = c.clock()?;
    if c.peek() != Some(b'.') {
        return None;
    }
    let nanos = c.fraction();
    c.end(without_year(arrival, |year| Timestamp::from_civil([year, month, day], [h, m, s], nanos, 0)))
}

/// Log4j's `17/06/09 20:10:40` and `081109 203615`: year, month, day, and a time that is not in the future.
fn two_digit_year(mut c: Cursor<'_>, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let year = c.digits(2)?;
    let slash = c.one_of(b"/").is_some();
    let month = c.digits(2)?;
    if slash {
        c.one_of(b"/")?;
    }
    let day = c.digits(2)?;
    c.one_of(b" ")?;
    let (h, m, s) = if slash { c.clock()? } else { (c.digits(2)?, c.digits(2)?, c.digits(2)?) };
    let nanos = if slash { c.fraction() } else { 0 };
    if !matches!(c.peek(), Some(b' ')) {
        return None;
    }
    let time = Timestamp::from_civil([2000 + year, month, day], [h, m, s], nanos, 0)?;
    c.end(Some(time).filter(|t| t.0 <= arrival.0.saturating_add(DAY_NS)))
}

/// Google's and Kubernetes' `I0102 15:04:05.678901`.
fn glog(mut c: Cursor<'_>, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    c.one_of(b"IWEFD")?;
    let (month, day) = (c.digits(2)?, c.digits(2)?);
    c.one_of(b" ")?;
    let (h, m, s) = c.clock()?;
    if c.peek() != Some(b'.') {
        return None;
    }
    let nanos = c.fraction();
    c.end(without_year(arrival, |year| Timestamp::from_civil([year, month, day], [h, m, s], nanos, 0)))
}

/// Unix seconds of ten digits with or without a fraction, or milliseconds of thirteen, from 2001 to the arrival.
pub(super) fn epoch(mut c: Cursor<'_>, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let from = c.at;
    let n = c.number(10, 13)?;
    let (seconds, millis) = match c.at - from {
        10 => (n, 0),
        13 => (n / 1000, n % 1000),
        _ => return None,
    };
    let nanos = if c.at - from == 10 { c.fraction() } else { millis * 1_000_000 };
    if !matches!(c.peek(), Some(b' ' | b'\t' | b']' | b'|')) || seconds < 1_000_000_000 {
        return None;
    }
    let time = Timestamp(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?);
    c.end(Some(time).filter(|t| t.0 <= arrival.0.saturating_add(DAY_NS)))
}

/// `1117838570 2005.06.03 `: the seconds and their own date, within a day: the supercomputers' form, and clear.
pub(super) fn epoch_and_date(text: &str, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let (time, end) = epoch(Cursor::new(text.as_bytes()), arrival)?;
    let mut c = Cursor { b: text.as_bytes(), at: end };
    c.one_of(b" ")?;
    let year = c.number(4, 4)?;
    c.one_of(b".")?;
    let month = c.digits(2)?;
    c.one_of(b".")?;
    let day = c.digits(2)?;
    let date = Timestamp::from_civil([year, month, day], [0, 0, 0], 0, 0)?;
    if (time.0 - date.0).abs() > 2 * DAY_NS { None } else { c.end(Some(time)) }
}

/// Proxifier's `10.30 16:49:06`; stands in brackets.
pub(super) fn dotted(text: &str, arrival: Timestamp) -> Option<(Timestamp, usize)> {
    let mut c = Cursor::new(text.as_bytes());
    let month = c.digits(2)?;
    c.one_of(b".")?;
    let day = c.digits(2)?;
    c.one_of(b" ")?;
    let (h, m, s) = c.clock()?;
    c.end(without_year(arrival, |year| Timestamp::from_civil([year, month, day], [h, m, s], 0, 0)))
}
