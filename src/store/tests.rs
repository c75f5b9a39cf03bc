//! Several threads at one tenant, and what fails behind an append.

use super::*;
use crate::exec::Limits;
use crate::log::Ack;
use crate::record;
use crate::record::{BatchBuilder, Labels, Record, Timestamp};
use crate::vfs::sim::{SimFault, SimOp, SimVfs};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicUsize;

fn batch(from: u64, count: u64) -> crate::record::Batch {
    let mut builder = BatchBuilder::new();
    for n in from..from + count {
        let record = Record::new().with("n", n).with("text", format!("record number {n}"));
        builder.push(&record, Timestamp(n as i64), &Labels::default()).unwrap();
    }
    builder.take()
}

fn count(tenant: &Tenant) -> u64 {
    let rows: Vec<_> =
        tenant.query("* | stats count() as n, count_uniq(n) as u").unwrap().map(|r| r.unwrap()).collect();
    let value = |name| rows[0].get(name).unwrap().1.parse::<u64>().unwrap();
    assert_eq!(value("n"), value("u"));
    value("n")
}

#[test]
fn threads_that_find_a_memtable_full_at_once_seal_it_once() {
    for background_threads in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { memtable_bytes_max: 2000, background_threads, ..Options::default() };
        let store = Store::open_with(dir.path(), options).unwrap();
        let tenant = store.tenant("t").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let tenant = tenant.clone();
                scope.spawn(move || {
                    for i in 0..60 {
                        tenant.append_batch(&batch(thread * 10_000 + i * 10, 10), Ack::Os).unwrap();
                    }
                });
            }
        });
        assert_eq!(count(&tenant), 2400);
        drop(tenant);
        store.close().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(count(&store.tenant("t").unwrap()), 2400);
        assert_eq!(store.tenant("t").unwrap().stats().unwrap().seal_error, None);
    }
}

#[test]
fn sealing_that_fails_refuses_no_record_that_was_committed() {
    let vfs = SimVfs::new();
    let options = Options { memtable_bytes_max: 1500, background_threads: 0, ..Options::default() };
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
    let tenant = store.tenant("t").unwrap();
    let mut committed = 0;
    let mut refused = 0;
    for i in 0..40 {
        // New files can't be made: neither segments nor log files.
        if i == 10 {
            vfs.fail(SimOp::Create, u64::MAX);
        }
        match tenant.append_batch(&batch(i * 10, 10), Ack::Fsync) {
            Ok(_) => committed += 10,
            Err(_) => refused += 1,
        }
        assert_eq!(count(&tenant), committed, "at {i}");
    }
    assert!(refused > 0, "memory is bounded also where nothing can be sealed");
    vfs.heal();
    tenant.append_batch(&batch(10_000, 10), Ack::Fsync).unwrap();
    assert_eq!(count(&tenant), committed + 10);
}

/// The simulator's seed 32850: asked for again, a deletion said that it was done, while the old segment was there still.
#[test]
fn a_deletion_is_not_done_while_a_file_can_not_be_removed() {
    let folder = Path::new("/s/tenants/t/segments");
    let segments = |vfs: &SimVfs| vfs.files().into_iter().filter(|path| path.starts_with(folder)).count();
    let vfs = SimVfs::new();
    let options = Options { background_threads: 0, ..Options::default() };
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
    let tenant = store.tenant("t").unwrap();
    tenant.append_batch(&batch(0, 50), Ack::Fsync).unwrap();
    tenant.seal().unwrap();
    vfs.inject(SimFault::new(SimOp::Remove).under(folder).until_healed());
    let delete = || tenant.delete("n:=7", &DeleteOptions::default());
    for _ in 0..3 {
        delete().expect_err("the file stays");
        assert_eq!((segments(&vfs), count(&tenant)), (2, 49));
    }
    vfs.heal();
    assert!(delete().unwrap().done);
    assert_eq!((segments(&vfs), count(&tenant)), (1, 49));
}

