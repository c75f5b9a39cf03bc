//! A store on a file system that loses power at every operation of a random workload.
//!
//! Each seed gives a workload; it is run once to count its operations, then once for each of them, with the power lost
//! there. What was acknowledged at `fsync` must be there, once; a batch is there whole or not at all; and the store
//! opens, takes more, and loses none of that either. `DURAMEN_CRASH_SEEDS` sets how many seeds are run.

use duramen::vfs::sim::{SimRandom, SimVfs};
use duramen::{Ack, BatchBuilder, Error, Labels, Options, Record, Store, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/disk/store";

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.memtable_bytes_max = 3000;
    options.merge_bytes_max = 1 << 20;
    options
}

fn open(vfs: &SimVfs) -> Result<Store, Error> {
    Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), options(), true)
}

/// What a batch must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Survives {
    Nothing,
    Kill,
    PowerLoss,
}

/// What is known of the batches that were appended: number of records, and what they must survive.
#[derive(Default, Debug)]
struct Model {
    batches: BTreeMap<(usize, u64), (u32, Survives)>,
    next: u64,
}

const TENANTS: [&str; 2] = ["one", "two"];

fn batch(number: u64, records: u32) -> duramen::Batch {
    let mut builder = BatchBuilder::new();
    for i in 0..records {
        let record = Record::new()
            .with("batch", number)
            .with("place", i)
            .with("of", records)
            .with("text", format!("record {i} of batch {number}, of some length so that memtables fill"));
        builder.push(&record, Timestamp(1_000_000 * number as i64 - 777 * i64::from(i)), &Labels::default()).unwrap();
    }
    builder.take()
}

/// Runs a workload until its end or an error; what was acknowledged is in the model.
fn workload(vfs: &SimVfs, seed: u64, model: &mut Model) -> Result<(), Error> {
    let mut random = SimRandom(seed);
    let mut store = open(vfs)?;
    for _ in 0..14 {
        let which = random.below(2) as usize;
        match random.below(10) {
            0..=6 => {
                let tenant = store.tenant(TENANTS[which])?;
                let (number, records) = (model.next, 1 + random.below(12) as u32);
                model.next += 1;
                let ack = [Ack::Fsync, Ack::Fsync, Ack::Os, Ack::Buffered][random.below(4) as usize];
                // Attempted, and not known to survive until the answer comes.
                model.batches.insert((which, number), (records, Survives::Nothing));
                tenant.append_batch(&batch(number, records), ack)?;
                let survives = match ack {
                    Ack::Fsync => Survives::PowerLoss,
                    Ack::Os => Survives::Kill,
                    Ack::Buffered => Survives::Nothing,
                };
                model.batches.insert((which, number), (records, survives));
            }
            7 => drop(store.tenant(TENANTS[which])?.seal()?),
            8 => drop(store.tenant(TENANTS[which])?.compact(None)?),
            _ => {
                store.close()?;
                // What was closed in order is durable, however it was acknowledged.
                model.batches.values_mut().for_each(|(_, survives)| *survives = Survives::PowerLoss);
                store = open(vfs)?;
            }
        }
    }
    store.close()?;
    model.batches.values_mut().for_each(|(_, survives)| *survives = Survives::PowerLoss);
    Ok(())
}

/// Opens what a crash left, and compares it with the model.
fn check(vfs: &SimVfs, model: &Model, what: Survives, context: &str) {
    let store = open(vfs).unwrap_or_else(|e| panic!("{context}: does not open: {e}"));
    for (which, name) in TENANTS.iter().enumerate() {
        let tenant = store.tenant(name).unwrap_or_else(|e| panic!("{context}: {name}: {e}"));
        let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for row in tenant.query("*").unwrap_or_else(|e| panic!("{context}: {e}")) {
            let row = row.unwrap_or_else(|e| panic!("{context}: {e}"));
            let number = |name: &str| row.get(name).and_then(|(_, text)| text.parse::<u64>().ok()).expect("a number");
            found.entry(number("batch")).or_default().push(number("place") as u32);
        }
        for (&(_, number), &(records, survives)) in model.batches.range((which, 0)..(which + 1, 0)) {
            let mut places = found.remove(&number).unwrap_or_default();
            places.sort_unstable();
            let whole: Vec<u32> = (0..records).collect();
            let ok = places == whole || (places.is_empty() && survives < what);
            assert!(ok, "{context}: batch {number} of {name} has {places:?} of {records}, survives {survives:?}");
        }
        assert!(found.is_empty(), "{context}: {name} has what was never appended: {found:?}");
        // The store goes on.
        let number = 1_000_000 + which as u64;
        tenant.append_batch(&batch(number, 3), Ack::Fsync).unwrap_or_else(|e| panic!("{context}: {name}: {e}"));
        let rows = tenant.query(&format!("batch:={number}")).expect("a query").count();
        assert_eq!(rows, 3, "{context}: {name}");
    }
    store.close().unwrap_or_else(|e| panic!("{context}: {e}"));
}

fn seeds() -> u64 {
    std::env::var("DURAMEN_CRASH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// Runs a seed with a crash at every operation; `lie` makes syncs do nothing.
fn run(seed: u64, lie: bool) {
    let vfs = SimVfs::new();
    vfs.syncs_lie(lie);
    let mut model = Model::default();
    workload(&vfs, seed, &mut model).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    check(&vfs.after_kill(), &model, Survives::PowerLoss, &format!("seed {seed}, no crash"));
    for operation in 1..=vfs.operations() {
        let vfs = SimVfs::new();
        vfs.syncs_lie(lie);
        vfs.crash_at(operation);
        let mut model = Model::default();
        let ended = workload(&vfs, seed, &mut model);
        assert!(ended.is_err() || !vfs.is_down(), "seed {seed}: nobody saw the crash at {operation}");
        let killed = format!("seed {seed}, killed at operation {operation}");
        check(&vfs.after_kill(), &model, Survives::Kill, &killed);
        let cut = format!("seed {seed}, power lost at operation {operation}");
        check(&vfs.after_crash(operation), &model, Survives::PowerLoss, &cut);
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_comes_back_half() {
    for seed in 0..seeds() {
        run(seed, false);
    }
}

#[test]
fn a_planted_bug_is_found() {
    let found = (0..seeds()).any(|seed| std::panic::catch_unwind(|| run(seed, true)).is_err());
    assert!(found, "syncs that do nothing went unseen");
}
