//! A store on a simulated disk: random workloads, crashes, faults, and a plain model of what must be there.
//!
//! A seed gives a workload of several rounds, and where the power goes. `DURAMEN_SIM_SEEDS` sets how many seeds are run
//! and `DURAMEN_SIM_FIRST` the first of them. A failure prints the line that runs its seed again; where the store was
//! backed up before it, the number of operations may differ by a few from run to run, so that it may take several.

#[path = "sim/mod.rs"]
mod sim;

use duramen::vfs::sim::{SimOp, SyncSkip};
use sim::world::COLD;
use std::path::Path;

const SEEDS: u64 = 2_000;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_comes_back_half() {
    let (first, seeds) = (from_env("DURAMEN_SIM_FIRST", 0), from_env("DURAMEN_SIM_SEEDS", SEEDS));
    let mut sum = sim::Tally::default();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        match sim::run(seed, None) {
            Ok(tally) => sum.add(&tally),
            Err(e) => failures.push(format!(
                "seed {seed}: {e}\nagain: DURAMEN_SIM_FIRST={seed} DURAMEN_SIM_SEEDS=1 cargo test --test sim nothing_ack\n"
            )),
        }
    }
    println!("{seeds} seeds: {sum:?}");
    let shown = from_env("DURAMEN_SIM_SHOW", 1) as usize;
    let firsts: Vec<&str> = failures.iter().map(|f| f.lines().next().unwrap_or_default()).collect();
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds fail:\n{}\n\n{}",
        failures.len(),
        firsts.join("\n"),
        failures[..shown.min(failures.len())].join("\n")
    );
}

fn is_log(path: &Path) -> bool {
    path.to_string_lossy().contains(".log")
}
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "seg")
}
fn is_manifest(path: &Path) -> bool {
    is_named(path, "manifest")
}
fn is_named(path: &Path, begin: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin))
}
fn is_set_aside(path: &Path) -> bool {
    path.to_string_lossy().contains("quarantine")
}
fn is_being_made(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "tmp")
}
fn is_folder(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|last| last == name)
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in 0..20 {
        let (one, other) = (sim::trace(seed), sim::trace(seed));
        // Checksums of what is encrypted are of random bytes.
        let plain = |line: &str| -> Vec<String> {
            let parts = line.split("CRC ").enumerate();
            parts.map(|(i, part)| part.get(if i == 0 { 0 } else { 8 }..).unwrap_or(part).to_string()).collect()
        };
        let differs = one.iter().zip(&other).find(|(one, other)| one != other && plain(one) != plain(other));
        assert!(differs.is_none() && one.len() == other.len(), "seed {seed}: {differs:#?}");
    }
}

/// The plain case, gone through without chance: a crash at every operation of one round.
#[test]
fn every_operation_of_a_round_may_be_the_last() {
    for seed in 0..from_env("DURAMEN_SIM_ROUNDS", 3) {
        let mut at = 0;
        loop {
            at += 1;
            match sim::run_until(seed, at) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => panic!("seed {seed}, the power goes at operation {at}: {e}"),
            }
        }
        assert!(at > 20, "a round of {at} operations");
    }
}

/// Syncs that a programmer may forget. Without any one of them something acknowledged can be lost.
const PLANTED: [(&str, SyncSkip); 25] = [
    ("all files", |op, _| op == SimOp::Sync),
    ("log files", |op, path| op == SimOp::Sync && is_log(path)),
    ("log files that are being made", |op, path| op == SimOp::Sync && is_log(path) && is_being_made(path)),
    ("log files that are appended to", |op, path| op == SimOp::Sync && is_log(path) && !is_being_made(path)),
    ("segments", |op, path| op == SimOp::Sync && is_segment(path)),
    // The log is trimmed while the entry that lets it go is not durable.
    ("manifests", |op, path| op == SimOp::Sync && is_manifest(path)),
    ("manifests that are being made", |op, path| op == SimOp::Sync && is_manifest(path) && is_being_made(path)),
    ("manifests that are appended to", |op, path| op == SimOp::Sync && is_manifest(path) && !is_being_made(path)),
    ("all folders", |op, _| op == SimOp::SyncDir),
    ("the folder of logs", |op, path| op == SimOp::SyncDir && is_folder(path, "log")),
    ("the folder of segments", |op, path| op == SimOp::SyncDir && is_folder(path, "segments")),
    ("the folder of tenants", |op, path| op == SimOp::SyncDir && is_folder(path, "tenants")),
    ("files of a backup", |op, path| op == SimOp::Sync && path.starts_with("/disk/backups")),
    ("folders of a backup", |op, path| op == SimOp::SyncDir && path.starts_with("/disk/backups")),
    ("receipts of keys", |op, path| op == SimOp::Sync && is_named(path, "receipts")),
    ("the control log", |op, path| op == SimOp::Sync && is_named(path, "control.log")),
    ("tenants' keys", |op, path| op == SimOp::Sync && is_named(path, "key")),
    ("files of an archive", |op, path| op == SimOp::Sync && path.starts_with(COLD)),
    ("lists of what is in an archive", |op, path| {
        op == SimOp::Sync && is_named(path, "archived") && !is_set_aside(path)
    }),
    ("folders of an archive", |op, path| op == SimOp::SyncDir && path.starts_with(COLD)),
    ("what a repair sets aside", |op, path| op == SimOp::Sync && is_set_aside(path)),
    ("segments that a repair sets aside", |op, path| {
        op == SimOp::Sync && is_set_aside(path) && is_named(path, "00") && path.to_string_lossy().contains(".seg")
    }),
    ("indexes that are made anew", |op, path| op == SimOp::Sync && path.to_string_lossy().contains(".idx")),
    ("the folder of what a repair sets aside", |op, path| op == SimOp::SyncDir && is_folder(path, "quarantine")),
    ("a tenant's folder", |op, path| op == SimOp::SyncDir && path.parent().is_some_and(|p| is_folder(p, "tenants"))),
];

#[test]
fn a_sync_that_is_left_out_is_found() {
    for (what, bug) in PLANTED {
        let found = (0..SEEDS).find_map(|seed| Some((seed, sim::run(seed, Some(bug)).err()?)));
        let Some((seed, why)) = found else { panic!("no seed below {SEEDS} finds that {what} are not synced") };
        println!("{what}: seed {seed}: {}", why.lines().next().unwrap_or_default());
    }
}
