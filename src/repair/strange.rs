//! What is in a store's folders and is none of its files, and tenants whose folder is gone: told, and left as it is.
//!
//! Promises: where `verify` finds something that a repair can do nothing about, the report has it. May not know: what is in
//! files.

use super::parts::is_part;
use super::report::{Left, RepairReport};
use crate::catalog::CONTROL_LOG;
use crate::error::StorageError;
use crate::format::control::{EventKind, salvage};
use crate::id::TenantId;
use crate::vfs::{DirEntry, Vfs};
use std::collections::BTreeSet;
use std::path::Path;

/// Looks at the folder of a store and at `tenants/` in it, when all else is done.
pub(super) fn look(vfs: &dyn Vfs, data: &Path, report: &mut RepairReport) -> Result<(), StorageError> {
    for entry in vfs.list(data)? {
        let is_known = match (entry.name.as_str(), entry.is_dir) {
            ("tenants" | "quarantine" | "catalog", is_dir) => is_dir,
            (name, true) => name.starts_with("restoring-"),
            (name, false) => ["LOCK", "duramen.toml", CONTROL_LOG].contains(&name),
        };
        if !is_known && !is_unfinished(&entry, report) {
            leave(report, None, &data.join(&entry.name), "it is no file of a store");
        }
    }
    let tenants = data.join("tenants");
    let entries = vfs.list(&tenants)?;
    let deleting: BTreeSet<&str> = entries.iter().filter_map(|e| e.name.strip_prefix(".deleting-")).collect();
    for entry in entries.iter().filter(|entry| !entry.name.starts_with(".deleting-")) {
        let path = tenants.join(&entry.name);
        let what = match TenantId::new(&entry.name) {
            _ if deleting.contains(&*entry.name) => continue,
            Ok(_) if entry.is_dir && crate::tenant::exists(vfs, &path).unwrap_or(true) => continue,
            Ok(_) if entry.is_dir => "it is a tenant's folder, and has neither a manifest nor segments or logs",
            _ => "it is no tenant's folder",
        };
        leave(report, None, &path, what);
    }
    let control = data.join(CONTROL_LOG);
    let mut known = BTreeSet::new();
    for (_, event) in if vfs.exists(&control)? { salvage(&vfs.read(&control)?).events } else { Vec::new() } {
        match event.kind {
            EventKind::TenantCreated { tenant } => drop(known.insert(tenant)),
            EventKind::TenantDeleted { tenant } => drop(known.remove(&tenant)),
            _ => {}
        }
    }
    for tenant in known.iter().filter(|tenant| !deleting.contains(tenant.as_str())) {
        let path = tenants.join(tenant.as_str());
        if !vfs.exists(&path)? {
            let what = "the folder of a tenant that control.log has is gone, and nothing of it is here: restore it from a \
                        backup, or delete the tenant";
            report.left.push(Left { tenant: Some(tenant.to_string()), file: path, what: what.into() });
        }
    }
    Ok(())
}

/// Looks at the folder of a tenant.
pub(super) fn look_at_tenant(
    vfs: &dyn Vfs,
    dir: &Path,
    id: &TenantId,
    report: &mut RepairReport,
) -> Result<(), StorageError> {
    for entry in vfs.list(dir)? {
        let is_known = match (entry.name.as_str(), entry.is_dir) {
            ("segments" | "log" | "quarantine", is_dir) => is_dir,
            (name, false) => ["manifest", "key", "receipts", "usage", "archived"].contains(&name) || is_part(name),
            _ => false,
        };
        if !is_known && !is_unfinished(&entry, report) {
            leave(report, Some(id), &dir.join(&entry.name), "it is no file of a tenant");
        }
    }
    for (folder, ends) in [("segments", &[".seg", ".idx"][..]), ("log", &[".log"])] {
        let folder = dir.join(folder);
        for entry in if vfs.exists(&folder)? { vfs.list(&folder)? } else { Vec::new() } {
            let is_number = |name: &str| u64::from_str_radix(name, 16).is_ok_and(|n| format!("{n:016x}") == name);
            let is_known = ends.iter().any(|end| entry.name.strip_suffix(end).is_some_and(is_number));
            if (!is_known || entry.is_dir) && !is_unfinished(&entry, report) {
                leave(report, Some(id), &folder.join(&entry.name), "it is neither a segment nor a log");
            }
        }
    }
    Ok(())
}

/// Is it what an open removes, which a dry run does not do?
fn is_unfinished(entry: &DirEntry, report: &RepairReport) -> bool {
    report.dry_run && !entry.is_dir && entry.name.ends_with(".tmp")
}

fn leave(report: &mut RepairReport, tenant: Option<&TenantId>, file: &Path, what: &str) {
    let what = format!("{what}: it was left as it is");
    report.left.push(Left { tenant: tenant.map(ToString::to_string), file: file.to_path_buf(), what });
}
