//! Damage to what says which files in an archive are a tenant's: no record is lost while a file has it, no file is left that
//! nobody knows of, and none of another store is touched.

mod support;

use duramen::archive::Archives;
use duramen::format::segment::{TRAILER_BYTES, read_trailer};
use duramen::policy::Policy;
use duramen::repair::{RepairOptions, RepairReport, repair};
use duramen::verify::{VerifyOptions, verify_as};
use duramen::{Labels, Options, Store, Tenant};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;
use support::store::records;

fn options(root: &Path) -> Options {
    let rules =
        format!("[archives]\ncold = '{}'\n[[archive]]\nafter = '30d'\nto = 'cold'\n", root.join("cold").display());
    let mut options = support::store::options();
    options.policy = Arc::new(Policy::new(&toml::from_str(&rules).unwrap()).unwrap());
    options
}

fn open(root: &Path) -> Store {
    Store::open_with(root.join("data"), options(root)).unwrap()
}

/// A store with two segments in the archive, one in its folder and some records in the log; and a file of another store
/// beside those in the archive.
fn make(root: &Path) -> Vec<String> {
    let store = open(root);
    let tenant = store.tenant("acme").unwrap();
    tenant.append_labelled(&records(1, 60, 0), &Labels::new([("app", "web")])).unwrap();
    assert!(tenant.compact(None).unwrap().segments_archived > 0);
    tenant.append(&records(2, 40, 60)).unwrap();
    assert!(tenant.compact(None).unwrap().segments_archived > 0);
    tenant.append(&records(3, 30, 200_000_000)).unwrap();
    tenant.seal().unwrap();
    tenant.append(&records(4, 20, 200_000_100)).unwrap();
    tenant.flush().unwrap();
    let rows = rows(&tenant);
    drop(tenant);
    store.close().unwrap();
    std::fs::write(theirs(root), "of another store").unwrap();
    assert_eq!((rows.len(), cold(root).len()), (150, 3));
    rows
}

fn theirs(root: &Path) -> PathBuf {
    root.join("cold/acme/0000000000000001-00112233445566aa.seg")
}

fn cold(root: &Path) -> Vec<PathBuf> {
    let folder = root.join("cold/acme");
    if folder.exists() { folder::files(&folder) } else { Vec::new() }
}

fn rows(tenant: &Tenant) -> Vec<String> {
    let mut found = tenant.query("*").unwrap();
    let rows = found.by_ref().map(|row| row.unwrap().to_json()).collect();
    assert!(found.missing().is_empty(), "{:?}", found.missing());
    rows
}

fn tenant_file(root: &Path, name: &str) -> PathBuf {
    root.join("data/tenants/acme").join(name)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(path, bytes).unwrap();
}

fn mend(root: &Path, dry_run: bool) -> RepairReport {
    let mut how = RepairOptions::default();
    how.dry_run = dry_run;
    let policy = options(root).policy;
    let vfs = Arc::new(duramen::vfs::RealVfs) as Arc<dyn duramen::vfs::Vfs>;
    how.archives = Archives::open(policy.archives(), policy.archive_buckets(), &vfs).unwrap();
    repair(&root.join("data"), &how).unwrap()
}

fn is_whole(root: &Path) {
    let mut how = VerifyOptions { deep: true, ..VerifyOptions::default() };
    how.archives.insert(duramen::policy::Place::new("cold").unwrap(), root.join("cold"));
    let found = verify_as(&[root.join("data")], &how).findings;
    assert!(found.is_empty(), "{found:?}");
}

/// The simulator's seeds 309023 and 400023, and what they led to: with the entry that made or moved a segment, the segment
/// in the archive was told as lost, and removed there.
#[test]
fn no_record_is_lost_that_an_archive_has_whatever_byte_of_manifest_and_list_is_wrong() {
    let made = tempfile::tempdir().unwrap();
    let expect = make(made.path());
    let len = |name: &str| std::fs::metadata(tenant_file(made.path(), name)).unwrap().len() as usize;
    let (manifest, list) = (len("manifest"), len("archived"));
    let cases = (0..manifest).step_by(manifest / 60 + 1).enumerate();
    for (n, at) in cases {
        // One of the list as well, from the second half of the cases on.
        let also = (n >= 30).then_some((n * 13) % list);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        folder::copy(made.path(), root);
        flip(&tenant_file(root, "manifest"), at);
        also.into_iter().for_each(|at| flip(&tenant_file(root, "archived"), at));
        let what = format!("byte {at} of {manifest} and {also:?} of {list}");
        let dry = mend(root, true);
        let done = mend(root, false);
        for report in [&dry, &done] {
            assert!(report.failures.is_empty(), "{what}: {report}");
            // What has no mark behind it, at the end, is taken for torn.
            assert!(report.lost.is_empty(), "{what}: {report}");
        }
        assert!(mend(root, false).is_clean(), "{what}");
        let store = open(root);
        let tenant = store.existing_tenant("acme").unwrap();
        tenant.compact(None).unwrap();
        assert_eq!(rows(&tenant), expect, "{what}: {done}");
        store.maintain().unwrap();
        tenant.delete("n:<30", &Default::default()).unwrap();
        assert_eq!(rows(&tenant).len(), 120, "{what}");
        drop(tenant);
        store.close().unwrap();
        is_whole(root);
        let store = open(root);
        store.delete_tenant("acme").unwrap();
        assert_eq!(cold(root), [theirs(root)], "{what}");
    }
}

