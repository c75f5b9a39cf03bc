//! The canonical encoding of a batch of records: what the append log carries, and what leaves are hashes of.
//!
//! The same records in the same order give the same bytes, wherever they come from: names and shapes are sorted or
//! numbered by first appearance, and nothing else is left to choice. So `verify --deep` can encode the records of a
//! segment again and must come to the leaf that was acknowledged.
//!
//! Layout: names (sorted by bytes, only those used), streams (label sets by first appearance), shapes (sets of name
//! numbers by first appearance), records. A record is its shape, its stream, its time as a difference to the record
//! before (zig-zag; the first one to 0), and its values in the order of the shape: a varint of
//! `length << 3 | type`, then the text.

use super::frame::{Codec, compress, unpack};
use super::{DecodeError, Reader, put_bytes, put_varint, put_zigzag};
use crate::error::StorageError;
use crate::record::{Batch, Labels, Tag, Timestamp};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A decoded batch: the tables, and where each record's values are.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The canonical bytes.
    pub bytes: Vec<u8>,
    /// Field names, sorted.
    pub names: Vec<Box<str>>,
    /// Label sets.
    pub streams: Vec<Labels>,
    /// Sets of indexes into `names`, ascending.
    pub shapes: Vec<Box<[u32]>>,
    /// The records.
    pub records: Vec<RecordAt>,
}

/// A record of a [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordAt {
    /// When it happened.
    pub time: Timestamp,
    /// Index into [`Payload::shapes`].
    pub shape: u32,
    /// Index into [`Payload::streams`].
    pub stream: u32,
    /// Where its values begin in [`Payload::bytes`].
    pub at: u32,
}

/// Encodes a batch. The result is decoded already, so that nobody need read it again.
pub fn encode(batch: &Batch) -> Payload {
    // Only names that a record has.
    let mut used_shapes = vec![u32::MAX; batch.shapes.len()];
    let mut shape_order: Vec<u32> = Vec::new();
    let mut used_streams = vec![u32::MAX; batch.streams.len()];
    let mut stream_order: Vec<u32> = Vec::new();
    for head in &batch.heads {
        let number = |used: &mut Vec<u32>, order: &mut Vec<u32>, id: u32| {
            if used[id as usize] == u32::MAX {
                used[id as usize] = order.len() as u32;
                order.push(id);
            }
        };
        number(&mut used_shapes, &mut shape_order, head.shape);
        number(&mut used_streams, &mut stream_order, head.stream);
    }
    let mut name_numbers = vec![u32::MAX; batch.names.len()];
    let mut name_order: Vec<u32> = Vec::new();
    for &shape in &shape_order {
        for &name in &*batch.shapes[shape as usize] {
            if name_numbers[name as usize] == u32::MAX {
                name_numbers[name as usize] = 0;
                name_order.push(name);
            }
        }
    }
    name_order.sort_by(|&a, &b| batch.names[a as usize].cmp(&batch.names[b as usize]));
    for (number, &name) in name_order.iter().enumerate() {
        name_numbers[name as usize] = number as u32;
    }

    let names: Vec<Box<str>> = name_order.iter().map(|&n| batch.names[n as usize].clone()).collect();
    let streams: Vec<Labels> = stream_order.iter().map(|&s| batch.streams[s as usize].clone()).collect();
    // A batch's shapes are sorted by name, so their numbers ascend.
    let shapes: Vec<Box<[u32]>> = shape_order
        .iter()
        .map(|&s| batch.shapes[s as usize].iter().map(|&n| name_numbers[n as usize]).collect())
        .collect();

    let mut out = Vec::with_capacity(batch.bytes.len() + batch.spans.len() * 2 + batch.heads.len() * 6 + 1024);
    put_tables(&names, &streams, &shapes, batch.heads.len(), &mut out);
    let mut records = Vec::with_capacity(batch.heads.len());
    let mut before = 0i64;
    for head in &batch.heads {
        let (shape, stream) = (used_shapes[head.shape as usize], used_streams[head.stream as usize]);
        put_varint(&mut out, shape.into());
        put_varint(&mut out, stream.into());
        put_zigzag(&mut out, head.time.0.wrapping_sub(before));
        before = head.time.0;
        records.push(RecordAt { time: head.time, shape, stream, at: out.len() as u32 });
        let first = head.first as usize;
        let count = shapes[shape as usize].len();
        for span in &batch.spans[first..first + count] {
            put_varint(&mut out, u64::from(span.len) << 3 | span.tag as u64);
            out.extend_from_slice(&batch.bytes[span.start as usize..(span.start + span.len) as usize]);
        }
    }
    Payload { bytes: out, names, streams, shapes, records }
}

