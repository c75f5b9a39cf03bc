//! What the store must hold, kept the plain way.

use std::collections::{BTreeMap, BTreeSet};

/// What a batch must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    Nothing,
    Kill,
    PowerLoss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The append got an error: no query shows it, but a crash may bring it to light, whole.
    Failed,
    Committed,
}

/// A batch that was appended, or tried to be.
#[derive(Clone, Debug)]
pub struct Batch {
    pub records: u32,
    /// Which of the streams.
    pub stream: usize,
    /// Are its records older than the retention?
    pub is_old: bool,
    pub state: State,
    pub survives: Survives,
    /// Did it come with an idempotency key?
    pub is_keyed: bool,
    /// The Seq of its first record, once it is known.
    pub first: Option<u64>,
    /// The places of records that were let go because they are old, that were deleted, or that a repair lost.
    pub gone: BTreeSet<u32>,
    /// Was the manifest damaged, so that what is gone may come back?
    pub may_return: bool,
    /// Was expiry asked for, so that any of them may be gone when it is next looked?
    pub may_expire: bool,
}

impl Batch {
    pub fn last(&self) -> Option<u64> {
        self.first.map(|first| first + u64::from(self.records) - 1)
    }
}

/// A record as a query gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub seq: u64,
    pub batch: u64,
    pub place: u32,
}

/// A record by its batch and its place in it.
pub type RecordAt = (u64, u32);

/// A setting, and the value that it is given or that is taken back.
pub type Setting = (&'static str, Option<&'static str>);

/// A tenant.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    pub batches: BTreeMap<u64, Batch>,
    /// Batches with keys that are not there: their keys are free.
    pub lost: BTreeMap<u64, Batch>,
    /// The records of deletions of which it is not known whether they were done: all of each are gone, or none.
    pub deletions: Vec<BTreeSet<RecordAt>>,
    /// What was said to be gone from the disk, by Seq.
    pub deleted: BTreeMap<u64, RecordAt>,
    /// Seqs that a repair said are lost.
    pub holes: Vec<(u64, u64)>,
    /// What it lives by.
    pub settings: BTreeMap<&'static str, &'static str>,
    /// A setting that was asked for, and may or may not count.
    pub asked: Option<Setting>,
    /// Was the control log damaged, so that settings may be lost, or come back that were taken back?
    pub may_lose_settings: bool,
    /// The last Seq that was given, as far as it is known.
    pub last: u64,
    /// Up to here a tail was read.
    pub cursor: u64,
    /// Deletion began and was not seen to end: it must be asked for again.
    pub is_half_deleted: bool,
}

impl Tenant {
    /// All that was committed up to now survives a loss of power.
    pub fn all_durable(&mut self) {
        for batch in self.batches.values_mut().filter(|b| b.state == State::Committed) {
            batch.survives = Survives::PowerLoss;
        }
    }

