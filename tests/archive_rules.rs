//! Rules that come when segments are in an archive already: what they let go goes, and what is left is where it belongs.

use duramen::policy::{Policy, PolicyConfig};
use duramen::tenant::Clock;
use duramen::vfs::sim::{SimFault, SimOp, SimVfs};
use duramen::{Labels, Options, Record, Store, Tenant, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DAY: i64 = 86_400_000_000_000;
const COLD: &str = "/other/cold";
const ARCHIVE: &str = "[archives]\ncold = '/other/cold'\n[[archive]]\nafter = '30d'\nto = 'cold'\n";
const LATER: &str = "[[retention]]\nlabels = { app = 'web' }\nage = '60d'\n";

fn options(rules: &str) -> Options {
    let mut options = Options::default();
    (options.background_threads, options.query_threads) = (0, 1);
    options.lifecycle_every = Duration::ZERO;
    options.merge_age_min = Duration::ZERO;
    options.clock = Clock::new(|| Timestamp(20_000 * DAY));
    let config: PolicyConfig = toml::from_str(rules).unwrap();
    options.policy = Arc::new(Policy::new(&config).unwrap());
    options
}

fn open(vfs: &SimVfs, rules: &str) -> (Store, Tenant) {
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/disk/store"), options(rules), true).unwrap();
    let tenant = store.tenant("acme").unwrap();
    (store, tenant)
}

fn append(tenant: &Tenant, app: &str, days_ago: i64) {
    let record = |n| Record::new().at(Timestamp((20_000 - days_ago) * DAY + n)).with("n", n);
    let records: Vec<Record> = (0..20).map(record).collect();
    tenant.append_labelled(&records, &Labels::new([("app", app)])).unwrap();
}

fn count(tenant: &Tenant, query: &str) -> usize {
    let mut rows = tenant.query(query).unwrap();
    let count = rows.by_ref().filter(|row| row.is_ok()).count();
    assert!(rows.missing().is_empty());
    count
}

fn archived(vfs: &SimVfs) -> Vec<PathBuf> {
    vfs.files().into_iter().filter(|file| file.starts_with(COLD)).collect()
}

/// A segment of two streams in the archive, and two small ones that are to be merged; then comes a rule for one stream.
fn with_a_later_rule() -> (SimVfs, Store, Tenant) {
    let vfs = SimVfs::seeded(1);
    let (store, tenant) = open(&vfs, ARCHIVE);
    append(&tenant, "web", 100);
    append(&tenant, "db", 100);
    assert_eq!(tenant.compact(None).unwrap().segments_archived, 1);
    assert_eq!(archived(&vfs).len(), 1);
    for _ in 0..2 {
        append(&tenant, "db", 1);
        tenant.seal().unwrap();
    }
    drop(tenant);
    store.close().unwrap();
    let (store, tenant) = open(&vfs, &format!("{ARCHIVE}{LATER}"));
    (vfs, store, tenant)
}

#[test]
fn an_archived_segment_is_split_in_the_background() {
    let (vfs, store, tenant) = with_a_later_rule();
    let before = archived(&vfs);
    assert_eq!(count(&tenant, "{app=\"web\"}"), 20);
    // Once it is split, once its parts go their ways.
    store.maintain().unwrap();
    store.maintain().unwrap();
    assert_eq!((count(&tenant, "{app=\"web\"}"), count(&tenant, "{app=\"db\"}")), (0, 60));
    store.maintain().unwrap();
    let after = archived(&vfs);
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    // Nothing is left to do there.
    let report = tenant.compact(None).unwrap();
    assert_eq!((report.segments_archived, report.records_expired, archived(&vfs)), (0, 0, after));
}

#[test]
fn an_archive_that_fails_while_a_segment_is_split_is_told_after_all_else_was_done() {
    let (mut refused, mut is_done) = (0, false);
    for skip in 0.. {
        let (vfs, _store, tenant) = with_a_later_rule();
        vfs.inject(SimFault::new(SimOp::Read).under(COLD).after(skip).until_healed());
        let segments = || tenant.stats().unwrap().segments;
        assert_eq!(segments(), 3);
        match tenant.compact(None) {
            // The archive can't be read so soon that nobody knows which streams the segment has.
            Ok(report) if report.records_expired == 0 => assert_eq!(report.segments_made, 1),
            Ok(report) => {
                assert_eq!(report.records_expired, 20);
                is_done = true;
            }
            Err(_) => refused += 1,
        }
        vfs.heal();
        assert_eq!(segments(), 2, "{skip}: the others are merged");
        tenant.compact(None).unwrap();
        assert_eq!((count(&tenant, "*"), archived(&vfs).len()), (60, 1), "{skip}");
        if is_done {
            break;
        }
    }
    assert!(refused > 0, "the archive never failed while a segment was split");
}
