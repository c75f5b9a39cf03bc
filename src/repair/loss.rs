//! What a damaged segment lost.

use super::report::Loss;
use super::segment::Part;
use crate::error::StorageError;
use crate::format::edit::SegmentMeta;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::version::Version;
use crate::id::Seq;
use crate::record::Timestamp;
use std::path::PathBuf;

pub(super) type Without<'a> = dyn Fn(&[(Seq, Seq)]) -> Result<Vec<(Seq, Seq)>, StorageError> + 'a;

/// What a damaged segment lost; nothing where all of its blocks can be read.
pub(super) fn loss_of_part(
    meta: Option<&SegmentMeta>,
    part: &Part,
    without: &Without<'_>,
) -> Result<Option<Loss>, StorageError> {
    let blocks = &part.left.reader.footer().blocks;
    let found: u64 = blocks.iter().map(|b| u64::from(b.info.rows)).sum();
    let listed: u64 = part.lost.iter().map(|info| u64::from(info.rows)).sum();
    let records = match meta {
        Some(meta) => meta.rows.saturating_sub(found),
        None => listed,
    };
    let loss = |records: u64, is_exact, seqs: Vec<(Seq, Seq)>, time| {
        // What another file has as well is not lost.
        let records = records.min(count(&seqs));
        let (tenant, file, reason) = (String::new(), PathBuf::new(), part.problem.to_string());
        Ok(Some(Loss { tenant, file, records, is_exact, seqs, time, reason }))
    };
    if records == listed && (part.is_listed || meta.is_some()) {
        if records == 0 {
            return Ok(None);
        }
        let ranges: Vec<_> = part.lost.iter().map(|info| info.seq).collect();
        let first = part.lost.iter().map(|info| info.time.0).min().unwrap_or_default();
        let last = part.lost.iter().map(|info| info.time.1).max().unwrap_or_default();
        return loss(records, true, without(&ranges)?, Some((first, last)));
    }
    match meta {
        Some(meta) => {
            let time = gap(meta, part);
            loss(records, true, without(&[(meta.min_seq, meta.max_seq)])?, Some(time))
        }
        // Nothing says how many there were. Those between the records that were found are missing at least.
        None => {
            let all: Vec<_> = blocks.iter().map(|b| b.info).chain(part.lost.iter().copied()).collect();
            let first = all.iter().map(|info| info.seq.0).min();
            let last = all.iter().map(|info| info.seq.1).max();
            let seqs = match first.zip(last) {
                Some(range) => without(&[range])?,
                None => Vec::new(),
            };
            loss(count(&seqs), false, seqs, None)
        }
    }
}

/// The times between which the blocks lie that do not show themselves: blocks stand in order of time.
fn gap(meta: &SegmentMeta, part: &Part) -> (Timestamp, Timestamp) {
    let blocks = &part.left.reader.footer().blocks;
    let mut gaps = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let mut before = meta.min_time;
    for block in blocks {
        if block.offset != at {
            gaps.push((before, block.info.time.0));
        }
        (at, before) = (block.offset + block.len, block.info.time.1);
    }
    // Behind the last one stands the index: whether blocks stood there, too, is known by the time alone.
    if gaps.is_empty() || before < meta.max_time {
        gaps.push((before, meta.max_time));
    }
    (gaps.iter().map(|g| g.0).min().unwrap_or(meta.min_time), gaps.iter().map(|g| g.1).max().unwrap_or(meta.max_time))
}

/// What of ranges of Seqs a version expects in some segment or log: nothing that entries let go.
pub(super) fn expected_of(version: &Version, ranges: &[(Seq, Seq)]) -> Vec<(Seq, Seq)> {
    let mut all = Vec::new();
    for (first, last) in ranges {
        let above = (Seq(version.sealed_below.0.saturating_add(1)), Seq(u64::MAX));
        let in_part = version.broken().iter().map(|(from, to)| (*from, *to));
        let runs = version.runs_between(*first, *last).chain(in_part).chain([above]);
        all.extend(runs.map(|(from, to)| (from.max(*first), to.min(*last))).filter(|(from, to)| from <= to));
    }
    all.sort_unstable();
    let mut merged: Vec<(Seq, Seq)> = Vec::new();
    for (from, to) in all {
        match merged.last_mut() {
            Some((_, end)) if from.0 <= end.0.saturating_add(1) => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// How many Seqs lie in ranges.
pub(super) fn count(ranges: &[(Seq, Seq)]) -> u64 {
    ranges.iter().map(|(first, last)| last.0 - first.0 + 1).sum()
}
