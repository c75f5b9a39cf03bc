//! A block: a fixed head, a compressed header (the column directory) and pages. It decodes alone.
//!
//! The head is marked and checksummed, so that repair finds blocks in a segment that lost its footer; the header has
//! a checksum in the head, and each page one in the header, so that no byte is left unchecked.

use super::chunk::{Chunk, ChunkReader, put_chunk};
use super::compress::{Codec, LEVEL_FAST, compress, decompress};
use super::template::FillChunk;
use super::{DecodeError, Reader, put_bytes, put_i64, put_u32, put_u64, put_varint};
use crate::id::Seq;
use crate::record::{Tag, Timestamp, ValueCounts, ZoneMap};

/// First bytes of a block; the version follows.
pub const BLOCK_MAGIC: [u8; 7] = *b"DuraBlk";
/// The version of a block whose columns have no templates.
pub const BLOCK_VERSION_PLAIN: u8 = 1;
/// The version of a block whose columns may have templates.
pub const BLOCK_VERSION_TEMPLATES: u8 = 2;
/// Bytes of the head.
pub const BLOCK_HEAD_BYTES: usize = 80;
/// Most rows of a block.
pub const BLOCK_ROWS_MAX: usize = 16 << 10;
/// A block is closed at so many bytes of values, so that decoding one stays within a few tens of MB.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;
/// Most columns of a block; rarer fields go to the overflow column.
pub const BLOCK_COLUMNS_MAX: usize = 1024;
/// Most shapes of a block; beyond, each column has a bitmap of the rows that have it.
pub const BLOCK_SHAPES_MAX: usize = 4096;
/// Most bytes of a header: 1,024 columns with counts of 256 values of 64 bytes are 18 MB.
const HEADER_BYTES_MAX: usize = 64 << 20;

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Its version: 1, or 2 where a column has templates.
    pub version: u8,
    /// Bytes of the whole block, this head included.
    pub len: u64,
    /// Number of rows.
    pub rows: u32,
    /// Time of the first and the last row.
    pub time: (Timestamp, Timestamp),
    /// Least and greatest sequence number.
    pub seq: (Seq, Seq),
    /// Bytes of the header as stored.
    pub header_stored: u32,
    /// Bytes of the header decoded.
    pub header_raw: u32,
    /// How the header is compressed.
    pub header_codec: Codec,
    /// CRC-32 of the stored header.
    pub header_crc: u32,
}

/// What a block's header says.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockHeader {
    /// The time of each row: integers.
    pub times: Chunk,
    /// The sequence number of each row: integers.
    pub seqs: Chunk,
    /// The label set of each row: canonical texts.
    pub streams: Chunk,
    /// Which fields the rows have.
    pub presence: PresenceEncoding,
    /// The columns, in order of the bytes of their names.
    pub columns: Vec<ColumnEntry>,
    /// The overflow column: for each row that has one, the encoded list of its rarer fields.
    pub overflow: Option<Chunk>,
    /// Names in the overflow column, sorted.
    pub overflow_names: Vec<Box<str>>,
}

/// Which rows have which fields.
#[derive(Clone, Debug, PartialEq)]
pub enum PresenceEncoding {
    /// 0: each row has a shape: a set of columns, and whether it is in the overflow column.
    Shapes {
        /// The sets: indexes of columns, ascending; the number of columns stands for the overflow column.
        shapes: Vec<Box<[u32]>>,
        /// The shape of each row: integers.
        ids: Chunk,
    },
    /// 1: a bitmap a column (fixed bytes, least bit first, a bit a row), the last one for the overflow column.
    Bitmaps(Vec<Chunk>),
}

impl PresenceEncoding {
    /// The chunks that say it.
    pub fn chunks(&self) -> &[Chunk] {
        match self {
            PresenceEncoding::Shapes { ids, .. } => std::slice::from_ref(ids),
            PresenceEncoding::Bitmaps(bitmaps) => bitmaps,
        }
    }
}

/// A column of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnEntry {
    /// The field's name.
    pub name: Box<str>,
    /// How its values are stored.
    pub chunk: Chunk,
    /// What is known of its values.
    pub zone: ZoneMap,
}

