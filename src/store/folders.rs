//! Which tenants have a folder in a store, found out without its lock and without opening any.

use super::delete::{mark, marked};
use crate::error::StorageError;
use crate::id::TenantId;
use crate::vfs::Vfs;
use std::path::Path;

/// The tenants of the store in a folder, by name, without those that are being deleted. A tenant whose folder can't be
/// looked into is one that can't be opened now, and one that lost its manifest and has files is one that needs repair:
/// neither is gone.
pub(crate) fn tenants(vfs: &dyn Vfs, data: &Path) -> Result<Vec<TenantId>, StorageError> {
    let folder = data.join("tenants");
    let entries = vfs.list(&folder)?;
    let deleting: Vec<TenantId> = entries.iter().filter_map(|e| marked(&e.name)).collect();
    let mut ids = Vec::new();
    for entry in entries.iter().filter(|e| e.is_dir) {
        let Ok(id) = TenantId::new(&entry.name) else { continue };
        if !deleting.contains(&id) && crate::tenant::exists(vfs, &folder.join(id.as_str())).unwrap_or(true) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Is this tenant one of them?
pub(crate) fn has_tenant(vfs: &dyn Vfs, data: &Path, id: &TenantId) -> Result<bool, StorageError> {
    let folder = data.join("tenants");
    Ok(!vfs.exists(&mark(&folder, id))? && crate::tenant::exists(vfs, &folder.join(id.as_str())).unwrap_or(true))
}
