//! Numbers as strings of decimal digits, compared and added exactly; units; times.

use std::cmp::Ordering;

/// `0.d1d2d3.. * 10^exponent`, no zero at either end of the digits; none at all is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dec {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Dec {
    fn new(negative: bool, mut digits: Vec<u8>, mut exponent: i64) -> Dec {
        let zeros = digits.iter().take_while(|d| **d == 0).count();
        digits.drain(..zeros);
        exponent -= zeros as i64;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        if digits.is_empty() {
            Dec { negative: false, digits, exponent: 0 }
        } else {
            Dec { negative, digits, exponent }
        }
    }

    /// `-12`, `+3.50`, `.5`, `1e-9`, and nothing around it.
    pub fn parse(text: &str) -> Option<Dec> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, power) = match rest.split_once(['e', 'E']) {
            Some((m, p)) => (m, p.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{part}");
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = all.bytes().map(|b| b - b'0').collect();
        Some(Dec::new(negative, digits, whole.len() as i64 + power))
    }

    pub fn times(&self, by: u64) -> Dec {
        let (mut out, mut carry) = (Vec::new(), 0u128);
        for d in self.digits.iter().rev() {
            carry += u128::from(*d) * u128::from(by);
            out.push((carry % 10) as u8);
            carry /= 10;
        }
        let grown = out.len();
        while carry > 0 {
            out.push((carry % 10) as u8);
            carry /= 10;
        }
        let longer = (out.len() - grown) as i64;
        out.reverse();
        Dec::new(self.negative, out, self.exponent + longer)
    }

    pub fn negated(mut self) -> Dec {
        self.negative = !self.negative && !self.digits.is_empty();
        self
    }

    /// Both as whole numbers of the same power of ten: digits of equal length.
    fn aligned(&self, other: &Dec) -> (Vec<u8>, Vec<u8>, i64) {
        let low = |d: &Dec| d.exponent - d.digits.len() as i64;
        let bottom = low(self).min(low(other));
        let top = self.exponent.max(other.exponent);
        let spread = |d: &Dec| {
            let mut out = vec![0; (top - d.exponent) as usize];
            out.extend(&d.digits);
            out.resize((top - bottom) as usize, 0);
            out
        };
        (spread(self), spread(other), top)
    }

    pub fn plus(&self, other: &Dec) -> Dec {
        if self.digits.is_empty() {
            return other.clone();
        }
        if other.digits.is_empty() {
            return self.clone();
        }
        let (mut a, mut b, top) = self.aligned(other);
        if self.negative == other.negative {
            let (mut out, mut carry) = (Vec::new(), 0);
            for (x, y) in a.iter().rev().zip(b.iter().rev()) {
                carry += x + y;
                out.push(carry % 10);
                carry /= 10;
            }
            out.push(carry);
            out.reverse();
            return Dec::new(self.negative, out, top + 1);
        }
        let negative = if a >= b { self.negative } else { other.negative };
        if a < b {
            std::mem::swap(&mut a, &mut b);
        }
        let (mut out, mut borrow) = (Vec::new(), 0i8);
        for (x, y) in a.iter().rev().zip(b.iter().rev()) {
            let d = *x as i8 - *y as i8 - borrow;
            borrow = i8::from(d < 0);
            out.push((d + 10 * borrow) as u8);
        }
        out.reverse();
        Dec::new(negative, out, top)
    }

    pub fn to_f64(&self) -> f64 {
        let digits: String = self.digits.iter().map(|d| char::from(b'0' + d)).collect();
        format!("{}0.{digits}0e{}", if self.negative { "-" } else { "" }, self.exponent).parse().unwrap()
    }
}

impl PartialOrd for Dec {
    fn partial_cmp(&self, other: &Dec) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Dec {
    fn cmp(&self, other: &Dec) -> Ordering {
        match (self.negative, other.negative) {
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            _ => {}
        }
        let size = match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            _ => self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits)),
        };
        if self.negative { size.reverse() } else { size }
    }
}

/// What a unit measures. Counts (`2K`) are plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Time,
    Size,
    Percent,
}

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// Longer names first, so that `ms` is not read as `m`.
const UNITS: &[(&str, Kind, u64)] = &[
    ("KiB", Kind::Size, 1 << 10),
    ("MiB", Kind::Size, 1 << 20),
    ("GiB", Kind::Size, 1 << 30),
    ("KB", Kind::Size, 1_000),
    ("MB", Kind::Size, 1_000_000),
    ("GB", Kind::Size, 1_000_000_000),
    ("ns", Kind::Time, 1),
    ("us", Kind::Time, 1_000),
    ("µs", Kind::Time, 1_000),
    ("ms", Kind::Time, MS),
    ("Ki", Kind::Plain, 1 << 10),
    ("Mi", Kind::Plain, 1 << 20),
    ("s", Kind::Time, S),
    ("m", Kind::Time, 60 * S),
    ("h", Kind::Time, 3600 * S),
    ("d", Kind::Time, 86_400 * S),
    ("w", Kind::Time, 604_800 * S),
    ("B", Kind::Size, 1),
    ("K", Kind::Plain, 1_000),
    ("M", Kind::Plain, 1_000_000),
    ("G", Kind::Plain, 1_000_000_000),
    ("%", Kind::Percent, 1),
];

