//! Opening a tenant: manifest, segments, log; and what a crash left behind.

use super::append::keeps_packed;
use super::archived::ArchivedList;
use super::compact::Merges;
use super::receipts::Receipts;
use super::rules::DAY_NS;
use super::segments::{SegmentSource, segment_path};
use super::usage::Daily;
use super::{State, TenantCore, TenantOptions, Writer};
use crate::crypt::{open_segment, remove_unfinished};
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::format::payload::{Packed, Payload};
use crate::format::version::Version;
use crate::id::{SegmentId, Seq, TenantId};
use crate::log::{Log, LogOptions, PREALLOCATE_BYTES, ReadOnlyError, Recovery, Replayed};
use crate::manifest::{Manifest, ManifestRecovery};
use crate::memtable::{CommittedBatch, Kept, Memtable};
use crate::record::Timestamp;
use crate::segment::{Cache, SegmentReader};
use crate::store::Error;
use crate::vfs::Vfs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// How often a reader beside a writer begins anew when files were sealed or merged away under its eyes.
const READ_ATTEMPTS_MAX: u32 = 20;

/// What was found when a tenant was opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// Of the log; nothing where the tenant was just made.
    pub log: Option<Recovery>,
    /// Of the manifest; nothing where the tenant was just made.
    pub manifest: Option<ManifestRecovery>,
    /// Segment files that no version names: a crash came between their making and the manifest, or behind a merge.
    pub orphans_removed: Vec<PathBuf>,
    /// Such files whose records are not known to be elsewhere, and where they were set aside.
    pub orphans_quarantined: Vec<PathBuf>,
}

impl TenantCore {
    /// Opens a tenant for writing, and makes it where `create` says so and it is missing.
    pub fn open(id: &TenantId, options: TenantOptions, create: bool) -> Result<TenantCore, Error> {
        let vfs = options.vfs.clone();
        options.keys.begin_hashing();
        remove_unfinished(&*vfs, &options.dir)?;
        let manifest_path = options.dir.join("manifest");
        let mut report = OpenReport::default();
        let manifest = if vfs.exists(&manifest_path)? {
            let (manifest, recovery) = Manifest::open(vfs.clone(), manifest_path, id)?;
            report.manifest = Some(recovery);
            manifest
        } else if exists(&*vfs, &options.dir)? {
            let (expected, found) = ("a manifest beside segments or logs".to_string(), "no such file".to_string());
            let damage = Damage { file: manifest_path, offset: 0, what: "manifest", expected, found };
            return Err(StorageError::from(damage).into());
        } else if create {
            vfs.create_dir_all(&options.dir.join("segments"))?;
            vfs.create_dir_all(&options.dir.join("log"))?;
            // Before the manifest: where there is one, nobody looks whether the folder's own name is durable.
            if let Some(parent) = options.dir.parent() {
                vfs.sync_dir(parent)?;
            }
            let manifest = Manifest::create(vfs.clone(), manifest_path, id, Timestamp::now().0)?;
            vfs.sync_dir(&options.dir)?;
            manifest
        } else {
            return Err(crate::store::error::ErrorKind::NoSuchTenant(id.to_string()).into());
        };
        vfs.create_dir_all(&options.dir.join("segments"))?;
        let version = manifest.version();
        remove_orphans(&options, &version, &mut report)?;
        // A file is left when the memtable is full: more room than that is seldom used.
        let preallocate_bytes = PREALLOCATE_BYTES.min(options.memtable_bytes_max as u64);
        let log_options = LogOptions { preallocate_bytes, keys: options.keys.clone(), ..LogOptions::default() };
        let mut replay = Vec::new();
        let log_dir = options.dir.join("log");
        let (log, recovery) =
            Log::open(vfs, log_dir, id, log_options, version.sealed_below, &mut |batch| replay.push(batch))?;
        report.log = Some(recovery);
        let receipts = Receipts::open(id, &options, version.sealed_below)?;
        for batch in &replay {
            receipts.replay(batch).map_err(|e| StorageError::from(e.in_file(&options.dir.join("log"))))?;
        }
        let archived = ArchivedList::open(id, &options, &version)?;
        let writer = Writer {
            log,
            next_segment: AtomicU64::new(0),
            seal: Mutex::new(()),
            sealed_log: AtomicU64::new(0),
            merges: Merges::default(),
            archiving: Mutex::new(()),
            archived,
            freeze: Mutex::new(()),
            manifest,
            receipts: Arc::new(receipts),
            revived: Mutex::new(None),
        };
        Self::assemble(id, options, version, replay, Some(writer), report)
    }

