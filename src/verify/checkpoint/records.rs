//! A run of records by Seq, from segments and logs, and the leaf that they come to.

use crate::crypt::{FileKey, KeyRing};
use crate::error::StorageError;
use crate::format::frame::decode_frame;
use crate::format::header::{FILE_HEADER_BYTES, LogHeader};
use crate::format::log_file::FrameChain;
use crate::format::payload::{Payload, Reencoder};
use crate::format::sealed::FileKind;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Records of a range of Seqs.
pub(in crate::verify) struct Run {
    first: Seq,
    last: Option<Seq>,
    records: BTreeMap<Seq, (Arc<Payload>, u32)>,
    /// The lowest Seq that a log file begins with.
    log_begins: Option<Seq>,
}

impl Run {
    /// Takes records from `first` on, up to and with `last` where that is given.
    pub fn new(first: Seq, last: Option<Seq>) -> Self {
        Run { first, last, records: BTreeMap::new(), log_begins: None }
    }

    /// Does the run ask for records between these?
    pub fn meets(&self, from: Seq, to: Seq) -> bool {
        to >= self.first && self.last.is_none_or(|last| from <= last)
    }

    pub fn add(&mut self, seq: Seq, payload: &Arc<Payload>, record: u32) {
        if self.meets(seq, seq) {
            self.records.insert(seq, (payload.clone(), record));
        }
    }

    /// Adds what the whole frames of a tenant's log files have, and gives the highest Seq that they say is durable.
    /// Of a file the records below the first one of any younger file count. Encrypted ones are opened with the keys.
    pub fn add_log(
        &mut self,
        vfs: &dyn Vfs,
        dir: &Path,
        tenant: &TenantId,
        ring: &KeyRing,
    ) -> Result<Seq, StorageError> {
        let mut durable = Seq(0);
        if !vfs.exists(dir)? {
            return Ok(durable);
        }
        let mut files: BTreeMap<LogId, Vec<u8>> = BTreeMap::new();
        for entry in vfs.list(dir)? {
            let hex = entry.name.strip_suffix(".log").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let Some(id) = hex.map(LogId).filter(|id| format!("{id}.log") == entry.name) else { continue };
            files.insert(id, vfs.read(&dir.join(&entry.name))?);
        }
        // The youngest first: what it has goes before what older ones say of the same Seqs.
        let mut limit = Seq(u64::MAX);
        for (id, bytes) in files.iter().rev() {
            let path = dir.join(format!("{id}.log"));
            let header = LogHeader::decode(bytes).map_err(|e| e.in_file(&path))?;
            if header.tenant != *tenant {
                continue;
            }
            durable = durable.max(header.durable);
            self.log_begins = Some(self.log_begins.map_or(header.first, |begins| begins.min(header.first)));
            durable = durable.max(self.add_frames((&path, bytes), &header, limit, ring)?);
            limit = limit.min(header.first);
        }
        Ok(durable)
    }

    /// Adds a file's records below `limit`; gives the highest Seq that its frames say is durable. Behind a broken frame
    /// nothing counts.
    fn add_frames(
        &mut self,
        (path, bytes): (&Path, &[u8]),
        header: &LogHeader,
        limit: Seq,
        ring: &KeyRing,
    ) -> Result<Seq, StorageError> {
        let (stamp, mut chain, mut at) = (header.stamp(), FrameChain::start(header), FILE_HEADER_BYTES);
        // Had when the first frame needs it: of what is not looked into no key is asked.
        let mut key: Option<FileKey> = None;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Ok(decoded) = decode_frame(rest, &stamp) else { break };
            if chain.accept(&decoded).is_err() {
                break;
            }
            at += decoded.bytes;
            let frame = &decoded.frame;
            if frame.is_mark() || frame.first >= limit {
                continue;
            }
            let to = Seq(frame.first.0 + u64::from(frame.records) - 1);
            if !self.meets(frame.first, to) {
                continue;
            }
            if let Some(wrapped) = header.key.as_ref().filter(|_| key.is_none()) {
                key = Some(ring.open_file(FileKind::Log, header.id.0, wrapped, path)?);
            }
            let opened = decoded.open(key.as_ref().map(|key| key as _)).map_err(|e| e.in_file(path))?;
            let payload = opened.frame().payload_where(&|leaf, payload| ring.is_leaf(leaf, payload));
            let payload = Arc::new(payload.and_then(Payload::decode).map_err(|e| e.in_file(path))?);
            for record in 0..payload.records.len() as u32 {
                self.add(Seq(decoded.frame.first.0 + u64::from(record)), &payload, record);
            }
        }
        Ok(chain.durable)
    }

    /// Does the oldest log file begin behind the run's first record?
    pub fn begins_later(&self) -> bool {
        self.log_begins.is_some_and(|begins| begins > self.first)
    }

    /// The highest Seq there is; where there is none, the one before the first.
    pub fn last(&self) -> Seq {
        self.records.keys().next_back().copied().unwrap_or(Seq(self.first.0.saturating_sub(1)))
    }

    /// Lets go what is behind a Seq.
    pub fn cut(&mut self, last: Seq) {
        self.records.retain(|seq, _| *seq <= last);
        self.last = Some(last);
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Is there every record from the first to the last?
    pub fn is_whole(&self) -> bool {
        let last = self.last.unwrap_or(self.last());
        self.records.len() as u64 == (last.0 + 1).saturating_sub(self.first.0)
    }

    /// The canonical bytes of the records, as one batch, of which a leaf is made.
    pub fn payload(&self) -> Vec<u8> {
        let mut all = Reencoder::default();
        for (payload, record) in self.records.values() {
            let record = &payload.records[*record as usize];
            all.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
        }
        all.finish().bytes
    }
}
