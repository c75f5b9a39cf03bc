//! Records in: to the log, and when they are as durable as was asked for, to the memtable.

use super::receipts::{Claim, Idempotency};
use super::{State, TenantCore, Writer};
use crate::crypt::KeyRing;
use crate::format::payload::{self, Packed, Payload};
use crate::format::receipt::{Filed, Receipt};
use crate::id::Seq;
use crate::log::{Ack, Append, Prepared};
use crate::memtable::{CommittedBatch, Kept};
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

/// How a batch is appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendOptions {
    /// What is waited for; where it is missing, what the store's options say.
    pub ack: Option<Ack>,
    /// The key of a request that may come again.
    pub idempotency: Option<Idempotency>,
}

impl AppendOptions {
    /// As the store's options say, without a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for this.
    #[must_use]
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = Some(ack);
        self
    }

    /// With a key: a batch that comes again within 24 hours is not stored again.
    #[must_use]
    pub fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = Some(idempotency);
        self
    }
}

/// What came of an append with options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Where the records are, and how durable they were said to be: of a replay, the first time.
    pub appended: Appended,
    /// The answer that was kept with the key, where this request was done before; nothing was stored now.
    pub replayed: Option<Box<[u8]>>,
}

/// Batches are kept packed where all memtables take more than this part of their room, ...
const PACKED_ABOVE: u64 = 8;
/// ... in memtables that have less than this part of the whole.
const PACKED_SHARE: u64 = 16;

/// How levels of acknowledgement are numbered in receipts.
const ACKS: [Ack; 3] = [Ack::Fsync, Ack::Os, Ack::Buffered];

impl TenantCore {
    /// Commits a batch. When this returns the records are as durable as `ack` says, and every query sees them.
    ///
    /// At most [`crate::format::frame::PAYLOAD_BYTES_MAX`] bytes, encoded.
    pub fn append(&self, batch: &Batch, ack: Ack) -> Result<Appended, Error> {
        let writer = self.writer.as_ref().ok_or(ErrorKind::ReadOnly)?;
        let (payload, prepared) = prepare(batch, &self.options.keys)?;
        self.commit(writer, payload, prepared, ack, None)
    }

    /// The same for several batches, each a commit of its own, which are written and synced together.
    pub fn append_all(&self, batches: &[(Batch, Ack)]) -> Result<Vec<Result<Appended, Error>>, Error> {
        let writer = self.writer.as_ref().ok_or(ErrorKind::ReadOnly)?;
        self.revive(writer)?;
        let mut appends = Vec::with_capacity(batches.len());
        let mut results = Vec::with_capacity(batches.len());
        for (batch, ack) in batches {
            let prepared = self.admit(batch).and_then(|()| prepare(batch, &self.options.keys));
            results.push(prepared.map(|(payload, prepared)| {
                let records = prepared.records();
                appends.push(self.entry(writer, payload, prepared, *ack, None));
                Appended { first: Seq(0), records, ack: *ack }
            }));
        }
        let mut firsts = writer.log.append_all(appends).into_iter();
        for result in results.iter_mut() {
            let Ok(appended) = result else { continue };
            match firsts.next() {
                Some(Ok(first)) => appended.first = first,
                Some(Err(error)) => *result = Err(error.into()),
                None => *result = Err(ErrorKind::ReadOnly.into()),
            }
        }
        Ok(results)
    }

