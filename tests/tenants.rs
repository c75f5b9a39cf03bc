//! Many tenants in one process: opened when they are asked for, closed when many are, none in the way of another.

use duramen::store::MasterKey;
use duramen::vfs::sim::{SimOp, SimVfs};
use duramen::{Ack, BatchBuilder, Labels, Options, Record, Store, Tenant, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RECORDS: u64 = 20;

fn options(open_max: usize) -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.tenants_open_max = open_max;
    options
}

fn batch(from: u64, count: u64) -> duramen::Batch {
    let mut builder = BatchBuilder::new();
    for n in from..from + count {
        let record = Record::new().with("n", n).with("message", format!("record {n} of a tenant that has few"));
        builder.push(&record, Timestamp(n as i64), &Labels::default()).unwrap();
    }
    builder.take()
}

fn count(tenant: &Tenant) -> usize {
    tenant.query("*").unwrap().count()
}

fn name(n: usize) -> String {
    format!("tenant-{n:05}")
}

/// File descriptors of this process below a folder; 0 where the system does not tell.
fn open_files(dir: &Path) -> usize {
    let Ok(fds) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).filter(|to| to.starts_with(dir)).count()
}

fn disk_bytes(dir: &Path) -> u64 {
    #[cfg(unix)]
    let size = |meta: &std::fs::Metadata| std::os::unix::fs::MetadataExt::blocks(meta) * 512;
    #[cfg(not(unix))]
    let size = std::fs::Metadata::len;
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| if e.path().is_dir() { disk_bytes(&e.path()) } else { size(&e.metadata().unwrap()) }).sum()
}

/// Makes tenants, reopens the store, and uses all of them twice, all handles held the second time.
fn many(tenants: usize, open_max: usize, ack: Ack, held: usize) {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    {
        let store = Store::open_with(dir.path(), options(open_max)).unwrap();
        for n in 0..tenants {
            store.tenant(&name(n)).unwrap().append_batch(&batch(0, RECORDS), ack).unwrap();
        }
        eprintln!("{tenants} tenants made in {:?}", begun.elapsed());
        let files = open_files(dir.path());
        assert!(files <= duramen::vfs::OPEN_FILES_MAX + 8, "{files} files are open");
        // Not a whole reservation each.
        let bytes = disk_bytes(dir.path());
        assert!(bytes < tenants as u64 * (256 << 10), "{bytes} bytes on disk");
        let begun = Instant::now();
        store.close().unwrap();
        eprintln!("closed in {:?}, {bytes} bytes on disk before", begun.elapsed());
    }
    let begun = Instant::now();
    let store = Store::open_with(dir.path(), options(open_max)).unwrap();
    eprintln!("opened in {:?}", begun.elapsed());
    let begun = Instant::now();
    for n in 0..tenants {
        assert_eq!(count(&store.existing_tenant(&name(n)).unwrap()), RECORDS as usize, "{n}");
    }
    eprintln!("each queried in {:?}, {} files open, {}", begun.elapsed(), open_files(dir.path()), memory());
    let handles: Vec<Tenant> = (0..held.min(tenants)).map(|n| store.tenant(&name(n)).unwrap()).collect();
    for (n, tenant) in handles.iter().enumerate() {
        tenant.append_batch(&batch(100, 2), ack).unwrap();
        assert_eq!(count(tenant), RECORDS as usize + 2, "{n}");
    }
    let files = open_files(dir.path());
    assert!(files <= duramen::vfs::OPEN_FILES_MAX + 8, "{files} files are open");
    eprintln!("{} handles used, {files} files open, {}", handles.len(), memory());
}

/// Resident memory, as the system tells it.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines().find(|l| l.starts_with("VmRSS")).unwrap_or("VmRSS: unknown").to_string()
}

#[test]
fn more_tenants_than_stay_open() {
    many(100, 20, Ack::Os, 50);
}

#[test]
#[ignore = "takes a minute; for the desk"]
fn a_thousand_tenants_and_ten_thousand() {
    many(1_000, 1_024, Ack::Fsync, 1_000);
    many(10_000, 1_024, Ack::Os, 1_000);
}

