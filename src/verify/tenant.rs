//! A tenant's folder: the manifest's chain, and the files that it names.

use super::chain::{Chain, part_number, read_manifest, verify_parts};
use super::fetch::Fetched;
use super::report::{Finding, FindingKind, Report};
use super::{deep, keys, log, quarantine, receipts, segment};
use crate::error::StorageError;
use crate::format::edit::SegmentMeta;
use crate::format::version::Version;
use crate::id::{Place, SegmentId};
use crate::vfs::Vfs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often a tenant is read again when a writer merged segments away under our eyes.
const READ_ATTEMPTS_MAX: u32 = 5;

/// Verifies a tenant's folder. `live`: a writer may be at it.
pub(super) fn verify_tenant(vfs: &dyn Vfs, dir: &Path, live: bool, report: &mut Report) -> Result<(), StorageError> {
    let mut attempt = 1;
    loop {
        let unlock = keys::Unlock::with(report.unlock.master.clone());
        let (archives, fetch) = (report.archives.clone(), report.fetch.clone());
        let mut part = Report { deep: report.deep, archives, fetch, unlock, ..Report::default() };
        let result = verify_once(vfs, dir, live, &mut part);
        let head = result.as_ref().ok().copied().flatten();
        let moved = live
            && (result.is_err() || !part.findings.is_empty())
            && read_manifest(vfs, dir, &mut Report::default())?.map(|chain| chain.version.head) != head;
        if moved && attempt < READ_ATTEMPTS_MAX {
            attempt += 1;
            continue;
        }
        result?;
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

/// Verifies once; gives the chain's head that was found.
fn verify_once(vfs: &dyn Vfs, dir: &Path, live: bool, report: &mut Report) -> Result<Option<[u8; 32]>, StorageError> {
    let name = dir.canonicalize().unwrap_or(dir.to_path_buf());
    let name = name.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let manifest = dir.join("manifest");
    if !vfs.exists(&manifest)? {
        report.add(Finding::new(FindingKind::Missing, &manifest, 0, "a manifest", "nothing"));
        return Ok(None);
    }
    let chain = read_manifest(vfs, dir, report)?;
    if let Some(tenant) = chain.as_ref().map(|c| &c.version.tenant).filter(|t| t.as_str() != name) {
        let (expected, found) = (format!("the manifest of {name}"), format!("that of {tenant}"));
        report.add(Finding::new(FindingKind::Misplaced, &manifest, 0, expected, found));
    }
    // First: the files that are encrypted are read with them.
    keys::verify_keys(vfs, dir, chain.as_ref().map(|c| &c.version.tenant), report);
    for entry in vfs.list(dir)? {
        let path = dir.join(&entry.name);
        match (entry.name.as_str(), entry.is_dir) {
            ("manifest" | "key", false) | ("segments" | "log", true) => {}
            ("quarantine", true) => quarantine::verify_quarantine(vfs, &path, report)?,
            ("manifest.tmp" | "receipts.tmp" | "usage.tmp" | "key.tmp" | "archived.tmp", false) if live => {}
            (name, false) if live && name.strip_suffix(".tmp").and_then(part_number).is_some() => {}
            ("receipts", false) => {
                receipts::verify_receipts(vfs, &path, chain.as_ref().map(|c| &c.version.tenant), report);
            }
            ("usage", false) => {
                receipts::verify_usage(vfs, &path, chain.as_ref().map(|c| &c.version.tenant), report);
            }
            ("archived", false) => {
                receipts::verify_archived(vfs, &path, chain.as_ref().map(|c| &c.version), live, report);
            }
            // What compacting replaced: looked at below.
            (name, false) if part_number(name).is_some() => {}
            _ => report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a file of a tenant", &entry.name)),
        }
    }
    // Without a version nothing is known of what else should be there.
    let Some(chain) = chain else { return Ok(None) };
    verify_parts(vfs, dir, &chain, report)?;
    let before = report.findings.len();
    let beyond = verify_segments(vfs, dir, &chain, live, report)?;
    log::verify_logs(vfs, &dir.join("log"), &chain, live, report)?;
    keys::finish(dir, report);
    let is_missing = |f: &Finding| matches!(f.kind, FindingKind::Missing | FindingKind::Gap);
    if let Some(id) = beyond
        && chain.is_whole
        && report.findings.iter().skip(before).any(is_missing)
    {
        // A segment that an entry came too late for leaves nothing missing.
        let expected = format!("entries that name segment {id}, which is there while others or records are not");
        let found = format!("entries up to {}", chain.version.edits);
        report.add(Finding::new(FindingKind::RolledBack, &manifest, chain.end, expected, found));
    }
    Ok(Some(chain.version.head))
}

/// Where a segment is that is in an archive.
pub(super) enum Archived {
    /// In a folder, if it is there.
    Here(PathBuf),
    /// A copy is here.
    Fetched(Fetched),
    /// It could not be brought from there.
    Failed(PathBuf, StorageError),
    /// It can't be looked at: where the archive is was not given.
    Unknown,
}

/// Finds a segment that is in an archive; `None` where it is in the tenant's folder.
pub(super) fn archived(version: &Version, meta: &SegmentMeta, report: &Report) -> Option<Archived> {
    if meta.place.is_own() {
        return None;
    }
    let name = format!("{}-{}.seg", meta.id, crate::format::header::hex(&meta.data_root[..8]));
    let (tenant, place) = (&version.tenant, &meta.place);
    if let Some(folder) = report.archives.get(place) {
        return Some(Archived::Here(folder.join(tenant.as_str()).join(name)));
    }
    Some(match report.fetch.as_ref().and_then(|fetch| fetch.bring(place, tenant, &name)) {
        Some(Ok(fetched)) => Archived::Fetched(fetched),
        Some(Err((path, error))) => Archived::Failed(path, error),
        None => Archived::Unknown,
    })
}

/// Verifies the segments; gives the highest one whose number the manifest has not come to.
fn verify_segments(
    vfs: &dyn Vfs,
    dir: &Path,
    chain: &Chain,
    live: bool,
    report: &mut Report,
) -> Result<Option<SegmentId>, StorageError> {
    let version = &chain.version;
    let segments = dir.join("segments");
    let mut files: BTreeMap<SegmentId, PathBuf> = BTreeMap::new();
    for entry in if vfs.exists(&segments)? { vfs.list(&segments)? } else { Vec::new() } {
        let path = segments.join(&entry.name);
        if let Some(index) = entry.name.strip_suffix(".idx").filter(|_| !entry.is_dir) {
            // Looked at with its segment.
            let id = u64::from_str_radix(index, 16).ok().map(SegmentId).filter(|id| id.to_string() == index);
            if !live && id.is_none_or(|id| !version.segments.contains_key(&id)) {
                let expected = "the index of a segment that the manifest names";
                report.add(Finding::new(FindingKind::Orphan, &path, 0, expected, "that of another"));
            }
            continue;
        }
        if live && entry.name.ends_with(".idx.tmp") {
            continue;
        }
        let id = entry.name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(SegmentId);
        match id.filter(|id| !entry.is_dir && format!("{id}.seg") == entry.name) {
            Some(id) => drop(files.insert(id, path)),
            None => report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a segment", &entry.name)),
        }
    }
    // Where the manifest breaks off, so do the leaves that are known.
    let mut leaves = (report.deep && chain.is_whole).then(|| deep::Leaves::new(version));
    let mut unknown: BTreeMap<&Place, u64> = BTreeMap::new();
    for (id, meta) in &version.segments {
        let (mut held, before) = (None, report.findings.len());
        let file = match archived(version, meta, report) {
            None => files.remove(id),
            // What is there as well was not removed any more when it moved.
            Some(Archived::Here(path)) if vfs.exists(&path)? => Some(path),
            Some(Archived::Fetched(fetched)) => Some(held.insert(fetched).copy.clone()),
            Some(Archived::Failed(path, error)) if !error.is_not_found() => {
                report.add(Finding::error(&path, &error));
                leaves.iter_mut().for_each(|leaves| leaves.unread(meta.min_seq, meta.max_seq));
                continue;
            }
            Some(Archived::Here(path) | Archived::Failed(path, _)) => {
                report.add(Finding::new(FindingKind::Missing, &path, 0, "a segment in an archive", "nothing"));
                leaves.iter_mut().for_each(|leaves| leaves.unread(meta.min_seq, meta.max_seq));
                continue;
            }
            Some(Archived::Unknown) => {
                *unknown.entry(&meta.place).or_default() += 1;
                leaves.iter_mut().for_each(|leaves| leaves.unread(meta.min_seq, meta.max_seq));
                continue;
            }
        };
        match file {
            Some(path) => {
                let found = segment::verify_file(
                    &path,
                    Some(&segments.join(format!("{id}.idx"))),
                    Some((version, meta)),
                    report,
                );
                if let Some(leaves) = &mut leaves
                    && found.as_ref().is_none_or(|found| found.blocks.len() < found.footer.blocks.len())
                {
                    leaves.unread(meta.min_seq, meta.max_seq);
                }
                if let Some(found) = found.filter(|_| report.deep) {
                    deep::verify_segment(&found, leaves.as_mut(), report);
                }
            }
            // It may have been merged by an entry that can't be read.
            None if !chain.is_whole => {}
            None => {
                let path = segments.join(format!("{id}.seg"));
                let expected = "a segment that the manifest names";
                report.add(Finding::new(FindingKind::Missing, &path, 0, expected, "nothing"));
                if let Some(leaves) = &mut leaves {
                    leaves.unread(meta.min_seq, meta.max_seq);
                }
            }
        }
        if let Some(fetched) = held {
            fetched.name_in(&mut report.findings[before..]);
        }
    }
    for (place, count) in unknown {
        let tenant = &version.tenant;
        report.skipped.push(format!("{count} segments of {tenant}: in the archive `{place}`, which was not given"));
    }
    if let Some(leaves) = leaves {
        leaves.finish(&dir.join("manifest"), report);
    }
    // A writer makes files before it names them, and names them away before they go.
    if live {
        return Ok(None);
    }
    let beyond = files.keys().next_back().copied().filter(|id| *id >= version.next_segment_id);
    for path in files.into_values() {
        // What is wrong with an attempt that a crash cut short does not matter; that it is there is said once.
        let mut aside = Report::default();
        let found = segment::verify_file(&path, None, None, &mut aside);
        if chain.is_whole {
            let found = "one that it does not";
            report.add(Finding::new(FindingKind::Orphan, &path, 0, "a segment that the manifest names", found));
        } else {
            report.findings.append(&mut aside.findings);
        }
        if let Some(found) = found
            && found.header.tenant != version.tenant
        {
            let (expected, found) =
                (format!("a segment of {}", version.tenant), format!("one of {}", found.header.tenant));
            report.add(Finding::new(FindingKind::Misplaced, &path, 8, expected, found));
        }
    }
    Ok(beyond)
}
