//! Archives in buckets: cold segments go there and are queried there, and a service that is down costs no more than what
//! it holds.
#![cfg(all(feature = "object-store", feature = "server", feature = "cli"))]

mod program;
mod s3;
mod support;

use duramen::archive::{Archive, ArchivedName, Archives, BucketArchive, CHUNK_BYTES};
use duramen::backup::{BackupOptions, RestoreOptions, backup, open_target, restore};
use duramen::id::SegmentId;
use duramen::policy::{Place, Policy};
use duramen::repair::{RepairOptions, repair};
use duramen::verify::verify;
use duramen::vfs::{RealVfs, Vfs};
use duramen::{Options, Store, Tenant, TenantId};
use program::{Run, duramen};
use s3::Service;
use std::path::Path;
use std::sync::Arc;
use support::store::{files_of, records};

const RULES: &str = "[archives]\ncold = 's3://bucket/cold'\n[[archive]]\nafter = '30d'\nto = 'cold'\n";

fn options(service: &Service) -> Options {
    let mut options = support::store::options();
    options.query_threads = 4;
    options.policy = Arc::new(Policy::new(&toml::from_str(RULES).unwrap()).unwrap());
    // In place of the one that the environment, which all tests share, would lead to.
    let archive = Arc::new(BucketArchive::new(service.open("s3://bucket/cold")));
    options.archives = Archives::default().with(Place::new("cold").unwrap(), archive);
    options
}

fn open(service: &Service, data: &Path) -> Store {
    Store::open_with(data, options(service)).unwrap()
}

fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    tenant.query(query).unwrap().map(|row| row.unwrap().to_json()).collect()
}

/// Rows, and records that the answer says it misses, with the first reason.
fn flagged(tenant: &Tenant, query: &str) -> (usize, u64, String) {
    let mut rows = tenant.query(query).unwrap();
    let count = rows.by_ref().collect::<Result<Vec<_>, _>>().unwrap().len();
    let missing = rows.missing();
    let reason = missing.first().map_or(String::new(), |m| m.reason.clone());
    (count, missing.iter().map(|m| m.records).sum(), reason)
}

/// Old records, sealed and to be archived.
fn fill(tenant: &Tenant) {
    for part in 0..4 {
        tenant.append(&records(part, 2000, part as i64 * 2000)).unwrap();
        tenant.seal().unwrap();
    }
}

const QUERIES: &[&str] = &[
    "*",
    "level:error",
    "n:>7000 | sort by (n) | limit 5",
    "needle",
    "request:~\"^00\"",
    "* | stats by (level) count() as n",
];

#[test]
fn cold_segments_are_queried_in_a_bucket() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    let expect: Vec<Vec<String>> = QUERIES.iter().map(|q| rows(&tenant, q)).collect();
    let bytes: usize = files_of(&data, "acme", "segments").iter().map(|f| f.metadata().unwrap().len() as usize).sum();
    let moved = tenant.compact(None).unwrap().segments_archived;
    assert!(moved > 0 && files_of(&data, "acme", "segments").is_empty());
    assert_eq!(service.names().len() as u64, moved);
    assert!(service.names().iter().all(|name| name.starts_with("cold/acme/")), "{:?}", service.names());
    // What was moved is what was there, and was read back before the manifest said so.
    let stored: usize = service.contents().objects.values().map(|o| o.bytes.len()).sum();
    let asked = std::mem::take(&mut service.contents().asked);
    assert!(stored >= bytes && asked.iter().filter(|a| a.starts_with("GET")).count() as u64 >= moved, "{asked:?}");
    for (query, expect) in QUERIES.iter().zip(&expect) {
        assert_eq!(&rows(&tenant, query), expect, "{query}");
    }
    // By ranges, and what was read is kept: a few requests for each segment, whatever is asked.
    let asked = std::mem::take(&mut service.contents().asked);
    assert!(asked.len() as u64 <= 3 * moved, "{asked:?}");
    drop(tenant);
    store.close().unwrap();
    // From the beginning, also read-only.
    let reader = Store::open_read_only_with(&data, options(&service)).unwrap();
    let tenant = reader.existing_tenant("acme").unwrap();
    for (query, expect) in QUERIES.iter().zip(&expect) {
        assert_eq!(&rows(&tenant, query), expect, "{query}");
    }
}