fn put_tables(names: &[Box<str>], streams: &[Labels], shapes: &[Box<[u32]>], records: usize, out: &mut Vec<u8>) {
    put_varint(out, names.len() as u64);
    names.iter().for_each(|n| put_bytes(out, n.as_bytes()));
    put_varint(out, streams.len() as u64);
    for labels in streams {
        put_varint(out, labels.iter().len() as u64);
        for (name, value) in labels.iter() {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    put_varint(out, shapes.len() as u64);
    for shape in shapes {
        put_varint(out, shape.len() as u64);
        shape.iter().for_each(|&n| put_varint(out, n.into()));
    }
    put_varint(out, records as u64);
}

impl Payload {
    /// Reads and checks all of it: numbers within their tables, texts UTF-8, nothing left over.
    pub fn decode(bytes: Vec<u8>) -> Result<Payload, DecodeError> {
        Self::decode_with(bytes, &|text| std::str::from_utf8(text).is_ok())
    }

    /// The same with a look of the caller's at each text of a record.
    fn decode_with(bytes: Vec<u8>, is_text: &impl Fn(&[u8]) -> bool) -> Result<Payload, DecodeError> {
        let mut r = Reader::new(&bytes, "records");
        let mut names: Vec<Box<str>> = Vec::new();
        for _ in 0..r.count(1)? {
            let name = r.text()?;
            // Readers take a record's fields as sorted, and each once.
            if names.last().is_some_and(|before| **before >= *name) {
                return Err(r.error("names in order", format!("{name:?}")));
            }
            names.push(name.into());
        }
        let mut streams = Vec::new();
        for _ in 0..r.count(1)? {
            let mut pairs = Vec::new();
            for _ in 0..r.count(2)? {
                pairs.push((r.text()?, r.text()?));
            }
            streams.push(Labels::new(pairs));
        }
        let mut shapes: Vec<Box<[u32]>> = Vec::new();
        for _ in 0..r.count(1)? {
            let mut shape = Vec::new();
            for _ in 0..r.count(1)? {
                let n = r.varint()?;
                if n >= names.len() as u64 || shape.last().is_some_and(|&last| u64::from(last) >= n) {
                    return Err(r.error(format!("ascending numbers below {}", names.len()), n));
                }
                shape.push(n as u32);
            }
            shapes.push(shape.into());
        }
        let count = r.count(3)?;
        let mut records = Vec::with_capacity(count);
        let mut time = 0i64;
        for _ in 0..count {
            let (shape, stream) = (r.varint()?, r.varint()?);
            let (Some(fields), true) = (shapes.get(shape as usize), stream < streams.len() as u64) else {
                return Err(r.error("a known shape and stream", format!("{shape}, {stream}")));
            };
            time = time.wrapping_add(r.zigzag()?);
            records.push(RecordAt {
                time: Timestamp(time),
                shape: shape as u32,
                stream: stream as u32,
                at: r.position() as u32,
            });
            for _ in 0..fields.len() {
                let head = r.varint()?;
                let len = head >> 3;
                let known = Tag::from_u8((head & 7) as u8).is_some();
                if !known || len > r.remaining() as u64 {
                    return Err(r.error("a value", format!("type {}, {len} bytes", head & 7)));
                }
                if !is_text(r.take(len as usize)?) {
                    return Err(r.error("UTF-8", "other bytes"));
                }
            }
        }
        r.end()?;
        Ok(Payload { names, streams, shapes, records, bytes })
    }

    /// The values of a record, in the order of its shape, as type and text.
    #[inline]
    pub fn values(&self, record: &RecordAt) -> Values<'_> {
        Values(self.raw_values(record))
    }

    /// The same as bytes, which are UTF-8.
    #[inline]
    pub fn raw_values(&self, record: &RecordAt) -> RawValues<'_> {
        RawValues {
            bytes: self.bytes.get(record.at as usize..).unwrap_or_default(),
            left: self.shapes[record.shape as usize].len(),
        }
    }

    /// Names, types and texts of a record, by name.
    pub fn fields(&self, record: &RecordAt) -> impl Iterator<Item = (&str, Tag, &str)> {
        let shape = &self.shapes[record.shape as usize];
        shape.iter().zip(self.values(record)).map(|(&n, (tag, text))| (&*self.names[n as usize], tag, text))
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.bytes.len()
            + self.records.len() * size_of::<RecordAt>()
            + self.names.iter().map(|n| n.len() + 16).sum::<usize>()
            + self.shapes.iter().map(|s| s.len() * 4 + 16).sum::<usize>()
    }
}

