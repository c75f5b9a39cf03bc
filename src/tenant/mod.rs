//! One tenant: its directory, log, memtable, manifest and segments.
//!
//! Promises: what was acknowledged is seen by every query after, once, also while it is being sealed; nothing here can
//! name another tenant. May not know: other tenants, HTTP, who may do what.

mod append;
mod archive;
pub(crate) mod archived;
mod compact;
mod delete;
mod expire;
mod group;
mod keys;
mod leaves;
mod leftover;
mod open;
pub(crate) mod orphans;
mod output;
mod receipts;
mod regroup;
mod reindex;
mod retire;
mod rules;
mod seal;
mod segments;
mod snapshot;
mod stats;
mod usage;

pub use crate::format::receipt::RECEIPT_ANSWER_BYTES_MAX;
pub(crate) use output::Output;
pub(crate) use reindex::{IndexError, build_index};
pub(crate) use segments::index_path;

pub use append::{AppendOptions, Appended, Committed};
pub use compact::{CompactReport, Pace, Written};
pub use delete::{DELETE_READERS_WAIT, DeleteListener, DeleteOptions, DeleteProgress, DeleteReport};
pub use open::{OpenReport, exists};
pub use receipts::{IDEMPOTENCY_KEY_BYTES_MAX, Idempotency, RECEIPT_AGE_NS_MAX, RECEIPTS_BYTES_MAX};
pub use rules::{Clock, Rules};
pub use segments::{SegmentDamage, SegmentSource};
pub use snapshot::Snapshot;
pub use stats::TenantStats;

use crate::cache::Cache;
use crate::crypt::KeyRing;
use crate::format::version::Version;
use crate::id::{LogId, SegmentId, TenantId};
use crate::log::Log;
use crate::manifest::Manifest;
use crate::memtable::{Kept, MemorySource, Memtable};
use crate::record::Timestamp;
use crate::vfs::Vfs;
use archived::ArchivedList;
use compact::Merges;
use leftover::Leftover;
use receipts::Receipts;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// What a tenant is given by its store.
#[derive(Debug, Clone)]
pub struct TenantOptions {
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
    /// The tenant's own directory.
    pub dir: PathBuf,
    /// Decoded parts of segments, shared by all tenants.
    pub cache: Arc<Cache>,
    /// Bytes of all memtables of the store together; each tenant keeps its share up to date.
    pub memtable_bytes: Arc<AtomicU64>,
    /// Room for all of them.
    pub memtables_bytes_max: u64,
    /// A memtable is sealed at so many bytes.
    pub memtable_bytes_max: usize,
    /// Read segments through a memory map.
    pub mapped: bool,
    /// Segments at least this large are not merged.
    pub merge_bytes_max: u64,
    /// What its records live by.
    pub rules: Arc<Rules>,
    /// Bytes written into segments, of all tenants together.
    pub written: Arc<Written>,
    /// The tenant's keys, where it is encrypted.
    pub keys: KeyRing,
    /// Files that could not be removed.
    pub leftover: Arc<Leftover>,
}

/// An open tenant.
#[derive(Debug)]
pub struct TenantCore {
    id: TenantId,
    options: TenantOptions,
    writer: Option<Writer>,
    state: Arc<Mutex<State>>,
    daily: usage::Daily,
    report: OpenReport,
}

/// What only a tenant that was opened for writing has.
#[derive(Debug)]
struct Writer {
    log: Log,
    manifest: Manifest,
    receipts: Arc<Receipts>,
    /// When a log that had failed was last tried again.
    revived: Mutex<Option<Instant>>,
    /// Held while segments are made or replaced, so that one at a time is.
    seal: Mutex<()>,
    /// The merge that runs, and what is known of others.
    merges: Merges,
    /// Held while a segment goes to an archive.
    archiving: Mutex<()>,
    /// What is in archives.
    archived: ArchivedList,
    /// Held while somebody decides whether a full memtable is frozen.
    freeze: Mutex<()>,
    /// Log files with a lower number have records that are sealed, and no others.
    sealed_log: AtomicU64,
    /// The lowest segment number that no attempt has used. An attempt whose edit failed may be on the disk all the
    /// same, so that its number is not used again.
    next_segment: AtomicU64,
}

/// What queries see. Locked for moments only, never while a file is read or written.
#[derive(Debug)]
struct State {
    active: Memtable,
    /// When the oldest record of the active memtable came.
    active_since: Option<Timestamp>,
    /// Being sealed, oldest first, each with the log files that it comes from: all below this one.
    frozen: Vec<Arc<Frozen>>,
    segments: Arc<BTreeMap<SegmentId, Arc<SegmentSource>>>,
    version: Arc<Version>,
    /// Of the store's sum of memtables, this tenant's part.
    counted: u64,
    /// Was the last attempt to seal a failure, and why?
    seal_error: Option<String>,
}

/// A memtable that takes no more batches.
#[derive(Debug)]
struct Frozen {
    batches: Vec<Kept>,
    source: Arc<MemorySource>,
    bytes: usize,
    /// The log file that was begun when it was frozen: older ones are not needed once it is sealed.
    next_log: LogId,
}

impl TenantCore {
    /// The tenant's name.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// What was found when it was opened.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// What the manifest says now.
    pub fn version(&self) -> Arc<Version> {
        self.state().version.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the state is locked can only come from a bug; what is there is whole between statements.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
