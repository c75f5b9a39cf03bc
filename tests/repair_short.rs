//! A manifest that somebody cut, or put an older one in the place of: no record that can be read is let go, neither by
//! opening the tenant nor by `repair`; what entries let go that are there still does not come back; and what a repair says
//! is lost is lost.

mod support;

use duramen::cache::Cache;
use duramen::crypt::{KeyRing, MasterKey, open_segment};
use duramen::format::edit::read_edits;
use duramen::format::log_file::read_frames;
use duramen::manifest::Manifest;
use duramen::record::Block;
use duramen::repair::{Action, RepairOptions, RepairReport, repair};
use duramen::segment::{SegmentBlock, SegmentReader};
use duramen::store::DeleteOptions;
use duramen::verify::{VerifyOptions, verify_as};
use duramen::vfs::{RealVfs, Vfs};
use duramen::{Ack, Options, Record, Store, Tenant, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;

const START: i64 = 1_740_787_200_000_000_000;
const FORTY_YEARS_NS: i64 = 40 * 365 * 86_400 * 1_000_000_000;
/// Records of a segment when it is sealed, and of the log in the end.
const SEALED: i64 = 40;
const LOG: i64 = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Seal,
    /// Of records of 1970.
    SealOld,
    Merge,
    /// Of each tenth record that there is.
    Delete,
    Expire,
}
use Step::{Delete, Expire, Merge, Seal, SealOld};

/// What becomes of a tenant of three segments; the last step makes the entry that is cut.
const HISTORIES: &[(&str, &[Step])] = &[
    ("a seal", &[]),
    ("a merge", &[Merge]),
    ("a seal behind a merge", &[Merge, Seal]),
    ("a merge of a merge", &[Merge, Seal, Merge]),
    ("a deletion", &[Delete]),
    ("a deletion in a merge", &[Merge, Delete]),
    ("a merge behind a deletion", &[Delete, Merge]),
    ("an expiry", &[SealOld, Expire]),
    ("a seal behind all", &[SealOld, Delete, Merge, Seal, Expire, Delete, Seal]),
];

/// Record `n` has Seq `n + 1`.
fn record(n: i64, is_old: bool) -> Record {
    let time = if is_old { 1 + n } else { START + n * 1_000_000_000 };
    let record = Record::new().at(Timestamp(time)).with("n", n).with("text", format!("word{} of {n}", n % 7));
    if n % 10 == 3 { record.with("victim", "yes") } else { record }
}

fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.ack = Ack::Fsync;
    options.master_key = Some(master());
    options
}

/// A store as a crash leaves it, and what is known of how it came to be.
struct Made {
    root: tempfile::TempDir,
    /// Of each step behind the first three seals: which entries it made, and which records it let go.
    steps: Vec<(std::ops::RangeInclusive<usize>, BTreeSet<i64>)>,
    /// Each segment's file that there ever was.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The manifest as it was before each step.
    manifests: Vec<Vec<u8>>,
    records: i64,
    is_encrypted: bool,
}

impl Made {
    /// `compacts_at`: the manifest is written anew before this step.
    fn new(steps: &[Step], is_encrypted: bool, compacts_at: Option<usize>) -> Made {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("made");
        let open = || Store::open_with(&data, options()).unwrap();
        let mut store = open();
        let tenant = if is_encrypted { store.create_encrypted_tenant("t") } else { store.tenant("t") }.unwrap();
        let id = TenantId::new("t").unwrap();
        store.catalog().unwrap().ensure_tenant(&id).unwrap();
        store.catalog().unwrap().set(&id, "retention", Some("90000d")).unwrap();
        drop(tenant);
        let (files, manifests) = Default::default();
        let mut made = Made { root, steps: Vec::new(), files, manifests, records: 0, is_encrypted };
        for (i, step) in [Seal, Seal, Seal].iter().chain(steps).enumerate() {
            if compacts_at == Some(i) {
                store.close().unwrap();
                let path = data.join("tenants/t/manifest");
                let (manifest, _) = Manifest::open(Arc::new(RealVfs), path, &id).unwrap();
                manifest.compact(Timestamp::now()).unwrap();
                drop(manifest);
                store = open();
            }
            made.step(&data, &store.existing_tenant("t").unwrap(), *step);
        }
        let tenant = store.existing_tenant("t").unwrap();
        made.append(&tenant, LOG, false);
        folder::copy(&data, &made.root.path().join("crashed"));
        made
    }

    fn append(&mut self, tenant: &Tenant, count: i64, is_old: bool) {
        let from = self.records;
        self.records += count;
        tenant.append(&(from..from + count).map(|n| record(n, is_old)).collect::<Vec<_>>()).unwrap();
    }

