//! Files, behind a trait, so that tests can lose, tear and refuse what a disk may.
//!
//! Promises: every error names the file and what was tried; nothing is buffered here. The one place with a memory map
//! and its `unsafe`. May not know: what the bytes mean.

mod aside;
mod map;
mod memory;
mod pool;
mod real;
#[doc(hidden)]
pub mod sim;
mod whole;

pub use aside::{aside_seal, set_aside};
pub use map::MappedFile;
pub use memory::MemoryFile;
pub use pool::{HELD_FILES_MAX, HeldFile, OPEN_FILES_MAX, keep_more_open};
pub use real::RealVfs;
pub(crate) use real::lock_text;
pub use real::{disk_space, is_private};

use crate::error::StorageError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system. Paths are absolute or relative to the process; stores join them from their own folder.
pub trait Vfs: Send + Sync + std::fmt::Debug {
    /// Opens a file that exists, for reading.
    fn open(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError>;
    /// Opens a file that exists, for reading and writing.
    fn open_write(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError>;
    /// Makes a file, for reading and writing, that only its owner can read; an error where one of that name exists.
    fn create(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError>;
    /// Makes a folder and those above it, that only their owner can enter; no error where it exists.
    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError>;
    /// The entries of a folder, by name.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, StorageError>;
    /// Renames a file, over one that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), StorageError>;
    /// Removes a folder with all in it.
    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError>;
    /// Makes durable which names a folder has.
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError>;
    /// Takes a lock that other processes see, on a file that is made where it is missing.
    fn lock(&self, path: &Path) -> Result<Lock, LockError>;
    /// Does somebody hold the lock of this file? Where that can't be told, whether the file names a holder. Nothing is
    /// written.
    fn is_locked(&self, path: &Path) -> Result<bool, StorageError> {
        Ok(self.exists(path)? && !self.read(path)?.is_empty())
    }
    /// Does a file or folder exist?
    fn exists(&self, path: &Path) -> Result<bool, StorageError>;
    /// A number for a new file's header that nobody who writes records can know.
    fn salt(&self) -> u64 {
        random_salt()
    }

    /// Bytes of the file system that a path is on: all, and those that can still be used. `None` where it can't be told.
    fn space(&self, _path: &Path) -> Option<(u64, u64)> {
        None
    }

    /// Are its files those that other code of this process finds under the same paths?
    fn is_system(&self) -> bool {
        false
    }

    /// The whole of a file.
    fn read(&self, path: &Path) -> Result<Vec<u8>, StorageError> {
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
        file.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces a file as one step: writes beside it, syncs, renames, syncs the folder.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        if self.exists(&beside)? {
            self.remove(&beside)?;
        }
        let file = self.create(&beside)?;
        file.write_all_at(0, bytes)?;
        file.sync()?;
        drop(file);
        self.rename(&beside, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// The folder that a path's last name is in.
pub fn above(path: &Path) -> PathBuf {
    match path.parent() {
        Some(above) if above != Path::new("") => above.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Makes a folder and those above it. The names of those that were missing are durable when this returns; one that was
/// there may have been made by a process that ended before that.
pub fn make_folder(vfs: &dyn Vfs, folder: &Path) -> Result<(), StorageError> {
    let mut missing = Vec::new();
    for folder in folder.ancestors().filter(|folder| *folder != Path::new("")) {
        if vfs.exists(folder)? {
            break;
        }
        missing.push(folder);
    }
    vfs.create_dir_all(folder)?;
    missing.into_iter().try_for_each(|folder| vfs.sync_dir(&above(folder)))
}

/// See [`Vfs::salt`].
pub(crate) fn random_salt() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // The standard library seeds this from the system as well, once a thread.
        Err(_) => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), bytes),
    }
}

/// An open file. Reads and writes name their place, so that threads share it.
pub trait VfsFile: Send + Sync + std::fmt::Debug {
    /// Its path, for errors.
    fn path(&self) -> &Path;
    /// Its length in bytes.
    fn len(&self) -> Result<u64, StorageError>;
    /// Is it empty?
    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.len()? == 0)
    }
    /// Keeps it open while the result is held, so that it can be read also when its name is gone. `None` where files of
    /// this kind need no such thing, or too many are held.
    fn hold(&self) -> Result<Option<HeldFile>, StorageError> {
        Ok(None)
    }
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError>;
    /// Writes all bytes. This and the next two are refused, where a file does not say how: it is one for reading.
    fn write_all_at(&self, _offset: u64, _bytes: &[u8]) -> Result<(), StorageError> {
        Err(read_only(self.path(), "write"))
    }
    /// Reserves room up to this length, zeroed; the file is that long then. A full disk shows here.
    fn allocate(&self, _len: u64) -> Result<(), StorageError> {
        Err(read_only(self.path(), "allocate"))
    }
    /// Cuts the file, or fills it with zeros, to this length.
    fn set_len(&self, _len: u64) -> Result<(), StorageError> {
        Err(read_only(self.path(), "set length"))
    }
    /// Makes contents and length durable.
    fn sync(&self) -> Result<(), StorageError>;

    /// Reads exactly `buffer.len()` bytes; an error where the file ends before.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let got = self.read_at(offset, buffer)?;
        if got == buffer.len() {
            return Ok(());
        }
        Err(crate::error::Damage {
            file: self.path().to_path_buf(),
            offset: offset + got as u64,
            what: "file",
            expected: format!("{} more bytes", buffer.len() - got),
            found: "end of file".into(),
        }
        .into())
    }
}

fn read_only(path: &Path, op: &'static str) -> StorageError {
    StorageError::io(op, path, std::io::ErrorKind::ReadOnlyFilesystem.into())
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name; an entry whose name is not UTF-8 has its lossy form.
    pub name: String,
    /// Is it a folder?
    pub is_dir: bool,
}

/// A lock that is held until this is dropped.
pub struct Lock {
    pub(crate) release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

/// Why a lock can't be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LockError {
    /// Another process, or another handle of this one, has it.
    #[error("{} is held by process {}", path.display(), pid.map_or("unknown".to_string(), |p| p.to_string()))]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Who, where the file says so.
        pid: Option<u32>,
    },
    /// The operating system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
