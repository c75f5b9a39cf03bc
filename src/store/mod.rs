//! A store: a folder with tenants, opened by one writer or by any number of readers.
//!
//! Promises: one writer at a time, also across processes; tenants are opened when they are first used, and share one
//! cache, one budget and one set of background threads. May not know: byte layout, nom, tantivy.

mod adopt;
mod audit;
mod delete;
pub mod error;
mod figures;
pub(crate) mod folders;
mod handle;
mod keys;
mod lifecycle;
mod options;
mod rows;
mod tenants;
mod work;

pub use audit::SYSTEM_TENANT;
pub use error::Error;
pub use figures::StoreFigures;
pub use handle::Tenant;
pub use lifecycle::DiskSpace;
pub use options::{MEMORY_FREED_MIN, MEMTABLE_BYTES_MAX, MemoryFreed, Options, TENANTS_OPEN_MAX};
pub use rows::{QueryOptions, Rows, Tail};

pub use crate::catalog::{AuthError, Catalog, CatalogError, Principal, Roles, Scope};
pub use crate::crypt::{KeyInfo, MasterKey};
pub use crate::exec::{Cell, ExecError, Missed, Missing, QueryStats, Row};
pub use crate::log::Ack;
pub use crate::tenant::{DeleteListener, DeleteOptions, DeleteProgress, DeleteReport, Written};

use crate::archive::Archives;
use crate::cache::Cache;
use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::id::TenantId;
use crate::tenant::{TenantCore, TenantOptions};
use crate::vfs::{Lock, RealVfs, Vfs};
use error::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tenants::Tenants;
use work::Workers;

/// The tenant where none is named.
pub const DEFAULT_TENANT: &str = "default";

/// An open store. Clones are handles of the same one; the last one dropped closes it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("logs");
/// use duramen::record;
/// let store = duramen::Store::open(&path)?;
/// let tenant = store.tenant("acme")?;
/// tenant.append(&[record! { level: "error", message: "connection reset", duration: 1500 }])?;
/// for row in tenant.query("level:error AND duration:>1000")? {
///     println!("{}", row?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    path: PathBuf,
    vfs: Arc<dyn Vfs>,
    options: Options,
    read_only: bool,
    cache: Arc<Cache>,
    memtable_bytes: Arc<AtomicU64>,
    /// Held by who makes room for memtables.
    relief: Mutex<()>,
    tenants: Tenants,
    catalog: OnceLock<Catalog>,
    catalog_open: Mutex<()>,
    workers: Workers,
    lifecycle: lifecycle::Lifecycle,
    archives: Archives,
    written: Arc<Written>,
    figures: figures::Figures,
    closed: AtomicBool,
    lock: Mutex<Option<Lock>>,
}

impl Store {
    /// Opens a store for writing, and makes it where there is none. A second writer gets an error that names the first.
    pub fn open(path: impl AsRef<Path>) -> Result<Store, Error> {
        Self::open_with(path, Options::default())
    }

    /// Opens a store for writing, with options.
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Store, Error> {
        Self::open_on(Arc::new(RealVfs), path.as_ref(), options, true)
    }

