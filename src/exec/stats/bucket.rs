//! Values put together: time in steps, numbers in steps.

use super::Key;
use super::keys::KeyValue;
use crate::exec::target::Target;
use crate::exec::view::measured;
use crate::query::ast::{Bucket, CalendarStep};
use crate::record::{Number, Tag, Timestamp};

const DAY_NS: i64 = 86_400_000_000_000;
/// 1970-01-05 was the first Monday since the epoch.
const MONDAY_NS: i64 = 4 * DAY_NS;

/// The lower end of a bucket of time.
pub(crate) fn time_bucket(time: i64, bucket: &Bucket) -> i64 {
    let floor = |step: i64, shift: i64| {
        let (time, step, shift) = (i128::from(time), i128::from(step.max(1)), i128::from(shift));
        let low = (time - shift).div_euclid(step) * step + shift;
        i64::try_from(low).unwrap_or(i64::MIN)
    };
    match bucket {
        Bucket::Time { step_ns, offset_ns } => floor(*step_ns, *offset_ns),
        Bucket::Calendar(CalendarStep::Week) => floor(7 * DAY_NS, MONDAY_NS),
        Bucket::Calendar(step) => {
            let (year, month, _) = Timestamp(time).civil();
            let month = if *step == CalendarStep::Month { month } else { 1 };
            Timestamp::from_civil([year, month, 1], [0, 0, 0], 0, 0).map_or(i64::MIN, |t| t.0)
        }
        Bucket::Number { .. } => time,
    }
}

/// `floor(number / step) * step`, exact as long as 18 places and 38 digits hold it.
fn number_bucket(number: Number, step: Number) -> Number {
    for places in 0..=18u32 {
        let by = 10i128.pow(places);
        if let (Some(n), Some(s)) = (number.scaled(by).as_i128(), step.scaled(by).as_i128()) {
            if s <= 0 {
                return number;
            }
            let low = n.div_euclid(s).saturating_mul(s);
            return if places == 0 {
                Number::from(low)
            } else {
                Number::parse(&format!("{low}e-{places}")).unwrap_or(number)
            };
        }
    }
    let step = step.to_f64();
    Number::from_f64((number.to_f64() / step).floor() * step).unwrap_or(number)
}

impl Key {
    /// The group's value of a time.
    pub(crate) fn of_time(&self, time: i64) -> KeyValue<'static> {
        KeyValue::Time(self.bucket.as_ref().map_or(time, |bucket| time_bucket(time, bucket)))
    }

    /// The group's value of a time, and a later time up to which no other value comes.
    pub(super) fn of_time_until(&self, time: i64) -> (KeyValue<'static>, i64) {
        let value = self.of_time(time);
        let end = match (&self.bucket, &value) {
            (Some(Bucket::Time { step_ns, .. }), KeyValue::Time(low)) => low.saturating_add((*step_ns).max(1)),
            // No calendar step ends within a day.
            (Some(Bucket::Calendar(_)), _) => time.div_euclid(DAY_NS).saturating_add(1).saturating_mul(DAY_NS),
            _ => time.saturating_add(1),
        };
        (value, end)
    }

    /// The group's value of a value. What can't be put into a bucket is a group by itself.
    pub(crate) fn of_value<'t>(&self, tag: Tag, text: &'t str) -> KeyValue<'t> {
        let own = || KeyValue::Value(if text.is_empty() { Tag::String } else { tag }, text.into());
        match &self.bucket {
            Some(Bucket::Number { step }) => match measured(tag, text, self.kind) {
                Some(number) => {
                    let low = number_bucket(number, self.kind.measure(*step));
                    KeyValue::Value(Tag::Number, low.to_string().into())
                }
                None => own(),
            },
            Some(_) => Timestamp::parse(text).map_or_else(|_| own(), |time| self.of_time(time.0)),
            None if self.target == Target::Time => {
                Timestamp::parse(text).map_or_else(|_| own(), |time| KeyValue::Time(time.0))
            }
            None => own(),
        }
    }

    /// Is the value of a group the value of the record?
    pub(super) fn keeps_values(&self) -> bool {
        self.bucket.is_none() && self.target != Target::Time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |text: &str| Timestamp::parse(text).expect("a time").0;
        for (time, bucket, expect) in [
            ("2026-11-05T10:07:31Z", Bucket::Time { step_ns: 300_000_000_000, offset_ns: 0 }, "2026-11-05T10:05:00Z"),
            (
                "2026-11-05T10:07:31Z",
                Bucket::Time { step_ns: DAY_NS, offset_ns: -7_200_000_000_000 },
                "2026-11-04T22:00:00Z",
            ),
            ("1969-12-31T23:59:59Z", Bucket::Time { step_ns: 60_000_000_000, offset_ns: 0 }, "1969-12-31T23:59:00Z"),
            ("2026-11-05T10:07:31Z", Bucket::Calendar(CalendarStep::Week), "2026-11-02"),
            ("2026-11-02T00:00:00Z", Bucket::Calendar(CalendarStep::Week), "2026-11-02"),
            ("2026-11-05T10:07:31Z", Bucket::Calendar(CalendarStep::Month), "2026-11-01"),
            ("2026-11-05T10:07:31Z", Bucket::Calendar(CalendarStep::Year), "2026-01-01"),
        ] {
            assert_eq!(time_bucket(at(time), &bucket), at(expect), "{time} {bucket:?}");
        }
    }

    #[test]
    fn numbers() {
        for (number, step, expect) in [
            ("250", "100", "200"),
            ("-1", "100", "-100"),
            ("0.35", "0.1", "0.3"),
            ("7", "2.5", "5"),
            ("1e30", "7", "999999999999999999999999999999"),
        ] {
            let parse = |t: &str| Number::parse(t).expect("a number");
            assert_eq!(number_bucket(parse(number), parse(step)).to_string(), expect, "{number} {step}");
        }
    }
}
