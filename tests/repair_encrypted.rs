//! `repair` of encrypted tenants: with the keys at hand it does all that it does for plain ones, what it writes is
//! encrypted, and without them it changes nothing and says why.

mod support;

use duramen::cache::Cache;
use duramen::crypt::{KeyRing, MasterKey, open_segment};
use duramen::format::log_file::read_frames;
use duramen::format::sealed::{SECTOR_BYTES, SECTOR_EXTRA_BYTES};
use duramen::format::segment::SEGMENT_HEADER_BYTES;
use duramen::repair::{RepairOptions, RepairReport, repair};
use duramen::segment::SegmentReader;
use duramen::verify::{VerifyOptions, verify_as};
use duramen::vfs::{RealVfs, Vfs};
use duramen::{Ack, AppendOptions, BatchBuilder, Idempotency, Labels, Options, Record, Store, TenantId, Timestamp};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;

const START: i64 = 1_740_787_200_000_000_000;
/// In every record, so that it can be looked for in files.
const MARKER: &str = "xyzzyplugh";
/// Records of the segments: three blocks, then one; and of the log, in frames of ten.
const SEGMENTS: [i64; 2] = [36_000, 500];
const LOG: i64 = 60;
const ALL: i64 = SEGMENTS[0] + SEGMENTS[1] + LOG;

fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8 ^ n))
}

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.ack = Ack::Fsync;
    options.master_key = Some(master(1));
    options
}

fn with_key(dry_run: bool) -> RepairOptions {
    let mut options = RepairOptions::default();
    (options.dry_run, options.master_key) = (dry_run, Some(master(1)));
    options
}

