//! Encrypted tenants that come back from a backup as a stream, or under another name: read with the master key, written
//! anew under a key of their own, and never in the clear.

mod support;

use duramen::backup::{BackupOptions, FolderTarget, RestoreOptions, backup, restore, restore_into};
use duramen::crypt::MasterKey;
use duramen::verify::verify;
use duramen::vfs::RealVfs;
use duramen::{Ack, BatchBuilder, Labels, Options, Record, Store, Tenant, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;

/// In every record, so that it can be looked for in files.
const MARKER: &str = "xyzzyplugh";

fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8 ^ n))
}

fn options(key: Option<u8>) -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.master_key = key.map(master);
    options
}

fn append(tenant: &Tenant, from: u64, count: u64) {
    let mut builder = BatchBuilder::new();
    for n in from..from + count {
        let labels = Labels::new([("app", if n % 3 == 0 { "web" } else { "db" })]);
        let record =
            Record::new().with("n", n).with("text", format!("{MARKER} {n} {:x}", n.wrapping_mul(0x9e37_79b9_7f4a)));
        builder.push(&record, Timestamp(1_700_000_000_000_000_000 + n as i64), &labels).unwrap();
    }
    tenant.append_batch(&builder.take(), Ack::Fsync).unwrap();
}

fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    tenant.query(query).unwrap().map(|row| row.unwrap().to_json()).collect()
}

/// Files below a folder that have the marker in them.
fn shown(under: &Path) -> Vec<PathBuf> {
    let has = |path: &PathBuf| memchr::memmem::find(&std::fs::read(path).unwrap(), MARKER.as_bytes()).is_some();
    folder::files(under).into_iter().filter(has).collect()
}

/// A store with an encrypted tenant in segments and in a log, backed up.
fn backed_up(root: &Path) -> (Store, FolderTarget) {
    let data = root.join("data");
    let store = Store::open_with(&data, options(Some(1))).unwrap();
    let tenant = store.create_encrypted_tenant("acme").unwrap();
    append(&tenant, 0, 300);
    tenant.seal().unwrap();
    store.rotate_tenant_key("acme").unwrap();
    append(&tenant, 300, 30);
    let target = FolderTarget::new(Arc::new(RealVfs), root.join("backups"));
    backup(&RealVfs, &data, &target, &BackupOptions::default()).unwrap();
    (store, target)
}

fn wanted(new_name: Option<&str>, stream: Labels, key: Option<u8>) -> RestoreOptions {
    let mut wanted = RestoreOptions::default();
    wanted.tenant = Some("acme".into());
    wanted.new_name = new_name.map(Into::into);
    wanted.stream = stream;
    wanted.store = options(key);
    wanted
}

#[test]
fn a_stream_and_another_name_come_back_encrypted_anew() {
    let root = tempfile::tempdir().unwrap();
    let (store, target) = backed_up(root.path());
    let web = || Labels::new([("app", "web")]);
    let all = rows(&store.existing_tenant("acme").unwrap(), "* | sort by (n) | fields n, text");
    let of_web = rows(&store.existing_tenant("acme").unwrap(), "{app=\"web\"} | sort by (n) | fields n, text");
    assert_eq!((all.len(), of_web.len()), (330, 110));
    let old_key = std::fs::read(root.path().join("data/tenants/acme/key")).unwrap();
    for (case, new_name, stream, expect) in [
        ("name", Some("other"), Labels::default(), &all),
        ("stream", None, web(), &of_web),
        ("both", Some("other"), web(), &of_web),
    ] {
        let data = root.path().join(case);
        for (key, why) in [(None, "takes the master key"), (Some(2), "wrong master key")] {
            let refused = restore(&target, &data, &wanted(new_name, stream.clone(), key)).unwrap_err().to_string();
            assert!(refused.contains(why), "{case}: {refused}");
            // Nothing is left of the attempt.
            let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(case)), "{case}: {left:?}");
        }
        let report = restore(&target, &data, &wanted(new_name, stream, Some(1))).unwrap();
        let name = new_name.unwrap_or("acme");
        assert_eq!((report.tenants[0].rewritten, report.tenants[0].records as usize), (true, expect.len()), "{case}");
        assert_eq!(shown(&data), Vec::<PathBuf>::new(), "{case}");
        assert_ne!(
            std::fs::read(data.join(format!("tenants/{name}/key"))).unwrap(),
            old_key,
            "{case}: a key of its own"
        );
        let checked = verify(&[&data], true);
        assert!(checked.ok, "{case}: {checked}");
        assert!(Store::open_with(&data, options(None)).unwrap().existing_tenant(name).is_err(), "{case}");
        let restored = Store::open_with(&data, options(Some(1))).unwrap();
        let tenant = restored.existing_tenant(name).unwrap();
        assert_eq!(rows(&tenant, "* | sort by (n) | fields n, text"), *expect, "{case}");
        append(&tenant, 1000, 5);
        tenant.seal().unwrap();
        assert_eq!(shown(&data), Vec::<PathBuf>::new(), "{case}");
    }
}

#[test]
fn into_a_running_store_under_another_name() {
    let root = tempfile::tempdir().unwrap();
    let (store, target) = backed_up(root.path());
    // The store's own keys count, whatever is asked for.
    let report = restore_into(&target, &store, &wanted(Some("then"), Labels::default(), None)).unwrap();
    assert_eq!(report.tenants[0].name, "then");
    let (then, now) = (store.existing_tenant("then").unwrap(), store.existing_tenant("acme").unwrap());
    let query = "* | sort by (n) | fields n, text";
    assert_eq!(rows(&then, query), rows(&now, query));
    assert!(store.key_info("then").unwrap().is_some() && then.stats().unwrap().encrypted);
    assert_eq!(shown(root.path()), Vec::<PathBuf>::new());
    // Gone with its keys, and the other one is not.
    drop(then);
    store.delete_tenant("then").unwrap();
    assert_eq!(rows(&now, query).len(), 330);
}
