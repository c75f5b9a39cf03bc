//! A file in memory, for reading: what was decrypted or fetched as a whole.

use super::VfsFile;
use crate::error::StorageError;
use std::path::{Path, PathBuf};

/// A file that is in memory. It refuses to be written.
#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl MemoryFile {
    /// These bytes, which come from the file at this path.
    pub fn new(path: &Path, bytes: Vec<u8>) -> Self {
        MemoryFile { path: path.to_path_buf(), bytes }
    }
}

impl VfsFile for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.bytes.len() as u64)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let some = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        Ok(n)
    }
    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
