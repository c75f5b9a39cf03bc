//! Which records of a memtable go into a segment together, so that they go from it together.

use crate::format::payload::Payload;
use crate::format::rows::RowRef;
use crate::id::{Class, Seq};
use crate::policy::{Lifetime, TenantPolicy};
use crate::record::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One memtable becomes at most so many segments of a class by time: beyond that their spans are doubled.
pub(super) const SPANS_MAX: usize = 32;

/// Records for one segment, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub class: Class,
    pub rows: Vec<RowRef>,
}

/// Groups ordered rows by class, and those of a class with an end by time or number.
pub(super) fn group_rows(
    rows: Vec<RowRef>,
    batches: &[(Seq, Arc<Payload>)],
    rules: &TenantPolicy,
    now: Timestamp,
) -> Vec<Group> {
    let mut classes: BTreeMap<&Class, Vec<RowRef>> = BTreeMap::new();
    match rules.only_class() {
        Some(class) => drop(classes.insert(class, rows)),
        None => {
            // Once a stream of a batch, not once a record.
            let of_batch = |(_, p): &(Seq, Arc<Payload>)| p.streams.iter().map(|s| rules.classify(s)).collect();
            let by_stream: Vec<Vec<&Class>> = batches.iter().map(of_batch).collect();
            for row in rows {
                let stream = batches[row.batch as usize].1.records[row.record as usize].stream as usize;
                classes.entry(by_stream[row.batch as usize][stream]).or_default().push(row);
            }
        }
    }
    let mut groups = Vec::new();
    for (class, rows) in classes {
        let life = rules.lifetime(class).cloned().unwrap_or_default();
        for rows in parts(rows, &life, now) {
            groups.push(Group { class: class.clone(), rows });
        }
    }
    groups
}

/// Cuts the rows of a class where a segment would span too much time, or hold too much of what the class may.
fn parts(rows: Vec<RowRef>, life: &Lifetime, now: Timestamp) -> Vec<Vec<RowRef>> {
    let limits = life.merge_limits();
    let mut parts = match limits.span_ns {
        Some(span) => {
            // What is over its time already goes together, and at once: nothing that is not is with it.
            let oldest = life.age_ns.map_or(i64::MIN, |age| now.0.saturating_sub(age));
            by_span(rows, span, oldest)
        }
        None => vec![rows],
    };
    if let (Some(most), Some(share)) = (life.records, limits.records) {
        parts = parts.into_iter().flat_map(|rows| by_number(rows, most, share)).collect();
    }
    parts
}

fn by_span(rows: Vec<RowRef>, mut span: i64, oldest: i64) -> Vec<Vec<RowRef>> {
    let window = |row: &RowRef, span: i64| (row.time.0 >= oldest).then(|| row.time.0.div_euclid(span));
    while rows.chunk_by(|a, b| window(a, span) == window(b, span)).count() > SPANS_MAX {
        span = span.saturating_mul(2);
    }
    rows.chunk_by(|a, b| window(a, span) == window(b, span)).map(<[RowRef]>::to_vec).collect()
}

