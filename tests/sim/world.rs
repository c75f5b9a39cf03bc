//! A store on a simulated disk, the model beside it, and what can be done to both.

use super::model::{Batch, Tenant};
use super::rules::covers;
use duramen::backup::FolderTarget;
use duramen::crypt::MasterKey;
use duramen::policy::{Policy, PolicyConfig};
use duramen::tenant::Clock;
use duramen::vfs::sim::{SimRandom, SimVfs};
use duramen::{Error, Options, Store, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Not right below the root: the store's own folder can be lost.
pub const DIR: &str = "/disk/store";
/// Where the archive is: on another disk.
pub const COLD: &str = "/other/cold";
pub const TENANTS: [&str; 3] = ["one", "two", "three"];
pub const STREAMS: [&str; 3] = ["web", "db", "jobs"];

pub const OLD_NS: i64 = 1_000_000_000_000_000_000;
pub const NEW_NS: i64 = 2_000_000_000_000_000_000;

/// What ended a step.
#[derive(Debug)]
pub enum Stop {
    /// The simulated power is gone: expected.
    Down,
    /// The store is wrong.
    Wrong(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Stop::Wrong(text)
    }
}

/// Where something was made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// In this tenant's folder: nobody else may notice.
    Of(&'static str),
    Anywhere,
}

impl Trouble {
    /// May an operation on this tenant, or on the store as a whole, fail?
    pub fn meets(self, tenant: Option<&'static str>) -> bool {
        match (self, tenant) {
            (Trouble::None, _) => false,
            (Trouble::Anywhere, _) | (Trouble::Of(_), None) => true,
            (Trouble::Of(of), Some(tenant)) => of == tenant,
        }
    }

    pub fn and(self, other: Trouble) -> Trouble {
        match (self, other) {
            (one, Trouble::None) | (Trouble::None, one) => one,
            (one, other) if one == other => one,
            _ => Trouble::Anywhere,
        }
    }
}

/// When a run was, and what the store held.
pub type BackedUp = (Timestamp, BTreeMap<&'static str, Tenant>);

/// Which records a query asks for: by the number of their batch, the batch and their place in it.
pub type Wanted = Box<dyn Fn(u64, &Batch, u32) -> bool>;

pub struct World {
    pub vfs: SimVfs,
    pub store: Option<Store>,
    pub tenants: BTreeMap<&'static str, Tenant>,
    pub random: SimRandom,
    pub options: Options,
    pub next_batch: u64,
    /// Have tenants rules, archives and keys? What says so is in the control log, which refuses what a disk may leave
    /// of it that does not write whole sectors: then the disk does.
    pub is_managed: bool,
    /// Are most records old, and most settings rules for archives? Else few segments go there.
    pub is_archiving: bool,
    /// How many nanoseconds the store's clock is ahead.
    pub ahead: Arc<AtomicI64>,
    /// Was the control log damaged, so that it may not know of a tenant's deletion?
    pub forgets_deletions: bool,
    /// All settings that any tenant was ever asked to have.
    pub ever_asked: BTreeSet<(&'static str, &'static str)>,
    /// Where a fault was asked for since the store was opened. There operations may fail, each with a reason.
    pub trouble: Trouble,
    /// What the store held when it was last backed up, and how often it was.
    pub backed_up: Option<BackedUp>,
    pub backups: usize,
    /// Is nothing backed up? How many folders the objects of a backup take depends on their names, which are hashes of
    /// bytes with the time in them: with backups the number of operations is not the same each time.
    pub no_backups: bool,
    /// What was done, for whoever looks at a failure.
    pub trace: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = SimRandom(seed);
        let mut options = Options::default();
        options.background_threads = 0;
        options.query_threads = 1;
        options.cache_bytes_max = 1 << 20;
        options.memtable_bytes_max = [1500, 3000, 12_000][random.below(3) as usize];
        options.merge_bytes_max = [6_000, 1 << 20][random.below(2) as usize];
        // Records are old: what is due to be merged is due at once.
        options.merge_age_min = Duration::ZERO;
        if random.coin() {
            // So is everything else.
            options.seal_age_max = Duration::ZERO;
        }
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = ahead.clone();
        options.clock = Clock::new(move || Timestamp(Timestamp::now().0 + clock.load(Ordering::SeqCst)));
        let vfs = SimVfs::seeded(random.next_u64());
        let is_managed = random.coin();
        let is_archiving = is_managed && random.below(3) == 0;
        if is_managed {
            vfs.orderly(|path| path.ends_with("control.log"));
            options.master_key = Some(MasterKey::from_bytes(std::array::from_fn(|i| i as u8)));
            options.encrypt_tenants = random.below(3) == 0;
            options.lifecycle_every = Duration::ZERO;
            let mut rules = PolicyConfig::default();
            rules.archives.insert("cold".into(), PathBuf::from(COLD));
            options.policy = Arc::new(Policy::new(&rules).unwrap_or_default());
        }
        let (tenants, trace) = (BTreeMap::new(), Vec::new());
        World {
            vfs,
            store: None,
            tenants,
            random,
            options,
            next_batch: 0,
            is_managed,
            is_archiving,
            ahead,
            forgets_deletions: false,
            ever_asked: BTreeSet::new(),
            trouble: Trouble::None,
            backed_up: None,
            backups: 0,
            no_backups: false,
            trace,
        }
    }

    pub fn note(&mut self, text: String) {
        // An object of a backup has its name from its bytes, which have the time in them, and so has a file of an archive. What is
        // encrypted is other bytes each time.
        let short = |at: &str| text.split_once(at).map(|(before, _)| format!("{before}{at}.."));
        let text = short("/objects/").or_else(|| short(COLD)).or_else(|| short("expected CRC")).unwrap_or(text);
        self.trace.push(format!("[{}] {text}", self.vfs.operations()));
    }

    pub fn open_on(&self, vfs: &SimVfs, write: bool) -> Result<Store, Error> {
        Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), self.options.clone(), write)
    }

    pub fn store(&self) -> Result<Store, Stop> {
        self.store.clone().ok_or(Stop::Wrong("no store is open".into()))
    }

    pub fn tenant_dir(name: &str) -> PathBuf {
        Path::new(DIR).join("tenants").join(name)
    }

    /// Takes what an operation gave, on a tenant or on the whole store. An error is right where the power is gone, or a
    /// fault was asked for there.
    pub fn judge<T, E: std::fmt::Display>(
        &mut self,
        what: &str,
        tenant: Option<&'static str>,
        result: Result<T, E>,
    ) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => {
                self.note(format!("{what}: done"));
                Ok(Some(value))
            }
            Err(e) => {
                self.note(format!("{what}: {e}"));
                match () {
                    () if self.vfs.is_down() => Err(Stop::Down),
                    () if self.trouble.meets(tenant) && !e.to_string().is_empty() => Ok(None),
                    () => Err(Stop::Wrong(format!("{what}: {e}"))),
                }
            }
        }
    }

    /// More than a day goes by: no key of before is known.
    pub fn pass_a_day(&mut self) {
        self.note("a day goes by".into());
        self.ahead.fetch_add(25 * 3600 * 1_000_000_000, Ordering::SeqCst);
        for model in self.tenants.values_mut() {
            model.batches.values_mut().for_each(|batch| batch.is_keyed = false);
            model.lost.clear();
        }
    }

    pub fn some_tenant(&mut self) -> &'static str {
        TENANTS[[0, 0, 0, 1, 1, 2][self.random.below(6) as usize]]
    }

    /// Says what rules may let go from now on.
    pub fn live_by_rules(&mut self) {
        self.tenants.values_mut().for_each(|model| model.live_by_rules(covers));
    }

    pub fn handle(&mut self, name: &'static str) -> Result<Option<duramen::Tenant>, Stop> {
        if self.tenants.get(name).is_some_and(|model| model.is_half_deleted) && !self.end_deletion(name)? {
            return Ok(None);
        }
        // A crash while it is made may leave something of it.
        self.tenants.entry(name).or_default();
        let opened = self.store()?.tenant(name);
        let handle = self.judge(&format!("open {name}"), Some(name), opened)?;
        self.trace.pop();
        Ok(handle)
    }

    /// Closes the store in order; says whether that went well. What a tenant was closed with is durable, however it was
    /// acknowledged, and one tenant's trouble is not another's.
    pub fn close(&mut self, store: Store) -> Result<bool, Stop> {
        let result = store.close();
        let is_done = self.judge("close", None, result)?.is_some();
        for (name, model) in &mut self.tenants {
            if is_done || !self.trouble.meets(Some(name)) {
                model.all_durable();
            }
        }
        Ok(is_done)
    }

    /// Closes the store in order and opens it again.
    pub fn reopen(&mut self) -> Result<(), Stop> {
        let Some(store) = self.store.take() else { return Ok(()) };
        if !self.close(store)? {
            return Err(Stop::Down);
        }
        let result = self.open_on(&self.vfs, true);
        match self.judge("open", None, result)? {
            Some(store) => self.store = Some(store),
            None => return Err(Stop::Down),
        }
        Ok(())
    }
}

/// Where backups go: another folder of the same disk.
pub fn target(vfs: &SimVfs) -> FolderTarget {
    FolderTarget::new(Arc::new(vfs.clone()), PathBuf::from("/disk/backups/store"))
}
