//! When backups and drills are due. Nothing is kept of that but the runs themselves: when the last one was is read from
//! the target, so that neither a restart nor a lost catalog forgets it, nor a copy of the store on another machine.

use crate::record::{Timestamp, parse_duration_ns};
use serde::Deserialize;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;
const DAY_NS: i64 = 24 * HOUR_NS;
/// The shortest time between runs.
const EVERY_NS_MIN: i64 = 60 * SECOND_NS;

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Every(i64);

/// A time of the day, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeOfDay(i64);

/// A text that says no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSchedule {
    /// Not how often.
    #[error("`{0}` does not say how often: hourly, daily, weekly, monthly (30 days) or a duration from 1m on do")]
    Every(String),
    /// Not when.
    #[error("`{0}` is no time of day: 03:00 is, in UTC")]
    At(String),
}

impl TryFrom<String> for Every {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        let ns = match text.as_str() {
            "hourly" => Some(HOUR_NS),
            "daily" => Some(DAY_NS),
            "weekly" => Some(7 * DAY_NS),
            "monthly" => Some(30 * DAY_NS),
            other => parse_duration_ns(other),
        };
        let cut = || BadSchedule::Every(text.chars().take(40).collect());
        ns.filter(|ns| *ns >= EVERY_NS_MIN).map(Every).ok_or_else(cut)
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        let number = |text: &str, below: i64| {
            let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<i64>().ok().filter(|n| plain && *n < below)
        };
        let parts = text.split_once(':').and_then(|(h, m)| Some((number(h, 24)?, number(m, 60)?)));
        let (hour, minute) = parts.ok_or_else(|| BadSchedule::At(text.chars().take(40).collect()))?;
        Ok(TimeOfDay(hour * HOUR_NS + minute * 60 * SECOND_NS))
    }
}

impl Every {
    /// Nanoseconds.
    pub fn ns(self) -> i64 {
        self.0
    }

    /// When it is due again. What is done every some days is due at the time of day; it may have been late the last
    /// time, and does not move for that.
    fn after(self, last: Timestamp, at: TimeOfDay) -> Timestamp {
        if self.0 % DAY_NS != 0 {
            return Timestamp(last.0.saturating_add(self.0));
        }
        let day = last.0.saturating_sub(at.0).div_euclid(DAY_NS);
        Timestamp(day.saturating_mul(DAY_NS).saturating_add(at.0).saturating_add(self.0))
    }
}

/// What is done, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// Runs that copy what is new.
    pub incremental: Option<Every>,
    /// Runs that read everything again.
    pub full: Option<Every>,
    /// Recovery drills.
    pub drill: Option<Every>,
    /// When in the day.
    pub at: TimeOfDay,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A run that reads everything.
    Full,
    /// A run that copies what is new.
    Incremental,
    /// A recovery drill.
    Drill,
}

/// When each was done last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Last {
    /// A run of all tenants, of either kind.
    pub run: Option<Timestamp>,
    /// A full one.
    pub full: Option<Timestamp>,
    /// A drill.
    pub drill: Option<Timestamp>,
}

impl Schedule {
    /// What comes next, and when; `None` where nothing is to be done. What was never done is due at once, but a drill
    /// needs a run first.
    pub fn next(&self, last: &Last) -> Option<(Task, Timestamp)> {
        let due = |every: Option<Every>, last: Option<Timestamp>| {
            every.map(|every| last.map_or(Timestamp(0), |last| every.after(last, self.at)))
        };
        let drill = due(self.drill, last.drill).filter(|_| last.run.is_some());
        let all = [
            // Of two that are due at once the full run is both.
            (Task::Full, due(self.full, last.full)),
            (Task::Incremental, due(self.incremental, last.run)),
            (Task::Drill, drill),
        ];
        let due = all.into_iter().filter_map(|(task, at)| Some((task, at?)));
        due.min_by_key(|(_, at)| *at)
    }

    /// When a run is overdue: when the next one should have been, and half of the time between them more.
    pub fn overdue(&self, last: &Last) -> Option<Timestamp> {
        let every = self.incremental.into_iter().chain(self.full).min()?;
        let due = every.after(last.run?, self.at);
        Some(Timestamp(due.0.saturating_add(every.0 / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn every(text: &str) -> Every {
        Every::try_from(text.to_string()).expect("how often")
    }

    #[test]
    fn texts() {
        for (text, ns) in [("hourly", HOUR_NS), ("daily", DAY_NS), ("weekly", 7 * DAY_NS), ("6h", 6 * HOUR_NS)] {
            assert_eq!(every(text).ns(), ns, "{text}");
        }
        for bad in ["", "often", "5s", "-1d", "0"] {
            assert!(Every::try_from(bad.to_string()).is_err(), "{bad}");
        }
        for bad in ["", "3", "3:00", "24:00", "12:60", "03:00:00", "+1:00"] {
            assert!(TimeOfDay::try_from(bad.to_string()).is_err(), "{bad}");
        }
        assert_eq!(TimeOfDay::try_from("23:59".to_string()), Ok(TimeOfDay(DAY_NS - 60 * SECOND_NS)));
    }

    #[test]
    fn what_is_due_and_when() {
        let at = TimeOfDay::try_from("03:00".to_string()).expect("a time");
        let schedule = Schedule {
            incremental: Some(every("daily")),
            full: Some(every("weekly")),
            drill: Some(every("monthly")),
            at,
        };
        let mut last = Last::default();
        assert_eq!(schedule.next(&last), Some((Task::Full, Timestamp(0))), "never done");
        last.run = Some(time("2026-11-21T12:34:00Z"));
        last.full = last.run;
        assert_eq!(schedule.next(&last), Some((Task::Drill, Timestamp(0))), "a drill needs a run");
        last.drill = last.run;
        assert_eq!(schedule.next(&last), Some((Task::Incremental, time("2026-11-22T03:00:00Z"))));
        // Done late, and the next one is not.
        last.run = Some(time("2026-11-22T09:00:00Z"));
        assert_eq!(schedule.next(&last), Some((Task::Incremental, time("2026-11-23T03:00:00Z"))));
        // Right at the time, or a moment before it by another clock.
        last.run = Some(time("2026-11-23T03:00:00Z"));
        assert_eq!(schedule.next(&last), Some((Task::Incremental, time("2026-11-24T03:00:00Z"))));
        last.run = Some(time("2026-11-28T02:00:00Z"));
        assert_eq!(schedule.next(&last), Some((Task::Full, time("2026-11-28T03:00:00Z"))), "both, and the full one");
        assert_eq!(schedule.overdue(&last), Some(time("2026-11-28T15:00:00Z")));
        assert_eq!(Schedule::default().next(&last), None);
        let often = Schedule { incremental: Some(every("90m")), ..Schedule::default() };
        assert_eq!(often.next(&last), Some((Task::Incremental, time("2026-11-28T03:30:00Z"))));
    }
}
