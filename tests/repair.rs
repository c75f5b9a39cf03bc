//! `repair`: for each kind of damage, what is lost is what a model of the files says, all else is there once, the store
//! verifies, and a second repair finds nothing to do.

mod support;

use duramen::catalog::Catalog;
use duramen::format::block::BLOCK_HEAD_BYTES;
use duramen::format::log_file::read_frames;
use duramen::format::segment::{Footer, TRAILER_BYTES, Trailer, read_footer, read_trailer};
use duramen::repair::{RepairOptions, RepairReport, repair, repair_on};
use duramen::verify::verify;
use duramen::vfs::sim::SimVfs;
use duramen::vfs::{RealVfs, Vfs};
use duramen::{Ack, Options, Record, Store, TenantId, Timestamp};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;
use support::rng::{Rng, from_env};

const START: i64 = 1_740_787_200_000_000_000;

/// How many records the parts of a tenant have.
#[derive(Clone, Copy)]
struct Sizes {
    /// In one segment each.
    segments: &'static [i64],
    /// In frames of ten records.
    log: i64,
}

/// Three blocks, then one.
const LARGE: Sizes = Sizes { segments: &[36_000, 500], log: 60 };
const SMALL: Sizes = Sizes { segments: &[120, 80, 100], log: 40 };

