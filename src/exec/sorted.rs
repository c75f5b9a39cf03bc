//! A sort as the first pipe: only its keys are read of all rows, the other columns of those that come out.

use super::limits::Budget;
use super::materialise::Materialiser;
use super::parallel;
use super::pipe::{Chain, Sink, Sorter, add_rank, sort_key};
use super::places::Places;
use super::plan::{SortOn, SortStep};
use super::row::Row;
use super::scan::Scan;
use super::stats::RowPlace;
use super::view::{BlockView, FEW_ROWS_MAX};
use super::{ExecError, order::Rank};
use crate::record::{Data, Field, Number, Tag, Tags};

/// Rows that are made at a time.
const BATCH_ROWS: usize = 1024;

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
    let work = |sorter: &mut Sorter<'p, RowRef>, unit: usize| -> Result<(), ExecError> {
        let Some(candidate) = scan.candidate(unit)? else { return Ok(()) };
        let rows: Vec<u32> = scan.matching(&candidate)?.iter().collect();
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
        Ok(())
    };
    let mut sorters = parallel::fold(threads, scan.units.len(), budget, make, work)?.into_iter();
    let Some(mut all) = sorters.next() else { return Ok(()) };
    sorters.try_for_each(|sorter| all.merge(sorter))?;
    let materialiser = Materialiser::new(scan.plan.wanted());
    let mut place = 0;
    for batch in all.finish().chunks(BATCH_ROWS) {
        budget.check()?;
        for mut row in rows_of(scan, &materialiser, batch)? {
            add_rank(&mut row, step, place);
            place += 1;
            if chain.push(row, sink)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
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

/// Makes rows of any blocks, in the order asked for.
fn rows_of(scan: &Scan<'_>, materialiser: &Materialiser<'_>, batch: &[RowRef]) -> Result<Vec<Row>, ExecError> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by_key(|&i| batch[i]);
    let mut made: Vec<Option<Row>> = vec![None; batch.len()];
    for same in order.chunk_by(|&a, &b| batch[a].0 == batch[b].0) {
        let Some(unit) = same.first().map(|&i| batch[i].0) else { continue };
        let view = BlockView::new(scan.handle(unit as usize)?);
        let rows: Vec<u32> = same.iter().map(|&i| batch[i].1).collect();
        for (&i, row) in same.iter().zip(materialiser.rows(&view, &rows, false)?) {
            made[i] = Some(row);
        }
    }
    Ok(made.into_iter().flatten().collect())
}
