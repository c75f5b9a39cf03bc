//! Which rows of a grouping are needed: all, or the first ones in some order.

use super::Grouping;
use crate::exec::filter::FieldKind;
use crate::exec::plan::{GroupOutput, SortStep, Step, rows_max};
use crate::exec::row::Row;
use crate::record::Tag;

/// The first rows of a grouping, in an order.
///
/// Groups themselves have an order: that of their keys. It decides between rows that are equal otherwise.
#[derive(Debug)]
pub(crate) struct RowOrder {
    /// What decides before the keys.
    pub(super) by: Vec<OrderOn>,
    /// How many rows are needed.
    pub(super) limit: Option<usize>,
    /// Do rows come out in this order? Else they come in the order of the groups, whichever are chosen.
    pub(super) sorted: bool,
}

/// One column that decides.
#[derive(Debug)]
pub(super) struct OrderOn {
    pub(super) column: OrderColumn,
    pub(super) kind: FieldKind,
    pub(super) descending: bool,
}

/// A column of the rows of a grouping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderColumn {
    Key(usize),
    Function(usize),
    /// No row has it, so that it decides nothing.
    Absent,
}

impl RowOrder {
    /// Of a grouping whose rows go through some steps.
    pub(crate) fn new(grouping: &Grouping, output: &GroupOutput, rest: &[Step]) -> Self {
        let as_limit = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match (output, rest) {
            (GroupOutput::Top { limit, .. }, _) => {
                let count = OrderOn { column: OrderColumn::Function(0), kind: FieldKind::of("hits"), descending: true };
                RowOrder { by: vec![count], limit: Some(as_limit(*limit)), sorted: true }
            }
            (GroupOutput::Uniq { limit, .. }, _) => {
                RowOrder { by: Vec::new(), limit: limit.map(as_limit), sorted: false }
            }
            (GroupOutput::Stats, [Step::Sort(sort), ..]) if sort.rows_max().is_some() => {
                RowOrder { by: columns(grouping, sort), limit: sort.rows_max().map(as_limit), sorted: false }
            }
            (GroupOutput::Stats, rest) => {
                RowOrder { by: Vec::new(), limit: rows_max(rest).map(as_limit), sorted: false }
            }
        }
    }
}

fn columns(grouping: &Grouping, sort: &SortStep) -> Vec<OrderOn> {
    // A row as they will come out, to see which column a name stands for.
    let mut row = Row::default();
    grouping.keys.iter().for_each(|key| row.push(key.name.clone(), Tag::Null, ""));
    grouping.functions.iter().for_each(|function| row.push(function.name.clone(), Tag::Null, ""));
    let keys = grouping.keys.len();
    let on = sort.keys.iter().map(|on| OrderOn {
        column: match row.place(&on.target) {
            Some(place) if place < keys => OrderColumn::Key(place),
            Some(place) => OrderColumn::Function(place - keys),
            None => OrderColumn::Absent,
        },
        kind: on.kind,
        descending: on.descending,
    });
    on.collect()
}
