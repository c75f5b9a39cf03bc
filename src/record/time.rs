//! Points in time: i64 nanoseconds since 1970-01-01T00:00:00Z.

use super::{Number, Quantity, Unit};
use std::fmt;

/// A point in time, in nanoseconds since the Unix epoch, UTC: from the year 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// It is not written as a time.
    #[error("`{0}` is not a time: RFC 3339, `YYYY-MM-DD HH:mm:ss.SSS` or Unix seconds, ms, us or ns is")]
    Unreadable(String),
    /// It is a time outside of what 64 bits of nanoseconds hold.
    #[error("`{0}` is outside of the years 1677 to 2262")]
    OutOfRange(String),
}

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// The inverse, `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

impl Timestamp {
    /// The system's clock now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// A time from a date (year, month, day), a time of day (hour, minute, second), nanoseconds, and the zone's offset
    /// in seconds east of UTC.
    pub fn from_civil(
        [year, month, day]: [i64; 3],
        [hour, minute, second]: [i64; 3],
        nanos: i64,
        offset_s: i64,
    ) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        // Second 60 is a leap second, which POSIX time counts as the next one.
        if !(1..=days).contains(&day)
            || !(0..24).contains(&hour)
            || !(0..60).contains(&minute)
            || !(0..=60).contains(&second)
        {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
        let total = i128::from(seconds) * i128::from(SECOND) + i128::from(nanos);
        i64::try_from(total).ok().map(Timestamp)
    }

