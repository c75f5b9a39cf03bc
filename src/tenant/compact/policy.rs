//! Which segments become one, and when. Pure: what is live goes in, the numbers of those to merge come out.
//!
//! A record is written when it is sealed, and then at most [`LEVEL_SETTLED`] times more: once into a piece of
//! [`FAN_IN`] seals, once into its day, once into its week. Segments that are large enough are left alone at any step.
//! Nothing is merged across more time than the retention allows, since a segment expires with its newest record.
//! May not know: files, clocks, locks.

use crate::format::block::BLOCK_BYTES_MAX;
use crate::format::edit::SegmentMeta;
use crate::id::{Class, SegmentId};
use crate::policy::MergeLimits;
use crate::record::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A day, in nanoseconds: the least span of time that one segment may cover whatever the retention is.
pub const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;
/// The longest span that background merges bring together, in nanoseconds. A month of 31 days has at most four such,
/// so that a tenant at a trickle leaves at most four files a month.
pub const MERGE_SPAN_NS: i64 = 8 * DAY_NS;
/// Of a retention that is given to `compact`, the part that a segment may span, as for those of rules.
const RETENTION_PARTS: i64 = 8;
/// So many segments of a tier become one. 144 seals a day (one in ten minutes) are then nine pieces when the day ends,
/// and there are never more than 15 of a tier.
pub const FAN_IN: usize = 16;
/// The tiers: below so many bytes a segment is of the first, of the second. [`FAN_IN`] of the first, of 64 KiB on
/// average, make one of the second; eight of the second make one of the third, and eight of the third one that is
/// large enough to be left alone.
pub const TIER_BYTES: [u64; 2] = [1 << 20, 8 << 20];
/// What was merged so many times is merged again only with at least as much that was not, so that a straggler does not
/// have a week's segment written anew. With the seal that is a write amplification of four.
pub const LEVEL_SETTLED: u8 = 3;
/// Most inputs of one merge: their files and footers are open together.
pub const MERGE_INPUTS_MAX: usize = 64;
/// Most memory of the blocks that a merge has decoded at a time: one for each of the inputs that overlap in time.
pub const MERGE_MEMORY_BYTES_MAX: u64 = 128 << 20;
/// Texts are at most about so many times as large as the segment that holds them: 16 is usual.
const TEXT_PER_BYTE: u64 = 32;

/// What segments must have in common to be merged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    class: Class,
}

impl Key {
    /// What a segment has of it; `None` where its file is somewhere else: what was archived is left as it is.
    fn of(meta: &SegmentMeta) -> Option<Key> {
        meta.place.is_own().then(|| Key { class: meta.class.clone() })
    }
}

/// What a merge must keep to.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Segments of at least so many bytes are not merged.
    pub bytes_max: u64,
    /// What segments of a class may be, by the rules that its records live by.
    pub limits: &'a dyn Fn(&Class) -> MergeLimits,
    /// How long records are kept whatever their class, in nanoseconds, where there is an end.
    pub retention_ns: Option<i64>,
    /// A day or a week is over so long after its end, and so long after the last of its segments was made, in
    /// nanoseconds: what comes in late is merged with it in one go.
    pub settle_ns: i64,
    /// Merge whatever may be merged, now: as few files as bytes and time allow.
    pub whole: bool,
}

/// What holds for one class.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Segments of at least so many bytes or records are left alone: merges end there, with less than twice as much.
    bytes_max: u64,
    rows_max: u64,
    /// The span of time that an output may cover, in nanoseconds.
    span_max: i64,
    settle_ns: i64,
    whole: bool,
}

impl Bounds {
    fn of(rules: &Rules<'_>, class: &Class) -> Bounds {
        let limits = (rules.limits)(class);
        // Of an output there may be as much as the limit says, which is twice what is left alone.
        let half = |most: Option<u64>| most.map_or(u64::MAX, |n| n / 2);
        let by_retention = rules.retention_ns.map_or(i64::MAX, |r| (r / RETENTION_PARTS).max(DAY_NS));
        let allowed = limits.span_ns.unwrap_or(i64::MAX).min(by_retention);
        Bounds {
            bytes_max: rules.bytes_max.min(half(limits.bytes)),
            rows_max: half(limits.records),
            span_max: if rules.whole { allowed } else { allowed.min(MERGE_SPAN_NS) },
            settle_ns: rules.settle_ns,
            whole: rules.whole,
        }
    }

    fn is_small(&self, s: &SegmentMeta) -> bool {
        s.bytes < self.bytes_max && s.rows < self.rows_max
    }

    fn is_enough(&self, segments: &[&SegmentMeta]) -> bool {
        let sum = |of: fn(&SegmentMeta) -> u64| segments.iter().map(|s| of(s)).fold(0, u64::saturating_add);
        sum(|s| s.bytes) >= self.bytes_max || sum(|s| s.rows) >= self.rows_max
    }
}

