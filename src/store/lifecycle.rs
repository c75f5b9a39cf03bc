//! What the store does for the rules that records live by: gives them to its tenants, looks after those that are not
//! open, and watches the room on the disk.
//!
//! Lock order: the tenants' lock, then those of this module, which are held for moments only.

use super::error::ErrorKind;
use super::keys::DUE_KEYS;
use super::{Catalog, Error, Inner};
use crate::id::TenantId;
use crate::policy::{Settings, SpaceLevel, TenantPolicy};
use crate::record::Timestamp;
use crate::tenant::{Rules, TenantCore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often the room on the disk is looked at, at most.
const SPACE_EVERY: Duration = Duration::from_secs(1);
/// How often it is tried to free some while there is little.
const FREE_EVERY: Duration = Duration::from_secs(10);
/// Tenants that are not open and are looked after at a time, so that the others' memtables do not wait for long.
const DUE_MAX: usize = 16;
/// The kind of due work that is this module's.
const DUE: &str = "life";
/// The kind of due work where the catalog itself doesn't know, after a crash.
const CHECK: &str = "check";

/// What the store knows of rules and room.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// Settings of tenants as `control.log` has them, where the catalog is not open; or why it can't be read.
    settings: Mutex<Option<Result<BTreeMap<TenantId, Settings>, String>>>,
    /// The catalog's count of changes that tenants were told of.
    told: AtomicU64,
    /// The last decision of the catalog that there is an audit record of, as far as that is known.
    audited: Mutex<Option<u64>>,
    /// Was it put down when the keys of tenants that are not open are due?
    keys_scheduled: AtomicBool,
    looked: Mutex<Option<Instant>>,
    space: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    freed_at: Option<Instant>,
    space: DiskSpace,
}

/// The room on the disk of a store, when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSpace {
    /// How much that is by the rules.
    pub level: SpaceLevel,
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes of it that can still be used.
    pub free: u64,
    /// Below so many, what rules let go early goes.
    pub low_below: u64,
    /// Below so many, no records are taken.
    pub refuse_below: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is in pieces between two statements.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Lifecycle {
    /// Locked while records are written, so that each decision has one.
    pub(super) fn audited(&self) -> MutexGuard<'_, Option<u64>> {
        lock(&self.audited)
    }

    /// Says so from the second time on.
    pub(super) fn are_keys_scheduled(&self) -> bool {
        self.keys_scheduled.swap(true, Ordering::Relaxed)
    }
}

impl Inner {
    /// What a tenant that is opened lives by.
    pub(super) fn rules_of(&self, tenant: &TenantId) -> Arc<Rules> {
        let rules = Rules::new(self.archives.clone(), self.options.clock.clone());
        if !self.read_only {
            rules.set(self.policy_of(tenant));
        }
        Arc::new(rules)
    }

    /// A tenant's rules, with its own settings, or why they can't be known.
    fn policy_of(&self, tenant: &TenantId) -> Result<TenantPolicy, String> {
        let settings = match self.catalog.get() {
            Some(catalog) => catalog.tenant(tenant).map_err(|e| e.to_string())?.map(|t| t.settings),
            None => {
                let mut known = lock(&self.lifecycle.settings);
                let read = || {
                    let (tenants, _) = Catalog::read(&*self.vfs, &self.path).map_err(|e| e.to_string())?;
                    Ok(tenants.into_iter().map(|t| (t.name, t.settings)).collect())
                };
                known.get_or_insert_with(read).as_ref().map_err(Clone::clone)?.get(tenant).cloned()
            }
        };
        self.options.policy.of_tenant(tenant, &settings.unwrap_or_default()).map_err(|e| e.to_string())
    }

    /// Gives a tenant the rules as they are now.
    pub(crate) fn refresh(&self, tenant: &TenantCore) {
        if !self.read_only {
            tenant.rules().set(self.policy_of(tenant.id()));
        }
    }

    /// The catalog, where one is open or there is something in it or to be put into it.
    fn due_times(&self) -> Result<Option<&Catalog>, Error> {
        let is_wanted = self.options.policy.has_rules()
            || self.options.rotate_keys_every.is_some()
            || self.vfs.exists(&self.path.join(crate::catalog::CONTROL_LOG))?;
        match self.catalog.get() {
            None if is_wanted => self.open_catalog().map(Some),
            found => Ok(found),
        }
    }

    /// Does what rules ask for: now and then for open tenants, and when something is due for others.
    pub(super) fn live_by_rules(&self, open: &[Arc<TenantCore>]) -> Result<(), Error> {
        let mut first_error = Ok(());
        let mut note = |result: Result<(), Error>| {
            if let Err(e) = result
                && first_error.is_ok()
            {
                first_error = Err(e);
            }
        };
        if let Some(catalog) = self.catalog.get() {
            let changes = catalog.changes();
            if self.lifecycle.told.swap(changes, Ordering::Relaxed) != changes {
                open.iter().for_each(|tenant| self.refresh(tenant));
            }
        }
        self.look_at_space();
        note(self.free_space(open));
        {
            let mut last = lock(&self.lifecycle.looked);
            if last.is_some_and(|at| at.elapsed() < self.options.lifecycle_every) {
                return first_error;
            }
            *last = Some(Instant::now());
        }
        open.iter().for_each(|tenant| note(tenant.live_by_rules(false).map(drop)));
        note(self.set_due(open));
        note(self.look_after_others(open));
        first_error
    }

    /// Says when the next thing of each tenant is due, for when it is not open.
    pub(super) fn set_due(&self, open: &[Arc<TenantCore>]) -> Result<(), Error> {
        let Some(catalog) = self.due_times()? else { return Ok(()) };
        for tenant in open {
            catalog.due(tenant.id(), DUE, tenant.next_due())?;
            catalog.due(tenant.id(), DUE_KEYS, self.next_rotation(tenant))?;
            catalog.due(tenant.id(), CHECK, None)?;
        }
        Ok(())
    }

