//! A segment and its index, as execution sees them; and what is known of the damage of both.
//!
//! Damage is remembered for a while and then looked for again, so that each answer tells of it from its beginning.
//! What the system refused is not: the cause may be gone with the next query.

mod source;

use super::TenantOptions;
use crate::archive::ArchivedName;
use crate::crypt::{Boxed, open_segment};
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::format::sealed::FileKind;
use crate::format::segment::Trailer;
use crate::id::{SegmentId, TenantId};
use crate::index::{IndexReader, OpenError};
use crate::record::{Block, Source};
use crate::segment::{SegmentBlock, SegmentReader, block_payload};
use crate::vfs::{HeldFile, MappedFile, MemoryFile, VfsFile};
use source::{DamagedSource, OpenSource};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// After so long a damaged segment or block is read again: the file may have been put back, or the damage been the
/// memory's and not the disk's.
const DAMAGE_KEPT: Duration = Duration::from_secs(60);

/// One live segment of a tenant. It is opened by the first query that needs more than the manifest says.
#[derive(Debug)]
pub struct SegmentSource {
    tenant: TenantId,
    options: TenantOptions,
    meta: Arc<SegmentMeta>,
    /// Only what could be opened; errors are not for ever.
    open: OnceLock<Open>,
    /// Held while it is opened, so that one thread does.
    opening: Mutex<()>,
    known: Mutex<Known>,
    /// Is the segment no longer live, so that its file goes with the last one who reads it?
    doomed: AtomicBool,
    /// Is it because its file is in another place?
    moved: AtomicBool,
    /// Were its records deleted so long ago that whoever still reads it is ended?
    ended: AtomicBool,
}

/// The damage that was found, and when.
#[derive(Debug, Default)]
struct Known {
    whole: Option<(Instant, StorageError)>,
    blocks: BTreeMap<usize, (Instant, StorageError)>,
    /// Why the index can't be used: queries scan instead, until it was made anew.
    index: Option<String>,
    /// When that was tried.
    reindexed: Option<Instant>,
}

/// What can't be read of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentDamage {
    /// Which one.
    pub segment: SegmentId,
    /// Which of its blocks; none where the segment can't be opened.
    pub blocks: Vec<usize>,
    /// The damage, with file and offset.
    pub reason: String,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("reader", &self.reader).field("has_index", &self.index.is_some()).finish()
    }
}

impl Drop for SegmentSource {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            // What fails is known as left over.
            let _ = self.remove();
            if !self.moved.load(Ordering::Acquire) {
                let index = index_path(&self.options.dir, self.meta.id);
                let _ = self.options.leftover.remove(&*self.options.vfs, &index);
            }
        }
    }
}

struct Open {
    reader: Arc<SegmentReader>,
    index: Option<Arc<IndexReader>>,
    is_sealed: bool,
    /// What both are read from.
    files: Vec<Arc<dyn VfsFile>>,
}

/// Where a segment's file is, within a tenant's directory.
pub fn segment_path(options: &TenantOptions, id: SegmentId) -> PathBuf {
    options.dir.join("segments").join(format!("{id}.seg"))
}

/// Where the index of a segment is that was made anew, within a tenant's directory.
pub fn index_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join("segments").join(format!("{id}.idx"))
}

