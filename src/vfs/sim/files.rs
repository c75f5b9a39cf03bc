//! The simulated file system as a [`Vfs`].

use super::content::Change;
use super::tree::Node;
use super::{SimOp, SimVfs};
use crate::error::StorageError;
use crate::vfs::whole::{read_whole, write_whole};
use crate::vfs::{DirEntry, Lock, LockError, Vfs, VfsFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl SimVfs {
    fn open_file(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        let mut state = self.state();
        let found = state
            .up()
            .and_then(|()| state.faults.take_path(SimOp::Open, path))
            .and_then(|()| state.live.file(path))
            .map_err(|e| StorageError::io("open", path, e))?;
        Ok(self.opened(found, path))
    }

    fn opened(&self, number: u64, path: &Path) -> Arc<dyn VfsFile> {
        Arc::new(SimFile { vfs: self.clone(), number, path: path.to_path_buf() })
    }
}

impl Vfs for SimVfs {
    fn space(&self, _path: &Path) -> Option<(u64, u64)> {
        let state = self.state();
        state.space_bytes.map(|total| (total, total.saturating_sub(state.used_bytes())))
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.open_file(path)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        let file = self.open_file(path)?;
        match self.state().faults.read_only {
            true => Err(StorageError::io("open for writing", path, io::ErrorKind::ReadOnlyFilesystem.into())),
            false => Ok(file),
        }
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        let number = self.state().create(path).map_err(|e| StorageError::io("create", path, e))?;
        Ok(self.opened(number, path))
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.state().create_folders(path).map_err(|e| StorageError::io("create folder", path, e))
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, StorageError> {
        let mut state = self.state();
        let found = state
            .up()
            .and_then(|()| state.faults.take_path(SimOp::List, path))
            .and_then(|()| state.live.folder(path))
            .map_err(|e| StorageError::io("list folder", path, e))?;
        let entry =
            |(name, node): (&String, Node)| DirEntry { name: name.clone(), is_dir: matches!(node, Node::Folder(_)) };
        Ok(state.live.entries(found).map(entry).collect())
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.state().rename(from, to).map_err(|e| StorageError::io("rename", from, e))
    }
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.state().remove(path).map_err(|e| StorageError::io("remove", path, e))
    }
    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.state().remove_all(path).map_err(|e| StorageError::io("remove folder", path, e))
    }
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.state().sync_folder(path).map_err(|e| StorageError::io("sync folder", path, e))
    }
    fn lock(&self, path: &Path) -> Result<Lock, LockError> {
        let mut state = self.state();
        let may = state.up().and_then(|()| state.faults.take_path(SimOp::Create, path));
        may.map_err(|e| LockError::Storage(StorageError::io("lock", path, e)))?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(LockError::Held { path: path.to_path_buf(), pid: None });
        }
        drop(state);
        let (vfs, path) = (self.clone(), path.to_path_buf());
        Ok(Lock { release: Some(Box::new(move || vfs.state().locks.retain(|held| *held != path))) })
    }
    fn exists(&self, path: &Path) -> Result<bool, StorageError> {
        let state = self.state();
        let may = state.up().and_then(|()| state.faults.may_look(path));
        may.map_err(|e| StorageError::io("look for", path, e))?;
        Ok(state.live.find(path).is_some())
    }
    fn salt(&self) -> u64 {
        self.state().random.next_u64()
    }
}

#[derive(Debug)]
struct SimFile {
    vfs: SimVfs,
    number: u64,
    path: PathBuf,
}

impl SimFile {
    fn change(&self, op: &'static str, change: Change) -> Result<(), StorageError> {
        let done = self.vfs.state().change(self.number, &self.path, change);
        done.map(drop).map_err(|e| StorageError::io(op, &self.path, e))
    }
}

impl VfsFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn len(&self) -> Result<u64, StorageError> {
        let state = self.vfs.state();
        state.up().map_err(|e| StorageError::io("read length", &self.path, e))?;
        Ok(state.files.get(&self.number).map_or(0, |inode| inode.live.len() as u64))
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut state = self.vfs.state();
        let some = |buffer: &mut [u8], at: u64| {
            state.read(self.number, &self.path, usize::try_from(at).unwrap_or(usize::MAX), buffer)
        };
        read_whole(some, buffer, offset).map_err(|e| StorageError::io("read", &self.path, e))
    }
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut state = self.vfs.state();
        let some = |bytes: &[u8], at: u64| {
            if state.short && state.random.below(8) == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
            state.change(self.number, &self.path, Change::Write(at, bytes.into()))
        };
        write_whole(some, bytes, offset).map_err(|e| StorageError::io("write", &self.path, e))
    }
    fn allocate(&self, len: u64) -> Result<(), StorageError> {
        match self.len()? < len {
            true => self.change("allocate", Change::Grow(usize::try_from(len).unwrap_or(usize::MAX))),
            false => Ok(()),
        }
    }
    fn set_len(&self, len: u64) -> Result<(), StorageError> {
        self.change("set length", Change::SetLen(usize::try_from(len).unwrap_or(usize::MAX)))
    }
    fn sync(&self) -> Result<(), StorageError> {
        let takes = self.vfs.state().sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        self.vfs.state().sync(self.number, &self.path).map_err(|e| StorageError::io("sync", &self.path, e))
    }
}
