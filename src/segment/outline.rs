//! Outlines of columns that are stored as templates: see [`crate::record::Outline`].

use super::fetch::Loaded;
use super::read::SegmentBlock;
use crate::error::StorageError;
use crate::format::chunk::{Chunk, ChunkTags, Encoding};
use crate::format::template::{FillChunk, TemplateChunk};
use crate::record::{Block, Column, Fill, Form, Outline, Skeleton, Tag};
use std::sync::Arc;

/// The numbers of skeletons, of outlines and of values of fills in the cache, from here on; those of a fill in the low
/// bits of the last.
const PART_SKELETON: u32 = 1 << 27;
const PART_OUTLINE: u32 = PART_SKELETON + (1 << 16);
const PART_FILL: u32 = PART_SKELETON + (1 << 26);
/// The values of a column's fills beyond are not kept.
const FILLS_MAX: usize = 1 << 14;

impl SegmentBlock {
    /// The outline of a column, where it is one of texts or numbers in templates. Of an array a text may stand in an
    /// element, unescaped, and a null has no text.
    pub(super) fn outline_of(&self, at: usize) -> Result<Option<Arc<Outline>>, StorageError> {
        let chunk = &self.header().columns[at].chunk;
        match (chunk.encoding.template(), &chunk.tags) {
            (Some(template), ChunkTags::One(Tag::String | Tag::Number)) => self.outline(at, template).map(Some),
            _ => Ok(None),
        }
    }

    fn outline(&self, at: usize, template: &TemplateChunk) -> Result<Arc<Outline>, StorageError> {
        let load = || {
            let fills = (0..).zip(&template.fills).map(|(number, fill)| self.fill(at, number, fill));
            let fills = fills.collect::<Result<_, StorageError>>()?;
            Ok(Loaded::Outline(Arc::new(Outline::new(self.skeleton(at, template)?, fills))))
        };
        match self.cached(PART_OUTLINE + at as u32, load)? {
            Loaded::Outline(outline) => Ok(outline),
            _ => Err(self.damage("cache", "an outline", "another part")),
        }
    }

    /// The templates of a column, and which one each value has.
    pub(super) fn skeleton(&self, at: usize, template: &TemplateChunk) -> Result<Arc<Skeleton>, StorageError> {
        let load = || Ok(Loaded::Skeleton(Arc::new(self.pages().skeleton(template)?)));
        match self.cached(PART_SKELETON + at as u32, load)? {
            Loaded::Skeleton(skeleton) => Ok(skeleton),
            _ => Err(self.damage("cache", "templates", "another part")),
        }
    }

    /// What a fill may be. A column that is referred to is of a lower rank.
    fn fill(&self, at: usize, number: usize, fill: &FillChunk) -> Result<Fill, StorageError> {
        Ok(Fill::new(match fill {
            FillChunk::Values { count, encoding } => match of_encoding(encoding) {
                Some(form) => form,
                None => Form::Among(self.fill_values(at, number, encoding, *count)?),
            },
            FillChunk::Column(column) => {
                let column = *column as usize;
                let chunk: &Chunk = &self.header().columns[column].chunk;
                match (of_encoding(&chunk.encoding), chunk.encoding.template()) {
                    (Some(form), _) => form,
                    (None, Some(template)) => Form::Templates(self.outline(column, template)?),
                    (None, None) => Form::Among(self.distinct(column)?),
                }
            }
        }))
    }

    /// The values that a fill of a column has of its own.
    pub(super) fn fill_values(
        &self,
        at: usize,
        number: usize,
        encoding: &Encoding,
        count: u32,
    ) -> Result<Arc<Column>, StorageError> {
        let load = || Ok(Loaded::Column(Arc::new(self.pages().values(encoding, count)?)));
        let loaded = match fill_part(at, number) {
            Some(part) => self.cached(part, load)?,
            None => load()?,
        };
        match loaded {
            Loaded::Column(column) => Ok(column),
            _ => Err(self.damage("cache", "a column", "another part")),
        }
    }

    /// Are the values of a fill there without being read?
    pub(super) fn has_fill(&self, at: usize, number: usize) -> bool {
        fill_part(at, number).is_some_and(|part| self.has_cached(part))
    }

    /// The distinct values of a column, or all of them.
    fn distinct(&self, at: usize) -> Result<Arc<Column>, StorageError> {
        match self.entries(&self.header().columns[at].name)? {
            Some(entries) => Ok(entries),
            None => self.column_of(at),
        }
    }
}

/// The number of a fill in the cache. A block has no more columns than fit.
fn fill_part(at: usize, number: usize) -> Option<u32> {
    (number < FILLS_MAX).then(|| PART_FILL + (at * FILLS_MAX + number) as u32)
}

/// The form of texts that an encoding alone tells.
fn of_encoding(encoding: &Encoding) -> Option<Form> {
    match encoding {
        Encoding::Integer(_) => Some(Form::Integer),
        Encoding::Decimal { places, .. } => Some(Form::Decimal(*places)),
        Encoding::Fixed { form, .. } => Some(Form::Fixed(form.clone())),
        Encoding::Constant(_) | Encoding::Plain(_) | Encoding::Dictionary { .. } | Encoding::Template(_) => None,
    }
}