#[test]
fn tenants_are_closed_and_opened_with_what_they_have() {
    let vfs = SimVfs::new();
    let open = |vfs: &SimVfs| Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options(2), true).unwrap();
    let store = open(&vfs);
    let held = store.tenant("held").unwrap();
    for round in 0..4 {
        for n in 0..6 {
            // Buffered: closing has to write it.
            store.tenant(&name(n)).unwrap().append_batch(&batch(round * 10, 3), Ack::Buffered).unwrap();
        }
        held.append_batch(&batch(round * 10, 3), Ack::Buffered).unwrap();
    }
    assert_eq!(count(&held), 12);
    for n in 0..6 {
        let tenant = store.tenant(&name(n)).unwrap();
        assert_eq!(count(&tenant), 12);
        assert_eq!(tenant.stats().unwrap().segments, 0, "few records are no segment of their own");
    }
    assert!(store.existing_tenant("nobody").is_err_and(|e| e.is_no_such_tenant()));
    assert!(store.tenant("nobody").is_ok());
    // What was closed is durable, whatever was asked for.
    let left = open(&vfs.after_crash(7));
    for n in 0..4 {
        assert_eq!(count(&left.existing_tenant(&name(n)).unwrap()), 12, "{n}");
    }
}

#[test]
fn a_log_that_was_closed_in_order_opens_without_a_sync() {
    let vfs = SimVfs::new();
    let open = || Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options(1), true).unwrap();
    let store = open();
    store.tenant("a").unwrap().append_batch(&batch(0, 3), Ack::Fsync).unwrap();
    // Closes the first, its records in the log.
    store.tenant("b").unwrap();
    let before = vfs.syncs();
    assert_eq!(count(&store.tenant("a").unwrap()), 3);
    // One of the manifest, and none for the three that closing `b` may take.
    assert!(vfs.syncs() - before <= 4, "{}", vfs.syncs() - before);
}

#[test]
fn a_tenant_that_takes_long_to_open_keeps_nobody_waiting() {
    let vfs = SimVfs::new();
    let open = |vfs: &SimVfs| Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options(9), true).unwrap();
    let store = open(&vfs);
    store.tenant("fast").unwrap();
    vfs.sync_takes(Duration::from_millis(300));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| store.tenant("slow").map(drop));
        let again = scope.spawn(|| store.tenant("slow").map(drop));
        std::thread::sleep(Duration::from_millis(50));
        for _ in 0..100 {
            store.tenant("fast").unwrap();
        }
        assert!(!slow.is_finished() && !again.is_finished(), "they were waited for");
        slow.join().unwrap().unwrap();
        again.join().unwrap().unwrap();
    });
}

