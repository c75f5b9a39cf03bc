//! The steps of a record's way, one by one: `cargo bench`, or `cargo bench -- seal` for one of them.
//!
//! Throughputs are in bytes of the input as JSON lines. `DURAMEN_BENCH_ROWS` makes the data larger.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use duramen::ingest::{Collected, Format, IngestOptions, ingest_slice};
use duramen::{Ack, Batch, Options, Store, Tenant, Timestamp};
use std::hint::black_box;
use std::time::Duration;

const START_MS: i64 = 1_748_736_000_000;

/// Lines like those of a service: a few templates, ids that never come again, numbers, nested objects.
fn lines(rows: u64) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = String::new();
    for i in 0..rows {
        let (a, b, c) = (next(), next(), next());
        let level = ["debug", "info", "info", "info", "warn", "error"][(a % 6) as usize];
        let (status, ms) = ([200, 200, 201, 404, 500][(b % 5) as usize], b % 2_000);
        let needle = if i == rows / 2 { " needle-alpha" } else { "" };
        out.push_str(&format!(
            "{{\"timestamp\":{},\"level\":\"{level}\",\"category\":\"api\",\"userId\":\"user-{:05}\",\
             \"message\":\"GET /api/v1/items/{:08x} {status} in {ms}ms{needle}\",\"requestId\":\"req_{:016x}\",\
             \"duration\":{ms},\"statusCode\":{status},\"http\":{{\"bytes\":{},\"version\":\"1.1\"}},\
             \"ip\":\"10.{}.{}.{}\"}}\n",
            START_MS + i as i64 * 5,
            a % 500,
            c as u32,
            b ^ c,
            c % 30_000,
            a % 4,
            b % 200,
            c % 250
        ));
    }
    out
}

fn rows() -> u64 {
    std::env::var("DURAMEN_BENCH_ROWS").ok().and_then(|v| v.parse().ok()).unwrap_or(100_000)
}

fn parse(text: &str) -> Vec<Batch> {
    let options = IngestOptions::new(Timestamp(START_MS * 1_000_000)).format(Format::Json);
    let mut sink = Collected::default();
    let Ok(counts) = ingest_slice(&options, text.as_bytes(), &mut sink);
    assert_eq!(counts.rejected, 0);
    sink.batches
}

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.memtable_bytes_max = 1 << 30;
    options
}

fn filled(folder: &tempfile::TempDir, batches: &[Batch], ack: Ack) -> (Store, Tenant) {
    let store = Store::open_with(folder.path().join("data"), options()).expect("a store");
    let tenant = store.tenant("bench").expect("a tenant");
    for batch in batches {
        tenant.append_batch(batch, ack).expect("appended");
    }
    (store, tenant)
}

fn steps(c: &mut Criterion) {
    let text = lines(rows());
    let batches = parse(&text);
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(10);
    group.bench_function("parse", |b| b.iter(|| black_box(parse(&text))));
    for (name, ack) in [("append/fsync", Ack::Fsync), ("append/os", Ack::Os)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || tempfile::tempdir().expect("a folder"),
                |folder| {
                    let made = filled(&folder, &batches, ack);
                    (made, folder)
                },
                BatchSize::PerIteration,
            )
        });
    }
    group.bench_function("seal", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("a folder");
                let (store, tenant) = filled(&folder, &batches, Ack::Os);
                (folder, store, tenant)
            },
            |(folder, store, tenant)| {
                assert_eq!(tenant.seal().expect("sealed"), rows());
                (folder, store)
            },
            BatchSize::PerIteration,
        )
    });
    group.finish();
}

fn queries(c: &mut Criterion) {
    let text = lines(rows());
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, tenant) = filled(&folder, &parse(&text), Ack::Os);
    tenant.seal().expect("sealed");
    let mut group = c.benchmark_group("query");
    group.throughput(Throughput::Bytes(text.len() as u64)).measurement_time(Duration::from_secs(5));
    for (name, query) in [
        ("needle", "needle AND alpha"),
        ("absent", "zzzabsentzzz"),
        ("id", "requestId:req_0123456789abcdef"),
        ("scan", r"message:/items\/[0-9a-f]{3}0.* 404 /| stats count() as n"),
        ("comparison", "duration:>1500 AND level:error | stats count() as n"),
        ("group-by", "* | stats by (level) count() as n, sum(duration) as total"),
        ("group-by-user", "* | stats by (userId) count() as n, p95(duration) as slow"),
        ("newest", "level:error | limit 100"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let rows = tenant.query(query).expect("a query");
                rows.inspect(|row| assert!(row.is_ok())).count()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, steps, queries);
criterion_main!(benches);
