//! Every bit of a log's files, flipped.

use super::*;

/// A log with two files: what it holds, and the state of the second one.
fn store(is_closed: bool) -> (SimVfs, Vec<String>) {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"one", Ack::Fsync);
    ok(&log, "two ".repeat(30).as_bytes(), Ack::Os);
    log.rotate(|_| ()).expect("rotated");
    ok(&log, b"three", Ack::Fsync);
    let keyed = Prepared::new(b"four", 1).and_then(|p| p.with_idempotency([9; 32], b"200")).expect("small");
    log.append(keyed, Ack::Fsync, Box::new(|_| {})).expect("appended");
    if is_closed {
        drop(log);
    } else {
        std::mem::forget(log);
    }
    let texts = texts(&must_open(&vfs.after_kill(), 0).2);
    (vfs.after_kill(), texts)
}

#[test]
fn every_flipped_bit_is_damage_or_a_reported_cut_and_never_other_data() {
    for is_closed in [true, false] {
        let (vfs, whole) = store(is_closed);
        for file in vfs.files() {
            let bytes = vfs.read(&file).expect("bytes");
            for bit in 0..bytes.len() as u64 * 8 {
                // Preallocated zeros are alike: every bit of the first ones, then one in a while.
                let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0) as u64 + 120;
                if bit / 8 > used && bit % 101 != 0 {
                    continue;
                }
                let left = vfs.after_kill();
                let mut flipped = bytes.clone();
                flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
                left.put(&file, &flipped);
                let read = read_beside(&left, 0);
                let opened = open(&left, 0);
                let place = format!("{}: bit {bit}", file.display());
                match opened {
                    Err(StorageError::Damage(damage)) => assert_eq!(damage.file, file, "{place}"),
                    Err(e) => panic!("{place}: {e}"),
                    Ok((_, report, batches)) => {
                        assert!(!report.cuts.is_empty(), "{place}: unnoticed");
                        // All of this is durable and marked, so that nothing may be lost.
                        assert_eq!(texts(&batches), whole, "{place}");
                    }
                }
                match read {
                    Err(_) => {}
                    Ok((report, batches)) => {
                        assert!(!report.cuts.is_empty(), "{place}: unnoticed by a reader");
                        let texts = texts(&batches);
                        assert!(whole.starts_with(&texts), "{place}");
                    }
                }
            }
        }
    }
}

#[test]
fn damage_says_what_and_where() {
    let (vfs, _) = store(true);
    let mut bytes = vfs.read(&path(2)).expect("bytes");
    let at = bytes.windows(5).position(|w| w == b"three").expect("the payload");
    bytes[at] ^= 1;
    vfs.put(&path(2), &bytes);
    let Err(StorageError::Damage(damage)) = open(&vfs, 0) else { panic!("taken") };
    assert_eq!((&damage.file, damage.what), (&path(2), "log frame"));
    // A checksum does not say which byte: the error points at where it begins to count.
    assert_eq!(damage.offset, at as u64);
    assert!(damage.expected.starts_with("CRC ") && damage.found.contains("were durable"), "{damage}");
}

#[test]
fn an_error_of_the_disk_is_an_error() {
    let (vfs, _) = store(true);
    vfs.fail(crate::vfs::sim::SimOp::Read, 1);
    assert!(matches!(open(&vfs, 0), Err(StorageError::Io { .. })));
    vfs.flip_bit(Some((&path(1), 8 * 300)));
    assert!(open(&vfs, 0).is_err());
    vfs.flip_bit(None);
    assert!(open(&vfs, 0).is_ok());
}
