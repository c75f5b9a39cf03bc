//! `repair` of earlier parts of a manifest: nothing of the store is lost, what can be followed of the chain stays, and
//! `verify` says what can't be proven any more, and finds nothing else.

mod support;

use duramen::format::checkpoint::{CheckpointKey, SignedCheckpoint};
use duramen::format::edit::read_edits;
use duramen::manifest::Manifest;
use duramen::repair::{RepairOptions, RepairReport, repair, repair_on};
use duramen::verify::{Against, FindingKind, Report, take_checkpoint, verify, verify_against};
use duramen::vfs::sim::SimVfs;
use duramen::vfs::{RealVfs, Vfs};
use duramen::{Store, TenantId, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;
use support::store::{make, options, tenant_dir};

/// A store whose tenant `acme` has two earlier parts, and another one of the same names.
struct Bench {
    root: tempfile::TempDir,
}

/// The damaged part is the older or the newer one of the two.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Older,
    Newer,
}

struct Case {
    name: &'static str,
    harm: fn(&Bench, &Path),
    /// How many of its entries can still be proven; `None` where all can.
    kept: Option<usize>,
}

const CASES: &[Case] = &[
    Case { name: "the tenant in its header", harm: |_, part| flip(part, 13), kept: None },
    Case { name: "the salt in its header", harm: |_, part| flip(part, 90), kept: Some(0) },
    Case { name: "its first entry", harm: |_, part| flip(part, ends(part)[0] - 3), kept: Some(0) },
    Case { name: "its third entry", harm: |_, part| flip(part, entry_ends(part)[2] - 3), kept: Some(2) },
    Case { name: "its last mark", harm: |_, part| flip(part, ends(part).pop().unwrap() - 3), kept: None },
    Case { name: "what stands behind it", harm: |_, part| append(part, b"and more"), kept: None },
    Case { name: "it ends too soon", harm: |_, part| cut(part, entry_ends(part)[1]), kept: Some(2) },
    Case { name: "it is gone", harm: |_, part| std::fs::remove_file(part).unwrap(), kept: Some(0) },
    Case {
        name: "it is another store's",
        harm: |bench, part| copy_over(&bench.other().join("tenants/acme").join(part.file_name().unwrap()), part),
        kept: Some(0),
    },
    Case {
        name: "it is another tenant's",
        harm: |bench, part| copy_over(&bench.other().join("tenants/bravo/manifest"), part),
        kept: Some(0),
    },
];

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn copy_over(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

fn append(path: &Path, more: &[u8]) {
    std::fs::write(path, [&std::fs::read(path).unwrap(), more].concat()).unwrap();
}

fn cut(path: &Path, at: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..at]).unwrap();
}

/// Where entries and marks of a part end.
fn ends(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let (_, entries) = read_edits(&bytes).unwrap();
    entries.map(Result::unwrap).map(|at| (at.offset + at.bytes) as usize).collect()
}

fn entry_ends(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let (_, entries) = read_edits(&bytes).unwrap();
    entries.map(Result::unwrap).filter(|at| at.entry.is_some()).map(|at| (at.offset + at.bytes) as usize).collect()
}

/// Numbers of the first entry of a part, and how many it has.
fn entries(path: &Path) -> (u64, usize) {
    let bytes = std::fs::read(path).unwrap();
    let first = read_edits(&bytes).unwrap().1.next().unwrap().unwrap().number;
    (first, entry_ends(path).len())
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().unwrap();
        for name in ["data", "other"] {
            let data = root.path().join(name);
            let beside = root.path().join(format!("{name} beside"));
            std::fs::create_dir_all(&beside).unwrap();
            make(&beside, &data);
            // Closed in order, so that a look before and one after differ by nothing else.
            Store::open_with(&data, options()).unwrap().close().unwrap();
            let path = tenant_dir(&data, "acme").join("manifest");
            let (manifest, _) = Manifest::open(Arc::new(RealVfs), path, &TenantId::new("acme").unwrap()).unwrap();
            manifest.compact(Timestamp::now()).unwrap();
            drop(manifest);
            let store = Store::open_with(&data, options()).unwrap();
            store.existing_tenant("acme").unwrap().compact(None).unwrap();
            store.close().unwrap();
        }
        Bench { root }
    }

    fn other(&self) -> PathBuf {
        self.root.path().join("other")
    }

    fn made(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// A fresh copy, and its parts.
    fn copy(&self) -> (PathBuf, [PathBuf; 2]) {
        let data = self.root.path().join("now");
        drop(std::fs::remove_dir_all(&data));
        folder::copy(&self.made(), &data);
        let files = folder::files(&tenant_dir(&data, "acme"));
        let is_part = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with("manifest.");
        (data, files.into_iter().filter(is_part).collect::<Vec<_>>().try_into().expect("two parts"))
    }
}

fn key() -> CheckpointKey {
    CheckpointKey::new(&[7; 32])
}

fn compare(data: &Path, signed: &SignedCheckpoint) -> Report {
    let file = PathBuf::from("kept.checkpoint");
    let against =
        Against { file, signed: SignedCheckpoint::parse(&signed.to_json()), public_key: Some(key().public()) };
    verify_against(&[data], true, Some(&against))
}

