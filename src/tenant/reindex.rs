//! Indexes made anew: of segments whose own is damaged, or was made by rules that this version does not know.
//!
//! A segment's file never changes. The new index is a file beside it, and the manifest says which root it has.

use super::TenantCore;
use super::open::open_segments;
use super::output::IndexSink;
use super::segments::{SegmentSource, index_path};
use crate::error::StorageError;
use crate::format::edit::Edit;
use crate::format::sealed::FileKind;
use crate::index::BuildError;
use crate::record::Block;
use crate::segment::{BlockSink, SegmentBlock, SegmentReader};
use crate::store::Error;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The index of a segment from its records alone. Holds one decoded block at a time.
pub(crate) fn build_index(reader: &Arc<SegmentReader>) -> Result<Vec<u8>, IndexError> {
    let mut sink = IndexSink::new();
    for number in 0..reader.blocks() {
        let block = SegmentBlock::open(reader, number)?;
        sink.begin();
        for name in block.names()? {
            if let Some(field) = block.field(&name)? {
                sink.column(&field.column);
            }
        }
        sink.end();
    }
    Ok(sink.finish()?)
}

impl TenantCore {
    /// Makes the index of one segment anew that queries found unusable; says whether there was one. Queries scan
    /// meanwhile. Not while records of the segment can't be read: these would be missing in it.
    pub fn rebuild_index(&self) -> Result<bool, Error> {
        let Some(writer) = &self.writer else { return Ok(false) };
        let needs = |s: &&Arc<SegmentSource>| s.index_error().is_some() && s.damage().is_none() && s.may_reindex();
        let found = self.state().segments.values().find(needs).cloned();
        let Some(segment) = found else { return Ok(false) };
        let id = segment.meta().id;
        segment.note_reindex();
        let bundle = match build_index(segment.reader()?) {
            Ok(bundle) => bundle,
            Err(IndexError::Storage(e)) => return Err(e.into()),
            Err(IndexError::Build(e)) => return Err(e.into()),
        };
        // Only now: others seal and merge while an index is built. The segment may have been merged away meanwhile.
        let _turn = self.turn(writer);
        if !self.state().segments.get(&id).is_some_and(|live| Arc::ptr_eq(live, &segment)) {
            return Ok(false);
        }
        let stored = self.options.keys.put_in_box(FileKind::Index, id.0, bundle)?;
        self.options.vfs.replace(&index_path(&self.options.dir, id), &stored)?;
        let edit = Edit::IndexRebuilt { segment: id, index_root: *blake3::hash(&stored).as_bytes() };
        let version = self.apply(writer, edit)?;
        let mut state = self.state();
        let mut kept: BTreeMap<_, _> = (*state.segments).clone();
        kept.remove(&id);
        state.segments = Arc::new(open_segments(&self.id, &self.options, &version, &kept));
        state.version = version;
        Ok(true)
    }
}
