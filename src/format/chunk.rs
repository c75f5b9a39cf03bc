//! Chunks: one column of a block, as a descriptor (kept in the block's header) and pages (kept behind it).
//!
//! A page is a run of whole rows of about [`PAGE_BYTES`] decoded, compressed and checksummed alone, so that a few
//! rows cost a few pages. The descriptor says how the values are encoded, and of each page its rows, its stored and
//! raw length, its codec and its CRC-32. Pages follow each other in the order in which descriptors name them.

use super::compress::{Codec, compress, decompress};
use super::template::{FillChunk, FillData, RANK_MAX, TemplateChunk, Templated, put_templates};
use super::{DecodeError, Reader, ints, put_bytes, put_varint};
use crate::record::{Column, Data, FixedForm, Tag, Tags, Texts};

/// A page is closed when it holds at least so many bytes, decoded. Zstandard gains little from longer runs, and the
/// rows of a result rarely share a longer one.
pub const PAGE_BYTES: usize = 64 << 10;
/// Most bytes that one page may hold decoded: one value may be as large as a record.
pub const PAGE_BYTES_MAX: usize = 64 << 20;
/// Room is made beforehand for at most so many decoded bytes: a header may lie about what its pages hold.
const RESERVE_BYTES_MAX: usize = 16 << 20;
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

/// Writes pages one after the other.
#[derive(Debug)]
pub struct PageWriter {
    /// The stored pages.
    pub out: Vec<u8>,
    level: i32,
    scratch: Vec<u8>,
}

impl PageWriter {
    /// A writer that compresses at a zstd level.
    pub fn new(level: i32) -> Self {
        PageWriter { out: Vec::new(), level, scratch: Vec::new() }
    }

    fn page(&mut self, rows: usize, raw: &[u8]) -> Page {
        let start = self.out.len();
        let codec = compress(raw, self.level, &mut self.out);
        let stored = &self.out[start..];
        Page {
            rows: rows as u32,
            stored: stored.len() as u32,
            raw: raw.len() as u32,
            codec,
            crc: crc32fast::hash(stored),
            offset: start as u64,
        }
    }

    /// Writes integers, in whichever form comes out smaller.
    pub fn integers(&mut self, values: &[i64]) -> Vec<Page> {
        let rows_max = PAGE_BYTES / 4;
        let mut pages = Vec::new();
        for values in values.chunks(rows_max) {
            let run = ints::Run::new(values);
            let mut raw = std::mem::take(&mut self.scratch);
            raw.clear();
            let start = self.out.len();
            let planes = match run.packed_len() {
                // Nothing comes out smaller.
                0 => None,
                _ => {
                    run.put(ints::Body::Planes, &mut raw);
                    Some(self.page(values.len(), &raw))
                }
            };
            pages.push(match planes {
                Some(planes) if run.packed_len() > planes.stored as usize => planes,
                planes => {
                    raw.clear();
                    run.put(ints::Body::Packed, &mut raw);
                    match planes {
                        Some(planes) if raw.len() > planes.stored as usize => planes,
                        _ => {
                            self.out.truncate(start);
                            self.page(values.len(), &raw)
                        }
                    }
                }
            });
            self.scratch = raw;
        }
        pages
    }

    fn fixed(&mut self, bytes: &[u8], width: usize) -> Vec<Page> {
        let rows = (PAGE_BYTES / width.max(1)).max(1);
        bytes.chunks(rows * width.max(1)).map(|run| self.page(run.len() / width.max(1), run)).collect()
    }

    fn texts(&mut self, texts: &Texts) -> Vec<Page> {
        let mut pages = Vec::new();
        let mut first = 0;
        while first < texts.len() {
            let start = if first == 0 { 0 } else { texts.ends[first - 1] as usize };
            let last = texts.ends[first..].partition_point(|&end| (end as usize) < start + PAGE_BYTES) + first + 1;
            let last = last.min(texts.len());
            let mut raw = std::mem::take(&mut self.scratch);
            raw.clear();
            let mut before = start as u32;
            for &end in &texts.ends[first..last] {
                put_varint(&mut raw, u64::from(end - before));
                before = end;
            }
            raw.extend_from_slice(&texts.bytes[start..before as usize]);
            pages.push(self.page(last - first, &raw));
            self.scratch = raw;
            first = last;
        }
        pages
    }

