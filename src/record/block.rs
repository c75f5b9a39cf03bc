//! What a reader of records sees: blocks of rows with columns, wherever they are kept.

use super::{Column, FillPlace, Outline, Tag, Timestamp, ZoneMap};
use crate::error::StorageError;
use crate::id::Seq;
use std::sync::Arc;

/// Rows in memory or in a segment, ordered by (time, seq).
///
/// Reading may fail where the rows are on a disk; an error is never an absent field.
pub trait Block: Send + Sync {
    /// Number of rows.
    fn rows(&self) -> u32;
    /// Time of the first and the last row.
    fn time_range(&self) -> (Timestamp, Timestamp);
    /// Least and greatest sequence number.
    fn seq_range(&self) -> (Seq, Seq);
    /// The time of each row, ascending.
    fn times(&self) -> Result<Arc<Vec<i64>>, StorageError>;
    /// The sequence number of each row.
    fn seqs(&self) -> Result<Arc<Vec<u64>>, StorageError>;
    /// The stream of each row: the canonical texts of the label sets (see [`super::Labels`]), as a dictionary or
    /// a constant.
    fn streams(&self) -> Result<Arc<Column>, StorageError>;
    /// The names of all fields that a row has, in order of their bytes.
    fn names(&self) -> Result<Vec<Arc<str>>, StorageError>;
    /// What is known of a field without reading its values.
    fn zone(&self, name: &str) -> Result<Zone, StorageError>;
    /// May this folded text (see `record::text`) stand in a value of a field, folded, as far as the form of the column
    /// tells without reading it?
    fn may_hold(&self, name: &str, folded: &str) -> bool {
        let _ = (name, folded);
        true
    }
    /// May this folded text stand in a value, folded, of a field that has few values: of one that is not among
    /// [`Block::names_of_many_values`]?
    fn few_values_may_hold(&self, folded: &str) -> bool {
        let _ = folded;
        true
    }
    /// The names of the fields that [`Block::few_values_may_hold`] tells nothing of, in order of their bytes.
    fn names_of_many_values(&self) -> Result<Vec<Arc<str>>, StorageError> {
        self.names()
    }
    /// What is known of the values of a field before they are put together, where they are texts or numbers stored as
    /// templates; `None` else.
    fn outline(&self, name: &str) -> Result<Option<Arc<Outline>>, StorageError> {
        let _ = name;
        Ok(None)
    }
    /// The distinct texts, or all, that stand at a place which an outline of this block names; `None` where that is not
    /// known.
    fn fill_texts(&self, place: FillPlace) -> Result<Option<Arc<Column>>, StorageError> {
        let _ = place;
        Ok(None)
    }
    /// The rows that have a field; `None` where no row has it.
    fn presence(&self, name: &str) -> Result<Option<Presence>, StorageError> {
        Ok(self.field(name)?.map(|field| field.presence))
    }
    /// A field's values; `None` where no row has it.
    fn field(&self, name: &str) -> Result<Option<Field>, StorageError>;
    /// A field's values alone, where whose they are takes more to read.
    fn column(&self, name: &str) -> Result<Option<Arc<Column>>, StorageError> {
        let _ = name;
        Ok(None)
    }
    /// The distinct values of a field, where they can be read with less than all of its values.
    fn entries(&self, name: &str) -> Result<Option<Arc<Column>>, StorageError> {
        let _ = name;
        Ok(None)
    }
    /// A field's values in at least these rows (ascending), reading no more than it must; for a few rows.
    fn field_at(&self, name: &str, rows: &[u32]) -> Result<Option<Field>, StorageError> {
        let _ = rows;
        self.field(name)
    }
    /// The names of the fields that at least one of these rows has, in order of their bytes.
    fn names_at(&self, rows: &[u32]) -> Result<Vec<Arc<str>>, StorageError> {
        let _ = rows;
        self.names()
    }
}

/// What is known of a field of a block.
#[derive(Clone, Debug)]
pub enum Zone {
    /// No row has the field.
    Absent,
    /// Rows may have it; nothing more is known.
    Unknown,
    /// What is known of all its values.
    Known(Arc<ZoneMap>),
}

/// A field of a block: values, and whose they are.
#[derive(Clone, Debug)]
pub struct Field {
    /// Which rows have the values of the column, in order.
    pub presence: Presence,
    /// The values.
    pub column: Arc<Column>,
}

/// Which rows have a value.
#[derive(Clone, Debug)]
pub enum Presence {
    /// All of them: value `i` is row `i`'s.
    All,
    /// These, ascending: value `i` is row `rows[i]`'s.
    Rows(Arc<[u32]>),
}

impl Presence {
    /// The row of the value at a place.
    #[inline]
    pub fn row(&self, place: usize) -> u32 {
        match self {
            Presence::All => place as u32,
            Presence::Rows(rows) => rows[place],
        }
    }
    /// The place of a row's value.
    #[inline]
    pub fn place(&self, row: u32) -> Option<usize> {
        match self {
            Presence::All => Some(row as usize),
            Presence::Rows(rows) => rows.binary_search(&row).ok(),
        }
    }
}

impl Field {
    /// Bytes of memory, about. Others may share them.
    pub fn memory(&self) -> usize {
        let rows = match &self.presence {
            Presence::All => 0,
            Presence::Rows(rows) => rows.len() * 4,
        };
        let tags = match &self.column.tags {
            super::Tags::One(_) => 0,
            super::Tags::Each(tags) => tags.len(),
        };
        rows + tags + self.column.data.memory()
    }

    /// A row's value as type and text; `None` where the row lacks the field.
    pub fn get<'a>(&'a self, row: u32, buffer: &'a mut Vec<u8>) -> Option<(Tag, &'a str)> {
        let place = self.presence.place(row)?;
        let text = self.column.text(place, buffer);
        // Texts were checked when they were taken in; chunks are checksummed.
        Some((self.column.tag(place), std::str::from_utf8(text).unwrap_or_default()))
    }
}
