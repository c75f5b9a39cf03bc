//! One merge: segments in, one segment out, beside appends, seals and queries.
//!
//! The output is built under no lock but that of merges, from inputs that stay readable as long as they are held.
//! Only its entry is made under the lock of seals, and only where all inputs are live still.

use super::policy::{self, Rules};
use crate::cache::Cache;
use crate::error::StorageError;
use crate::format::compress::{LEVEL_COLD, LEVEL_MERGE};
use crate::format::edit::{Edit, SegmentMeta};
use crate::format::segment::SEGMENT_BYTES_MAX;
use crate::id::{Class, SegmentId};
use crate::policy::MergeLimits;
use crate::record::Timestamp;
use crate::segment::{BlockEncoder, Merged, Merger, SegmentReader, copy_block};
use crate::store::Error;
use crate::tenant::output::{Attempt, Output};
use crate::tenant::segments::SegmentSource;
use crate::tenant::{TenantCore, Writer};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Decoded columns that one merge keeps: those of a block are asked for several times. It has a cache of its own, so
/// that queries find theirs again.
const MERGE_CACHE_BYTES: usize = 16 << 20;
/// What a merge wrote is synced at so many bytes, so that the sync at its end, and syncs of the log beside it, do not
/// wait for all of it at once.
pub(super) const MERGE_SYNC_BYTES: u64 = 4 << 20;
/// Records this much older than now, in nanoseconds, are hardly written again: what is built anew of them is packed
/// with [`LEVEL_COLD`].
const COLD_AFTER_NS: i64 = 7 * policy::DAY_NS;
/// After an error that is no damage of an input, such as a full disk, the next merge is tried this much later.
const MERGE_RETRY: Duration = Duration::from_secs(60);
/// Where nothing changed, it is looked this often whether a day or a week is over.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Called between the blocks of a merge with the time that the last one took: waits as it likes, and says whether to
/// go on.
pub type Pace<'a> = dyn FnMut(Duration) -> ControlFlow<()> + 'a;

/// Bytes written into segments since the store or the tenant was opened.
#[derive(Debug, Default)]
pub struct Written {
    /// By seals.
    pub sealed: AtomicU64,
    /// By merges.
    pub merged: AtomicU64,
    /// Merges that ended with an entry.
    pub merges: AtomicU64,
}

