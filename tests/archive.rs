//! Archives and the rest of the store: backups have what is in them and bring it home, tenants take it with them when
//! they go, and nothing of another store is touched.

mod program;
mod support;

use duramen::archive::Archives;
use duramen::backup::{
    BackupOptions, BackupReport, Kind, RestoreOptions, Target, backup, check, drill, open_target, restore, restore_into,
};
use duramen::policy::Policy;
use duramen::verify::verify;
use duramen::vfs::RealVfs;
use duramen::{Labels, Options, Store, Tenant};
use program::run_in;
use std::path::PathBuf;
use std::sync::Arc;
use support::folder;
use support::store::records;

/// A folder with stores, an archive and backups.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rules(&self) -> String {
        format!("[archives]\ncold = '{}'\n[[archive]]\nafter = '30d'\nto = 'cold'\n", self.at("cold").display())
    }

    fn options(&self, rules: &str) -> Options {
        let mut options = support::store::options();
        options.policy = Arc::new(Policy::new(&toml::from_str(rules).unwrap()).unwrap());
        options
    }

    fn open(&self, name: &str) -> Store {
        Store::open_with(self.at(name), self.options(&self.rules())).unwrap()
    }

    fn target(&self) -> Arc<dyn Target> {
        open_target(&self.at("set").display().to_string()).unwrap()
    }

    fn back_up(&self, name: &str, archives: &Archives, full: bool) -> BackupReport {
        let mut options = BackupOptions::default();
        (options.archives, options.full) = (archives.clone(), full);
        backup(&RealVfs, &self.at(name), &*self.target(), &options).unwrap()
    }
}

fn rows(tenant: &Tenant) -> Vec<String> {
    tenant.query("*").unwrap().map(|row| row.unwrap().to_json()).collect()
}

/// Appends old records, which go to the archive, and leaves some in the log.
fn fill(tenant: &Tenant, seed: u64) {
    tenant.append_labelled(&records(seed, 60, 0), &Labels::new([("app", "web")])).unwrap();
    tenant.append(&records(seed + 1, 40, 60)).unwrap();
    assert!(tenant.compact(None).unwrap().segments_archived > 0);
    tenant.append(&records(seed + 2, 20, 100)).unwrap();
    tenant.flush().unwrap();
}

