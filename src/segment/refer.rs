//! Columns that are put together from templates and from other columns.

use super::fetch::Loaded;
use super::read::SegmentBlock;
use crate::error::StorageError;
use crate::format::chunk::{Chunk, value_pages};
use crate::format::template::{FillChunk, Filling, NO_PLACE, TemplateChunk, places_of, put_together, values_taken};
use crate::record::{Column, Data, Field, Presence};
use std::sync::Arc;

/// Of fewer values of a fill only the pages are read that have them.
const FEW_VALUES: usize = 64;

impl SegmentBlock {
    /// A column of the block by its number.
    pub(super) fn column_of(&self, at: usize) -> Result<Arc<Column>, StorageError> {
        let chunk = &self.header().columns[at].chunk;
        let Some(template) = chunk.encoding.template() else { return self.read_column(at as u32, chunk) };
        let load = || {
            let mut refer = |other: u32| {
                let other = other as usize;
                let own = self.presence(at, chunk.rows)?;
                let places = match self.presence(other, self.header().columns[other].chunk.rows)? {
                    Presence::All => (0..chunk.rows).map(|place| own.row(place as usize)).collect(),
                    Presence::Rows(rows) => places_of((0..chunk.rows).map(|place| own.row(place as usize)), &rows),
                };
                Ok((self.column_of(other)?, places))
            };
            Ok(Loaded::Column(Arc::new(self.pages().templated(chunk, template, &mut refer)?)))
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
        let skeleton = self.skeleton(at, template)?;
        let wanted = rows.iter().filter_map(|&row| Some((row, presence.place(row)? as u32)));
        let (rows, places): (Vec<u32>, Vec<u32>) = wanted.unzip();
        let mut fillings = Vec::with_capacity(template.fills.len());
        for ((number, fill), taken) in (0..).zip(&template.fills).zip(values_taken(&skeleton, &places, &template.fills))
        {
            fillings.push(match (taken, fill) {
                (None, _) => None,
                (Some(_), FillChunk::Column(other)) => {
                    let field = self.field_of_rows(*other as usize, &rows)?;
                    let place = |&row: &u32| field.presence.place(row).map_or(NO_PLACE, |place| place as u32);
                    Some(Filling::by_row(field.column.clone(), rows.iter().map(place).collect()))
                }
                (Some(taken), FillChunk::Values { count, encoding }) => {
                    // A few of many are not kept.
                    if taken.len() < FEW_VALUES && value_pages(encoding).len() > 1 && !self.has_fill(at, number) {
                        let (column, held) = self.pages().some_values(encoding, *count, &taken)?;
                        Some(Filling::in_turn(Arc::new(column), Some(places_of(taken.into_iter(), &held))))
                    } else {
                        Some(Filling::in_turn(self.fill_values(at, number, encoding, *count)?, Some(taken)))
                    }
                }
            });
        }
        let codes: Vec<u32> = places.iter().filter_map(|&place| skeleton.codes.get(place as usize)).collect();
        let texts = put_together(&skeleton, codes.into_iter(), &mut fillings);
        let texts = texts.map_err(|e| self.pages().template_damage(template, e))?;
        let column = Column { tags: self.pages().tags_of(chunk, &places)?, data: Data::Plain(texts) };
        Ok(Field { presence: Presence::Rows(rows.into()), column: Arc::new(column) })
    }
}