    /// Reads RFC 3339 (`T` or a space, any offset or none for UTC, up to nine digits of fraction and more cut off;
    /// a comma for the point too), a date alone, or a Unix time: a plain number whose size tells its unit.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let cut = || text.chars().take(80).collect::<String>();
        if let Some(time) = parse_civil(text.as_bytes()) {
            return time.ok_or_else(|| TimestampError::OutOfRange(cut()));
        }
        match Number::parse(text) {
            Some(n) => Self::from_unix(n).ok_or_else(|| TimestampError::OutOfRange(cut())),
            None => Err(TimestampError::Unreadable(cut())),
        }
    }

    /// A Unix time: below 1e11 it is in seconds (until the year 5138), below 1e14 in ms, below 1e17 in us, else in
    /// ns. The bounds are those of the ecosystem (Loki, VictoriaLogs): a record of today reads right in each unit.
    pub fn from_unix(n: Number) -> Option<Self> {
        let size = n.to_f64().abs();
        let by: i128 = match size {
            s if s < 1e11 => 1_000_000_000,
            s if s < 1e14 => 1_000_000,
            s if s < 1e17 => 1_000,
            _ => 1,
        };
        let scaled = n.scaled(by);
        let whole = scaled.as_i128().or_else(|| {
            let f = scaled.to_f64();
            (f.abs() < 1e19).then_some(f as i128)
        })?;
        i64::try_from(whole).ok().map(Timestamp)
    }

    /// Year, month (1 to 12) and day (1 to 31), UTC.
    pub fn civil(self) -> (i64, i64, i64) {
        civil_from_days(self.0.div_euclid(DAY))
    }

    /// Appends RFC 3339 in UTC with three, six or nine digits of fraction, as many as it needs.
    pub fn write(self, out: &mut String) {
        use fmt::Write;
        let (year, month, day) = self.civil();
        let in_day = self.0.rem_euclid(DAY);
        let (s, nanos) = (in_day / SECOND, in_day % SECOND);
        let mut b = *b"0000-00-00T00:00:00.000000000Z";
        let mut put = |at: usize, width: usize, mut n: i64| {
            for i in (at..at + width).rev() {
                b[i] = b'0' + (n % 10) as u8;
                n /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, s / 3600);
        put(14, 2, s / 60 % 60);
        put(17, 2, s % 60);
        put(20, 9, nanos);
        let end = if nanos % 1_000_000 == 0 {
            23
        } else if nanos % 1_000 == 0 {
            26
        } else {
            29
        };
        b[end] = b'Z';
        match std::str::from_utf8(&b[..=end]) {
            Ok(text) => out.push_str(text),
            Err(_) => drop(write!(out, "{}", self.0)),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(30);
        self.write(&mut out);
        f.write_str(&out)
    }
}

/// `None`: not written as a date. `Some(None)`: so written, but no valid or no representable time.
fn parse_civil(b: &[u8]) -> Option<Option<Timestamp>> {
    let num = |at: usize, width: usize| -> Option<i64> {
        let mut n = 0;
        for &c in b.get(at..at + width)? {
            if !c.is_ascii_digit() {
                return None;
            }
            n = n * 10 + i64::from(c - b'0');
        }
        Some(n)
    };
    if b.get(4) != Some(&b'-') || b.get(7) != Some(&b'-') {
        return None;
    }
    let (year, month, day) = (num(0, 4)?, num(5, 2)?, num(8, 2)?);
    if b.len() == 10 {
        return Some(Timestamp::from_civil([year, month, day], [0, 0, 0], 0, 0));
    }
    if !matches!(b[10], b'T' | b't' | b' ') || b.get(13) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (num(11, 2)?, num(14, 2)?);
    let mut i = 16;
    let mut second = 0;
    if b.get(16) == Some(&b':') {
        second = num(17, 2)?;
        i = 19;
    }
    let mut nanos = 0;
    if matches!(b.get(i), Some(b'.' | b',')) {
        let from = i + 1;
        i = from;
        let mut scale = SECOND / 10;
        while let Some(c @ b'0'..=b'9') = b.get(i) {
            nanos += i64::from(c - b'0') * scale;
            scale /= 10;
            i += 1;
        }
        if i == from {
            return None;
        }
    }
    if b.get(i) == Some(&b' ') && matches!(b.get(i + 1), Some(b'+' | b'-')) {
        i += 1;
    }
    let offset = match b.get(i..)? {
        [] | b"Z" | b"z" | b" UTC" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let h = num(i + 1, 2)?;
            let m = match b.len() - i - 1 {
                2 => 0,
                4 => num(i + 3, 2)?,
                5 if b[i + 3] == b':' => num(i + 4, 2)?,
                _ => return None,
            };
            if h > 23 || m > 59 {
                return Some(None);
            }
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some(Timestamp::from_civil([year, month, day], [hour, minute, second], nanos, offset))
}

/// A duration with units, such as `5m` or `1h30m`, in nanoseconds.
pub fn parse_duration_ns(text: &str) -> Option<i64> {
    let q = Quantity::parse(text)?;
    if q.unit == Some(Unit::Time) { q.number.as_i64() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads() {
        for (text, expect) in [
            ("2025-01-01T00:00:00.123Z", "2025-01-01T00:00:00.123Z"),
            ("2025-01-01T02:00:00+02:00", "2025-01-01T00:00:00.000Z"),
            ("2025-01-01 00:00:00,5", "2025-01-01T00:00:00.500Z"),
            ("2025-01-01", "2025-01-01T00:00:00.000Z"),
            ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000Z"),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
            ("2025-01-01T00:00:00.1234567891Z", "2025-01-01T00:00:00.123456789Z"),
            ("2025-01-01 00:00:00 -0130", "2025-01-01T01:30:00.000Z"),
            ("1735689600", "2025-01-01T00:00:00.000Z"),
            ("1735689600.25", "2025-01-01T00:00:00.250Z"),
            ("1735689600123", "2025-01-01T00:00:00.123Z"),
            ("1735689600123456", "2025-01-01T00:00:00.123456Z"),
            ("1735689600123456789", "2025-01-01T00:00:00.123456789Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()), Ok(expect.to_string()), "{text}");
        }
    }

    #[test]
    fn refuses() {
        for bad in [
            "",
            "yesterday",
            "2025-13-01",
            "2025-02-29",
            "2025-01-01T25:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31",
            "1e30",
            "2025-01-01T",
            "2025-01-01T00:00:00X",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ns("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_duration_ns("5"), None);
        assert_eq!(parse_duration_ns("5MB"), None);
    }
}
