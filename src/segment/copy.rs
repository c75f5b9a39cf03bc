//! A block of a segment for another one, byte for byte.
//!
//! Blocks decode alone: nothing in one depends on its place or its file. Every checksum in it is compared first, so
//! that damage does not get a new root over it.

use super::build::{BlockSink, EncodedBlock};
use super::fetch::{Pages, page_of};
use super::read::SegmentReader;
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::block::{BLOCK_HEAD_BYTES, BlockHeader, PresenceEncoding, read_head, read_header, read_overflow};
use crate::format::chunk::{Chunk, Page};
use crate::format::template::places_of;
use crate::record::{BlockInfo, Column, Data};
use std::sync::Arc;

/// Reads a block and checks all of it. `sink` is given what it would be given if the block were built anew, but that
/// of a dictionary it gets the entries alone.
pub fn copy_block(
    segment: &SegmentReader,
    block: usize,
    sink: &mut dyn BlockSink,
) -> Result<EncodedBlock, StorageError> {
    let file = segment.file();
    let place = segment.footer().blocks[block];
    // Errors of parts say where they are in the block.
    let damage = |e: DecodeError| StorageError::from(e.within(place.offset).in_file(file.path()));
    let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(usize::MAX)];
    file.read_exact_at(place.offset, &mut bytes)?;
    let head = read_head(&bytes).map_err(damage)?;
    let info = BlockInfo { rows: head.rows, time: head.time, seq: head.seq };
    if head.len != place.len || info != place.info {
        let expected = format!("{} bytes, {:?}", place.len, place.info);
        return Err(damage(DecodeError::new("block head", 0, expected, format!("{} bytes, {info:?}", head.len))));
    }
    let (header_at, pages_at) = (BLOCK_HEAD_BYTES, BLOCK_HEAD_BYTES + head.header_stored as usize);
    // The head was checked against the length of the block.
    let stored = bytes.get(header_at..pages_at).unwrap_or_default();
    let header = read_header(&head, stored).map_err(|e| damage(DecodeError { offset: header_at as u64, ..e }))?;
    let stored = bytes.get(pages_at..).unwrap_or_default();
    for chunk in chunks(&header) {
        for page in chunk.pages() {
            check(&page, stored).map_err(|e| damage(e.within(pages_at as u64)))?;
        }
    }
    let pages = Pages { file: &**file, at: place.offset + pages_at as u64, stored: Some(stored) };
    feed(&header, &pages, sink, &|e| damage(DecodeError { offset: pages_at as u64, ..e }))?;
    let overflow = header.overflow.is_some();
    let zones = header.columns.into_iter().map(|c| (c.name, c.zone)).collect();
    Ok(EncodedBlock { bytes, info, zones, overflow })
}

/// Tells the sink all values.
fn feed(
    header: &BlockHeader,
    pages: &Pages<'_>,
    sink: &mut dyn BlockSink,
    damage: &dyn Fn(DecodeError) -> StorageError,
) -> Result<(), StorageError> {
    sink.begin();
    let mut whole = Whole { header, pages, damage, rows: Vec::new() };
    for (at, column) in header.columns.iter().enumerate() {
        match column.chunk.encoding.template() {
            Some(_) => {
                let column = whole.column(at)?;
                sink.column(&column);
            }
            None => sink.column(&pages.entries(&column.chunk)?),
        }
    }
    if let Some(chunk) = &header.overflow {
        let column = pages.column(chunk)?;
        let mut buffer = Vec::new();
        for place in 0..column.len() {
            let text = std::str::from_utf8(column.text(place, &mut buffer)).unwrap_or_default();
            read_overflow(text).map_err(damage)?.into_iter().for_each(|(_, tag, text)| sink.value(tag, text));
        }
    }
    sink.end();
    Ok(())
}

/// Puts templates of a block together.
struct Whole<'a> {
    header: &'a BlockHeader,
    pages: &'a Pages<'a>,
    damage: &'a dyn Fn(DecodeError) -> StorageError,
    /// The rows of each column, once one is referred to.
    rows: Vec<Vec<u32>>,
}

impl Whole<'_> {
    fn column(&mut self, at: usize) -> Result<Arc<Column>, StorageError> {
        let header = self.header;
        let chunk = &header.columns[at].chunk;
        let Some(template) = chunk.encoding.template() else { return Ok(Arc::new(self.pages.column(chunk)?)) };
        let pages = self.pages;
        let mut refer = |other: u32| {
            if self.rows.is_empty() {
                self.rows = self.presence()?;
            }
            let column = self.column(other as usize)?;
            let places = places_of(self.rows[at].iter().copied(), &self.rows[other as usize]);
            Ok((column, places))
        };
        Ok(Arc::new(pages.templated(chunk, template, &mut refer)?))
    }

    /// The rows that have each column.
    fn presence(&self) -> Result<Vec<Vec<u32>>, StorageError> {
        let mut rows = vec![Vec::new(); self.header.columns.len() + 1];
        let fail = |expected: &str| (self.damage)(DecodeError::new("shapes", 0, expected, "another form"));
        match &self.header.presence {
            PresenceEncoding::Shapes { shapes, ids } => {
                let Data::Integer(ids) = self.pages.column(ids)?.data else { return Err(fail("integers")) };
                for (row, id) in (0..).zip(ids) {
                    let shape = usize::try_from(id).ok().and_then(|id| shapes.get(id));
                    let shape = shape.ok_or_else(|| fail("a known shape"))?;
                    shape.iter().for_each(|&column| rows[column as usize].push(row));
                }
            }
            PresenceEncoding::Bitmaps(bitmaps) => {
                for (rows, chunk) in rows.iter_mut().zip(bitmaps) {
                    let Data::Fixed { bytes, .. } = self.pages.column(chunk)?.data else { return Err(fail("bytes")) };
                    *rows = (0..self.header.times.rows)
                        .filter(|&row| bytes.get(row as usize / 8).is_some_and(|b| b >> (row % 8) & 1 == 1))
                        .collect();
                }
            }
        }
        Ok(rows)
    }
}

/// All chunks of a block.
fn chunks(header: &BlockHeader) -> impl Iterator<Item = &Chunk> {
    [&header.times, &header.seqs, &header.streams]
        .into_iter()
        .chain(header.columns.iter().map(|c| &c.chunk))
        .chain(&header.overflow)
        .chain(header.presence.chunks())
}

/// Compares a page with its checksum.
fn check(page: &Page, stored: &[u8]) -> Result<(), DecodeError> {
    let found = crc32fast::hash(page_of(stored, page)?);
    if found == page.crc {
        return Ok(());
    }
    let expected = format!("CRC-32 {:08x}", page.crc);
    Err(DecodeError { offset: page.offset, ..DecodeError::new("page", 0, expected, format!("{found:08x}")) })
}
