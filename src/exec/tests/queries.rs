//! What queries mean, in tables.

use super::build::*;
use crate::exec::testing::{MemoryBlock, MemorySource, Style, Zones};
use crate::exec::{ExecError, Execution, Limits, Plan, TimeSpan, explain};
use crate::query::ast::*;
use crate::record::{Quantity, Source, Timestamp};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LINES: &[&str] = &[
    r#"{"_t":1,"_l":{"app":"api"},"id":1,"level":"info","message":"Connection reset by peer","duration":150,"tags":["a","x y"]}"#,
    r#"{"_t":2,"_l":{"app":"api"},"id":2,"level":"error","message":"request 42 timed out","duration":"1.5s","code":500}"#,
    r#"{"_t":2,"_l":{"app":"web"},"id":3,"level":"warn","msg":"own msg","message":"other","code":"500"}"#,
    r#"{"_t":5,"id":4,"level":"CRITICAL","message":"","duration":99.5,"code":500.0,"ip":"10.1.2.3"}"#,
    r#"{"_t":3,"id":5,"note":null,"list":[],"object":{},"message":"Größe ÉCOLE","ip":"11.0.0.1"}"#,
];

/// Ids of the rows that match, the newest first.
fn check_ids(filter: Filter, expect: &[u32]) {
    let rows: Vec<String> = expect.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    check(LINES, filter, &[fields(&["id"])], &rows);
}

#[test]
fn filters() {
    use CompareOp::{Greater, GreaterOrEqual, Less};
    let all = [4, 5, 3, 2, 1];
    let near = |words: &[&str], distance| Test::Near { words: words.iter().map(|w| (*w).into()).collect(), distance };
    let wildcard = |parts: &[WildcardPart]| Test::Wildcard(parts.into());
    let literal = |text: &str| WildcardPart::Literal(text.into());
    let list = |texts: &[&str]| Test::In(texts.iter().map(|t| (*t).into()).collect());
    let cases: Vec<(Filter, &[u32])> = vec![
        (Filter::All, &all),
        (not(Filter::All), &[]),
        (any_field(phrase("connection")), &[1]),
        (any_field(phrase("CONNECTION RESET")), &[1]),
        (any_field(phrase("connect")), &[]),
        (any_field(phrase("größe école")), &[5]),
        (any_field(phrase("x y")), &[1]),
        (any_field(phrase("api")), &[2, 1]),
        (any_field(phrase("1970")), &[]),
        (field("message", near(&["peer", "connection"], 2)), &[1]),
        (field("message", near(&["peer", "connection"], 1)), &[]),
        (field("message", Test::Fuzzy { word: "conection".into(), edits: 1 }), &[1]),
        (field("message", wildcard(&[literal("conn"), WildcardPart::Many])), &[1]),
        (field("message", wildcard(&[WildcardPart::One, literal("2")])), &[2]),
        (field("level", exact("error")), &[2]),
        (field("level", exact("Error")), &[]),
        (not(field("level", exact("error"))), &[4, 5, 3, 1]),
        (field("code", exact("500")), &[3, 2]),
        (field("code", list(&["500.0", "x"])), &[4]),
        (field("code", list(&["500.0", ""])), &[4, 5, 1]),
        (field("code", compare(GreaterOrEqual, "500")), &[4, 3, 2]),
        (field("duration", compare(Greater, "149")), &[2, 1]),
        (field("duration", compare(Less, "151ms")), &[4, 1]),
        (not(field("duration", compare(Less, "151ms"))), &[5, 3, 2]),
        (field("level", compare(GreaterOrEqual, "warn")), &[4, 3, 2]),
        (field("message", compare(Less, "a")), &[4, 5, 1]),
        (field("message", Test::Exists), &[5, 3, 2, 1]),
        (field("message", Test::Empty), &[4]),
        (field("note", Test::Exists), &[]),
        (field("list", Test::Exists), &[]),
        (field("object", Test::Empty), &all),
        (field("note", regex("^$")), &[]),
        (field("message", regex("^$")), &[4]),
        (field("nothing", phrase("x")), &[]),
        (not(field("nothing", phrase("x"))), &all),
        (field("tags", exact("a")), &[1]),
        (field("tags", exact("[\"a\",\"x y\"]")), &[1]),
        (field("tags", regex("^x")), &[1]),
        (field("msg", phrase("own")), &[3]),
        (field("msg", phrase("other")), &[]),
        (field("_msg", phrase("other")), &[3]),
        (field("msg", phrase("reset")), &[1]),
        (field("message", regex("re(set|quest)")), &[2, 1]),
        (any_field(regex("[0-9]{2} timed")), &[2]),
        (any_field(regex("nnection rese")), &[1]),
        (field("duration", Test::Fuzzy { word: "1.5s".into(), edits: 0 }), &[2]),
        (field("ip", Test::IpRange(IpRange::V4(0x0a00_0000, 0x0aff_ffff))), &[4]),
        (field("_seq", compare(Less, "3")), &[2, 1]),
        (field("_stream", phrase("web")), &[3]),
        (field("timestamp", compare(Greater, "1970-01-01T00:00:02Z")), &[4, 5]),
        (field("_time", phrase("1970")), &all),
        (Filter::Stream(vec![LabelTest { label: "app".into(), op: LabelOp::Matches("a.*".into()) }]), &[2, 1]),
        (Filter::Stream(vec![LabelTest { label: "app".into(), op: LabelOp::Equal("".into()) }]), &[4, 5]),
        (
            Filter::And(vec![
                not(field("level", exact("error"))),
                Filter::Or(vec![any_field(phrase("api")), any_field(phrase("500"))]),
            ]),
            &[4, 3, 1],
        ),
        (not(Filter::Or(vec![any_field(phrase("api")), any_field(phrase("500"))])), &[5]),
        (
            Filter::Time(TimeRange {
                start: Some((TimePoint::Now(-98_000_000_000), true)),
                end: Some((TimePoint::At(Timestamp(5_000_000_000)), false)),
                offset_ns: 0,
            }),
            &[5, 3, 2],
        ),
    ];
    for (filter, expect) in cases {
        check_ids(filter, expect);
    }
}

