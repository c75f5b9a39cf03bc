//! Encryption at rest, from the outside: what is on the disk, who can read it, and what becomes of it.

use duramen::policy::{Policy, PolicyConfig};
use duramen::store::{DeleteOptions, MasterKey};
use duramen::verify::{Finding, FindingKind, Report, VerifyOptions, verify, verify_as};
use duramen::vfs::sim::SimVfs;
use duramen::vfs::{RealVfs, Vfs};
use duramen::{
    Ack, AppendOptions, BatchBuilder, Idempotency, Labels, Options, QueryOptions, Record, Store, Tenant, Timestamp,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// In every record's message, field name and label.
const MARKER: &str = "xyzzyplugh";

fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8 ^ n))
}

fn options(key: Option<u8>) -> Options {
    let mut options = Options::default();
    options.master_key = key.map(master);
    options.background_threads = 0;
    options.query_threads = 1;
    options
}

fn open(dir: &Path, key: Option<u8>) -> Store {
    Store::open_with(dir, options(key)).expect("a store")
}

fn append(tenant: &Tenant, from: u64, count: u64) {
    let mut builder = BatchBuilder::new();
    let labels = Labels::new([("app", MARKER)]);
    for n in from..from + count {
        let text = format!("request {n} of {MARKER} took long: {}", n * 7919 % 1000);
        let record = Record::new().with("n", n).with("message", text).with(MARKER, n % 10).with("even", n % 2 == 0);
        builder.push(&record, Timestamp(1_700_000_000_000_000_000 + n as i64 * 1_000_000), &labels).expect("a record");
    }
    tenant.append_batch(&builder.take(), Ack::Fsync).expect("appended");
}

fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    tenant.query(query).expect("a query").map(|row| row.expect("a row").to_json()).collect()
}

fn count(tenant: &Tenant) -> String {
    rows(tenant, "* | stats count() as n").concat()
}

fn files(under: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Which files have the marker in them, as far as it can be seen.
fn with_marker(under: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(under, &mut all);
    assert!(!all.is_empty());
    let has = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        bytes.windows(MARKER.len()).any(|w| w.eq_ignore_ascii_case(MARKER.as_bytes()))
    };
    all.into_iter().filter(has).collect()
}

/// Sizes at which nothing is compressed away, and all kinds of files are there: log, segments, quarantine.
fn fill(tenant: &Tenant) {
    append(tenant, 0, 300);
    tenant.seal().expect("sealed");
    append(tenant, 300, 200);
    tenant.seal().expect("sealed");
    append(tenant, 500, 3);
}

fn torn_tail(dir: &Path) {
    let mut all = Vec::new();
    files(&dir.join("log"), &mut all);
    all.sort();
    let log = all.last().expect("a log");
    let mut bytes = std::fs::read(log).expect("read");
    let end = bytes.iter().rposition(|b| *b != 0).expect("frames");
    // The mark and the end of the frame before it.
    bytes.truncate(end - 120);
    std::fs::write(log, bytes).expect("written");
}

