//! The control plane: which tenants there are, who may ask for what, and which work is due.
//!
//! Promises: what was decided is in `control.log`, synced before a call returns; the log is read and checked whole when
//! it is opened, and damage in it is refused. What answers questions is `catalog/`, a view kept by sled that is derived
//! from the log and made anew whenever it doesn't fit it. Secrets are in neither. The only importer of sled.
//! May not know: queries, HTTP, the contents of records.

mod error;
mod log;
mod state;
mod token;
mod view;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

pub use crate::format::control::{BadToken, Cidr, Event, EventKind, KeyChange, Roles, TokenEntry};
pub use error::CatalogError;
pub use state::{BadSetting, TenantInfo, TokenInfo};
pub use token::{AuthError, CreatedToken, NewToken, Principal, Scope, Secret};
pub use view::{Due, ViewPlace};

use crate::error::StorageError;
use crate::format::control::Torn;
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::vfs::Vfs;
use log::ControlLog;
use state::State;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use view::{View, ViewError};

/// The name of the control log in a store's folder.
pub const CONTROL_LOG: &str = "control.log";
/// The name of the folder of the derived view.
pub const CATALOG_DIR: &str = "catalog";

/// The control plane of one store. One process has it at a time: the store's lock sees to that.
#[derive(Debug)]
pub struct Catalog {
    vfs: Arc<dyn Vfs>,
    log_path: PathBuf,
    place: ViewPlace,
    // Lock order: the log, then the view.
    log: Mutex<ControlLog>,
    view: RwLock<View>,
    report: OpenReport,
    /// Events since it was opened.
    changes: AtomicU64,
}

/// What opening a catalog found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// What a crash had left behind the last whole frame of the log, and was cut off.
    pub torn: Option<Torn>,
    /// Why the view was made anew; `None` where it fitted.
    pub rebuilt: Option<String>,
    /// How many more events the view had seen than the log holds: they were acknowledged, and are gone.
    pub lost_events: u64,
}

impl Catalog {
    /// Opens the catalog of a store's folder, making it where there is none.
    pub fn open(vfs: Arc<dyn Vfs>, data: &Path) -> Result<Self, CatalogError> {
        // sled knows but one file system.
        let place = if vfs.is_system() { ViewPlace::Folder(data.join(CATALOG_DIR)) } else { ViewPlace::Temporary };
        Self::open_with(vfs, data, place)
    }

    /// The same with a say in where the view is kept: sled goes to the real file system, whatever `vfs` is.
    pub fn open_with(vfs: Arc<dyn Vfs>, data: &Path, place: ViewPlace) -> Result<Self, CatalogError> {
        let log_path = data.join(CONTROL_LOG);
        let (log, contents) = ControlLog::open(vfs.as_ref(), &log_path)?;
        let mut report = OpenReport { torn: contents.torn.clone(), ..OpenReport::default() };
        let mut reason = None;
        let mut view = None;
        match View::open(&place).and_then(|v| Ok((v.head()?, v))) {
            Ok((Some(head), found)) => {
                if head.frames > contents.head.frames {
                    report.lost_events = head.frames - contents.head.frames;
                }
                if head == contents.head {
                    view = Some(found);
                } else {
                    reason = Some("the view and the log differ".to_string());
                }
            }
            Ok((None, _)) => reason = Some("there was no view".to_string()),
            Err(error) => reason = Some(format!("the view could not be read: {error}")),
        }
        let view = match view {
            Some(view) => view,
            None => {
                let mut state = State::default();
                contents.events.iter().for_each(|event| state.apply(event));
                View::build(&place, &state, &contents.head).map_err(CatalogError::view)?
            }
        };
        // Which work was due may have been lost with the view, and with what a crash kept from it.
        let unsure = reason.is_some() || !view.was_closed().unwrap_or(false);
        report.rebuilt = reason;
        let catalog = Catalog {
            vfs,
            log_path,
            place,
            log: Mutex::new(log),
            view: RwLock::new(view),
            report,
            changes: AtomicU64::new(0),
        };
        if unsure {
            catalog.all_due()?;
        }
        catalog.with_view(|view| view.mark_open())?;
        Ok(catalog)
    }

    /// What a control log says, for readers that hold no lock: no view is read or made, and nothing is cut off.
    /// A store without a control log has no tenants and no tokens.
    pub fn read(vfs: &dyn Vfs, data: &Path) -> Result<(Vec<TenantInfo>, Vec<TokenInfo>), CatalogError> {
        let path = data.join(CONTROL_LOG);
        let mut state = State::default();
        if vfs.exists(&path)? {
            log::read(vfs, &path)?.events.iter().for_each(|event| state.apply(event));
        }
        let tenants = state.tenants.into_values().filter(TenantInfo::is_live).collect();
        Ok((tenants, state.tokens.into_values().collect()))
    }

