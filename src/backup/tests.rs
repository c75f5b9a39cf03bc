//! Backups on file systems that crash, fail and flip bits.

use super::check::load_runs;
use super::restore::{can_be_read, choose, fetch};
use super::run::FilePath;
use super::{
    BackupError, BackupOptions, BackupReport, FolderTarget, Kind, ObjectId, PruneReport, RestoreOptions, Run, backup,
    check, prune, runs,
};
use crate::log::Ack;
use crate::record::{BatchBuilder, Labels, Record, Timestamp};
use crate::store::{Options, Store};
use crate::vfs::Vfs;
use crate::vfs::sim::SimVfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DATA: &str = "/data";
const SET: &str = "/backups";

fn options() -> Options {
    Options { background_threads: 0, query_threads: 1, ..Options::default() }
}

fn open(vfs: &SimVfs, path: &str, write: bool) -> Store {
    Store::open_on(Arc::new(vfs.clone()), Path::new(path), options(), write).expect("a store")
}

fn append(store: &Store, tenant: &str, from: u64, records: u64) {
    let mut builder = BatchBuilder::new();
    for n in from..from + records {
        let record = Record::new().with("n", n).with("text", format!("record {n} with some words that take room"));
        let labels = Labels::new([("part", if n % 2 == 0 { "even" } else { "odd" })]);
        builder.push(&record, Timestamp(n as i64 * 1_000_000_007), &labels).expect("a record");
    }
    store.tenant(tenant).expect("a tenant").append_batch(&builder.take(), Ack::Fsync).expect("appended");
}

/// All records of a tenant, as JSON, newest first.
fn rows(store: &Store, tenant: &str) -> Vec<String> {
    let tenant = store.existing_tenant(tenant).expect("a tenant");
    let rows = tenant.query("*").expect("a query");
    rows.map(|row| row.expect("a row").to_json()).collect()
}

fn set(vfs: &SimVfs) -> FolderTarget {
    FolderTarget::new(Arc::new(vfs.clone()), PathBuf::from(SET))
}

fn run(source: &SimVfs, target: &SimVfs) -> Result<BackupReport, BackupError> {
    backup(source, Path::new(DATA), &set(target), &BackupOptions::default())
}

/// What comes back of the newest run, on a file system of its own.
fn restored(target: &SimVfs) -> Result<(SimVfs, Run), BackupError> {
    let run = choose(&set(target), &RestoreOptions::default())?;
    let vfs = SimVfs::new();
    let tenants: Vec<_> = run.tenants.iter().collect();
    fetch(&vfs, &set(target), &tenants, Path::new(DATA))?;
    Ok((vfs, run))
}

/// A store with a sealed part, a merged part and records in the log.
fn filled(vfs: &SimVfs) -> Store {
    let store = open(vfs, DATA, true);
    for tenant in ["one", "two"] {
        for part in 0..3 {
            append(&store, tenant, part * 100, 40);
            store.tenant(tenant).expect("a tenant").seal().expect("sealed");
        }
    }
    store.tenant("one").expect("a tenant").compact(None).expect("merged");
    append(&store, "one", 1000, 7);
    append(&store, "two", 1000, 5);
    store
}

#[test]
fn each_run_comes_back_as_the_store_was() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    let store = filled(&source);
    let first = run(&source, &target).expect("a backup").run;
    assert_eq!((first.kind, first.problems.len(), first.tenants.len()), (Kind::Full, 0, 2));
    assert_eq!(first.tenants[0].records, 127);
    let before = rows(&store, "one");

    append(&store, "one", 2000, 30);
    store.tenant("one").expect("a tenant").seal().expect("sealed");
    append(&store, "one", 3000, 3);
    let second = run(&source, &target).expect("a backup");
    assert_eq!(second.run.kind, Kind::Incremental);
    let segments: u64 = first.files().filter(|f| f.data_root.is_some()).map(|f| f.bytes).sum();
    assert!(
        second.bytes_read < second.run.files().map(|f| f.bytes).sum::<u64>() - segments + 1,
        "segments are not read"
    );

    let (back, _) = restored(&target).expect("restored");
    for tenant in ["one", "two"] {
        assert_eq!(rows(&open(&back, DATA, false), tenant), rows(&store, tenant), "beside a writer");
    }
    assert_eq!(rows(&open(&back, DATA, true), "one"), rows(&store, "one"), "and as one");
    let at = RestoreOptions { at: Some(first.time()), ..RestoreOptions::default() };
    let earlier = choose(&set(&target), &at).expect("the first run");
    assert_eq!(earlier, first);
    let back = SimVfs::new();
    let tenants: Vec<_> = earlier.tenants.iter().filter(|t| t.name.0.as_str() == "one").collect();
    fetch(&back, &set(&target), &tenants, Path::new(DATA)).expect("fetched");
    let back = open(&back, DATA, false);
    assert_eq!((rows(&back, "one"), back.tenants().expect("names")), (before, vec!["one".to_string()]));

    let at = RestoreOptions { at: Some(Timestamp(first.finished_ns - 1)), ..RestoreOptions::default() };
    assert!(matches!(choose(&set(&target), &at), Err(BackupError::NoRun { .. })));
}

