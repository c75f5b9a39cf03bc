//! Rows made of columns, for the few rows that are put out.

use super::row::{Hidden, Row};
use super::target::{TIME_NAME, Wanted};
use super::view::BlockView;
use crate::error::StorageError;
use crate::record::{Field, Tag, Timestamp};
use std::sync::Arc;

/// Rows that are made at a time: few at first, since many queries end after a page.
const BATCH_ROWS: std::ops::RangeInclusive<usize> = 64..=1024;
/// Where the rows of one time take more than this, fewer are made the next time.
const BATCH_BYTES: usize = 8 << 20;

/// How many rows are made at a time.
#[derive(Debug)]
pub(crate) struct BatchRows(usize);

impl BatchRows {
    /// At first, and no more than so many.
    pub(crate) fn new(rows_max: usize) -> Self {
        BatchRows((*BATCH_ROWS.start()).min(rows_max))
    }

    pub(crate) fn get(&self) -> usize {
        self.0
    }

    /// The next time twice as many, or as many as fit if they are like these.
    pub(crate) fn next(&mut self, made: &[Row]) {
        let bytes: usize = made.iter().map(Row::memory).sum();
        let fitting = made.len().saturating_mul(BATCH_BYTES).checked_div(bytes).unwrap_or(usize::MAX);
        self.0 = (self.0 * 2).min(fitting).clamp(1, *BATCH_ROWS.end());
    }
}

/// The names of columns that many blocks share, so that rows need no names of their own.
#[derive(Debug)]
pub(crate) struct Materialiser<'a> {
    wanted: &'a Wanted,
    time_name: Arc<str>,
}

impl<'a> Materialiser<'a> {
    pub(crate) fn new(wanted: &'a Wanted) -> Self {
        Materialiser { wanted, time_name: TIME_NAME.into() }
    }

    /// These rows, which rise, of a block. `keep` where the columns will be asked for again.
    pub(crate) fn rows(&self, view: &BlockView, rows: &[u32], keep: bool) -> Result<Vec<Row>, StorageError> {
        let (times, seqs) = (view.times()?, view.block().seqs()?);
        let streams = if self.wanted.stream() { Some(view.block().streams()?) } else { None };
        let mut buffer = Vec::new();
        let mut made: Vec<Row> = Vec::with_capacity(rows.len());
        for &row in rows {
            let stream = streams.as_ref().map(|column| {
                Arc::from(std::str::from_utf8(column.text(row as usize, &mut buffer)).unwrap_or_default())
            });
            let seq = seqs.get(row as usize).copied().unwrap_or_default();
            let mut new = Row { cells: Vec::new(), hidden: Some(Hidden { seq, stream }) };
            if self.wanted.time() {
                let time = Timestamp(times.get(row as usize).copied().unwrap_or_default());
                new.push(self.time_name.clone(), Tag::String, time.to_string());
            }
            made.push(new);
        }
        for name in view.block().names_at(rows)? {
            // The time of the record has this name, whatever field it has.
            if *name == *TIME_NAME || !self.wanted.field(&name) {
                continue;
            }
            let field: Option<Field> = if keep { view.field(&name)? } else { view.field_of(&name, rows)? };
            let Some(field) = field else { continue };
            for (&row, made) in rows.iter().zip(&mut made) {
                if let Some((tag, text)) = field.get(row, &mut buffer) {
                    made.push(name.clone(), tag, text);
                }
            }
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_and_large_rows_come_in_small_ones() {
        let rows = |count: usize, bytes: usize| {
            let mut row = Row::default();
            row.push("a".into(), Tag::String, "x".repeat(bytes));
            vec![row; count]
        };
        let mut batch = BatchRows::new(usize::MAX);
        for (bytes, expect) in [(10, 128), (10, 256), (1 << 20, 7), (1 << 20, 7), (16 << 20, 1), (10, 2), (10, 4)] {
            batch.next(&rows(batch.get().min(8), bytes));
            assert_eq!(batch.get(), expect);
        }
        batch.next(&[]);
        assert_eq!((batch.get(), BatchRows::new(3).get()), (8, 3));
        (0..20).for_each(|_| batch.next(&rows(1, 10)));
        assert_eq!(batch.get(), 1024);
    }
}
