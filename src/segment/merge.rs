//! Several segments read as one stream of rows, in the order of a segment.

use super::{SegmentBlock, SegmentReader};
use crate::error::StorageError;
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::format::payload::{Payload, Reencoder};
use crate::format::rows::RowRef;
use crate::id::Seq;
use crate::record::{Block, Field, Labels};
use std::sync::Arc;

/// Rows for one block of a merged segment.
#[derive(Debug)]
pub struct MergedRows {
    /// The rows, in order.
    pub rows: Vec<RowRef>,
    /// The records that they refer to.
    pub batches: Vec<(Seq, Arc<Payload>)>,
}

/// Reads segments block by block, each at most once; memory is about one decoded block an input.
#[derive(Debug)]
pub struct Merger {
    inputs: Vec<Input>,
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
    /// Makes a block current, where one is left.
    fn refill(&mut self) -> Result<bool, StorageError> {
        while self.at >= self.seqs.len() {
            if self.next_block >= self.segment.blocks() {
                return Ok(false);
            }
            let block = SegmentBlock::open(&self.segment, self.next_block)?;
            self.next_block += 1;
            self.payload = Arc::new(block_payload(&block)?);
            self.seqs = block.seqs()?;
            self.at = 0;
        }
        Ok(true)
    }
}

impl Merger {
    /// Begins at the first block of each.
    pub fn new(segments: &[Arc<SegmentReader>]) -> Self {
        let empty = || Arc::new(Reencoder::default().finish());
        let inputs = segments
            .iter()
            .map(|s| Input { segment: s.clone(), next_block: 0, payload: empty(), seqs: Arc::default(), at: 0 })
            .collect();
        Merger { inputs }
    }

    /// The rows of the next block; `None` at the end.
    pub fn next_block(&mut self) -> Result<Option<MergedRows>, StorageError> {
        let mut out = MergedRows { rows: Vec::new(), batches: Vec::new() };
        // Which of `out.batches` an input's current block is.
        let mut numbers: Vec<Option<u32>> = vec![None; self.inputs.len()];
        let mut bytes = 0;
        loop {
            let mut least: Option<(usize, RowRef)> = None;
            for (i, input) in self.inputs.iter_mut().enumerate() {
                if input.at >= input.seqs.len() {
                    numbers[i] = None;
                    if !input.refill()? {
                        continue;
                    }
                }
                let record = &input.payload.records[input.at];
                let row =
                    RowRef { time: record.time, seq: Seq(input.seqs[input.at]), batch: 0, record: input.at as u32 };
                if least.is_none_or(|(_, l)| (row.time, row.seq) < (l.time, l.seq)) {
                    least = Some((i, row));
                }
            }
            let Some((i, mut row)) = least else { break };
            let input = &mut self.inputs[i];
            let start = input.payload.records[input.at].at as usize;
            let end = input.payload.records.get(input.at + 1).map_or(input.payload.bytes.len(), |r| r.at as usize);
            if out.rows.len() == BLOCK_ROWS_MAX || (!out.rows.is_empty() && bytes + end - start > BLOCK_BYTES_MAX) {
                break;
            }
            row.batch = *numbers[i].get_or_insert_with(|| {
                out.batches.push((Seq(0), input.payload.clone()));
                out.batches.len() as u32 - 1
            });
            bytes += end - start;
            input.at += 1;
            out.rows.push(row);
        }
        Ok((!out.rows.is_empty()).then_some(out))
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
