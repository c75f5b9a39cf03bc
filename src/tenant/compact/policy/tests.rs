//! What the policy picks, and what it comes to over months of seals.

use super::*;
use crate::id::{Place, Seq};

const MINUTE_NS: i64 = 60_000_000_000;
const MIB: u64 = 1 << 20;
const NO_LIMITS: &dyn Fn(&Class) -> MergeLimits = &|_| MergeLimits { span_ns: None, bytes: None, records: None };
const RULES: Rules<'static> =
    Rules { bytes_max: 64 * MIB, limits: NO_LIMITS, retention_ns: None, settle_ns: 60 * MINUTE_NS, whole: false };

fn segment(id: u64, minutes: (i64, i64), bytes: u64, level: u8) -> SegmentMeta {
    let time = |m: i64| Timestamp(m * MINUTE_NS);
    SegmentMeta {
        id: SegmentId(id),
        bytes,
        data_root: [0; 32],
        index_root: [0; 32],
        rows: 1,
        min_time: time(minutes.0),
        max_time: time(minutes.1),
        min_seq: Seq(id),
        max_seq: Seq(id),
        blocks: 1,
        created_at_ns: minutes.1 * MINUTE_NS,
        level,
        class: Class::default(),
        place: Place::default(),
    }
}

type Live = BTreeMap<SegmentId, Arc<SegmentMeta>>;

fn live(segments: impl IntoIterator<Item = SegmentMeta>) -> Live {
    segments.into_iter().map(|s| (s.id, Arc::new(s))).collect()
}

fn check(segments: Vec<SegmentMeta>, rules: Rules<'_>, now_minutes: i64, expect: &[u64]) {
    let picked = next_merge(&live(segments.clone()), &rules, Timestamp(now_minutes * MINUTE_NS));
    let picked: Vec<u64> = picked.into_iter().map(|id| id.0).collect();
    assert_eq!(picked, expect, "of {segments:?}");
}

fn row(count: u64, bytes: u64, level: u8) -> Vec<SegmentMeta> {
    (1..=count).map(|i| segment(i, (10 * i as i64 - 10, 10 * i as i64 - 1), bytes, level)).collect()
}

#[test]
fn a_tier_is_merged_when_it_is_full() {
    let first_16: Vec<u64> = (1..=16).collect();
    check(row(15, 4096, 0), RULES, 150, &[]);
    check(row(16, 4096, 0), RULES, 160, &first_16);
    // Those that wait are all taken, up to what one merge may have.
    check(row(20, 4096, 0), RULES, 200, &(1..=20).collect::<Vec<_>>());
    check(row(80, 4096, 0), RULES, 800, &(1..=64).collect::<Vec<_>>());
    check(row(16, 4096, 1), RULES, 160, &first_16);
    // The third tier waits for its week, or until there is enough for a segment that is left alone.
    check(row(16, 4096, 2), RULES, 160, &[]);
    check(row(8, 9 * MIB, 0), RULES, 80, &(1..=8).collect::<Vec<_>>());
    check(row(7, 9 * MIB, 0), RULES, 70, &[]);
    check(row(16, 4 * MIB, 0), RULES, 160, &first_16);
    check(row(20, 64 * MIB, 0), RULES, 100 * 1440, &[]);
    // Of two tiers, neither of them full.
    let mut mixed = row(15, 4096, 0);
    mixed.extend((16..=30).map(|i| segment(i, (10 * i as i64, 10 * i as i64 + 9), MIB, 0)));
    check(mixed, RULES, 310, &[]);
}

