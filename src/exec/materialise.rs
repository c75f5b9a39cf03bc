//! Rows made of columns, for the few rows that are put out.

use super::row::{Hidden, Row};
use super::target::{TIME_NAME, Wanted};
use super::view::BlockView;
use crate::error::StorageError;
use crate::record::{Field, Tag, Timestamp};
use std::sync::Arc;

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
