//! A crash at every operation of random workloads.

use super::*;
use crate::vfs::sim::SimRandom;

const WORKLOADS: u64 = 300;
const STEPS: u64 = 14;

/// What a workload was told, so that what a crash leaves can be held against it.
#[derive(Default, Debug)]
struct Told {
    /// Batches with what they hold, acknowledged.
    acked: Vec<(Seq, u32, Vec<u8>)>,
    /// Up to here acknowledged as durable.
    durable: u64,
    /// Batches that got an error: they may be there or not.
    failed: Vec<Vec<u8>>,
    /// Up to here sealed, as a durable manifest would say.
    sealed: u64,
}

/// Runs a workload until it ends or everything fails.
fn run(vfs: &SimVfs, seed: u64, told: &mut Told) {
    let mut random = SimRandom(seed);
    let Ok((mut log, ..)) = open(vfs, 0) else { return };
    for step in 0..STEPS {
        if vfs.is_down() {
            break;
        }
        match random.below(12) {
            0..=7 => {
                let records = 1 + random.below(3) as u32;
                let ack = [Ack::Fsync, Ack::Os, Ack::Buffered][random.below(3) as usize];
                let mut payload = format!("{seed}/{step} ").into_bytes();
                let filler = random.below(6).pow(4);
                payload.extend((0..filler).map(|_| random.next_u64() as u8));
                match append(&log, &payload, records, ack) {
                    Ok(first) => {
                        told.acked.push((first, records, payload));
                        if ack == Ack::Fsync {
                            told.durable = first.0 + u64::from(records) - 1;
                        }
                    }
                    Err(_) => told.failed.push(payload),
                }
            }
            8 => {
                if log.flush().is_ok() {
                    told.durable = log.last_seq().0;
                }
            }
            9 => {
                if let Ok((id, last)) = log.rotate(|last| last) {
                    told.durable = last.0;
                    if random.coin() {
                        // The manifest says so before anything is removed.
                        told.sealed = last.0;
                        let _ = log.trim(id);
                    }
                }
            }
            10 => {
                if log.close().is_ok() {
                    told.durable = log.last_seq().0;
                }
                drop(log);
                match open(vfs, told.sealed) {
                    Ok((again, ..)) => log = again,
                    Err(_) => return,
                }
                told.durable = told.durable.max(log.durable_seq().0);
            }
            _ => {
                // As a killed process leaves it: nothing is closed.
                std::mem::forget(log);
                match open(vfs, told.sealed) {
                    Ok((again, ..)) => log = again,
                    Err(_) => return,
                }
                // What was only in memory is gone, and its Seqs are free.
                told.acked.retain(|(first, ..)| *first <= log.last_seq());
                told.durable = told.durable.max(log.durable_seq().0);
            }
        }
    }
    // An open log must not close itself on the file system that is looked at.
    std::mem::forget(log);
}

/// What is wrong with what a crash left.
fn find_fault(vfs: &SimVfs, told: &Told) -> Result<(), String> {
    let (log, report, batches) = open(vfs, told.sealed).map_err(|e| format!("refused: {e}"))?;
    let mut next = batches.first().map_or(told.sealed + 1, |b| b.first.0);
    if next > told.sealed + 1 {
        return Err(format!("begins at {next}, sealed up to {}", told.sealed));
    }
    for batch in &batches {
        if batch.first.0 != next {
            return Err(format!("Seq {} where {next} follows", batch.first));
        }
        next += u64::from(batch.records);
        let is_acked = told.acked.iter().any(|(first, records, payload)| {
            (*first, *records, payload) == (batch.first, batch.records, &batch.payload)
        });
        if !is_acked && !told.failed.contains(&batch.payload) {
            return Err(format!("a batch at {} that nobody wrote there", batch.first));
        }
    }
    for (first, records, payload) in &told.acked {
        let last = first.0 + u64::from(*records) - 1;
        let count = batches.iter().filter(|b| b.payload == *payload).count();
        if last > told.sealed && last <= told.durable && count != 1 {
            return Err(format!("{count} times what was acknowledged at {first}; {:?}", report.cuts));
        }
        if count > 1 {
            return Err(format!("twice what was written at {first}"));
        }
    }
    let last = log.last_seq().0;
    if last != next - 1 && last != told.sealed || last < told.durable {
        return Err(format!("the last Seq is {last}, replayed up to {}, durable {}", next - 1, told.durable));
    }
    // It takes more, and has that at the next open, with no damage.
    let seq = append(&log, b"after", 1, Ack::Fsync).map_err(|e| format!("takes no more: {e}"))?;
    std::mem::forget(log);
    let (_, report, again) = open(&vfs.after_crash(seq.0), told.sealed).map_err(|e| format!("second open: {e}"))?;
    match again.last() {
        Some(b) if b.payload == b"after" && b.first == seq => Ok(()),
        _ => Err(format!("an append after recovery is not there: {:?}", report.cuts)),
    }
}

