//! Writes a segment file from front to back.

use super::EncodedBlock;
use crate::error::StorageError;
use crate::format::segment::{
    Footer, FooterBlock, SegmentHeader, Trailer, encode_footer, put_segment_header, put_trailer,
};
use crate::id::Seq;
use crate::record::{Timestamp, ZoneMap};
use crate::vfs::VfsFile;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A segment that is being written.
pub struct SegmentWriter {
    file: Arc<dyn VfsFile>,
    at: u64,
    hasher: blake3::Hasher,
    footer: Footer,
    fields: BTreeMap<Box<str>, ZoneMap>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the index bundle among them.
    pub index_bytes: u64,
    /// BLAKE3 over header, blocks and footer.
    pub data_root: [u8; 32],
    /// BLAKE3 over the index bundle.
    pub index_root: [u8; 32],
    /// Number of records.
    pub rows: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Least and greatest time.
    pub time: (Timestamp, Timestamp),
    /// Least and greatest sequence number.
    pub seq: (Seq, Seq),
}

impl SegmentWriter {
    /// Begins a segment in an empty file.
    pub fn new(file: Arc<dyn VfsFile>, header: &SegmentHeader) -> Result<Self, StorageError> {
        let mut bytes = Vec::new();
        put_segment_header(header, &mut bytes);
        let mut writer = SegmentWriter {
            file,
            at: 0,
            hasher: blake3::Hasher::new(),
            footer: Footer::default(),
            fields: BTreeMap::new(),
        };
        writer.hasher.update(&bytes);
        writer.append(&bytes)?;
        Ok(writer)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// Makes durable what was written so far. Nothing names the file yet: this only leaves less for the end.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Adds a block; blocks come in order of time.
    pub fn block(&mut self, block: &EncodedBlock) -> Result<(), StorageError> {
        self.hasher.update(&block.bytes);
        self.footer.blocks.push(FooterBlock { offset: self.at, len: block.bytes.len() as u64, info: block.info });
        self.footer.overflow |= block.overflow;
        for (name, zone) in &block.zones {
            self.fields.entry(name.clone()).or_default().merge(zone);
        }
        self.append(&block.bytes)
    }

    /// Adds the index bundle (empty for none), footer and trailer, and syncs the file.
    pub fn finish(mut self, bundle: &[u8]) -> Result<SegmentSummary, StorageError> {
        let index_offset = self.at;
        self.append(bundle)?;
        for (name, mut zone) in std::mem::take(&mut self.fields) {
            // Of one block alone the merge is a copy, with counts that the block has as well.
            (zone.counts, zone.distinct) = (None, None);
            self.footer.fields.push((name, zone));
        }
        let (footer, footer_codec, footer_raw) = encode_footer(&self.footer);
        self.hasher.update(&footer);
        let footer_offset = self.at;
        self.append(&footer)?;
        let trailer = Trailer {
            index_offset,
            index_len: bundle.len() as u64,
            footer_offset,
            footer_len: footer.len() as u64,
            footer_raw: footer_raw as u64,
            footer_codec,
            footer_crc: crc32fast::hash(&footer),
            data_root: *self.hasher.finalize().as_bytes(),
            index_root: *blake3::hash(bundle).as_bytes(),
        };
        let mut end = Vec::new();
        put_trailer(&trailer, &mut end);
        self.append(&end)?;
        self.file.sync()?;
        let infos = || self.footer.blocks.iter().map(|b| b.info);
        Ok(SegmentSummary {
            bytes: self.at,
            index_bytes: trailer.index_len,
            data_root: trailer.data_root,
            index_root: trailer.index_root,
            rows: infos().map(|i| u64::from(i.rows)).sum(),
            blocks: self.footer.blocks.len() as u32,
            time: (
                infos().map(|i| i.time.0).min().unwrap_or_default(),
                infos().map(|i| i.time.1).max().unwrap_or_default(),
            ),
            seq: (
                infos().map(|i| i.seq.0).min().unwrap_or_default(),
                infos().map(|i| i.seq.1).max().unwrap_or_default(),
            ),
        })
    }
}
