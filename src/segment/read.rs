//! Opens segments and reads blocks, part by part.

use super::fetch::{Header, Loaded, Pages};
use super::hold::may_hold;
use crate::cache::Cache;
use crate::error::{Damage, StorageError};
use crate::format::DecodeError;
use crate::format::block::{BLOCK_HEAD_BYTES, BlockHeader, PresenceEncoding, read_head, read_header};
use crate::format::chunk::{Chunk, ChunkTags, Encoding};
use crate::format::segment::{
    Footer, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, Trailer, read_footer, read_segment_header, read_trailer,
};
use crate::id::Seq;
use crate::record::{
    Block, BlockInfo, Codes, Column, Data, Field, FillPlace, Outline, Presence, Timestamp, Zone, ZoneMap, each_width,
};
use crate::vfs::VfsFile;
use rustc_hash::FxHashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Numbers of the parts of a block that are no columns, in the cache.
const PART_HEADER: u32 = u32::MAX;
const PART_TIMES: u32 = u32::MAX - 1;
const PART_SEQS: u32 = u32::MAX - 2;
const PART_STREAMS: u32 = u32::MAX - 3;
const PART_SHAPES: u32 = u32::MAX - 4;
pub(super) const PART_OVERFLOW: u32 = u32::MAX - 5;
/// The fields of the overflow column, each by itself.
pub(super) const PART_RARE: u32 = u32::MAX - 6;
/// Columns are numbered from 0, and the rows that have them from here.
const PART_PRESENCE: u32 = 1 << 30;
/// The entries of dictionaries, likewise.
const PART_ENTRIES: u32 = 1 << 29;
/// Single pages of columns, likewise: see [`SegmentBlock::field_of_rows`].
pub(super) const PART_PAGES: u32 = 1 << 28;

/// An open segment: its header and footer, and a way to its blocks.
#[derive(Debug)]
pub struct SegmentReader {
    file: Arc<dyn VfsFile>,
    cache: Arc<Cache>,
    /// Tells this opened file from all others in the cache.
    number: u64,
    header: SegmentHeader,
    trailer: Trailer,
    footer: Footer,
}

impl Drop for SegmentReader {
    fn drop(&mut self) {
        self.cache.forget(self.number);
    }
}

impl SegmentReader {
    /// Reads and checks header, trailer and footer; blocks are checked when they are read.
    pub fn open(file: Arc<dyn VfsFile>, cache: Arc<Cache>) -> Result<Self, StorageError> {
        let len = file.len()?;
        let damage = |e: DecodeError, at: u64| StorageError::from(e.within(at).in_file(file.path()));
        let mut head = vec![0; SEGMENT_HEADER_BYTES];
        file.read_exact_at(0, &mut head)?;
        let header = read_segment_header(&head).map_err(|e| damage(e, 0))?;
        let trailer_at = len.saturating_sub(TRAILER_BYTES as u64);
        let mut end = vec![0; TRAILER_BYTES];
        file.read_exact_at(trailer_at, &mut end)?;
        let trailer = read_trailer(&end, len).map_err(|e| damage(e, trailer_at))?;
        let mut stored = vec![0; usize::try_from(trailer.footer_len).unwrap_or(usize::MAX)];
        file.read_exact_at(trailer.footer_offset, &mut stored)?;
        let footer = read_footer(&trailer, &stored)
            .map_err(|e| damage(DecodeError { offset: trailer.footer_offset, ..e }, 0))?;
        Ok(SegmentReader { file, cache, number: Cache::owner(), header, trailer, footer })
    }

    /// A segment of which only some blocks are to be read, by a footer that lists them: what repair found of one that
    /// is damaged.
    pub fn of_blocks(file: Arc<dyn VfsFile>, cache: Arc<Cache>, header: SegmentHeader, footer: Footer) -> Self {
        let trailer = Trailer {
            index_offset: 0,
            index_len: 0,
            footer_offset: 0,
            footer_len: 0,
            footer_raw: 0,
            footer_codec: crate::format::compress::Codec::Raw,
            footer_crc: 0,
            data_root: [0; 32],
            index_root: [0; 32],
        };
        SegmentReader { file, cache, number: Cache::owner(), header, trailer, footer }
    }