/// The segments to merge into one next; none where all is as it should be.
///
/// Each set has at least two, of one key, of less than `bytes_max` bytes each and twice as many together. They end
/// within the span that is allowed, and cover no more time than that but where one of them does by itself.
pub fn next_merge(
    segments: &BTreeMap<SegmentId, Arc<SegmentMeta>>,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Vec<SegmentId> {
    let mut kinds: BTreeMap<Key, Vec<&SegmentMeta>> = BTreeMap::new();
    for meta in segments.values() {
        if let Some(key) = Key::of(meta) {
            kinds.entry(key).or_default().push(meta);
        }
    }
    for (key, mut small) in kinds {
        let bounds = Bounds::of(rules, &key.class);
        small.retain(|s| bounds.is_small(s));
        small.sort_by_key(|s| (s.max_time, s.min_time, s.id));
        for group in groups(&small, bounds.span_max) {
            let picked = pick(&group, &bounds, now);
            if picked.len() > 1 {
                return picked.iter().map(|s| s.id).collect();
            }
        }
    }
    Vec::new()
}

/// Cuts segments, in order of their ends, where they would cover too much time together. Each group begins where the
/// one before could take no more, so that merging within groups does not move their bounds.
fn groups<'a>(segments: &[&'a SegmentMeta], span_max: i64) -> Vec<Vec<&'a SegmentMeta>> {
    let span = |low: Timestamp, high: Timestamp| high.0.saturating_sub(low.0);
    let mut all: Vec<Vec<&SegmentMeta>> = Vec::new();
    let mut low = Timestamp(0);
    let mut widest = 0;
    for &s in segments {
        let wide = span(s.min_time, s.max_time);
        if let Some(group) = all.last_mut()
            && let Some(first) = group.first()
            && span(first.max_time, s.max_time) <= span_max
            // What ends at about the same time expires at about the same time, also where a segment covers more by
            // itself, since a clock was wrong.
            && (span(low.min(s.min_time), s.max_time) <= span_max || widest.max(wide) > span_max)
        {
            group.push(s);
            low = low.min(s.min_time);
            widest = widest.max(wide);
            continue;
        }
        all.push(vec![s]);
        (low, widest) = (s.min_time, wide);
    }
    all
}

/// What to merge of a group.
fn pick<'a>(group: &[&'a SegmentMeta], rules: &Bounds, now: Timestamp) -> Vec<&'a SegmentMeta> {
    if group.len() < 2 {
        return Vec::new();
    }
    if rules.whole {
        return bounded(group, rules);
    }
    for tier in 0..=TIER_BYTES.len() {
        let same: Vec<&SegmentMeta> = group.iter().copied().filter(|s| tier_of(s) == tier).collect();
        // What would be of the third tier waits for its week: more steps would be more writes.
        let many = same.len() >= FAN_IN && tier < TIER_BYTES.len();
        if same.len() > 1 && (many || rules.is_enough(&same)) {
            return bounded(&same, rules);
        }
    }
    if is_over(group, rules.span_max, rules, now) {
        return bounded(&unsettled(group), rules);
    }
    let pieces: Vec<&SegmentMeta> = unsettled(group).into_iter().filter(|s| tier_of(s) < TIER_BYTES.len()).collect();
    let day = groups(&pieces, DAY_NS).into_iter().find(|day| day.len() > 1 && is_over(day, DAY_NS, rules, now));
    day.map_or_else(Vec::new, |day| bounded(&day, rules))
}

/// By bytes, and at least by how often it was merged: small pieces of little are not put together again and again.
fn tier_of(s: &SegmentMeta) -> usize {
    let by_bytes = TIER_BYTES.iter().filter(|&&max| s.bytes >= max).count();
    by_bytes.max(usize::from(s.level).min(TIER_BYTES.len()))
}

/// Can no more come into a group, but for stragglers?
fn is_over(group: &[&SegmentMeta], span: i64, rules: &Bounds, now: Timestamp) -> bool {
    let settled = now.0.saturating_sub(rules.settle_ns);
    let ended = group.first().is_some_and(|s| s.max_time.0.saturating_add(span) <= settled);
    ended && group.iter().all(|s| s.created_at_ns <= settled)
}

/// A group without the segments that were merged often enough, but for those that are at most half of what comes out.
fn unsettled<'a>(group: &[&'a SegmentMeta]) -> Vec<&'a SegmentMeta> {
    let is_free = |s: &&&SegmentMeta| s.level < LEVEL_SETTLED;
    let mut bytes: u64 = group.iter().filter(is_free).map(|s| s.bytes).sum();
    let mut settled: Vec<&SegmentMeta> = group.iter().copied().filter(|s| !is_free(&s)).collect();
    settled.sort_by_key(|s| (s.bytes, s.id));
    let mut taken: Vec<&SegmentMeta> = group.iter().filter(is_free).copied().collect();
    for s in settled {
        if s.bytes > bytes && !taken.is_empty() {
            break;
        }
        bytes += s.bytes;
        taken.push(s);
    }
    taken.sort_by_key(|s| (s.max_time, s.min_time, s.id));
    taken
}

/// The first of these, up to the limits of one merge.
fn bounded<'a>(segments: &[&'a SegmentMeta], rules: &Bounds) -> Vec<&'a SegmentMeta> {
    let mut taken: Vec<&SegmentMeta> = Vec::new();
    for &s in segments.iter().take(MERGE_INPUTS_MAX) {
        taken.push(s);
        if taken.len() > 2 && memory(&taken) > MERGE_MEMORY_BYTES_MAX {
            taken.pop();
            break;
        }
        if rules.is_enough(&taken) {
            break;
        }
    }
    taken
}

/// Bytes of decoded blocks where most of the segments overlap in time.
fn memory(segments: &[&SegmentMeta]) -> u64 {
    let block = |s: &SegmentMeta| s.bytes.saturating_mul(TEXT_PER_BYTE).min(BLOCK_BYTES_MAX as u64);
    let at =
        |time: Timestamp| segments.iter().filter(|s| s.min_time <= time && time <= s.max_time).map(|s| block(s)).sum();
    segments.iter().map(|s| at(s.min_time)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
