//! A batch that is ready to be written: compressed and hashed before any lock is taken.

use super::LogError;
use crate::format::frame::{ANSWER_BYTES_MAX, ChainHash, Frame, Idempotency, PAYLOAD_BYTES_MAX};
use crate::format::payload::Packed;
use crate::id::Seq;

/// A batch as a log will store it.
#[derive(Clone, Debug)]
pub struct Prepared {
    packed: Packed,
    records: u32,
    leaf: [u8; 32],
    request: Option<([u8; 32], Box<[u8]>)>,
}

impl Prepared {
    /// Compresses a payload of so many records where that helps, and hashes it.
    ///
    /// At most [`PAYLOAD_BYTES_MAX`] bytes, at least one record.
    pub fn new(payload: &[u8], records: u32) -> Result<Prepared, LogError> {
        Self::with_leaf(payload, records, &|payload| *blake3::hash(payload).as_bytes())
    }

    /// The same with a leaf that `leaf` makes of the payload.
    pub fn with_leaf(payload: &[u8], records: u32, leaf: &dyn Fn(&[u8]) -> [u8; 32]) -> Result<Prepared, LogError> {
        if records == 0 {
            return Err(LogError::Empty);
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            let (bytes, bytes_max) = (payload.len(), PAYLOAD_BYTES_MAX);
            return Err(LogError::TooLarge { what: "a batch", bytes, bytes_max });
        }
        Ok(Prepared { packed: Packed::new(payload), records, leaf: leaf(payload), request: None })
    }

    /// Keeps the BLAKE3 hash of an idempotency key with the batch, and what is answered to it: at most
    /// [`ANSWER_BYTES_MAX`] bytes.
    pub fn with_idempotency(mut self, key_hash: [u8; 32], answer: &[u8]) -> Result<Prepared, LogError> {
        if answer.len() > ANSWER_BYTES_MAX {
            let (bytes, bytes_max) = (answer.len(), ANSWER_BYTES_MAX);
            return Err(LogError::TooLarge { what: "an answer to an idempotency key", bytes, bytes_max });
        }
        self.request = Some((key_hash, answer.into()));
        Ok(self)
    }

    /// BLAKE3 of the payload, uncompressed.
    pub fn leaf(&self) -> [u8; 32] {
        self.leaf
    }

    /// How many records it has.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The payload as it is stored.
    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Length as stored, in bytes, without the frame's header.
    pub fn stored_bytes(&self) -> usize {
        self.packed.stored.len()
    }

    /// The frame that it becomes.
    pub(super) fn frame(&self, first: Seq, durable: Seq, previous: ChainHash) -> Frame<'_> {
        let &Prepared { ref packed, records, leaf, .. } = self;
        let &Packed { codec, raw_bytes, ref stored } = packed;
        let request = self.request.as_ref();
        let idempotency = request.map(|(key_hash, answer)| Idempotency { key_hash: *key_hash, answer });
        Frame { first, records, durable, previous, leaf, codec, raw_bytes, stored, idempotency }
    }
}
