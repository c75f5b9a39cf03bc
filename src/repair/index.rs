//! The index of a segment that is whole: what is wrong with it, and one made anew.

use crate::error::StorageError;
use crate::format::bundle::check_bundle;
use crate::format::edit::SegmentMeta;
use crate::id::SegmentId;
use crate::segment::SegmentReader;
use crate::store::Error;
use crate::tenant::{IndexError, build_index};
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an index that was made anew is in a tenant's folder.
pub(super) fn path(dir: &Path, id: SegmentId) -> PathBuf {
    crate::tenant::index_path(dir, id)
}

/// Why a segment's index can't be used, where that is so.
pub(super) fn problem(
    vfs: &dyn Vfs,
    dir: &Path,
    meta: &SegmentMeta,
    reader: &SegmentReader,
) -> Result<Option<String>, StorageError> {
    let beside = path(dir, meta.id);
    let bundle = if vfs.exists(&beside)? {
        vfs.read(&beside)?
    } else {
        let trailer = reader.trailer();
        let mut bundle = vec![0; usize::try_from(trailer.index_len).unwrap_or(usize::MAX)];
        reader.file().read_exact_at(trailer.index_offset, &mut bundle)?;
        bundle
    };
    if blake3::hash(&bundle).as_bytes() != &meta.index_root {
        return Ok(Some("it is not what the manifest names".into()));
    }
    Ok(if bundle.is_empty() { None } else { check_bundle(&bundle).err().map(|error| error.to_string()) })
}

/// Makes the index of a segment anew, in a file beside it; gives its root.
pub(super) fn make(vfs: &dyn Vfs, dir: &Path, id: SegmentId, reader: &Arc<SegmentReader>) -> Result<[u8; 32], Error> {
    let bundle = build_index(reader).map_err(|error| match error {
        IndexError::Storage(error) => Error::from(error),
        IndexError::Build(error) => Error::from(error),
    })?;
    vfs.replace(&path(dir, id), &bundle)?;
    Ok(*blake3::hash(&bundle).as_bytes())
}
