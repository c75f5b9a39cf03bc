//! Merges beside appends, seals, queries and expiry: what happens between two blocks of one.

use super::*;
use crate::cache::Cache;
use crate::id::{SegmentId, Seq, TenantId};
use crate::log::Ack;
use crate::record::{BatchBuilder, Labels, Record, Timestamp};
use crate::tenant::TenantOptions;
use crate::vfs::Vfs;
use crate::vfs::sim::{SimFault, SimOp, SimVfs};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn options(vfs: &SimVfs) -> TenantOptions {
    TenantOptions {
        vfs: Arc::new(vfs.clone()),
        dir: PathBuf::from("/disk/t"),
        cache: Arc::new(Cache::new(1 << 20)),
        memtable_bytes: Arc::default(),
        memtables_bytes_max: 2 << 20,
        memtable_bytes_max: 1 << 20,
        mapped: false,
        merge_bytes_max: 1 << 20,
        rules: Arc::new(crate::tenant::Rules::default()),
        written: Arc::default(),
        keys: crate::crypt::KeyRing::default(),
        leftover: Arc::default(),
    }
}

fn open(vfs: &SimVfs) -> TenantCore {
    TenantCore::open(&TenantId::new("t").unwrap(), options(vfs), true).unwrap()
}

/// Appends so many records, numbered on, and seals them.
fn seal(tenant: &TenantCore, records: u64) {
    let from = tenant.last_seq().0;
    let mut builder = BatchBuilder::new();
    for n in from..from + records {
        let record = Record::new().with("n", n).with("text", format!("record number {n}"));
        builder.push(&record, Timestamp(n as i64), &Labels::default()).unwrap();
    }
    tenant.append(&builder.take(), Ack::Fsync).unwrap();
    tenant.seal().unwrap();
}

