//! Deletion by query and of a tenant: what matched is gone from answers and from the disk, the rest is as it was, and
//! verification agrees. A crash in the middle leaves all or nothing.

mod support;

use duramen::policy::{Place, Policy};
use duramen::store::{DeleteOptions, DeleteProgress, MasterKey};
use duramen::verify::{Against, FindingKind, VerifyOptions, take_checkpoint, verify, verify_against, verify_as};
use duramen::vfs::sim::SimVfs;
use duramen::{Ack, Error, Options, Record, Store, Tenant, TenantId, Timestamp};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::folder;
use support::store::{TENANTS, files_of, make, options, tenant_dir};

/// A text that only the records to be deleted have.
const SECRET: &str = "deadbeefdeadbeef";

fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    tenant.query(query).unwrap().map(|row| row.unwrap().to_json()).collect()
}

/// A store with one of everything, with some records more that have the secret, sealed, merged and not.
fn store_with_secrets(root: &Path) -> std::path::PathBuf {
    let data = root.join("data");
    make(root, &data);
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    let secret = |n: i64| {
        let time = Timestamp(1_740_787_200_000_000_000 + n * 1_000_000_000);
        Record::new().at(time).with("user", "u-17").with("token", SECRET).with("secret", n)
    };
    tenant.append(&[secret(0), secret(1)]).unwrap();
    tenant.seal().unwrap();
    tenant.append(&[secret(90)]).unwrap();
    tenant.compact(None).unwrap();
    tenant.append(&[secret(200), secret(500)]).unwrap();
    tenant.flush().unwrap();
    store.close().unwrap();
    // Where nothing that can be searched for stands.
    let aside = tenant_dir(&data, "acme").join("quarantine/by-hand");
    std::fs::write(aside, SECRET).unwrap();
    data
}

fn files_with(data: &Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let has = |p: &std::path::PathBuf| std::fs::read(p).unwrap().windows(needle.len()).any(|w| w == needle);
    folder::files(data).into_iter().filter(has).collect()
}

#[test]
fn what_matched_is_gone_and_the_rest_is_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let data = store_with_secrets(root.path());
    let key = duramen::format::checkpoint::CheckpointKey::new(&[1; 32]);
    let kept = key.sign(take_checkpoint(&data, None, None, Timestamp::now()).unwrap());
    let store = Store::open_with(&data, options()).unwrap();
    let (tenant, other) = (store.existing_tenant("acme").unwrap(), store.existing_tenant("bravo").unwrap());
    let rest = rows(&tenant, "NOT user:u-17");
    let others = rows(&other, "*");
    let mut dry = DeleteOptions::default();
    dry.dry_run = true;
    let counted = tenant.delete("user:u-17", &dry).unwrap();
    assert!(counted.records == 5 && counted.dry_run && !counted.done && counted.entry.is_none(), "{counted:?}");
    assert_eq!(rows(&tenant, "user:u-17").len(), 5, "a dry run deletes nothing");
    let told: Arc<Mutex<Vec<DeleteProgress>>> = Arc::default();
    let tells = told.clone();
    let mut how = DeleteOptions::default();
    how.progress = Some(Arc::new(move |p: &DeleteProgress| tells.lock().unwrap().push(*p)));
    let report = tenant.delete("user:u-17", &how).unwrap();
    assert!(report.done && report.records == 5 && report.files_held == 0, "{report:?}");
    assert!(report.leaves_broken >= 2 && report.leaves_new >= 1 && report.quarantine_removed >= 1, "{report:?}");
    assert_eq!(told.lock().unwrap().last(), Some(&DeleteProgress::Invisible));
    assert!(rows(&tenant, "user:u-17").is_empty() && rows(&tenant, SECRET).is_empty());
    assert_eq!(rows(&tenant, "NOT user:u-17"), rest);
    assert_eq!(rows(&other, "*"), others);
    assert_eq!(files_of(&data, "acme", "quarantine").len(), 0);
    // While the store is open: done means gone, with no close that does the rest.
    assert_eq!(files_with(&data, SECRET.as_bytes()), Vec::<std::path::PathBuf>::new());
    assert_eq!(files_of(&data, "acme", "segments").len() as u64, tenant.stats().unwrap().segments);
    // A second time there is nothing to delete, and nothing changes.
    let again = tenant.delete("user:u-17", &DeleteOptions::default()).unwrap();
    assert!(again.done && again.records == 0 && again.entry.is_none(), "{again:?}");
    // It goes on: merged, and verified with the leaves that are left.
    tenant.append(&support::store::records(91, 20, 7000)).unwrap();
    tenant.compact(None).unwrap();
    store.close().unwrap();
    let deep = verify(&[&data], true);
    assert!(deep.ok && deep.leaves > 0, "{:#?}", deep.findings);
    // A checkpoint from before names what went.
    let against = Against { file: "kept".into(), signed: Ok(kept), public_key: Some(key.public()) };
    let compared = verify_against(&[&data], true, Some(&against));
    assert!(compared.ok, "{:#?}", compared.findings);
    let acme = &compared.checkpoint.unwrap().tenants[0];
    let [gone] = &acme.gone[..] else { panic!("{acme:?}") };
    assert!(gone.by == "delete" && gone.records == 5 && gone.leaves >= 1 && gone.reason.contains("u-17"), "{gone:?}");
}

