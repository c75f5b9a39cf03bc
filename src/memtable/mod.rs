//! Committed batches that are not yet in a segment, searchable at once.
//!
//! Promises: a snapshot sees whole batches, each once, in the order of commits; it costs no copy of records.
//! Batches stay in their canonical bytes; columns are made for the queries that ask for them.
//! May not know: disk.

mod block;

pub use block::MemoryBlock;

use crate::error::StorageError;
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::format::payload::Payload;
use crate::id::Seq;
use crate::record::{Block, BlockInfo, Source, TermIndex};
use std::sync::Arc;

/// A committed batch.
#[derive(Clone, Debug)]
pub struct CommittedBatch {
    /// Number of its first record.
    pub first: Seq,
    /// Its records.
    pub payload: Arc<Payload>,
    /// BLAKE3 of its canonical bytes.
    pub leaf: [u8; 32],
}

impl CommittedBatch {
    /// Number of its last record.
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + (self.payload.records.len() as u64).saturating_sub(1))
    }
}

/// Batches in the order of commits.
#[derive(Debug, Default)]
pub struct Memtable {
    batches: Vec<CommittedBatch>,
    /// Groups of batches that fill a block, made once; the batches behind the last one are grouped by each snapshot.
    blocks: Vec<Arc<MemoryBlock>>,
    grouped: usize,
    open_rows: usize,
    open_bytes: usize,
    rows: u64,
    bytes: usize,
}

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch, which follows the last one in number.
    pub fn push(&mut self, batch: CommittedBatch) {
        debug_assert!(self.batches.last().is_none_or(|b| b.last().0 + 1 == batch.first.0), "batches follow each other");
        self.rows += batch.payload.records.len() as u64;
        self.bytes += batch.payload.memory();
        let (rows, bytes) = (batch.payload.records.len(), batch.payload.bytes.len());
        // A group is closed by the batch that would take it over a block's limits.
        let over = self.open_rows + rows > BLOCK_ROWS_MAX || self.open_bytes + bytes > BLOCK_BYTES_MAX;
        if over && self.grouped < self.batches.len() {
            self.blocks.push(Arc::new(MemoryBlock::new(&self.batches[self.grouped..])));
            self.grouped = self.batches.len();
            (self.open_rows, self.open_bytes) = (0, 0);
        }
        self.open_rows += rows;
        self.open_bytes += bytes;
        self.batches.push(batch);
    }

    /// Number of records.
    pub fn rows(&self) -> u64 {
        self.rows
    }
    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// No records?
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
    /// The batches.
    pub fn batches(&self) -> &[CommittedBatch] {
        &self.batches
    }
    /// Number of the last record.
    pub fn last(&self) -> Option<Seq> {
        self.batches.last().map(CommittedBatch::last)
    }

    /// What is here now, for queries.
    pub fn snapshot(&self) -> MemorySource {
        let mut blocks = self.blocks.clone();
        if self.grouped < self.batches.len() {
            blocks.push(Arc::new(MemoryBlock::new(&self.batches[self.grouped..])));
        }
        MemorySource { blocks }
    }
}

/// The blocks of a memtable at one moment.
#[derive(Debug, Clone)]
pub struct MemorySource {
    blocks: Vec<Arc<MemoryBlock>>,
}

impl MemorySource {
    /// A source of batches that are in no memtable.
    pub fn of(batches: &[CommittedBatch]) -> Self {
        let mut memtable = Memtable::new();
        batches.iter().for_each(|b| memtable.push(b.clone()));
        memtable.snapshot()
    }
}

impl Source for MemorySource {
    fn label(&self) -> String {
        "memtable".into()
    }
    fn len(&self) -> usize {
        self.blocks.len()
    }
    fn info(&self, block: usize) -> BlockInfo {
        let b = &self.blocks[block];
        BlockInfo { rows: b.rows(), time: b.time_range(), seq: b.seq_range() }
    }
    fn block(&self, block: usize) -> Result<Arc<dyn Block>, StorageError> {
        Ok(self.blocks[block].clone())
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        None
    }
}
