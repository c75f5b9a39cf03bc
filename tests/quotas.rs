//! The quota of a day over restarts and crashes.

mod support;

use duramen::policy::{Policy, PolicyConfig};
use duramen::tenant::Clock;
use duramen::verify::{FindingKind, verify};
use duramen::vfs::Vfs;
use duramen::vfs::sim::{SimFault, SimOp, SimVfs};
use duramen::{Ack, BatchBuilder, Error, Labels, Options, Store, Tag, Tenant, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const DAY: i64 = 86_400_000_000_000;
const PATH: &str = "/store";

fn options(day: &Arc<AtomicI64>, per_day: u64) -> Options {
    let day = day.clone();
    let config: PolicyConfig = toml::from_str(&format!("[quota]\ningest_bytes_per_day = {per_day}\n")).unwrap();
    let mut options = Options::default();
    options.background_threads = 0;
    options.lifecycle_every = Duration::ZERO;
    options.clock = Clock::new(move || Timestamp(day.load(Ordering::SeqCst) * DAY));
    options.policy = Arc::new(Policy::new(&config).unwrap());
    options
}

fn days() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(20_000))
}

/// Ten records, always of the same size.
fn append(tenant: &Tenant) -> Result<(), Error> {
    let mut builder = BatchBuilder::new();
    for n in 0..10 {
        builder.begin();
        builder.field("message", Tag::String, &format!("record {n} of some"));
        builder.finish(Timestamp(n), &Labels::default()).unwrap();
    }
    tenant.append_batch(&builder.take(), Ack::Fsync).map(drop)
}

/// The size of such a batch, as quotas count it.
fn batch_bytes() -> u64 {
    let vfs = SimVfs::new();
    let store = Store::open_on(Arc::new(vfs), Path::new(PATH), options(&days(), 1 << 40), true).unwrap();
    let tenant = store.tenant("t").unwrap();
    append(&tenant).unwrap();
    tenant.usage().ingest_bytes_today
}

fn is_refused(error: &Error) -> bool {
    error.as_quota_error().is_some_and(|e| e.quota == "ingest_bytes_per_day")
}

#[test]
fn a_restart_goes_on_with_the_sum() {
    let each = batch_bytes();
    let dir = tempfile::tempdir().unwrap();
    let day = days();
    for (from, count) in [(0, 4), (4, 5), (9, 1)] {
        let store = Store::open_with(dir.path(), options(&day, 10 * each)).unwrap();
        let tenant = store.tenant("t").unwrap();
        assert_eq!(tenant.usage().ingest_bytes_today, from * each, "exactly, where it was closed in order");
        (0..count).for_each(|_| append(&tenant).unwrap());
        store.close().unwrap();
        assert!(verify(&[dir.path()], true).ok);
    }
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.tenant("t").unwrap().usage().records, 100);
    let store = Store::open_with(dir.path(), options(&day, 10 * each)).unwrap();
    let tenant = store.tenant("t").unwrap();
    assert!(is_refused(&append(&tenant).unwrap_err()));
    day.fetch_add(1, Ordering::SeqCst);
    append(&tenant).unwrap();
    assert_eq!(tenant.usage().ingest_bytes_today, each, "another day");
    // What is damaged is found; what the log has counts for today, and it is told.
    let crashed = tempfile::tempdir().unwrap();
    support::folder::copy(dir.path(), crashed.path());
    drop((tenant, store));
    let dir = crashed;
    let path = dir.path().join("tenants/t/usage");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify(&[dir.path()], false);
    assert!(matches!(&report.findings[..], [f] if f.kind == FindingKind::Corruption && f.file.ends_with("usage")));
    let store = Store::open_with(dir.path(), options(&day, 10 * each)).unwrap();
    let tenant = store.tenant("t").unwrap();
    let known = tenant.usage().ingest_bytes_today;
    assert!(known >= each && store.usage_damaged() == 1, "{known} of {each}");
    let told = tenant.stats().unwrap().usage_error.expect("told");
    assert!(told.contains("usage") && told.contains(&format!("{known} bytes")), "{told}");
    // It holds over the next restart, and another day is another sum.
    while append(&tenant).is_ok() {}
    assert!(tenant.usage().ingest_bytes_today > 9 * each);
    store.close().unwrap();
    let store = Store::open_with(dir.path(), options(&day, 10 * each)).unwrap();
    let tenant = store.tenant("t").unwrap();
    assert!(is_refused(&append(&tenant).unwrap_err()) && verify(&[dir.path()], false).ok);
    day.fetch_add(1, Ordering::SeqCst);
    append(&tenant).unwrap();
    assert_eq!((tenant.usage().ingest_bytes_today, tenant.stats().unwrap().usage_error), (each, None));
}