#[test]
fn a_crash_of_a_backup_leaves_the_runs_before_it() {
    let source = SimVfs::new();
    let store = filled(&source);
    let before = SimVfs::new();
    let first = run(&source, &before).expect("a backup").run;
    append(&store, "two", 5000, 20);
    store.tenant("two").expect("a tenant").seal().expect("sealed");
    append(&store, "one", 5000, 2);
    let expect = [rows(&store, "one"), rows(&store, "two")];
    // The whole of it once, for the number of its operations.
    let whole = before.after_kill();
    run(&source, &whole).expect("a backup");
    let operations = whole.operations();
    assert!(operations > 20, "{operations} operations");
    for at in 1..=operations {
        let target = before.after_kill();
        target.crash_at(at);
        assert!(run(&source, &target).is_err() || !target.is_down(), "a crash at {at} went unseen");
        let target = target.after_crash(at);
        let (found, damaged) = load_runs(&set(&target)).expect("the runs");
        assert!(damaged.is_empty(), "crash at {at}: {damaged:?}");
        assert_eq!(found.first(), Some(&first), "crash at {at}");
        let report = check(&set(&target)).expect("a check");
        assert!(report.ok, "crash at {at}: {:?}", report.findings);
        let (back, of) = restored(&target).expect("restored");
        if of.finished_ns > first.finished_ns {
            assert_eq!(rows(&open(&back, DATA, false), "two"), expect[1], "crash at {at}");
        }
        // The next one finishes what was begun, and leaves nothing half written.
        run(&source, &target).expect("the next backup");
        let (back, _) = restored(&target).expect("restored");
        let back = open(&back, DATA, false);
        assert_eq!([rows(&back, "one"), rows(&back, "two")], expect, "crash at {at}");
        assert!(!target.files().iter().any(|f| f.starts_with("/backups/unfinished")), "crash at {at}");
    }
}

#[test]
fn the_very_first_backup_may_crash_too() {
    let source = SimVfs::new();
    drop(filled(&source));
    let whole = SimVfs::new();
    run(&source, &whole).expect("a backup");
    for at in 1..=whole.operations() {
        let target = SimVfs::new();
        target.crash_at(at);
        let _ = run(&source, &target);
        let target = target.after_crash(at);
        run(&source, &target).unwrap_or_else(|e| panic!("the backup after a crash at {at}: {e}"));
        assert!(check(&set(&target)).expect("a check").ok, "crash at {at}");
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    let store = filled(&source);
    run(&source, &target).expect("a backup");
    drop(store);
    let mut flips = 0;
    for file in target.files() {
        let bytes = target.read(&file).expect("read");
        for step in 0..24 {
            let at = bytes.len() * step / 24;
            let Some(byte) = bytes.get(at) else { continue };
            let mut bad = bytes.clone();
            bad[at] = byte ^ (1 << (step % 8));
            target.put(&file, &bad);
            let what = format!("byte {at} of {}", file.display());
            match check(&set(&target)) {
                Ok(report) => assert!(!report.ok && report.findings[0].contains("/backups/"), "{what}"),
                Err(e) => assert!(matches!(e, BackupError::NoRun { .. }), "{what}: {e}"),
            }
            assert!(restored(&target).is_err(), "{what}");
            flips += 1;
        }
        target.put(&file, &bytes);
    }
    assert!(flips > 200, "{flips} flips");
    assert!(check(&set(&target)).expect("a check").ok);
}

#[test]
fn a_full_run_mends_what_is_damaged_in_the_copy() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    let _store = filled(&source);
    let first = run(&source, &target).expect("a backup").run;
    let victim = first.files().find(|f| f.data_root.is_some()).expect("a segment").blake3;
    let path = Path::new(SET).join(victim.path());
    let mut bytes = target.read(&path).expect("read");
    bytes[1000] ^= 4;
    target.put(&path, &bytes);
    assert!(run(&source, &target).is_ok(), "an incremental run takes its length for it");
    assert!(!check(&set(&target)).expect("a check").ok);
    let full = BackupOptions { full: true, ..BackupOptions::default() };
    let report = backup(&source, Path::new(DATA), &set(&target), &full).expect("a backup");
    assert_eq!((report.objects_mended, report.run.kind), (1, Kind::Full));
    assert!(check(&set(&target)).expect("a check").ok);
    // One that is gone is seen by any run.
    target.remove(&path).expect("removed");
    run(&source, &target).expect("a backup");
    assert!(check(&set(&target)).expect("a check").ok);
}

