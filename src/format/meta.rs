//! What a manifest says of segments and leaves.

use super::bytes::{DecodeError, Reader, put_bytes, put_i64, put_u32, put_u64, put_varint};
use crate::id::{BadShortName, Class, Place, SegmentId, Seq, TenantId};
use crate::record::Timestamp;

/// What a manifest knows of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its number.
    pub id: SegmentId,
    /// Length of its file in bytes.
    pub bytes: u64,
    /// BLAKE3 root over header, blocks and footer.
    pub data_root: [u8; 32],
    /// BLAKE3 root over the index, wherever that is now; zero where there is none.
    pub index_root: [u8; 32],
    /// How many records.
    pub rows: u64,
    /// Earliest time of a record.
    pub min_time: Timestamp,
    /// Latest time of a record.
    pub max_time: Timestamp,
    /// Lowest Seq of a record.
    pub min_seq: Seq,
    /// Highest Seq of a record. Not every Seq between need be in this segment.
    pub max_seq: Seq,
    /// How many blocks.
    pub blocks: u32,
    /// When it was made, Unix nanoseconds.
    pub created_at_ns: i64,
    /// 0 as sealed, then one more than the highest level that was merged into it.
    pub level: u8,
    /// The retention class of its records.
    pub class: Class,
    /// Where its file is.
    pub place: Place,
}

/// A segment's new class and place. Its bytes stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Which segment.
    pub segment: SegmentId,
    /// The class of all of its records.
    pub class: Class,
    /// Where its file is from now on.
    pub place: Place,
}

/// Least length of an encoded [`SegmentMeta`] in bytes, which is also its length in version 1.
pub(super) const SEGMENT_META_BYTES: usize = 133;

/// Appends a segment as the present version has it: its length goes before it, so that later ones can say more.
pub(super) fn put_segment(out: &mut Vec<u8>, s: &SegmentMeta) {
    let mut body = Vec::with_capacity(SEGMENT_META_BYTES + 16);
    put_fixed(&mut body, s);
    put_bytes(&mut body, s.class.as_str().as_bytes());
    put_bytes(&mut body, s.place.as_str().as_bytes());
    put_bytes(out, &body);
}

fn put_fixed(out: &mut Vec<u8>, s: &SegmentMeta) {
    put_u64(out, s.id.0);
    put_u64(out, s.bytes);
    out.extend_from_slice(&s.data_root);
    out.extend_from_slice(&s.index_root);
    put_u64(out, s.rows);
    put_i64(out, s.min_time.0);
    put_i64(out, s.max_time.0);
    put_u64(out, s.min_seq.0);
    put_u64(out, s.max_seq.0);
    put_u32(out, s.blocks);
    put_i64(out, s.created_at_ns);
    out.push(s.level);
}

/// Reads a segment as a version of the manifest has it.
pub(super) fn decode_segment(r: &mut Reader<'_>, version: u16) -> Result<SegmentMeta, DecodeError> {
    if version == 1 {
        return decode_fixed(r);
    }
    let body = r.bytes()?;
    let base = (r.position() - body.len()) as u64;
    let mut r = Reader::new(body, "segment of a manifest");
    let segment = decode_fixed(&mut r).and_then(|mut segment| {
        // What a writer had nothing to say of is not there: each field that was added has a meaning when missing.
        if r.remaining() > 0 {
            segment.class = decode_class(&mut r)?;
        }
        if r.remaining() > 0 {
            segment.place = decode_place(&mut r)?;
        }
        r.end().map(|()| segment)
    });
    segment.map_err(|e| e.within(base))
}

fn decode_class(r: &mut Reader<'_>) -> Result<Class, DecodeError> {
    let at = r.clone();
    Class::new(r.text()?).map_err(|e: BadShortName| at.error("the name of a class", e.name))
}

fn decode_place(r: &mut Reader<'_>) -> Result<Place, DecodeError> {
    let at = r.clone();
    Place::new(r.text()?).map_err(|e: BadShortName| at.error("the name of a place", e.name))
}

/// Least length of an encoded [`Assignment`] in bytes.
pub(super) const ASSIGNMENT_BYTES: usize = 10;

pub(super) fn put_assignment(out: &mut Vec<u8>, a: &Assignment) {
    put_u64(out, a.segment.0);
    put_bytes(out, a.class.as_str().as_bytes());
    put_bytes(out, a.place.as_str().as_bytes());
}

pub(super) fn decode_assignment(r: &mut Reader<'_>) -> Result<Assignment, DecodeError> {
    Ok(Assignment { segment: SegmentId(r.u64()?), class: decode_class(r)?, place: decode_place(r)? })
}

fn decode_fixed(r: &mut Reader<'_>) -> Result<SegmentMeta, DecodeError> {
    let (id, bytes, data_root, index_root) = (SegmentId(r.u64()?), r.u64()?, r.hash()?, r.hash()?);
    let (rows, min_time, max_time) = (r.u64()?, Timestamp(r.i64()?), Timestamp(r.i64()?));
    let (min_seq, max_seq, blocks) = (Seq(r.u64()?), Seq(r.u64()?), r.u32()?);
    let (created_at_ns, level) = (r.i64()?, r.u8()?);
    Ok(SegmentMeta {
        id,
        bytes,
        data_root,
        index_root,
        rows,
        min_time,
        max_time,
        min_seq,
        max_seq,
        blocks,
        created_at_ns,
        level,
        class: Class::default(),
        place: Place::default(),
    })
}

pub(super) fn decode_tenant(r: &mut Reader<'_>) -> Result<TenantId, DecodeError> {
    let at = r.clone();
    let name = r.text()?;
    TenantId::new(name).map_err(|e| at.error("a tenant name", e.name))
}

pub(super) fn put_vec<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_varint(out, items.len() as u64);
    items.iter().for_each(|item| put(out, item));
}

/// A list whose items are of at least `min_bytes` each.
pub(super) fn decode_vec<T>(
    r: &mut Reader<'_>,
    min_bytes: usize,
    mut decode: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let n = r.count(min_bytes)?;
    let mut items = Vec::new();
    for _ in 0..n {
        items.push(decode(r)?);
    }
    Ok(items)
}
