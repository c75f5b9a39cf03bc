//! Every fuzz target over its corpus, over past crashes and over seeded mutations of both.
//!
//! `DURAMEN_FUZZ_RUNS` mutates longer, `DURAMEN_FUZZ_SEED` otherwise. `cargo fuzz run -s none TARGET` goes on from the
//! same files.

mod support;

use duramen::fuzz::TARGETS;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use support::folder;
use support::rng::{Rng, from_env};

fn fuzz_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The files of a folder of `fuzz/`, by target.
fn inputs(kind: &str) -> BTreeMap<String, Vec<(PathBuf, Vec<u8>)>> {
    let under = fuzz_folder(kind);
    let mut out: BTreeMap<String, Vec<_>> = BTreeMap::new();
    if under.is_dir() {
        for path in folder::files(&under) {
            let target = path.strip_prefix(&under).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
            out.entry(target).or_default().push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    out
}

/// One to four changes: a bit, a byte, a run taken out or doubled, a number of note, a piece of another input.
fn mutate(rng: &mut Rng, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = rng.choose(seeds).1.clone();
    bytes.truncate(1 << 16);
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let run = (1 + rng.below(16)).min(bytes.len() - at);
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.next() as u8,
            2 => drop(bytes.drain(at..at + run)),
            3 => {
                let piece = bytes[at..at + run].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let number = *rng.choose(&[0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, u64::MAX, 1 << 63]);
                let width = *rng.choose(&[1, 2, 4, 8]);
                let to = (at + width).min(bytes.len());
                bytes.splice(at..to, number.to_le_bytes()[..width].iter().copied());
            }
            5 => {
                let other = &rng.choose(seeds).1;
                let from = rng.below(other.len() + 1);
                let piece = other[from..(from + 32).min(other.len())].to_vec();
                bytes.splice(at..at + run, piece);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// The first mutation that makes the target panic.
fn search(body: fn(&[u8]), seeds: &[(PathBuf, Vec<u8>)], seed: u64, runs: u64) -> Option<Vec<u8>> {
    let mut rng = Rng::new(seed);
    (0..runs).map(|_| mutate(&mut rng, seeds)).find(|input| catch_unwind(|| body(input)).is_err())
}

#[test]
fn corpora_and_past_crashes_hold() {
    for kind in ["corpus", "crashes"] {
        for (name, inputs) in inputs(kind) {
            let body =
                TARGETS.iter().find(|t| t.0 == name).unwrap_or_else(|| panic!("fuzz/{kind}/{name} has no target")).1;
            for (path, bytes) in inputs {
                assert!(catch_unwind(|| body(&bytes)).is_ok(), "{}", path.display());
            }
        }
    }
}

#[test]
fn seeded_mutations_hold() {
    let seed = from_env("DURAMEN_FUZZ_SEED", 1);
    let runs = from_env("DURAMEN_FUZZ_RUNS", 10_000);
    let corpora = inputs("corpus");
    let mut found = Vec::new();
    for (name, body) in TARGETS.iter().filter(|t| t.0 != "canary") {
        let seeds = corpora.get(*name).unwrap_or_else(|| panic!("fuzz/corpus/{name} is empty"));
        if let Some(input) = search(*body, seeds, seed, runs) {
            let path = std::env::temp_dir().join(format!("duramen-fuzz-{name}-{seed}"));
            std::fs::write(&path, &input).unwrap();
            found.push(format!("{name}: {} (seed {seed}): {}", path.display(), input.escape_ascii()));
        }
    }
    assert!(found.is_empty(), "put these into fuzz/crashes/TARGET/ when they are mended:\n{}", found.join("\n"));
}

/// The loop above can find a bug: it finds the one that is planted.
#[test]
fn the_planted_bug_is_found() {
    let canary = TARGETS.iter().find(|t| t.0 == "canary").unwrap().1;
    let seeds = &inputs("corpus")["canary"];
    let input = search(canary, seeds, from_env("DURAMEN_FUZZ_SEED", 1), 200_000);
    assert!(input.is_some_and(|bytes| bytes.starts_with(b"duramen")));
}

/// Each body has a program of its own in `fuzz/`, and each program a body.
#[test]
fn every_target_is_a_program() {
    let mut programs: Vec<String> = folder::files(&fuzz_folder("fuzz_targets"))
        .iter()
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    programs.sort();
    assert_eq!(programs, TARGETS.iter().map(|t| t.0).collect::<Vec<_>>());
    let manifest = std::fs::read_to_string(fuzz_folder("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}

/// Writes the seeds of the targets whose modules have no example of their own, where `DURAMEN_WRITE_CORPUS` is set.
#[test]
fn seeds_decode() {
    use duramen::format::control::{ControlHeader, Event, EventKind, decode, encode_frame};
    use duramen::format::payload::{Payload, encode};
    use duramen::{BatchBuilder, Labels, Record, TenantId, Timestamp, Value};
    let mut builder = BatchBuilder::new();
    for i in 0..5i64 {
        let mut record = Record::new().at(Timestamp(i * 1_000)).with("n", i).with("message", format!("record {i}"));
        if i % 2 == 0 {
            record = record.with("tags", vec!["a", "b"]).with("none", Value::null());
        }
        let labels = if i == 3 { Labels::default() } else { Labels::new([("service", "web")]) };
        builder.push(&record, Timestamp(0), &labels).unwrap();
    }
    let payload = encode(&builder.take()).bytes;
    assert_eq!(Payload::decode(payload.clone()).unwrap().records.len(), 5);
    let header = ControlHeader { salt: 7, created: Timestamp(1) };
    let mut control = header.encode().to_vec();
    let mut head = header.start();
    for name in ["acme", "bravo"] {
        let event = Event { at: Timestamp(2), kind: EventKind::TenantCreated { tenant: TenantId::new(name).unwrap() } };
        head = encode_frame(&header, &head, &event, &mut control);
    }
    assert_eq!(decode(&control).unwrap().events.len(), 2);
    for (target, bytes) in [("payload", payload), ("control", control)] {
        let path = fuzz_folder("corpus").join(target).join("example");
        if std::env::var_os("DURAMEN_WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{target}");
    }
}