#[test]
fn what_is_over_becomes_one_when_it_has_settled() {
    let three =
        || vec![segment(1, (0, 10), 100, 0), segment(2, (700, 710), 9 * MIB, 1), segment(3, (1000, 1010), 100, 1)];
    // A day after the first one's end, and an hour.
    check(three(), RULES, 10 + 1440 + 59, &[]);
    check(three(), RULES, 10 + 1440 + 60, &[1, 3]);
    check(three(), RULES, 10 + 8 * 1440 + 59, &[1, 3]);
    check(three(), RULES, 10 + 8 * 1440 + 60, &[1, 2, 3]);
    // Old records that are coming in just now.
    let late = three().into_iter().map(|s| SegmentMeta { created_at_ns: 20_000 * MINUTE_NS, ..s }).collect::<Vec<_>>();
    check(late.clone(), RULES, 20_059, &[]);
    check(late, RULES, 20_060, &[1, 2, 3]);
    // A week's segment is not written anew for a straggler, but with as much again.
    let week = || vec![segment(1, (0, 8 * 1440), MIB, 3), segment(2, (100, 110), 1000, 0)];
    check(week(), RULES, 100_000, &[]);
    check([week(), vec![segment(3, (100, 120), 1000, 0)]].concat(), RULES, 100_000, &[2, 3]);
    check([week(), vec![segment(3, (100, 120), MIB, 2)]].concat(), RULES, 100_000, &[2, 3, 1]);
    check(vec![segment(1, (0, 10), 5, 3), segment(2, (20, 30), 5, 4)], RULES, 100_000, &[1, 2]);
    check(vec![segment(1, (0, 10), 5, 3), segment(2, (20, 30), 6, 4)], RULES, 100_000, &[]);
}

#[test]
fn a_span_of_time_is_kept() {
    let whole = Rules { whole: true, ..RULES };
    let days = |days: i64| Rules { retention_ns: Some(days * DAY_NS), ..whole };
    let week = || (0..7).map(|i| segment(i as u64 + 1, (1440 * i, 1440 * i + 60), 100, 0)).collect::<Vec<_>>();
    check(week(), whole, 0, &[1, 2, 3, 4, 5, 6, 7]);
    check(week(), days(56), 0, &[1, 2, 3, 4, 5, 6, 7]);
    check(week(), days(30), 0, &[1, 2, 3, 4]);
    check(week(), days(2), 0, &[]);
    check(week(), Rules { bytes_max: 150, ..whole }, 0, &[1, 2]);
    check(week(), Rules { bytes_max: 100, ..whole }, 0, &[]);
    // A clock that was wrong now and then: what ends at about the same time goes together all the same.
    let wrong = (0..4).map(|i| segment(i as u64 + 1, (-9_000_000, 10 * i), 100, 0));
    check(wrong.chain([segment(9, (20, 29), 100, 0)]).collect(), days(8), 0, &[1, 2, 3, 9, 4]);
    check(vec![segment(1, (-9_000_000, 0), 1, 0), segment(2, (1441, 1450), 1, 0)], days(8), 0, &[]);
    // Beginning and end of time.
    let ends = vec![segment(1, (i64::MIN / MINUTE_NS, 0), 1, 0), segment(2, (0, i64::MAX / MINUTE_NS), 1, 0)];
    check(ends.clone(), whole, 0, &[1, 2]);
    check(ends, days(30), 0, &[]);
}

#[test]
fn limits_of_a_class_are_kept() {
    let limited = |bytes, records| move |_: &Class| MergeLimits { span_ns: Some(DAY_NS), bytes, records };
    let check = |count, limits: &dyn Fn(&Class) -> MergeLimits, expect: &[u64]| {
        check(row(count, 1000, 0), Rules { limits, whole: true, ..RULES }, 0, expect);
    };
    check(6, &limited(None, None), &[1, 2, 3, 4, 5, 6]);
    // Less than twice the half of what is allowed.
    check(6, &limited(Some(6000), None), &[1, 2, 3]);
    check(6, &limited(Some(2100), None), &[1, 2]);
    check(6, &limited(Some(2000), None), &[]);
    check(6, &limited(None, Some(8)), &[1, 2, 3, 4]);
    check(6, &limited(None, Some(2)), &[]);
    check(300, &limited(None, None), &(1..=64).collect::<Vec<_>>());
    // 144 pieces of ten minutes are a day.
    let only_day = [row(1, 1000, 0), vec![segment(2, (1450, 1460), 1000, 0)]].concat();
    super::tests::check(only_day, Rules { limits: &limited(None, None), whole: true, ..RULES }, 0, &[]);
}

