//! What `verify` finds and `repair` can do nothing about is told by it; and a tenant that can't be looked into keeps no other
//! from being repaired.

mod support;

use duramen::Store;
use duramen::repair::{RepairOptions, RepairReport, repair};
use duramen::verify::verify;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::folder;
use support::store::{options, records};

fn make(data: &Path) {
    let store = Store::open_with(data, options()).unwrap();
    for name in ["acme", "beta"] {
        let id = duramen::TenantId::new(name).unwrap();
        store.catalog().unwrap().ensure_tenant(&id).unwrap();
        let tenant = store.tenant(name).unwrap();
        tenant.append(&records(1, 60, 0)).unwrap();
        tenant.seal().unwrap();
    }
    store.close().unwrap();
}

fn run(data: &Path, dry_run: bool) -> RepairReport {
    let mut how = RepairOptions::default();
    how.dry_run = dry_run;
    repair(data, &how).unwrap()
}

fn write(data: &Path, path: &str) {
    std::fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
    std::fs::write(data.join(path), "strange").unwrap();
}

#[test]
fn what_is_left_is_told() {
    let root = tempfile::tempdir().unwrap();
    make(&root.path().join("made"));
    type Harm = fn(&Path);
    let cases: &[(&str, Harm)] = &[
        ("tenants/beta", |data| std::fs::remove_dir_all(data.join("tenants/beta")).unwrap()),
        ("tenants/zz", |data| std::fs::create_dir(data.join("tenants/zz")).unwrap()),
        ("tenants/No Name", |data| std::fs::create_dir(data.join("tenants/No Name")).unwrap()),
        ("tenants/note", |data| write(data, "tenants/note")),
        ("x", |data| write(data, "x")),
        ("folder", |data| write(data, "folder/x")),
        ("tenants/acme/note.txt", |data| write(data, "tenants/acme/note.txt")),
        ("tenants/acme/folder", |data| write(data, "tenants/acme/folder/x")),
        ("tenants/acme/segments/7.seg", |data| write(data, "tenants/acme/segments/7.seg")),
        ("tenants/acme/log/old.log.gz", |data| write(data, "tenants/acme/log/old.log.gz")),
    ];
    for (path, harm) in cases {
        let data = root.path().join("harmed");
        folder::copy(&root.path().join("made"), &data);
        harm(&data);
        for dry_run in [true, false, false] {
            let report = run(&data, dry_run);
            assert!(report.is_clean(), "{path}: {report}");
            assert_eq!(report.left.iter().map(|left| &*left.file).collect::<Vec<_>>(), [data.join(path)], "{report}");
            let text = report.to_string();
            assert!(text.contains(path) && !text.ends_with("nothing to repair"), "{path}: {text}");
        }
        // It is the same that verification finds.
        let found: BTreeSet<PathBuf> = verify(&[&data], true).findings.into_iter().map(|f| f.file).collect();
        assert!(!found.is_empty() && found.iter().all(|file| file.starts_with(data.join(path))), "{path}: {found:?}");
        support::bin::run_ok(&["repair", "--data", data.to_str().unwrap()], b"", 1);
        std::fs::remove_dir_all(&data).unwrap();
    }
}

/// As one whose permissions were lost, which whoever is root would not see.
#[cfg(unix)]
#[test]
fn a_tenant_that_cant_be_looked_into_keeps_no_other_from_being_repaired() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    make(&data);
    let manifest = data.join("tenants/acme/manifest");
    std::fs::rename(&manifest, root.path().join("manifest")).unwrap();
    std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
    std::fs::remove_file(data.join("tenants/beta/manifest")).unwrap();
    for dry_run in [true, false] {
        let report = run(&data, dry_run);
        let failed: Vec<_> = report.failures.iter().map(|failure| failure.tenant.as_deref()).collect();
        assert_eq!(failed, [Some("acme")], "{report}");
        assert!(report.actions.iter().all(|action| action.tenant.as_deref() == Some("beta")), "{report}");
        assert!(!report.actions.is_empty(), "{report}");
    }
    // The cause is gone, and nothing was changed.
    std::fs::rename(root.path().join("manifest"), &manifest).unwrap();
    assert!(run(&data, false).is_clean());
    assert!(verify(&[&data], true).ok);
}
