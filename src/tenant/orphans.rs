//! Segment files that the manifest does not name.
//!
//! Mostly a crash left them: before the entry that would have named them, or behind the one that let them go. But where
//! somebody cut the manifest or put an older one in its place, they may be all that there is of their records.
//!
//! Promises: a file goes only where each of its records is in a live segment or in the log, or was let go by an entry.
//! Where one is not, the tenant refuses, and no segment goes: what to do is for a repair to decide.

use super::TenantOptions;
use super::open::OpenReport;
use super::segments::segment_path;
use crate::cache::Cache;
use crate::crypt::open_segment;
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::format::version::Version;
use crate::id::{SegmentId, Seq, TenantId};
use crate::log::Replayed;
use crate::record::Block;
use crate::segment::{SegmentBlock, SegmentReader};
use roaring::RoaringTreemap;
use std::path::Path;
use std::sync::Arc;

/// Those of the Seqs that a version expects in some file: its leaves have them, or nothing is sealed so far.
///
/// Of what expired in part there is no leaf. Such Seqs count as expected, unless the file that has them `was_let_go`.
pub(crate) fn expected(version: &Version, seqs: &RoaringTreemap, was_let_go: bool) -> RoaringTreemap {
    let (Some(first), Some(last)) = (seqs.min(), seqs.max()) else { return RoaringTreemap::new() };
    let mut live = RoaringTreemap::new();
    for (from, to) in version.runs_between(Seq(first), Seq(last)) {
        live.insert_range(from.0..=to.0);
    }
    if !was_let_go {
        live |= in_part(version, first, last);
    }
    let mut above = seqs.clone();
    above.remove_range(0..=version.sealed_below.0);
    above | (live & seqs)
}

/// The Seqs of which a version knows only that some expired.
fn in_part(version: &Version, first: u64, last: u64) -> RoaringTreemap {
    let mut seqs = RoaringTreemap::new();
    for (from, to) in version.broken().iter().filter(|(from, to)| from.0 <= last && to.0 >= first) {
        seqs.insert_range(from.0.max(first)..=to.0.min(last));
    }
    seqs
}

/// What became clear of a file that no entry names.
enum Orphan {
    /// All of its records are elsewhere, or were let go.
    Spare,
    /// So many are nowhere else.
    Needed(u64),
    /// Where they are can't be known.
    Doubtful,
}

/// Removes segment files that no version names, where their records are elsewhere or were let go, and sets aside those of
/// which that can't be known. An error where records are nowhere else.
pub(super) fn remove_orphans(
    tenant: &TenantId,
    options: &TenantOptions,
    version: &Version,
    replay: &[Replayed],
    report: &mut OpenReport,
) -> Result<(), StorageError> {
    let dir = options.dir.join("segments");
    let refuse = |expected: String| {
        let found =
            format!("entries up to {}: it was cut or is an older one; `repair` puts it in order", version.edits);
        Err(Damage { file: options.dir.join("manifest"), offset: 0, what: "manifest", expected, found }.into())
    };
    let mut orphans = Vec::new();
    for entry in options.vfs.list(&dir)? {
        if let Some(index) = entry.name.strip_suffix(".tmp").unwrap_or(&entry.name).strip_suffix(".idx") {
            remove_stale_index(options, version, &dir.join(&entry.name), index)?;
            continue;
        }
        let id = entry.name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(SegmentId);
        let is_live = |id: &SegmentId| version.segments.get(id).is_some_and(|meta| meta.place.is_own());
        let id = id.filter(|id| format!("{id}.seg") == entry.name);
        orphans.extend(id.filter(|id| !is_live(id)).map(|id| (id, entry.name)));
    }
    // All are looked at before any of them goes.
    let mut looked = Vec::new();
    for (id, name) in orphans {
        let path = segment_path(options, id);
        let orphan = match version.segments.contains_key(&id) {
            // It was moved to an archive, and checked there, before the manifest said so.
            true => Orphan::Spare,
            false => look(tenant, options, version, replay, id)?,
        };
        if let Orphan::Needed(records) = orphan {
            return refuse(format!(
                "entries that name segment {id}, which has {records} records that nothing else has"
            ));
        }
        looked.push((path, name, matches!(orphan, Orphan::Spare)));
    }
    for (path, name, is_spare) in looked {
        if is_spare {
            options.vfs.remove(&path)?;
            report.orphans_removed.push(path);
        } else {
            let reason = "no edit of the manifest names this segment, and its records are not known to be elsewhere";
            let (bytes, folder) = (options.vfs.read(&path)?, options.dir.join("quarantine"));
            let aside = crate::vfs::set_aside(&*options.vfs, &folder, &name, &bytes, reason)?;
            options.vfs.remove(&path)?;
            report.orphans_quarantined.push(aside);
        }
    }
    Ok(())
}

