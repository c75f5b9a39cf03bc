//! From the memtable to segments, and from small segments to larger ones.

use super::group::{Group, group_rows};
use super::leaves::leaves_of;
use super::open::open_segments;
use super::output::{Attempt, Output};
use super::{Frozen, TenantCore, Writer};
use crate::format::compress::LEVEL_FAST;
use crate::format::edit::{Edit, Leaf, SegmentMeta};
use crate::format::payload::Payload;
use crate::format::rows::{order_rows, split_rows};
use crate::format::version::Version;
use crate::id::{LogId, Seq};
use crate::manifest::ManifestError;
use crate::memtable::{CommittedBatch, Kept};
use crate::record::Timestamp;
use crate::segment::BlockEncoder;
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::Duration;

/// At most so many memtables wait to be sealed; whoever appends more seals one first.
const FROZEN_MAX: usize = 1;

impl TenantCore {
    pub(super) fn writer(&self) -> Result<&Writer, Error> {
        self.writer.as_ref().ok_or_else(|| ErrorKind::ReadOnly.into())
    }

    /// Waits for its turn to make or replace segments.
    pub(super) fn turn<'a>(&self, writer: &'a Writer) -> MutexGuard<'a, ()> {
        writer.seal.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Applies an edit that names no new segments.
    pub(super) fn apply(&self, writer: &Writer, edit: Edit) -> Result<Arc<Version>, Error> {
        self.apply_all(writer, vec![edit]).map_err(Error::from)
    }

    /// Applies edits. Where the manifest is certain after it, files go that entries in doubt had named.
    fn apply_all(&self, writer: &Writer, edits: Vec<Edit>) -> Result<Arc<Version>, ManifestError> {
        let result = writer.manifest.apply(Timestamp::now(), edits);
        if !matches!(result, Err(ManifestError::Uncertain(_))) {
            self.options.leftover.decide(&*self.options.vfs);
        }
        result
    }

    /// Sees to it that no entry is in doubt, so that no file is there that only one of these names.
    pub(super) fn settle(&self, writer: &Writer) -> Result<(), Error> {
        if self.options.leftover.is_undecided() {
            self.apply_all(writer, Vec::new())?;
        }
        Ok(())
    }

    /// Applies an edit that names the segments of an attempt. Where it certainly did not happen, their files are removed.
    pub(super) fn apply_made(&self, writer: &Writer, edit: Edit, attempt: Attempt) -> Result<Arc<Version>, Error> {
        let result = self.apply_all(writer, vec![edit]);
        match &result {
            Ok(_) => attempt.keep(),
            Err(ManifestError::Uncertain(_)) => attempt.keep_undecided(),
            Err(_) => {}
        }
        Ok(result?)
    }

    /// Does the work that is due: seals a memtable that is full or older than `age_max`, what waits to be sealed, and
    /// all of it where a log file was given up after a failed sync, since then the device is in doubt.
    pub fn maintain(&self, age_max: Duration) -> Result<u64, Error> {
        let Some(writer) = &self.writer else { return Ok(0) };
        self.revive(writer)?;
        let abandoned = !writer.log.take_abandoned().is_empty();
        let (due, waiting) = {
            let state = self.state();
            let age = Timestamp::now().0 - state.active_since.map_or(i64::MAX, |t| t.0);
            let old = age > i64::try_from(age_max.as_nanos()).unwrap_or(i64::MAX);
            (old || state.active.unpacked_bytes() >= self.options.memtable_bytes_max, !state.frozen.is_empty())
        };
        match () {
            () if due || abandoned => self.seal(),
            () if waiting => self.seal_frozen(),
            () => Ok(0),
        }
    }

    /// Before an append: where the memtable is full, freezes it, so that it is sealed beside further appends; where
    /// one waits to be sealed already, seals that first, so that whoever appends too fast slows down.
    ///
    /// Sealing that fails is no reason to refuse records, which the log has room for, until the memtable is twice as
    /// large as it should be.
    pub fn make_room(&self) -> Result<(), Error> {
        let writer = self.writer()?;
        let bytes_max = self.options.memtable_bytes_max;
        if self.state().active.unpacked_bytes() < bytes_max {
            return Ok(());
        }
        let result = {
            // One of those who find it full freezes it; the others find it empty then.
            let _turn = writer.freeze.lock().unwrap_or_else(|e| e.into_inner());
            let (bytes, waiting) = {
                let state = self.state();
                (state.active.unpacked_bytes(), state.frozen.len())
            };
            match () {
                () if bytes < bytes_max => return Ok(()),
                () if waiting < FROZEN_MAX => self.freeze(),
                () => self.seal_frozen().map(drop),
            }
        };
        match result {
            Err(e) if self.state().active.unpacked_bytes() >= 2 * bytes_max => Err(e),
            _ => Ok(()),
        }
    }

    /// Does a memtable wait to be sealed?
    pub fn has_frozen(&self) -> bool {
        !self.state().frozen.is_empty()
    }

    /// Are segments made or replaced just now, which sealing would wait for?
    pub fn is_sealing(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| matches!(writer.seal.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Ends the merge that runs, if one does; none begins any more.
    pub fn end_merges(&self) {
        if let Some(writer) = &self.writer {
            writer.merges.end();
        }
    }

    /// Gives the tenant up before its files are removed: nothing is sealed.
    pub fn abandon(&self) {
        if let Some(writer) = &self.writer {
            writer.merges.end();
            // The files go next, so that there is nothing to be said of an error.
            let _ = writer.log.close();
        }
    }

    /// Bytes in the memtable that takes batches.
    pub fn active_bytes(&self) -> usize {
        self.state().active.bytes()
    }

    fn freeze(&self) -> Result<(), Error> {
        let writer = self.writer()?;
        if self.state().active.is_empty() {
            return Ok(());
        }
        let state = self.state.clone();
        let (next_log, frozen) = writer.log.rotate(move |_| {
            let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
            if state.active.is_empty() {
                // Somebody else froze it since the look above: an empty segment fits no manifest.
                return None;
            }
            state.active_since = None;
            let memtable = std::mem::take(&mut state.active);
            let frozen = Arc::new(Frozen {
                batches: memtable.batches().to_vec(),
                source: Arc::new(memtable.snapshot()),
                bytes: memtable.bytes(),
                next_log: LogId(0),
            });
            state.frozen.push(frozen.clone());
            Some(frozen)
        })?;
        let Some(frozen) = frozen else { return Ok(()) };
        // The number of the new log is known only now.
        let mut state = self.state();
        if let Some(slot) = state.frozen.iter_mut().find(|f| Arc::ptr_eq(f, &frozen)) {
            *slot = Arc::new(Frozen {
                batches: frozen.batches.clone(),
                source: frozen.source.clone(),
                bytes: frozen.bytes,
                next_log,
            });
        }
        Ok(())
    }

    /// Seals what is frozen, oldest first; gives the number of records.
    pub fn seal_frozen(&self) -> Result<u64, Error> {
        let writer = self.writer()?;
        let _turn = self.turn(writer);
        // Who has to know that it failed, asks; the rest only takes room.
        let _ = self.options.leftover.retry(&*self.options.vfs);
        let sealed = self.seal_each(writer);
        // Also what an earlier call could not remove: a deletion is not done while the log has its records.
        let trimmed = writer.log.trim(LogId(writer.sealed_log.load(Ordering::Acquire)));
        let result = sealed.and_then(|records| trimmed.map(|_| records).map_err(Error::from));
        self.state().seal_error = result.as_ref().err().map(ToString::to_string);
        result
    }

    fn seal_each(&self, writer: &Writer) -> Result<u64, Error> {
        let mut records = 0;
        loop {
            let Some(frozen) = self.state().frozen.first().cloned() else { return Ok(records) };
            self.seal_one(writer, &frozen)?;
            records += frozen.batches.iter().map(|b| u64::from(b.records())).sum::<u64>();
        }
    }

    /// Seals all that was committed before this call.
    pub fn seal(&self) -> Result<u64, Error> {
        self.freeze()?;
        self.seal_frozen()
    }

    fn seal_one(&self, writer: &Writer, frozen: &Frozen) -> Result<(), Error> {
        let version = writer.manifest.version();
        let committed: Vec<CommittedBatch> = frozen.batches.iter().map(Kept::batch).collect::<Result<_, _>>()?;
        let batches: Vec<(Seq, Arc<Payload>)> = committed.iter().map(|b| (b.first, b.payload.clone())).collect();
        let rules = self.options.rules.policy();
        let (mut segments, mut leaves, mut attempt) = (Vec::new(), Vec::new(), self.attempt());
        for group in group_rows(order_rows(&batches), &batches, &rules, self.options.rules.clock.now()) {
            let bytes_max = rules.merge_limits(&group.class).bytes;
            let mut from = 0;
            for meta in self.seal_group(writer, &mut attempt, &group, &batches, bytes_max)? {
                let to = group.rows.len().min(from + meta.rows as usize);
                leaves.extend(leaves_of(&group.rows[from..to], &committed, &self.options.keys));
                segments.push(meta);
                from = to;
            }
        }
        leaves.sort_by_key(Leaf::first);
        let sealed_below = frozen.batches.last().map_or(version.sealed_below, Kept::last);
        // Before the entry, which lets the log go: what of it is not sealed after all is still in the log.
        writer.receipts.save(&self.id, &self.options, sealed_below)?;
        let bytes = segments.iter().map(|s: &SegmentMeta| s.bytes).sum();
        let edit = Edit::Seal { segments, leaves, sealed_below };
        let version = self.apply_made(writer, edit, attempt)?;
        {
            let mut state = self.state();
            state.frozen.remove(0);
            state.counted = state.counted.saturating_sub(frozen.bytes as u64);
            state.segments = Arc::new(open_segments(&self.id, &self.options, &version, &state.segments));
            state.version = version;
        }
        self.options.memtable_bytes.fetch_sub(frozen.bytes as u64, Ordering::Relaxed);
        for written in [&writer.merges.written, &*self.options.written] {
            written.add_seal(bytes);
        }
        writer.sealed_log.store(frozen.next_log.0, Ordering::Release);
        Ok(())
    }

    /// Writes the records of a group into a segment, or into several where one may not be larger than this.
    fn seal_group(
        &self,
        writer: &Writer,
        attempt: &mut Attempt,
        group: &Group,
        batches: &[(Seq, Arc<Payload>)],
        bytes_max: Option<u64>,
    ) -> Result<Vec<SegmentMeta>, Error> {
        let mut segments = Vec::new();
        let mut open: Option<Output> = None;
        let mut encoder = BlockEncoder::default();
        let mut from = 0;
        for end in split_rows(&group.rows, batches) {
            let mut output = match open.take() {
                Some(open) => open,
                None => self.begin_segment(writer, attempt, 0, group.class.clone())?,
            };
            let block = encoder.encode(&group.rows[from..end], batches, LEVEL_FAST, &mut output.sink);
            output.block(&block)?;
            from = end;
            match bytes_max.is_some_and(|most| output.writer.bytes() >= most) {
                true => segments.push(output.finish(&*self.options.vfs, &self.options.dir)?),
                false => open = Some(output),
            }
        }
        if let Some(output) = open {
            segments.push(output.finish(&*self.options.vfs, &self.options.dir)?);
        }
        Ok(segments)
    }

    /// Seals, and makes durable that all is; the tenant takes no more records.
    pub fn close(&self) -> Result<(), Error> {
        let Some(writer) = &self.writer else { return Ok(()) };
        writer.merges.end();
        let sealed = self.seal();
        // Also where sealing failed: the log has it all, and says so durably.
        writer.log.close()?;
        // Where it fails the file says more than came, as after a crash.
        let _ = self.daily.settle(&self.id, &self.options);
        sealed.map(drop)
    }
}
