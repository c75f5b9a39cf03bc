//! Times as people write them.

use crate::record::{Timestamp, parse_duration_ns};

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: RFC 3339, `YYYY-MM-DD HH:mm:ss.SSS` (UTC), Unix s, ms or ns, `now-1h` or `1h` (ago) is")]
pub struct BadTime(String);

/// Reads a point in time: RFC 3339, `YYYY-MM-DD HH:mm:ss.SSS` in UTC, a Unix time in s, ms, us or ns, `now`, `now-1h`,
/// `now+5m`, or a plain duration for so long ago.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, BadTime> {
    let bad = || BadTime(text.chars().take(80).collect());
    let word = text.trim();
    let (ns, back) = if let Some(offset) = word.strip_prefix("now") {
        match offset.trim_start().split_at_checked(1) {
            None => return Ok(now),
            Some(("-", length)) => (parse_duration_ns(length.trim()), true),
            Some(("+", length)) => (parse_duration_ns(length.trim()), false),
            Some(_) => return Err(bad()),
        }
    } else {
        (parse_duration_ns(word.strip_prefix('-').unwrap_or(word)), true)
    };
    match ns {
        Some(ns) if back => Ok(Timestamp(now.0.saturating_sub(ns))),
        Some(ns) => Ok(Timestamp(now.0.saturating_add(ns))),
        None => Timestamp::parse(word).map_err(|_| bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let now = Timestamp(1_735_689_600_000_000_000);
        for (text, expect) in [
            ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00.000Z"),
            ("2025-01-01 00:00:00.250", "2025-01-01T00:00:00.250Z"),
            ("1735689600", "2025-01-01T00:00:00.000Z"),
            ("1735689600123", "2025-01-01T00:00:00.123Z"),
            ("1735689600123456789", "2025-01-01T00:00:00.123456789Z"),
            ("now", "2025-01-01T00:00:00.000Z"),
            ("now-1h", "2024-12-31T23:00:00.000Z"),
            ("now + 5m", "2025-01-01T00:05:00.000Z"),
            ("1h30m", "2024-12-31T22:30:00.000Z"),
            ("-1d", "2024-12-31T00:00:00.000Z"),
        ] {
            assert_eq!(parse_time(text, now).map(|t| t.to_string()).as_deref(), Ok(expect), "{text}");
        }
        for bad in ["", "soon", "nowish", "now-", "now-1", "now*2h", "5MB", "2025-13-01"] {
            assert!(parse_time(bad, now).is_err(), "{bad}");
        }
    }
}
