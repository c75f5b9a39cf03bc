//! Earlier parts of a manifest that is whole: the chain from its beginning to where the manifest goes on.
//!
//! Nothing that is in the store hangs on them; they prove how it came to be. So a damaged one is set aside, what can be
//! followed of it from its beginning stays as a part, and an entry of the manifest says what is lost.

use super::tenant::Tenant;
use crate::error::StorageError;
use crate::format::edit::{Edit, put_entry_mark, read_edits};
use crate::format::header::{FILE_HEADER_BYTES, FileStamp, MANIFEST_VERSION, ManifestHeader};
use crate::format::version::Version;
use crate::id::TenantId;
use crate::vfs::Vfs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is to be done about earlier parts.
#[derive(Default)]
pub(super) struct Parts {
    /// Those that go, and why.
    pub aside: Vec<(PathBuf, String)>,
    /// What can be followed of them, by the number of its last entry: parts of their own.
    kept: BTreeMap<u64, Vec<u8>>,
    /// Entries of the chain, first and last, that no file has and of which no entry says so yet.
    gaps: Vec<(u64, u64)>,
}

/// The earlier parts in a tenant's folder by the number in their name, which is that of their last entry.
pub(super) fn parts(vfs: &dyn Vfs, dir: &Path) -> Result<BTreeMap<u64, PathBuf>, StorageError> {
    let mut parts = BTreeMap::new();
    for entry in vfs.list(dir)?.into_iter().filter(|entry| !entry.is_dir) {
        let digits = entry.name.strip_prefix("manifest.").unwrap_or_default();
        if let Ok(number) = u64::from_str_radix(digits, 16)
            && part_file(dir, number) == dir.join(&entry.name)
        {
            parts.insert(number, dir.join(&entry.name));
        }
    }
    Ok(parts)
}

/// Is it the name of an earlier part?
pub(super) fn is_part(name: &str) -> bool {
    let number = name.strip_prefix("manifest.").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.is_some_and(|number| format!("manifest.{number:016x}") == name)
}

fn part_file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("manifest.{number:016x}"))
}

/// A part as far as it can be followed.
#[derive(Default)]
struct Followed {
    /// Its first entry and its last one, and the hash behind that; `None` where none can be read.
    entries: Option<(u64, u64, [u8; 32])>,
    /// Its bytes up to there, with a header that is whole.
    bytes: Vec<u8>,
    stamp: Option<FileStamp>,
    /// What its entries say is lost.
    known: Vec<(u64, u64)>,
    /// What is wrong with it.
    problem: Option<String>,
}

/// Follows a part. `hashes` is what later parts say of the chain, which the part must fit; it is added to.
fn follow(bytes: Vec<u8>, tenant: &TenantId, hashes: &mut BTreeMap<u64, [u8; 32]>) -> Followed {
    let mut part = Followed { bytes, ..Followed::default() };
    if let Err(error) = ManifestHeader::decode(&part.bytes) {
        part.problem = Some(error.to_string());
        part.bytes = with_header(&part.bytes, tenant);
    }
    let Ok((header, mut entries)) = read_edits(&part.bytes) else { return part };
    if header.tenant != *tenant {
        part.problem = Some(format!("it is that of {}", header.tenant));
        return part;
    }
    part.stamp = Some(header.stamp());
    let mut found = BTreeMap::new();
    for at in entries.by_ref() {
        let at = match at {
            Ok(at) => at,
            Err(error) => {
                part.problem.get_or_insert(error.to_string());
                break;
            }
        };
        let Some(entry) = at.entry else { continue };
        let first = part.entries.map_or(entry.number, |(first, ..)| first);
        if part.entries.is_none() && first > 1 {
            found.insert(first - 1, entry.previous);
        }
        found.insert(at.number, at.head);
        part.entries = Some((first, at.number, at.head));
        part.known.extend(entry.edits.iter().filter_map(|edit| match edit {
            Edit::HistoryLost { first, last } => Some((*first, *last)),
            _ => None,
        }));
    }
    let end = usize::try_from(entries.position()).unwrap_or(usize::MAX);
    part.bytes.truncate(end);
    if let Some((number, _)) = found.iter().find(|(n, hash)| hashes.get(n).is_some_and(|known| known != *hash)) {
        let problem = format!("entry {number} is another than that from which the chain goes on");
        return Followed { problem: Some(problem), ..Followed::default() };
    }
    hashes.append(&mut found);
    part
}

/// The bytes with a header made anew from the salt in the damaged one, which a first entry that can be read proves right.
fn with_header(bytes: &[u8], tenant: &TenantId) -> Vec<u8> {
    let Some(stamp) = FileStamp::of_damaged(bytes) else { return Vec::new() };
    let rest = bytes.get(FILE_HEADER_BYTES..).unwrap_or_default();
    let tries = (1..=MANIFEST_VERSION).rev().map(|version| {
        let header = ManifestHeader { version, tenant: tenant.clone(), salt: stamp.salt };
        [&header.encode(), rest].concat()
    });
    // Versions differ in what edits say, so that another one than the file's ends sooner.
    let reads = |bytes: &Vec<u8>| read_edits(bytes).map_or(0, |(_, entries)| entries.take_while(Result::is_ok).count());
    tries.rev().max_by_key(reads).filter(|bytes| reads(bytes) > 0).unwrap_or_default()
}

