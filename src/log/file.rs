//! The file that is written to.

use super::PREALLOCATE_BYTES_MIN;
use super::recover::path_of;
use super::writer::Pending;
use crate::crypt::{FileKey, FrameSealer};
use crate::error::StorageError;
use crate::format::frame::{ChainHash, Frame, chain_start};
use crate::format::header::{FILE_HEADER_BYTES, FileStamp, LogHeader};
use crate::id::{LogId, Seq};
use crate::vfs::{Vfs, VfsFile};
use std::path::Path;
use std::sync::Arc;

/// The active log file.
#[derive(Debug)]
pub(super) struct ActiveFile {
    file: Arc<dyn VfsFile>,
    id: LogId,
    stamp: FileStamp,
    /// Where the next frame goes.
    end: u64,
    /// How far the file has room; zeros from `end` on.
    reserved: u64,
    chain: ChainHash,
    /// Is the last frame a mark that covers all before it?
    is_marked: bool,
    /// Where frames are encrypted.
    sealer: Option<FrameSealer>,
}

fn put(frame: &Frame<'_>, stamp: &FileStamp, sealer: &mut Option<FrameSealer>, out: &mut Vec<u8>) -> ChainHash {
    match sealer {
        Some(sealer) => frame.encode_sealed(stamp, sealer, out),
        None => frame.encode(stamp, out),
    }
}

/// Why there is no new file.
#[derive(Debug)]
pub(super) struct CreateError {
    pub(super) source: StorageError,
    /// May the file be there under its name, now or after a crash? Then the records from its first Seq on must not be
    /// written to an older one: they would not count.
    pub(super) is_named: bool,
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// There is no room; the file is as it was.
    Full(StorageError),
    /// The file is in doubt, and must not be written to again.
    Broken(StorageError),
}

impl ActiveFile {
    /// Makes a file that begins with these batches. It is durable, and has its name, when this returns: a log file
    /// without its header is never seen under its name.
    pub(super) fn create(
        vfs: &dyn Vfs,
        dir: &Path,
        (header, key): (&LogHeader, Option<FileKey>),
        carried: &[Pending],
    ) -> Result<Self, CreateError> {
        let path = path_of(dir, header.id);
        let sealer = key.map(|key| FrameSealer::new(key, &path)).transpose();
        let mut sealer = sealer.map_err(|source| CreateError { source, is_named: false })?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = Path::new(&beside);
        let mut bytes = header.encode().to_vec();
        let mut chain = chain_start(&header.encode());
        for Pending { first, batch } in carried {
            chain = put(&batch.frame(*first, header.durable, chain), &header.stamp(), &mut sealer, &mut bytes);
        }
        Self::write_new(vfs, beside, &bytes).map_err(|source| {
            // Open removes what can't be removed now.
            let _ = vfs.remove(beside);
            CreateError { source, is_named: false }
        })?;
        let named = vfs.rename(beside, &path).and_then(|()| vfs.sync_dir(dir)).and_then(|()| vfs.open_write(&path));
        let file = named.map_err(|source| CreateError { source, is_named: true })?;
        let (end, id, stamp) = (bytes.len() as u64, header.id, header.stamp());
        Ok(ActiveFile { file, id, stamp, end, reserved: end, chain, is_marked: false, sealer })
    }

    fn write_new(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        if vfs.exists(path)? {
            vfs.remove(path)?;
        }
        let file = vfs.create(path)?;
        file.write_all_at(0, bytes)?;
        file.sync()
    }

    /// Goes on at the end of a file that was scanned and has nothing but zeros there.
    pub(super) fn resume(
        vfs: &dyn Vfs,
        dir: &Path,
        (header, key): (&LogHeader, Option<FileKey>),
        (end, chain, is_marked): (u64, ChainHash, bool),
    ) -> Result<Self, StorageError> {
        let path = path_of(dir, header.id);
        let file = vfs.open_write(&path)?;
        let reserved = file.len()?.max(end);
        let sealer = key.map(|key| FrameSealer::new(key, &path)).transpose()?;
        Ok(ActiveFile { file, id: header.id, stamp: header.stamp(), end, reserved, chain, is_marked, sealer })
    }

