//! A segment file: header, blocks, index bundle, footer, trailer.
//!
//! Two roots: the *data root* is BLAKE3 over header, blocks and footer, the *index root* over the bundle. The footer
//! repeats what a reader needs to choose blocks, and the trailer, of fixed length at the end of the file, says where
//! footer and bundle are.

use super::block::{BLOCK_ROWS_MAX, check_crc, put_zone, read_zone};
use super::compress::{Codec, LEVEL_FAST, compress, decompress};
use super::{DecodeError, Reader, put_bytes, put_i64, put_u16, put_u32, put_u64, put_varint, put_zigzag};
use crate::id::{SegmentId, Seq, TENANT_NAME_BYTES_MAX, TenantId};
use crate::record::{BlockInfo, Timestamp, ZoneMap};

/// First bytes of a segment: "DuraSeg" and the version.
pub const SEGMENT_MAGIC: [u8; 8] = *b"DuraSeg\x01";
/// Last bytes of a segment.
pub const TRAILER_MAGIC: [u8; 8] = *b"DuraEnd\x01";
/// Bytes of the header.
pub const SEGMENT_HEADER_BYTES: usize = 256;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 136;
/// Largest segment, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Most bytes of a footer, decoded.
const FOOTER_BYTES_MAX: usize = 256 << 20;
/// Bytes kept for the cipher: its number, a key's number, and a wrapped data key with its tag.
const CIPHER_ROOM: usize = 128;

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose records these are.
    pub tenant: TenantId,
    /// The segment.
    pub id: SegmentId,
    /// When it was written.
    pub created: Timestamp,
}

/// The trailer of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Where the index bundle begins; the blocks end there.
    pub index_offset: u64,
    /// Bytes of the bundle; 0 for none.
    pub index_len: u64,
    /// Where the footer begins.
    pub footer_offset: u64,
    /// Bytes of the footer as stored.
    pub footer_len: u64,
    /// Bytes of the footer decoded.
    pub footer_raw: u64,
    /// How the footer is compressed.
    pub footer_codec: Codec,
    /// CRC-32 of the stored footer.
    pub footer_crc: u32,
    /// BLAKE3 over header, blocks and stored footer.
    pub data_root: [u8; 32],
    /// BLAKE3 over the bundle.
    pub index_root: [u8; 32],
}

/// The footer of a segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footer {
    /// The blocks, in order of time.
    pub blocks: Vec<FooterBlock>,
    /// Each field of the segment, by name, with the zone map of all blocks together; without counts.
    pub fields: Vec<(Box<str>, ZoneMap)>,
    /// Did a block have more columns than it may, so that fields may be missing above?
    pub overflow: bool,
}

/// A block, as the footer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterBlock {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// What is known of it.
    pub info: BlockInfo,
}

/// Appends a tenant's name in 65 bytes: its length, the name, zeros.
pub fn put_tenant(tenant: &TenantId, out: &mut Vec<u8>) {
    let name = tenant.as_str().as_bytes();
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.resize(out.len() + TENANT_NAME_BYTES_MAX - name.len(), 0);
}

/// Reads a tenant's name.
pub fn read_tenant(r: &mut Reader<'_>) -> Result<TenantId, DecodeError> {
    let len = usize::from(r.u8()?);
    let room = r.take(TENANT_NAME_BYTES_MAX)?;
    let name = room.get(..len).and_then(|n| std::str::from_utf8(n).ok());
    let zeros = room.get(len..).is_some_and(|rest| rest.iter().all(|&b| b == 0));
    name.filter(|_| zeros)
        .and_then(|n| TenantId::new(n).ok())
        .ok_or_else(|| r.error("a tenant's name", String::from_utf8_lossy(room).trim_end_matches('\0')))
}

/// Encodes a header.
pub fn put_segment_header(header: &SegmentHeader, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&SEGMENT_MAGIC);
    put_tenant(&header.tenant, out);
    put_u64(out, header.id.0);
    put_i64(out, header.created.0);
    put_u16(out, 0);
    out.resize(out.len() + CIPHER_ROOM, 0);
    out.resize(start + SEGMENT_HEADER_BYTES - 4, 0);
    let crc = crc32fast::hash(&out[start..]);
    put_u32(out, crc);
}