#[test]
fn rows_come_back_as_they_were() {
    check(
        LINES,
        field("id", exact("5")),
        &[],
        &[
            r#"{"timestamp":"1970-01-01T00:00:03.000Z","id":5,"ip":"11.0.0.1","list":[],"message":"Größe ÉCOLE","note":null,"object":{}}"#,
        ],
    );
}

#[test]
fn pipes_of_rows() {
    let offset = Pipe::Offset(1);
    let rank = |pipe: Pipe| match pipe {
        Pipe::Sort(s) => Pipe::Sort(Sort { rank: Some("n".into()), offset: 1, ..s }),
        other => other,
    };
    let ids = |ids: &[u32]| ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect::<Vec<_>>();
    let cases: Vec<(Vec<Pipe>, Vec<String>)> = vec![
        (vec![Pipe::Limit(2), fields(&["id"])], ids(&[4, 5])),
        (vec![offset.clone(), Pipe::Limit(2), fields(&["id"])], ids(&[5, 3])),
        (vec![Pipe::Limit(2), offset.clone(), fields(&["id"])], ids(&[5])),
        (vec![Pipe::Limit(0)], ids(&[])),
        (vec![sort(&["duration"], None), fields(&["id"])], ids(&[4, 1, 2, 5, 3])),
        (vec![sort(&["-duration"], Some(2)), fields(&["id"])], ids(&[2, 1])),
        (vec![offset.clone(), sort(&["-duration"], Some(2)), fields(&["id"])], ids(&[2, 1])),
        (vec![sort(&["message"], Some(3)), fields(&["id"])], ids(&[1, 5, 3])),
        (vec![sort(&["_time", "-id"], None), fields(&["id"])], ids(&[1, 3, 2, 5, 4])),
        (vec![Pipe::Filter(field("code", Test::Exists)), fields(&["id"])], ids(&[4, 3, 2])),
        (vec![Pipe::Limit(3), Pipe::Filter(field("code", Test::Exists)), fields(&["id"])], ids(&[4, 3])),
        (vec![rank(sort(&["id"], Some(1))), fields(&["id", "n"])], vec!["{\"id\":2,\"n\":2}".into()]),
        (
            vec![Pipe::Limit(1), Pipe::Delete(vec![pattern("m*"), pattern("_time"), pattern("i*")])],
            vec!["{\"code\":500.0,\"duration\":99.5,\"level\":\"CRITICAL\"}".into()],
        ),
        (
            vec![Pipe::Limit(3), offset.clone(), offset, fields(&["msg", "_time", "_seq", "_stream", "i*", "id"])],
            vec![
                "{\"msg\":\"own msg\",\"_time\":\"1970-01-01T00:00:02.000Z\",\"_seq\":3,\
                 \"_stream\":\"{app=\\\"web\\\"}\",\"id\":3}"
                    .into(),
            ],
        ),
    ];
    for (pipes, expect) in cases {
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        check(LINES, Filter::All, &pipes, &expect);
    }
}

