//! Batches seen as a block.

use crate::error::StorageError;
use crate::format::payload::Payload;
use crate::format::rows::{RowRef, order_rows};
use crate::id::Seq;
use crate::record::{Block, BlockInfo, Codes, Column, Data, Field, Presence, Tags, Texts, Timestamp, Zone};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// Rows of one or more batches, ordered as in a segment.
///
/// One batch may have more rows than a block of a segment: up to what a frame holds.
#[derive(Debug)]
pub struct MemoryBlock {
    batches: Vec<(Seq, Arc<Payload>)>,
    info: BlockInfo,
    /// In order, made by the first query that needs it.
    rows: OnceLock<Vec<RowRef>>,
}

impl MemoryBlock {
    /// A block over batches that follow each other, each with the number of its first record; `info` is of all of them.
    pub fn new(batches: Vec<(Seq, Arc<Payload>)>, info: BlockInfo) -> Self {
        MemoryBlock { batches, info, rows: OnceLock::new() }
    }

    fn ordered(&self) -> &[RowRef] {
        self.rows.get_or_init(|| order_rows(&self.batches))
    }

    /// The values of a field in rows; for each row its place in the block.
    fn collect(&self, name: &str, rows: impl Iterator<Item = u32>) -> Option<Field> {
        let ordered = self.ordered();
        // For each batch and shape the place of the field's value, if it has one.
        let places: Vec<Vec<Option<usize>>> = self
            .batches
            .iter()
            .map(|(_, payload)| {
                let id = payload.names.binary_search_by(|n| (**n).cmp(name)).ok();
                let place = |shape: &[u32]| id.and_then(|id| shape.binary_search(&(id as u32)).ok());
                payload.shapes.iter().map(|s| place(s)).collect()
            })
            .collect();
        let (mut held, mut tags, mut texts) = (Vec::new(), Vec::new(), Texts::default());
        for row in rows {
            let Some(at) = ordered.get(row as usize) else { continue };
            let payload = &self.batches[at.batch as usize].1;
            let record = &payload.records[at.record as usize];
            let Some(place) = places[at.batch as usize][record.shape as usize] else { continue };
            if let Some((tag, text)) = payload.values(record).nth(place) {
                held.push(row);
                tags.push(tag);
                texts.push(text.as_bytes());
            }
        }
        if held.is_empty() {
            return None;
        }
        let tags = match tags.first() {
            Some(&first) if tags.iter().all(|&t| t == first) => Tags::One(first),
            _ => Tags::Each(tags.into()),
        };
        let presence = if held.len() == self.info.rows as usize { Presence::All } else { Presence::Rows(held.into()) };
        Some(Field { presence, column: Arc::new(Column { tags, data: Data::Plain(texts) }) })
    }
}

impl Block for MemoryBlock {
    fn rows(&self) -> u32 {
        self.info.rows
    }
    fn time_range(&self) -> (Timestamp, Timestamp) {
        self.info.time
    }
    fn seq_range(&self) -> (Seq, Seq) {
        self.info.seq
    }
    fn times(&self) -> Result<Arc<Vec<i64>>, StorageError> {
        Ok(Arc::new(self.ordered().iter().map(|r| r.time.0).collect()))
    }
    fn seqs(&self) -> Result<Arc<Vec<u64>>, StorageError> {
        Ok(Arc::new(self.ordered().iter().map(|r| r.seq.0).collect()))
    }
    fn streams(&self) -> Result<Arc<Column>, StorageError> {
        let mut entries = Texts::default();
        let mut first_code = Vec::with_capacity(self.batches.len());
        for (_, payload) in &self.batches {
            first_code.push(entries.len() as u32);
            payload.streams.iter().for_each(|labels| entries.push(labels.to_string().as_bytes()));
        }
        // The same set may stand more than once among the entries; a reader of a dictionary allows for that.
        let code = |r: &RowRef| {
            first_code[r.batch as usize] + self.batches[r.batch as usize].1.records[r.record as usize].stream
        };
        let codes = Codes::of(self.ordered().iter().map(code), entries.len());
        let data = Data::Dictionary { entries: Box::new(Data::Plain(entries)), codes };
        Ok(Arc::new(Column { tags: Tags::One(crate::record::Tag::String), data }))
    }
    fn names(&self) -> Result<Vec<Arc<str>>, StorageError> {
        let names: BTreeSet<&str> = self.batches.iter().flat_map(|(_, p)| p.names.iter().map(|n| &**n)).collect();
        Ok(names.into_iter().map(Arc::from).collect())
    }
    fn zone(&self, name: &str) -> Result<Zone, StorageError> {
        let there = self.batches.iter().any(|(_, p)| p.names.binary_search_by(|n| (**n).cmp(name)).is_ok());
        Ok(if there { Zone::Unknown } else { Zone::Absent })
    }
    fn field(&self, name: &str) -> Result<Option<Field>, StorageError> {
        Ok(self.collect(name, 0..self.info.rows))
    }
    fn field_at(&self, name: &str, rows: &[u32]) -> Result<Option<Field>, StorageError> {
        Ok(self.collect(name, rows.iter().copied()))
    }
    fn names_at(&self, rows: &[u32]) -> Result<Vec<Arc<str>>, StorageError> {
        let ordered = self.ordered();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut seen = std::collections::HashSet::new();
        for at in rows.iter().filter_map(|&row| ordered.get(row as usize)) {
            let payload = &self.batches[at.batch as usize].1;
            let shape = payload.records[at.record as usize].shape;
            if seen.insert((at.batch, shape)) {
                names.extend(payload.shapes[shape as usize].iter().map(|&n| &*payload.names[n as usize]));
            }
        }
        Ok(names.into_iter().map(Arc::from).collect())
    }
}
