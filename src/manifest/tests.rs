use super::*;
use crate::error::StorageError;
use crate::id::{Class, Place, SegmentId, Seq, TenantId};
use crate::record::Timestamp;
use crate::vfs::Vfs;
use crate::vfs::sim::{SimOp, SimRandom, SimVfs};
use std::path::Path;
use std::sync::Arc;

const PATH: &str = "/t/manifest";

fn tenant() -> TenantId {
    TenantId::new("acme").expect("a name")
}

fn create(vfs: &SimVfs) -> Result<Manifest, StorageError> {
    vfs.create_dir_all(Path::new("/t"))?;
    Manifest::create(Arc::new(vfs.clone()), PATH.into(), &tenant(), 17)
}

fn open(vfs: &SimVfs) -> Result<(Manifest, ManifestRecovery), StorageError> {
    Manifest::open(Arc::new(vfs.clone()), PATH.into(), &tenant())
}

fn segment(id: u64, from: u64, to: u64) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId(id),
        bytes: 1,
        data_root: [1; 32],
        index_root: [2; 32],
        rows: to - from + 1,
        min_time: Timestamp(0),
        max_time: Timestamp(9),
        min_seq: Seq(from),
        max_seq: Seq(to),
        blocks: 1,
        created_at_ns: 0,
        level: 0,
        class: Class::default(),
        place: Place::default(),
    }
}

/// The seal of ten more records.
fn seal(version: &Version) -> Edit {
    let (from, id) = (version.sealed_below.0 + 1, version.next_segment_id.0);
    let leaf = Leaf::of_range(Seq(from), 10, [id as u8; 32]);
    Edit::Seal { segments: vec![segment(id, from, from + 9)], leaves: vec![leaf], sealed_below: Seq(from + 9) }
}

fn apply(manifest: &Manifest, edit: Edit) -> Result<Arc<Version>, ManifestError> {
    manifest.apply(Timestamp(1), vec![edit])
}

fn merge_all(version: &Version) -> Edit {
    let rows = version.segments.values().map(|s| s.rows).sum();
    let output = SegmentMeta { rows, ..segment(version.next_segment_id.0, 1, version.sealed_below.0) };
    Edit::Merge { inputs: version.segments.keys().copied().collect(), outputs: vec![output] }
}

#[test]
fn versions_come_from_edits_and_survive_opening() {
    let vfs = SimVfs::new();
    let manifest = create(&vfs).expect("created");
    assert!(create(&vfs).is_err());
    let held = manifest.version();
    for _ in 0..3 {
        apply(&manifest, seal(&manifest.version())).expect("sealed");
    }
    let merged = apply(&manifest, merge_all(&manifest.version())).expect("merged");
    assert_eq!((held.segments.len(), merged.segments.len(), merged.leaves().count()), (0, 1, 3));
    assert!(matches!(apply(&manifest, seal(&held)), Err(ManifestError::Unfit { .. })));
    let (again, report) = open(&vfs).expect("opened");
    assert_eq!((&again.version(), report.entries, report.cut_at), (&merged, 5, None));
    let (read, _) = open_read_only(&vfs, Path::new(PATH), &tenant()).expect("readable");
    assert_eq!(read, *merged);
    let other = TenantId::new("other").expect("a name");
    assert!(open_read_only(&vfs, Path::new(PATH), &other).is_err());
}

#[test]
fn compacting_goes_on_with_the_chain_and_keeps_what_came_before() {
    let vfs = SimVfs::new();
    let manifest = create(&vfs).expect("created");
    for _ in 0..20 {
        apply(&manifest, seal(&manifest.version())).expect("sealed");
    }
    let before = manifest.version();
    let after = manifest.compact(Timestamp(2)).expect("compacted");
    assert_eq!((after.edits, after.leaves().count()), (before.edits + 1, 20));
    let last = apply(&manifest, seal(&after)).expect("sealed");
    let (again, report) = open(&vfs).expect("opened");
    assert_eq!((again.version(), report.entries), (last, 2));
    let history = format!("{PATH}.{:016x}", before.edits);
    let (old, _) = open_read_only(&vfs, Path::new(&history), &tenant()).expect("kept");
    assert_eq!(old, *before);
}