    /// Opens tenants of which something is due, by rules or for their keys, one after another, and closes them again.
    fn look_after_others(&self, open: &[Arc<TenantCore>]) -> Result<(), Error> {
        let Some(catalog) = self.due_times()? else { return Ok(()) };
        let is_open: BTreeSet<&TenantId> = open.iter().map(|t| t.id()).collect();
        self.schedule_rotations(catalog, &is_open)?;
        let due = catalog.due_by(self.options.clock.now())?;
        let mut first_error = Ok(());
        let mut done = BTreeSet::new();
        for due in due.into_iter().filter(|d| !is_open.contains(&d.tenant)) {
            if done.len() == DUE_MAX {
                break;
            }
            // The longest due first; two things of one tenant are done at once.
            if !done.insert(due.tenant.clone()) {
                continue;
            }
            let work = |tenant: &TenantCore| {
                tenant.live_by_rules(false)?;
                self.rotate_if_due(tenant)?;
                Ok((tenant.next_due(), self.next_rotation(tenant)))
            };
            let next = match self.visit(&due.tenant, work) {
                Ok(next) => next,
                Err(e) if e.is_no_such_tenant() => (None, None),
                Err(e) => {
                    if first_error.is_ok() {
                        first_error = Err(e);
                    }
                    // Tried again, and not before the others had their turn.
                    let later =
                        self.options.clock.now().0.saturating_add(self.options.lifecycle_every.as_nanos() as i64);
                    (Some(Timestamp(later)), self.options.rotate_keys_every.map(|_| Timestamp(later)))
                }
            };
            catalog.due(&due.tenant, DUE, next.0)?;
            catalog.due(&due.tenant, DUE_KEYS, next.1)?;
            catalog.due(&due.tenant, CHECK, None)?;
        }
        first_error
    }

    /// Closes a tenant that nobody uses. While it is not open, the catalog knows when it has to be.
    pub(super) fn retire(&self, idle: &Arc<TenantCore>) -> Result<(), Error> {
        if !self.read_only {
            let rules = idle.rules().policy();
            if rules.classes().any(|(_, life)| {
                life.age_ns.or(life.low_space_age_ns).is_some()
                    || life.bytes.or(life.records).is_some()
                    || life.archive.is_some()
            }) {
                // What is in its log only is not due at any time.
                idle.seal()?;
            }
            self.set_due(std::slice::from_ref(idle))?;
        }
        idle.retire()?;
        self.figures.keep(idle);
        Ok(())
    }

    /// Does something with a tenant that need not be open, and closes it where nobody else has it.
    fn visit<T>(&self, id: &TenantId, work: impl FnOnce(&TenantCore) -> Result<T, Error>) -> Result<T, Error> {
        let core = self.core(id, false)?;
        let done = work(&core);
        // The slot's and ours: while the slot is locked nobody comes by another. Closed under the lock, so that nobody
        // opens it meanwhile.
        self.tenants.alone(id, |open| {
            if Arc::strong_count(&core) == 2 && open.as_ref().is_some_and(|t| Arc::ptr_eq(t, &core)) {
                *open = None;
                core.close()?;
                self.figures.keep(&core);
            }
            Ok(())
        })?;
        done
    }

    /// Looks at the room on the disk, at most so often.
    fn look_at_space(&self) -> DiskSpace {
        let mut seen = lock(&self.lifecycle.space);
        if seen.at.is_none_or(|at| at.elapsed() >= self.options.space_every.min(SPACE_EVERY)) {
            seen.at = Some(Instant::now());
            let rules = self.options.policy.space();
            seen.space = self.vfs.space(&self.path).map_or_else(DiskSpace::default, |(total, free)| DiskSpace {
                level: rules.level(total, free),
                total,
                free,
                low_below: rules.low_below(total),
                refuse_below: rules.refuse_below(total),
            });
        }
        seen.space
    }

    /// Where there is little room, lets go what rules let go early.
    fn free_space(&self, open: &[Arc<TenantCore>]) -> Result<(), Error> {
        {
            let mut seen = lock(&self.lifecycle.space);
            let is_tried = seen.freed_at.is_some_and(|at| at.elapsed() < self.options.space_every.min(FREE_EVERY));
            if seen.space.level == SpaceLevel::Enough || is_tried {
                return Ok(());
            }
            seen.freed_at = Some(Instant::now());
        }
        let mut first_error = Ok(());
        let mut names: BTreeSet<TenantId> = self.tenant_ids()?.into_iter().collect();
        for tenant in open {
            names.remove(tenant.id());
            if let Err(e) = tenant.live_by_rules(true) {
                first_error = first_error.and(Err(e));
            }
        }
        for id in names {
            // Tenants none of whose records may go early are not opened for it.
            let may_free =
                self.policy_of(&id).is_ok_and(|p| p.classes().any(|(_, life)| life.low_space_age_ns.is_some()));
            if may_free && let Err(e) = self.visit(&id, |tenant| tenant.live_by_rules(true).map(drop)) {
                first_error = first_error.and(Err(e));
            }
        }
        lock(&self.lifecycle.space).at = None;
        self.look_at_space();
        first_error
    }

    /// The room on the disk.
    pub(super) fn space(&self) -> DiskSpace {
        self.look_at_space()
    }

    /// Is there room on the disk for records?
    pub(crate) fn has_room(&self) -> Result<(), Error> {
        let space = self.look_at_space();
        if space.level == SpaceLevel::Refuse {
            return Err(ErrorKind::LowSpace { free: space.free, limit: space.refuse_below }.into());
        }
        Ok(())
    }
}