/// The simulator's seed 403757: the records of an old log file outlived a deletion that was asked for again.
#[test]
fn a_deletion_is_not_done_while_a_log_file_can_not_be_removed() {
    let folder = Path::new("/s/tenants/t/log");
    let logs = |vfs: &SimVfs| vfs.files().into_iter().filter(|path| path.starts_with(folder)).count();
    for op in [SimOp::Remove, SimOp::SyncDir] {
        let vfs = SimVfs::new();
        let options = Options { background_threads: 0, ..Options::default() };
        let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
        let tenant = store.tenant("t").unwrap();
        let delete = || tenant.delete("n:=7", &DeleteOptions::default());
        tenant.append_batch(&batch(0, 50), Ack::Fsync).unwrap();
        // A new log file is named first; the removal of the old one is what fails.
        vfs.inject(SimFault::new(op).under(folder).after(u64::from(op == SimOp::SyncDir)).until_healed());
        for _ in 0..3 {
            delete().expect_err("the file stays");
        }
        vfs.heal();
        assert!(delete().unwrap().done);
        assert_eq!((logs(&vfs.after_crash(1)), count(&tenant)), (1, 49), "{op:?}");
    }
}

/// The simulator's seed 407759: who opened the store after a kill went on with a deletion whose mark was not durable, and
/// the power took the mark and left half a tenant, which was taken for a damaged one.
#[test]
fn a_deletion_that_the_next_open_goes_on_with_is_not_forgotten_when_the_power_goes() {
    let open = |vfs: &SimVfs| {
        let options = Options { background_threads: 0, ..Options::default() };
        Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true)
    };
    let (mut whole, mut gone) = (0, 0);
    for killed_at in 1..8 {
        for (lost_at, seed) in (1..16).flat_map(|at| (0..3).map(move |seed| (at, seed))) {
            let vfs = SimVfs::new();
            let store = open(&vfs).unwrap();
            store.tenant("t").unwrap().append_batch(&batch(0, 50), Ack::Fsync).unwrap();
            store.tenant("t").unwrap().seal().unwrap();
            store.catalog().unwrap();
            vfs.crash_at(killed_at);
            let _ = store.delete_tenant("t");
            let vfs = vfs.after_kill();
            vfs.crash_at(lost_at);
            drop(open(&vfs));
            let store = open(&vfs.after_crash(seed)).unwrap();
            match store.existing_tenant("t") {
                Ok(tenant) => whole += u64::from(count(&tenant) == 50),
                Err(e) if e.is_no_such_tenant() => gone += 1,
                Err(e) => panic!("killed at {killed_at}, the power lost at {lost_at}, {seed}: {e}"),
            }
        }
    }
    assert!(whole > 0 && gone > 0 && whole + gone == 7 * 15 * 3, "{whole} {gone}");
}

/// Whatever fails while segments are made, each time it is tried again: what was made of them goes.
#[test]
fn a_segment_that_was_not_finished_leaves_no_file() {
    let folder = Path::new("/s/tenants/t/segments");
    let segments = |vfs: &SimVfs| vfs.files().into_iter().filter(|path| path.starts_with(folder)).count();
    for op in [SimOp::Write, SimOp::Sync, SimOp::SyncDir] {
        let vfs = SimVfs::new();
        let options = Options { background_threads: 0, ..Options::default() };
        let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
        let tenant = store.tenant("t").unwrap();
        for (sealed, from) in [0, 100, 200].into_iter().enumerate() {
            tenant.append_batch(&batch(from, 50), Ack::Fsync).unwrap();
            vfs.inject(SimFault::new(op).under(folder).until_healed());
            for _ in 0..3 {
                tenant.seal().expect_err("the fault");
                assert_eq!(segments(&vfs), sealed, "{op:?}: after a seal");
                tenant.compact(None).expect_err("the fault");
                assert_eq!(segments(&vfs), sealed, "{op:?}: after a merge");
            }
            vfs.heal();
            tenant.seal().unwrap();
            assert_eq!(segments(&vfs), sealed + 1, "{op:?}");
        }
        vfs.inject(SimFault::new(op).under(folder).until_healed());
        tenant.compact(None).expect_err("the fault");
        assert_eq!(segments(&vfs), 3, "{op:?}: after a merge");
        tenant.delete("n:7", &DeleteOptions::default()).map(|_| ()).expect_err("the fault");
        assert_eq!(segments(&vfs), 3, "{op:?}: after a deletion");
        vfs.heal();
        tenant.compact(None).unwrap();
        assert_eq!((segments(&vfs), count(&tenant)), (1, 150), "{op:?}");
    }
}

