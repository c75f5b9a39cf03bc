//! Idempotency keys: a request that comes again is answered as before and not stored twice, whatever came between.

mod support;

use duramen::repair::{RepairOptions, repair_on};
use duramen::tenant::Clock;
use duramen::verify::FindingKind;
use duramen::vfs::Vfs;
use duramen::vfs::sim::{SimOp, SimRandom, SimVfs};
use duramen::{
    Ack, AppendOptions, BatchBuilder, Error, Idempotency, Labels, Options, Record, Store, Tenant, Timestamp,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use support::bin::Server;
use support::http::{self, Answer};

const DIR: &str = "/store";

fn open(vfs: &SimVfs) -> Store {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), options, true).unwrap()
}

fn batch(from: u64, count: u64) -> duramen::Batch {
    let mut builder = BatchBuilder::new();
    for n in from..from + count {
        builder.push(&Record::new().with("n", n), Timestamp(n as i64), &Labels::default()).unwrap();
    }
    builder.take()
}

fn keyed(key: &str) -> AppendOptions {
    AppendOptions::new().idempotency(Idempotency::new(key).unwrap().answer(format!("answer to {key}").as_bytes()))
}

fn count(tenant: &Tenant) -> usize {
    tenant.query("*").unwrap().count()
}

/// Appends, and says whether it was a replay with the right answer.
fn again(tenant: &Tenant, key: &str, batch: &duramen::Batch) -> Result<bool, Error> {
    let committed = tenant.append_batch_with(batch, keyed(key))?;
    assert_eq!(committed.appended.records as usize, batch.len());
    if let Some(answer) = &committed.replayed {
        assert_eq!(**answer, *format!("answer to {key}").as_bytes());
    }
    Ok(committed.replayed.is_some())
}

/// A key is free after 24 hours and not before, wherever its receipt is: in memory, in the log or in the file; and in a
/// repair as well.
#[test]
fn a_key_is_remembered_for_a_day() {
    const HOUR: i64 = 3600 * 1_000_000_000;
    for (is_sealed, is_reopened, is_repaired) in
        [(false, false, false), (true, false, false), (false, true, false), (true, true, false), (true, true, true)]
    {
        let what = format!("sealed {is_sealed}, reopened {is_reopened}, repaired {is_repaired}");
        let (vfs, time) = (SimVfs::new(), Arc::new(AtomicI64::new(Timestamp::now().0)));
        let open = || {
            let mut options = Options::default();
            options.background_threads = 0;
            let time = time.clone();
            options.clock = Clock::new(move || Timestamp(time.load(Ordering::SeqCst)));
            Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), options, true).unwrap()
        };
        let store = std::cell::RefCell::new(Some(open()));
        let settle = || {
            if is_sealed {
                store.borrow().as_ref().unwrap().tenant("t").unwrap().seal().unwrap();
            }
            if is_reopened {
                store.take().unwrap().close().unwrap();
                if is_repaired {
                    // The manifest's header.
                    assert!(vfs.damage(&Path::new(DIR).join("tenants/t/manifest"), 8 * 20));
                    let report =
                        repair_on(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), Path::new(DIR), &RepairOptions::default());
                    assert!(report.unwrap().lost.is_empty());
                }
                store.replace(Some(open()));
            }
        };
        let again = |key: &str, batch: &duramen::Batch| {
            again(&store.borrow().as_ref().unwrap().tenant("t").unwrap(), key, batch)
        };
        assert!(!again("k", &batch(0, 3)).unwrap());
        settle();
        time.fetch_add(12 * HOUR, Ordering::SeqCst);
        assert!(!again("later", &batch(100, 3)).unwrap());
        settle();
        time.fetch_add(12 * HOUR - 1, Ordering::SeqCst);
        assert!(again("k", &batch(0, 3)).unwrap(), "{what}: a moment before");
        assert!(again("k", &batch(7, 3)).is_err_and(|e| e.is_key_reused()), "{what}");
        time.fetch_add(2, Ordering::SeqCst);
        assert!(!again("k", &batch(7, 3)).unwrap(), "{what}: it is free");
        settle();
        assert!(again("k", &batch(7, 3)).unwrap(), "{what}: and then another request's");
        assert!(again("later", &batch(100, 3)).unwrap(), "{what}");
        time.fetch_add(12 * HOUR, Ordering::SeqCst);
        settle();
        assert!(!again("later", &batch(8, 1)).unwrap() && again("k", &batch(7, 3)).unwrap(), "{what}");
        assert_eq!(count(&store.borrow().as_ref().unwrap().tenant("t").unwrap()), 10, "{what}");
    }
}