/// A manifest that was cut, or put back, is torn or whole by itself. The list shows that entries are lost.
#[test]
fn what_a_manifest_that_was_cut_does_not_name_stays_in_its_archive() {
    let made = tempfile::tempdir().unwrap();
    let expect = make(made.path());
    let manifest = std::fs::read(tenant_file(made.path(), "manifest")).unwrap();
    let mut refused = 0;
    for len in (300..manifest.len()).step_by(83) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        folder::copy(made.path(), root);
        std::fs::write(tenant_file(root, "manifest"), &manifest[..len]).unwrap();
        let what = format!("{len} bytes of {}", manifest.len());
        let store = open(root);
        let found = verify_as(&[root.join("data")], &VerifyOptions::default());
        if let Ok(tenant) = store.existing_tenant("acme") {
            let _ = tenant.compact(None);
        } else {
            assert!(!found.ok, "{what}");
            refused += 1;
        }
        let _ = store.maintain();
        store.close().unwrap();
        assert_eq!(cold(root).len(), 3, "{what}: nothing goes");
        // What is in the store's own folder, and no entry names, is set aside: that is told.
        let told = mend(root, false);
        assert!(told.failures.is_empty() && told.records_lost() <= 50, "{what}: {told}");
        assert!(mend(root, false).is_clean(), "{what}");
        let store = open(root);
        let tenant = store.existing_tenant("acme").unwrap();
        tenant.compact(None).unwrap();
        store.maintain().unwrap();
        let found = rows(&tenant);
        assert!(expect[50..].iter().all(|row| found.contains(row)), "{what}: {told}");
        drop(tenant);
        store.close().unwrap();
        is_whole(root);
    }
    assert!(refused > 5, "{refused}");
}

/// The entries that moved segments there, or that made them, are cut off: the list knows of the files.
#[test]
fn no_record_is_lost_that_an_archive_has_where_the_manifest_is_cut() {
    let made = tempfile::tempdir().unwrap();
    let expect = make(made.path());
    check_cuts(&made, &expect);
    // The move is the last entry, so that the log shows nothing.
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path());
    let tenant = store.tenant("acme").unwrap();
    tenant.append_labelled(&records(1, 60, 0), &Labels::new([("app", "web")])).unwrap();
    assert!(tenant.compact(None).unwrap().segments_archived > 0);
    let expect = rows(&tenant);
    drop(tenant);
    store.close().unwrap();
    check_cuts(&made, &expect);
}

fn check_cuts(made: &tempfile::TempDir, expect: &[String]) {
    let manifest = std::fs::read(tenant_file(made.path(), "manifest")).unwrap();
    let (_, entries) = duramen::format::edit::read_edits(&manifest).unwrap();
    let ends = entries.map(Result::unwrap).filter(|at| at.entry.is_some()).map(|at| (at.offset + at.bytes) as usize);
    for (n, at) in ends.enumerate() {
        for at in [at, (at + 20).min(manifest.len())] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            folder::copy(made.path(), root);
            std::fs::write(tenant_file(root, "manifest"), &manifest[..at]).unwrap();
            let what = format!("entry {n}, {at} of {} bytes", manifest.len());
            if n % 2 == 0 {
                // A look at the tenant's rules removes nothing that is needed.
                let store = open(root);
                if let Ok(tenant) = store.existing_tenant("acme") {
                    drop(tenant.compact(None));
                }
                store.close().unwrap();
            }
            let (dry, done) = (mend(root, true), mend(root, false));
            for report in [&dry, &done] {
                assert!(report.failures.is_empty() && report.lost.is_empty(), "{what}: {report}");
            }
            assert!(mend(root, false).is_clean(), "{what}");
            let store = open(root);
            let tenant = store.existing_tenant("acme").unwrap();
            tenant.compact(None).unwrap();
            assert_eq!(rows(&tenant), expect, "{what}: {done}");
            drop(tenant);
            store.close().unwrap();
            is_whole(root);
        }
    }
}