#[test]
fn everything_may_be_deleted_and_pipes_may_not() {
    let root = tempfile::tempdir().unwrap();
    let data = store_with_secrets(root.path());
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    let refused = tenant.delete("* | limit 1", &DeleteOptions::default());
    assert!(refused.is_err_and(|e| e.is_not_in_delete()));
    assert!(tenant.delete("a OR", &DeleteOptions::default()).is_err());
    let all = rows(&tenant, "*").len() as u64;
    let report = tenant.delete("*", &DeleteOptions::default()).unwrap();
    assert!(report.done && report.records == all && report.segments_made == 0 && report.leaves_new == 0, "{report:?}");
    assert_eq!((rows(&tenant, "*").len(), files_of(&data, "acme", "segments").len()), (0, 0));
    // Seqs are not used again.
    let first = tenant.append(&[Record::new().with("n", 1)]).unwrap().first;
    assert!(first.0 > all, "{first}");
    store.close().unwrap();
    assert!(verify(&[&data], true).ok);
    let read_only = Store::open_read_only_with(&data, options()).unwrap();
    let tenant = read_only.existing_tenant("acme").unwrap();
    assert!(tenant.delete("*", &DeleteOptions::default()).is_err_and(|e| e.is_read_only()));
}

#[test]
fn a_reader_that_takes_too_long_is_ended() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    // More than what a query hands on ahead of its reader.
    tenant.append(&support::store::records(1, 4000, 0)).unwrap();
    tenant.seal().unwrap();
    let mut slow = tenant.query("*").unwrap();
    assert!(slow.next().is_some_and(|row| row.is_ok()));
    let mut how = DeleteOptions::default();
    how.readers_wait = Duration::from_millis(50);
    let report = tenant.delete("n:<10", &how).unwrap();
    assert!(report.done && report.records == 10, "{report:?}");
    // What it was given before is right; then it is told why there is no more.
    let last = slow.find(|row| row.is_err()).expect("an error at the end");
    assert!(last.is_err_and(|e| e.is_ended()));
    assert_eq!(files_of(&data, "acme", "segments").len(), 1);
    assert_eq!(rows(&tenant, "*").len(), 3990);
}

#[test]
fn damage_that_may_hide_matches_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let data = store_with_secrets(root.path());
    let path = files_of(&data, "acme", "segments").remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    assert!(tenant.delete("user:*", &DeleteOptions::default()).is_err_and(|e| e.is_damage()));
}

