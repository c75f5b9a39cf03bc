//! What is done to a store's files is found by `verify`, named by kind and file; what can't be found is written down
//! here as well.

mod support;

use duramen::format::edit::read_edits;
use duramen::verify::{Finding, FindingKind, verify};
use std::path::{Path, PathBuf};
use support::folder;
use support::store::{TENANTS, files_of, make, tenant_dir};

/// What is done to a store, and the findings that must come of it: kind, and a part of the file's path.
struct Case {
    name: &'static str,
    harm: fn(&Path),
    found: &'static [(FindingKind, &'static str)],
}

fn swap(a: &Path, b: &Path) {
    let aside = a.with_file_name("aside");
    std::fs::rename(a, &aside).unwrap();
    std::fs::rename(b, a).unwrap();
    std::fs::rename(&aside, b).unwrap();
}

fn copy_over(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

fn first(data: &Path, tenant: &str, folder: &str) -> PathBuf {
    files_of(data, tenant, folder).remove(0)
}

fn last(data: &Path, tenant: &str, folder: &str) -> PathBuf {
    files_of(data, tenant, folder).pop().unwrap()
}

/// The earlier part of a manifest.
fn part(data: &Path, tenant: &str) -> PathBuf {
    let name = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with("manifest.");
    folder::files(&tenant_dir(data, tenant)).into_iter().find(name).expect("a compacted manifest")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Another store with the same tenants and as many records, that has nothing else in common.
fn other_store(data: &Path) -> PathBuf {
    data.parent().unwrap().join("other")
}

use FindingKind::{Corruption, Gap, Mismatch, Misplaced, Missing, Orphan, RolledBack, Unexpected};

const CASES: &[Case] = &[
    Case {
        name: "segments are swapped between tenants",
        harm: |data| swap(&first(data, "acme", "segments"), &first(data, "bravo", "segments")),
        found: &[(Misplaced, "acme/segments"), (Misplaced, "bravo/segments")],
    },
    Case {
        name: "segments are swapped within a tenant",
        harm: |data| swap(&first(data, "acme", "segments"), &last(data, "acme", "segments")),
        found: &[(Misplaced, "acme/segments")],
    },
    Case {
        name: "whole tenants are swapped",
        harm: |data| swap(&tenant_dir(data, "acme"), &tenant_dir(data, "bravo")),
        found: &[(Misplaced, "acme/manifest"), (Misplaced, "bravo/manifest")],
    },
    Case {
        name: "logs are swapped between tenants",
        harm: |data| swap(&last(data, "acme", "log"), &last(data, "bravo", "log")),
        found: &[(Misplaced, "acme/log"), (Misplaced, "bravo/log")],
    },
    Case {
        name: "manifests are swapped between tenants",
        harm: |data| swap(&tenant_dir(data, "acme").join("manifest"), &tenant_dir(data, "bravo").join("manifest")),
        found: &[(Misplaced, "acme/manifest"), (Misplaced, "bravo/manifest")],
    },
    Case {
        name: "a segment is deleted",
        harm: |data| std::fs::remove_file(first(data, "acme", "segments")).unwrap(),
        found: &[(Missing, "acme/segments")],
    },
    Case {
        name: "a segment is replaced by another one of the same tenant and number",
        harm: |data| {
            let path = first(data, "acme", "segments");
            let other = first(&other_store(data), "acme", "segments");
            assert_eq!(path.file_name(), other.file_name());
            std::fs::copy(other, path).unwrap();
        },
        found: &[(Mismatch, "acme/segments")],
    },
    Case {
        name: "a segment is cut",
        harm: |data| {
            let path = first(data, "acme", "segments");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        },
        found: &[(Corruption, "acme/segments")],
    },
    Case {
        name: "a segment that nobody made is added",
        harm: |data| {
            let path = first(data, "acme", "segments");
            std::fs::copy(&path, path.with_file_name("00000000000000f0.seg")).unwrap();
        },
        found: &[(Orphan, "00000000000000f0.seg")],
    },
    Case {
        name: "another tenant's segment is added",
        harm: |data| {
            let path = first(data, "acme", "segments").with_file_name("00000000000000f0.seg");
            std::fs::copy(first(data, "bravo", "segments"), path).unwrap();
        },
        found: &[(Orphan, "00000000000000f0.seg"), (Misplaced, "00000000000000f0.seg")],
    },
    Case {
        name: "files lie where none belong",
        harm: |data| {
            for path in ["notes", "tenants/notes", "tenants/acme/notes", "tenants/acme/log/notes"] {
                std::fs::write(data.join(path), "x").unwrap();
            }
            std::fs::write(first(data, "acme", "segments").with_file_name("notes"), "x").unwrap();
        },
        found: &[
            (Unexpected, "data/notes"),
            (Unexpected, "tenants/notes"),
            (Unexpected, "acme/notes"),
            (Unexpected, "log/notes"),
            (Unexpected, "segments/notes"),
        ],
    },
    Case {
        name: "a log file is missing in between",
        harm: |data| {
            let dir = tenant_dir(data, "acme").join("log");
            let store = duramen::Store::open_with(data, support::store::options()).unwrap();
            let tenant = store.existing_tenant("acme").unwrap();
            tenant.seal().unwrap();
            tenant.append(&support::store::records(3, 10, 900)).unwrap();
            tenant.flush().unwrap();
            let newest = last(data, "acme", "log");
            let kept = data.parent().unwrap().join("log-newest");
            std::fs::copy(&newest, &kept).unwrap();
            // The tenant as it was before the seal, with the log file from after it and without the one before.
            let manifest = tenant_dir(&data.parent().unwrap().join("pristine"), "acme").join("manifest");
            store.close().unwrap();
            std::fs::remove_dir_all(tenant_dir(data, "acme")).unwrap();
            folder::copy(manifest.parent().unwrap(), &tenant_dir(data, "acme"));
            std::fs::remove_dir_all(&dir).unwrap();
            std::fs::create_dir(&dir).unwrap();
            std::fs::copy(&kept, dir.join(newest.file_name().unwrap())).unwrap();
        },
        found: &[(Gap, "acme/log")],
    },
    Case {
        name: "all log files are gone",
        harm: |data| files_of(data, "acme", "log").iter().for_each(|p| std::fs::remove_file(p).unwrap()),
        found: &[(Missing, "acme/log")],
    },
    Case {
        name: "the folder of the log is gone",
        harm: |data| std::fs::remove_dir_all(tenant_dir(data, "acme").join("log")).unwrap(),
        found: &[(Missing, "acme/log")],
    },
    Case {
        name: "a log file has another one's name",
        harm: |data| {
            let path = last(data, "acme", "log");
            std::fs::rename(&path, path.with_file_name("00000000000000f0.log")).unwrap();
        },
        found: &[(Misplaced, "00000000000000f0.log")],
    },
    Case {
        name: "an old log file stands in for the newest one",
        harm: |data| {
            let path = last(data, "acme", "log");
            let header = duramen::format::header::LogHeader::decode(&std::fs::read(&path).unwrap()).unwrap();
            let first = duramen::Seq(1);
            let old = duramen::format::header::LogHeader { first, durable: duramen::Seq(0), ..header };
            std::fs::write(&path, old.encode()).unwrap();
        },
        found: &[(RolledBack, "acme/log")],
    },
    Case {
        name: "a manifest is gone",
        harm: |data| std::fs::remove_file(tenant_dir(data, "acme").join("manifest")).unwrap(),
        found: &[(Missing, "acme/manifest")],
    },
    Case {
        name: "the manifest is replaced by its earlier part",
        harm: |data| copy_over(&part(data, "acme"), &tenant_dir(data, "acme").join("manifest")),
        found: &[(Missing, "acme/segments")],
    },
    Case {
        name: "an earlier part of the chain is gone",
        harm: |data| std::fs::remove_file(part(data, "acme")).unwrap(),
        found: &[(Missing, "acme/manifest.")],
    },
    Case {
        name: "an earlier part of the chain is another store's",
        harm: |data| copy_over(&part(&other_store(data), "acme"), &part(data, "acme")),
        found: &[(Mismatch, "acme/manifest")],
    },
    Case {
        name: "an earlier part of the chain is another tenant's",
        harm: |data| copy_over(&part(data, "bravo"), &part(data, "acme")),
        found: &[(Misplaced, "acme/manifest.")],
    },
    Case {
        name: "an earlier part of the chain ends too soon",
        harm: |data| {
            let path = part(data, "acme");
            let bytes = std::fs::read(&path).unwrap();
            let ends = boundaries(&bytes);
            std::fs::write(&path, &bytes[..ends[ends.len() - 3]]).unwrap();
        },
        found: &[(Misplaced, "acme/manifest."), (Missing, "acme/manifest.")],
    },
    Case {
        name: "the manifest is from before one that is kept",
        harm: |data| {
            let dir = tenant_dir(data, "acme");
            let path = dir.join("manifest");
            let bytes = std::fs::read(part(data, "acme")).unwrap();
            let ends = boundaries(&bytes);
            std::fs::write(&path, &bytes[..ends[ends.len() - 3]]).unwrap();
        },
        found: &[(RolledBack, "acme/manifest")],
    },
    Case {
        name: "a tenant is gone that the control log has",
        harm: |data| std::fs::remove_dir_all(tenant_dir(data, "acme")).unwrap(),
        found: &[(Missing, "tenants/acme")],
    },
    Case {
        name: "what was set aside is changed",
        harm: |data| {
            for path in files_of(data, "acme", "quarantine") {
                flip(&path, 3);
            }
        },
        found: &[(Corruption, ".reason")],
    },
    Case {
        name: "a copy that was set aside is changed",
        harm: |data| flip(&first(data, "acme", "quarantine"), 3),
        found: &[(Corruption, "acme/quarantine")],
    },
];

/// Where entries and marks of a manifest end.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let (_, entries) = read_edits(bytes).unwrap();
    entries.map(|at| at.unwrap()).map(|at| (at.offset + at.bytes) as usize).collect()
}

/// Two stores and copies of the first.
struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &root.path().join("pristine"));
        // The same again gives other salts and times, so that no file is the same.
        std::fs::create_dir(root.path().join("second")).unwrap();
        make(&root.path().join("second"), &root.path().join("other"));
        Bench { root }
    }

    fn pristine(&self) -> PathBuf {
        self.root.path().join("pristine")
    }

    /// A fresh copy.
    fn copy(&self) -> PathBuf {
        let data = self.root.path().join("data");
        drop(std::fs::remove_dir_all(&data));
        folder::copy(&self.pristine(), &data);
        data
    }
}