#[test]
fn a_service_that_is_down_is_told_and_costs_nothing_else() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    tenant.compact(None).unwrap();
    store.close().unwrap();
    for status in [403, 404] {
        service.contents().refuse_all = Some(status);
        let store = open(&service, &data);
        let tenant = store.tenant("acme").unwrap();
        tenant.append(&records(9, 50, 1_000_000)).unwrap();
        tenant.seal().unwrap();
        let (found, missed, reason) = flagged(&tenant, "*");
        assert!(found % 50 == 0 && found > 0 && missed == 8000, "{status}: {found} {missed}");
        assert!(reason.contains("s3://bucket/cold/acme/"), "{reason}");
        assert!(reason.contains(if status == 403 { "403" } else { "no such object" }), "{reason}");
        // Other times are answered whole, records are taken, and what is asked strictly is refused.
        assert_eq!(flagged(&tenant, "_time:>=2025-03-10T00:00:00Z").1, 0);
        let strict = duramen::QueryOptions { strict: true, ..Default::default() };
        assert!(tenant.query_with("*", &strict).unwrap().any(|row| row.is_err()));
        assert!(tenant.delete("n:1", &Default::default()).is_err());
        // What is cold stays where it is, and the rules' other work goes on.
        assert!(store.delete_tenant("acme").is_err());
        assert_eq!(store.tenants().unwrap(), ["acme"]);
        service.contents().refuse_all = None;
        store.close().unwrap();
    }
    // It is back.
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    assert_eq!(flagged(&tenant, "*"), (8100, 0, String::new()));
    store.close().unwrap();
}

#[test]
fn a_file_is_read_by_ranges() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let archive = BucketArchive::new(service.open("s3://bucket/cold"));
    let (tenant, name) = (TenantId::new("acme").unwrap(), ArchivedName::new(SegmentId(7), &[3; 32]));
    let bytes: Vec<u8> = (0..12 * CHUNK_BYTES + 77).map(|n| (n % 251) as u8).collect();
    let path = dir.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    archive.put(&tenant, &name, &*RealVfs.open(&path).unwrap()).unwrap();
    assert_eq!(service.names(), [format!("cold/acme/{}", name.as_str())]);
    assert_eq!(archive.list(&tenant).unwrap(), std::slice::from_ref(&name));
    assert!(archive.list(&TenantId::new("acm").unwrap()).unwrap().is_empty());
    let file = archive.open(&tenant, &name).unwrap();
    assert_eq!(file.len().unwrap(), bytes.len() as u64);
    let mut rng = support::rng::Rng::new(1);
    for _ in 0..200 {
        let (at, len) = (rng.below(bytes.len() + 10), rng.below(3 * CHUNK_BYTES));
        let mut buffer = vec![0; len];
        let got = file.read_at(at as u64, &mut buffer).unwrap();
        let expect = bytes.get(at..).unwrap_or_default();
        assert!(buffer[..got] == expect[..len.min(expect.len())], "{len} bytes from {at}");
    }
    // All of it fits into what is kept, so that each chunk was asked for once.
    let gets = service.contents().asked.iter().filter(|a| a.starts_with("GET")).count();
    assert!(gets <= 13 + 1, "{gets}");
    let mut all = vec![0; bytes.len()];
    let afresh = archive.open_afresh(&tenant, &name).unwrap();
    afresh.read_exact_at(0, &mut all).unwrap();
    assert!(all == bytes);
    // What is kept needs no service; what is not there hides what the file holds.
    service.contents().refuse_all = Some(403);
    file.read_exact_at(5, &mut all[..100]).unwrap();
    assert!(all[..100] == bytes[5..105]);
    let hidden = afresh.read_exact_at(3 * CHUNK_BYTES as u64, &mut all[..100]).unwrap_err();
    assert!(hidden.is_damage() && hidden.to_string().contains("403"), "{hidden}");
    service.contents().refuse_all = None;
    // Another one in its place is not taken for the same.
    let key = service.names().remove(0);
    service.contents().objects.get_mut(&key).unwrap().bytes = vec![1; 9 * CHUNK_BYTES].into();
    assert!(afresh.read_exact_at(0, &mut all[..100]).unwrap_err().is_damage());
    archive.remove(&tenant, &name).unwrap();
    archive.remove(&tenant, &name).unwrap();
    assert!(archive.open(&tenant, &name).unwrap_err().is_not_found() && service.names().is_empty());
    assert!(file.read_at(0, &mut all[..100]).is_err(), "nothing is kept of what is gone");
}

