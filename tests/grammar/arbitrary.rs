//! Random syntax trees, of those that a text can have.

use duramen::query::ast::*;
use duramen::record::{Number, Quantity, Timestamp, Unit};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Any text that is not empty, often one that looks like syntax.
fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        "[a-zA-Z0-9_.-]{1,8}",
        "\\PC{1,6}",
        any::<String>().prop_filter("not empty", |s| !s.is_empty()),
        prop::sample::select(vec![
            "and",
            "OR",
            "not",
            "in",
            "to",
            "TO",
            "select",
            "*",
            "-",
            "--x",
            "a b",
            "a:b",
            "/a/",
            "now",
            "5",
            "-5",
            "1h",
            "10.0.0.0/8",
            "\"",
            "\\",
            "`'\"",
            "\0",
            "\n",
            "#",
            "|",
            "(",
            "range",
            "a\u{202e}b",
            "",
            "😀",
        ])
        .prop_filter("not empty", |s: &&str| !s.is_empty())
        .prop_map(String::from),
    ]
    .prop_map(Into::into)
}

/// A name that stands for a field: not for the time, and not one of those that ask something of their own.
fn field() -> impl Strategy<Value = Box<str>> {
    let special = ["timestamp", "_time", "@timestamp", "_exists_", "_missing_", "_stream"];
    prop_oneof!["[a-z_]{1,6}(\\.[a-z0-9-]{1,3})?(\\[[0-9]\\])?".prop_map(Into::into), text()]
        .prop_filter("an ordinary field", move |name| !special.contains(&&**name))
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        text().prop_map(|text| Operand { text, quantity: None }),
        "[+-]?[0-9]{1,4}(\\.[0-9]{1,2})?(ns|ms|s|m|h|d|B|KB|MiB|K|Ki|%)?".prop_map(|text| {
            let quantity = Quantity::parse(&text);
            Operand { text: text.into(), quantity }
        }),
    ]
}

/// An end of a range, and whether it is taken in.
type Bound<T> = Option<(T, bool)>;

fn bounds<T: Clone + std::fmt::Debug + 'static>(
    end: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = (Bound<T>, Bound<T>)> {
    let side = (end, any::<bool>()).boxed();
    prop_oneof![
        side.clone().prop_map(|low| (Some(low), None)),
        side.clone().prop_map(|high| (None, Some(high))),
        (side.clone(), side).prop_map(|(low, high)| (Some(low), Some(high))),
    ]
}

fn wildcard() -> impl Strategy<Value = Test> {
    let part = prop_oneof![text().prop_map(WildcardPart::Literal), Just(WildcardPart::Many), Just(WildcardPart::One),];
    vec(part, 1..5)
        .prop_map(|parts| {
            // As the parser leaves them: no two literals and no two stars next to each other.
            let mut out: Vec<WildcardPart> = Vec::new();
            for part in parts {
                let kind = std::mem::discriminant(&part);
                if part == WildcardPart::One || out.last().map(std::mem::discriminant) != Some(kind) {
                    out.push(part);
                }
            }
            out
        })
        .prop_filter("a wildcard and something else", |parts| {
            parts.as_slice() != [WildcardPart::Many] && parts.iter().any(|p| !matches!(p, WildcardPart::Literal(_)))
        })
        .prop_map(|parts| Test::Wildcard(parts.into()))
}

fn regex() -> impl Strategy<Value = Regex> {
    ("(\\^)?([a-z. ]|/|\\\\d|\\\\\\\\|\\\\\\.|[é\"'`|]){1,6}(\\$)?", any::<bool>())
        .prop_map(|(pattern, ignore_case)| Regex { pattern: pattern.into(), ignore_case })
        .prop_filter("`\\/` is written as `/`", |r| !r.pattern.contains("\\/"))
}

