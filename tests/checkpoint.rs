//! A checkpoint that was kept elsewhere, against what became of the store.

mod support;

use duramen::format::checkpoint::{CheckpointKey, SignedCheckpoint};
use duramen::policy::{Place, Policy};
use duramen::store::MasterKey;
use duramen::verify::{
    Against, FindingKind, Report, VerifyOptions, take_checkpoint, verify, verify_against, verify_as,
};
use duramen::{Ack, Store, TenantId, Timestamp};
use std::path::{Path, PathBuf};
use support::folder;
use support::store::{TENANTS, make, options, records, tenant_dir};

fn key() -> CheckpointKey {
    CheckpointKey::new(&[7; 32])
}

struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &root.path().join("then"));
        Bench { root }
    }

    /// The store as it was at the checkpoint.
    fn then(&self) -> PathBuf {
        self.root.path().join("then")
    }

    /// A fresh copy of it.
    fn now(&self) -> PathBuf {
        let data = self.root.path().join("now");
        drop(std::fs::remove_dir_all(&data));
        folder::copy(&self.then(), &data);
        data
    }

    fn checkpoint(&self) -> SignedCheckpoint {
        key().sign(take_checkpoint(&self.then(), None, None, Timestamp::now()).unwrap())
    }
}

/// Through the file's text, as it would be.
fn against(signed: &SignedCheckpoint) -> Against {
    let file = PathBuf::from("kept.checkpoint");
    Against { file, signed: SignedCheckpoint::parse(&signed.to_json()), public_key: Some(key().public()) }
}

fn compare(data: &Path, signed: &SignedCheckpoint, deep: bool) -> Report {
    verify_against(&[data], deep, Some(&against(signed)))
}

/// The findings that plain verification does not have.
fn found(data: &Path, signed: &SignedCheckpoint) -> Vec<FindingKind> {
    let plain = verify(&[data], true).findings;
    let report = compare(data, signed, true);
    assert!(!report.ok);
    report.findings.into_iter().filter(|f| !plain.contains(f)).map(|f| f.kind).collect()
}

#[test]
fn a_store_that_goes_on_continues_its_checkpoint() {
    let bench = Bench::new();
    let signed = bench.checkpoint();
    assert_eq!(signed.checkpoint.tenants.len(), TENANTS.len());
    assert!(signed.checkpoint.control.is_some());
    for t in &signed.checkpoint.tenants {
        assert_eq!(t.tail.map(|tail| tail.last.0 - t.sealed.0), Some(40), "{t:?}");
    }
    let data = bench.now();
    let tail_of = |data: &Path, what: &str| {
        let report = compare(data, &signed, true);
        assert!(report.ok, "{what}: {:#?}", report.findings);
        let checkpoint = report.checkpoint.expect("it was compared");
        assert!(checkpoint.is_key_trusted && checkpoint.tenants.iter().all(|t| t.ok), "{what}: {checkpoint:?}");
        checkpoint.tenants.into_iter().map(|t| (t.tail_records, t.leaves_kept)).collect::<Vec<_>>()
    };
    let at_once = tail_of(&data, "nothing happened");
    assert!(at_once.iter().all(|(tail, leaves)| *tail == 40 && leaves.is_some_and(|n| n > 0)), "{at_once:?}");
    // Sealed, merged, and the manifest written anew: all of it is still there.
    let store = Store::open_with(&data, options()).unwrap();
    for name in TENANTS {
        let tenant = store.existing_tenant(name).unwrap();
        tenant.append(&records(77, 50, 3000)).unwrap();
        tenant.compact(None).unwrap();
        tenant.append(&records(78, 5, 4000)).unwrap();
        tenant.flush().unwrap();
        assert_eq!(tail_of(&data, "beside its writer")[0], at_once[0]);
    }
    store.close().unwrap();
    for name in TENANTS {
        let id = TenantId::new(name).unwrap();
        let path = tenant_dir(&data, name).join("manifest");
        let (manifest, _) =
            duramen::manifest::Manifest::open(std::sync::Arc::new(duramen::vfs::RealVfs), path, &id).unwrap();
        manifest.compact(Timestamp::now()).unwrap();
    }
    assert_eq!(tail_of(&data, "compacted"), at_once);
    // A folder of a tenant alone.
    let report = verify_against(&[tenant_dir(&data, "acme")], false, Some(&against(&signed)));
    let checkpoint = report.checkpoint.expect("compared");
    assert!(report.ok && checkpoint.tenants.len() == 1, "{:?} {checkpoint:?}", report.findings);
}

