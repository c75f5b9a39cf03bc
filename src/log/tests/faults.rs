//! Disks that refuse.

use super::*;
use crate::vfs::sim::SimOp;

#[test]
fn a_failed_sync_abandons_the_file_and_loses_nothing_that_was_acknowledged() {
    for op in [SimOp::Sync, SimOp::Write] {
        let vfs = SimVfs::new();
        let (log, ..) = must_open(&vfs, 0);
        ok(&log, b"synced", Ack::Fsync);
        ok(&log, b"with the system", Ack::Os);
        ok(&log, b"in memory", Ack::Buffered);
        vfs.fail(op, 1);
        let committed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = committed.clone();
        let commit = Box::new(move |_| seen.store(true, std::sync::atomic::Ordering::SeqCst));
        let result = log.append(Prepared::new(b"refused", 1).expect("small"), Ack::Fsync, commit);
        assert!(matches!(result, Err(LogError::Abandoned { log: LogId(1), .. })), "{op:?} {result:?}");
        assert!(!committed.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!((log.last_seq(), log.durable_seq(), log.active()), (Seq(3), Seq(3), LogId(2)));
        assert_eq!((log.take_abandoned(), log.take_abandoned()), (vec![LogId(1)], vec![]));
        assert_eq!(ok(&log, b"after", Ack::Fsync), Seq(4));
        std::mem::forget(log);
        for seed in 0..50 {
            let (_, _, batches) = must_open(&vfs.after_crash(seed), 0);
            assert_eq!(texts(&batches), ["synced", "with the system", "in memory", "after"], "{seed}");
        }
    }
}

#[test]
fn where_a_new_file_fails_too_the_log_is_read_only_until_it_does_not() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"before", Ack::Os);
    vfs.fail(SimOp::Sync, 2);
    assert!(matches!(append(&log, b"refused", 1, Ack::Fsync), Err(LogError::ReadOnly { .. })));
    assert!(matches!(append(&log, b"refused", 1, Ack::Buffered), Err(LogError::ReadOnly { .. })));
    assert!(log.read_only_reason().is_some_and(|r| r.contains("simulated fault")));
    vfs.fail(SimOp::Create, 1);
    assert!(log.reopen().is_err() && log.rotate(|_| ()).is_err());
    log.reopen().expect("healed");
    assert_eq!(ok(&log, b"after", Ack::Fsync), Seq(2));
    std::mem::forget(log);
    assert_eq!(texts(&must_open(&vfs.after_crash(3), 0).2), ["before", "after"]);
}

/// A rotation whose sync failed went on in a file that it left at once, so that the log's list never had it: trimming
/// left it, with records that a deletion then said were gone from the disk.
#[test]
fn files_that_a_rotation_passed_over_are_trimmed() {
    for (op, count) in [(SimOp::Sync, 1), (SimOp::Write, 1), (SimOp::SyncDir, 1)] {
        let vfs = SimVfs::new();
        let (log, ..) = must_open(&vfs, 0);
        ok(&log, b"durable", Ack::Fsync);
        ok(&log, b"in memory", Ack::Buffered);
        vfs.fail(op, count);
        let rotated = log.rotate(|_| ()).or_else(|_| log.reopen().and_then(|()| log.rotate(|_| ())));
        let (next, ()) = rotated.expect("healed");
        log.trim(next).expect("trimmed");
        let logs: Vec<_> = vfs.files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "log")).collect();
        assert_eq!(logs, [path(log.active().0)], "{op:?}");
        std::mem::forget(log);
        assert_eq!(must_open(&vfs.after_crash(1), 2).2, vec![], "{op:?}");
    }
}

#[test]
fn a_new_file_that_may_have_its_name_stops_the_old_one() {
    for op in [SimOp::SyncDir, SimOp::Rename] {
        let vfs = SimVfs::new();
        let (log, ..) = must_open(&vfs, 0);
        ok(&log, b"before", Ack::Fsync);
        vfs.fail(op, 1);
        assert!(matches!(log.rotate(|_| ()), Err(LogError::ReadOnly { .. })));
        assert!(append(&log, b"refused", 1, Ack::Fsync).is_err());
        log.reopen().expect("healed");
        ok(&log, b"after", Ack::Fsync);
        std::mem::forget(log);
        for seed in 0..50 {
            assert_eq!(texts(&must_open(&vfs.after_crash(seed), 0).2), ["before", "after"]);
        }
    }
}

#[test]
fn a_full_disk_gives_no_false_ack_and_leaves_nothing_half_written() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"before", Ack::Fsync);
    vfs.set_space(Some(vfs.used_bytes() + 100));
    let large: Vec<u8> = (0..9000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut acked = vec!["before".to_string()];
    for ack in [Ack::Fsync, Ack::Os, Ack::Buffered] {
        let result = append(&log, &large, 1, ack);
        assert!(matches!(&result, Err(LogError::Full { source }) if source.is_out_of_space()), "{result:?}");
    }
    // What has room goes on.
    ok(&log, b"small", Ack::Fsync);
    acked.push("small".into());
    let full = (0..100).find_map(|n| match append(&log, format!("{n}").as_bytes(), 1, Ack::Fsync) {
        Ok(_) => {
            acked.push(n.to_string());
            None
        }
        Err(e) => Some(e),
    });
    assert!(matches!(full, Some(LogError::Full { .. })));
    assert!(matches!(log.rotate(|_| ()), Err(LogError::Full { .. })));
    for seed in 0..20 {
        let left = vfs.after_crash(seed);
        assert_eq!(texts(&must_open(&left, 0).2), acked);
    }
    vfs.set_space(None);
    ok(&log, &large, Ack::Fsync);
    ok(&log, b"after", Ack::Fsync);
    assert_eq!(log.take_abandoned(), vec![]);
    std::mem::forget(log);
    let (_, report, batches) = must_open(&vfs.after_crash(7), 0);
    assert_eq!((batches.len(), report.cuts.len()), (acked.len() + 2, 0));
}

#[test]
fn limits_are_named() {
    assert!(matches!(Prepared::new(b"x", 0), Err(LogError::Empty)));
    let long = vec![0; crate::format::frame::PAYLOAD_BYTES_MAX + 1];
    assert!(matches!(Prepared::new(&long, 1), Err(LogError::TooLarge { .. })));
    let keyed = Prepared::new(b"x", 1).and_then(|p| p.with_idempotency([0; 32], &[0; 5000]));
    assert!(matches!(keyed, Err(LogError::TooLarge { bytes: 5000, bytes_max: 4096, .. })));
}
