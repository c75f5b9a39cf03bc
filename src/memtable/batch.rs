//! A committed batch: as it is, or packed.

use crate::error::StorageError;
use crate::format::payload::{Packed, Payload};
use crate::id::Seq;
use crate::record::Timestamp;
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
        last(self.first, self.payload.records.len())
    }
}

fn last(first: Seq, records: usize) -> Seq {
    Seq(first.0 + (records as u64).saturating_sub(1))
}

/// A batch in a memtable.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Number of its first record.
    pub first: Seq,
    leaf: [u8; 32],
    records: u32,
    /// The times of its earliest and of its latest record.
    pub time: (Timestamp, Timestamp),
    /// Bytes of memory when it is not packed.
    pub unpacked_bytes: usize,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Plain(Arc<Payload>),
    Packed(Arc<Packed>),
}

impl Kept {
    /// A batch as it is, or packed.
    pub fn new(batch: CommittedBatch, packed: Option<Packed>) -> Self {
        let times = || batch.payload.records.iter().map(|record| record.time);
        Kept {
            first: batch.first,
            leaf: batch.leaf,
            records: batch.payload.records.len() as u32,
            time: (times().min().unwrap_or_default(), times().max().unwrap_or_default()),
            unpacked_bytes: batch.payload.memory(),
            body: match packed {
                Some(packed) => Body::Packed(Arc::new(packed)),
                None => Body::Plain(batch.payload),
            },
        }
    }

    /// Number of its last record.
    pub fn last(&self) -> Seq {
        last(self.first, self.records as usize)
    }

    /// Number of records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match &self.body {
            Body::Plain(_) => self.unpacked_bytes,
            Body::Packed(packed) => packed.stored.len() + size_of::<Packed>(),
        }
    }

    /// Is it packed?
    pub fn is_packed(&self) -> bool {
        matches!(self.body, Body::Packed(_))
    }

    /// The batch as it was committed.
    pub fn batch(&self) -> Result<CommittedBatch, StorageError> {
        let payload = match &self.body {
            Body::Plain(payload) => payload.clone(),
            Body::Packed(packed) => Arc::new(packed.unpack()?),
        };
        Ok(CommittedBatch { first: self.first, payload, leaf: self.leaf })
    }
}
