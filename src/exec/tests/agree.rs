//! The fast ways against the slow one: row by row, with nothing left out.

use super::build::*;
use crate::exec::Limits;
use crate::exec::filter::Scratch;
use crate::exec::predicate::Predicate;
use crate::exec::row::{Hidden, Row};
use crate::exec::testing::{Style, TestRecord, Zones};
use crate::query::ast::*;
use crate::record::{Labels, Tag, Timestamp};
use proptest::prelude::*;

fn value() -> impl Strategy<Value = (Tag, String)> {
    prop_oneof![
        2 => (-2i64..4).prop_map(|n| (Tag::Number, n.to_string())),
        1 => (-200i64..300).prop_map(|n| (Tag::Number, format!("{:.1}", n as f64 / 10.0))),
        4 => "[aAbksK]{1,2}([ -][abB1\u{e9}\u{17f}\u{212a}]{1,3}){0,2}".prop_map(|s| (Tag::String, s)),
        1 => (-2i64..4).prop_map(|n| (Tag::String, n.to_string())),
        2 => "[ab]{2,5}(-[ab]{2,4})?".prop_map(|s| (Tag::String, s)),
        1 => prop_oneof!["error", "warn", "info"].prop_map(|s| (Tag::String, s)),
        1 => "[12](ms|s|KB)".prop_map(|s| (Tag::String, s)),
        1 => Just((Tag::Null, String::new())),
        1 => Just((Tag::String, String::new())),
        1 => proptest::collection::vec("(\"[ab1 ]{0,3}\"|1|\"2s\"|null|\\[\"ab\\\\n1\"\\])", 0..3)
            .prop_map(|items| (Tag::Array, format!("[{}]", items.join(",")))),
    ]
}

fn record() -> impl Strategy<Value = TestRecord> {
    let names = prop_oneof!["message", "msg", "level", "duration", "a"];
    (0i64..6, "(x|y)?", proptest::collection::btree_map(names, value(), 0..4)).prop_map(|(time, app, fields)| {
        let mut record = TestRecord { time, labels: Labels::new([("app", app)]), fields, seq: 0 };
        for (name, value) in record.labels.iter() {
            record.fields.entry(name.into()).or_insert((Tag::String, value.into()));
        }
        record
    })
}

fn test() -> impl Strategy<Value = Test> {
    let text = || prop_oneof!["[abks1]{1,2}", "[ab] [b1]", "ab-1", "error", "\u{e9}", "k"];
    let number = || prop_oneof!["-1", "0", "1.5", "2", "1ms", "1s", "1KB", "warn", "b"];
    let pieces = proptest::collection::vec(
        prop_oneof![
            "[ab]{3}|[abk1]{1,2}".prop_map(|t| WildcardPart::Literal(t.into())),
            Just(WildcardPart::Many),
            Just(WildcardPart::One)
        ],
        1..4,
    );
    let op = prop_oneof![
        Just(CompareOp::Less),
        Just(CompareOp::LessOrEqual),
        Just(CompareOp::Greater),
        Just(CompareOp::GreaterOrEqual)
    ];
    prop_oneof![
        4 => text().prop_map(|t| Test::Phrase(t.into())),
        1 => (text(), text(), 0u32..3).prop_map(|(a, b, distance)| Test::Near { words: vec![a.into(), b.into()], distance }),
        1 => ("[abk]{1,4}", 1u8..3).prop_map(|(w, edits)| Test::Fuzzy { word: w.into(), edits }),
        2 => pieces.prop_map(|mut parts| {
            parts.dedup_by(|a, b| a == b && *a == WildcardPart::Many);
            Test::Wildcard(parts.into())
        }),
        2 => value().prop_map(|(_, t)| Test::Exact(t.into())),
        1 => proptest::collection::vec(value().prop_map(|(_, t)| t.into()), 1..3).prop_map(Test::In),
        1 => Just(Test::Exists),
        1 => Just(Test::Empty),
        3 => (op, number()).prop_map(|(op, n)| compare(op, &n)),
        1 => (number(), number(), proptest::bool::ANY).prop_map(|(a, b, inclusive)| {
            Test::Range { low: Some((operand(&a), inclusive)), high: Some((operand(&b), true)) }
        }),
        1 => "[ab]{3}|[ab]{2}-[ab]{1,2}".prop_map(|p| regex(&p)),
        2 => ("([abks1]|[ab]{3}|\\[ks\\]|\\.|a\\*|\\(ab\\|1\\)|\\^|ab-1){1,3}", proptest::bool::ANY).prop_map(|(pattern, ignore_case)| {
            Test::Regex(Regex { pattern: pattern.into(), ignore_case })
        }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let name = prop_oneof!["message", "msg", "_msg", "level", "duration", "a", "app", "_seq", "_stream", "_time"];
    let leaf = prop_oneof![
        4 => (name, test()).prop_map(|(name, test)| field(&name, test)),
        3 => test().prop_map(super::build::any_field),
        1 => (0i64..6, 0i64..6).prop_map(|(a, b)| Filter::Time(TimeRange {
            start: Some((TimePoint::At(Timestamp(a)), true)),
            end: Some((TimePoint::At(Timestamp(b)), false)),
            offset_ns: 0,
        })),
        1 => prop_oneof![Just(LabelOp::Equal("x".into())), Just(LabelOp::NotMatches("x|z".into()))]
            .prop_map(|op| Filter::Stream(vec![LabelTest { label: "app".into(), op }])),
        1 => Just(Filter::All),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.prop_map(not),
        ]
    })
}

fn zones() -> impl Strategy<Value = Zones> {
    prop_oneof![Just(Zones::Unknown), Just(Zones::Bounds), Just(Zones::Counts)]
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::Plain), Just(Style::Dictionary), Just(Style::Typed)]
}