#[test]
fn nothing_of_a_record_is_in_any_file_of_an_encrypted_tenant() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, encrypted) in [("plain", false), ("sealed", true)] {
        let store = open(dir.path(), Some(1));
        let tenant =
            if encrypted { store.create_encrypted_tenant(name) } else { store.create_tenant(name) }.expect("made");
        fill(&tenant);
        let folder = dir.path().join("tenants").join(name);
        // As a crash leaves it, with the log not sealed; then with a tail set aside; then merged.
        let copy = tempfile::tempdir().expect("a folder");
        let copied = copy.path().join("tenants").join(name);
        copy_dir(&folder, &copied);
        drop((tenant, store));
        torn_tail(&copied);
        assert_eq!(with_marker(&copied).is_empty(), encrypted);
        let store = open(copy.path(), Some(1));
        let tenant = store.existing_tenant(name).expect("a tenant");
        assert_eq!(tenant.open_report().log.as_ref().map(|log| log.cuts.len()), Some(1));
        assert_eq!(count(&tenant), r#"{"n":500}"#);
        assert!(copied.join("quarantine").is_dir());
        assert_eq!(with_marker(&copied).is_empty(), encrypted);
        tenant.compact(None).expect("merged");
        assert_eq!((count(&tenant), with_marker(&copied).is_empty()), (r#"{"n":500}"#.into(), encrypted));
        assert_eq!(tenant.stats().expect("figures").encrypted, encrypted);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn answers_are_the_same_with_and_without_encryption() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), Some(1));
    let tenants = [store.create_tenant("plain"), store.create_encrypted_tenant("sealed")].map(|t| t.expect("made"));
    for tenant in &tenants {
        for part in 0..6 {
            append(tenant, part * 20_000, 20_000);
            if part % 2 == 1 {
                tenant.seal().expect("sealed");
            }
        }
        tenant.compact(None).expect("merged");
        append(tenant, 120_000, 100);
    }
    drop(tenants);
    store.close().expect("closed");
    for read_only in [false, true] {
        for mapped in [false, true] {
            let mut options = options(Some(1));
            options.mapped = mapped;
            let store = match read_only {
                true => Store::open_read_only_with(dir.path(), options),
                false => Store::open_with(dir.path(), options),
            };
            let store = store.expect("a store");
            let [plain, sealed] = ["plain", "sealed"].map(|name| store.existing_tenant(name).expect("a tenant"));
            for query in [
                "* | stats count() as n, sum(n) as s, min(message) as m",
                "message:took AND n:>119990",
                &format!("{MARKER}:7 n:<100"),
                "\"request 77777\"",
                "message:nowhere",
                "* | sort by (n desc) | limit 7",
                &format!("{{app=\"{MARKER}\"}} even:true | stats by ({MARKER}) count() as n"),
            ] {
                let mut both = [rows(&plain, query), rows(&sealed, query)];
                both.iter_mut().for_each(|rows| rows.sort());
                assert_eq!(both[0], both[1], "{query}");
                assert_eq!(both[0].is_empty(), query.contains("nowhere"), "{query}");
            }
        }
    }
}

#[test]
fn without_the_key_a_tenant_says_so_and_others_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let store = open(dir.path(), Some(1));
        fill(&store.create_encrypted_tenant("sealed").expect("made"));
        fill(&store.create_tenant("plain").expect("made"));
        store.close().expect("closed");
    }
    for key in [None, Some(2)] {
        let store = open(dir.path(), key);
        let error = store.existing_tenant("sealed").expect_err("refused");
        assert!(error.is_key() && !error.is_damage(), "{error}");
        assert!(error.to_string().contains(&master(1).id()), "{error}");
        assert_eq!(count(&store.existing_tenant("plain").expect("a tenant")), r#"{"n":503}"#);
        assert!(
            Store::open_read_only_with(dir.path(), options(key))
                .and_then(|store| store.existing_tenant("sealed"))
                .expect_err("refused")
                .is_key()
        );
        let info = store.key_info("sealed").expect("read").expect("encrypted");
        assert_eq!((info.generation, info.masters), (1, vec![master(1).id()]));
        assert_eq!(store.key_info("plain").expect("read"), None);
    }
    let store = open(dir.path(), None);
    assert!(store.create_encrypted_tenant("other").expect_err("no key").is_key());
    assert!(store.encrypt_tenant("plain").expect_err("no key").is_key());
    assert_eq!(count(&store.existing_tenant("plain").expect("a tenant")), r#"{"n":503}"#);
    drop(store);
    let store = open(dir.path(), Some(1));
    assert_eq!(count(&store.existing_tenant("sealed").expect("a tenant")), r#"{"n":503}"#);
}

#[test]
fn a_tenant_that_becomes_encrypted_is_from_then_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("tenants/t");
    let store = open(dir.path(), Some(1));
    let tenant = store.create_tenant("t").expect("made");
    append(&tenant, 0, 100);
    tenant.seal().expect("sealed");
    append(&tenant, 100, 50);
    store.encrypt_tenant("t").expect("encrypted");
    store.encrypt_tenant("t").expect("it is");
    append(&tenant, 150, 50);
    let seen = with_marker(&folder);
    assert_eq!(seen.len(), 1, "only the segment from before: {seen:?}");
    assert!(seen[0].extension().is_some_and(|e| e == "seg"));
    assert_eq!(store.rotate_tenant_key("t").expect("rotated"), 2);
    append(&tenant, 200, 50);
    drop(tenant);
    store.close().expect("closed");
    let store = open(dir.path(), Some(1));
    let tenant = store.existing_tenant("t").expect("a tenant");
    assert_eq!(count(&tenant), r#"{"n":250}"#);
    // A merge writes anew what it takes.
    tenant.compact(None).expect("merged");
    assert_eq!((count(&tenant), with_marker(&folder)), (r#"{"n":250}"#.into(), vec![]));
}

#[test]
fn each_change_of_keys_is_on_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(Some(1));
    options.rotate_keys_every = Some(std::time::Duration::ZERO);
    let store = Store::open_with(dir.path(), options).expect("a store");
    store.create_encrypted_tenant("a").expect("made");
    store.create_tenant("b").expect("made");
    store.encrypt_tenant("b").expect("encrypted");
    assert_eq!(store.rotate_tenant_key("b").expect("rotated"), 2);
    store.maintain().expect("due work is done");
    assert_eq!(store.rotate_master_key(None, &master(2)).expect("rotated"), ["a", "b"]);
    assert!(store.rotate_tenant_key("nobody").expect_err("refused").is_no_such_tenant());
    store.close().expect("closed");
    let bytes = RealVfs.read(&dir.path().join("control.log")).expect("read");
    let events = duramen::format::control::decode(&bytes).expect("whole").events;
    let changes: Vec<String> = events
        .iter()
        .filter_map(|event| match &event.kind {
            duramen::format::control::EventKind::KeyChanged { tenant, change, generation } => {
                Some(format!("{tenant} {change:?} {generation}"))
            }
            _ => None,
        })
        .collect();
    let to = format!("Master {{ id: {:?} }}", master(2).id());
    let expect = ["a Encrypted 1", "b Encrypted 1", "b Rotated 2", "a Rotated 2", "b Rotated 3"].map(str::to_string);
    assert_eq!(changes[..5], expect);
    assert_eq!(changes[5..], [format!("a {to} 2"), format!("b {to} 3")]);
}

#[test]
fn keys_are_changed_by_age_also_of_tenants_that_are_not_open() {
    let vfs = SimVfs::new();
    let open = |every: Option<std::time::Duration>| {
        let mut options = options(Some(1));
        (options.rotate_keys_every, options.lifecycle_every) = (every, std::time::Duration::ZERO);
        options.tenants_open_max = 1;
        Store::open_on(Arc::new(vfs.clone()), Path::new("store"), options, true).expect("a store")
    };
    let generations = |store: &Store| {
        let of = |name| store.key_info(name).expect("readable").map_or(0, |info| info.generation);
        ["a", "b", "c", "plain"].map(of)
    };
    three(&vfs).close().expect("closed");
    let store = open(None);
    store.create_tenant("plain").expect("made");
    store.maintain().expect("nothing is due");
    assert_eq!(generations(&store), [1, 1, 1, 0]);
    store.close().expect("closed");
    // None is open, and the catalog was never told when their keys are due.
    let store = open(Some(std::time::Duration::from_secs(3600)));
    store.maintain().expect("nothing is due yet");
    assert_eq!(generations(&store), [1, 1, 1, 0]);
    store.close().expect("closed");
    let store = open(Some(std::time::Duration::ZERO));
    store.maintain().expect("all are due");
    assert_eq!(generations(&store), [2, 2, 2, 0]);
    assert_eq!(store.figures().expect("figures").tenants_open, 0, "closed again");
    store.maintain().expect("and again");
    assert_eq!(generations(&store), [3, 3, 3, 0]);
    // They were recorded, and the records are there under the new keys.
    assert_eq!(count(&store.existing_tenant("a").expect("opens")), r#"{"n":20}"#);
    append(&store.existing_tenant("b").expect("opens"), 20, 20);
    store.close().expect("closed");
    let events = duramen::format::control::decode(&vfs.read(Path::new("store/control.log")).expect("read"));
    let rotated = events.expect("whole").events.into_iter().filter(|event| {
        matches!(&event.kind, duramen::format::control::EventKind::KeyChanged { change, .. }
            if *change == duramen::format::control::KeyChange::Rotated)
    });
    assert!(rotated.count() >= 6);
    assert_eq!(count(&open(None).existing_tenant("b").expect("opens")), r#"{"n":40}"#);
}

/// A store of three encrypted tenants on a file system in memory.
fn three(vfs: &SimVfs) -> Store {
    let mut options = options(Some(1));
    options.encrypt_tenants = true;
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("store"), options, true).expect("a store");
    for name in ["a", "b", "c"] {
        append(&store.tenant(name).expect("made"), 0, 20);
    }
    store
}

/// How many of the tenants a master key opens.
fn opened(vfs: &SimVfs, key: u8) -> usize {
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("store"), options(Some(key)), false).expect("a store");
    let whole = |name: &&str| match store.existing_tenant(name) {
        Ok(tenant) => {
            assert_eq!(count(&tenant), r#"{"n":20}"#);
            true
        }
        Err(error) => {
            assert!(error.is_key(), "{error}");
            false
        }
    };
    ["a", "b", "c"].iter().filter(|name| whole(name)).count()
}

#[test]
fn wherever_a_change_of_the_master_key_is_cut_short_one_key_opens_all_tenants() {
    use duramen::crypt::KeyRing;
    let mut seen = [0; 3];
    for at in 1.. {
        let vfs = SimVfs::new();
        drop(three(&vfs));
        // What `rotate_master_key` does after its records, which are a real file's.
        let ring = |vfs: &SimVfs, name: &str, keys: &MasterKey| {
            let id = duramen::TenantId::new(name).expect("a name");
            KeyRing::open(Arc::new(vfs.clone()), &Path::new("store/tenants").join(name), &id, Some(keys))
        };
        let rotate = |vfs: &SimVfs, keys: &MasterKey| {
            let rings = ["a", "b", "c"].map(|name| ring(vfs, name, keys));
            let rings: Vec<_> = rings.into_iter().collect::<Result<_, _>>()?;
            rings.iter().try_for_each(|ring| ring.add_master(&master(2)))?;
            rings.iter().try_for_each(|ring| ring.retire_other_masters(&master(2)))
        };
        vfs.crash_at(at);
        let done = rotate(&vfs, &master(1)).is_ok();
        for seed in 0..6 {
            let after = vfs.after_crash(seed);
            let by = [opened(&after, 1), opened(&after, 2)];
            assert!(by.contains(&3), "operation {at}, seed {seed}: {by:?}");
            seen[usize::from(by[0] == 3) + 2 * usize::from(by[1] == 3) - 1] += 1;
            // Once more completes it.
            rotate(&after, &master(1).and(&master(2))).expect("completed");
            assert_eq!([opened(&after, 1), opened(&after, 2)], [0, 3], "operation {at}, seed {seed}");
        }
        if done {
            break;
        }
        assert!(at < 200, "no end");
    }
    assert!(seen.iter().all(|n| *n > 0), "the old one, the new one, both: {seen:?}");
}

#[test]
fn a_crash_while_an_encrypted_tenant_works_loses_nothing_that_was_acknowledged() {
    for at in (1..400).step_by(3) {
        let vfs = SimVfs::new();
        let mut options = options(Some(1));
        options.encrypt_tenants = true;
        let store = Store::open_on(Arc::new(vfs.clone()), Path::new("store"), options, true).expect("a store");
        vfs.crash_at(at);
        let mut acknowledged = 0;
        let result = store.tenant("t").and_then(|tenant| {
            for n in 0..6 {
                let mut builder = BatchBuilder::new();
                for i in 0..10 {
                    let record = Record::new().with("n", n * 10 + i);
                    builder.push(&record, Timestamp(5), &Labels::default()).expect("a record");
                }
                tenant.append_batch(&builder.take(), Ack::Fsync)?;
                acknowledged += 10;
                if n % 2 == 1 {
                    tenant.seal()?;
                }
            }
            tenant.compact(None).map(drop)
        });
        for seed in 0..3 {
            let after = Arc::new(vfs.after_crash(seed));
            let store = Store::open_on(after, Path::new("store"), options_with(1), true).expect("a store");
            match store.existing_tenant("t") {
                Ok(tenant) => {
                    let found = rows(&tenant, "* | stats count() as n, count_uniq(n) as u").concat();
                    let least = (acknowledged..=acknowledged + 10).step_by(10);
                    let expect: Vec<String> = least.map(|n| format!(r#"{{"n":{n},"u":{n}}}"#)).collect();
                    assert!(expect.contains(&found), "operation {at}, seed {seed}: {found}, {expect:?}");
                }
                Err(error) => assert!(acknowledged == 0 && error.is_no_such_tenant(), "operation {at}: {error}"),
            }
        }
        if result.is_ok() {
            assert!(at > 60, "{at}");
            return;
        }
    }
    panic!("no end");
}

fn options_with(key: u8) -> Options {
    options(Some(key))
}

#[test]
fn without_a_master_key_nothing_is_made_or_put_on_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), None);
    store.tenant("plain").expect("made");
    assert!(store.create_encrypted_tenant("t").is_err());
    assert!(store.encrypt_tenant("plain").is_err());
    assert_eq!(store.tenants().expect("a list"), ["plain"]);
    store.close().expect("closed");
    assert!(!dir.path().join("tenants/t").exists());
    let report = verify_with_key(&[dir.path()], true, None);
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn a_deleted_tenants_key_goes_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), Some(1));
    fill(&store.create_encrypted_tenant("t").expect("made"));
    let folder = dir.path().join("tenants/t");
    // Whoever still has the file sees what was put over it.
    let key = std::fs::File::open(folder.join("key")).expect("a key file");
    store.delete_tenant("t").expect("deleted");
    assert!(!folder.exists());
    let mut left = Vec::new();
    std::io::Read::read_to_end(&mut &key, &mut left).expect("read");
    assert!(left.len() > 200 && left.iter().all(|b| *b == 0));
    // A tenant of the same name begins empty, with keys of its own.
    assert_eq!(count(&store.create_encrypted_tenant("t").expect("made")), r#"{"n":0}"#);
}

#[test]
fn a_damaged_encrypted_segment_fails_its_queries_as_damage_with_file_and_offset() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), Some(1));
    let tenant = store.create_encrypted_tenant("t").expect("made");
    append(&tenant, 0, 2000);
    store.close().expect("closed");
    drop(tenant);
    let mut all = Vec::new();
    files(&dir.path().join("tenants/t/segments"), &mut all);
    let whole = std::fs::read(&all[0]).expect("read");
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&all[0], &bytes).expect("written");
        let store = Store::open_read_only_with(dir.path(), options(Some(1))).expect("a store");
        let tenant = store.existing_tenant("t").expect("a tenant");
        let query = QueryOptions { strict: true, ..QueryOptions::default() };
        let rows = tenant.query_with("* | sort by (n)", &query);
        let outcome = rows.and_then(|rows| rows.collect::<Result<Vec<_>, _>>());
        match outcome {
            Err(error) => assert!(error.is_damage() && error.to_string().contains(".seg"), "byte {at}: {error}"),
            // What was hit is the index, which queries do without.
            Ok(rows) => assert_eq!(rows.len(), 2000, "byte {at}"),
        }
    }
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

