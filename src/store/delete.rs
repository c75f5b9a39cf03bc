//! Deletion: of the records that a query matches, and of a whole tenant.

use super::error::ErrorKind;
use super::{Error, Store, Tenant};
use crate::exec::{Limits, Plan};
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::tenant::{DeleteOptions, DeleteReport};
use crate::vfs::Vfs;
use std::path::Path;

/// The name of a file in `tenants/` that says that a tenant is being deleted. No tenant has a name that begins so.
const MARK: &str = ".deleting-";

/// The tenant that a file's name says is being deleted.
pub(super) fn marked(name: &str) -> Option<TenantId> {
    TenantId::new(name.strip_prefix(MARK)?).ok()
}

impl Tenant {
    /// Deletes the records that a query without pipes matches, those that were committed before this call.
    ///
    /// It seals, writes the segments that have matches anew without them, and waits until the old files are gone from
    /// the disk; queries that began before may go on for [`DeleteOptions::readers_wait`]. The manifest keeps the query's
    /// text, how many records went, and which leaves can't be made again. Log files and what was set aside go as well;
    /// backups and exports are out of reach.
    pub fn delete(&self, query: &str, options: &DeleteOptions) -> Result<DeleteReport, Error> {
        let query = crate::query::parse(query)?;
        if let Some(pipe) = query.pipes.first() {
            return Err(ErrorKind::NotInDelete(pipe.to_string()).into());
        }
        let plan = Plan::new(&query, Timestamp::now(), None, Limits::default())?;
        self.core.delete(&plan, query.to_string(), options)
    }
}

impl Store {
    /// Removes a tenant with all its records, its settings and tokens, and what of it was set aside; when this returns
    /// they are gone from the disk. Queries that run on it may end with an error. Backups are out of reach.
    ///
    /// A crash in the middle leaves the tenant as it was, or is finished when the store is next opened for writing.
    pub fn delete_tenant(&self, name: &str) -> Result<(), Error> {
        let id = TenantId::new(name)?;
        if self.0.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        // Before the lock of tenants, which opening the catalog does not need.
        let catalog = self.catalog()?;
        // Not waited for while nobody can open the tenant.
        if let Some(core) = self.0.tenants.find(&id) {
            core.end_merges();
        }
        let dir = self.0.tenant_dir(&id);
        let folder = self.0.path.join("tenants");
        self.0.tenants.alone(&id, |open| {
            if !self.0.vfs.exists(&dir)? {
                return Err(ErrorKind::NoSuchTenant(name.into()).into());
            }
            let mark = folder.join(format!("{MARK}{id}"));
            if !self.0.vfs.exists(&mark)? {
                let file = self.0.vfs.create(&mark)?;
                file.sync()?;
            }
            // From here on there is no way back: whoever opens the store goes on.
            self.0.vfs.sync_dir(&folder)?;
            if let Some(core) = open.take() {
                core.abandon();
            }
            // Before all else: what is left of the files for a while, or for ever where this fails, nobody can read.
            crate::crypt::erase(&*self.0.vfs, &dir)?;
            if catalog.tenant(&id)?.is_some() {
                catalog.delete_tenant(&id)?;
            }
            remove_tenant(&*self.0.vfs, &folder, &id)
        })
    }

    /// Finishes deletions that a crash cut short.
    pub(super) fn finish_deletions(&self) -> Result<(), Error> {
        let folder = self.0.path.join("tenants");
        for entry in self.0.vfs.list(&folder)? {
            let Some(id) = marked(&entry.name) else { continue };
            let dir = folder.join(id.as_str());
            if self.0.vfs.exists(&dir)? {
                crate::crypt::erase(&*self.0.vfs, &dir)?;
            }
            let catalog = self.catalog()?;
            if catalog.tenant(&id)?.is_some() {
                catalog.delete_tenant(&id)?;
            }
            remove_tenant(&*self.0.vfs, &folder, &id)?;
        }
        Ok(())
    }
}

/// Removes a tenant's folder, its manifest first, so that what is half gone is no tenant; then the mark.
fn remove_tenant(vfs: &dyn Vfs, folder: &Path, id: &TenantId) -> Result<(), Error> {
    let dir = folder.join(id.as_str());
    if vfs.exists(&dir)? {
        let manifest = dir.join("manifest");
        if vfs.exists(&manifest)? {
            vfs.remove(&manifest)?;
            vfs.sync_dir(&dir)?;
        }
        vfs.remove_dir_all(&dir)?;
        vfs.sync_dir(folder)?;
    }
    let mark = folder.join(format!("{MARK}{id}"));
    if vfs.exists(&mark)? {
        vfs.remove(&mark)?;
        vfs.sync_dir(folder)?;
    }
    Ok(())
}