    /// Opens a tenant as it is on disk, beside a writer perhaps: nothing is written or locked.
    pub fn open_read_only(id: &TenantId, options: TenantOptions) -> Result<TenantCore, Error> {
        let (version, replay, report) = read_beside(id, &options)?;
        Self::assemble(id, options, version, replay, None, report)
    }

    /// Takes up what is there now, for a reader beside a writer: files that it knows of may be merged away by now.
    pub(super) fn take_up(&self) -> Result<(), Error> {
        let (version, replay, _) = read_beside(&self.id, &self.options)?;
        let before = self.state().segments.clone();
        let state = state_of(&self.id, &self.options, version, replay, &before)?;
        let old = std::mem::replace(&mut *self.state(), state);
        self.options.memtable_bytes.fetch_sub(old.counted, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn assemble(
        id: &TenantId,
        options: TenantOptions,
        version: Arc<Version>,
        replay: Vec<Replayed>,
        writer: Option<Writer>,
        report: OpenReport,
    ) -> Result<TenantCore, Error> {
        // What is in the log came lately; of what was sealed the files say less than came, since they are compressed.
        let in_log: u64 = replay.iter().map(|batch| batch.payload.len() as u64).sum();
        let sealed = |day: i64| {
            let of_day = |s: &&Arc<SegmentMeta>| s.level == 0 && s.created_at_ns.div_euclid(DAY_NS) == day;
            version.segments.values().filter(of_day).map(|s| s.bytes).sum::<u64>()
        };
        let known = |day| in_log.saturating_add(sealed(day));
        let daily = Daily::open(id, &options, writer.is_some(), known)?;
        let state = state_of(id, &options, version, replay, &BTreeMap::new())?;
        Ok(TenantCore { id: id.clone(), options, writer, state: Arc::new(Mutex::new(state)), daily, report })
    }
}

/// What is durable of a tenant, beside its writer perhaps.
fn read_beside(id: &TenantId, options: &TenantOptions) -> Result<(Arc<Version>, Vec<Replayed>, OpenReport), Error> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let manifest_path = options.dir.join("manifest");
        let (version, manifest) = crate::manifest::open_read_only(&*options.vfs, &manifest_path, id)?;
        let mut replay = Vec::new();
        let log_dir = options.dir.join("log");
        let sealed = version.sealed_below;
        let owner = (id, &options.keys);
        match crate::log::read_only(&*options.vfs, &log_dir, owner, sealed, &mut |batch| replay.push(batch)) {
            Ok(recovery) => {
                let report = OpenReport { log: Some(recovery), manifest: Some(manifest), ..OpenReport::default() };
                return Ok((Arc::new(version), replay, report));
            }
            // Sealed meanwhile: the manifest says so by now.
            Err(ReadOnlyError::Moved(_)) if attempt < READ_ATTEMPTS_MAX => {}
            Err(ReadOnlyError::Moved(e) | ReadOnlyError::Storage(e)) => return Err(e.into()),
        }
    }
}

/// What queries see of a version and what is in the log. Segments that are open already stay so.
fn state_of(
    id: &TenantId,
    options: &TenantOptions,
    version: Arc<Version>,
    replay: Vec<Replayed>,
    before: &BTreeMap<SegmentId, Arc<SegmentSource>>,
) -> Result<State, Error> {
    let mut active = Memtable::new();
    let total = options.memtable_bytes.load(std::sync::atomic::Ordering::Relaxed);
    for batch in replay {
        let payload = Payload::decode(batch.payload).map_err(|e| {
            // The frame's checksum held, so these bytes were written so.
            StorageError::from(e.in_file(&options.dir.join("log")))
        })?;
        let bytes = active.bytes() as u64;
        let packs = keeps_packed(bytes, total + bytes, options.memtables_bytes_max);
        let packed = packs.then(|| Packed::new(&payload.bytes));
        let batch = CommittedBatch { first: batch.first, payload: Arc::new(payload), leaf: batch.leaf };
        active.push(Kept::new(batch, packed));
    }
    let counted = active.bytes() as u64;
    options.memtable_bytes.fetch_add(counted, std::sync::atomic::Ordering::Relaxed);
    let segments = Arc::new(open_segments(id, options, &version, before));
    let active_since = (!active.is_empty()).then(Timestamp::now);
    Ok(State { active, active_since, frozen: Vec::new(), segments, version, counted, seal_error: None })
}

