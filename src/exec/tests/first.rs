//! The first rows of groups, picked without making the others, against a sort of all of them.

use super::build::*;
use crate::exec::Limits;
use crate::exec::testing::{Style, TestRecord, Zones};
use crate::query::ast::*;
use crate::record::Tag;

fn named(function: StatsFunction, name: &str) -> StatsFunction {
    StatsFunction { alias: Some(name.into()), ..function }
}

/// Values of which some are often, many are rare, and some are the same number in two texts.
fn value(i: u64) -> (Tag, String) {
    match i % 7 {
        0 => (Tag::Number, (i % 5).to_string()),
        1 => (Tag::Number, format!("{}.0", i % 5)),
        2 => (Tag::String, format!("{:08x}-0000-4000-8000-{:012x}", i * 7919 % 2000, i % 3)),
        3 => (Tag::String, format!("id-{}", i * 31 % 900)),
        4 => (Tag::String, String::new()),
        5 => (Tag::String, format!("{}ms", i * 17 % 300)),
        _ => (Tag::String, format!("x{i}")),
    }
}

fn all() -> Vec<TestRecord> {
    (0..9000u64)
        .map(|i| {
            let mut record = TestRecord { time: i as i64 * 1_000_000_000, seq: i + 1, ..Default::default() };
            record.fields.insert("id".into(), value(i));
            if i % 3 > 0 {
                record.fields.insert("b".into(), (Tag::String, (i % 4).to_string()));
            }
            record
        })
        .collect()
}

#[test]
fn picked_rows_are_the_first_of_all() {
    let records = all();
    let count = || named(function(StatsKind::Count, &[]), "n");
    let sum = || named(function(StatsKind::CountUniq, &["id"]), "u");
    let groupings = [
        stats(&["id"], vec![count()]),
        stats(&["id", "b"], vec![count(), named(function(StatsKind::Count, &[]), "m")]),
        stats(&["b", "id"], vec![sum(), count()]),
        stats(&["_time"], vec![count()]),
    ];
    let orders = [
        vec![sort(&["-n"], Some(10))],
        vec![sort(&["n", "-id"], None), Pipe::Offset(3), Pipe::Limit(7)],
        vec![sort(&["-id"], None), fields(&["id", "n"]), Pipe::Limit(40)],
        vec![sort(&["nothing", "-b"], Some(2000))],
        vec![sort(&["_time"], Some(3))],
        vec![Pipe::Limit(5)],
        vec![Pipe::Limit(0)],
    ];
    for (i, style) in [Style::Plain, Style::Dictionary, Style::Typed].into_iter().enumerate() {
        let sources = [source(&records, 1500, style, Zones::Bounds, false)];
        for grouping in &groupings {
            for order in &orders {
                let pipes = |first: &[Pipe]| [first, std::slice::from_ref(grouping), order].concat();
                let fast = run(&Filter::All, &pipes(&[]), &sources, 1 + i, Limits::default()).expect("it runs").0;
                let slow = run(&Filter::All, &pipes(&[Pipe::Offset(0)]), &sources, 1, Limits::default());
                assert_eq!(fast, slow.expect("it runs").0, "{grouping} | {order:?} {style:?}");
            }
        }
        for by in [vec!["id".into()], vec!["b".into(), "id".into()]] {
            let top = Pipe::Top { limit: 20, by, hits: "hits".into(), rank: Some("rank".into()) };
            let fast = run(&Filter::All, std::slice::from_ref(&top), &sources, 2, Limits::default());
            let slow = run(&Filter::All, &[Pipe::Offset(0), top], &sources, 1, Limits::default());
            assert_eq!(fast.expect("it runs").0, slow.expect("it runs").0);
        }
        let distinct = stats(&[], vec![function(StatsKind::CountUniq, &["id"])]);
        let fast = run(&Filter::All, std::slice::from_ref(&distinct), &sources, 2, Limits::default());
        let slow = run(&Filter::All, &[Pipe::Offset(0), distinct], &sources, 1, Limits::default());
        assert_eq!(fast.expect("it runs").0, slow.expect("it runs").0);
    }
}

