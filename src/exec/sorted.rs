//! A sort as the first pipe: only its keys are read of all rows, the other columns of those that come out.

use super::limits::Budget;
use super::materialise::{BatchRows, Materialiser};
use super::pipe::{Chain, Sink, Sorter, add_rank, sort_key};
use super::places::{Places, list_of};
use super::plan::{SortOn, SortStep};
use super::prune::zone;
use super::row::Row;
use super::scan::Scan;
use super::stats::RowPlace;
use super::target::Target;
use super::view::{BlockView, FEW_ROWS_MAX};
use super::{ExecError, order::Rank};
use crate::record::{Block, Data, Field, Number, Tag, Tags, Zone};
use std::cmp::Ordering;

/// A row by its place: number of its block, and row.
type RowRef = (u32, u32);

/// Hands the rows to the pipes behind the sort.
pub(crate) fn run<'p>(
    scan: &Scan<'_>,
    step: &'p SortStep,
    threads: usize,
    budget: &'p Budget<'p>,
    chain: &mut Chain<'p>,
    sink: &mut Sink<'_>,
) -> Result<(), ExecError> {
    let make = || Sorter::<RowRef>::new(step, budget);
    let order = order_of_units(scan, step)?;
    let work = |sorter: &mut Sorter<'p, RowRef>, at: usize| -> Result<(), ExecError> {
        let (best, unit) = order[at];
        if !sorter.may_keep_first(|last, descending| best.may_come_before(last, descending)) {
            scan.note_pruned_zone();
            return Ok(());
        }
        let Some(candidate) = scan.candidate(unit)? else { return Ok(()) };
        if best == Best::Unknown
            && let (Some(_), Some(on)) = (step.rows_max(), step.keys.first())
        {
            let best = Best::of(on, &**candidate.view.block())?;
            if !sorter.may_keep_first(|last, descending| best.may_come_before(last, descending)) {
                scan.note_pruned_zone();
                return Ok(());
            }
        }
        let rows = list_of(&scan.matching(&candidate)?, candidate.view.rows());
        if rows.is_empty() {
            return Ok(());
        }
        let view = &candidate.view;
        let few = (rows.len() as u64 <= FEW_ROWS_MAX).then_some(&*rows);
        let fields = step.keys.iter().map(|on| view.resolve(&on.target, few)).collect::<Result<Vec<_>, _>>()?;
        let (times, seqs) = (view.times()?, view.block().seqs()?);
        let mut readers: Vec<_> =
            step.keys.iter().zip(&fields).map(|(on, field)| field.as_ref().map(|f| Ranks::new(f, on))).collect();
        let mut ranks: Vec<Rank> = Vec::with_capacity(readers.len());
        for row in rows {
            ranks.clear();
            ranks.extend(readers.iter_mut().map(|r| r.as_mut().map_or(Rank::Missing, |r| r.of(row))));
            let time = times.get(row as usize).copied().unwrap_or_default();
            let place = RowPlace::newest_first(time, seqs.get(row as usize).copied().unwrap_or_default());
            // Most rows end here once there are enough better ones.
            if sorter.may_keep(&ranks, place) {
                sorter.push(ranks.as_slice().into(), place, (unit as u32, row), 0)?;
            }
        }
        // The next block is held against the best of this one.
        sorter.tighten();
        Ok(())
    };
    let materialiser = Materialiser::new(scan.plan.wanted());
    let charged = budget.charged();
    'again: loop {
        let mut sorters = scan.fold(threads, budget, |at| order[at].1, make, work)?.into_iter();
        let Some(mut all) = sorters.next() else { return Ok(()) };
        sorters.try_for_each(|sorter| all.merge(sorter))?;
        let mut place = 0;
        let (refs, mut batch_rows) = (all.finish(), BatchRows::new(usize::MAX));
        let mut left = refs.as_slice();
        while !left.is_empty() {
            budget.check()?;
            let batch;
            (batch, left) = left.split_at(batch_rows.get().min(left.len()));
            let (rows, is_whole) = rows_of(scan, &materialiser, batch)?;
            if !is_whole && place == 0 {
                // Nothing went out yet: others take the places of the rows that can't be read.
                scan.begin_again(budget, charged);
                continue 'again;
            }
            batch_rows.next(&rows);
            for mut row in rows {
                add_rank(&mut row, step, place);
                place += 1;
                if chain.push(row, sink)?.is_break() {
                    return Ok(());
                }
            }
        }
        return Ok(());
    }
}

/// What zone maps say of the rank that the best row of a block may have under the first key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Best {
    /// Nothing.
    Unknown,
    /// A number, at best this one.
    Number(f64),
    /// No number: a text at best.
    NoNumber,
}

