//! What was set aside: each copy against the hash that stands in the reason beside it.

use super::report::{Finding, FindingKind, Report};
use crate::error::StorageError;
use crate::vfs::{Vfs, aside_seal};
use std::path::Path;

/// Verifies the folder `quarantine` of a tenant. That something was set aside is no finding: it was reported when that
/// happened, and belongs to no answer. The report only says that it is there.
pub(super) fn verify_quarantine(vfs: &dyn Vfs, dir: &Path, report: &mut Report) -> Result<(), StorageError> {
    let (mut copies, mut total) = (0u64, 0u64);
    for entry in vfs.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a file set aside", "a folder"));
            continue;
        }
        if let Some(name) = entry.name.strip_suffix(".reason") {
            // A crash between the two leaves the first alone; a reason comes second.
            if !vfs.exists(&dir.join(name))? {
                report.add(Finding::new(FindingKind::Missing, &dir.join(name), 0, "what the reason is of", "nothing"));
            }
            continue;
        }
        let bytes = vfs.read(&path)?;
        copies += 1;
        total += bytes.len() as u64;
        report.files += 1;
        report.bytes += bytes.len() as u64;
        let beside = dir.join(format!("{}.reason", entry.name));
        if !vfs.exists(&beside)? {
            report.skipped.push(format!("{}: set aside, with no reason that has its hash", path.display()));
            continue;
        }
        let reason = vfs.read(&beside)?;
        report.files += 1;
        report.bytes += reason.len() as u64;
        check(&path, &bytes, &beside, &reason, report);
    }
    if copies > 0 {
        report.skipped.push(format!(
            "{}: {copies} files of {total} bytes were set aside; what they say is not looked at",
            dir.display()
        ));
    }
    Ok(())
}

/// Compares the reason's last line with what it should be of these bytes and of these words.
fn check(path: &Path, bytes: &[u8], beside: &Path, reason: &[u8], report: &mut Report) {
    let text = String::from_utf8_lossy(reason);
    let body = text.strip_suffix('\n').unwrap_or(&text);
    let at = body.rfind('\n').map_or(0, |at| at + 1);
    let (words, line) = text.split_at(at);
    let expected = aside_seal(words, bytes);
    if line == expected && std::str::from_utf8(reason).is_ok() {
        return;
    }
    // A checksum of the line that is right says that the bytes are what changed.
    let own = line.split(' ').nth(1).is_some_and(|hash| line == with_hash(words, hash));
    let (file, offset) = if own { (path, 0) } else { (beside, 0) };
    report.add(Finding::new(FindingKind::Corruption, file, offset, expected.trim_end(), line.trim_end()));
}

/// The last line of a reason that names this hash.
fn with_hash(words: &str, hash: &str) -> String {
    let line = format!("blake3 {hash}");
    format!("{line} crc32 {:08x}\n", crc32fast::hash([words.as_bytes(), line.as_bytes()].concat().as_slice()))
}