    /// What opening found.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// How many events there are, and how many of them were committed since it was opened: the last ones.
    pub fn decisions(&self) -> (u64, u64) {
        let log = lock(&self.log);
        (log.frames(), self.changes())
    }

    /// The events after the first `number`, each with its number.
    pub fn decided_after(&self, number: u64) -> Result<Vec<(u64, Event)>, CatalogError> {
        let log = lock(&self.log);
        let frames = log.frames();
        // What stands behind them is half of one that failed.
        let contents = log::read(self.vfs.as_ref(), &self.log_path)?;
        let events = (1..=frames).zip(contents.events);
        Ok(events.filter(|(n, _)| *n > number).collect())
    }

    /// How many events were committed since it was opened: where this is another, settings may be.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    // Tenants.

    /// Makes a tenant; an error where there is one of that name.
    pub fn create_tenant(&self, tenant: &TenantId) -> Result<(), CatalogError> {
        self.commit(EventKind::TenantCreated { tenant: tenant.clone() }, |view| {
            match view.tenant(tenant)?.filter(TenantInfo::is_live) {
                Some(_) => Ok(Err(CatalogError::TenantExists(tenant.clone()))),
                None => Ok(Ok(())),
            }
        })
    }

    /// Makes a tenant where there is none of that name; was it made?
    pub fn ensure_tenant(&self, tenant: &TenantId) -> Result<bool, CatalogError> {
        if self.tenant(tenant)?.is_some() {
            return Ok(false);
        }
        match self.create_tenant(tenant) {
            Ok(()) => Ok(true),
            Err(CatalogError::TenantExists(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A tenant that is there and not deleted.
    pub fn tenant(&self, tenant: &TenantId) -> Result<Option<TenantInfo>, CatalogError> {
        Ok(self.with_view(|view| view.tenant(tenant))?.filter(TenantInfo::is_live))
    }

    /// All tenants that are not deleted, by name.
    pub fn tenants(&self) -> Result<Vec<TenantInfo>, CatalogError> {
        let mut all = self.with_view(View::tenants)?;
        all.retain(TenantInfo::is_live);
        Ok(all)
    }

    /// Gives a tenant a setting or, without a value, takes it back. Names and values are checked.
    pub fn set(&self, tenant: &TenantId, name: &str, value: Option<&str>) -> Result<(), CatalogError> {
        state::check_setting(name, value)?;
        let kind = EventKind::TenantSet { tenant: tenant.clone(), name: name.into(), value: value.map(Into::into) };
        self.commit(kind, |view| live(view, tenant))
    }

    /// Marks a tenant deleted and revokes its tokens. A tenant of that name may be made anew later, and begins empty.
    pub fn delete_tenant(&self, tenant: &TenantId) -> Result<(), CatalogError> {
        self.commit(EventKind::TenantDeleted { tenant: tenant.clone() }, |view| live(view, tenant))
    }

    /// Keeps a record of what is about to be done to a tenant's keys.
    pub fn record_key_change(&self, tenant: &TenantId, change: KeyChange, generation: u32) -> Result<(), CatalogError> {
        self.commit(EventKind::KeyChanged { tenant: tenant.clone(), change, generation }, |_| Ok(Ok(())))
    }

    // Tokens.

    /// Makes a token. The answer is the only place where its secret ever is.
    pub fn create_token(&self, new: NewToken) -> Result<CreatedToken, CatalogError> {
        let tenant = new.tenant.clone();
        let (created, entry) = new.make()?;
        self.commit(EventKind::TokenCreated(entry), |view| match &tenant {
            Some(tenant) => live(view, tenant),
            None => Ok(Ok(())),
        })?;
        Ok(created)
    }

    /// All tokens that were ever made, by id, also revoked ones.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, CatalogError> {
        self.with_view(View::tokens)
    }

    /// Was a token ever made? Then the server never answers without one again, also when all were revoked.
    pub fn has_tokens(&self) -> Result<bool, CatalogError> {
        self.with_view(View::has_tokens)
    }

    /// Revokes a token; one that was revoked before stays so.
    pub fn revoke_token(&self, id: &str) -> Result<(), CatalogError> {
        self.commit(EventKind::TokenRevoked { id: id.into() }, |view| {
            Ok(match view.token_by_id(id)? {
                Some(_) => Ok(()),
                None => Err(CatalogError::NoSuchToken(id.chars().take(80).collect())),
            })
        })
    }

    /// Who holds this secret, and may use it from this address now?
    ///
    /// The secret is looked up by its BLAKE3 hash, so that how long that takes says nothing about how much of a guess
    /// was right: a guess that shares its first bytes with a secret shares nothing with the secret's hash. A plain
    /// hash is enough because secrets are 256 random bits; there is nothing to try out as there is with passwords.
    pub fn authenticate(&self, secret: &str, peer: IpAddr, now: Timestamp) -> Result<Principal, AuthError> {
        let hash = token::hash(secret);
        let found = self.with_view(|view| view.token_by_hash(&hash)).map_err(AuthError::catalog)?;
        token::check(found, peer, now)
    }

    // Due work.

    /// Says when a tenant's next work of a kind is due, or that none is. This is kept in the view alone, and not
    /// synced: where it is lost, every tenant is due at once, and finds that there is nothing to do.
    pub fn due(&self, tenant: &TenantId, kind: &str, at: Option<Timestamp>) -> Result<(), CatalogError> {
        self.with_view(|view| view.set_due(tenant, kind, at))
    }

    /// Work that is due by now, the longest due first.
    pub fn due_by(&self, now: Timestamp) -> Result<Vec<Due>, CatalogError> {
        self.with_view(|view| view.due_by(now))
    }

    /// When the next work is due.
    pub fn next_due(&self) -> Result<Option<Timestamp>, CatalogError> {
        self.with_view(View::next_due)
    }

    fn all_due(&self) -> Result<(), CatalogError> {
        for tenant in self.tenants()? {
            self.due(&tenant.name, view::CHECK, Some(Timestamp(0)))?;
        }
        Ok(())
    }

    // How it is done.

    /// Appends an event to the log, if `check` allows it, and brings the view up to date.
    fn commit(
        &self,
        kind: EventKind,
        check: impl Fn(&View) -> Result<Result<(), CatalogError>, ViewError>,
    ) -> Result<(), CatalogError> {
        let mut log = lock(&self.log);
        self.with_view_locked(&log, check)??;
        let event = Event { at: Timestamp::now(), kind };
        let head = log.append(&event)?;
        // Synced. From here on the event counts, and a view that can't follow is made anew from the log.
        let applied = self.view.read().unwrap_or_else(PoisonError::into_inner).apply(&event, &head);
        let applied = applied.or_else(|error| self.rebuild(&log, &error));
        // Counted once it can be asked for.
        self.changes.fetch_add(1, Ordering::Release);
        applied
    }

    fn with_view<T>(&self, ask: impl Fn(&View) -> Result<T, ViewError>) -> Result<T, CatalogError> {
        let answer = ask(&self.view.read().unwrap_or_else(PoisonError::into_inner));
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let log = lock(&self.log);
                self.rebuild(&log, &error)?;
                ask(&self.view.read().unwrap_or_else(PoisonError::into_inner)).map_err(CatalogError::view)
            }
        }
    }

    fn with_view_locked<T>(
        &self,
        log: &MutexGuard<'_, ControlLog>,
        ask: impl Fn(&View) -> Result<T, ViewError>,
    ) -> Result<T, CatalogError> {
        let answer = ask(&self.view.read().unwrap_or_else(PoisonError::into_inner));
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.rebuild(log, &error)?;
                ask(&self.view.read().unwrap_or_else(PoisonError::into_inner)).map_err(CatalogError::view)
            }
        }
    }

    /// Makes the view anew, because of an error. The log's lock is held, so that the log stands still.
    fn rebuild(&self, _log: &MutexGuard<'_, ControlLog>, because: &ViewError) -> Result<(), CatalogError> {
        let contents = log::read(self.vfs.as_ref(), &self.log_path)?;
        let mut state = State::default();
        contents.events.iter().for_each(|event| state.apply(event));
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.close();
        *view = View::build(&self.place, &state, &contents.head)
            .map_err(|error| CatalogError::View(format!("{because}; and it could not be made anew: {error}")))?;
        for tenant in state.tenants.values().filter(|t| t.is_live()) {
            view.set_due(&tenant.name, view::CHECK, Some(Timestamp(0))).map_err(CatalogError::view)?;
        }
        view.mark_open().map_err(CatalogError::view)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking thread left is checked again where it is read: the log by its hashes, the view by its head.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn live(view: &View, tenant: &TenantId) -> Result<Result<(), CatalogError>, ViewError> {
    Ok(match view.tenant(tenant)?.filter(TenantInfo::is_live) {
        Some(_) => Ok(()),
        None => Err(CatalogError::NoSuchTenant(tenant.clone())),
    })
}

impl From<StorageError> for CatalogError {
    fn from(error: StorageError) -> Self {
        CatalogError::Storage(error)
    }
}
