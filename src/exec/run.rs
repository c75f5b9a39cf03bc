//! A plan, run over the sources of one snapshot.

use super::limits::Budget;
use super::pipe::Chain;
use super::plan::Step;
use super::row::Row;
use super::scan::{QueryStats, Scan};
use super::stats::{Counted, Grouping, Groups, RowOrder};
use super::{ExecError, Missed, Plan, newest, sorted};
use crate::query::ast::StatsKind;
use crate::record::{Source, Tag};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a plan is run.
///
/// ```no_run
/// # use duramen::exec::{Execution, Plan, ExecError};
/// # fn example(plan: &Plan, sources: &[std::sync::Arc<dyn duramen::record::Source>]) -> Result<(), ExecError> {
/// let stats = Execution::new().threads(2).run(plan, sources, &mut |row| {
///     println!("{}", row.to_json());
///     std::ops::ControlFlow::Continue(())
/// })?;
/// println!("{} rows", stats.rows_out);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Execution<'c> {
    threads: usize,
    cancel: Option<&'c AtomicBool>,
    missed: Option<&'c Missed>,
    memory_peak: Option<&'c AtomicU64>,
    strict: bool,
}

impl Default for Execution<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'c> Execution<'c> {
    /// On the calling thread alone.
    pub fn new() -> Self {
        Execution { threads: 1, cancel: None, missed: None, memory_peak: None, strict: false }
    }
    /// On so many threads. What comes out is the same.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
    /// Ends with [`ExecError::Cancelled`] soon after the flag is set.
    pub fn cancel(mut self, flag: &'c AtomicBool) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// Notes here what the answer misses, as it is found; else only the figures say how much that is.
    pub fn missed(mut self, missed: &'c Missed) -> Self {
        self.missed = Some(missed);
        self
    }

    /// Notes here the most memory that the query kept at a time, in bytes, when it ends, also with an error. What is there
    /// and more stays.
    pub fn memory_peak(mut self, peak: &'c AtomicU64) -> Self {
        self.memory_peak = Some(peak);
        self
    }

    /// Where a block that might have matches is damaged: an error, in place of an answer that misses it.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Runs a plan, and hands its rows to the sink, on the calling thread, until it breaks.
    pub fn run(
        &self,
        plan: &Plan,
        sources: &[Arc<dyn Source>],
        sink: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<QueryStats, ExecError> {
        let budget = Budget::new(*plan.limits(), self.cancel);
        let result = self.run_within(&budget, plan, sources, sink);
        if let Some(peak) = self.memory_peak {
            peak.fetch_max(budget.memory_peak(), Ordering::Relaxed);
        }
        result
    }

    fn run_within(
        &self,
        budget: &Budget<'_>,
        plan: &Plan,
        sources: &[Arc<dyn Source>],
        sink: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<QueryStats, ExecError> {
        let own = Missed::default();
        let scan = Scan::new(plan, sources, self.missed.unwrap_or(&own), self.strict);
        let mut rows_out = 0u64;
        let mut ended = false;
        let mut counting = |row: Row| {
            if ended {
                return ControlFlow::Break(());
            }
            rows_out += 1;
            let flow = sink(row);
            ended = flow.is_break();
            flow
        };
        match plan.steps() {
            [Step::Group(grouping, output), rest @ ..] if reads_named_fields(grouping) => {
                let mut chain = Chain::new(rest, budget);
                let order = RowOrder::new(grouping, output, rest);
                let what = (grouping, output, &order);
                let mut emit = |row: Row| chain.push(row, &mut counting);
                if grouping.counts_rows() {
                    let all = self.count(&scan, grouping, true, budget)?;
                    Counted::finish(all, self.threads, what, budget, &mut emit)?;
                } else if let Some(values) = grouping.distinct_values() {
                    let all = self.count(&scan, &values, false, budget)?;
                    let count = Counted::distinct(all, self.threads, &values, budget)?;
                    let mut row = Row::default();
                    grouping.functions.iter().for_each(|f| row.push(f.name.clone(), Tag::Number, count.to_string()));
                    // Nothing follows that a break could end.
                    let _ = emit(row)?;
                } else {
                    self.group(&scan, grouping, budget)?.finish(what, budget, &mut emit)?;
                }
                chain.finish(&mut counting)?;
            }
            [Step::Sort(sort), rest @ ..] => {
                let mut chain = Chain::new(rest, budget);
                sorted::run(&scan, sort, self.threads, budget, &mut chain, &mut counting)?;
                chain.finish(&mut counting)?;
            }
            steps => {
                let mut chain = Chain::new(steps, budget);
                newest::run(&scan, self.threads, budget, &mut chain, &mut counting)?;
                chain.finish(&mut counting)?;
            }
        }
        Ok(scan.stats(rows_out, budget.elapsed()))
    }

    /// Counts rows by group straight from columns.
    fn count(
        &self,
        scan: &Scan<'_>,
        grouping: &Grouping,
        are_rows: bool,
        budget: &Budget<'_>,
    ) -> Result<Vec<Counted>, ExecError> {
        let work = |counted: &mut Counted, unit: usize| -> Result<(), ExecError> {
            if let Some(info) = scan.whole(unit)
                && counted.add_unread(info, grouping, budget)?
            {
                scan.note_metadata(info.rows);
                return Ok(());
            }
            let Some(candidate) = scan.candidate(unit)? else { return Ok(()) };
            let block = &**candidate.view.block();
            if candidate.all && counted.add_whole_block(block, candidate.info, grouping, budget)? {
                scan.note_metadata(candidate.info.rows);
                return Ok(());
            }
            if grouping.keys.is_empty()
                && let Some(rows) = scan.rows_matching(&candidate)?
            {
                scan.note_metadata(rows);
                return counted.add_rows(rows, budget);
            }
            if grouping.keys.is_empty()
                && let Some(rows) = scan.count_matching(&candidate)?
            {
                return counted.add_rows(rows, budget);
            }
            let matching = scan.matching(&candidate)?;
            if matching.is_empty() {
                return Ok(());
            }
            counted.add_block(&candidate.view, &matching, grouping, budget)
        };
        scan.fold(self.threads, budget, |at| at, || Counted::new(are_rows), work)
    }

    /// Groups straight from columns.
    fn group(&self, scan: &Scan<'_>, grouping: &Grouping, budget: &Budget<'_>) -> Result<Groups, ExecError> {
        let work = |groups: &mut Groups, unit: usize| -> Result<(), ExecError> {
            let Some(candidate) = scan.candidate(unit)? else { return Ok(()) };
            let matching = scan.matching(&candidate)?;
            if matching.is_empty() {
                return Ok(());
            }
            groups.add_block(&candidate.view, &matching, grouping, budget)
        };
        let mut parts = scan.fold(self.threads, budget, |at| at, Groups::default, work)?.into_iter();
        let mut all = parts.next().unwrap_or_default();
        parts.try_for_each(|part| all.merge(part, grouping, budget))?;
        Ok(all)
    }
}

/// Functions of every field work on whole rows.
fn reads_named_fields(grouping: &Grouping) -> bool {
    grouping.functions.iter().all(|f| !f.fields.is_empty() || f.kind == StatsKind::Count)
}