#[test]
fn a_tenant_that_is_closed_for_others_keeps_its_sum() {
    let each = batch_bytes();
    let mut options = options(&days(), 3 * each);
    options.tenants_open_max = 1;
    let store = Store::open_on(Arc::new(SimVfs::new()), Path::new(PATH), options, true).unwrap();
    for _ in 0..3 {
        for name in ["a", "b", "c"] {
            append(&store.tenant(name).unwrap()).unwrap();
        }
    }
    for name in ["a", "b", "c"] {
        assert!(is_refused(&append(&store.tenant(name).unwrap()).unwrap_err()), "{name}");
    }
}

#[test]
fn no_crash_lets_more_in_than_the_quota_and_little_of_it_is_lost() {
    const FIT: u64 = 40;
    let each = batch_bytes();
    let limit = FIT * each;
    let mut crashes = 0;
    for crash_at in (1..).step_by(3) {
        let (vfs, day) = (SimVfs::new(), days());
        let open = |vfs: &SimVfs| Store::open_on(Arc::new(vfs.clone()), Path::new(PATH), options(&day, limit), true);
        let store = open(&vfs).unwrap();
        let tenant = store.tenant("t").unwrap();
        vfs.crash_at(crash_at);
        let (mut sent, mut stored) = (0, 0);
        while sent < FIT && !vfs.is_down() {
            sent += 1;
            stored += u64::from(append(&tenant).is_ok());
        }
        let is_down = vfs.is_down();
        drop((tenant, store));
        let after = if is_down { vfs.after_crash(crash_at) } else { vfs.after_kill() };
        let store = open(&after).unwrap();
        let tenant = store.tenant("t").unwrap();
        let used = tenant.usage().ingest_bytes_today;
        // What the file says is a 64th ahead of what was let in; of the last one nobody knows.
        let (least, most) = (stored * each, (sent * each + limit / 64).min(limit));
        assert!((least..=most).contains(&used), "crash at {crash_at}: {used} of {least} to {most}");
        let mut more = 0;
        let refused = loop {
            match append(&tenant) {
                Ok(()) => more += 1,
                Err(e) => break e,
            }
        };
        assert!(is_refused(&refused), "{refused}");
        assert!(stored + more <= FIT && sent + more + 1 >= FIT - 1, "crash at {crash_at}: {stored} and {more}");
        if !is_down {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn what_cannot_be_put_down_is_not_let_in() {
    let each = batch_bytes();
    let vfs = SimVfs::new();
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new(PATH), options(&days(), 200 * each), true).unwrap();
    let tenant = store.tenant("t").unwrap();
    append(&tenant).unwrap();
    vfs.inject(SimFault::new(SimOp::Sync).under("/store/tenants/t/usage.tmp").until_healed());
    let stored = (0..20).filter(|_| append(&tenant).is_ok()).count();
    assert!(stored < 5, "only what the file had room for: {stored}");
    vfs.heal();
    append(&tenant).unwrap();
    let counted = tenant.usage().ingest_bytes_today;
    assert_eq!(counted, (stored as u64 + 2) * each, "what was refused does not count");
    // Without a quota of a day there is no such file.
    let none = SimVfs::new();
    let mut options = options(&days(), 1);
    options.policy = Arc::default();
    let store = Store::open_on(Arc::new(none.clone()), Path::new(PATH), options, true).unwrap();
    append(&store.tenant("t").unwrap()).unwrap();
    store.close().unwrap();
    assert!(!none.exists(Path::new("/store/tenants/t/usage")).unwrap());
}
