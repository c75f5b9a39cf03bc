//! Backups and what comes back of them, through the API and the program.
#![cfg(feature = "cli")]

mod program;

use duramen::backup::{BackupOptions, Kind, RestoreOptions, backup, check, open_target, restore, runs};
use duramen::verify::verify;
use duramen::vfs::RealVfs;
use duramen::{BatchBuilder, Labels, Options, Record, Store, Tenant, Timestamp};
use program::{Run, folder, names, run_in};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn append(tenant: &Tenant, from: u64, records: u64) {
    let mut builder = BatchBuilder::new();
    for n in from..from + records {
        let record = Record::new().with("n", n).with("text", format!("record {n}: some words that take some room"));
        let labels = Labels::new([("instance", if n % 3 == 0 { "seven" } else { "eight" })]);
        builder.push(&record, Timestamp(1_700_000_000_000_000_000 + n as i64 * 1_000_003), &labels).unwrap();
    }
    tenant.append_batch(&builder.take(), duramen::Ack::Fsync).unwrap();
}

fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    tenant.query(query).unwrap().map(|row| row.unwrap().to_json()).collect()
}

fn deep(folder: &Path) {
    let report = verify(&[folder], true);
    assert!(report.ok, "{}: {:?}", folder.display(), report.findings);
}

#[test]
fn beside_a_writer_that_appends_seals_and_merges() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut options = Options::default();
    options.background_threads = 0;
    options.memtable_bytes_max = 60_000;
    let store = Store::open_with(&data, options.clone()).unwrap();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let target = open_target(&dir.path().join("set").display().to_string()).unwrap();
    let mut restored = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let tenant = store.tenant("busy").unwrap();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                append(&tenant, acknowledged.load(Ordering::Relaxed), 25);
                acknowledged.fetch_add(25, Ordering::Relaxed);
                round += 1;
                if round % 5 == 0 {
                    tenant.seal().unwrap();
                }
                if round % 15 == 0 {
                    tenant.compact(None).unwrap();
                }
            }
        });
        for n in 0..8 {
            while acknowledged.load(Ordering::Relaxed) < 400 * (n + 1) {
                std::thread::yield_now();
            }
            let before = acknowledged.load(Ordering::Relaxed);
            let report = backup(&RealVfs, &data, &*target, &BackupOptions::default());
            let report = report.inspect_err(|_| stop.store(true, Ordering::Relaxed)).unwrap();
            let failed = report.run.problems.first();
            assert_eq!(failed.inspect(|_| stop.store(true, Ordering::Relaxed)), None);
            restored.push((before, report.run));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(runs(&*target).unwrap().len(), 8);
    assert!(check(&*target).unwrap().ok);
    let all = rows(&store.existing_tenant("busy").unwrap(), "* | sort by (n)");
    for (n, (before, run)) in restored.iter().enumerate() {
        let to = dir.path().join(format!("restored-{n}"));
        let mut which = RestoreOptions::default();
        which.at = Some(run.time());
        restore(&*target, &to, &which).unwrap();
        deep(&to);
        let back = Store::open_with(&to, options.clone()).unwrap();
        let found = rows(&back.existing_tenant("busy").unwrap(), "* | sort by (n)");
        assert!(found.len() as u64 >= *before, "run {n}: {} of {before} that were acknowledged", found.len());
        assert_eq!(found, all[..found.len()], "run {n}: a prefix of what was appended, each once");
        back.close().unwrap();
        deep(&to);
    }
}

