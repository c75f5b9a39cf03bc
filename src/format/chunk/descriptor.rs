//! Writes and reads descriptors of chunks. What a descriptor says is checked against itself and against the limits, before
//! any page is read.

use super::{Chunk, ChunkTags, DEPTH_MAX, Encoding, FILL_VALUES_MAX, PAGE_BYTES_MAX, Page, value_pages};
use crate::format::compress::Codec;
use crate::format::template::{FillChunk, RANK_MAX, TemplateChunk};
use crate::format::{DecodeError, Reader, ints, put_bytes, put_varint};
use crate::record::{FixedForm, Tag};

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
