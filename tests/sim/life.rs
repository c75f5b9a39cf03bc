//! What becomes of records: merged, let go, archived, deleted, with their tenant or without.

use super::model::{Batch, RecordAt, Tenant};
use super::records::{files_of, search, search_text};
use super::rules::covers;
use super::world::{COLD, STREAMS, Stop, Wanted, World};
use duramen::TenantId;
use duramen::archive::ArchivedName;
use duramen::store::DeleteOptions;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Ten years: between the two times that records have.
const RETENTION_NS: i64 = 10 * 365 * 86_400 * 1_000_000_000;

impl World {
    pub fn compact(&mut self, expire: bool) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let model = self.tenants.entry(name).or_default();
        let was_ruled = model.batches.values().any(|batch| batch.may_expire);
        let is_ruled = was_ruled || !model.settings.is_empty() || model.asked.is_some();
        if is_ruled && !self.query_all(name)? {
            // What rules let go before can't be told from what goes now.
            return Ok(());
        }
        let model = self.tenants.entry(name).or_default();
        if expire {
            model.batches.values_mut().filter(|b| b.is_old).for_each(|b| b.may_expire = true);
        }
        let gone = |model: &Tenant| model.batches.values().map(|b| b.gone.len() as u64).sum::<u64>();
        let before = gone(model);
        let result = tenant.compact(expire.then_some(RETENTION_NS));
        let Some(report) = self.judge(&format!("compact {name}, expire {expire}"), Some(name), result)? else {
            return Ok(());
        };
        self.tenants.entry(name).or_default().all_durable();
        let was_troubled = self.trouble.meets(Some(name));
        if !self.query_all(name)? {
            return Ok(());
        }
        let model = self.tenants.entry(name).or_default();
        model.expiry_ended();
        let expired = gone(model) - before;
        if was_troubled || !model.deletions.is_empty() {
            return Ok(());
        }
        if expired != report.records_expired {
            return Err(Stop::Wrong(format!("{name}: {expired} records are gone after {report:?}")));
        }
        // What rules that count for sure are for is let go at once, also where it is in segments with other streams. A
        // segment goes as a whole, so that records of the same rules that are not old may keep it.
        let left = |b: &Batch| covers(model, b) && b.gone.len() < b.records as usize;
        let may_stay = model.asked.is_some() || model.committed().any(|(_, b)| left(b) && !b.is_old);
        match model.committed().find(|(_, b)| left(b)).filter(|_| !may_stay) {
            Some((number, _)) => Err(Stop::Wrong(format!("{name}: batch {number} is there after {report:?}"))),
            None => Ok(()),
        }
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
            if let Some(left) = files_of(&self.vfs, name).first() {
                return Err(Stop::Wrong(format!("delete {name}: {} is left", left.display())));
            }
            self.tenants.remove(name);
        }
        Ok(is_done)
    }

    /// Deletes what a query matches. When that is done, the records are in no file.
    pub fn delete_records(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let model = self.tenants.entry(name).or_default();
        let numbers: Vec<u64> = model.batches.keys().copied().collect();
        let stream = self.random.below(3) as usize;
        let number = numbers.get(self.random.below(numbers.len() as u64) as usize).copied().unwrap_or(0);
        let from = self.random.below(8) as u32;
        let (text, wanted): (String, Wanted) = match self.random.below(4) {
            0 => (format!("batch:={number}"), Box::new(move |n, _, _| n == number)),
            1 => (format!("batch:={number} place:>{from}"), Box::new(move |n, _, place| n == number && place > from)),
            2 => (format!("place:={from}"), Box::new(move |_, _, place| place == from)),
            _ => (format!("{{app=\"{}\"}}", STREAMS[stream]), Box::new(move |_, b, _| b.stream == stream)),
        };
        let model = self.tenants.entry(name).or_default();
        let records: BTreeSet<RecordAt> = (model.committed())
            .flat_map(|(number, batch)| {
                let left = (0..batch.records).filter(|place| !batch.gone.contains(place));
                left.filter(|place| wanted(*number, batch, *place)).map(|place| (*number, place)).collect::<Vec<_>>()
            })
            .collect();
        let is_sure = |(number, _): &RecordAt| model.batches.get(number).is_some_and(|b| !b.may_expire);
        let least = records.iter().filter(|at| is_sure(at)).count() as u64;
        let is_counted = model.deletions.is_empty();
        model.deletions.push(records.clone());
        let mut options = DeleteOptions::default();
        options.readers_wait = Duration::ZERO;
        let result = tenant.delete(&text, &options);
        let what = format!("delete {text} of {name}");
        let Some(report) = self.judge(&what, Some(name), result)? else { return Ok(()) };
        let most = records.len() as u64;
        if !report.done || is_counted && !(least..=most).contains(&report.records) {
            return Err(Stop::Wrong(format!("{what}: {least} to {most} records match: {report:?}")));
        }
        let model = self.tenants.entry(name).or_default();
        model.deletions.pop();
        model.all_durable();
        model.deletion_ended(&records);
        for (number, place) in records {
            let first = model.batches.get(&number).and_then(|batch| batch.first).unwrap_or(0);
            model.deleted.insert(first + u64::from(place), (number, place));
        }
        let master = self.options.master_key.as_ref();
        search(&self.vfs, name, master, &model.deleted).map_err(|e| format!("{what}: {e}"))?;
        if report.records > 0 {
            search_text(&self.vfs, name, &model.deleted).map_err(|e| format!("{what}: {e}"))?;
        }
        self.query_all(name).map(drop)
    }

    /// In the archive is nothing that no manifest says is there. The other way round the verifier looks.
    pub fn look_at_archive(&self) -> Result<(), Stop> {
        for name in self.tenants.keys() {
            let id = TenantId::new(name).map_err(|e| e.to_string())?;
            let read = duramen::manifest::open_read_only(&self.vfs, &World::tenant_dir(name).join("manifest"), &id);
            let (version, _) = read.map_err(|e| format!("{name}: {e}"))?;
            let archived = version.segments.values().filter(|meta| !meta.place.is_own());
            let named: BTreeSet<_> =
                archived.map(|meta| Path::new(COLD).join(name).join(ArchivedName::of(meta).as_str())).collect();
            let mut files = self.vfs.files().into_iter().filter(|file| file.starts_with(Path::new(COLD).join(name)));
            if let Some(left) = files.find(|file| !named.contains(file)) {
                return Err(Stop::Wrong(format!("{name}: {} is in the archive for nothing", left.display())));
            }
        }
        Ok(())
    }

    /// After a crash: is what was said to be gone from the disk gone, before anything is opened?
    pub fn look_for_deleted(&self) -> Result<(), Stop> {
        for (name, model) in self.tenants.iter().filter(|(_, model)| !model.is_half_deleted) {
            search(&self.vfs, name, self.options.master_key.as_ref(), &model.deleted)
                .map_err(|e| format!("{name}, before recovery: {e}"))?;
        }
        Ok(())
    }
}
