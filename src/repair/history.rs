//! What a damaged manifest, and the parts of the chain beside it, still say.

use super::parts::parts;
use crate::error::{Damage, StorageError};
use crate::format::edit::{ENTRY_MAGIC, Edit, Entry, EntryAt, SegmentMeta, decode_entry, read_edits};
use crate::format::header::{FILE_HEADER_BYTES, FileStamp};
use crate::format::version::Version;
use crate::id::{SegmentId, Seq, TenantId};
use crate::vfs::Vfs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is known of a tenant whose manifest can't be followed to its end.
pub(super) struct History {
    /// The last version that the chain leads to without a gap.
    pub version: Option<Version>,
    /// The bytes of the manifest up to there, where it is in the manifest itself and not in an earlier part.
    pub prefix: Option<Vec<u8>>,
    /// Can a new manifest go on the chain?
    pub is_chained: bool,
    /// Every segment that a readable entry names.
    pub segments: BTreeMap<SegmentId, SegmentMeta>,
    /// Those that a readable entry lets go.
    pub removed: BTreeSet<SegmentId>,
    /// The highest Seq that a readable entry says is sealed.
    pub sealed_below: Seq,
    /// Earlier parts of the chain that can't be read to their end, and why.
    pub bad_parts: Vec<(PathBuf, String)>,
    /// What is wrong with the manifest.
    pub problem: Damage,
    /// Can the manifest be followed to its end, so that only what came behind that is not known?
    pub is_whole: bool,
}

/// The manifest of a tenant: whole, or what is left of it.
pub(super) enum Chain {
    /// It can be followed to its end. Was its last entry torn, so that it is cut off?
    Whole(Box<Version>, bool),
    /// It can't.
    Broken(Box<History>),
}

/// Reads the manifest in a tenant's folder.
pub(super) fn read(vfs: &dyn Vfs, dir: &Path, tenant: &TenantId) -> Result<Chain, StorageError> {
    let path = dir.join("manifest");
    let problem = match crate::manifest::open_read_only(vfs, &path, tenant) {
        Ok((version, report)) => return Ok(Chain::Whole(Box::new(version), report.cut_at.is_some())),
        Err(StorageError::Damage(damage)) => *damage,
        Err(error) if error.is_not_found() => {
            let (expected, found) = ("a manifest".to_string(), "no such file".to_string());
            Damage { file: path.clone(), offset: 0, what: "manifest", expected, found }
        }
        Err(error) => return Err(error),
    };
    follow(vfs, dir, tenant, (problem, u64::MAX)).map(|history| Chain::Broken(Box::new(history)))
}

/// What a manifest that can be followed to its end says, where that is not all that there was: somebody cut it, or put an
/// older one in its place. The version is that of an earlier part where one goes further.
pub(super) fn read_short(
    vfs: &dyn Vfs,
    dir: &Path,
    tenant: &TenantId,
    (version, problem): (&Version, Damage),
) -> Result<History, StorageError> {
    // Another chain's parts say nothing of this one.
    let last_part = if goes_further(vfs, dir, version)? { u64::MAX } else { version.edits };
    let mut history = follow(vfs, dir, tenant, (problem, last_part))?;
    history.is_whole = true;
    if let Some(version) = &history.version {
        // What else was ever named is gone by an entry, or by a repair before.
        let is_live = |id: &SegmentId| version.segments.contains_key(id);
        history.removed.extend(history.segments.keys().filter(|id| !is_live(id)));
        history.removed.retain(|id| !is_live(id));
        history.segments = version.segments.iter().map(|(id, meta)| (*id, (**meta).clone())).collect();
    }
    Ok(history)
}

