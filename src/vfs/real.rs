//! The operating system's files.

use super::pool::{self, HeldFile, PooledFile};
use super::whole::{read_whole, write_whole};
use super::{DirEntry, Lock, LockError, Vfs, VfsFile};
use crate::error::StorageError;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How often a lock that is taken is tried again, and after how long each time.
const LOCK_AGAIN_MAX: u32 = 3;
const LOCK_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(5);

/// Files of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealVfs;

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

impl Vfs for RealVfs {
    fn is_system(&self) -> bool {
        true
    }
    fn space(&self, path: &Path) -> Option<(u64, u64)> {
        disk_space(path)
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        Ok(PooledFile::open(path, false).map_err(|e| StorageError::io("open", path, e))?)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        Ok(PooledFile::open(path, true).map_err(|e| StorageError::io("open for writing", path, e))?)
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        // It may get another name while it is open, so that it could not be opened again by this one.
        let mut options = OpenOptions::new();
        let file = pool::with_room(|| private(options.read(true).write(true).create_new(true)).open(path));
        Ok(PooledFile::pinned(file.map_err(|e| StorageError::io("create", path, e))?, path))
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt;
            builder.mode(0o700);
        }
        builder.create(path).map_err(|e| StorageError::io("create folder", path, e))
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, StorageError> {
        let fail = |e| StorageError::io("list folder", path, e);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let is_dir = entry.file_type().map_err(fail)?.is_dir();
            entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), is_dir });
        }
        entries.sort();
        Ok(entries)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        std::fs::rename(from, to).map_err(|e| StorageError::io("rename", from, e))
    }
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        std::fs::remove_file(path).map_err(|e| StorageError::io("remove", path, e))
    }
    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        std::fs::remove_dir_all(path).map_err(|e| StorageError::io("remove folder", path, e))
    }
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        // Windows can't open a folder as a file; its journal orders renames.
        if cfg!(windows) {
            return Ok(());
        }
        File::open(path).and_then(|d| d.sync_all()).map_err(|e| StorageError::io("sync folder", path, e))
    }
    fn lock(&self, path: &Path) -> Result<Lock, LockError> {
        let fail = |e| LockError::Storage(StorageError::io("lock", path, e));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = private(&mut options).open(path).map_err(fail)?;
        // A verifier that looks whether there is a writer holds it for an instant.
        let mut taken = file.try_lock();
        for _ in 0..LOCK_AGAIN_MAX {
            if !matches!(taken, Err(std::fs::TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOCK_AGAIN_AFTER);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let pid = text.split_ascii_whitespace().nth(1).and_then(|w| w.parse().ok());
                return Err(LockError::Held { path: path.to_path_buf(), pid });
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(fail(e)),
        }
        let text = lock_text(std::process::id());
        file.set_len(0).map_err(fail)?;
        io::Write::write_all(&mut &file, text.as_bytes()).map_err(fail)?;
        // An empty file says that nobody holds it; a full one after a crash is overwritten by the next holder.
        let release = Box::new(move || drop(file.set_len(0)));
        Ok(Lock { release: Some(release) })
    }
    fn is_locked(&self, path: &Path) -> Result<bool, StorageError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(StorageError::io("open", path, e)),
        };
        match file.try_lock_shared() {
            // Let go with the handle.
            Ok(()) => Ok(false),
            Err(std::fs::TryLockError::WouldBlock) => Ok(true),
            // A file system without locks: the writer empties the file when it is done.
            Err(std::fs::TryLockError::Error(_)) => Ok(!self.read(path)?.is_empty()),
        }
    }
    fn exists(&self, path: &Path) -> Result<bool, StorageError> {
        path.try_exists().map_err(|e| StorageError::io("look for", path, e))
    }
}

/// Bytes of the file system that a path is on: all, and those that can still be used.
pub fn disk_space(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// What a lock's file says while it is held: a line with the process and a checksum of the words before.
pub(crate) fn lock_text(pid: u32) -> String {
    let words = format!("pid {pid}");
    format!("{words} crc32 {:08x}\n", crc32fast::hash(words.as_bytes()))
}

impl VfsFile for PooledFile {
    fn path(&self) -> &Path {
        PooledFile::path(self)
    }
    fn len(&self) -> Result<u64, StorageError> {
        self.fail("read length", self.reading().and_then(|file| Ok(file.metadata()?.len())))
    }
    fn hold(&self) -> Result<Option<HeldFile>, StorageError> {
        self.fail("open again", PooledFile::hold(self))
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let file = self.fail("open again", self.reading())?;
        let some = |buffer: &mut [u8], at| read_some(&file, buffer, at);
        self.fail("read", read_whole(some, buffer, offset))
    }
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let file = self.fail("open again", self.writing())?;
        let some = |bytes: &[u8], at| write_some(&file, bytes, at);
        self.fail("write", write_whole(some, bytes, offset))
    }
    fn allocate(&self, len: u64) -> Result<(), StorageError> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let file = self.fail("open again", self.writing())?;
            match fallocate(&*file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(e) => return self.fail("allocate", Err(e.into())),
            }
        }
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }
    fn set_len(&self, len: u64) -> Result<(), StorageError> {
        self.fail("set length", self.writing().and_then(|file| file.set_len(len)))
    }
    fn sync(&self) -> Result<(), StorageError> {
        self.fail("sync", PooledFile::sync(self))
    }
}

#[cfg(unix)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}
#[cfg(unix)]
fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}
#[cfg(windows)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
#[cfg(windows)]
fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// Can only the owner of a file read and write it? Always, where the system has no such rights.
pub fn is_private(path: &Path) -> Result<bool, StorageError> {
    let found = std::fs::metadata(path).map_err(|e| StorageError::io("look at", path, e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(found.mode() & 0o077 == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        Ok(true)
    }
}
