//! Segments of what was recovered.

use super::segment::{Readable, read_block};
use crate::cache::Cache;
use crate::crypt::{KeyRing, open_segment};
use crate::error::StorageError;
use crate::format::compress::LEVEL_MERGE;
use crate::format::edit::SegmentMeta;
use crate::format::payload::Payload;
use crate::format::rows::{RowRef, order_rows, split_rows};
use crate::format::sealed::FileKind;
use crate::format::segment::SegmentHeader;
use crate::id::{Class, SegmentId, Seq, TenantId};
use crate::record::Timestamp;
use crate::segment::{SegmentReader, encode_block};
use crate::store::Error;
use crate::tenant::Output;
use crate::vfs::Vfs;
use roaring::RoaringTreemap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes segments with rising numbers in a tenant's folder, encrypted where the tenant is.
pub(super) struct Maker<'a> {
    pub vfs: &'a dyn Vfs,
    pub dir: &'a Path,
    pub tenant: &'a TenantId,
    pub keys: &'a KeyRing,
    pub next: SegmentId,
}

impl Maker<'_> {
    fn begin(&mut self, level: u8, class: Class) -> Result<Output, StorageError> {
        let id = self.next;
        self.next = SegmentId(id.0 + 1);
        let header = SegmentHeader { tenant: self.tenant.clone(), id, created: Timestamp::now() };
        let path = segment_file(self.dir, id);
        if self.vfs.exists(&path)? {
            // Of a repair that a crash ended before it was named.
            self.vfs.remove(&path)?;
        }
        let file = self.vfs.create(&path)?;
        let key = self.keys.new_file(FileKind::Segment, id.0)?;
        Output::new(file, key, header, level, class)
    }

    /// Opens a segment that was made.
    pub fn open(&self, id: SegmentId) -> Result<Readable, StorageError> {
        let (file, root) = open_segment(self.vfs.open(&segment_file(self.dir, id))?, self.keys)?;
        let reader = Arc::new(SegmentReader::open(file, Arc::new(Cache::new(0)))?);
        Ok(Readable { reader, is_sealed: root.is_some() })
    }

    /// A segment of the blocks of a reader, without records whose Seqs are `taken`; these are added to it.
    pub fn of_blocks(
        &mut self,
        reader: &Arc<SegmentReader>,
        taken: &mut RoaringTreemap,
        (class, level): (Class, u8),
    ) -> Result<Option<SegmentMeta>, Error> {
        let mut output: Option<Output> = None;
        for number in 0..reader.blocks() {
            let (payload, seqs) = read_block(reader, number)?;
            let rows: Vec<RowRef> = (payload.records.iter().zip(&**seqs).enumerate())
                .filter(|(_, (_, seq))| taken.insert(**seq))
                .map(|(i, (record, seq))| RowRef { time: record.time, seq: Seq(*seq), batch: 0, record: i as u32 })
                .collect();
            if rows.is_empty() {
                continue;
            }
            let mut target = match output.take() {
                Some(output) => output,
                None => self.begin(level, class.clone())?,
            };
            let block = encode_block(&rows, &[(Seq(0), payload)], LEVEL_MERGE, &mut target.sink);
            target.writer.block(&block)?;
            output = Some(target);
        }
        output.map(|output| output.finish(self.vfs, self.dir)).transpose()
    }

    /// A segment of batches from a log, of records behind `after` whose Seqs are not `taken`; these are added to it.
    pub fn of_batches(
        &mut self,
        batches: &[(Seq, Arc<Payload>)],
        taken: &mut RoaringTreemap,
        after: Seq,
    ) -> Result<Option<SegmentMeta>, Error> {
        let mut rows = order_rows(batches);
        rows.retain(|row| row.seq > after && taken.insert(row.seq.0));
        if rows.is_empty() {
            return Ok(None);
        }
        let mut output = self.begin(0, Class::default())?;
        let mut from = 0;
        for end in split_rows(&rows, batches) {
            let block = encode_block(&rows[from..end], batches, LEVEL_MERGE, &mut output.sink);
            output.writer.block(&block)?;
            from = end;
        }
        output.finish(self.vfs, self.dir).map(Some)
    }
}

/// Where a segment's file is in a tenant's folder.
pub(super) fn segment_file(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join("segments").join(format!("{id}.seg"))
}
