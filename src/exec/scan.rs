//! Blocks of a snapshot, the newest first, and what became of each.

use super::filter::bits::Bits;
use super::limits::Budget;
use super::missing::Missed;
use super::predicate::Predicate;
use super::prune::{Decision, PrunedBy, Pruner, zone};
use super::view::BlockView;
use super::{ExecError, Plan, parallel};
use crate::error::StorageError;
use crate::record::{Block, BlockInfo, Source};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a query did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueryStats {
    /// Rows that matched the filter, in the blocks that were looked at.
    pub rows_matched: u64,
    /// Rows of the blocks that were read.
    pub rows_scanned: u64,
    /// Rows that were put out.
    pub rows_out: u64,
    /// Blocks in all sources.
    pub blocks_total: u64,
    /// Blocks left out for their time.
    pub blocks_pruned_time: u64,
    /// Blocks left out for their zone maps.
    pub blocks_pruned_zone: u64,
    /// Blocks left out by the index over words.
    pub blocks_pruned_index: u64,
    /// Blocks answered from what is known of them, with no column read.
    pub blocks_from_metadata: u64,
    /// Blocks of which columns were read.
    pub blocks_read: u64,
    /// Records in blocks that are damaged and might have had matches: the answer misses at most so many.
    pub records_missing: u64,
    /// Wall time.
    pub elapsed: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    rows_matched: AtomicU64,
    rows_scanned: AtomicU64,
    time: AtomicU64,
    zone: AtomicU64,
    index: AtomicU64,
    metadata: AtomicU64,
    read: AtomicU64,
}

