//! Damaged segments, blocks and indexes: what can be read is served, and every answer that misses something says so.

mod support;

use duramen::format::block::BLOCK_HEAD_BYTES;
use duramen::format::segment::{Footer, TRAILER_BYTES, Trailer, read_footer, read_trailer};
use duramen::store::Missing;
use duramen::verify::verify;
use duramen::vfs::sim::{SimOp, SimVfs};
use duramen::{Ack, Error, Options, QueryOptions, Record, Store, Tenant, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::folder;

const START: i64 = 1_740_787_200_000_000_000;
/// Three blocks in the first segment.
const FIRST: i64 = 36_000;
const SECOND: i64 = 500;
const UNSEALED: i64 = 50;

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 2;
    options.ack = Ack::Os;
    options
}

/// Record `n` is at second `n`.
fn records(from: i64, count: i64) -> Vec<Record> {
    (from..from + count)
        .map(|n| {
            Record::new()
                .at(Timestamp(START + n * 1_000_000_000))
                .with("n", n)
                .with("level", if n % 10 == 0 { "error" } else { "info" })
                .with("text", format!("word{} and {:016x}", n % 50, (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        })
        .collect()
}

struct Fixture {
    root: tempfile::TempDir,
    data: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("made");
        let store = Store::open_with(&made, options()).unwrap();
        let tenant = store.tenant("default").unwrap();
        tenant.append(&records(0, FIRST)).unwrap();
        tenant.seal().unwrap();
        tenant.append(&records(FIRST, SECOND)).unwrap();
        tenant.seal().unwrap();
        tenant.append(&records(FIRST + SECOND, UNSEALED)).unwrap();
        tenant.flush().unwrap();
        store.tenant("other").unwrap().append(&records(0, 10)).unwrap();
        let data = root.path().join("data");
        folder::copy(&made, &data);
        Fixture { root, data }
    }

    fn copy(&self, name: &str) -> PathBuf {
        let to = self.root.path().join(name);
        folder::copy(&self.data, &to);
        to
    }
}

fn segment(data: &Path, number: u64) -> PathBuf {
    data.join(format!("tenants/default/segments/{number:016x}.seg"))
}

fn ends(bytes: &[u8]) -> (Trailer, Footer) {
    let trailer = read_trailer(&bytes[bytes.len() - TRAILER_BYTES..], bytes.len() as u64).unwrap();
    let at = trailer.footer_offset as usize;
    let footer = read_footer(&trailer, &bytes[at..at + trailer.footer_len as usize]).unwrap();
    (trailer, footer)
}

fn flip(path: &Path, at: impl FnOnce(&[u8]) -> u64) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(&bytes) as usize;
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn ask(tenant: &Tenant, query: &str) -> (Vec<String>, Vec<Missing>) {
    let mut rows = tenant.query(query).unwrap();
    let got = rows.by_ref().map(|row| row.unwrap().to_json()).collect();
    let missing = rows.missing();
    assert_eq!(rows.stats().records_missing, missing.iter().map(|m| m.records).sum::<u64>(), "{query}");
    (got, missing)
}

fn numbers(rows: &[String]) -> Vec<i64> {
    let number = |row: &String| {
        let from = row.find("\"n\":").unwrap() + 4;
        row[from..].split([',', '}']).next().unwrap().parse().unwrap()
    };
    rows.iter().map(number).collect()
}

/// A kind of damage, and the records that it takes.
type Case = (&'static str, fn(&Path), std::ops::Range<i64>);

#[test]
fn answers_serve_the_rest_and_say_what_they_miss() {
    let fixture = Fixture::new();
    // Where blocks begin and end is as the footer has it.
    let (_, footer) = ends(&std::fs::read(segment(&fixture.data, 1)).unwrap());
    assert_eq!(footer.blocks.len(), 3);
    let rows: Vec<i64> = footer.blocks.iter().map(|b| i64::from(b.info.rows)).collect();
    let middle = rows[0]..rows[0] + rows[1];
    let cases: [Case; 6] = [
        (
            "a page of a block",
            |data| {
                flip(&segment(data, 1), |b| {
                    let p = ends(b).1.blocks[1];
                    p.offset + p.len - 9
                })
            },
            middle.clone(),
        ),
        (
            "the header of a block",
            |data| flip(&segment(data, 1), |b| ends(b).1.blocks[1].offset + BLOCK_HEAD_BYTES as u64 + 20),
            middle.clone(),
        ),
        ("the head of a block", |data| flip(&segment(data, 1), |b| ends(b).1.blocks[1].offset + 12), middle),
        ("the footer", |data| flip(&segment(data, 1), |b| ends(b).0.footer_offset + 5), 0..FIRST),
        ("the trailer", |data| flip(&segment(data, 1), |b| b.len() as u64 - 40), 0..FIRST),
        ("no file", |data| std::fs::remove_file(segment(data, 1)).unwrap(), 0..FIRST),
    ];
    for (name, damage, lost) in cases {
        let data = fixture.copy(name);
        let whole = std::fs::read(segment(&data, 1)).unwrap();
        damage(&data);
        // First asked by a sort, which looks at the blocks in an order of its own.
        for order in ["", " desc"] {
            let store = Store::open_read_only_with(&data, options()).unwrap();
            let query = format!("n:<{FIRST} | sort by (text{order}) | limit 30000 | stats count() as n");
            let (rows, missing) = ask(&store.tenant("default").unwrap(), &query);
            let count = (FIRST - (lost.end - lost.start)).min(30_000);
            assert_eq!(numbers(&rows), [count], "{name}: {query}");
            assert_eq!(missing.iter().map(|m| m.records as i64).sum::<i64>(), lost.end - lost.start, "{name}: {query}");
            let seqs = missing.first().map(|m| m.seq.0.0 as i64 - 1..m.seq.1.0 as i64);
            assert_eq!(seqs, Some(lost.clone()), "{name}: {query}");
        }
        let store = Store::open_with(&data, options()).unwrap();
        let tenant = store.tenant("default").unwrap();
        let last = FIRST + SECOND + UNSEALED;
        let left: Vec<i64> = (0..last).rev().filter(|n| !lost.contains(n)).collect();
        let count = lost.end - lost.start;
        let check = |query: &str, expect: Vec<i64>, is_flagged: bool| {
            let (rows, missing) = ask(&tenant, query);
            let got = numbers(&rows);
            assert!(got == expect, "{name}: {query}: {} rows in place of {}", got.len(), expect.len());
            assert_eq!(!missing.is_empty(), is_flagged, "{name}: {query}: {missing:?}");
            if let [missing] = &missing[..] {
                assert_eq!(missing.source, "segment 0000000000000001", "{name}: {query}");
                assert_eq!(missing.records as i64, count, "{name}: {query}");
                let span = (START + lost.start * 1_000_000_000, START + (lost.end - 1) * 1_000_000_000);
                assert_eq!((missing.time.0.0, missing.time.1.0), span, "{name}: {query}");
                assert!(missing.reason.contains(".seg"), "{name}: {}", missing.reason);
            }
        };
        check("*", left.clone(), true);
        // What can't have a match there is not missed.
        check("* | limit 5", (last - 5..last).rev().collect(), false);
        // What zone maps rule out is not missed either, where these can be read.
        check(&format!("n:>={FIRST}"), (FIRST..last).rev().collect(), name != "a page of a block");
        let after = QueryOptions { start: Some(Timestamp(START + FIRST * 1_000_000_000)), ..Default::default() };
        let mut rows = tenant.query_with("*", &after).unwrap();
        assert_eq!((rows.by_ref().count() as i64, rows.missing()), (last - FIRST, vec![]), "{name}");
        // Others take the places of those that can't be read.
        let in_order: Vec<i64> = left.iter().rev().copied().filter(|n| *n >= lost.start).take(7).collect();
        check(&format!("n:>={} | sort by (n) | limit 7", lost.start), in_order, true);
        for query in ["* | stats count() as n", "text:word* | stats by (level) count() as n | stats sum(n) as n"] {
            check(query, vec![left.len() as i64], true);
        }
        let max = left.iter().max().copied().unwrap();
        check("* | stats max(n) as n", vec![max], true);
        // As an error, where that is asked for.
        let strict = QueryOptions { strict: true, ..Default::default() };
        let all: Result<Vec<_>, Error> = tenant.query_with("* | sort by (n)", &strict).and_then(Iterator::collect);
        assert!(all.as_ref().is_err_and(Error::is_damage), "{name}: {all:?}");
        assert_eq!(tenant.stats().unwrap().segments_damaged, 1, "{name}");
        // A tail from the beginning.
        let mut tail = tenant.tail("*", Some(duramen::Seq(0))).unwrap();
        let mut came = 0;
        while tail.next(std::time::Duration::ZERO).unwrap().is_some() {
            came += 1;
        }
        assert_eq!((came, tail.missing().len()), (left.len(), 1), "{name}");
        assert_eq!(tail.missing()[0].records as i64, count, "{name}");
        // Others are not touched, and when the file is whole again so is the answer.
        let (rows, missing) = ask(&store.tenant("other").unwrap(), "*");
        assert_eq!((rows.len(), missing.len()), (10, 0), "{name}");
        std::fs::write(segment(&data, 1), whole).unwrap();
        drop((tail, tenant));
        store.close().unwrap();
        let store = Store::open_with(&data, options()).unwrap();
        let (rows, missing) = ask(&store.tenant("default").unwrap(), "* | stats count() as n");
        assert_eq!((numbers(&rows), missing.len()), (vec![last], 0), "{name}");
    }
    program_and_server_say_so(&fixture);
}

fn program_and_server_say_so(fixture: &Fixture) {
    let data = fixture.copy("program");
    flip(&segment(&data, 1), |b| ends(b).0.footer_offset + 5);
    let path = data.to_str().unwrap();
    let output = support::bin::run(&["query", "--data", path, "--tenant", "default", "* | stats count() as n"], b"");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(out.contains(&format!("{}", SECOND + UNSEALED)), "{out}");
    for part in ["0000000000000001", &FIRST.to_string(), "2025-03-01T00:00:00"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    support::bin::run_ok(&["query", "--data", path, "--tenant", "default", "--strict", "*"], b"", 3);
    support::bin::run_ok(&["query", "--data", path, "--tenant", "default", "--limit", "3", "*"], b"", 0);
    #[cfg(feature = "server")]
    server_says_so(&data);
}

#[cfg(feature = "server")]
fn server_says_so(data: &Path) {
    // A block that turns out to be damaged when the answer has begun, and not.
    let server = support::bin::Server::start(data);
    let ask = |query: &str, more: &str| {
        let path = format!("/api/v1/query?query={query}{more}");
        support::http::get(&server.address, &path)
    };
    let told = |answer: &support::http::Answer| {
        let line = answer.head.lines().find_map(|l| l.strip_prefix("x-duramen-missing: ").map(str::to_string));
        line.map(|n| n.parse::<i64>().unwrap())
    };
    let whole = ask("*|stats+count()+as+n", "").unwrap();
    assert_eq!((whole.status, told(&whole)), (200, Some(FIRST)), "{whole:?}");
    let body = support::json::parse(&whole.body).unwrap();
    let missing = body.get("data").and_then(|d| d.get("stats")?.get("missing")).unwrap().items();
    assert_eq!(missing.len(), 1, "{}", whole.body);
    assert_eq!(missing[0].get("records").and_then(|n| n.as_u64()), Some(FIRST as u64), "{}", whole.body);
    for format in ["ndjson", "csv"] {
        let rows = ask("*|fields+n", &format!("&format={format}")).unwrap();
        assert_eq!((rows.status, told(&rows)), (200, Some(FIRST)), "{format}");
    }
    let rows = ask("*", "&limit=3&format=ndjson").unwrap();
    assert_eq!((rows.body.lines().count(), told(&rows)), (3, None));
    let strict = ask("*|stats+count()+as+n", "&strict=true").unwrap();
    assert_eq!(strict.status, 500, "{strict:?}");
    assert!(strict.body.contains("damaged"), "{strict:?}");
}

#[test]
#[cfg(feature = "server")]
fn rows_that_can_not_say_so_any_more_break_off() {
    let fixture = Fixture::new();
    // The oldest block: much goes out before it is come to.
    flip(&segment(&fixture.data, 1), |b| {
        let p = ends(b).1.blocks[0];
        p.offset + p.len - 9
    });
    let server = support::bin::Server::start(&fixture.data);
    let ask = || {
        let path = "/api/v1/query?query=*&format=ndjson";
        support::http::get(&server.address, path)
    };
    assert!(ask().is_err(), "the head is out when the damage shows");
    let again = ask().unwrap();
    assert!(again.head.contains("x-duramen-missing: 16384"), "{}", again.head);
    assert_eq!(again.body.lines().count() as i64, FIRST + SECOND + UNSEALED - 16384);
}

#[test]
fn what_is_damaged_is_not_merged() {
    let fixture = Fixture::new();
    for (name, at) in [("block", None), ("footer", Some(5))] {
        let data = fixture.copy(name);
        flip(&segment(&data, 1), |b| match at {
            None => ends(b).1.blocks[1].offset + 300,
            Some(at) => ends(b).0.footer_offset + at,
        });
        let store = Store::open_with(&data, options()).unwrap();
        let tenant = store.tenant("default").unwrap();
        let report = tenant.compact(None).unwrap();
        assert_eq!((report.segments_merged, report.segments_made, report.segments_damaged), (2, 1, 1), "{name}");
        let (rows, missing) = ask(&tenant, &format!("n:>={FIRST}"));
        assert_eq!((rows.len() as i64, missing.len()), (SECOND + UNSEALED, 1), "{name}");
        drop(tenant);
        store.close().unwrap();
        let findings = verify(&[&data], false).findings;
        assert!(findings.iter().all(|f| f.file == segment(&data, 1)), "{name}: {findings:?}");
    }
}

#[test]
fn a_damaged_index_is_not_used_and_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let store = Store::open_with(&data, options()).unwrap();
    store.tenant("default").unwrap().append(&records(0, 400)).unwrap();
    store.close().unwrap();
    let (trailer, _) = ends(&std::fs::read(segment(&data, 1)).unwrap());
    let expect = |tenant: &Tenant| {
        for (query, rows) in [("word7", 8), ("nowhere", 0), ("word7 OR word8", 16)] {
            let (got, missing) = ask(tenant, query);
            assert_eq!((got.len(), missing.len()), (rows, 0), "{query}");
        }
    };
    // In its header, in a section, at its end.
    for at in [3, trailer.index_len / 2, trailer.index_len - 2] {
        let scratch = root.path().join(format!("at-{at}"));
        folder::copy(&data, &scratch);
        flip(&segment(&scratch, 1), |_| trailer.index_offset + at);
        let store = Store::open_with(&scratch, options()).unwrap();
        let tenant = store.tenant("default").unwrap();
        expect(&tenant);
        assert_eq!(tenant.stats().unwrap().indexes_damaged, 1, "at {at}");
        store.maintain().unwrap();
        assert_eq!(tenant.stats().unwrap().indexes_damaged, 0, "at {at}");
        expect(&tenant);
        assert_eq!(tenant.stats().unwrap().indexes_damaged, 0, "at {at}: the new one is used");
        drop(tenant);
        store.close().unwrap();
        let report = verify(&[&scratch], true);
        assert!(report.ok, "at {at}: {report}");
        // It is used after opening anew; where it is damaged itself or lost, it is made again.
        let index = segment(&scratch, 1).with_extension("idx");
        for harm in [None, Some(true), Some(false)] {
            match harm {
                None => {}
                Some(true) => flip(&index, |b| b.len() as u64 / 2),
                Some(false) => std::fs::remove_file(&index).unwrap(),
            }
            assert_eq!(verify(&[&scratch], true).ok, harm.is_none(), "at {at}, {harm:?}");
            let store = Store::open_with(&scratch, options()).unwrap();
            let tenant = store.tenant("default").unwrap();
            expect(&tenant);
            assert_eq!(tenant.stats().unwrap().indexes_damaged, u64::from(harm.is_some()), "at {at}, {harm:?}");
            store.maintain().unwrap();
            expect(&tenant);
            drop(tenant);
            store.close().unwrap();
            let report = verify(&[&scratch], true);
            assert!(report.ok, "at {at}, {harm:?}: {report}");
        }
        // It goes with its segment.
        let store = Store::open_with(&scratch, options()).unwrap();
        let tenant = store.tenant("default").unwrap();
        tenant.append(&records(400, 100)).unwrap();
        tenant.compact(None).unwrap();
        assert!(!index.exists());
        expect_count(&tenant, 500);
        drop(tenant);
        store.close().unwrap();
        assert!(verify(&[&scratch], true).ok);
    }
}

fn expect_count(tenant: &Tenant, count: i64) {
    assert_eq!(numbers(&ask(tenant, "* | stats count() as n").0), [count]);
}

#[test]
fn a_disk_that_refused_is_asked_again() {
    let vfs = SimVfs::new();
    let mut options = options();
    options.cache_bytes_max = 0;
    let store = Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options, true).unwrap();
    let tenant = store.tenant("default").unwrap();
    tenant.append(&records(0, 300)).unwrap();
    tenant.seal().unwrap();
    // At the opening of the segment, and when it is open.
    for _ in 0..2 {
        for fails in 1..8 {
            vfs.fail(SimOp::Read, fails);
            let all: Result<Vec<_>, Error> = tenant.query("text:word7 | sort by (n)").and_then(Iterator::collect);
            assert!(all.is_err_and(|e| !e.is_damage()), "no part of an answer where the disk refuses");
            vfs.heal();
        }
        expect_count(&tenant, 300);
        assert_eq!(ask(&tenant, "text:word7").0.len(), 6);
        assert_eq!(tenant.stats().unwrap().segments_damaged, 0);
    }
}

#[test]
fn a_tenant_that_lost_its_manifest_refuses_and_keeps_its_files() {
    let fixture = Fixture::new();
    let whole = std::fs::read(fixture.data.join("tenants/default/manifest")).unwrap();
    for (name, damage) in [("flip", Some(300)), ("missing", None)] {
        let data = fixture.copy(name);
        let manifest = data.join("tenants/default/manifest");
        match damage {
            Some(at) => flip(&manifest, |_| at),
            None => std::fs::remove_file(&manifest).unwrap(),
        }
        for write in [true, false] {
            let open = if write { Store::open_with } else { Store::open_read_only_with };
            let store = open(&data, options()).unwrap();
            assert_eq!(store.tenants().unwrap(), ["default", "other"], "{name}");
            expect_count(&store.tenant("other").unwrap(), 10);
            for refused in [store.tenant("default"), store.existing_tenant("default")] {
                let error = refused.unwrap_err();
                assert!(write == error.is_damage() || name == "flip" || !write, "{name}: {error}");
                assert!(error.to_string().contains("manifest"), "{name}: {error}");
            }
            assert!(segment(&data, 1).exists() && segment(&data, 2).exists(), "{name}");
            if write {
                // The cause is gone: no restart.
                std::fs::write(&manifest, &whole).unwrap();
                expect_count(&store.tenant("default").unwrap(), FIRST + SECOND + UNSEALED);
                store.close().unwrap();
                match damage {
                    Some(at) => flip(&manifest, |_| at),
                    None => std::fs::remove_file(&manifest).unwrap(),
                }
            }
        }
        let rows = support::bin::run_ok(&["stats", "--data", data.to_str().unwrap(), "--format", "ndjson"], b"", 1);
        assert_eq!(rows.lines().count(), 2, "{rows}");
        assert!(rows.contains("\"error\""), "{rows}");
    }
}

#[test]
fn a_folder_that_can_not_be_entered_stops_its_tenant_alone() {
    let vfs = SimVfs::new();
    let open = || Store::open_on(Arc::new(vfs.clone()), Path::new("/s"), options(), true).unwrap();
    let store = open();
    for name in ["mine", "theirs"] {
        let tenant = store.tenant(name).unwrap();
        tenant.append(&records(0, 200)).unwrap();
        tenant.seal().unwrap();
        tenant.append(&records(200, 50)).unwrap();
    }
    store.close().unwrap();
    let store = open();
    let folder = Path::new("/s/tenants/mine");
    for _ in 0..2 {
        vfs.refuse(folder, true);
        assert_eq!(store.tenants().unwrap(), ["mine", "theirs"]);
        for refused in [store.tenant("mine"), store.existing_tenant("mine")] {
            let error = refused.unwrap_err();
            // Not for missing, and not for damaged: neither is known.
            assert!(!error.is_damage() && !error.is_no_such_tenant(), "{error}");
            assert!(error.to_string().contains("/s/tenants/mine"), "{error}");
        }
        let theirs = store.tenant("theirs").unwrap();
        theirs.append(&records(250, 1)).unwrap();
        assert_eq!(ask(&theirs, "n:<250").0.len(), 250);
        vfs.refuse(folder, false);
    }
    // No restart, and nothing is gone.
    let mine = store.tenant("mine").unwrap();
    expect_count(&mine, 250);
    mine.append(&records(250, 10)).unwrap();
    // The folder of the segments alone, under a tenant that is open.
    store.close().unwrap();
    let store = open();
    let mine = store.tenant("mine").unwrap();
    let segments = Path::new("/s/tenants/mine/segments");
    vfs.refuse(segments, true);
    let all: Result<Vec<_>, Error> = mine.query("*").and_then(Iterator::collect);
    assert!(all.is_err_and(|e| !e.is_damage()), "no part of an answer where the system refuses");
    // What needs no segment goes on.
    mine.append(&records(260, 1)).unwrap();
    let newest = QueryOptions { start: Some(Timestamp(START + 260 * 1_000_000_000)), ..Default::default() };
    assert_eq!(mine.query_with("*", &newest).unwrap().map(Result::unwrap).count(), 1);
    vfs.refuse(segments, false);
    expect_count(&mine, 261);
}