/// The canonical bytes of a batch as the log stores them: compressed where that makes them smaller.
#[derive(Clone, Debug)]
pub struct Packed {
    /// How they are compressed.
    pub codec: Codec,
    /// The bytes, which others may have as well.
    pub stored: Arc<Vec<u8>>,
    /// Length when they are not compressed, at most [`super::frame::PAYLOAD_BYTES_MAX`].
    pub raw_bytes: u32,
}

impl Packed {
    /// Packs canonical bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let (codec, stored) = compress(bytes);
        Packed { codec, stored: Arc::new(stored), raw_bytes: bytes.len() as u32 }
    }

    /// The records. Memory is trusted, and texts are not looked at again: an error is a bug, or memory that failed.
    pub fn unpack(&self) -> Result<Payload, StorageError> {
        let raw = unpack(self.codec, &self.stored, self.raw_bytes as usize);
        let raw = raw.map_err(|found| DecodeError::new("packed batch", 0, format!("{} bytes", self.raw_bytes), found));
        raw.and_then(|raw| Payload::decode_with(raw, &|_| true)).map_err(|e| e.in_memory().into())
    }
}

/// Iterates over the values of a record.
#[derive(Clone, Debug)]
pub struct Values<'a>(RawValues<'a>);

impl<'a> Iterator for Values<'a> {
    type Item = (Tag, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (tag, text) = self.0.next()?;
        // Checked when the payload was decoded, or text from the beginning when it was encoded here.
        Some((tag, std::str::from_utf8(text).unwrap_or_default()))
    }
}

/// Iterates over the values of a record, as bytes.
#[derive(Clone, Debug)]
pub struct RawValues<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for RawValues<'a> {
    type Item = (Tag, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (mut head, mut used, mut shift) = (0u64, 0, 0);
        loop {
            let b = *self.bytes.get(used)?;
            used += 1;
            head |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                break;
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
        let end = used.checked_add((head >> 3) as usize)?;
        let text = self.bytes.get(used..end)?;
        self.bytes = &self.bytes[end..];
        Some((Tag::from_u8((head & 7) as u8)?, text))
    }
}

/// Encodes records that come one by one, each as time, labels and named values: how a verifier makes a leaf again.
#[derive(Debug, Default)]
pub struct Reencoder {
    batch: Batch,
    names: FxHashMap<Box<str>, u32>,
    shapes: FxHashMap<Box<[u32]>, u32>,
    streams: FxHashMap<Labels, u32>,
}