#[test]
fn a_copy_that_is_not_right_does_not_count() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    let expect = rows(&tenant, "*");
    service.contents().flip_next = true;
    let refused = tenant.compact(None).unwrap_err().to_string();
    assert!(refused.contains("copy of a segment") && refused.contains("s3://bucket/cold/acme/"), "{refused}");
    assert!(service.names().is_empty(), "and goes again: {:?}", service.names());
    assert_eq!(rows(&tenant, "*"), expect);
    // Where it can't be removed, it goes when that is possible.
    service.contents().flip_next = true;
    service.contents().keep_all = true;
    assert!(tenant.compact(None).is_err() && service.names().len() == 1);
    service.contents().keep_all = false;
    let moved = tenant.compact(None).unwrap().segments_archived;
    assert_eq!(service.names().len() as u64, moved);
    assert_eq!(rows(&tenant, "*"), expect);
    store.close().unwrap();
}

#[test]
fn what_is_deleted_is_gone_from_the_bucket() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    tenant.compact(None).unwrap();
    let rest = rows(&tenant, "NOT n:<100");
    let report = tenant.delete("n:<100", &Default::default()).unwrap();
    assert!(report.done && report.records == 100, "{report:?}");
    let stats = tenant.stats().unwrap();
    assert_eq!((rows(&tenant, "*"), service.names().len() as u64), (rest.clone(), stats.segments_archived));
    tenant.compact(None).unwrap();
    let all = service.names().len() as u64;
    assert!(all > stats.segments_archived && all == tenant.stats().unwrap().segments_archived);
    drop(tenant);
    // The bucket refuses to delete: the tenant is gone for all, its name can't be used, and other tenants go on.
    service.contents().keep_all = true;
    assert!(store.delete_tenant("acme").is_err());
    assert!(store.tenants().unwrap().is_empty() && store.tenant("acme").is_err_and(|e| e.is_being_deleted()));
    store.close().unwrap();
    let store = open(&service, &data);
    assert!(store.tenant("other").is_ok() && store.tenant("acme").is_err_and(|e| e.is_being_deleted()));
    assert!(!service.names().is_empty());
    service.contents().keep_all = false;
    // Asked again, or by the next open.
    store.delete_tenant("acme").unwrap();
    assert!(service.names().is_empty());
    assert!(store.create_tenant("acme").is_ok());
    store.close().unwrap();
    assert!(verify(&[&data], true).ok);
}

#[test]
fn the_program_moves_queries_and_backs_up() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let go = |args: &[&str]| {
        let mut command = duramen();
        service.tell(command.current_dir(dir.path()).args(args));
        Run::from(command.output().unwrap())
    };
    std::fs::write(dir.path().join("in"), "{\"ts\":1735689600,\"a\":1}\n{\"ts\":1735689601,\"a\":2}\n").unwrap();
    go(&["tenant", "create", "--data", "s", "acme"]).exits(0);
    go(&["ingest", "--data", "s", "--tenant", "acme", "in"]).exits(0);
    std::fs::write(dir.path().join("s/duramen.toml"), RULES).unwrap();
    let report = go(&["compact", "--data", "s", "--tenant", "acme"]).exits(0).stdout;
    assert!(report.contains("\"segments_archived\":1") && service.names().len() == 1, "{report}");
    let count = |data: &str| go(&["query", "--data", data, "--tenant", "acme", "* | stats count() as n"]);
    assert_eq!(count("s").exits(0).stdout, "{\"n\":2}\n");
    go(&["backup", "--data", "s", "s3://bucket/set"]).exits(0);
    service.contents().refuse_all = Some(403);
    let missed = count("s").exits(1);
    assert!(missed.stderr.contains("s3://bucket/cold/acme/") && !missed.stderr.contains("test-secret"), "{missed:?}");
    service.contents().refuse_all = None;
    go(&["restore", "s3://bucket/set", "--data", "r"]).exits(0);
    go(&["tenant", "delete", "--data", "s", "acme", "--yes"]).exits(0);
    assert!(service.names().iter().all(|name| name.starts_with("set/")), "{:?}", service.names());
    assert_eq!(count("r").exits(0).stdout, "{\"n\":2}\n");
    go(&["verify", "--deep", "r"]).exits(0);
}

