//! What the simulator found of keys, deletions, archives and repairs, each as a test of its own.

mod support;

use duramen::backup::{BackupOptions, FolderTarget, backup};
use duramen::crypt::MasterKey;
use duramen::format::segment::{TRAILER_BYTES, read_trailer};
use duramen::policy::{ArchiveRule, Place, Policy, PolicyConfig};
use duramen::repair::{RepairOptions, repair, repair_on};
use duramen::store::DeleteOptions;
use duramen::verify::{VerifyOptions, verify_as};
use duramen::vfs::sim::{SimFault, SimOp, SimVfs};
use duramen::vfs::{Vfs, set_aside};
use duramen::{Ack, AppendOptions, BatchBuilder, Idempotency, Labels, Options, Record, Store, Tenant, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::json::parse;

const DIR: &str = "/disk/store";

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.ack = Ack::Fsync;
    options.master_key = Some(MasterKey::from_bytes(std::array::from_fn(|i| i as u8)));
    options
}

fn open_with(vfs: &SimVfs, options: Options) -> Result<Store, duramen::Error> {
    Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), options, true)
}

fn open(vfs: &SimVfs) -> Store {
    open_with(vfs, options()).unwrap()
}

fn count(tenant: &Tenant) -> Option<u64> {
    let row = tenant.query("* | stats count() as n").unwrap().next()?.unwrap();
    parse(&row.to_json()).unwrap().get("n").and_then(|n| n.as_u64())
}

fn folder(name: &str) -> PathBuf {
    Path::new(DIR).join("tenants").join(name)
}

/// Repair brought the records of frames to a segment, and forgot the keys of the requests that had brought them: one
/// that came again was stored twice.
#[test]
fn a_repair_remembers_requests_whose_records_it_brings_to_segments() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    let append = |store: &Store, key: &str| {
        let mut builder = BatchBuilder::new();
        builder.push(&Record::new().with("key", key), Timestamp(1), &Labels::default()).unwrap();
        let options = AppendOptions::new().idempotency(Idempotency::new(key).unwrap());
        store.tenant("acme").unwrap().append_batch_with(&builder.take(), options).unwrap().replayed.is_some()
    };
    assert!(!append(&store, "sealed"));
    store.tenant("acme").unwrap().seal().unwrap();
    assert!(!append(&store, "in the log"));
    for damaged in ["manifest", "log/0000000000000002.log"] {
        let left = vfs.after_kill();
        // The manifest's header, or the log's.
        assert!(left.damage(&folder("acme").join(damaged), 8 * 60), "{damaged}");
        let report = repair_on(&(Arc::new(left.clone()) as Arc<dyn Vfs>), Path::new(DIR), &RepairOptions::default());
        let report = report.unwrap();
        assert!(report.failures.is_empty() && report.lost.is_empty() && report.records_recovered == 1, "{report}");
        let store = open(&left);
        assert_eq!((append(&store, "sealed"), append(&store, "in the log")), (true, true), "{damaged}");
        assert_eq!(count(&store.tenant("acme").unwrap()), Some(2), "{damaged}");
    }
}

/// Repair made a manifest anew that named segments which nobody had synced, and removed the log that had their records: a
/// loss of power took them.
#[test]
fn a_repair_that_makes_a_manifest_anew_syncs_what_it_names() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    store.tenant("acme").unwrap().append(&[Record::new().with("number", 1)]).unwrap();
    // As if the writer had been killed before.
    vfs.skip_syncs(Some(|_, path| path.components().any(|part| part.as_os_str() == "segments")));
    store.tenant("acme").unwrap().seal().unwrap();
    vfs.skip_syncs(None);
    let left = vfs.after_kill();
    assert!(left.damage(&folder("acme").join("manifest"), 8 * 60));
    let report = repair_on(&(Arc::new(left.clone()) as Arc<dyn Vfs>), Path::new(DIR), &RepairOptions::default());
    let report = report.unwrap();
    assert!(report.failures.is_empty() && report.lost.is_empty(), "{report}");
    for seed in 0..40 {
        let left = left.after_crash(seed);
        assert_eq!(count(&open(&left).tenant("acme").unwrap()), Some(1), "seed {seed}");
    }
}