#[test]
fn a_backup_has_what_is_archived_and_brings_it_home() {
    let place = Place::new();
    let store = place.open("data");
    let (tenant, other) = (store.tenant("acme").unwrap(), store.tenant("bravo").unwrap());
    // Copied before it went to the archive: then there is nothing to copy of it.
    other.append(&records(9, 50, 0)).unwrap();
    other.seal().unwrap();
    let archives = store.archives().clone();
    place.back_up("data", &archives, false);
    assert!(other.compact(None).unwrap().segments_archived > 0);
    let moved = place.back_up("data", &archives, false);
    let large = moved.run.tenants.iter().flat_map(|t| &t.files).filter(|f| f.data_root.is_some());
    assert!(large.count() > 0 && moved.bytes_read < 20_000, "nothing but manifests and logs: {moved:?}");
    fill(&tenant, 1);
    let (expect, expect_other) = (rows(&tenant), rows(&other));
    let report = place.back_up("data", &archives, false);
    assert_eq!((report.run.kind, &report.run.problems[..]), (Kind::Incremental, &[][..]));
    assert_eq!(report.run.tenants.iter().map(|t| t.records).sum::<u64>(), 170);

    // With the archive away, what an earlier run has is still in the next one; a run that reads all names the tenants.
    let away = place.at("away");
    std::fs::rename(place.at("cold"), &away).unwrap();
    for archives in [&archives, &Archives::default()] {
        let report = place.back_up("data", archives, false);
        assert_eq!((report.run.tenants.len(), report.run.problems.len()), (2, 0), "{:?}", report.run.problems);
    }
    let report = place.back_up("data", &Archives::default(), true);
    let reasons: Vec<&str> = report.run.problems.iter().map(|p| p.reason.as_str()).collect();
    assert!(
        reasons.len() == 2 && reasons.iter().all(|r| r.contains("`cold`") && r.contains("[archives]")),
        "{reasons:?}"
    );

    assert!(place.back_up("data", &archives, false).run.problems.is_empty(), "an earlier run has it");

    // Back without the archive, verified, and as it was.
    let target = place.target();
    let mut which = RestoreOptions::default();
    which.at = Some(moved.run.time());
    restore(&*target, &place.at("then"), &which).unwrap();
    let mut which = RestoreOptions::default();
    which.tenant = Some("acme".into());
    restore(&*target, &place.at("one"), &which).unwrap();
    which.new_name = Some("again".into());
    restore(&*target, &place.at("named"), &which).unwrap();
    let mut which = RestoreOptions::default();
    which.stream = Labels::new([("app", "web")]);
    which.tenant = Some("acme".into());
    restore(&*target, &place.at("stream"), &which).unwrap();
    let stream = Store::open_read_only(place.at("stream")).unwrap();
    assert_eq!(rows(&stream.existing_tenant("acme").unwrap()).len(), 60);
    let checks: [(&str, &str, &[String]); 3] =
        [("then", "bravo", &expect_other), ("one", "acme", &expect), ("named", "again", &expect)];
    for (folder, tenant, expect) in checks {
        let report = verify(&[place.at(folder)], true);
        assert!(
            report.ok && !report.skipped.iter().any(|s| s.contains("archive")),
            "{folder}: {:?} {:?}",
            report.findings,
            report.skipped
        );
        let back = Store::open_read_only(place.at(folder)).unwrap();
        assert_eq!(rows(&back.existing_tenant(tenant).unwrap()), expect, "{folder}");
    }
    // It goes on the chain, with one entry that says what came home.
    let kept = std::fs::read(place.at("data/tenants/acme/manifest")).unwrap();
    let back = std::fs::read(place.at("one/tenants/acme/manifest")).unwrap();
    assert!(back.len() > kept.len() && back.starts_with(&kept));
    let found = drill(&*target, &place.at("data"), place.0.path(), &Options::default()).unwrap();
    assert!(found.ok && found.records == 170 && found.leaves_compared > 0, "{found:?}");
    assert!(check(&*target).unwrap().ok);

    // Where a rule says so, it goes to the archive again.
    drop((tenant, other));
    store.close().unwrap();
    let store = place.open("one");
    let tenant = store.existing_tenant("acme").unwrap();
    assert!(tenant.compact(None).unwrap().segments_archived > 0 && !folder::files(&place.at("cold")).is_empty());
    assert_eq!(rows(&tenant), expect);
    // A tenant that was deleted, with what it had in the archive, comes back into a running store.
    drop(tenant);
    store.delete_tenant("acme").unwrap();
    assert!(folder::files(&place.at("cold")).is_empty());
    let mut which = RestoreOptions::default();
    which.tenant = Some("acme".into());
    restore_into(&*target, &store, &which).unwrap();
    which.new_name = Some("copy".into());
    restore_into(&*target, &store, &which).unwrap();
    for name in ["acme", "copy"] {
        assert_eq!(rows(&store.existing_tenant(name).unwrap()), expect, "{name}");
    }
    assert!(folder::files(&place.at("cold")).is_empty(), "nothing goes there while it is restored");
    store.close().unwrap();
    assert!(verify(&[place.at("one")], true).ok);
}

#[test]
fn what_is_in_a_backup_of_an_archive_was_compared() {
    let place = Place::new();
    let store = place.open("data");
    let (tenant, other) = (store.tenant("acme").unwrap(), store.tenant("bravo").unwrap());
    fill(&tenant, 1);
    other.append(&records(9, 5, 0)).unwrap();
    let archives = store.archives().clone();
    let file = folder::files(&place.at("cold/acme")).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 3] ^= 4;
    std::fs::write(&file, &bad).unwrap();
    let report = place.back_up("data", &archives, false);
    let [problem] = &report.run.problems[..] else { panic!("{:?}", report.run.problems) };
    assert!(problem.reason.contains("cold/acme") && problem.reason.contains("root"), "{problem:?}");
    assert_eq!(report.run.tenants.len(), 1, "the other tenant is in it");
    std::fs::write(&file, &whole).unwrap();
    assert!(place.back_up("data", &archives, false).run.problems.is_empty());
}

#[test]
fn what_another_store_has_in_the_archive_stays() {
    let place = Place::new();
    let (one, two) = (place.open("one"), place.open("two"));
    let theirs = two.tenant("acme").unwrap();
    fill(&theirs, 50);
    let (expect, files) = (rows(&theirs), folder::files(&place.at("cold")));
    let tenant = one.tenant("acme").unwrap();
    fill(&tenant, 1);
    // Also what is no segment at all.
    std::fs::write(place.at("cold/acme/README"), "by hand").unwrap();
    let report = tenant.delete("n:<30", &Default::default()).unwrap();
    assert!(report.done && report.records == 30, "{report:?}");
    drop(tenant);
    one.delete_tenant("acme").unwrap();
    one.close().unwrap();
    let left = folder::files(&place.at("cold"));
    assert_eq!(left.len(), files.len() + 1, "{left:?}");
    assert!(files.iter().all(|file| left.contains(file)));
    assert_eq!(rows(&theirs), expect);
    std::fs::remove_file(place.at("cold/acme/README")).unwrap();
    drop(theirs);
    two.delete_tenant("acme").unwrap();
    assert!(!place.at("cold/acme").exists(), "nor is the folder left, when it is empty");
}