fn verify_with_key<P: AsRef<Path>>(paths: &[P], deep: bool, key: Option<&MasterKey>) -> Report {
    verify_as(paths, &VerifyOptions { deep, master_key: key.cloned(), ..VerifyOptions::default() })
}

/// A closed store with one encrypted tenant: segments, a log with batches, receipts.
fn closed(dir: &Path) -> PathBuf {
    let store = open(dir, Some(1));
    let tenant = store.create_encrypted_tenant("t").expect("made");
    append(&tenant, 0, 5000);
    tenant.seal().expect("sealed");
    store.rotate_tenant_key("t").expect("rotated");
    let key = Idempotency::new("the key of a request").expect("short");
    let mut builder = BatchBuilder::new();
    builder.push(&Record::new().with("n", 5000), Timestamp(7), &Labels::default()).expect("a record");
    tenant.append_batch_with(&builder.take(), AppendOptions::new().idempotency(key)).expect("appended");
    tenant.seal().expect("sealed");
    append(&tenant, 5001, 50);
    let folder = dir.join("tenants/t");
    // As a killed process leaves it, so that there is a log.
    let copy = dir.join("copy");
    copy_dir(&folder, &copy);
    drop(tenant);
    store.close().expect("closed");
    std::fs::remove_dir_all(&folder).expect("removed");
    std::fs::rename(&copy, &folder).expect("put back");
    folder
}

