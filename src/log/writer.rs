//! What the leader of a group does: give Seqs, write, sync, and go on in a new file where that fails.

use super::file::{ActiveFile, CreateError, WriteError};
use super::{Ack, LogError, LogOptions, Prepared};
use crate::error::StorageError;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::header::LogHeader;
use crate::format::sealed::FileKind;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::path::PathBuf;
use std::sync::Arc;

/// A batch with its place.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) first: Seq,
    pub(super) batch: Prepared,
}

/// The writing end of a log. One thread has it at a time.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) dir: PathBuf,
    pub(super) tenant: TenantId,
    pub(super) options: LogOptions,
    pub(super) active: ActiveFile,
    pub(super) next_id: LogId,
    /// Seq of the next record.
    pub(super) next: Seq,
    pub(super) durable: Seq,
    /// Committed and not yet durable, from `durable` + 1 on: what a new file has to begin with where this one fails.
    pub(super) unsynced: Vec<Pending>,
    /// How many bytes those take, about.
    pub(super) unsynced_bytes: usize,
    /// How many of those are in the file.
    pub(super) written: usize,
    /// How many bytes the others take, about.
    pub(super) unwritten_bytes: usize,
    /// Files that were given up since the owner last asked.
    pub(super) abandoned: Vec<LogId>,
    /// Files that it went on from, or that may be there although making them failed, and their bytes: the log's list
    /// need not have them, since a flush may give one up and a rotation the next.
    pub(super) passed: Vec<(LogId, u64)>,
}