#[test]
fn groups() {
    let count = || function(StatsKind::Count, &[]);
    let named = |f: StatsFunction, alias: &str| StatsFunction { alias: Some(alias.into()), ..f };
    let only = |f: StatsFunction, filter: Filter| StatsFunction { condition: Some(filter), ..f };
    let bucket = |name: &str, bucket: Bucket| {
        Pipe::Stats(Stats { by: vec![GroupKey { field: name.into(), bucket: Some(bucket) }], functions: vec![count()] })
    };
    let time = Bucket::Time { step_ns: 2_000_000_000, offset_ns: 0 };
    let number = |step: &str| Bucket::Number { step: Quantity::parse(step).expect("a number") };
    let cases: Vec<(Vec<Pipe>, &[&str])> = vec![
        (vec![stats(&[], vec![count()])], &[r#"{"count(*)":5}"#]),
        (
            vec![stats(&["app"], vec![named(count(), "n")])],
            &[r#"{"app":"api","n":2}"#, r#"{"app":"web","n":1}"#, r#"{"app":"","n":2}"#],
        ),
        (
            vec![stats(&["code"], vec![count()])],
            &[r#"{"code":500,"count(*)":2}"#, r#"{"code":500.0,"count(*)":1}"#, r#"{"code":"","count(*)":2}"#],
        ),
        (
            vec![stats(
                &[],
                vec![
                    function(StatsKind::Sum, &["duration"]),
                    function(StatsKind::Avg, &["id"]),
                    function(StatsKind::Min, &["duration"]),
                    function(StatsKind::Max, &["duration"]),
                    function(StatsKind::Median, &["id"]),
                    function(StatsKind::Quantile(0.95), &["id"]),
                    function(StatsKind::Count, &["message"]),
                    function(StatsKind::CountUniq, &["code"]),
                    function(StatsKind::Sum, &["nothing"]),
                ],
            )],
            &[
                r#"{"sum(duration)":1749.5,"avg(id)":3,"min(duration)":99.5,"max(duration)":"1.5s","median(id)":3,"p95(id)":5,"count(message)":4,"count_uniq(code)":2,"sum(nothing)":null}"#,
            ],
        ),
        (
            vec![stats(
                &[],
                vec![
                    function(StatsKind::Values, &["code"]),
                    function(StatsKind::UniqValues, &["code"]),
                    StatsFunction { limit: Some(2), ..function(StatsKind::Values, &["id"]) },
                    function(StatsKind::Min, &["_time"]),
                    function(StatsKind::Min, &["level"]),
                ],
            )],
            &[
                r#"{"values(code)":[500.0,"500",500],"uniq_values(code)":[500,500.0],"values(id)":[4,5],"min(_time)":"1970-01-01T00:00:01.000Z","min(level)":"CRITICAL"}"#,
            ],
        ),
        (
            vec![stats(&[], vec![only(count(), field("app", exact("api"))), count()])],
            &[r#"{"count(*)":2,"count(*)_2":5}"#],
        ),
        (
            vec![bucket("_time", time)],
            &[
                r#"{"_time":"1970-01-01T00:00:00.000Z","count(*)":1}"#,
                r#"{"_time":"1970-01-01T00:00:02.000Z","count(*)":3}"#,
                r#"{"_time":"1970-01-01T00:00:04.000Z","count(*)":1}"#,
            ],
        ),
        (
            vec![bucket("duration", number("100ms"))],
            &[
                r#"{"duration":0,"count(*)":1}"#,
                r#"{"duration":100,"count(*)":1}"#,
                r#"{"duration":1500,"count(*)":1}"#,
                r#"{"duration":"","count(*)":2}"#,
            ],
        ),
        (
            vec![Pipe::Top { limit: 2, by: vec!["app".into()], hits: "hits".into(), rank: Some("rank".into()) }],
            &[r#"{"app":"api","hits":2,"rank":1}"#, r#"{"app":"","hits":2,"rank":2}"#],
        ),
        (
            vec![Pipe::Uniq { by: vec!["app".into()], hits: false, limit: None }],
            &[r#"{"app":"api"}"#, r#"{"app":"web"}"#, r#"{"app":""}"#],
        ),
        (
            vec![fields(&["app"]), Pipe::Uniq { by: vec![], hits: true, limit: Some(2) }],
            &[r#"{"hits":2}"#, r#"{"app":"web","hits":1}"#],
        ),
        (
            vec![stats(&["app", "code"], vec![count()]), sort(&["-count(*)", "app"], Some(2))],
            &[r#"{"app":"api","code":500,"count(*)":1}"#, r#"{"app":"api","code":"","count(*)":1}"#],
        ),
        (vec![Pipe::Filter(Filter::Not(Box::new(Filter::All))), stats(&[], vec![count()])], &[r#"{"count(*)":0}"#]),
        (vec![Pipe::Filter(Filter::Not(Box::new(Filter::All))), stats(&["app"], vec![count()])], &[]),
    ];
    for (pipes, expect) in cases {
        check(LINES, Filter::All, &pipes, expect);
        // The same, row by row; a filter that is left is one behind what was put before it.
        let rows: Vec<Pipe> = [Pipe::Offset(0)].into_iter().chain(pipes).collect();
        check(LINES, Filter::All, &rows, expect);
    }
}

fn memory(lines: &[&str], rows: usize) -> Arc<MemorySource> {
    let records = records(lines);
    let blocks = records.chunks(rows).map(|part| MemoryBlock::new(part.to_vec(), Style::Plain, Zones::Counts));
    Arc::new(MemorySource::new(blocks.collect(), true))
}

fn columns_read(source: &MemorySource) -> u64 {
    source.blocks.iter().map(|b| b.columns_read.load(Ordering::Relaxed)).sum()
}

#[test]
fn counts_need_no_columns() {
    let source = memory(LINES, 2);
    let sources = [source.clone() as Arc<dyn Source>];
    let count = || vec![function(StatsKind::Count, &[])];
    for (filter, pipe, expect) in [
        (Filter::All, stats(&[], count()), r#"[{"count(*)":5}]"#),
        (field("id", Test::Exists), stats(&[], count()), r#"[{"count(*)":5}]"#),
        (
            Filter::All,
            stats(&["app"], count()),
            r#"[{"app":"api","count(*)":2},{"app":"web","count(*)":1},{"app":"","count(*)":2}]"#,
        ),
    ] {
        let (rows, stats) = run(&filter, &[pipe], &sources, 1, Limits::default()).expect("it runs");
        assert_eq!(format!("[{}]", rows.join(",")), expect);
        assert_eq!((columns_read(&source), stats.blocks_from_metadata, stats.blocks_read), (0, 3, 0));
    }
}

#[test]
fn a_limit_ends_reading() {
    let lines: Vec<String> = (0..100).map(|i| format!("{{\"_t\":{i},\"id\":{i}}}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let sources = [memory(&lines, 10) as Arc<dyn Source>];
    let (rows, stats) =
        run(&Filter::All, &[Pipe::Limit(12), fields(&["id"])], &sources, 1, Limits::default()).expect("it runs");
    assert_eq!((rows.len(), rows[0].as_str(), rows[11].as_str()), (12, "{\"id\":99}", "{\"id\":88}"));
    assert_eq!(stats.blocks_read, 2);
    // A sink that has had enough ends it, too.
    let query = Query { filter: Filter::All, pipes: vec![] };
    let plan = Plan::new(&query, Timestamp(0), None, Limits::default()).expect("it is planned");
    let mut seen = 0;
    let stats = Execution::new().run(&plan, &sources, &mut |_| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, stats.map(|s| s.rows_out).ok()), (3, Some(3)));
}

#[test]
fn blocks_are_left_out() {
    let source = memory(LINES, 1);
    let sources = [source as Arc<dyn Source>];
    let filter = Filter::And(vec![
        Filter::Time(TimeRange {
            start: Some((TimePoint::At(Timestamp(2_000_000_000)), true)),
            end: None,
            offset_ns: 0,
        }),
        field("code", Test::Exists),
        any_field(phrase("timed out")),
    ]);
    let (rows, stats) = run(&filter, &[fields(&["id"])], &sources, 1, Limits::default()).expect("it runs");
    assert_eq!(rows, ["{\"id\":2}"]);
    assert_eq!((stats.blocks_pruned_time, stats.blocks_pruned_zone, stats.blocks_pruned_index), (1, 1, 2));
    let plan = Plan::new(&Query { filter, pipes: vec![Pipe::Limit(3)] }, Timestamp(0), None, Limits::default());
    let explanation = explain(&plan.expect("it is planned"), &sources).expect("it is explained");
    assert_eq!((explanation.blocks_pruned_time, explanation.sources[0].blocks_left), (1, 1));
    let text = explanation.to_string();
    assert!(text.contains("| the first 3") && text.contains("leaves out 1 by zone maps"), "{text}");
    // Conditions are text of the query language.
    let conditions: Vec<&str> = explanation.predicates.iter().map(|p| &*p.condition).collect();
    assert_eq!(conditions, ["code:*", "\"timed out\""]);
}

#[test]
fn bounds_of_the_request() {
    let sources = [memory(LINES, 2) as Arc<dyn Source>];
    let span = TimeSpan::half_open(Some(Timestamp(2_000_000_000)), Some(Timestamp(3_000_000_000)));
    let query = Query { filter: Filter::All, pipes: vec![stats(&[], vec![function(StatsKind::Count, &[])])] };
    let plan = Plan::new(&query, Timestamp(0), Some(span), Limits::default()).expect("it is planned");
    let mut rows = Vec::new();
    let done = Execution::new().run(&plan, &sources, &mut |row| {
        rows.push(row.to_json());
        ControlFlow::Continue(())
    });
    assert!(done.is_ok());
    assert_eq!(rows, [r#"{"count(*)":2}"#]);
}

#[test]
fn limits_are_named() {
    let lines: Vec<String> = (0..3000).map(|i| format!("{{\"_t\":{i},\"id\":{i}}}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let sources = [memory(&lines, 500) as Arc<dyn Source>];
    let limits = Limits::default();
    let by_id = || stats(&["id"], vec![function(StatsKind::Count, &[])]);
    for (pipe, limits, name) in [
        (sort(&["id"], None), Limits { rows_sorted: 2999, ..limits }, "query_rows_sorted_max"),
        (by_id(), Limits { groups: 2999, ..limits }, "query_groups_max"),
        (by_id(), Limits { memory_bytes: 100_000, ..limits }, "query_memory_bytes_max"),
        (sort(&["id"], None), Limits { memory_bytes: 100_000, ..limits }, "query_memory_bytes_max"),
        (
            stats(&[], vec![function(StatsKind::UniqValues, &["id"])]),
            Limits { memory_bytes: 100_000, ..limits },
            "query_memory_bytes_max",
        ),
        (by_id(), Limits { time: Some(Duration::ZERO), ..limits }, "query_time_ms_max"),
    ] {
        for threads in [1, 2] {
            let error = run(&Filter::All, std::slice::from_ref(&pipe), &sources, threads, limits);
            match error {
                Err(error) => assert!(error.is_limit() && error.to_string().contains(name), "{error}"),
                Ok(_) => panic!("{name} is not held"),
            }
        }
    }
    // A sort with a limit keeps few rows.
    let few = Limits { rows_sorted: 2000, ..limits };
    assert!(run(&Filter::All, &[sort(&["-id"], Some(10))], &sources, 1, few).is_ok());
    let flag = AtomicBool::new(true);
    let plan = Plan::new(&Query { filter: Filter::All, pipes: vec![] }, Timestamp(0), None, limits).expect("a plan");
    let cancelled = Execution::new().cancel(&flag).run(&plan, &sources, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(cancelled, Err(ExecError::Cancelled)));
}
