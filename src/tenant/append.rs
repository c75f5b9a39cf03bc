//! Records in: to the log, and when they are as durable as was asked for, to the memtable.

use super::{State, TenantCore};
use crate::format::payload;
use crate::id::Seq;
use crate::log::{Ack, Prepared};
use crate::memtable::CommittedBatch;
use crate::record::{Batch, Timestamp};
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// What an append was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Sequence number of the first record; the others follow it.
    pub first: Seq,
    /// Number of records.
    pub records: u32,
    /// How durable they are.
    pub ack: Ack,
}

impl TenantCore {
    /// Commits a batch. When this returns the records are as durable as `ack` says, and every query sees them.
    ///
    /// At most [`crate::format::frame::PAYLOAD_BYTES_MAX`] bytes, encoded.
    pub fn append(&self, batch: &Batch, ack: Ack) -> Result<Appended, Error> {
        let writer = self.writer.as_ref().ok_or(ErrorKind::ReadOnly)?;
        let payload = payload::encode(batch);
        let records = payload.records.len() as u32;
        let prepared = Prepared::new(&payload.bytes, records)?;
        let leaf = prepared.leaf();
        let payload = Arc::new(payload);
        let state = self.state.clone();
        let total = self.options.memtable_bytes.clone();
        let commit = Box::new(move |first: Seq| {
            let added = insert(&state, CommittedBatch { first, payload, leaf });
            total.fetch_add(added, Ordering::Relaxed);
        });
        let first = writer.log.append(prepared, ack, commit)?;
        Ok(Appended { first, records, ack })
    }

    /// Makes durable what was acknowledged before it was.
    pub fn flush(&self) -> Result<(), Error> {
        match &self.writer {
            Some(writer) => Ok(writer.log.flush()?),
            None => Ok(()),
        }
    }

    /// Waits until records beyond a number were committed, at most so long; gives the last number.
    pub fn wait_beyond(&self, seq: Seq, timeout: std::time::Duration) -> Seq {
        match &self.writer {
            Some(writer) => writer.log.wait_beyond(seq, timeout),
            None => self.last_seq(),
        }
    }

    /// Number of the last committed record.
    pub fn last_seq(&self) -> Seq {
        self.state().last_seq()
    }
}

impl State {
    pub(super) fn last_seq(&self) -> Seq {
        let frozen = self.frozen.last().and_then(|f| f.batches.last()).map(CommittedBatch::last);
        self.active.last().or(frozen).unwrap_or(self.version.sealed_below)
    }
}

/// Adds a committed batch; gives the bytes that it takes.
fn insert(state: &Mutex<State>, batch: CommittedBatch) -> u64 {
    let bytes = batch.payload.memory() as u64;
    let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
    state.active_since.get_or_insert_with(Timestamp::now);
    state.active.push(batch);
    state.counted += bytes;
    bytes
}