#[test]
fn an_encrypted_tenant_is_compared_with_its_key_and_in_its_archive() {
    let root = tempfile::tempdir().unwrap();
    let (data, cold) = (root.path().join("data"), root.path().join("cold"));
    let master = MasterKey::from_bytes([9; 32]);
    let mut how = options();
    how.master_key = Some(master.clone());
    let store = Store::open_with(&data, how).unwrap();
    let tenant = store.create_encrypted_tenant("acme").unwrap();
    tenant.append(&records(1, 30, 0)).unwrap();
    tenant.seal().unwrap();
    tenant.append(&records(2, 20, 30)).unwrap();
    tenant.flush().unwrap();
    let now = Timestamp::now();
    assert!(take_checkpoint(&data, None, None, now).is_err(), "no key, no leaf");
    let signed = key().sign(take_checkpoint(&data, None, Some(&master), now).unwrap());
    let tail = signed.checkpoint.tenants[0].tail.unwrap();
    let compare = |master_key: Option<&MasterKey>, archived: bool| {
        let archives = archived.then(|| (Place::new("cold").unwrap(), cold.clone())).into_iter().collect();
        let options = VerifyOptions {
            deep: true,
            archives,
            fetch: None,
            master_key: master_key.cloned(),
            against: Some(against(&signed)),
        };
        let report = verify_as(&[&data], &options);
        assert!(report.ok, "{:#?}", report.findings);
        let tail = report.checkpoint.unwrap().tenants[0].tail_records;
        (tail, report.skipped.iter().any(|text| text.contains("master key")))
    };
    assert_eq!(compare(Some(&master), false), (20, false));
    assert_eq!(compare(None, false), (0, true), "it says that it was not compared");
    tenant.compact(None).unwrap();
    assert_eq!(compare(Some(&master), false), (20, false));
    // Whoever has the same records in the clear can't tell from the checkpoint that these they are.
    let plain = store.create_tenant("plain").unwrap();
    plain.append(&records(1, 30, 0)).unwrap();
    plain.seal().unwrap();
    plain.append(&records(2, 20, 30)).unwrap();
    plain.flush().unwrap();
    let other = take_checkpoint(&data, Some(&TenantId::new("plain").unwrap()), None, now).unwrap().tenants[0].tail;
    assert!(other.is_some_and(|other| other.last == tail.last && other.leaf != tail.leaf));
    drop((tenant, plain));
    store.close().unwrap();
    // The same in an archive: there it is looked for, and where its folder is not given, that is said.
    let mut how = options();
    how.master_key = Some(master.clone());
    let rules = format!("[archives]\ncold = '{}'\n[[archive]]\nafter = '30d'\nto = 'cold'\n", cold.display());
    how.policy = std::sync::Arc::new(Policy::new(&toml::from_str(&rules).unwrap()).unwrap());
    let store = Store::open_with(&data, how).unwrap();
    let report = store.existing_tenant("acme").unwrap().compact(None).unwrap();
    assert!(report.segments_archived > 0, "{report:?}");
    store.close().unwrap();
    assert_eq!(compare(Some(&master), true), (20, false));
    assert_eq!(compare(Some(&master), false), (0, false), "and not found to be missing");
}

#[test]
fn what_expired_since_is_named() {
    let bench = Bench::new();
    let signed = bench.checkpoint();
    let data = bench.now();
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    tenant.compact(Some(1)).unwrap();
    store.close().unwrap();
    let report = compare(&data, &signed, true);
    assert!(report.ok, "{:#?}", report.findings);
    let acme = &report.checkpoint.unwrap().tenants[0];
    assert_eq!((acme.leaves_kept, acme.tail_records), (Some(0), 0));
    let [gone] = &acme.gone[..] else { panic!("{:?}", acme.gone) };
    assert!(gone.by == "expire" && gone.leaves > 0 && gone.records > 40, "{gone:?}");
}

#[test]
fn a_checkpoint_that_nobody_should_trust_is_a_finding() {
    let bench = Bench::new();
    let signed = bench.checkpoint();
    let data = bench.now();
    let mut forged = signed.clone();
    forged.checkpoint.tenants[0].entry -= 1;
    assert_eq!(found(&data, &forged), [FindingKind::BadCheckpoint]);
    let other = CheckpointKey::new(&[8; 32]).sign(signed.checkpoint.clone());
    assert_eq!(found(&data, &other), [FindingKind::BadCheckpoint]);
    let text = Against { file: "notes".into(), signed: SignedCheckpoint::parse("notes"), public_key: None };
    let report = verify_against(&[&data], false, Some(&text));
    assert_eq!(report.findings.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::BadCheckpoint]);
}

