//! Committed batches that are not yet in a segment, searchable at once.
//!
//! Promises: a snapshot sees whole batches, each once, in the order of commits; it costs no copy of records.
//! Batches stay in their canonical bytes, those of stores with many tenants compressed; columns are made for the queries
//! that ask for them.
//! May not know: disk.

mod batch;
mod block;

pub use batch::{CommittedBatch, Kept};
pub use block::MemoryBlock;

use crate::error::StorageError;
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::id::Seq;
use crate::record::{Block, BlockInfo, Source, TermIndex};
use std::sync::{Arc, OnceLock};

/// Batches in the order of commits.
#[derive(Debug, Default)]
pub struct Memtable {
    batches: Vec<Kept>,
    /// Groups of batches that fill a block, made once; the batches behind the last one are grouped by each snapshot.
    groups: Vec<Arc<Group>>,
    grouped: usize,
    open_rows: usize,
    open_bytes: usize,
    rows: u64,
    bytes: usize,
    unpacked_bytes: usize,
}

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch, which follows the last one in number.
    pub fn push(&mut self, batch: Kept) {
        debug_assert!(self.batches.last().is_none_or(|b| b.last().0 + 1 == batch.first.0), "batches follow each other");
        self.rows += u64::from(batch.records());
        self.bytes += batch.memory();
        self.unpacked_bytes += batch.unpacked_bytes;
        let (rows, bytes) = (batch.records() as usize, batch.unpacked_bytes);
        // A group is closed by the batch that would take it over a block's limits.
        let over = self.open_rows + rows > BLOCK_ROWS_MAX || self.open_bytes + bytes > BLOCK_BYTES_MAX;
        if over && self.grouped < self.batches.len() {
            self.groups.push(Arc::new(Group::new(&self.batches[self.grouped..])));
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
    /// Bytes of memory where nothing were packed, about: what sealing takes.
    pub fn unpacked_bytes(&self) -> usize {
        self.unpacked_bytes
    }
    /// No records?
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
    /// The batches.
    pub fn batches(&self) -> &[Kept] {
        &self.batches
    }
    /// Number of the last record.
    pub fn last(&self) -> Option<Seq> {
        self.batches.last().map(Kept::last)
    }

    /// What is here now, for queries.
    pub fn snapshot(&self) -> MemorySource {
        let mut groups = self.groups.clone();
        if self.grouped < self.batches.len() {
            groups.push(Arc::new(Group::new(&self.batches[self.grouped..])));
        }
        MemorySource { groups }
    }
}

/// The blocks of a memtable at one moment.
#[derive(Debug, Clone)]
pub struct MemorySource {
    groups: Vec<Arc<Group>>,
}

/// Batches that a block is made of.
#[derive(Debug)]
struct Group {
    batches: Vec<Kept>,
    info: BlockInfo,
    /// Made by the first query that looks at it. One of packed batches goes with its query.
    block: OnceLock<Arc<MemoryBlock>>,
}

impl Group {
    fn new(batches: &[Kept]) -> Self {
        let times = batches.iter().map(|b| b.time);
        let time = times.reduce(|all, time| (all.0.min(time.0), all.1.max(time.1))).unwrap_or_default();
        let seq = (batches.first().map(|b| b.first), batches.last().map(Kept::last));
        let info = BlockInfo {
            rows: batches.iter().map(Kept::records).sum(),
            time,
            seq: (seq.0.unwrap_or_default(), seq.1.unwrap_or_default()),
        };
        Group { batches: batches.to_vec(), info, block: OnceLock::new() }
    }

    fn block(&self) -> Result<Arc<MemoryBlock>, StorageError> {
        if let Some(block) = self.block.get() {
            return Ok(block.clone());
        }
        let batches = self.batches.iter().map(|kept| Ok((kept.first, kept.batch()?.payload)));
        let block = Arc::new(MemoryBlock::new(batches.collect::<Result<_, StorageError>>()?, self.info));
        if self.batches.iter().any(Kept::is_packed) {
            return Ok(block);
        }
        Ok(self.block.get_or_init(|| block).clone())
    }
}

impl MemorySource {
    /// A source of batches that are in no memtable.
    pub fn of(batches: &[CommittedBatch]) -> Self {
        let mut memtable = Memtable::new();
        batches.iter().for_each(|b| memtable.push(Kept::new(b.clone(), None)));
        memtable.snapshot()
    }
}

impl Source for MemorySource {
    fn label(&self) -> String {
        "memtable".into()
    }
    fn len(&self) -> usize {
        self.groups.len()
    }
    fn info(&self, block: usize) -> BlockInfo {
        self.groups[block].info
    }
    fn block(&self, block: usize) -> Result<Arc<dyn Block>, StorageError> {
        Ok(self.groups[block].block()?)
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        None
    }
}

#[cfg(test)]
mod tests;
