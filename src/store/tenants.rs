//! Which tenants are open.
//!
//! A tenant is opened by the first who asks for it; others who ask for the same one wait, and nobody else does. Where
//! many are open, the one that was not asked for the longest is closed, unless somebody has a handle of it.

use super::Error;
use crate::id::TenantId;
use crate::tenant::TenantCore;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The open tenants of a store.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    /// Locked for moments; a slot is only taken out of it while nobody else has it.
    slots: Mutex<BTreeMap<TenantId, Arc<Slot>>>,
    /// Counts the times that somebody asked.
    clock: AtomicU64,
}

/// Where a tenant is while it is open. Locked while it is opened, closed or deleted.
#[derive(Debug, Default)]
struct Slot {
    core: Mutex<Option<Arc<TenantCore>>>,
    /// When it was last asked for.
    used: AtomicU64,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<TenantCore>>> {
        self.core.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Tenants {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<TenantId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn slot(&self, id: &TenantId) -> Arc<Slot> {
        let slot = self.slots().entry(id.clone()).or_default().clone();
        slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot
    }

    /// Lets an empty slot go, so that names that are asked for and not there leave nothing behind.
    fn let_go(&self, id: &TenantId, slot: Arc<Slot>) {
        let mut slots = self.slots();
        // This one and the map's: whoever waits for it has one more.
        if Arc::strong_count(&slot) == 2 && slot.lock().is_none() {
            slots.remove(id);
        }
    }

    /// The tenant, opened where it is not, with what closes one; afterwards at most `open_max` are, besides those that somebody uses.
    pub(super) fn get(
        &self,
        id: &TenantId,
        open_max: usize,
        open: impl FnOnce() -> Result<TenantCore, Error>,
        retire: impl Fn(&Arc<TenantCore>) -> Result<(), Error>,
    ) -> Result<Arc<TenantCore>, Error> {
        let slot = self.slot(id);
        let mut core = slot.lock();
        if let Some(core) = &*core {
            return Ok(core.clone());
        }
        match open() {
            Ok(opened) => {
                let opened = Arc::new(opened);
                *core = Some(opened.clone());
                drop(core);
                self.close_idle(open_max, retire);
                Ok(opened)
            }
            Err(error) => {
                drop(core);
                self.let_go(id, slot);
                Err(error)
            }
        }
    }

    /// The tenant where it is open; one that is being opened or closed is waited for.
    pub(super) fn find(&self, id: &TenantId) -> Option<Arc<TenantCore>> {
        let slot = self.slots().get(id).cloned()?;
        slot.lock().clone()
    }

    /// Does something while nobody can open or close the tenant: what is open may be taken out.
    pub(super) fn alone<T>(
        &self,
        id: &TenantId,
        work: impl FnOnce(&mut Option<Arc<TenantCore>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let slot = self.slot(id);
        let mut core = slot.lock();
        let result = work(&mut core);
        drop(core);
        self.let_go(id, slot);
        result
    }

    /// The open tenants. One that is being opened, closed or deleted is not waited for, and left out.
    pub(super) fn open(&self) -> Vec<Arc<TenantCore>> {
        let slots: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        slots.iter().filter_map(|slot| slot.core.try_lock().ok()?.clone()).collect()
    }

    /// All that are open, which are not known here any more.
    pub(super) fn take_all(&self) -> Vec<Arc<TenantCore>> {
        let slots = std::mem::take(&mut *self.slots());
        slots.into_values().filter_map(|slot| slot.lock().take()).collect()
    }

    /// Closes tenants that nobody uses, until few enough are open.
    fn close_idle(&self, open_max: usize, retire: impl Fn(&Arc<TenantCore>) -> Result<(), Error>) {
        let mut idle: Vec<(u64, TenantId, Arc<Slot>)> = Vec::new();
        let over = {
            let slots = self.slots();
            if slots.len() <= open_max {
                return;
            }
            for (id, slot) in slots.iter() {
                // One that is locked is in use.
                let is_idle =
                    slot.core.try_lock().is_ok_and(|core| core.as_ref().is_some_and(|c| Arc::strong_count(c) == 1));
                if is_idle {
                    idle.push((slot.used.load(Ordering::Relaxed), id.clone(), slot.clone()));
                }
            }
            slots.len() - open_max
        };
        idle.sort_unstable_by_key(|(used, ..)| *used);
        for (_, id, slot) in idle.into_iter().take(over) {
            {
                let mut core = slot.lock();
                // Who came in between keeps it open; so does what can't be made durable now.
                if core.as_ref().is_some_and(|c| Arc::strong_count(c) == 1 && retire(c).is_ok()) {
                    *core = None;
                }
            }
            self.let_go(&id, slot);
        }
    }
}
