//! Files of segments that are needed no more, and whose removal failed; and those of which nobody knows whether they are.
//!
//! Promises: a file that was to go is removed, or it is known that it was not, until it is or the tenant is closed; the
//! next open removes what no version names. May not know: what the files hold.

use crate::error::StorageError;
use crate::vfs::Vfs;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What could not be removed. No number of a segment is given twice, so that no path here comes to name another file.
#[derive(Debug, Default)]
pub struct Leftover {
    paths: Mutex<BTreeSet<PathBuf>>,
    /// What an entry names that is in the manifest or not: a crash may bring it to light until the next entry is there.
    undecided: Mutex<BTreeSet<PathBuf>>,
}

impl Leftover {
    fn paths(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn undecided(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.undecided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps files, since nobody knows whether an entry names them.
    pub fn keep_undecided(&self, files: impl IntoIterator<Item = PathBuf>) {
        self.undecided().extend(files);
    }

    /// Are there such files?
    pub fn is_undecided(&self) -> bool {
        !self.undecided().is_empty()
    }

    /// The manifest is certain again, and none of the entries in doubt is in it: their files go.
    pub fn decide(&self, vfs: &dyn Vfs) {
        let files = std::mem::take(&mut *self.undecided());
        // What fails is known as left over.
        files.iter().for_each(|path| drop(self.remove(vfs, path)));
    }

    /// Removes a file, unless it is gone already. Where that fails, [`Leftover::retry`] tries it again.
    pub fn remove(&self, vfs: &dyn Vfs, path: &Path) -> Result<(), StorageError> {
        match vfs.remove(path) {
            Err(error) if !error.is_not_found() => {
                self.paths().insert(path.to_path_buf());
                Err(error)
            }
            _ => {
                self.paths().remove(path);
                Ok(())
            }
        }
    }

    /// Tries again what failed; an error where something of it stays.
    pub fn retry(&self, vfs: &dyn Vfs) -> Result<(), StorageError> {
        let paths = self.paths().clone();
        paths.iter().map(|path| self.remove(vfs, path)).fold(Ok(()), Result::and)
    }
}
