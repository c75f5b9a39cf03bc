//! Fewer and larger segments, and none whose time is over.

mod merge;
mod policy;
#[cfg(test)]
mod tests;

pub(super) use merge::{Merges, Outcome};
pub use merge::{Pace, Written};

use super::TenantCore;
use crate::error::StorageError;
use crate::format::edit::SegmentMeta;
use crate::id::{Class, SegmentId};
use crate::store::Error;
use crate::store::error::ErrorKind;
use policy::Rules;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What [`TenantCore::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Records that went from the log into a segment.
    pub records_sealed: u64,
    /// Segments that were merged.
    pub segments_merged: u64,
    /// Segments that were made of them. One that was merged again is counted on both sides.
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
    /// where segments must be written anew for it, and merges the rest to as few as their size and the time that they
    /// may span allow. A merge that runs in the background is given up for it. Where an archive does not answer of which
    /// segments are to be written anew, that is the error after all else was done.
    pub fn compact(&self, retention_ns: Option<i64>) -> Result<CompactReport, Error> {
        let writer = self.writer()?;
        let _merges = writer.merges.take_turn();
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
        let archived = self.regroup_archived(&mut report);
        let policy = self.options.rules.policy();
        let limits = |class: &Class| policy.merge_limits(class);
        let rules = Rules { retention_ns, ..self.merge_rules(&limits) };
        loop {
            let picked = policy::next_merge(&self.mergeable(), &rules, self.options.rules.clock.now());
            if picked.is_empty() {
                break;
            }
            match self.merge(writer, &picked, &mut |_| ControlFlow::Continue(()), &|| writer.merges.is_ended()) {
                Ok(Outcome::Done(made)) => {
                    report.segments_merged += picked.len() as u64;
                    report.segments_made += made as u64;
                }
                Ok(Outcome::Abandoned) if writer.merges.is_ended() => return Err(ErrorKind::Closed.into()),
                // Records were deleted or expired meanwhile: what is left now?
                Ok(Outcome::Abandoned) => {}
                // A damaged segment stays as it is, and the others are merged without it.
                Err(error) if self.note_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        report.segments_damaged = self.snapshot().segments().iter().filter(|s| s.damage().is_some()).count() as u64;
        archived.map(|()| report)
    }

    /// Notes what an error says of a segment that was read to be merged; says whether one is left out from now on. It
    /// was not before: what is known to be damaged is not read for a merge.
    pub(super) fn note_damage(&self, error: &Error) -> bool {
        let Some(error @ StorageError::Damage(damage)) = error.as_storage_error() else { return false };
        let snapshot = self.snapshot();
        let segment = snapshot.segments().iter().find(|s| s.path().is_ok_and(|path| path == damage.file));
        segment.is_some_and(|segment| {
            // Where the segment did not even open, it has noted that itself.
            segment.note_damage_at(damage.offset, error);
            segment.damage().is_some()
        })
    }

    /// The live segments that are not known to be damaged.
    fn mergeable(&self) -> BTreeMap<SegmentId, Arc<SegmentMeta>> {
        let segments = self.state().segments.clone();
        segments.values().for_each(|s| s.look_again());
        let whole = segments.iter().filter(|(_, s)| s.damage().is_none());
        whole.map(|(id, s)| (*id, s.meta().clone())).collect()
    }
}
