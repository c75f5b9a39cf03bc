//! Fewer and larger segments, and none whose time is over.

use super::open::open_segments;
use super::output::Output;
use super::segments::{SegmentSource, segment_path};
use super::{TenantCore, Writer};
use crate::error::StorageError;
use crate::format::compress::LEVEL_MERGE;
use crate::format::edit::{Edit, SegmentMeta};
use crate::format::segment::SEGMENT_BYTES_MAX;
use crate::format::version::Version;
use crate::id::{Class, SegmentId};
use crate::record::Timestamp;
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
}

impl TenantCore {
    /// Seals, merges small segments, and lets segments go whose newest record is older than the retention.
    pub fn compact(&self, retention_ns: Option<i64>) -> Result<CompactReport, Error> {
        let mut report = CompactReport { records_sealed: self.seal()?, ..CompactReport::default() };
        if let Some(retention) = retention_ns {
            self.expire_segments(retention, &mut report)?;
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

    /// Lets go the segments whose newest record is older than a retention.
    pub fn expire(&self, retention_ns: i64) -> Result<CompactReport, Error> {
        let mut report = CompactReport::default();
        self.expire_segments(retention_ns, &mut report)?;
        Ok(report)
    }

    fn expire_segments(&self, retention_ns: i64, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        let _turn = self.turn(writer);
        let version = writer.manifest.version();
        let limit = Timestamp(Timestamp::now().0.saturating_sub(retention_ns));
        let gone: Vec<_> = version.segments.values().filter(|s| s.max_time < limit).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let records = gone.iter().map(|s| s.rows).sum();
        let live: Vec<_> = version.segments.values().filter(|s| s.max_time >= limit).collect();
        // A leaf that also covers a live segment's records can't be made again from what is left.
        let broken = version
            .leaves()
            .filter(|leaf| {
                let meets = |s: &SegmentMeta| s.min_seq <= leaf.last() && s.max_seq >= leaf.first;
                gone.iter().any(|s| meets(s)) && live.iter().any(|s| meets(s))
            })
            .map(|leaf| leaf.first)
            .collect();
        let edit = Edit::Expire {
            segments: gone.iter().map(|s| s.id).collect(),
            reason: format!("older than the retention, before {limit}"),
            records,
            leaves_broken: broken,
        };
        let version = self.apply(writer, edit)?;
        self.publish(version);
        report.segments_expired = gone.len() as u64;
        report.records_expired = records;
        Ok(())
    }

    /// Makes a version visible; the files of segments that it no longer names go when nobody reads them.
    fn publish(&self, version: Arc<Version>) {
        let mut state = self.state();
        let segments = open_segments(&self.id, &self.options, &version, &state.segments);
        for (id, segment) in state.segments.iter() {
            if !segments.contains_key(id) {
                segment.doom();
            }
        }
        let before = std::mem::replace(&mut state.segments, Arc::new(segments));
        state.version = version;
        // Files are removed when the last reader lets go, and not while the state is locked.
        drop(state);
        drop(before);
    }

    /// Notes what an error says of a segment that was read to be merged; says whether that is news.
    fn note_damage(&self, error: &Error) -> bool {
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
        if small.len() < 2 {
            return Ok(());
        }
        small.sort_by_key(|s| (s.meta().min_time, s.meta().id));
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