/// The numbers of all records of a snapshot, sorted.
fn numbers(snapshot: &crate::tenant::Snapshot) -> Vec<Seq> {
    let mut all = Vec::new();
    for source in snapshot.sources(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap() {
        for block in 0..source.len() {
            all.extend(source.block(block).unwrap().seqs().unwrap().iter().map(|s| Seq(*s)));
        }
    }
    all.sort();
    all
}

fn first(count: u64) -> Vec<Seq> {
    (1..=count).map(Seq).collect()
}

/// The segments that the manifest names, and the files that are there.
fn segments(tenant: &TenantCore, vfs: &SimVfs) -> (Vec<SegmentId>, Vec<SegmentId>) {
    let files = vfs.list(Path::new("/disk/t/segments")).unwrap();
    let number = |name: &str| u64::from_str_radix(name.strip_suffix(".seg").unwrap(), 16).unwrap();
    let files = files.iter().map(|f| SegmentId(number(&f.name))).collect();
    (tenant.version().segments.keys().copied().collect(), files)
}

fn ids(numbers: &[u64]) -> Vec<SegmentId> {
    numbers.iter().map(|n| SegmentId(*n)).collect()
}

fn go_on(_: Duration) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn seals_go_on_during_a_merge_and_readers_keep_what_they_have() {
    let vfs = SimVfs::new();
    let tenant = open(&vfs);
    (0..3).for_each(|_| seal(&tenant, 10));
    let before = tenant.snapshot();
    let mut calls = 0;
    let merged = tenant.merge_due(Duration::ZERO, &mut |_| {
        calls += 1;
        // Under a merge that waited for nothing this would not come back.
        seal(&tenant, 5);
        assert_eq!(numbers(&tenant.snapshot()), first(30 + 5 * calls));
        ControlFlow::Continue(())
    });
    assert_eq!((merged.unwrap(), calls), (3, 1));
    // Its number is below that of the seal, whose entry came before.
    let (live, files) = segments(&tenant, &vfs);
    assert_eq!((live, files), (ids(&[4, 5]), ids(&[1, 2, 3, 4, 5])));
    assert_eq!(numbers(&before), first(30));
    assert_eq!(numbers(&tenant.snapshot()), first(35));
    drop(before);
    assert_eq!(segments(&tenant, &vfs).1, ids(&[4, 5]));
    let stats = tenant.stats().unwrap();
    assert_eq!(stats.merges, 1);
    assert!(stats.merged_bytes_written > 0 && stats.sealed_bytes_written > stats.merged_bytes_written, "{stats:?}");
    drop(tenant);
    let tenant = open(&vfs);
    assert_eq!(tenant.report().orphans_removed, Vec::<PathBuf>::new());
    assert_eq!(numbers(&tenant.snapshot()), first(35));
    seal(&tenant, 1);
    assert_eq!(segments(&tenant, &vfs).0, ids(&[4, 5, 6]));
}

#[test]
fn a_merge_is_given_up_where_its_inputs_go_or_it_is_told_to_end() {
    type Between = fn(&TenantCore) -> ControlFlow<()>;
    // What happens between blocks, the records that are left, and the live segments.
    let cases: [(&str, Between, u64, &[u64]); 4] = [
        (
            "expiry",
            |tenant| {
                tenant.expire(1).unwrap();
                ControlFlow::Continue(())
            },
            0,
            &[],
        ),
        ("its pace", |_| ControlFlow::Break(()), 20, &[1, 2]),
        (
            "the tenant's end",
            |tenant| {
                // As `end_merges` does, which would wait for the merge that this is in.
                tenant.writer().unwrap().merges.tell_end();
                ControlFlow::Continue(())
            },
            20,
            &[1, 2],
        ),
        (
            "somebody's turn",
            |tenant| {
                tenant.writer().unwrap().merges.tell_unwanted();
                ControlFlow::Continue(())
            },
            20,
            &[1, 2],
        ),
    ];
    for (what, between, left, live) in cases {
        let vfs = SimVfs::new();
        let tenant = open(&vfs);
        (0..2).for_each(|_| seal(&tenant, 10));
        let merged = tenant.merge_due(Duration::ZERO, &mut |_| between(&tenant)).unwrap();
        assert_eq!(merged, 0, "{what}");
        assert_eq!(segments(&tenant, &vfs), (ids(live), ids(live)), "{what}");
        assert_eq!(numbers(&tenant.snapshot()).len() as u64, left, "{what}");
        drop(tenant);
        assert_eq!(open(&vfs).report().orphans_removed, Vec::<PathBuf>::new(), "{what}");
    }
}

#[test]
fn compact_takes_the_place_of_a_merge() {
    let vfs = SimVfs::new();
    let tenant = open(&vfs);
    (0..3).for_each(|_| seal(&tenant, 10));
    std::thread::scope(|scope| {
        let mut compacting = None;
        let merged = tenant.merge_due(Duration::ZERO, &mut |_| {
            let handle = compacting.get_or_insert_with(|| scope.spawn(|| tenant.compact(None).unwrap()));
            // It can't be over before this merge is.
            assert!(!handle.is_finished());
            while !tenant.writer().unwrap().merges.is_unwanted() {
                std::thread::yield_now();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(merged.unwrap(), 0);
        let report = compacting.unwrap().join().unwrap();
        assert_eq!((report.segments_merged, report.segments_made), (3, 1));
    });
    let (live, files) = segments(&tenant, &vfs);
    assert_eq!((live.len(), live.clone()), (1, files));
    assert_eq!(numbers(&tenant.snapshot()), first(30));
}

#[test]
fn what_fails_is_said_and_left_as_it_was() {
    let vfs = SimVfs::new();
    let tenant = open(&vfs);
    (0..3).for_each(|_| seal(&tenant, 10));
    vfs.inject(SimFault::new(SimOp::Create).under("/disk/t/segments"));
    assert!(tenant.merge_due(Duration::ZERO, &mut go_on).is_err());
    assert!(tenant.stats().unwrap().merge_error.is_some());
    assert!(!tenant.may_merge(), "it is tried again later, not at once");
    assert_eq!(numbers(&tenant.snapshot()), first(30));
    assert_eq!(tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), 3);
    assert_eq!(tenant.stats().unwrap().merge_error, None);
    assert_eq!(numbers(&tenant.snapshot()), first(30));
}

#[test]
fn a_damaged_segment_keeps_no_others_from_being_merged() {
    let vfs = SimVfs::new();
    let tenant = open(&vfs);
    (0..3).for_each(|_| seal(&tenant, 10));
    // A byte of the first block, behind the header of the file.
    assert!(vfs.damage(Path::new("/disk/t/segments/0000000000000002.seg"), 8 * 300));
    assert!(tenant.merge_due(Duration::ZERO, &mut go_on).is_err());
    assert_eq!(tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), 2);
    assert_eq!(tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), 0);
    let (live, files) = segments(&tenant, &vfs);
    assert_eq!((live.len(), live[0], live.clone()), (2, SegmentId(2), files));
}

#[test]
fn damage_that_is_gone_keeps_a_segment_from_being_merged_for_a_while_only() {
    let vfs = SimVfs::new();
    let tenant = open(&vfs);
    (0..3).for_each(|_| seal(&tenant, 10));
    let (file, bit) = (Path::new("/disk/t/segments/0000000000000002.seg"), 8 * 300);
    assert!(vfs.damage(file, bit));
    assert!(tenant.merge_due(Duration::ZERO, &mut go_on).is_err());
    let age = || tenant.snapshot().segments().iter().for_each(|segment| segment.age_damage());
    let damaged = || tenant.snapshot().segments().iter().filter(|segment| segment.damage().is_some()).count();
    // Looked at again, and found as it was: no merge fails for it.
    age();
    assert_eq!((tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), damaged()), (2, 1));
    assert!(vfs.damage(file, bit), "put back");
    assert_eq!(tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), 0, "not for a while");
    age();
    assert_eq!((tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), damaged()), (2, 0));
    assert_eq!(numbers(&tenant.snapshot()), first(30));
}