#[test]
fn a_manifest_that_grows_is_compacted_by_itself() {
    let vfs = SimVfs::new();
    let manifest = create(&vfs).expect("created");
    for _ in 0..40 {
        let version = manifest.version();
        let from = version.sealed_below.0 + 1;
        let leaves: Vec<Leaf> = (from..from + 1000).map(|n| Leaf::of_range(Seq(n), 1, [n as u8; 32])).collect();
        let segments = vec![segment(version.next_segment_id.0, from, from + 999)];
        apply(&manifest, Edit::Seal { segments, leaves, sealed_below: Seq(from + 999) }).expect("sealed");
    }
    let (again, report) = open(&vfs).expect("opened");
    assert_eq!((again.version().leaves().count(), again.version()), (40_000, manifest.version()));
    assert!(report.entries < 40, "{}", report.entries);
}

#[test]
fn every_flipped_bit_is_damage_or_a_reported_cut() {
    let vfs = SimVfs::new();
    let manifest = create(&vfs).expect("created");
    for _ in 0..2 {
        apply(&manifest, seal(&manifest.version())).expect("sealed");
    }
    let bytes = vfs.read(Path::new(PATH)).expect("bytes");
    for bit in 0..bytes.len() * 8 {
        let left = vfs.after_kill();
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        left.put(Path::new(PATH), &bad);
        match open(&left) {
            Err(StorageError::Damage(damage)) => assert_eq!(damage.file, Path::new(PATH)),
            Err(e) => panic!("bit {bit}: {e}"),
            // Only the last mark can go without a loss.
            Ok((again, report)) => {
                assert_eq!(again.version(), manifest.version(), "bit {bit}");
                let aside = report.quarantined.expect("a copy");
                assert_eq!(left.read(&aside).map(|b| b.len() as u64).ok(), Some(report.cut_bytes));
            }
        }
    }
}

#[test]
fn a_failed_write_changes_nothing_or_says_that_it_may_have() {
    let vfs = SimVfs::new();
    let manifest = create(&vfs).expect("created");
    apply(&manifest, seal(&manifest.version())).expect("sealed");
    for op in [SimOp::Write, SimOp::Sync] {
        let before = manifest.version();
        vfs.fail(op, 1);
        assert!(matches!(apply(&manifest, seal(&before)), Err(ManifestError::Unchanged(_))));
        assert_eq!(manifest.version().segments, before.segments);
        let (left, _) = open_read_only(&vfs.after_crash(5), Path::new(PATH), &tenant()).expect("readable");
        assert_eq!(left.segments, before.segments);
    }
    let before = manifest.version();
    vfs.fail(SimOp::Sync, 2);
    assert!(matches!(apply(&manifest, seal(&before)), Err(ManifestError::Uncertain(_))));
    assert_eq!(manifest.version(), before);
    let sealed = apply(&manifest, seal(&before)).expect("settled");
    assert_eq!(open(&vfs.after_crash(6)).expect("opened").0.version(), sealed);
}

#[test]
fn a_full_disk_leaves_the_manifest_as_it_was() {
    let vfs = SimVfs::new();
    let manifest = create(&vfs).expect("created");
    let before = manifest.version();
    vfs.set_space(Some(vfs.used_bytes() + 20));
    assert!(matches!(apply(&manifest, seal(&before)), Err(ManifestError::Unchanged(e)) if e.is_out_of_space()));
    assert_eq!(open(&vfs.after_crash(1)).expect("opened").0.version(), before);
    vfs.set_space(None);
    apply(&manifest, seal(&before)).expect("sealed");
}

