//! Idempotency keys: a request that comes again is answered as before, and its records are not stored twice.
//!
//! What is kept of a request (its *receipt*) is in the frame of its batch, so that it is there if and only if the
//! records are. When these are sealed and the log goes, receipts move to the file `receipts`, which is written before
//! the manifest says that the records are sealed.

use super::TenantOptions;
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::header::ReceiptsHeader;
use crate::format::receipt::{Filed, RECEIPT_ANSWER_BYTES_MAX, Receipt, decode_receipts, encode_receipts};
use crate::format::sealed::FileKind;
use crate::id::{Seq, TenantId};
use crate::log::{LogError, Replayed};
use crate::record::Timestamp;
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Longest idempotency key, in bytes: a UUID has 36, and a key is no place for a payload.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long a key is remembered, in nanoseconds: 24 hours.
pub const RECEIPT_AGE_NS_MAX: i64 = 24 * 3600 * 1_000_000_000;
/// What the receipts of a tenant may take in memory, and about in its file `receipts`: with short answers some 300,000
/// keys, more than three a second around the clock. Over it a key is refused, since one that is forgotten early would
/// store twice.
pub const RECEIPTS_BYTES_MAX: usize = 64 << 20;

/// What a receipt takes in memory besides its answer, about.
const RECEIPT_BYTES: usize = 160;

/// The key of a request that may come again, what was asked, and what is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    key: [u8; 32],
    request: Option<[u8; 32]>,
    answer: Box<[u8]>,
}

impl Idempotency {
    /// A key: 1 to [`IDEMPOTENCY_KEY_BYTES_MAX`] bytes. It is the tenant's own; others may use the same.
    pub fn new(key: &str) -> Result<Self, Error> {
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(ErrorKind::BadKey { bytes: key.len(), bytes_max: IDEMPOTENCY_KEY_BYTES_MAX }.into());
        }
        Ok(Idempotency { key: *blake3::hash(key.as_bytes()).as_bytes(), request: None, answer: Box::default() })
    }

    /// What tells this request from another one with the same key: a hash of what was asked. Where it is not given,
    /// the batch as it is encoded is what tells, with the times of its records.
    #[must_use]
    pub fn request(mut self, hash: [u8; 32]) -> Self {
        self.request = Some(hash);
        self
    }

    /// What is kept to be answered again, at most 4,055 bytes; more is an error of the append.
    #[must_use]
    pub fn answer(mut self, answer: &[u8]) -> Self {
        self.answer = answer.into();
        self
    }

    /// The hash of the key.
    pub(super) fn key(&self) -> [u8; 32] {
        self.key
    }

    /// The receipt for a batch of this leaf, of a request that came now.
    pub(super) fn receipt(self, leaf: [u8; 32], ack: u8, at: Timestamp) -> Result<Receipt, Error> {
        if self.answer.len() > RECEIPT_ANSWER_BYTES_MAX {
            let (bytes, bytes_max) = (self.answer.len(), RECEIPT_ANSWER_BYTES_MAX);
            return Err(LogError::TooLarge { what: "the answer to a keyed request", bytes, bytes_max }.into());
        }
        Ok(Receipt { at, request: self.request.unwrap_or(leaf), ack, answer: self.answer })
    }
}

/// The receipts of a tenant.
#[derive(Debug)]
pub(super) struct Receipts {
    state: Mutex<State>,
    /// Told when a key is no longer in flight.
    landed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<[u8; 32], Arc<Filed>>,
    /// Keys by the time of their receipts, oldest first.
    order: VecDeque<(Timestamp, [u8; 32])>,
    bytes: usize,
    in_flight: HashSet<[u8; 32]>,
    /// Receipts up to this Seq are in the file.
    saved: Seq,
    /// Why the file can't be read. Until that is mended nobody knows which keys were used.
    damage: Option<StorageError>,
}

/// What becomes of a request with a key.
pub(super) enum Claim<'a> {
    /// It was done before.
    Done(Arc<Filed>),
    /// It is to be done, by whoever holds this; others with the key wait until it is dropped.
    Open(InFlight<'a>),
}

/// A key in flight.
pub(super) struct InFlight<'a> {
    receipts: &'a Receipts,
    key: [u8; 32],
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.receipts.state().in_flight.remove(&self.key);
        self.receipts.landed.notify_all();
    }
}

impl State {
    fn expire(&mut self, now: Timestamp) {
        let oldest = now.0.saturating_sub(RECEIPT_AGE_NS_MAX);
        while let Some((at, key)) = self.order.front().copied().filter(|(at, _)| at.0 < oldest) {
            self.order.pop_front();
            // A key that was used again since has a younger receipt.
            if self.kept.get(&key).is_some_and(|filed| filed.receipt.at == at)
                && let Some(gone) = self.kept.remove(&key)
            {
                self.bytes -= cost(&gone);
            }
        }
    }

