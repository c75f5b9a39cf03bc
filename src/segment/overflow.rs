//! Rarer fields of a block: the overflow column, which has them row by row, turned into fields once.

use super::fetch::Loaded;
use super::read::{PART_OVERFLOW, PART_RARE, SegmentBlock};
use crate::error::StorageError;
use crate::format::block::read_overflow;
use crate::record::{Column, Data, Field, Presence, Tag, Tags, Texts};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The fields of an overflow column, in the order of the names that the block's header lists.
#[derive(Debug)]
pub(super) struct Overflow {
    fields: Vec<Field>,
    /// Bytes of memory, about.
    pub memory: usize,
}

/// The values of one field while they are gathered.
#[derive(Default)]
struct Gathered {
    rows: Vec<u32>,
    tags: Vec<Tag>,
    texts: Texts,
}

impl SegmentBlock {
    /// Where a field's name stands among those in the overflow column.
    pub(super) fn find_overflow(&self, name: &str) -> Option<usize> {
        self.header().overflow_names.binary_search_by(|n| (**n).cmp(name)).ok()
    }

    /// A rarer field.
    pub(super) fn overflow_field(&self, name: &str) -> Result<Option<Field>, StorageError> {
        let Some(at) = self.find_overflow(name) else { return Ok(None) };
        match self.cached(PART_RARE, || Ok(Loaded::Overflow(Arc::new(self.gather()?))))? {
            Loaded::Overflow(overflow) => Ok(overflow.fields.get(at).cloned()),
            _ => Err(self.damage("cache", "rarer fields", "another part")),
        }
    }

    /// The names of the rarer fields that these rows have.
    pub(super) fn overflow_names_at(&self, rows: &[u32]) -> Result<Vec<Arc<str>>, StorageError> {
        let Some((column, presence)) = self.overflow()? else { return Ok(Vec::new()) };
        let (mut names, mut buffer) = (Vec::new(), Vec::new());
        for place in rows.iter().filter_map(|&row| presence.place(row)) {
            names.extend(self.overflow_at(&column, place, &mut buffer)?.into_iter().map(|(name, ..)| Arc::from(name)));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The overflow column, and the rows that it has values of.
    fn overflow(&self) -> Result<Option<(Arc<Column>, Presence)>, StorageError> {
        let header = self.header();
        let Some(chunk) = &header.overflow else { return Ok(None) };
        Ok(Some((self.read_column(PART_OVERFLOW, chunk)?, self.presence(header.columns.len(), chunk.rows)?)))
    }

    /// All fields at once: there may be thousands, and each by itself would read every row.
    fn gather(&self) -> Result<Overflow, StorageError> {
        let names = &self.header().overflow_names;
        // Found by hash: each record has some of thousands.
        let numbers: FxHashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (&**name, at)).collect();
        let mut gathered: Vec<Gathered> = names.iter().map(|_| Gathered::default()).collect();
        if let Some((column, presence)) = self.overflow()? {
            let mut buffer = Vec::new();
            for place in 0..column.len() {
                for (name, tag, text) in self.overflow_at(&column, place, &mut buffer)? {
                    let Some(field) = numbers.get(name).and_then(|at| gathered.get_mut(*at)) else {
                        return Err(self.damage("overflow column", "a name that the block's header lists", name));
                    };
                    field.rows.push(presence.row(place));
                    field.tags.push(tag);
                    field.texts.push(text.as_bytes());
                }
            }
        }
        let mut memory = 0;
        let fields = gathered.into_iter().map(|Gathered { rows, tags, texts }| {
            let column = Column { tags: Tags::Each(tags.into()), data: Data::Plain(texts) };
            memory += std::mem::size_of::<Field>() + column.data.memory() + 5 * rows.len();
            Field { presence: Presence::Rows(rows.into()), column: Arc::new(column) }
        });
        Ok(Overflow { fields: fields.collect(), memory })
    }

    fn overflow_at<'a>(
        &self,
        column: &'a Column,
        place: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Vec<(&'a str, Tag, &'a str)>, StorageError> {
        let text = std::str::from_utf8(column.text(place, buffer)).unwrap_or_default();
        read_overflow(text).map_err(|e| self.damage(e.what, e.expected, e.found))
    }
}