    /// Commits a batch that has a key, unless that was done before. The receipt is in the batch's frame: it is there
    /// if and only if the records are.
    pub fn append_once(&self, batch: &Batch, ack: Ack, idempotency: Idempotency) -> Result<Committed, Error> {
        let writer = self.writer.as_ref().ok_or(ErrorKind::ReadOnly)?;
        let (payload, prepared) = prepare(batch, &self.options.keys)?;
        let key = idempotency.key();
        let number = ACKS.iter().position(|known| *known == ack).unwrap_or_default() as u8;
        // The same before and after the tenant became encrypted, which changes leaves.
        let request = match self.options.keys.is_encrypted() {
            true => *blake3::hash(&payload.bytes).as_bytes(),
            false => prepared.leaf(),
        };
        let receipt = idempotency.receipt(request, number, self.options.rules.now())?;
        let _in_flight = match writer.receipts.claim(key, self.options.rules.now())? {
            Claim::Open(in_flight) => {
                // What is answered as before needs no room.
                self.admit(batch)?;
                in_flight
            }
            Claim::Done(filed) if filed.receipt.request != receipt.request => return Err(ErrorKind::KeyReused.into()),
            Claim::Done(filed) => {
                let ack = ACKS.get(usize::from(filed.receipt.ack)).copied().unwrap_or_default();
                let appended = Appended { first: filed.first, records: filed.records, ack };
                return Ok(Committed { appended, replayed: Some(filed.receipt.answer.clone()) });
            }
        };
        let prepared = prepared.with_idempotency(key, &receipt.encode())?;
        let appended = self.commit(writer, payload, prepared, ack, Some((key, receipt)))?;
        Ok(Committed { appended, replayed: None })
    }

    fn commit(
        &self,
        writer: &Writer,
        payload: Payload,
        prepared: Prepared,
        ack: Ack,
        receipt: Option<([u8; 32], Receipt)>,
    ) -> Result<Appended, Error> {
        self.revive(writer)?;
        let records = prepared.records();
        let (prepared, ack, commit) = self.entry(writer, payload, prepared, ack, receipt);
        let first = writer.log.append(prepared, ack, commit)?;
        Ok(Appended { first, records, ack })
    }

    /// What the log takes: with the batch, what makes it visible.
    fn entry(
        &self,
        writer: &Writer,
        payload: Payload,
        prepared: Prepared,
        ack: Ack,
        receipt: Option<([u8; 32], Receipt)>,
    ) -> Append {
        let (leaf, records) = (prepared.leaf(), prepared.records());
        let payload = Arc::new(payload);
        let (state, receipts) = (self.state.clone(), writer.receipts.clone());
        let packed = prepared.packed().clone();
        let (total, room) = (self.options.memtable_bytes.clone(), self.options.memtables_bytes_max);
        let commit = Box::new(move |first: Seq| {
            let batch = CommittedBatch { first, payload, leaf };
            let added = insert(&state, batch, packed, total.load(Ordering::Relaxed), room);
            total.fetch_add(added, Ordering::Relaxed);
            if let Some((key, receipt)) = receipt {
                receipts.keep(Filed { key, first, records, receipt });
            }
        });
        (prepared, ack, commit)
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
        let frozen = self.frozen.last().and_then(|f| f.batches.last()).map(Kept::last);
        self.active.last().or(frozen).unwrap_or(self.version.sealed_below)
    }
}

/// Encodes, hashes and compresses a batch, which takes no lock.
fn prepare(batch: &Batch, keys: &KeyRing) -> Result<(Payload, Prepared), Error> {
    let payload = payload::encode(batch);
    let records = payload.records.len() as u32;
    let prepared = Prepared::with_leaf(&payload.bytes, records, &|payload| keys.leaf(payload))?;
    Ok((payload, prepared))
}

/// Adds a committed batch; gives the bytes that it takes. `total` are those of all memtables, for which there is `room`.
fn insert(state: &Mutex<State>, batch: CommittedBatch, packed: Packed, total: u64, room: u64) -> u64 {
    let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
    let packs = keeps_packed(state.counted, total, room);
    let batch = Kept::new(batch, packs.then_some(packed));
    let bytes = batch.memory() as u64;
    state.active_since.get_or_insert_with(Timestamp::now);
    state.active.push(batch);
    state.counted += bytes;
    bytes
}

/// Does a tenant whose memtables have so many bytes keep batches packed? One of many does, once all of them take a good
/// part of their room: otherwise a thousand tenants would be sealed when each has a hundred records. What is large is
/// sealed soon, and what is not packed need not be unpacked.
pub(super) fn keeps_packed(bytes: u64, total: u64, room: u64) -> bool {
    total > room / PACKED_ABOVE && bytes < total / PACKED_SHARE
}
