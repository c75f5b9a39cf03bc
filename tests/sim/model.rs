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
    /// The Seq of its first record, once it is known.
    pub first: Option<u64>,
    /// The places of records that were let go because they are old.
    pub expired: BTreeSet<u32>,
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

/// A tenant.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    pub batches: BTreeMap<u64, Batch>,
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

    /// Compares what was found after a crash with what had to survive it, and takes over what did.
    pub fn recover(&mut self, found: &[Found], last: u64, need: Survives) -> Result<(), String> {
        let mut by_batch = by_batch(found)?;
        let mut lost = Vec::new();
        for (number, batch) in &mut self.batches {
            let rows = by_batch.remove(number).unwrap_or_default();
            // Let go as a whole, where what came after it is there.
            let is_expired = batch.may_expire && batch.last().is_some_and(|end| end <= last);
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
            self.batches.remove(&number);
        }
        let kept = self.batches.values().filter_map(Batch::last).max().unwrap_or(0);
        if last < kept || last > durable.max(self.last) {
            return Err(format!("the last Seq is {last}, of what is there it is {kept}, given were {}", self.last));
        }
        // Without gaps, but for what was let go.
        let mut next = 1;
        let mut spans: Vec<(u64, u64)> = self.batches.values().filter_map(|b| Some((b.first?, b.last()?))).collect();
        spans.sort_unstable();
        for (first, last) in spans {
            if first != next {
                return Err(format!("Seq {first} where {next} follows"));
            }
            next = last + 1;
        }
        if last != next - 1 {
            return Err(format!("the last Seq is {last}, and {next} comes next"));
        }
        self.last = last;
        self.cursor = self.cursor.min(last);
        Ok(())
    }

    /// Compares what a reader beside the writer found: what is durable, as far as files say so, and no batch by halves.
    pub fn beside(&mut self, found: &[Found], need: Option<Survives>) -> Result<(), String> {
        let mut by_batch = by_batch(found)?;
        let mut first_missing = u64::MAX;
        for (number, batch) in self.batches.iter_mut().filter(|(_, b)| b.state == State::Committed) {
            let rows = by_batch.remove(number).unwrap_or_default();
            let is_needed = need.is_some_and(|need| batch.survives >= need);
            let may_be_gone = batch.may_expire || batch.expired.len() == batch.records as usize;
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
        let is_all = (0..self.records).all(|n| places.contains(&n) != self.expired.contains(&n));
        let is_some = (0..self.records).all(|n| !(places.contains(&n) && self.expired.contains(&n)));
        if places.len() != rows.len() || !(is_all || self.may_expire && is_some) {
            return Err(format!("has {places:?} of {}, expired {:?}", self.records, self.expired));
        }
        if let Some(row) = rows.iter().find(|row| self.first.map(|first| first + u64::from(row.place)) != Some(row.seq))
        {
            return Err(format!("{row:?}, where the batch begins at {:?}", self.first));
        }
        self.expired = (0..self.records).filter(|n| !places.contains(n)).collect();
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
