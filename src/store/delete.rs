//! Deletion: of the records that a query matches, and of a whole tenant.

use super::error::ErrorKind;
use super::{Error, Store, Tenant};
use crate::archive::Archives;
use crate::exec::{Limits, Plan};
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::tenant::archived::Archived;
use crate::tenant::{DeleteOptions, DeleteReport};
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};

/// The name of a file in `tenants/` that says that a tenant is being deleted. No tenant has a name that begins so.
const MARK: &str = ".deleting-";

/// The file that says that a tenant is being deleted.
pub(super) fn mark(folder: &Path, id: &TenantId) -> PathBuf {
    folder.join(format!("{MARK}{id}"))
}

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
        let (plan, text) = delete_plan(query, options.at)?;
        self.core.delete(&plan, text, options)
    }

    /// Could this query be deleted by? Looks for nothing.
    pub fn check_delete(&self, query: &str) -> Result<(), Error> {
        delete_plan(query, None).map(drop)
    }

    /// Is what a deletion let go gone from the disk by now? Where it was not when [`Self::delete`] returned, since readers
    /// held files, this says so once they have let them go, and the report with it.
    pub fn is_deleted(&self, report: &mut DeleteReport) -> Result<bool, Error> {
        Ok(self.core.is_deleted(report)?)
    }
}

fn delete_plan(query: &str, at: Option<Timestamp>) -> Result<(Plan, String), Error> {
    let query = crate::query::parse(query)?;
    if let Some(pipe) = query.pipes.first() {
        return Err(ErrorKind::NotInDelete(pipe.to_string()).into());
    }
    Ok((Plan::new(&query, at.unwrap_or_else(Timestamp::now), None, Limits::default())?, query.to_string()))
}

impl Store {
    /// Removes a tenant with all its records, its settings and tokens, and what of it was set aside; when this returns
    /// they are gone from the disk, and its segments from the archives. Queries that run on it may end with an error.
    /// Backups are out of reach.
    ///
    /// Where a segment is in an archive that is not known or does not answer, nothing is deleted: that is an error. A
    /// crash in the middle leaves the tenant as it was, or is finished when the store is next opened for writing with the
    /// same archives; until then nobody can open it.
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
        let deleted = self.0.tenants.alone(&id, |open| {
            if !self.0.vfs.exists(&dir)? {
                return Err(ErrorKind::NoSuchTenant(name.into()).into());
            }
            // Before there is no way back: of an archive that does not answer nothing can be removed.
            let archived = Archived::of(&*self.0.vfs, &dir, &id, &self.0.archives)?;
            let mark = mark(&folder, &id);
            if !self.0.vfs.exists(&mark)? {
                let file = self.0.vfs.create(&mark)?;
                file.sync()?;
            }
            // From here on there is no way back: whoever opens the store goes on.
            self.0.vfs.sync_dir(&folder)?;
            let core = open.take();
            // Held to the end: a segment that is on its way to an archive gets there first, and no other follows.
            let moves = core.as_ref().map(|core| {
                core.abandon();
                core.archiving_turn()
            });
            let moves = moves.transpose()?;
            let archived = match moves {
                Some(_) => Archived::of(&*self.0.vfs, &dir, &id, &self.0.archives)?,
                None => archived,
            };
            // Before all else: what is left of the files for a while, or for ever where this fails, nobody can read.
            crate::crypt::erase(&*self.0.vfs, &dir)?;
            if catalog.tenant(&id)?.is_some() {
                catalog.delete_tenant(&id)?;
            }
            // While the list is there, which says what is the tenant's.
            archived.remove(&id, &self.0.archives)?;
            remove_tenant(&*self.0.vfs, &folder, &id, &self.0.archives)
        });
        self.0.figures.folders_change();
        if deleted.is_ok() {
            // It is not there, so that it refuses nothing.
            self.0.figures.note(&id, &deleted);
        }
        deleted
    }

    /// The tenants whose deletion was cut short: the marks that say so.
    pub(crate) fn unfinished_deletions(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.0.path.join("tenants");
        let entries = self.0.vfs.list(&folder)?;
        Ok(entries.iter().filter_map(|entry| Some(mark(&folder, &marked(&entry.name)?))).collect())
    }

    /// Finishes deletions that a crash cut short. One whose archives do not answer, or that can't be put into the catalog
    /// since that is damaged, waits for the next open or for `repair`: the tenant stays marked, and nobody can open it.
    pub(crate) fn finish_deletions(&self) -> Result<(), Error> {
        let folder = self.0.path.join("tenants");
        let entries = self.0.vfs.list(&folder)?;
        let ids: Vec<TenantId> = entries.iter().filter_map(|entry| marked(&entry.name)).collect();
        if !ids.is_empty() {
            // Whoever made a mark may have been killed before it was durable. Without it, what is half gone is damage.
            self.0.vfs.sync_dir(&folder)?;
        }
        for id in ids {
            let dir = folder.join(id.as_str());
            if self.0.vfs.exists(&dir)? {
                crate::crypt::erase(&*self.0.vfs, &dir)?;
            }
            // Whoever wants something of the catalog is told what is wrong with it.
            let Ok(catalog) = self.catalog() else { continue };
            if catalog.tenant(&id)?.is_some() {
                catalog.delete_tenant(&id)?;
            }
            if self.0.vfs.exists(&dir)? {
                let archived = Archived::of(&*self.0.vfs, &dir, &id, &self.0.archives);
                if archived.and_then(|archived| archived.remove(&id, &self.0.archives)).is_err() {
                    continue;
                }
            }
            remove_tenant(&*self.0.vfs, &folder, &id, &self.0.archives)?;
        }
        Ok(())
    }
}

/// Removes a tenant's folder, its manifest first, so that what is half gone is no tenant; then the mark.
fn remove_tenant(vfs: &dyn Vfs, folder: &Path, id: &TenantId, archives: &Archives) -> Result<(), Error> {
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
    // Nothing of the tenant is in them any more: what is left is a name.
    archives.iter().for_each(|(_, archive)| drop(archive.remove_empty(id)));
    let mark = mark(folder, id);
    if vfs.exists(&mark)? {
        vfs.remove(&mark)?;
        vfs.sync_dir(folder)?;
    }
    Ok(())
}
