//! Patterns of names and values, and the units of rules.

use crate::record::{Quantity, Unit, parse_duration_ns};

/// Matches a text: all of it, its beginning (`user-*`), or any that is not empty (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Any,
    Prefix(Box<str>),
    Exact(Box<str>),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => Err(format!("`{}` has a `*` before its end", cut(text))),
            Some("") => Ok(Pattern::Any),
            Some(prefix) => Ok(Pattern::Prefix(prefix.into())),
            None if text.is_empty() => Err("a pattern that is empty matches nothing; `*` is any".into()),
            None if text.contains('*') => Err(format!("`{}` has a `*` before its end", cut(text))),
            None => Ok(Pattern::Exact(text.into())),
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Any => !text.is_empty(),
            Pattern::Prefix(prefix) => text.starts_with(&**prefix),
            Pattern::Exact(exact) => text == &**exact,
        }
    }

    /// 2 where it is exact, 1 for a prefix, 0 for any.
    pub(super) fn exactness(&self) -> u8 {
        match self {
            Pattern::Any => 0,
            Pattern::Prefix(_) => 1,
            Pattern::Exact(_) => 2,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pattern::Any => f.write_str("*"),
            Pattern::Prefix(prefix) => write!(f, "{prefix}*"),
            Pattern::Exact(exact) => f.write_str(exact),
        }
    }
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A period above zero, in nanoseconds: `30d`, `12h`.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    match parse_duration_ns(text) {
        Some(ns) if ns > 0 => Ok(ns),
        _ => Err(format!("`{}` is no duration above zero, such as `30d` or `12h`", cut(text))),
    }
}

/// A number of bytes above zero: `50MB`, `1GiB`, `1000000`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    amount(text, Unit::Size).ok_or_else(|| format!("`{}` is no size above zero, such as `50MB` or `2GiB`", cut(text)))
}

/// A number above zero: `1000000`, `5M`.
pub(super) fn count(text: &str) -> Result<u64, String> {
    amount(text, Unit::Count).ok_or_else(|| format!("`{}` is no number above zero, such as `50000` or `5M`", cut(text)))
}

fn amount(text: &str, unit: Unit) -> Option<u64> {
    let quantity = Quantity::parse(text)?;
    let fits = quantity.unit.is_none() || quantity.unit == Some(unit);
    fits.then(|| quantity.number.as_i64()).flatten().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
}

/// A period as short as it can be said: `30d`, `90m`.
pub(super) fn period(ns: i64) -> String {
    const UNITS: [(&str, i64); 6] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    let (unit, in_ns) = UNITS.into_iter().find(|(_, in_ns)| ns % in_ns == 0).unwrap_or(("ns", 1));
    format!("{}{unit}", ns / in_ns)
}