#[test]
fn streams_and_names_are_written_anew() {
    let dir = folder();
    let data = dir.path().join("data");
    let store = Store::open(&data).unwrap();
    let tenant = store.tenant("acme").unwrap();
    append(&tenant, 0, 500);
    tenant.seal().unwrap();
    append(&tenant, 500, 100);
    // A field of the name of a label, and one of the name of the time, and values of each type.
    let odd = duramen::record! { instance: "mine", timestamp: "no time", n: 600, list: vec![1, 2], none: "" };
    tenant.append_labelled(&[odd.at(Timestamp(5))], &Labels::new([("instance", "seven"), ("q", "a\"b")])).unwrap();
    let target = open_target(&dir.path().join("set").display().to_string()).unwrap();
    assert_eq!(backup(&RealVfs, &data, &*target, &BackupOptions::default()).unwrap().run.kind, Kind::Full);

    let mut which = RestoreOptions::default();
    which.stream = Labels::new([("instance", "seven")]);
    let report = restore(&*target, &dir.path().join("stream"), &which).unwrap();
    let back = Store::open(dir.path().join("stream")).unwrap();
    let expect = rows(&tenant, "{instance=\"seven\"}");
    assert_eq!(rows(&back.existing_tenant("acme").unwrap(), "*"), expect);
    assert_eq!(rows(&back.existing_tenant("acme").unwrap(), "{q=\"a\\\"b\"}").len(), 1, "labels are labels again");
    assert_eq!((report.tenants[0].records, report.tenants[0].rewritten), (expect.len() as u64, true));
    assert!(expect.len() == 201 && expect.last().is_some_and(|row| row.contains("\"instance\":\"mine\"")));
    drop(back);
    deep(&dir.path().join("stream"));

    let mut which = RestoreOptions::default();
    (which.tenant, which.new_name) = (Some("acme".into()), Some("other".into()));
    restore(&*target, &dir.path().join("renamed"), &which).unwrap();
    let back = Store::open(dir.path().join("renamed")).unwrap();
    assert_eq!(back.tenants().unwrap(), ["other"]);
    assert_eq!(rows(&back.existing_tenant("other").unwrap(), "*"), rows(&tenant, "*"));
    drop(back);
    deep(&dir.path().join("renamed"));

    which.stream = Labels::new([("instance", "nine")]);
    assert!(restore(&*target, &dir.path().join("nothing"), &which).is_err());
    assert_eq!(names(dir.path()), ["data", "renamed", "set", "stream"], "what failed leaves nothing");
}

fn ingest(dir: &Path, tenant: &str, lines: &str) {
    std::fs::write(dir.join("in"), lines).unwrap();
    run_in(dir, &["ingest", "--data", "s", "--tenant", tenant, "--stream", "app=web", "in"]).exits(0);
}

fn count(dir: &Path, data: &str, tenant: &str) -> String {
    run_in(dir, &["query", "--data", data, "--tenant", tenant, "* | stats count() as n"]).exits(0).stdout
}