    /// Whose it is and which.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }
    /// Where its parts are, and its roots.
    pub fn trailer(&self) -> &Trailer {
        &self.trailer
    }
    /// Its blocks and fields.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }
    /// The file.
    pub fn file(&self) -> &Arc<dyn VfsFile> {
        &self.file
    }
    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.footer.blocks.len()
    }
    /// What the footer knows of a block.
    pub fn info(&self, block: usize) -> BlockInfo {
        self.footer.blocks[block].info
    }
    /// What the footer knows of a field in all blocks; `Absent` is sure, `Unknown` where rarer fields were put aside.
    pub fn zone(&self, name: &str) -> Option<&ZoneMap> {
        let at = self.footer.fields.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.footer.fields[at].1)
    }
}

/// A block of an open segment.
#[derive(Debug, Clone)]
pub struct SegmentBlock {
    segment: Arc<SegmentReader>,
    block: usize,
    header: Arc<Header>,
}

impl SegmentBlock {
    /// Reads and checks a block's head and header.
    pub fn open(segment: &Arc<SegmentReader>, block: usize) -> Result<Self, StorageError> {
        let key = (segment.number, block as u32, PART_HEADER);
        let header = match segment.cache.get::<Header>(key) {
            Some(header) => header,
            None => {
                let start = Instant::now();
                let header = Arc::new(load_header(segment, block)?);
                segment.cache.put(key, header.clone(), header.memory(), start.elapsed());
                header
            }
        };
        Ok(SegmentBlock { segment: segment.clone(), block, header })
    }

