//! Spans of time, resolved against one reading of the clock.

use crate::query::ast::{Filter, TimePoint, TimeRange};
use crate::record::Timestamp;
use std::fmt;

/// A span of time, both ends taken in. It is empty where the first is after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan {
    /// First point in time.
    pub first: Timestamp,
    /// Last point in time.
    pub last: Timestamp,
}

impl TimeSpan {
    /// All of time.
    pub const ALL: TimeSpan = TimeSpan { first: Timestamp(i64::MIN), last: Timestamp(i64::MAX) };
    /// No time at all.
    pub const NONE: TimeSpan = TimeSpan { first: Timestamp(i64::MAX), last: Timestamp(i64::MIN) };

    /// From a start, taken in, to an end, left out; `None` for an open end.
    pub fn half_open(start: Option<Timestamp>, end: Option<Timestamp>) -> Self {
        let last = match end {
            None => Timestamp(i64::MAX),
            Some(Timestamp(end)) => match end.checked_sub(1) {
                Some(last) => Timestamp(last),
                None => return TimeSpan::NONE,
            },
        };
        TimeSpan { first: start.unwrap_or(Timestamp(i64::MIN)), last }
    }

    /// A range of a query.
    pub(crate) fn resolve(range: &TimeRange, now: Timestamp) -> Self {
        let at = |point: &TimePoint| {
            let time = match *point {
                TimePoint::At(time) => time.0,
                TimePoint::Now(by) => now.0.saturating_add(by),
            };
            time.saturating_sub(range.offset_ns)
        };
        let first = match &range.start {
            None => Some(i64::MIN),
            Some((point, true)) => Some(at(point)),
            Some((point, false)) => at(point).checked_add(1),
        };
        let last = match &range.end {
            None => Some(i64::MAX),
            Some((point, true)) => Some(at(point)),
            Some((point, false)) => at(point).checked_sub(1),
        };
        match (first, last) {
            (Some(first), Some(last)) => TimeSpan { first: Timestamp(first), last: Timestamp(last) },
            _ => TimeSpan::NONE,
        }
    }

    /// What lies in both.
    pub fn intersect(self, other: TimeSpan) -> TimeSpan {
        TimeSpan { first: self.first.max(other.first), last: self.last.min(other.last) }
    }
    /// Is nothing in it?
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }
    /// Is this point in it?
    pub fn contains(self, time: Timestamp) -> bool {
        self.first <= time && time <= self.last
    }
    /// Is a point of a block's range in it?
    pub(crate) fn overlaps(self, (first, last): (Timestamp, Timestamp)) -> bool {
        !self.is_empty() && self.first <= last && first <= self.last
    }
    /// Is all of a block's range in it?
    pub(crate) fn covers(self, (first, last): (Timestamp, Timestamp)) -> bool {
        self.first <= first && last <= self.last
    }
    /// The rows whose times, which rise, are in it.
    pub(crate) fn rows(self, times: &[i64]) -> std::ops::Range<u32> {
        let first = times.partition_point(|&t| t < self.first.0);
        let end = times.partition_point(|&t| t <= self.last.0);
        first as u32..end.max(first) as u32
    }
}

/// As text of the query language.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("NOT *");
        }
        let end = |time: Timestamp, open: i64| (time.0 != open).then_some((TimePoint::At(time), true));
        match (end(self.first, i64::MIN), end(self.last, i64::MAX)) {
            (None, None) => f.write_str("*"),
            (start, end) => write!(f, "{}", Filter::Time(TimeRange { start, end, offset_ns: 0 })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves() {
        let range = |start, end, offset_ns| {
            let span = TimeSpan::resolve(&TimeRange { start, end, offset_ns }, Timestamp(1000));
            (span.first.0, span.last.0)
        };
        use TimePoint::{At, Now};
        assert_eq!(range(Some((Now(-100), true)), None, 0), (900, i64::MAX));
        assert_eq!(range(Some((Now(-100), false)), Some((Now(0), false)), 50), (851, 949));
        assert_eq!(range(None, Some((At(Timestamp(7)), true)), 0), (i64::MIN, 7));
        let none = TimeSpan::resolve(
            &TimeRange { start: Some((At(Timestamp(i64::MAX)), false)), end: None, offset_ns: 0 },
            Timestamp(0),
        );
        assert!(none.is_empty());
    }

    #[test]
    fn rows_of_a_span() {
        let span = TimeSpan { first: Timestamp(2), last: Timestamp(4) };
        assert_eq!(span.rows(&[1, 2, 2, 4, 5]), 1..4);
        assert_eq!(span.rows(&[5, 6]), 0..0);
        assert!(TimeSpan::NONE.rows(&[1, 2]).is_empty());
        assert_eq!(TimeSpan::half_open(None, Some(Timestamp(5))).last, Timestamp(4));
    }
}