fn run(data: &Path, dry_run: bool) -> RepairReport {
    let mut options = RepairOptions::default();
    options.dry_run = dry_run;
    let report = repair(data, &options).unwrap();
    assert!(report.failures.is_empty() && report.lost.is_empty(), "{report}");
    report
}

fn rows(data: &Path) -> Vec<String> {
    let store = Store::open_with(data, options()).unwrap();
    let rows = store.existing_tenant("acme").unwrap().query("*").unwrap();
    let rows = rows.map(|row| format!("{:?}", row.unwrap())).collect();
    store.close().unwrap();
    rows
}

/// What verification says of entries that are lost.
fn told(report: &Report) -> Vec<&String> {
    report.skipped.iter().filter(|text| text.contains("of the chain")).collect()
}

#[test]
fn what_is_lost_of_an_earlier_part_is_told_and_all_else_stays() {
    let bench = Bench::new();
    assert!(verify(&[bench.made()], true).ok);
    let now = key().sign(take_checkpoint(&bench.made(), None, None, Timestamp::now()).unwrap());
    let before = rows(&bench.made());
    for case in CASES {
        for which in [Which::Older, Which::Newer] {
            let name = format!("{}, {}", case.name, if which == Which::Older { "older" } else { "newer" });
            let (data, parts) = bench.copy();
            let part = if which == Which::Older { &parts[0] } else { &parts[1] };
            let (first, count) = entries(part);
            (case.harm)(&bench, part);
            let harmed = std::fs::read(part).ok();
            assert!(!verify(&[&data], true).ok, "{name}: not found");
            let said = run(&data, true).actions.len();
            assert_eq!(std::fs::read(part).ok(), harmed, "{name}: a dry run changes nothing");
            let report = run(&data, false);
            assert_eq!(report.actions.len(), said, "{name}: {report}");
            let after = verify(&[&data], true);
            assert!(after.ok, "{name}: {:#?}", after.findings);
            // The damaged bytes are set aside as they were.
            if let Some(harmed) = harmed {
                let action = report.actions.iter().find(|a| a.file == *part).expect("told");
                assert_eq!(std::fs::read(action.quarantined.as_ref().expect("copied")).unwrap(), harmed, "{name}");
            }
            let gap = case.kept.map(|kept| (first + kept as u64, first + count as u64 - 1));
            let lines = told(&after);
            assert_eq!(lines.len(), usize::from(gap.is_some()), "{name}: {lines:?}");
            if let Some((from, to)) = gap {
                assert!(lines[0].contains(&format!("entries {from} to {to} ")), "{name}: {lines:?}");
            }
            assert_eq!(run(&data, false).actions.len(), 0, "{name}: a second repair finds nothing");
            assert_eq!(rows(&data), before, "{name}");
            // A checkpoint from behind the gap is followed.
            let report = compare(&data, &now);
            assert!(report.ok, "{name}: {:#?}", report.findings);
        }
    }
}

#[test]
fn a_checkpoint_from_before_a_gap_is_not_proven_by_what_comes_after() {
    let bench = Bench::new();
    // As it would have been taken when the older part was all.
    let mut checkpoint = take_checkpoint(&bench.made(), None, None, Timestamp::now()).unwrap();
    checkpoint.tenants.retain(|tenant| tenant.tenant.as_str() == "acme");
    let (_, parts) = bench.copy();
    let bytes = std::fs::read(&parts[0]).unwrap();
    let last = read_edits(&bytes).unwrap().1.last().unwrap().unwrap();
    (checkpoint.tenants[0].entry, checkpoint.tenants[0].head) = (last.number, last.head);
    let signed = key().sign(checkpoint);
    let kinds = |data: &Path| {
        let findings = compare(data, &signed).findings;
        let of_acme = findings.iter().filter(|f| f.file.to_string_lossy().contains("acme/manifest"));
        of_acme.map(|f| f.kind).collect::<Vec<_>>()
    };
    let (data, _) = bench.copy();
    let whole = kinds(&data);
    assert!(!whole.contains(&FindingKind::Unproven), "{whole:?}");
    for kept in [0, 1] {
        // The gap begins in the part that the checkpoint's entry ends, or behind it.
        let (data, parts) = bench.copy();
        flip(&parts[1], entry_ends(&parts[1])[kept] - 3);
        run(&data, false);
        assert!(verify(&[&data], true).ok);
        assert_eq!(kinds(&data), [FindingKind::Unproven], "{kept} entries behind");
        let (data, parts) = bench.copy();
        flip(&parts[0], entry_ends(&parts[0])[kept] - 3);
        run(&data, false);
        // The next part goes on from the hash of the checkpoint's entry, which is all that it says.
        assert!(!kinds(&data).contains(&FindingKind::Unproven), "{kept} entries before");
    }
}