#[test]
fn a_key_is_good_for_one_request_of_one_tenant() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    let (one, two) = (store.tenant("one").unwrap(), store.tenant("two").unwrap());
    let first = one.append_batch_with(&batch(0, 3), keyed("k").ack(Ack::Os)).unwrap();
    assert_eq!((first.appended.first.0, first.appended.ack, first.replayed.is_none()), (1, Ack::Os, true));
    one.append_batch(&batch(100, 5), Ack::Fsync).unwrap();
    let second = one.append_batch_with(&batch(0, 3), keyed("k").ack(Ack::Fsync)).unwrap();
    assert_eq!(second.appended, first.appended, "as before, also what was promised");
    assert!(one.append_batch_with(&batch(1, 3), keyed("k")).is_err_and(|e| e.is_key_reused()));
    assert!(!again(&two, "k", &batch(1, 3)).unwrap(), "another tenant's keys are its own");
    assert!(!again(&one, "k2", &batch(0, 3)).unwrap(), "another key is another request");
    assert_eq!((count(&one), count(&two)), (11, 3));
    let tell = |hash| AppendOptions::new().idempotency(Idempotency::new("told").unwrap().request([hash; 32]));
    one.append_batch_with(&batch(0, 1), tell(1)).unwrap();
    assert!(one.append_batch_with(&batch(50, 9), tell(1)).unwrap().replayed.is_some(), "the caller says what is alike");
    assert!(one.append_batch_with(&batch(0, 1), tell(2)).is_err_and(|e| e.is_key_reused()));
    for bad in ["", &"k".repeat(256)] {
        assert!(Idempotency::new(bad).is_err_and(|e| e.is_bad_key()), "{bad}");
    }
    let long = AppendOptions::new().idempotency(Idempotency::new("long").unwrap().answer(&[0; 4056]));
    assert!(one.append_batch_with(&batch(0, 1), long).is_err_and(|e| e.is_bad_record()));
}

#[test]
fn keys_outlive_kills_sealing_and_the_log() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    let tenant = store.tenant("t").unwrap();
    assert!(!again(&tenant, "a", &batch(0, 2)).unwrap());
    // In the log alone.
    let store = open(&vfs.after_kill());
    let tenant = store.tenant("t").unwrap();
    assert!(again(&tenant, "a", &batch(0, 2)).unwrap());
    // In the file, with one more in the log.
    tenant.seal().unwrap();
    assert!(again(&tenant, "a", &batch(0, 2)).unwrap());
    assert!(!again(&tenant, "b", &batch(10, 2)).unwrap());
    store.close().unwrap();
}

