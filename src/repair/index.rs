//! The index of a segment that is whole: what is wrong with it, and one made anew.

use super::segment::Readable;
use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::format::bundle::check_bundle;
use crate::format::edit::SegmentMeta;
use crate::format::sealed::FileKind;
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
    (meta, keys): (&SegmentMeta, &KeyRing),
    segment: &Readable,
) -> Result<Option<String>, StorageError> {
    let beside = path(dir, meta.id);
    let (bundle, root) = if vfs.exists(&beside)? {
        let stored = vfs.read(&beside)?;
        let root = *blake3::hash(&stored).as_bytes();
        match keys.take_out_of_box(FileKind::Index, meta.id.0, stored, &beside) {
            Ok(boxed) => (boxed.into_bytes(), root),
            Err(damage) if damage.is_damage() => return Ok(Some(damage.to_string())),
            Err(error) => return Err(error),
        }
    } else {
        let trailer = segment.reader.trailer();
        let mut bundle = vec![0; usize::try_from(trailer.index_len).unwrap_or(usize::MAX)];
        segment.reader.file().read_exact_at(trailer.index_offset, &mut bundle)?;
        // Of one that is encrypted with its segment the manifest has no root.
        let root = if segment.is_sealed { [0; 32] } else { *blake3::hash(&bundle).as_bytes() };
        (bundle, root)
    };
    if root != meta.index_root {
        return Ok(Some("it is not what the manifest names".into()));
    }
    Ok(if bundle.is_empty() { None } else { check_bundle(&bundle).err().map(|error| error.to_string()) })
}

/// Makes the index of a segment anew, in a file beside it; gives its root.
pub(super) fn make(
    vfs: &dyn Vfs,
    dir: &Path,
    (id, keys): (SegmentId, &KeyRing),
    reader: &Arc<SegmentReader>,
) -> Result<[u8; 32], Error> {
    let bundle = build_index(reader).map_err(|error| match error {
        IndexError::Storage(error) => Error::from(error),
        IndexError::Build(error) => Error::from(error),
    })?;
    let stored = keys.put_in_box(FileKind::Index, id.0, bundle)?;
    vfs.replace(&path(dir, id), &stored)?;
    Ok(*blake3::hash(&stored).as_bytes())
}