    fn step(&mut self, data: &Path, tenant: &Tenant, step: Step) {
        let manifest = data.join("tenants/t/manifest");
        self.manifests.push(std::fs::read(&manifest).unwrap());
        let (first, before) = (entries(&manifest).last().unwrap().0 + 1, there(tenant));
        match step {
            Seal | SealOld => {
                self.append(tenant, SEALED, step == SealOld);
                tenant.seal().unwrap();
            }
            Merge => drop(tenant.compact(None).unwrap()),
            Expire => drop(tenant.compact(Some(FORTY_YEARS_NS)).unwrap()),
            Delete => drop(tenant.delete("victim:yes", &DeleteOptions::default()).unwrap()),
        }
        for file in folder::files(&data.join("tenants/t/segments")) {
            let bytes = std::fs::read(&file).unwrap();
            self.files.insert(file.file_name().unwrap().into(), bytes);
        }
        let gone = before.difference(&there(tenant)).copied().collect();
        self.steps.push((first..=entries(&manifest).last().unwrap().0, gone));
    }

    fn copy(&self, name: &str) -> PathBuf {
        let data = self.root.path().join(name);
        folder::copy(&self.root.path().join("crashed"), &data);
        data
    }

    /// What entries up to this one let go, for sure or perhaps.
    fn let_go(&self, entry: usize, is_sure: bool) -> BTreeSet<i64> {
        let is_done =
            |of: &std::ops::RangeInclusive<usize>| if is_sure { *of.end() <= entry } else { *of.start() <= entry };
        self.steps.iter().filter(|(of, _)| is_done(of)).flat_map(|(_, gone)| gone).copied().collect()
    }

    /// Every record that can be read in some whole segment, or in the log.
    fn readable(&self, data: &Path) -> BTreeSet<i64> {
        let (dir, id) = (data.join("tenants/t"), TenantId::new("t").unwrap());
        let keys = KeyRing::open(Arc::new(RealVfs), &dir, &id, Some(&master())).unwrap();
        let mut all = BTreeSet::new();
        for path in folder::files(&dir.join("segments")).iter().filter(|path| path.extension().unwrap() == "seg") {
            let Ok((file, _)) = open_segment(RealVfs.open(path).unwrap(), &keys) else { continue };
            let reader = Arc::new(SegmentReader::open(file, Arc::new(Cache::new(0))).unwrap());
            for block in 0..reader.blocks() {
                let seqs = SegmentBlock::open(&reader, block).unwrap().seqs().unwrap();
                all.extend(seqs.iter().map(|seq| *seq as i64 - 1));
            }
        }
        for path in folder::files(&dir.join("log")) {
            let bytes = std::fs::read(path).unwrap();
            for (_, frame) in read_frames(&bytes).unwrap().1.map_while(Result::ok) {
                all.extend((0..i64::from(frame.records)).map(|n| frame.first.0 as i64 - 1 + n));
            }
        }
        all
    }

    /// Repairs a harmed store, opened before or not, whose manifest ends with this entry.
    fn check(&self, what: &str, data: &Path, entry: usize, is_opened: bool) -> RepairReport {
        let before = self.readable(data);
        let (maybe, sure) = (self.let_go(entry, false), self.let_go(entry, true));
        if is_opened {
            if let Ok(store) = Store::open_with(data, options()) {
                drop(store.existing_tenant("t"));
                store.close().unwrap();
            }
            let kept = self.readable(data);
            let lost: Vec<_> = before.difference(&maybe).filter(|n| !kept.contains(n)).collect();
            assert!(lost.is_empty(), "{what}: an open removes {lost:?}");
        }
        let run = |dry_run| {
            let mut options = RepairOptions::default();
            (options.dry_run, options.master_key) = (dry_run, Some(master()));
            let report = repair(data, &options).unwrap();
            assert_eq!(report.failures, vec![], "{what}");
            report
        };
        let dry = run(true);
        let report = run(false);
        assert_eq!(lost(&dry), lost(&report), "{what}: {dry}\n{report}");
        let again = run(false);
        // What sled writes of its view, and when, is not what is looked at here.
        let is_view = |action: &Action| action.file.ends_with("catalog");
        assert!(
            again.lost.is_empty() && again.actions.iter().all(is_view),
            "{what}: a second repair finds {again}\n{report}"
        );
        let found = verify_as(&[data], &{
            let mut options = VerifyOptions::default();
            (options.deep, options.master_key) = (true, Some(master()));
            options
        });
        assert!(found.ok, "{what}: {found}\n{report}");
        let store = Store::open_with(data, options()).unwrap();
        let tenant = store.existing_tenant("t").unwrap();
        let after = there(&tenant);
        let missing: Vec<_> = before.difference(&maybe).filter(|n| !after.contains(n)).collect();
        assert!(missing.is_empty(), "{what}: could be read, and is gone: {missing:?}\n{report}");
        let back: Vec<_> = sure.intersection(&after).collect();
        assert!(back.is_empty(), "{what}: was deleted, and is back: {back:?}\n{report}");
        let all_gone = self.let_go(usize::MAX, true);
        for n in lost(&report) {
            assert!(!after.contains(&n) && !before.contains(&n), "{what}: {n} is not lost\n{report}");
            assert!(all_gone.contains(&n) && !sure.contains(&n), "{what}: {n} was there, or was let go\n{report}");
        }
        // What is appended now comes behind all that there ever was.
        let next = tenant.append(&[record(-1, false)]).unwrap().first.0 as i64 - 1;
        assert!(after.iter().all(|n| *n < next), "{what}: Seq {next} again");
        store.close().unwrap();
        report
    }
}