/// Appends the encoding of a head; `CRC` last.
pub fn put_head(head: &BlockHead, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&BLOCK_MAGIC);
    out.push(head.version);
    put_u64(out, head.len);
    put_u32(out, head.rows);
    put_i64(out, head.time.0.0);
    put_i64(out, head.time.1.0);
    put_u64(out, head.seq.0.0);
    put_u64(out, head.seq.1.0);
    put_u32(out, head.header_stored);
    put_u32(out, head.header_raw);
    put_u32(out, head.header_codec as u32);
    put_u32(out, head.header_crc);
    // Room for the cipher: its number and a key's number.
    put_u64(out, 0);
    let crc = crc32fast::hash(&out[start..]);
    put_u32(out, crc);
    debug_assert_eq!(out.len() - start, BLOCK_HEAD_BYTES);
}

/// Reads a head.
pub fn read_head(bytes: &[u8]) -> Result<BlockHead, DecodeError> {
    let mut r = Reader::new(bytes, "block head");
    let body = r.take(BLOCK_HEAD_BYTES)?;
    let mut r = Reader::new(body, "block head");
    let magic = r.take(7)?;
    if magic != BLOCK_MAGIC {
        return Err(DecodeError::new("block head", 0, format!("{BLOCK_MAGIC:02x?}"), format!("{magic:02x?}")));
    }
    let version = r.u8()?;
    if !(BLOCK_VERSION_PLAIN..=BLOCK_VERSION_TEMPLATES).contains(&version) {
        return Err(DecodeError::new("block head", 7, "a block of version 1 or 2", version));
    }
    check_crc(body, "block head")?;
    let head = BlockHead {
        version,
        len: r.u64()?,
        rows: r.u32()?,
        time: (Timestamp(r.i64()?), Timestamp(r.i64()?)),
        seq: (Seq(r.u64()?), Seq(r.u64()?)),
        header_stored: r.u32()?,
        header_raw: r.u32()?,
        header_codec: {
            let n = r.u32()?;
            u8::try_from(n).ok().and_then(Codec::from_u8).ok_or_else(|| r.error("a codec", n))?
        },
        header_crc: r.u32()?,
    };
    let cipher = r.u64()?;
    if cipher != 0 {
        return Err(r.error("no cipher (0), the only one this version knows", cipher));
    }
    let least = BLOCK_HEAD_BYTES as u64 + u64::from(head.header_stored);
    if head.header_raw as usize > HEADER_BYTES_MAX || head.rows as usize > BLOCK_ROWS_MAX || head.len < least {
        return Err(r.error(
            format!(
                "at most {BLOCK_ROWS_MAX} rows and {HEADER_BYTES_MAX} bytes of header, at least {least} bytes in all"
            ),
            format!("{} rows, {}, {}", head.rows, head.header_raw, head.len),
        ));
    }
    Ok(head)
}

/// Checks the CRC-32 in the last four bytes, of all bytes before. An error points at where these begin: which of them
/// is wrong is not known.
pub fn check_crc(bytes: &[u8], what: &'static str) -> Result<(), DecodeError> {
    let Some((body, stored)) = bytes.split_last_chunk::<4>() else {
        return Err(DecodeError::new(what, 0, "a checksum", "end"));
    };
    let (stored, found) = (u32::from_le_bytes(*stored), crc32fast::hash(body));
    if stored == found {
        Ok(())
    } else {
        Err(DecodeError::new(
            what,
            0,
            format!("CRC-32 {found:08x} behind {} bytes", body.len()),
            format!("{stored:08x}"),
        ))
    }
}

/// Encodes a whole block from its parts.
pub fn encode_block(mut head: BlockHead, header: &BlockHeader, pages: &[u8], out: &mut Vec<u8>) -> BlockHead {
    let mut raw = Vec::with_capacity(4096);
    put_header(header, &mut raw);
    let mut stored = Vec::with_capacity(raw.len());
    head.header_codec = compress(&raw, LEVEL_FAST, &mut stored);
    head.header_stored = stored.len() as u32;
    head.header_raw = raw.len() as u32;
    head.header_crc = crc32fast::hash(&stored);
    let templates = header.columns.iter().any(|c| c.chunk.encoding.template().is_some());
    head.version = if templates { BLOCK_VERSION_TEMPLATES } else { BLOCK_VERSION_PLAIN };
    head.len = (BLOCK_HEAD_BYTES + stored.len() + pages.len()) as u64;
    put_head(&head, out);
    out.extend_from_slice(&stored);
    out.extend_from_slice(pages);
    head
}

