//! A tenant's folder: the manifest's chain, and the files that it names.

use super::report::{Finding, FindingKind, Report};
use super::{deep, log, segment};
use crate::error::StorageError;
use crate::format::edit::read_edits;
use crate::format::version::Version;
use crate::id::SegmentId;
use crate::vfs::Vfs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often a tenant is read again when a writer merged segments away under our eyes.
const READ_ATTEMPTS_MAX: u32 = 5;

/// Verifies a tenant's folder. `live`: a writer may be at it.
pub(super) fn verify_tenant(vfs: &dyn Vfs, dir: &Path, live: bool, report: &mut Report) -> Result<(), StorageError> {
    let mut attempt = 1;
    loop {
        let mut part = Report { deep: report.deep, ..Report::default() };
        let head = verify_once(vfs, dir, live, &mut part)?;
        let moved = live
            && !part.findings.is_empty()
            && read_version(vfs, dir, &mut Report::default())?.map(|v| v.head) != head;
        if moved && attempt < READ_ATTEMPTS_MAX {
            attempt += 1;
            continue;
        }
        report.tenants += 1;
        report.files += part.files;
        report.bytes += part.bytes;
        report.segments += part.segments;
        report.blocks += part.blocks;
        report.records += part.records;
        report.leaves += part.leaves;
        report.findings.extend(part.findings);
        report.skipped.extend(part.skipped);
        return Ok(());
    }
}

/// The version at the end of the manifest's chain; `None` where it can't be read at all.
fn read_version(vfs: &dyn Vfs, dir: &Path, report: &mut Report) -> Result<Option<Version>, StorageError> {
    let path = dir.join("manifest");
    let bytes = vfs.read(&path)?;
    report.files += 1;
    report.bytes += bytes.len() as u64;
    let (header, mut entries) = match read_edits(&bytes) {
        Ok(read) => read,
        Err(e) => {
            report.add(Finding::damage(FindingKind::Corruption, e.in_file(&path)));
            return Ok(None);
        }
    };
    let mut version: Option<Version> = None;
    while let Some(next) = entries.next() {
        let at = match next {
            Ok(at) => at,
            Err(e) => {
                let kind =
                    if entries.proof_of_loss().is_some() { FindingKind::Corruption } else { FindingKind::TornTail };
                report.add(Finding::damage(kind, e.in_file(&path)));
                break;
            }
        };
        let Some(entry) = at.entry else { continue };
        match Version::after(version.as_ref(), &entry, at.head) {
            Ok(after) => version = Some(after),
            Err(e) => {
                report.add(Finding::new(
                    FindingKind::Mismatch,
                    &path,
                    at.offset,
                    "an edit that fits the ones before",
                    e,
                ));
                break;
            }
        }
    }
    if let Some(v) = &version
        && v.tenant != header.tenant
    {
        report.add(Finding::new(FindingKind::Mismatch, &path, 0, &header.tenant, &v.tenant));
    }
    Ok(version)
}

fn is_earlier_manifest(name: &str) -> bool {
    name.strip_prefix("manifest.").is_some_and(|n| n.len() == 16 && u64::from_str_radix(n, 16).is_ok())
}

/// A manifest that was replaced: whole, of this tenant, and of the chain's past.
fn verify_earlier(vfs: &dyn Vfs, path: &Path, version: Option<&Version>, report: &mut Report) {
    let bytes = match vfs.read(path) {
        Ok(bytes) => bytes,
        Err(e) => return report.add(Finding::error(path, &e)),
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    let (header, entries) = match read_edits(&bytes) {
        Ok(read) => read,
        Err(e) => return report.add(Finding::damage(FindingKind::Corruption, e.in_file(path))),
    };
    for entry in entries {
        if let Err(e) = entry {
            return report.add(Finding::damage(FindingKind::Corruption, e.in_file(path)));
        }
    }
    if let Some(version) = version.filter(|v| v.tenant != header.tenant) {
        report.add(Finding::new(FindingKind::Misplaced, path, 0, &version.tenant, &header.tenant));
    }
}

/// Verifies once; gives the chain's head that was found.
fn verify_once(vfs: &dyn Vfs, dir: &Path, live: bool, report: &mut Report) -> Result<Option<[u8; 32]>, StorageError> {
    let name = dir.canonicalize().unwrap_or(dir.to_path_buf());
    let name = name.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let manifest = dir.join("manifest");
    if !vfs.exists(&manifest)? {
        report.add(Finding::new(FindingKind::Missing, &manifest, 0, "a manifest", "nothing"));
        return Ok(None);
    }
    let version = read_version(vfs, dir, report)?;
    if let Some(v) = version.as_ref().filter(|v| v.tenant.as_str() != name) {
        report.add(Finding::new(
            FindingKind::Misplaced,
            &manifest,
            0,
            format!("the manifest of {name}"),
            format!("that of {}", v.tenant),
        ));
    }
    for entry in vfs.list(dir)? {
        let path = dir.join(&entry.name);
        match (entry.name.as_str(), entry.is_dir) {
            ("manifest", false) | ("segments" | "log", true) => {}
            ("quarantine", true) => report.skipped.push(format!("{}: set aside", path.display())),
            ("manifest.tmp", false) if live => {}
            // What compacting replaced: the chain from its beginning.
            (name, false) if is_earlier_manifest(name) => verify_earlier(vfs, &path, version.as_ref(), report),
            _ => report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a file of a tenant", &entry.name)),
        }
    }
    let Some(version) = version else { return Ok(None) };
    verify_segments(vfs, dir, &version, live, report)?;
    let logs = dir.join("log");
    if vfs.exists(&logs)? {
        log::verify_logs(vfs, &logs, &version.tenant, version.sealed_below, live, report)?;
    }
    Ok(Some(version.head))
}

fn verify_segments(
    vfs: &dyn Vfs,
    dir: &Path,
    version: &Version,
    live: bool,
    report: &mut Report,
) -> Result<(), StorageError> {
    let segments = dir.join("segments");
    let mut files: BTreeMap<SegmentId, PathBuf> = BTreeMap::new();
    for entry in if vfs.exists(&segments)? { vfs.list(&segments)? } else { Vec::new() } {
        let path = segments.join(&entry.name);
        let id = entry.name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(SegmentId);
        match id.filter(|id| !entry.is_dir && format!("{id}.seg") == entry.name) {
            Some(id) => drop(files.insert(id, path)),
            None => report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a segment", &entry.name)),
        }
    }
    let mut leaves = report.deep.then(|| deep::Leaves::new(version));
    for (id, meta) in &version.segments {
        match files.remove(id) {
            Some(path) => {
                if let Some(found) = segment::verify_file(&path, Some((version, meta)), report)
                    && let Some(leaves) = &mut leaves
                {
                    deep::verify_segment(&found, Some(leaves), report);
                }
            }
            None => {
                let path = segments.join(format!("{id}.seg"));
                report.add(Finding::new(
                    FindingKind::Missing,
                    &path,
                    0,
                    "a segment that the manifest names",
                    "nothing",
                ));
            }
        }
    }
    if let Some(leaves) = leaves {
        leaves.finish(&dir.join("manifest"), report);
    }
    // A writer makes files before it names them, and names them away before they go.
    for path in files.into_values().filter(|_| !live) {
        report.add(Finding::new(
            FindingKind::Orphan,
            &path,
            0,
            "a segment that the manifest names",
            "one that it does not",
        ));
    }
    Ok(())
}