fn ip_range() -> impl Strategy<Value = IpRange> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(a, b)| IpRange::V4(a.min(b), a.max(b))),
        any::<(u128, u128)>().prop_map(|(a, b)| IpRange::V6(a.min(b), a.max(b))),
        (any::<u32>(), 1..32u32).prop_map(|(a, bits)| IpRange::V4(a >> bits << bits, a | ((1 << bits) - 1))),
        Just(IpRange::V4(0, u32::MAX)),
        Just(IpRange::V6(0, u128::MAX)),
        (any::<u128>(), 1..128u32).prop_map(|(a, bits)| IpRange::V6(a >> bits << bits, a | ((1 << bits) - 1))),
    ]
}

/// A test that needs no field.
fn test_of_any() -> impl Strategy<Value = Test> {
    let word = "[a-zA-Z0-9_]{1,6}";
    prop_oneof![
        4 => text().prop_map(Test::Phrase),
        1 => (vec(word.prop_map(Into::into), 2..4), 0..=1000u32)
            .prop_map(|(words, distance)| Test::Near { words, distance }),
        1 => (word, 0..=2u8).prop_map(|(word, edits)| Test::Fuzzy { word: word.into(), edits }),
        2 => wildcard(),
        1 => vec(prop_oneof![4 => text(), 1 => Just("".into())], 1..4).prop_map(Test::In),
        1 => regex().prop_map(Test::Regex),
        1 => ip_range().prop_map(Test::IpRange),
    ]
}

fn test_of_field() -> impl Strategy<Value = Test> {
    use CompareOp::*;
    prop_oneof![
        4 => test_of_any(),
        1 => text().prop_map(Test::Exact),
        1 => Just(Test::Exists),
        1 => Just(Test::Empty),
        2 => (prop::sample::select(vec![Less, LessOrEqual, Greater, GreaterOrEqual]), operand())
            .prop_map(|(op, operand)| Test::Compare(op, operand)),
        2 => bounds(operand()).prop_map(|(low, high)| Test::Range { low, high }),
    ]
}

fn time() -> impl Strategy<Value = Filter> {
    let point = prop_oneof![
        any::<i64>().prop_map(|ns| TimePoint::At(Timestamp(ns))),
        (0..2_000_000_000i64).prop_map(|s| TimePoint::At(Timestamp(s * 1_000_000_000))),
        any::<i64>().prop_map(TimePoint::Now),
        (-1_000..1_000i64).prop_map(|m| TimePoint::Now(m * 60_000_000_000)),
    ];
    (bounds(point), prop_oneof![3 => Just(0i64), 1 => any::<i64>()])
        .prop_map(|((start, end), offset_ns)| Filter::Time(TimeRange { start, end, offset_ns }))
}

fn label() -> impl Strategy<Value = LabelTest> {
    let op = prop_oneof![
        prop_oneof![text(), Just("".into())].prop_map(LabelOp::Equal),
        text().prop_map(LabelOp::NotEqual),
        regex().prop_map(|r| LabelOp::Matches(r.pattern)),
        regex().prop_map(|r| LabelOp::NotMatches(r.pattern)),
    ];
    (text(), op).prop_map(|(label, op)| LabelTest { label, op })
}

pub fn filter() -> impl Strategy<Value = Filter> {
    let named = |name: Box<str>| FieldRef::Named(name);
    let leaf = prop_oneof![
        1 => Just(Filter::All),
        4 => test_of_any().prop_map(|test| Filter::Field { field: FieldRef::Any, test }),
        6 => (field(), test_of_field()).prop_map(move |(name, test)| Filter::Field { field: named(name), test }),
        2 => time(),
        1 => vec(label(), 1..3).prop_map(Filter::Stream),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|parts| joined(parts, true)),
            vec(inner.clone(), 2..4).prop_map(|parts| joined(parts, false)),
            inner.prop_map(|f| Filter::Not(Box::new(f))),
        ]
    })
}

/// Joins parts as the parser does: none of them of the same kind.
fn joined(parts: Vec<Filter>, and: bool) -> Filter {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Filter::And(inner) if and => out.extend(inner),
            Filter::Or(inner) if !and => out.extend(inner),
            part => out.push(part),
        }
    }
    if and { Filter::And(out) } else { Filter::Or(out) }
}

