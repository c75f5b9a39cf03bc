//! The control log on a disk that loses power at every operation, and fails.

use super::log::{ControlLog, read};
use crate::format::control::{Event, EventKind};
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::vfs::Vfs;
use crate::vfs::sim::{SimFault, SimOp, SimRandom, SimVfs};
use std::path::Path;

const PATH: &str = "/disk/store/control.log";

fn event(seed: u64, number: u64) -> Event {
    let tenant = TenantId::new(&format!("t{seed}-{number}")).expect("a name");
    let name = "x".repeat((seed * 7 + number * 131) as usize % 900);
    let kind = match number % 3 {
        0 => EventKind::TenantCreated { tenant },
        _ => EventKind::TenantSet { tenant, name: name.into(), value: None },
    };
    Event { at: Timestamp(number as i64), kind }
}

/// What was said to be decided, and what was tried.
#[derive(Default)]
struct Told {
    decided: Vec<u64>,
    tried: u64,
}

/// Opens and appends until something fails.
fn session(vfs: &SimVfs, seed: u64, told: &mut Told) -> Result<(), String> {
    let (mut log, contents) = ControlLog::open(vfs, Path::new(PATH)).map_err(|e| e.to_string())?;
    let found: Vec<u64> = contents.events.iter().map(|e| e.at.0 as u64).collect();
    // All that was decided, in order, and at most what was tried beside it.
    if let Some(missing) = told.decided.iter().find(|n| !found.contains(n)) {
        panic!("seed {seed}: event {missing} was decided and is gone: {found:?}");
    }
    assert!(found.is_sorted() && found.iter().all(|n| *n < told.tried), "seed {seed}: {found:?}");
    for (event_found, number) in contents.events.iter().zip(&found) {
        assert_eq!(*event_found, event(seed, *number));
    }
    // What is there now is taken for decided.
    told.decided = found;
    for _ in 0..4 {
        let number = told.tried;
        told.tried += 1;
        log.append(&event(seed, number)).map_err(|e| e.to_string())?;
        told.decided.push(number);
    }
    Ok(())
}

fn start() -> SimVfs {
    let vfs = SimVfs::new();
    // The control log has no marks: it tells a torn frame from a damaged one by whole sectors of zeros, and refuses
    // what is neither, since what it loses may be that a token was revoked.
    vfs.orderly(|_| true);
    vfs.create_dir_all(Path::new("/disk/store")).expect("folders");
    vfs.sync_dir(Path::new("/disk")).expect("synced");
    vfs
}

#[test]
fn what_was_decided_survives_a_crash_at_every_operation() {
    for seed in 0..600 {
        let mut random = SimRandom(seed);
        let (mut vfs, mut told) = (start(), Told::default());
        for round in 0..5 {
            match random.below(3) {
                0 => vfs.crash_at(1 + random.below(14)),
                1 => {
                    let op = [SimOp::Sync, SimOp::Sync, SimOp::Write, SimOp::SyncDir][random.below(4) as usize];
                    vfs.inject(SimFault::new(op).after(random.below(5)).times(1 + random.below(3)));
                }
                _ => {}
            }
            let ended = session(&vfs, seed, &mut told);
            assert!(ended.is_ok() || vfs.is_down() || vfs.faults() > 0, "seed {seed}, round {round}: {ended:?}");
            let next = random.next_u64();
            vfs = if random.coin() { vfs.after_kill() } else { vfs.after_crash(next) };
        }
        let ended = session(&vfs, seed, &mut told);
        assert!(ended.is_ok(), "seed {seed}: {ended:?}");
        read(&vfs, Path::new(PATH)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn a_sync_that_is_left_out_is_found() {
    for skip in [|op, _: &Path| op == SimOp::Sync, |op, _: &Path| op == SimOp::SyncDir] {
        let found = (0..200).any(|seed| {
            let vfs = start();
            vfs.skip_syncs(Some(skip));
            let mut told = Told::default();
            session(&vfs, seed, &mut told).expect("appends");
            let left = vfs.after_crash(seed);
            let again = std::panic::catch_unwind(move || session(&left, seed, &mut told));
            !matches!(again, Ok(Ok(())))
        });
        assert!(found, "a sync that does nothing went unseen");
    }
}