impl Sizes {
    fn all(self) -> i64 {
        self.segments.iter().sum::<i64>() + self.log
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.ack = Ack::Fsync;
    options
}

/// Record `n` has Seq `n + 1`, and is at second `n`.
fn records(range: Range<i64>) -> Vec<Record> {
    range
        .map(|n| {
            Record::new()
                .at(Timestamp(START + n * 1_000_000_000))
                .with("n", n)
                .with("text", format!("word{} and {:016x}", n % 50, (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        })
        .collect()
}

fn dry_run() -> RepairOptions {
    let mut options = RepairOptions::default();
    options.dry_run = true;
    options
}

/// A store as a crash leaves it, so that the log is not sealed.
fn make(root: &Path, sizes: Sizes) -> PathBuf {
    let made = root.join("made");
    let store = Store::open_with(&made, options()).unwrap();
    let id = TenantId::new("t").unwrap();
    store.catalog().unwrap().ensure_tenant(&id).unwrap();
    store.catalog().unwrap().set(&id, "retention", Some("90000d")).unwrap();
    store.catalog().unwrap().ensure_tenant(&TenantId::new("other").unwrap()).unwrap();
    let tenant = store.tenant("t").unwrap();
    let mut from = 0;
    for size in sizes.segments {
        tenant.append(&records(from..from + size)).unwrap();
        tenant.seal().unwrap();
        from += size;
    }
    for part in 0..sizes.log / 10 {
        tenant.append(&records(from + part * 10..from + part * 10 + 10)).unwrap();
    }
    store.tenant("other").unwrap().append(&records(0..10)).unwrap();
    let data = root.join("data");
    folder::copy(&made, &data);
    // What sled had half written is not what is looked at here.
    std::fs::remove_dir_all(data.join("catalog")).unwrap();
    drop(Catalog::open(Arc::new(RealVfs), &data).unwrap());
    data
}

fn segment(data: &Path, number: u64) -> PathBuf {
    data.join(format!("tenants/t/segments/{number:016x}.seg"))
}

fn log(data: &Path) -> PathBuf {
    let files = folder::files(&data.join("tenants/t/log"));
    files.into_iter().rfind(|f| f.extension().is_some_and(|e| e == "log")).unwrap()
}

fn ends(bytes: &[u8]) -> (Trailer, Footer) {
    let trailer = read_trailer(&bytes[bytes.len() - TRAILER_BYTES..], bytes.len() as u64).unwrap();
    let at = trailer.footer_offset as usize;
    let footer = read_footer(&trailer, &bytes[at..at + trailer.footer_len as usize]).unwrap();
    (trailer, footer)
}

fn block(data: &Path, number: usize) -> (u64, u64) {
    let block = ends(&std::fs::read(segment(data, 1)).unwrap()).1.blocks[number];
    (block.offset, block.len)
}

/// Where a frame of the log begins that has records.
fn frame(data: &Path, number: usize) -> u64 {
    let bytes = std::fs::read(log(data)).unwrap();
    let (_, frames) = read_frames(&bytes).unwrap();
    frames.map(Result::unwrap).filter(|(_, frame)| !frame.is_mark()).nth(number).unwrap().0
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, at: u64) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..at as usize]).unwrap();
}

/// All records of the tenant, each once.
fn numbers(store: &Store, tenant: &str) -> BTreeSet<i64> {
    let mut rows = store.existing_tenant(tenant).unwrap().query("* | fields n, text").unwrap();
    let mut all = BTreeSet::new();
    for row in &mut rows {
        let row = row.unwrap();
        let n: i64 = row.get("n").unwrap().1.parse().unwrap();
        let text = format!("word{} and {:016x}", n % 50, (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert_eq!(row.get("text").unwrap().1, text);
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

fn check_whole(name: &str, data: &Path, expect: &BTreeSet<i64>) {
    let found = verify(&[data], true);
    assert!(found.ok, "{name}: {found}");
    let store = Store::open_with(data, options()).unwrap();
    let got = numbers(&store, "t");
    assert!(got == *expect, "{name}: {} records in place of {}", got.len(), expect.len());
    assert_eq!(numbers(&store, "other").len(), 10, "{name}");
    // It takes more, behind all that there ever was.
    let last = store.existing_tenant("t").unwrap().stats().unwrap().last_seq;
    let appended = store.tenant("t").unwrap().append(&records(1_000_000..1_000_010)).unwrap();
    assert!(appended.first.0 == last + 1, "{name}");
    store.close().unwrap();
    assert!(verify(&[data], true).ok, "{name}");
}

type Damage = fn(&Path);
type Lost = fn(&[i64; 3]) -> Vec<Range<i64>>;

/// Name, damage, and what is lost of the first segment's blocks (by their rows), of other segments and of the log.
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what is meant")]
const CASES: &[(&str, Damage, Lost)] = &[
    ("nothing", |_| {}, |_| vec![]),
    (
        "a page",
        |d| {
            let (at, len) = block(d, 1);
            flip(&segment(d, 1), at + len - 9)
        },
        |b| vec![b[0]..b[0] + b[1]],
    ),
    (
        "a block's header",
        |d| flip(&segment(d, 1), block(d, 2).0 + BLOCK_HEAD_BYTES as u64 + 9),
        |b| vec![b[0] + b[1]..b.iter().sum()],
    ),
    ("a block's head", |d| flip(&segment(d, 1), block(d, 0).0 + 12), |b| vec![0..b[0]]),
    ("a segment's header", |d| flip(&segment(d, 1), 20), |_| vec![]),
    (
        "a footer",
        |d| {
            let at = ends(&std::fs::read(segment(d, 1)).unwrap()).0.footer_offset;
            flip(&segment(d, 1), at + 5)
        },
        |_| vec![],
    ),
    (
        "a trailer",
        |d| {
            let len = std::fs::metadata(segment(d, 1)).unwrap().len();
            flip(&segment(d, 1), len - 50)
        },
        |_| vec![],
    ),
    (
        "a footer and a head",
        |d| {
            let at = block(d, 1).0;
            let footer = ends(&std::fs::read(segment(d, 1)).unwrap()).0.footer_offset;
            flip(&segment(d, 1), at + 3);
            flip(&segment(d, 1), footer + 5);
        },
        |b| vec![b[0]..b[0] + b[1]],
    ),
    ("the end of a segment", |d| cut(&segment(d, 1), block(d, 2).0 + 100), |b| vec![b[0] + b[1]..b.iter().sum()]),
    ("a segment", |d| std::fs::remove_file(segment(d, 1)).unwrap(), |b| vec![0..b.iter().sum()]),
    (
        "another tenant's segment",
        |d| {
            std::fs::copy(segment(d, 1), segment(d, 2)).unwrap();
        },
        |_| vec![36_000..36_500],
    ),
    (
        "two segments",
        |d| {
            flip(&segment(d, 1), block(d, 1).0 + 100);
            std::fs::remove_file(segment(d, 2)).unwrap()
        },
        |b| vec![b[0]..b[0] + b[1], 36_000..36_500],
    ),
    (
        "an index",
        |d| {
            let at = ends(&std::fs::read(segment(d, 1)).unwrap()).0.index_offset;
            flip(&segment(d, 1), at + 200)
        },
        |_| vec![],
    ),
    (
        "a torn log",
        |d| {
            let mut bytes = std::fs::read(log(d)).unwrap();
            let (_, mut frames) = read_frames(&bytes).unwrap();
            while frames.next().is_some() {}
            let end = frames.position() as usize;
            bytes.truncate(end);
            bytes.extend_from_slice(b"DFrm and then nothing that makes sense");
            std::fs::write(log(d), bytes).unwrap();
        },
        |_| vec![],
    ),
    ("a frame", |d| flip(&log(d), frame(d, 2) + 120), |_| vec![36_520..36_530]),
    ("a frame's header", |d| flip(&log(d), frame(d, 0) + 20), |_| vec![36_500..36_510]),
    (
        "two frames",
        |d| {
            let at = frame(d, 4) + 110;
            flip(&log(d), frame(d, 1) + 110);
            flip(&log(d), at)
        },
        |_| vec![36_510..36_520, 36_540..36_550],
    ),
    ("a log's header", |d| flip(&log(d), 140), |_| vec![]),
    ("a manifest's entry", |d| flip(&d.join("tenants/t/manifest"), 256 + 80), |_| vec![]),
    (
        "a manifest's later entry",
        |d| {
            let len = std::fs::metadata(d.join("tenants/t/manifest")).unwrap().len();
            flip(&d.join("tenants/t/manifest"), len * 2 / 3)
        },
        |_| vec![],
    ),
    ("a manifest's header", |d| flip(&d.join("tenants/t/manifest"), 30), |_| vec![]),
    ("a manifest cut", |d| cut(&d.join("tenants/t/manifest"), 256 + 30), |_| vec![]),
    ("no manifest", |d| std::fs::remove_file(d.join("tenants/t/manifest")).unwrap(), |_| vec![]),
    (
        "no manifest and a page",
        |d| {
            std::fs::remove_file(d.join("tenants/t/manifest")).unwrap();
            let (at, len) = block(d, 1);
            flip(&segment(d, 1), at + len - 9);
        },
        |b| vec![b[0]..b[0] + b[1]],
    ),
    (
        "no manifest and a frame",
        |d| {
            std::fs::remove_file(d.join("tenants/t/manifest")).unwrap();
            flip(&log(d), frame(d, 3) + 110);
        },
        |_| vec![36_530..36_540],
    ),
    (
        "a manifest's entry and a segment",
        |d| {
            let manifest = d.join("tenants/t/manifest");
            let len = std::fs::metadata(&manifest).unwrap().len();
            flip(&manifest, len - 10);
            std::fs::remove_file(segment(d, 1)).unwrap();
        },
        |b| vec![0..b.iter().sum()],
    ),
    ("the control log", |d| flip(&d.join("control.log"), 256 + 70), |_| vec![]),
    (
        "the catalog",
        |d| {
            for file in folder::files(&d.join("catalog")) {
                std::fs::write(file, b"nonsense").unwrap()
            }
        },
        |_| vec![],
    ),
    ("the receipts", |d| std::fs::write(d.join("tenants/t/receipts"), b"nonsense").unwrap(), |_| vec![]),
    ("the usage", |d| std::fs::write(d.join("tenants/t/usage"), b"nonsense").unwrap(), |_| vec![]),
];

#[test]
fn a_dry_run_ends_no_deletion() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path(), LARGE);
    let mark = data.join("tenants/.deleting-t");
    std::fs::write(&mark, b"").unwrap();
    let before = folder_bytes(&data);
    let only = |name: &str, mut options: RepairOptions| {
        options.tenant = Some(name.into());
        options
    };
    assert!(repair(&data, &only("t", dry_run())).is_err(), "nobody repairs a tenant that goes");
    let dry = repair(&data, &dry_run()).unwrap();
    assert!(folder_bytes(&data) == before, "a dry run changes nothing");
    let done = repair(&data, &RepairOptions::default()).unwrap();
    for report in [&dry, &done] {
        assert_eq!(report.actions.iter().map(|action| &*action.file).collect::<Vec<_>>(), [mark.as_path()], "{report}");
        assert!(report.failures.is_empty() && report.lost.is_empty(), "{report}");
    }
    assert!(!mark.exists() && !data.join("tenants/t").exists());
    assert!(repair(&data, &RepairOptions::default()).unwrap().is_clean());
}

#[test]
fn what_is_lost_is_listed_and_all_else_is_there() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path(), LARGE);
    let rows: Vec<i64> =
        ends(&std::fs::read(segment(&data, 1)).unwrap()).1.blocks.iter().map(|b| i64::from(b.info.rows)).collect();
    let rows: [i64; 3] = rows.try_into().unwrap();
    for (name, damage, expect) in CASES {
        let scratch = root.path().join(name);
        folder::copy(&data, &scratch);
        damage(&scratch);
        let before = folder_bytes(&scratch);
        let is_clean = *name == "nothing";
        let dry = repair(&scratch, &dry_run()).unwrap();
        assert_eq!(dry.is_clean(), is_clean || *name == "the catalog", "{name}: {dry}");
        assert!(folder_bytes(&scratch) == before, "{name}: a dry run changes nothing");
        let report = repair(&scratch, &RepairOptions::default()).unwrap();
        assert_eq!(report.failures, vec![], "{name}");
        assert_eq!(report.is_clean(), is_clean, "{name}: {report}");
        let expect: BTreeSet<i64> = expect(&rows).into_iter().flatten().collect();
        let said = lost(&report);
        assert!(said == expect, "{name}: {} in place of {}: {report}", said.len(), expect.len());
        assert_eq!(report.records_lost() as usize, expect.len(), "{name}: {report}");
        assert!(lost(&dry) == expect && dry.records_lost() == report.records_lost(), "{name}: {dry}");
        for loss in &report.lost {
            assert_eq!(loss.tenant, "t", "{name}");
            if let Some((first, last)) = loss.time {
                let (low, high) = (loss.seqs[0].0.0 as i64 - 1, loss.seqs[loss.seqs.len() - 1].1.0 as i64 - 1);
                // Where the blocks were not listed, up to the next record that is there.
                assert!(
                    (START + (low - 1) * 1_000_000_000..=START + low * 1_000_000_000).contains(&first.0),
                    "{name}: {loss}"
                );
                assert!(
                    (START + high * 1_000_000_000..=START + (high + 1) * 1_000_000_000).contains(&last.0),
                    "{name}: {loss}"
                );
            }
        }
        let again = repair(&scratch, &RepairOptions::default()).unwrap();
        assert!(again.is_clean(), "{name}: {again}");
        let left: BTreeSet<i64> = (0..LARGE.all()).filter(|n| !expect.contains(n)).collect();
        check_whole(name, &scratch, &left);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}

/// Contents of all files but the lock's and the derived view's.
fn folder_bytes(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files =
        folder::files(data).into_iter().filter(|f| !f.ends_with("LOCK") && !f.starts_with(data.join("catalog")));
    files.map(|f| (f.clone(), std::fs::read(f).unwrap())).collect()
}

#[test]
fn a_revocation_that_may_be_lost_revokes() {
    use duramen::catalog::{NewToken, Roles};
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path(), SMALL);
    let store = Store::open_with(&data, options()).unwrap();
    let token = || NewToken { tenant: None, roles: Roles::READ, expires: None, cidr: None };
    let before = store.catalog().unwrap().create_token(token()).unwrap();
    let len = std::fs::metadata(data.join("control.log")).unwrap().len();
    store.catalog().unwrap().set(&TenantId::new("t").unwrap(), "retention", Some("80000d")).unwrap();
    let after = store.catalog().unwrap().create_token(token()).unwrap();
    store.close().unwrap();
    flip(&data.join("control.log"), len + 60);
    let report = repair(&data, &RepairOptions::default()).unwrap();
    assert!(report.control_lost && report.failures.is_empty(), "{report}");
    assert!(report.to_string().contains(&*before.id), "{report}");
    let (tenants, tokens) = Catalog::read(&RealVfs, &data).unwrap();
    assert_eq!(tenants.len(), 2);
    let is_live = |id: &str| tokens.iter().any(|t| &*t.entry.id == id && t.revoked.is_none());
    assert_eq!((is_live(&before.id), is_live(&after.id)), (false, true));
    assert!(repair(&data, &RepairOptions::default()).unwrap().is_clean());
    assert!(verify(&[&data], true).ok);
}

/// The files of a folder as a simulated disk has them.
fn simulate(data: &Path) -> SimVfs {
    let vfs = SimVfs::new();
    for file in folder::files(data) {
        if file.starts_with(data.join("tenants")) {
            vfs.create_dir_all(file.parent().unwrap()).unwrap();
            vfs.put(&file, &std::fs::read(&file).unwrap());
        }
    }
    // The folders' names are durable as well.
    let files = folder::files(&data.join("tenants"));
    let folders: BTreeSet<&Path> = files.iter().flat_map(|file| file.ancestors().skip(1)).collect();
    folders.into_iter().for_each(|folder| vfs.sync_dir(folder).unwrap());
    vfs
}

#[test]
fn a_crash_at_any_moment_leaves_what_a_second_repair_completes() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path(), SMALL);
    let whole = root.path().join("whole");
    folder::copy(&data, &whole);
    for with_manifest in [true, false] {
        folder::copy(&whole, &data);
        let (at, len) = block(&data, 0);
        flip(&segment(&data, 1), at + len - 9);
        flip(&segment(&data, 2), 30);
        flip(&log(&data), frame(&data, 1) + 110);
        if !with_manifest {
            std::fs::remove_file(data.join("tenants/t/manifest")).unwrap();
        }
        let gone: BTreeSet<i64> = (0..120).chain(310..320).collect();
        let expect: BTreeSet<i64> = (0..SMALL.all()).filter(|n| !gone.contains(n)).collect();
        let run = |vfs: &SimVfs| repair_on(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), &data, &RepairOptions::default());
        let count = {
            let vfs = simulate(&data);
            let before = vfs.operations();
            let report = run(&vfs).unwrap();
            assert!(lost(&report) == gone, "{report}");
            vfs.operations() - before
        };
        assert!(count > 20, "{count}");
        let step = from_env("DURAMEN_REPAIR_STEP", 5).max(1);
        for n in (1..=count).step_by(step as usize) {
            let vfs = simulate(&data);
            vfs.crash_at(n);
            drop(run(&vfs));
            for after in [vfs.after_kill(), vfs.after_crash(n * 2), vfs.after_crash(n * 2 + 1)] {
                let report = run(&after).unwrap();
                assert_eq!(report.failures, vec![], "at {n} of {count}, manifest {with_manifest}");
                assert!(lost(&report).is_subset(&gone), "at {n}: {report}");
                assert!(run(&after).unwrap().is_clean(), "at {n}");
                let store = Store::open_on(Arc::new(after.clone()), &data, options(), true).unwrap();
                let got = numbers(&store, "t");
                assert!(got == expect, "at {n} of {count}, manifest {with_manifest}: {} records", got.len());
            }
        }
    }
}

