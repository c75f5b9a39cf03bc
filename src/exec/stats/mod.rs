//! Groups and aggregates.
//!
//! Promises: what comes out does not depend on the order in which blocks were read, nor on how many threads read them.
//! `groups` holds the table, `columns` fills it from columns and `accumulator` knows what a function computes;
//! `counted` is for groups of which only rows are counted, which are many and small, and `ids` for those of identifiers. `order` tells which rows are
//! needed in the end.

mod accumulator;
mod bucket;
mod codes;
mod columns;
mod counted;
mod groups;
mod ids;
mod keys;
mod order;
mod part;
mod pick;
mod quantile;
mod sum;
mod table;

pub(crate) use accumulator::RowPlace;
pub(crate) use counted::Counted;
pub(crate) use groups::Groups;
pub(crate) use order::RowOrder;

use super::filter::FieldKind;
use super::predicate::Predicate;
use super::target::Target;
use crate::query::ast::{Bucket, StatsFunction, StatsKind};
use std::sync::Arc;

/// What rows are grouped by, and what is computed of each group.
#[derive(Debug)]
pub(crate) struct Grouping {
    pub(crate) keys: Vec<Key>,
    pub(crate) functions: Vec<Function>,
}

/// One key of a group.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: Arc<str>,
    pub(crate) target: Target,
    pub(crate) kind: FieldKind,
    pub(crate) bucket: Option<Bucket>,
}

/// An aggregate, resolved.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) kind: StatsKind,
    /// The fields; none for every row or every field.
    pub(crate) fields: Vec<(Target, FieldKind)>,
    pub(crate) condition: Option<Predicate>,
    pub(crate) name: Arc<str>,
    pub(crate) limit: Option<u64>,
}

impl Function {
    /// Does it count rows, whatever is in them?
    pub(crate) fn counts_rows(&self) -> bool {
        self.kind == StatsKind::Count && self.fields.is_empty()
    }
}

impl Grouping {
    /// Are rows counted, and nothing more?
    pub(crate) fn counts_rows(&self) -> bool {
        self.functions.iter().all(|f| f.counts_rows() && f.condition.is_none())
    }
}

impl Grouping {
    /// For the number of distinct values of one field, and nothing more: the grouping whose groups these are.
    pub(crate) fn distinct_values(&self) -> Option<Grouping> {
        let ([], [Function { kind: StatsKind::CountUniq, fields, condition: None, limit: None, name }]) =
            (&*self.keys, &*self.functions)
        else {
            return None;
        };
        let [(target, kind)] = &**fields else { return None };
        let key = Key { name: name.clone(), target: target.clone(), kind: *kind, bucket: None };
        let count =
            Function { kind: StatsKind::Count, fields: Vec::new(), condition: None, name: name.clone(), limit: None };
        Some(Grouping { keys: vec![key], functions: vec![count] })
    }
}

/// The name of a column where the query gives none: the function as one would write it.
pub fn default_name(function: &StatsFunction) -> String {
    let fields = if function.fields.is_empty() { "*".to_string() } else { function.fields.join(", ") };
    let name = match &function.kind {
        StatsKind::Count => "count",
        StatsKind::CountUniq => "count_uniq",
        StatsKind::Sum => "sum",
        StatsKind::Avg => "avg",
        StatsKind::Min => "min",
        StatsKind::Max => "max",
        StatsKind::Median => "median",
        StatsKind::Values => "values",
        StatsKind::UniqValues => "uniq_values",
        StatsKind::Quantile(phi) => {
            let percent = phi * 100.0;
            // `p50` to `p99` are names of their own.
            return if (50.0..=99.0).contains(&percent) && (percent - percent.round()).abs() < 1e-9 {
                format!("p{}({fields})", percent.round())
            } else {
                format!("quantile({phi}, {fields})")
            };
        }
    };
    format!("{name}({fields})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = |kind: StatsKind, fields: &[&str]| {
            let fields = fields.iter().map(|f| (*f).into()).collect();
            default_name(&StatsFunction { kind, fields, condition: None, alias: None, limit: None })
        };
        assert_eq!(name(StatsKind::Count, &[]), "count(*)");
        assert_eq!(name(StatsKind::CountUniq, &["a", "b"]), "count_uniq(a, b)");
        assert_eq!(name(StatsKind::Quantile(0.95), &["duration"]), "p95(duration)");
        assert_eq!(name(StatsKind::Quantile(0.999), &["duration"]), "quantile(0.999, duration)");
    }
}
