//! Group commit among threads.

use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn writers_share_syncs_and_commits_are_in_order() {
    const THREADS: u64 = 16;
    const EACH: u64 = 20;
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    vfs.sync_takes(Duration::from_millis(2));
    let before = vfs.syncs();
    let order = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|s| {
        for thread in 0..THREADS {
            let (log, order) = (&log, &order);
            s.spawn(move || {
                for n in 0..EACH {
                    let text = format!("{thread}/{n}");
                    let batch = Prepared::new(text.as_bytes(), 1).expect("small");
                    let mine = order.clone();
                    let commit = move |seq| mine.lock().expect("whole").push((seq, text));
                    let seq = log.append(batch, Ack::Fsync, Box::new(commit)).expect("appended");
                    assert!(log.durable_seq() >= seq && log.last_seq() >= seq);
                }
            });
        }
    });
    let syncs = vfs.syncs() - before;
    assert!(syncs <= THREADS * EACH / 3, "{syncs} syncs for {} appends", THREADS * EACH);
    let order = order.lock().expect("whole");
    assert!(order.iter().map(|(seq, _)| seq.0).eq(1..=THREADS * EACH));
    std::mem::forget(log);
    let (_, _, batches) = must_open(&vfs.after_crash(1), 0);
    assert!(texts(&batches).iter().eq(order.iter().map(|(_, text)| text)));
}

#[test]
fn acks_beside_rotations_and_acks_of_every_kind() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    let visible = Arc::new(AtomicU64::new(0));
    std::thread::scope(|s| {
        for ack in [Ack::Fsync, Ack::Os, Ack::Buffered, Ack::Buffered] {
            let (log, visible) = (&log, &visible);
            s.spawn(move || {
                for _ in 0..100 {
                    let mine = visible.clone();
                    let commit = move |seq: Seq| assert_eq!(mine.swap(seq.0, Ordering::SeqCst) + 1, seq.0);
                    let seq = log.append(Prepared::new(b"x", 1).expect("small"), ack, Box::new(commit)).expect("ok");
                    assert!(visible.load(Ordering::SeqCst) >= seq.0);
                }
            });
        }
        for _ in 0..10 {
            let (_, (frozen, seen)) = log.rotate(|last| (last, visible.load(Ordering::SeqCst))).expect("rotated");
            assert_eq!(frozen.0, seen);
        }
    });
    drop(log);
    assert_eq!(must_open(&vfs, 0).2.len(), 400);
}

#[test]
fn buffered_batches_are_written_when_they_are_many() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    let before = vfs.operations();
    for _ in 0..9 {
        ok(&log, b"0123456789", Ack::Buffered);
    }
    assert_eq!(vfs.operations(), before);
    ok(&log, b"0123456789", Ack::Buffered);
    assert!(vfs.operations() > before);
    assert_eq!(log.durable_seq(), Seq(0));
    log.flush().expect("flushed");
    assert_eq!(log.durable_seq(), Seq(10));
}

#[test]
fn a_commit_that_panics_stops_the_log_and_nobody_waits_for_ever() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    std::thread::scope(|s| {
        let bad =
            s.spawn(|| log.append(Prepared::new(b"x", 1).expect("small"), Ack::Os, Box::new(|_| panic!("planted"))));
        assert!(bad.join().is_err());
    });
    assert!(matches!(append(&log, b"y", 1, Ack::Os), Err(LogError::ReadOnly { .. })));
    assert!(matches!(log.reopen(), Err(LogError::ReadOnly { .. })));
    assert!(log.close().is_err());
}