fn look(
    tenant: &TenantId,
    options: &TenantOptions,
    version: &Version,
    replay: &[Replayed],
    id: SegmentId,
) -> Result<Orphan, StorageError> {
    let path = segment_path(options, id);
    let read = open(options, &path).and_then(|reader| {
        let header = reader.header();
        let is_own = header.tenant == *tenant && header.id == id;
        Ok(is_own.then_some(seqs(&reader)?))
    });
    let seqs = match read {
        Ok(Some(seqs)) => seqs,
        // Another tenant's, say.
        Ok(None) | Err(StorageError::Key(_)) => return Ok(Orphan::Doubtful),
        // A segment is synced before the manifest names it: this was never more than an attempt, unless segments are
        // missing that it may have taken the place of.
        Err(error) if error.is_damage() => {
            return Ok(if live_are_there(options, version) { Orphan::Spare } else { Orphan::Doubtful });
        }
        Err(error) => return Err(error),
    };
    let mut needed = expected(version, &seqs, false);
    for batch in replay {
        needed.remove_range(batch.first.0..batch.first.0 + u64::from(batch.records));
    }
    let mut in_archives = false;
    for meta in version.segments.values() {
        let is_met = |meta: &SegmentMeta| needed.range_cardinality(meta.min_seq.0..=meta.max_seq.0) > 0;
        match meta.place.is_own() {
            _ if !is_met(meta) => {}
            true => needed -= readable_seqs(options, &segment_path(options, meta.id))?,
            // Whether it has them would take a look into the archive.
            false => {
                in_archives = true;
                needed.remove_range(meta.min_seq.0..=meta.max_seq.0);
            }
        }
    }
    if let (Some(first), Some(last)) = (needed.min(), needed.max())
        && needed.is_subset(&in_part(version, first, last))
        && crate::manifest::let_go(&*options.vfs, &options.dir)?.contains(&id)
    {
        needed.clear();
    }
    Ok(match needed.len() {
        0 if in_archives => Orphan::Doubtful,
        0 => Orphan::Spare,
        records => Orphan::Needed(records),
    })
}

fn open(options: &TenantOptions, path: &Path) -> Result<Arc<SegmentReader>, StorageError> {
    let (file, _) = open_segment(options.vfs.open(path)?, &options.keys)?;
    Ok(Arc::new(SegmentReader::open(file, Arc::new(Cache::new(0)))?))
}

fn seqs(reader: &Arc<SegmentReader>) -> Result<RoaringTreemap, StorageError> {
    let mut seqs = RoaringTreemap::new();
    for block in 0..reader.blocks() {
        seqs.extend(SegmentBlock::open(reader, block)?.seqs()?.iter().copied());
    }
    Ok(seqs)
}

/// The Seqs of a live segment's blocks that can be read; none where the file is missing.
fn readable_seqs(options: &TenantOptions, path: &Path) -> Result<RoaringTreemap, StorageError> {
    let mut seqs = RoaringTreemap::new();
    let reader = match open(options, path) {
        Ok(reader) => reader,
        Err(error) if error.is_damage() || error.is_not_found() => return Ok(seqs),
        Err(error) => return Err(error),
    };
    for block in 0..reader.blocks() {
        match SegmentBlock::open(&reader, block).and_then(|block| block.seqs()) {
            Ok(of_block) => seqs.extend(of_block.iter().copied()),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seqs)
}

/// Removes an index that was made anew where no entry of the manifest says so: a crash came between, or its segment is
/// gone. What it is made of is in the segment.
fn remove_stale_index(options: &TenantOptions, version: &Version, path: &Path, hex: &str) -> Result<(), StorageError> {
    let meta = u64::from_str_radix(hex, 16).ok().and_then(|id| version.segments.get(&SegmentId(id)));
    let is_named = match meta {
        Some(meta) if path.extension().is_some_and(|e| e == "idx") => {
            blake3::hash(&options.vfs.read(path)?).as_bytes() == &meta.index_root
        }
        _ => false,
    };
    if is_named { Ok(()) } else { options.vfs.remove(path) }
}

/// Is the file of each live segment in the tenant's folder there, and as long as it should be? Where one is not, the
/// manifest may be older than the files, and what it does not name may hold what is missing.
fn live_are_there(options: &TenantOptions, version: &Version) -> bool {
    let own = version.segments.values().filter(|s| s.place.is_own());
    own.into_iter().all(|s| {
        let len = options.vfs.open(&segment_path(options, s.id)).and_then(|file| file.len());
        len.is_ok_and(|len| len == s.bytes)
    })
}