impl Reencoder {
    /// Adds a record; fields come sorted by name, each once.
    pub fn push<'a>(
        &mut self,
        time: Timestamp,
        labels: &Labels,
        fields: impl Iterator<Item = (&'a str, Tag, &'a str)>,
    ) {
        let first = self.batch.spans.len() as u32;
        let mut shape = Vec::new();
        for (name, tag, text) in fields {
            let id = match self.names.get(name) {
                Some(&id) => id,
                None => {
                    let id = self.batch.names.len() as u32;
                    self.batch.names.push(name.into());
                    self.names.insert(name.into(), id);
                    id
                }
            };
            shape.push(id);
            let start = self.batch.bytes.len() as u32;
            self.batch.bytes.extend_from_slice(text.as_bytes());
            self.batch.spans.push(crate::record::Span { tag, start, len: text.len() as u32 });
        }
        let shape: Box<[u32]> = shape.into();
        let shapes = &mut self.batch.shapes;
        let shape = *self.shapes.entry(shape).or_insert_with_key(|s| {
            shapes.push(s.clone());
            shapes.len() as u32 - 1
        });
        let streams = &mut self.batch.streams;
        let stream = *self.streams.entry(labels.clone()).or_insert_with_key(|s| {
            streams.push(s.clone());
            streams.len() as u32 - 1
        });
        self.batch.heads.push(crate::record::Head { time, shape, stream, first });
    }

    /// Records added.
    pub fn len(&self) -> usize {
        self.batch.len()
    }
    /// None added?
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The canonical bytes of what was added.
    pub fn finish(self) -> Payload {
        encode(&self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn sample() -> Batch {
        let mut b = BatchBuilder::new();
        let labels = Labels::new([("app", "x")]);
        for i in 0..50i64 {
            b.begin();
            b.field("z", Tag::Number, &i.to_string());
            if i % 3 == 0 {
                b.field("a", Tag::String, "Ψ\0");
            }
            b.field("m", Tag::Null, "");
            let none = Labels::default();
            b.finish(Timestamp(i * 1000 - 7), if i % 2 == 0 { &labels } else { &none }).unwrap();
        }
        b.begin();
        b.field("dropped", Tag::String, "name must not stay");
        b.abandon();
        b.take()
    }

    #[test]
    fn round_trip_and_again_from_records() {
        let payload = encode(&sample());
        let again = Payload::decode(payload.bytes.clone()).unwrap();
        assert_eq!(
            (&again.names, &again.shapes, &again.streams, &again.records),
            (&payload.names, &payload.shapes, &payload.streams, &payload.records)
        );
        assert!(!payload.names.iter().any(|n| &**n == "dropped"));
        let mut re = Reencoder::default();
        for record in &again.records {
            re.push(record.time, &again.streams[record.stream as usize], again.fields(record));
        }
        assert_eq!(re.finish().bytes, payload.bytes);
    }

    #[test]
    fn cut_or_flipped_bytes_do_not_panic() {
        let bytes = encode(&sample()).bytes;
        for cut in 0..bytes.len() {
            assert!(Payload::decode(bytes[..cut].to_vec()).is_err());
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x41;
            if let Ok(p) = Payload::decode(flipped) {
                assert_eq!(p.records.iter().filter(|r| p.fields(r).count() > 100).count(), 0);
            }
        }
    }

    #[test]
    fn arrival_order_of_fields_does_not_matter() {
        let bytes = |names: [&str; 3]| {
            let mut b = BatchBuilder::new();
            b.begin();
            names.iter().for_each(|n| b.field(n, Tag::String, n));
            b.finish(Timestamp(1), &Labels::default()).unwrap();
            encode(&b.take()).bytes
        };
        assert_eq!(bytes(["a", "b", "c"]), bytes(["c", "a", "b"]));
    }
}