/// Reads a header.
pub fn read_segment_header(bytes: &[u8]) -> Result<SegmentHeader, DecodeError> {
    let what = "segment header";
    let body = Reader::new(bytes, what).take(SEGMENT_HEADER_BYTES)?;
    let mut r = Reader::new(body, what);
    let magic = r.take(8)?;
    if magic != SEGMENT_MAGIC {
        return Err(DecodeError::new(what, 0, format!("{SEGMENT_MAGIC:02x?}"), format!("{magic:02x?}")));
    }
    check_crc(body, what)?;
    let header = SegmentHeader { tenant: read_tenant(&mut r)?, id: SegmentId(r.u64()?), created: Timestamp(r.i64()?) };
    let cipher = r.u16()?;
    if cipher != 0 {
        return Err(r.error("no cipher (0), the only one this version knows", cipher));
    }
    Ok(header)
}

/// Encodes a trailer.
pub fn put_trailer(t: &Trailer, out: &mut Vec<u8>) {
    let start = out.len();
    put_u64(out, t.index_offset);
    put_u64(out, t.index_len);
    put_u64(out, t.footer_offset);
    put_u64(out, t.footer_len);
    put_u64(out, t.footer_raw);
    put_u32(out, t.footer_codec as u32);
    put_u32(out, t.footer_crc);
    out.extend_from_slice(&t.data_root);
    out.extend_from_slice(&t.index_root);
    put_u32(out, 0);
    put_u32(out, 0);
    let crc = crc32fast::hash(&out[start..]);
    put_u32(out, crc);
    put_u32(out, !crc);
    out.extend_from_slice(&TRAILER_MAGIC);
    debug_assert_eq!(out.len() - start, TRAILER_BYTES);
}

/// Reads a trailer of a file of `file_len` bytes, and checks that its parts lie one behind the other.
pub fn read_trailer(bytes: &[u8], file_len: u64) -> Result<Trailer, DecodeError> {
    let what = "segment trailer";
    let body = Reader::new(bytes, what).take(TRAILER_BYTES)?;
    let mut r = Reader::new(body, what);
    let crc_at = TRAILER_BYTES - 16;
    let magic = &body[TRAILER_BYTES - 8..];
    if magic != TRAILER_MAGIC {
        return Err(DecodeError::new(
            what,
            TRAILER_BYTES - 8,
            format!("{TRAILER_MAGIC:02x?}"),
            format!("{magic:02x?}"),
        ));
    }
    check_crc(&body[..crc_at + 4], what)?;
    let t = Trailer {
        index_offset: r.u64()?,
        index_len: r.u64()?,
        footer_offset: r.u64()?,
        footer_len: r.u64()?,
        footer_raw: r.u64()?,
        footer_codec: {
            let n = r.u32()?;
            u8::try_from(n).ok().and_then(Codec::from_u8).ok_or_else(|| r.error("a codec", n))?
        },
        footer_crc: r.u32()?,
        data_root: r.hash()?,
        index_root: r.hash()?,
    };
    let reserved = r.u64()?;
    let crc = r.u32()?;
    let inverted = r.u32()?;
    if reserved != 0 || inverted != !crc {
        return Err(DecodeError::new(
            what,
            crc_at,
            "zeros, and a checksum and its inverse",
            format!("{reserved}, {crc:08x}, {inverted:08x}"),
        ));
    }
    let parts = t.index_offset.checked_add(t.index_len) == Some(t.footer_offset)
        && t.footer_offset.checked_add(t.footer_len).and_then(|n| n.checked_add(TRAILER_BYTES as u64))
            == Some(file_len)
        && t.index_offset >= SEGMENT_HEADER_BYTES as u64;
    if !parts || t.footer_raw > FOOTER_BYTES_MAX as u64 {
        return Err(DecodeError::new(
            what,
            0,
            format!("blocks, bundle and footer that fill {file_len} bytes"),
            format!("{t:?}"),
        ));
    }
    Ok(t)
}

