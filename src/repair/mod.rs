//! Repair: puts a damaged store in order, keeps what can be read, and lists what is lost.
//!
//! Promises: nothing that can be read is thrown away, and nothing is removed before a copy of it is in quarantine; every
//! record that is lost is in the report; after it the store opens and verifies. A crash at any moment leaves what a
//! second repair completes. May not know: queries, HTTP, who may do what.
//!
//! What a store does by itself is in `tenant`: it cuts torn ends off, leaves damaged segments out of answers, makes
//! indexes anew. Here is what takes a decision, and so a command.

mod archived;
mod beyond;
mod control;
mod fresh;
mod history;
mod index;
mod log;
mod loss;
mod parts;
mod rebuild;
mod receipts;
mod records;
mod report;
mod segment;
mod strange;
mod tenant;
mod write;

pub use report::{Action, Failure, Left, Loss, RepairReport};

use crate::archive::Archives;
use crate::catalog::CONTROL_LOG;
use crate::crypt::{KeyRing, MasterKey};
use crate::id::TenantId;
use crate::store::error::ErrorKind;
use crate::store::folders::has_tenant;
use crate::store::{Error, Options, Store};
use crate::vfs::{RealVfs, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is to be repaired.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Only this tenant, and not what belongs to the whole store.
    pub tenant: Option<String>,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
    /// What opens the keys of encrypted tenants. Without it they are not repaired; others are.
    pub master_key: Option<MasterKey>,
    /// The archives. What is damaged there is repaired likewise. Segments in one that is not given or does not answer stay as
    /// they are, and so do leaves that they have a part in. Where a manifest is damaged, a tenant whose list names files in
    /// such an archive is not repaired.
    pub archives: Archives,
}

/// Repairs a store. It must not be open anywhere for writing.
///
/// An error where there is no store, or another process has it. What goes wrong with one tenant is in the report, and
/// the others are repaired.
pub fn repair(data: &Path, options: &RepairOptions) -> Result<RepairReport, Error> {
    repair_on(&(Arc::new(RealVfs) as Arc<dyn Vfs>), data, options)
}

/// Repairs a store on another file system; for tests that crash it.
#[doc(hidden)]
pub fn repair_on(vfs: &Arc<dyn Vfs>, data: &Path, options: &RepairOptions) -> Result<RepairReport, Error> {
    if !vfs.exists(&data.join("tenants"))? {
        return Err(ErrorKind::NoSuchStore(data.to_path_buf()).into());
    }
    let mut report = RepairReport { dry_run: options.dry_run, ..RepairReport::default() };
    let master_key = options.master_key.clone();
    let archives = options.archives.clone();
    let opened = Options { background_threads: 0, master_key, archives, ..Options::default() };
    // Opens no tenant by itself, and holds the lock.
    let store = Store::open_as_it_is(vfs.clone(), data, opened, true)?;
    let names = match &options.tenant {
        Some(name) => vec![name.clone()],
        None => {
            let mended = control::repair(&**vfs, data, &mut report).map_err(Error::from);
            // They may have waited for it.
            if let Err(error) = mended.and_then(|()| end_deletions(&store, &mut report)) {
                report.failures.push(Failure { tenant: None, error: error.to_string() });
            }
            store.tenants()?
        }
    };
    for name in names {
        let id = TenantId::new(&name)?;
        let dir = data.join("tenants").join(id.as_str());
        // Not one that is being deleted.
        if !has_tenant(&**vfs, data, &id)? {
            return Err(ErrorKind::NoSuchTenant(name).into());
        }
        if let Err(error) = crate::tenant::exists(&**vfs, &dir) {
            report.failures.push(Failure { tenant: Some(name), error: error.to_string() });
            continue;
        }
        // Without its keys what is encrypted would be taken for damaged.
        let keys = match KeyRing::open(vfs.clone(), &dir, &id, options.master_key.as_ref()) {
            Ok(keys) => keys,
            Err(error) => {
                let error = format!("{error}: nothing of the tenant was changed");
                report.failures.push(Failure { tenant: Some(name), error });
                continue;
            }
        };
        keys.begin_hashing();
        let (id, archives) = (&id, &options.archives);
        let mut tenant = tenant::Tenant { vfs, dir: &dir, id, keys: &keys, archives, report: &mut report };
        let done = tenant.run().and_then(|()| settle(vfs, &store, (&dir, id, &keys), &mut report));
        let looked = strange::look_at_tenant(&**vfs, &dir, id, &mut report).map_err(Error::from);
        if let Err(error) = done.and(looked) {
            report.failures.push(Failure { tenant: Some(name), error: error.to_string() });
        }
    }
    if options.tenant.is_none() && !options.dry_run && vfs.exists(&data.join(CONTROL_LOG))? {
        match store.catalog() {
            Ok(catalog) => {
                if let Some(why) = &catalog.report().rebuilt {
                    let (file, what) = (data.join("catalog"), format!("{why}: made anew from the control log"));
                    report.actions.push(Action { tenant: None, file, what, quarantined: None });
                }
            }
            Err(error) => report.failures.push(Failure { tenant: None, error: error.to_string() }),
        }
    }
    if options.tenant.is_none()
        && let Err(error) = strange::look(&**vfs, data, &mut report)
    {
        report.failures.push(Failure { tenant: None, error: error.to_string() });
    }
    store.close()?;
    Ok(report)
}