#[test]
fn a_tenant_stays_whole_where_its_archive_is_not_known_and_goes_when_it_is() {
    let place = Place::new();
    let store = place.open("data");
    fill(&store.tenant("acme").unwrap(), 1);
    store.close().unwrap();
    let store = Store::open_with(place.at("data"), place.options("")).unwrap();
    let refused = store.delete_tenant("acme").unwrap_err().to_string();
    assert!(refused.contains("`cold`") && refused.contains("[archives]"), "{refused}");
    assert_eq!(store.tenants().unwrap(), ["acme"], "nothing was deleted");
    store.close().unwrap();

    // A deletion that a crash cut short waits until the archive is known, and nobody can use the name until then.
    std::fs::write(place.at("data/tenants/.deleting-acme"), b"").unwrap();
    let store = Store::open_with(place.at("data"), place.options("")).unwrap();
    assert!(store.tenants().unwrap().is_empty() && store.tenant("bravo").is_ok());
    assert!(store.tenant("acme").is_err_and(|e| e.is_being_deleted()));
    assert!(store.create_tenant("acme").is_err());
    store.close().unwrap();
    let reader = Store::open_read_only(place.at("data")).unwrap();
    assert!(reader.existing_tenant("acme").is_err_and(|e| e.is_no_such_tenant()));
    // Also where it is a disk that is not mounted.
    std::fs::rename(place.at("cold"), place.at("away")).unwrap();
    let store = place.open("data");
    assert!(store.tenants().unwrap() == ["bravo"]);
    assert!(store.delete_tenant("acme").is_err());
    store.close().unwrap();
    std::fs::rename(place.at("away"), place.at("cold")).unwrap();
    assert!(!folder::files(&place.at("cold")).is_empty());
    let store = place.open("data");
    assert!(folder::files(&place.at("cold")).is_empty() && !place.at("data/tenants/acme").exists());
    assert!(store.create_tenant("acme").is_ok());
    store.close().unwrap();
    assert!(verify(&[place.at("data")], true).ok);
}

#[test]
fn what_is_in_an_archive_is_known_where_the_manifest_or_the_list_is_damaged() {
    // Of a list in which a bit is flipped it can still be said what was on it; of one of zeros it can't.
    for (damaged, is_wiped, is_deleted) in [
        (&["manifest"][..], false, true),
        (&["archived"], false, true),
        (&["archived"], true, true),
        (&["manifest", "archived"], false, true),
        (&["manifest", "archived"], true, false),
    ] {
        let place = Place::new();
        let store = place.open("data");
        fill(&store.tenant("acme").unwrap(), 1);
        store.close().unwrap();
        let whole: Vec<Vec<u8>> = damaged
            .iter()
            .map(|name| {
                let path = place.at("data/tenants/acme").join(name);
                let whole = std::fs::read(&path).unwrap();
                let mut bytes = whole.clone();
                match is_wiped && *name == "archived" {
                    true => bytes[256..].fill(0),
                    false => bytes[300] ^= 1,
                }
                std::fs::write(&path, &bytes).unwrap();
                let found = verify(&[place.at("data")], false).findings;
                assert!(found.iter().any(|f| f.file == path), "{damaged:?}: {found:?}");
                whole
            })
            .collect();
        let store = place.open("data");
        let deleted = store.delete_tenant("acme");
        assert_eq!(deleted.is_ok(), is_deleted, "{damaged:?}: {deleted:?}");
        assert_eq!(folder::files(&place.at("cold")).is_empty(), is_deleted);
        if is_deleted {
            continue;
        }
        let why = deleted.unwrap_err().to_string();
        assert!(why.contains("cold/acme") && store.tenants().unwrap() == ["acme"], "nothing was deleted: {why}");
        // With the manifest mended the list is made anew from it, and what it was is kept.
        store.close().unwrap();
        std::fs::write(place.at("data/tenants/acme/manifest"), &whole[0]).unwrap();
        let store = place.open("data");
        let tenant = store.existing_tenant("acme").unwrap();
        assert_eq!(rows(&tenant).len(), 120);
        drop(tenant);
        store.close().unwrap();
        let report = verify(&[place.at("data")], true);
        assert!(report.ok && place.at("data/tenants/acme/quarantine/archived").exists(), "{:?}", report.findings);
    }
}

