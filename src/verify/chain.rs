//! A tenant's manifest and its earlier parts: one chain from the first entry to the last.

use super::report::{Finding, FindingKind, Report};
use crate::error::StorageError;
use crate::format::edit::{Edit, EntryAt, HEAD_START, read_edits};
use crate::format::header::hex;
use crate::format::version::Version;
use crate::vfs::Vfs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the manifest amounts to.
pub(super) struct Chain {
    /// After its last entry that could be read.
    pub version: Version,
    /// Was it read to its end? Where it was not, files that came or went since are not known.
    pub is_whole: bool,
    /// Where the last entry or mark ends.
    pub end: u64,
}

/// Reads `manifest`; `None` where nothing of it can be read.
pub(super) fn read_manifest(vfs: &dyn Vfs, dir: &Path, report: &mut Report) -> Result<Option<Chain>, StorageError> {
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
    let (mut version, mut is_whole): (Option<Version>, bool) = (None, true);
    while let Some(next) = entries.next() {
        let at = match next {
            Ok(at) => at,
            Err(e) => {
                // A file has its name only since its first entry is durable.
                let is_torn = version.is_some() && entries.proof_of_loss().is_none();
                is_whole = is_torn;
                let kind = if is_torn { FindingKind::TornTail } else { FindingKind::Corruption };
                report.add(Finding::damage(kind, e.in_file(&path)));
                break;
            }
        };
        let Some(entry) = at.entry else { continue };
        match Version::after(version.as_ref(), &entry, at.head) {
            Ok(after) => version = Some(after),
            Err(e) => {
                let expected = "an edit that fits the ones before";
                report.add(Finding::new(FindingKind::Mismatch, &path, at.offset, expected, e));
                is_whole = false;
                break;
            }
        }
    }
    let end = entries.position();
    let Some(version) = version else {
        if report.findings.is_empty() {
            report.add(Finding::new(FindingKind::Corruption, &path, end, "the first entry of a chain", "the end"));
        }
        return Ok(None);
    };
    if version.tenant != header.tenant {
        report.add(Finding::new(FindingKind::Mismatch, &path, 0, &header.tenant, &version.tenant));
    }
    Ok(Some(Chain { version, is_whole, end }))
}

/// The number in the name of a part that a compacted manifest replaced: that of its last entry.
pub(super) fn part_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("manifest.").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|n| format!("manifest.{n:016x}") == name)
}

/// The parts of a tenant's chain, oldest first, `manifest` last.
pub(super) fn parts(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut parts: Vec<(u64, PathBuf)> = Vec::new();
    for entry in vfs.list(dir)?.into_iter().filter(|entry| !entry.is_dir) {
        parts.extend(part_number(&entry.name).map(|number| (number, dir.join(&entry.name))));
    }
    parts.sort();
    Ok(parts.into_iter().map(|(_, path)| path).chain([dir.join("manifest")]).collect())
}

/// Verifies that the parts are one chain from entry 1 on, and that none goes further than the manifest.
///
/// Parts may overlap: one that was copied before a crash kept the manifest from being replaced is the beginning of a
/// later one. Entries that are gone are no finding where an entry says so, which a repair made.
pub(super) fn verify_parts(vfs: &dyn Vfs, dir: &Path, chain: &Chain, report: &mut Report) -> Result<(), StorageError> {
    let manifest = dir.join("manifest");
    // Of each entry its hash, and in which part it is.
    let mut heads: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
    // Entries that no part has, first and last; and those of which an entry says that they are lost, with its number.
    let (mut gaps, mut known) = (Vec::new(), Vec::new());
    for path in parts(vfs, dir)? {
        let bytes = vfs.read(&path)?;
        let is_part = path != manifest;
        if is_part {
            report.files += 1;
            report.bytes += bytes.len() as u64;
        }
        let (header, entries) = match read_edits(&bytes) {
            Ok(read) => read,
            // Of the manifest that was said when it was read.
            Err(e) if is_part => {
                report.add(Finding::damage(FindingKind::Corruption, e.in_file(&path)));
                continue;
            }
            Err(_) => continue,
        };
        if is_part && header.tenant != chain.version.tenant {
            let (expected, found) = (&chain.version.tenant, &header.tenant);
            report.add(Finding::new(FindingKind::Misplaced, &path, 0, expected, found));
            continue;
        }
        let mut last = None;
        for at in entries {
            let at = match at {
                Ok(at) => at,
                Err(e) if is_part => {
                    report.add(Finding::damage(FindingKind::Corruption, e.in_file(&path)));
                    last = None;
                    break;
                }
                Err(_) => break,
            };
            if last.is_none() {
                gaps.extend(link(&at, &heads, &path, report));
            }
            for edit in at.entry.iter().flat_map(|entry| &entry.edits) {
                if let Edit::HistoryLost { first, last } = edit {
                    known.push((*first, *last, at.number));
                }
            }
            last = Some(at.number);
            let head = *heads.entry(at.number).or_insert(at.head);
            if head != at.head {
                let expected = format!("entry {} with hash {}, as another part has it", at.number, hex(&head));
                report.add(Finding::new(FindingKind::Mismatch, &path, at.offset, expected, hex(&at.head)));
                break;
            }
        }
        let named = path.file_name().and_then(|name| part_number(&name.to_string_lossy()));
        if let (Some(named), Some(last)) = (named, last)
            && named != last
        {
            let expected = format!("entries up to {named}, as the name says");
            report.add(Finding::new(FindingKind::Misplaced, &path, 0, expected, format!("entries up to {last}")));
        }
    }
    for (first, last) in gaps {
        match known.iter().find(|(from, to, _)| *from <= first && last <= *to) {
            Some((.., number)) => report.skipped.push(format!(
                "{}: entries {first} to {last} of the chain, which are lost, as entry {number} says",
                manifest.display()
            )),
            None => {
                let missing = dir.join(format!("manifest.{last:016x}"));
                let expected = format!("the part of the chain up to entry {last}");
                report.add(Finding::new(FindingKind::Missing, &missing, 0, expected, "nothing"));
            }
        }
    }
    if let Some((&reached, _)) = heads.last_key_value()
        && chain.is_whole
        && reached > chain.version.edits
    {
        let expected = format!("entries up to {reached} at least, which an earlier part has");
        let found = format!("entries up to {}", chain.version.edits);
        report.add(Finding::new(FindingKind::RolledBack, &manifest, chain.end, expected, found));
    }
    Ok(())
}

/// Does the first entry of a part go on from one that the parts before have? Gives the entries between, where there are
/// some that no part has.
fn link(at: &EntryAt, heads: &BTreeMap<u64, [u8; 32]>, path: &Path, report: &mut Report) -> Option<(u64, u64)> {
    let entry = at.entry.as_ref()?;
    let Some(before) = entry.number.checked_sub(1).filter(|n| *n > 0) else {
        if entry.previous != HEAD_START {
            let expected = "the beginning of a chain";
            report.add(Finding::new(FindingKind::Mismatch, path, at.offset, expected, hex(&entry.previous)));
        }
        return None;
    };
    match heads.get(&before) {
        Some(head) if *head == entry.previous => None,
        Some(head) => {
            let expected = format!("a chain that goes on from {}", hex(head));
            report.add(Finding::new(FindingKind::Mismatch, path, at.offset, expected, hex(&entry.previous)));
            None
        }
        None => Some((heads.range(..before).next_back().map_or(1, |(number, _)| number + 1), before)),
    }
}
