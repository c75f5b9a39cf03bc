//! Syntax trees and stores for tests, in few words.

use crate::exec::testing::{MemoryBlock, MemorySource, Style, TestRecord, Zones};
use crate::exec::{ExecError, Execution, Limits, Plan, QueryStats};
use crate::query::ast::*;
use crate::record::{Quantity, Source, Timestamp};
use std::ops::ControlFlow;
use std::sync::Arc;

pub(super) fn field(name: &str, test: Test) -> Filter {
    Filter::Field { field: FieldRef::Named(name.into()), test }
}
pub(super) fn any_field(test: Test) -> Filter {
    Filter::Field { field: FieldRef::Any, test }
}
pub(super) fn phrase(text: &str) -> Test {
    Test::Phrase(text.into())
}
pub(super) fn exact(text: &str) -> Test {
    Test::Exact(text.into())
}
pub(super) fn operand(text: &str) -> Operand {
    Operand { text: text.into(), quantity: Quantity::parse(text) }
}
pub(super) fn compare(op: CompareOp, text: &str) -> Test {
    Test::Compare(op, operand(text))
}
pub(super) fn regex(pattern: &str) -> Test {
    Test::Regex(Regex { pattern: pattern.into(), ignore_case: false })
}
pub(super) fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}
pub(super) fn fields(names: &[&str]) -> Pipe {
    Pipe::Fields(names.iter().map(|n| pattern(n)).collect())
}
pub(super) fn pattern(name: &str) -> FieldPattern {
    let prefix = name.ends_with('*');
    FieldPattern { name: name.trim_end_matches('*').into(), prefix }
}
pub(super) fn function(kind: StatsKind, fields: &[&str]) -> StatsFunction {
    let fields = fields.iter().map(|f| (*f).into()).collect();
    StatsFunction { kind, fields, condition: None, alias: None, limit: None }
}
pub(super) fn stats(by: &[&str], functions: Vec<StatsFunction>) -> Pipe {
    let by = by.iter().map(|f| GroupKey { field: (*f).into(), bucket: None }).collect();
    Pipe::Stats(Stats { by, functions })
}
/// Keys with a `-` before them are descending.
pub(super) fn sort(by: &[&str], limit: Option<u64>) -> Pipe {
    let key = |k: &&str| SortKey { field: k.trim_start_matches('-').into(), descending: k.starts_with('-') };
    Pipe::Sort(Sort { by: by.iter().map(key).collect(), descending: false, offset: 0, limit, rank: None })
}

pub(super) fn source(records: &[TestRecord], rows: usize, style: Style, zones: Zones, index: bool) -> Arc<dyn Source> {
    let blocks = records.chunks(rows.max(1)).map(|part| MemoryBlock::new(part.to_vec(), style, zones));
    Arc::new(MemorySource::new(blocks.collect(), index))
}

pub(super) fn records(lines: &[&str]) -> Vec<TestRecord> {
    lines.iter().enumerate().map(|(i, line)| TestRecord::from_json(line, i as u64 + 1)).collect()
}

/// Rows as JSON, and what was done.
pub(super) fn run(
    filter: &Filter,
    pipes: &[Pipe],
    sources: &[Arc<dyn Source>],
    threads: usize,
    limits: Limits,
) -> Result<(Vec<String>, QueryStats), ExecError> {
    let query = Query { filter: filter.clone(), pipes: pipes.to_vec() };
    let plan = Plan::new(&query, Timestamp(100_000_000_000), None, limits)?;
    let mut rows = Vec::new();
    let stats = Execution::new().threads(threads).run(&plan, sources, &mut |row| {
        rows.push(row.to_json());
        ControlFlow::Continue(())
    })?;
    assert_eq!(stats.rows_out, rows.len() as u64);
    Ok((rows, stats))
}

/// Runs a query over blocks of all styles and sizes, with and without zone maps, an index and threads, and holds each
/// answer against the one expected.
pub(super) fn check(lines: &[&str], filter: Filter, pipes: &[Pipe], expect: &[&str]) {
    let records = records(lines);
    for style in [Style::Plain, Style::Dictionary, Style::Typed] {
        for (rows, zones, index, threads) in [
            (1, Zones::Counts, true, 1),
            (2, Zones::Unknown, true, 2),
            (3, Zones::Bounds, false, 1),
            (1000, Zones::Counts, true, 3),
            (1000, Zones::Bounds, false, 1),
        ] {
            let sources = [source(&records, rows, style, zones, index)];
            let (got, _) = run(&filter, pipes, &sources, threads, Limits::default()).expect("the query runs");
            assert_eq!(got, expect, "{filter:?} {pipes:?} {style:?} {rows} {zones:?} {index}");
        }
    }
}
