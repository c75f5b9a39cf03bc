//! What the oracle, the kill test and the fuzzers found, each as a test of its own.

mod support;

use duramen::{Ack, Options, Record, Store, Tenant};
use std::sync::Barrier;
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