#[test]
fn memory_bounds_what_overlaps() {
    let whole = Rules { whole: true, bytes_max: 1 << 40, ..RULES };
    // Blocks of 8 MiB each, of which 128 MiB may be decoded together.
    let overlapping: Vec<_> = (1..=40).map(|i| segment(i, (0, 100), MIB, 0)).collect();
    check(overlapping, whole, 0, &(1..=16).collect::<Vec<_>>());
    check(row(40, MIB, 0), whole, 0, &(1..=40).collect::<Vec<_>>());
}

#[test]
fn classes_and_places_are_kept_apart() {
    let class = |name: &str| Class::new(name).expect("a name");
    let mut mixed = row(32, 4096, 0);
    mixed.iter_mut().step_by(2).for_each(|s| s.class = class("audit"));
    check(mixed.clone(), RULES, 320, &(2..=32).step_by(2).collect::<Vec<_>>());
    mixed.truncate(31);
    check(mixed.clone(), RULES, 320, &(1..=31).step_by(2).collect::<Vec<_>>());
    mixed.iter_mut().for_each(|s| s.place = Place::new("archive").expect("a name"));
    check(mixed, Rules { whole: true, ..RULES }, 320, &[]);
}

/// A tenant's segments over time, with what was written.
struct Simulation {
    live: Live,
    rules: Rules<'static>,
    next: u64,
    sealed: u64,
    written: u64,
    files_max: usize,
    merge_bytes_max: u64,
}

impl Simulation {
    fn new(retention_days: Option<i64>) -> Self {
        let rules = Rules { retention_ns: retention_days.map(|d| d * DAY_NS), ..RULES };
        let live = Live::new();
        Simulation { live, rules, next: 1, sealed: 0, written: 0, files_max: 0, merge_bytes_max: 0 }
    }

    fn add(&mut self, mut made: SegmentMeta, now: Timestamp) {
        made.id = SegmentId(self.next);
        made.created_at_ns = now.0;
        self.next += 1;
        self.written += made.bytes;
        self.live.insert(made.id, Arc::new(made));
    }

    fn seal(&mut self, minutes: (i64, i64), bytes: u64) {
        self.sealed += bytes;
        self.add(segment(0, minutes, bytes, 0), Timestamp(minutes.1 * MINUTE_NS));
        self.settle(minutes.1);
    }

    /// Merges what is due. An output is as large as its inputs together: the worst case, since small ones pack badly.
    fn settle(&mut self, minute: i64) {
        self.files_max = self.files_max.max(self.live.len());
        let now = Timestamp(minute * MINUTE_NS);
        for step in 0.. {
            assert!(step < 1000, "merges without end");
            let picked = next_merge(&self.live, &self.rules, now);
            if picked.is_empty() {
                return;
            }
            let inputs: Vec<_> = picked.iter().map(|id| self.live.remove(id).expect("live")).collect();
            assert!((2..=MERGE_INPUTS_MAX).contains(&inputs.len()));
            let mut out = (*inputs[0]).clone();
            for s in &inputs[1..] {
                out.bytes += s.bytes;
                out.min_time = out.min_time.min(s.min_time);
                out.max_time = out.max_time.max(s.max_time);
                out.level = out.level.max(s.level);
            }
            assert!(out.max_time.0 - out.min_time.0 <= Bounds::of(&self.rules, &Class::default()).span_max);
            assert!(out.bytes < 2 * self.rules.bytes_max);
            self.merge_bytes_max = self.merge_bytes_max.max(out.bytes);
            out.level += 1;
            self.add(out, now);
        }
    }

    fn amplification(&self) -> f64 {
        self.written as f64 / self.sealed as f64
    }
}