#[test]
fn figures_open_no_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { background_threads: 0, tenants_open_max: 1, ..Options::default() };
    let names = ["a", "b", "c"];
    {
        let store = Store::open_with(dir.path(), options()).unwrap();
        for (n, name) in (1..).zip(names) {
            store.tenant(name).unwrap().append_batch(&batch(0, 10 * n), Ack::Fsync).unwrap();
        }
        store.close().unwrap();
    }
    let store = Store::open_with(dir.path(), options()).unwrap();
    let seen = || {
        let f = store.figures().unwrap();
        (f.tenants, f.tenants_open, f.tenants_unknown, f.records, f.segments)
    };
    assert_eq!(seen(), (3, 0, 3, 0, 0));
    store.existing_tenant("b").unwrap();
    // Closed for others with its records in the log.
    assert_eq!(seen(), (3, 1, 2, 20, 0));
    // `b` is closed for it, and what it held is known.
    store.existing_tenant("c").unwrap();
    assert_eq!(seen(), (3, 1, 1, 50, 1));
    store.delete_tenant("b").unwrap();
    assert_eq!(seen(), (2, 1, 1, 30, 1));
    let a = store.existing_tenant("a").unwrap();
    a.append_batch(&batch(100, 5), Ack::Fsync).unwrap();
    assert_eq!(seen(), (2, 1, 0, 45, 1));
}

#[test]
fn a_tenant_that_refuses_is_counted_until_it_does_not() {
    let vfs = SimVfs::new();
    let options = Options { background_threads: 0, tenants_open_max: 1, ..Options::default() };
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
    for name in ["a", "b"] {
        store.tenant(name).unwrap();
    }
    assert_eq!(store.tenant_counts().unwrap(), (2, 0));
    vfs.refuse(Path::new("/s/tenants/a"), true);
    assert!(store.existing_tenant("a").is_err() && store.existing_tenant("none").is_err());
    assert_eq!(store.tenant_counts().unwrap(), (2, 1));
    assert_eq!(store.figures().unwrap().tenants_refused, 1);
    store.existing_tenant("b").unwrap();
    assert_eq!(store.tenant_counts().unwrap(), (2, 1));
    vfs.refuse(Path::new("/s/tenants/a"), false);
    store.existing_tenant("a").unwrap();
    assert_eq!(store.tenant_counts().unwrap(), (2, 0));
    // What is deleted refuses nothing, and what is made is there at once.
    vfs.put(Path::new("/s/tenants/b/key"), b"not a key");
    assert!(store.existing_tenant("b").is_err());
    assert_eq!(store.tenant_counts().unwrap(), (2, 1));
    store.delete_tenant("b").unwrap();
    assert_eq!(store.tenant_counts().unwrap(), (1, 0));
    store.tenant("c").unwrap();
    assert_eq!(store.tenant_counts().unwrap(), (2, 0));
}

/// A look at ten thousand folders for each question would cost more than the answer.
#[test]
fn counts_do_not_look_at_the_disk_each_time() {
    let vfs = SimVfs::new();
    let options = Options { background_threads: 0, ..Options::default() };
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
    let tenant = store.tenant("a").unwrap();
    tenant.append_batch(&batch(0, 10), Ack::Fsync).unwrap();
    tenant.seal().unwrap();
    tenant.append_batch(&batch(10, 5), Ack::Fsync).unwrap();
    assert_eq!(store.tenant_counts().unwrap(), (1, 0));
    vfs.refuse(Path::new("/s/tenants"), true);
    assert_eq!(store.tenant_counts().unwrap(), (1, 0));
    let known = store.figures().unwrap();
    assert_eq!((known.tenants_open, known.tenants_unknown, known.records, known.segments), (1, 0, 15, 1));
    vfs.refuse(Path::new("/s/tenants"), false);
    let stats = tenant.stats().unwrap();
    assert_eq!(
        (stats.records, stats.segments, stats.segment_bytes),
        (known.records, known.segments, known.segment_bytes)
    );
    assert!(known.log_bytes > 0 && known.log_bytes <= stats.log_bytes);
    vfs.refuse(Path::new("/s/tenants"), true);
    assert!(store.tenants().is_err());
}

