//! How fast the parts are. Run by hand:
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib exec::tests::speed -- --ignored --nocapture`.

use super::build::*;
use crate::exec::Limits;
use crate::exec::testing::{MemoryBlock, MemorySource, Style, TestRecord, Zones};
use crate::query::ast::*;
use crate::record::{Source, Tag};
use std::sync::Arc;
use std::time::Instant;

const BLOCKS: u64 = 16;
const ROWS: u64 = 16_384;

fn store() -> Arc<dyn Source> {
    let mut random = 1u64;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let levels = ["info", "info", "info", "debug", "warn", "error"];
    let paths = ["/api/v1/users", "/api/v1/orders", "/health", "/static/app.js"];
    let mut block = |b: u64| {
        let record = |i: u64| {
            let (level, path) = (levels[next(6) as usize], paths[next(4) as usize]);
            let (id, ms) = (next(u64::MAX >> 34), next(3000));
            let rare = if next(20_000) == 0 { " Connection Reset by peer" } else { "" };
            let message = format!("Request {id:08x} GET {path} finished with status 200 in {ms} ms{rare}");
            let mut record =
                TestRecord { time: (b * ROWS + i) as i64 * 1_000_000, seq: b * ROWS + i, ..Default::default() };
            for (name, tag, text) in [
                ("level", Tag::String, level.to_string()),
                ("message", Tag::String, message),
                ("path", Tag::String, path.to_string()),
                ("duration", Tag::Number, ms.to_string()),
                ("request", Tag::String, format!("{id:08x}")),
            ] {
                record.fields.insert(name.into(), (tag, text));
            }
            record
        };
        let records: Vec<TestRecord> = (0..ROWS).map(record).collect();
        // Few values as dictionaries, as segments have them.
        MemoryBlock::new(records, Style::Mixed, Zones::Bounds)
    };
    Arc::new(MemorySource::new((0..BLOCKS).map(&mut block).collect(), false))
}

#[test]
#[ignore = "measures; run by hand with optimisation"]
fn measure() {
    let sources = [store()];
    let rows = BLOCKS * ROWS;
    let count = || vec![stats(&[], vec![function(StatsKind::Count, &[])])];
    let by = |keys: &[&str]| vec![stats(keys, vec![function(StatsKind::Count, &[])])];
    let sum = |kind: StatsKind| vec![stats(&["path"], vec![function(kind, &["duration"])])];
    let ignore_case = Test::Regex(Regex { pattern: "reset by p.er".into(), ignore_case: true });
    let cases: Vec<(&str, Filter, Vec<Pipe>)> = vec![
        ("count(*)", Filter::All, count()),
        ("phrase, rare", field("message", phrase("connection reset")), count()),
        ("phrase, common", field("message", phrase("finished with")), count()),
        ("phrase, digits", field("message", phrase("200")), count()),
        ("phrase, any field", any_field(phrase("connection reset")), count()),
        ("phrase, not ASCII", field("message", phrase("größe")), count()),
        (
            "wildcard *eset*",
            field(
                "message",
                Test::Wildcard([WildcardPart::Many, WildcardPart::Literal("eset".into()), WildcardPart::Many].into()),
            ),
            count(),
        ),
        ("regex with a literal", field("message", regex("Reset by p.er")), count()),
        ("regex, case ignored", field("message", ignore_case), count()),
        ("regex, common", field("message", regex("v[12]/users .* 1[0-9]+ ms")), count()),
        ("level=error", field("level", exact("error")), count()),
        ("duration>2500", field("duration", compare(CompareOp::Greater, "2500")), count()),
        ("count by level", Filter::All, by(&["level"])),
        ("count by level, path", Filter::All, by(&["level", "path"])),
        ("count by request", Filter::All, by(&["request"])),
        ("sum by path", Filter::All, sum(StatsKind::Sum)),
        ("p95 by path", Filter::All, sum(StatsKind::Quantile(0.95))),
        ("max by path", Filter::All, sum(StatsKind::Max)),
        ("newest 100", Filter::All, vec![Pipe::Limit(100)]),
        ("all rows", Filter::All, vec![]),
        ("sort duration, 10", Filter::All, vec![sort(&["-duration"], Some(10))]),
        ("sort message, 10", Filter::All, vec![sort(&["message"], Some(10))]),
    ];
    for (name, filter, pipes) in cases {
        let mut best = f64::MAX;
        let mut out = 0;
        for _ in 0..3 {
            let started = Instant::now();
            let (got, _) = run(&filter, &pipes, &sources, 1, Limits { memory_bytes: 1 << 32, ..Limits::default() })
                .expect("it runs");
            best = best.min(started.elapsed().as_secs_f64());
            out = got.len();
        }
        println!("{name:24} {:9.3} ms {:8.2} ns/row {out:8} rows out", best * 1e3, best * 1e9 / rows as f64);
    }
}