/// A number with its unit: `12`, `-1.5s`, `1h30m`, `10KiB`, `2K`, `50%`.
pub fn quantity(text: &str) -> Option<(Dec, Kind)> {
    if let Some(number) = Dec::parse(text) {
        return Some((number, Kind::Plain));
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total: Option<(Dec, Kind)> = None;
    while !rest.is_empty() {
        let length = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number = Dec::parse(&rest[..length])?;
        let tail = &rest[length..];
        let (name, kind, by) = UNITS.iter().find(|(name, ..)| tail.starts_with(name))?;
        rest = &tail[name.len()..];
        let part = number.times(*by);
        total = Some(match total {
            None => (part, *kind),
            Some((sum, Kind::Time)) if *kind == Kind::Time => (sum.plus(&part), Kind::Time),
            Some(_) => return None,
        });
    }
    total.map(|(n, kind)| (if negative { n.negated() } else { n }, kind))
}

/// The unit of plain numbers in a field, by its name.
pub fn unit_of_field(name: &str) -> Option<(Kind, u64)> {
    let last = name.rsplit('.').next().unwrap_or(name);
    [("duration", Kind::Time, MS), ("_ms", Kind::Time, MS), ("_seconds", Kind::Time, S), ("_bytes", Kind::Size, 1)]
        .into_iter()
        .find(|(suffix, ..)| if suffix.starts_with('_') { last.ends_with(suffix) } else { last == *suffix })
        .map(|(_, kind, by)| (kind, by))
}

/// How two quantities of a field stand to each other. `None`: of kinds that nothing compares.
pub fn compare(value: &(Dec, Kind), bound: &(Dec, Kind), field: &str) -> Option<Ordering> {
    let unit = unit_of_field(field);
    let scaled = |number: &Dec, to: Kind| match unit {
        Some((kind, by)) if kind == to => number.times(by),
        _ => number.clone(),
    };
    match (value.1, bound.1) {
        (a, b) if a == b => Some(value.0.cmp(&bound.0)),
        (Kind::Plain, kind) => Some(scaled(&value.0, kind).cmp(&bound.0)),
        (kind, Kind::Plain) => Some(value.0.cmp(&scaled(&bound.0, kind))),
        _ => None,
    }
}

/// `2025-03-01T12:00:00.25Z` in ns; UTC only, which is all that answers hold.
pub fn time_ns(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let n = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if b.len() < 20 || b[10] != b'T' || *b.last()? != b'Z' {
        return None;
    }
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let (year, month, day) = (n(0..4)?, n(5..7)? as usize, n(8..10)?);
    let mut days: i64 = (1970..year).map(|y| 365 + i64::from(leap(y))).sum();
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += lengths.iter().take(month - 1).sum::<i64>() + day - 1;
    let seconds = days * 86_400 + n(11..13)? * 3600 + n(14..16)? * 60 + n(17..19)?;
    let fraction = if b[19] == b'.' { &text[20..text.len() - 1] } else { "" };
    Some(seconds * 1_000_000_000 + format!("{fraction:0<9}").parse::<i64>().ok()?)
}

/// The same the other way, always with nine digits.
pub fn time_text(ns: i64) -> String {
    let (mut days, in_day) = (ns.div_euclid(86_400_000_000_000), ns.rem_euclid(86_400_000_000_000));
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let s = in_day / 1_000_000_000;
    let (h, m) = (s / 3600, s / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{h:02}:{m:02}:{:02}.{:09}Z", days + 1, s % 60, in_day % 1_000_000_000)
}

#[test]
fn numbers_are_exact() {
    let order = [
        "-1e300",
        "-9007199254740993",
        "-9007199254740992",
        "-0.1",
        "0",
        "1e-9",
        "0.10",
        "0.11",
        "1",
        "1.0000000000000000001",
        "9.9",
        "10",
        "18446744073709551616",
    ];
    for (i, a) in order.iter().enumerate() {
        for (j, b) in order.iter().enumerate() {
            assert_eq!(Dec::parse(a).unwrap().cmp(&Dec::parse(b).unwrap()), i.cmp(&j), "{a} {b}");
        }
    }
    for (a, b, sum) in [
        ("1", "2", "3"),
        ("0.1", "0.2", "0.3"),
        ("-5", "3", "-2"),
        ("5", "-5", "0"),
        ("999", "0.01", "999.01"),
        ("-1", "-9", "-10"),
        ("1", "-0.001", "0.999"),
    ] {
        assert_eq!(Dec::parse(a).unwrap().plus(&Dec::parse(b).unwrap()), Dec::parse(sum).unwrap(), "{a} {b}");
    }
    assert_eq!(Dec::parse("1.5").unwrap().times(1_000_000_000), Dec::parse("1500000000").unwrap());
    for bad in ["", "-", ".", "1.2.3", "1e", "x", "1 ", "٣"] {
        assert_eq!(Dec::parse(bad), None, "{bad}");
    }
}

#[test]
fn units_scale() {
    for (text, number, kind) in [
        ("1h30m", "5400000000000", Kind::Time),
        ("250ms", "250000000", Kind::Time),
        ("-1.5s", "-1500000000", Kind::Time),
        ("10KiB", "10240", Kind::Size),
        ("5MB", "5000000", Kind::Size),
        ("2K", "2000", Kind::Plain),
        ("50%", "50", Kind::Percent),
    ] {
        assert_eq!(quantity(text), Some((Dec::parse(number).unwrap(), kind)), "{text}");
    }
    for bad in ["5x", "1MB2KB", "ms", "--5s", "5 s", "s5"] {
        assert_eq!(quantity(bad), None, "{bad}");
    }
}

#[test]
fn times_there_and_back() {
    for ns in [0, 1, 1_735_689_600_123_456_789, 1_709_164_800_000_000_000, 951_782_400_000_000_000] {
        assert_eq!(time_ns(&time_text(ns)), Some(ns));
    }
    assert_eq!(time_ns("2024-02-29T00:00:00.000Z"), Some(1_709_164_800_000_000_000));
}
