//! A segment goes to an archive: copied, synced, compared, named by the manifest, and only then gone from the store.

use super::segments::segment_path;
use super::{CompactReport, Rules, TenantCore};
use crate::error::{Damage, StorageError};
use crate::format::edit::{Assignment, Edit, SegmentMeta};
use crate::format::segment::{TRAILER_BYTES, read_trailer};
use crate::policy::Move;
use crate::store::Error;
use crate::vfs::{Vfs, VfsFile};
use std::path::Path;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

impl TenantCore {
    /// Moves a segment, unless it went meanwhile.
    pub(super) fn archive(&self, to: &Move, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        // A deletion waits for the copy that is under way, so that none is left of what it deletes.
        let _one = writer.archiving.lock().unwrap_or_else(|e| e.into_inner());
        let Some(meta) = self.version().segments.get(&to.segment).cloned() else { return Ok(()) };
        let vfs = &*self.options.vfs;
        let folder = self.options.rules.archive(&to.to, &self.id)?;
        crate::vfs::make_folder(vfs, &folder)?;
        let (source, target) = (segment_path(&self.options, meta.id), folder.join(Rules::archived_name(&meta)));
        copy(vfs, &source, &target, &meta)?;
        vfs.sync_dir(&folder)?;
        // Also where they were there: whoever made them may have ended before they were durable. The folder that the
        // archive is in need not be ours to open.
        let archive = crate::vfs::above(&folder);
        vfs.sync_dir(&archive)?;
        let _ = vfs.sync_dir(&crate::vfs::above(&archive));
        let _turn = self.turn(writer);
        if writer.manifest.version().segments.get(&meta.id) != Some(&meta) {
            // It expired or was merged while it was copied.
            vfs.remove(&target)?;
            return Ok(());
        }
        let assignment = Assignment { segment: meta.id, class: to.class.clone(), place: to.to.clone() };
        let version = self.apply(writer, Edit::Assign { segments: vec![assignment] })?;
        self.publish(version);
        report.segments_archived += 1;
        Ok(())
    }
}

/// Copies a segment's file, and holds the copy against what the manifest says of it.
fn copy(vfs: &dyn Vfs, from: &Path, to: &Path, meta: &SegmentMeta) -> Result<(), StorageError> {
    if vfs.exists(to)? {
        // A move that did not come to its end. The name has the root in it, so that it is the same segment.
        vfs.remove(to)?;
    }
    let copied = write_copy(vfs, from, to).and_then(|()| check(&*vfs.open(to)?, meta));
    if copied.is_err() {
        // What is left is taken over by the next attempt.
        let _ = vfs.remove(to);
    }
    copied
}

fn write_copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> Result<(), StorageError> {
    let (source, target) = (vfs.open(from)?, vfs.create(to)?);
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let n = source.read_at(at, &mut buffer)?;
        if n == 0 {
            return target.sync();
        }
        target.write_all_at(at, &buffer[..n])?;
        at += n as u64;
    }
}

/// Compares length and both roots, computed from the bytes, with the manifest.
fn check(file: &dyn VfsFile, meta: &SegmentMeta) -> Result<(), StorageError> {
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
    let hex = super::segments::hex;
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
    let mut index = blake3::Hasher::new();
    hash(file, trailer.index_offset, trailer.index_len, &mut index)?;
    let found = (hex(data.finalize().as_bytes()), hex(index.finalize().as_bytes()));
    // A root that the manifest has of an index made later is that of another file.
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
