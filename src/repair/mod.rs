//! Repair: puts a damaged store in order, keeps what can be read, and lists what is lost.
//!
//! Promises: nothing that can be read is thrown away, and nothing is removed before a copy of it is in quarantine; every
//! record that is lost is in the report; after it the store opens and verifies. A crash at any moment leaves what a
//! second repair completes. May not know: queries, HTTP, who may do what.
//!
//! What a store does by itself is in `tenant`: it cuts torn ends off, leaves damaged segments out of answers, makes
//! indexes anew. Here is what takes a decision, and so a command.

mod control;
mod fresh;
mod history;
mod index;
mod log;
mod loss;
mod rebuild;
mod records;
mod report;
mod segment;
mod tenant;
mod write;

pub use report::{Action, Failure, Loss, RepairReport};

use crate::catalog::CONTROL_LOG;
use crate::crypt::KeyRing;
use crate::id::TenantId;
use crate::store::error::ErrorKind;
use crate::store::{Error, Options, Store};
use crate::vfs::{RealVfs, Vfs, VfsFile};
use std::path::Path;
use std::sync::Arc;

/// What is to be repaired.
#[derive(Clone, Debug, Default)]
pub struct RepairOptions {
    /// Only this tenant, and not what belongs to the whole store.
    pub tenant: Option<String>,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
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
    // Opens no tenant by itself, and holds the lock.
    let store = Store::open_on(vfs.clone(), data, Options { background_threads: 0, ..Options::default() }, true)?;
    let names = match &options.tenant {
        Some(name) => vec![name.clone()],
        None => {
            if let Err(error) = control::repair(&**vfs, data, &mut report) {
                report.failures.push(Failure { tenant: None, error: error.to_string() });
            }
            store.tenants()?
        }
    };
    for name in names {
        let id = TenantId::new(&name)?;
        let dir = data.join("tenants").join(id.as_str());
        if !crate::tenant::exists(&**vfs, &dir)? {
            return Err(ErrorKind::NoSuchTenant(name).into());
        }
        if is_encrypted(&**vfs, &dir)? {
            // Its files are not read here, and what can't be read would be taken for damaged.
            let error = "the tenant is encrypted, which repair can't read: nothing of it was changed".to_string();
            report.failures.push(Failure { tenant: Some(name), error });
            continue;
        }
        let mut tenant = tenant::Tenant { vfs, dir: &dir, id: &id, report: &mut report };
        if let Err(error) = tenant.run().and_then(|()| settle(vfs, &store, &dir, &id, &mut report)) {
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
    store.close()?;
    Ok(report)
}

/// Opens a tenant, which cuts off what a crash tore and removes what no entry names; says what that was.
fn settle(
    vfs: &Arc<dyn Vfs>,
    store: &Store,
    dir: &Path,
    id: &TenantId,
    report: &mut RepairReport,
) -> Result<(), Error> {
    let act = |report: &mut RepairReport, file: &Path, what: String, quarantined: Option<std::path::PathBuf>| {
        report.actions.push(Action { tenant: Some(id.to_string()), file: file.to_path_buf(), what, quarantined });
    };
    let (log, manifest) = if report.dry_run {
        let Ok((version, manifest)) = crate::manifest::open_read_only(&**vfs, &dir.join("manifest"), id) else {
            return Ok(());
        };
        let folder = dir.join("log");
        let log = match vfs.exists(&folder)? {
            true => {
                crate::log::read_only(&**vfs, &folder, (id, &KeyRing::default()), version.sealed_below, &mut |_| {})
                    .ok()
            }
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

/// Does a tenant have keys, or segments that are encrypted?
fn is_encrypted(vfs: &dyn Vfs, dir: &Path) -> Result<bool, Error> {
    if vfs.exists(&dir.join(crate::crypt::KEY_FILE))? {
        return Ok(true);
    }
    let segments = dir.join("segments");
    for entry in if vfs.exists(&segments)? { vfs.list(&segments)? } else { Vec::new() } {
        let is_segment = entry.name.ends_with(".seg") && !entry.is_dir;
        // Where the header is damaged it is not known, and the next one says.
        if is_segment && vfs.open(&segments.join(&entry.name)).is_ok_and(|f| is_sealed(&*f)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_sealed(file: &dyn VfsFile) -> bool {
    crate::crypt::generation(file).is_ok_and(|generation| generation.is_some())
}
