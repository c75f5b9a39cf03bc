//! Backups to an object store: S3 as far as a backup needs it, served by the test itself.
#![cfg(all(feature = "object-store", feature = "server", feature = "cli"))]

mod program;
mod s3;

use duramen::Labels;
use duramen::backup::{
    BackupError, BackupOptions, Kind, ObjectTarget, RestoreOptions, Target, backup, check, prune, restore, runs,
};
use duramen::object::Bucket;
use duramen::verify::verify;
use duramen::vfs::RealVfs;
use duramen::{Record, Store, Timestamp};
use program::{duramen, folder};
use s3::Service;

fn open(service: &Service, url: &str) -> ObjectTarget {
    service.open(url).into()
}

fn put(target: &dyn Target, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    target.put(name, bytes.len() as u64, &mut bytes.chunks(1 << 20).map(|chunk| Ok(chunk.to_vec())))
}

fn read(target: &dyn Target, name: &str) -> Result<Vec<u8>, BackupError> {
    let mut out = Vec::new();
    target.get(name, &mut |chunk| {
        out.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(out)
}

#[test]
fn objects() {
    let service = Service::start();
    let target = open(&service, "s3://bucket/some/prefix/");
    assert!(target.list("").unwrap().is_empty());
    assert!(matches!(read(&target, "objects/ab/none"), Err(BackupError::Missing(place)) if place.starts_with("s3://")));
    // Larger than two parts, and not a multiple of anything.
    let large: Vec<u8> = (0..20_000_003u32).map(|n| (n % 251) as u8).collect();
    for (name, bytes) in [("objects/ab/large", &large[..]), ("objects/ab/small", b"x"), ("runs/empty", b"")] {
        put(&target, name, bytes).unwrap();
        assert!(read(&target, name).unwrap() == bytes, "{name}");
    }
    assert_eq!(service.contents().multipart_done, 1);
    for n in 0..8 {
        put(&target, &format!("objects/cd/{n}"), b"12345").unwrap();
    }
    let listed = target.list("objects/").unwrap();
    assert_eq!(listed.len(), 10);
    assert_eq!((listed[0].name.as_str(), listed[0].bytes), ("objects/ab/large", large.len() as u64));
    assert!(service.contents().pages >= 4, "in pages");
    assert!(service.names().iter().all(|name| name.starts_with("some/prefix/")));
    assert!(open(&service, "s3://bucket/some/pre").list("").unwrap().is_empty(), "a prefix is a folder");
    target.delete("objects/cd/0").unwrap();
    target.delete("objects/cd/0").unwrap();
    assert_eq!(target.list("objects/").unwrap().len(), 9);

    // A source that ends too soon makes no object, in one part or in several.
    for bytes in [&large[..9_000_000], b"x"] {
        let mut chunks = bytes.chunks(1 << 20).map(|chunk| Ok(chunk.to_vec()));
        assert!(target.put("objects/ef/short", bytes.len() as u64 + 1, &mut chunks).is_err());
    }
    assert!(target.list("objects/ef/").unwrap().is_empty() && service.contents().uploads.is_empty());

    let wrong = ObjectTarget::from(Bucket::open_at("s3://bucket", &service.endpoint, "other", "secret").unwrap());
    assert!(matches!(put(&wrong, "x", b"x"), Err(BackupError::Target { .. })));
    for bad in ["s3://", "s3:///x", "gopher://x/y", "s3://bucket/a//b"] {
        assert!(matches!(duramen::backup::open_target(bad), Err(BackupError::Request(_))), "{bad}");
    }
}

#[test]
fn a_service_that_refuses_is_asked_again_and_then_named() {
    let service = Service::start();
    let target = open(&service, "s3://bucket/p");
    // What passes is not told. A large object is asked for in parts, each of which may be refused.
    let large = vec![7; 9_000_000];
    for (name, bytes) in [("small", &b"x"[..]), ("large", &large)] {
        service.contents().refuse_next = [503, 500].into();
        put(&target, name, bytes).unwrap();
        service.contents().refuse_next = [429].into();
        assert!(read(&target, name).unwrap() == bytes, "{name}");
    }
    service.contents().refuse_next = [503].into();
    assert_eq!(target.list("").unwrap().len(), 2);
    let asked = std::mem::take(&mut service.contents().asked);
    assert_eq!(asked.iter().filter(|a| *a == "PUT p/small").count(), 3, "{asked:?}");
    assert_eq!(asked.iter().filter(|a| a.starts_with("HEAD")).count(), 0, "lengths come with the bytes: {asked:?}");
    // What does not pass names bucket, key, what was tried and the status, and no secret.
    let told = |result: Result<(), BackupError>| result.unwrap_err().to_string();
    service.contents().refuse_all = Some(403);
    let denied = told(put(&target, "runs/x", b"x"));
    for part in ["s3://bucket/p/runs/x", "put", "403", "SlowDown"] {
        assert!(denied.contains(part), "{denied}");
    }
    assert!(!denied.contains("test-secret") && !format!("{target:?}").contains("secret"), "{denied} {target:?}");
    service.contents().refuse_all = None;
    // A bucket that is missing is no object that is.
    let other = open(&service, "s3://other/p");
    for result in [put(&other, "x", b"x"), read(&other, "x").map(drop), other.list("").map(drop)] {
        let told = told(result);
        assert!(told.contains("s3://other/p") && told.contains("NoSuchBucket"), "{told}");
    }
    // Nobody's name and secret are taken from an address, or shown where they stand in one.
    let told = told(duramen::backup::open_target("s3://me:hidden@bucket/p").map(drop));
    assert!(told.contains("no address of objects") && !told.contains("hidden"), "{told}");
}

#[test]
fn one_writes_at_a_time() {
    let service = Service::start();
    let (one, two) = (open(&service, "s3://bucket/p"), open(&service, "s3://bucket/p"));
    let held = one.lock().unwrap();
    assert!(matches!(two.lock(), Err(BackupError::Busy { holder, .. }) if holder.contains("process")));
    assert!(one.list("").unwrap().is_empty(), "the lock is no object of the set");
    drop(held);
    assert!(service.names().is_empty());
    // A request whose answer was lost is sent again, and finds the lock that it made.
    service.contents().lose_answer = true;
    let held = one.lock().unwrap();
    assert!(two.lock().is_err());
    drop(held);
    assert!(service.names().is_empty());
    // One that a killed process left is taken over when it is old.
    std::mem::forget(one.lock().unwrap());
    assert!(two.lock().is_err());
    service.contents().objects.get_mut("p/LOCK").unwrap().modified_s -= 3700;
    drop(two.lock().unwrap());
    assert!(service.names().is_empty());
}

#[test]
fn backups_and_what_comes_back() {
    let service = Service::start();
    let dir = folder();
    let data = dir.path().join("data");
    let store = Store::open(&data).unwrap();
    let tenant = store.tenant("acme").unwrap();
    let append = |from: u64, to: u64| {
        let records: Vec<Record> = (from..to).map(|n| Record::new().with("n", n).at(Timestamp(n as i64))).collect();
        tenant.append_labelled(&records, &Labels::new([("app", "web")])).unwrap();
    };
    append(0, 500);
    tenant.seal().unwrap();
    let target = open(&service, "s3://bucket/store");
    let first = backup(&RealVfs, &data, &target, &BackupOptions::default()).unwrap();
    append(500, 520);
    let second = backup(&RealVfs, &data, &target, &BackupOptions::default()).unwrap();
    assert_eq!((first.run.kind, second.run.kind), (Kind::Full, Kind::Incremental));
    assert_eq!(runs(&target).unwrap(), [first.run, second.run.clone()]);
    assert!(check(&target).unwrap().ok);

    let to = dir.path().join("back");
    restore(&target, &to, &RestoreOptions::default()).unwrap();
    assert!(verify(&[&to], true).ok);
    let back = Store::open_read_only(&to).unwrap();
    let rows = |store: &Store| -> Vec<String> {
        let rows = store.existing_tenant("acme").unwrap().query("*").unwrap();
        rows.map(|row| row.unwrap().to_json()).collect()
    };
    assert_eq!(rows(&back), rows(&store));

    // By the program, with what the environment says.
    let go = |args: &[&str]| {
        let mut command = duramen();
        service.tell(command.current_dir(dir.path()).args(args));
        program::Run::from(command.output().unwrap())
    };
    go(&["backup", "--data", "data", "s3://bucket/store"]).exits(0);
    let list = go(&["backup", "--list", "s3://bucket/store"]).exits(0).stdout;
    assert_eq!(list.lines().count(), 3, "{list}");
    go(&["restore", "s3://bucket/store", "--data", "again", "--stream", "app=web"]).exits(0);
    go(&["restore", "s3://bucket/nothing", "--data", "none"]).exits(3);

    let gone = prune(&target, Timestamp(second.run.finished_ns)).unwrap();
    assert_eq!(gone.runs, 1);
    assert!(check(&target).unwrap().ok);
    {
        let mut bucket = service.contents();
        let (_, object) = bucket.objects.iter_mut().find(|(name, _)| name.starts_with("store/objects/")).unwrap();
        let mut bytes = object.bytes.to_vec();
        bytes[7] ^= 1;
        object.bytes = bytes.into();
    }
    let found = go(&["backup", "--check", "s3://bucket/store"]).exits(1);
    assert!(found.stdout.contains("s3://bucket/store/objects/"), "{found:?}");
    go(&["backup", "--data", "data", "--full", "s3://bucket/store"]).exits(0);
    go(&["backup", "--check", "s3://bucket/store"]).exits(0);
}
