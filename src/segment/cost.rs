//! What each column and each other part of a segment costs on disk, and how it is encoded.

use super::read::{SegmentBlock, SegmentReader};
use crate::error::StorageError;
use crate::format::block::{BLOCK_HEAD_BYTES, PresenceEncoding};
use crate::format::chunk::{Chunk, Page};
use crate::format::segment::{SEGMENT_HEADER_BYTES, TRAILER_BYTES};
use crate::format::template::FillChunk;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is counted together: a kind of part, the name of a column, an encoding.
type Key = (&'static str, Box<str>, &'static str);

/// What the parts of one kind, name and encoding cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartCost {
    /// `column`, `overflow`, `time`, `seq`, `stream`, `presence`, `header` (with the zone maps), `index` or `footer`; or
    /// `part`, of a column of templates, whose bytes are also among those of its `column`.
    pub kind: &'static str,
    /// The field's name, of a column.
    pub name: Box<str>,
    /// How it is encoded. Of parts: `templates`, `codes` (which template each value has), `reference` (to another
    /// column, which costs nothing here), or how the values in holes are encoded.
    pub encoding: &'static str,
    /// Chunks, or parts.
    pub chunks: u64,
    /// Values in them.
    pub values: u64,
    /// Bytes on disk, compressed.
    pub stored_bytes: u64,
    /// Bytes encoded, before compression.
    pub encoded_bytes: u64,
}

/// Sums over segments.
#[derive(Clone, Debug, Default)]
pub struct PartCosts(BTreeMap<Key, PartCost>);

/// Bytes of pages, stored and decoded.
fn bytes_of(pages: &[Page]) -> (u64, u64) {
    pages.iter().fold((0, 0), |sum, page| (sum.0 + u64::from(page.stored), sum.1 + u64::from(page.raw)))
}

impl PartCosts {
    fn add(&mut self, key: Key, values: u64, (stored_bytes, encoded_bytes): (u64, u64)) {
        let (kind, name, encoding) = key.clone();
        let cost = self.0.entry(key).or_insert(PartCost { kind, name, encoding, ..PartCost::default() });
        cost.chunks += 1;
        cost.values += values;
        cost.stored_bytes += stored_bytes;
        cost.encoded_bytes += encoded_bytes;
    }

    fn chunk(&mut self, kind: &'static str, name: &str, chunk: &Chunk) {
        self.add((kind, name.into(), chunk.encoding.name()), u64::from(chunk.rows), bytes_of(&chunk.pages()));
        let Some(template) = chunk.encoding.template() else { return };
        let page = &template.templates;
        self.add(("part", name.into(), "templates"), u64::from(page.rows), bytes_of(&[*page]));
        self.add(("part", name.into(), "codes"), u64::from(chunk.rows), bytes_of(&template.codes));
        for fill in &template.fills {
            match fill {
                FillChunk::Column(_) => self.add(("part", name.into(), "reference"), 0, (0, 0)),
                FillChunk::Values { count, encoding } => {
                    self.add(("part", name.into(), encoding.name()), u64::from(*count), bytes_of(&encoding.pages()));
                }
            }
        }
    }

    /// Adds a segment: reads the headers of its blocks, and no values.
    pub fn segment(&mut self, segment: &Arc<SegmentReader>) -> Result<(), StorageError> {
        for place in 0..segment.blocks() {
            let block = SegmentBlock::open(segment, place)?;
            let header = block.header();
            self.chunk("time", "", &header.times);
            self.chunk("seq", "", &header.seqs);
            self.chunk("stream", "", &header.streams);
            match &header.presence {
                PresenceEncoding::Shapes { ids, .. } => self.chunk("presence", "", ids),
                PresenceEncoding::Bitmaps(bitmaps) => bitmaps.iter().for_each(|b| self.chunk("presence", "", b)),
            }
            header.columns.iter().for_each(|column| self.chunk("column", &column.name, &column.chunk));
            if let Some(overflow) = &header.overflow {
                self.chunk("overflow", "", overflow);
            }
            let (stored, decoded) = block.header_bytes();
            self.add(("header", "".into(), ""), 0, (stored + BLOCK_HEAD_BYTES as u64, decoded));
        }
        let trailer = segment.trailer();
        self.add(("index", "".into(), ""), 0, (trailer.index_len, trailer.index_len));
        let ends = (SEGMENT_HEADER_BYTES + TRAILER_BYTES) as u64;
        self.add(("footer", "".into(), ""), 0, (trailer.footer_len + ends, trailer.footer_raw));
        Ok(())
    }

    /// The sums, the dearest first.
    pub fn finish(self) -> Vec<PartCost> {
        let mut costs: Vec<PartCost> = self.0.into_values().collect();
        costs.sort_by(|a, b| b.stored_bytes.cmp(&a.stored_bytes).then_with(|| a.name.cmp(&b.name)));
        costs
    }
}
