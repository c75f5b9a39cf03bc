//! Records live by rules: what goes when, what moves, what is refused.

use duramen::policy::{Policy, PolicyConfig, SpaceLevel};
use duramen::tenant::Clock;
use duramen::vfs::Vfs;
use duramen::vfs::sim::SimVfs;
use duramen::{Ack, BatchBuilder, Error, Labels, Options, Store, Tag, Tenant, Timestamp, verify};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const DAY: i64 = 86_400_000_000_000;
/// Where the clock of these tests begins, in days.
const BEGIN: i64 = 20_000;

/// A store's folder with a clock that the test turns.
struct Place {
    dir: tempfile::TempDir,
    day: Arc<AtomicI64>,
}

impl Place {
    fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap(), day: Arc::new(AtomicI64::new(BEGIN)) }
    }

    fn options(&self, rules: &str) -> Options {
        let day = self.day.clone();
        let mut options = Options::default();
        options.background_threads = 0;
        options.lifecycle_every = Duration::ZERO;
        options.space_every = Duration::ZERO;
        options.clock = Clock::new(move || Timestamp(day.load(Ordering::SeqCst) * DAY));
        options.policy = Arc::new(self.policy(rules));
        options
    }

    fn policy(&self, rules: &str) -> Policy {
        let config: PolicyConfig = toml::from_str(&rules.replace("ARCHIVE", self.archive().to_str().unwrap())).unwrap();
        Policy::new(&config).unwrap()
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("cold")
    }

    fn open(&self, rules: &str) -> Store {
        Store::open_with(self.store(), self.options(rules)).unwrap()
    }

    fn later(&self, days: i64) {
        self.day.fetch_add(days, Ordering::SeqCst);
    }

    /// The names of the segments in the store.
    fn segments(&self) -> Vec<String> {
        names(&self.store().join("tenants/acme/segments"))
    }

    fn verifies(&self) {
        let report = verify::verify(&[self.store()], true);
        assert!(report.ok, "{:?}", report.findings);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Appends this many records of a stream, of a day.
fn append(tenant: &Tenant, stream: &str, day: i64, count: u64) -> Result<(), Error> {
    let labels = Labels::new(stream.split(',').filter_map(|pair| pair.split_once('=')));
    let mut builder = BatchBuilder::new();
    for n in 0..count {
        builder.begin();
        builder.field("message", Tag::String, &format!("record {n} of {stream}"));
        builder.finish(Timestamp(day * DAY + n as i64), &labels).unwrap();
    }
    tenant.append_batch(&builder.take(), Ack::Os).map(drop)
}

fn count(tenant: &Tenant, query: &str) -> usize {
    let mut rows = tenant.query(query).unwrap();
    let all: Result<Vec<_>, Error> = rows.by_ref().collect();
    assert_eq!(rows.missing(), []);
    all.unwrap().len()
}

const BY_STREAM: &str = "[[retention]]\nlabels = { s = 'short' }\nage = '7d'\n\
    [[retention]]\nlabels = { s = 'long' }\nage = '30d'\n";

#[test]
fn each_class_has_segments_of_its_own_and_goes_by_removing_them() {
    let place = Place::new();
    let store = place.open(BY_STREAM);
    let tenant = store.tenant("acme").unwrap();
    for stream in ["s=short", "s=long", "s=other", "s=short,x=y"] {
        append(&tenant, stream, BEGIN, 50).unwrap();
    }
    tenant.seal().unwrap();
    let sealed = place.segments();
    assert_eq!(sealed.len(), 3, "three classes");
    store.maintain().unwrap();
    assert_eq!(count(&tenant, "*"), 200);
    for (days, short, long) in [(7, 100, 50), (1, 0, 50), (22, 0, 50), (1, 0, 0), (1000, 0, 0)] {
        place.later(days);
        store.maintain().unwrap();
        let found = (count(&tenant, "s:short"), count(&tenant, "s:long"), count(&tenant, "s:other"));
        assert_eq!(found, (short, long, 50), "after {days} more days");
    }
    // Nothing was written anew for it.
    assert!(place.segments().iter().all(|name| sealed.contains(name)) && place.segments().len() == 1);
    assert_eq!(tenant.stats().unwrap().records, 50);
    store.close().unwrap();
    place.verifies();
    // The chain says what went and why.
    let manifest = std::fs::read(place.store().join("tenants/acme/manifest")).unwrap();
    let text = String::from_utf8_lossy(&manifest).into_owned();
    assert!(text.contains("older than 7d (retention of s=short)") && text.contains("older than 30d"));
}

#[test]
fn merging_stays_within_a_class() {
    let place = Place::new();
    let store = place.open(BY_STREAM);
    let tenant = store.tenant("acme").unwrap();
    for _ in 0..3 {
        append(&tenant, "s=short", BEGIN, 10).unwrap();
        append(&tenant, "s=long", BEGIN, 10).unwrap();
        tenant.seal().unwrap();
    }
    assert_eq!(place.segments().len(), 6);
    tenant.compact(None).unwrap();
    assert_eq!(place.segments().len(), 2);
    place.later(8);
    tenant.compact(None).unwrap();
    assert_eq!((place.segments().len(), count(&tenant, "s:long"), count(&tenant, "*")), (1, 30, 30));
    store.close().unwrap();
    place.verifies();
}

#[test]
fn a_rule_that_changes_counts_for_what_is_sealed() {
    // By the background's merges, and at once.
    rules_change(|store, tenant| {
        let records = tenant.stats().unwrap().records;
        store.maintain().unwrap();
        assert_eq!((tenant.stats().unwrap().segments, tenant.stats().unwrap().records), (3, records), "parted");
        assert!(tenant.stats().unwrap().merges == 1 && tenant.stats().unwrap().merged_bytes_written > 0);
        store.maintain().unwrap();
    });
    rules_change(|_, tenant| {
        let report = tenant.compact(None).unwrap();
        assert_eq!((report.records_expired, report.segments_made), (20_000, 3), "{report:?}");
    });
}

fn rules_change(act: impl Fn(&Store, &Tenant)) {
    let place = Place::new();
    // No rules: one segment with all.
    let store = place.open("");
    let tenant = store.tenant("acme").unwrap();
    append(&tenant, "s=short", BEGIN, 20_000).unwrap();
    append(&tenant, "s=long", BEGIN + 1, 30).unwrap();
    append(&tenant, "s=other", BEGIN + 1, 3).unwrap();
    tenant.seal().unwrap();
    store.close().unwrap();
    let before = place.segments();
    assert_eq!(before.len(), 1);
    // One class for all: the manifest is told, and nothing is written anew.
    let store = place.open("[[retention]]\nage = '60d'\n");
    store.tenant("acme").unwrap();
    store.maintain().unwrap();
    store.close().unwrap();
    assert_eq!(place.segments(), before);
    place.verifies();
    // Several: as long as it is not split it goes with the longest-lived.
    place.later(20);
    let store = place.open(BY_STREAM);
    let tenant = store.tenant("acme").unwrap();
    assert_eq!((place.segments() == before, count(&tenant, "*")), (true, 20_033));
    act(&store, &tenant);
    assert_eq!(count(&tenant, "*"), 33);
    assert_eq!((count(&tenant, "s:long"), place.segments().len()), (30, 2));
    store.close().unwrap();
    place.verifies();
    // What is split stays split where rules give the classes other periods, and others that share one are found out.
    place.later(30);
    let store = place.open("[[retention]]\nlabels = { s = 'other' }\nage = '30d'\n");
    let tenant = store.tenant("acme").unwrap();
    store.maintain().unwrap();
    assert_eq!((count(&tenant, "s:other"), count(&tenant, "s:long")), (0, 30));
    store.close().unwrap();
    place.verifies();
}

#[test]
fn by_number_and_by_bytes_the_oldest_go() {
    let place = Place::new();
    let rules = "[[retention]]\nlabels = { s = 'n' }\nrecords = 1000\n\
        [[retention]]\nlabels = { s = 'b' }\nbytes = '20KB'\n";
    let store = place.open(rules);
    let tenant = store.tenant("acme").unwrap();
    for day in 0..6 {
        append(&tenant, "s=n", BEGIN + day, 600).unwrap();
        append(&tenant, "s=b", BEGIN + day, 600).unwrap();
        append(&tenant, "s=all", BEGIN + day, 600).unwrap();
        tenant.compact(None).unwrap();
        let n = count(&tenant, "s:n");
        assert!(n <= 1000 && n >= if day == 0 { 600 } else { 1000 - 2 * 125 }, "{n} on day {day}");
    }
    // At once far more than may be kept: the newest are.
    append(&tenant, "s=n", BEGIN + 9, 5000).unwrap();
    tenant.compact(None).unwrap();
    let n = count(&tenant, "s:n");
    assert!((750..=1000).contains(&n), "{n}");
    let newest = Timestamp((BEGIN + 9) * DAY).to_string();
    assert_eq!(count(&tenant, &format!("s:n _time:>={newest}")), n, "the newest are kept");
    let bytes = count(&tenant, "s:b");
    assert!([600, 1200, 1800, 2400, 3000].contains(&bytes), "{bytes}");
    assert_eq!(count(&tenant, "s:all"), 3600);
    store.close().unwrap();
    place.verifies();
}

const ARCHIVED: &str = "[archives]\ncold = 'ARCHIVE'\n[[archive]]\nlabels = { category = 'audit' }\nafter = '30d'\n\
    to = 'cold'\n[[retention]]\nlabels = { category = 'audit' }\nage = '365d'\n";

#[test]
fn cold_segments_go_to_an_archive_and_are_queried_there() {
    let place = Place::new();
    let store = place.open(ARCHIVED);
    let tenant = store.tenant("acme").unwrap();
    append(&tenant, "category=audit", BEGIN, 100).unwrap();
    append(&tenant, "category=app", BEGIN, 100).unwrap();
    tenant.seal().unwrap();
    place.later(31);
    append(&tenant, "category=audit", BEGIN + 31, 5).unwrap();
    tenant.seal().unwrap();
    let running = tenant.query("*").unwrap();
    store.maintain().unwrap();
    let archived = names(&place.archive().join("acme"));
    assert_eq!((place.segments().len(), archived.len()), (2, 1), "{archived:?}");
    assert_eq!(running.map(|row| row.unwrap()).collect::<Vec<_>>().len(), 205, "a query that runs goes on");
    assert_eq!((count(&tenant, "category:audit"), tenant.compact(None).unwrap().segments_archived), (105, 0));
    let stats = tenant.stats().unwrap();
    assert_eq!((stats.segments_archived, stats.records), (1, 205));
    drop(tenant);
    store.close().unwrap();
    let cold: std::collections::BTreeMap<_, _> = place.policy(ARCHIVED).archives().clone();
    let report = verify::verify_with(&[place.store()], true, &cold);
    assert!(report.ok && report.records == 205, "{:?}", report.findings);

    // Of an archive that is away, answers say that they miss it, and name it; what does not need it is whole.
    let away = place.dir.path().join("away");
    std::fs::rename(place.archive(), &away).unwrap();
    for rules in [ARCHIVED, ""] {
        let store = place.open(rules);
        let tenant = store.tenant("acme").unwrap();
        let mut rows = tenant.query("category:audit").unwrap();
        assert_eq!(rows.by_ref().filter(Result::is_ok).count(), 5);
        let missing = rows.missing();
        assert_eq!(missing.iter().map(|m| m.records).sum::<u64>(), 100, "{missing:?}");
        assert!(missing[0].reason.contains("the archive `cold`"), "{missing:?}");
        let newer = format!("_time:>={}", Timestamp((BEGIN + 20) * DAY));
        let mut rows = tenant.query(&newer).unwrap();
        assert_eq!((rows.by_ref().count(), rows.missing().len()), (5, 0));
        store.close().unwrap();
    }
    assert!(!verify::verify_with(&[place.store()], false, &cold).ok, "it is missing");
    std::fs::rename(&away, place.archive()).unwrap();

    // One flipped bit there is found.
    let file = place.archive().join("acme").join(&archived[0]);
    let whole = std::fs::read(&file).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    assert!(!verify::verify_with(&[place.store()], false, &cold).ok);
    std::fs::write(&file, &whole).unwrap();

    // It expires there as well.
    place.later(400);
    let store = place.open(ARCHIVED);
    let tenant = store.tenant("acme").unwrap();
    store.maintain().unwrap();
    assert_eq!((count(&tenant, "*"), names(&place.archive().join("acme")).len()), (100, 0));
    store.close().unwrap();
    place.verifies();
}

#[test]
fn a_crash_while_a_segment_moves_loses_nothing() {
    let path = Path::new("/store");
    let rules = "[archives]\ncold = '/cold'\n[[archive]]\nafter = '30d'\nto = 'cold'\n";
    let place = Place::new();
    place.later(100);
    let mut crash_at = 0;
    loop {
        crash_at += 1;
        let vfs = SimVfs::new();
        vfs.create_dir_all(Path::new("/cold")).unwrap();
        let open = |vfs: &SimVfs| Store::open_on(Arc::new(vfs.clone()), path, place.options(rules), true).unwrap();
        let store = open(&vfs);
        let tenant = store.tenant("acme").unwrap();
        append(&tenant, "a=b", BEGIN, 10).unwrap();
        tenant.seal().unwrap();
        append(&tenant, "a=b", BEGIN + 1, 10).unwrap();
        tenant.flush().unwrap();
        vfs.crash_at(crash_at);
        let done = tenant.compact(None).map(|report| report.segments_archived);
        let is_down = vfs.is_down();
        drop((tenant, store));
        for (round, seed) in [7, crash_at].into_iter().enumerate() {
            let after = if is_down { vfs.after_crash(seed) } else { vfs.after_kill() };
            let store = open(&after);
            let tenant = store.tenant("acme").unwrap();
            assert_eq!(count(&tenant, "*"), 20, "crash at {crash_at}, round {round}");
            let report = tenant.compact(None).unwrap();
            assert_eq!(count(&tenant, "*"), 20, "crash at {crash_at}: {report:?}");
            let own = after.files().iter().filter(|f| f.starts_with("/store/tenants/acme/segments")).count();
            assert_eq!(own, 0, "all went to the archive: {:?}", after.files());
        }
        if !is_down {
            assert!(done.is_ok_and(|archived| archived > 0));
            break;
        }
    }
    assert!(crash_at > 20, "{crash_at} operations");
}

#[test]
fn quotas_refuse_with_their_name_until_there_is_room() {
    let place = Place::new();
    let rules = "[quota.tenants.acme]\nrecords = 100\n[quota.tenants.daily]\ningest_bytes_per_day = 5000\n\
        [quota.tenants.small]\nbytes = 3000\n[[retention]]\nage = '7d'\n";
    let store = place.open(rules);
    let refused = |result: Result<(), Error>| {
        let error = result.expect_err("over a quota");
        error.as_quota_error().map(|e| e.quota).unwrap_or_else(|| panic!("{error}"))
    };
    let acme = store.tenant("acme").unwrap();
    append(&acme, "a=b", BEGIN, 60).unwrap();
    acme.seal().unwrap();
    assert_eq!(refused(append(&acme, "a=b", BEGIN, 41)), "records");
    append(&acme, "a=b", BEGIN, 40).unwrap();
    assert_eq!(refused(append(&acme, "a=b", BEGIN, 1)), "records");
    assert_eq!((count(&acme, "*"), acme.usage().records), (100, 100), "what was refused is not there");
    place.later(8);
    acme.compact(None).unwrap();
    append(&acme, "a=b", BEGIN + 8, 100).unwrap();

    let daily = store.tenant("daily").unwrap();
    append(&daily, "a=b", BEGIN + 8, 100).unwrap();
    assert_eq!(refused(append(&daily, "a=b", BEGIN + 8, 200)), "ingest_bytes_per_day");
    place.later(1);
    append(&daily, "a=b", BEGIN + 9, 100).unwrap();

    let small = store.tenant("small").unwrap();
    let first = (0..100).map(|_| append(&small, "a=b", BEGIN + 9, 5)).find_map(Result::err);
    assert_eq!(first.and_then(|e| e.as_quota_error().map(|e| (e.quota, e.limit))), Some(("bytes", 3000)));
    // Others are not concerned.
    let other = store.tenant("other").unwrap();
    append(&other, "a=b", BEGIN + 9, 5000).unwrap();
}

#[test]
fn with_little_room_what_may_go_goes_and_then_records_are_refused() {
    let place = Place::new();
    let rules = "[space]\nlow_bytes = '1MB'\nrefuse_bytes = '400KB'\n\
        [[retention]]\nlabels = { s = 'free' }\nage = '30d'\nlow_space_age = '2d'\n[[retention]]\nage = '30d'\n";
    let vfs = SimVfs::new();
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/store"), place.options(rules), true).unwrap();
    let tenant = store.tenant("acme").unwrap();
    append(&tenant, "s=free", BEGIN - 5, 100).unwrap();
    append(&tenant, "s=kept", BEGIN - 5, 100).unwrap();
    append(&tenant, "s=free", BEGIN, 100).unwrap();
    tenant.seal().unwrap();
    store.maintain().unwrap();
    assert_eq!((count(&tenant, "*"), store.space().level), (300, SpaceLevel::Enough));
    // Another tenant, which is not open.
    let level = |free: u64| {
        vfs.set_space(Some(vfs.used_bytes() + free));
        store.maintain().unwrap();
        store.space().level
    };
    assert_eq!((level(2_000_000), count(&tenant, "*")), (SpaceLevel::Enough, 300));
    assert_eq!(level(800_000), SpaceLevel::Low);
    assert_eq!((count(&tenant, "s:free"), count(&tenant, "s:kept")), (100, 100), "what may go went");
    append(&tenant, "s=kept", BEGIN, 1).unwrap();
    assert_eq!(level(300_000), SpaceLevel::Refuse);
    let error = append(&tenant, "s=kept", BEGIN, 1).expect_err("too little room");
    assert!(error.is_low_space() && !error.is_out_of_space(), "{error}");
    assert_eq!(count(&tenant, "*"), 201);
    // With room again it goes on, with nothing opened anew.
    vfs.set_space(None);
    append(&tenant, "s=kept", BEGIN, 1).unwrap();
    assert_eq!((count(&tenant, "*"), store.space().level), (202, SpaceLevel::Enough));
}

#[test]
fn tenants_that_are_not_open_are_looked_after_when_something_is_due() {
    let place = Place::new();
    let rules = "[[retention]]\nage = '7d'\n";
    let store = place.open(rules);
    for name in ["acme", "late", "own"] {
        store.tenant(name).unwrap();
        store.catalog().unwrap().create_tenant(&duramen::TenantId::new(name).unwrap()).unwrap();
    }
    let own = duramen::TenantId::new("own").unwrap();
    store.catalog().unwrap().set(&own, "retention", Some("90d")).unwrap();
    append(&store.tenant("acme").unwrap(), "a=b", BEGIN, 10).unwrap();
    append(&store.tenant("late").unwrap(), "a=b", BEGIN + 5, 10).unwrap();
    append(&store.tenant("own").unwrap(), "a=b", BEGIN, 10).unwrap();
    for name in ["acme", "late", "own"] {
        store.tenant(name).unwrap().seal().unwrap();
    }
    store.maintain().unwrap();
    store.close().unwrap();
    let segments = |name: &str| names(&place.store().join("tenants").join(name).join("segments")).len();
    for (days, expect) in [(6, [1, 1, 1]), (2, [0, 1, 1]), (6, [0, 0, 1]), (90, [0, 0, 0])] {
        place.later(days);
        let store = place.open(rules);
        store.maintain().unwrap();
        assert_eq!(["acme", "late", "own"].map(segments), expect, "after {days} more days");
        // Nobody has them: they were closed again.
        store.close().unwrap();
    }
    place.verifies();
}

#[test]
fn a_tenants_own_settings_count_at_once() {
    let place = Place::new();
    let store = place.open("[[retention]]\nage = '60d'\n");
    let tenant = store.tenant("acme").unwrap();
    let id = duramen::TenantId::new("acme").unwrap();
    let catalog = store.catalog().unwrap();
    catalog.create_tenant(&id).unwrap();
    append(&tenant, "instance=i1", BEGIN, 10).unwrap();
    append(&tenant, "instance=i2", BEGIN, 10).unwrap();
    tenant.seal().unwrap();
    place.later(10);
    store.maintain().unwrap();
    assert_eq!(count(&tenant, "*"), 20);
    catalog.set(&id, "rules", Some("instance=*,deleted age=5d; instance=* age=30d")).unwrap();
    store.maintain().unwrap();
    assert_eq!(count(&tenant, "*"), 20);
    catalog.set(&id, "deleted/i1", Some("2024-10-20T00:00:00Z")).unwrap();
    store.maintain().unwrap();
    assert_eq!(count(&tenant, "*"), 20, "both are in one segment, until it is split");
    tenant.compact(None).unwrap();
    assert_eq!((count(&tenant, "instance:i1"), count(&tenant, "instance:i2")), (0, 10));
    catalog.set(&id, "rules", None).unwrap();
    catalog.set(&id, "retention", Some("5d")).unwrap();
    store.maintain().unwrap();
    assert_eq!(count(&tenant, "*"), 0);
    // A setting that can't be is refused; the control log stays as it is.
    assert!(catalog.set(&id, "retention", Some("soon")).is_err() && catalog.set(&id, "retentoin", Some("5d")).is_err());
    store.close().unwrap();
    place.verifies();
}

#[test]
fn what_a_tenant_holds_goes_also_where_it_was_closed_for_others() {
    let place = Place::new();
    let mut options = place.options("[[retention]]\nage = '7d'\n");
    options.tenants_open_max = 1;
    let store = Store::open_with(place.store(), options).unwrap();
    append(&store.tenant("acme").unwrap(), "s=any", BEGIN, 50).unwrap();
    // Closes the first, whose few records were in its log only, and nobody asks for it again.
    store.tenant("bravo").unwrap();
    assert_eq!(place.segments().len(), 1);
    place.later(7);
    store.maintain().unwrap();
    assert_eq!(place.segments().len(), 1);
    place.later(1);
    store.maintain().unwrap();
    assert_eq!(place.segments(), [""; 0]);
    assert_eq!(count(&store.tenant("acme").unwrap(), "*"), 0);
}