/// The newest rows, as many as may be held, in parts of a share each; what is before them is too many already.
fn by_number(mut rows: Vec<RowRef>, most: u64, share: u64) -> Vec<Vec<RowRef>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let share = usize::try_from(share).unwrap_or(usize::MAX).max(1);
    let newest = rows.split_off(rows.len().saturating_sub(most));
    let mut parts: Vec<Vec<RowRef>> = newest.rchunks(share).rev().map(<[RowRef]>::to_vec).collect();
    if !rows.is_empty() {
        parts.insert(0, rows);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::payload::encode;
    use crate::format::rows::order_rows;
    use crate::policy::{Policy, Settings};
    use crate::record::{BatchBuilder, Labels, Tag};

    const DAY: i64 = 86_400_000_000_000;

    fn rules(settings: &[(&str, &str)]) -> TenantPolicy {
        let settings: Settings = settings.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let tenant = crate::id::TenantId::new("acme").expect("a name");
        Policy::default().of_tenant(&tenant, &settings).expect("rules")
    }

    /// Of records (days, label `s`), how many are in each group, with their class up to a dash.
    fn grouped(records: &[(i64, &str)], settings: &[(&str, &str)], now: i64) -> Vec<(String, Vec<u64>)> {
        let mut builder = BatchBuilder::new();
        for (day, label) in records {
            builder.begin();
            builder.field("message", Tag::String, "m");
            builder.finish(Timestamp(day * DAY), &Labels::new([("s", *label)])).expect("small");
        }
        let batches = [(Seq(1), Arc::new(encode(&builder.take())))];
        let groups = group_rows(order_rows(&batches), &batches, &rules(settings), Timestamp(now * DAY));
        let class = |g: &Group| g.class.as_str().split('-').next().unwrap_or_default().to_string();
        let days = |g: &Group| g.rows.iter().map(|r| r.seq.0).collect();
        groups.iter().map(|g| (class(g), days(g))).collect()
    }

    #[test]
    fn groups() {
        type Expect<'a> = &'a [(&'a str, &'a [u64])];
        let by_label = [("rules", "s=a age=8d; s=b age=80d")];
        type Row<'a> = (&'a str, &'a [(i64, &'a str)], &'a [(&'a str, &'a str)], Expect<'a>);
        let table: [Row<'_>; 8] = [
            ("no rules", &[(5, "a"), (1, "b"), (500, "c")], &[], &[("", &[2, 1, 3])]),
            (
                "by class",
                &[(100, "a"), (100, "b"), (100, "c"), (100, "a")],
                &by_label,
                &[("80d", &[2]), ("8d", &[1, 4]), ("ever", &[3])],
            ),
            ("by day", &[(99, "a"), (98, "a"), (99, "a")], &by_label, &[("8d", &[2]), ("8d", &[1, 3])]),
            (
                "by an eighth",
                &[(99, "b"), (98, "b"), (90, "b"), (89, "b")],
                &by_label,
                &[("80d", &[4]), ("80d", &[3, 2, 1])],
            ),
            (
                "what is over goes together",
                &[(1, "a"), (50, "a"), (99, "a")],
                &by_label,
                &[("8d", &[1, 2]), ("8d", &[3])],
            ),
            (
                // 16, which is over, and 18, which is not, are in one span of 83 / 8 days.
                "and nothing else with it",
                &[(1, "w"), (16, "w"), (18, "w"), (99, "w")],
                &[("rules", "s=w age=83d")],
                &[("83d", &[1, 2]), ("83d", &[3]), ("83d", &[4])],
            ),
            ("without an end", &[(1, "c"), (50, "c")], &by_label, &[("ever", &[1, 2])]),
            (
                "by number",
                &[(1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "a")],
                &[("retention_records", "3")],
                &[("ever.", &[1, 2]), ("ever.", &[3]), ("ever.", &[4]), ("ever.", &[5])],
            ),
        ];
        for (what, records, settings, expect) in table {
            let found = grouped(records, settings, 100);
            assert_eq!(found.len(), expect.len(), "{what}: {found:?}");
            for ((class, rows), (expect, seqs)) in found.iter().zip(expect) {
                let same = class == expect || expect.ends_with('.') && class.starts_with(expect);
                assert!(same && rows == seqs, "{what}: {found:?}");
            }
        }
        let scattered: Vec<(i64, &str)> = (0..1000).map(|day| (day, "c")).collect();
        let found = grouped(&scattered, &[("rules", "all age=800d low_space_age=8d")], 1000);
        assert!(found.len() <= SPANS_MAX && found.len() > SPANS_MAX / 4, "{}", found.len());
        assert_eq!(found.iter().map(|(_, rows)| rows.len()).sum::<usize>(), 1000);
    }
}