/// Finishes deletions of tenants that a crash cut short; a dry run says which these are.
fn end_deletions(store: &Store, report: &mut RepairReport) -> Result<(), Error> {
    let marks = store.unfinished_deletions()?;
    if !report.dry_run {
        store.finish_deletions()?;
    }
    for file in marks {
        // Where an archive that it needs does not answer, the next open tries again.
        if report.dry_run || !store.unfinished_deletions()?.contains(&file) {
            let what = "the tenant's deletion was cut short: what is left of it goes".into();
            report.actions.push(Action { tenant: None, file, what, quarantined: None });
        }
    }
    Ok(())
}

/// Opens a tenant, which cuts off what a crash tore and removes what no entry names; says what that was.
fn settle(
    vfs: &Arc<dyn Vfs>,
    store: &Store,
    (dir, id, keys): (&Path, &TenantId, &KeyRing),
    report: &mut RepairReport,
) -> Result<(), Error> {
    let act = |report: &mut RepairReport, file: &Path, what: String, quarantined: Option<PathBuf>| {
        report.actions.push(Action { tenant: Some(id.to_string()), file: file.to_path_buf(), what, quarantined });
    };
    let (log, manifest) = if report.dry_run {
        let Ok((version, manifest)) = crate::manifest::open_read_only(&**vfs, &dir.join("manifest"), id) else {
            return Ok(());
        };
        let folder = dir.join("log");
        let log = match vfs.exists(&folder)? {
            true => crate::log::read_only(&**vfs, &folder, (id, keys), version.sealed_below, &mut |_| {}).ok(),
            false => None,
        };
        (log, Some(manifest))
    } else {
        let tenant = store.existing_tenant(id.as_str())?;
        let opened = tenant.open_report().clone();
        for path in opened.orphans_removed {
            act(report, &path, "no entry names it, and its records are elsewhere: removed".into(), None);
        }
        for path in opened.orphans_quarantined {
            act(report, &path, "no entry names it: set aside".into(), Some(path.clone()));
        }
        (opened.log, opened.manifest)
    };
    for cut in log.into_iter().flat_map(|log| log.cuts) {
        let what = format!("{} bytes from byte {} on are cut off: {}", cut.bytes, cut.offset, cut.reason);
        act(report, &cut.file, what, cut.quarantined);
    }
    if let Some(manifest) = manifest
        && let Some(at) = manifest.cut_at
    {
        let what = format!("{} bytes from byte {at} on are cut off: {}", manifest.cut_bytes, manifest.reason);
        act(report, &dir.join("manifest"), what, manifest.quarantined);
    }
    Ok(())
}
