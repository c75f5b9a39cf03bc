//! Merging as users meet it: answers stay the same, readers are not disturbed, nothing is left behind.

mod support;

use duramen::verify::verify;
use duramen::{BatchBuilder, Labels, Options, Record, Store, Tenant, Timestamp};
use proptest::prelude::*;
use std::path::Path;
use std::time::{Duration, Instant};
use support::folder;

const QUERIES: [&str; 6] = [
    "*",
    "level:error | fields n, message",
    "message:needle | sort by n",
    "* | stats count() as n, min(n) as low, max(n) as high by level",
    "request:0000000000000021",
    "n:>50 AND NOT level:debug | limit 7",
];

fn options(background_threads: usize) -> Options {
    let mut options = Options::default();
    options.background_threads = background_threads;
    options.merge_age_min = Duration::ZERO;
    options.ack = duramen::Ack::Os;
    options
}

fn append(tenant: &Tenant, from: u64, count: u64, step_ns: i64) {
    let mut builder = BatchBuilder::new();
    for n in from..from + count {
        let record = Record::new()
            .with("n", n)
            .with("level", ["debug", "info", "warn", "error"][n as usize % 4])
            .with("request", format!("{n:016x}"))
            .with(
                "message",
                format!("{} request {} took {}ms", if n % 9 == 0 { "needle" } else { "GET" }, n % 7, n % 97),
            );
        let time = Timestamp(1_700_000_000_000_000_000 + n as i64 * step_ns);
        builder.push(&record, time, &Labels::default()).unwrap();
        if builder.text_bytes() > 1 << 20 {
            tenant.append_batch(&builder.take(), duramen::Ack::Os).unwrap();
        }
    }
    if !builder.is_empty() {
        tenant.append_batch(&builder.take(), duramen::Ack::Os).unwrap();
    }
}

fn ask(tenant: &Tenant, query: &str) -> Vec<String> {
    let mut rows: Vec<String> = tenant.query(query).unwrap().map(|row| row.unwrap().to_json()).collect();
    if query.contains("stats") {
        rows.sort();
    }
    rows
}

fn ask_all(tenant: &Tenant) -> Vec<Vec<String>> {
    QUERIES.iter().map(|query| ask(tenant, query)).collect()
}

/// Segment files of a tenant.
fn files(data: &Path) -> usize {
    folder::files(data).iter().filter(|f| f.extension().is_some_and(|e| e == "seg")).count()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_clean(data: &Path) {
    let report = verify(&[data], true);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// Blocks of 16 K records are copied, what is left of seals is put together, and the index knows all of it.
#[test]
fn full_blocks_are_merged_by_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), options(0)).unwrap();
    let tenant = store.tenant("t").unwrap();
    for part in 0..2 {
        append(&tenant, part * 17_000, 17_000, 1_000_000);
        tenant.seal().unwrap();
    }
    let queries = ["message:needle | stats count() as n", "request:0000000000002000", "* | stats sum(n) as n by level"];
    let before = queries.map(|q| ask(&tenant, q));
    let report = tenant.compact(None).unwrap();
    assert_eq!((report.segments_merged, report.segments_made), (2, 1));
    assert_eq!(queries.map(|q| ask(&tenant, q)), before);
    // 16,384 rows copied; the first half of 616 and 16,384; the other half and 616.
    assert_eq!((tenant.stats().unwrap().blocks, files(dir.path())), (3, 1));
    drop((store, tenant));
    assert_clean(dir.path());
}

