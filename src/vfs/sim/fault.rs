//! What can be made to fail.

use std::io;
use std::path::{Path, PathBuf};

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimOp {
    /// Opening a file that exists.
    Open,
    /// Reading from a file.
    Read,
    /// Writing to a file, reserving room in it, or setting its length.
    Write,
    /// Syncing a file.
    Sync,
    /// Making a file.
    Create,
    /// Making a folder.
    CreateDir,
    /// Listing a folder.
    List,
    /// Renaming a file.
    Rename,
    /// Removing a file or a folder.
    Remove,
    /// Syncing a folder.
    SyncDir,
}

/// Every operation that can be made to fail.
pub const SIM_OPS: [SimOp; 10] = [
    SimOp::Open,
    SimOp::Read,
    SimOp::Write,
    SimOp::Sync,
    SimOp::Create,
    SimOp::CreateDir,
    SimOp::List,
    SimOp::Rename,
    SimOp::Remove,
    SimOp::SyncDir,
];

/// A fault that is to come: which operations, from which one on, how many, and with what error.
#[derive(Clone, Debug)]
pub struct SimFault {
    op: SimOp,
    under: Option<PathBuf>,
    skip: u64,
    times: u64,
    kind: io::ErrorKind,
}

impl SimFault {
    /// The next operation of this kind fails, once, as a failing device would (`EIO`).
    pub fn new(op: SimOp) -> Self {
        SimFault { op, under: None, skip: 0, times: 1, kind: io::ErrorKind::Other }
    }
    /// Only files and folders at or below this path.
    pub fn under(mut self, path: impl AsRef<Path>) -> Self {
        self.under = Some(path.as_ref().to_path_buf());
        self
    }
    /// So many operations succeed before.
    pub fn after(mut self, operations: u64) -> Self {
        self.skip = operations;
        self
    }
    /// So many fail.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
    /// They fail until [`super::SimVfs::heal`].
    pub fn until_healed(self) -> Self {
        self.times(u64::MAX)
    }
    /// They fail with this error: `StorageFull`, `QuotaExceeded`, `PermissionDenied`.
    pub fn kind(mut self, kind: io::ErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

/// The faults that are to come, and what is refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) planned: Vec<SimFault>,
    /// Paths below which nothing can be opened, made, listed or removed.
    pub(super) refused: Vec<PathBuf>,
    /// Is everything mounted read-only?
    pub(super) read_only: bool,
    /// How many operations failed.
    pub(super) failed: u64,
}

impl Faults {
    /// Takes a fault that was asked for.
    pub(super) fn take(&mut self, op: SimOp, path: &Path) -> io::Result<()> {
        let meets = |fault: &SimFault| {
            fault.op == op && fault.times > 0 && fault.under.as_ref().is_none_or(|under| path.starts_with(under))
        };
        for fault in self.planned.iter_mut().filter(|fault| meets(fault)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = fault.times.saturating_sub(if fault.times == u64::MAX { 0 } else { 1 });
            self.failed += 1;
            return Err(io::Error::new(fault.kind, "simulated fault"));
        }
        let changes = !matches!(op, SimOp::Open | SimOp::Read | SimOp::List);
        if self.read_only && changes {
            self.failed += 1;
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    /// The same for what goes by a path, where that may be refused: as with a folder or file without permissions, what
    /// is below can't be reached, and the thing itself is seen but not opened.
    pub(super) fn take_path(&mut self, op: SimOp, path: &Path) -> io::Result<()> {
        let opens = matches!(op, SimOp::Open | SimOp::List | SimOp::SyncDir);
        if self.refused.iter().any(|refused| path.starts_with(refused) && (opens || path != refused)) {
            self.failed += 1;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.take(op, path)
    }

    /// May it be asked whether there is something at a path?
    pub(super) fn may_look(&self, path: &Path) -> io::Result<()> {
        match self.refused.iter().any(|refused| path.starts_with(refused) && path != refused) {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    }
}