    /// The values of a setting that may count now.
    pub fn may_be_set(&self, name: &'static str) -> impl Iterator<Item = &'static str> {
        let asked = self.asked.filter(|(asked, _)| *asked == name).and_then(|(_, value)| value);
        self.settings.get(name).copied().into_iter().chain(asked)
    }

    /// Rules may let go from now on what they are for.
    pub fn live_by_rules(&mut self, covers: impl Fn(&Tenant, &Batch) -> bool) {
        if self.settings.is_empty() && self.asked.is_none() {
            return;
        }
        let may = |(number, batch): (&u64, &Batch)| (batch.is_old && covers(self, batch)).then_some(*number);
        let numbers: Vec<u64> = self.batches.iter().filter_map(may).collect();
        for number in numbers {
            self.batches.entry(number).and_modify(|batch| batch.may_expire = true);
        }
    }

    /// Records are gone, and all that was committed before survives a loss of power.
    pub fn deletion_ended(&mut self, records: &BTreeSet<RecordAt>) {
        for (number, place) in records {
            let Some(batch) = self.batches.get_mut(number) else { continue };
            batch.gone.insert(*place);
            batch.survives = Survives::PowerLoss;
        }
    }

    /// May a deletion of which that is not known have taken this batch's records?
    pub fn may_be_deleted(&self, number: u64) -> bool {
        self.deletions.iter().flatten().any(|(of, _)| *of == number)
    }

    /// Sees from what was found which deletions were done. `last` is the last Seq where some may be lost. Those that are
    /// not done may still come to light after a crash.
    fn resolve(&mut self, found: &[Found], last: Option<u64>, are_final: bool) -> Result<(), String> {
        let found: BTreeSet<RecordAt> = found.iter().map(|row| (row.batch, row.place)).collect();
        for records in std::mem::take(&mut self.deletions) {
            let is_missing = |(number, place): &&RecordAt| {
                let Some(batch) = self.batches.get(number) else { return false };
                let counts = batch.state == State::Committed && !batch.gone.contains(place) && !batch.may_expire;
                let is_behind = last.is_some_and(|last| batch.last().is_none_or(|end| end > last));
                counts && !is_behind && !found.contains(&(*number, *place))
            };
            match records.iter().find(is_missing) {
                Some(missing) => {
                    if let Some(there) = records.iter().find(|at| found.contains(at)) {
                        return Err(format!("of a deletion {missing:?} is gone and {there:?} is there"));
                    }
                    self.deletion_ended(&records);
                }
                None if !are_final => self.deletions.push(records),
                None => {}
            }
        }
        Ok(())
    }

    /// What is expired now is all that expiry let go: no later look finds less.
    pub fn expiry_ended(&mut self) {
        self.batches.values_mut().for_each(|b| b.may_expire = false);
    }

    /// What was committed.
    pub fn committed(&self) -> impl Iterator<Item = (&u64, &Batch)> {
        self.batches.iter().filter(|(_, b)| b.state == State::Committed)
    }

    /// Compares what a query of a running store gave with what was committed: all of it, once, and nothing else.
    pub fn compare(&mut self, found: &[Found]) -> Result<(), String> {
        let mut by_batch = by_batch(found)?;
        self.resolve(found, None, false)?;
        for (number, batch) in &mut self.batches {
            let rows = by_batch.remove(number).unwrap_or_default();
            match batch.state {
                State::Failed if rows.is_empty() => {}
                State::Failed => return Err(format!("batch {number} got an error and is there")),
                State::Committed => batch.compare(&rows).map_err(|e| format!("batch {number}: {e}"))?,
            }
        }
        none_left(by_batch)
    }

    /// Compares what was found after a crash with what had to survive it, and takes over what did. `repaired` are the
    /// Seqs that a repair said are lost.
    pub fn recover(
        &mut self,
        found: &[Found],
        last: u64,
        need: Survives,
        repaired: &[(u64, u64)],
    ) -> Result<(), String> {
        let mut by_batch = by_batch(found)?;
        self.lose(found, repaired);
        self.resolve(found, Some(last), true)?;
        let mut lost = Vec::new();
        for (number, batch) in &mut self.batches {
            let rows = by_batch.remove(number).unwrap_or_default();
            // Let go as a whole, where what came after it is there.
            let is_gone = batch.may_expire || batch.gone.len() == batch.records as usize;
            let is_expired = is_gone && batch.last().is_some_and(|end| end <= last);
            if rows.is_empty() && !is_expired && (batch.state == State::Failed || batch.survives < need) {
                lost.push(*number);
                continue;
            }
            if batch.state == State::Failed {
                batch.first = rows.first().map(|row| row.seq.saturating_sub(u64::from(row.place)));
            }
            let survives = batch.survives;
            batch.compare(&rows).map_err(|e| format!("batch {number}, which survives {survives:?}: {e}"))?;
            (batch.state, batch.survives) = (State::Committed, Survives::PowerLoss);
            batch.may_expire = false;
        }
        none_left(by_batch)?;
        let durable = self.batches.values().filter_map(|b| b.last()).max().unwrap_or(0);
        for number in lost {
            let batch = self.batches.remove(&number).filter(|batch| batch.is_keyed);
            self.lost.extend(batch.map(|batch| (number, batch)));
        }
        self.holes
            .extend(repaired.iter().filter(|(first, _)| *first <= last).map(|(first, end)| (*first, last.min(*end))));
        let kept = self.batches.values().filter_map(Batch::last).max().unwrap_or(0);
        let hole = self.holes.iter().map(|(_, end)| *end).max().unwrap_or(0);
        if last < kept || last > durable.max(self.last).max(hole) {
            return Err(format!("the last Seq is {last}, of what is there it is {kept}, given were {}", self.last));
        }
        // Without gaps, but for what was let go.
        let mut next = 1;
        let mut spans: Vec<(u64, u64)> = self.batches.values().filter_map(|b| Some((b.first?, b.last()?))).collect();
        spans.sort_unstable();
        if let Some(pair) = spans.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
            return Err(format!("two batches have Seqs of {pair:?}"));
        }
        spans.extend(&self.holes);
        spans.sort_unstable();
        for (first, end) in spans {
            if first > next {
                return Err(format!("Seq {first} where {next} follows"));
            }
            next = next.max(end + 1);
        }
        if last != next - 1 {
            return Err(format!("the last Seq is {last}, and {next} comes next"));
        }
        self.last = last;
        self.cursor = self.cursor.min(last);
        // Where manifest and log were both lost, nothing knows which Seqs were given, and these are given again.
        self.deleted.retain(|seq, _| *seq <= last);
        Ok(())
    }

