//! What a store's folder holds at one moment, found out beside its writer.

use super::BackupError;
use super::run::FilePath;
use super::target::{CHUNK_BYTES, Chunks};
use crate::archive::{Archive, ArchivedName, Archives};
use crate::catalog::CONTROL_LOG;
use crate::error::{Damage, StorageError};
use crate::format::compress::Codec;
use crate::format::control;
use crate::format::edit::SegmentMeta;
use crate::format::header::hex;
use crate::format::sealed::SEALED_TRAILER_BYTES;
use crate::format::segment::{TRAILER_BYTES, Trailer, read_trailer};
use crate::format::version::Version;
use crate::id::{SegmentId, Seq, TenantId};
use crate::log::ReadOnlyError;
use crate::store::folders;
use crate::vfs::{MemoryFile, Vfs, VfsFile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tenant's files at one moment. Those of the log only grow; all others never change, but they may go.
#[derive(Debug)]
pub(super) struct TenantFiles {
    pub version: Version,
    /// The last record that a reader sees.
    pub last: Seq,
    pub files: Vec<SourceFile>,
}

/// A file, and how much of it counts.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub path: FilePath,
    pub bytes: u64,
    pub from: Bytes,
    /// What the manifest says of it, where it is a segment.
    pub segment: Option<Arc<SegmentMeta>>,
    /// Was the index of the segment made anew beside it, so that the one inside need not be right?
    pub index_beside: bool,
}

/// Where the bytes of a file are.
#[derive(Debug)]
pub(super) enum Bytes {
    Memory(Vec<u8>),
    File(PathBuf),
    /// In an archive.
    Archived(Arc<dyn Archive>, TenantId, ArchivedName),
    /// In an archive that is not known, and why that is an error where no earlier run has the file.
    Unknown(String),
}

/// Why a tenant was not read.
#[derive(Debug)]
pub(super) enum NotRead {
    /// Files went while they were read: begin again.
    Moved(StorageError),
    /// The tenant is gone.
    Gone,
    Failed(BackupError),
}

impl<E: Into<BackupError>> From<E> for NotRead {
    fn from(e: E) -> Self {
        NotRead::Failed(e.into())
    }
}

impl TenantFiles {
    /// Records in segments, also in archives, and durable in the log.
    pub fn records(&self) -> u64 {
        let sealed: u64 = self.version.segments.values().map(|s| s.rows).sum();
        sealed + self.last.0.saturating_sub(self.version.sealed_below.0)
    }
}

/// Is this a file of a tenant's folder, beside the manifest, that belongs to it for good? Its key, and the manifests
/// that were written anew; not what is half written, and not its list of files in archives: what comes back has none
/// there.
fn is_kept(name: &str) -> bool {
    !matches!(name, "manifest" | "archived") && !name.ends_with(".tmp") && !name.starts_with('.')
}

/// The names in a tenant's folder that are copied as they are.
fn plain_names(vfs: &dyn Vfs, dir: &Path) -> Result<BTreeSet<String>, StorageError> {
    let entries = vfs.list(dir)?;
    Ok(entries.into_iter().filter(|e| !e.is_dir && is_kept(&e.name)).map(|e| e.name).collect())
}

/// Finds out which files a tenant consists of. Nothing is locked: where the writer seals or merges meanwhile, what was
/// found may be gone, and whoever copies begins again.
pub(super) fn read_tenant(
    vfs: &dyn Vfs,
    dir: &Path,
    tenant: &TenantId,
    archives: &Archives,
) -> Result<TenantFiles, NotRead> {
    let manifest = dir.join("manifest");
    let plain = plain_names(vfs, dir).or_else(|e| if_gone(vfs, dir, tenant, e))?;
    let read = crate::manifest::read_whole(vfs, &manifest, tenant);
    let (version, bytes) = read.or_else(|e| if_gone(vfs, dir, tenant, e))?;
    // A manifest that was written anew leaves the one before beside it: both, or neither.
    if plain_names(vfs, dir)? != plain {
        return Err(NotRead::Moved(StorageError::io("list folder", dir, std::io::Error::other("its files change"))));
    }
    let mut files = vec![memory("manifest", bytes)?];
    for name in plain {
        let path = dir.join(&name);
        let bytes = vfs.open(&path).and_then(|file| file.len()).map_err(moved)?;
        files.push(file(&name, path, bytes)?);
    }
    let segments = dir.join("segments");
    let beside: BTreeSet<String> = match version.segments.is_empty() {
        true => BTreeSet::new(),
        false => vfs.list(&segments)?.into_iter().map(|e| e.name).collect(),
    };
    // What is in an archive is copied as if it were here: so nothing is copied again when it goes there, and what comes
    // back needs no archive.
    for meta in version.segments.values() {
        let name = format!("{}.seg", meta.id);
        let index = index_name(meta.id);
        let index_beside = beside.contains(&index);
        let mut segment = file(&format!("segments/{name}"), segments.join(&name), meta.bytes)?;
        segment.segment = Some(meta.clone());
        if !meta.place.is_own() {
            segment.from = match archives.get(&meta.place) {
                Ok(archive) => Bytes::Archived(archive.clone(), tenant.clone(), ArchivedName::of(meta)),
                Err(_) => Bytes::Unknown(format!(
                    "segment {} is in the archive `{}`: say where that is in `[archives]`",
                    meta.id, meta.place
                )),
            };
        }
        segment.index_beside = index_beside;
        files.push(segment);
        if index_beside {
            let path = segments.join(&index);
            let bytes = vfs.open(&path).and_then(|file| file.len()).map_err(moved)?;
            files.push(file(&format!("segments/{index}"), path, bytes)?);
        }
    }
    let logs = dir.join("log");
    let extents = match crate::log::extents(vfs, &logs, tenant, version.sealed_below) {
        Ok(extents) => extents,
        Err(ReadOnlyError::Moved(e)) => return Err(NotRead::Moved(e)),
        Err(ReadOnlyError::Storage(e)) => return if_gone(vfs, dir, tenant, e),
    };
    for extent in extents.files {
        let name = extent.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        files.push(file(&format!("log/{name}"), extent.path, extent.bytes)?);
    }
    Ok(TenantFiles { version, last: extents.last, files })
}

