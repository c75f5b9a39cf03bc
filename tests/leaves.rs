//! Leaves by retention class: what one class lets go leaves the proof of the others as it is.

use duramen::format::edit::{Edit, Entry, HEAD_START, Leaf, put_entry_mark, read_edits};
use duramen::format::version::Version;
use duramen::policy::{Policy, PolicyConfig};
use duramen::tenant::Clock;
use duramen::verify::{FindingKind, Report, verify};
use duramen::{Ack, BatchBuilder, Labels, Options, Store, Tag, Tenant, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const DAY: i64 = 86_400_000_000_000;
const BEGIN: i64 = 20_000;
const BY_STREAM: &str = "[[retention]]\nlabels = { s = 'short' }\nage = '7d'\n\
    [[retention]]\nlabels = { s = 'long' }\nage = '30d'\n";

/// A store with a clock that the test turns.
struct Bench {
    _dir: tempfile::TempDir,
    data: PathBuf,
    day: Arc<AtomicI64>,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        Bench { data: dir.path().join("store"), _dir: dir, day: Arc::new(AtomicI64::new(BEGIN)) }
    }

    fn open(&self, rules: &str) -> Store {
        let day = self.day.clone();
        let config: PolicyConfig = toml::from_str(rules).unwrap();
        let mut options = Options::default();
        options.background_threads = 0;
        options.lifecycle_every = Duration::ZERO;
        options.clock = Clock::new(move || Timestamp(day.load(Ordering::SeqCst) * DAY));
        options.policy = Arc::new(Policy::new(&config).unwrap());
        Store::open_with(&self.data, options).unwrap()
    }

    fn later(&self, days: i64) {
        self.day.fetch_add(days, Ordering::SeqCst);
    }

    fn tenant_dir(&self) -> PathBuf {
        self.data.join("tenants/acme")
    }

    fn version(&self) -> Version {
        version(&self.tenant_dir().join("manifest"))
    }

    /// Verifies all of it; gives the report and how many records have a leaf.
    fn verified(&self) -> (Report, u64) {
        let report = verify(&[&self.data], true);
        assert!(report.ok, "{:?}", report.findings);
        let leaves: Vec<Leaf> = self.version().leaves().cloned().collect();
        assert_eq!(report.leaves, leaves.len() as u64, "every leaf came out");
        (report, leaves.iter().map(|leaf| u64::from(leaf.count())).sum())
    }
}

fn version(manifest: &Path) -> Version {
    let bytes = std::fs::read(manifest).unwrap();
    let mut version = None;
    for at in read_edits(&bytes).unwrap().1.map(Result::unwrap) {
        if let Some(entry) = &at.entry {
            version = Some(Version::after(version.as_ref(), entry, at.head).unwrap());
        }
    }
    version.unwrap()
}

fn is_unproven(report: &Report) -> bool {
    report.skipped.iter().any(|line| line.contains("leaves of"))
}

/// A batch whose records are of these streams by turns.
fn append(tenant: &Tenant, streams: &[&str], day: i64, count: u64) {
    let mut builder = BatchBuilder::new();
    for n in 0..count {
        builder.begin();
        builder.field("message", Tag::String, &format!("record {n} of {day}"));
        let stream = streams[n as usize % streams.len()];
        builder.finish(Timestamp(day * DAY + n as i64), &Labels::new([("s", stream)])).unwrap();
    }
    tenant.append_batch(&builder.take(), Ack::Os).unwrap();
}

#[test]
fn what_one_class_lets_go_breaks_no_leaf_of_another() {
    // As sealed, merged before, and merged after.
    for merge in [None, Some(0), Some(8)] {
        let bench = Bench::new();
        let store = bench.open(BY_STREAM);
        let tenant = store.tenant("acme").unwrap();
        for round in 0..3 {
            append(&tenant, &["short", "long", "other"], BEGIN, 90);
            append(&tenant, &["short"], BEGIN, 5000);
            append(&tenant, &["other", "other", "long"], BEGIN, 6000 + round);
            append(&tenant, &["short", "long"], BEGIN, 10_000);
            tenant.seal().unwrap();
        }
        if merge == Some(0) {
            tenant.compact(None).unwrap();
        }
        let all = 3 * (90 + 5000 + 6000 + 10_000) + 3;
        let (report, covered) = bench.verified();
        assert_eq!((report.records, covered, is_unproven(&report)), (all, all, false));
        bench.later(8);
        match merge {
            Some(8) => drop(tenant.compact(None).unwrap()),
            _ => store.maintain().unwrap(),
        }
        let left = 3 * (60 + 6000 + 5000) + 3;
        let (report, covered) = bench.verified();
        assert_eq!((report.records, covered, is_unproven(&report)), (left, left, false), "{merge:?}");
        assert!(bench.version().broken().is_empty());
        // What a delete matches has gone from leaves that cover records far apart.
        tenant.delete("\"record 4\" OR \"record 5\"", &duramen::store::DeleteOptions::default()).unwrap();
        let (report, covered) = bench.verified();
        assert!(report.records < left && covered == report.records && !is_unproven(&report));
        let left = report.records;
        bench.later(30);
        store.maintain().unwrap();
        store.close().unwrap();
        let (report, covered) = bench.verified();
        assert!(report.records < left && covered == report.records && !is_unproven(&report));
        assert!(bench.version().broken().is_empty() && report.records > 0);
    }
}