/// Where the list alone knows of a file, what stands in it decides, however damaged it is.
#[test]
fn what_only_a_damaged_list_knows_goes_when_the_archives_have_answered() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let expect = make(root);
    // All as it was before one more segment was moved, but for the list and the archive: a crash amid the move leaves that.
    let store = open(root);
    let tenant = store.existing_tenant("acme").unwrap();
    tenant.append(&records(5, 10, 120)).unwrap();
    tenant.seal().unwrap();
    drop(tenant);
    store.close().unwrap();
    folder::copy(&root.join("data"), &root.join("before"));
    let store = open(root);
    assert_eq!(store.existing_tenant("acme").unwrap().compact(None).unwrap().segments_archived, 1);
    store.close().unwrap();
    std::fs::copy(tenant_file(root, "archived"), root.join("before/tenants/acme/archived")).unwrap();
    std::fs::rename(root.join("data"), root.join("after")).unwrap();
    std::fs::rename(root.join("before"), root.join("data")).unwrap();
    assert_eq!(cold(root).len(), 4);
    flip(&tenant_file(root, "archived"), 270);
    // Not while they do not answer.
    std::fs::rename(root.join("cold"), root.join("away")).unwrap();
    let told = mend(root, false);
    assert!(told.failures.len() == 1 && told.failures[0].error.contains("cold"), "{told}");
    let store = Store::open_with(root.join("data"), options(root)).unwrap();
    assert!(store.delete_tenant("acme").is_err());
    store.existing_tenant("acme").unwrap();
    store.close().unwrap();
    std::fs::rename(root.join("away"), root.join("cold")).unwrap();
    let told = mend(root, false);
    assert!(told.failures.is_empty() && told.lost.is_empty() && told.actions.len() == 1, "{told}");
    let store = open(root);
    let tenant = store.existing_tenant("acme").unwrap();
    store.maintain().unwrap();
    assert_eq!(rows(&tenant).len(), expect.len() + 10);
    // What the crash left goes first: else its name would be taken.
    tenant.compact(None).unwrap();
    assert_eq!((cold(root).len(), tenant.stats().unwrap().segments_archived), (4, 3));
    drop(tenant);
    store.delete_tenant("acme").unwrap();
    assert_eq!(cold(root), [theirs(root)]);
}

/// Of an archive that is not there nobody can say what it has: then nothing is said to be lost, and nothing is changed.
#[test]
fn a_manifest_is_not_made_anew_while_an_archive_may_have_what_it_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let expect = make(root);
    // The beginning of the manifest: no entry can be followed.
    let manifest = tenant_file(root, "manifest");
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &whole[..300]).unwrap();
    std::fs::rename(root.join("cold"), root.join("away")).unwrap();
    let before: Vec<_> = folder::files(&root.join("data/tenants")).iter().map(|f| std::fs::read(f).unwrap()).collect();
    let told = mend(root, false);
    assert!(told.failures.len() == 1 && told.lost.is_empty() && told.actions.is_empty(), "{told}");
    let after: Vec<_> = folder::files(&root.join("data/tenants")).iter().map(|f| std::fs::read(f).unwrap()).collect();
    assert!(before == after);
    std::fs::rename(root.join("away"), root.join("cold")).unwrap();
    // Damaged there, too: what can be read of it comes home, and a copy is kept.
    let file = cold(root).into_iter().find(|file| *file != theirs(root)).unwrap();
    flip(&file, 1000);
    let told = mend(root, false);
    assert!(told.failures.is_empty() && (1..=60).contains(&told.records_lost()), "{told}");
    let store = open(root);
    let tenant = store.existing_tenant("acme").unwrap();
    assert_eq!(rows(&tenant).len() as u64 + told.records_lost(), expect.len() as u64);
    tenant.compact(None).unwrap();
    drop(tenant);
    store.close().unwrap();
    assert!(tenant_file(root, "quarantine").join(file.file_name().unwrap()).exists());
    is_whole(root);
}