#[test]
fn a_copy_takes_nothing_from_the_store_that_it_is_of() {
    let place = Place::new();
    let store = place.open("data");
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant, 1);
    let (expect, files) = (rows(&tenant), folder::files(&place.at("cold")));
    assert!(!files.is_empty());
    place.back_up("data", store.archives(), false);
    restore(&*place.target(), &place.at("copy"), &RestoreOptions::default()).unwrap();
    let copy = place.open("copy");
    let copied = copy.existing_tenant("acme").unwrap();
    // The name is the same, and so would be the file.
    let taken = copied.compact(None).unwrap_err();
    assert!(taken.is_name_taken() && taken.to_string().contains("cold/acme"), "{taken}");
    let is_there = || files.iter().all(|file| file.exists());
    assert!(rows(&copied) == expect && is_there());
    copied.delete("n:<30", &Default::default()).unwrap();
    drop(copied);
    copy.delete_tenant("acme").unwrap();
    copy.close().unwrap();
    assert!(rows(&tenant) == expect && folder::files(&place.at("cold")) == files);
    // With an archive of its own it goes on.
    restore(&*place.target(), &place.at("again"), &RestoreOptions::default()).unwrap();
    let rules = place.rules().replace("/cold'", "/other'");
    let copy = Store::open_with(place.at("again"), place.options(&rules)).unwrap();
    let copied = copy.existing_tenant("acme").unwrap();
    assert!(copied.compact(None).unwrap().segments_archived > 0 && place.at("other/acme").exists());
    assert_eq!(rows(&copied), expect);
}

#[test]
fn what_a_query_reads_in_an_archive_stays_until_it_ends() {
    let place = Place::new();
    let store = place.open("data");
    let tenant = store.tenant("acme").unwrap();
    // More than what a query hands on ahead of its reader.
    tenant.append(&records(1, 6000, 0)).unwrap();
    assert_eq!(tenant.compact(None).unwrap().segments_archived, 1);
    let mut slow = tenant.query("*").unwrap();
    assert!(slow.next().is_some_and(|row| row.is_ok()));
    tenant.compact(Some(1)).unwrap();
    tenant.compact(None).unwrap();
    assert_eq!((rows(&tenant).len(), folder::files(&place.at("cold")).len()), (0, 1));
    assert_eq!(slow.by_ref().filter(|row| row.is_ok()).count(), 5999);
    assert!(slow.missing().is_empty());
    drop(slow);
    tenant.compact(None).unwrap();
    assert!(folder::files(&place.at("cold")).is_empty());
}

#[test]
fn an_archive_that_verify_was_not_given_is_told_once() {
    let place = Place::new();
    {
        let store = place.open("data");
        let tenant = store.tenant("acme").unwrap();
        for part in 0..3 {
            tenant.append(&records(part, 10, 0)).unwrap();
            assert_eq!(tenant.compact(None).unwrap().segments_archived, 1);
        }
        store.close().unwrap();
    }
    let report = verify(&[place.at("data")], true);
    let told: Vec<&String> = report.skipped.iter().filter(|text| text.contains("archive")).collect();
    assert!(report.ok && told.len() == 1 && told[0].starts_with("3 segments of acme: "), "{:?}", report.skipped);
}

#[test]
fn the_program_backs_up_archives_that_its_configuration_names() {
    let place = Place::new();
    let dir = place.0.path();
    let go = |args: &[&str]| run_in(dir, args);
    std::fs::write(dir.join("in"), "{\"ts\":1735689600,\"a\":1}\n{\"ts\":1735689601,\"a\":2}\n").unwrap();
    go(&["tenant", "create", "--data", "s", "acme"]).exits(0);
    go(&["ingest", "--data", "s", "--tenant", "acme", "in"]).exits(0);
    std::fs::write(place.at("s/duramen.toml"), place.rules()).unwrap();
    assert!(go(&["compact", "--data", "s", "--tenant", "acme"]).exits(0).stdout.contains("\"segments_archived\":1"));
    go(&["backup", "--data", "s", "set"]).exits(0);
    std::fs::rename(place.at("cold"), place.at("away")).unwrap();
    go(&["restore", "set", "--data", "r"]).exits(0);
    assert_eq!(
        go(&["query", "--data", "r", "--tenant", "acme", "* | stats count() as n"]).exits(0).stdout,
        "{\"n\":2}\n"
    );
    go(&["verify", "--deep", "r"]).exits(0);
    let missing = go(&["backup", "--data", "s", "other"]).exits(1);
    assert!(missing.stderr.contains("cold/acme"), "{missing:?}");
}
