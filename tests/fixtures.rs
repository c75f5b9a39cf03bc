//! Stores that earlier versions wrote open, answer and verify.

use duramen::{Store, record, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// A copy that may be written to.
fn fixture(name: &str) -> (tempfile::TempDir, PathBuf) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder").flatten() {
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                copy(&path, &target);
            } else {
                fs::copy(&path, &target).expect("a copy");
            }
        }
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("store");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), &path);
    (dir, path)
}

fn count(store: &Store, query: &str) -> usize {
    let tenant = store.existing_tenant("acme").expect("it is there");
    let rows: Result<Vec<_>, _> = tenant.query(query).expect("a query").collect();
    rows.expect("all rows").len()
}

fn holds_all(store: &Store) {
    assert_eq!(count(store, "*"), 110);
    assert_eq!(count(store, "level:error"), 36);
    assert_eq!(count(store, "n:>=100"), 10, "what was not sealed");
    assert_eq!(count(store, "instance:i2 n:<60"), 20, "what was merged");
}

fn verifies(path: &Path) {
    let report = verify::verify(&[path], true);
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn a_store_of_version_1_is_read_as_it_is() {
    let (_dir, path) = fixture("store-v1");
    let manifest = path.join("tenants/acme/manifest");
    let before = fs::read(&manifest).expect("a manifest");
    assert_eq!(before[8], 1, "its version");
    verifies(&path);
    holds_all(&Store::open_read_only(&path).expect("readable"));
    assert_eq!(fs::read(&manifest).expect("a manifest"), before, "reading writes nothing");
}

#[test]
fn a_store_of_version_1_is_written_to() {
    let (_dir, path) = fixture("store-v1");
    for round in 0..2 {
        let store = Store::open(&path).expect("it opens");
        if round == 0 {
            holds_all(&store);
            let tenant = store.tenant("acme").expect("it is there");
            assert!(
                tenant.open_report().orphans_removed.is_empty() && tenant.open_report().orphans_quarantined.is_empty()
            );
            let catalog = store.catalog().expect("a catalog");
            let info = catalog.tenants().expect("tenants").into_iter().find(|t| t.name.as_str() == "acme");
            assert_eq!(info.and_then(|t| t.retention_ns()), Some(36_500 * 86_400 * 1_000_000_000));
            tenant.append(&[record! { level: "info", n: 110 }]).expect("appended");
        }
        assert_eq!(count(&store, "*"), 111);
        if round == 1 {
            store.tenant("acme").and_then(|t| t.compact(None)).expect("compacted");
            assert_eq!(count(&store, "level:error"), 36);
        }
        store.close().expect("closed");
        verifies(&path);
    }
    let tenant = path.join("tenants/acme");
    assert_eq!(fs::read(tenant.join("manifest")).expect("a manifest")[8], 3, "it is of the present version");
    let names =
        fs::read_dir(&tenant).expect("a folder").flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let earlier: Vec<String> = names.filter(|n| n.starts_with("manifest.")).collect();
    assert_eq!(earlier, ["manifest.0000000000000005"], "what it was before is kept");
}

#[test]
fn a_store_of_manifest_version_2_is_read_and_written_to() {
    let (_dir, path) = fixture("store-v2");
    let manifest = path.join("tenants/acme/manifest");
    let of_no_leaf = |path: &Path| {
        let report = verify::verify(&[path], true);
        assert!(report.ok, "{:?}", report.findings);
        report.skipped.into_iter().find(|line| line.contains("leaves of"))
    };
    assert_eq!(fs::read(&manifest).expect("a manifest")[8], 2, "its version");
    let before = of_no_leaf(&path).expect("a leaf is broken");
    assert!(before.contains("leaves of 39 records"), "{before}");
    for round in 0..2 {
        let store = Store::open(&path).expect("it opens");
        assert_eq!(count(&store, "*"), 78 + round);
        assert_eq!(count(&store, "s:mid"), 38);
        assert_eq!(count(&store, "level:error"), 33);
        store.tenant("acme").and_then(|t| t.append(&[record! { level: "info", n: 110 }])).expect("appended");
        store.close().expect("closed");
        // What was not under a leaf is not, and the leaf with a Seq that was deleted still holds.
        let line = of_no_leaf(&path).expect("it stays broken");
        assert!(line.contains("leaves of 39 records"), "{line}");
    }
    assert_eq!(fs::read(&manifest).expect("a manifest")[8], 3, "it is of the present version");
    // What goes from a leaf of the earlier version takes the leaf of the others with it.
    let store = Store::open(&path).expect("it opens");
    let tenant = store.tenant("acme").expect("it is there");
    let report = tenant.delete("n:=71", &duramen::store::DeleteOptions::default()).expect("deleted");
    assert_eq!((report.records, report.leaves_broken, report.leaves_new), (1, 1, 1));
    store.close().expect("closed");
    assert!(of_no_leaf(&path).expect("it stays broken").contains("leaves of 39 records"));
}

/// What the segments of a store cost by column and encoding.
fn encodings(store: &Store, name: &str) -> Vec<&'static str> {
    let costs = store.existing_tenant("acme").and_then(|t| t.part_costs()).expect("costs");
    costs.iter().filter(|c| c.kind == "column" && &*c.name == name).map(|c| c.encoding).collect()
}

#[test]
fn a_store_with_plain_texts_is_read_and_merged() {
    let (_dir, path) = fixture("store-blocks-v1");
    verifies(&path);
    let answers = |store: &Store| {
        [
            count(store, "*"),
            count(store, "level:error"),
            count(store, "took:>=500 message:GET"),
            count(store, r#"message:~"idle for .*\.0 s""#),
        ]
    };
    let expect = [1200, 400, 395, 60];
    let store = Store::open_read_only(&path).expect("readable");
    assert_eq!((answers(&store), encodings(&store, "message")), (expect, vec!["plain"]));
    drop(store);
    let store = Store::open(&path).expect("it opens");
    let tenant = store.tenant("acme").expect("it is there");
    tenant.compact(None).expect("compacted");
    assert_eq!((answers(&store), encodings(&store, "message")), (expect, vec!["template"]));
    store.close().expect("closed");
    verifies(&path);
}
