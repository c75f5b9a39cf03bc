//! Outlines of columns that are stored as templates: see [`crate::record::Outline`].

use super::fetch::Loaded;
use super::read::SegmentBlock;
use crate::error::StorageError;
use crate::format::chunk::{Chunk, ChunkTags, Encoding};
use crate::format::template::{FillChunk, TemplateChunk};
use crate::record::{Block, Column, Fill, FillPlace, Form, Outline, Skeleton, Tag};
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
        let texts = |column: usize, fill: Option<usize>| {
            let place = FillPlace { column: column as u32, fill: fill.map(|fill| fill as u32) };
            Ok(Fill::of_texts(&*self.texts_at(place)?, place))
        };
        Ok(Fill::new(match fill {
            FillChunk::Values { encoding, .. } => match of_encoding(encoding) {
                Some(form) => form,
                None => return texts(at, Some(number)),
            },
            FillChunk::Column(column) => {
                let column = *column as usize;
                let chunk: &Chunk = &self.header().columns[column].chunk;
                match (of_encoding(&chunk.encoding), chunk.encoding.template()) {
                    (Some(form), _) => form,
                    (None, Some(template)) => Form::Templates(self.outline(column, template)?),
                    (None, None) => return texts(column, None),
                }
            }
        }))
    }

    /// The texts that fill a hole, each at least once.
    pub(super) fn texts_at(&self, place: FillPlace) -> Result<Arc<Column>, StorageError> {
        let column = place.column as usize;
        let chunk = self.header().columns.get(column).map(|column| &column.chunk);
        let fill = || chunk?.encoding.template()?.fills.get(place.fill? as usize);
        match (place.fill, fill()) {
            (Some(number), Some(FillChunk::Values { count, encoding })) => {
                self.fill_values(column, number as usize, encoding, *count)
            }
            (None, _) if chunk.is_some() => self.distinct(column),
            _ => Err(self.damage("outline", "a fill of this block", format!("{place:?}"))),
        }
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