/// Record `n` has Seq `n + 1`.
fn text(n: i64) -> String {
    format!("{MARKER} word{} and {:016x}", n % 50, (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn record(n: i64) -> Record {
    Record::new().at(Timestamp(START + n * 1_000_000_000)).with("n", n).with("text", text(n))
}

fn keyed(range: Range<i64>) -> (duramen::Batch, AppendOptions) {
    let mut builder = BatchBuilder::new();
    let labels = Labels::default();
    for n in range.clone() {
        builder.push(&record(n), Timestamp(START + n * 1_000_000_000), &labels).unwrap();
    }
    let key = Idempotency::new(&format!("from {}", range.start)).unwrap();
    (builder.take(), AppendOptions::new().idempotency(key))
}

/// A store as a crash leaves it, with an encrypted tenant `t` and a plain one. Frames of the log came with keys.
fn make(root: &Path) -> PathBuf {
    let made = root.join("made");
    let store = Store::open_with(&made, options()).unwrap();
    let tenant = store.create_encrypted_tenant("t").unwrap();
    let mut from = 0;
    for size in SEGMENTS {
        tenant.append(&(from..from + size).map(record).collect::<Vec<_>>()).unwrap();
        tenant.seal().unwrap();
        store.rotate_tenant_key("t").unwrap();
        from += size;
    }
    for part in 0..LOG / 10 {
        let (batch, options) = keyed(from + part * 10..from + part * 10 + 10);
        assert!(tenant.append_batch_with(&batch, options).unwrap().replayed.is_none());
    }
    store.tenant("other").unwrap().append(&(0..10).map(record).collect::<Vec<_>>()).unwrap();
    let data = root.join("data");
    folder::copy(&made, &data);
    std::fs::remove_dir_all(data.join("catalog")).unwrap();
    drop(duramen::catalog::Catalog::open(Arc::new(RealVfs), &data).unwrap());
    data
}

fn tenant(data: &Path) -> PathBuf {
    data.join("tenants/t")
}

fn segment(data: &Path, number: u64) -> PathBuf {
    tenant(data).join(format!("segments/{number:016x}.seg"))
}

fn manifest(data: &Path) -> PathBuf {
    tenant(data).join("manifest")
}

fn log(data: &Path) -> PathBuf {
    let files = folder::files(&tenant(data).join("log"));
    files.into_iter().rfind(|f| f.extension().is_some_and(|e| e == "log")).unwrap()
}

fn keys(data: &Path) -> KeyRing {
    KeyRing::open(Arc::new(RealVfs), &tenant(data), &TenantId::new("t").unwrap(), Some(&master(1))).unwrap()
}

fn reader(data: &Path, number: u64) -> SegmentReader {
    let (file, root) = open_segment(RealVfs.open(&segment(data, number)).unwrap(), &keys(data)).unwrap();
    assert!(root.is_some(), "it is encrypted");
    SegmentReader::open(file, Arc::new(Cache::new(0))).unwrap()
}

/// The sector that a byte of the plain segment is in.
fn sector(plain: u64) -> u64 {
    (plain - SEGMENT_HEADER_BYTES as u64) / SECTOR_BYTES as u64
}

/// Where a sector stands in the file.
fn stored(sector: u64) -> u64 {
    SEGMENT_HEADER_BYTES as u64 + sector * (SECTOR_BYTES + SECTOR_EXTRA_BYTES) as u64
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Damages the sector that a byte of the first segment is in.
fn flip_plain(data: &Path, plain: u64) {
    flip(&segment(data, 1), stored(sector(plain)) + 1000.min(plain % 1000));
}

/// The records of the first segment whose blocks lie in these sectors, in part at least.
fn records_in(data: &Path, sectors: &[u64]) -> BTreeSet<i64> {
    let reader = reader(data, 1);
    let mut from = 0;
    let mut lost = BTreeSet::new();
    for block in &reader.footer().blocks {
        let to = from + i64::from(block.info.rows);
        let (first, last) = (sector(block.offset), sector(block.offset + block.len - 1));
        if sectors.iter().any(|sector| (first..=last).contains(sector)) {
            lost.extend(from..to);
        }
        from = to;
    }
    lost
}

fn block(data: &Path, number: usize) -> (u64, u64) {
    let block = reader(data, 1).footer().blocks[number];
    (block.offset, block.len)
}

fn frame(data: &Path, number: usize) -> u64 {
    let bytes = std::fs::read(log(data)).unwrap();
    let (_, frames) = read_frames(&bytes).unwrap();
    frames.map(Result::unwrap).filter(|(_, frame)| !frame.is_mark()).nth(number).unwrap().0
}

fn cut(path: &Path, at: u64) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..at as usize]).unwrap();
}

fn of_log(frames: Range<i64>) -> BTreeSet<i64> {
    let from = SEGMENTS[0] + SEGMENTS[1];
    (from + frames.start * 10..from + frames.end * 10).collect()
}

fn first_segment() -> BTreeSet<i64> {
    (0..SEGMENTS[0]).collect()
}

fn no_records() -> BTreeSet<i64> {
    BTreeSet::new()
}

/// Does damage, and says what it takes.
type Damage = fn(&Path) -> BTreeSet<i64>;

const CASES: &[(&str, Damage)] = &[
    ("nothing", |_| no_records()),
    ("a page", |d| {
        let (at, len) = block(d, 1);
        let lost = records_in(d, &[sector(at + len / 2)]);
        flip_plain(d, at + len / 2);
        assert_eq!(lost.len(), 16_384, "one block");
        lost
    }),
    ("a sector that two blocks share", |d| {
        let at = block(d, 1).0;
        let lost = records_in(d, &[sector(at)]);
        flip_plain(d, at);
        assert_eq!(lost.len(), 2 * 16_384);
        lost
    }),
    ("a tag", |d| {
        let (at, len) = block(d, 1);
        let lost = records_in(d, &[sector(at + len / 2)]);
        flip(&segment(d, 1), stored(sector(at + len / 2) + 1) - 10);
        lost
    }),
    ("a segment's header", |d| {
        flip(&segment(d, 1), 20);
        no_records()
    }),
    ("a segment's cipher", |d| {
        flip(&segment(d, 1), 89);
        no_records()
    }),
    ("a segment's key", |d| {
        flip(&segment(d, 1), 91 + 40);
        first_segment()
    }),
    ("a segment's key's generation", |d| {
        flip(&segment(d, 1), 91);
        first_segment()
    }),
    ("a footer", |d| {
        let at = reader(d, 1).trailer().footer_offset;
        let lost = records_in(d, &[sector(at)]);
        flip_plain(d, at);
        lost
    }),
    ("a trailer", |d| {
        let len = std::fs::metadata(segment(d, 1)).unwrap().len();
        flip(&segment(d, 1), len - 20);
        no_records()
    }),
    ("a footer and a page", |d| {
        let ((at, len), footer) = (block(d, 0), reader(d, 1).trailer().footer_offset);
        let lost = records_in(d, &[sector(at + len / 2), sector(footer)]);
        flip_plain(d, at + len / 2);
        flip_plain(d, footer);
        lost
    }),
    ("the end of a segment", |d| {
        let (at, _) = block(d, 2);
        let last = sector(at) + 1;
        let rest: Vec<u64> = (last..last + 1000).collect();
        let lost = records_in(d, &rest);
        cut(&segment(d, 1), stored(last) + 100);
        assert_eq!(lost.len() as i64, SEGMENTS[0] - 2 * 16_384);
        lost
    }),
    ("all but a segment's header", |d| {
        cut(&segment(d, 1), 300);
        first_segment()
    }),
    ("a segment", |d| {
        std::fs::remove_file(segment(d, 1)).unwrap();
        first_segment()
    }),
    ("a segment in another's place", |d| {
        std::fs::copy(segment(d, 1), segment(d, 2)).unwrap();
        (SEGMENTS[0]..SEGMENTS[0] + SEGMENTS[1]).collect()
    }),
    ("two segments", |d| {
        let (at, len) = block(d, 1);
        let mut lost = records_in(d, &[sector(at + len / 2)]);
        flip_plain(d, at + len / 2);
        std::fs::remove_file(segment(d, 2)).unwrap();
        lost.extend(SEGMENTS[0]..SEGMENTS[0] + SEGMENTS[1]);
        lost
    }),
    ("an index", |d| {
        let trailer = *reader(d, 1).trailer();
        let at = trailer.index_offset + trailer.index_len / 2;
        let lost = records_in(d, &[sector(at)]);
        flip_plain(d, at);
        assert!(lost.is_empty());
        lost
    }),
    ("a torn log", |d| {
        let mut bytes = std::fs::read(log(d)).unwrap();
        let (_, mut frames) = read_frames(&bytes).unwrap();
        while frames.next().is_some() {}
        let end = frames.position() as usize;
        bytes.truncate(end);
        bytes.extend_from_slice(b"DFrm and then nothing that makes sense");
        std::fs::write(log(d), bytes).unwrap();
        no_records()
    }),
    ("a frame", |d| {
        flip(&log(d), frame(d, 2) + 120);
        of_log(2..3)
    }),
    ("a frame's header", |d| {
        flip(&log(d), frame(d, 0) + 20);
        of_log(0..1)
    }),
    ("a log's header", |d| {
        flip(&log(d), 140 + 96);
        no_records()
    }),
    ("a log's key", |d| {
        flip(&log(d), 140);
        of_log(0..6)
    }),
    ("a manifest's entry", |d| {
        flip(&manifest(d), 256 + 80);
        no_records()
    }),
    ("a manifest's later entry", |d| {
        let len = std::fs::metadata(manifest(d)).unwrap().len();
        flip(&manifest(d), len * 2 / 3);
        no_records()
    }),
    ("no manifest", |d| {
        std::fs::remove_file(manifest(d)).unwrap();
        no_records()
    }),
    ("no manifest and a page", |d| {
        std::fs::remove_file(manifest(d)).unwrap();
        let (at, len) = block(d, 1);
        let lost = records_in(d, &[sector(at + len / 2)]);
        flip_plain(d, at + len / 2);
        lost
    }),
    ("no manifest and a frame", |d| {
        std::fs::remove_file(manifest(d)).unwrap();
        flip(&log(d), frame(d, 3) + 110);
        of_log(3..4)
    }),
    ("the receipts", |d| {
        std::fs::write(tenant(d).join("receipts"), b"nonsense").unwrap();
        no_records()
    }),
];

fn lost(report: &RepairReport) -> BTreeSet<i64> {
    let ranges = report.lost.iter().flat_map(|loss| loss.seqs.iter());
    ranges.flat_map(|(first, last)| first.0 as i64 - 1..last.0 as i64).collect()
}

fn numbers(store: &Store, tenant: &str) -> BTreeSet<i64> {
    let mut rows = store.existing_tenant(tenant).unwrap().query("* | fields n, text").unwrap();
    let mut all = BTreeSet::new();
    for row in &mut rows {
        let row = row.unwrap();
        let n: i64 = row.get("n").unwrap().1.parse().unwrap();
        assert_eq!(row.get("text").unwrap().1, text(n));
        assert!(all.insert(n), "{n} comes twice");
    }
    assert_eq!(rows.missing(), vec![]);
    all
}

fn is_right(name: &str, data: &Path) {
    for master_key in [Some(master(1)), None] {
        let mut options = VerifyOptions::default();
        (options.deep, options.master_key) = (true, master_key);
        let report = verify_as(&[data], &options);
        assert!(report.ok, "{name}: {report}");
    }
}

/// Is the marker in any file of the tenant?
fn shows(data: &Path) -> bool {
    let has = |path: &PathBuf| memchr::memmem::find(&std::fs::read(path).unwrap(), MARKER.as_bytes()).is_some();
    folder::files(&tenant(data)).iter().any(has)
}

#[test]
fn what_is_lost_is_listed_and_all_else_is_there_and_encrypted() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path());
    for (name, damage) in CASES {
        let scratch = root.path().join(name);
        folder::copy(&data, &scratch);
        let expect = damage(&scratch);
        let is_clean = *name == "nothing";
        let before: Vec<_> =
            folder::files(&tenant(&scratch)).into_iter().map(|f| (std::fs::read(&f).unwrap(), f)).collect();
        let refused = repair(&scratch, &RepairOptions::default()).unwrap();
        assert_eq!(refused.failures.len(), 1, "{name}: {refused}");
        assert!(refused.failures[0].error.contains("no master key was given"), "{name}: {refused}");
        let dry = repair(&scratch, &with_key(true)).unwrap();
        for (bytes, file) in &before {
            assert!(std::fs::read(file).unwrap() == *bytes, "{name}: nothing changes {}", file.display());
        }
        let report = repair(&scratch, &with_key(false)).unwrap();
        assert_eq!(report.failures, vec![], "{name}");
        assert_eq!(report.is_clean(), is_clean, "{name}: {report}");
        let said = lost(&report);
        assert!(said == expect, "{name}: {} in place of {}: {report}", said.len(), expect.len());
        assert_eq!(report.records_lost() as usize, expect.len(), "{name}: {report}");
        assert!(lost(&dry) == expect && dry.records_lost() == report.records_lost(), "{name}: {dry}");
        // What is set aside is what there was, to the byte.
        for action in &report.actions {
            // A copy of what was cut off has less in it.
            let is_whole = !action.file.exists() && !action.what.contains("cut off");
            let Some(copy) = action.quarantined.as_ref().filter(|_| is_whole) else { continue };
            let (bytes, _) = before.iter().find(|(_, file)| *file == action.file).unwrap();
            assert!(std::fs::read(copy).unwrap() == *bytes, "{name}: {}", copy.display());
        }
        assert!(!shows(&scratch), "{name}");
        let again = repair(&scratch, &with_key(false)).unwrap();
        assert!(again.is_clean(), "{name}: {again}");
        is_right(name, &scratch);
        let store = Store::open_with(&scratch, options()).unwrap();
        let left: BTreeSet<i64> = (0..ALL).filter(|n| !expect.contains(n)).collect();
        assert!(numbers(&store, "t") == left, "{name}");
        assert_eq!(numbers(&store, "other").len(), 10, "{name}");
        // Requests are known whose records are there, and the others may come again. It takes more, encrypted.
        let tenant = store.existing_tenant("t").unwrap();
        for part in 0..LOG / 10 {
            let range = ALL - LOG + part * 10..ALL - LOG + part * 10 + 10;
            let is_there = left.contains(&range.start);
            let (batch, options) = keyed(range);
            let again = tenant.append_batch_with(&batch, options).unwrap();
            assert_eq!(again.replayed.is_some(), is_there, "{name}: frame {part}");
        }
        tenant.append(&[record(ALL)]).unwrap();
        assert!(!shows(&scratch), "{name}");
        store.close().unwrap();
        assert!(!shows(&scratch), "{name}");
        is_right(name, &scratch);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}

