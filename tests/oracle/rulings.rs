//! The rulings of the language's page, one test each: what is typed, and which records it finds.
//!
//! Each case is asked in three states of storage. Where evaluation is at stake a tree stands beside the text, and the
//! oracle has to find the same records: so the oracle itself is held against these tables.

use super::Rec;
use super::engine::{Engine, Step};
use super::eval::matches;
use super::pipes::Window;
use super::tree::Filter::{Field, Not};
use super::tree::{Filter, Op, Printer, Test};
use super::words::Wild;
use crate::support::json::{Val, parse};

/// A query, what it means, and the ids of the records that it finds, newest first.
type Case<'a> = (&'a str, Option<Filter>, &'a [&'a str]);

/// The records get the ids `a`, `b`, `c` .. and rising times.
fn check(records: &[&str], cases: &[Case]) {
    let records: Vec<Rec> = records
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let mut fields = parse(text).unwrap().flat();
            fields.insert("id".into(), Val::Str(id(i)));
            Rec { time: 1_740_787_200_000_000_000 + i as i64, seq: i as u64, labels: Vec::new(), fields }
        })
        .collect();
    for steps in
        [&[Step::Append][..], &[Step::Append, Step::Seal], &[Step::Append, Step::Seal, Step::Append, Step::Compact]]
    {
        let engine = Engine::new(&records, steps, 7);
        for (text, tree, expected) in cases {
            let ask = |text: &str| -> Vec<String> {
                let rows = engine.ask(text, &Window::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
                rows.iter().filter_map(|r| r.get("id")?.as_str().map(str::to_string)).collect()
            };
            assert_eq!(ask(text), *expected, "{text} after {steps:?}");
            let Some(tree) = tree else { continue };
            let mut oracle: Vec<String> =
                records.iter().enumerate().filter(|(_, r)| matches(r, tree)).map(|(i, _)| id(i)).collect();
            oracle.reverse();
            assert_eq!(oracle, *expected, "the oracle on {text}");
            for spelling in 0..6 {
                let text = Printer::new(spelling).filter(tree);
                assert_eq!(ask(&text), *expected, "{text} after {steps:?}");
            }
        }
    }
}

fn id(i: usize) -> String {
    char::from(b'a' + i as u8).to_string()
}

/// Every one of these is refused.
fn refused(queries: &[&str]) {
    let engine = Engine::new(&[], &[], 0);
    for query in queries {
        assert!(engine.ask(query, &Window::default()).is_err(), "{query} is not refused");
    }
}

fn field(name: &str, test: Test) -> Option<Filter> {
    Some(Field(Some(name.into()), test))
}

fn any(test: Test) -> Option<Filter> {
    Some(Field(None, test))
}

fn phrase(text: &str) -> Test {
    Test::Phrase(text.into())
}

fn not(filter: Option<Filter>) -> Option<Filter> {
    filter.map(|f| Not(Box::new(f)))
}

fn compare(op: Op, text: &str) -> Test {
    Test::Compare(op, text.into(), false)
}

