//! The records of the workload, each as it must come back, and a look for them in the files themselves.

use super::model::{Found, RecordAt};
use super::world::{COLD, DIR, NEW_NS, OLD_NS, STREAMS, World};
use duramen::cache::Cache;
use duramen::crypt::{KeyRing, MasterKey, open_segment};
use duramen::format::log_file::read_frames;
use duramen::record::Block;
use duramen::segment::{SegmentBlock, SegmentReader};
use duramen::vfs::sim::SimVfs;
use duramen::vfs::{MemoryFile, VfsFile};
use duramen::{BatchBuilder, Labels, Record, TenantId, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The records of a batch, each as it must come back.
pub fn batch(number: u64, records: u32, stream: usize, is_old: bool) -> duramen::Batch {
    let mut builder = BatchBuilder::new();
    let labels = Labels::new([("app", STREAMS[stream])]);
    for place in 0..records {
        let record = Record::new()
            .with("batch", number)
            .with("place", place)
            .with("text", text(number, place))
            .with("n", number * u64::from(place));
        let base = if is_old { OLD_NS } else { NEW_NS };
        let time = Timestamp(base + 1_000_000 * number as i64 - 777 * i64::from(place));
        // Its limits are far away.
        let _ = builder.push(&record, time, &labels);
    }
    builder.take()
}

fn text(number: u64, place: u32) -> String {
    let long = if number.is_multiple_of(7) { 40 } else { 1 };
    format!("record {place} of batch {number}, {}", "as long as it takes ".repeat(long))
}

/// All rows of a tenant. The inner error is of a row that is not as it was written.
pub fn read_all(tenant: &duramen::Tenant) -> Result<Result<Vec<Found>, String>, String> {
    let rows = whole(tenant, "*")?;
    Ok(rows.iter().map(read_row).collect())
}

/// A row, which must be as it was written.
pub fn read_row(row: &duramen::Row) -> Result<Found, String> {
    let place = number_of(row, "place").and_then(|n| u32::try_from(n).ok());
    match (row.seq().map(|seq| seq.0), number_of(row, "batch"), place, row.get("text")) {
        (Some(seq), Some(batch), Some(place), Some((_, written))) if written == text(batch, place) => {
            Ok(Found { seq, batch, place })
        }
        _ => Err(format!("a row that nobody wrote: {}", row.to_json())),
    }
}

/// A number in a row.
pub fn number_of(row: &duramen::Row, name: &str) -> Option<u64> {
    row.get(name).and_then(|(_, text)| text.parse().ok())
}

/// The rows of a query. An answer that says it misses something is an error, like one that ends early.
pub fn whole(tenant: &duramen::Tenant, text: &str) -> Result<Vec<duramen::Row>, String> {
    let mut rows = tenant.query(text).map_err(|e| e.to_string())?;
    let found: Vec<_> = rows.by_ref().collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    match rows.missing().first() {
        Some(missing) => Err(format!("misses records: {missing}")),
        None => Ok(found),
    }
}

/// The files of a tenant, in its folder and in its archive.
pub fn files_of(vfs: &SimVfs, name: &str) -> Vec<PathBuf> {
    let (own, cold) = (World::tenant_dir(name), Path::new(COLD).join(name));
    vfs.files().into_iter().filter(|file| file.starts_with(&own) || file.starts_with(&cold)).collect()
}

/// Looks through all files of a tenant for records that were said to be gone from the disk. What is no segment or log
/// file from its beginning to where it is torn has none that anybody could read.
pub fn search(
    vfs: &SimVfs,
    name: &str,
    master: Option<&MasterKey>,
    deleted: &BTreeMap<u64, RecordAt>,
) -> Result<(), String> {
    if deleted.is_empty() {
        return Ok(());
    }
    let id = TenantId::new(name).map_err(|e| e.to_string())?;
    let key_file = World::tenant_dir(name).join("key");
    let keys = match vfs.bytes(&key_file) {
        Some(bytes) => KeyRing::from_bytes(&bytes, &key_file, &id, master).map_err(|e| e.to_string())?,
        None => KeyRing::default(),
    };
    for path in files_of(vfs, name) {
        let Some(bytes) = vfs.bytes(&path) else { continue };
        let seqs = match () {
            () if path.to_string_lossy().contains(".seg") => seqs_of_segment(&path, bytes, &keys),
            () if path.to_string_lossy().contains(".log") => seqs_of_log(&bytes),
            () => continue,
        };
        if let Some((seq, at)) = seqs.iter().find_map(|seq| deleted.get_key_value(seq)) {
            return Err(format!("{} still has Seq {seq}, {at:?}, which was deleted", path.display()));
        }
    }
    Ok(())
}

/// Looks for the text of deleted records in the bytes of all files of a tenant, and for files that were set aside.
pub fn search_text(vfs: &SimVfs, name: &str, deleted: &BTreeMap<u64, RecordAt>) -> Result<(), String> {
    for path in files_of(vfs, name) {
        if path.starts_with(World::tenant_dir(name).join("quarantine")) {
            return Err(format!("{} is there after a deletion", path.display()));
        }
        let bytes = vfs.bytes(&path).unwrap_or_default();
        let has = |(number, place): &&RecordAt| {
            memchr::memmem::find(&bytes, format!("record {place} of batch {number},").as_bytes()).is_some()
        };
        if let Some(at) = deleted.values().find(has) {
            return Err(format!("{} still has the text of {at:?}, which was deleted", path.display()));
        }
    }
    Ok(())
}

fn seqs_of_segment(path: &Path, bytes: Vec<u8>, keys: &KeyRing) -> Vec<u64> {
    let file: Arc<dyn VfsFile> = Arc::new(MemoryFile::new(path, bytes));
    let Ok((file, _)) = open_segment(file, keys) else { return Vec::new() };
    let Ok(reader) = SegmentReader::open(file, Arc::new(Cache::new(0))) else { return Vec::new() };
    let reader = Arc::new(reader);
    let of_block = |n| SegmentBlock::open(&reader, n).and_then(|block| block.seqs());
    (0..reader.blocks()).filter_map(|n| of_block(n).ok()).flat_map(|seqs| seqs.to_vec()).collect()
}

/// The headers of frames say it, also where the frames are encrypted.
fn seqs_of_log(bytes: &[u8]) -> Vec<u64> {
    let Ok((_, frames)) = read_frames(bytes) else { return Vec::new() };
    frames
        .map_while(Result::ok)
        .flat_map(|(_, frame)| frame.first.0..frame.first.0 + u64::from(frame.records))
        .collect()
}

/// Writes the store and its archive into real folders below this one.
pub fn copy_out(vfs: &SimVfs, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to.join("store/tenants"))?;
    for path in vfs.files() {
        let below = path.strip_prefix(DIR).map(|below| Path::new("store").join(below));
        let Ok(below) = below.or_else(|_| path.strip_prefix(COLD).map(|below| Path::new("cold").join(below))) else {
            continue;
        };
        let target = to.join(below);
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        std::fs::write(target, vfs.bytes(&path).unwrap_or_default())?;
    }
    Ok(())
}
