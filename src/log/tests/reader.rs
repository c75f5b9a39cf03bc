//! Readers beside a writer.

use super::*;
use crate::crypt::KeyRing;
use crate::vfs::RealVfs;

#[test]
fn a_reader_sees_what_is_durable_and_writes_nothing() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"a", Ack::Fsync);
    ok(&log, b"b", Ack::Fsync);
    ok(&log, b"c", Ack::Os);
    let before = (vfs.operations(), vfs.files());
    let (report, batches) = read_beside(&vfs, 0).expect("readable");
    assert_eq!((texts(&batches), report.last, report.durable), (vec!["a".into(), "b".into()], Seq(2), Seq(2)));
    log.flush().expect("flushed");
    log.rotate(|_| ()).expect("rotated");
    ok(&log, b"d", Ack::Fsync);
    let (report, batches) = read_beside(&vfs, 1).expect("readable");
    assert_eq!((texts(&batches).join(""), report.last, report.cuts.len()), ("bcd".to_string(), Seq(4), 0));
    assert!(before.0 < vfs.operations());
    let before = (vfs.operations(), vfs.files());
    read_beside(&vfs, 4).expect("readable");
    assert_eq!(before, (vfs.operations(), vfs.files()));
}

#[test]
fn a_partial_frame_at_the_end_is_the_end() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"a", Ack::Fsync);
    let before = vfs.read(&path(1)).expect("bytes");
    ok(&log, b"bcdef", Ack::Fsync);
    let after = vfs.read(&path(1)).expect("bytes");
    drop(log);
    let from = before.iter().rposition(|b| *b != 0).expect("frames") + 1;
    let to = after.iter().rposition(|b| *b != 0).expect("frames") + 1;
    let frame_end = from + crate::format::frame::FRAME_HEADER_BYTES + b"bcdef".len();
    for end in from..to {
        let mut partial = after[..end].to_vec();
        partial.resize(after.len(), 0);
        let left = vfs.after_kill();
        left.put(&path(1), &partial);
        let (report, batches) = read_beside(&left, 0).expect("readable");
        // Cut within the mark, the frame before it is whole, and what the next writer takes.
        let expected = if end <= frame_end { vec!["a"] } else { vec!["a", "bcdef"] };
        assert_eq!(
            (texts(&batches), report.last),
            (expected.iter().map(|t| t.to_string()).collect(), Seq(expected.len() as u64)),
            "{end}"
        );
    }
}

#[test]
fn readers_race_a_writer_on_real_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("log");
    let options = LogOptions { preallocate_bytes: 1 << 16, ..LogOptions::default() };
    let (log, _) = Log::open(Arc::new(RealVfs), dir.clone(), &tenant(), options, Seq(0), &mut |_| {}).expect("opened");
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut reads = 0;
            while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                let durable = log.durable_seq().0;
                let mut next = 1;
                let result = read_only(&RealVfs, &dir, (&tenant(), &KeyRing::default()), Seq(0), &mut |b| {
                    assert_eq!(b.first.0, next);
                    assert_eq!(b.payload, b.first.0.to_string().repeat(200).into_bytes());
                    next += 1;
                });
                match result {
                    // The last group's mark may not be there yet: one sync makes three batches durable here.
                    Ok(report) => assert!(report.last.0 + 3 >= durable, "{} {durable}", report.last),
                    Err(ReadOnlyError::Moved(_)) => {}
                    Err(e) => panic!("after {reads} reads: {e}"),
                }
                reads += 1;
            }
        });
        for seq in 1..=300u64 {
            let ack = [Ack::Fsync, Ack::Os, Ack::Buffered][(seq % 3) as usize];
            append(&log, seq.to_string().repeat(200).as_bytes(), 1, ack).expect("appended");
            if seq % 50 == 0 {
                log.rotate(|_| ()).expect("rotated");
            }
        }
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    drop(log);
    let mut count = 0;
    read_only(&RealVfs, &dir, (&tenant(), &KeyRing::default()), Seq(0), &mut |_| count += 1).expect("readable");
    assert_eq!(count, 300);
}