fn put_header(h: &BlockHeader, out: &mut Vec<u8>) {
    put_chunk(&h.times, out);
    put_chunk(&h.seqs, out);
    put_chunk(&h.streams, out);
    put_varint(out, h.columns.len() as u64);
    for column in &h.columns {
        put_bytes(out, column.name.as_bytes());
        put_chunk(&column.chunk, out);
        put_zone(&column.zone, out);
    }
    match &h.overflow {
        None => out.push(0),
        Some(chunk) => {
            out.push(1);
            put_chunk(chunk, out);
            put_varint(out, h.overflow_names.len() as u64);
            h.overflow_names.iter().for_each(|n| put_bytes(out, n.as_bytes()));
        }
    }
    match &h.presence {
        PresenceEncoding::Shapes { shapes, ids } => {
            out.push(0);
            put_varint(out, shapes.len() as u64);
            for shape in shapes {
                put_varint(out, shape.len() as u64);
                let mut before = 0;
                for &column in &**shape {
                    put_varint(out, u64::from(column - before));
                    before = column;
                }
            }
            put_chunk(ids, out);
        }
        PresenceEncoding::Bitmaps(chunks) => {
            out.push(1);
            put_varint(out, chunks.len() as u64);
            chunks.iter().for_each(|c| put_chunk(c, out));
        }
    }
}

/// Reads a block's header from its stored bytes, after checking them against the head.
pub fn read_header(head: &BlockHead, stored: &[u8]) -> Result<BlockHeader, DecodeError> {
    let crc = crc32fast::hash(stored);
    if crc != head.header_crc {
        return Err(DecodeError::new(
            "block header",
            0,
            format!("CRC-32 {:08x}", head.header_crc),
            format!("{crc:08x}"),
        ));
    }
    let raw = decompress(stored, head.header_codec, head.header_raw as usize, "block header")?;
    let mut r = Reader::new(&raw, "block header");
    let mut chunks = ChunkReader::new(head.version >= BLOCK_VERSION_TEMPLATES);
    let times = chunks.chunk(&mut r)?;
    let seqs = chunks.chunk(&mut r)?;
    let streams = chunks.chunk(&mut r)?;
    let count = r.count(8)?;
    if count > BLOCK_COLUMNS_MAX {
        return Err(r.error(format!("at most {BLOCK_COLUMNS_MAX} columns"), count));
    }
    let mut columns: Vec<ColumnEntry> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = Box::from(r.text()?);
        if columns.last().is_some_and(|before| before.name >= name) {
            return Err(r.error("names in order", name));
        }
        columns.push(ColumnEntry { name, chunk: chunks.chunk(&mut r)?, zone: read_zone(&mut r)? });
    }
    let (mut overflow, mut overflow_names) = (None, Vec::new());
    match r.u8()? {
        0 => {}
        1 => {
            overflow = Some(chunks.chunk(&mut r)?);
            for _ in 0..r.count(1)? {
                overflow_names.push(Box::from(r.text()?));
            }
        }
        n => return Err(r.error("0 or 1", n)),
    }
    let presence = match r.u8()? {
        0 => {
            let mut shapes: Vec<Box<[u32]>> = Vec::new();
            for _ in 0..r.count(1)? {
                let mut shape = Vec::new();
                let mut before = 0u64;
                for i in 0..r.count(1)? {
                    let step = r.varint()?;
                    before = before.saturating_add(step);
                    if before > columns.len() as u64 || (i > 0 && step == 0) {
                        return Err(r.error(format!("ascending columns up to {}", columns.len()), before));
                    }
                    shape.push(before as u32);
                }
                shapes.push(shape.into());
            }
            PresenceEncoding::Shapes { shapes, ids: chunks.chunk(&mut r)? }
        }
        1 => {
            let count = r.count(8)?;
            if count != columns.len() + 1 {
                return Err(r.error(format!("{} bitmaps", columns.len() + 1), count));
            }
            PresenceEncoding::Bitmaps((0..count).map(|_| chunks.chunk(&mut r)).collect::<Result<_, _>>()?)
        }
        n => return Err(r.error("0 or 1", n)),
    };
    r.end()?;
    for (what, chunk) in [("times", &times), ("sequence numbers", &seqs), ("streams", &streams)] {
        if chunk.rows != head.rows {
            return Err(DecodeError::new(what, 0, format!("{} rows", head.rows), chunk.rows));
        }
    }
    check_templates(&columns)?;
    let only_columns = [&times, &seqs, &streams].into_iter().chain(&overflow).chain(presence.chunks());
    if only_columns.into_iter().any(|chunk| chunk.encoding.template().is_some()) {
        return Err(DecodeError::new("block header", 0, "templates in columns alone", "others"));
    }
    let pages = head.len - BLOCK_HEAD_BYTES as u64 - u64::from(head.header_stored);
    if chunks.pages_len() != pages {
        return Err(DecodeError::new("block header", 0, format!("pages of {pages} bytes"), chunks.pages_len()));
    }
    Ok(BlockHeader { times, seqs, streams, presence, columns, overflow, overflow_names })
}