    /// Opens a store as it is on disk, beside a writer perhaps: nothing is locked, written or repaired, and what is
    /// seen is the last durable state at the moment when a tenant is opened, or when a query found that files of that
    /// state are gone, since the writer merged them, say.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store, Error> {
        Self::open_read_only_with(path, Options::default())
    }

    /// Opens a store as it is on disk, with options.
    pub fn open_read_only_with(path: impl AsRef<Path>, options: Options) -> Result<Store, Error> {
        Self::open_on(Arc::new(RealVfs), path.as_ref(), options, false)
    }

    /// Opens a store on another file system; for tests that crash it.
    #[doc(hidden)]
    pub fn open_on(vfs: Arc<dyn Vfs>, path: &Path, options: Options, write: bool) -> Result<Store, Error> {
        let store = Self::open_as_it_is(vfs, path, options, write)?;
        if write {
            store.finish_deletions()?;
            store.0.workers.start(&store.0);
        }
        Ok(store)
    }

    /// The same without a thread, and without finishing deletions that were cut short.
    pub(crate) fn open_as_it_is(vfs: Arc<dyn Vfs>, path: &Path, options: Options, write: bool) -> Result<Store, Error> {
        let archives = Archives::open(options.policy.archives(), options.policy.archive_buckets(), &vfs)?;
        let archives = archives.and(&options.archives);
        let lock = if write {
            make_folders(&*vfs, path)?;
            Some(vfs.lock(&path.join("LOCK"))?)
        } else {
            if !vfs.exists(&path.join("tenants"))? {
                return Err(ErrorKind::NoSuchStore(path.to_path_buf()).into());
            }
            None
        };
        let inner = Arc::new(Inner {
            path: path.to_path_buf(),
            vfs,
            cache: Arc::new(Cache::new(options.cache_bytes_max)),
            read_only: !write,
            memtable_bytes: Arc::default(),
            relief: Mutex::default(),
            tenants: Tenants::default(),
            catalog: OnceLock::new(),
            catalog_open: Mutex::default(),
            workers: Workers::default(),
            lifecycle: lifecycle::Lifecycle::default(),
            archives,
            written: Arc::default(),
            figures: figures::Figures::default(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(lock),
            options,
        });
        Ok(Store(inner))
    }

    /// The archives that it knows, by what it was opened with.
    pub fn archives(&self) -> &Archives {
        &self.0.archives
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A tenant, made where it is missing (unless the store is read-only).
    pub fn tenant(&self, name: &str) -> Result<Tenant, Error> {
        self.open_tenant(name, !self.0.read_only)
    }

    /// A tenant that exists.
    pub fn existing_tenant(&self, name: &str) -> Result<Tenant, Error> {
        self.open_tenant(name, false)
    }

    /// Makes a tenant; an error where it exists.
    pub fn create_tenant(&self, name: &str) -> Result<Tenant, Error> {
        let id = TenantId::new(name)?;
        if self.0.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        if self.0.vfs.exists(&self.0.tenant_dir(&id).join("manifest"))? {
            return Err(ErrorKind::TenantExists(name.into()).into());
        }
        self.open_tenant(name, true)
    }

    fn open_tenant(&self, name: &str, create: bool) -> Result<Tenant, Error> {
        let core = self.0.core(&TenantId::new(name)?, create)?;
        Ok(Tenant::new(core, self.0.clone()))
    }

    /// The names of the tenants, sorted.
    pub fn tenants(&self) -> Result<Vec<String>, Error> {
        Ok(self.0.tenant_ids()?.iter().map(ToString::to_string).collect())
    }

    /// Tokens, settings of tenants and due times; opened by the first call. Not in a read-only store.
    pub fn catalog(&self) -> Result<&Catalog, Error> {
        self.0.open_catalog()
    }

    /// Does the work that is due in the caller's thread: seals full or old memtables, lets go what has expired, and
    /// merges small segments.
    pub fn maintain(&self) -> Result<(), Error> {
        self.0.maintain()
    }

    /// What is waited for where an append does not say.
    pub fn ack(&self) -> Ack {
        self.0.options.ack
    }

    /// Bytes written into segments since the store was opened, of all its tenants.
    pub fn written(&self) -> &Written {
        &self.0.written
    }

    /// Bytes of the file system that the store is on: all, and those that can still be used. `None` where the system
    /// does not tell.
    pub fn disk_space(&self) -> Option<(u64, u64)> {
        self.0.vfs.space(&self.0.path)
    }

    /// The room on the disk, by the rules of the store; at most a second old.
    pub fn space(&self) -> DiskSpace {
        self.0.space()
    }

    /// Bytes of all memtables and of the cache.
    pub fn memory(&self) -> (u64, u64) {
        (self.0.memtable_bytes.load(Ordering::Relaxed), self.0.cache.bytes() as u64)
    }

    /// Seals and syncs all tenants and lets the lock go. Handles that are left get errors. Dropping the last handle
    /// does the same, and can't say what went wrong.
    pub fn close(self) -> Result<(), Error> {
        self.0.close()
    }
}

/// Makes a store's folders, durably: else a loss of power takes what is in them, however well that was synced.
fn make_folders(vfs: &dyn Vfs, path: &Path) -> Result<(), StorageError> {
    crate::vfs::make_folder(vfs, &path.join("tenants"))?;
    // Also where they were there: whoever made them may have ended before they were durable.
    vfs.sync_dir(path)?;
    // The folder above need not be ours to open.
    let _ = vfs.sync_dir(&crate::vfs::above(path));
    Ok(())
}

impl Inner {
    fn tenant_dir(&self, id: &TenantId) -> PathBuf {
        self.path.join("tenants").join(id.as_str())
    }

    /// A tenant's insides, opened where they are not.
    fn core(&self, id: &TenantId, create: bool) -> Result<Arc<TenantCore>, Error> {
        let core = self.tenants.get(
            id,
            self.options.tenants_open_max,
            || self.open_core(id, create),
            |idle| self.retire(idle),
        );
        self.figures.note(id, &core);
        let core = core?;
        match self.closed.load(Ordering::Acquire) {
            true => Err(ErrorKind::Closed.into()),
            false => Ok(core),
        }
    }

    fn open_core(&self, id: &TenantId, create: bool) -> Result<TenantCore, Error> {
        // Looked at while the slot is held: whoever closes the store waits for the slots that were there before.
        if self.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        if self.vfs.exists(&delete::mark(&self.path.join("tenants"), id))? {
            return Err(match self.read_only {
                true => ErrorKind::NoSuchTenant(id.to_string()).into(),
                false => ErrorKind::BeingDeleted(id.to_string()).into(),
            });
        }
        let dir = self.tenant_dir(id);
        let keys = KeyRing::open(self.vfs.clone(), &dir, id, self.options.master_key.as_ref())?;
        if create && self.options.encrypt_tenants && !crate::tenant::exists(&*self.vfs, &dir)? {
            self.vfs.create_dir_all(&dir)?;
            keys.encrypt()?;
        }
        let options = TenantOptions {
            vfs: self.vfs.clone(),
            dir: dir.clone(),
            cache: self.cache.clone(),
            memtable_bytes: self.memtable_bytes.clone(),
            memtables_bytes_max: self.options.memtables_bytes_max as u64,
            memtable_bytes_max: self.options.memtable_bytes_max,
            mapped: self.options.mapped,
            merge_bytes_max: self.options.merge_bytes_max,
            rules: self.rules_of(id),
            written: self.written.clone(),
            keys,
            leftover: Arc::default(),
        };
        if !self.read_only {
            let opened = TenantCore::open(id, options, create);
            if create {
                self.figures.folders_change();
            }
            return opened;
        }
        if !crate::tenant::exists(&*self.vfs, &dir)? {
            return Err(ErrorKind::NoSuchTenant(id.to_string()).into());
        }
        TenantCore::open_read_only(id, options)
    }

    /// The tenants, sorted by name.
    fn tenant_ids(&self) -> Result<Vec<TenantId>, Error> {
        Ok(folders::tenants(&*self.vfs, &self.path)?)
    }

    /// The catalog, opened by the first call.
    fn open_catalog(&self) -> Result<&Catalog, Error> {
        if self.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        let _one = self.catalog_open.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(catalog) = self.catalog.get() {
            return Ok(catalog);
        }
        let catalog = Catalog::open(self.vfs.clone(), &self.path)?;
        Ok(self.catalog.get_or_init(|| catalog))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    fn maintain(&self) -> Result<(), Error> {
        self.seal_due().and(self.merge_due())
    }

    /// What does not take long: seals what is full or old, makes indexes anew, lets go what rules let go.
    fn seal_due(&self) -> Result<(), Error> {
        let open = self.tenants.open();
        let mut first_error = self.seal_full(&open);
        for tenant in &open {
            if let Err(e) = tenant.rebuild_index() {
                first_error = first_error.and(Err(e));
            }
        }
        first_error.and(self.live_by_rules(&open)).and(self.rotate_due(&open)).and(self.audit_decisions())
    }

    /// What can't wait for the end of a merge: seals what is full or old. A tenant that somebody closes or deletes is
    /// left out: that may be who waits for the caller.
    fn try_seal_full(&self) -> Result<(), Error> {
        self.seal_full(&self.tenants.open())
    }

    fn seal_full(&self, open: &[Arc<TenantCore>]) -> Result<(), Error> {
        let mut first_error = Ok(());
        for tenant in open {
            // One tenant's trouble does not keep another's records in memory.
            if let Err(e) = tenant.maintain(self.options.seal_age_max) {
                first_error = first_error.and(Err(e));
            }
        }
        first_error.and(self.seal_largest(open, self.options.memtables_bytes_max as u64))
    }

    /// Seals the largest memtables until all together have at most so many bytes. One that can't be sealed is left.
    fn seal_largest(&self, open: &[Arc<TenantCore>], bytes_max: u64) -> Result<(), Error> {
        let is_over = || self.memtable_bytes.load(Ordering::Relaxed) > bytes_max;
        if !is_over() {
            return Ok(());
        }
        let mut first_error = Ok(());
        let mut largest: Vec<(usize, &Arc<TenantCore>)> = open.iter().map(|t| (t.active_bytes(), t)).collect();
        largest.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, tenant) in largest {
            if bytes == 0 || !is_over() {
                break;
            }
            // No tenant's merge or deletion is what all the others wait for.
            if !tenant.is_sealing()
                && let Err(e) = tenant.seal()
            {
                first_error = first_error.and(Err(e));
            }
        }
        first_error
    }

    /// Before an append: where memtables have outgrown their room by more than a quarter, whoever appends waits until
    /// there is room again, which one of them makes. Where sealing fails, which is no fault of the appended records,
    /// each tenant's own bound is left.
    fn make_room(&self) {
        let bytes_max = self.options.memtables_bytes_max as u64;
        let is_over = || self.memtable_bytes.load(Ordering::Relaxed) > bytes_max + bytes_max / 4;
        if is_over() {
            let _turn = self.relief.lock().unwrap_or_else(|e| e.into_inner());
            if is_over() {
                let _ = self.seal_largest(&self.tenants.open(), bytes_max);
            }
        }
    }

    /// Have memtables outgrown their room?
    fn is_over_room(&self) -> bool {
        self.memtable_bytes.load(Ordering::Relaxed) > self.options.memtables_bytes_max as u64
    }

    fn close(&self) -> Result<(), Error> {
        if !self.closed.load(Ordering::Acquire) {
            // What fails is made up for when the store is next opened.
            let _ = self.audit_decisions();
        }
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.workers.stop();
        let mut result = Ok(());
        if self.catalog.get().is_some() {
            result = self.set_due(&self.tenants.open());
        }
        for tenant in self.tenants.take_all() {
            if let Err(e) = tenant.close() {
                result = result.and(Err(e));
            }
        }
        drop(self.lock.lock().unwrap_or_else(|e| e.into_inner()).take());
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; the log has what could not be sealed.
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests;
