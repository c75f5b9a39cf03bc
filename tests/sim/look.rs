//! Looks at what is there: by queries, by tails, beside the writer, and for a backup.

use super::model::{Batch, Survives, Tenant};
use super::records::{read_all, whole};
use super::world::{DIR, STREAMS, Stop, Trouble, Wanted, World, target};
use duramen::backup::BackupOptions;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

impl World {
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
            1 => (format!("batch:={number}"), Box::new(move |n, _, _| n == number)),
            _ => (format!("{{app=\"{}\"}}", STREAMS[stream]), Box::new(move |_, b, _| b.stream == stream)),
        };
        let model = self.tenants.entry(name).or_default();
        let counts = |b: &Batch| u64::from(b.records) - b.gone.len() as u64;
        let most: u64 = model.committed().filter(|(n, b)| wanted(**n, b, 0)).map(|(_, b)| counts(b)).sum();
        let least: u64 = model
            .committed()
            .filter(|(n, b)| wanted(**n, b, 0) && !b.may_expire && !model.may_be_deleted(**n))
            .map(|(_, b)| counts(b))
            .sum();
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
        let mut may_lack = BTreeSet::new();
        for (number, batch) in model.committed() {
            let first = batch.first.unwrap_or(0);
            let left = (0..batch.records).filter(|n| !batch.gone.contains(n)).map(|n| first + u64::from(n));
            let left: Vec<u64> = left.filter(|seq| *seq > after).collect();
            if batch.may_expire || model.may_be_deleted(*number) {
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
        let mut options = BackupOptions::default();
        options.archives = self.store()?.archives().clone();
        let made = duramen::backup::backup(&self.vfs, Path::new(DIR), &target(&self.vfs), &options);
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
