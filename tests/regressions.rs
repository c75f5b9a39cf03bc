//! What the oracle, the kill test, the simulator and the fuzzers found, each as a test of its own.

mod support;

use duramen::vfs::sim::{SimFault, SimOp, SimVfs};
use duramen::{Ack, Options, Record, Store, Tenant};
use std::path::Path;
use std::sync::{Arc, Barrier};
use support::json::parse;

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.ack = Ack::Os;
    options
}

fn number(tenant: &Tenant, query: &str) -> Option<u64> {
    let row = tenant.query(query).unwrap().next()?.unwrap();
    parse(&row.to_json()).unwrap().get("n").and_then(|n| n.as_u64())
}

/// Two threads looked at the same full memtable, and the second one froze the empty one that was left: no manifest
/// takes a segment without records, and appends failed.
#[test]
fn threads_that_seal_at_once_make_no_empty_segment() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path().join("data"), options()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    const THREADS: usize = 4;
    const ROUNDS: u64 = 40;
    let together = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (together, tenant) = (&together, &tenant);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if thread == 0 {
                        tenant.append(&[Record::new().with("number", round)]).unwrap();
                    }
                    together.wait();
                    let sealed = tenant.seal().map_err(|e| e.to_string());
                    // Waits before it fails, so that no other thread waits for ever.
                    together.wait();
                    assert!(sealed.is_ok(), "round {round}: {sealed:?}");
                }
            });
        }
    });
    assert_eq!(number(&tenant, "* | stats count() as n"), Some(ROUNDS));
}

/// More records than a group keeps values, and few distinct values: the nearest rank, not something near it.
#[test]
fn quantiles_of_many_records_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path().join("data"), options()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    let records: Vec<Record> = (0..20_000u64).map(|i| Record::new().with("ms", (i * 7919) % 2_500 + 1)).collect();
    tenant.append(&records).unwrap();
    for (function, expected) in [("p50(ms)", 1_250), ("p95(ms)", 2_375), ("p99(ms)", 2_475), ("median(ms)", 1_250)] {
        assert_eq!(number(&tenant, &format!("* | stats {function} as n")), Some(expected), "{function}");
    }
}

/// 0.56 of 25 is 14.000000000000002 in binary, whose next whole number is 15.
#[test]
fn a_quantile_is_not_one_rank_too_far() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path().join("data"), options()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    let records: Vec<Record> = (1..=25u64).map(|i| Record::new().with("ms", i)).collect();
    tenant.append(&records).unwrap();
    assert_eq!(number(&tenant, "* | stats quantile(0.56, ms) as n"), Some(14));
}

/// The folder that a store makes for itself was not synced in the one above it, so that a loss of power could take the
/// whole store with all that was acknowledged.
#[test]
fn power_that_goes_soon_after_a_store_is_made_takes_nothing() {
    let vfs = SimVfs::new();
    let store = open_sim(&vfs);
    store.tenant("acme").unwrap().append(&[Record::new().with("number", 1)]).unwrap();
    for seed in 0..100 {
        let left = open_sim(&vfs.after_crash(seed));
        assert_eq!(number(&left.tenant("acme").unwrap(), "* | stats count() as n"), Some(1), "seed {seed}");
    }
}

/// A tenant whose making ended before `tenants/` was synced was opened by the next process as one that is there, and
/// nobody synced `tenants/` any more: its folder could go with what was acknowledged since.
#[test]
fn a_tenant_whose_making_was_killed_is_made_durable_by_the_next_process() {
    for operation in 1..30 {
        let vfs = SimVfs::new();
        drop(open_sim(&vfs));
        vfs.crash_at(operation);
        drop(open_sim_as(&vfs).and_then(|store| store.tenant("acme")));
        let killed = vfs.after_kill();
        let store = open_sim(&killed);
        store.tenant("acme").unwrap().append(&[Record::new().with("number", 1)]).unwrap();
        for seed in 0..40 {
            let left = open_sim(&killed.after_crash(seed));
            let found = number(&left.tenant("acme").unwrap(), "* | stats count() as n");
            assert_eq!(found, Some(1), "killed at operation {operation}, seed {seed}");
        }
    }
}

fn open_sim_as(vfs: &SimVfs) -> Result<Store, duramen::Error> {
    let mut options = options();
    options.ack = Ack::Fsync;
    options.memtable_bytes_max = 10_000;
    Store::open_on(Arc::new(vfs.clone()), Path::new("/disk/a/store"), options, true)
}

fn open_sim(vfs: &SimVfs) -> Store {
    open_sim_as(vfs).unwrap()
}

/// After a sync that failed Linux shows what was written and takes it for clean. A process that was killed there left
/// frames that the next one replayed, synced to no effect, and wrote behind: when the power went, they were a hole in
/// front of what was acknowledged.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_by_the_next_process() {
    for seed in 0..200 {
        let vfs = SimVfs::seeded(seed);
        let store = open_sim(&vfs);
        let tenant = store.tenant("acme").unwrap();
        tenant.append(&[Record::new().with("number", 1)]).unwrap();
        vfs.inject(SimFault::new(SimOp::Sync).until_healed());
        tenant.append(&[Record::new().with("number", 2)]).unwrap_err();
        let killed = vfs.after_kill();
        let store = open_sim(&killed);
        let tenant = store.tenant("acme").unwrap();
        let before = number(&tenant, "* | stats count() as n").unwrap();
        tenant.append(&[Record::new().with("number", 3)]).unwrap();
        let left = open_sim(&killed.after_crash(seed));
        let after = number(&left.tenant("acme").unwrap(), "* | stats count() as n");
        assert_eq!(after, Some(before + 1), "seed {seed}");
    }
}
