//! A folder as a target, over whatever file system: a mounted disk, another machine's share.

use super::BackupError;
use super::target::{CHUNK_BYTES, Chunks, Stored, Target, TargetLock};
use crate::error::{Damage, StorageError};
use crate::vfs::{LockError, Vfs, above, make_folder};
use std::path::PathBuf;
use std::sync::Arc;

/// Where objects are written before they have their names.
const UNFINISHED: &str = "unfinished";
/// What a process at the backups holds.
const LOCK: &str = "LOCK";

/// A folder that holds a backup set.
#[derive(Debug, Clone)]
pub struct FolderTarget {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
}

impl FolderTarget {
    /// A folder; it is made by the first object.
    pub fn new(vfs: Arc<dyn Vfs>, root: PathBuf) -> Self {
        FolderTarget { vfs, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes durable which folders and objects there are, whoever made them: a run that was killed may have given names
    /// and not synced them, and the next one counts on what it sees.
    fn settle(&self) -> Result<(), StorageError> {
        self.vfs.sync_dir(&above(&self.root))?;
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            self.vfs.sync_dir(&folder)?;
            folders.extend(self.vfs.list(&folder)?.into_iter().filter(|e| e.is_dir).map(|e| folder.join(e.name)));
        }
        Ok(())
    }

    fn list_below(&self, folder: &str, out: &mut Vec<Stored>) -> Result<(), StorageError> {
        for entry in self.vfs.list(&self.path(folder))? {
            let name = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
            match (entry.is_dir, name.as_str()) {
                (_, UNFINISHED | LOCK) => {}
                (true, _) => self.list_below(&name, out)?,
                (false, _) => match self.vfs.open(&self.path(&name)).and_then(|file| file.len()) {
                    Ok(bytes) => out.push(Stored { name, bytes }),
                    // Removed since.
                    Err(e) if e.is_not_found() => {}
                    Err(e) => return Err(e),
                },
            }
        }
        Ok(())
    }
}

impl Target for FolderTarget {
    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string().trim_end_matches('/').to_string()
    }

    fn put(&self, name: &str, bytes: u64, chunks: &mut Chunks<'_>) -> Result<(), BackupError> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.root).to_path_buf();
        make_folder(&*self.vfs, &folder)?;
        make_folder(&*self.vfs, &self.path(UNFINISHED))?;
        let beside = self.path(UNFINISHED).join(format!("{:016x}", self.vfs.salt()));
        let written = (|| {
            let file = self.vfs.create(&beside)?;
            let mut at = 0;
            for chunk in chunks {
                let chunk = chunk?;
                file.write_all_at(at, &chunk)?;
                at += chunk.len() as u64;
            }
            if at != bytes {
                let (expected, found) = (format!("{bytes} bytes"), format!("{at} bytes"));
                return Err(Damage { file: path.clone(), offset: at, what: "source", expected, found }.into());
            }
            file.sync()?;
            drop(file);
            self.vfs.rename(&beside, &path)?;
            self.vfs.sync_dir(&folder)?;
            Ok(())
        })();
        if written.is_err() {
            // Where this fails too, the next lock finds it.
            let _ = self.vfs.remove(&beside);
        }
        written
    }

    fn get(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>) -> Result<(), BackupError> {
        let path = self.path(name);
        let file = self.vfs.open(&path).map_err(|e| match e.is_not_found() {
            true => BackupError::Missing(self.place(name)),
            false => e.into(),
        })?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = 0;
        loop {
            let got = file.read_at(at, &mut buffer)?;
            if got > 0 {
                sink(&buffer[..got])?;
            }
            at += got as u64;
            if got < buffer.len() {
                return Ok(());
            }
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>, BackupError> {
        let folder = prefix.trim_end_matches('/');
        let mut out = Vec::new();
        if self.vfs.exists(&self.path(folder))? {
            self.list_below(folder, &mut out)?;
        }
        out.sort();
        Ok(out)
    }

    fn delete(&self, name: &str) -> Result<(), BackupError> {
        let path = self.path(name);
        match self.vfs.remove(&path) {
            Err(e) if e.is_not_found() => return Ok(()),
            other => other?,
        }
        Ok(self.vfs.sync_dir(path.parent().unwrap_or(&self.root))?)
    }

    fn lock(&self) -> Result<TargetLock, BackupError> {
        make_folder(&*self.vfs, &self.root)?;
        let lock = self.vfs.lock(&self.path(LOCK)).map_err(|e| match e {
            LockError::Held { pid, .. } => BackupError::Busy {
                place: self.place(""),
                holder: pid.map_or("a process that can't be named".into(), |pid| format!("process {pid}")),
            },
            LockError::Storage(e) => e.into(),
        })?;
        // What a run left that ended in the middle of an object.
        let unfinished = self.path(UNFINISHED);
        if self.vfs.exists(&unfinished)? {
            for entry in self.vfs.list(&unfinished)?.into_iter().filter(|e| !e.is_dir) {
                self.vfs.remove(&unfinished.join(entry.name))?;
            }
        }
        self.settle()?;
        Ok(Box::new(lock))
    }
}
