//! What the store holds, as far as that is known without opening a tenant.

use super::{Error, Store};
use crate::id::TenantId;
use crate::tenant::TenantCore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

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
    /// Records, sealed or not.
    pub records: u64,
    /// Live segments.
    pub segments: u64,
    /// Their bytes, index included.
    pub segment_bytes: u64,
    /// Bytes of log files, with what is reserved.
    pub log_bytes: u64,
}

/// What is known of tenants that were closed.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<BTreeMap<TenantId, StoreFigures>>);

impl Figures {
    fn known(&self) -> MutexGuard<'_, BTreeMap<TenantId, StoreFigures>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps what a tenant holds that is about to be closed.
    pub(super) fn keep(&self, tenant: &TenantCore) {
        if let Some(figures) = of(tenant) {
            self.known().insert(tenant.id().clone(), figures);
        }
    }
}

/// What an open tenant holds; `None` where its files can't be looked at.
fn of(tenant: &TenantCore) -> Option<StoreFigures> {
    let stats = tenant.stats().ok()?;
    Some(StoreFigures {
        records: stats.records,
        segments: stats.segments,
        segment_bytes: stats.segment_bytes,
        log_bytes: stats.log_bytes,
        ..StoreFigures::default()
    })
}

impl Store {
    /// How many of the open tenants have a sum for the quota of today that may be too low, since their file `usage` was
    /// damaged.
    pub fn usage_damaged(&self) -> u64 {
        self.0.tenants.open().iter().filter(|tenant| tenant.usage_damage().is_some()).count() as u64
    }

    /// What the store holds. No tenant is opened for it: of those that were not open since the store was, only that they
    /// are there is known.
    pub fn figures(&self) -> Result<StoreFigures, Error> {
        let ids = self.0.tenant_ids()?;
        let open: BTreeMap<TenantId, _> = self.0.tenants.open().into_iter().map(|t| (t.id().clone(), t)).collect();
        let mut sum = StoreFigures { tenants: ids.len() as u64, ..StoreFigures::default() };
        let mut known = self.0.figures.known();
        let there: BTreeSet<&TenantId> = ids.iter().collect();
        known.retain(|id, _| there.contains(id));
        for id in &ids {
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