#[test]
fn keys_outlive_a_crash_at_every_operation() {
    let run = |vfs: &SimVfs, done: &mut Vec<&'static str>| {
        let mut steps = || -> Result<(), Error> {
            let mut options = Options::default();
            options.background_threads = 0;
            let store = Store::open_on(Arc::new(vfs.clone()), Path::new(DIR), options, true)?;
            let tenant = store.tenant("t")?;
            for (key, from) in [("a", 0), ("b", 10), ("c", 20)] {
                again(&tenant, key, &batch(from, 2))?;
                done.push(key);
                if key != "b" {
                    tenant.seal()?;
                }
            }
            store.close()
        };
        steps()
    };
    let whole = SimVfs::new();
    run(&whole, &mut Vec::new()).unwrap();
    let operations = whole.operations();
    assert!(operations > 40, "{operations}");
    for at in 1..=operations {
        let vfs = SimVfs::new();
        vfs.crash_at(at);
        let mut done = Vec::new();
        assert!(run(&vfs, &mut done).is_err() || !vfs.is_down(), "nobody saw the crash at {at}");
        for (left, how) in [(vfs.after_kill(), "killed"), (vfs.after_crash(at), "power lost")] {
            let store = open(&left);
            let tenant = store.tenant("t").unwrap();
            // Each request comes again: those that were acknowledged are replays, and all are there once in the end.
            for (key, from) in [("a", 0), ("b", 10), ("c", 20)] {
                let replayed = again(&tenant, key, &batch(from, 2)).unwrap();
                let acked = done.contains(&key);
                assert!(replayed || !acked, "{how} at {at}: {key} was acknowledged and is stored again");
            }
            assert_eq!(count(&tenant), 6, "{how} at {at}");
            assert!(tenant.append_batch_with(&batch(5, 2), keyed("a")).is_err_and(|e| e.is_key_reused()));
        }
    }
}

#[test]
fn a_key_in_flight_waits_and_one_that_failed_is_free() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    let tenant = store.tenant("t").unwrap();
    vfs.sync_takes(std::time::Duration::from_millis(30));
    let replays: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| again(&tenant, "same", &batch(0, 4)).unwrap())).collect();
        threads.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
    });
    assert_eq!((replays, count(&tenant)), (5, 4));
    vfs.set_space(Some(vfs.used_bytes()));
    // More than what is reserved.
    let mut random = SimRandom(1);
    let mut builder = BatchBuilder::new();
    for _ in 0..200_000 {
        let text = format!("{:x}{:x}{:x}", random.next_u64(), random.next_u64(), random.next_u64());
        builder.push(&Record::new().with("text", text), Timestamp(1), &Labels::default()).unwrap();
    }
    let large = builder.take();
    assert!(again(&tenant, "full", &large).is_err_and(|e| e.is_out_of_space()));
    vfs.set_space(None);
    assert!(!again(&tenant, "full", &batch(7, 1)).unwrap(), "nothing was stored, so that the key stands for nothing");
    vfs.fail(SimOp::Sync, 1);
    assert!(again(&tenant, "sync", &batch(8, 1)).is_err());
    assert!(!again(&tenant, "sync", &batch(8, 1)).unwrap());
    assert_eq!(count(&tenant), 6);
}

#[test]
fn damaged_receipts_refuse_keys_and_nothing_else() {
    let vfs = SimVfs::new();
    let store = open(&vfs);
    again(&store.tenant("t").unwrap(), "a", &batch(0, 2)).unwrap();
    store.close().unwrap();
    let path = Path::new(DIR).join("tenants/t/receipts");
    for bit in [3, 100 * 8, 300 * 8] {
        let left = vfs.after_kill();
        left.flip_bit(Some((&path, bit)));
        let store = open(&left);
        let tenant = store.tenant("t").unwrap();
        let refused = again(&tenant, "b", &batch(10, 2)).unwrap_err();
        assert!(refused.is_damage() && refused.to_string().contains("receipts"), "{refused}");
        tenant.append_batch(&batch(20, 2), Ack::Fsync).unwrap();
        assert_eq!(count(&tenant), 4);
        tenant.seal().unwrap();
        left.flip_bit(None);
        drop(tenant);
        store.close().unwrap();
        // Nobody wrote over it: once it reads again, its keys are known.
        assert!(again(&open(&left).tenant("t").unwrap(), "a", &batch(0, 2)).unwrap());
    }
}

#[test]
fn the_verifier_reads_receipts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for name in ["one", "two"] {
        again(&store.tenant(name).unwrap(), "a", &batch(0, 2)).unwrap();
    }
    store.close().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join("tenants").join(name).join("receipts"));
    let kinds = || {
        let report = duramen::verify::verify(&[folder.path()], false);
        report.findings.into_iter().map(|f| (f.kind, f.file)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(), []);
    let bytes = std::fs::read(&one).unwrap();
    for at in (0..bytes.len()).step_by(17) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        std::fs::write(&one, &bad).unwrap();
        assert_eq!(kinds(), [(FindingKind::Corruption, one.clone())], "byte {at}");
    }
    std::fs::copy(&two, &one).unwrap();
    assert_eq!(kinds(), [(FindingKind::Misplaced, one)]);
}

