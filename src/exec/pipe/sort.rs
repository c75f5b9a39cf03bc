//! `sort`: all rows, or the first few of them.

use crate::exec::ExecError;
use crate::exec::limits::Budget;
use crate::exec::order::{Rank, ranks_memory};
use crate::exec::plan::{SortOn, SortStep};
use crate::exec::predicate::RecordView;
use crate::exec::row::Row;
use crate::exec::stats::RowPlace;
use crate::record::Tag;
use std::cmp::Ordering;

/// Items are cut down to those that count whenever there are twice as many and this many more.
const SLACK: usize = 1024;

/// Keeps items with their keys, and puts them in order; of the first `n` alone, no more than about twice as many.
pub(crate) struct Sorter<'p, T> {
    step: &'p SortStep,
    budget: &'p Budget<'p>,
    items: Vec<Sorted<T>>,
    /// Once items were cut: nothing behind this key counts.
    last: Option<(Box<[Rank]>, RowPlace)>,
    rows: u64,
}

/// An item and its place.
struct Sorted<T> {
    ranks: Box<[Rank]>,
    place: RowPlace,
    item: T,
    /// Bytes that were charged for it, beside its place in the list.
    memory: usize,
}

/// The place of a value under a key.
pub(crate) fn sort_key(value: Option<(Tag, &str)>, on: &SortOn) -> Rank {
    value.map_or(Rank::Missing, |(tag, text)| Rank::of(tag, text, on.kind))
}

impl<'p, T> Sorter<'p, T> {
    pub(crate) fn new(step: &'p SortStep, budget: &'p Budget<'p>) -> Self {
        Sorter { step, budget, items: Vec::new(), last: None, rows: 0 }
    }

    fn order(keys: &[SortOn], a: (&[Rank], RowPlace), b: (&[Rank], RowPlace)) -> Ordering {
        let by_keys = keys.iter().zip(a.0.iter().zip(b.0)).map(|(on, (x, y))| x.compare(y, on.descending));
        by_keys.fold(Ordering::Equal, Ordering::then).then(a.1.cmp(&b.1))
    }

    /// May an item with these keys and this place be among those kept?
    pub(crate) fn may_keep(&self, ranks: &[Rank], place: RowPlace) -> bool {
        self.last.as_ref().is_none_or(|(last_ranks, last_place)| {
            Self::order(&self.step.keys, (ranks, place), (last_ranks, *last_place)).is_le()
        })
    }

    /// May an item be among those kept, as far as a test of the first key of the last one of these tells?
    pub(crate) fn may_keep_first(&self, test: impl FnOnce(&Rank, bool) -> bool) -> bool {
        let first = self.last.as_ref().and_then(|(ranks, _)| ranks.first()).zip(self.step.keys.first());
        first.is_none_or(|(rank, on)| test(rank, on.descending))
    }

    /// Takes an item with its keys and its place among equals; `memory` is what it takes beside itself.
    pub(crate) fn push(
        &mut self,
        ranks: Box<[Rank]>,
        place: RowPlace,
        item: T,
        memory: usize,
    ) -> Result<(), ExecError> {
        if !self.may_keep(&ranks, place) {
            return Ok(());
        }
        let memory = memory + ranks_memory(&ranks);
        self.budget.reserve(&mut self.items, 1)?;
        self.budget.charge(memory)?;
        self.items.push(Sorted { ranks, place, item, memory });
        match self.step.rows_max().and_then(|n| usize::try_from(n).ok()) {
            Some(n) if self.items.len() >= n.saturating_mul(2).saturating_add(SLACK) => self.cut(n),
            _ => self.budget.check_rows_sorted(self.items.len())?,
        }
        Ok(())
    }

    /// Lets go what does not count, so that what comes is held against the last of the first ones.
    pub(crate) fn tighten(&mut self) {
        if let Some(n) = self.step.rows_max().and_then(|n| usize::try_from(n).ok())
            && self.items.len() > n
        {
            self.cut(n);
        }
    }

    /// Keeps the first `n`.
    fn cut(&mut self, n: usize) {
        let keys = &self.step.keys;
        if n >= self.items.len() {
            return;
        }
        if n > 0 {
            self.items
                .select_nth_unstable_by(n - 1, |a, b| Self::order(keys, (&a.ranks, a.place), (&b.ranks, b.place)));
            self.last = self.items.get(n - 1).map(|item| (item.ranks.clone(), item.place));
        }
        self.budget.release(self.items.drain(n..).map(|item| item.memory).sum());
    }

    /// Takes over what another one kept.
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), ExecError> {
        self.budget.reserve(&mut self.items, other.items.len())?;
        let before = other.items.capacity() * size_of::<Sorted<T>>();
        self.items.extend(other.items);
        self.budget.release(before);
        self.tighten();
        self.budget.check_rows_sorted(self.items.len())
    }

    /// The items in order, without those that are skipped.
    pub(crate) fn finish(mut self) -> Vec<T> {
        let as_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let keys = &self.step.keys;
        self.items.sort_unstable_by(|a, b| Self::order(keys, (&a.ranks, a.place), (&b.ranks, b.place)));
        let limit = self.step.limit.map_or(usize::MAX, as_usize);
        self.items.into_iter().skip(as_usize(self.step.offset)).take(limit).map(|sorted| sorted.item).collect()
    }
}

impl Sorter<'_, Row> {
    /// Takes a row; among equals, the one that came first stays first.
    pub(super) fn push_row(&mut self, row: Row) -> Result<(), ExecError> {
        let rank = |on: &SortOn| match row.value(&on.target) {
            Some((tag, text)) => sort_key(Some((tag, &text)), on),
            None => Rank::Missing,
        };
        let ranks = self.step.keys.iter().map(rank).collect();
        let place = RowPlace(0, self.rows);
        self.rows += 1;
        let memory = row.memory();
        self.push(ranks, place, row, memory)
    }

    pub(super) fn finish_rows(self) -> Result<Vec<Row>, ExecError> {
        let step = self.step;
        let mut rows = self.finish();
        rows.iter_mut().enumerate().for_each(|(i, row)| add_rank(row, step, i));
        Ok(rows)
    }
}

/// Adds the column with the place, counted from 1 behind what was skipped before it.
pub(crate) fn add_rank(row: &mut Row, step: &SortStep, place: usize) {
    if let Some(name) = &step.rank {
        let place = step.offset.saturating_add(place as u64).saturating_add(1);
        row.push(name.clone(), Tag::Number, place.to_string());
    }
}