/// Those of the numbers from 1 to `last` that are in none of the ranges, as ranges.
fn without(last: u64, mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let (mut next, mut gaps) = (1, Vec::new());
    for (from, to) in ranges.into_iter().chain([(last.saturating_add(1), last)]) {
        if from > next {
            gaps.push((next, from - 1));
        }
        next = next.max(to.saturating_add(1));
    }
    gaps
}

impl Tenant<'_> {
    /// Looks at the earlier parts of a manifest that is whole and comes to this version. Parts that go further than it
    /// does stay: they show that it was put back to an older one.
    pub(super) fn look_at_parts(&self, version: &Version) -> Result<Parts, StorageError> {
        let mut hashes = BTreeMap::new();
        let manifest = follow(self.vfs.read(&self.dir.join("manifest"))?, self.id, &mut hashes);
        let ranges = |part: &Followed| part.entries.map(|(first, last, _)| (first, last));
        let (mut whole, mut known): (Vec<_>, Vec<_>) = (ranges(&manifest).into_iter().collect(), manifest.known);
        let (mut out, mut pieces) = (Parts::default(), Vec::new());
        // From the newest on, since each says from what it goes on.
        for (number, path) in parts(&**self.vfs, self.dir)?.into_iter().rev() {
            if number > version.edits {
                continue;
            }
            let mut part = follow(self.vfs.read(&path)?, self.id, &mut hashes);
            let range = ranges(&part);
            known.append(&mut part.known);
            let reached = range.map_or(0, |(_, last)| last);
            if part.problem.is_none() && reached == number {
                whole.extend(range);
                continue;
            }
            let problem = part.problem.take().unwrap_or(format!("it ends with entry {reached} and not {number}"));
            if let (Some((_, last, head)), Some(stamp)) = (part.entries, part.stamp) {
                put_entry_mark(last, &head, &stamp, &mut part.bytes);
                pieces.push((range, last, part.bytes));
            }
            out.aside.push((path, problem));
        }
        for (range, last, bytes) in pieces {
            // Where a crash kept the manifest from being replaced, another part has all of them.
            let is_elsewhere =
                |(from, to): &(u64, u64)| range.is_some_and(|(first, last)| *from <= first && last <= *to);
            if !whole.iter().any(is_elsewhere) {
                whole.extend(range);
                out.kept.insert(last, bytes);
            }
        }
        let is_known = |(first, last): &(u64, u64)| known.iter().any(|(from, to)| from <= first && last <= to);
        out.gaps = without(version.edits, whole);
        out.gaps.retain(|gap| !is_known(gap));
        Ok(out)
    }

    /// Copies what goes, and makes parts of what can be followed of it: durable before an entry says what is lost.
    pub(super) fn keep_parts(&self, parts: &Parts) -> Result<Vec<Option<PathBuf>>, StorageError> {
        let copies = parts.aside.iter().map(|(path, why)| self.copy(path, why)).collect::<Result<_, _>>()?;
        for (last, bytes) in &parts.kept {
            self.vfs.replace(&part_file(self.dir, *last), bytes)?;
        }
        Ok(copies)
    }

    /// Removes what was set aside, and tells; in a dry run it only tells.
    pub(super) fn clear_parts(&mut self, parts: &Parts, copies: &[Option<PathBuf>]) -> Result<(), StorageError> {
        let kept: BTreeSet<PathBuf> = parts.kept.keys().map(|last| part_file(self.dir, *last)).collect();
        for (i, (path, why)) in parts.aside.iter().enumerate() {
            if !self.report.dry_run && !kept.contains(path) {
                self.vfs.remove(path)?;
            }
            let why = format!("{why}: set aside, but for the entries of it that can be followed from its beginning");
            self.act(path, why, copies.get(i).cloned().flatten());
        }
        if !self.report.dry_run && !parts.aside.is_empty() {
            self.vfs.sync_dir(self.dir)?;
        }
        for (first, last) in &parts.gaps {
            let what =
                format!("entries {first} to {last} of the chain are lost: what they said can't be proven any more");
            self.act(&self.dir.join("manifest"), what, None);
        }
        Ok(())
    }
}

impl Parts {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.aside.is_empty() && self.gaps.is_empty()
    }

    /// What the manifest is to say.
    pub fn edits(&self) -> impl Iterator<Item = Edit> {
        self.gaps.iter().map(|(first, last)| Edit::HistoryLost { first: *first, last: *last })
    }
}