/// With a deletion that a crash had cut short, a store whose control log was damaged could not even be opened for repair.
#[test]
fn a_damaged_control_log_is_repaired_beside_a_deletion_that_was_cut_short() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    for name in ["acme", "bravo"] {
        store.catalog().unwrap().ensure_tenant(&duramen::TenantId::new(name).unwrap()).unwrap();
        store.create_tenant(name).unwrap().append(&[Record::new().with("number", 1)]).unwrap();
    }
    let left = vfs.after_kill();
    left.create(&Path::new(DIR).join("tenants/.deleting-acme")).unwrap().sync().unwrap();
    assert!(left.damage(&Path::new(DIR).join("control.log"), 8 * 20));
    let others = open(&left);
    assert_eq!(count(&others.tenant("bravo").unwrap()), Some(1), "others go on");
    assert!(others.tenant("acme").is_err() && others.catalog().is_err());
    drop(others);
    let report = repair_on(&(Arc::new(left.clone()) as Arc<dyn Vfs>), Path::new(DIR), &RepairOptions::default());
    let report = report.unwrap();
    assert!(report.failures.is_empty(), "{report}");
    assert!(left.files().iter().all(|path| !path.to_string_lossy().contains("acme")), "{:?}", left.files());
    assert_eq!(open(&left).tenants().unwrap(), ["bravo"]);
}

/// A deletion that a crash ended while it removed what had been set aside left reasons that stood for nothing, which
/// `verify` finds; and when it was asked for again, its records were gone already, and it said that it was done while
/// copies of them might be in quarantine.
#[test]
fn a_deletion_that_is_asked_for_again_finishes_what_a_crash_ended() {
    let mut at = 0;
    loop {
        at += 1;
        let vfs = SimVfs::new();
        let store = open(&vfs);
        let tenant = store.tenant("acme").unwrap();
        tenant.append(&[Record::new().with("number", 1), Record::new().with("number", 2)]).unwrap();
        let quarantine = folder("acme").join("quarantine");
        for name in ["one", "two"] {
            set_aside(&vfs, &quarantine, name, b"perhaps a record", "a test").unwrap();
        }
        vfs.crash_at(at);
        let ended = tenant.delete("number:=1", &DeleteOptions::default());
        let (is_down, left) = (vfs.is_down(), vfs.after_kill());
        let files = left.files();
        for reason in files.iter().filter(|file| file.extension().is_some_and(|e| e == "reason")) {
            assert!(files.contains(&reason.with_extension("")), "at {at}: {} stands for nothing", reason.display());
        }
        let store = open(&left);
        let again = store.tenant("acme").unwrap().delete("number:=1", &DeleteOptions::default()).unwrap();
        assert!(again.done, "at {at}");
        for seed in 0..4 {
            let left = left.after_crash(seed);
            assert!(!left.files().iter().any(|file| file.starts_with(&quarantine)), "at {at}");
            assert_eq!(count(&open(&left).tenant("acme").unwrap()), Some(1), "at {at}");
        }
        if !is_down {
            assert!(ended.unwrap().done && at > 20);
            break;
        }
    }
}

