//! Archives as a configuration names them, for commands that open no store.

use crate::failure::Failure;
use duramen::TenantId;
use duramen::archive::{ArchivedName, Archives};
use duramen::error::StorageError;
use duramen::policy::{Place, Policy};
use duramen::verify::{Fetch, Fetched};
use duramen::vfs::{RealVfs, Vfs};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are copied at a time.
const COPY_BYTES: u64 = 8 << 20;

/// Opens all that a configuration names.
pub fn open(policy: &Policy) -> Result<Archives, Failure> {
    of(policy.archives(), policy.archive_buckets())
}

fn of(folders: &BTreeMap<Place, PathBuf>, buckets: &BTreeMap<Place, String>) -> Result<Archives, Failure> {
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    Archives::open(folders, buckets, &vfs).map_err(|e| Failure::Usage(e.to_string()))
}

/// What brings segments of buckets to a temporary file, one at a time.
pub fn fetch(buckets: &BTreeMap<Place, String>) -> Result<Option<Fetch>, Failure> {
    if buckets.is_empty() {
        return Ok(None);
    }
    let archives = of(&BTreeMap::new(), buckets)?;
    Ok(Some(Fetch::new(move |place, tenant, name| {
        let archive = archives.get(place).ok()?;
        let path = archive.folder(tenant).join(name);
        Some(copy(&archives, place, tenant, name, &path).map_err(|e| (path, e)))
    })))
}

fn copy(
    archives: &Archives,
    place: &Place,
    tenant: &TenantId,
    name: &str,
    path: &Path,
) -> Result<Fetched, StorageError> {
    let failed = |e: std::io::Error| StorageError::io("fetch", path, e);
    // What the service refuses says nothing against the segment.
    let read = |e: StorageError| if e.is_not_found() { e } else { failed(std::io::Error::other(e.to_string())) };
    let name = ArchivedName::parse(name).ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let file = archives.get(place)?.open_afresh(tenant, &name).map_err(read)?;
    let mut copy = tempfile::NamedTempFile::new().map_err(failed)?;
    let (len, mut at) = (file.len()?, 0);
    while at < len {
        let mut buffer = vec![0; (len - at).min(COPY_BYTES) as usize];
        file.read_exact_at(at, &mut buffer).map_err(read)?;
        copy.write_all(&buffer).map_err(failed)?;
        at += buffer.len() as u64;
    }
    copy.flush().map_err(failed)?;
    let copy = copy.into_temp_path();
    Ok(Fetched { copy: copy.to_path_buf(), of: path.to_path_buf(), guard: Box::new(copy) })
}
