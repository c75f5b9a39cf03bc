//! A bucket as an archive: read by ranges, and what was read kept for a while.
//!
//! Where the service can't be reached, what is in the file can't be known, as if it were damaged: so that answers say what
//! they miss and have all else, and it is looked for again after a minute.

use super::chunks::{CHUNK_BYTES, Chunks};
use super::{Archive, ArchivedName, COPY_BYTES};
use crate::error::{Damage, StorageError};
use crate::id::TenantId;
use crate::object::{Bucket, ObjectError};
use crate::vfs::VfsFile;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Chunks that are asked for at a time.
const CHUNKS_AT_ONCE_MAX: u64 = 8;

/// A bucket, or what is below a prefix of it, that holds segments.
#[derive(Clone, Debug)]
pub struct BucketArchive {
    bucket: Bucket,
    chunks: Arc<Chunks>,
}

/// The one error of a copy: of its source, or of the service.
enum CopyError {
    Source(StorageError),
    Object(ObjectError),
}

impl From<ObjectError> for CopyError {
    fn from(e: ObjectError) -> Self {
        CopyError::Object(e)
    }
}

/// What a service says, as the system's error.
fn refused(op: &'static str, path: &Path, error: &ObjectError) -> StorageError {
    let kind = if error.is_missing() { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
    StorageError::io(op, path, io::Error::new(kind, error.to_string()))
}

/// The same of what is read: missing is missing, and all else hides what is there.
fn hidden(path: &Path, offset: u64, error: &ObjectError) -> StorageError {
    if error.is_missing() {
        return refused("open", path, error);
    }
    let (file, found) = (path.to_path_buf(), error.to_string());
    Damage { file, offset, what: "segment in an archive", expected: "an answer of the object store".into(), found }
        .into()
}

impl BucketArchive {
    /// A bucket. Nothing is asked of it yet.
    pub fn new(bucket: Bucket) -> Self {
        BucketArchive { bucket, chunks: Arc::default() }
    }

    fn name(&self, tenant: &TenantId, name: &ArchivedName) -> String {
        format!("{tenant}/{}", name.as_str())
    }

    fn file(&self, tenant: &TenantId, name: &ArchivedName, is_kept: bool) -> Result<Arc<dyn VfsFile>, StorageError> {
        let (path, name) = (self.path(tenant, name), self.name(tenant, name));
        let found = self.bucket.head(&name).map_err(|e| hidden(&path, 0, &e))?;
        let Some(found) = found else {
            return Err(refused("open", &path, &ObjectError::Missing { place: self.bucket.place(&name) }));
        };
        let chunks = is_kept.then(|| self.chunks.clone());
        Ok(Arc::new(BucketFile { bucket: self.bucket.clone(), name: name.into(), path, len: found.bytes, chunks }))
    }
}

impl Archive for BucketArchive {
    fn folder(&self, tenant: &TenantId) -> PathBuf {
        PathBuf::from(self.bucket.place(tenant.as_str()))
    }

    fn open(&self, tenant: &TenantId, name: &ArchivedName) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.file(tenant, name, true)
    }

    fn open_afresh(&self, tenant: &TenantId, name: &ArchivedName) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.file(tenant, name, false)
    }

    fn put(&self, tenant: &TenantId, name: &ArchivedName, from: &dyn VfsFile) -> Result<(), StorageError> {
        let (len, mut at) = (from.len()?, 0);
        let mut chunks = std::iter::from_fn(|| {
            let mut chunk = vec![0; usize::try_from(len - at).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
            if chunk.is_empty() {
                return None;
            }
            let read = from.read_exact_at(at, &mut chunk).map_err(CopyError::Source);
            at = if read.is_ok() { at + chunk.len() as u64 } else { len };
            Some(read.map(|()| chunk))
        });
        let object = self.name(tenant, name);
        self.chunks.forget(&object);
        self.bucket.put(&object, len, &mut chunks).map_err(|e| match e {
            CopyError::Source(e) => e,
            CopyError::Object(e) => refused("copy to", &self.path(tenant, name), &e),
        })
    }

    fn list(&self, tenant: &TenantId) -> Result<Vec<ArchivedName>, StorageError> {
        let prefix = format!("{tenant}/");
        let found = self.bucket.list(&prefix).map_err(|e| refused("list", &self.folder(tenant), &e))?;
        Ok(found.iter().filter_map(|object| ArchivedName::parse(object.name.strip_prefix(&prefix)?)).collect())
    }

    fn answers(&self, tenant: &TenantId) -> Result<(), StorageError> {
        self.list(tenant).map(drop)
    }

    fn remove(&self, tenant: &TenantId, name: &ArchivedName) -> Result<(), StorageError> {
        let object = self.name(tenant, name);
        self.chunks.forget(&object);
        self.bucket.delete(&object).map_err(|e| refused("remove", &self.path(tenant, name), &e))
    }
}

