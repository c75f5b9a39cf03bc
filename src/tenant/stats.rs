//! What a tenant holds, in figures.

use super::TenantCore;
use crate::id::Seq;
use crate::record::Timestamp;
use crate::segment::{PartCost, PartCosts};
use crate::store::Error;
use serde::Serialize;
use std::sync::atomic::Ordering;

/// What a tenant holds. Bytes are those of files, as long as they say they are.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TenantStats {
    /// Records, sealed or not.
    pub records: u64,
    /// Records that are not in a segment yet.
    pub records_unsealed: u64,
    /// Live segments.
    pub segments: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Their bytes, index included.
    pub segment_bytes: u64,
    /// Bytes of log files, with what is reserved.
    pub log_bytes: u64,
    /// Bytes of the manifest.
    pub manifest_bytes: u64,
    /// Bytes of memtables in memory.
    pub memtable_bytes: u64,
    /// Earliest time of a record, RFC 3339.
    pub first_time: Option<String>,
    /// Latest time of a record, RFC 3339.
    pub last_time: Option<String>,
    /// Number of the last record.
    pub last_seq: u64,
    /// Segments of which something is known to be damaged, as far as queries came upon it.
    pub segments_damaged: u64,
    /// The first damage, with file and offset.
    pub damage: Option<String>,
    /// Segments whose index can't be used, so that queries scan them.
    pub indexes_damaged: u64,
    /// Are its new files encrypted?
    pub encrypted: bool,
    /// Why the last attempt to seal failed, if it did.
    pub seal_error: Option<String>,
    /// Segments of these that are in archives.
    pub segments_archived: u64,
    /// Their bytes, index included.
    pub archived_bytes: u64,
    /// Why the tenant's rules do not count, if they do not: nothing goes meanwhile.
    pub rules_error: Option<String>,
    /// Why the sum for the quota of today may be too low, if it may: the file that has it was damaged.
    pub usage_error: Option<String>,
    /// Bytes of segments that seals wrote since the tenant was opened; 0 where it was opened to be read only.
    pub sealed_bytes_written: u64,
    /// Bytes of segments that merges wrote since then. With those of seals, divided by those of seals, that is the
    /// write amplification.
    pub merged_bytes_written: u64,
    /// Merges since then.
    pub merges: u64,
    /// Why the last attempt to merge failed, if it did.
    pub merge_error: Option<String>,
}

impl TenantCore {
    /// What each column and each other part of the live segments costs on disk, the dearest first. Reads headers, and
    /// no values; what is not sealed yet has no columns.
    pub fn part_costs(&self) -> Result<Vec<PartCost>, Error> {
        let mut costs = PartCosts::default();
        let (snapshot, _) = self.sources(Timestamp(i64::MIN), Timestamp(i64::MAX))?;
        for segment in snapshot.segments() {
            costs.segment(segment.reader()?)?;
        }
        Ok(costs.finish())
    }

    /// Records, segments, their bytes, and bytes of the log without what is reserved, as they are known without a look at
    /// a file: thousands of tenants are asked for them at a time. `None` where the tenant was opened to be read only.
    pub fn held_now(&self) -> Option<[u64; 4]> {
        let log_bytes = self.writer.as_ref()?.log.bytes();
        let (version, last) = {
            let state = self.state();
            (state.version.clone(), state.last_seq())
        };
        let (mut records, mut bytes) = (last.0.saturating_sub(version.sealed_below.0), 0);
        for segment in version.segments.values() {
            records += segment.rows;
            bytes += segment.bytes;
        }
        Some([records, version.segments.len() as u64, bytes, log_bytes])
    }

    /// What the tenant holds now.
    pub fn stats(&self) -> Result<TenantStats, Error> {
        use crate::record::Source;
        let snapshot = self.snapshot();
        let mut stats = TenantStats::default();
        let mut times: Option<(Timestamp, Timestamp)> = None;
        let mut take = |low: Timestamp, high: Timestamp| {
            times = Some(times.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
        };
        for segment in snapshot.segments() {
            let meta = segment.meta();
            stats.records += meta.rows;
            stats.segments += 1;
            stats.blocks += u64::from(meta.blocks);
            stats.segment_bytes += meta.bytes;
            stats.indexes_damaged += u64::from(segment.index_error().is_some());
            if let Some(damage) = segment.damage() {
                stats.segments_damaged += 1;
                stats.damage.get_or_insert(damage.reason);
            }
            if !meta.place.is_own() {
                stats.segments_archived += 1;
                stats.archived_bytes += meta.bytes;
            }
            take(meta.min_time, meta.max_time);
        }
        for memory in snapshot.memory() {
            for block in 0..memory.len() {
                let info = memory.info(block);
                stats.records_unsealed += u64::from(info.rows);
                take(info.time.0, info.time.1);
            }
        }
        stats.records += stats.records_unsealed;
        stats.first_time = times.map(|(low, _)| low.to_string());
        stats.last_time = times.map(|(_, high)| high.to_string());
        let Seq(last) = snapshot.last;
        stats.last_seq = last;
        stats.encrypted = self.options.keys.is_encrypted();
        let vfs = &self.options.vfs;
        let length = |path: &std::path::Path| vfs.open(path).and_then(|f| f.len()).unwrap_or(0);
        stats.manifest_bytes = length(&self.options.dir.join("manifest"));
        let log_dir = self.options.dir.join("log");
        if vfs.exists(&log_dir)? {
            stats.log_bytes = vfs.list(&log_dir)?.iter().map(|e| length(&log_dir.join(&e.name))).sum();
        }
        let state = self.state();
        stats.memtable_bytes = state.counted;
        stats.seal_error = state.seal_error.clone();
        stats.rules_error = self.options.rules.error();
        stats.usage_error = self.usage_damage();
        drop(state);
        if let Some(writer) = &self.writer {
            let written = &writer.merges.written;
            stats.sealed_bytes_written = written.sealed.load(Ordering::Relaxed);
            stats.merged_bytes_written = written.merged.load(Ordering::Relaxed);
            stats.merges = written.merges.load(Ordering::Relaxed);
            stats.merge_error = writer.merges.error();
        }
        Ok(stats)
    }
}
