//! Keys of encrypted tenants: they change, each change is on record, and a deleted tenant's goes first.

mod sealed;

use duramen::Store;
use duramen::store::MasterKey;
use duramen::vfs::sim::SimVfs;
use duramen::vfs::{RealVfs, Vfs};
use sealed::{append, count, fill, master, open, options};
use std::path::Path;
use std::sync::Arc;

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
