//! From what a user names to a target.

use super::{BackupError, FolderTarget, Target};
use crate::vfs::RealVfs;
use std::path::Path;
use std::sync::Arc;

/// Opens a target by its address: the path of a folder, or the URL of an object store (`s3://bucket/prefix`) where the
/// feature `object-store` is built. Nothing is asked of it yet.
pub fn open_target(address: &str) -> Result<Arc<dyn Target>, BackupError> {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None if address.is_empty() => Err(BackupError::Request("the address of the backups is empty".into())),
        None => {
            // The same folder, wherever a later `chdir` leads.
            let path = std::path::absolute(Path::new(address));
            let path = path.map_err(|e| BackupError::Request(format!("`{address}` is no path: {e}")))?;
            Ok(Arc::new(FolderTarget::new(Arc::new(RealVfs), path)))
        }
        Some(_) => remote(address),
    }
}

#[cfg(feature = "object-store")]
fn remote(address: &str) -> Result<Arc<dyn Target>, BackupError> {
    Ok(Arc::new(super::ObjectTarget::open(address)?))
}

#[cfg(not(feature = "object-store"))]
fn remote(address: &str) -> Result<Arc<dyn Target>, BackupError> {
    Err(BackupError::Request(format!("`{address}`: this program was built without object stores; name a folder")))
}