#[test]
fn verify_checks_what_is_stored_without_keys_and_what_it_says_with_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = closed(dir.path());
    assert!(folder.join("receipts").exists());
    let paths = [dir.path()];
    for deep in [false, true] {
        let without = verify(&paths, deep);
        assert!(without.ok, "{without}");
        assert_eq!((without.segments, without.leaves), (2, 0));
        assert!(without.skipped.iter().any(|text| text.contains("not decrypted")), "{without}");
        let with = verify_with_key(&paths, deep, Some(&master(1)));
        assert!(with.ok && !with.skipped.iter().any(|text| text.contains("not decrypted")), "{with}");
        assert_eq!((with.records, with.leaves > 0), (5051, deep), "{with}");
        let wrong = verify_with_key(&paths, deep, Some(&master(2)));
        assert_eq!(kinds(&wrong), [FindingKind::WrongKey], "{wrong}");
        assert!(wrong.to_string().contains("wrong master key"), "{wrong}");
    }
    let mut segments = Vec::new();
    files(&folder.join("segments"), &mut segments);
    assert!(verify_with_key(&segments, true, Some(&master(1))).ok);
    // Without the keys nobody can read the files, which is worth a finding.
    std::fs::rename(folder.join("key"), dir.path().join("key")).expect("moved");
    let lost = verify(&[&folder], false);
    assert_eq!(kinds(&lost), [FindingKind::Missing], "{lost}");
    assert!(lost.findings[0].file.ends_with("key"));
}

