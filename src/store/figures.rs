//! What the store holds, as far as that is known without opening a tenant.

use super::{Error, Store};
use crate::id::TenantId;
use crate::tenant::TenantCore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a store holds. Sums are over the tenants that are open, as they are, and those that were open since the store
/// was, as they were when they were closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreFigures {
    /// Tenants.
    pub tenants: u64,
    /// Of these, those that are open.
    pub tenants_open: u64,
    /// Of these, those that were not open since the store was: what they hold is in no sum.
    pub tenants_unknown: u64,
    /// Of these, those that could not be opened when they were last asked for: their folder can't be read, is damaged, or
    /// wants a master key.
    pub tenants_refused: u64,
    /// Records, sealed or not.
    pub records: u64,
    /// Live segments.
    pub segments: u64,
    /// Their bytes, index included.
    pub segment_bytes: u64,
    /// Bytes of log files; of a store that is open for writing without what is reserved.
    pub log_bytes: u64,
}

/// How long it is taken for true which tenants have a folder, where nobody here made or removed one: with ten thousand
/// it takes as many looks at the disk.
const FOLDERS_EVERY: Duration = Duration::from_secs(10);

/// What is known of tenants that are not open.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// What those held that were closed.
    closed: Mutex<BTreeMap<TenantId, StoreFigures>>,
    /// Those that could not be opened when they were last asked for.
    refused: Mutex<BTreeSet<TenantId>>,
    /// Is one of them? Asked by whoever opens one that is open.
    any_refused: AtomicBool,
    /// Which have a folder, and when that was looked at.
    folders: Mutex<Option<(Instant, Arc<[TenantId]>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is in pieces between two statements.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Figures {
    fn known(&self) -> MutexGuard<'_, BTreeMap<TenantId, StoreFigures>> {
        lock(&self.closed)
    }

    /// Notes what came of asking for a tenant.
    pub(super) fn note<T>(&self, id: &TenantId, opened: &Result<T, Error>) {
        match opened {
            Err(e) if e.is_closed() => {}
            Err(e) if !(e.is_no_such_tenant() || e.is_being_deleted()) => {
                let mut refused = lock(&self.refused);
                refused.insert(id.clone());
                self.any_refused.store(true, Ordering::Release);
            }
            _ if !self.any_refused.load(Ordering::Acquire) => {}
            _ => {
                let mut refused = lock(&self.refused);
                refused.remove(id);
                self.any_refused.store(!refused.is_empty(), Ordering::Release);
            }
        }
    }

    /// A tenant was made or removed.
    pub(super) fn folders_change(&self) {
        *lock(&self.folders) = None;
    }

    fn folders(&self, look: impl FnOnce() -> Result<Vec<TenantId>, Error>) -> Result<Arc<[TenantId]>, Error> {
        let mut folders = lock(&self.folders);
        if let Some((_, ids)) = folders.as_ref().filter(|(at, _)| at.elapsed() < FOLDERS_EVERY) {
            return Ok(ids.clone());
        }
        let ids: Arc<[TenantId]> = look()?.into();
        *folders = Some((Instant::now(), ids.clone()));
        Ok(ids)
    }

    /// Keeps what a tenant holds that is about to be closed.
    pub(super) fn keep(&self, tenant: &TenantCore) {
        if let Some(figures) = of(tenant) {
            self.known().insert(tenant.id().clone(), figures);
        }
    }
}

/// What an open tenant holds; `None` where its files can't be looked at, which one that is written does not take.
fn of(tenant: &TenantCore) -> Option<StoreFigures> {
    let [records, segments, segment_bytes, log_bytes] = match tenant.held_now() {
        Some(held) => held,
        None => {
            let stats = tenant.stats().ok()?;
            [stats.records, stats.segments, stats.segment_bytes, stats.log_bytes]
        }
    };
    Some(StoreFigures { records, segments, segment_bytes, log_bytes, ..StoreFigures::default() })
}

impl Store {
    /// How many of the open tenants have a sum for the quota of today that may be too low, since their file `usage` was
    /// damaged.
    pub fn usage_damaged(&self) -> u64 {
        self.0.tenants.open().iter().filter(|tenant| tenant.usage_damage().is_some()).count() as u64
    }

    /// How many tenants there are, and how many of them could not be opened when they were last asked for. Opens none, and
    /// looks at the disk every 10 seconds at most, and where this process made or removed a tenant.
    pub fn tenant_counts(&self) -> Result<(u64, u64), Error> {
        let ids = self.0.figures.folders(|| self.0.tenant_ids())?;
        Ok((ids.len() as u64, lock(&self.0.figures.refused).len() as u64))
    }

    /// What the store holds. No tenant is opened for it: of those that were not open since the store was, only that they
    /// are there is known, as of the last 10 seconds.
    pub fn figures(&self) -> Result<StoreFigures, Error> {
        let (_, refused) = self.tenant_counts()?;
        let ids = self.0.figures.folders(|| self.0.tenant_ids())?;
        let open: BTreeMap<TenantId, _> = self.0.tenants.open().into_iter().map(|t| (t.id().clone(), t)).collect();
        let mut sum = StoreFigures { tenants: ids.len() as u64, tenants_refused: refused, ..StoreFigures::default() };
        let mut known = self.0.figures.known();
        let there: BTreeSet<&TenantId> = ids.iter().collect();
        known.retain(|id, _| there.contains(id));
        for id in ids.iter() {
            let figures = match open.get(id) {
                Some(tenant) => {
                    sum.tenants_open += 1;
                    of(tenant)
                }
                None => known.get(id).copied(),
            };
            match figures {
                Some(figures) => {
                    sum.records += figures.records;
                    sum.segments += figures.segments;
                    sum.segment_bytes += figures.segment_bytes;
                    sum.log_bytes += figures.log_bytes;
                }
                None => sum.tenants_unknown += 1,
            }
        }
        Ok(sum)
    }
}