impl Counters {
    fn clear(&self) {
        let Counters { rows_matched, rows_scanned, time, zone, index, metadata, read } = self;
        for counter in [rows_matched, rows_scanned, time, zone, index, metadata, read] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// One block of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) source: usize,
    pub(crate) block: usize,
    pub(crate) info: BlockInfo,
}

/// A block that is not left out.
pub(crate) struct Candidate {
    pub(crate) view: BlockView,
    pub(crate) info: BlockInfo,
    /// Does every row match?
    pub(crate) all: bool,
}

/// All blocks of a snapshot under one plan.
pub(crate) struct Scan<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) units: Vec<Unit>,
    sources: &'a [Arc<dyn Source>],
    pruner: Pruner<'a>,
    counters: Counters,
    /// Is damage an error?
    strict: bool,
    missed: &'a Missed,
    /// The blocks that are damaged, and whether there are any.
    left_out: Mutex<BTreeSet<usize>>,
    has_left_out: AtomicBool,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(plan: &'a Plan, sources: &'a [Arc<dyn Source>], missed: &'a Missed, strict: bool) -> Self {
        let mut units = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            units.extend((0..source.len()).map(|block| Unit { source: at, block, info: source.info(block) }));
        }
        units.sort_by_key(|u| std::cmp::Reverse((u.info.time.1, u.info.seq.1, u.source, u.block)));
        Scan {
            plan,
            units,
            sources,
            pruner: Pruner::new(plan, sources),
            counters: Counters::default(),
            strict,
            missed,
            left_out: Mutex::default(),
            has_left_out: AtomicBool::new(false),
        }
    }

    /// After an error in a block: where that is damage, the block is left out from here on and noted as missed; else
    /// the error ends the query. A disk that refused may answer the next time, so that its error is not for noting.
    pub(crate) fn leave_out(&self, unit: usize, error: ExecError) -> Result<(), ExecError> {
        let ExecError::Storage(damage) = &error else { return Err(error) };
        if self.strict || !damage.is_damage() {
            return Err(error);
        }
        let at = self.units[unit];
        let source = &self.sources[at.source];
        source.note_damage(at.block, damage);
        self.has_left_out.store(true, Ordering::Release);
        if self.left_out.lock().unwrap_or_else(PoisonError::into_inner).insert(unit) {
            self.missed.note(source.label(), at.info, damage);
        }
        Ok(())
    }

    /// Leaves out the blocks that are known to be damaged and may have matches.
    pub(crate) fn leave_out_known(&self) -> Result<(), ExecError> {
        for (number, unit) in self.units.iter().enumerate() {
            if self.sources[unit.source].damage(unit.block).is_some() {
                // Pruned it is counted when its turn comes.
                let error = match self.pruner.decide(unit.source, unit.block) {
                    Ok(Decision::Skip(_)) => continue,
                    Ok(Decision::Read { .. }) => self.known_damage(*unit).map(ExecError::from),
                    Err(error) => Some(error),
                };
                error.map_or(Ok(()), |error| self.leave_out(number, error))?;
            }
        }
        Ok(())
    }

    fn known_damage(&self, unit: Unit) -> Option<StorageError> {
        self.sources[unit.source].damage(unit.block)
    }

    fn is_left_out(&self, unit: usize) -> bool {
        self.has_left_out.load(Ordering::Acquire)
            && self.left_out.lock().unwrap_or_else(PoisonError::into_inner).contains(&unit)
    }

    /// Runs `work` for the blocks, in an order of which `unit_of` says the block at each place, each thread with a state
    /// of its own; gives the states back. Where a block shows damaged when a part of it is in a state already, all is
    /// done again without it: it counts as a whole or not.
    pub(crate) fn fold<S: Send>(
        &self,
        threads: usize,
        budget: &Budget,
        unit_of: impl Fn(usize) -> usize + Sync,
        make: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) -> Result<(), ExecError> + Sync,
    ) -> Result<Vec<S>, ExecError> {
        loop {
            let charged = budget.charged();
            let is_spoilt = AtomicBool::new(false);
            let careful = |state: &mut S, at: usize| {
                work(state, at).or_else(|error| {
                    is_spoilt.store(true, Ordering::Relaxed);
                    self.leave_out(unit_of(at), error)
                })
            };
            let states = parallel::fold(threads, self.units.len(), budget, &make, careful)?;
            if !is_spoilt.load(Ordering::Relaxed) {
                return Ok(states);
            }
            drop(states);
            self.begin_again(budget, charged);
        }
    }

    /// Forgets what was counted, before all is done again.
    pub(crate) fn begin_again(&self, budget: &Budget, charged: u64) {
        budget.recharge(charged);
        self.counters.clear();
    }

    pub(crate) fn handle(&self, unit: usize) -> Result<Arc<dyn Block>, ExecError> {
        let unit = self.units[unit];
        Ok(self.sources[unit.source].block(unit.block)?)
    }

    /// What is known of a block of which every row matches, whatever is in them: it need not be read for that.
    pub(crate) fn whole(&self, unit: usize) -> Option<BlockInfo> {
        let at = self.units[unit];
        let is_whole = matches!(self.plan.predicate(), Predicate::True) && self.plan.span().covers(at.info.time);
        (is_whole && !self.is_left_out(unit) && self.known_damage(at).is_none()).then_some(at.info)
    }

    /// Decides about a block; `None` where it is left out.
    pub(crate) fn candidate(&self, unit: usize) -> Result<Option<Candidate>, ExecError> {
        if self.is_left_out(unit) {
            return Ok(None);
        }
        self.decide(unit).or_else(|error| self.leave_out(unit, error).map(|()| None))
    }

    /// Decides about a block, where damage is an error, for whoever may not come to need it.
    pub(crate) fn decide(&self, unit: usize) -> Result<Option<Candidate>, ExecError> {
        let unit = self.units[unit];
        let counter = match self.pruner.decide(unit.source, unit.block)? {
            Decision::Read { block, all } => {
                if let Some(damage) = self.known_damage(unit) {
                    return Err(damage.into());
                }
                return Ok(Some(Candidate { view: BlockView::new(block), info: unit.info, all }));
            }
            Decision::Skip(PrunedBy::Time) => &self.counters.time,
            Decision::Skip(PrunedBy::Zone) => &self.counters.zone,
            Decision::Skip(PrunedBy::Index) => &self.counters.index,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    /// The rows of a block that match.
    pub(crate) fn matching(&self, candidate: &Candidate) -> Result<Bits, ExecError> {
        let span = self.plan.span();
        let rows = candidate.view.rows() as usize;
        let within = match span.covers(candidate.info.time) {
            true => Bits::all(rows),
            false => Bits::range(rows, span.rows(&candidate.view.times()?)),
        };
        let matching = if candidate.all { within } else { candidate.view.evaluate(self.plan.predicate(), &within)? };
        self.note_read(matching.count() as u32, rows as u32);
        Ok(matching)
    }

    /// How many rows of a block match, where that is sure without reading one.
    pub(crate) fn rows_matching(&self, candidate: &Candidate) -> Result<Option<u32>, ExecError> {
        if !self.plan.span().covers(candidate.info.time) {
            return Ok(None);
        }
        Ok(zone::rows_matching(self.plan.predicate(), &**candidate.view.block())?)
    }

    /// How many rows of a block match, where that is told without knowing which ones.
    pub(crate) fn count_matching(&self, candidate: &Candidate) -> Result<Option<u32>, ExecError> {
        if !self.plan.span().covers(candidate.info.time) {
            return Ok(None);
        }
        let matching = candidate.view.rows_matching(self.plan.predicate())?;
        if let Some(rows) = matching {
            self.note_read(rows, candidate.view.rows());
        }
        Ok(matching)
    }

    /// Notes that so many rows of a block match, of so many.
    fn note_read(&self, matching: u32, rows: u32) {
        self.counters.rows_matched.fetch_add(matching.into(), Ordering::Relaxed);
        self.counters.rows_scanned.fetch_add(rows.into(), Ordering::Relaxed);
        self.counters.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a block was left out for its zone maps.
    pub(crate) fn note_pruned_zone(&self) {
        self.counters.zone.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a block of which so many rows match was answered without reading it.
    pub(crate) fn note_metadata(&self, rows: u32) {
        self.counters.rows_matched.fetch_add(rows.into(), Ordering::Relaxed);
        self.counters.metadata.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, rows_out: u64, elapsed: Duration) -> QueryStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueryStats {
            rows_matched: get(&self.counters.rows_matched),
            rows_scanned: get(&self.counters.rows_scanned),
            rows_out,
            blocks_total: self.units.len() as u64,
            blocks_pruned_time: get(&self.counters.time),
            blocks_pruned_zone: get(&self.counters.zone),
            blocks_pruned_index: get(&self.counters.index),
            blocks_from_metadata: get(&self.counters.metadata),
            blocks_read: get(&self.counters.read),
            records_missing: self.missed.records(),
            elapsed,
        }
    }
}
