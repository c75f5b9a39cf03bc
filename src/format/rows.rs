//! The order of records in blocks, and where a block ends: the same for blocks in memory and in segments.

use super::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use super::payload::Payload;
use crate::id::Seq;
use crate::record::Timestamp;
use std::sync::Arc;

/// A record in one of several batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowRef {
    /// When it happened.
    pub time: Timestamp,
    /// Its sequence number.
    pub seq: Seq,
    /// Which batch.
    pub batch: u32,
    /// Which record of the batch.
    pub record: u32,
}

/// All records of batches, each with its first sequence number, in the order of a segment: by time, then number.
pub fn order_rows(batches: &[(Seq, Arc<Payload>)]) -> Vec<RowRef> {
    let mut rows = Vec::with_capacity(batches.iter().map(|(_, p)| p.records.len()).sum());
    for (batch, (first, payload)) in batches.iter().enumerate() {
        for (record, at) in payload.records.iter().enumerate() {
            rows.push(RowRef {
                time: at.time,
                seq: Seq(first.0 + record as u64),
                batch: batch as u32,
                record: record as u32,
            });
        }
    }
    // Arrival is nearly in order of time, which this sort is made for.
    rows.sort();
    rows
}

/// Where blocks end in ordered rows: at most [`BLOCK_ROWS_MAX`] rows or [`BLOCK_BYTES_MAX`] bytes each.
pub fn split_rows(rows: &[RowRef], batches: &[(Seq, Arc<Payload>)]) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut in_block, mut bytes) = (0, 0);
    for (i, row) in rows.iter().enumerate() {
        let size = record_bytes(&batches[row.batch as usize].1, row.record);
        if in_block == BLOCK_ROWS_MAX || (in_block > 0 && bytes + size > BLOCK_BYTES_MAX) {
            ends.push(i);
            (in_block, bytes) = (0, 0);
        }
        in_block += 1;
        bytes += size;
    }
    if !rows.is_empty() {
        ends.push(rows.len());
    }
    ends
}

fn record_bytes(payload: &Payload, record: u32) -> usize {
    let start = payload.records[record as usize].at as usize;
    let end = payload.records.get(record as usize + 1).map_or(payload.bytes.len(), |next| next.at as usize);
    end - start
}