/// A file in a bucket, for reading.
#[derive(Debug)]
struct BucketFile {
    bucket: Bucket,
    name: Arc<str>,
    path: PathBuf,
    len: u64,
    /// What was read of it and others; `None` where nothing is to be kept.
    chunks: Option<Arc<Chunks>>,
}

impl BucketFile {
    /// The chunk, and those behind it that are wanted and not there either.
    fn fetch(&self, number: u64, wanted: u64) -> Result<Vec<Arc<[u8]>>, StorageError> {
        let at = number * CHUNK_BYTES as u64;
        let bytes = wanted.min(CHUNKS_AT_ONCE_MAX) * CHUNK_BYTES as u64;
        let bytes = usize::try_from(bytes.min(self.len - at)).unwrap_or(CHUNK_BYTES);
        let (got, len) = self.bucket.read_at(&self.name, at, bytes).map_err(|e| hidden(&self.path, at, &e))?;
        if len != self.len {
            // Somebody put another one there.
            let (expected, found) = (format!("{} bytes", self.len), format!("{len} bytes"));
            return Err(Damage { file: self.path.clone(), offset: at, what: "file", expected, found }.into());
        }
        Ok(got.chunks(CHUNK_BYTES).map(Arc::from).collect())
    }
}

impl VfsFile for BucketFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let end = offset.saturating_add(buffer.len() as u64).min(self.len);
        let mut at = offset;
        let mut fetched: std::collections::VecDeque<Arc<[u8]>> = Default::default();
        while at < end {
            let number = at / CHUNK_BYTES as u64;
            let kept = self.chunks.as_ref().filter(|_| fetched.is_empty()).and_then(|c| c.get(&self.name, number));
            let chunk = match kept.or_else(|| fetched.pop_front()) {
                Some(chunk) => chunk,
                None => {
                    let last = (end - 1) / CHUNK_BYTES as u64;
                    fetched = self.fetch(number, last - number + 1)?.into();
                    if let Some(chunks) = &self.chunks {
                        fetched.iter().zip(number..).for_each(|(c, n)| chunks.put(&self.name, n, c.clone()));
                    }
                    match fetched.pop_front() {
                        Some(chunk) => chunk,
                        None => break,
                    }
                }
            };
            let from = usize::try_from(at % CHUNK_BYTES as u64).unwrap_or(0);
            let Some(rest) = chunk.get(from..).filter(|rest| !rest.is_empty()) else { break };
            let into = usize::try_from(at - offset).unwrap_or(usize::MAX);
            let n = rest.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let Some(into) = buffer.get_mut(into..into.saturating_add(n)) else { break };
            into.copy_from_slice(&rest[..n]);
            at += n as u64;
        }
        Ok(usize::try_from(at.saturating_sub(offset)).unwrap_or(0))
    }

    fn write_all_at(&self, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Err(self.read_only("write"))
    }

    fn allocate(&self, _: u64) -> Result<(), StorageError> {
        Err(self.read_only("allocate"))
    }

    fn set_len(&self, _: u64) -> Result<(), StorageError> {
        Err(self.read_only("cut"))
    }

    fn sync(&self) -> Result<(), StorageError> {
        Err(self.read_only("sync"))
    }
}

impl BucketFile {
    fn read_only(&self, op: &'static str) -> StorageError {
        StorageError::io(op, &self.path, io::Error::new(io::ErrorKind::Unsupported, "an object is stored as a whole"))
    }
}
