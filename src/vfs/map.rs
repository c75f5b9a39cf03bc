//! A file as memory, for readers of files that nobody truncates: the verifier, `query --file`, the mapped mode.

use super::VfsFile;
use crate::error::StorageError;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A whole file mapped into memory, read-only.
#[derive(Debug)]
pub struct MappedFile {
    map: Option<memmap2::Mmap>,
    path: PathBuf,
}

impl MappedFile {
    /// Maps a file as long as it is now.
    ///
    /// A file that is truncated while it is mapped ends the process with SIGBUS when a lost page is read, and so
    /// does an error of the disk: so this is for tools that end with an error anyhow, and by choice elsewhere.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let fail = |e| StorageError::io("map", path, e);
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        // An empty map is an error on Linux.
        let map = if len == 0 {
            None
        } else {
            // SAFETY: the map is read-only, and the type hands out plain bytes that are checked (checksums, UTF-8)
            // before they are trusted. Another process that changes the file meanwhile can change bytes between two
            // reads; every decoder of `format` copies or bounds-checks each access, so that this can lead to wrong
            // bytes, which are reported as damage, but not to an access outside of the map.
            #[allow(unsafe_code)]
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
            Some(map)
        };
        Ok(MappedFile { map, path: path.to_path_buf() })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl VfsFile for MappedFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.bytes().len() as u64)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes().len());
        let some = &self.bytes()[from..];
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        Ok(n)
    }
    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