#[test]
fn a_store_that_is_not_the_one_is_found() {
    use FindingKind::{LeafMismatch, Missing, Rewritten, RolledBack, Unproven};
    let bench = Bench::new();
    let before = bench.root.path().join("before");
    folder::copy(&bench.then(), &before);
    {
        let store = Store::open_with(bench.then(), options()).unwrap();
        let tenant = store.existing_tenant("acme").unwrap();
        tenant.append_batch(&batch(1), Ack::Fsync).unwrap();
        tenant.seal().unwrap();
        tenant.append_batch(&batch(2), Ack::Fsync).unwrap();
        store.catalog().unwrap().set(&TenantId::new("acme").unwrap(), "retention", Some("60d")).unwrap();
        folder::copy(&bench.then(), &bench.root.path().join("open"));
        store.close().unwrap();
    }
    std::fs::remove_dir_all(bench.then()).unwrap();
    std::fs::rename(bench.root.path().join("open"), bench.then()).unwrap();
    let signed = bench.checkpoint();
    let acme = |data: &Path| tenant_dir(data, "acme");

    // A tenant put back to an older copy, which alone looks whole.
    let data = bench.now();
    std::fs::remove_dir_all(acme(&data)).unwrap();
    folder::copy(&acme(&before), &acme(&data));
    assert!(verify(&[&data], true).ok);
    assert_eq!(found(&data, &signed), [RolledBack]);

    // The same, and then it went on: another history of the same length.
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.existing_tenant("acme").unwrap();
    for n in 3..6 {
        tenant.append_batch(&batch(n), Ack::Fsync).unwrap();
        tenant.seal().unwrap();
    }
    store.close().unwrap();
    assert!(verify(&[&data], true).ok);
    assert_eq!(found(&data, &signed), [Rewritten]);

    // The log's last batch is gone, cut exactly behind a frame.
    let data = bench.now();
    let log = folder::files(&acme(&data).join("log")).pop().unwrap();
    std::fs::write(&log, &std::fs::read(&log).unwrap()[..duramen::format::header::FILE_HEADER_BYTES]).unwrap();
    assert!(verify(&[&data], true).ok);
    assert_eq!(found(&data, &signed), [RolledBack]);

    // The log's last batch says something else.
    let data = bench.now();
    std::fs::remove_file(log_of(&data)).unwrap();
    let store = {
        // An empty file in its place takes another batch.
        let bytes = std::fs::read(log_of(&bench.then())).unwrap();
        std::fs::write(log_of_in(&data, &bench.then()), &bytes[..duramen::format::header::FILE_HEADER_BYTES]).unwrap();
        Store::open_with(&data, options()).unwrap()
    };
    store.existing_tenant("acme").unwrap().append_batch(&batch(9), Ack::Fsync).unwrap();
    store.close().unwrap();
    assert!(verify(&[&data], true).ok);
    assert_eq!(found(&data, &signed), [LeafMismatch]);

    // The tenant is gone; without the control log's word that it was deleted.
    let data = bench.now();
    std::fs::remove_dir_all(acme(&data)).unwrap();
    assert!(found(&data, &signed).contains(&Missing));

    // The control log is put back.
    let data = bench.now();
    std::fs::copy(before.join("control.log"), data.join("control.log")).unwrap();
    assert_eq!(found(&data, &signed), [RolledBack]);

    // The part of the chain that would show it is gone.
    let data = bench.now();
    let id = TenantId::new("acme").unwrap();
    for _ in 0..2 {
        let path = acme(&data).join("manifest");
        let (manifest, _) =
            duramen::manifest::Manifest::open(std::sync::Arc::new(duramen::vfs::RealVfs), path, &id).unwrap();
        manifest.compact(Timestamp::now()).unwrap();
    }
    for path in folder::files(&acme(&data)) {
        if path.file_name().unwrap().to_string_lossy().starts_with("manifest.") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(found(&data, &signed), [Unproven]);
}

fn log_of(data: &Path) -> PathBuf {
    folder::files(&tenant_dir(data, "acme").join("log")).pop().unwrap()
}

/// The place in `data` of the newest log file of another copy.
fn log_of_in(data: &Path, other: &Path) -> PathBuf {
    tenant_dir(data, "acme").join("log").join(log_of(other).file_name().unwrap())
}

fn batch(n: u64) -> duramen::Batch {
    let mut builder = duramen::BatchBuilder::new();
    for record in records(n, 10, 5000 + n as i64 * 10) {
        builder.push(&record, Timestamp(1), &duramen::Labels::default()).unwrap();
    }
    builder.take()
}
