//! Offline verification: reads files and says what is wrong with them, and writes nothing.
//!
//! Promises: every byte of a store but its derived catalog is covered by a check; damage is a finding with file and
//! offset, never a panic; works beside a running server. It does not share the engine's way of reading: it walks the
//! files from the format alone. What is encrypted it decrypts with `crypt`, which the engine has as well: a cipher that is
//! wrong decrypts nothing. May not know: everything but format, vfs, id, record, crypt.

mod chain;
mod checkpoint;
mod deep;
mod fetch;
mod keys;
mod log;
mod quarantine;
mod receipts;
mod report;
mod segment;
mod tenant;

pub use checkpoint::{Against, CheckpointReport, Gone, TenantContinued, take_checkpoint};
pub use fetch::{Fetch, Fetched};
pub use report::{Finding, FindingKind, Report};

use crate::crypt::MasterKey;
use crate::error::StorageError;
use crate::format::control::EventKind;
use crate::id::{Place, TenantId};
use crate::vfs::{RealVfs, Vfs};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Verifies stores, tenants' folders or single segments. With `deep` records are decoded, and zone maps, filters and
/// leaves compared with them.
///
/// What is encrypted is checked as it is stored.
pub fn verify<P: AsRef<Path>>(paths: &[P], deep: bool) -> Report {
    verify_as(paths, &VerifyOptions { deep, ..VerifyOptions::default() })
}

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Decode records, and compare zone maps, filters and leaves with them.
    pub deep: bool,
    /// The folders of archives. What is in another archive, and can't be fetched, is told as not checked.
    pub archives: BTreeMap<Place, PathBuf>,
    /// Brings segments of archives that are no folders.
    pub fetch: Option<Fetch>,
    /// Decrypt what is encrypted, and check it as everything else is.
    pub master_key: Option<MasterKey>,
    /// Compare stores and tenants' folders with a checkpoint: does today's chain go on from the one then, and is what
    /// was known then there, or named as expired or deleted? Records that were sealed then are compared through their
    /// leaves, which `deep` makes again; those that were in the log always are.
    pub against: Option<Against>,
}

/// Verifies as [`verify`] does, and segments in archives whose folders are given here too. What is in another archive is
/// told as not checked.
pub fn verify_with<P: AsRef<Path>>(paths: &[P], deep: bool, archives: &BTreeMap<Place, PathBuf>) -> Report {
    verify_as(paths, &VerifyOptions { deep, archives: archives.clone(), ..VerifyOptions::default() })
}

/// Verifies as [`verify`] does, and compares with a checkpoint: see [`VerifyOptions::against`].
pub fn verify_against<P: AsRef<Path>>(paths: &[P], deep: bool, against: Option<&Against>) -> Report {
    verify_as(paths, &VerifyOptions { deep, against: against.cloned(), ..VerifyOptions::default() })
}

/// Verifies as the options say.
pub fn verify_as<P: AsRef<Path>>(paths: &[P], options: &VerifyOptions) -> Report {
    let VerifyOptions { deep, archives, fetch, master_key, against } = options.clone();
    let mut report = Report { deep, archives, fetch, unlock: keys::Unlock::with(master_key), ..Report::default() };
    for path in paths {
        let path = path.as_ref();
        if let Err(e) = verify_path(&RealVfs, path, &mut report) {
            report.add(Finding::error(path, &e));
        }
        if let Some(against) = &against
            && path.extension().is_none_or(|e| e != "seg")
        {
            let lock = if path.join("tenants").is_dir() { path.join("LOCK") } else { path.join("../../LOCK") };
            checkpoint::check(&RealVfs, path, in_use(&RealVfs, &lock), against, &mut report);
        }
    }
    report.findings.dedup();
    report.ok = report.findings.is_empty();
    report
}

fn verify_path(vfs: &dyn Vfs, path: &Path, report: &mut Report) -> Result<(), StorageError> {
    if path.extension().is_some_and(|e| e == "seg") {
        if let Some(dir) = path.parent().and_then(Path::parent) {
            keys::verify_keys(vfs, dir, None, report);
        }
        if let Some(found) = segment::verify_file(path, None, None, report)
            && report.deep
        {
            deep::verify_segment(&found, None, report);
        }
    } else if vfs.exists(&path.join("tenants"))? {
        verify_store(vfs, path, report)?;
    } else if vfs.exists(&path.join("manifest"))? {
        tenant::verify_tenant(vfs, path, in_use(vfs, &path.join("../../LOCK")), report)?;
    } else {
        let found = if vfs.exists(path)? { "something else" } else { "nothing" };
        report.add(Finding::new(FindingKind::Missing, path, 0, "a store, a tenant's folder or a segment", found));
    }
    Ok(())
}

