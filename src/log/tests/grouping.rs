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
fn batches_that_are_appended_at_once_share_a_sync_and_come_back_in_order() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    let visible = Arc::new(AtomicU64::new(0));
    let entry = |records: u32, ack| {
        let mine = visible.clone();
        let commit = move |seq: Seq| assert_eq!(mine.swap(seq.0 + u64::from(records) - 1, Ordering::SeqCst) + 1, seq.0);
        (Prepared::new(b"x", records).expect("small"), ack, Box::new(commit) as Commit)
    };
    let before = vfs.syncs();
    let results = log.append_all((1..=50).map(|n| entry(n, if n == 9 { Ack::Os } else { Ack::Fsync })).collect());
    assert!(vfs.syncs() - before <= 2, "{} syncs", vfs.syncs() - before);
    let firsts: Vec<u64> = results.into_iter().map(|r| r.expect("appended").0).collect();
    assert!(firsts.iter().copied().eq((1..=50u64).map(|n| 1 + n * (n - 1) / 2)));
    assert_eq!(log.append_all(Vec::new()).len(), 0);

    // Several such callers, each with more than one group holds, beside single ones.
    let large = vec![7u8; crate::log::GROUP_BYTES_MAX / 3];
    let noise: Vec<u8> = (0..large.len())
        .scan(1u64, |x, _| {
            *x = x.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1;
            Some((*x >> 56) as u8)
        })
        .collect();
    let first = visible.load(Ordering::SeqCst);
    std::thread::scope(|s| {
        for _ in 0..3 {
            let (log, noise) = (&log, &noise);
            s.spawn(move || {
                let batches =
                    (0..4).map(|_| (Prepared::new(noise, 1).expect("fits"), Ack::Os, Box::new(|_| ()) as Commit));
                let results = log.append_all(batches.collect());
                assert!(results.iter().all(Result::is_ok));
                assert!(results.is_sorted_by_key(|r| r.as_ref().map_or(0, |seq| seq.0)));
            });
            s.spawn(move || ok(log, b"alone", Ack::Fsync));
        }
    });
    assert_eq!(log.last_seq().0, first + 3 * 4 + 3);
    log.close().expect("closed");
    let results = log.append_all(vec![entry(1, Ack::Os), entry(1, Ack::Fsync)]);
    assert!(results.len() == 2 && results.iter().all(|r| matches!(r, Err(LogError::Closed))));
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