/// The index of a segment that was made anew.
fn index_name(id: SegmentId) -> String {
    format!("{id}.idx")
}

pub(super) fn moved(e: StorageError) -> NotRead {
    if e.is_not_found() { NotRead::Moved(e) } else { e.into() }
}

/// A file that is missing because its tenant is; any other error is one. A tenant that lost its manifest is there.
fn if_gone<T>(vfs: &dyn Vfs, dir: &Path, tenant: &TenantId, error: StorageError) -> Result<T, NotRead> {
    let data = dir.parent().and_then(Path::parent).unwrap_or(dir);
    match error.is_not_found() && !folders::has_tenant(vfs, data, tenant)? {
        true => Err(NotRead::Gone),
        false => Err(error.into()),
    }
}

fn checked_path(path: &str) -> Result<FilePath, BackupError> {
    FilePath::new(path).map_err(|e| BackupError::Request(e.to_string()))
}

fn memory(path: &str, bytes: Vec<u8>) -> Result<SourceFile, BackupError> {
    let (path, len) = (checked_path(path)?, bytes.len() as u64);
    Ok(SourceFile { path, bytes: len, from: Bytes::Memory(bytes), segment: None, index_beside: false })
}

fn file(path: &str, from: PathBuf, bytes: u64) -> Result<SourceFile, BackupError> {
    Ok(SourceFile { path: checked_path(path)?, bytes, from: Bytes::File(from), segment: None, index_beside: false })
}

/// The control log up to the end of its last whole frame, and which store it is; `None` where there is none.
pub(super) fn read_control(vfs: &dyn Vfs, data: &Path) -> Result<Option<(SourceFile, String)>, BackupError> {
    let path = data.join(CONTROL_LOG);
    if !vfs.exists(&path)? {
        return Ok(None);
    }
    let mut bytes = vfs.read(&path)?;
    let contents = control::decode(&bytes).map_err(|e| StorageError::from(e.in_file(&path)))?;
    bytes.truncate(usize::try_from(contents.head.bytes).unwrap_or(usize::MAX));
    Ok(Some((memory(CONTROL_LOG, bytes)?, format!("{:016x}", contents.header.salt))))
}

impl SourceFile {
    fn open(&self, vfs: &dyn Vfs) -> Result<Arc<dyn VfsFile>, NotRead> {
        match &self.from {
            Bytes::Memory(bytes) => Ok(Arc::new(MemoryFile::new(Path::new(self.path.as_str()), bytes.clone()))),
            Bytes::File(path) => vfs.open(path).map_err(moved),
            Bytes::Archived(archive, tenant, name) => archive.open_afresh(tenant, name).map_err(moved),
            Bytes::Unknown(why) => Err(NotRead::Failed(BackupError::Request(why.clone()))),
        }
    }

