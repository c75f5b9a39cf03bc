//! A segment and its index, as execution sees them.

use super::TenantOptions;
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::id::{SegmentId, TenantId};
use crate::index::{IndexReader, OpenError};
use crate::record::{Block, BlockInfo, Source, TermIndex};
use crate::segment::{SegmentBlock, SegmentReader};
use crate::vfs::{MappedFile, VfsFile};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// One live segment of a tenant. It is opened by the first query that needs more than the manifest says.
#[derive(Debug)]
pub struct SegmentSource {
    tenant: TenantId,
    options: TenantOptions,
    meta: Arc<SegmentMeta>,
    open: OnceLock<Result<Open, StorageError>>,
    /// Is the segment no longer live, so that its file goes with the last one who reads it?
    doomed: AtomicBool,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("reader", &self.reader).field("index_error", &self.index_error).finish()
    }
}

impl Drop for SegmentSource {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            // Where this fails, the next open finds a file that no version names, and removes it then.
            let _ = self.options.vfs.remove(&segment_path(&self.options, self.meta.id));
        }
    }
}

struct Open {
    reader: Arc<SegmentReader>,
    index: Option<Arc<IndexReader>>,
    /// Why the index can't be used: queries scan instead.
    index_error: Option<OpenError>,
}

/// Where a segment's file is, within a tenant's directory.
pub fn segment_path(options: &TenantOptions, id: SegmentId) -> PathBuf {
    options.dir.join("segments").join(format!("{id}.seg"))
}

impl SegmentSource {
    /// A segment that the manifest names; nothing is read yet.
    pub fn new(tenant: &TenantId, options: &TenantOptions, meta: Arc<SegmentMeta>) -> Self {
        SegmentSource {
            tenant: tenant.clone(),
            options: options.clone(),
            meta,
            open: OnceLock::new(),
            doomed: AtomicBool::new(false),
        }
    }

    /// Says that no version names the segment any more: its file is removed when nobody reads it.
    pub fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<SegmentMeta> {
        &self.meta
    }

    /// The open segment. An error is kept: a damaged file does not get better, and each query says so again.
    pub fn reader(&self) -> Result<&Arc<SegmentReader>, StorageError> {
        Ok(&self.opened()?.reader)
    }

    /// Why the segment's index is not used, if it is not.
    pub fn index_error(&self) -> Option<&OpenError> {
        self.opened().ok()?.index_error.as_ref()
    }

    fn opened(&self) -> Result<&Open, StorageError> {
        self.open.get_or_init(|| self.load()).as_ref().map_err(Clone::clone)
    }

    fn load(&self) -> Result<Open, StorageError> {
        let path = segment_path(&self.options, self.meta.id);
        let file: Arc<dyn VfsFile> =
            if self.options.mapped { Arc::new(MappedFile::open(&path)?) } else { self.options.vfs.open(&path)? };
        let reader = SegmentReader::open(file.clone(), self.options.cache.clone())?;
        let found = reader.header();
        let trailer = *reader.trailer();
        // A file that is whole but another one: swapped between tenants, or an older copy.
        let expect = format!("segment {} of {} with root {}", self.meta.id, self.tenant, hex(&self.meta.data_root));
        let is = format!("segment {} of {} with root {}", found.id, found.tenant, hex(&trailer.data_root));
        if expect != is {
            return Err(Damage { file: path, offset: 0, what: "segment", expected: expect, found: is }.into());
        }
        let (index, index_error) = match IndexReader::open(file, trailer.index_offset, trailer.index_len) {
            Ok(index) => (Some(Arc::new(index)), None),
            Err(e) => (None, Some(e)),
        };
        Ok(Open { reader: Arc::new(reader), index, index_error })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A segment that a query has opened.
#[derive(Debug)]
pub(super) struct OpenSource {
    pub segment: Arc<SegmentSource>,
    pub reader: Arc<SegmentReader>,
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
        Ok(Arc::new(SegmentBlock::open(&self.reader, block)?))
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        let open = self.segment.opened().ok()?;
        open.index.clone().map(|index| index as Arc<dyn TermIndex>)
    }
}
