//! `kill -9` in the middle of ingest: what was acknowledged is there exactly once, what was not is whole or absent.
//!
//! One test kills a program that embeds the store, which is this file run again; the other kills the server.

mod support;

use duramen::{Ack, Options, Record, Store};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::bin::Server;
use support::http;
use support::json::parse;
use support::rng::{Rng, from_env};

const TENANT: &str = "acme";
/// Where the child writes; set only in the child.
const CHILD: &str = "DURAMEN_KILL_CHILD";

fn options() -> Options {
    let mut options = Options::default();
    options.ack = Ack::Fsync;
    // Small, so that a kill also falls into sealing.
    options.memtable_bytes_max = 256 << 10;
    options
}

/// A record by its number: every field can be told from the number, so that a torn record shows.
fn record(number: u64) -> Record {
    let filler = "x".repeat((number % 97) as usize * 20);
    Record::new()
        .with("number", number)
        .with("twice", number * 2)
        .with("message", format!("record {number} of a program that will be killed {filler} end"))
}

/// The child: appends batches until it is killed, and says after each which numbers are acknowledged.
#[test]
fn child_that_is_killed() {
    let Ok(data) = std::env::var(CHILD) else { return };
    let store = Store::open_with(&data, options()).unwrap();
    let tenant = store.tenant(TENANT).unwrap();
    let mut next = match tenant.query("* | stats max(number) as n").unwrap().next() {
        Some(row) => parse(&row.unwrap().to_json()).unwrap().get("n").and_then(|n| n.as_u64()).map_or(0, |n| n + 1),
        None => 0,
    };
    let mut rng = Rng::new(next);
    loop {
        let count = 1 + rng.below(30) as u64;
        let batch: Vec<Record> = (next..next + count).map(record).collect();
        tenant.append(&batch).unwrap();
        println!("acked {next} {}", next + count);
        std::io::stdout().flush().unwrap();
        next += count;
    }
}

/// Runs the child until it has acknowledged something and a random while more, then kills it.
fn run_and_kill(data: &Path, rng: &mut Rng) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, data)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let acked = |line: &str| {
        let (from, to) = line.split_once("acked ")?.1.split_once(' ')?;
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    let mut ranges = Vec::new();
    while ranges.is_empty() {
        let line = lines.recv_timeout(Duration::from_secs(60)).expect("the child acknowledges something");
        ranges.extend(acked(&line));
    }
    let until = Instant::now() + Duration::from_millis(rng.range(0, 400) as u64);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        ranges.extend(lines.recv_timeout(left).ok().as_deref().and_then(acked));
    }
    assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts as well.
    ranges.extend(lines.iter().filter_map(|line| acked(&line)));
    ranges
}

/// How often each number is there; panics where a record is not whole.
fn numbers(rows: impl Iterator<Item = String>) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    for row in rows {
        let row = parse(&row).unwrap();
        let number = row.get("number").and_then(|n| n.as_u64()).unwrap_or_else(|| panic!("torn: {row}"));
        let expected = record(number);
        for (name, value) in &expected.fields {
            assert_eq!(row.get(name).and_then(|v| v.as_str()), Some(&*value.text), "torn: {row}");
        }
        *found.entry(number).or_default() += 1;
    }
    found
}

fn assert_kept(seed: u64, acked: &[(u64, u64)], found: &BTreeMap<u64, u32>) {
    let twice: Vec<_> = found.iter().filter(|(_, n)| **n != 1).collect();
    assert!(twice.is_empty(), "seed {seed}: more than once: {twice:?}");
    let lost: Vec<u64> = acked.iter().flat_map(|(from, to)| *from..*to).filter(|n| !found.contains_key(n)).collect();
    assert!(lost.is_empty(), "seed {seed}: acknowledged and lost: {lost:?}");
}

#[test]
fn an_embedding_program_is_killed() {
    let seed = from_env("DURAMEN_KILL_SEED", 1);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut rng = Rng::new(seed);
    let mut acked = Vec::new();
    for _ in 0..from_env("DURAMEN_KILL_ROUNDS", 10) {
        acked.extend(run_and_kill(&data, &mut rng));
        // Beside nobody first, read-only, then as the next writer will see it.
        for read_only in [true, false] {
            let store =
                if read_only { Store::open_read_only(&data) } else { Store::open_with(&data, options()) }.unwrap();
            let tenant = store.existing_tenant(TENANT).unwrap();
            let found = numbers(tenant.query("*").unwrap().map(|row| row.unwrap().to_json()));
            assert_kept(seed, &acked, &found);
            // Batches are whole: numbers have no gap.
            let last = found.keys().next_back().copied().unwrap_or(0);
            assert_eq!(found.len() as u64, last + 1, "seed {seed}: a gap");
        }
        let report = duramen::verify::verify(&[&data], true);
        assert!(report.ok, "seed {seed}: {:?}", report.findings);
    }
    assert!(acked.len() > 10, "the child was killed in the middle of its work");
}

#[test]
fn the_server_is_killed() {
    let seed = from_env("DURAMEN_KILL_SEED", 1);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut rng = Rng::new(seed);
    let (mut acked, mut next) = (Vec::new(), 0u64);
    for _ in 0..from_env("DURAMEN_KILL_ROUNDS", 10) {
        let server = Server::start(&data);
        let (address, from) = (server.address.clone(), next);
        let mut counts = Rng::new(rng.next());
        let sender = std::thread::spawn(move || {
            let (mut acked, mut next) = (Vec::new(), from);
            loop {
                let count = 1 + counts.below(200) as u64;
                let body: String = (next..next + count).map(|n| json_line(&record(n))).collect();
                let answer = http::post(&address, "/api/v1/ingest?ack=fsync", "application/x-ndjson", body.as_bytes());
                let sent = (next, next + count);
                next += count;
                // No answer, or part of one: nothing was acknowledged.
                let Ok(answer) = answer else { return (acked, next) };
                assert_eq!(answer.status, 200, "{}", answer.body);
                assert_eq!(parse(&answer.body).unwrap().get("accepted").and_then(|n| n.as_u64()), Some(count));
                acked.push(sent);
            }
        });
        std::thread::sleep(Duration::from_millis(rng.range(50, 500) as u64));
        server.kill();
        let (more, sent) = sender.join().unwrap();
        acked.extend(more);
        next = sent;
        let store = Store::open_read_only(&data).unwrap();
        let tenant = store.existing_tenant("default").unwrap();
        assert_kept(seed, &acked, &numbers(tenant.query("*").unwrap().map(|row| row.unwrap().to_json())));
    }
    let server = Server::start(&data);
    let path = format!("/api/v1/query?query={}&limit=1000000", http::escape("* | fields number, twice, message"));
    let answer = http::get(&server.address, &path).unwrap();
    let rows = parse(&answer.body).unwrap();
    let rows = rows.get("data.rows").unwrap().items();
    assert_kept(seed, &acked, &numbers(rows.iter().map(ToString::to_string)));
    assert!(acked.len() > 10, "the server was killed in the middle of its work");
}

fn json_line(record: &Record) -> String {
    let members: Vec<String> = record
        .fields
        .iter()
        .map(|(name, value)| {
            let mut text = String::new();
            value.write_json(&mut text);
            format!("\"{name}\":{text}")
        })
        .collect();
    format!("{{{}}}\n", members.join(","))
}