impl Writer {
    /// A writer that goes on at the end of `active`, where everything is durable.
    pub(super) fn new(
        (vfs, dir, tenant): (Arc<dyn Vfs>, PathBuf, TenantId),
        options: LogOptions,
        active: ActiveFile,
        next_id: LogId,
        next: Seq,
    ) -> Self {
        Writer {
            vfs,
            dir,
            tenant,
            options,
            active,
            next_id,
            next,
            durable: Seq(next.0 - 1),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            written: 0,
            unwritten_bytes: 0,
            abandoned: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// Gives Seqs to the batches in their order, and does for them what they ask. On an error none of them counts.
    pub(super) fn commit(&mut self, batches: Vec<(Prepared, Ack)>) -> Result<Vec<Seq>, LogError> {
        let (kept, next, mut bytes) = (self.unsynced.len(), self.next, 0);
        let (mut firsts, mut is_write, mut is_sync) = (Vec::with_capacity(batches.len()), false, false);
        for (batch, ack) in batches {
            is_write |= ack != Ack::Buffered;
            is_sync |= ack == Ack::Fsync;
            bytes += FRAME_HEADER_BYTES + batch.stored_bytes();
            let first = self.next;
            self.next = Seq(first.0 + u64::from(batch.records()));
            firsts.push(first);
            self.unsynced.push(Pending { first, batch });
        }
        is_sync |= self.unsynced_bytes + bytes > self.options.unsynced_bytes_max;
        is_write |= is_sync || self.unwritten_bytes + bytes > self.options.buffered_bytes_max;
        self.unsynced_bytes += bytes;
        self.unwritten_bytes += bytes;
        self.write_and_sync(is_write, is_sync).map_err(|failure| {
            self.unsynced.truncate(kept);
            self.unsynced_bytes -= bytes;
            // Batches are written all or none, so that these are still not.
            self.unwritten_bytes = self.unwritten_bytes.saturating_sub(bytes);
            self.written = self.written.min(kept);
            self.next = next;
            self.failed(failure)
        })?;
        Ok(firsts)
    }

    /// Makes everything that was committed durable, in this file or in one that takes over from it.
    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let done = self.write_and_sync(true, true);
        done.or_else(|failure| survived(self.failed(failure)))
    }

    fn write_and_sync(&mut self, is_write: bool, is_sync: bool) -> Result<(), WriteError> {
        if is_write && self.written < self.unsynced.len() {
            self.active.write(&self.unsynced[self.written..], self.durable, self.options.preallocate_bytes)?;
            self.written = self.unsynced.len();
            self.unwritten_bytes = 0;
        }
        if is_sync {
            self.active.sync().map_err(WriteError::Broken)?;
            self.made_durable();
        }
        Ok(())
    }

    fn made_durable(&mut self) {
        self.durable = Seq(self.next.0 - 1);
        self.unsynced.clear();
        (self.written, self.unsynced_bytes, self.unwritten_bytes) = (0, 0, 0);
    }

    fn failed(&mut self, failure: WriteError) -> LogError {
        match failure {
            WriteError::Full(source) => LogError::Full { source },
            WriteError::Broken(source) => self.abandon(source),
        }
    }

    /// Gives the file up, and says what its failure means for whoever waits.
    fn abandon(&mut self, source: StorageError) -> LogError {
        let log = self.active.id();
        match self.take_over() {
            Ok(()) => LogError::Abandoned { log, source },
            Err(e) => LogError::ReadOnly { reason: format!("log {log} failed ({source}), and so did a new one ({e})") },
        }
    }

    /// Goes on in a new file that begins with everything that was committed and is not durable. From then on what the
    /// old file holds from there on does not count, whatever of it is on the disk.
    pub(super) fn take_over(&mut self) -> Result<(), StorageError> {
        let first = Seq(self.durable.0 + 1);
        let old = self.active.id();
        self.active = self.create(first).map_err(|e| e.source)?;
        self.abandoned.push(old);
        self.passed.push((old, 0));
        self.made_durable();
        Ok(())
    }

    fn create(&mut self, first: Seq) -> Result<ActiveFile, CreateError> {
        let id = self.next_id;
        // The name is not used again, also where making the file fails: it may be there after a crash.
        self.next_id = LogId(id.0 + 1);
        let file_key = self.options.keys.new_file(FileKind::Log, id.0);
        let file_key = file_key.map_err(|source| CreateError { source, is_named: false })?;
        let (salt, key) = (self.vfs.salt(), file_key.as_ref().map(|key| *key.wrapped()));
        let header = LogHeader { tenant: self.tenant.clone(), id, salt, first, durable: self.durable, key };
        let created = ActiveFile::create(&*self.vfs, &self.dir, (&header, file_key), &self.unsynced);
        self.passed.extend(created.as_ref().is_err_and(|e| e.is_named).then_some((id, 0)));
        created
    }

    /// Says in the file that all is durable, where it is and the file does not say so yet.
    pub(super) fn mark(&mut self) -> Result<(), LogError> {
        if !self.unsynced.is_empty() || self.active.is_marked() || self.active.is_bare() {
            return Ok(());
        }
        match self.active.mark(self.durable, self.options.preallocate_bytes) {
            // The room for a mark is not worth an error: the next frame says the same.
            Ok(()) | Err(WriteError::Full(_)) => Ok(()),
            Err(WriteError::Broken(source)) => survived(self.abandon(source)),
        }
    }

    /// Makes everything durable, and goes on in a new file.
    pub(super) fn rotate(&mut self) -> Result<(), LogError> {
        self.flush()?;
        if self.active.is_bare() && self.active.is_sealed() == self.options.keys.is_encrypted() {
            return Ok(());
        }
        let next = self.create(self.next).map_err(|CreateError { source, is_named }| match is_named {
            true => LogError::ReadOnly { reason: format!("a new log may be there or not ({source})") },
            false if source.is_out_of_space() => LogError::Full { source },
            false => LogError::Storage(source),
        })?;
        let mut old = std::mem::replace(&mut self.active, next);
        self.passed.push((old.id(), old.bytes()));
        // What it holds is durable, and the new file says so; it is removed soon, so that its room is not given back
        // first, and nothing is waited for.
        let _ = old.mark_end(self.durable);
        Ok(())
    }

    /// Makes everything durable, and ends the file.
    pub(super) fn close(&mut self) -> Result<(), LogError> {
        self.flush()?;
        // A file without batches says nothing that could be lost.
        let done =
            if self.active.is_bare() { self.active.mark_end(self.durable) } else { self.active.finish(self.durable) };
        done.map_err(LogError::Storage)
    }
}

/// An abandoned file is no failure to whoever only wants what was committed to be durable: the new file has it.
fn survived(error: LogError) -> Result<(), LogError> {
    if matches!(error, LogError::Abandoned { .. }) { Ok(()) } else { Err(error) }
}
