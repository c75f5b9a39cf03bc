//! Reads and decodes parts of a block's pages.

use super::counted::Counted;
use super::overflow::Overflow;
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::block::{BlockHeader, ColumnEntry, PresenceEncoding};
use crate::format::chunk::{
    Chunk, ChunkTags, Encoding, Page, decode_codes, decode_data, decode_tags, page_bytes, value_pages,
};
use crate::format::template::{
    FillChunk, Refer, Sources, TemplateChunk, decode_skeleton, decode_some, decode_template,
};
use crate::record::{Codes, Column, Data, Outline, Skeleton, Tag, Tags, ZoneMap};
use crate::vfs::VfsFile;
use std::sync::{Arc, OnceLock};

/// A decoded part of a segment.
#[derive(Clone, Debug)]
pub(super) enum Loaded {
    /// A column.
    Column(Arc<Column>),
    /// Times.
    Times(Arc<Vec<i64>>),
    /// Sequence numbers.
    Seqs(Arc<Vec<u64>>),
    /// Rows that have a column.
    Rows(Arc<[u32]>),
    /// The shape of each row.
    Shapes(Arc<Codes>),
    /// Rarer fields.
    Overflow(Arc<Overflow>),
    /// Templates, and which one each value has.
    Skeleton(Arc<Skeleton>),
    /// The same with what is known of their holes.
    Outline(Arc<Outline>),
}

/// A block's header, and where its pages begin in the file.
#[derive(Debug)]
pub(super) struct Header {
    pub header: BlockHeader,
    pub zones: Vec<Arc<ZoneMap>>,
    pub names: Vec<Arc<str>>,
    /// For each column, also the overflow column, the first one that the same rows have.
    pub same_rows: Vec<u32>,
    pub pages_at: u64,
    /// Bytes of the header, stored and decoded.
    pub stored_and_raw: (u64, u64),
    /// Made when it is asked for: less than the counts that it is made of.
    pub counted: OnceLock<Counted>,
}

/// What an allocation takes beside its bytes, on average: its head, and what it is rounded up to.
const ALLOCATION_BYTES: usize = 16;
/// Allocations of a column in a header: two names, pages, the zone map with its bounds and its counts, and boxes.
const COLUMN_ALLOCATIONS: usize = 12;

impl Header {
    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        let of_column = |(column, zone): (&ColumnEntry, &Arc<ZoneMap>)| {
            let fills = column.chunk.encoding.template().map_or(0, |template| template.fills.len());
            size_of::<ColumnEntry>()
                + COLUMN_ALLOCATIONS * ALLOCATION_BYTES
                + 2 * column.name.len()
                + column.chunk.pages().len() * size_of::<Page>()
                + fills * size_of::<FillChunk>()
                + zone.memory()
        };
        let columns: usize = self.header.columns.iter().zip(&self.zones).map(of_column).sum();
        let shapes = match &self.header.presence {
            PresenceEncoding::Shapes { shapes, .. } => shapes.iter().map(|s| size_of_val(s) + size_of_val(&**s)).sum(),
            PresenceEncoding::Bitmaps(chunks) => chunks.len() * (size_of::<Chunk>() + size_of::<Page>()),
        };
        let rarer: usize = self.header.overflow_names.iter().map(|name| size_of_val(name) + name.len()).sum();
        columns + shapes + rarer
    }

    /// What stands in fields of few values.
    pub fn counted(&self) -> &Counted {
        self.counted.get_or_init(|| Counted::of(self))
    }
}

impl Loaded {
    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match self {
            Loaded::Column(c) => {
                c.data.memory()
                    + match &c.tags {
                        Tags::One(_) => 0,
                        Tags::Each(tags) => tags.len(),
                    }
            }
            Loaded::Times(t) => t.len() * 8,
            Loaded::Seqs(t) => t.len() * 8,
            Loaded::Rows(r) => r.len() * 4,
            Loaded::Shapes(s) => s.memory(),
            Loaded::Overflow(o) => o.memory,
            Loaded::Skeleton(s) => s.memory(),
            Loaded::Outline(o) => o.memory(),
        }
    }
}

/// The pages of one block.
pub(super) struct Pages<'a> {
    pub file: &'a dyn VfsFile,
    pub at: u64,
    /// All of them, where they were read already.
    pub stored: Option<&'a [u8]>,
}

/// The bytes of a page among the stored pages of its block.
pub(super) fn page_of<'a>(stored: &'a [u8], page: &Page) -> Result<&'a [u8], DecodeError> {
    let at = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let found = stored.get(at..).and_then(|rest| rest.get(..page.stored as usize));
    found.ok_or_else(|| DecodeError::new("page", at, format!("{} bytes", page.stored), "the end of the block"))
}

