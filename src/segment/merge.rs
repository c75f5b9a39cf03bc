//! Several segments read as one stream of blocks, in the order of a segment.
//!
//! A block that is well filled and that no other input's rows come between is handed on as it is. The rows of others
//! are gathered into blocks that are as full as can be.

use super::{SegmentBlock, SegmentReader};
use crate::error::StorageError;
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::format::payload::{Payload, Reencoder};
use crate::format::rows::RowRef;
use crate::format::segment::FooterBlock;
use crate::id::Seq;
use crate::record::{Block, Field, Labels, Timestamp};
use std::sync::Arc;

/// How full blocks are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub rows_max: usize,
    pub bytes_max: usize,
    /// A block of at least so many rows is copied as it is where no other input's rows come between. Rows that were
    /// gathered make a block of their own before it where they are that many, or of half of `bytes_max`; fewer are
    /// put into two halves together with the rows of the block that would have been copied.
    pub copy_rows_min: usize,
    /// So is one of at least so many bytes: of wide records few fill a block.
    pub copy_bytes_min: u64,
}

/// Half of a block; texts shrink to about a sixteenth.
const FILL: Fill = Fill {
    rows_max: BLOCK_ROWS_MAX,
    bytes_max: BLOCK_BYTES_MAX,
    copy_rows_min: BLOCK_ROWS_MAX / 2,
    copy_bytes_min: BLOCK_BYTES_MAX as u64 / 32,
};

/// The next block of a merged segment.
#[derive(Debug)]
pub enum Merged {
    /// Made anew from these rows.
    Rows(MergedRows),
    /// A block of an input, as it is; see [`copy_block`](super::copy_block).
    Block(Arc<SegmentReader>, usize),
}

/// Rows for one block of a merged segment.
#[derive(Debug)]
pub struct MergedRows {
    /// The rows, in order.
    pub rows: Vec<RowRef>,
    /// The records that they refer to.
    pub batches: Vec<(Seq, Arc<Payload>)>,
}

/// Reads segments block by block, each at most once and not before its time comes; memory is one decoded block of each
/// of the inputs that overlap there.
#[derive(Debug)]
pub struct Merger {
    inputs: Vec<Input>,
    fill: Fill,
}

#[derive(Debug)]
struct Input {
    segment: Arc<SegmentReader>,
    next_block: usize,
    /// Of the block at hand: its records, and of each its time and number, from `at` on still to be taken.
    payload: Arc<Payload>,
    seqs: Arc<Vec<u64>>,
    at: usize,
}

impl Input {
    /// Is there a block at hand?
    fn is_open(&self) -> bool {
        self.at < self.seqs.len()
    }

    /// Time and number of the next row; where its block is not at hand, what no row of the block is below. `None` at
    /// the end.
    fn bound(&self) -> Option<(Timestamp, Seq)> {
        if let (Some(record), Some(seq)) = (self.payload.records.get(self.at), self.seqs.get(self.at)) {
            return Some((record.time, Seq(*seq)));
        }
        let next = self.segment.footer().blocks.get(self.next_block)?;
        Some((next.info.time.0, next.info.seq.0))
    }

    /// Decodes the next block.
    fn open(&mut self) -> Result<(), StorageError> {
        let block = SegmentBlock::open(&self.segment, self.next_block)?;
        self.next_block += 1;
        self.payload = Arc::new(block_payload(&block)?);
        self.seqs = block.seqs()?;
        self.at = 0;
        let (records, seqs) = (self.payload.records.len(), self.seqs.len());
        if records == seqs && records > 0 {
            return Ok(());
        }
        Err(block.damage("block", format!("rows, and as many numbers as rows: {records}"), seqs))
    }

    /// The next block where it is one that is worth copying.
    fn well_filled(&self, fill: &Fill) -> Option<FooterBlock> {
        let block = self.segment.footer().blocks.get(self.next_block)?;
        (block.info.rows as usize >= fill.copy_rows_min || block.len >= fill.copy_bytes_min).then_some(*block)
    }
}

impl Merger {
    /// Begins at the first block of each.
    pub fn new(segments: &[Arc<SegmentReader>]) -> Self {
        Self::with(segments, FILL)
    }

    pub(super) fn with(segments: &[Arc<SegmentReader>], fill: Fill) -> Self {
        let empty = || Arc::new(Reencoder::default().finish());
        let inputs = segments
            .iter()
            .map(|s| Input { segment: s.clone(), next_block: 0, payload: empty(), seqs: Arc::default(), at: 0 })
            .collect();
        Merger { inputs, fill }
    }