#[test]
fn what_is_not_said_to_be_lost_is_there_whatever_is_damaged() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path(), SMALL);
    let seed = from_env("DURAMEN_REPAIR_SEED", 1);
    for round in 0..from_env("DURAMEN_REPAIR_ROUNDS", 25) {
        let mut rng = Rng::new(seed * 1000 + round);
        let scratch = root.path().join(format!("round-{round}"));
        folder::copy(&data, &scratch);
        let files: Vec<PathBuf> = folder::files(&scratch.join("tenants/t"));
        let mut done = Vec::new();
        for _ in 0..=rng.below(3) {
            let file = rng.choose(&files).clone();
            let Ok(mut bytes) = std::fs::read(&file) else { continue };
            if bytes.is_empty() {
                continue;
            }
            let at = rng.below(bytes.len());
            let is_log = file.extension().is_some_and(|e| e == "log");
            match rng.below(6) {
                // What is cut off a log that says nothing of it any more can't be missed.
                0 if !is_log => bytes.truncate(at),
                1 if !is_log => {
                    std::fs::remove_file(&file).unwrap();
                    done.push(format!("{} removed", file.display()));
                    continue;
                }
                2 => bytes.iter_mut().skip(at).take(600).for_each(|b| *b = 0x55),
                _ => bytes[at] ^= 1 << rng.below(8),
            }
            done.push(format!("{} at {at}", file.display()));
            std::fs::write(&file, bytes).unwrap();
        }
        let report = repair(&scratch, &RepairOptions::default()).unwrap();
        let what = format!("seed {seed}, round {round}: {done:?}\n{report}");
        assert_eq!(report.failures, vec![], "{what}");
        let again = repair(&scratch, &RepairOptions::default()).unwrap();
        assert!(again.is_clean(), "{what}\n{again}");
        let found = verify(&[&scratch], true);
        assert!(found.ok, "{what}\n{found}");
        let store = Store::open_with(&scratch, options()).unwrap();
        let got = numbers(&store, "t");
        let said = lost(&report);
        let missing: Vec<i64> = (0..SMALL.all()).filter(|n| !got.contains(n) && !said.contains(n)).collect();
        assert!(missing.is_empty(), "{what}\nmissing and not listed: {missing:?}");
        drop(store);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}

#[test]
fn the_program_says_what_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let data = make(root.path(), SMALL);
    let path = data.to_str().unwrap().to_string();
    let run = |args: &[&str], status: i32| {
        let args: Vec<&str> = ["repair", "--data", &path].into_iter().chain(args.iter().copied()).collect();
        support::bin::run_ok(&args, b"", status)
    };
    assert!(run(&[], 0).contains("nothing to repair"));
    std::fs::remove_file(segment(&data, 2)).unwrap();
    run(&["--dry-run"], 1);
    let report = support::json::parse(&run(&["--json", "--tenant", "t"], 1)).unwrap();
    let lost = report.get("lost").unwrap().items();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].get("records").and_then(|n| n.as_u64()), Some(80));
    assert_eq!(lost[0].get("tenant").and_then(|n| n.as_str()), Some("t"));
    assert!(lost[0].get("first_time").and_then(|n| n.as_str()).is_some_and(|t| t.starts_with("2025-03-01T00:02:00")));
    run(&[], 0);
    run(&["--tenant", "nobody"], 3);
    let store = Store::open_with(&data, options()).unwrap();
    run(&[], 3);
    store.close().unwrap();
}