fn has(findings: &[Finding], kind: FindingKind, file: &str) -> bool {
    findings.iter().any(|f| f.kind == kind && f.file.to_string_lossy().contains(file))
}

#[test]
fn what_is_done_to_files_is_found_and_named() {
    let bench = Bench::new();
    for deep in [false, true] {
        let clean = verify(&[bench.pristine()], deep);
        assert!(clean.ok, "{:?}", clean.findings);
        assert!(clean.segments >= 4 && clean.tenants == TENANTS.len() as u64);
    }
    for case in CASES {
        let data = bench.copy();
        (case.harm)(&data);
        for deep in [false, true] {
            let report = verify(&[&data], deep);
            for (kind, file) in case.found {
                let all = &report.findings;
                assert!(has(all, *kind, file), "{} (deep: {deep}): no {kind:?} of {file} in {all:#?}", case.name);
            }
        }
    }
}

#[test]
fn a_manifest_cut_at_any_entry_is_found() {
    let bench = Bench::new();
    let manifest = tenant_dir(&bench.pristine(), "acme").join("manifest");
    let bytes = std::fs::read(&manifest).unwrap();
    let (_, entries) = read_edits(&bytes).unwrap();
    let all: Vec<_> = entries.map(|at| at.unwrap()).collect();
    let newest = all.last().unwrap().number;
    assert!(newest >= 10, "the chain has {newest} entries");
    for at in &all {
        let data = bench.copy();
        let path = tenant_dir(&data, "acme").join("manifest");
        std::fs::write(&path, &bytes[..(at.offset + at.bytes) as usize]).unwrap();
        let report = verify(&[&data], false);
        // Behind the last entry only its mark is missing, and with it nothing but the proof that it was durable.
        assert_eq!(report.ok, at.number == newest, "cut behind entry {}: {:#?}", at.number, report.findings);
        if !report.ok {
            assert!(has(&report.findings, RolledBack, "acme/manifest"), "{}: {:#?}", at.number, report.findings);
        }
    }
}

