//! Sample logs of a small shop, in the formats that its parts write: the same each time, but for when they end.

mod access;
mod app;
mod syslog;
mod worker;

use duramen::ingest::Format;
use duramen::record::Timestamp;

/// A log.
pub struct Sample {
    /// What the file would be called.
    pub name: &'static str,
    /// Labels of its stream.
    pub labels: [(&'static str, &'static str); 2],
    /// Its format, as `ingest` finds it out too.
    pub format: Format,
    /// Its lines.
    pub text: String,
}

/// All samples; their last lines are a moment before `end`.
pub fn all(end: Timestamp) -> [Sample; 4] {
    [
        Sample {
            name: "shop.ndjson",
            labels: [("app", "shop"), ("source", "app")],
            format: Format::Json,
            text: app::log(end),
        },
        Sample {
            name: "access.log",
            labels: [("app", "shop"), ("source", "access")],
            format: Format::Clf,
            text: access::log(end),
        },
        Sample {
            name: "syslog",
            labels: [("app", "system"), ("source", "syslog")],
            format: Format::Syslog,
            text: syslog::log(end),
        },
        Sample {
            name: "worker.log",
            labels: [("app", "worker"), ("source", "text")],
            format: Format::Text,
            text: worker::log(end),
        },
    ]
}

/// Numbers that look random and are the same each time: an LCG, of which the high bits are taken (Knuth, MMIX).
struct Dice(u64);

impl Dice {
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }

    /// One of these.
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let at = self.below(of.len() as u64) as usize;
        of.get(at).copied().unwrap_or_default()
    }

    /// One chance in `n`.
    fn rarely(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The times of `lines` lines, a few seconds apart, oldest first.
fn times(end: Timestamp, lines: u64, apart_ms: u64) -> impl Iterator<Item = Timestamp> {
    // Whole milliseconds, as most programs log them.
    let end = Timestamp(end.0 - end.0.rem_euclid(1_000_000));
    (1..=lines).rev().map(move |i| {
        // Uneven steps: a regular clock is a pattern that no log has.
        let back = i * apart_ms + i * 7919 % apart_ms;
        Timestamp(end.0.saturating_sub((back * 1_000_000) as i64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_each_time() {
        let end = Timestamp(1_735_689_600_000_000_000);
        for (a, b) in all(end).iter().zip(&all(end)) {
            assert_eq!(a.text, b.text, "{}", a.name);
            let lines = a.text.lines().count();
            assert!((200..=600).contains(&lines), "{}: {lines} lines", a.name);
        }
    }

    #[test]
    fn nothing_is_rejected_and_the_format_is_found_out() {
        use duramen::ingest::{Collected, IngestOptions, ingest_slice};
        let end = Timestamp(1_735_689_600_000_000_000);
        for sample in all(end) {
            for format in [sample.format, Format::Auto] {
                let mut out = Collected::default();
                let options = IngestOptions::new(end).format(format);
                let counts = ingest_slice(&options, sample.text.as_bytes(), &mut out).expect("no error");
                assert_eq!(out.rejections.first, [], "{} as {format}", sample.name);
                assert!(counts.accepted >= 200, "{} as {format}", sample.name);
                let times = out.batches.iter().flat_map(|b| &b.heads).map(|h| h.time);
                // Plain text of a continued line has its own time; all are of the past hours.
                assert!(times.into_iter().all(|t| t <= end && t.0 > end.0 - 86_400 * 1_000_000_000), "{}", sample.name);
            }
        }
    }
}
