//! Records in: with and without keys, again, and made durable.

use super::model::{Batch, State, Survives};
use super::records::batch;
use super::world::{Stop, World};
use duramen::{Ack, AppendOptions, Idempotency};

impl World {
    pub fn append(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let number = self.next_batch;
        self.next_batch += 1;
        let entry = Batch {
            records: 1 + self.random.below(12) as u32,
            stream: self.random.below(3) as usize,
            is_old: (self.random.below(4) == 0) != self.is_archiving,
            state: State::Failed,
            survives: Survives::Nothing,
            is_keyed: self.random.below(3) == 0,
            first: None,
            gone: Default::default(),
            may_return: false,
            may_expire: false,
        };
        self.commit(name, &tenant, number, entry)
    }

    /// Sends a batch with a key again: one that was committed is answered as before, and any other is committed now.
    pub fn retry(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let Some(tenant) = self.handle(name)? else { return Ok(()) };
        let model = self.tenants.entry(name).or_default();
        let known = model.batches.iter().chain(&model.lost).filter(|(_, batch)| batch.is_keyed);
        let known: Vec<(u64, Batch)> = known.map(|(number, batch)| (*number, batch.clone())).collect();
        let Some((number, entry)) = known.get(self.random.below(known.len() as u64) as usize).cloned() else {
            return Ok(());
        };
        let is_lost = model.lost.remove(&number).is_some();
        if entry.state == State::Failed || is_lost {
            let (state, survives, gone) = (State::Failed, Survives::Nothing, Default::default());
            let entry = Batch { state, survives, gone, first: None, may_expire: false, ..entry };
            return self.commit(name, &tenant, number, entry);
        }
        let is_other = self.random.below(4) == 0;
        let records = entry.records + u32::from(is_other);
        let options = AppendOptions::new().idempotency(key(number)?);
        let result = tenant.append_batch_with(&batch(number, records, entry.stream, entry.is_old), options);
        if is_other && result.as_ref().is_err_and(|e| e.is_key_reused()) {
            self.note(format!("batch {number} of {name} with other records: refused"));
            return Ok(());
        }
        match self.judge(&format!("batch {number} of {name} again"), Some(name), result)? {
            Some(again)
                if is_other
                    || again.replayed.is_none()
                    || Some(again.appended.first.0) != entry.first
                    || again.appended.records != entry.records =>
            {
                Err(Stop::Wrong(format!("batch {number} at {:?} again: {again:?}, other {is_other}", entry.first)))
            }
            _ => Ok(()),
        }
    }

    fn commit(&mut self, name: &'static str, tenant: &duramen::Tenant, number: u64, entry: Batch) -> Result<(), Stop> {
        let ack = [Ack::Fsync, Ack::Fsync, Ack::Os, Ack::Buffered][self.random.below(4) as usize];
        let Batch { records, stream, is_old, is_keyed, .. } = entry;
        let batch = batch(number, records, stream, is_old);
        let before = self.tenants.entry(name).or_default().last;
        // Attempted, and not known to survive until the answer comes.
        self.tenants.entry(name).or_default().batches.insert(number, entry);
        let mut options = AppendOptions::new().ack(ack);
        if is_keyed {
            options = options.idempotency(key(number)?);
        }
        let result = tenant.append_batch_with(&batch, options);
        let is_full = result.as_ref().is_err_and(|e| e.to_string().starts_with("no room for the log"));
        let what = format!("append batch {number} of {records} to {name} at {ack}, keyed {is_keyed}");
        let committed = self.judge(&what, Some(name), result)?;
        let model = self.tenants.entry(name).or_default();
        let Some(committed) = committed else {
            if is_full && let Some(batch) = model.batches.remove(&number).filter(|batch| batch.is_keyed) {
                // Nothing was appended, so that no crash brings it to light.
                model.lost.insert(number, batch);
            }
            return Ok(());
        };
        let appended = committed.appended;
        if appended.first.0 != before + 1
            || appended.records != records
            || appended.ack != ack
            || committed.replayed.is_some()
        {
            return Err(Stop::Wrong(format!("batch {number} got {committed:?} after Seq {before}")));
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
}

fn key(number: u64) -> Result<Idempotency, Stop> {
    Idempotency::new(&format!("batch {number}")).map_err(|e| Stop::Wrong(e.to_string()))
}