    /// The block's columns and how they are stored.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Chunk)> {
        self.header.header.columns.iter().map(|c| (&*c.name, &c.chunk))
    }

    /// The block's header; its zone maps are taken out, see [`Block`].
    pub(super) fn header(&self) -> &BlockHeader {
        &self.header.header
    }

    /// Bytes of the header: stored, and decoded.
    pub(super) fn header_bytes(&self) -> (u64, u64) {
        self.header.stored_and_raw
    }

    pub(super) fn pages(&self) -> Pages<'_> {
        Pages { file: &*self.segment.file, at: self.header.pages_at, stored: None }
    }

    pub(super) fn damage(&self, what: &'static str, expected: impl ToString, found: impl ToString) -> StorageError {
        let file = self.segment.file.path().to_path_buf();
        let offset = self.segment.footer.blocks[self.block].offset;
        Damage { file, offset, what, expected: expected.to_string(), found: found.to_string() }.into()
    }

    /// Is a part there without being read?
    pub(super) fn has_cached(&self, part: u32) -> bool {
        self.segment.cache.get::<Loaded>((self.segment.number, self.block as u32, part)).is_some()
    }

    pub(super) fn cached(
        &self,
        part: u32,
        load: impl FnOnce() -> Result<Loaded, StorageError>,
    ) -> Result<Loaded, StorageError> {
        let key = (self.segment.number, self.block as u32, part);
        if let Some(value) = self.segment.cache.get::<Loaded>(key) {
            return Ok((*value).clone());
        }
        let start = Instant::now();
        let value = load()?;
        self.segment.cache.put(key, Arc::new(value.clone()), value.memory(), start.elapsed());
        Ok(value)
    }

    pub(super) fn read_column(&self, part: u32, chunk: &Chunk) -> Result<Arc<Column>, StorageError> {
        match self.cached(part, || Ok(Loaded::Column(Arc::new(self.pages().column(chunk)?))))? {
            Loaded::Column(column) => Ok(column),
            _ => Err(self.damage("cache", "a column", "another part")),
        }
    }

    fn integers(&self, chunk: &Chunk) -> Result<Vec<i64>, StorageError> {
        match self.pages().column(chunk)?.data {
            Data::Integer(values) => Ok(values),
            _ => Err(self.damage("block header", "integers", chunk.encoding.name())),
        }
    }

    /// Which rows have a column (`columns.len()` for the overflow column).
    pub(super) fn presence(&self, column: usize, values: u32) -> Result<Presence, StorageError> {
        // Many columns are in the same records.
        let column = self.header.same_rows.get(column).map_or(column, |&first| first as usize);
        let rows =
            self.cached(PART_PRESENCE + column as u32, || Ok(Loaded::Rows(self.load_presence(column)?.into())))?;
        let Loaded::Rows(rows) = rows else { return Err(self.damage("cache", "rows", "another part")) };
        if rows.len() != values as usize {
            // Of all rows no list is kept.
            if rows.is_empty() && values == self.rows() {
                return Ok(Presence::All);
            }
            return Err(self.damage("shapes", format!("{values} rows with column {column}"), rows.len()));
        }
        Ok(Presence::Rows(rows))
    }

    /// The rows that have a column; none where all have it.
    fn load_presence(&self, column: usize) -> Result<Vec<u32>, StorageError> {
        let rows = self.rows_with(column)?;
        Ok(if rows.len() == self.rows() as usize { Vec::new() } else { rows })
    }

    fn rows_with(&self, column: usize) -> Result<Vec<u32>, StorageError> {
        match &self.header.header.presence {
            PresenceEncoding::Shapes { shapes, .. } => {
                let has: Vec<bool> = shapes.iter().map(|s| s.binary_search(&(column as u32)).is_ok()).collect();
                Ok(each_width!(&*self.shape_ids()?, ids => rows_of(ids, &has)))
            }
            PresenceEncoding::Bitmaps(chunks) => {
                let chunk = chunks.get(column).ok_or_else(|| self.damage("bitmaps", "one a column", chunks.len()))?;
                let Data::Fixed { bytes, .. } = self.pages().column(chunk)?.data else {
                    return Err(self.damage("bitmaps", "fixed bytes", chunk.encoding.name()));
                };
                if bytes.len() != (self.rows() as usize).div_ceil(8) {
                    return Err(self.damage("bitmaps", "a bit a row", format!("{} bytes", bytes.len())));
                }
                Ok((0..self.rows()).filter(|&r| bytes[r as usize / 8] >> (r % 8) & 1 == 1).collect())
            }
        }
    }

    /// The shape of each row, checked against the number of shapes.
    fn shape_ids(&self) -> Result<Arc<Codes>, StorageError> {
        let PresenceEncoding::Shapes { shapes, ids } = &self.header.header.presence else {
            return Ok(Arc::default());
        };
        let loaded = self.cached(PART_SHAPES, || {
            let Encoding::Integer(_) = &ids.encoding else {
                return Err(self.damage("shapes", "integers", ids.encoding.name()));
            };
            let ids = self.pages().codes(ids, shapes.len() as u32)?;
            match ids.len() == self.rows() as usize {
                true => Ok(Loaded::Shapes(Arc::new(ids))),
                false => Err(self.damage("shapes", format!("{} rows", self.rows()), ids.len())),
            }
        })?;
        match loaded {
            Loaded::Shapes(ids) => Ok(ids),
            _ => Err(self.damage("cache", "shapes", "another part")),
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.header.header.columns.binary_search_by(|c| (*c.name).cmp(name)).ok()
    }
}

/// Bytes of a block that are read at first. The header of a block of 50 columns takes 7 KB.
const HEADER_BYTES_GUESSED: usize = 12 << 10;

fn load_header(segment: &SegmentReader, block: usize) -> Result<Header, StorageError> {
    let place = segment.footer.blocks[block];
    let file = &segment.file;
    let damage = |e: DecodeError, at: u64| StorageError::from(e.within(at).in_file(file.path()));
    // Most headers are read whole by one call.
    let guess = usize::try_from(place.len).map_or(HEADER_BYTES_GUESSED, |len| len.min(HEADER_BYTES_GUESSED));
    let mut begin = vec![0; guess.max(BLOCK_HEAD_BYTES)];
    file.read_exact_at(place.offset, &mut begin)?;
    let head = read_head(&begin[..BLOCK_HEAD_BYTES]).map_err(|e| damage(e, place.offset))?;
    let info = BlockInfo { rows: head.rows, time: head.time, seq: head.seq };
    if head.len != place.len || info != place.info {
        let e = DecodeError::new(
            "block head",
            0,
            format!("{} bytes, {:?}", place.len, place.info),
            format!("{} bytes, {info:?}", head.len),
        );
        return Err(damage(e, place.offset));
    }
    let header_at = place.offset + BLOCK_HEAD_BYTES as u64;
    let mut stored = begin.split_off(BLOCK_HEAD_BYTES);
    let read = stored.len();
    stored.resize(head.header_stored as usize, 0);
    if read < stored.len() {
        file.read_exact_at(header_at + read as u64, &mut stored[read..])?;
    }
    let mut header = read_header(&head, &stored).map_err(|e| damage(DecodeError { offset: header_at, ..e }, 0))?;
    let zones = header.columns.iter_mut().map(|c| Arc::new(std::mem::take(&mut c.zone))).collect();
    let names = header.columns.iter().map(|c| Arc::from(&*c.name)).collect();
    let same_rows = same_rows(&header);
    let pages_at = header_at + u64::from(head.header_stored);
    let stored_and_raw = (u64::from(head.header_stored), u64::from(head.header_raw));
    Ok(Header { header, zones, names, same_rows, pages_at, stored_and_raw, counted: OnceLock::new() })
}

