//! Opening a tenant: manifest, segments, log; and what a crash left behind.

use super::append::keeps_packed;
use super::archived::ArchivedList;
use super::compact::Merges;
use super::orphans::remove_orphans;
use super::receipts::Receipts;
use super::rules::DAY_NS;
use super::segments::SegmentSource;
use super::usage::Daily;
use super::{State, TenantCore, TenantOptions, Writer};
use crate::crypt::remove_unfinished;
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::format::payload::{Packed, Payload};
use crate::format::version::Version;
use crate::id::{SegmentId, TenantId};
use crate::log::{Log, LogOptions, PREALLOCATE_BYTES, ReadOnlyError, Recovery, Replayed};
use crate::manifest::{Manifest, ManifestRecovery};
use crate::memtable::{CommittedBatch, Kept, Memtable};
use crate::record::Timestamp;
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
    /// Segment files that no version names, and whose records are elsewhere or were let go: a crash came between their
    /// making and the manifest, or behind a merge.
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
        // A file is left when the memtable is full: more room than that is seldom used.
        let preallocate_bytes = PREALLOCATE_BYTES.min(options.memtable_bytes_max as u64);
        let log_options = LogOptions { preallocate_bytes, keys: options.keys.clone(), ..LogOptions::default() };
        let mut replay = Vec::new();
        let log_dir = options.dir.join("log");
        let (log, recovery) =
            Log::open(vfs, log_dir, id, log_options, version.sealed_below, &mut |batch| replay.push(batch))?;
        report.log = Some(recovery);
        // Behind the log, which refuses where it begins too late for the manifest: what is missing is in such files then.
        remove_orphans(id, &options, &version, &replay, &mut report)?;
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