/// Many groups with a count fit where rows of all of them would not.
#[test]
fn many_groups_take_little_memory() {
    let records: Vec<TestRecord> = (0..40_000u64)
        .map(|i| {
            let mut record = TestRecord { time: i as i64, seq: i + 1, ..Default::default() };
            let id = format!("{:08x}-0000-4000-8000-{:012x}", i.wrapping_mul(2_654_435_761) & 0xffff_ffff, i);
            record.fields.insert("id".into(), (Tag::String, id));
            record
        })
        .collect();
    let sources = [source(&records, 8000, Style::Plain, Zones::Bounds, false)];
    let pipes = [stats(&["id"], vec![named(function(StatsKind::Count, &[]), "n")]), sort(&["-n"], Some(3))];
    let limits = Limits { memory_bytes: 40_000 * 100, ..Limits::default() };
    for threads in [1, 3] {
        assert_eq!(run(&Filter::All, &pipes, &sources, threads, limits).expect("it fits").0.len(), 3);
    }
}

#[test]
fn counts_come_from_zone_maps() {
    let records = all();
    let sources = [source(&records[..200], 50, Style::Dictionary, Zones::Counts, false)];
    let count = stats(&[], vec![function(StatsKind::Count, &[])]);
    for filter in [
        field("b", exact("1")),
        not(field("b", exact("1"))),
        field("b", Test::Exists),
        field("id", phrase("id")),
        field("id", compare(CompareOp::Less, "3")),
        not(field("nothing", exact("1"))),
    ] {
        let (fast, stats) =
            run(&filter, std::slice::from_ref(&count), &sources, 1, Limits::default()).expect("it runs");
        let slow = run(&filter, &[Pipe::Offset(0), count.clone()], &sources, 1, Limits::default());
        assert_eq!((fast, stats.blocks_read), (slow.expect("it runs").0, 0), "{filter}");
    }
}

/// Numbers of which some blocks have larger ones than others, some none, and some have units.
fn ranged() -> Vec<TestRecord> {
    let value = |i: u64| match i / 500 {
        block @ (0 | 3 | 7) => Some((Tag::Number, (block * 1000 + i * 31 % 997).to_string())),
        2 => Some((Tag::String, format!("word {}", i % 9))),
        4 => None,
        5 => Some((Tag::String, format!("{}ms", i * 17 % 300))),
        6 => Some((Tag::Number, format!("{}.{}", i * 7 % 50, i % 10))),
        _ => Some((Tag::Number, (i % 3).to_string())),
    };
    (0..6000u64)
        .map(|i| {
            let mut record = TestRecord { time: i as i64 * 1_000_000_000, seq: i + 1, ..Default::default() };
            record.fields.extend(value(i).map(|v| ("duration".to_string(), v)));
            record.fields.insert("odd".into(), (Tag::String, ["no", "yes"][i as usize % 2].into()));
            record
        })
        .collect()
}

#[test]
fn blocks_that_hold_no_row_of_the_first_ones_are_not_read() {
    let records = ranged();
    for style in [Style::Plain, Style::Typed] {
        let sources = [source(&records, 500, style, Zones::Bounds, false)];
        for by in ["duration", "-duration", "-odd", "odd", "nothing", "-_time"] {
            for (filter, limit) in
                [(Filter::All, 3), (Filter::All, 700), (field("odd", phrase("yes")), 20), (Filter::All, 0)]
            {
                let order = [sort(&[by, "-odd"], Some(limit))];
                let fast = run(&filter, &order, &sources, 2, Limits::default()).expect("it runs").0;
                let slow = run(&filter, &[&[Pipe::Offset(0)], &order[..]].concat(), &sources, 1, Limits::default());
                assert_eq!(fast, slow.expect("it runs").0, "{by} {filter} {limit} {style:?}");
            }
        }
        let order = [sort(&["-duration"], Some(3))];
        let (_, stats) = run(&Filter::All, &order, &sources, 1, Limits::default()).expect("it runs");
        // The one with units, which the zone map says nothing of, and the one with the largest.
        assert_eq!((stats.blocks_read, stats.blocks_pruned_zone), (2, 10), "{stats:?}");
    }
}