/// A budget that one tenant's memtable does not come near to, and a hundred's do.
#[test]
fn memtables_of_many_tenants_keep_within_their_room_and_lose_nothing() {
    let vfs = SimVfs::new();
    for background_threads in [0, 1] {
        let dir = format!("/s{background_threads}");
        let room = 250_000;
        let options = Options { memtables_bytes_max: room, background_threads, ..Options::default() };
        let store = Store::open_on(Arc::new(vfs.clone()), Path::new(&dir), options.clone(), true).unwrap();
        let tenants: Vec<_> = (0..100).map(|n| store.tenant(&format!("t{n}")).unwrap()).collect();
        let (mut plain, mut most) = (0, 0);
        for round in 0..5 {
            for tenant in &tenants {
                let batch = batch(round * 40, 40);
                plain += crate::format::payload::encode(&batch).memory();
                tenant.append_batch(&batch, Ack::Os).unwrap();
                most = most.max(store.memory().0 as usize);
            }
        }
        assert!(plain > 3 * room, "{plain} bytes are no test");
        assert!(most < room * 5 / 4 + 20_000, "{most} bytes");
        for tenant in &tenants {
            assert_eq!(count(tenant), 200);
        }
        // What was not sealed comes back from the log.
        let killed = Arc::new(vfs.after_kill());
        let again = Store::open_on(killed, Path::new(&dir), options, true).unwrap();
        for n in 0..100 {
            assert_eq!(count(&again.tenant(&format!("t{n}")).unwrap()), 200);
            assert!((again.memory().0 as usize) < room * 3 / 2, "{}", again.memory().0);
        }
        drop(tenants);
        store.close().unwrap();
    }
}

#[test]
fn what_queries_let_go_of_is_told_where_it_is_much() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let telling = told.clone();
    let freed = MemoryFreed::new(move |bytes| {
        assert!(bytes >= MEMORY_FREED_MIN);
        telling.fetch_add(1, Ordering::Relaxed);
    });
    let options = Options { memory_freed: Some(freed), background_threads: 0, ..Options::default() };
    let store = Store::open_with(dir.path(), options).unwrap();
    let tenant = store.tenant("t").unwrap();
    let text = "x".repeat(2 << 20);
    for n in 0..20 {
        tenant.append(&[record! { message: text.clone(), n: n }]).unwrap();
    }
    for (query, memory_bytes, expect) in [
        ("* | stats count() as n", 1 << 30, (true, 0)),
        ("* | stats values(message) as v", 1 << 20, (false, 0)),
        ("* | stats values(message) as v", MEMORY_FREED_MIN + (2 << 20) + 10_000, (false, 1)),
        ("* | stats values(message) as v", 1 << 30, (true, 1)),
    ] {
        let options = QueryOptions { limits: Limits { memory_bytes, ..Limits::default() }, ..QueryOptions::default() };
        let is_right = tenant.query_with(query, &options).unwrap().all(|row| row.is_ok());
        // The thread of the query has ended.
        assert_eq!((is_right, told.swap(0, Ordering::Relaxed)), expect, "{query} {memory_bytes}");
        let is_right = tenant.query_each(query, &options, &mut |_| ControlFlow::Continue(())).is_ok();
        assert_eq!((is_right, told.swap(0, Ordering::Relaxed)), expect, "{query} {memory_bytes}");
    }
}

#[test]
fn a_seal_in_the_background_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, told) = std::sync::mpsc::sync_channel(1);
    let freed = MemoryFreed::new(move |_| {
        let _ = sender.try_send(());
    });
    let options = Options { memory_freed: Some(freed), memtable_bytes_max: 1500, ..Options::default() };
    let store = Store::open_with(dir.path(), options).unwrap();
    let tenant = store.tenant("t").unwrap();
    for i in 0..20 {
        tenant.append_batch(&batch(i * 10, 10), Ack::Os).unwrap();
    }
    // However long it takes: without it this ends here.
    assert_eq!(told.recv_timeout(std::time::Duration::from_secs(120)), Ok(()));
}
