//! A damaged log: the frames before and behind the damage.

use crate::error::StorageError;
use crate::format::frame::{DecodedFrame, FRAME_MAGIC, decode_frame};
use crate::format::header::{FILE_HEADER_BYTES, FileStamp, LogHeader};
use crate::format::payload::Payload;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What could be read of a tenant's log.
#[derive(Default)]
pub(super) struct Salvage {
    /// Batches that count, by rising Seq, none twice.
    pub batches: Vec<(Seq, Arc<Payload>)>,
    /// All log files.
    pub files: Vec<PathBuf>,
    /// The highest id of one.
    pub last_id: u64,
    /// The highest Seq that a frame has, or that a file says there was.
    pub reached: Seq,
    /// Runs of Seqs that stood in what can't be read.
    pub lost: Vec<(Seq, Seq)>,
}

struct File {
    /// Its records count from here on, and void those of older files.
    first: Option<Seq>,
    frames: Vec<(Seq, u32, Option<Arc<Payload>>)>,
    durable: Seq,
}

/// Reads all log files of a tenant, as far as they can be read; records up to and with `after` are in segments.
pub(super) fn salvage(vfs: &dyn Vfs, dir: &Path, tenant: &TenantId, after: Seq) -> Result<Salvage, StorageError> {
    let mut found = Salvage { reached: after, ..Salvage::default() };
    let mut files: Vec<(LogId, File)> = Vec::new();
    for entry in if vfs.exists(dir)? { vfs.list(dir)? } else { Vec::new() } {
        let id = entry.name.strip_suffix(".log").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(LogId);
        let Some(id) = id.filter(|id| format!("{id}.log") == entry.name && !entry.is_dir) else { continue };
        let path = dir.join(&entry.name);
        let bytes = vfs.read(&path)?;
        found.files.push(path);
        found.last_id = found.last_id.max(id.0);
        files.extend(read_file(&bytes, id, tenant).map(|file| (id, file)));
    }
    files.sort_by_key(|(id, _)| *id);
    // A file's records count up to where a younger one begins.
    let mut limit = Seq(u64::MAX);
    let mut counted: Vec<(Seq, u32, Option<Arc<Payload>>)> = Vec::new();
    for (_, file) in files.into_iter().rev() {
        found.reached = found.reached.max(file.durable);
        let own_limit = limit;
        if let Some(first) = file.first {
            // All below had been there when this file was made.
            found.reached = found.reached.max(Seq(first.0.saturating_sub(1)));
            limit = limit.min(first);
        }
        counted.extend(file.frames.into_iter().filter(|(first, ..)| *first < own_limit));
    }
    counted.sort_by_key(|(first, ..)| *first);
    let mut next = Seq(after.0 + 1);
    for (first, records, payload) in counted {
        let last = Seq(first.0 + u64::from(records) - 1);
        if last <= after {
            continue;
        }
        let Some(payload) = payload else { continue };
        if first > next {
            found.lost.push((next, Seq(first.0 - 1)));
        }
        next = next.max(Seq(last.0 + 1));
        found.reached = found.reached.max(last);
        found.batches.push((first, payload));
    }
    if found.reached >= next {
        found.lost.push((next, found.reached));
    }
    Ok(found)
}

/// The frames of a file that can be read; nothing where it is another tenant's.
fn read_file(bytes: &[u8], id: LogId, tenant: &TenantId) -> Option<File> {
    let (stamp, header) = match LogHeader::decode(bytes) {
        Ok(header) if header.tenant != *tenant || header.id != id => return None,
        Ok(header) => (header.stamp(), Some(header)),
        // Its salt may be whole all the same: the first frame will tell. The id is the name's.
        Err(_) => (FileStamp { id: id.0, ..FileStamp::of_damaged(bytes)? }, None),
    };
    let mut file = File {
        first: header.as_ref().map(|header| header.first),
        frames: Vec::new(),
        durable: header.as_ref().map_or(Seq(0), |header| header.durable),
    };
    let mut at = FILE_HEADER_BYTES;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match decode_frame(rest, &stamp) {
            Ok(DecodedFrame { frame, bytes, .. }) => {
                file.durable = file.durable.max(frame.durable);
                file.first = Some(file.first.unwrap_or(frame.first));
                if !frame.is_mark() {
                    let payload = frame.payload().and_then(Payload::decode).ok();
                    // What unpacks to another number of records is not what was written.
                    let payload = payload.filter(|p| p.records.len() == frame.records as usize).map(Arc::new);
                    file.frames.push((frame.first, frame.records, payload));
                }
                at += bytes;
            }
            Err(_) => {
                let next = memchr::memmem::find_iter(&rest[1..], &FRAME_MAGIC).map(|found| at + 1 + found);
                let Some(next) = next.into_iter().find(|&next| decode_frame(&bytes[next..], &stamp).is_ok()) else {
                    break;
                };
                at = next;
            }
        }
    }
    Some(file)
}
