//! A tenant's chain followed from its earliest part: what was there at an entry, and what has gone since.

use crate::error::StorageError;
use crate::format::edit::{Edit, Entry, Leaf, read_edits};
use crate::format::version::Version;
use crate::id::Seq;
use crate::record::Timestamp;
use crate::verify::chain::parts;
use crate::vfs::Vfs;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An entry that let records go which a checkpoint knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gone {
    /// Number of the entry.
    pub entry: u64,
    /// When it was made, RFC 3339.
    pub at: String,
    /// `expire` or `delete`.
    pub by: &'static str,
    /// Which rule or request, in words.
    pub reason: String,
    /// Records that the entry let go, also ones that came after the checkpoint.
    pub records: u64,
    /// Leaves that the checkpoint knew and that can't be made again since.
    pub leaves: u64,
}

/// What following the chain came to.
pub(super) enum Followed {
    /// The entry is there with that hash.
    Continues(Box<Continued>),
    /// It is there, in this file at this place, with another hash.
    Rewritten { file: PathBuf, offset: u64, head: [u8; 32] },
    /// The chain ends before, in this file at this place.
    Ends { file: PathBuf, offset: u64, number: u64 },
    /// The parts of the chain that are left begin behind it, or go on behind it after a gap.
    BeginsLater { file: PathBuf, number: u64 },
    /// It is there with that hash, and the chain behind it has a gap: nothing before this entry.
    Broken { file: PathBuf, last: u64, number: u64 },
}

/// The chain since the checkpoint.
pub(super) struct Continued {
    /// Today's version.
    pub version: Version,
    /// Leaves at the checkpoint that are there today; missing where what was there then is not known.
    pub kept: Option<u64>,
    /// Leaves at the checkpoint that are not, and that no entry let go.
    pub lost: u64,
    /// What has gone since.
    pub gone: Vec<Gone>,
}

fn leaves(version: &Version) -> BTreeSet<(Seq, u32, [u8; 32])> {
    version.leaves().map(|leaf: &Leaf| (leaf.first(), leaf.count(), leaf.hash)).collect()
}

/// What an entry let go, where it let go anything.
fn gone(entry: &Entry) -> Option<Gone> {
    let mut gone: Option<Gone> = None;
    for edit in &entry.edits {
        let (by, reason, records) = match edit {
            Edit::Expire { reason, records, .. } => ("expire", reason, *records),
            Edit::Delete { reason, records, .. } => ("delete", reason, *records),
            _ => continue,
        };
        match &mut gone {
            Some(gone) => gone.records = gone.records.saturating_add(records),
            None => {
                let at = Timestamp(entry.at.0).to_string();
                gone = Some(Gone { entry: entry.number, at, by, reason: reason.clone(), records, leaves: 0 });
            }
        }
    }
    gone
}

/// Follows the chain of a tenant's folder past an entry. What is damaged ends it: a verification says what that is.
pub(super) fn follow(vfs: &dyn Vfs, dir: &Path, number: u64, head: &[u8; 32]) -> Result<Followed, StorageError> {
    let mut version: Option<Version> = None;
    let mut last = 0;
    let mut end = (dir.join("manifest"), 0);
    // The leaves at the checkpoint that are still there.
    let mut known: Option<BTreeSet<(Seq, u32, [u8; 32])>> = None;
    let mut is_there = number == 0;
    let mut since = Vec::new();
    let mut begins: Option<(PathBuf, u64)> = None;
    for path in parts(vfs, dir)? {
        let bytes = vfs.read(&path)?;
        let Ok((_, entries)) = read_edits(&bytes) else { continue };
        for at in entries {
            let Ok(at) = at else { break };
            end = (path.clone(), at.offset + at.bytes);
            let Some(entry) = at.entry.filter(|entry| entry.number > last) else { continue };
            // A part after one that is gone begins with a snapshot, which says itself what there is.
            let before = version.as_ref().filter(|_| entry.number == last + 1 && !begins_anew(&entry));
            if last > 0 && entry.number > last + 1 {
                if is_there && number > 0 {
                    return Ok(Followed::Broken { file: path, last, number: entry.number });
                }
                begins = Some((path.clone(), entry.number));
            }
            if entry.number == number + 1 && !is_there {
                // The entry itself is in a part that is gone; this one has its hash.
                if entry.previous != *head {
                    return Ok(Followed::Rewritten { file: path, offset: at.offset, head: entry.previous });
                }
                is_there = true;
                known = snapshot_of(&entry).map(leaves);
            }
            let Ok(after) = Version::after(before, &entry, at.head) else { break };
            begins.get_or_insert_with(|| (path.clone(), entry.number));
            last = entry.number;
            if entry.number == number {
                if at.head != *head {
                    return Ok(Followed::Rewritten { file: path, offset: at.offset, head: at.head });
                }
                is_there = true;
                known = Some(leaves(&after));
            } else if let Some(mut gone) = gone(&entry).filter(|_| is_there) {
                if let Some(known) = &mut known {
                    let now = leaves(&after);
                    let before = known.len();
                    known.retain(|leaf| now.contains(leaf));
                    gone.leaves = (before - known.len()) as u64;
                }
                since.push(gone);
            }
            version = Some(after);
        }
    }
    let (file, offset) = end;
    match version {
        Some(version) if is_there => {
            // What a snapshot or an edit without a reason would have let go without a word.
            let now = leaves(&version);
            let left = known.as_ref().map_or(0, BTreeSet::len) as u64;
            let kept = known.map(|known| known.iter().filter(|leaf| now.contains(*leaf)).count() as u64);
            let lost = left - kept.unwrap_or(0);
            Ok(Followed::Continues(Box::new(Continued { version, kept, lost, gone: since })))
        }
        Some(_) if last > number => {
            let (file, number) = begins.unwrap_or((file, last));
            Ok(Followed::BeginsLater { file, number })
        }
        _ => Ok(Followed::Ends { file, offset, number: last }),
    }
}

fn snapshot_of(entry: &Entry) -> Option<&Version> {
    entry.edits.iter().find_map(|edit| match edit {
        Edit::Snapshot(version) => Some(&**version),
        _ => None,
    })
}

fn begins_anew(entry: &Entry) -> bool {
    matches!(entry.edits.first(), Some(Edit::Create { .. } | Edit::Snapshot(_)))
}
