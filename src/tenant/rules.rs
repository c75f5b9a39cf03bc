//! What a tenant's records live by now: its rules, the archives' folders and the clock, which its store gives it.

use crate::archive::{ArchivedName, Archives};
use crate::format::version::Version;
use crate::id::SegmentId;
use crate::policy::{TenantPolicy, Usage};
use crate::record::{Labels, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

/// A day, in nanoseconds.
pub(super) const DAY_NS: i64 = 86_400_000_000_000;

/// Tells the time. Tests give one of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks this function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    /// The system's.
    fn default() -> Self {
        Clock::new(Timestamp::now)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// What a tenant's records live by.
#[derive(Debug, Default)]
pub struct Rules {
    policy: RwLock<Arc<TenantPolicy>>,
    /// Why the rules that should count can't: nothing goes and nothing moves meanwhile.
    error: Mutex<Option<String>>,
    archives: Archives,
    /// May there be files in archives that the manifest does not name?
    left_over: AtomicBool,
    /// Files in archives that the manifest does not name any more, and that queries still read.
    read: Mutex<BTreeSet<ArchivedName>>,
    pub(super) clock: Clock,
    /// Streams of segments whose class is not one that rules make now. Segments do not change.
    pub(super) streams: Mutex<BTreeMap<SegmentId, Arc<BTreeSet<Labels>>>>,
    /// Segments that others were parted into: they are as small as blocks allow.
    pub(super) parted: Mutex<BTreeSet<SegmentId>>,
    usage: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// The number of the entry up to which segments were counted.
    edits: u64,
    bytes: u64,
    records: u64,
}

impl Rules {
    /// No rules yet, but archives to read from.
    pub fn new(archives: Archives, clock: Clock) -> Self {
        Rules { archives, clock, ..Rules::default() }
    }

    /// The archives that are known.
    pub(super) fn archives(&self) -> &Archives {
        &self.archives
    }

    /// Says that a file may be left in an archive which the manifest does not name.
    pub(super) fn note_left_over(&self) {
        self.left_over.store(true, Ordering::Release);
    }

    /// Was that said since this was last asked? Whoever asks looks for it.
    pub(super) fn take_left_over(&self) -> bool {
        self.left_over.swap(false, Ordering::AcqRel)
    }

    /// The rules that count from now on, or why there are none.
    pub fn set(&self, policy: Result<TenantPolicy, String>) {
        let (policy, error) = match policy {
            Ok(policy) => (policy, None),
            Err(error) => (TenantPolicy::default(), Some(error)),
        };
        *self.error.lock().unwrap_or_else(|e| e.into_inner()) = error;
        let mut current = self.policy.write().unwrap_or_else(|e| e.into_inner());
        if **current != policy {
            *current = Arc::new(policy);
        }
    }

    /// The rules.
    pub fn policy(&self) -> Arc<TenantPolicy> {
        self.policy.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Why rules that should count do not.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn read(&self) -> MutexGuard<'_, BTreeSet<ArchivedName>> {
        self.read.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Says that a file in an archive is not named any more, and stays while it is read.
    pub(super) fn begin_read(&self, name: ArchivedName) {
        self.read().insert(name);
        self.note_left_over();
    }

    /// Says that nobody reads it any more.
    pub(super) fn end_read(&self, name: &ArchivedName) {
        self.read().remove(name);
        self.note_left_over();
    }

    /// Is it read?
    pub(super) fn is_read(&self, name: &ArchivedName) -> bool {
        self.read().contains(name)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.usage.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What time it is.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Which day it is, UTC, in days since 1970.
    pub(super) fn today(&self) -> i64 {
        self.clock.now().0.div_euclid(DAY_NS)
    }

    /// What segments of a version take.
    pub(super) fn usage(&self, version: &Version) -> Usage {
        let mut counted = self.counted();
        if counted.edits != version.edits {
            let own = version.segments.values().filter(|s| s.place.is_own());
            counted.bytes = own.map(|s| s.bytes).fold(0, u64::saturating_add);
            counted.records = version.segments.values().map(|s| s.rows).fold(0, u64::saturating_add);
            counted.edits = version.edits;
        }
        Usage { bytes: counted.bytes, records: counted.records, ingest_bytes_today: 0 }
    }
}
