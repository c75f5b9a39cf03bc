//! Groups of identifiers, which have a table of their own, against groups of texts.

use super::build::*;
use crate::exec::Limits;
use crate::exec::testing::{Style, TestRecord, Zones};
use crate::query::ast::*;
use crate::record::{Source, Tag};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values of one form, few enough that they come again, and something else here and there.
fn values() -> impl Strategy<Value = Vec<Option<(Tag, String)>>> {
    let text = |form: &str, n: u64| match form {
        "uuid" => format!("{n:08x}-0000-4000-8000-{:012x}", n * 7),
        "narrow" => format!("req_{n:016x}"),
        "wide" => format!("req_{n:024x}"),
        // Some of these are numbers, in order by their size and not by their digits.
        "digits" => format!("{:016x}", n * 1_000_003),
        _ => n.to_string(),
    };
    let forms = prop_oneof![Just("uuid"), Just("narrow"), Just("wide"), Just("digits")];
    (forms, 1u64..400, 0u64..40, any::<bool>()).prop_flat_map(move |(form, distinct, others, typed)| {
        let value = (0..distinct, 0u64..100, 0u64..40).prop_map(move |(n, dice, other)| match dice {
            0 => None,
            _ if dice <= others && other < 20 => Some((Tag::String, text("other", other))),
            _ if dice <= others && typed => Some((Tag::Number, text(form, n))),
            _ => Some((Tag::String, text(form, n))),
        });
        proptest::collection::vec(value, 100..600)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn identifiers_are_counted_as_texts_are(
        values in values(), rows in 70usize..300, styles in proptest::collection::vec(0usize..3, 3), threads in 1usize..4,
        limit in 1u64..20,
    ) {
        let records: Vec<TestRecord> = (0i64..).zip(&values).map(|(time, value)| TestRecord {
            time,
            seq: time as u64,
            fields: value.iter().map(|v| ("id".to_string(), v.clone())).collect(),
            ..TestRecord::default()
        }).collect();
        let texts = [source(&records, 40, Style::Plain, Zones::Unknown, false)];
        let part = |i: usize| {
            let style = [Style::Plain, Style::Typed, Style::Dictionary][styles[i]];
            source(&records[records.len() * i / 3..records.len() * (i + 1) / 3], rows, style, Zones::Unknown, false)
        };
        let mixed: Vec<Arc<dyn Source>> = (0..3).map(part).collect();
        let count = || stats(&["id"], vec![function(StatsKind::Count, &[])]);
        let distinct = || stats(&[], vec![function(StatsKind::CountUniq, &["id"])]);
        for pipes in [
            vec![count()],
            vec![count(), sort(&["-count(*)"], Some(limit))],
            vec![count(), sort(&["count(*)"], Some(limit))],
            vec![count(), sort(&["-id"], Some(limit))],
            vec![count(), Pipe::Limit(limit)],
            vec![distinct()],
        ] {
            let of = |sources: &[Arc<dyn Source>], threads| run(&Filter::All, &pipes, sources, threads, Limits::default());
            let (expect, _) = of(&texts, 1).expect("it runs");
            let (got, _) = of(&mixed, threads).expect("it runs");
            prop_assert_eq!(got, expect, "{:?}", &pipes);
        }
        let mut by_text: BTreeMap<&str, u64> = BTreeMap::new();
        values.iter().flatten().for_each(|(_, text)| *by_text.entry(text).or_default() += 1);
        let (got, _) = run(&Filter::All, &[distinct()], &mixed, threads, Limits::default()).expect("it runs");
        prop_assert_eq!(got, [format!("{{\"count_uniq(id)\":{}}}", by_text.len())]);
        // Every count is there: each group comes once, and all rows are in one.
        let (got, _) = run(&Filter::All, &[count()], &mixed, threads, Limits::default()).expect("it runs");
        let rows: u64 = got.iter().filter_map(|row| row.rsplit_once(':')?.1.trim_end_matches('}').parse::<u64>().ok()).sum();
        prop_assert_eq!(rows, values.len() as u64);
    }
}