#[test]
fn a_leaf_breaks_where_rules_that_changed_part_its_records() {
    let bench = Bench::new();
    let store = bench.open("");
    let tenant = store.tenant("acme").unwrap();
    append(&tenant, &["short", "long"], BEGIN, 100);
    tenant.seal().unwrap();
    store.close().unwrap();
    let store = bench.open(BY_STREAM);
    let tenant = store.tenant("acme").unwrap();
    tenant.compact(None).unwrap();
    append(&tenant, &["short", "long"], BEGIN, 40);
    tenant.seal().unwrap();
    bench.later(8);
    store.maintain().unwrap();
    store.close().unwrap();
    let (report, covered) = bench.verified();
    assert_eq!((report.records, covered), (70, 20));
    assert!(report.skipped.iter().any(|line| line.contains("leaves of 50 records")), "{:?}", report.skipped);
}

#[test]
fn a_segment_that_goes_unread_breaks_what_may_be_its_own() {
    let bench = Bench::new();
    let store = bench.open(BY_STREAM);
    let tenant = store.tenant("acme").unwrap();
    append(&tenant, &["short", "long"], BEGIN, 100);
    tenant.seal().unwrap();
    append(&tenant, &["long"], BEGIN, 10);
    store.close().unwrap();
    // The numbers of the records are in the block.
    let version = bench.version();
    let short = version.segments.values().find(|s| s.min_seq.0 == 1).unwrap();
    let path = bench.tenant_dir().join(format!("segments/{}.seg", short.id));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300..400].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let store = bench.open(BY_STREAM);
    let tenant = store.tenant("acme").unwrap();
    bench.later(8);
    store.maintain().unwrap();
    assert_eq!(tenant.stats().unwrap().records, 60);
    store.close().unwrap();
    let (report, covered) = bench.verified();
    assert_eq!((report.records, covered, is_unproven(&report)), (60, 10, true));
}

/// Writes a manifest anew, with a change to what its first seal says of leaves.
fn forge(manifest: &Path, change: impl Fn(&mut Vec<Leaf>)) {
    let bytes = std::fs::read(manifest).unwrap();
    let (header, entries) = read_edits(&bytes).unwrap();
    let mut forged = header.encode().to_vec();
    let mut head = HEAD_START;
    let mut is_changed = false;
    for at in entries.map(Result::unwrap) {
        match at.entry {
            None => put_entry_mark(at.number, &head, &header.stamp(), &mut forged),
            Some(Entry { number, at, mut edits, .. }) => {
                for edit in &mut edits {
                    if let Edit::Seal { leaves, .. } = edit
                        && !is_changed
                    {
                        change(leaves);
                        leaves.sort_by_key(Leaf::first);
                        is_changed = true;
                    }
                }
                let entry = Entry { number, previous: head, at, edits };
                head = entry.encode(&header.stamp(), &mut forged).unwrap();
            }
        }
    }
    assert!(is_changed && forged != bytes);
    std::fs::write(manifest, forged).unwrap();
}

#[test]
fn a_leaf_that_says_otherwise_is_found() {
    type Change = fn(&mut Vec<Leaf>);
    let changes: [(&str, Change); 4] = [
        ("another hash", |leaves| leaves[0].hash[3] ^= 1),
        ("the Seqs of another", |leaves| {
            let seqs = leaves[0].seqs.clone();
            leaves[0].seqs = std::mem::replace(&mut leaves[1].seqs, seqs);
        }),
        ("a leaf too few", |leaves| drop(leaves.remove(0))),
        ("a Seq too few", |leaves| {
            let rest = duramen::format::edit::SeqSet::of(leaves[1].seqs.iter().skip(1));
            leaves[1].seqs = rest.unwrap();
        }),
    ];
    for (what, change) in changes {
        let bench = Bench::new();
        let store = bench.open(BY_STREAM);
        append(&store.tenant("acme").unwrap(), &["short", "long"], BEGIN, 200);
        store.close().unwrap();
        assert_eq!(bench.verified().1, 200);
        forge(&bench.tenant_dir().join("manifest"), change);
        assert!(verify(&[&bench.data], false).ok, "the chain fits together: {what}");
        let report = verify(&[&bench.data], true);
        assert!(report.findings.iter().any(|f| f.kind == FindingKind::LeafMismatch), "{what}: {:?}", report.findings);
    }
}
