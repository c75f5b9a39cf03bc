//! The log over a simulated file system.

mod bits;
mod crash;
mod faults;
mod grouping;
mod reader;

use super::*;
use crate::crypt::KeyRing;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use crate::vfs::sim::SimVfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/t/log";

fn tenant() -> TenantId {
    TenantId::new("acme").expect("a name")
}

fn small() -> LogOptions {
    LogOptions { preallocate_bytes: 2048, buffered_bytes_max: 1024, unsynced_bytes_max: 4096, ..LogOptions::default() }
}

fn open(vfs: &SimVfs, sealed_below: u64) -> Result<(Log, Recovery, Vec<Replayed>), StorageError> {
    let mut batches = Vec::new();
    let opened =
        Log::open(Arc::new(vfs.clone()), PathBuf::from(DIR), &tenant(), small(), Seq(sealed_below), &mut |b| {
            batches.push(b)
        });
    opened.map(|(log, report)| (log, report, batches))
}

fn must_open(vfs: &SimVfs, sealed_below: u64) -> (Log, Recovery, Vec<Replayed>) {
    open(vfs, sealed_below).unwrap_or_else(|e| panic!("{e}"))
}

fn read_beside(vfs: &SimVfs, sealed_below: u64) -> Result<(Recovery, Vec<Replayed>), ReadOnlyError> {
    let mut batches = Vec::new();
    let report =
        read_only(vfs, Path::new(DIR), (&tenant(), &KeyRing::default()), Seq(sealed_below), &mut |b| batches.push(b))?;
    Ok((report, batches))
}

fn append(log: &Log, payload: &[u8], records: u32, ack: Ack) -> Result<Seq, LogError> {
    log.append(Prepared::new(payload, records)?, ack, Box::new(|_| {}))
}

fn ok(log: &Log, payload: &[u8], ack: Ack) -> Seq {
    append(log, payload, 1, ack).unwrap_or_else(|e| panic!("{e}"))
}

fn texts(batches: &[Replayed]) -> Vec<String> {
    batches.iter().map(|b| String::from_utf8_lossy(&b.payload).into_owned()).collect()
}

fn path(id: u64) -> PathBuf {
    Path::new(DIR).join(format!("{}.log", LogId(id)))
}

#[test]
fn what_was_appended_is_replayed_in_order() {
    let vfs = SimVfs::new();
    let (log, report, batches) = must_open(&vfs, 0);
    assert_eq!((report.files, batches.len(), log.last_seq()), (0, 0, Seq(0)));
    let long = "x".repeat(5000);
    assert_eq!(append(&log, b"one", 3, Ack::Fsync).ok(), Some(Seq(1)));
    assert_eq!(append(&log, long.as_bytes(), 1, Ack::Os).ok(), Some(Seq(4)));
    assert_eq!(append(&log, b"", 2, Ack::Buffered).ok(), Some(Seq(5)));
    assert_eq!((log.last_seq(), log.durable_seq()), (Seq(6), Seq(3)));
    let keyed = Prepared::new(b"keyed", 1).and_then(|p| p.with_idempotency([7; 32], b"answer")).expect("small");
    log.append(keyed, Ack::Fsync, Box::new(|_| {})).expect("appended");
    log.close().expect("closed");
    assert!(matches!(append(&log, b"late", 1, Ack::Os), Err(LogError::Closed)));
    drop(log);
    let length = vfs.open(&path(1)).and_then(|f| f.len()).expect("a length");
    let (log, report, batches) = must_open(&vfs, 0);
    assert_eq!((report.batches, report.last, report.durable, report.cuts.len()), (4, Seq(7), Seq(7), 0));
    assert_eq!(batches.iter().map(|b| (b.first.0, b.records)).collect::<Vec<_>>(), [(1, 3), (4, 1), (5, 2), (7, 1)]);
    assert_eq!(texts(&batches), ["one", &long, "", "keyed"]);
    assert_eq!(batches[3].idempotency, Some(([7; 32], b"answer"[..].into())));
    assert_eq!(batches[0].leaf, *blake3::hash(b"one").as_bytes());
    assert_eq!(log.bytes(), length);
    let (_, _, batches) = {
        drop(log);
        must_open(&vfs, 3)
    };
    assert_eq!(batches.len(), 3);
}

#[test]
fn rotate_freezes_between_commits_and_trim_removes_what_is_older() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"a", Ack::Buffered);
    let (id, frozen) = log.rotate(|last| last).expect("rotated");
    assert_eq!((id, frozen, log.durable_seq()), (LogId(2), Seq(1), Seq(1)));
    // With nothing in the file there is nothing to rotate away from.
    assert_eq!(log.rotate(|last| last).expect("rotated"), (LogId(2), Seq(1)));
    ok(&log, b"b", Ack::Fsync);
    assert_eq!(log.trim(id).expect("trimmed"), 1);
    assert_eq!(log.trim(LogId(99)).expect("nothing"), 0);
    drop(log);
    assert_eq!(vfs.files(), [path(2)]);
    let (_, _, batches) = must_open(&vfs, 1);
    assert_eq!(texts(&batches), ["b"]);
    // A manifest that says less is sealed than was trimmed does not belong to this log.
    assert!(matches!(open(&vfs, 0), Err(StorageError::Damage(_))));
    assert!(matches!(read_beside(&vfs, 0), Err(ReadOnlyError::Moved(_))));
    // Everything was sealed and the edit made durable, but the log not yet trimmed.
    let (log, report, batches) = must_open(&vfs, 2);
    assert_eq!((batches.len(), report.trimmed.len(), log.last_seq()), (0, 0, Seq(2)));
    assert_eq!(ok(&log, b"c", Ack::Fsync), Seq(3));
}

#[test]
fn a_missing_file_between_others_is_damage() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    for text in [b"a", b"b", b"c"] {
        ok(&log, text, Ack::Fsync);
        log.rotate(|_| ()).expect("rotated");
    }
    drop(log);
    vfs.remove(&path(2)).expect("removed");
    let Err(StorageError::Damage(damage)) = open(&vfs, 0) else { panic!("a gap was taken") };
    assert_eq!((damage.file.clone(), damage.expected.as_str()), (path(1), "Seq 2"));
    // Once it is sealed, nobody misses it.
    assert_eq!(texts(&must_open(&vfs, 2).2), ["c"]);
}

#[test]
fn another_tenants_log_is_refused() {
    let vfs = SimVfs::new();
    drop(must_open(&vfs, 0));
    let other = TenantId::new("other").expect("a name");
    let opened = Log::open(Arc::new(vfs), PathBuf::from(DIR), &other, small(), Seq(0), &mut |_| {});
    assert!(matches!(opened, Err(StorageError::Damage(d)) if d.found == "tenant acme"));
}

#[test]
fn waiting_for_commits() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    let short = std::time::Duration::from_millis(5);
    assert_eq!(log.wait_beyond(Seq(0), short), Seq(0));
    std::thread::scope(|s| {
        let waiting = s.spawn(|| log.wait_beyond(Seq(0), std::time::Duration::from_secs(20)));
        ok(&log, b"a", Ack::Buffered);
        assert_eq!(waiting.join().ok(), Some(Seq(1)));
    });
}