    /// Writes what was read. After a sync that failed, the system may show what is not on the disk, and think that it is;
    /// a process that was killed then leaves that to the next one, whose sync alone would change nothing.
    pub(super) fn write_again(&mut self, from: u64, bytes: &[u8]) -> Result<(), StorageError> {
        debug_assert!(from + bytes.len() as u64 <= self.end);
        if bytes.is_empty() { Ok(()) } else { self.file.write_all_at(from, bytes) }
    }

    pub(super) fn id(&self) -> LogId {
        self.id
    }

    /// Bytes of header and frames.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Does it have no frames?
    pub(super) fn is_bare(&self) -> bool {
        self.end == FILE_HEADER_BYTES as u64
    }

    /// Are its frames encrypted?
    pub(super) fn is_sealed(&self) -> bool {
        self.sealer.is_some()
    }

    pub(super) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Writes batches with one call, all or none.
    pub(super) fn write(&mut self, batches: &[Pending], durable: Seq, step: u64) -> Result<(), WriteError> {
        let stored = |p: &Pending| p.batch.frame(p.first, durable, ChainHash::default()).encoded_bytes();
        let mut bytes = Vec::with_capacity(batches.iter().map(stored).sum());
        let mut chain = self.chain;
        for Pending { first, batch } in batches {
            chain = put(&batch.frame(*first, durable, chain), &self.stamp, &mut self.sealer, &mut bytes);
        }
        self.put(&bytes, step)?;
        self.chain = chain;
        self.is_marked &= bytes.is_empty();
        Ok(())
    }

    /// Writes a mark: everything up to `durable` is, and that is all there is. Not synced: where it is lost, so is
    /// only the proof.
    pub(super) fn mark(&mut self, durable: Seq, step: u64) -> Result<(), WriteError> {
        let mut bytes = Vec::new();
        let chain = Frame::mark(Seq(durable.0 + 1), durable, self.chain).encode(&self.stamp, &mut bytes);
        self.put(&bytes, step)?;
        self.chain = chain;
        self.is_marked = true;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], step: u64) -> Result<(), WriteError> {
        let end = self.end + bytes.len() as u64;
        self.reserve(end, step)?;
        match self.file.write_all_at(self.end, bytes) {
            Ok(()) => {
                self.end = end;
                Ok(())
            }
            // Some file systems have no room in spite of what was reserved. What was written in part goes again.
            Err(e) if e.is_out_of_space() => match self.file.set_len(self.end) {
                Ok(()) => {
                    self.reserved = self.end;
                    Err(WriteError::Full(e))
                }
                Err(_) => Err(WriteError::Broken(e)),
            },
            Err(e) => Err(WriteError::Broken(e)),
        }
    }

    fn reserve(&mut self, end: u64, step: u64) -> Result<(), WriteError> {
        if end <= self.reserved {
            return Ok(());
        }
        let step = step.min(end.next_power_of_two().max(PREALLOCATE_BYTES_MIN));
        let ample = end.next_multiple_of(step.max(1));
        let mut result = self.file.allocate(ample).map(|()| ample);
        if result.as_ref().is_err_and(StorageError::is_out_of_space) {
            result = self.file.allocate(end).map(|()| end);
        }
        match result {
            Ok(reserved) => {
                self.reserved = reserved;
                Ok(())
            }
            Err(e) if e.is_out_of_space() => Err(WriteError::Full(e)),
            Err(e) => Err(WriteError::Broken(e)),
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Ends a file that has been synced with a mark, which is not synced: nothing depends on it but what a later reader
    /// can prove.
    pub(super) fn mark_end(&mut self, durable: Seq) -> Result<(), StorageError> {
        match self.is_marked {
            true => Ok(()),
            false => self.mark(durable, 0).map_err(|(WriteError::Full(e) | WriteError::Broken(e))| e),
        }
    }

    /// The same, without reserved room, and synced.
    pub(super) fn finish(&mut self, durable: Seq) -> Result<(), StorageError> {
        self.mark_end(durable)?;
        if self.reserved > self.end {
            self.file.set_len(self.end)?;
            self.reserved = self.end;
        }
        self.file.sync()
    }
}
