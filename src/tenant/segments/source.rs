//! A segment as a query reads it: open, or one block that stands for all of it and fails.

use super::{DAMAGE_KEPT, SegmentSource, segment_path};
use crate::error::StorageError;
use crate::format::edit::SegmentMeta;
use crate::index::IndexReader;
use crate::record::{Block, BlockInfo, Source, TermIndex, TermQuery};
use crate::segment::{SegmentBlock, SegmentReader};
use crate::vfs::HeldFile;
use roaring::RoaringBitmap;
use std::sync::Arc;
use std::time::Instant;

/// A segment that a query has opened.
#[derive(Debug)]
pub(super) struct OpenSource {
    segment: Arc<SegmentSource>,
    reader: Arc<SegmentReader>,
    /// Its files, where they stay open although a writer may remove their names.
    #[expect(dead_code, reason = "held until the query ends")]
    held: Vec<HeldFile>,
}

impl OpenSource {
    pub(super) fn new(segment: &Arc<SegmentSource>, reader: &Arc<SegmentReader>, held: Vec<HeldFile>) -> Self {
        OpenSource { segment: segment.clone(), reader: reader.clone(), held }
    }
}

impl Source for OpenSource {
    fn label(&self) -> String {
        format!("segment {}", self.segment.meta.id)
    }
    fn len(&self) -> usize {
        self.reader.blocks()
    }
    fn info(&self, block: usize) -> BlockInfo {
        self.reader.info(block)
    }
    fn block(&self, block: usize) -> Result<Arc<dyn Block>, StorageError> {
        if self.segment.is_ended() {
            let reason = "records were deleted, and this query began too long before";
            let path = segment_path(&self.segment.options, self.segment.meta.id);
            return Err(StorageError::io("read on", &path, std::io::Error::other(reason)));
        }
        Ok(Arc::new(SegmentBlock::open(&self.reader, block)?))
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        if self.segment.known().index.is_some() {
            return None;
        }
        let index = self.segment.open.get()?.index.clone()?;
        Some(Arc::new(Terms { segment: self.segment.clone(), index }))
    }
    fn damage(&self, block: usize) -> Option<StorageError> {
        let known = self.segment.known();
        let (at, damage) = known.blocks.get(&block)?;
        (at.elapsed() < DAMAGE_KEPT).then(|| damage.clone())
    }
    fn note_damage(&self, block: usize, error: &StorageError) {
        let mut known = self.segment.known();
        match known.blocks.get(&block) {
            Some((at, _)) if at.elapsed() < DAMAGE_KEPT => {}
            _ => drop(known.blocks.insert(block, (Instant::now(), error.clone()))),
        }
    }
}

/// A segment's index. Where it turns out to be damaged, every block may have a match, and it is not used again.
struct Terms {
    segment: Arc<SegmentSource>,
    index: Arc<IndexReader>,
}

impl TermIndex for Terms {
    fn may_match(&self, query: &TermQuery<'_>) -> Result<RoaringBitmap, StorageError> {
        match self.index.may_match(query) {
            Err(damage) if damage.is_damage() => {
                self.segment.known().index = Some(damage.to_string());
                Ok((0..self.index.blocks()).collect())
            }
            other => other,
        }
    }
}

/// A segment that can't be opened: as far as the manifest knows it, a block that can't be read.
#[derive(Debug)]
pub(super) struct DamagedSource {
    pub(super) meta: Arc<SegmentMeta>,
    pub(super) damage: StorageError,
}

impl Source for DamagedSource {
    fn label(&self) -> String {
        format!("segment {}", self.meta.id)
    }
    fn len(&self) -> usize {
        1
    }
    fn info(&self, _: usize) -> BlockInfo {
        let meta = &self.meta;
        BlockInfo {
            rows: u32::try_from(meta.rows).unwrap_or(u32::MAX),
            time: (meta.min_time, meta.max_time),
            seq: (meta.min_seq, meta.max_seq),
        }
    }
    fn block(&self, _: usize) -> Result<Arc<dyn Block>, StorageError> {
        Err(self.damage.clone())
    }
    fn damage(&self, _: usize) -> Option<StorageError> {
        Some(self.damage.clone())
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        None
    }
}
