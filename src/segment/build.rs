//! From committed batches to the bytes of a block.

use super::column::ColumnBuilder;
use super::templates::{Learned, RowTexts};
use crate::format::block::{
    BLOCK_COLUMNS_MAX, BLOCK_ROWS_MAX, BLOCK_SHAPES_MAX, BlockHead, BlockHeader, ColumnEntry, PresenceEncoding,
    encode_block as put_block, put_overflow,
};
use crate::format::chunk::PageWriter;
use crate::format::compress::Codec;
use crate::format::payload::Payload;
use crate::format::rows::RowRef;
use crate::id::Seq;
use crate::record::{BlockInfo, Column, Data, FixedForm, Tag, Tags, Texts, ZoneMap};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Sees the values of a block while it is built, for an index over them.
pub trait BlockSink {
    /// A block begins.
    fn begin(&mut self);
    /// All values of a field.
    fn column(&mut self, column: &Column);
    /// The same of a field whose texts were taken apart: each word of theirs is in a piece, or in another column of the
    /// block.
    fn pieces(&mut self, column: &Column, pieces: &Pieces<'_>) {
        let _ = pieces;
        self.column(column);
    }
    /// A value of a rarer field.
    fn value(&mut self, tag: Tag, text: &str);
    /// The block ends.
    fn end(&mut self);
}

/// The texts of a column in pieces, none of which cuts a word or an address.
#[derive(Debug)]
pub struct Pieces<'a> {
    /// Values that stood in texts.
    pub values: Vec<&'a Data>,
    /// Other parts of texts.
    pub texts: [&'a Texts; 2],
}

/// A block, ready to be written.
#[derive(Debug)]
pub struct EncodedBlock {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is known of it.
    pub info: BlockInfo,
    /// Its fields by name, with zone maps.
    pub zones: Vec<(Box<str>, ZoneMap)>,
    /// Are there fields in the overflow column, which are not in `zones`?
    pub overflow: bool,
}

/// Which of a block's columns a batch's shape has, once per batch and shape.
struct ShapeMap {
    /// For each value of the shape its column, or `OVERFLOW`.
    columns: Vec<u32>,
    /// The shape's number in the block.
    id: u32,
}
const OVERFLOW: u32 = u32::MAX;

/// Builds the blocks of a segment, and remembers what it learnt of texts from one to the next.
#[derive(Default)]
pub struct BlockEncoder {
    learned: Learned,
}

/// Builds a block alone. See [`BlockEncoder::encode`].
pub fn encode_block(
    rows: &[RowRef],
    batches: &[(Seq, Arc<Payload>)],
    level: i32,
    sink: &mut dyn BlockSink,
) -> EncodedBlock {
    BlockEncoder::default().encode(rows, batches, level, sink)
}

impl BlockEncoder {
    /// Builds a block from rows in order. The same blocks in the same order come to the same bytes.
    ///
    /// # Panics
    /// If `rows` is empty, or a row names a batch or record that is not there.
    pub fn encode(
        &mut self,
        rows: &[RowRef],
        batches: &[(Seq, Arc<Payload>)],
        level: i32,
        sink: &mut dyn BlockSink,
    ) -> EncodedBlock {
        encode(&mut self.learned, rows, batches, level, sink)
    }
}