impl Drop for TenantCore {
    fn drop(&mut self) {
        let counted = self.state().counted;
        self.options.memtable_bytes.fetch_sub(counted, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Is there a tenant in this folder: a manifest, or segments or logs that lost theirs? Folders with nothing in them are
/// what a crash left while a tenant was made.
pub fn exists(vfs: &dyn Vfs, dir: &Path) -> Result<bool, StorageError> {
    if vfs.exists(&dir.join("manifest"))? {
        return Ok(true);
    }
    for (folder, suffix) in [("segments", ".seg"), ("log", ".log")] {
        let folder = dir.join(folder);
        if vfs.exists(&folder)? && vfs.list(&folder)?.iter().any(|e| e.name.ends_with(suffix)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The segments of a version; those that are open already stay so.
pub(super) fn open_segments(
    id: &TenantId,
    options: &TenantOptions,
    version: &Version,
    before: &BTreeMap<SegmentId, Arc<SegmentSource>>,
) -> BTreeMap<SegmentId, Arc<SegmentSource>> {
    let source = |meta: &Arc<_>| Arc::new(SegmentSource::new(id, options, Arc::clone(meta)));
    // One whose class or place is another is opened anew: what is open knows it as it was.
    let kept = |n: &SegmentId, meta: &Arc<_>| before.get(n).filter(|s| s.meta() == meta).cloned();
    version.segments.iter().map(|(n, meta)| (*n, kept(n, meta).unwrap_or_else(|| source(meta)))).collect()
}

/// Removes segment files that no version names, where their records are known to be elsewhere; sets others aside.
fn remove_orphans(options: &TenantOptions, version: &Version, report: &mut OpenReport) -> Result<(), StorageError> {
    let dir = options.dir.join("segments");
    for entry in options.vfs.list(&dir)? {
        if let Some(index) = entry.name.strip_suffix(".tmp").unwrap_or(&entry.name).strip_suffix(".idx") {
            remove_stale_index(options, version, &dir.join(&entry.name), index)?;
            continue;
        }
        let Some(id) = entry.name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
            continue;
        };
        let id = SegmentId(id);
        let live = version.segments.get(&id);
        if live.is_some_and(|meta| meta.place.is_own()) {
            continue;
        }
        let path = segment_path(options, id);
        let sealed = version.sealed_below;
        let holds = |test: &dyn Fn(&SegmentReader) -> bool| holds(options, &path, test);
        let gone_or_in_log = id < version.next_segment_id || holds(&|r| seqs(r).all(|(first, _)| first > sealed));
        let elsewhere = || holds(&|r| seqs(r).all(|(_, last)| last <= sealed)) && live_are_there(options, version);
        if live.is_some() {
            // It was moved to an archive, and checked there, before the manifest said so.
            options.vfs.remove(&path)?;
            report.orphans_removed.push(path);
        } else if gone_or_in_log || elsewhere() {
            // Merged, expired or deleted by an edit of the manifest; or its records are still in the log, or in the
            // segments that it would have taken the place of.
            options.vfs.remove(&path)?;
            report.orphans_removed.push(path);
        } else {
            let reason = "no edit of the manifest names this segment, and its records are not known to be elsewhere";
            let (bytes, folder) = (options.vfs.read(&path)?, options.dir.join("quarantine"));
            let aside = crate::vfs::set_aside(&*options.vfs, &folder, &entry.name, &bytes, reason)?;
            options.vfs.remove(&path)?;
            report.orphans_quarantined.push(aside);
        }
    }
    Ok(())
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

/// Was the file cut off while it was written, or does a test hold of it? A segment is synced before the manifest names
/// it: a file without an end was never more than an attempt.
fn holds(options: &TenantOptions, path: &std::path::Path, test: &dyn Fn(&SegmentReader) -> bool) -> bool {
    let open = |p| {
        let (file, _) = open_segment(options.vfs.open(p)?, &options.keys)?;
        SegmentReader::open(file, Arc::new(Cache::new(0)))
    };
    match open(path) {
        Ok(reader) => test(&reader),
        // What is missing is the key, and not the file's end.
        Err(e) => !matches!(e, StorageError::Key(_)),
    }
}

/// Lowest and highest Seq of each block.
fn seqs(reader: &SegmentReader) -> impl Iterator<Item = (Seq, Seq)> {
    reader.footer().blocks.iter().map(|b| b.info.seq)
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
