//! `uniq` of whole rows.

use crate::exec::ExecError;
use crate::exec::limits::{Budget, allocated};
use crate::exec::row::Row;
use crate::record::Tag;
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;

/// The distinct rows, in order of their first one. Rows are the same when they have the same fields with the same
/// texts.
pub(super) struct UniqRows {
    seen: FxHashMap<Box<[u8]>, usize>,
    rows: Vec<(Row, u64)>,
    hits: bool,
    limit: u64,
}

impl UniqRows {
    pub(super) fn new(hits: bool, limit: Option<u64>) -> Self {
        UniqRows { seen: FxHashMap::default(), rows: Vec::new(), hits, limit: limit.unwrap_or(u64::MAX) }
    }

    pub(super) fn push(&mut self, row: Row, budget: &Budget<'_>) -> Result<ControlFlow<()>, ExecError> {
        let mut key = Vec::new();
        let mut cells: Vec<_> = row.cells.iter().collect();
        cells.sort_by(|a, b| a.name.cmp(&b.name));
        for text in cells.iter().flat_map(|c| [&*c.name, &*c.text]) {
            key.extend_from_slice(&(text.len() as u32).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        if let Some(&at) = self.seen.get(&*key) {
            if let Some((_, hits)) = self.rows.get_mut(at) {
                *hits += 1;
            }
        } else if (self.rows.len() as u64) < self.limit {
            budget.check_groups(self.rows.len() + 1)?;
            budget.reserve(&mut self.rows, 1)?;
            budget.reserve_in_map(&mut self.seen)?;
            budget.charge(row.memory() + allocated(key.len()))?;
            self.seen.insert(key.into(), self.rows.len());
            self.rows.push((row, 1));
        }
        // Without counts, no more rows are needed once there are enough.
        let enough = !self.hits && self.rows.len() as u64 >= self.limit;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    pub(super) fn finish(self) -> Vec<Row> {
        let hits = self.hits;
        let with_hits = |(mut row, n): (Row, u64)| {
            row.hidden = None;
            if hits {
                row.push("hits".into(), Tag::Number, n.to_string());
            }
            row
        };
        self.rows.into_iter().map(with_hits).collect()
    }
}