    fn encoding(&mut self, data: &Data) -> Encoding {
        match data {
            Data::Constant { text, .. } => Encoding::Constant(text.clone()),
            Data::Dictionary { entries, codes } => {
                let count = entries.len() as u32;
                let entries = Box::new(self.encoding(entries));
                let codes: Vec<i64> = codes.iter().map(|&c| c.into()).collect();
                Encoding::Dictionary { entries, count, codes: self.integers(&codes) }
            }
            Data::Integer(values) => Encoding::Integer(self.integers(values)),
            Data::Decimal { values, places } => Encoding::Decimal { pages: self.integers(values), places: *places },
            Data::Fixed { form, bytes } => {
                Encoding::Fixed { pages: self.fixed(bytes, form.width()), form: form.clone() }
            }
            Data::Plain(texts) => Encoding::Plain(self.texts(texts)),
        }
    }

    /// Writes a column's pages and describes them.
    pub fn column(&mut self, column: &Column) -> Chunk {
        let encoding = self.encoding(&column.data);
        self.chunk(column, encoding)
    }

    /// Writes the pages of a column that was taken apart, and describes them.
    pub fn templated(&mut self, column: &Column, parts: &Templated) -> Chunk {
        let mut raw = Vec::new();
        put_templates(&parts.templates, &mut raw);
        let templates = self.page(parts.templates.len(), &raw);
        let codes = self.integers(&parts.codes);
        let fills = parts.fills.iter().map(|fill| match fill {
            FillData::Column(number) => FillChunk::Column(*number),
            FillData::Values(data) => FillChunk::Values { count: data.len() as u32, encoding: self.encoding(data) },
        });
        let fills = fills.collect();
        let chunk = TemplateChunk { rank: parts.rank, templates, codes, fills };
        self.chunk(column, Encoding::Template(Box::new(chunk)))
    }

    fn chunk(&mut self, column: &Column, encoding: Encoding) -> Chunk {
        let tags = match &column.tags {
            Tags::One(tag) => ChunkTags::One(*tag),
            Tags::Each(tags) => {
                let raw: Vec<u8> = tags.iter().map(|&t| t as u8).collect();
                ChunkTags::Each(self.page(tags.len(), &raw))
            }
        };
        Chunk { rows: column.len() as u32, tags, encoding }
    }
}

fn put_pages(pages: &[Page], out: &mut Vec<u8>) {
    put_varint(out, pages.len() as u64);
    pages.iter().for_each(|p| put_page(p, out));
}

fn put_page(p: &Page, out: &mut Vec<u8>) {
    put_varint(out, p.rows.into());
    put_varint(out, p.stored.into());
    put_varint(out, u64::from(p.raw) << 1 | p.codec as u64);
    out.extend_from_slice(&p.crc.to_le_bytes());
}

fn put_encoding(encoding: &Encoding, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Constant(text) => {
            out.push(0);
            put_bytes(out, text);
        }
        Encoding::Dictionary { entries, count, codes } => {
            out.push(1);
            put_varint(out, (*count).into());
            put_encoding(entries, out);
            put_pages(codes, out);
        }
        Encoding::Integer(pages) => {
            out.push(2);
            put_pages(pages, out);
        }
        Encoding::Decimal { pages, places } => {
            out.extend_from_slice(&[3, *places]);
            put_pages(pages, out);
        }
        Encoding::Fixed { pages, form } => {
            out.push(4);
            match form {
                FixedForm::Ipv4 => out.push(0),
                FixedForm::Uuid => out.push(1),
                FixedForm::Hex { prefix, width } => {
                    out.extend_from_slice(&[2, *width]);
                    put_bytes(out, prefix);
                }
            }
            put_pages(pages, out);
        }
        Encoding::Plain(pages) => {
            out.push(5);
            put_pages(pages, out);
        }
        Encoding::Template(chunk) => {
            out.extend_from_slice(&[6, chunk.rank]);
            put_page(&chunk.templates, out);
            put_pages(&chunk.codes, out);
            put_varint(out, chunk.fills.len() as u64);
            for fill in &chunk.fills {
                match fill {
                    FillChunk::Column(number) => {
                        out.push(0);
                        put_varint(out, (*number).into());
                    }
                    FillChunk::Values { count, encoding } => {
                        out.push(1);
                        put_varint(out, (*count).into());
                        put_encoding(encoding, out);
                    }
                }
            }
        }
    }
}