#[test]
fn every_flipped_byte_of_an_encrypted_tenant_is_found_without_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = closed(dir.path());
    let mut all = Vec::new();
    files(&folder, &mut all);
    let mut flips = 0;
    for path in all {
        let whole = std::fs::read(&path).expect("read");
        // Behind the last frame of a log there is nothing but zeros, which are looked at as well.
        let step = (whole.len() / 40).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).expect("written");
            let report = verify(&[&folder], false);
            let about = |finding: &Finding| finding.file == path || path.ends_with("key");
            assert!(report.findings.iter().any(about), "{} at {at}: {report}", path.display());
            flips += 1;
        }
        std::fs::write(&path, &whole).expect("written");
    }
    assert!(flips > 150 && verify(&[&folder], false).ok, "{flips}");
}

#[test]
fn files_of_another_tenant_or_time_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = closed(dir.path());
    let other = tempfile::tempdir().expect("a folder");
    let others = closed(other.path());
    let mut segments = Vec::new();
    files(&folder.join("segments"), &mut segments);
    segments.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_owned();
    let swap = |own: &Path, foreign: &Path| {
        let whole = std::fs::read(own).expect("read");
        std::fs::copy(foreign, own).expect("copied");
        let reports = [verify(&[&folder], false), verify_with_key(&[&folder], true, Some(&master(1)))];
        std::fs::write(own, whole).expect("put back");
        reports.map(|report| kinds(&report))
    };
    // A segment of a store of the same name, which was written under other keys: the manifest shows it.
    let found = swap(&segments[0], &others.join("segments").join(name(&segments[0])));
    assert!(found.iter().all(|kinds| kinds.contains(&FindingKind::Mismatch)), "{found:?}");
    let found = swap(&segments[0], &segments[1]);
    assert!(found.iter().all(|kinds| kinds.contains(&FindingKind::Mismatch)), "{found:?}");
    // The keys of that store: nothing shows without a master key, and with it no file opens.
    let found = swap(&folder.join("key"), &others.join("key"));
    assert!(found[1].contains(&FindingKind::Corruption), "{found:?}");
    // An older copy of the keys lacks a generation.
    let old = {
        let store = open(dir.path(), Some(1));
        let before = std::fs::read(folder.join("key")).expect("read");
        store.rotate_tenant_key("t").expect("rotated");
        append(&store.existing_tenant("t").expect("a tenant"), 6000, 5);
        store.close().expect("closed");
        before
    };
    std::fs::write(folder.join("key"), old).expect("put back");
    let report = verify(&[&folder], false);
    assert!(kinds(&report).contains(&FindingKind::Mismatch), "{report}");
}