/// The folder of an archive, where it was made with its first segment, was not synced in the one above it.
#[test]
fn the_folder_of_an_archive_outlives_a_loss_of_power() {
    let mut rules = PolicyConfig::default();
    rules.archives.insert("cold".into(), PathBuf::from("/other/far/cold"));
    let mut rule = ArchiveRule::default();
    (rule.after, rule.to) = ("10d".into(), "cold".into());
    rules.archive.push(rule);
    let mut options = options();
    options.policy = Arc::new(Policy::new(&rules).unwrap());
    let vfs = SimVfs::new();
    let store = open_with(&vfs, options.clone()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    tenant.append(&[Record::new().at(Timestamp(1)).with("number", 1)]).unwrap();
    assert_eq!(tenant.compact(None).unwrap().segments_archived, 1);
    for seed in 0..100 {
        let left = vfs.after_crash(seed);
        let store = open_with(&left, options.clone()).unwrap();
        assert_eq!(count(&store.tenant("acme").unwrap()), Some(1), "seed {seed}");
    }
}

/// A change of keys that a crash ended left a file `key.tmp`, which nobody removed and `verify` finds.
#[test]
fn a_change_of_keys_that_a_crash_ended_leaves_no_file() {
    let mut left_one = false;
    for at in 1..8 {
        let vfs = SimVfs::new();
        let store = open(&vfs);
        store.create_encrypted_tenant("acme").unwrap().append(&[Record::new().with("number", 1)]).unwrap();
        // The first operations are those of the record of the change.
        vfs.crash_at(at);
        drop(store.rotate_tenant_key("acme"));
        let left = vfs.after_kill();
        let unfinished = folder("acme").join("key.tmp");
        left_one |= left.files().contains(&unfinished);
        let store = open(&left);
        assert_eq!(count(&store.tenant("acme").unwrap()), Some(1), "at {at}");
        assert!(!left.files().contains(&unfinished), "at {at}");
    }
    assert!(left_one);
}

/// An entry of the manifest was in doubt after two syncs that failed, so that its files were kept. A deletion that came
/// next said done, and a file of the one before still had the records until the store was opened again.
#[test]
fn a_deletion_leaves_no_file_of_one_that_was_in_doubt() {
    for is_found in [true, false] {
        let vfs = SimVfs::new();
        let store = open(&vfs);
        let tenant = store.tenant("acme").unwrap();
        let record = |n: u64| Record::new().with("n", n).with("text", format!("needle{n}"));
        tenant.append(&(0..20).map(record).collect::<Vec<_>>()).unwrap();
        tenant.seal().unwrap();
        // The entry is written, and so is the manifest that is to take its place: neither is known to be durable.
        vfs.inject(SimFault::new(SimOp::Sync).under(folder("acme").join("manifest")).times(1));
        vfs.inject(SimFault::new(SimOp::Sync).under(folder("acme").join("manifest.tmp")).times(1));
        assert!(tenant.delete("n:<10", &DeleteOptions::default()).is_err());
        assert_eq!(vfs.list(&folder("acme").join("segments")).unwrap().len(), 2, "what may be named stays");
        let query = if is_found { "n:5" } else { "n:77" };
        let report = tenant.delete(query, &DeleteOptions::default()).unwrap();
        assert_eq!((report.done, report.records), (true, u64::from(is_found)));
        let (version, _) = duramen::manifest::open_read_only(
            &vfs,
            &folder("acme").join("manifest"),
            &duramen::TenantId::new("acme").unwrap(),
        )
        .unwrap();
        let named: Vec<String> = version.segments.keys().map(|id| format!("{id}.seg")).collect();
        let there: Vec<String> =
            vfs.list(&folder("acme").join("segments")).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(there, named);
        assert_eq!(count(&tenant), Some(20 - u64::from(is_found)));
    }
}

/// A repair wrote a segment of frames that were not synced, and then their keys. The power went in between and took the
/// frames: the next repair found the records and no keys, so that a request that came again was stored twice.
#[test]
fn a_repair_that_loses_power_keeps_records_and_keys_together() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    let append = |store: &Store| {
        let mut builder = BatchBuilder::new();
        for n in 0..3 {
            builder.push(&Record::new().with("n", n), Timestamp(n), &Labels::default()).unwrap();
        }
        let key = Idempotency::new("key").unwrap();
        let options = AppendOptions::new().ack(Ack::Os).idempotency(key);
        store.tenant("acme").unwrap().append_batch_with(&builder.take(), options).map(drop)
    };
    append(&store).unwrap();
    let repair =
        |vfs: &SimVfs| repair_on(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), Path::new(DIR), &RepairOptions::default());
    let mut is_down = true;
    let mut operation = 0;
    while is_down {
        operation += 1;
        for seed in 0..12 {
            let left = vfs.after_kill();
            assert!(left.damage(&folder("acme").join("manifest"), 8 * 300));
            left.crash_at(operation);
            let _ = repair(&left);
            is_down = left.is_down();
            let left = left.after_crash(seed);
            repair(&left).unwrap();
            let store = open(&left);
            append(&store).unwrap();
            let found = count(&store.tenant("acme").unwrap());
            assert_eq!(found, Some(3), "operation {operation}, seed {seed}");
        }
    }
    assert!(operation > 20, "a repair of {operation} operations");
}