impl Pages<'_> {
    fn damage(&self, page: &Page, error: DecodeError) -> StorageError {
        // Offsets within decoded bytes mean nothing in the file; the page's own place does.
        DecodeError { offset: self.at + page.offset, ..error }.in_file(self.file.path()).into()
    }

    /// A page's raw bytes, checked.
    fn read(&self, page: &Page) -> Result<Vec<u8>, StorageError> {
        if let Some(stored) = self.stored {
            return page_of(stored, page).and_then(|bytes| page_bytes(page, bytes)).map_err(|e| self.damage(page, e));
        }
        let mut stored = vec![0; page.stored as usize];
        self.file.read_exact_at(self.at + page.offset, &mut stored)?;
        page_bytes(page, &stored).map_err(|e| self.damage(page, e))
    }

    /// The types of its values.
    pub fn tags(&self, chunk: &Chunk) -> Result<Tags, StorageError> {
        match chunk.tags {
            ChunkTags::One(tag) => Ok(Tags::One(tag)),
            ChunkTags::Each(page) => {
                Ok(Tags::Each(decode_tags(&self.read(&page)?).map_err(|e| self.damage(&page, e))?))
            }
        }
    }

    /// A whole column.
    pub fn column(&self, chunk: &Chunk) -> Result<Column, StorageError> {
        let pages = value_pages(&chunk.encoding);
        let data = self.data(&chunk.encoding, chunk.rows, pages)?;
        Ok(Column { tags: self.tags(chunk)?, data })
    }

    /// Integers below `count`.
    pub fn codes(&self, chunk: &Chunk, count: u32) -> Result<Codes, StorageError> {
        let pages = value_pages(&chunk.encoding);
        decode_codes(pages, count, &mut |page| self.read(page), &|page, e| self.damage(page, e))
    }

    /// The entries of a dictionary; of another column, all of it.
    pub fn entries(&self, chunk: &Chunk) -> Result<Column, StorageError> {
        let Encoding::Dictionary { entries, count, .. } = &chunk.encoding else { return self.column(chunk) };
        let data = self.data(entries, *count, value_pages(entries))?;
        Ok(Column { tags: self.tags(chunk)?, data })
    }

    fn data(&self, encoding: &Encoding, rows: u32, pages: &[Page]) -> Result<Data, StorageError> {
        decode_data(encoding, rows, pages, &mut |page| self.read(page), &|page, e| self.damage(page, e))
    }

    /// One page of a column that is no dictionary and of one type, as a column.
    pub fn page(&self, chunk: &Chunk, page: &Page) -> Result<Column, StorageError> {
        let data = self.data(&chunk.encoding, page.rows, std::slice::from_ref(page))?;
        Ok(Column { tags: self.tags(chunk)?, data })
    }

    /// The pages that hold the values at these places (ascending), as a column of their values, and which these are.
    pub fn column_at(&self, chunk: &Chunk, places: &[u32]) -> Result<(Column, Vec<u32>), StorageError> {
        let fail = |page: &Page, e| self.damage(page, e);
        let (data, held) = decode_some(&chunk.encoding, chunk.rows, places, &mut |page| self.read(page), &fail)?;
        Ok((Column { tags: self.tags_at(chunk, &data, &held)?, data }, held))
    }

    /// The types of some of a chunk's values.
    fn tags_at(&self, chunk: &Chunk, data: &Data, held: &[u32]) -> Result<Tags, StorageError> {
        Ok(match self.tags(chunk)? {
            // A dictionary's types are those of its entries, and these are all there.
            Tags::Each(tags) if !matches!(data, Data::Dictionary { .. }) && held.len() < chunk.rows as usize => {
                Tags::Each(held.iter().filter_map(|&place| tags.get(place as usize).copied()).collect())
            }
            tags => tags,
        })
    }

    /// Templates, and the number of each value's.
    pub fn skeleton(&self, template: &TemplateChunk) -> Result<Skeleton, StorageError> {
        decode_skeleton(template, &mut |page| self.read(page), &|page, e| self.damage(page, e))
    }

    /// Values of a fill: all of them.
    pub fn values(&self, encoding: &Encoding, count: u32) -> Result<Column, StorageError> {
        let data = self.data(encoding, count, value_pages(encoding))?;
        Ok(Column { tags: Tags::One(Tag::String), data })
    }

    /// Values of a fill: at least those at these places (ascending), and which these are.
    pub fn some_values(
        &self,
        encoding: &Encoding,
        count: u32,
        places: &[u32],
    ) -> Result<(Column, Vec<u32>), StorageError> {
        let fail = |page: &Page, e| self.damage(page, e);
        let (data, held) = decode_some(encoding, count, places, &mut |page| self.read(page), &fail)?;
        Ok((Column { tags: Tags::One(Tag::String), data }, held))
    }

    /// A column of templates, put together. `refer` gives columns that are referred to, see [`Sources::refer`].
    pub fn templated(
        &self,
        chunk: &Chunk,
        template: &TemplateChunk,
        refer: &mut Refer<'_>,
    ) -> Result<Column, StorageError> {
        let fail = |page: &Page, e| self.damage(page, e);
        let mut read = |page: &Page| self.read(page);
        let mut sources = Sources { read: &mut read, fail: &fail, refer };
        let data = Data::Plain(decode_template(template, &mut sources)?);
        Ok(Column { tags: self.tags(chunk)?, data })
    }

    /// The types of the values at these places, which are texts put together from templates.
    pub fn tags_of(&self, chunk: &Chunk, places: &[u32]) -> Result<Tags, StorageError> {
        Ok(match self.tags(chunk)? {
            Tags::Each(tags) => {
                Tags::Each(places.iter().filter_map(|&place| tags.get(place as usize).copied()).collect())
            }
            tags => tags,
        })
    }

    /// An error in the templates of a chunk.
    pub fn template_damage(&self, template: &TemplateChunk, error: DecodeError) -> StorageError {
        self.damage(&template.templates, error)
    }
}
