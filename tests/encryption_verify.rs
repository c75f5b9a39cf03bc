//! What `verify` finds of encrypted tenants, without keys and with them.

mod sealed;

use duramen::policy::{Policy, PolicyConfig};
use duramen::store::DeleteOptions;
use duramen::verify::{Finding, FindingKind, Report, verify};
use duramen::{Ack, AppendOptions, BatchBuilder, Idempotency, Labels, Record, Store, Timestamp};
use sealed::{append, copy_dir, count, files, master, open, options, verify_with_key};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
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
