//! The control log as a file: opened, checked, cut after a crash, appended to.

use super::CatalogError;
use crate::error::StorageError;
use crate::format::control::{self, CONTROL_FRAME_BYTES_MAX, Contents, ControlHeader, Event, Head};
use crate::record::Timestamp;
use crate::vfs::{Vfs, VfsFile};
use std::path::Path;
use std::sync::Arc;

/// The control log, open for appending.
#[derive(Debug)]
pub(super) struct ControlLog {
    file: Arc<dyn VfsFile>,
    header: ControlHeader,
    head: Head,
    /// A write failed: part of a frame may stand behind the head.
    dirty: bool,
    /// A sync failed: what is on the disk is not known.
    stopped: bool,
}

/// Reads and checks a control log.
pub(super) fn read(vfs: &dyn Vfs, path: &Path) -> Result<Contents, StorageError> {
    let bytes = vfs.read(path)?;
    control::decode(&bytes).map_err(|error| error.in_file(path).into())
}

impl ControlLog {
    /// Opens the log, making it where there is none, and cuts off what a crash left.
    pub(super) fn open(vfs: &dyn Vfs, path: &Path) -> Result<(Self, Contents), CatalogError> {
        if !vfs.exists(path)? {
            let header = ControlHeader { salt: vfs.salt(), created: Timestamp::now() };
            vfs.replace(path, &header.encode())?;
        }
        let bytes = vfs.read(path)?;
        let contents = control::decode(&bytes).map_err(|error| StorageError::from(error.in_file(path)))?;
        let file = vfs.open_write(path)?;
        if contents.torn.is_some() {
            file.set_len(contents.head.bytes)?;
        }
        // What was read may be in the page cache alone, from a process that was killed before it synced; and where a sync
        // of its last frame failed, only writing it again makes a sync write it.
        let end = usize::try_from(contents.head.bytes).unwrap_or(usize::MAX).min(bytes.len());
        let from = end.saturating_sub(CONTROL_FRAME_BYTES_MAX);
        file.write_all_at(from as u64, &bytes[from..end])?;
        file.sync()?;
        // So may its name.
        if let Some(folder) = path.parent() {
            vfs.sync_dir(folder)?;
        }
        let log =
            ControlLog { file, header: contents.header.clone(), head: contents.head, dirty: false, stopped: false };
        Ok((log, contents))
    }

    /// How many events it has.
    pub(super) fn frames(&self) -> u64 {
        self.head.frames
    }

    /// Appends an event and syncs; the head behind it.
    pub(super) fn append(&mut self, event: &Event) -> Result<Head, CatalogError> {
        if self.stopped {
            return Err(CatalogError::Stopped);
        }
        if self.dirty {
            self.file.set_len(self.head.bytes)?;
            // Durable before anything else stands there: sectors of two frames in one can't be told from damage.
            self.sync()?;
            self.dirty = false;
        }
        let mut frame = Vec::new();
        let head = control::encode_frame(&self.header, &self.head, event, &mut frame);
        self.dirty = true;
        self.file.write_all_at(self.head.bytes, &frame)?;
        self.sync()?;
        self.dirty = false;
        self.head = head;
        Ok(head)
    }

    fn sync(&mut self) -> Result<(), CatalogError> {
        // Linux drops the pages of a failed sync and reports success the next time, so that trying again would
        // acknowledge what was never written.
        self.file.sync().inspect_err(|_| self.stopped = true)?;
        Ok(())
    }
}
