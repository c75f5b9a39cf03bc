//! A damaged log: the frames before and behind the damage.

use crate::crypt::{FileKey, KeyRing};
use crate::error::StorageError;
use crate::format::frame::{DecodedFrame, FRAME_MAGIC, decode_frame};
use crate::format::header::{FILE_HEADER_BYTES, FileStamp, LogHeader};
use crate::format::payload::Payload;
use crate::format::receipt::{Filed, Receipt};
use crate::format::sealed::FileKind;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What could be read of a tenant's log.
#[derive(Default)]
pub(super) struct Salvage {
    /// Batches that count, by rising Seq, none twice.
    pub batches: Vec<(Seq, Arc<Payload>)>,
    /// The receipts that came with them.
    pub receipts: Vec<Filed>,
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
    frames: Vec<Batch>,
    durable: Seq,
}

/// A frame with records, which may be such that they can't be read.
struct Batch {
    first: Seq,
    records: u32,
    payload: Option<Arc<Payload>>,
    receipt: Option<Filed>,
}

/// Reads all log files of a tenant, as far as they can be read; records up to and with `after` are in segments.
pub(super) fn salvage(
    vfs: &dyn Vfs,
    dir: &Path,
    owner: (&TenantId, &KeyRing),
    after: Seq,
) -> Result<Salvage, StorageError> {
    let mut found = Salvage { reached: after, ..Salvage::default() };
    let mut files: Vec<(LogId, File)> = Vec::new();
    for entry in if vfs.exists(dir)? { vfs.list(dir)? } else { Vec::new() } {
        let id = entry.name.strip_suffix(".log").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(LogId);
        let Some(id) = id.filter(|id| format!("{id}.log") == entry.name && !entry.is_dir) else { continue };
        let path = dir.join(&entry.name);
        let bytes = vfs.read(&path)?;
        files.extend(read_file(&bytes, &path, id, owner)?.map(|file| (id, file)));
        found.files.push(path);
        found.last_id = found.last_id.max(id.0);
    }
    files.sort_by_key(|(id, _)| *id);
    // A file's records count up to where a younger one begins.
    let mut limit = Seq(u64::MAX);
    let mut counted: Vec<Batch> = Vec::new();
    for (_, file) in files.into_iter().rev() {
        found.reached = found.reached.max(file.durable);
        let own_limit = limit;
        if let Some(first) = file.first {
            // All below had been there when this file was made.
            found.reached = found.reached.max(Seq(first.0.saturating_sub(1)));
            limit = limit.min(first);
        }
        counted.extend(file.frames.into_iter().filter(|batch| batch.first < own_limit));
    }
    counted.sort_by_key(|batch| batch.first);
    let mut next = Seq(after.0 + 1);
    for Batch { first, records, payload, receipt } in counted {
        let last = Seq(first.0 + u64::from(records) - 1);
        if last <= after {
            continue;
        }
        // Its header was whole: there were so many records, whether they can be read or not.
        found.reached = found.reached.max(last);
        let Some(payload) = payload else { continue };
        if first > next {
            found.lost.push((next, Seq(first.0 - 1)));
        }
        next = next.max(Seq(last.0 + 1));
        found.receipts.extend(receipt);
        found.batches.push((first, payload));
    }
    if found.reached >= next {
        found.lost.push((next, found.reached));
    }
    Ok(found)
}

/// The frames of a file that can be read; nothing where it is another tenant's.
fn read_file(
    bytes: &[u8],
    path: &Path,
    id: LogId,
    (tenant, keys): (&TenantId, &KeyRing),
) -> Result<Option<File>, StorageError> {
    let open = |wrapped| keys.open_file(FileKind::Log, id.0, &wrapped, path);
    let (stamp, header, key) = match LogHeader::decode(bytes) {
        Ok(header) if header.tenant != *tenant || header.id != id => return Ok(None),
        Ok(header) => match header.key.map(open).transpose() {
            Err(error) if !error.is_damage() => return Err(error),
            key => (header.stamp(), Some(header), key.ok().flatten()),
        },
        // Its salt may be whole all the same: the first frame will tell. The id is the name's. So may its key be.
        Err(_) => match FileStamp::of_damaged(bytes) {
            Some(stamp) => {
                let key = LogHeader::damaged_key(bytes).and_then(|wrapped| open(wrapped).ok());
                (FileStamp { id: id.0, ..stamp }, None, key)
            }
            None => return Ok(None),
        },
    };
    let mut file = File {
        first: header.as_ref().map(|header| header.first),
        frames: Vec::new(),
        durable: header.as_ref().map_or(Seq(0), |header| header.durable),
    };
    let mut at = FILE_HEADER_BYTES;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match decode_frame(rest, &stamp) {
            Ok(decoded) => {
                file.durable = file.durable.max(decoded.frame.durable);
                file.first = Some(file.first.unwrap_or(decoded.frame.first));
                if !decoded.frame.is_mark() {
                    file.frames.push(batch(&decoded, keys, key.as_ref()));
                }
                at += decoded.bytes;
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
    Ok(Some(file))
}

fn batch(decoded: &DecodedFrame<'_>, keys: &KeyRing, key: Option<&FileKey>) -> Batch {
    let (first, records) = (decoded.frame.first, decoded.frame.records);
    let Ok(opened) = decoded.open(key.map(|key| key as _)) else {
        return Batch { first, records, payload: None, receipt: None };
    };
    let frame = opened.frame();
    let payload = frame.payload_where(&|leaf, payload| keys.is_leaf(leaf, payload)).and_then(Payload::decode).ok();
    // What unpacks to another number of records is not what was written.
    let payload = payload.filter(|p| p.records.len() == records as usize).map(Arc::new);
    let receipt = frame.idempotency.and_then(|request| {
        let receipt = Receipt::decode(request.answer).ok()?;
        Some(Filed { key: request.key_hash, first, records, receipt })
    });
    Batch { first, records, payload, receipt }
}