/// No reference leads to a column of the same rank or a greater one, nor out of the block.
fn check_templates(columns: &[ColumnEntry]) -> Result<(), DecodeError> {
    let rank = |column: &ColumnEntry| column.chunk.encoding.template().map_or(0, |t| t.rank);
    for column in columns {
        let Some(template) = column.chunk.encoding.template() else { continue };
        for fill in &template.fills {
            let FillChunk::Column(number) = fill else { continue };
            match columns.get(*number as usize) {
                Some(other) if rank(other) < template.rank => {}
                other => {
                    let expected = format!("a column of a rank below {}", template.rank);
                    let found = other.map_or("none".to_string(), |c| format!("{}, rank {}", c.name, rank(c)));
                    return Err(DecodeError::new("references", 0, expected, found));
                }
            }
        }
    }
    Ok(())
}

/// Appends a zone map.
pub fn put_zone(z: &ZoneMap, out: &mut Vec<u8>) {
    let flag = |bit: u8, set: bool| if set { 1 << bit } else { 0 };
    out.push(
        flag(0, z.max.1)
            | flag(1, z.plain.is_some())
            | flag(2, z.with_unit.is_some())
            | flag(3, z.has_array)
            | flag(4, z.distinct.is_some())
            | flag(5, z.counts.is_some()),
    );
    put_varint(out, z.values.into());
    put_varint(out, z.empty.into());
    put_bytes(out, &z.min);
    put_bytes(out, &z.max.0);
    for (low, high) in [z.plain, z.with_unit].into_iter().flatten() {
        out.extend_from_slice(&low.to_le_bytes());
        out.extend_from_slice(&high.to_le_bytes());
    }
    if let Some(n) = z.distinct {
        put_varint(out, n.into());
    }
    if let Some(counts) = &z.counts {
        put_varint(out, counts.len() as u64);
        for (tag, text, count) in counts.iter() {
            out.push(tag as u8);
            put_bytes(out, text);
            put_varint(out, count.into());
        }
    }
}

/// Reads a zone map.
pub fn read_zone(r: &mut Reader<'_>) -> Result<ZoneMap, DecodeError> {
    let flags = r.u8()?;
    if flags >= 64 {
        return Err(r.error("known flags", flags));
    }
    let number = |r: &mut Reader<'_>| -> Result<u32, DecodeError> {
        let n = r.varint()?;
        u32::try_from(n).map_err(|_| r.error("32 bits", n))
    };
    let range = |r: &mut Reader<'_>| -> Result<(f64, f64), DecodeError> {
        Ok((f64::from_bits(r.u64()?), f64::from_bits(r.u64()?)))
    };
    let mut z = ZoneMap { values: number(r)?, empty: number(r)?, ..Default::default() };
    z.min = r.bytes()?.into();
    z.max = (r.bytes()?.into(), flags & 1 != 0);
    if flags & 2 != 0 {
        z.plain = Some(range(r)?);
    }
    if flags & 4 != 0 {
        z.with_unit = Some(range(r)?);
    }
    z.has_array = flags & 8 != 0;
    if flags & 16 != 0 {
        z.distinct = Some(number(r)?);
    }
    if flags & 32 != 0 {
        let mut counts = ValueCounts::default();
        for _ in 0..r.count(3)? {
            let n = r.u8()?;
            let tag = Tag::from_u8(n).ok_or_else(|| r.error("a type", n))?;
            counts.push(tag, r.text()?.as_bytes(), number(r)?);
        }
        counts.shrink();
        z.counts = Some(counts);
    }
    Ok(z)
}