impl Best {
    fn of(on: &SortOn, block: &dyn Block) -> Result<Best, ExecError> {
        let Target::Field(name) = &on.target else { return Ok(Best::Unknown) };
        Ok(match block.zone(name)? {
            Zone::Absent => Best::NoNumber,
            Zone::Unknown => Best::Unknown,
            // Numbers with a unit are measured in the unit of the field, and the zone map has base units.
            Zone::Known(map) if map.with_unit.is_some() => Best::Unknown,
            Zone::Known(map) => match map.plain {
                Some((low, high)) => Best::Number(if on.descending { high } else { low }),
                None => Best::NoNumber,
            },
        })
    }

    /// May a row with this come before one of that rank, or be its equal?
    fn may_come_before(self, last: &Rank, descending: bool) -> bool {
        match (self, last) {
            (Best::Number(best), Rank::Number(_)) => match Number::from_f64(best) {
                Some(best) => Rank::Number(best).compare(last, descending).is_le(),
                None => true,
            },
            (Best::NoNumber, Rank::Number(_)) => false,
            _ => true,
        }
    }

    /// Which is looked at first: what is not known, then the best.
    fn compare(self, other: Best, descending: bool) -> Ordering {
        let class = |best| match best {
            Best::Unknown => 0,
            Best::Number(_) => 1,
            Best::NoNumber => 2,
        };
        let order = match (self, other) {
            (Best::Number(a), Best::Number(b)) => a.total_cmp(&b),
            _ => return class(self).cmp(&class(other)),
        };
        if descending { order.reverse() } else { order }
    }
}

/// The blocks in the order in which they are looked at. Where few rows are asked for, those that may hold the first
/// come first, and most others need not be read then.
fn order_of_units(scan: &Scan<'_>, step: &SortStep) -> Result<Vec<(Best, usize)>, ExecError> {
    let newest_first = (0..scan.units.len()).map(|unit| (Best::Unknown, unit));
    let (Some(_), Some(on)) = (step.rows_max(), step.keys.first()) else { return Ok(newest_first.collect()) };
    // Where the index rules most blocks out, opening all of them would cost more than it saves.
    if !matches!(on.target, Target::Field(_)) || !zone::may_decide(scan.plan.predicate()) {
        return Ok(newest_first.collect());
    }
    let mut order = Vec::with_capacity(scan.units.len());
    for (unit, at) in scan.units.iter().enumerate() {
        // What is left out for its time is not opened for this.
        let best = match scan.plan.span().overlaps(at.info.time) {
            true => match scan.handle(unit).and_then(|block| Best::of(on, &*block)) {
                // It is left out when its turn comes.
                Err(ExecError::Storage(error)) if error.is_damage() => Best::Unknown,
                best => best?,
            },
            false => Best::Unknown,
        };
        order.push((best, unit));
    }
    order.sort_by(|a, b| a.0.compare(b.0, on.descending));
    Ok(order)
}

/// Reads the places of a key's values, for rows that rise.
struct Ranks<'a> {
    field: &'a Field,
    on: &'a SortOn,
    places: Places<'a>,
    /// Numbers that need not be written and read again.
    integers: Option<&'a [i64]>,
    buffer: Vec<u8>,
}

impl<'a> Ranks<'a> {
    fn new(field: &'a Field, on: &'a SortOn) -> Self {
        // A plain number is in the unit of its field, whichever that is; as a time it is a text.
        let integers = match (&field.column.data, &field.column.tags) {
            (Data::Integer(values), Tags::One(Tag::Number)) => Some(&**values),
            _ => None,
        };
        Ranks { field, on, places: Places::new(field), integers, buffer: Vec::new() }
    }

    fn of(&mut self, row: u32) -> Rank {
        if let Some(integers) = self.integers {
            let value = self.places.of(row).and_then(|place| integers.get(place));
            return value.map_or(Rank::Missing, |&n| Rank::Number(Number::from(n)));
        }
        sort_key(self.places.get(self.field, row, &mut self.buffer), self.on)
    }
}

/// Makes rows of any blocks, in the order asked for; and says whether these are all, with none in a damaged block.
fn rows_of(scan: &Scan<'_>, materialiser: &Materialiser<'_>, batch: &[RowRef]) -> Result<(Vec<Row>, bool), ExecError> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by_key(|&i| batch[i]);
    let mut made: Vec<Option<Row>> = vec![None; batch.len()];
    let mut is_whole = true;
    for same in order.chunk_by(|&a, &b| batch[a].0 == batch[b].0) {
        let Some(unit) = same.first().map(|&i| batch[i].0) else { continue };
        let rows: Vec<u32> = same.iter().map(|&i| batch[i].1).collect();
        let of_block =
            scan.handle(unit as usize).and_then(|block| Ok(materialiser.rows(&BlockView::new(block), &rows, false)?));
        match of_block {
            Ok(of_block) => same.iter().zip(of_block).for_each(|(&i, row)| made[i] = Some(row)),
            Err(error) => {
                scan.leave_out(unit as usize, error)?;
                is_whole = false;
            }
        }
    }
    Ok((made.into_iter().flatten().collect(), is_whole))
}
