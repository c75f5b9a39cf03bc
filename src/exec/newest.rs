//! Rows in order of time, the newest first, from blocks whose times overlap.
//!
//! Blocks are read in order of their last row. A row goes out once no block that is still unread can have a newer one,
//! so that memory holds only the blocks that overlap, and a query that ends early reads no more than it must.

use super::ExecError;
use super::limits::Budget;
use super::materialise::{BatchRows, Materialiser};
use super::parallel;
use super::pipe::{Chain, Sink};
use super::row::Row;
use super::scan::Scan;
use super::view::BlockView;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A block keeps its columns where more than this many of its rows are still to come.
const KEEP_COLUMNS_ROWS_MIN: usize = 1024;
/// And where columns take no more than one in so many bytes that the query may keep: the pipes behind need some, too.
const KEEP_COLUMNS_SHARE: u64 = 2;

/// The matching rows of a block that did not go out yet.
struct Open {
    /// Its number in the scan.
    unit: usize,
    view: BlockView,
    /// Rising; taken from the end.
    rows: Vec<u32>,
    times: Arc<Vec<i64>>,
    seqs: Arc<Vec<u64>>,
    memory: usize,
    keep_columns: bool,
    /// Bytes of the columns that it keeps.
    columns: usize,
}

impl Open {
    /// Time and sequence number of the newest row.
    fn newest(&self) -> Option<(i64, u64)> {
        let row = *self.rows.last()? as usize;
        Some((*self.times.get(row)?, *self.seqs.get(row)?))
    }
}

/// Hands all matching rows to the pipes, the newest first.
pub(crate) fn run<'p>(
    scan: &Scan<'_>,
    threads: usize,
    budget: &Budget<'p>,
    chain: &mut Chain<'p>,
    sink: &mut Sink<'_>,
) -> Result<(), ExecError> {
    let rows_max = scan.plan.rows_max().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let mut merge = Merge {
        scan,
        blocks: Vec::new(),
        heads: BinaryHeap::new(),
        batch: Vec::new(),
        batch_rows: BatchRows::new(rows_max),
        columns: 0,
        rows_left: rows_max,
        materialiser: Materialiser::new(scan.plan.wanted()),
        budget,
    };
    if rows_max == 0 || chain.is_done() {
        return Ok(());
    }
    if scan.plan.rows_max().is_none() {
        // It will come to all of them: what is known to be missing is told before the first row.
        scan.leave_out_known()?;
    }
    let read = |unit: usize| -> Result<Option<Open>, ExecError> {
        let Some(candidate) = scan.decide(unit)? else { return Ok(None) };
        let matching = scan.matching(&candidate)?;
        if matching.is_empty() {
            return Ok(None);
        }
        // Of the newest `n` rows of all, no more than `n` are of this block.
        let skip = matching.count().saturating_sub(rows_max);
        let rows: Vec<u32> = matching.rows().skip(skip).collect();
        let (times, seqs) = (candidate.view.times()?, candidate.view.block().seqs()?);
        let memory = rows.len() * 4 + times.len() * 8 + seqs.len() * 8;
        budget.charge(memory)?;
        let keep_columns = rows.len() > KEEP_COLUMNS_ROWS_MIN;
        let view = if keep_columns { candidate.view } else { BlockView::new(candidate.view.block().clone()) };
        Ok(Some(Open { unit, view, rows, times, seqs, memory, keep_columns, columns: 0 }))
    };
    // Work goes ahead: damage counts only where the query comes to that block.
    let work = |unit: usize| Ok(read(unit));
    let units = scan.units.len();
    let mut ended = false;
    parallel::ordered(threads, units, budget, work, |unit, open| {
        match open {
            Ok(Some(open)) => merge.open(open),
            Ok(None) => {}
            Err(error) => scan.leave_out(unit, error)?,
        }
        let bound = scan.units.get(unit + 1).map(|next| next.info.time.1.0);
        let flow = merge.emit(bound, chain, sink)?;
        ended = flow.is_break();
        Ok(flow)
    })?;
    if !ended {
        // Nothing is left unread, and nothing follows that a break could end.
        let _ = merge.flush(chain, sink)?;
    }
    Ok(())
}