#[test]
fn a_backup_to_a_folder_has_what_is_in_a_bucket() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    tenant.compact(None).unwrap();
    let expect = rows(&tenant, "*");
    let target = open_target(&dir.path().join("set").display().to_string()).unwrap();
    let mut how = BackupOptions::default();
    how.archives = store.archives().clone();
    service.contents().refuse_all = Some(403);
    let failed = backup(&RealVfs, &data, &*target, &how).unwrap().run;
    assert!(failed.tenants.is_empty() && failed.problems[0].reason.contains("s3://bucket/cold/acme/"), "{failed:?}");
    service.contents().refuse_all = None;
    assert!(backup(&RealVfs, &data, &*target, &how).unwrap().run.problems.is_empty());
    let to = dir.path().join("back");
    restore(&*target, &to, &RestoreOptions::default()).unwrap();
    assert!(verify(&[&to], true).ok);
    let back = Store::open_read_only(&to).unwrap();
    assert_eq!(rows(&back.existing_tenant("acme").unwrap(), "*"), expect);
}

/// Manifest and list are damaged: the bucket says what was there, and where it does not answer nothing is changed.
#[test]
fn a_repair_takes_back_what_is_in_a_bucket() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    tenant.compact(None).unwrap();
    let (expect, objects) = (rows(&tenant, "*"), service.names());
    drop(tenant);
    store.close().unwrap();
    let of = |name: &str| data.join("tenants/acme").join(name);
    let mut list = std::fs::read(of("archived")).unwrap();
    list[260] ^= 4;
    std::fs::write(of("archived"), &list).unwrap();
    let manifest = std::fs::read(of("manifest")).unwrap();
    std::fs::write(of("manifest"), &manifest[..400]).unwrap();
    let mut how = RepairOptions::default();
    how.archives = options(&service).archives;
    service.contents().refuse_all = Some(403);
    let told = repair(&data, &how).unwrap();
    assert!(told.failures.len() == 1 && told.actions.is_empty() && told.lost.is_empty(), "{told}");
    assert!(std::fs::read(of("archived")).unwrap() == list);
    service.contents().refuse_all = None;
    let told = repair(&data, &how).unwrap();
    assert!(told.failures.is_empty() && told.lost.is_empty(), "{told}");
    assert!(repair(&data, &how).unwrap().is_clean());
    let store = open(&service, &data);
    let tenant = store.existing_tenant("acme").unwrap();
    tenant.compact(None).unwrap();
    assert_eq!((rows(&tenant, "*"), service.names()), (expect, objects));
    drop(tenant);
    store.delete_tenant("acme").unwrap();
    assert!(service.names().is_empty());
}

#[test]
fn the_program_verifies_what_is_in_a_bucket() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let data = dir.path().join("s");
    let store = open(&service, &data);
    let tenant = store.tenant("acme").unwrap();
    fill(&tenant);
    tenant.compact(None).unwrap();
    drop(tenant);
    store.close().unwrap();
    let verify = |args: &[&str]| {
        let mut command = duramen();
        service.tell(command.current_dir(dir.path()).args(["verify", "--deep", "--json", "s"]).args(args));
        Run::from(command.output().unwrap())
    };
    let report = |run: Run| -> serde_json::Value { serde_json::from_str(&run.stdout).unwrap() };
    let without = report(verify(&[]).exits(0));
    assert!(without["records"] == 0 && without["skipped"].to_string().contains("`cold`"), "{without}");
    let given = ["--archive", "cold=s3://bucket/cold"];
    let whole = report(verify(&given).exits(0));
    assert!(whole["records"] == 8000 && whole["leaves"].as_u64() > Some(0), "{whole}");
    assert!(!whole["skipped"].to_string().contains("cold"), "{whole}");
    std::fs::write(data.join("duramen.toml"), RULES).unwrap();
    assert_eq!(report(verify(&[]).exits(0))["records"], 8000, "the configuration names it");
    // What is wrong is named by where it is.
    let kind = |run: Run| -> (String, String) {
        let report = report(run);
        let finding = &report["findings"][0];
        (finding["kind"].as_str().unwrap().into(), finding["file"].as_str().unwrap().into())
    };
    let key = service.names().remove(0);
    let address = format!("s3://bucket/{key}");
    let good = service.contents().objects[&key].clone();
    let mut bytes = good.bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    service.contents().objects.get_mut(&key).unwrap().bytes = bytes.into();
    assert_eq!(kind(verify(&[]).exits(1)), ("corruption".into(), address.clone()));
    service.contents().objects.remove(&key);
    assert_eq!(kind(verify(&[]).exits(1)), ("missing".into(), address.clone()));
    service.contents().objects.insert(key, good);
    service.contents().refuse_all = Some(403);
    assert_eq!(kind(verify(&[]).exits(1)), ("unreadable".into(), address));
    service.contents().refuse_all = None;
    verify(&[]).exits(0);
}
