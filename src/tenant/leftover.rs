//! Files of segments that are needed no more, and whose removal failed.
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
pub struct Leftover(Mutex<BTreeSet<PathBuf>>);

impl Leftover {
    fn paths(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