fn explore(workloads: std::ops::Range<u64>, syncs_lie: bool) -> Result<u64, String> {
    let mut crashes = 0;
    for seed in workloads {
        let operations = {
            let vfs = SimVfs::new();
            run(&vfs, seed, &mut Told::default());
            vfs.operations()
        };
        for at in 1..=operations + 1 {
            let vfs = SimVfs::new();
            vfs.syncs_lie(syncs_lie);
            vfs.crash_at(at);
            let mut told = Told::default();
            run(&vfs, seed, &mut told);
            crashes += 1;
            let left = vfs.after_crash(seed << 20 | at);
            let place = format!("workload {seed}, crash at operation {at}");
            // A second crash, within the recovery from the first.
            let again = vfs.after_crash(seed << 20 | at);
            let within = 1 + at % 9;
            again.crash_at(within);
            drop(open(&again, told.sealed));
            find_fault(&left, &told).map_err(|e| format!("{place}: {e}"))?;
            let left = again.after_crash(at);
            find_fault(&left, &told).map_err(|e| format!("{place}, and at {within} of recovery: {e}"))?;
        }
    }
    Ok(crashes)
}

#[test]
fn no_crash_loses_or_doubles_what_was_acknowledged() {
    let results: Vec<Result<u64, String>> = std::thread::scope(|s| {
        let half = WORKLOADS / 2;
        let parts = [s.spawn(move || explore(0..half, false)), s.spawn(move || explore(half..WORKLOADS, false))];
        parts.into_iter().map(|part| part.join().unwrap_or(Err("panicked".into()))).collect()
    });
    for result in results {
        match result {
            Ok(crashes) => assert!(crashes > WORKLOADS, "{crashes}"),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn the_same_test_finds_a_sync_that_is_left_out() {
    assert!(explore(0..20, true).is_err());
}

#[test]
fn a_killed_process_keeps_what_the_system_has() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"os", Ack::Os);
    ok(&log, b"buffered", Ack::Buffered);
    std::mem::forget(log);
    let (log, report, batches) = must_open(&vfs.after_kill(), 0);
    assert_eq!((texts(&batches), report.durable, log.durable_seq()), (vec!["os".to_string()], Seq(0), Seq(1)));
}

#[test]
fn a_torn_tail_is_set_aside_with_its_reason() {
    let vfs = SimVfs::new();
    let (log, ..) = must_open(&vfs, 0);
    ok(&log, b"whole", Ack::Fsync);
    std::mem::forget(log);
    let mut bytes = vfs.read(&path(1)).expect("bytes");
    let end = bytes.iter().rposition(|b| *b != 0).expect("frames") + 1;
    bytes[end..end + 7].copy_from_slice(b"garbage");
    vfs.put(&path(1), &bytes);
    let (log, report, batches) = must_open(&vfs, 0);
    assert_eq!(texts(&batches), ["whole"]);
    let [cut] = &report.cuts[..] else { panic!("{report:?}") };
    assert_eq!((cut.offset, cut.bytes, &cut.file), (end as u64, 7, &path(1)));
    let aside = cut.quarantined.clone().expect("a copy");
    assert_eq!(vfs.read(&aside).expect("a copy"), b"garbage");
    let reason = vfs.read(&aside.with_extension(format!("log-{end}.reason"))).expect("a reason");
    assert!(String::from_utf8_lossy(&reason).contains("torn tail"), "{}", String::from_utf8_lossy(&reason));
    ok(&log, b"more", Ack::Fsync);
    drop(log);
    let (_, report, batches) = must_open(&vfs, 0);
    assert_eq!((texts(&batches), report.cuts.len()), (vec!["whole".to_string(), "more".to_string()], 0));
}
