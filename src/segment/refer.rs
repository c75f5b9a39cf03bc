//! Columns that are put together from templates and from other columns.

use super::fetch::Loaded;
use super::read::SegmentBlock;
use crate::error::StorageError;
use crate::format::chunk::Chunk;
use crate::format::template::{NO_PLACE, TemplateChunk, places_of};
use crate::record::{Column, Field, Presence};
use std::sync::Arc;

impl SegmentBlock {
    /// A column of the block by its number.
    pub(super) fn column_of(&self, at: usize) -> Result<Arc<Column>, StorageError> {
        let chunk = &self.header().columns[at].chunk;
        let Some(template) = chunk.encoding.template() else { return self.read_column(at as u32, chunk) };
        let load = || {
            let mut refer = |other: u32, _: Option<&[u32]>| {
                let other = other as usize;
                let own = self.presence(at, chunk.rows)?;
                let places = match self.presence(other, self.header().columns[other].chunk.rows)? {
                    Presence::All => (0..chunk.rows).map(|place| own.row(place as usize)).collect(),
                    Presence::Rows(rows) => places_of((0..chunk.rows).map(|place| own.row(place as usize)), &rows),
                };
                Ok((self.column_of(other)?, places))
            };
            Ok(Loaded::Column(Arc::new(self.pages().templated(chunk, template, None, &mut refer)?)))
        };
        match self.cached(at as u32, load)? {
            Loaded::Column(column) => Ok(column),
            _ => Err(self.damage("cache", "a column", "another part")),
        }
    }

    /// The values of a column of templates in these rows, which rise.
    pub(super) fn templated_of_rows(
        &self,
        at: usize,
        chunk: &Chunk,
        template: &TemplateChunk,
        rows: &[u32],
    ) -> Result<Field, StorageError> {
        let presence = self.presence(at, chunk.rows)?;
        if self.has_cached(at as u32) {
            return Ok(Field { presence, column: self.column_of(at)? });
        }
        let wanted = rows.iter().filter_map(|&row| Some((row, presence.place(row)? as u32)));
        let (rows, places): (Vec<u32>, Vec<u32>) = wanted.unzip();
        let mut refer = |other: u32, _: Option<&[u32]>| {
            let field = self.field_of_rows(other as usize, &rows)?;
            let places = rows.iter().map(|&row| field.presence.place(row).map_or(NO_PLACE, |place| place as u32));
            Ok((field.column.clone(), places.collect()))
        };
        let column = self.pages().templated(chunk, template, Some(&places), &mut refer)?;
        Ok(Field { presence: Presence::Rows(rows.into()), column: Arc::new(column) })
    }
}