/// The rows whose shapes are among these.
fn rows_of(ids: &[impl Copy + Into<u32>], has: &[bool]) -> Vec<u32> {
    let mut rows = vec![0; ids.len()];
    let mut len = 0;
    // Written whether it is one or not: a processor can't guess which it is.
    for (row, &id) in (0..).zip(ids) {
        let id: u32 = id.into();
        rows[len] = row;
        len += usize::from(has[id as usize]);
    }
    rows.truncate(len);
    rows
}

/// For each column the first one that the same shapes have, and so the same rows.
fn same_rows(header: &BlockHeader) -> Vec<u32> {
    let PresenceEncoding::Shapes { shapes, .. } = &header.presence else { return Vec::new() };
    let mut shapes_of: Vec<Vec<u32>> = vec![Vec::new(); header.columns.len() + 1];
    for (number, shape) in (0..).zip(shapes) {
        for &column in shape {
            if let Some(of) = shapes_of.get_mut(column as usize) {
                of.push(number);
            }
        }
    }
    let mut first: FxHashMap<&[u32], u32> = FxHashMap::default();
    (0..).zip(&shapes_of).map(|(column, shapes)| *first.entry(shapes).or_insert(column)).collect()
}

impl Block for SegmentBlock {
    fn rows(&self) -> u32 {
        self.segment.info(self.block).rows
    }
    fn time_range(&self) -> (Timestamp, Timestamp) {
        self.segment.info(self.block).time
    }
    fn seq_range(&self) -> (Seq, Seq) {
        self.segment.info(self.block).seq
    }
    fn times(&self) -> Result<Arc<Vec<i64>>, StorageError> {
        let load = || Ok(Loaded::Times(Arc::new(self.integers(&self.header.header.times)?)));
        match self.cached(PART_TIMES, load)? {
            Loaded::Times(times) => Ok(times),
            _ => Err(self.damage("cache", "times", "another part")),
        }
    }
    fn seqs(&self) -> Result<Arc<Vec<u64>>, StorageError> {
        let load = || {
            let seqs = self.integers(&self.header.header.seqs)?;
            Ok(Loaded::Seqs(Arc::new(seqs.into_iter().map(|n| n as u64).collect())))
        };
        match self.cached(PART_SEQS, load)? {
            Loaded::Seqs(seqs) => Ok(seqs),
            _ => Err(self.damage("cache", "sequence numbers", "another part")),
        }
    }
    fn streams(&self) -> Result<Arc<Column>, StorageError> {
        self.read_column(PART_STREAMS, &self.header.header.streams)
    }
    fn names(&self) -> Result<Vec<Arc<str>>, StorageError> {
        let mut names = self.header.names.clone();
        if !self.header.header.overflow_names.is_empty() {
            names.extend(self.header.header.overflow_names.iter().map(|n| Arc::from(&**n)));
            names.sort();
        }
        Ok(names)
    }
    fn zone(&self, name: &str) -> Result<Zone, StorageError> {
        Ok(match self.find(name) {
            Some(column) => Zone::Known(self.header.zones[column].clone()),
            None if self.find_overflow(name).is_some() => Zone::Unknown,
            None => Zone::Absent,
        })
    }
    fn may_hold(&self, name: &str, folded: &str) -> bool {
        self.find(name).is_none_or(|at| may_hold(&self.header.header.columns[at].chunk, folded))
    }
    fn few_values_may_hold(&self, folded: &str) -> bool {
        self.header.counted().may_hold(folded)
    }
    fn names_of_many_values(&self) -> Result<Vec<Arc<str>>, StorageError> {
        Ok(self.header.counted().others().to_vec())
    }
    fn outline(&self, name: &str) -> Result<Option<Arc<Outline>>, StorageError> {
        match self.find(name) {
            Some(at) => self.outline_of(at),
            None => Ok(None),
        }
    }
    fn fill_texts(&self, place: FillPlace) -> Result<Option<Arc<Column>>, StorageError> {
        self.texts_at(place).map(Some)
    }
    fn presence(&self, name: &str) -> Result<Option<Presence>, StorageError> {
        match self.find(name) {
            Some(at) => self.presence(at, self.header.header.columns[at].chunk.rows).map(Some),
            None => Ok(self.overflow_field(name)?.map(|field| field.presence)),
        }
    }
    fn field(&self, name: &str) -> Result<Option<Field>, StorageError> {
        let Some(at) = self.find(name) else { return self.overflow_field(name) };
        let column = self.column_of(at)?;
        let values = self.header.header.columns[at].chunk.rows;
        Ok(Some(Field { presence: self.presence(at, values)?, column }))
    }
    fn column(&self, name: &str) -> Result<Option<Arc<Column>>, StorageError> {
        match self.find(name) {
            Some(at) => self.column_of(at).map(Some),
            None => Ok(None),
        }
    }
    fn entries(&self, name: &str) -> Result<Option<Arc<Column>>, StorageError> {
        let Some(at) = self.find(name) else { return Ok(None) };
        let chunk = &self.header.header.columns[at].chunk;
        let (Encoding::Dictionary { .. }, true) = (&chunk.encoding, matches!(chunk.tags, ChunkTags::One(_))) else {
            return Ok(None);
        };
        // Where all of it is there already, its entries are, too.
        if self.has_cached(at as u32) {
            return Ok(None);
        }
        let load = || Ok(Loaded::Column(Arc::new(self.pages().entries(chunk)?)));
        match self.cached(PART_ENTRIES + at as u32, load)? {
            Loaded::Column(column) => Ok(Some(column)),
            _ => Err(self.damage("cache", "a column", "another part")),
        }
    }
    fn field_at(&self, name: &str, rows: &[u32]) -> Result<Option<Field>, StorageError> {
        let Some(at) = self.find(name) else { return self.overflow_field(name) };
        self.field_of_rows(at, rows).map(Some)
    }
    fn names_at(&self, rows: &[u32]) -> Result<Vec<Arc<str>>, StorageError> {
        let h = &self.header.header;
        let has = match &h.presence {
            PresenceEncoding::Shapes { shapes, .. } => {
                let ids = self.shape_ids()?;
                let mut seen = vec![false; shapes.len()];
                rows.iter().filter_map(|&row| ids.get(row as usize)).for_each(|id| seen[id as usize] = true);
                let mut has = vec![false; h.columns.len() + 1];
                for (shape, _) in shapes.iter().zip(&seen).filter(|(_, seen)| **seen) {
                    shape.iter().for_each(|&column| has[column as usize] = true);
                }
                has
            }
            PresenceEncoding::Bitmaps(_) => {
                let values = h.columns.iter().map(|c| c.chunk.rows).chain(h.overflow.iter().map(|chunk| chunk.rows));
                let has = |(column, values)| {
                    let presence = self.presence(column, values)?;
                    Ok(rows.iter().any(|&row| presence.place(row).is_some()))
                };
                values.enumerate().map(has).collect::<Result<Vec<bool>, StorageError>>()?
            }
        };
        let mut names: Vec<Arc<str>> =
            self.header.names.iter().zip(&has).filter(|(_, has)| **has).map(|(n, _)| n.clone()).collect();
        if has.get(h.columns.len()) == Some(&true) {
            names.extend(self.overflow_names_at(rows)?);
            names.sort();
        }
        Ok(names)
    }
}