/// Applies edits until it ends or everything fails; gives the last version that was durable.
fn run(vfs: &SimVfs, seed: u64) -> Option<Arc<Version>> {
    let mut random = SimRandom(seed);
    let mut manifest = create(vfs).ok()?;
    for _ in 0..10 {
        let before = manifest.version();
        let result = match random.below(8) {
            0..=4 => apply(&manifest, seal(&before)),
            5 if before.segments.len() > 1 => apply(&manifest, merge_all(&before)),
            6 => manifest.compact(Timestamp(3)),
            _ => match open(vfs) {
                Ok((again, _)) => {
                    manifest = again;
                    Ok(manifest.version())
                }
                Err(_) => return Some(before),
            },
        };
        if result.is_err() {
            return Some(before);
        }
    }
    Some(manifest.version())
}

fn explore(seeds: std::ops::Range<u64>, syncs_lie: bool) -> Result<(), String> {
    for seed in seeds {
        let operations = {
            let vfs = SimVfs::new();
            run(&vfs, seed);
            vfs.operations()
        };
        for at in 1..=operations + 1 {
            let vfs = SimVfs::new();
            vfs.syncs_lie(syncs_lie);
            vfs.crash_at(at);
            let Some(durable) = run(&vfs, seed) else { continue };
            let left = vfs.after_crash(seed << 20 | at);
            let place = format!("seed {seed}, crash at operation {at}");
            let (manifest, _) = open(&left).map_err(|e| format!("{place}: {e}"))?;
            let version = manifest.version();
            // What was being applied may be there, whole, or not.
            let next = version.edits - durable.edits.min(version.edits);
            if version.edits < durable.edits || next > 2 || next == 0 && version != durable {
                return Err(format!("{place}: {} entries, durable {}", version.edits, durable.edits));
            }
            if next > 0 && version.segments.keys().max() < durable.segments.keys().max() {
                return Err(format!("{place}: another history"));
            }
            let last = apply(&manifest, seal(&version)).map_err(|e| format!("{place}: takes no more: {e}"))?;
            let (again, _) = open(&left.after_crash(at)).map_err(|e| format!("{place}: second open: {e}"))?;
            if again.version() != last {
                return Err(format!("{place}: an edit after recovery is not there"));
            }
        }
    }
    Ok(())
}

#[test]
fn no_crash_loses_an_edit_that_was_applied() {
    explore(0..200, false).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_same_test_finds_a_sync_that_is_left_out() {
    assert!(explore(0..20, true).is_err());
}

/// A crash within a compaction left its copy of the earlier manifest for ever, and a verifier took it for a stranger.
#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let vfs = SimVfs::new();
    drop(create(&vfs).expect("created"));
    let beside = ["/t/manifest.tmp", "/t/manifest.0000000000000001.tmp"];
    let others = ["/t/manifest.0000000000000001", "/t/manifestly.tmp"];
    for path in beside.iter().chain(&others) {
        vfs.put(Path::new(path), b"half");
    }
    open(&vfs).expect("opened");
    let left: Vec<_> = vfs.files().iter().map(|f| f.display().to_string()).collect();
    assert_eq!(left, ["/t/manifest", others[0], others[1]]);
}

/// A sync that fails may take the mark before it along, also from what is read then: what was kept of the manifest had
/// a hole at its end.
#[test]
fn what_is_kept_of_a_manifest_whose_sync_failed_is_whole() {
    for seed in 0..60 {
        let vfs = SimVfs::seeded(seed);
        let manifest = create(&vfs).expect("created");
        apply(&manifest, seal(&manifest.version())).expect("sealed");
        let before = manifest.version();
        vfs.fail(SimOp::Sync, 1);
        assert!(matches!(apply(&manifest, seal(&before)), Err(ManifestError::Unchanged(_))));
        let history = vfs.read(Path::new(&format!("{PATH}.{:016x}", before.edits))).expect("kept");
        let (_, entries) = crate::format::edit::read_edits(&history).expect("a header");
        let read: Vec<_> = entries.map(|entry| entry.map(|at| at.number)).collect::<Result<_, _>>().expect("entries");
        assert_eq!(read.last(), Some(&before.edits), "seed {seed}: {read:?}");
        apply(&manifest, seal(&manifest.version())).expect("goes on");
    }
}