#[test]
fn one_tenants_damage_does_not_keep_another_from_its_backup() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    drop(filled(&source));
    let good = run(&source, &target).expect("a backup").run;
    let segment = source.files().into_iter().find(|f| f.starts_with("/data/tenants/one/segments")).expect("a segment");
    let mut bytes = source.read(&segment).expect("read");
    bytes[2000] ^= 1;
    source.put(&segment, &bytes);
    // What has been copied is not read again, so only a full run or a new target sees it.
    let elsewhere = SimVfs::new();
    for (target, full) in [(&target, true), (&elsewhere, false)] {
        let options = BackupOptions { full, ..BackupOptions::default() };
        let report = backup(&source, Path::new(DATA), &set(target), &options).expect("a backup");
        assert_eq!(report.run.tenants.len(), 1);
        let problem = &report.run.problems[0];
        assert_eq!(problem.tenant.0.as_str(), "one");
        assert!(problem.reason.contains(&*segment.to_string_lossy()), "{problem:?}");
    }
    // The tenant comes back from the run that has it.
    let of_one = RestoreOptions { tenant: Some("one".into()), ..RestoreOptions::default() };
    assert_eq!(choose(&set(&target), &of_one).expect("a run").finished_ns, good.finished_ns);
}

#[test]
fn what_is_lost_or_refused_of_a_tenant_is_told_and_the_others_are_copied() {
    type Way<'a> = (&'a str, fn(&SimVfs));
    let ways: [Way<'_>; 3] = [
        ("refused", |vfs| vfs.refuse(Path::new("/data/tenants/one"), true)),
        ("manifest", |vfs| vfs.remove(Path::new("/data/tenants/one/manifest")).expect("removed")),
        ("folder", |vfs| vfs.remove_dir_all(Path::new("/data/tenants/one")).expect("removed")),
    ];
    for (what, harm) in ways {
        let (source, target) = (SimVfs::new(), SimVfs::new());
        let store = filled(&source);
        let one = crate::id::TenantId::new("one").expect("a name");
        store.catalog().expect("a catalog").ensure_tenant(&one).expect("known");
        drop(store);
        harm(&source);
        let report = run(&source, &target).unwrap_or_else(|e| panic!("{what}: {e}"));
        let copied: Vec<&str> = report.run.tenants.iter().map(|t| t.name.0.as_str()).collect();
        assert_eq!(copied, ["two"], "{what}");
        let problems: Vec<&str> = report.run.problems.iter().map(|p| p.tenant.0.as_str()).collect();
        assert_eq!(problems, ["one"], "{what}: {:?}", report.run.problems);
        assert!(report.run.problems[0].reason.contains("/data/tenants/one"), "{what}: {:?}", report.run.problems);
    }
    // One that was deleted is not missed.
    let (source, target) = (SimVfs::new(), SimVfs::new());
    let store = filled(&source);
    store.delete_tenant("one").expect("deleted");
    drop(store);
    let report = run(&source, &target).expect("a backup");
    assert_eq!((report.run.tenants.len(), report.run.problems.len()), (1, 0));
}

#[test]
fn a_set_is_one_store_s_and_one_process_writes_it() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    drop(filled(&source));
    target.create_dir_all(Path::new(SET)).expect("made");
    target.put(Path::new("/backups/letter.txt"), b"dear");
    assert!(matches!(run(&source, &target), Err(BackupError::NotASet(_))));
    target.remove(Path::new("/backups/letter.txt")).expect("removed");
    {
        let _held = target.lock(Path::new("/backups/LOCK")).expect("the lock");
        assert!(matches!(run(&source, &target), Err(BackupError::Busy { .. })));
    }
    let mut store = run(&source, &target).expect("a backup").run.store;
    assert_eq!(store, None, "the catalog was never opened");
    for salt in [7, 8] {
        let header = crate::format::control::ControlHeader { salt, created: Timestamp(1) };
        source.put(Path::new("/data/control.log"), &header.encode());
        let outcome = run(&source, &target);
        match salt {
            7 => store = outcome.expect("a backup").run.store,
            _ => assert!(matches!(outcome, Err(BackupError::OtherStore { .. }))),
        }
    }
    assert_eq!(store.as_deref(), Some("0000000000000007"));
    assert_eq!(runs(&set(&target)).expect("runs").len(), 2);
}