/// Appends a descriptor.
pub fn put_chunk(chunk: &Chunk, out: &mut Vec<u8>) {
    put_varint(out, chunk.rows.into());
    put_encoding(&chunk.encoding, out);
    match &chunk.tags {
        ChunkTags::One(tag) => out.push(*tag as u8),
        ChunkTags::Each(page) => {
            out.push(0xff);
            put_page(page, out);
        }
    }
}

/// Reads descriptors, and gives their pages offsets in the order in which they come.
#[derive(Debug)]
pub struct ChunkReader {
    next_offset: u64,
    templates: bool,
}

impl ChunkReader {
    /// A reader of the descriptors of a block, which may have templates or not.
    pub fn new(templates: bool) -> Self {
        ChunkReader { next_offset: 0, templates }
    }

    /// Bytes of the pages of all descriptors read so far.
    pub fn pages_len(&self) -> u64 {
        self.next_offset
    }

    fn page(&mut self, r: &mut Reader<'_>) -> Result<Page, DecodeError> {
        let (rows, stored, raw) = (r.varint()?, r.varint()?, r.varint()?);
        let codec = if raw & 1 == 0 { Codec::Raw } else { Codec::Zstd };
        let raw = raw >> 1;
        if rows > ints::INTS_MAX as u64 || stored > PAGE_BYTES_MAX as u64 || raw > PAGE_BYTES_MAX as u64 {
            return Err(r.error("a page within its limits", format!("{rows} rows, {stored} bytes, {raw} decoded")));
        }
        let page = Page {
            rows: rows as u32,
            stored: stored as u32,
            raw: raw as u32,
            codec,
            crc: r.u32()?,
            offset: self.next_offset,
        };
        self.next_offset += stored;
        Ok(page)
    }

    fn pages(&mut self, r: &mut Reader<'_>) -> Result<Vec<Page>, DecodeError> {
        (0..r.count(7)?).map(|_| self.page(r)).collect()
    }

    fn encoding(&mut self, r: &mut Reader<'_>, depth: u32) -> Result<Encoding, DecodeError> {
        Ok(match r.u8()? {
            0 => Encoding::Constant(r.bytes()?.into()),
            1 if depth < DEPTH_MAX => {
                let count = r.varint()?;
                if count > ints::INTS_MAX as u64 {
                    return Err(r.error(format!("at most {} entries", ints::INTS_MAX), count));
                }
                let entries = Box::new(self.encoding(r, DEPTH_MAX)?);
                Encoding::Dictionary { entries, count: count as u32, codes: self.pages(r)? }
            }
            2 => Encoding::Integer(self.pages(r)?),
            3 => {
                let places = r.u8()?;
                if !(1..=18).contains(&places) {
                    return Err(r.error("1 to 18 places", places));
                }
                Encoding::Decimal { places, pages: self.pages(r)? }
            }
            4 => {
                let form = match r.u8()? {
                    0 => FixedForm::Ipv4,
                    1 => FixedForm::Uuid,
                    2 => {
                        let width = r.u8()?;
                        let prefix = r.bytes()?.into();
                        if width == 0 {
                            return Err(r.error("a width above 0", 0));
                        }
                        FixedForm::Hex { width, prefix }
                    }
                    n => return Err(r.error("a known form", n)),
                };
                Encoding::Fixed { form, pages: self.pages(r)? }
            }
            5 => Encoding::Plain(self.pages(r)?),
            6 if depth == 0 && self.templates => Encoding::Template(Box::new(self.template(r)?)),
            n => return Err(r.error("a known encoding", n)),
        })
    }