#[test]
fn a_gap_stays_known_when_the_manifest_is_written_anew_and_grows_with_more_damage() {
    let bench = Bench::new();
    let (data, parts) = bench.copy();
    flip(&parts[1], entry_ends(&parts[1])[1] - 3);
    run(&data, false);
    let path = tenant_dir(&data, "acme").join("manifest");
    let (manifest, _) = Manifest::open(Arc::new(RealVfs), path, &TenantId::new("acme").unwrap()).unwrap();
    manifest.compact(Timestamp::now()).unwrap();
    drop(manifest);
    let report = verify(&[&data], true);
    assert!(report.ok && told(&report).len() == 1, "{:#?}", report.findings);
    flip(&parts[0], entry_ends(&parts[0])[1] - 3);
    run(&data, false);
    let report = verify(&[&data], true);
    assert!(report.ok && told(&report).len() == 2, "{:?}: {:#?}", report.skipped, report.findings);
    assert!(run(&data, false).actions.is_empty());
}

#[test]
fn a_repair_of_earlier_parts_that_loses_power_is_completed_by_another() {
    let bench = Bench::new();
    let (data, parts) = bench.copy();
    flip(&parts[1], entry_ends(&parts[1])[2] - 3);
    let files: Vec<(PathBuf, Vec<u8>)> =
        folder::files(&data).into_iter().map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect();
    let mut operation = 0;
    loop {
        operation += 1;
        let vfs = SimVfs::new();
        for (path, bytes) in &files {
            vfs.create_dir_all(path.parent().unwrap()).unwrap();
            vfs.replace(path, bytes).unwrap();
            path.ancestors().skip(1).for_each(|folder| drop(vfs.sync_dir(folder)));
        }
        vfs.crash_at(operation);
        let _ = repair_on(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), &data, &RepairOptions::default());
        let is_down = vfs.is_down();
        let left = Arc::new(vfs.after_crash(operation)) as Arc<dyn Vfs>;
        let report = repair_on(&left, &data, &RepairOptions::default()).unwrap();
        assert!(report.failures.is_empty() && report.lost.is_empty(), "operation {operation}: {report}");
        let again = repair_on(&left, &data, &RepairOptions::default()).unwrap();
        let of_acme = again.actions.iter().filter(|action| action.tenant.is_some()).count();
        assert_eq!(of_acme, 0, "operation {operation}: {again}");
        let dir = tenant_dir(&data, "acme");
        let mut out = Vec::new();
        for entry in left.list(&dir).unwrap().into_iter().filter(|e| e.name.starts_with("manifest.")) {
            let bytes = left.read(&dir.join(&entry.name)).unwrap();
            assert!(read_edits(&bytes).unwrap().1.all(|at| at.is_ok()), "operation {operation}: {}", entry.name);
            out.push(entry.name);
        }
        assert_eq!(out.len(), 2, "operation {operation}: {out:?}");
        if !is_down {
            break;
        }
    }
    assert!(operation > 20, "a repair of {operation} operations");
}

/// The simulator's seed 703670: of a damaged last entry the power took the mark that proved it, so that it was cut off as
/// torn; and the segment that it had made was taken for an attempt whose records are in the log, and was removed.
#[test]
fn a_segment_whose_entry_is_cut_off_is_no_attempt_where_the_log_does_not_have_its_records() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let manifest = tenant_dir(&data, "acme").join("manifest");
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    tenant.append(&support::store::records(1, 50, 0)).unwrap();
    tenant.flush().unwrap();
    let before = std::fs::read(&manifest).unwrap().len();
    tenant.seal().unwrap();
    tenant.append(&support::store::records(2, 20, 50)).unwrap();
    let rows = |tenant: &duramen::Tenant| -> Vec<String> {
        tenant.query("*").unwrap().map(|row| row.unwrap().to_json()).collect()
    };
    let expect = rows(&tenant);
    drop(tenant);
    store.close().unwrap();
    let whole = std::fs::read(&manifest).unwrap();
    assert!(expect.len() == 70 && whole.len() > before + 40);
    for (len, opens_before) in [(before, false), (before + 30, false), (before, true), (before + 30, true)] {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("data");
        folder::copy(&data, &copy);
        std::fs::write(tenant_dir(&copy, "acme").join("manifest"), &whole[..len]).unwrap();
        if opens_before {
            let store = Store::open_with(&copy, options()).unwrap();
            assert!(store.existing_tenant("acme").is_err(), "the log goes on from what nobody knows");
            store.close().unwrap();
        }
        let mut dry = RepairOptions::default();
        dry.dry_run = true;
        let (dry, done) = (repair(&copy, &dry).unwrap(), repair(&copy, &RepairOptions::default()).unwrap());
        assert!(dry.lost.is_empty() && done.lost.is_empty() && done.failures.is_empty(), "{len}: {dry}\n{done}");
        assert!(repair(&copy, &RepairOptions::default()).unwrap().is_clean());
        let store = Store::open_with(&copy, options()).unwrap();
        assert_eq!(rows(&store.existing_tenant("acme").unwrap()), expect);
        store.close().unwrap();
        let report = verify(&[&copy], true);
        assert!(report.ok, "{:?}", report.findings);
    }
}
