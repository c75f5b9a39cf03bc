//! A few rows of a column: of a long column no more pages are read than have them, and each is kept by itself.

use super::fetch::Loaded;
use super::read::{PART_PAGES, SegmentBlock};
use crate::error::StorageError;
use crate::format::chunk::{Chunk, ChunkTags, Encoding, Page, value_pages};
use crate::record::{Column, Data, Field, Presence, Texts};
use std::sync::Arc;

/// Columns of more pages are not kept page by page. A block has no more rows than this.
const PAGES_MAX: usize = 1 << 14;

impl SegmentBlock {
    /// The values of a column in at least these rows, which rise.
    pub(super) fn field_of_rows(&self, at: usize, rows: &[u32]) -> Result<Field, StorageError> {
        let chunk = &self.header().columns[at].chunk;
        if let Some(template) = chunk.encoding.template() {
            return self.templated_of_rows(at, chunk, template, rows);
        }
        let presence = self.presence(at, chunk.rows)?;
        let pages = value_pages(&chunk.encoding);
        if pages.len() < 2 || self.has_cached(at as u32) {
            return Ok(Field { presence, column: self.read_column(at as u32, chunk)? });
        }
        let wanted = rows.iter().filter_map(|&row| Some((row, presence.place(row)? as u32)));
        let (rows, places): (Vec<u32>, Vec<u32>) = wanted.unzip();
        // The types of each, and a dictionary's entries, are for the whole column.
        let whole = matches!(chunk.encoding, Encoding::Dictionary { .. }) || matches!(chunk.tags, ChunkTags::Each(_));
        if whole || pages.len() > PAGES_MAX {
            let (column, held) = self.pages().column_at(chunk, &places)?;
            let presence = match held.len() == chunk.rows as usize {
                true => presence,
                false => Presence::Rows(held.iter().map(|&place| presence.row(place as usize)).collect()),
            };
            return Ok(Field { presence, column: Arc::new(column) });
        }
        let column = Arc::new(self.values_at(at, chunk, pages, &places)?);
        Ok(Field { presence: Presence::Rows(rows.into()), column })
    }

    /// The values at these places, which rise, as texts.
    fn values_at(&self, at: usize, chunk: &Chunk, pages: &[Page], places: &[u32]) -> Result<Column, StorageError> {
        let (mut texts, mut buffer) = (Texts::default(), Vec::new());
        let mut tags = None;
        let (mut rest, mut first) = (places, 0);
        for (number, page) in (0..).zip(pages) {
            let (here, behind) = rest.split_at(rest.partition_point(|&place| place < first + page.rows));
            if !here.is_empty() {
                let part = PART_PAGES + ((at as u32) << PAGES_MAX.trailing_zeros()) + number;
                let load = || Ok(Loaded::Column(Arc::new(self.pages().page(chunk, page)?)));
                let Loaded::Column(page) = self.cached(part, load)? else {
                    return Err(self.damage("cache", "a page", "another part"));
                };
                here.iter().for_each(|place| texts.push(page.text((place - first) as usize, &mut buffer)));
                tags = Some(page.tags.clone());
            }
            (rest, first) = (behind, first + page.rows);
        }
        let tags = tags.map_or_else(|| self.pages().tags(chunk), Ok)?;
        Ok(Column { tags, data: Data::Plain(texts) })
    }
}