#[test]
fn an_encrypted_tenant_keeps_keyed_leaves_also_in_an_archive() {
    let root = tempfile::tempdir().unwrap();
    let (data, cold) = (root.path().join("data"), root.path().join("cold"));
    let master = MasterKey::from_bytes([9; 32]);
    let mut how = options();
    how.master_key = Some(master.clone());
    let store = Store::open_with(&data, how.clone()).unwrap();
    let tenant = store.create_encrypted_tenant("acme").unwrap();
    tenant.append(&support::store::records(1, 50, 0)).unwrap();
    tenant.seal().unwrap();
    tenant.append(&support::store::records(2, 50, 50)).unwrap();
    let report = tenant.delete("n:in(3, 30, 60)", &DeleteOptions::default()).unwrap();
    assert!(report.done && report.records == 3 && report.leaves_new == 2, "{report:?}");
    let rest = rows(&tenant, "*");
    assert_eq!(rest.len(), 97);
    drop(tenant);
    store.close().unwrap();
    let deep = |archives: &[(Place, std::path::PathBuf)]| {
        let (archives, master_key) = (archives.iter().cloned().collect(), Some(master.clone()));
        verify_as(&[&data], &VerifyOptions { deep: true, archives, master_key, ..VerifyOptions::default() })
    };
    let report = deep(&[]);
    assert!(report.ok && report.leaves == 2, "{report:#?}");
    assert!(verify(&[&data], false).ok);

    let rules = format!("[archives]\ncold = '{}'\n[[archive]]\nafter = '30d'\nto = 'cold'\n", cold.display());
    how.policy = Arc::new(Policy::new(&toml::from_str(&rules).unwrap()).unwrap());
    let store = Store::open_with(&data, how.clone()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    assert!(tenant.compact(None).unwrap().segments_archived > 0);
    // An archive that is away may have matches: nothing is deleted.
    drop(tenant);
    store.close().unwrap();
    std::fs::rename(&cold, root.path().join("away")).unwrap();
    let store = Store::open_with(&data, how.clone()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    assert!(tenant.delete("n:in(4, 61)", &DeleteOptions::default()).is_err_and(|e| e.is_damage()));
    drop(tenant);
    store.close().unwrap();
    std::fs::rename(root.path().join("away"), &cold).unwrap();
    let store = Store::open_with(&data, how.clone()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    assert_eq!(rows(&tenant, "*"), rest);
    let archived = folder::files(&cold);
    let report = tenant.delete("n:in(4, 61)", &DeleteOptions::default()).unwrap();
    assert!(report.done && report.records == 2 && report.leaves_new == 2, "{report:?}");
    assert!(archived.iter().all(|file| !file.exists()), "done is gone, in the archive too");
    let left = rows(&tenant, "*");
    assert!(left.len() == 95 && left.iter().all(|row| rest.contains(row)));
    // What was written anew goes there again.
    assert!(tenant.compact(None).unwrap().segments_archived > 0 && !folder::files(&cold).is_empty());
    drop(tenant);
    store.close().unwrap();
    let report = deep(&[(Place::new("cold").unwrap(), cold.clone())]);
    assert!(report.ok && report.leaves == 2, "{report:#?}");

    // A deletion of the tenant that a crash cut short: whoever goes on begins with the key.
    std::fs::write(data.join("tenants/.deleting-acme"), b"").unwrap();
    let key = std::fs::File::open(tenant_dir(&data, "acme").join("key")).unwrap();
    assert!(Store::open_read_only_with(&data, how.clone()).unwrap().tenants().unwrap().is_empty());
    Store::open_with(&data, how).unwrap().close().unwrap();
    let mut left = Vec::new();
    std::io::Read::read_to_end(&mut &key, &mut left).unwrap();
    assert!(!tenant_dir(&data, "acme").exists() && left.iter().all(|b| *b == 0));
    assert!(!cold.join("acme").exists(), "nor is anything in the archive");
}

#[test]
fn a_tenant_is_deleted_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let data = store_with_secrets(root.path());
    let store = Store::open_with(&data, options()).unwrap();
    let held = store.existing_tenant("acme").unwrap();
    store.delete_tenant("acme").unwrap();
    assert!(store.delete_tenant("acme").is_err_and(|e| e.is_no_such_tenant()));
    assert!(!tenant_dir(&data, "acme").exists());
    assert_eq!(store.tenants().unwrap(), [TENANTS[1]]);
    assert!(store.catalog().unwrap().tenant(&TenantId::new("acme").unwrap()).unwrap().is_none());
    assert!(held.append(&[Record::new().with("n", 1)]).is_err());
    drop(held);
    store.close().unwrap();
    assert_eq!(files_with(&data.join("tenants"), SECRET.as_bytes()), Vec::<std::path::PathBuf>::new());
    assert!(verify(&[&data], true).ok);
    // A crash in the middle is seen, and finished by the next writer.
    std::fs::write(data.join("tenants/.deleting-bravo"), b"").unwrap();
    std::fs::remove_file(tenant_dir(&data, "bravo").join("manifest")).unwrap();
    let half = verify(&[&data], false).findings;
    assert!(half.len() == 1 && half[0].kind == FindingKind::Unexpected, "{half:?}");
    let store = Store::open_with(&data, options()).unwrap();
    assert!(store.tenants().unwrap().is_empty() && !tenant_dir(&data, "bravo").exists());
    store.close().unwrap();
    assert!(verify(&[&data], true).ok);
}

/// A deletion on a disk that loses power at each of its operations: before, or after, and nothing between. With an archive
/// nothing is left there that no manifest names.
#[test]
fn a_crash_leaves_all_of_them_or_none() {
    for rules in ["", "[archives]\ncold = '/cold'\n[[archive]]\nafter = '30d'\nto = 'cold'\n"] {
        crash_at_each_operation(rules);
    }
}

fn crash_at_each_operation(rules: &str) {
    let dir = Path::new("/store");
    let open = |vfs: &SimVfs| -> Result<Store, Error> {
        let mut options = Options::default();
        options.background_threads = 0;
        options.query_threads = 1;
        options.ack = Ack::Fsync;
        options.policy = Arc::new(Policy::new(&toml::from_str(rules).unwrap()).unwrap());
        Store::open_on(Arc::new(vfs.clone()), dir, options, true)
    };
    let numbers = |store: &Store| -> Vec<i64> {
        let Ok(tenant) = store.existing_tenant("acme") else { return Vec::new() };
        let rows = tenant.query("*").unwrap();
        let mut all: Vec<i64> = rows.map(|r| r.unwrap().get("n").unwrap().1.parse().unwrap()).collect();
        all.sort_unstable();
        all
    };
    let fill = |vfs: &SimVfs| -> Result<Store, Error> {
        let store = open(vfs)?;
        let tenant = store.tenant("acme")?;
        for part in 0..3 {
            tenant.append(&support::store::records(part, 5, part as i64 * 5))?;
            tenant.seal()?;
            if part == 1 {
                // These go to the archive, if there is one.
                tenant.compact(None)?;
            }
        }
        tenant.append(&support::store::records(9, 3, 15))?;
        Ok(store)
    };
    let in_archive = |vfs: &SimVfs| vfs.files().iter().filter(|f| f.starts_with("/cold/acme")).count() as u64;
    let mut how = DeleteOptions::default();
    how.readers_wait = Duration::ZERO;
    let whole: Vec<i64> = (0..18).collect();
    let rest: Vec<i64> = whole.iter().copied().filter(|n| n % 5 != 2).collect();
    type Step = fn(&Store, &DeleteOptions) -> Result<(), Error>;
    let by_query: Step =
        |store, how| store.existing_tenant("acme")?.delete("n:in(2, 7, 12, 17)", how).map(|r| assert!(r.done));
    let by_name: Step = |store, _| store.delete_tenant("acme");
    for (step, after) in [(by_query, rest), (by_name, Vec::new())] {
        let vfs = SimVfs::new();
        let store = fill(&vfs).unwrap();
        assert_eq!(in_archive(&vfs) > 0, !rules.is_empty());
        let from = vfs.operations();
        step(&store, &how).unwrap();
        assert_eq!((numbers(&store), in_archive(&vfs)), (after.clone(), 0));
        let to = vfs.operations();
        drop(store);
        assert!(to > from + 5, "{from} {to}");
        for operation in from + 1..=to {
            let vfs = SimVfs::new();
            vfs.crash_at(operation);
            let done = fill(&vfs).is_ok_and(|store| step(&store, &how).is_ok());
            for left in [vfs.after_kill(), vfs.after_crash(operation)] {
                let store = open(&left).unwrap_or_else(|e| panic!("operation {operation}: {e}"));
                let found = numbers(&store);
                assert!(found == after || !done && found == whole, "operation {operation}, done: {done}: {found:?}");
                match store.existing_tenant("acme") {
                    Err(_) => assert_eq!(in_archive(&left), 0, "operation {operation}: {:?}", left.files()),
                    // A look at the rules later there is what the manifest names, and nothing else.
                    Ok(tenant) if found == after => {
                        tenant.compact(None).unwrap();
                        let archived = tenant.stats().unwrap().segments_archived;
                        assert_eq!(in_archive(&left), archived, "operation {operation}: {:?}", left.files());
                    }
                    Ok(_) => {}
                }
                if found == whole {
                    // It can be done again.
                    step(&store, &how).unwrap_or_else(|e| panic!("operation {operation}, again: {e}"));
                    assert_eq!(
                        (numbers(&store), in_archive(&left)),
                        (after.clone(), 0),
                        "operation {operation}, again"
                    );
                }
                store.close().unwrap_or_else(|e| panic!("operation {operation}: {e}"));
            }
        }
    }
}