#[test]
fn ruling_1_not_then_and_then_or() {
    let w = |t: &str| any(phrase(t)).unwrap();
    let tree = Filter::Or(vec![w("x"), Filter::And(vec![w("y"), w("z")])]);
    check(
        &[r#"{"m":"x"}"#, r#"{"m":"y z"}"#, r#"{"m":"x z"}"#, r#"{"m":"y"}"#],
        &[
            ("x OR y AND z", Some(tree.clone()), &["c", "b", "a"]),
            ("x OR y z", Some(tree), &["c", "b", "a"]),
            ("y z OR x", None, &["c", "b", "a"]),
            ("(x OR y) AND z", None, &["c", "b"]),
            ("NOT x AND z", None, &["b"]),
            ("NOT x OR z", None, &["d", "c", "b"]),
            ("NOT (x OR z)", None, &["d"]),
        ],
    );
}

#[test]
fn ruling_2_operators_in_either_case_and_quoted_they_are_words() {
    check(
        &[r#"{"m":"this and that"}"#, r#"{"m":"this that"}"#, r#"{"stats":"limit count"}"#, r#"{"limit":5}"#],
        &[
            ("this and that", None, &["b", "a"]),
            (r#"this "and" that"#, None, &["a"]),
            ("this or limit", None, &["c", "b", "a"]),
            ("this not \"and\"", None, &["b"]),
            ("stats:limit", None, &["c"]),
            ("limit:5", None, &["d"]),
            ("count", None, &["c"]),
        ],
    );
}

#[test]
fn ruling_3_words_ignore_case_and_whole_values_keep_it() {
    check(
        &[r#"{"m":"Timeout"}"#, r#"{"m":"timeout"}"#, r#"{"m":"ΣΊΣΥΦΟΣ"}"#],
        &[
            ("TIMEOUT", any(phrase("TIMEOUT")), &["b", "a"]),
            (r#"m:"timeOUT""#, field("m", phrase("timeOUT")), &["b", "a"]),
            ("σίσυφος", any(phrase("σίσυφος")), &["c"]),
            ("m=timeout", field("m", Test::Exact("timeout".into())), &["b"]),
            ("m:in(Timeout, x)", field("m", Test::In(vec!["Timeout".into(), "x".into()])), &["a"]),
            ("m:/time/", field("m", Test::Regex("time".into(), false)), &["b"]),
            ("m:/time/i", field("m", Test::Regex("time".into(), true)), &["b", "a"]),
        ],
    );
}

#[test]
fn ruling_4_words_are_runs_of_letters_digits_and_underscore() {
    check(
        &[r#"{"m":"user_id 20ms"}"#, r#"{"m":"user id 20 ms"}"#, r#"{"m":"préfixe日本語"}"#, r#"{"m":"a(b)c"}"#],
        &[
            ("user", any(phrase("user")), &["b"]),
            ("20", any(phrase("20")), &["b"]),
            ("user_id", any(phrase("user_id")), &["a"]),
            ("préfixe", any(phrase("préfixe")), &[]),
            (r#""(b)""#, any(phrase("(b)")), &["d"]),
            (r#""a(b""#, any(phrase("a(b")), &["d"]),
        ],
    );
}

#[test]
fn ruling_5_a_comparison_needs_a_field() {
    check(
        &[r#"{"n":5}"#, r#"{"n":15}"#],
        &[
            ("n>10", field("n", compare(Op::Greater, "10")), &["b"]),
            ("n > 10", None, &["b"]),
            ("n:>10", None, &["b"]),
            ("n <= 5", field("n", compare(Op::LessOrEqual, "5")), &["a"]),
            ("n:(>1 <=5)", None, &["a"]),
        ],
    );
    refused(&[">10", "> 10", "a AND <5"]);
}

#[test]
fn ruling_6_numbers_with_units() {
    let over = |name: &str, text: &str| field(name, compare(Op::Greater, text));
    check(
        &[
            r#"{"duration":1500,"size_bytes":2048,"n":9007199254740993,"p":"50%"}"#,
            r#"{"duration":"1.4s","size_bytes":"1KiB","n":9007199254740992,"p":40}"#,
            r#"{"duration":"n/a","wait_seconds":2,"plain":1500}"#,
            r#"{"duration":null,"k":"2K","plain":"1500"}"#,
        ],
        &[
            ("duration:>1000", over("duration", "1000"), &["b", "a"]),
            ("duration:>1.45s", over("duration", "1.45s"), &["a"]),
            ("duration:<1s", field("duration", compare(Op::Less, "1s")), &[]),
            ("size_bytes>=2KiB", field("size_bytes", compare(Op::GreaterOrEqual, "2KiB")), &["a"]),
            ("wait_seconds:>1500ms", over("wait_seconds", "1500ms"), &["c"]),
            ("plain:>1s", over("plain", "1s"), &[]),
            ("plain:>=1500", field("plain", compare(Op::GreaterOrEqual, "1500")), &["d", "c"]),
            ("n>9007199254740992", over("n", "9007199254740992"), &["a"]),
            ("k>1999", over("k", "1999"), &["d"]),
            ("k:[2K TO 2000]", None, &["d"]),
            ("p>45", over("p", "45"), &["a"]),
            ("p<45%", field("p", compare(Op::Less, "45%")), &["b"]),
            (r#"plain:>"14""#, field("plain", Test::Compare(Op::Greater, "14".into(), true)), &["d", "c"]),
        ],
    );
}

#[test]
fn ruling_7_the_first_colon_separates_the_field() {
    check(
        &[r#"{"url":"http://x/y"}"#, r#"{"m":"at 12:30:45 sharp"}"#, r#"{"m":"see http://x/y now"}"#],
        &[
            ("http://x/y", any(phrase("http://x/y")), &["c", "a"]),
            ("12:30:45", any(phrase("12:30:45")), &["b"]),
            ("url:http://x/y", field("url", phrase("http://x/y")), &["a"]),
            ("m:12:30", field("m", phrase("12:30")), &["b"]),
        ],
    );
}

#[test]
fn ruling_8_minus_negates_only_before_a_clause() {
    check(
        &[
            r#"{"m":"foo-bar"}"#,
            r#"{"m":"foo"}"#,
            r#"{"n":-5,"m":"foo bar"}"#,
            r#"{"u":"550e8400-e29b-41d4-a716-446655440000"}"#,
        ],
        &[
            ("foo-bar", any(phrase("foo-bar")), &["a"]),
            ("foo -bar", None, &["b"]),
            ("-foo", None, &["d"]),
            ("n > -6", field("n", compare(Op::Greater, "-6")), &["c"]),
            ("n:<-6", None, &[]),
            ("550e8400-e29b-41d4-a716-446655440000", any(phrase("550e8400-e29b-41d4-a716-446655440000")), &["d"]),
            ("e29b", None, &["d"]),
        ],
    );
}

#[test]
fn ruling_9_the_star() {
    let wild = |parts: &[Wild]| field("m", Test::Wildcard(parts.to_vec()));
    let t = |s: &str| Wild::Text(s.into());
    check(
        &[r#"{"m":"timeout"}"#, r#"{"m":"tim"}"#, r#"{"m":"a * b"}"#, r#"{"k":1}"#],
        &[
            ("*", Some(Filter::All), &["d", "c", "b", "a"]),
            ("m:*", field("m", Test::Exists), &["c", "b", "a"]),
            ("m:tim*", wild(&[t("tim"), Wild::Many]), &["b", "a"]),
            ("m:*out", wild(&[Wild::Many, t("out")]), &["a"]),
            ("m:t?m", wild(&[t("t"), Wild::One, t("m")]), &["b"]),
            ("t?me*t", None, &["a"]),
            (r#"m:"*""#, field("m", phrase("*")), &["c"]),
        ],
    );
}

#[test]
fn ruling_10_braces_select_labels_or_leave_an_end_out() {
    check(
        &[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#],
        &[
            ("n:{1 TO 3}", None, &["b"]),
            ("n:[1 TO 3}", None, &["b", "a"]),
            ("n:[2 TO *]", field("n", Test::Range(Some(("2".into(), true)), None)), &["c", "b"]),
            ("n:range(1, 3]", None, &["c", "b"]),
            (r#"{service="web"}"#, None, &[]),
            (r#"{service!="web"} n:2"#, None, &["b"]),
        ],
    );
}

#[test]
fn ruling_11_slashes() {
    check(
        &[r#"{"p":"/api/v1"}"#, r#"{"p":"/api/v3"}"#, r#"{"p":"a/b"}"#],
        &[
            (r"p:/^\/api\/v[12]/", field("p", Test::Regex("^/api/v[12]".into(), false)), &["a"]),
            ("p:/api", None, &["b", "a"]),
            ("a/b", any(phrase("a/b")), &["c"]),
            (r"/v\d/", any(Test::Regex(r"v\d".into(), false)), &["b", "a"]),
        ],
    );
}

#[test]
fn ruling_12_not_takes_records_without_the_field() {
    check(
        &[r#"{"x":"one"}"#, r#"{"x":"two"}"#, r#"{"y":1}"#],
        &[("NOT x:one", not(field("x", phrase("one"))), &["c", "b"]), ("-x:*", not(field("x", Test::Exists)), &["c"])],
    );
}

#[test]
fn ruling_13_an_unknown_field_finds_nothing() {
    check(
        &[r#"{"duration":1}"#],
        &[("durations:>0", None, &[]), ("NOT durations:1", None, &["a"]), ("nothing:\"\"", None, &["a"])],
    );
}

#[test]
fn ruling_14_arrays_by_element_and_by_their_json() {
    check(
        &[r#"{"t":["red","Green",3]}"#, r#"{"t":[["deep"],{"k":1}]}"#, r#"{"t":[]}"#, r#"{"t":"red"}"#],
        &[
            ("t:red", field("t", phrase("red")), &["d", "a"]),
            ("t=Green", field("t", Test::Exact("Green".into())), &["a"]),
            ("t>2", field("t", compare(Op::Greater, "2")), &["a"]),
            ("t:deep", field("t", phrase("deep")), &["b"]),
            ("t=deep", field("t", Test::Exact("deep".into())), &["b"]),
            (r#"t="[\"red\",\"Green\",3]""#, field("t", Test::Exact(r#"["red","Green",3]"#.into())), &["a"]),
            ("t:*", field("t", Test::Exists), &["d", "b", "a"]),
            ("t:\"\"", field("t", Test::Empty), &["c"]),
        ],
    );
}

#[test]
fn ruling_15_negations_take_records_without_the_field() {
    check(
        &[r#"{"p":"abc"}"#, r#"{"p":"xyz"}"#, r#"{"q":"abc (x)"}"#],
        &[
            ("/ab+c/", any(Test::Regex("ab+c".into(), false)), &["c", "a"]),
            ("p!=abc", not(field("p", Test::Exact("abc".into()))), &["c", "b"]),
            ("p!~abc", not(field("p", Test::Regex("abc".into(), false))), &["c", "b"]),
            (r#""(x)""#, any(phrase("(x)")), &["c"]),
            (r#""[x]""#, any(phrase("[x]")), &[]),
        ],
    );
}

#[test]
fn ruling_16_plus_minus_and_fuzzy_words() {
    check(
        &[r#"{"m":"timeout here"}"#, r#"{"m":"tiemout there"}"#, r#"{"m":"here"}"#],
        &[
            ("+timeout", None, &["a"]),
            ("+here -timeout", None, &["c"]),
            ("timeout~1", any(Test::Fuzzy("timeout".into(), 1)), &["b", "a"]),
            (r#""here timeout"~0"#, any(Test::Near(vec!["here".into(), "timeout".into()], 0)), &["a"]),
            ("timeout here", None, &["a"]),
        ],
    );
    refused(&["timeout^2", "\"a b\"^3"]);
}

#[test]
fn ruling_17_what_counts_as_empty() {
    check(
        &[
            r#"{"e":null}"#,
            r#"{"e":""}"#,
            r#"{"e":[]}"#,
            r#"{"e":{}}"#,
            r#"{"e":0}"#,
            r#"{"e":false}"#,
            r#"{"e":" "}"#,
            "{}",
        ],
        &[
            ("e:*", field("e", Test::Exists), &["g", "f", "e"]),
            (r#"e:"""#, field("e", Test::Empty), &["h", "d", "c", "b", "a"]),
            (r#"NOT e:"""#, not(field("e", Test::Empty)), &["g", "f", "e"]),
        ],
    );
}

#[test]
fn ruling_18_newest_first_unless_ordered() {
    check(
        &[r#"{"n":2}"#, r#"{"n":1}"#, r#"{"n":3}"#],
        &[
            ("*", None, &["c", "b", "a"]),
            ("* | limit 2", None, &["c", "b"]),
            ("* | offset 1", None, &["b", "a"]),
            ("* | sort n", None, &["b", "a", "c"]),
            ("* | sort n desc | limit 1", None, &["c"]),
        ],
    );
}

#[test]
fn ruling_19_limits_are_named_and_nothing_overflows() {
    let engine = Engine::new(&[], &[], 0);
    for query in [
        format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000)),
        "NOT ".repeat(50_000) + "a",
        "x ".repeat(150_000),
        format!("f:in({})", "v,".repeat(40_000) + "v"),
        format!("/{}/", "a".repeat(100_000)),
        r"/((((a{100}){100}){100}){100})/".into(),
    ] {
        let error = engine.ask(&query, &Window::default()).expect_err("refused");
        assert!(error.contains("_MAX"), "{error}");
    }
}

#[test]
fn levels_compare_by_severity() {
    check(
        &[
            r#"{"level":"error"}"#,
            r#"{"level":"WARNING"}"#,
            r#"{"level":"info"}"#,
            r#"{"level":"critical"}"#,
            r#"{"level":"silly"}"#,
            "{}",
        ],
        &[
            ("level:>=warn", field("level", compare(Op::GreaterOrEqual, "warn")), &["d", "b", "a"]),
            ("level:<info", field("level", compare(Op::Less, "info")), &["e"]),
            ("level:[info TO error]", None, &["c", "b", "a"]),
            ("level:warn", field("level", phrase("warn")), &[]),
        ],
    );
}

#[test]
fn names_stand_for_each_other_where_the_record_has_none_of_them() {
    check(
        &[r#"{"message":"one"}"#, r#"{"message":"two","msg":"one"}"#, r#"{"a":{"b":1}}"#, r#"{"a.b":1}"#],
        &[
            ("_msg:one", field("_msg", phrase("one")), &["a"]),
            ("msg:one", field("msg", phrase("one")), &["b", "a"]),
            ("a.b:1", field("a.b", phrase("1")), &["d", "c"]),
            ("@a.b=1", None, &["d", "c"]),
        ],
    );
}

#[test]
fn addresses() {
    check(
        &[r#"{"ip":"10.1.2.3"}"#, r#"{"ip":"110.1.2.3"}"#, r#"{"ip":"2001:db8::5"}"#, r#"{"ip":"from 10.1.2.3"}"#],
        &[
            ("ip:10.0.0.0/8", field("ip", Test::Network("10.0.0.0/8".into())), &["a"]),
            ("ip:ipv4_range(10.1.2.0, 10.1.2.9)", None, &["a"]),
            ("ip:2001:db8::/32", None, &["c"]),
            ("ip:10.1.2.3", field("ip", phrase("10.1.2.3")), &["d", "a"]),
        ],
    );
}