/// A leaf that is made when records are deleted was keyed since the tenant is encrypted, also where what is left of it is in
/// segments from before: who has no key could check it neither by that nor without, and took it for wrong.
#[test]
fn what_is_left_in_plain_segments_is_verified_without_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), Some(1));
    let tenant = store.create_tenant("t").expect("made");
    // One batch, so one leaf.
    let mut builder = BatchBuilder::new();
    for n in 0..60 {
        let labels = Labels::new([("app", ["a", "b", "c"][n % 3])]);
        let record = Record::new().with("n", n as u64).with("message", format!("record {n}"));
        builder.push(&record, Timestamp(1_700_000_000_000_000_000 + n as i64), &labels).expect("a record");
    }
    tenant.append_batch(&builder.take(), Ack::Fsync).expect("appended");
    tenant.seal().expect("sealed");
    drop(tenant);
    store.close().expect("closed");
    // Rules by label part it into segments of their own, all of one leaf.
    let config = "[[retention]]\nlabels = { app = 'a' }\nage = '20000d'\n[[retention]]\nlabels = { app = 'b' }\nage = '30000d'\n";
    let mut options = options(Some(1));
    options.policy = Arc::new(Policy::new(&toml::from_str::<PolicyConfig>(config).expect("rules")).expect("rules"));
    let store = Store::open_with(dir.path(), options).expect("a store");
    let tenant = store.existing_tenant("t").expect("a tenant");
    tenant.compact(None).expect("parted");
    assert_eq!(tenant.stats().expect("read").segments, 3);
    store.encrypt_tenant("t").expect("encrypted");
    for (query, left) in [("app:a", 40), ("app:b n:1", 39), ("app:c n:2", 38), ("app:b", 19)] {
        let report = tenant.delete(query, &DeleteOptions::default()).expect("deleted");
        assert!(report.done && report.leaves_broken == 1, "{query}: {report:?}");
        assert_eq!(count(&tenant), format!(r#"{{"n":{left}}}"#), "{query}");
        for key in [None, Some(&master(1))] {
            let report = verify_with_key(&[dir.path()], true, key);
            assert!(report.ok, "after {query}, {}: {:#?}", key.is_some(), report.findings);
        }
    }
    tenant.compact(None).expect("merged");
    for key in [None, Some(&master(1))] {
        let report = verify_with_key(&[dir.path()], true, key);
        assert!(report.ok, "merged, {}: {:#?}", key.is_some(), report.findings);
    }
}
