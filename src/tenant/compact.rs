//! Fewer and larger segments, and none whose time is over.

use super::output::Output;
use super::segments::{SegmentSource, segment_path};
use super::{TenantCore, Writer};
use crate::error::StorageError;
use crate::format::compress::LEVEL_MERGE;
use crate::format::edit::{Edit, SegmentMeta};
use crate::format::segment::SEGMENT_BYTES_MAX;
use crate::id::{Class, SegmentId};
use crate::segment::{Merger, SegmentReader, encode_block};
use crate::store::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What [`TenantCore::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Records that went from the log into a segment.
    pub records_sealed: u64,
    /// Segments that were merged.
    pub segments_merged: u64,
    /// Segments that they became.
    pub segments_made: u64,
    /// Segments whose retention had ended.
    pub segments_expired: u64,
    /// Their records.
    pub records_expired: u64,
    /// Segments that are damaged, and were left as they are.
    pub segments_damaged: u64,
    /// Segments that went to an archive.
    pub segments_archived: u64,
}

impl CompactReport {
    /// Adds what another one did.
    pub fn add(&mut self, other: &CompactReport) {
        self.records_sealed += other.records_sealed;
        self.segments_merged += other.segments_merged;
        self.segments_made += other.segments_made;
        self.segments_expired += other.segments_expired;
        self.records_expired += other.records_expired;
        self.segments_archived += other.segments_archived;
    }
}

impl TenantCore {
    /// Seals, lets segments go whose newest record is older than a retention, does what rules ask for at once, also
    /// where segments must be written anew for it, and merges small segments.
    pub fn compact(&self, retention_ns: Option<i64>) -> Result<CompactReport, Error> {
        let mut report = CompactReport { records_sealed: self.seal()?, ..CompactReport::default() };
        if let Some(retention) = retention_ns {
            report.add(&self.expire(retention)?);
        }
        report.add(&self.live_by_rules(false)?);
        let made = report.segments_made;
        self.regroup(&mut report)?;
        if report.segments_made > made {
            report.add(&self.live_by_rules(false)?);
        }
        while let Err(error) = self.merge_small(&mut report) {
            // A damaged segment stays as it is, and the others are merged without it.
            if !self.note_damage(&error) {
                return Err(error);
            }
        }
        report.segments_damaged = self.snapshot().segments().iter().filter(|s| s.damage().is_some()).count() as u64;
        Ok(report)
    }

    /// Notes what an error says of a segment that was read to be merged; says whether that is news.
    pub(super) fn note_damage(&self, error: &Error) -> bool {
        let Some(error @ StorageError::Damage(damage)) = error.as_storage_error() else { return false };
        let snapshot = self.snapshot();
        let segment = snapshot.segments().iter().find(|s| segment_path(&self.options, s.meta().id) == damage.file);
        segment.is_some_and(|segment| {
            let is_news = segment.damage().is_none();
            segment.note_damage_at(damage.offset, error);
            is_news && segment.damage().is_some()
        })
    }

    fn merge_small(&self, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        let _turn = self.turn(writer);
        let segments = self.state().segments.clone();
        let classes: BTreeSet<&Class> = segments.values().map(|s| &s.meta().class).collect();
        let merged = classes.into_iter().try_for_each(|class| self.merge_class(writer, &segments, class, report));
        if merged.as_ref().is_err_and(Error::is_damage) {
            // Files that no entry will name; the next open would remove them, too.
            let from = writer.manifest.version().next_segment_id.0;
            for number in from..writer.next_segment.load(Ordering::Relaxed) {
                let _ = self.options.vfs.remove(&segment_path(&self.options, SegmentId(number)));
            }
        }
        merged
    }

    /// Merges the small segments of a class whose files are in the tenant's own folder.
    fn merge_class(
        &self,
        writer: &Writer,
        segments: &BTreeMap<SegmentId, Arc<SegmentSource>>,
        class: &Class,
        report: &mut CompactReport,
    ) -> Result<(), Error> {
        let fits = |m: &SegmentMeta| m.class == *class && m.place.is_own() && m.bytes < self.options.merge_bytes_max;
        let is_whole = |s: &SegmentSource| s.damage().is_none() && !s.reader().is_err_and(|e| e.is_damage());
        let mut small: Vec<&Arc<SegmentSource>> = segments.values().filter(|s| fits(s.meta()) && is_whole(s)).collect();
        small.sort_by_key(|s| (s.meta().min_time, s.meta().id));
        let limits = self.options.rules.policy().merge_limits(class);
        let mut group: Vec<&Arc<SegmentSource>> = Vec::new();
        for segment in small {
            let all = || group.iter().chain([&segment]).map(|s| s.meta());
            let sum = |of: fn(&SegmentMeta) -> u64| all().map(|m| of(m)).fold(0, u64::saturating_add);
            let begin = all().map(|m| m.min_time.0).min().unwrap_or_default();
            let end = all().map(|m| m.max_time.0).max().unwrap_or_default();
            let fits = limits.bytes.is_none_or(|most| sum(|m| m.bytes) <= most)
                && limits.records.is_none_or(|most| sum(|m| m.rows) <= most)
                && limits.span_ns.is_none_or(|most| end.saturating_sub(begin) <= most);
            if !fits {
                self.merge_group(writer, class, &std::mem::take(&mut group), report)?;
            }
            group.push(segment);
        }
        self.merge_group(writer, class, &group, report)
    }

    fn merge_group(
        &self,
        writer: &Writer,
        class: &Class,
        small: &[&Arc<SegmentSource>],
        report: &mut CompactReport,
    ) -> Result<(), Error> {
        if small.len() < 2 {
            return Ok(());
        }
        let readers: Vec<Arc<SegmentReader>> = small.iter().map(|s| s.reader().cloned()).collect::<Result<_, _>>()?;
        let level = small.iter().map(|s| s.meta().level).max().unwrap_or(0).saturating_add(1);
        let mut outputs = Vec::new();
        let mut output: Option<Output> = None;
        let mut merger = Merger::new(&readers);
        while let Some(merged) = merger.next_block()? {
            let mut target = match output.take() {
                Some(open) => open,
                None => self.begin_segment(writer, level, class.clone())?,
            };
            let block = encode_block(&merged.rows, &merged.batches, LEVEL_MERGE, &mut target.sink);
            target.block(&block)?;
            if target.writer.bytes() >= self.options.merge_bytes_max.min(SEGMENT_BYTES_MAX / 2) {
                outputs.push(target.finish(self)?);
            } else {
                output = Some(target);
            }
        }
        if let Some(target) = output {
            outputs.push(target.finish(self)?);
        }
        report.segments_merged += small.len() as u64;
        report.segments_made += outputs.len() as u64;
        let inputs = small.iter().map(|s| s.meta().id).collect();
        let version = self.apply(writer, Edit::Merge { inputs, outputs })?;
        drop(readers);
        self.publish(version);
        Ok(())
    }
}