    /// The bytes in parts, for the copy.
    pub fn chunks(&self, vfs: &dyn Vfs) -> Result<Box<Chunks<'_>>, NotRead> {
        match &self.from {
            Bytes::Memory(bytes) => Ok(Box::new(bytes.chunks(CHUNK_BYTES).map(|c| Ok(c.to_vec())))),
            _ => Ok(Box::new(Parts { file: self.open(vfs)?, at: 0, end: self.bytes }.map(|c| Ok(c?)))),
        }
    }

    /// Reads all of it for its hash. A segment is compared with its roots on the way: what is damaged is not copied
    /// as if it were not.
    pub fn hash(&self, vfs: &dyn Vfs) -> Result<[u8; 32], NotRead> {
        if let Bytes::Memory(bytes) = &self.from {
            return Ok(*blake3::hash(bytes).as_bytes());
        }
        let file = self.open(vfs)?;
        let mut roots = match &self.segment {
            Some(meta) => Some(Roots::begin(&*file, meta).map_err(moved)?),
            None => None,
        };
        let mut hasher = blake3::Hasher::new();
        for chunk in (Parts { file: file.clone(), at: 0, end: self.bytes }) {
            let chunk = chunk.map_err(moved)?;
            hasher.update(&chunk);
            if let Some(roots) = &mut roots {
                roots.update(&chunk);
            }
        }
        if let (Some(roots), Some(meta)) = (roots, &self.segment) {
            roots.compare(file.path(), meta, self.index_beside)?;
        }
        Ok(*hasher.finalize().as_bytes())
    }
}

/// A file up to an end, in parts.
struct Parts {
    file: Arc<dyn VfsFile>,
    at: u64,
    end: u64,
}

impl Iterator for Parts {
    type Item = Result<Vec<u8>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let len = (self.end - self.at).min(CHUNK_BYTES as u64) as usize;
        let mut chunk = vec![0; len];
        let read = self.file.read_exact_at(self.at, &mut chunk);
        self.at = if read.is_ok() { self.at + len as u64 } else { self.end };
        Some(read.map(|()| chunk))
    }
}

/// The two roots of a segment, computed while it goes by.
struct Roots {
    trailer: Trailer,
    at: u64,
    data: blake3::Hasher,
    index: blake3::Hasher,
}

impl Roots {
    fn begin(file: &dyn VfsFile, meta: &SegmentMeta) -> Result<Roots, StorageError> {
        let len = file.len()?;
        if len != meta.bytes {
            let (expected, found) = (format!("{} bytes", meta.bytes), format!("{len} bytes"));
            let file = file.path().to_path_buf();
            return Err(Damage { file, offset: len.min(meta.bytes), what: "segment", expected, found }.into());
        }
        if crate::crypt::generation(file)?.is_some() {
            // An encrypted one is compared as it is stored, all of it but its trailer: that takes no key.
            let end = len.saturating_sub(SEALED_TRAILER_BYTES as u64);
            let trailer = Trailer {
                index_offset: end,
                index_len: 0,
                footer_offset: len,
                footer_len: 0,
                footer_raw: 0,
                footer_codec: Codec::Raw,
                footer_crc: 0,
                data_root: meta.data_root,
                index_root: *blake3::hash(&[]).as_bytes(),
            };
            return Ok(Roots { trailer, at: 0, data: blake3::Hasher::new(), index: blake3::Hasher::new() });
        }
        let at = len.saturating_sub(TRAILER_BYTES as u64);
        let mut bytes = vec![0; (len - at) as usize];
        file.read_exact_at(at, &mut bytes)?;
        let trailer = read_trailer(&bytes, len).map_err(|e| e.within(at).in_file(file.path()))?;
        Ok(Roots { trailer, at: 0, data: blake3::Hasher::new(), index: blake3::Hasher::new() })
    }

    fn update(&mut self, chunk: &[u8]) {
        let t = &self.trailer;
        feed(&mut self.data, chunk, self.at, 0, t.index_offset);
        feed(&mut self.index, chunk, self.at, t.index_offset, t.index_offset.saturating_add(t.index_len));
        feed(&mut self.data, chunk, self.at, t.footer_offset, t.footer_offset.saturating_add(t.footer_len));
        self.at += chunk.len() as u64;
    }

    fn compare(self, path: &Path, meta: &SegmentMeta, index_beside: bool) -> Result<(), StorageError> {
        let index = if index_beside { self.trailer.index_root } else { *self.index.finalize().as_bytes() };
        let roots = [
            ("data root", 0, meta.data_root, *self.data.finalize().as_bytes()),
            ("index root", self.trailer.index_offset, self.trailer.index_root, index),
        ];
        for (what, offset, expected, found) in roots {
            if expected != found {
                let (expected, found) = (hex(&expected), hex(&found));
                return Err(Damage { file: path.to_path_buf(), offset, what, expected, found }.into());
            }
        }
        Ok(())
    }
}

/// Hands to a hasher what of a chunk, which begins at `at` in its file, lies in a range of the file.
fn feed(hasher: &mut blake3::Hasher, chunk: &[u8], at: u64, from: u64, to: u64) {
    let low = from.max(at);
    let high = to.min(at + chunk.len() as u64);
    if low < high {
        hasher.update(&chunk[(low - at) as usize..(high - at) as usize]);
    }
}
