//! A segment while it is written, with the index that grows beside it.

use super::leftover::Leftover;
use super::segments::segment_path;
use super::{TenantCore, Writer};
use crate::crypt::{FileKey, SealedWriter};
use crate::error::StorageError;
use crate::format::edit::SegmentMeta;
use crate::format::sealed::FileKind;
use crate::format::segment::SegmentHeader;
use crate::id::{Class, Place, SegmentId};
use crate::index::{BuildError, IndexBuilder};
use crate::record::{Column, Tag, Timestamp, for_each_element};
use crate::segment::{BlockSink, EncodedBlock, Pieces, SegmentWriter};
use crate::store::Error;
use crate::vfs::{Vfs, VfsFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Feeds an index with what blocks are built from.
pub(crate) struct IndexSink {
    builder: IndexBuilder,
    /// The first error; the sink's calls return none.
    error: Option<BuildError>,
}

impl IndexSink {
    pub fn new() -> Self {
        IndexSink { builder: IndexBuilder::new(), error: None }
    }

    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        match self.error {
            Some(e) => Err(e),
            None => self.builder.finish(),
        }
    }
}

impl BlockSink for IndexSink {
    fn begin(&mut self) {
        self.builder.begin_block();
    }
    fn column(&mut self, column: &Column) {
        self.builder.add_column(column);
    }
    fn pieces(&mut self, _: &Column, pieces: &Pieces<'_>) {
        pieces.values.iter().for_each(|values| self.builder.add_strings(values));
        pieces.texts.iter().for_each(|texts| self.builder.add_texts(texts));
    }
    fn value(&mut self, tag: Tag, text: &str) {
        self.builder.add_text(text);
        if tag == Tag::Array {
            // A text beside its escaped form in the array's JSON.
            for_each_element(text, &mut |_, text| self.builder.add_text(text));
        }
    }
    fn end(&mut self) {
        if let Err(e) = self.builder.end_block() {
            self.error.get_or_insert(e);
        }
    }
}

/// The files of segments that no entry names yet. They go with it, unless [`TenantCore::apply_made`] names them.
pub(super) struct Attempt {
    vfs: Arc<dyn Vfs>,
    leftover: Arc<Leftover>,
    files: Vec<PathBuf>,
}

impl Attempt {
    /// Keeps the files.
    pub fn keep(mut self) {
        self.files.clear();
    }

    /// Keeps the files until it is known whether an entry names them.
    pub fn keep_undecided(mut self) {
        self.leftover.keep_undecided(std::mem::take(&mut self.files));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for path in &self.files {
            // What fails is known as left over.
            let _ = self.leftover.remove(&*self.vfs, path);
        }
    }
}

impl TenantCore {
    /// An attempt to make segments, of which there are none yet.
    pub(super) fn attempt(&self) -> Attempt {
        let (vfs, leftover) = (self.options.vfs.clone(), self.options.leftover.clone());
        Attempt { vfs, leftover, files: Vec::new() }
    }

    pub(super) fn begin_segment(
        &self,
        writer: &Writer,
        attempt: &mut Attempt,
        level: u8,
        class: Class,
    ) -> Result<Output, StorageError> {
        // A merge draws its numbers beside seals, and its entry may come after theirs.
        writer.next_segment.fetch_max(writer.manifest.version().next_segment_id.0, Ordering::Relaxed);
        let id = SegmentId(writer.next_segment.fetch_add(1, Ordering::Relaxed));
        let path = segment_path(&self.options, id);
        let header = SegmentHeader { tenant: self.id.clone(), id, created: Timestamp::now() };
        let key = self.options.keys.new_file(FileKind::Segment, id.0)?;
        let file = self.options.vfs.create(&path)?;
        attempt.files.push(path);
        Output::new(file, key, header, level, class)
    }
}

/// A segment that is being written, with its index.
pub(crate) struct Output {
    pub writer: SegmentWriter,
    pub sink: IndexSink,
    header: SegmentHeader,
    level: u8,
    class: Class,
    /// Where the segment is encrypted.
    sealed: Option<Arc<SealedWriter>>,
}

impl Output {
    /// Begins a segment in an empty file, encrypted where there is a key.
    pub fn new(
        mut file: Arc<dyn VfsFile>,
        key: Option<FileKey>,
        header: SegmentHeader,
        level: u8,
        class: Class,
    ) -> Result<Self, StorageError> {
        let sealed = key.map(|key| Arc::new(SealedWriter::new(file.clone(), key)));
        if let Some(sealed) = &sealed {
            file = sealed.clone() as Arc<dyn VfsFile>;
        }
        let writer = SegmentWriter::new(file, &header)?;
        Ok(Output { writer, sink: IndexSink::new(), header, level, class, sealed })
    }

    pub fn block(&mut self, block: &EncodedBlock) -> Result<(), StorageError> {
        self.writer.block(block)
    }

    /// Makes durable what was written so far, so that the sync at the end takes less long.
    pub fn sync_so_far(&self) -> Result<(), StorageError> {
        match &self.sealed {
            // Its own sync would be its end.
            Some(sealed) => sealed.sync_so_far(),
            None => self.writer.sync(),
        }
    }

    /// Ends and syncs the file, and the folder that names it.
    pub fn finish(self, vfs: &dyn Vfs, tenant_dir: &Path) -> Result<SegmentMeta, Error> {
        let bundle = self.sink.finish()?;
        let s = self.writer.finish(&bundle)?;
        vfs.sync_dir(&tenant_dir.join("segments"))?;
        // Of a sealed segment the manifest says what can be compared without a key, and what says nothing of the records.
        let (bytes, data_root, index_root) = match self.sealed.and_then(|sealed| sealed.root()) {
            Some(stored) => (stored.bytes, stored.root, [0; 32]),
            None => (s.bytes, s.data_root, s.index_root),
        };
        Ok(SegmentMeta {
            id: self.header.id,
            bytes,
            data_root,
            index_root,
            rows: s.rows,
            min_time: s.time.0,
            max_time: s.time.1,
            min_seq: s.seq.0,
            max_seq: s.seq.1,
            blocks: s.blocks,
            created_at_ns: self.header.created.0,
            level: self.level,
            class: self.class,
            place: Place::default(),
        })
    }
}