fn bucket() -> impl Strategy<Value = (Box<str>, Option<Bucket>)> {
    let time = prop_oneof![
        (1..i64::MAX, prop_oneof![Just(0i64), any::<i64>()])
            .prop_map(|(step_ns, offset_ns)| Bucket::Time { step_ns, offset_ns }),
        prop::sample::select(vec![CalendarStep::Week, CalendarStep::Month, CalendarStep::Year])
            .prop_map(Bucket::Calendar),
    ];
    let unit = prop::sample::select(vec![None, Some(Unit::Time), Some(Unit::Size), Some(Unit::Percent)]);
    let number = ("[1-9][0-9]{0,9}(\\.[0-9]{0,3}[1-9])?", unit).prop_map(|(number, unit)| {
        let number = Number::parse(&number).expect("a number");
        Bucket::Number { step: Quantity { number, unit } }
    });
    prop_oneof![
        text().prop_map(|name| (name, None)),
        (prop::sample::select(vec!["timestamp", "_time"]), time).prop_map(|(name, b)| (name.into(), Some(b))),
        (field(), number).prop_map(|(name, b)| (name, Some(b))),
    ]
}

fn stats_function() -> impl Strategy<Value = StatsFunction> {
    let kind = prop_oneof![
        Just(StatsKind::Count),
        Just(StatsKind::CountUniq),
        Just(StatsKind::Sum),
        Just(StatsKind::Avg),
        Just(StatsKind::Min),
        Just(StatsKind::Max),
        Just(StatsKind::Median),
        Just(StatsKind::Values),
        Just(StatsKind::UniqValues),
        (0..=1000u16).prop_map(|n| StatsKind::Quantile(f64::from(n) / 1000.0)),
        (0.0..=1.0f64).prop_map(StatsKind::Quantile),
    ];
    (kind, vec(text(), 0..3), option::of(filter()), option::of(text()), option::of(any::<u64>())).prop_map(
        |(kind, fields, condition, alias, limit)| {
            let limited = matches!(kind, StatsKind::CountUniq | StatsKind::Values | StatsKind::UniqValues);
            StatsFunction { kind, fields, condition, alias, limit: limit.filter(|_| limited) }
        },
    )
}

fn pipe() -> impl Strategy<Value = Pipe> {
    let pattern = prop_oneof![
        (text(), any::<bool>()).prop_map(|(name, prefix)| FieldPattern { name, prefix }),
        Just(FieldPattern { name: "".into(), prefix: true }),
    ];
    let key = (text(), any::<bool>()).prop_map(|(field, descending)| SortKey { field, descending });
    let sort = (vec(key, 0..3), any::<bool>(), any::<u64>(), option::of(any::<u64>()), option::of(text()))
        .prop_map(|(by, descending, offset, limit, rank)| Pipe::Sort(Sort { by, descending, offset, limit, rank }));
    let stats = (vec(bucket(), 0..3), vec(stats_function(), 1..3)).prop_map(|(by, functions)| {
        let by = by.into_iter().map(|(field, bucket)| GroupKey { field, bucket }).collect();
        Pipe::Stats(Stats { by, functions })
    });
    prop_oneof![
        vec(pattern.clone(), 1..3).prop_map(Pipe::Fields),
        vec(pattern, 1..3).prop_map(Pipe::Delete),
        filter().prop_map(Pipe::Filter),
        sort,
        any::<u64>().prop_map(Pipe::Limit),
        any::<u64>().prop_map(Pipe::Offset),
        stats,
        (any::<u64>(), vec(text(), 1..3), text(), option::of(text())).prop_map(|(limit, by, hits, rank)| Pipe::Top {
            limit,
            by,
            hits,
            rank
        }),
        (vec(text(), 0..3), any::<bool>(), option::of(any::<u64>())).prop_map(|(by, hits, limit)| Pipe::Uniq {
            by,
            hits,
            limit
        }),
    ]
}

pub fn query() -> impl Strategy<Value = Query> {
    (filter(), vec(pipe(), 0..3)).prop_map(|(filter, pipes)| Query { filter, pipes })
}
