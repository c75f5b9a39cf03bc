//! A store on a simulated disk, the model beside it, and what can be done to both.

use super::model::{Batch, Found, State, Survives, Tenant};
use duramen::backup::{BackupOptions, FolderTarget};
use duramen::vfs::sim::{SimRandom, SimVfs};
use duramen::{Ack, BatchBuilder, Error, Labels, Options, Record, Store, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Not right below the root: the store's own folder can be lost.
pub const DIR: &str = "/disk/store";
pub const TENANTS: [&str; 3] = ["one", "two", "three"];
pub const STREAMS: [&str; 3] = ["web", "db", "jobs"];

/// Ten years: between the two times that records have.
const RETENTION_NS: i64 = 10 * 365 * 86_400 * 1_000_000_000;
const OLD_NS: i64 = 1_000_000_000_000_000_000;
const NEW_NS: i64 = 2_000_000_000_000_000_000;

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

/// Which batches a query asks for.
type Wanted = Box<dyn Fn(u64, &Batch) -> bool>;

pub struct World {
    pub vfs: SimVfs,
    pub store: Option<Store>,
    pub tenants: BTreeMap<&'static str, Tenant>,
    pub random: SimRandom,
    options: Options,
    next_batch: u64,
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
        let vfs = SimVfs::seeded(random.next_u64());
        let (tenants, trace) = (BTreeMap::new(), Vec::new());
        World {
            vfs,
            store: None,
            tenants,
            random,
            options,
            next_batch: 0,
            trouble: Trouble::None,
            backed_up: None,
            backups: 0,
            no_backups: false,
            trace,
        }
    }

    pub fn note(&mut self, text: String) {
        // An object of a backup has its name from its bytes, which have the time in them.
        let text = text.split_once("/objects/").map_or(text.clone(), |(before, _)| format!("{before}/objects/.."));
        self.trace.push(format!("[{}] {text}", self.vfs.operations()));
    }

    pub fn open_on(&self, vfs: &SimVfs, write: bool) -> Result<Store, Error> {
        Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), self.options.clone(), write)
    }

    fn store(&self) -> Result<Store, Stop> {
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

    fn some_tenant(&mut self) -> &'static str {
        TENANTS[[0, 0, 0, 1, 1, 2][self.random.below(6) as usize]]
    }

    fn handle(&mut self, name: &'static str) -> Result<Option<duramen::Tenant>, Stop> {
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

    pub fn append(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let number = self.next_batch;
        self.next_batch += 1;
        let records = 1 + self.random.below(12) as u32;
        let stream = self.random.below(3) as usize;
        let is_old = self.random.below(4) == 0;
        let ack = [Ack::Fsync, Ack::Fsync, Ack::Os, Ack::Buffered][self.random.below(4) as usize];
        let batch = batch(number, records, stream, is_old);
        let entry = Batch {
            records,
            stream,
            is_old,
            state: State::Failed,
            survives: Survives::Nothing,
            first: None,
            expired: Default::default(),
            may_expire: false,
        };
        let before = self.tenants.entry(name).or_default().last;
        // Attempted, and not known to survive until the answer comes.
        self.tenants.entry(name).or_default().batches.insert(number, entry);
        let result = tenant.append_batch(&batch, ack);
        let is_full = result.as_ref().is_err_and(|e| e.to_string().starts_with("no room for the log"));
        let appended =
            self.judge(&format!("append batch {number} of {records} to {name} at {ack}"), Some(name), result)?;
        let model = self.tenants.entry(name).or_default();
        let Some(appended) = appended else {
            if is_full {
                // Nothing was appended, so that no crash brings it to light.
                model.batches.remove(&number);
            }
            return Ok(());
        };
        if appended.first.0 != before + 1 || appended.records != records || appended.ack != ack {
            return Err(Stop::Wrong(format!("batch {number} got {appended:?} after Seq {before}")));
        }
        model.last = before + u64::from(records);
        if let Some(entry) = model.batches.get_mut(&number) {
            entry.state = State::Committed;
            entry.first = Some(appended.first.0);
            entry.survives = match ack {
                Ack::Fsync => Survives::PowerLoss,
                Ack::Os => Survives::Kill,
                Ack::Buffered => Survives::Nothing,
            };
        }
        match ack {
            // A log has no gaps: what came before a durable batch is durable.
            Ack::Fsync => model.all_durable(),
            Ack::Os => {
                for batch in model.batches.values_mut().filter(|b| b.state == State::Committed) {
                    batch.survives = batch.survives.max(Survives::Kill);
                }
            }
            Ack::Buffered => {}
        }
        Ok(())
    }

    /// Flush or seal: what was committed is durable after.
    pub fn make_durable(&mut self, seal: bool) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let (what, result) = match seal {
            true => ("seal", tenant.seal().map(drop)),
            false => ("flush", tenant.flush()),
        };
        if self.judge(&format!("{what} {name}"), Some(name), result)?.is_some() {
            self.tenants.entry(name).or_default().all_durable();
        }
        Ok(())
    }

    pub fn compact(&mut self, expire: bool) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let model = self.tenants.entry(name).or_default();
        if expire {
            model.batches.values_mut().filter(|b| b.is_old).for_each(|b| b.may_expire = true);
        }
        let expired = |model: &Tenant| model.batches.values().map(|b| b.expired.len() as u64).sum::<u64>();
        let before = expired(model);
        let result = tenant.compact(expire.then_some(RETENTION_NS));
        let Some(report) = self.judge(&format!("compact {name}, expire {expire}"), Some(name), result)? else {
            return Ok(());
        };
        self.tenants.entry(name).or_default().all_durable();
        let was_troubled = self.trouble.meets(Some(name));
        if self.query_all(name)? {
            let model = self.tenants.entry(name).or_default();
            model.expiry_ended();
            let gone = expired(model) - before;
            if gone != report.records_expired && !was_troubled {
                return Err(Stop::Wrong(format!("{name}: {gone} records are gone after {report:?}")));
            }
        }
        Ok(())
    }

    pub fn maintain(&mut self) -> Result<(), Stop> {
        let result = self.store()?.maintain();
        self.judge("maintain", None, result)?;
        Ok(())
    }

    pub fn delete_tenant(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        if !self.tenants.contains_key(name) {
            return Ok(());
        }
        self.tenants.entry(name).or_default().is_half_deleted = true;
        self.end_deletion(name).map(drop)
    }

    /// Asks for a deletion until it is done; says whether it is.
    pub fn end_deletion(&mut self, name: &'static str) -> Result<bool, Stop> {
        let result = self.store()?.delete_tenant(name);
        let result = if result.as_ref().is_err_and(|e| e.is_no_such_tenant()) { Ok(()) } else { result };
        let is_done = self.judge(&format!("delete {name}"), Some(name), result)?.is_some();
        if is_done {
            self.tenants.remove(name);
        }
        Ok(is_done)
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

    /// Reads everything, and compares; false where that could not be done because of a fault.
    pub fn query_all(&mut self, name: &'static str) -> Result<bool, Stop> {
        let Some(tenant) = self.handle(name)? else { return Ok(false) };
        let Some(found) = self.judge(&format!("query {name}"), Some(name), read_all(&tenant))? else {
            return Ok(false);
        };
        let model = self.tenants.entry(name).or_default();
        model.compare(&found?).map_err(|e| format!("{name}: {e}"))?;
        Ok(true)
    }

    pub fn query_some(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let model = self.tenants.entry(name).or_default();
        let numbers: Vec<u64> = model.batches.keys().copied().collect();
        let stream = self.random.below(3) as usize;
        let number = numbers.get(self.random.below(numbers.len() as u64) as usize).copied().unwrap_or(0);
        let (text, wanted): (String, Wanted) = match self.random.below(3) {
            0 => return self.query_all(name).map(drop),
            1 => (format!("batch:={number}"), Box::new(move |n, _| n == number)),
            _ => (format!("{{app=\"{}\"}}", STREAMS[stream]), Box::new(move |_, b| b.stream == stream)),
        };
        let model = self.tenants.entry(name).or_default();
        let counts = |b: &Batch| u64::from(b.records) - b.expired.len() as u64;
        let most: u64 = model.committed().filter(|(n, b)| wanted(**n, b)).map(|(_, b)| counts(b)).sum();
        let least: u64 =
            model.committed().filter(|(n, b)| wanted(**n, b) && !b.may_expire).map(|(_, b)| counts(b)).sum();
        let text = format!("{text} | stats count() as n");
        let count = |rows: Vec<duramen::Row>| rows.first().and_then(|row| row.get("n")?.1.parse().ok()).unwrap_or(0u64);
        let result = whole(&tenant, &text).map(count);
        match self.judge(&format!("{name}: {text}"), Some(name), result)? {
            Some(n) if n < least || n > most => {
                Err(Stop::Wrong(format!("{name}: {text} gives {n}, not {least} to {most}")))
            }
            _ => Ok(()),
        }
    }

    /// Follows what was committed since the last time.
    pub fn tail(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let after = self.tenants.entry(name).or_default().cursor;
        let follow = || -> Result<Vec<u64>, String> {
            let mut seqs = Vec::new();
            let mut tail = tenant.tail("*", Some(duramen::Seq(after))).map_err(|e| e.to_string())?;
            while let Some((seq, _)) = tail.next(Duration::ZERO).map_err(|e| e.to_string())? {
                seqs.push(seq.0);
            }
            match tail.missing().first() {
                Some(missing) => Err(format!("misses records: {missing}")),
                None => Ok(seqs),
            }
        };
        let Some(seqs) = self.judge(&format!("tail {name} after {after}"), Some(name), follow())? else {
            return Ok(());
        };
        let model = self.tenants.entry(name).or_default();
        let mut expect = Vec::new();
        let mut may_lack = std::collections::BTreeSet::new();
        for (_, batch) in model.committed() {
            let first = batch.first.unwrap_or(0);
            let left = (0..batch.records).filter(|n| !batch.expired.contains(n)).map(|n| first + u64::from(n));
            let left: Vec<u64> = left.filter(|seq| *seq > after).collect();
            if batch.may_expire {
                may_lack.extend(left.iter().copied());
            }
            expect.extend(left);
        }
        expect.sort_unstable();
        expect.retain(|seq| !may_lack.contains(seq) || seqs.contains(seq));
        if seqs != expect {
            return Err(Stop::Wrong(format!("{name}: a tail after {after} gives {seqs:?}, not {expect:?}")));
        }
        model.cursor = model.last;
        Ok(())
    }

    /// Backs the store up beside its writer.
    pub fn back_up(&mut self) -> Result<(), Stop> {
        if self.no_backups {
            return Ok(());
        }
        let made = duramen::backup::backup(&self.vfs, Path::new(DIR), &target(&self.vfs), &BackupOptions::default());
        let Some(report) = self.judge("back up", None, made)? else { return Ok(()) };
        if let Some(problem) = report.run.problems.first() {
            let what = format!("back up: {problem:?}");
            return self.judge::<(), _>(&what, None, Err(problem.reason.clone())).map(drop);
        }
        self.backups += 1;
        let whole = self.tenants.iter().filter(|(_, model)| !model.is_half_deleted);
        // A fault may keep from the files what is durable, and so from the copy.
        let held = whole.map(|(name, model)| (*name, model.clone())).collect();
        self.backed_up = (self.trouble == Trouble::None).then(|| (report.run.time(), held));
        Ok(())
    }

    /// Opens the store beside itself: what is durable is there, and nothing by halves.
    pub fn read_beside(&mut self) -> Result<(), Stop> {
        let store = self.open_on(&self.vfs, false);
        let Some(store) = self.judge("open read-only", None, store)? else { return Ok(()) };
        let whole = |(name, model): (&&'static str, &Tenant)| (!model.is_half_deleted).then_some(*name);
        let names: Vec<&'static str> = self.tenants.iter().filter_map(whole).collect();
        for name in names {
            let result = store.existing_tenant(name).map_err(|e| e.to_string()).and_then(|tenant| read_all(&tenant));
            let Some(found) = self.judge(&format!("read {name} beside"), Some(name), result)? else { continue };
            let mut model = self.tenants.entry(name).or_default().clone();
            let need = (!self.trouble.meets(Some(name))).then_some(Survives::PowerLoss);
            model.beside(&found?, need).map_err(|e| format!("{name}, read beside: {e}"))?;
        }
        Ok(())
    }
}

/// Where backups go: another folder of the same disk.
pub fn target(vfs: &SimVfs) -> FolderTarget {
    FolderTarget::new(Arc::new(vfs.clone()), PathBuf::from("/disk/backups/store"))
}

/// The records of a batch, each as it must come back.
fn batch(number: u64, records: u32, stream: usize, is_old: bool) -> duramen::Batch {
    let mut builder = BatchBuilder::new();
    let labels = Labels::new([("app", STREAMS[stream])]);
    for place in 0..records {
        let record = Record::new()
            .with("batch", number)
            .with("place", place)
            .with("text", text(number, place))
            .with("n", number * u64::from(place));
        let base = if is_old { OLD_NS } else { NEW_NS };
        let time = Timestamp(base + 1_000_000 * number as i64 - 777 * i64::from(place));
        // Its limits are far away.
        let _ = builder.push(&record, time, &labels);
    }
    builder.take()
}

fn text(number: u64, place: u32) -> String {
    let long = if number.is_multiple_of(7) { 40 } else { 1 };
    format!("record {place} of batch {number}, {}", "as long as it takes ".repeat(long))
}

/// All rows of a tenant. The inner error is of a row that is not as it was written.
pub fn read_all(tenant: &duramen::Tenant) -> Result<Result<Vec<Found>, String>, String> {
    let mut found = Vec::new();
    for row in whole(tenant, "*")? {
        let number = |name: &str| row.get(name).and_then(|(_, text)| text.parse::<u64>().ok());
        let seq = row.seq().map(|seq| seq.0);
        let parts = (seq, number("batch"), number("place").and_then(|n| u32::try_from(n).ok()), row.get("text"));
        match parts {
            (Some(seq), Some(batch), Some(place), Some((_, written))) if written == text(batch, place) => {
                found.push(Found { seq, batch, place });
            }
            _ => return Ok(Err(format!("a row that nobody wrote: {}", row.to_json()))),
        }
    }
    Ok(Ok(found))
}

/// The rows of a query. An answer that says it misses something is an error, like one that ends early.
fn whole(tenant: &duramen::Tenant, text: &str) -> Result<Vec<duramen::Row>, String> {
    let mut rows = tenant.query(text).map_err(|e| e.to_string())?;
    let found: Vec<_> = rows.by_ref().collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    match rows.missing().first() {
        Some(missing) => Err(format!("misses records: {missing}")),
        None => Ok(found),
    }
}