fn post(server: &Server, key: &str, target: &str, body: &[u8]) -> Answer {
    http::send(&server.address, "POST", target, &[("Idempotency-Key", key)], body).unwrap()
}

fn stored(server: &Server) -> String {
    let path = format!("/api/v1/query?format=csv&query={}", http::escape("* | stats count() as n"));
    http::get(&server.address, &path).unwrap().body.split_whitespace().nth(1).unwrap_or_default().to_string()
}

#[test]
fn over_http() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let target = "/api/v1/ingest?stream=app%3Dx&ack=os";
    let bad: String = (0..500).map(|_| "no object\n").collect();
    let body = format!("{{\"a\":1}}\n{bad}{{\"a\":2}}\n");
    let first = post(&server, "k-1", target, body.as_bytes());
    assert_eq!(first.status, 200, "{first:?}");
    assert!(first.body.contains("\"accepted\":2") && first.body.contains("\"rejected_total\":500"), "{}", first.body);
    assert!(first.body.len() <= 4055 && !first.head.contains("idempotent-replay"), "{first:?}");
    let replayed = |answer: &Answer| (answer.status, answer.head.contains("idempotent-replay: true"));
    let second = post(&server, "k-1", target, body.as_bytes());
    assert_eq!((replayed(&second), &second.body), ((200, true), &first.body));
    // However it is packed, and whatever ack is asked for.
    let packed = zstd::encode_all(body.as_bytes(), 1).unwrap();
    let headers = [("Idempotency-Key", "k-1"), ("Content-Encoding", "zstd")];
    let third = http::send(&server.address, "POST", "/api/v1/ingest?stream=app%3Dx", &headers, &packed).unwrap();
    assert_eq!((replayed(&third), &third.body), ((200, true), &first.body));
    for (target, body) in [(target, "{\"a\":1}\n"), ("/api/v1/ingest?stream=app%3Dy", &body)] {
        let other = post(&server, "k-1", target, body.as_bytes());
        assert_eq!((other.status, other.body.contains("key_reused")), (409, true), "{other:?}");
    }
    for (key, status) in [("", 400), ("x".repeat(256).as_str(), 400), ("x".repeat(255).as_str(), 200)] {
        assert_eq!(post(&server, key, target, b"{\"b\":1}\n").status, status, "{key}");
    }
    // Nothing was stored, so that the key is free.
    assert_eq!(post(&server, "k-2", target, b"no\n").status, 400);
    assert_eq!(post(&server, "k-2", target, b"{\"c\":1}\n").status, 200);
    let large = "{\"text\":\"some words\"}\n".repeat((8 << 20) / 22 + 2);
    let refused = post(&server, "k-3", target, large.as_bytes());
    assert_eq!((refused.status, refused.body.contains("Idempotency-Key")), (413, true), "{refused:?}");
    let fits = &large[..(8 << 20) / 22 * 22];
    assert_eq!(post(&server, "k-3", target, fits.as_bytes()).status, 200);
    let records = (2 + 1 + 1 + (8 << 20) / 22).to_string();
    assert_eq!(stored(&server), records);
    server.kill();

    let server = Server::start(&data);
    let after = post(&server, "k-1", target, body.as_bytes());
    assert_eq!((replayed(&after), &after.body), ((200, true), &first.body), "after kill -9");
    assert_eq!(replayed(&post(&server, "k-3", target, fits.as_bytes())), (200, true));
    assert_eq!(stored(&server), records);
    drop(server);
    let report = duramen::verify::verify(&[&data], true);
    let torn = |f: &&duramen::verify::Finding| f.kind != FindingKind::TornTail;
    assert_eq!(report.findings.iter().filter(torn).count(), 0, "{:?}", report.findings);
}