/// The rows of the records that match, the newest first, with nothing but the definition.
fn slow(records: &[TestRecord], filter: &Filter) -> Vec<String> {
    let predicate = Predicate::new(filter, Timestamp(0)).expect("it is resolved");
    let mut sorted: Vec<&TestRecord> = records.iter().collect();
    sorted.sort_by_key(|r| std::cmp::Reverse((r.time, r.seq)));
    let rows = sorted.into_iter().map(|record| {
        let stream = Some(record.labels.to_string().into());
        let mut row = Row { cells: Vec::new(), hidden: Some(Hidden { seq: record.seq, stream }) };
        row.push("timestamp".into(), Tag::String, Timestamp(record.time).to_string());
        for (name, (tag, text)) in &record.fields {
            row.push(name.as_str().into(), *tag, text.as_str());
        }
        row
    });
    rows.filter(|row| predicate.matches(row, &mut Scratch::default())).map(|row| row.to_json()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_a_full_scan(
        mut records in proptest::collection::vec(record(), 0..24),
        filter in filter(), style in style(), rows in 1usize..10, zones in zones(), index: bool, threads in 1usize..3,
        limit in proptest::option::of(0u64..6),
    ) {
        records.iter_mut().enumerate().for_each(|(i, r)| r.seq = i as u64 + 1);
        let sources = [source(&records, rows, style, zones, index), source(&[], 1, style, zones, index)];
        let mut expect = slow(&records, &filter);
        let pipes: Vec<Pipe> = limit.into_iter().map(Pipe::Limit).collect();
        expect.truncate(limit.map_or(usize::MAX, |n| n as usize));
        let (got, _) = run(&filter, &pipes, &sources, threads, Limits::default()).expect("the query runs");
        prop_assert_eq!(got, expect);
    }

    /// Blocks of so many rows that columns are looked at as a whole.
    #[test]
    fn rows_of_outlines_are_those_of_a_full_scan(
        records in proptest::collection::vec(record(), 1..16), copies in 5usize..9,
        filter in prop_oneof![filter(), test().prop_map(|test| field("message", test))], zones in zones(), index: bool,
        style in prop_oneof![4 => Just(Style::Outlined), 1 => style()],
    ) {
        let mut records: Vec<TestRecord> = (0..copies).flat_map(|_| records.clone()).collect();
        records.iter_mut().enumerate().for_each(|(i, r)| r.seq = i as u64 + 1);
        let sources = [source(&records, 1000, style, zones, index)];
        let expect = slow(&records, &filter);
        let count = [stats(&[], vec![function(StatsKind::Count, &[])])];
        let (counted, _) = run(&filter, &count, &sources, 1, Limits::default()).expect("the query runs");
        prop_assert_eq!(counted, [format!("{{\"count(*)\":{}}}", expect.len())]);
        let (got, _) = run(&filter, &[], &sources, 1, Limits::default()).expect("the query runs");
        prop_assert_eq!(got, expect);
    }

    #[test]
    fn columns_and_rows_give_the_same_results(
        mut records in proptest::collection::vec(record(), 0..24),
        filter in filter(), condition in proptest::option::of(filter()),
        style in style(), rows in 1usize..10, zones in zones(), threads in 1usize..3,
        keys in proptest::collection::vec(prop_oneof!["a", "level", "app", "msg", "_time", "duration", "_stream"], 0..3),
        bucketed: bool,
        kind in prop_oneof![
            Just(StatsKind::Count), Just(StatsKind::CountUniq), Just(StatsKind::Sum), Just(StatsKind::Avg),
            Just(StatsKind::Min), Just(StatsKind::Max), Just(StatsKind::Median), Just(StatsKind::Quantile(0.9)),
            Just(StatsKind::Values), Just(StatsKind::UniqValues),
        ],
        args in proptest::collection::vec(prop_oneof!["a", "duration", "msg", "level", "_seq", "_time"], 0..3),
        limit in proptest::option::of(1u64..4),
    ) {
        records.iter_mut().enumerate().for_each(|(i, r)| r.seq = i as u64 + 1);
        let sources = [source(&records, rows, style, zones, true)];
        let bucket = |name: &str| match name {
            _ if !bucketed => None,
            "_time" => Some(Bucket::Time { step_ns: 2, offset_ns: 1 }),
            "duration" | "a" => Some(Bucket::Number { step: operand("1ms").quantity.expect("a number") }),
            _ => None,
        };
        let by = keys.iter().map(|k| GroupKey { field: k.as_str().into(), bucket: bucket(k) }).collect();
        let fields = args.iter().map(|a| a.as_str().into()).collect();
        let functions = vec![
            StatsFunction { kind, fields, condition, alias: None, limit },
            function(StatsKind::Count, &[]),
        ];
        let pipes = [
            Pipe::Stats(Stats { by, functions }),
            Pipe::Top { limit: 3, by: keys.iter().map(|k| k.as_str().into()).collect(), hits: "n".into(), rank: None },
            Pipe::Sort(Sort {
                by: keys.iter().enumerate()
                    .map(|(i, k)| SortKey { field: k.as_str().into(), descending: i == 0 }).collect(),
                descending: bucketed, offset: 1, limit, rank: Some("rank".into()),
            }),
        ];
        for pipe in pipes {
            let fast = run(&filter, std::slice::from_ref(&pipe), &sources, threads, Limits::default());
            let slow = run(&filter, &[Pipe::Offset(0), pipe.clone()], &sources, 1, Limits::default());
            prop_assert_eq!(fast.expect("it runs").0, slow.expect("it runs").0, "{:?}", pipe);
        }
    }
}