    fn template(&mut self, r: &mut Reader<'_>) -> Result<TemplateChunk, DecodeError> {
        let rank = r.u8()?;
        if rank > RANK_MAX {
            return Err(r.error(format!("a rank of at most {RANK_MAX}"), rank));
        }
        let templates = self.page(r)?;
        let codes = self.pages(r)?;
        let mut fills = Vec::new();
        for _ in 0..r.count(2)? {
            fills.push(match r.u8()? {
                0 => match u32::try_from(r.varint()?) {
                    Ok(number) if rank > 0 => FillChunk::Column(number),
                    _ => return Err(r.error("a column, and a rank above 0", format!("rank {rank}"))),
                },
                1 => {
                    let count = r.varint()?;
                    if count > FILL_VALUES_MAX as u64 {
                        return Err(r.error(format!("at most {FILL_VALUES_MAX} values"), count));
                    }
                    let encoding = self.encoding(r, 1)?;
                    check_rows(r, &encoding, count as u32)?;
                    FillChunk::Values { count: count as u32, encoding }
                }
                n => return Err(r.error("a known kind of fill", n)),
            });
        }
        Ok(TemplateChunk { rank, templates, codes, fills })
    }

    /// Reads a descriptor.
    pub fn chunk(&mut self, r: &mut Reader<'_>) -> Result<Chunk, DecodeError> {
        let rows = r.varint()?;
        if rows > ints::INTS_MAX as u64 {
            return Err(r.error(format!("at most {} rows", ints::INTS_MAX), rows));
        }
        let encoding = self.encoding(r, 0)?;
        let tags = match r.u8()? {
            0xff => ChunkTags::Each(self.page(r)?),
            n => ChunkTags::One(Tag::from_u8(n).ok_or_else(|| r.error("a type", n))?),
        };
        let chunk = Chunk { rows: rows as u32, tags, encoding };
        let entries = check_rows(r, &chunk.encoding, chunk.rows)?;
        if let ChunkTags::Each(page) = chunk.tags
            && page.rows != entries
        {
            return Err(r.error(format!("{entries} types"), page.rows));
        }
        Ok(chunk)
    }
}

/// Compares the rows of pages with the number of values; how many types there are where each has one.
fn check_rows(r: &Reader<'_>, encoding: &Encoding, rows: u32) -> Result<u32, DecodeError> {
    let sum = |pages: &[Page]| pages.iter().map(|p| u64::from(p.rows)).sum::<u64>();
    let mut types = rows;
    if let Encoding::Dictionary { entries, count, .. } = encoding {
        if !matches!(**entries, Encoding::Constant(_)) && sum(value_pages(entries)) != u64::from(*count) {
            return Err(r.error(format!("{count} entries"), sum(value_pages(entries))));
        }
        types = *count;
    }
    if !matches!(encoding, Encoding::Constant(_)) && sum(value_pages(encoding)) != u64::from(rows) {
        return Err(r.error(format!("pages of {rows} rows"), sum(value_pages(encoding))));
    }
    Ok(types)
}

/// Checks a stored page and decodes it to its raw bytes.
pub fn page_bytes(page: &Page, stored: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let crc = crc32fast::hash(stored);
    if crc != page.crc {
        return Err(DecodeError::new("page", 0, format!("CRC-32 {:08x}", page.crc), format!("{crc:08x}")));
    }
    decompress(stored, page.codec, page.raw as usize, "page")
}

/// Decodes the types of a chunk from its page's raw bytes.
pub fn decode_tags(raw: &[u8]) -> Result<Box<[Tag]>, DecodeError> {
    raw.iter()
        .enumerate()
        .map(|(i, &b)| Tag::from_u8(b).ok_or_else(|| DecodeError::new("types", i, "a type", b)))
        .collect()
}

/// Decodes integers from the raw bytes of their page.
pub fn decode_integers(page: &Page, raw: &[u8]) -> Result<Vec<i64>, DecodeError> {
    let values = ints::decode(raw)?;
    if values.len() == page.rows as usize {
        Ok(values)
    } else {
        Err(DecodeError::new("integers", 0, format!("{} integers", page.rows), values.len()))
    }
}