/// Backups know a store by the salt of its control log. Repair gave it another one, so that the next backup was refused as
/// that of another store.
#[test]
fn backups_go_on_after_a_repair_of_the_control_log() {
    // In the header, but for the salt; in the first frame.
    for at in [28, 300] {
        let vfs = SimVfs::new();
        let store = open(&vfs);
        for name in ["acme", "bravo"] {
            store.tenant(name).unwrap().append(&[Record::new().with("n", 1)]).unwrap();
            let catalog = store.catalog().unwrap();
            catalog.ensure_tenant(&duramen::TenantId::new(name).unwrap()).unwrap();
        }
        store.close().unwrap();
        let target = FolderTarget::new(Arc::new(vfs.clone()), PathBuf::from("/backups"));
        let back_up = || backup(&vfs, Path::new(DIR), &target, &BackupOptions::default());
        back_up().unwrap();
        assert!(vfs.damage(&Path::new(DIR).join("control.log"), 8 * at));
        let report = repair_on(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), Path::new(DIR), &RepairOptions::default());
        assert!(report.unwrap().failures.is_empty());
        back_up().unwrap_or_else(|e| panic!("byte {at}: {e}"));
    }
}

/// A segment whose index was damaged, and made anew beside it, could not go to an archive: the copy had the damage, and was
/// refused each time.
#[test]
fn a_segment_whose_index_was_made_anew_goes_to_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cold) = (dir.path().join("store"), dir.path().join("cold"));
    let mut options = options();
    let store = Store::open_with(&data, options.clone()).unwrap();
    let records: Vec<Record> = (0..500).map(|n| Record::new().at(Timestamp(n)).with("n", n)).collect();
    store.tenant("acme").unwrap().append(&records).unwrap();
    store.tenant("acme").unwrap().seal().unwrap();
    store.close().unwrap();
    let path = data.join("tenants/acme/segments/0000000000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let trailer = read_trailer(&bytes[bytes.len() - TRAILER_BYTES..], bytes.len() as u64).unwrap();
    bytes[trailer.index_offset as usize + 5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(repair(&data, &RepairOptions::default()).unwrap().lost.is_empty());
    let mut rules = PolicyConfig::default();
    rules.archives.insert("cold".into(), cold.clone());
    let mut rule = ArchiveRule::default();
    (rule.after, rule.to) = ("10d".into(), "cold".into());
    rules.archive.push(rule);
    options.policy = Arc::new(Policy::new(&rules).unwrap());
    let store = Store::open_with(&data, options).unwrap();
    let tenant = store.tenant("acme").unwrap();
    assert_eq!(tenant.compact(None).unwrap().segments_archived, 1);
    assert_eq!(count(&tenant), Some(500));
    store.close().unwrap();
    let mut how = VerifyOptions::default();
    (how.deep, how.archives) = (true, [(Place::new("cold").unwrap(), cold)].into());
    let report = verify_as(&[&data], &how);
    assert!(report.ok, "{:#?}", report.findings);
}

/// The list of what a tenant put into an archive was written before the archive's folder was made. Where that failed, the
/// tenant could not be deleted: its files might have been in a folder that is not there.
#[test]
fn a_tenant_whose_first_move_to_an_archive_failed_can_be_deleted() {
    let mut rules = PolicyConfig::default();
    rules.archives.insert("cold".into(), PathBuf::from("/other/cold"));
    let mut rule = ArchiveRule::default();
    (rule.after, rule.to) = ("10d".into(), "cold".into());
    rules.archive.push(rule);
    let mut options = options();
    options.policy = Arc::new(Policy::new(&rules).unwrap());
    for op in [SimOp::CreateDir, SimOp::Create, SimOp::Write, SimOp::Sync, SimOp::SyncDir] {
        for under in ["/other", "/disk/store/tenants/acme"] {
            let vfs = SimVfs::new();
            let store = open_with(&vfs, options.clone()).unwrap();
            let tenant = store.tenant("acme").unwrap();
            tenant.append(&[Record::new().at(Timestamp(1)).with("number", 1)]).unwrap();
            tenant.seal().unwrap();
            vfs.inject(SimFault::new(op).under(under).until_healed());
            let _ = tenant.compact(None);
            vfs.heal();
            drop(tenant);
            store.delete_tenant("acme").unwrap_or_else(|e| panic!("{op:?} fails under {under}: {e}"));
            assert!(!vfs.exists(&folder("acme")).unwrap());
        }
    }
}