fn encode(
    learned: &mut Learned,
    rows: &[RowRef],
    batches: &[(Seq, Arc<Payload>)],
    level: i32,
    sink: &mut dyn BlockSink,
) -> EncodedBlock {
    assert!(!rows.is_empty() && rows.len() <= BLOCK_ROWS_MAX, "a block has 1 to {BLOCK_ROWS_MAX} rows");
    let names = choose_columns(rows, batches);
    let number: FxHashMap<&str, u32> = names.iter().enumerate().map(|(i, n)| (*n, i as u32)).collect();
    let mut columns: Vec<ColumnBuilder> = (0..names.len()).map(|_| ColumnBuilder::default()).collect();
    let mut streams = ColumnBuilder::default();
    let mut stream_texts: FxHashMap<(u32, u32), String> = FxHashMap::default();
    let mut shapes: Vec<Box<[u32]>> = Vec::new();
    let mut shape_ids: FxHashMap<Box<[u32]>, u32> = FxHashMap::default();
    let mut shape_maps: FxHashMap<(u32, u32), ShapeMap> = FxHashMap::default();
    let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
    let mut overflow = ColumnBuilder::default();
    let mut overflow_text = String::new();
    let mut overflow_names: Vec<Box<str>> = Vec::new();

    let mut templates = learned.begin(&names, rows, batches);
    let mut texts = RowTexts::new(names.len());
    sink.begin();
    for (place, row) in (0..).zip(rows) {
        texts.begin(place);
        let payload = &*batches[row.batch as usize].1;
        let record = &payload.records[row.record as usize];
        let map = shape_maps.entry((row.batch, record.shape)).or_insert_with(|| {
            let shape = &payload.shapes[record.shape as usize];
            let columns: Vec<u32> =
                shape.iter().map(|&n| number.get(&*payload.names[n as usize]).copied().unwrap_or(OVERFLOW)).collect();
            let mut set: Vec<u32> = columns.iter().copied().filter(|&c| c != OVERFLOW).collect();
            set.sort_unstable();
            if set.len() < columns.len() {
                set.push(names.len() as u32);
            }
            let set: Box<[u32]> = set.into();
            let id = *shape_ids.entry(set).or_insert_with_key(|set| {
                shapes.push(set.clone());
                shapes.len() as u32 - 1
            });
            ShapeMap { columns, id }
        });
        ids.push(map.id.into());
        overflow_text.clear();
        for (place, (&column, (tag, text))) in map.columns.iter().zip(payload.raw_values(record)).enumerate() {
            if column == OVERFLOW {
                let name = &payload.names[payload.shapes[record.shape as usize][place] as usize];
                let text = std::str::from_utf8(text).unwrap_or_default();
                put_overflow(name, tag, text, &mut overflow_text);
                sink.value(tag, text);
                overflow_names.push(name.clone());
            } else {
                columns[column as usize].push_bytes(tag, text);
                texts.put(column, text);
            }
        }
        templates.row(learned, &texts, place);
        if !overflow_text.is_empty() {
            overflow.push(Tag::String, &overflow_text);
        }
        let stream = stream_texts
            .entry((row.batch, record.stream))
            .or_insert_with(|| payload.streams[record.stream as usize].to_string());
        streams.push(Tag::String, stream);
    }
    overflow_names.sort();
    overflow_names.dedup();

    let mut pages = PageWriter::new(level);
    let integers = |pages: &mut PageWriter, values: Vec<i64>| {
        pages.column(&Column { tags: Tags::One(Tag::Number), data: Data::Integer(values) })
    };
    let times = integers(&mut pages, rows.iter().map(|r| r.time.0).collect());
    let seqs = integers(&mut pages, rows.iter().map(|r| r.seq.0 as i64).collect());
    let streams = pages.column(&streams.finish());
    let mut zones = Vec::with_capacity(names.len());
    let mut entries = Vec::with_capacity(names.len());
    let columns: Vec<Column> = columns.into_iter().map(ColumnBuilder::finish).collect();
    let parts = templates.finish(learned, &columns, rows, batches);
    for ((name, column), parts) in names.iter().zip(columns).zip(parts) {
        match &parts {
            // Elements of arrays are texts of their own.
            Some(parts) if column.tags == Tags::One(Tag::String) => sink.pieces(&column, &parts.pieces()),
            _ => sink.column(&column),
        }
        let zone = ZoneMap::of(&column);
        let chunk = match &parts {
            Some(parts) => pages.templated(&column, &parts.templated),
            None => pages.column(&column),
        };
        entries.push(ColumnEntry { name: (*name).into(), chunk, zone: zone.clone() });
        zones.push((Box::from(*name), zone));
    }
    sink.end();
    let has_overflow = !overflow.is_empty();
    let overflow = has_overflow.then(|| pages.column(&overflow.finish()));
    let presence = if shapes.len() <= BLOCK_SHAPES_MAX {
        PresenceEncoding::Shapes { ids: integers(&mut pages, ids), shapes }
    } else {
        PresenceEncoding::Bitmaps(
            bitmaps(&ids, &shapes, names.len() + 1).into_iter().map(|b| pages.column(&b)).collect(),
        )
    };
    let header = BlockHeader { times, seqs, streams, presence, columns: entries, overflow, overflow_names };
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    let (mut low, mut high) = (first.seq, first.seq);
    for row in rows {
        low = low.min(row.seq);
        high = high.max(row.seq);
    }
    let head = BlockHead {
        version: 0,
        len: 0,
        rows: rows.len() as u32,
        time: (first.time, last.time),
        seq: (low, high),
        header_stored: 0,
        header_raw: 0,
        header_codec: Codec::Raw,
        header_crc: 0,
    };
    let mut bytes = Vec::with_capacity(pages.out.len() + 16_384);
    let head = put_block(head, &header, &pages.out, &mut bytes);
    let info = BlockInfo { rows: head.rows, time: head.time, seq: head.seq };
    EncodedBlock { bytes, info, zones, overflow: has_overflow }
}

/// The names that get a column, sorted: all, or the most frequent ones.
fn choose_columns<'a>(rows: &[RowRef], batches: &'a [(Seq, Arc<Payload>)]) -> Vec<&'a str> {
    let mut per_shape: FxHashMap<(u32, u32), u32> = FxHashMap::default();
    for row in rows {
        let shape = batches[row.batch as usize].1.records[row.record as usize].shape;
        *per_shape.entry((row.batch, shape)).or_default() += 1;
    }
    let mut per_name: FxHashMap<&str, u32> = FxHashMap::default();
    for ((batch, shape), count) in per_shape {
        let payload = &batches[batch as usize].1;
        for &name in &*payload.shapes[shape as usize] {
            *per_name.entry(&payload.names[name as usize]).or_default() += count;
        }
    }
    let mut names: Vec<(&str, u32)> = per_name.into_iter().collect();
    if names.len() > BLOCK_COLUMNS_MAX {
        names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        names.truncate(BLOCK_COLUMNS_MAX);
    }
    let mut names: Vec<&str> = names.into_iter().map(|(n, _)| n).collect();
    names.sort_unstable();
    names
}

/// A bitmap a column, of the rows whose shape has it.
fn bitmaps(ids: &[i64], shapes: &[Box<[u32]>], columns: usize) -> Vec<Column> {
    let mut all = vec![vec![0u8; ids.len().div_ceil(8)]; columns];
    for (row, &id) in ids.iter().enumerate() {
        for &column in &*shapes[id as usize] {
            all[column as usize][row / 8] |= 1 << (row % 8);
        }
    }
    let form = FixedForm::Hex { prefix: Box::default(), width: 1 };
    all.into_iter()
        .map(|bytes| Column { tags: Tags::One(Tag::String), data: Data::Fixed { form: form.clone(), bytes } })
        .collect()
}