fn verify_store(vfs: &dyn Vfs, dir: &Path, report: &mut Report) -> Result<(), StorageError> {
    let live = in_use(vfs, &dir.join("LOCK"));
    if live {
        report.skipped.push(format!("{}: a writer is at it, so that orphans are not looked for", dir.display()));
    }
    let mut known = BTreeSet::new();
    for entry in vfs.list(dir)? {
        let path = dir.join(&entry.name);
        match (entry.name.as_str(), entry.is_dir) {
            ("tenants", true) => {}
            ("quarantine", true) => quarantine::verify_quarantine(vfs, &path, report)?,
            ("catalog", true) => report.skipped.push(format!("{}: derived from control.log", path.display())),
            (name, true) if name.starts_with("restoring-") => {
                report.skipped.push(format!("{}: a tenant that is being restored", path.display()));
            }
            ("LOCK", false) => verify_lock(vfs, &path, report),
            ("duramen.toml", false) => report.skipped.push(format!("{}: written by people", path.display())),
            ("control.log", false) => known = verify_control(vfs, &path, report),
            _ => report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a file of a store", &entry.name)),
        }
    }
    let tenants = dir.join("tenants");
    // What is being deleted comes first in the list: no tenant's name begins with a dot.
    let mut deleting = BTreeSet::new();
    for entry in vfs.list(&tenants)? {
        let path = tenants.join(&entry.name);
        if let Some(name) = entry.name.strip_prefix(".deleting-").filter(|_| !entry.is_dir) {
            if !live {
                let found = format!("a deletion of {name} that was not finished");
                report.add(Finding::new(FindingKind::Unexpected, &path, 0, "nothing that is half done", found));
            }
            deleting.insert(name.to_string());
            continue;
        }
        if deleting.contains(&entry.name) {
            continue;
        }
        if !entry.is_dir || TenantId::new(&entry.name).is_err() {
            report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a tenant's folder", &entry.name));
        } else if let Err(e) = tenant::verify_tenant(vfs, &path, live, report) {
            // One tenant's trouble does not hide another's.
            report.add(Finding::error(&path, &e));
        }
    }
    for tenant in known {
        let path = tenants.join(tenant.as_str());
        if !vfs.exists(&path)? && !live && !deleting.contains(tenant.as_str()) {
            let expected = "the folder of a tenant that control.log has";
            report.add(Finding::new(FindingKind::Missing, &path, 0, expected, "nothing"));
        }
    }
    Ok(())
}

/// Does a writer hold the store? Its lock's file also names one after a crash, which does not count.
fn in_use(vfs: &dyn Vfs, lock: &Path) -> bool {
    vfs.is_locked(lock).unwrap_or(true)
}

/// A lock's file is empty, or names a process with a checksum.
fn verify_lock(vfs: &dyn Vfs, path: &Path, report: &mut Report) {
    let bytes = match vfs.read(path) {
        Ok(bytes) => bytes,
        Err(e) => return report.add(Finding::error(path, &e)),
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    let pid = std::str::from_utf8(&bytes).ok().and_then(|t| t.split(' ').nth(1)).and_then(|p| p.parse().ok());
    let whole = pid.map(crate::vfs::lock_text);
    if !bytes.is_empty() && whole.as_ref().is_none_or(|text| text.as_bytes() != bytes) {
        let expected = whole.unwrap_or_else(|| "nothing, or a process and a checksum".into());
        let found = String::from_utf8_lossy(&bytes).into_owned();
        report.add(Finding::new(FindingKind::Corruption, path, 0, format!("{expected:?}"), format!("{found:?}")));
    }
}

/// The control plane's log: checksums and chain of every frame. Gives the tenants that it has.
fn verify_control(vfs: &dyn Vfs, path: &Path, report: &mut Report) -> BTreeSet<TenantId> {
    let mut known = BTreeSet::new();
    let bytes = match vfs.read(path) {
        Ok(bytes) => bytes,
        Err(e) => {
            report.add(Finding::error(path, &e));
            return known;
        }
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    match crate::format::control::decode(&bytes) {
        Ok(contents) => {
            if let Some(torn) = contents.torn {
                let found = format!("{} bytes: {}", torn.bytes, torn.found);
                report.add(Finding::new(FindingKind::TornTail, path, torn.offset, "a whole frame or the end", found));
            }
            for event in contents.events {
                match event.kind {
                    EventKind::TenantCreated { tenant } => drop(known.insert(tenant)),
                    EventKind::TenantDeleted { tenant } => drop(known.remove(&tenant)),
                    _ => {}
                }
            }
        }
        Err(e) => report.add(Finding::damage(FindingKind::Corruption, e.in_file(path))),
    }
    known
}