#[test]
fn where_keys_are_wrong_or_lost_nothing_is_changed() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path());
    flip(&log(&data), frame(&data, 2) + 120);
    flip_plain(&data, block(&data, 1).0);
    let refuses = |options: &RepairOptions, why: &str| {
        let before: Vec<_> =
            folder::files(&tenant(&data)).into_iter().map(|f| (std::fs::read(&f).unwrap(), f)).collect();
        let report = repair(&data, options).unwrap();
        assert!(report.actions.is_empty() && report.lost.is_empty(), "{report}");
        assert!(report.failures.len() == 1 && report.failures[0].error.contains(why), "{why}: {report}");
        let after: Vec<_> =
            folder::files(&tenant(&data)).into_iter().map(|f| (std::fs::read(&f).unwrap(), f)).collect();
        assert!(before == after, "{why}");
    };
    let mut other = RepairOptions::default();
    other.master_key = Some(master(2));
    refuses(&other, "wrong master key");
    let key = std::fs::read(tenant(&data).join("key")).unwrap();
    std::fs::write(tenant(&data).join("key"), &key[..key.len() - 1]).unwrap();
    refuses(&with_key(false), "key");
    std::fs::remove_file(tenant(&data).join("key")).unwrap();
    refuses(&with_key(false), "the tenant's file `key` is not there");
    std::fs::write(tenant(&data).join("key"), &key).unwrap();
    let report = repair(&data, &with_key(false)).unwrap();
    assert!(report.failures.is_empty() && report.records_lost() > 10, "{report}");
}