/// A query that is open while what it reads is merged away goes on to its end.
#[test]
fn a_query_is_open_across_a_merge_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), options(1)).unwrap();
    let tenant = store.tenant("t").unwrap();
    append(&tenant, 0, 3000, 1_000_000);
    tenant.seal().unwrap();
    append(&tenant, 3000, 3000, 1_000_000);
    let mut rows = tenant.query("* | fields n").unwrap();
    let newest = rows.next().unwrap().unwrap().to_json();
    tenant.seal().unwrap();
    wait_for("a merge", || tenant.stats().unwrap().segments == 1);
    assert!(tenant.stats().unwrap().merges >= 1);
    assert!(files(dir.path()) > 1, "the reader's segment is there");
    assert_eq!(newest, r#"{"n":5999}"#);
    let rest: Vec<String> = rows.by_ref().map(|row| row.unwrap().to_json()).collect();
    assert_eq!(rest, (0..5999).rev().map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    drop(rows);
    wait_for("the end of the old files", || files(dir.path()) == 1);
    assert_eq!(ask(&tenant, "* | stats count() as n"), [r#"{"n":6000}"#]);
    drop(tenant);
    store.close().unwrap();
    assert_clean(dir.path());
}

/// Whenever a store is dropped or a tenant is deleted, a merge ends and leaves no file behind.
#[test]
fn closing_and_deleting_end_a_merge() {
    for wait_ms in [0, 20, 100, 400] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_with(dir.path(), options(1)).unwrap();
        for name in ["kept", "deleted"] {
            let tenant = store.tenant(name).unwrap();
            for part in 0..4 {
                append(&tenant, part * 2000, 2000, 1_000_000);
                tenant.seal().unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        store.delete_tenant("deleted").unwrap();
        assert!(!dir.path().join("tenants/deleted").exists(), "after {wait_ms} ms");
        drop(store);
        let live = {
            let store = Store::open_read_only(dir.path()).unwrap();
            let tenant = store.existing_tenant("kept").unwrap();
            assert_eq!(ask(&tenant, "* | stats count() as n"), [r#"{"n":8000}"#]);
            tenant.stats().unwrap().segments
        };
        assert_eq!(files(dir.path()) as u64, live, "after {wait_ms} ms");
        assert_clean(dir.path());
    }
}

/// With `merge` off only `compact` merges.
#[test]
fn merging_can_be_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(0);
    options.merge = false;
    let store = Store::open_with(dir.path(), options).unwrap();
    let tenant = store.tenant("t").unwrap();
    for part in 0..3 {
        append(&tenant, part * 10, 10, 1_000_000);
        tenant.seal().unwrap();
    }
    store.maintain().unwrap();
    assert_eq!(tenant.stats().unwrap().segments, 3);
    tenant.compact(None).unwrap();
    assert_eq!(tenant.stats().unwrap().segments, 1);
}

/// A retention in the catalog bounds what a merge brings together.
#[test]
fn a_retention_bounds_merges() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), options(0)).unwrap();
    let tenant = store.tenant("t").unwrap();
    let id = duramen::TenantId::new("t").unwrap();
    store.catalog().unwrap().ensure_tenant(&id).unwrap();
    // An eighth of it is two days and a half.
    store.catalog().unwrap().set(&id, "retention", Some("20d")).unwrap();
    let day_ns = 24 * 3_600_000_000_000;
    let begin = Timestamp::now().0 - 8 * day_ns;
    for day in 0..6 {
        tenant.append(&[Record::new().at(Timestamp(begin + day * day_ns)).with("day", day)]).unwrap();
        tenant.seal().unwrap();
    }
    store.maintain().unwrap();
    assert_eq!(tenant.stats().unwrap().segments, 2);
    store.catalog().unwrap().set(&id, "retention", None).unwrap();
    tenant.compact(None).unwrap();
    assert_eq!(tenant.stats().unwrap().segments, 1);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many records, so far apart, beginning this far back.
    Append(u64, i64),
    Seal,
    Maintain,
    Compact,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..60, prop_oneof![Just(1_000_000i64), Just(-1_000_000), Just(0), Just(3_600_000_000_000)])
            .prop_map(|(count, step)| Step::Append(count, step)),
        4 => Just(Step::Seal),
        2 => Just(Step::Maintain),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is merged when, a store answers as one that never merged, and its files are in order.
    #[test]
    fn answers_are_those_of_a_store_that_never_merges(steps in proptest::collection::vec(step(), 1..24)) {
        let (merging, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut without = options(0);
        without.merge = false;
        let open = || Store::open_with(merging.path(), options(0)).unwrap();
        let plain_store = Store::open_with(plain.path(), without).unwrap();
        let mut store = Some(open());
        let mut next = 0;
        for step in steps {
            let tenant = store.as_ref().unwrap().tenant("t").unwrap();
            let other = plain_store.tenant("t").unwrap();
            match step {
                Step::Append(count, step_ns) => {
                    append(&tenant, next, count, step_ns);
                    append(&other, next, count, step_ns);
                    next += count;
                }
                Step::Seal => {
                    tenant.seal().unwrap();
                    other.seal().unwrap();
                }
                Step::Maintain => store.as_ref().unwrap().maintain().unwrap(),
                Step::Compact => drop(tenant.compact(None).unwrap()),
                Step::Reopen => {
                    drop(tenant);
                    store.take().unwrap().close().unwrap();
                    store = Some(open());
                }
            }
        }
        let tenant = store.as_ref().unwrap().tenant("t").unwrap();
        prop_assert_eq!(ask_all(&tenant), ask_all(&plain_store.tenant("t").unwrap()));
        drop((tenant, store));
        assert_clean(merging.path());
    }
}