    fn keep(&mut self, filed: Filed) {
        let (at, key) = (filed.receipt.at, filed.key);
        self.bytes += cost(&filed);
        let before = self.kept.insert(key, Arc::new(filed));
        // After a crash between the file and the manifest's entry a receipt is in both, the file and the log.
        if before.as_ref().is_none_or(|before| before.receipt.at != at) {
            self.order.push_back((at, key));
        }
        self.bytes -= before.map_or(0, |before| cost(&before));
    }
}

fn cost(filed: &Filed) -> usize {
    RECEIPT_BYTES + filed.receipt.answer.len()
}

fn path(options: &TenantOptions) -> PathBuf {
    options.dir.join("receipts")
}

impl Receipts {
    /// Reads a tenant's file of receipts, which is missing where no key was ever sealed. One that is damaged stays as
    /// it is, and refuses keys and nothing else.
    pub(super) fn open(id: &TenantId, options: &TenantOptions, sealed_below: Seq) -> Result<Self, StorageError> {
        let path = path(options);
        let beside = options.dir.join("receipts.tmp");
        if options.vfs.exists(&beside)? {
            options.vfs.remove(&beside)?;
        }
        let mut state = State { saved: sealed_below, ..State::default() };
        if options.vfs.exists(&path)? {
            let opened = options.keys.take_out_of_box(FileKind::Receipts, 0, options.vfs.read(&path)?, &path);
            let bytes = match opened {
                Err(damage @ StorageError::Damage(_)) => {
                    state.damage = Some(damage);
                    Vec::new()
                }
                other => other?.into_bytes(),
            };
            match decode_receipts(&bytes) {
                _ if state.damage.is_some() => {}
                Ok((header, receipts)) if header.tenant == *id => receipts.into_iter().for_each(|r| state.keep(r)),
                Ok((header, _)) => {
                    let (expected, found) = (format!("tenant {id}"), format!("tenant {}", header.tenant));
                    let error = DecodeError::new("file of receipts", 11, expected, found);
                    state.damage = Some(error.in_file(&path).into());
                }
                Err(e) => state.damage = Some(e.in_file(&path).into()),
            }
        }
        state.expire(options.rules.now());
        Ok(Receipts { state: Mutex::new(state), landed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked but by a bug; each statement leaves it whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes a key, waiting for whoever has it.
    pub(super) fn claim(&self, key: [u8; 32], now: Timestamp) -> Result<Claim<'_>, Error> {
        let mut state = self.state();
        loop {
            if let Some(damage) = &state.damage {
                return Err(damage.clone().into());
            }
            state.expire(now);
            if let Some(filed) = state.kept.get(&key) {
                return Ok(Claim::Done(filed.clone()));
            }
            if state.in_flight.contains(&key) {
                state = self.landed.wait(state).unwrap_or_else(|e| e.into_inner());
                continue;
            }
            let each = RECEIPT_BYTES + RECEIPT_ANSWER_BYTES_MAX;
            if state.bytes + (state.in_flight.len() + 1) * each > RECEIPTS_BYTES_MAX {
                return Err(ErrorKind::TooManyKeys { bytes_max: RECEIPTS_BYTES_MAX }.into());
            }
            state.in_flight.insert(key);
            return Ok(Claim::Open(InFlight { receipts: self, key }));
        }
    }

    /// Keeps the receipt of a batch from the log, if it has one.
    pub(super) fn replay(&self, batch: &Replayed) -> Result<(), DecodeError> {
        if let Some((key, receipt)) = &batch.idempotency {
            let receipt = Receipt::decode(receipt)?;
            self.keep(Filed { key: *key, first: batch.first, records: batch.records, receipt });
        }
        Ok(())
    }

    /// Keeps a receipt whose batch was committed.
    pub(super) fn keep(&self, filed: Filed) {
        self.state().keep(filed);
    }

    /// Writes those of records up to `up_to`, where the file lacks any. Those of later ones are in the log, and may be
    /// lost with it, as their records.
    pub(super) fn save(&self, id: &TenantId, options: &TenantOptions, up_to: Seq) -> Result<(), StorageError> {
        let receipts: Vec<Arc<Filed>> = {
            let mut state = self.state();
            let is_new = |filed: &Arc<Filed>| filed.last() > state.saved && filed.last() <= up_to;
            // What is damaged is left for whoever mends it.
            if state.damage.is_some() || !state.kept.values().any(is_new) {
                state.saved = state.saved.max(up_to);
                return Ok(());
            }
            state.expire(options.rules.now());
            let newest = state.order.iter().filter_map(|(at, key)| state.kept.get(key).filter(|f| f.receipt.at == *at));
            newest.filter(|filed| filed.last() <= up_to).cloned().collect()
        };
        let header = ReceiptsHeader { tenant: id.clone(), salt: options.vfs.salt() };
        let bytes = encode_receipts(&header, receipts.iter().map(|filed| &**filed));
        options.vfs.replace(&path(options), &options.keys.put_in_box(FileKind::Receipts, 0, bytes)?)?;
        let mut state = self.state();
        state.saved = state.saved.max(up_to);
        Ok(())
    }
}