#[test]
fn what_was_not_encrypted_is_recovered_encrypted() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let store = Store::open_with(&data, options()).unwrap();
    let plain = store.tenant("t").unwrap();
    plain.append(&(0..20_000).map(record).collect::<Vec<_>>()).unwrap();
    plain.seal().unwrap();
    store.encrypt_tenant("t").unwrap();
    plain.append(&(20_000..20_100).map(record).collect::<Vec<_>>()).unwrap();
    drop(plain);
    store.close().unwrap();
    let first = RealVfs.open(&segment(&data, 1)).unwrap();
    let blocks = SegmentReader::open(first, Arc::new(Cache::new(0))).unwrap().footer().blocks.clone();
    flip(&segment(&data, 1), blocks[1].offset + blocks[1].len - 9);
    let report = repair(&data, &with_key(false)).unwrap();
    let gone: BTreeSet<i64> = (16_384..20_000).collect();
    assert!(lost(&report) == gone && report.failures.is_empty(), "{report}");
    for file in folder::files(&tenant(&data).join("segments")) {
        assert!(duramen::crypt::generation(&*RealVfs.open(&file).unwrap()).unwrap().is_some(), "{}", file.display());
    }
    is_right("plain", &data);
    let store = Store::open_with(&data, options()).unwrap();
    assert!(numbers(&store, "t") == (0..20_100).filter(|n| !gone.contains(n)).collect());
}
