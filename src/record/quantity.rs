//! Numbers with units.

use super::Number;

/// What a unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Size,
    /// Plain counts (`2K`).
    Count,
    /// Percent: `12%` is 12 with this unit.
    Percent,
}

/// A number and the unit it was written with: durations in ns, sizes in bytes, counts and percentages as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The number, scaled to the base unit.
    pub number: Number,
    /// What it measures; `None` for a plain number.
    pub unit: Option<Unit>,
}

/// Longest name of a unit.
const UNIT_BYTES_MAX: usize = 3;

const UNITS: &[(&str, Unit, i128)] = &[
    ("ns", Unit::Time, 1),
    ("us", Unit::Time, 1_000),
    ("µs", Unit::Time, 1_000),
    ("μs", Unit::Time, 1_000),
    ("ms", Unit::Time, 1_000_000),
    ("s", Unit::Time, 1_000_000_000),
    ("m", Unit::Time, 60_000_000_000),
    ("h", Unit::Time, 3_600_000_000_000),
    ("d", Unit::Time, 86_400_000_000_000),
    ("w", Unit::Time, 604_800_000_000_000),
    ("y", Unit::Time, 31_536_000_000_000_000),
    ("B", Unit::Size, 1),
    ("KB", Unit::Size, 1_000),
    ("kB", Unit::Size, 1_000),
    ("MB", Unit::Size, 1_000_000),
    ("GB", Unit::Size, 1_000_000_000),
    ("TB", Unit::Size, 1_000_000_000_000),
    ("KiB", Unit::Size, 1 << 10),
    ("MiB", Unit::Size, 1 << 20),
    ("GiB", Unit::Size, 1 << 30),
    ("TiB", Unit::Size, 1 << 40),
    ("K", Unit::Count, 1_000),
    ("M", Unit::Count, 1_000_000),
    ("G", Unit::Count, 1_000_000_000),
    ("T", Unit::Count, 1_000_000_000_000),
    ("Ki", Unit::Count, 1 << 10),
    ("Mi", Unit::Count, 1 << 20),
    ("Gi", Unit::Count, 1 << 30),
    ("Ti", Unit::Count, 1 << 40),
    ("%", Unit::Percent, 1),
];

impl Quantity {
    /// Reads a number with an optional unit: `12`, `-1.5s`, `1h30m`, `10KiB`, `2K`, `50%`. Parts may follow each
    /// other in durations only. Nothing may stand around it.
    pub fn parse(text: &str) -> Option<Self> {
        let first = *text.as_bytes().first()?;
        if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) || text.len() > 64 {
            return None;
        }
        if !text.as_bytes()[text.len() - 1].is_ascii_digit() || text.len() > 1 {
            if let Some(number) = Number::parse(text) {
                return Some(Quantity { number, unit: None });
            }
        } else {
            return Number::parse(text).map(|number| Quantity { number, unit: None });
        }
        let negative = first == b'-';
        let mut rest = text.trim_start_matches(['-', '+']);
        if text.len() - rest.len() > 1 {
            return None;
        }
        let mut total: Option<(Number, Unit)> = None;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let number = Number::parse(&rest[..digits])?;
            rest = &rest[digits..];
            let name = rest.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
            if name > UNIT_BYTES_MAX {
                return None;
            }
            let &(_, unit, by) = UNITS.iter().find(|(n, _, _)| *n == &rest[..name])?;
            rest = &rest[name..];
            let part = number.scaled(by);
            total = Some(match total {
                None => (part, unit),
                Some((sum, Unit::Time)) if unit == Unit::Time => (sum.plus(part), unit),
                Some(_) => return None,
            });
        }
        let (number, unit) = total?;
        Some(Quantity { number: if negative { number.scaled(-1) } else { number }, unit: Some(unit) })
    }
}

/// The unit that plain numbers of a field have by its name: the number of base units (ns or bytes) in one.
///
/// `_ns`, `_us`, `_ms`, `_s`, `_sec`, `_secs`, `_seconds`, `_minutes`, `_bytes`, `_kb`, `_mb` at the end, and their
/// camel-case forms (`elapsedMs`, `sizeBytes`); a last part that is `duration` is in ms by default.
pub fn field_unit(name: &str) -> Option<(Unit, i128)> {
    let last = name.rsplit('.').next().unwrap_or(name);
    if last == "duration" {
        return Some((Unit::Time, 1_000_000));
    }
    const SUFFIXES: &[(&str, &str, Unit, i128)] = &[
        ("_ns", "Ns", Unit::Time, 1),
        ("_us", "Us", Unit::Time, 1_000),
        ("_ms", "Ms", Unit::Time, 1_000_000),
        ("_s", "", Unit::Time, 1_000_000_000),
        ("_sec", "Sec", Unit::Time, 1_000_000_000),
        ("_secs", "Secs", Unit::Time, 1_000_000_000),
        ("_seconds", "Seconds", Unit::Time, 1_000_000_000),
        ("_minutes", "Minutes", Unit::Time, 60_000_000_000),
        ("_bytes", "Bytes", Unit::Size, 1),
        ("_kb", "Kb", Unit::Size, 1_000),
        ("_mb", "Mb", Unit::Size, 1_000_000),
    ];
    SUFFIXES
        .iter()
        .find(|(snake, camel, _, _)| last.ends_with(snake) || (!camel.is_empty() && last.ends_with(camel)))
        .map(|&(_, _, unit, by)| (unit, by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, number, unit) in [
            ("12", "12", None),
            ("7", "7", None),
            ("1.5s", "1500000000", Some(Unit::Time)),
            ("1h30m", "5400000000000", Some(Unit::Time)),
            ("-250ms", "-250000000", Some(Unit::Time)),
            ("10KiB", "10240", Some(Unit::Size)),
            ("5MB", "5000000", Some(Unit::Size)),
            ("2K", "2000", Some(Unit::Count)),
            ("12.5%", "12.5", Some(Unit::Percent)),
            ("3µs", "3000", Some(Unit::Time)),
        ] {
            let q = Quantity::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((q.number, q.unit), (Number::parse(number).unwrap(), unit), "{text}");
        }
        for bad in ["", "s", "5 s", "5x", "1MB2KB", "--5s", "1h-30m", "ms5", "5é"] {
            assert_eq!(Quantity::parse(bad), None, "{bad}");
        }
        assert!(UNITS.iter().all(|(name, ..)| name.len() <= UNIT_BYTES_MAX));
    }
}