    /// Takes note of what a repair said is lost, as far as it is.
    fn lose(&mut self, found: &[Found], repaired: &[(u64, u64)]) {
        let found: BTreeSet<u64> = found.iter().map(|row| row.seq).collect();
        let is_lost = |seq: u64| repaired.iter().any(|(first, last)| (*first..=*last).contains(&seq));
        for batch in self.batches.values_mut().filter(|b| b.state == State::Committed) {
            let Some(first) = batch.first else { continue };
            let gone = (0..batch.records).filter(|n| {
                let seq = first + u64::from(*n);
                is_lost(seq) && !found.contains(&seq)
            });
            let before = batch.gone.len();
            batch.gone.extend(gone.collect::<Vec<_>>());
            if batch.gone.len() > before {
                // Its receipt may be lost as well.
                batch.is_keyed = false;
                // The mark that proves a last frame may be lost with the power, after a repair that saw it was cut short:
                // then nobody knows of the frame any more, nor of its Seqs.
                if batch.survives != Survives::Nothing {
                    batch.survives = Survives::PowerLoss;
                }
            }
        }
    }

    /// Compares what a reader beside the writer found: what is durable, as far as files say so, and no batch by halves.
    pub fn beside(&mut self, found: &[Found], need: Option<Survives>) -> Result<(), String> {
        let mut by_batch = by_batch(found)?;
        let mut first_missing = u64::MAX;
        let there: BTreeSet<RecordAt> = found.iter().map(|row| (row.batch, row.place)).collect();
        for records in std::mem::take(&mut self.deletions) {
            let is_missing = |(number, place): &&RecordAt| {
                self.batches.get(number).is_some_and(|batch| {
                    // What is not needed, and yet there in part or before others, is there with what was deleted of it gone.
                    let is_needed = need.is_some_and(|need| batch.survives >= need);
                    let is_seen = found.iter().any(|row| batch.first.is_some_and(|first| row.seq >= first));
                    (is_needed || is_seen)
                        && !batch.may_expire
                        && !batch.gone.contains(place)
                        && !there.contains(&(*number, *place))
                })
            };
            let missing = records.iter().find(is_missing);
            if let (Some(missing), Some(also)) = (missing, records.iter().find(|at| there.contains(at))) {
                return Err(format!("of a deletion {missing:?} is gone and {also:?} is there"));
            }
            // Done, or not to be seen from here.
            for (number, place) in records.iter().filter(|at| !there.contains(at)) {
                if let Some(batch) = self.batches.get_mut(number).filter(|_| missing.is_some()) {
                    batch.gone.insert(*place);
                }
            }
        }
        for (number, batch) in self.batches.iter_mut().filter(|(_, b)| b.state == State::Committed) {
            let rows = by_batch.remove(number).unwrap_or_default();
            let is_needed = need.is_some_and(|need| batch.survives >= need);
            let may_be_gone = batch.may_expire || batch.gone.len() == batch.records as usize;
            if rows.is_empty() && !may_be_gone && !is_needed {
                first_missing = first_missing.min(batch.first.unwrap_or(0));
                continue;
            }
            batch.compare(&rows).map_err(|e| format!("batch {number}: {e}"))?;
        }
        none_left(by_batch)?;
        match found.iter().find(|row| row.seq >= first_missing) {
            Some(row) => Err(format!("{row:?} is there, and Seq {first_missing} before it is not")),
            None => Ok(()),
        }
    }
}

impl Batch {
    /// Are these its records: each once, with its Seq, and none missing but what may be let go?
    fn compare(&mut self, rows: &[&Found]) -> Result<(), String> {
        let places: BTreeSet<u32> = rows.iter().map(|row| row.place).collect();
        if std::mem::take(&mut self.may_return) {
            self.gone.retain(|place| !places.contains(place));
        }
        let is_all = (0..self.records).all(|n| places.contains(&n) != self.gone.contains(&n));
        let is_some = (0..self.records).all(|n| !(places.contains(&n) && self.gone.contains(&n)));
        if places.len() != rows.len() || !(is_all || self.may_expire && is_some) {
            return Err(format!("has {places:?} of {}, gone {:?}", self.records, self.gone));
        }
        if let Some(row) = rows.iter().find(|row| self.first.map(|first| first + u64::from(row.place)) != Some(row.seq))
        {
            return Err(format!("{row:?}, where the batch begins at {:?}", self.first));
        }
        self.gone = (0..self.records).filter(|n| !places.contains(n)).collect();
        Ok(())
    }
}

fn by_batch(found: &[Found]) -> Result<BTreeMap<u64, Vec<&Found>>, String> {
    let mut seqs = BTreeSet::new();
    let mut by_batch: BTreeMap<u64, Vec<&Found>> = BTreeMap::new();
    for row in found {
        if !seqs.insert(row.seq) {
            return Err(format!("two records have Seq {}", row.seq));
        }
        by_batch.entry(row.batch).or_default().push(row);
    }
    Ok(by_batch)
}

fn none_left(by_batch: BTreeMap<u64, Vec<&Found>>) -> Result<(), String> {
    match by_batch.first_key_value() {
        Some((number, rows)) => Err(format!("batch {number} was never appended or is gone, and has {rows:?}")),
        None => Ok(()),
    }
}
