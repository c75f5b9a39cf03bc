//! Chunks: one column of a block, as a descriptor (kept in the block's header) and pages (kept behind it).
//!
//! A page is a run of whole rows of about [`PAGE_BYTES`] decoded, compressed and checksummed alone, so that a few
//! rows cost a few pages. The descriptor says how the values are encoded, and of each page its rows, its stored and
//! raw length, its codec and its CRC-32. Pages follow each other in the order in which descriptors name them.

mod descriptor;
mod pages;
mod write;

pub use descriptor::{ChunkReader, put_chunk};
pub use pages::{decode_codes, decode_data, decode_integers, decode_tags, page_bytes};
pub use write::PageWriter;

use super::compress::Codec;
use super::template::{FillChunk, TemplateChunk};
use crate::record::{FixedForm, Tag};

/// A page is closed when it holds at least so many bytes, decoded. Zstandard gains little from longer runs, and the
/// rows of a result rarely share a longer one.
pub const PAGE_BYTES: usize = 64 << 10;
/// Most bytes that one page may hold decoded: one value may be as large as a record.
pub const PAGE_BYTES_MAX: usize = 64 << 20;
/// Most values of a fill of templates: a page of templates may have several holes for each row.
const FILL_VALUES_MAX: usize = 1 << 20;
/// Encodings stand in each other at most so deep: a column may have templates, a fill of these may be a dictionary, and
/// the entries of a dictionary are neither.
const DEPTH_MAX: u32 = 2;

/// Where a page is and how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Values in it.
    pub rows: u32,
    /// Bytes stored.
    pub stored: u32,
    /// Bytes decoded.
    pub raw: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// CRC-32 of the stored bytes.
    pub crc: u32,
    /// Offset of its first stored byte from the beginning of the block's pages.
    pub offset: u64,
}

/// How a column is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Number of values.
    pub rows: u32,
    /// Their types.
    pub tags: ChunkTags,
    /// Their texts.
    pub encoding: Encoding,
}

/// The types of a chunk's values.
#[derive(Clone, Debug, PartialEq)]
pub enum ChunkTags {
    /// All of one.
    One(Tag),
    /// A page of one byte each: for each value, or for each entry of a dictionary.
    Each(Page),
}

/// The texts of a chunk's values. The numbers are those on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// 0: all the same, which is here.
    Constant(Box<[u8]>),
    /// 1: codes into entries.
    Dictionary {
        /// The distinct values.
        entries: Box<Encoding>,
        /// How many there are.
        count: u32,
        /// Pages of integers, a code each.
        codes: Vec<Page>,
    },
    /// 2: pages of integers.
    Integer(Vec<Page>),
    /// 3: pages of integers, the digits of decimals.
    Decimal {
        /// The pages.
        pages: Vec<Page>,
        /// Digits behind the point.
        places: u8,
    },
    /// 4: pages of bytes of one width.
    Fixed {
        /// The pages.
        pages: Vec<Page>,
        /// How they are written as text.
        form: FixedForm,
    },
    /// 5: pages of lengths and bytes.
    Plain(Vec<Page>),
    /// 6: texts with holes.
    Template(Box<TemplateChunk>),
}

impl Encoding {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Encoding::Constant(_) => "constant",
            Encoding::Dictionary { .. } => "dictionary",
            Encoding::Integer(_) => "integer",
            Encoding::Decimal { .. } => "decimal",
            Encoding::Fixed { form: FixedForm::Ipv4, .. } => "ipv4",
            Encoding::Fixed { form: FixedForm::Uuid, .. } => "uuid",
            Encoding::Fixed { form: FixedForm::Hex { .. }, .. } => "hex",
            Encoding::Plain(_) => "plain",
            Encoding::Template(_) => "template",
        }
    }

    /// The pages, in the order in which they are stored.
    pub fn pages(&self) -> Vec<Page> {
        match self {
            Encoding::Constant(_) => Vec::new(),
            Encoding::Dictionary { entries, codes, .. } => {
                entries.pages().into_iter().chain(codes.iter().copied()).collect()
            }
            Encoding::Integer(pages)
            | Encoding::Decimal { pages, .. }
            | Encoding::Fixed { pages, .. }
            | Encoding::Plain(pages) => pages.clone(),
            Encoding::Template(chunk) => {
                let mut pages = vec![chunk.templates];
                pages.extend(&chunk.codes);
                for fill in &chunk.fills {
                    if let FillChunk::Values { encoding, .. } = fill {
                        pages.extend(encoding.pages());
                    }
                }
                pages
            }
        }
    }

    /// The templates, of a chunk that has these.
    pub fn template(&self) -> Option<&TemplateChunk> {
        match self {
            Encoding::Template(chunk) => Some(chunk),
            _ => None,
        }
    }
}

/// The pages that hold a value a row: of templates their codes.
pub fn value_pages(encoding: &Encoding) -> &[Page] {
    match encoding {
        Encoding::Constant(_) => &[],
        Encoding::Dictionary { codes, .. } => codes,
        Encoding::Integer(pages)
        | Encoding::Decimal { pages, .. }
        | Encoding::Fixed { pages, .. }
        | Encoding::Plain(pages) => pages,
        Encoding::Template(chunk) => &chunk.codes,
    }
}

impl Chunk {
    /// The pages, in the order in which they are stored.
    pub fn pages(&self) -> Vec<Page> {
        let mut pages = self.encoding.pages();
        if let ChunkTags::Each(page) = self.tags {
            pages.push(page);
        }
        pages
    }
}
