//! A folder as an archive, with a folder in it for each tenant.

use super::{Archive, ArchivedName, COPY_BYTES};
use crate::error::StorageError;
use crate::id::TenantId;
use crate::vfs::{Vfs, VfsFile, above, make_folder};
use std::path::PathBuf;
use std::sync::Arc;

/// A folder that holds segments.
#[derive(Clone, Debug)]
pub struct FolderArchive {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
}

impl FolderArchive {
    /// A folder; it is made by the first file.
    pub fn new(vfs: Arc<dyn Vfs>, root: PathBuf) -> Self {
        FolderArchive { vfs, root }
    }
}

impl Archive for FolderArchive {
    fn folder(&self, tenant: &TenantId) -> PathBuf {
        self.root.join(tenant.as_str())
    }

    fn local_path(&self, tenant: &TenantId, name: &ArchivedName) -> Option<PathBuf> {
        self.vfs.is_system().then(|| self.path(tenant, name))
    }

    fn open(&self, tenant: &TenantId, name: &ArchivedName) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.vfs.open(&self.path(tenant, name))
    }

    fn prepare(&self, tenant: &TenantId) -> Result<(), StorageError> {
        make_folder(&*self.vfs, &self.folder(tenant))
    }

    fn put(&self, tenant: &TenantId, name: &ArchivedName, from: &dyn VfsFile) -> Result<(), StorageError> {
        let (folder, path) = (self.folder(tenant), self.path(tenant, name));
        make_folder(&*self.vfs, &folder)?;
        if self.vfs.exists(&path)? {
            // Of a move that did not come to its end. The name has the root in it, so that it is the same segment.
            self.vfs.remove(&path)?;
        }
        let target = self.vfs.create(&path)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        loop {
            let n = from.read_at(at, &mut buffer)?;
            if n == 0 {
                break;
            }
            target.write_all_at(at, &buffer[..n])?;
            at += n as u64;
        }
        target.sync()?;
        self.vfs.sync_dir(&folder)?;
        // Also where they were there: whoever made them may have ended before they were durable. The folder that the
        // archive is in need not be ours to open.
        self.vfs.sync_dir(&self.root)?;
        let _ = self.vfs.sync_dir(&above(&self.root));
        Ok(())
    }

    fn list(&self, tenant: &TenantId) -> Result<Vec<ArchivedName>, StorageError> {
        self.answers(tenant)?;
        let entries = self.vfs.list(&self.folder(tenant))?;
        Ok(entries.iter().filter_map(|entry| ArchivedName::parse(&entry.name)).collect())
    }

    fn answers(&self, tenant: &TenantId) -> Result<(), StorageError> {
        let folder = self.folder(tenant);
        if self.vfs.exists(&folder)? {
            return Ok(());
        }
        // A disk that is not mounted looks so.
        let error = std::io::Error::other("segments were put into this archive, and the folder is not there");
        Err(StorageError::io("look for", &folder, error))
    }

    fn remove(&self, tenant: &TenantId, name: &ArchivedName) -> Result<(), StorageError> {
        match self.vfs.remove(&self.path(tenant, name)) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
        // Also where it was gone: whoever removed it may not have made that durable.
        let folder = self.folder(tenant);
        if self.vfs.exists(&folder)? { self.vfs.sync_dir(&folder) } else { Ok(()) }
    }

    fn remove_empty(&self, tenant: &TenantId) -> Result<(), StorageError> {
        let folder = self.folder(tenant);
        if self.vfs.exists(&folder)? && self.vfs.list(&folder)?.is_empty() {
            self.vfs.remove_dir_all(&folder)?;
            self.vfs.sync_dir(&self.root)?;
        }
        Ok(())
    }
}