    /// The input whose next row comes first, or may.
    fn least(&self) -> Option<usize> {
        let bounds = self.inputs.iter().enumerate().filter_map(|(i, input)| Some((input.bound()?, input.is_open(), i)));
        // Of those that are equal, what only may come first is looked at before.
        bounds.min().map(|(.., i)| i)
    }

    /// Is no row of another input as early as the last one of this block?
    fn stands_alone(&self, input: usize, block: &FooterBlock) -> bool {
        let others = self.inputs.iter().enumerate().filter(|(i, _)| *i != input);
        others.filter_map(|(_, other)| other.bound()).all(|(time, _)| time > block.info.time.1)
    }

    /// The next block; `None` at the end.
    pub fn next_block(&mut self) -> Result<Option<Merged>, StorageError> {
        let mut out = MergedRows { rows: Vec::new(), batches: Vec::new() };
        // Which of `out.batches` an input's current block is.
        let mut numbers: Vec<Option<u32>> = vec![None; self.inputs.len()];
        let mut bytes = 0;
        let fill = self.fill;
        let mut rows_max = fill.rows_max;
        while let Some(i) = self.least() {
            if !self.inputs[i].is_open() {
                let alone = self.inputs[i].well_filled(&fill).filter(|block| self.stands_alone(i, block));
                if alone.is_some() && out.rows.is_empty() {
                    let input = &mut self.inputs[i];
                    input.next_block += 1;
                    return Ok(Some(Merged::Block(input.segment.clone(), input.next_block - 1)));
                }
                if alone.is_some() && (out.rows.len() >= fill.copy_rows_min || bytes >= fill.bytes_max / 2) {
                    break;
                }
                self.inputs[i].open()?;
                numbers[i] = None;
                let payload = &self.inputs[i].payload;
                let (rows, total) = (out.rows.len() + payload.records.len(), bytes + payload.bytes.len());
                if alone.is_some() && (rows > fill.rows_max || total > fill.bytes_max) {
                    rows_max = rows.div_ceil(2).min(fill.rows_max);
                }
                continue;
            }
            let input = &mut self.inputs[i];
            let record = &input.payload.records[input.at];
            let start = record.at as usize;
            let end = input.payload.records.get(input.at + 1).map_or(input.payload.bytes.len(), |r| r.at as usize);
            if out.rows.len() >= rows_max || (!out.rows.is_empty() && bytes + end - start > fill.bytes_max) {
                break;
            }
            let batch = *numbers[i].get_or_insert_with(|| {
                out.batches.push((Seq(0), input.payload.clone()));
                out.batches.len() as u32 - 1
            });
            out.rows.push(RowRef { time: record.time, seq: Seq(input.seqs[input.at]), batch, record: input.at as u32 });
            bytes += end - start;
            input.at += 1;
        }
        Ok((!out.rows.is_empty()).then_some(Merged::Rows(out)))
    }
}

/// The records of a block, in its order, encoded again.
pub fn block_payload(block: &dyn Block) -> Result<Payload, StorageError> {
    let times = block.times()?;
    let streams = block.streams()?;
    let names = block.names()?;
    let mut columns: Vec<(&str, Field)> = Vec::with_capacity(names.len());
    for name in &names {
        if let Some(field) = block.field(name)? {
            columns.push((name, field));
        }
    }
    // Rows come in order, so that each column is read from front to back.
    let mut next = vec![0usize; columns.len()];
    let mut buffers = vec![Vec::new(); columns.len()];
    let mut labels: rustc_hash::FxHashMap<Vec<u8>, Labels> = rustc_hash::FxHashMap::default();
    let mut out = Reencoder::default();
    let mut stream_buffer = Vec::new();
    for row in 0..block.rows() {
        let text = streams.text(row as usize, &mut stream_buffer);
        if !labels.contains_key(text) {
            let parsed = std::str::from_utf8(text).ok().and_then(Labels::parse).unwrap_or_default();
            labels.insert(text.to_vec(), parsed);
        }
        let fields = columns.iter().zip(&mut next).zip(&mut buffers).filter_map(|(((name, field), next), buffer)| {
            if *next >= field.column.len() || field.presence.row(*next) != row {
                return None;
            }
            let place = *next;
            *next += 1;
            let text = field.column.text(place, buffer);
            Some((*name, field.column.tag(place), std::str::from_utf8(text).unwrap_or_default()))
        });
        out.push(crate::record::Timestamp(times[row as usize]), &labels[text], fields);
    }
    Ok(out.finish())
}