/// What is damaged where it is, in an archive, is repaired like any other segment; also where no list says that it is there.
#[test]
fn a_damaged_segment_in_an_archive_comes_home_as_far_as_it_can_be_read() {
    for (is_listed, is_gone) in [(true, false), (false, false), (true, true), (false, true)] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let expect = make(root);
        let file = cold(root).into_iter().find(|file| *file != theirs(root)).unwrap();
        match is_gone {
            true => std::fs::remove_file(&file).unwrap(),
            false => flip(&file, 1000),
        }
        if !is_listed {
            std::fs::remove_file(tenant_file(root, "archived")).unwrap();
        }
        let store = open(root);
        let tenant = store.existing_tenant("acme").unwrap();
        let mut found = tenant.query("*").unwrap();
        assert_eq!(found.by_ref().filter(|row| row.is_ok()).count(), 90, "of three segments and the log");
        assert!(!found.missing().is_empty());
        assert!(tenant.delete("*", &Default::default()).is_err(), "nobody can say what goes");
        drop((found, tenant));
        store.close().unwrap();
        // Not where it can't be seen.
        std::fs::rename(root.join("cold"), root.join("away")).unwrap();
        let told = mend(root, false);
        assert!(told.lost.is_empty() && !told.actions.iter().any(|a| a.file == file), "{told}");
        std::fs::rename(root.join("away"), root.join("cold")).unwrap();
        let dry = mend(root, true);
        let told = mend(root, false);
        assert_eq!((dry.records_lost(), told.records_lost()), (60, 60), "its one block: {dry}\n{told}");
        assert!(told.lost.iter().all(|loss| loss.is_exact && loss.file == file), "{told}");
        assert!(mend(root, false).is_clean());
        let store = open(root);
        let tenant = store.existing_tenant("acme").unwrap();
        assert_eq!(rows(&tenant), expect[..90]);
        assert_eq!(tenant_file(root, "quarantine").join(file.file_name().unwrap()).exists(), !is_gone);
        assert!(tenant.delete("n:<70", &Default::default()).unwrap().done);
        assert!(!file.exists() && !tenant_file(root, "quarantine").join(file.file_name().unwrap()).exists());
        drop(tenant);
        store.close().unwrap();
        is_whole(root);
    }
}

/// An index is made of what the segment has: in the tenant's folder, since what is in an archive does not change.
#[test]
fn a_damaged_index_in_an_archive_is_made_anew_at_home() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let expect = make(root);
    let file = cold(root).into_iter().find(|file| *file != theirs(root)).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let end: &[u8; TRAILER_BYTES] = bytes.last_chunk().unwrap();
    let trailer = read_trailer(end, bytes.len() as u64).unwrap();
    assert!(trailer.index_len > 0);
    flip(&file, (trailer.index_offset + trailer.index_len / 2) as usize);
    let told = mend(root, false);
    assert!(told.failures.is_empty() && told.lost.is_empty() && told.actions.len() == 1, "{told}");
    assert!(mend(root, false).is_clean());
    is_whole(root);
    let store = open(root);
    let tenant = store.existing_tenant("acme").unwrap();
    assert_eq!((rows(&tenant), cold(root).len()), (expect, 3));
    drop(tenant);
    store.delete_tenant("acme").unwrap();
    assert_eq!(cold(root), [theirs(root)]);
}

#[test]
fn a_damaged_segment_keeps_no_other_from_its_archive() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let store = Store::open_with(root.join("data"), support::store::options()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    for year in 0..4 {
        tenant.append(&records(year, 20, (year as i64 - 4) * 31_000_000)).unwrap();
        tenant.seal().unwrap();
    }
    drop(tenant);
    store.close().unwrap();
    let segments = folder::files(&tenant_file(root, "segments"));
    assert_eq!(segments.len(), 4);
    // The first, and one that is gone.
    flip(&segments[0], 1000);
    std::fs::remove_file(&segments[2]).unwrap();
    for _ in 0..2 {
        let store = open(root);
        let tenant = store.existing_tenant("acme").unwrap();
        let told = tenant.compact(None).unwrap_err().to_string();
        assert!(segments.iter().any(|file| told.contains(&file.display().to_string())), "{told}");
        assert_eq!((tenant.stats().unwrap().segments_archived, cold(root).len()), (2, 2), "nor is it copied");
        drop(tenant);
        store.close().unwrap();
    }
}

/// The simulator's seeds 800125 and 802466: a crash came between the entry that moved it and the removal here, then the copy
/// and the manifest were damaged. Named in the archive, it was lost with the next repair.
#[test]
fn a_segment_whose_file_had_not_gone_yet_is_named_here_where_its_copy_is_damaged() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let expect = make(root);
    let copy = cold(root).into_iter().find(|path| *path != theirs(root)).unwrap();
    let name = copy.file_name().unwrap().to_str().unwrap();
    std::fs::copy(&copy, tenant_file(root, &format!("segments/{}.seg", &name[..16]))).unwrap();
    flip(&copy, 300);
    let manifest = tenant_file(root, "manifest");
    flip(&manifest, std::fs::metadata(&manifest).unwrap().len() as usize - 20);
    let report = mend(root, false);
    assert!(report.lost.is_empty() && report.failures.is_empty(), "{report}");
    assert!(mend(root, false).is_clean());
    let store = open(root);
    assert_eq!(rows(&store.tenant("acme").unwrap()), expect);
    store.close().unwrap();
    is_whole(root);
}