/// All records of the tenant, each once.
fn there(tenant: &Tenant) -> BTreeSet<i64> {
    let mut rows = tenant.query("* | fields n").unwrap();
    let mut all = BTreeSet::new();
    for row in &mut rows {
        let n = row.unwrap().get("n").unwrap().1.parse().unwrap();
        assert!(all.insert(n), "{n} comes twice");
    }
    assert_eq!(rows.missing(), vec![]);
    all
}

/// The records that a report says are lost.
fn lost(report: &RepairReport) -> BTreeSet<i64> {
    let ranges = report.lost.iter().flat_map(|loss| loss.seqs.iter());
    ranges.flat_map(|(first, last)| first.0 as i64 - 1..last.0 as i64).collect()
}

/// Number and end of each entry of a manifest.
fn entries(manifest: &Path) -> Vec<(usize, usize)> {
    let bytes = std::fs::read(manifest).unwrap();
    let (_, entries) = read_edits(&bytes).unwrap();
    let entries = entries.map_while(Result::ok).filter(|at| at.entry.is_some());
    entries.map(|at| (at.number as usize, (at.offset + at.bytes) as usize)).collect()
}

/// Cuts a manifest behind an entry, or within the one behind that.
fn check_cuts(name: &str, made: &Made, with_old_files: bool) {
    let manifest = made.root.path().join("crashed/tenants/t/manifest");
    let (bytes, entries) = (std::fs::read(&manifest).unwrap(), entries(&manifest));
    for (i, (number, end)) in entries.iter().enumerate() {
        let next = entries.get(i + 1).map_or(bytes.len(), |(_, end)| *end);
        for (at, is_opened) in [(*end, true), (end + (next - end) * 2 / 3, false), (next - 1, true)] {
            let what = format!("{name}, encrypted: {}, {at} of {} bytes", made.is_encrypted, bytes.len());
            let data = made.copy("harmed");
            std::fs::write(data.join("tenants/t/manifest"), &bytes[..at]).unwrap();
            if with_old_files {
                for (file, bytes) in &made.files {
                    let path = data.join("tenants/t/segments").join(file);
                    if !path.exists() {
                        std::fs::write(path, bytes).unwrap();
                    }
                }
            }
            made.check(&what, &data, *number, is_opened);
            std::fs::remove_dir_all(&data).unwrap();
        }
    }
}

#[test]
fn a_manifest_that_is_cut_at_any_entry_costs_no_record() {
    for (name, steps) in HISTORIES {
        check_cuts(name, &Made::new(steps, false, None), false);
    }
}

#[test]
fn of_an_encrypted_tenant_as_well() {
    for (name, steps) in &HISTORIES[3..6] {
        check_cuts(name, &Made::new(steps, true, None), false);
    }
}

#[test]
fn what_a_durable_entry_let_go_does_not_come_back_with_its_files() {
    for (name, steps) in &HISTORIES[4..] {
        check_cuts(&format!("{name}, with old files"), &Made::new(steps, false, None), true);
    }
}

#[test]
fn an_older_copy_of_the_manifest_costs_no_record() {
    for (name, steps) in &HISTORIES[1..] {
        for compacts_at in [None, Some(2), Some(steps.len() + 2)] {
            let made = Made::new(steps, false, compacts_at);
            for (step, older) in made.manifests.iter().enumerate().skip(1) {
                let data = made.copy("harmed");
                let manifest = data.join("tenants/t/manifest");
                std::fs::write(&manifest, older).unwrap();
                // A part that was kept of the manifest may show more than the copy.
                let parts = folder::files(&data.join("tenants/t"));
                let parts =
                    parts.iter().filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("manifest"));
                let reached = parts.filter_map(|part| Some(entries(part).last()?.0)).max().unwrap();
                let what = format!("{name}, written anew at {compacts_at:?}, the manifest before step {step}");
                made.check(&what, &data, reached, step % 2 == 0);
                std::fs::remove_dir_all(&data).unwrap();
            }
        }
    }
}