impl SegmentSource {
    /// A segment that the manifest names; nothing is read yet.
    pub fn new(tenant: &TenantId, options: &TenantOptions, meta: Arc<SegmentMeta>) -> Self {
        SegmentSource {
            tenant: tenant.clone(),
            options: options.clone(),
            meta,
            open: OnceLock::new(),
            opening: Mutex::default(),
            known: Mutex::default(),
            doomed: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Says that no version names the segment any more: its file is removed when nobody reads it.
    pub fn doom(&self) {
        if !self.meta.place.is_own() {
            self.options.rules.begin_read(ArchivedName::of(&self.meta));
        }
        self.doomed.store(true, Ordering::Release);
    }

    /// Says that its file is in another place now: the one here is removed when nobody reads it. An index that was made
    /// anew stays where it is.
    pub fn doom_here(&self) {
        self.moved.store(true, Ordering::Release);
        self.doom();
    }

    /// Removes its file.
    fn remove(&self) -> Result<(), StorageError> {
        let rules = &self.options.rules;
        match self.meta.place.is_own() {
            true => {
                let segment = segment_path(&self.options, self.meta.id);
                self.options.leftover.remove(&*self.options.vfs, &segment)
            }
            // Where this fails, the next look at the tenant's rules does it; it also takes the file from the list.
            false => {
                let name = ArchivedName::of(&self.meta);
                let archive = rules.archives().get(&self.meta.place);
                let removed = archive.and_then(|archive| archive.remove(&self.tenant, &name));
                rules.end_read(&name);
                removed
            }
        }
    }

    /// Where its file is: in the tenant's own folder, or in an archive, which must be known.
    pub(super) fn path(&self) -> Result<PathBuf, StorageError> {
        match self.meta.place.is_own() {
            true => Ok(segment_path(&self.options, self.meta.id)),
            false => {
                let archive = self.options.rules.archives().get(&self.meta.place)?;
                Ok(archive.path(&self.tenant, &ArchivedName::of(&self.meta)))
            }
        }
    }

    /// Opens its file, wherever that is; through a map where that was asked for, and it is no object of a bucket.
    fn open_file(&self) -> Result<(Arc<dyn VfsFile>, Option<PathBuf>), StorageError> {
        if self.meta.place.is_own() {
            let path = segment_path(&self.options, self.meta.id);
            return Ok((self.options.vfs.open(&path)?, Some(path)));
        }
        let (archive, name) = (self.options.rules.archives().get(&self.meta.place)?, ArchivedName::of(&self.meta));
        Ok((archive.open(&self.tenant, &name)?, archive.local_path(&self.tenant, &name)))
    }

    /// Ends those who read it: their next block is an error.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Were its readers ended?
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<SegmentMeta> {
        &self.meta
    }

    /// The open segment. Damage is remembered for a while; what the system refused is tried again each time.
    pub fn reader(&self) -> Result<&Arc<SegmentReader>, StorageError> {
        Ok(&self.opened()?.reader)
    }

    /// Is its file encrypted? One from before the tenant was is not.
    pub(super) fn is_sealed(&self) -> Result<bool, StorageError> {
        Ok(self.opened()?.is_sealed)
    }

    /// What a query reads: the segment's blocks, or where it can't be opened since it is damaged or missing, one that
    /// stands for all of them and fails. An error where the system refused. `is_held`: its files stay open until the
    /// source is dropped, since a writer in another process waits for nobody before it removes them.
    pub(super) fn source(self: &Arc<Self>, is_held: bool) -> Result<Arc<dyn Source>, StorageError> {
        let held = |open: &Open| -> Result<Vec<HeldFile>, StorageError> {
            let held = open.files.iter().filter(|_| is_held).map(|file| file.hold());
            let held: Result<Vec<_>, _> = held.filter_map(Result::transpose).collect();
            held.map_err(|error| self.as_damage(error))
        };
        match self.opened().and_then(|open| Ok((open, held(open)?))) {
            Ok((open, held)) => Ok(Arc::new(OpenSource::new(self, &open.reader, held))),
            Err(damage) if damage.is_damage() => Ok(Arc::new(DamagedSource { meta: self.meta.clone(), damage })),
            Err(error) => Err(error),
        }
    }

    /// The damage that is known of it.
    pub fn damage(&self) -> Option<SegmentDamage> {
        let known = self.known();
        let first = known.whole.as_ref().or_else(|| known.blocks.values().next())?;
        let blocks = if known.whole.is_some() { Vec::new() } else { known.blocks.keys().copied().collect() };
        Some(SegmentDamage { segment: self.meta.id, blocks, reason: first.1.to_string() })
    }

    /// Looks again at damage that was found a while ago, for whoever does nothing with a segment that is damaged: as for
    /// queries, it may be gone.
    pub(super) fn look_again(&self) {
        let is_due = |at: &Instant| at.elapsed() >= DAMAGE_KEPT;
        let (whole, blocks) = {
            let known = self.known();
            let blocks = known.blocks.iter().filter(|(_, (at, _))| is_due(at)).map(|(block, _)| *block);
            (known.whole.as_ref().is_some_and(|(at, _)| is_due(at)), blocks.collect::<Vec<_>>())
        };
        if whole {
            // Notes what it finds.
            let _ = self.reader();
        }
        for block in blocks {
            let read = self.reader().and_then(|reader| {
                let block = SegmentBlock::open(reader, block)?;
                block.seqs().and(block_payload(&block))
            });
            match read {
                Ok(_) => drop(self.known().blocks.remove(&block)),
                Err(error) if error.is_damage() => drop(self.known().blocks.insert(block, (Instant::now(), error))),
                Err(_) => {}
            }
        }
    }

    /// As if all that is known of damage had been found a while ago.
    #[cfg(test)]
    pub(super) fn age_damage(&self) {
        let mut known = self.known();
        let Known { whole, blocks, .. } = &mut *known;
        for (at, _) in whole.iter_mut().chain(blocks.values_mut()) {
            *at = at.checked_sub(DAMAGE_KEPT).unwrap_or(*at);
        }
    }

    /// Why the segment's index is not used, as far as that is known.
    pub fn index_error(&self) -> Option<String> {
        self.known().index.clone()
    }

    /// Is it time to make the index anew: was it not tried, or a while ago?
    pub(super) fn may_reindex(&self) -> bool {
        self.known().reindexed.is_none_or(|at| at.elapsed() >= DAMAGE_KEPT)
    }

    pub(super) fn note_reindex(&self) {
        self.known().reindexed = Some(Instant::now());
    }

    /// Notes damage at a place of the file, found by whoever read its blocks for something else than a query.
    pub(super) fn note_damage_at(&self, offset: u64, error: &StorageError) {
        let Some(open) = self.open.get() else { return };
        let blocks = &open.reader.footer().blocks;
        if let Some(block) = blocks.iter().rposition(|b| b.offset <= offset) {
            self.known().blocks.insert(block, (Instant::now(), error.clone()));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> Result<&Open, StorageError> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        if let Some((_, damage)) = self.known().whole.as_ref().filter(|(at, _)| at.elapsed() < DAMAGE_KEPT) {
            return Err(damage.clone());
        }
        match self.load() {
            Ok(open) => {
                self.known().whole = None;
                Ok(self.open.get_or_init(|| open))
            }
            Err(error) => {
                let error = self.as_damage(error);
                if error.is_damage() {
                    self.known().whole = Some((Instant::now(), error.clone()));
                }
                Err(error)
            }
        }
    }

    /// A file that is missing although the manifest names it is damage. To a reader beside a writer it may also have
    /// been merged away since the manifest was read, which is the system's error that it was.
    fn as_damage(&self, error: StorageError) -> StorageError {
        if !error.is_not_found() {
            return error;
        }
        let manifest = self.options.dir.join("manifest");
        match crate::manifest::open_read_only(&*self.options.vfs, &manifest, &self.tenant) {
            Ok((version, _)) if version.segments.contains_key(&self.meta.id) => {
                let (expected, found) = match self.meta.place.is_own() {
                    true => ("a file that the manifest names".to_string(), "no such file".to_string()),
                    false => (format!("a file in the archive `{}`", self.meta.place), error.to_string()),
                };
                let file = self.path().unwrap_or_else(|_| segment_path(&self.options, self.meta.id));
                Damage { file, offset: 0, what: "segment", expected, found }.into()
            }
            _ => error,
        }
    }

    fn load(&self) -> Result<Open, StorageError> {
        let (file, local) = self.open_file()?;
        let path = file.path().to_path_buf();
        let mut files = vec![file.clone()];
        let (mut file, stored) = open_segment(file, &self.options.keys)?;
        if let Some(local) = local.filter(|_| stored.is_none() && self.options.mapped) {
            file = Arc::new(MappedFile::open(&local)?);
        }
        let reader = SegmentReader::open(file.clone(), self.options.cache.clone())?;
        let found = reader.header();
        let trailer = *reader.trailer();
        // A file that is whole but another one: swapped between tenants, or an older copy.
        let expect = format!("segment {} of {} with root {}", self.meta.id, self.tenant, hex(&self.meta.data_root));
        let root = stored.map_or(trailer.data_root, |stored| stored.root);
        let is = format!("segment {} of {} with root {}", found.id, found.tenant, hex(&root));
        if expect != is {
            return Err(Damage { file: path, offset: 0, what: "segment", expected: expect, found: is }.into());
        }
        let index = match self.load_index(file, &trailer, stored.is_some(), reader.blocks()) {
            Ok((index, beside)) => {
                files.extend(beside);
                Some(Arc::new(index))
            }
            Err(e) => {
                self.known().index = Some(e.to_string());
                None
            }
        };
        Ok(Open { reader: Arc::new(reader), index, is_sealed: stored.is_some(), files })
    }

    fn file(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        if self.options.mapped { Ok(Arc::new(MappedFile::open(path)?)) } else { self.options.vfs.open(path) }
    }

    /// The index that was made anew where there is one, with its file, else the one in the segment.
    fn load_index(
        &self,
        segment: Arc<dyn VfsFile>,
        trailer: &Trailer,
        is_sealed: bool,
        blocks: usize,
    ) -> Result<(IndexReader, Option<Arc<dyn VfsFile>>), OpenError> {
        let path = index_path(&self.options.dir, self.meta.id);
        let is_beside = self.options.vfs.exists(&path)?;
        let (file, offset, len, root) = match is_beside {
            true => {
                // The file itself does not say whose it is. There are few of these.
                let bytes = self.options.vfs.read(&path)?;
                let root = *blake3::hash(&bytes).as_bytes();
                let file = match self.options.keys.take_out_of_box(FileKind::Index, self.meta.id.0, bytes, &path)? {
                    Boxed::Opened(bytes) => Arc::new(MemoryFile::new(&path, bytes)) as Arc<dyn VfsFile>,
                    Boxed::Plain(_) => self.file(&path)?,
                };
                let len = file.len()?;
                (file, 0, len, root)
            }
            // The manifest has no root for an index that is encrypted with its segment.
            false if is_sealed => (segment, trailer.index_offset, trailer.index_len, [0; 32]),
            false => (segment, trailer.index_offset, trailer.index_len, trailer.index_root),
        };
        let damage = |expected: String, found: String| {
            StorageError::from(Damage { file: file.path().to_path_buf(), offset, what: "index", expected, found })
        };
        if root != self.meta.index_root {
            return Err(damage(format!("root {}", hex(&self.meta.index_root)), hex(&root)).into());
        }
        let index = IndexReader::open(file.clone(), offset, len, self.options.cache.clone())?;
        if index.blocks() as usize != blocks {
            return Err(damage(format!("{blocks} blocks"), index.blocks().to_string()).into());
        }
        Ok((index, is_beside.then_some(file)))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