/// Encodes a footer, compressed; gives the stored bytes, the codec and the raw length.
pub fn encode_footer(footer: &Footer) -> (Vec<u8>, Codec, usize) {
    let mut raw = Vec::new();
    put_varint(&mut raw, footer.blocks.len() as u64);
    for b in &footer.blocks {
        put_varint(&mut raw, b.offset);
        put_varint(&mut raw, b.len);
        put_varint(&mut raw, b.info.rows.into());
        put_zigzag(&mut raw, b.info.time.0.0);
        put_zigzag(&mut raw, b.info.time.1.0);
        put_varint(&mut raw, b.info.seq.0.0);
        put_varint(&mut raw, b.info.seq.1.0);
    }
    raw.push(u8::from(footer.overflow));
    put_varint(&mut raw, footer.fields.len() as u64);
    for (name, zone) in &footer.fields {
        put_bytes(&mut raw, name.as_bytes());
        put_zone(zone, &mut raw);
    }
    let mut stored = Vec::new();
    let codec = compress(&raw, LEVEL_FAST, &mut stored);
    (stored, codec, raw.len())
}

/// Reads a footer from its stored bytes, after checking them against the trailer.
pub fn read_footer(trailer: &Trailer, stored: &[u8]) -> Result<Footer, DecodeError> {
    let what = "segment footer";
    let crc = crc32fast::hash(stored);
    if crc != trailer.footer_crc {
        return Err(DecodeError::new(what, 0, format!("CRC-32 {:08x}", trailer.footer_crc), format!("{crc:08x}")));
    }
    let raw = decompress(stored, trailer.footer_codec, trailer.footer_raw as usize, what)?;
    let mut r = Reader::new(&raw, what);
    let mut footer = Footer::default();
    let mut next = SEGMENT_HEADER_BYTES as u64;
    for _ in 0..r.count(7)? {
        let (offset, len, rows) = (r.varint()?, r.varint()?, r.varint()?);
        let time = (Timestamp(r.zigzag()?), Timestamp(r.zigzag()?));
        let seq = (Seq(r.varint()?), Seq(r.varint()?));
        if offset != next || rows > BLOCK_ROWS_MAX as u64 || len > trailer.index_offset.saturating_sub(offset) {
            return Err(r.error(
                format!("a block at {next} that ends before {}", trailer.index_offset),
                format!("{offset}, {len} bytes, {rows} rows"),
            ));
        }
        next = offset + len;
        footer.blocks.push(FooterBlock { offset, len, info: BlockInfo { rows: rows as u32, time, seq } });
    }
    if next != trailer.index_offset {
        return Err(r.error(format!("blocks up to {}", trailer.index_offset), next));
    }
    footer.overflow = match r.u8()? {
        0 => false,
        1 => true,
        n => return Err(r.error("0 or 1", n)),
    };
    for _ in 0..r.count(6)? {
        footer.fields.push((r.text()?.into(), read_zone(&mut r)?));
    }
    r.end()?;
    Ok(footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_trailer_show_any_flipped_byte() {
        let header = SegmentHeader { tenant: TenantId::new("acme").unwrap(), id: SegmentId(7), created: Timestamp(-3) };
        let mut bytes = Vec::new();
        put_segment_header(&header, &mut bytes);
        assert_eq!((bytes.len(), read_segment_header(&bytes)), (SEGMENT_HEADER_BYTES, Ok(header)));
        for at in 0..bytes.len() {
            bytes[at] ^= 0x80;
            assert!(read_segment_header(&bytes).is_err(), "{at}");
            bytes[at] ^= 0x80;
        }
        let trailer = Trailer {
            index_offset: 300,
            index_len: 10,
            footer_offset: 310,
            footer_len: 5,
            footer_raw: 5,
            footer_codec: Codec::Raw,
            footer_crc: 1,
            data_root: [1; 32],
            index_root: [2; 32],
        };
        let mut bytes = Vec::new();
        put_trailer(&trailer, &mut bytes);
        let len = 315 + TRAILER_BYTES as u64;
        assert_eq!(read_trailer(&bytes, len), Ok(trailer));
        assert!(read_trailer(&bytes, len + 1).is_err());
        for at in 0..bytes.len() {
            bytes[at] ^= 0x80;
            assert!(read_trailer(&bytes, len).is_err(), "{at}");
            bytes[at] ^= 0x80;
        }
    }
}
