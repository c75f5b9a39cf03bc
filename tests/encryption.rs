//! Encryption at rest, from the outside: what is on the disk, and who can read it.

mod sealed;

use duramen::vfs::sim::SimVfs;
use duramen::{Ack, BatchBuilder, Labels, QueryOptions, Record, Store, Timestamp};
use sealed::{
    MARKER, append, copy_dir, count, files, fill, master, open, options, options_with, rows, torn_tail,
    verify_with_key, with_marker,
};
use std::path::Path;
use std::sync::Arc;

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
