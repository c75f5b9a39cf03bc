//! Pipes over rows: each takes rows one by one and hands rows on.
//!
//! Promises: rows are handed on in the order that the pipe defines; what a pipe keeps is counted against the limits. A
//! pipe that needs no more rows says so, and reading ends.

mod fields;
mod sort;
mod uniq;

pub(crate) use sort::{Sorter, add_rank, sort_key};

use super::ExecError;
use super::filter::Scratch;
use super::limits::Budget;
use super::plan::{GroupOutput, Step};
use super::predicate::Predicate;
use super::row::Row;
use super::stats::{Grouping, Groups, RowOrder, RowPlace};
use std::ops::ControlFlow;
use uniq::UniqRows;

/// What takes rows in the end.
pub(crate) type Sink<'s> = dyn FnMut(Row) -> ControlFlow<()> + 's;

/// The pipes of a query, one after the other.
pub(crate) struct Chain<'p> {
    stages: Vec<Stage<'p>>,
    budget: &'p Budget<'p>,
}

enum Stage<'p> {
    Fields(&'p [crate::query::ast::FieldPattern]),
    Delete(&'p [crate::query::ast::FieldPattern]),
    Filter(&'p Predicate, Scratch),
    Limit(u64),
    Offset(u64),
    Sort(Box<Sorter<'p, Row>>),
    Group { grouping: &'p Grouping, output: &'p GroupOutput, groups: Box<Groups>, rows: u64 },
    UniqRows(UniqRows),
}

impl<'p> Chain<'p> {
    pub(crate) fn new(steps: &'p [Step], budget: &'p Budget<'p>) -> Self {
        let stage = |step: &'p Step| match step {
            Step::Fields(patterns) => Stage::Fields(patterns),
            Step::Delete(patterns) => Stage::Delete(patterns),
            Step::Filter(predicate) => Stage::Filter(predicate, Scratch::default()),
            Step::Limit(n) => Stage::Limit(*n),
            Step::Offset(n) => Stage::Offset(*n),
            Step::Sort(sort) => Stage::Sort(Box::new(Sorter::new(sort, budget))),
            Step::Group(grouping, output) => Stage::Group { grouping, output, groups: Box::default(), rows: 0 },
            Step::UniqRows { hits, limit } => Stage::UniqRows(UniqRows::new(*hits, *limit)),
        };
        Chain { stages: steps.iter().map(stage).collect(), budget }
    }

    /// Hands a row to the first pipe. Breaks where no more rows are needed.
    pub(crate) fn push(&mut self, row: Row, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, ExecError> {
        push(&mut self.stages, row, self.budget, sink)
    }

    /// Is no row needed at all?
    pub(crate) fn is_done(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Limit(0)))
    }

    /// Tells the pipes that no rows follow: those that kept rows hand them on.
    pub(crate) fn finish(self, sink: &mut Sink<'_>) -> Result<(), ExecError> {
        let budget = self.budget;
        let mut stages = self.stages.into_iter();
        while let Some(stage) = stages.next() {
            let mut emit = |row: Row| push(stages.as_mut_slice(), row, budget, sink);
            let kept: Vec<Row> = match stage {
                Stage::Sort(sorter) => sorter.finish_rows()?,
                Stage::Group { grouping, output, groups, .. } => {
                    let order = RowOrder::new(grouping, output, &[]);
                    groups.finish((grouping, output, &order), budget, &mut emit)?;
                    continue;
                }
                Stage::UniqRows(uniq) => uniq.finish(),
                Stage::Fields(_) | Stage::Delete(_) | Stage::Filter(..) | Stage::Limit(_) | Stage::Offset(_) => {
                    continue;
                }
            };
            for row in kept {
                if emit(row)?.is_break() {
                    // Enough for those that follow; what they keep is still to be handed on.
                    break;
                }
            }
        }
        Ok(())
    }
}

fn push(
    stages: &mut [Stage<'_>],
    mut row: Row,
    budget: &Budget<'_>,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, ExecError> {
    let mut rest = stages;
    while let Some((stage, after)) = rest.split_first_mut() {
        match stage {
            Stage::Fields(patterns) => row = fields::keep(row, patterns),
            Stage::Delete(patterns) => fields::drop(&mut row, patterns),
            Stage::Filter(predicate, scratch) => {
                if !predicate.matches(&row, scratch) {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            Stage::Limit(0) => return Ok(ControlFlow::Break(())),
            Stage::Limit(n) => {
                *n -= 1;
                if *n == 0 {
                    // The last one: whatever the rest says, no more are needed.
                    let _ = push(after, row, budget, sink)?;
                    return Ok(ControlFlow::Break(()));
                }
            }
            Stage::Offset(0) => {}
            Stage::Offset(n) => {
                *n -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            Stage::Sort(sorter) => {
                sorter.push_row(row)?;
                return Ok(ControlFlow::Continue(()));
            }
            Stage::Group { grouping, groups, rows, .. } => {
                groups.add_row(&row, RowPlace(0, *rows), grouping, budget)?;
                *rows += 1;
                return Ok(ControlFlow::Continue(()));
            }
            Stage::UniqRows(uniq) => {
                return uniq.push(row, budget);
            }
        }
        rest = after;
    }
    Ok(sink(row))
}