#[test]
fn a_log_that_failed_is_taken_up_again() {
    for by_append in [true, false] {
        let vfs = SimVfs::new();
        let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options(9), true).unwrap();
        let (bad, good) = (store.tenant("bad").unwrap(), store.tenant("good").unwrap());
        bad.append_batch(&batch(0, 5), Ack::Fsync).unwrap();
        // The sync of the log fails, and nothing new can be made.
        vfs.fail(SimOp::Sync, 1);
        vfs.fail(SimOp::Create, u64::MAX);
        assert!(bad.append_batch(&batch(10, 5), Ack::Fsync).is_err_and(|e| e.is_read_only()));
        assert!(bad.append_batch(&batch(20, 5), Ack::Fsync).is_err_and(|e| e.is_read_only()));
        good.append_batch(&batch(0, 5), Ack::Fsync).unwrap();
        assert_eq!((count(&bad), count(&good)), (5, 5), "what was there is read all the same");
        vfs.heal();
        let begun = Instant::now();
        loop {
            if !by_append {
                store.maintain().unwrap();
            }
            match bad.append_batch(&batch(30, 5), Ack::Fsync) {
                Ok(_) => break,
                Err(e) => assert!(e.is_read_only() && begun.elapsed() < Duration::from_secs(30), "{e}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(count(&bad), 10);
        let left = vfs.after_crash(3);
        let store = Store::open_on(Arc::new(left), Path::new("/s"), options(9), true).unwrap();
        assert_eq!(count(&store.existing_tenant("bad").unwrap()), 10);
    }
}

#[test]
fn encrypted_tenants_are_closed_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(2);
    options.master_key = Some(MasterKey::from_bytes([7; 32]));
    options.encrypt_tenants = true;
    let store = Store::open_with(dir.path(), options.clone()).unwrap();
    for round in 0..3 {
        for n in 0..6 {
            let tenant = store.tenant(&name(n)).unwrap();
            tenant.append_batch(&batch(round * 10, 3), Ack::Buffered).unwrap();
            assert_eq!(count(&tenant), 3 * (round as usize + 1));
        }
        if round == 1 {
            store.rotate_tenant_key(&name(0)).unwrap();
        }
    }
    assert_eq!(store.rotate_master_key(None, &MasterKey::from_bytes([8; 32])).unwrap().len(), 6);
    store.close().unwrap();
    options.master_key = Some(MasterKey::from_bytes([8; 32]));
    let store = Store::open_with(dir.path(), options).unwrap();
    for n in 0..6 {
        assert_eq!(count(&store.existing_tenant(&name(n)).unwrap()), 9);
    }
}

#[test]
fn closing_idle_tenants_is_in_no_merges_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(2);
    options.background_threads = 2;
    options.merge_age_min = Duration::ZERO;
    let store = Store::open_with(dir.path(), options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..40 {
                    let tenant = store.tenant(&name((thread + round) % 6)).unwrap();
                    tenant.append_batch(&batch(0, 5), Ack::Os).unwrap();
                    tenant.seal().unwrap();
                }
            });
        }
    });
    let counts = (0..6).map(|n| count(&store.existing_tenant(&name(n)).unwrap()));
    assert_eq!(counts.sum::<usize>(), 3 * 40 * 5);
    store.delete_tenant(&name(0)).unwrap();
    assert!(store.existing_tenant(&name(0)).is_err_and(|e| e.is_no_such_tenant()));
    store.close().unwrap();
}

/// A reader that was opened before a merge knows of files that are gone: it takes up what is there.
#[test]
fn a_reader_goes_on_when_the_writer_merged_and_expired_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Store::open_with(dir.path(), options(10)).unwrap();
    let written = writer.tenant("t").unwrap();
    let append = |from: u64| {
        written.append_batch(&batch(from, 10), Ack::Fsync).unwrap();
        written.seal().unwrap();
    };
    (0..3).for_each(|n| append(n * 10));
    written.append_batch(&batch(30, 5), Ack::Fsync).unwrap();
    let reader = Store::open_read_only_with(dir.path(), options(10)).unwrap();
    let read = reader.existing_tenant("t").unwrap();
    assert_eq!(read.stats().unwrap().segments, 3);
    // Nothing is open yet, and all that it knows of goes; its log as well.
    written.compact(None).unwrap();
    append(40);
    assert_eq!(count(&read), 45);
    assert_eq!(read.stats().unwrap().segments, 2);
    // So do tails and explanations.
    let mut other = Store::open_read_only_with(dir.path(), options(10)).unwrap().existing_tenant("t").unwrap();
    for ask in [
        (|t: &Tenant| drop(t.explain("n:1", &Default::default()).unwrap())) as fn(&Tenant),
        |t| drop(t.part_costs().unwrap()),
        |t| {
            let mut tail = t.tail("*", Some(duramen::Seq(0))).unwrap();
            assert!(tail.next(Duration::ZERO).unwrap().is_some());
        },
    ] {
        (0..2).for_each(|_| append(100));
        written.compact(None).unwrap();
        ask(&other);
        other = Store::open_read_only_with(dir.path(), options(10)).unwrap().existing_tenant("t").unwrap();
    }
    // All of it goes: also that is what is there.
    written.compact(Some(0)).unwrap();
    assert_eq!(count(&other), 0);
}