/// A tenant that seals every `every` minutes in the hours from 0 to `hours` of each day, over 31 days, and then rests.
fn trickle(every: i64, hours: i64, retention_days: Option<i64>) -> Simulation {
    let mut s = Simulation::new(retention_days);
    for minute in (every..=31 * 1440).step_by(every as usize) {
        if minute % 1440 < hours * 60 {
            s.seal((minute - every.min(10), minute), 4096);
        } else {
            s.settle(minute);
        }
    }
    (31 * 1440..40 * 1440).step_by(60).for_each(|minute| s.settle(minute));
    s
}

#[test]
fn a_trickle_leaves_four_files_a_month() {
    for (every, hours) in
        [(10, 24), (10, 8), (15, 24), (60, 24), (480, 24), (1440, 24), (3 * 1440, 24), (1, 24), (7, 3)]
    {
        let s = trickle(every, hours, None);
        let (files, most, amplification) = (s.live.len(), s.files_max, s.amplification());
        println!("every {every} min, {hours} h a day: {files} files, at most {most}, amplification {amplification:.2}");
        assert!(files <= 4, "every {every} minutes, {hours} hours a day: {files} files");
        // A seal every minute has five pieces a day that wait for their week.
        let bound = if every == 1 { 90 } else { 45 };
        assert!(most <= bound, "every {every} minutes, {hours} hours a day: at most {most} files");
        assert!(amplification <= 4.0, "every {every} minutes, {hours} hours a day: {amplification}");
    }
}

/// With a retention a file may span an eighth of it, which by itself makes more files of a month where that is short.
#[test]
fn a_retention_bounds_what_a_file_spans() {
    for (days, files_max) in [(1, 32), (8, 32), (30, 9), (64, 4), (90, 4), (365, 4)] {
        for (every, hours) in [(10, 24), (60, 24), (240, 24)] {
            let s = trickle(every, hours, Some(days));
            let (files, amplification) = (s.live.len(), s.amplification());
            println!("kept {days} days, every {every} min: {files} files, amplification {amplification:.2}");
            assert!(files <= files_max, "kept {days} days, every {every} minutes: {files} files");
            assert!(amplification <= 4.0, "kept {days} days: {amplification}");
        }
    }
}

#[test]
fn much_is_written_few_times() {
    // Bytes of a seal, how many a minute, hours, and the bounds: of files, and of what a byte is written.
    for (bytes, a_minute, hours, files_max, amplification_max) in [
        (4 * MIB, 12, 6, 300, 2.1),
        (400 << 10, 60, 6, 150, 3.1),
        (20 * MIB, 2, 24, 800, 2.1),
        (MIB, 1, 72, 120, 3.1),
        (63 * MIB, 1, 4, 140, 2.1),
        (64 * MIB, 1, 4, 240, 1.0),
    ] {
        let mut s = Simulation::new(None);
        for minute in 1..=hours * 60 {
            (0..a_minute).for_each(|_| s.seal((minute - 1, minute), bytes));
        }
        (hours * 60..20 * 1440).step_by(60).for_each(|minute| s.settle(minute));
        let (files, amplification) = (s.live.len(), s.amplification());
        println!("{a_minute} x {bytes} bytes a minute, {hours} h: {files} files, amplification {amplification:.2}");
        assert!(files <= files_max && amplification <= amplification_max, "{files} files, {amplification}");
    }
}

/// Records of last month that come in one small batch after the other are not put into its large segments each time.
#[test]
fn stragglers_do_not_write_a_month_anew() {
    let mut s = trickle(10, 24, None);
    let (sealed, written) = (s.sealed, s.written);
    for i in 0..2000 {
        s.seal((1000, 1010), 4096);
        let now = Timestamp((40 * 1440 + 60 * i) * MINUTE_NS);
        let last = SegmentId(s.next - 1);
        if let Some(meta) = s.live.get_mut(&last) {
            Arc::make_mut(meta).created_at_ns = now.0;
        }
        s.settle(40 * 1440 + 60 * i);
    }
    let amplification = (s.written - written) as f64 / (s.sealed - sealed) as f64;
    println!("stragglers: {} files, amplification {amplification:.2}", s.live.len());
    assert!(amplification <= 4.0, "{amplification}");
    assert!(s.live.len() < 32, "{}", s.live.len());
}