#[test]
fn the_program_backs_up_and_restores() {
    let dir = folder();
    let go = |args: &[&str]| -> Run { run_in(dir.path(), args) };
    ingest(dir.path(), "default", "{\"ts\":1735689600,\"a\":1}\n{\"ts\":1735689601,\"a\":2}\n");
    go(&["tenant", "create", "--data", "s", "acme"]).exits(0);
    go(&["tenant", "set", "--data", "s", "acme", "--retention", "9999d"]).exits(0);
    let secret = go(&["token", "create", "--data", "s", "--tenant", "acme", "--roles", "read"]).exits(0).stdout;
    ingest(dir.path(), "acme", "{\"ts\":1735689600,\"b\":1}\n");
    go(&["backup", "--data", "s", "set"]).exits(0);
    ingest(dir.path(), "default", "{\"ts\":1735689602,\"a\":3}\n");
    let made = go(&["backup", "--data", "s", "set", "--json"]).exits(0).stdout;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["kind"], &made["records"]), (&"incremental".into(), &4.into()));
    let list = go(&["backup", "--list", "set"]).exits(0).stdout;
    let times: Vec<&str> = list.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(times.len(), 2, "{list}");

    go(&["restore", "set", "--data", "all"]).exits(0);
    assert_eq!(count(dir.path(), "all", "default"), "{\"n\":3}\n");
    go(&["verify", "--deep", "all"]).exits(0);
    let again = go(&["restore", "set", "--data", "all"]).exits(2);
    assert!(again.stderr.contains("all: exists already"), "{again:?}");
    go(&["restore", "set", "--data", "then", "--at", times[0]]).exits(0);
    assert_eq!(count(dir.path(), "then", "default"), "{\"n\":2}\n");
    go(&["restore", "set", "--data", "early", "--at", "2001-01-01T00:00:00Z"]).exits(3);

    // One tenant comes with its settings, and with nobody's tokens.
    let one = go(&["restore", "set", "--data", "one", "--tenant", "acme", "--json"]).exits(0).stdout;
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((&one["tenants"][0]["records"], &one["tenants"][0]["rewritten"]), (&1.into(), &false.into()));
    let list = go(&["tenant", "list", "--data", "one"]).exits(0).stdout;
    assert!(list.lines().count() == 1 && list.contains("\"retention\":\"9999d\""), "{list}");
    assert_eq!(go(&["token", "list", "--data", "one"]).exits(0).stdout, "");
    assert!(go(&["token", "list", "--data", "all"]).exits(0).stdout.contains("acme") && !secret.is_empty());
    let kept = |name: &str| std::fs::read(dir.path().join(name).join("tenants/acme/manifest")).unwrap();
    assert_eq!(kept("one"), kept("s"), "the chain goes on");

    go(&["restore", "set", "--data", "stream", "--stream", "app=web"]).exits(0);
    assert_eq!(count(dir.path(), "stream", "default"), "{\"n\":3}\n");
    go(&["restore", "set", "--data", "none", "--stream", "app=db"]).exits(1);
    go(&["restore", "set", "--data", "none", "--tenant", "nobody"]).exits(3);
    go(&["restore", "set", "--data", "none", "--as", "x"]).exits(2);
    go(&["restore", "nowhere", "--data", "none"]).exits(3);
    go(&["backup", "--data", "none", "set2"]).exits(3);
    go(&["backup", "--data", "s", "--tenant", "nobody", "set2"]).exits(3);
    let within = go(&["backup", "--data", "s", "s/set"]).exits(2);
    assert!(within.stderr.contains("within the store"), "{within:?}");
    assert_eq!(names(dir.path()), ["all", "in", "one", "s", "set", "stream", "then"]);
}

#[test]
fn a_damaged_backup_is_found_and_not_restored() {
    let dir = folder();
    let go = |args: &[&str]| -> Run { run_in(dir.path(), args) };
    ingest(dir.path(), "default", "{\"ts\":1735689600,\"a\":1}\n");
    go(&["backup", "--data", "s", "set"]).exits(0);
    go(&["backup", "--check", "set"]).exits(0);
    let mut objects = Vec::new();
    for folder in std::fs::read_dir(dir.path().join("set/objects")).unwrap() {
        objects.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    let largest = objects.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let good = std::fs::read(largest).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 32;
    std::fs::write(largest, &bad).unwrap();
    let name = largest.file_name().unwrap().to_string_lossy().into_owned();
    let found = go(&["backup", "--check", "set"]).exits(1);
    assert!(found.stdout.contains(&name), "{found:?}");
    let json: serde_json::Value =
        serde_json::from_str(&go(&["backup", "--check", "set", "--json"]).exits(1).stdout).unwrap();
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1));
    let refused = go(&["restore", "set", "--data", "r"]).exits(1);
    assert!(refused.stderr.contains(&name), "{refused:?}");
    std::fs::remove_file(largest).unwrap();
    assert!(go(&["restore", "set", "--data", "r"]).exits(1).stderr.contains(&name));
    assert_eq!(names(dir.path()), ["in", "s", "set"]);
    go(&["backup", "--data", "s", "set"]).exits(0);
    go(&["restore", "set", "--data", "r"]).exits(0);
}