/// Does an earlier part go on where the manifest ends, which comes to this version?
pub(super) fn goes_further(vfs: &dyn Vfs, dir: &Path, version: &Version) -> Result<bool, StorageError> {
    for path in parts(vfs, dir)?.range(version.edits + 1..).map(|(_, path)| path) {
        let bytes = vfs.read(path)?;
        let Ok((_, entries)) = read_edits(&bytes) else { continue };
        let is_next = |at: &EntryAt| {
            let previous = at.entry.as_ref().map(|entry| (entry.number, entry.previous));
            previous == Some((version.edits + 1, version.head))
        };
        if entries.map_while(Result::ok).any(|at| is_next(&at)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Follows the parts whose last entry is `last_part` or one before, and the manifest.
fn follow(
    vfs: &dyn Vfs,
    dir: &Path,
    tenant: &TenantId,
    (problem, last_part): (Damage, u64),
) -> Result<History, StorageError> {
    let path = dir.join("manifest");
    let mut history = History {
        version: None,
        prefix: None,
        is_chained: true,
        segments: BTreeMap::new(),
        removed: BTreeSet::new(),
        sealed_below: Seq(0),
        bad_parts: Vec::new(),
        problem,
        is_whole: false,
    };
    let mut parts: Vec<PathBuf> = parts(vfs, dir)?.range(..=last_part).map(|(_, part)| part.clone()).collect();
    parts.push(path);
    for path in &parts {
        if vfs.exists(path)? {
            let path = path.clone();
            let is_last = path == dir.join("manifest");
            let is_whole = history.read_part(&vfs.read(&path)?, is_last, tenant);
            if !is_last && !is_whole {
                history.bad_parts.push((path, "it is damaged, and the chain can't be followed through it".into()));
            }
        }
    }
    if !history.bad_parts.is_empty() {
        // What would go on the chain could not be followed from its beginning: a new one begins.
        (history.is_chained, history.prefix) = (false, None);
        let others = parts.into_iter().filter(|p| *p != dir.join("manifest"));
        let bad: BTreeSet<_> = history.bad_parts.iter().map(|(path, _)| path.clone()).collect();
        let why = "another part of the chain is damaged";
        history.bad_parts.extend(others.filter(|p| !bad.contains(p)).map(|p| (p, why.into())));
    }
    Ok(history)
}

impl History {
    /// Says whether the part could be read to its end.
    fn read_part(&mut self, bytes: &[u8], is_last: bool, tenant: &TenantId) -> bool {
        let mut at = FILE_HEADER_BYTES;
        let stamp = match read_edits(bytes) {
            Ok((header, _)) if header.tenant != *tenant => return false,
            Ok((header, entries)) => {
                let mut version: Option<Version> = None;
                let mut entries = entries;
                for next in entries.by_ref() {
                    let Ok(next) = next else { break };
                    let Some(entry) = next.entry else { continue };
                    match Version::after(version.as_ref(), &entry, next.head) {
                        Ok(after) if after.tenant == *tenant => version = Some(after),
                        _ => break,
                    }
                    self.note(&entry);
                }
                at = usize::try_from(entries.position()).unwrap_or(usize::MAX);
                if version.is_some() && version.as_ref().map(|v| v.edits) >= self.version.as_ref().map(|v| v.edits) {
                    self.version = version;
                    self.prefix = is_last.then(|| bytes[..at].to_vec());
                }
                header.stamp()
            }
            // Its salt may be whole all the same.
            Err(_) => match FileStamp::of_damaged(bytes) {
                Some(stamp) => FileStamp { id: 0, ..stamp },
                None => return false,
            },
        };
        self.search(bytes, at, &stamp);
        at == bytes.len()
    }

    /// Entries behind a gap: they say what was made and let go, and not what they begin from.
    fn search(&mut self, bytes: &[u8], from: usize, stamp: &FileStamp) {
        let Some(rest) = bytes.get(from..) else { return };
        for found in memchr::memmem::find_iter(rest, &ENTRY_MAGIC) {
            let Ok((Some(entry), _)) = decode_entry(&rest[found..], stamp) else { continue };
            self.note(&entry);
        }
    }

    fn note(&mut self, entry: &Entry) {
        for edit in &entry.edits {
            let (gone, made): (&[SegmentId], &[SegmentMeta]) = match edit {
                Edit::Seal { segments, sealed_below, .. } => {
                    self.sealed_below = self.sealed_below.max(*sealed_below);
                    (&[], segments)
                }
                Edit::Merge { inputs, outputs } | Edit::Delete { inputs, outputs, .. } => (inputs, outputs),
                Edit::Expire { segments, .. } => (segments, &[]),
                Edit::Snapshot(version) => {
                    self.sealed_below = self.sealed_below.max(version.sealed_below);
                    self.segments.extend(version.segments.iter().map(|(id, meta)| (*id, (**meta).clone())));
                    (&[], &[])
                }
                Edit::Assign { segments } => {
                    for one in segments {
                        if let Some(meta) = self.segments.get_mut(&one.segment) {
                            (meta.class, meta.place) = (one.class.clone(), one.place.clone());
                        }
                    }
                    (&[], &[])
                }
                Edit::IndexRebuilt { segment, index_root } => {
                    if let Some(meta) = self.segments.get_mut(segment) {
                        meta.index_root = *index_root;
                    }
                    (&[], &[])
                }
                _ => (&[], &[]),
            };
            self.removed.extend(gone);
            self.segments.extend(made.iter().map(|meta| (meta.id, meta.clone())));
        }
    }
}
