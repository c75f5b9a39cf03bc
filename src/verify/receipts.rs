//! A tenant's file of receipts, that of usage, and its list of files in archives: whole, and this tenant's.

use super::report::{Finding, FindingKind, Report};
use crate::format::archived::decode_archived;
use crate::format::header::UsageHeader;
use crate::format::receipt::decode_receipts;
use crate::format::sealed::FileKind;
use crate::format::version::Version;
use crate::id::TenantId;
use crate::vfs::Vfs;
use std::path::Path;

/// Verifies the file `receipts`. Beside a writer it is replaced as a whole, so that it is never half there.
pub(super) fn verify_receipts(vfs: &dyn Vfs, path: &Path, tenant: Option<&TenantId>, report: &mut Report) {
    let bytes = match vfs.read(path) {
        Ok(bytes) => bytes,
        Err(e) => return report.add(Finding::error(path, &e)),
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    let Some(bytes) = super::keys::take_out_of_box((FileKind::Receipts, 0), path, bytes, report) else { return };
    match decode_receipts(&bytes) {
        Ok((header, _)) => {
            if let Some(tenant) = tenant.filter(|tenant| header.tenant != **tenant) {
                report.add(Finding::new(FindingKind::Misplaced, path, 11, tenant, &header.tenant));
            }
        }
        Err(e) => report.add(Finding::damage(FindingKind::Corruption, e.in_file(path))),
    }
}

/// Verifies the list `archived`, which is replaced as a whole likewise. Beside a writer it may be newer than the version.
pub(super) fn verify_archived(vfs: &dyn Vfs, path: &Path, version: Option<&Version>, live: bool, report: &mut Report) {
    let bytes = match vfs.read(path) {
        Ok(bytes) => bytes,
        Err(e) => return report.add(Finding::error(path, &e)),
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    match decode_archived(&bytes) {
        Ok((header, files)) => {
            let Some(version) = version else { return };
            if header.tenant != version.tenant {
                report.add(Finding::new(FindingKind::Misplaced, path, 11, &version.tenant, &header.tenant));
            } else if let Some(file) = files.iter().find(|file| !live && file.id >= version.next_segment_id) {
                let (manifest, listed) =
                    (path.with_file_name("manifest"), format!("segment {}, by `archived`", file.id));
                report.add(Finding::new(FindingKind::RolledBack, &manifest, 0, listed, "no entry that made it"));
            }
        }
        Err(e) => report.add(Finding::damage(FindingKind::Corruption, e.in_file(path))),
    }
}

/// Verifies the file `usage`, which is replaced as a whole as well.
pub(super) fn verify_usage(vfs: &dyn Vfs, path: &Path, tenant: Option<&TenantId>, report: &mut Report) {
    let bytes = match vfs.read(path) {
        Ok(bytes) => bytes,
        Err(e) => return report.add(Finding::error(path, &e)),
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    match UsageHeader::decode(&bytes) {
        Ok(header) => {
            if let Some(tenant) = tenant.filter(|tenant| header.tenant != **tenant) {
                report.add(Finding::new(FindingKind::Misplaced, path, 11, tenant, &header.tenant));
            }
        }
        Err(e) => report.add(Finding::damage(FindingKind::Corruption, e.in_file(path))),
    }
}