/// What a merge writes is synced on the way, which ended the file of an encrypted segment: no merge of more than that
/// came to its end.
#[test]
fn a_merge_of_encrypted_segments_is_synced_on_its_way_and_goes_on() {
    let vfs = SimVfs::new();
    let (id, mut options) = (TenantId::new("t").unwrap(), options(&vfs));
    let master = crate::crypt::MasterKey::from_bytes(std::array::from_fn(|i| i as u8));
    vfs.create_dir_all(&options.dir).unwrap();
    options.keys = crate::crypt::KeyRing::open(options.vfs.clone(), &options.dir, &id, Some(&master)).unwrap();
    options.keys.encrypt().unwrap();
    (options.memtable_bytes_max, options.merge_bytes_max) = (64 << 20, 64 << 20);
    let tenant = TenantCore::open(&id, options, true).unwrap();
    let mut random = crate::vfs::sim::SimRandom(1);
    // Half of what is written can't be compressed away.
    let mut noise = || (0..256).map(|_| format!("{:016x}", random.next_u64())).collect::<String>();
    for part in 0..3 {
        let mut builder = BatchBuilder::new();
        for n in 0..1000 {
            let record = Record::new().with("n", part * 1000 + n).with("noise", noise());
            builder.push(&record, Timestamp(n), &Labels::default()).unwrap();
        }
        tenant.append(&builder.take(), Ack::Fsync).unwrap();
        tenant.seal().unwrap();
    }
    let syncs = vfs.syncs();
    assert_eq!(tenant.merge_due(Duration::ZERO, &mut go_on).unwrap(), 3);
    assert!(vfs.syncs() - syncs > 2, "on the way as well");
    assert_eq!(tenant.version().segments.len(), 1);
    assert!(tenant.version().segments.values().all(|meta| meta.bytes > merge::MERGE_SYNC_BYTES));
    assert_eq!(numbers(&tenant.snapshot()), first(3000));
}
