//! A copy held against the manifest.

use super::COPY_BYTES;
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::format::segment::{TRAILER_BYTES, read_trailer};
use crate::vfs::VfsFile;

/// Compares length and both roots, computed from the bytes, with the manifest. Where an index `is_made_anew`, beside the
/// segment, the one in it may be damaged, and is not looked at: nobody reads it.
pub fn compare(file: &dyn VfsFile, meta: &SegmentMeta, is_made_anew: bool) -> Result<(), StorageError> {
    let len = file.len()?;
    let damage = |expected: String, found: String| Damage {
        file: file.path().to_path_buf(),
        offset: 0,
        what: "copy of a segment",
        expected,
        found,
    };
    if len != meta.bytes {
        return Err(damage(format!("{} bytes", meta.bytes), len.to_string()).into());
    }
    let hex = crate::format::header::hex;
    if let Some(root) = crate::crypt::hash_stored(file)? {
        // An encrypted one, of which the manifest says what is stored.
        return match root == meta.data_root {
            true => Ok(()),
            false => Err(damage(format!("root {}", hex(&meta.data_root)), hex(&root)).into()),
        };
    }
    let mut end = [0; TRAILER_BYTES];
    file.read_exact_at(len.saturating_sub(TRAILER_BYTES as u64), &mut end)?;
    let trailer = read_trailer(&end, len).map_err(|e| e.in_file(file.path()))?;
    let mut data = blake3::Hasher::new();
    hash(file, 0, trailer.index_offset, &mut data)?;
    hash(file, trailer.footer_offset, trailer.footer_len, &mut data)?;
    let mut index = trailer.index_root;
    if !is_made_anew {
        let mut hasher = blake3::Hasher::new();
        hash(file, trailer.index_offset, trailer.index_len, &mut hasher)?;
        index = *hasher.finalize().as_bytes();
    }
    let found = (hex(data.finalize().as_bytes()), hex(&index));
    let expected = (hex(&meta.data_root), hex(&trailer.index_root));
    if expected != found {
        return Err(damage(format!("roots {expected:?}"), format!("{found:?}")).into());
    }
    Ok(())
}

fn hash(file: &dyn VfsFile, from: u64, len: u64, hasher: &mut blake3::Hasher) -> Result<(), StorageError> {
    let mut buffer = vec![0; COPY_BYTES];
    let (mut at, end) = (from, from.saturating_add(len));
    while at < end {
        let n = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        file.read_exact_at(at, &mut buffer[..n])?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(())
}