/// Appends the texts of a plain page to others.
pub fn decode_texts(page: &Page, raw: &[u8], texts: &mut Texts) -> Result<(), DecodeError> {
    let mut r = Reader::new(raw, "texts");
    let base = texts.bytes.len() as u64;
    let mut end = base;
    for _ in 0..page.rows {
        end = end.saturating_add(r.varint()?);
        if end > u64::from(u32::MAX) {
            return Err(r.error("texts of at most 4 GiB", end));
        }
        texts.ends.push(end as u32);
    }
    if end - base != r.remaining() as u64 {
        return Err(r.error(format!("{} bytes", end - base), format!("{} bytes", r.remaining())));
    }
    let bytes = r.take(r.remaining())?;
    let text =
        std::str::from_utf8(bytes).map_err(|e| DecodeError::new("texts", e.valid_up_to(), "UTF-8", "other bytes"))?;
    let from = texts.ends.len() - page.rows as usize;
    for &e in &texts.ends[from..] {
        if !text.is_char_boundary((u64::from(e) - base) as usize) {
            return Err(DecodeError::new("texts", 0, "texts that end between characters", e));
        }
    }
    texts.bytes.extend_from_slice(bytes);
    Ok(())
}

/// Checks and collects the bytes of a page of fixed width.
pub fn decode_fixed(page: &Page, raw: Vec<u8>, form: &FixedForm) -> Result<Vec<u8>, DecodeError> {
    if raw.len() == page.rows as usize * form.width() {
        Ok(raw)
    } else {
        Err(DecodeError::new("fixed bytes", 0, format!("{} bytes", page.rows as usize * form.width()), raw.len()))
    }
}

/// Decodes a part of an encoding: the pages for which `read` gives raw bytes must be `pages`, in order.
pub fn decode_data(
    encoding: &Encoding,
    rows: u32,
    pages: &[Page],
    read: &mut dyn FnMut(&Page) -> Result<Vec<u8>, crate::error::StorageError>,
    fail: &dyn Fn(&Page, DecodeError) -> crate::error::StorageError,
) -> Result<Data, crate::error::StorageError> {
    let mut integers = || -> Result<Vec<i64>, crate::error::StorageError> {
        let mut values = Vec::with_capacity(rows as usize);
        for page in pages {
            values.extend(decode_integers(page, &read(page)?).map_err(|e| fail(page, e))?);
        }
        Ok(values)
    };
    Ok(match encoding {
        Encoding::Constant(text) => Data::Constant { len: rows, text: text.clone() },
        Encoding::Integer(_) => Data::Integer(integers()?),
        Encoding::Decimal { places, .. } => Data::Decimal { values: integers()?, places: *places },
        Encoding::Fixed { form, .. } => {
            let raw: usize = pages.iter().map(|page| page.raw as usize).sum();
            let mut bytes = Vec::with_capacity(raw.min(RESERVE_BYTES_MAX));
            for page in pages {
                bytes.extend(decode_fixed(page, read(page)?, form).map_err(|e| fail(page, e))?);
            }
            Data::Fixed { form: form.clone(), bytes }
        }
        Encoding::Plain(_) => {
            let raw: usize = pages.iter().map(|page| page.raw as usize).sum();
            let mut texts = Texts { bytes: Vec::with_capacity(raw.min(RESERVE_BYTES_MAX)), ends: Vec::new() };
            texts.ends.reserve_exact(rows as usize);
            for page in pages {
                decode_texts(page, &read(page)?, &mut texts).map_err(|e| fail(page, e))?;
            }
            Data::Plain(texts)
        }
        Encoding::Dictionary { entries, count, codes: all } => {
            let mut codes = Vec::with_capacity(rows as usize);
            for page in pages {
                for code in decode_integers(page, &read(page)?).map_err(|e| fail(page, e))? {
                    match u32::try_from(code) {
                        Ok(c) if c < *count => codes.push(c),
                        _ => {
                            return Err(fail(
                                page,
                                DecodeError::new("codes", 0, format!("a code below {count}"), code),
                            ));
                        }
                    }
                }
            }
            debug_assert!(pages.len() <= all.len());
            let entries = decode_data(entries, *count, value_pages(entries), read, fail)?;
            Data::Dictionary { entries: Box::new(entries), codes }
        }
        // The caller puts these together itself; none stands in another one.
        Encoding::Template(chunk) => {
            let error = DecodeError::new("chunk", 0, "values of its own", "templates");
            return Err(fail(&chunk.templates, error));
        }
    })
}