#[test]
fn damage_in_the_middle_of_a_manifest_is_one_finding() {
    let bench = Bench::new();
    let path = tenant_dir(&bench.pristine(), "acme").join("manifest");
    let (_, entries) = read_edits(&std::fs::read(path).unwrap()).map(|(h, e)| (h, e.clone().count())).unwrap();
    let ends = boundaries(&std::fs::read(tenant_dir(&bench.pristine(), "acme").join("manifest")).unwrap());
    assert_eq!(ends.len(), entries);
    for end in &ends[..ends.len() - 2] {
        let data = bench.copy();
        let path = tenant_dir(&data, "acme").join("manifest");
        flip(&path, end + 70);
        for deep in [false, true] {
            let report = verify(&[&data], deep);
            let [finding] = &report.findings[..] else { panic!("byte {}: {:#?}", end + 70, report.findings) };
            assert_eq!((finding.kind, &finding.file), (Corruption, &path));
            // A mark is a header, and what follows it is the next entry.
            assert!(finding.offset <= *end as u64 + 70, "{finding}");
        }
    }
}

/// What the files alone can't show: an older copy of a whole tenant is a whole tenant. A checkpoint shows it.
#[test]
fn an_older_copy_of_a_tenant_looks_whole() {
    let bench = Bench::new();
    let data = bench.copy();
    {
        let store = duramen::Store::open_with(&data, support::store::options()).unwrap();
        let tenant = store.existing_tenant("acme").unwrap();
        tenant.append(&support::store::records(5, 20, 2000)).unwrap();
        tenant.compact(None).unwrap();
        store.close().unwrap();
    }
    std::fs::remove_dir_all(tenant_dir(&data, "acme")).unwrap();
    folder::copy(&tenant_dir(&bench.pristine(), "acme"), &tenant_dir(&data, "acme"));
    let report = verify(&[&data], true);
    assert!(report.ok, "{:#?}", report.findings);
}