impl Written {
    pub(in crate::tenant) fn add_seal(&self, bytes: u64) {
        self.sealed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add_merge(&self, bytes: u64) {
        self.merged.fetch_add(bytes, Ordering::Relaxed);
        self.merges.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a tenant knows of its merges.
#[derive(Debug, Default)]
pub(in crate::tenant) struct Merges {
    /// Held during a merge.
    turn: Mutex<()>,
    /// How many want that none goes on in the background.
    unwanted: AtomicU32,
    /// Is the tenant closed or deleted, so that none goes on at all?
    ended: AtomicBool,
    look: Mutex<Look>,
    pub written: Written,
}

/// When it was looked last what is due, and what came of it.
#[derive(Debug, Default)]
struct Look {
    /// Number of the manifest's last entry, and the time.
    at: Option<(u64, Instant)>,
    retry: Option<Instant>,
    error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Ends the merge that runs, and lets none begin but those of its holder.
pub(in crate::tenant) struct MergeTurn<'a> {
    merges: &'a Merges,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for MergeTurn<'_> {
    fn drop(&mut self) {
        self.merges.unwanted.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Merges {
    /// Waits for a merge to give up, at its next block, and keeps others out.
    pub fn take_turn(&self) -> MergeTurn<'_> {
        self.tell_unwanted();
        MergeTurn { merges: self, _turn: lock(&self.turn) }
    }

    /// Ends the merge that runs; none begins any more.
    pub fn end(&self) {
        self.tell_end();
        drop(lock(&self.turn));
    }

    /// The same, and does not wait.
    pub fn tell_end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub fn tell_unwanted(&self) {
        self.unwanted.fetch_add(1, Ordering::AcqRel);
    }

    /// Was [`Merges::end`] called?
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Is a merge in the background to end?
    pub fn is_unwanted(&self) -> bool {
        self.is_ended() || self.unwanted.load(Ordering::Acquire) > 0
    }

    /// Why the last attempt to merge failed, if it did.
    pub fn error(&self) -> Option<String> {
        lock(&self.look).error.clone()
    }
}

/// What became of a merge.
pub(in crate::tenant) enum Outcome {
    /// So many outputs took the place of the inputs.
    Done(usize),
    /// An input went meanwhile, or the merge was told to end: all is as before.
    Abandoned,
}

impl TenantCore {
    /// Could a merge be due? False where nothing changed since it was looked last; asks no file.
    pub fn may_merge(&self) -> bool {
        let Some(writer) = &self.writer else { return false };
        let edits = self.state().version.edits;
        let look = lock(&writer.merges.look);
        let waits = look.retry.is_some_and(|at| Instant::now() < at);
        let looked = look.at.is_some_and(|(seen, at)| seen == edits && at.elapsed() < LOOK_EVERY);
        !waits && !looked
    }

    /// Does the merge that is due, if one is; gives how many segments went into it, and 0 where none was due or it was
    /// given up. A segment whose records are of several classes since rules changed is parted first, one at a time; an
    /// archived one last.
    ///
    /// `settle` is the least age of segments of a day or week that is over.
    pub fn merge_due(&self, settle: Duration, pace: &mut Pace<'_>) -> Result<usize, Error> {
        let writer = self.writer()?;
        let settle_ns = i64::try_from(settle.as_nanos()).unwrap_or(i64::MAX);
        let policy = self.options.rules.policy();
        let limits = |class: &Class| policy.merge_limits(class);
        let rules = Rules { settle_ns, whole: false, ..self.merge_rules(&limits) };
        let _turn = match writer.merges.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(0),
        };
        // Where the rules can't be known, neither is how much time a segment may span.
        if writer.merges.is_unwanted() || self.options.rules.error().is_some() {
            return Ok(0);
        }
        let edits = self.version().edits;
        let unwanted = || writer.merges.is_unwanted();
        let (result, inputs) = match self.next_mixed(&policy) {
            Some(mixed) => (self.split(writer, &mixed, &policy, pace, &unwanted), 1),
            None => {
                let picked = policy::next_merge(&self.mergeable(), &rules, self.options.rules.clock.now());
                let archived = if picked.is_empty() { self.next_to_bring_home(&policy) } else { None };
                match archived {
                    None if !picked.is_empty() => (self.merge(writer, &picked, pace, &unwanted), picked.len()),
                    Some(mixed) => (self.split(writer, &mixed, &policy, pace, &unwanted), 1),
                    None => {
                        lock(&writer.merges.look).at = Some((edits, Instant::now()));
                        return Ok(0);
                    }
                }
            }
        };
        let mut look = lock(&writer.merges.look);
        look.error = result.as_ref().err().map(ToString::to_string);
        // Without a segment that was found to be damaged the others can be merged at once.
        if result.as_ref().is_err_and(|error| !self.note_damage(error)) {
            look.retry = Some(Instant::now() + MERGE_RETRY);
        }
        match result? {
            Outcome::Done(_) => Ok(inputs),
            Outcome::Abandoned => Ok(0),
        }
    }

    /// The rules of a merge of all that may be merged.
    pub(super) fn merge_rules<'a>(&self, limits: &'a dyn Fn(&Class) -> MergeLimits) -> Rules<'a> {
        // An output has up to twice as many bytes, and is still far from the limit of segments.
        let bytes_max = self.options.merge_bytes_max.min(SEGMENT_BYTES_MAX / 4);
        Rules { bytes_max, limits, retention_ns: None, settle_ns: 0, whole: true }
    }

    /// Merges segments. The turn of merges is the caller's.
    pub(super) fn merge(
        &self,
        writer: &Writer,
        inputs: &[SegmentId],
        pace: &mut Pace<'_>,
        unwanted: &dyn Fn() -> bool,
    ) -> Result<Outcome, Error> {
        let mut attempt = self.attempt();
        let Some(sources) = self.live(inputs) else { return Ok(Outcome::Abandoned) };
        let Some(outputs) = self.build(writer, &sources, &mut attempt, pace, unwanted)? else {
            return Ok(Outcome::Abandoned);
        };
        self.replace(writer, &sources, outputs, attempt, unwanted)
    }

    /// Puts what was written of segments in their place, where they are live still and what they were.
    pub(in crate::tenant) fn replace(
        &self,
        writer: &Writer,
        sources: &[Arc<SegmentSource>],
        outputs: Vec<SegmentMeta>,
        attempt: Attempt,
        unwanted: &dyn Fn() -> bool,
    ) -> Result<Outcome, Error> {
        let bytes = outputs.iter().map(|s| s.bytes).sum();
        let made = outputs.len();
        {
            let _turn = self.turn(writer);
            let version = writer.manifest.version();
            // One that is of another class or in another place since is not what was read.
            let is_same = |source: &Arc<SegmentSource>| {
                let now = version.segments.get(&source.meta().id);
                now.is_some_and(|now| (&now.class, &now.place) == (&source.meta().class, &source.meta().place))
            };
            if unwanted() || !sources.iter().all(is_same) {
                return Ok(Outcome::Abandoned);
            }
            let inputs = sources.iter().map(|source| source.meta().id).collect();
            let version = self.apply_made(writer, Edit::Merge { inputs, outputs }, attempt)?;
            self.publish(version);
        }
        for written in [&writer.merges.written, &*self.options.written] {
            written.add_merge(bytes);
        }
        Ok(Outcome::Done(made))
    }

    /// The sources of segments, where all are live.
    pub(in crate::tenant) fn live(&self, ids: &[SegmentId]) -> Option<Vec<Arc<SegmentSource>>> {
        let segments = self.state().segments.clone();
        ids.iter().map(|id| segments.get(id).cloned()).collect()
    }

    /// How hard what is built anew is packed, by the time of its newest record.
    pub(in crate::tenant) fn merge_level(&self, newest: Timestamp) -> i32 {
        let is_cold = newest.0 < self.options.rules.clock.now().0.saturating_sub(COLD_AFTER_NS);
        if is_cold { LEVEL_COLD } else { LEVEL_MERGE }
    }

    /// Writes the outputs, durably but named by nobody; `None` where it was given up.
    fn build(
        &self,
        writer: &Writer,
        sources: &[Arc<SegmentSource>],
        attempt: &mut Attempt,
        pace: &mut Pace<'_>,
        unwanted: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<SegmentMeta>>, Error> {
        let cache = Arc::new(Cache::new(MERGE_CACHE_BYTES));
        let readers = sources.iter().map(|s| {
            // Opened as queries do it, so that it is known to be the file that the manifest means.
            let file = s.reader()?.file().clone();
            SegmentReader::open(file, cache.clone()).map(Arc::new)
        });
        let readers = readers.collect::<Result<Vec<_>, StorageError>>()?;
        let metas = || sources.iter().map(|s| s.meta());
        let ids: Vec<SegmentId> = metas().map(|m| m.id).collect();
        let merged_level = metas().map(|m| m.level).max().unwrap_or(0).saturating_add(1);
        // The policy brings together what is of one class.
        let class = metas().map(|m| m.class.clone()).next().unwrap_or_default();
        let level = self.merge_level(metas().map(|m| m.max_time).max().unwrap_or(Timestamp(i64::MAX)));
        let mut outputs = Vec::new();
        let mut output: Option<(Output, u64)> = None;
        let mut merger = Merger::new(&readers);
        let mut encoder = BlockEncoder::default();
        loop {
            let begun = Instant::now();
            let Some(merged) = merger.next_block()? else { break };
            let (mut target, synced) = match output.take() {
                Some(open) => open,
                None => (self.begin_segment(writer, attempt, merged_level, class.clone())?, 0),
            };
            let block = match merged {
                Merged::Block(segment, block) => copy_block(&segment, block, &mut target.sink)?,
                Merged::Rows(merged) => encoder.encode(&merged.rows, &merged.batches, level, &mut target.sink),
            };
            target.block(&block)?;
            let bytes = target.writer.bytes();
            if bytes >= SEGMENT_BYTES_MAX / 2 {
                outputs.push(target.finish(&*self.options.vfs, &self.options.dir)?);
            } else if bytes - synced >= MERGE_SYNC_BYTES {
                target.sync_so_far()?;
                output = Some((target, bytes));
            } else {
                output = Some((target, synced));
            }
            if pace(begun.elapsed()).is_break() || unwanted() || self.live(&ids).is_none() {
                return Ok(None);
            }
        }
        if let Some((target, _)) = output {
            outputs.push(target.finish(&*self.options.vfs, &self.options.dir)?);
        }
        Ok(Some(outputs))
    }
}
