//! What a query runs on: the segments of one version and the records that are not in them, taken at once.

use super::TenantCore;
use super::segments::SegmentSource;
use crate::error::StorageError;
use crate::id::Seq;
use crate::record::{Source, Timestamp};
use crate::store::Error;
use std::sync::Arc;

/// How often a query of a reader takes up what is there before it says that a file is missing: a writer merges faster
/// than that only by chance.
const TAKE_UP_MAX: u32 = 20;

/// A tenant's records at one moment. Segments stay readable while it lives, also when they were merged since; those of a
/// reader beside a writer while what [`Snapshot::sources`] gave lives, which keeps files open, as far as the process may
/// have so many ([`HELD_FILES_MAX`](crate::vfs::HELD_FILES_MAX)).
#[derive(Debug, Clone)]
pub struct Snapshot {
    segments: Vec<Arc<SegmentSource>>,
    memory: Vec<Arc<crate::memtable::MemorySource>>,
    /// Was it taken beside a writer in another process, which removes files that it reads?
    is_beside: bool,
    /// Number of the last record in it.
    pub last: Seq,
}

impl TenantCore {
    /// What is there now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let last = state.last_seq();
        let segments = state.segments.values().cloned().collect();
        let mut memory: Vec<_> = state.frozen.iter().map(|f| f.source.clone()).collect();
        if !state.active.is_empty() {
            memory.push(Arc::new(state.active.snapshot()));
        }
        Snapshot { segments, memory, is_beside: self.writer.is_none(), last }
    }

    /// What is there now within a span of time (both ends taken in), and what execution reads of it. A reader beside a
    /// writer whose segments were merged or let go since it looked takes up what is there, and reads that.
    pub fn sources(&self, low: Timestamp, high: Timestamp) -> Result<(Snapshot, Vec<Arc<dyn Source>>), Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let snapshot = self.snapshot().within(low, high);
            match snapshot.sources(low, high) {
                // A file that the manifest still names is no such error, but damage.
                Err(gone) if gone.is_not_found() && self.writer.is_none() && attempt < TAKE_UP_MAX => self.take_up()?,
                sources => return Ok((snapshot, sources?)),
            }
        }
    }
}

impl Snapshot {
    /// What execution reads, for a span of time (both ends taken in): segments outside of it are not opened. A segment
    /// that is damaged is a source all the same, whose block fails; an error is what the system refused.
    pub fn sources(&self, low: Timestamp, high: Timestamp) -> Result<Vec<Arc<dyn Source>>, StorageError> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        for segment in &self.segments {
            let meta = segment.meta();
            if meta.max_time >= low && meta.min_time <= high {
                sources.push(segment.source(self.is_beside)?);
            }
        }
        for memory in &self.memory {
            sources.push(memory.clone());
        }
        Ok(sources)
    }

    /// Lets go the segments that have nothing in a span of time (both ends taken in).
    pub fn within(mut self, low: Timestamp, high: Timestamp) -> Snapshot {
        self.segments.retain(|segment| segment.meta().max_time >= low && segment.meta().min_time <= high);
        self
    }

    /// Were those who read it ended, since records were deleted?
    pub fn is_ended(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_ended())
    }

    /// What is not in a segment yet.
    pub fn memory(&self) -> &[Arc<crate::memtable::MemorySource>] {
        &self.memory
    }

    /// The segments.
    pub fn segments(&self) -> &[Arc<SegmentSource>] {
        &self.segments
    }
}
