//! What queries keep, against what they may keep.

use super::build::*;
use crate::exec::testing::{Style, TestRecord, Zones};
use crate::exec::{ExecError, Execution, Limits, Plan};
use crate::query::ast::*;
use crate::record::{Source, Tag, Timestamp};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The rows, where the query is not refused for memory, and the most that it kept.
fn run_within(
    pipes: &[Pipe],
    sources: &[Arc<dyn Source>],
    threads: usize,
    memory_bytes: u64,
) -> (Option<Vec<String>>, u64) {
    let query = Query { filter: Filter::All, pipes: pipes.to_vec() };
    let limits = Limits { memory_bytes, ..Limits::default() };
    let plan = Plan::new(&query, Timestamp(0), None, limits).expect("a plan");
    let (mut rows, peak) = (Vec::new(), AtomicU64::new(0));
    let done = Execution::new().threads(threads).memory_peak(&peak).run(&plan, sources, &mut |row| {
        rows.push(row.to_json());
        ControlFlow::Continue(())
    });
    match done {
        Ok(_) => (Some(rows), peak.into_inner()),
        Err(ExecError::LimitExceeded { limit: "query_memory_bytes_max", .. }) => (None, peak.into_inner()),
        Err(error) => panic!("{error}"),
    }
}

fn many() -> Vec<TestRecord> {
    let record = |i: u64| {
        let mut record = TestRecord { time: i as i64, seq: i + 1, ..Default::default() };
        let spread = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (name, tag, text) in [
            ("id", Tag::String, format!("req_{spread:016x}")),
            ("name", Tag::String, format!("user {} of {i}", spread % 1000)),
            ("n", Tag::Number, format!("{}.5", spread % 3000)),
            ("g", Tag::Number, (i % 5).to_string()),
        ] {
            record.fields.insert(name.into(), (tag, text));
        }
        record
    };
    (0..6000).map(record).collect()
}

fn pipes() -> Vec<Vec<Pipe>> {
    let of = |kind: StatsKind, name: &str| function(kind, &[name]);
    let count = || function(StatsKind::Count, &[]);
    vec![
        vec![stats(&["id"], vec![count()])],
        vec![stats(&["id"], vec![count()]), sort(&["-count(*)"], Some(10))],
        vec![stats(&["name", "g"], vec![count()])],
        vec![stats(&[], vec![of(StatsKind::CountUniq, "id")])],
        vec![stats(&["g"], vec![of(StatsKind::CountUniq, "name"), of(StatsKind::Quantile(0.5), "n")])],
        vec![stats(&["name"], vec![of(StatsKind::Sum, "n"), of(StatsKind::Max, "id")])],
        vec![stats(&["g"], vec![of(StatsKind::Values, "name"), of(StatsKind::UniqValues, "id")])],
        vec![Pipe::Top { limit: 10, by: vec!["name".into()], hits: "hits".into(), rank: None }],
        vec![sort(&["name"], None)],
    ]
}

/// What a query keeps at most is what it needs: with a byte less it is refused, and never has had more than it may.
#[test]
fn what_is_refused_was_never_kept() {
    let records = many();
    for style in [Style::Plain, Style::Typed] {
        let sources = [source(&records, 500, style, Zones::Bounds, false)];
        for pipes in pipes() {
            let (expect, peak) = run_within(&pipes, &sources, 1, u64::MAX);
            assert!(expect.is_some() && peak > 10_000, "{peak} {pipes:?}");
            assert_eq!(run_within(&pipes, &sources, 1, peak), (expect.clone(), peak), "{pipes:?}");
            for max in [peak - 1, peak / 2, peak / 10, 1, 0] {
                let (rows, kept) = run_within(&pipes, &sources, 1, max);
                assert!(rows.is_none() && kept <= max, "{kept} of {max}, {pipes:?}");
                let (rows, kept) = run_within(&pipes, &sources, 3, max);
                // How much threads need together is another figure.
                assert!(kept <= max && rows.is_none_or(|rows| Some(rows) == expect), "{kept} of {max}, {pipes:?}");
            }
        }
    }
}

/// Where the pipes behind others take rows, blocks under way count as well; what does not fit is refused all the same.
#[test]
fn pipes_of_rows_keep_within_their_limit() {
    let sources = [source(&many(), 500, Style::Typed, Zones::Bounds, false)];
    for mut pipes in pipes() {
        pipes.insert(0, Pipe::Offset(0));
        let (expect, peak) = run_within(&pipes, &sources, 1, u64::MAX);
        for max in [peak, peak / 2, peak / 10, 1] {
            let (rows, kept) = run_within(&pipes, &sources, 2, max);
            assert!(kept <= max && rows.is_none_or(|rows| Some(rows) == expect), "{kept} of {max}, {pipes:?}");
        }
    }
}

/// Blocks that overlap keep their columns while there is room for them, and are read again where there is none.
#[test]
fn rows_of_overlapping_blocks_do_not_depend_on_memory() {
    let all = many();
    let part = |k: usize| all.iter().skip(k).step_by(4).cloned().collect::<Vec<_>>();
    let sources: Vec<_> = (0..4).map(|k| source(&part(k), 1500, Style::Plain, Zones::Unknown, false)).collect();
    let (expect, peak) = run_within(&[], &sources, 1, u64::MAX);
    let expect = expect.expect("all rows");
    assert_eq!(expect.len(), all.len());
    // Rows, times and numbers of all four, and some columns, or none.
    let blocks = 6000 * (4 + 8 + 8);
    assert!(peak > 2 * blocks, "{peak}");
    for max in [peak - 1, blocks + blocks / 2, blocks] {
        for threads in [1, 2] {
            let (rows, kept) = run_within(&[], &sources, threads, max);
            assert!(rows.is_some_and(|rows| rows == expect) && kept <= max, "{kept} of {max}");
        }
    }
}