#[test]
fn paths_lead_nowhere_else() {
    for good in ["manifest", "log/0000000000000001.log", "segments/000000000000000a.seg", "key"] {
        assert!(FilePath::new(good).is_ok(), "{good}");
    }
    for bad in ["", "/etc/passwd", "..", "../x", "log/..", "log/../../x", "a/b/c", "log/", "a\\b", ".ssh", "a\0b"] {
        assert!(FilePath::new(bad).is_err(), "{bad}");
    }
    let text = ObjectId::of(b"x").to_string();
    assert_eq!(text.parse(), Ok(ObjectId::of(b"x")));
    for bad in ["", "ab", &text.to_uppercase(), &format!("{text}0"), &text.replace(&text[..2], "é")] {
        assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
    }
}

#[test]
fn old_runs_go_and_no_object_that_another_names() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    let store = filled(&source);
    let mut made = Vec::new();
    for n in 0..4 {
        append(&store, "one", 10_000 + n * 10, 10);
        if n == 2 {
            store.tenant("one").expect("a tenant").seal().expect("sealed");
            store.tenant("one").expect("a tenant").compact(None).expect("merged");
        }
        made.push(run(&source, &target).expect("a backup").run);
    }
    let before = target.after_kill();
    let oldest = Timestamp(made[2].finished_ns);
    let report = prune(&set(&target), oldest).expect("pruned");
    assert_eq!(report.runs, 2);
    assert!(report.objects > 0 && report.bytes > 0, "{report:?}");
    let report = check(&set(&target)).expect("a check");
    assert!(report.ok && report.runs == 2 && report.unnamed == 0, "{report:?}");
    assert_eq!(prune(&set(&target), oldest).expect("pruned"), PruneReport::default());
    // The newest one stays whatever its age.
    prune(&set(&target), Timestamp(i64::MAX)).expect("pruned");
    assert_eq!(runs(&set(&target)).expect("runs"), made[3..]);
    let (back, _) = restored(&target).expect("restored");
    assert_eq!(rows(&open(&back, DATA, false), "one"), rows(&store, "one"));

    // A crash at any moment leaves runs that are whole, and the next time does the rest.
    let whole = before.after_kill();
    prune(&set(&whole), oldest).expect("pruned");
    assert!(whole.operations() > 8);
    for at in 1..=whole.operations() {
        let target = before.after_kill();
        target.crash_at(at);
        let _ = prune(&set(&target), oldest);
        let target = target.after_crash(at * 7);
        let report = check(&set(&target)).expect("a check");
        assert!(report.ok, "crash at {at}: {:?}", report.findings);
        assert_eq!(runs(&set(&target)).expect("runs").last(), made.last(), "crash at {at}");
        prune(&set(&target), oldest).expect("pruned");
        let report = check(&set(&target)).expect("a check");
        assert!(report.ok && report.runs == 2 && report.unnamed == 0, "crash at {at}: {report:?}");
    }
    // While a document is damaged nothing goes: what it names is not known.
    let target = before;
    let document = target.files().into_iter().find(|f| f.starts_with("/backups/runs")).expect("a run");
    let mut bytes = target.read(&document).expect("read");
    bytes[40] ^= 1;
    target.put(&document, &bytes);
    let files = target.files();
    assert!(prune(&set(&target), oldest).is_err());
    assert_eq!(target.files(), files);
}

#[test]
fn an_encrypted_tenant_is_written_anew_with_a_master_key_alone() {
    let (source, target) = (SimVfs::new(), SimVfs::new());
    drop(filled(&source));
    source.put(Path::new("/data/tenants/two/key"), b"wrapped");
    let run = run(&source, &target).expect("a backup").run;
    let key = run.tenant("two").expect("a tenant").files.iter().find(|f| f.path.as_str() == "key").expect("its key");
    assert_eq!(key.blake3, ObjectId::of(b"wrapped"), "the key comes along as it is");
    let mut options = crate::store::Options::default();
    for (name, is_clear) in [("one", true), ("two", false)] {
        assert_eq!(can_be_read(&[run.tenant(name).expect("a tenant")], &options).is_ok(), is_clear, "{name}");
    }
    options.master_key = Some(crate::crypt::MasterKey::from_bytes(std::array::from_fn(|i| i as u8)));
    can_be_read(&[run.tenant("two").expect("a tenant")], &options).expect("with a key");
}