/// A wrong file is told once and not once a record, and by the names of kinds that the JSON has.
#[test]
fn a_copy_of_a_segment_in_anothers_place_is_few_findings() {
    let bench = Bench::new();
    let data = bench.copy();
    let (from, to) = (first(&data, "acme", "segments"), last(&data, "acme", "segments"));
    copy_over(&from, &to);
    let report = verify(&[&data], true);
    assert!(has(&report.findings, Misplaced, "acme/segments") && report.records > 100);
    let of_records: Vec<&Finding> = report.findings.iter().filter(|f| f.kind == FindingKind::LeafMismatch).collect();
    assert!(!of_records.is_empty() && of_records.len() <= 4, "{of_records:#?}");
    let twice = of_records.iter().find(|f| f.found.ends_with("of them twice")).expect("records that came twice");
    assert!(twice.to_string().contains(": leaf_mismatch: "), "{twice}");
    assert_eq!(serde_json::to_value(FindingKind::LeafMismatch).unwrap(), FindingKind::LeafMismatch.to_string());
    // What differs is named, and nothing else.
    let mismatch = report.findings.iter().find(|f| f.kind == Mismatch).expect("another segment than the manifest says");
    assert!(mismatch.expected.starts_with("what the manifest says: bytes ") && mismatch.found.contains(", data root "));
    assert_eq!(mismatch.expected.matches(',').count(), mismatch.found.matches(',').count(), "{mismatch}");
}