/// Appends one rarer field of a row to its value in the overflow column: the name as a netstring (`4:name`), the digit
/// of the type, the text as a netstring. Columns hold UTF-8, and so is this.
pub fn put_overflow(name: &str, tag: Tag, text: &str, out: &mut String) {
    use std::fmt::Write;
    // Writing to a String can't fail.
    let _ = write!(out, "{}:{name}{}{}:{text}", name.len(), tag as u8, text.len());
}

/// Reads the rarer fields of a row.
pub fn read_overflow(value: &str) -> Result<Vec<(&str, Tag, &str)>, DecodeError> {
    let mut fields = Vec::new();
    let mut rest = value;
    let fail = |rest: &str, expected: &str| {
        DecodeError::new(
            "overflow fields",
            value.len() - rest.len(),
            expected,
            format!("{:?}", rest.chars().take(16).collect::<String>()),
        )
    };
    fn netstring(rest: &str) -> Option<(&str, &str)> {
        let (len, after) = rest.split_once(':')?;
        after.split_at_checked(len.parse().ok()?)
    }
    while !rest.is_empty() {
        let (name, after) = netstring(rest).ok_or_else(|| fail(rest, "a name"))?;
        let digit = after.bytes().next().unwrap_or_default();
        let tag = digit.checked_sub(b'0').and_then(Tag::from_u8).ok_or_else(|| fail(after, "a type"))?;
        let (text, after) = netstring(&after[1..]).ok_or_else(|| fail(after, "a text"))?;
        fields.push((name, tag, text));
        rest = after;
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_round_trips() {
        let mut value = String::new();
        let fields = [("a:1", Tag::String, "é:\"\n"), ("", Tag::Null, ""), ("n", Tag::Number, "12")];
        fields.iter().for_each(|(n, t, v)| put_overflow(n, *t, v, &mut value));
        assert_eq!(read_overflow(&value).as_deref(), Ok(&fields[..]));
        for cut in (1..value.len()).filter(|&c| value.is_char_boundary(c)) {
            let _ = read_overflow(&value[..cut]);
        }
        assert!(read_overflow("9:a").is_err() && read_overflow("1:a71:b").is_err() && read_overflow("x").is_err());
    }

    #[test]
    fn zones_round_trip() {
        let mut z = ZoneMap::default();
        z.add(Tag::Number, "1.5", 3);
        z.add(Tag::Array, "[\"5s\"]", 1);
        z.distinct = Some(2);
        z.counts = Some([(Tag::Number, "1.5", 3)].into_iter().collect());
        for zone in [z, ZoneMap::default()] {
            let mut out = Vec::new();
            put_zone(&zone, &mut out);
            let mut r = Reader::new(&out, "zone");
            assert_eq!((read_zone(&mut r), r.end()), (Ok(zone), Ok(())));
        }
    }

    #[test]
    fn any_flipped_byte_of_a_head_is_found() {
        let mut bytes = Vec::new();
        let head = BlockHead {
            version: 2,
            len: 500,
            rows: 3,
            time: (Timestamp(-5), Timestamp(9)),
            seq: (Seq(1), Seq(3)),
            header_stored: 100,
            header_raw: 200,
            header_codec: Codec::Zstd,
            header_crc: 7,
        };
        put_head(&head, &mut bytes);
        assert_eq!(read_head(&bytes), Ok(head));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(read_head(&bytes).is_err(), "{at}");
            bytes[at] ^= 1;
        }
    }
}
