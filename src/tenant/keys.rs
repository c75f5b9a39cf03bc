//! A tenant's keys: when it becomes encrypted, and when its key is changed.

use super::TenantCore;
use super::segments::segment_path;
use crate::crypt::{KeyRing, generation};
use crate::format::compress::LEVEL_MERGE;
use crate::format::edit::Edit;
use crate::format::payload::RecordAt;
use crate::format::rows::RowRef;
use crate::id::{SegmentId, Seq};
use crate::record::Block;
use crate::segment::{SegmentBlock, block_payload, encode_block};
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::sync::Arc;

impl TenantCore {
    /// Its keys.
    pub fn keys(&self) -> &KeyRing {
        &self.options.keys
    }

    /// Makes it an encrypted tenant: what is appended from now on is. What is in the log goes into an encrypted segment,
    /// and the log files that it was in are removed, not overwritten; segments that are there stay as they are.
    pub fn encrypt(&self) -> Result<(), Error> {
        let writer = self.writer()?;
        self.options.keys.encrypt()?;
        // On to an encrypted file, also where this one is empty.
        writer.log.rotate(|_| ())?;
        self.options.keys.begin_hashing();
        self.seal()?;
        Ok(())
    }

    /// Makes a new generation of its key, for the files that are made from now on, and begins a log file with it. Gives
    /// the generation's number.
    pub fn rotate_key(&self) -> Result<u32, Error> {
        let writer = self.writer()?;
        let generation = self.options.keys.rotate()?;
        writer.log.rotate(|_| ())?;
        Ok(generation)
    }
}

impl TenantCore {
    /// Writes segments anew that are not encrypted, or are under an older generation of the key; gives how many. Those in
    /// archives stay as they are. The old files are removed, not overwritten.
    pub fn renew(&self) -> Result<u64, Error> {
        let writer = self.writer()?;
        let Some((newest, _)) = self.options.keys.newest() else {
            return Err(ErrorKind::NotEncrypted(self.id.to_string()).into());
        };
        self.seal()?;
        let ids: Vec<SegmentId> = self.version().segments.keys().copied().collect();
        let mut renewed = 0;
        for id in ids {
            // One at a time, so that sealing goes on between.
            let _turn = self.turn(writer);
            let Some(segment) = self.state().segments.get(&id).cloned() else { continue };
            let meta = segment.meta().clone();
            let path = segment_path(&self.options, id);
            if !meta.place.is_own() || generation(&*self.options.vfs.open(&path)?)? == Some(newest) {
                continue;
            }
            let reader = segment.reader()?.clone();
            let mut attempt = self.attempt();
            let mut output = self.begin_segment(writer, &mut attempt, meta.level, meta.class.clone())?;
            for number in 0..reader.blocks() {
                let block = SegmentBlock::open(&reader, number)?;
                let payload = Arc::new(block_payload(&block)?);
                let row = |(at, (record, seq)): (usize, (&RecordAt, &u64))| RowRef {
                    time: record.time,
                    seq: Seq(*seq),
                    batch: 0,
                    record: at as u32,
                };
                let seqs = block.seqs()?;
                let rows: Vec<RowRef> = payload.records.iter().zip(seqs.iter()).enumerate().map(row).collect();
                let batches = [(Seq(0), payload.clone())];
                let encoded = encode_block(&rows, &batches, LEVEL_MERGE, &mut output.sink);
                output.block(&encoded)?;
            }
            let outputs = vec![output.finish(&*self.options.vfs, &self.options.dir)?];
            let version = self.apply_made(writer, Edit::Merge { inputs: vec![id], outputs }, attempt)?;
            self.publish(version);
            renewed += 1;
        }
        Ok(renewed)
    }
}