/// The blocks that rows are still to come from.
struct Merge<'m, 'b> {
    scan: &'m Scan<'m>,
    blocks: Vec<Option<Open>>,
    /// The newest row of each block.
    heads: BinaryHeap<(i64, u64, usize)>,
    /// Rows that go out together: block and row.
    batch: Vec<(usize, u32)>,
    batch_rows: BatchRows,
    /// Bytes of the columns that blocks keep.
    columns: usize,
    rows_left: usize,
    materialiser: Materialiser<'m>,
    budget: &'m Budget<'b>,
}

impl Merge<'_, '_> {
    fn open(&mut self, open: Open) {
        if let Some((time, seq)) = open.newest() {
            self.heads.push((time, seq, self.blocks.len()));
            self.blocks.push(Some(open));
        }
    }

    /// Lets rows go out that are newer than every unread block.
    fn emit(
        &mut self,
        bound: Option<i64>,
        chain: &mut Chain<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<ControlFlow<()>, ExecError> {
        while let Some(&(time, _, block)) = self.heads.peek() {
            // One of the same time may have been committed later.
            if bound.is_some_and(|bound| time <= bound) {
                break;
            }
            self.heads.pop();
            if let Some(Some(open)) = self.blocks.get_mut(block) {
                if let Some(row) = open.rows.pop() {
                    self.batch.push((block, row));
                }
                if let Some((time, seq)) = open.newest() {
                    self.heads.push((time, seq, block));
                }
            }
            if self.batch.len() >= self.batch_rows.get().min(self.rows_left) && self.flush(chain, sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Makes the rows of the batch and hands them on.
    fn flush(&mut self, chain: &mut Chain<'_>, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, ExecError> {
        self.budget.check()?;
        let batch = std::mem::take(&mut self.batch);
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_unstable_by_key(|&i| batch[i]);
        let mut made: Vec<Option<Row>> = vec![None; batch.len()];
        for same in order.chunk_by(|&a, &b| batch[a].0 == batch[b].0) {
            let Some(block) = same.first().map(|&i| batch[i].0) else { continue };
            let Some(Some(open)) = self.blocks.get_mut(block) else { continue };
            let rows: Vec<u32> = same.iter().map(|&i| batch[i].1).collect();
            let of_block = self.materialiser.rows(&open.view, &rows, open.keep_columns);
            let is_damaged = of_block.is_err();
            match of_block {
                Ok(of_block) => same.iter().zip(of_block).for_each(|(&i, row)| made[i] = Some(row)),
                // Rows of it that went out before are right; those that were still to come are missing.
                Err(error) => self.scan.leave_out(open.unit, error.into())?,
            }
            if open.rows.is_empty() || is_damaged {
                self.budget.release(open.memory + open.columns);
                self.columns -= open.columns;
                self.blocks[block] = None;
            } else if open.keep_columns {
                let more = open.view.memory().saturating_sub(open.columns);
                let share = self.budget.memory_max() / KEEP_COLUMNS_SHARE;
                if (self.columns + more) as u64 <= share && self.budget.charge(more).is_ok() {
                    open.columns += more;
                    self.columns += more;
                } else {
                    // They are read again in part.
                    self.budget.release(open.columns);
                    self.columns -= std::mem::take(&mut open.columns);
                    open.view = BlockView::new(open.view.block().clone());
                    open.keep_columns = false;
                }
            }
        }
        let made: Vec<Row> = made.into_iter().flatten().collect();
        self.batch_rows.next(&made);
        for row in made {
            self.rows_left = self.rows_left.saturating_sub(1);
            if chain.push(row, sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(if self.rows_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}
