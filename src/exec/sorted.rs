//! A sort as the first pipe: only its keys are read of all rows, the other columns of those that come out.

use super::limits::Budget;
use super::materialise::Materialiser;
use super::parallel;
use super::pipe::{Chain, Sink, Sorter, add_rank, sort_key};
use super::plan::SortStep;
use super::row::Row;
use super::scan::Scan;
use super::stats::RowPlace;
use super::view::{BlockView, FEW_ROWS_MAX};
use super::{ExecError, order::Rank};

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
        let mut buffer = Vec::new();
        for row in rows {
            let mut rank = |(on, field): (_, &Option<crate::record::Field>)| match field {
                Some(field) => sort_key(field.get(row, &mut buffer), on),
                None => Rank::Missing,
            };
            let ranks = step.keys.iter().zip(&fields).map(&mut rank).collect();
            let time = times.get(row as usize).copied().unwrap_or_default();
            let place = RowPlace::newest_first(time, seqs.get(row as usize).copied().unwrap_or_default());
            sorter.push(ranks, place, (unit as u32, row), 0)?;
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
