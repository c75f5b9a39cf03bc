//! The syntax tree as JSON: `duramen parse --json`.
//!
//! Promises: what is different in the tree is different here; members stay under their names. May not know: the text.

use super::ast::*;
use super::print;
use serde_json::{Value, json};

impl Query {
    /// The tree as JSON: `{"filter": {..}, "pipes": [..]}`.
    pub fn to_json(&self) -> Value {
        json!({ "filter": self.filter.to_json(), "pipes": self.pipes.iter().map(Pipe::to_json).collect::<Vec<_>>() })
    }
}

impl Filter {
    /// The condition as JSON: `{"type": "and", "of": [..]}`.
    pub fn to_json(&self) -> Value {
        let each = |parts: &[Filter]| parts.iter().map(Filter::to_json).collect::<Vec<_>>();
        match self {
            Filter::All => json!({ "type": "all" }),
            Filter::And(parts) => json!({ "type": "and", "of": each(parts) }),
            Filter::Or(parts) => json!({ "type": "or", "of": each(parts) }),
            Filter::Not(inner) => json!({ "type": "not", "of": inner.to_json() }),
            Filter::Field { field, test } => {
                let field = match field {
                    FieldRef::Any => Value::Null,
                    FieldRef::Named(name) => json!(name),
                };
                json!({ "type": "field", "field": field, "test": test.to_json() })
            }
            Filter::Time(range) => json!({
                "type": "time",
                "start": time_bound(&range.start),
                "end": time_bound(&range.end),
                "offset_ns": range.offset_ns,
            }),
            Filter::Stream(labels) => {
                let labels: Vec<Value> = labels.iter().map(label).collect();
                json!({ "type": "stream", "labels": labels })
            }
        }
    }
}

fn label(test: &LabelTest) -> Value {
    let (op, value) = match &test.op {
        LabelOp::Equal(text) => ("=", text),
        LabelOp::NotEqual(text) => ("!=", text),
        LabelOp::Matches(text) => ("=~", text),
        LabelOp::NotMatches(text) => ("!~", text),
    };
    json!({ "label": test.label, "op": op, "value": value })
}

fn time_bound(bound: &Option<(TimePoint, bool)>) -> Value {
    match bound {
        None => Value::Null,
        Some((TimePoint::At(time), inclusive)) => json!({ "at": time.to_string(), "inclusive": inclusive }),
        Some((TimePoint::Now(ns), inclusive)) => json!({ "now_plus_ns": ns, "inclusive": inclusive }),
    }
}

fn bound(bound: &Option<(Operand, bool)>) -> Value {
    match bound {
        None => Value::Null,
        Some((operand, inclusive)) => {
            let mut value = operand.to_json();
            value["inclusive"] = json!(inclusive);
            value
        }
    }
}

impl Operand {
    fn to_json(&self) -> Value {
        match &self.quantity {
            None => json!({ "text": self.text }),
            Some(q) => json!({ "text": self.text, "number": q.number.to_string(), "unit": q.unit.map(unit) }),
        }
    }
}

fn unit(unit: crate::record::Unit) -> &'static str {
    use crate::record::Unit;
    match unit {
        Unit::Time => "ns",
        Unit::Size => "bytes",
        Unit::Count => "count",
        Unit::Percent => "percent",
    }
}

impl Test {
    fn to_json(&self) -> Value {
        match self {
            Test::Phrase(text) => json!({ "type": "phrase", "text": text }),
            Test::Near { words, distance } => json!({ "type": "near", "words": words, "distance": distance }),
            Test::Fuzzy { word, edits } => json!({ "type": "fuzzy", "word": word, "edits": edits }),
            Test::Wildcard(parts) => {
                let parts: Vec<Value> = parts
                    .iter()
                    .map(|part| match part {
                        WildcardPart::Literal(text) => json!({ "text": text }),
                        WildcardPart::Many => json!("*"),
                        WildcardPart::One => json!("?"),
                    })
                    .collect();
                json!({ "type": "wildcard", "parts": parts })
            }
            Test::Exact(text) => json!({ "type": "exact", "text": text }),
            Test::In(values) => json!({ "type": "in", "values": values }),
            Test::Exists => json!({ "type": "exists" }),
            Test::Empty => json!({ "type": "empty" }),
            Test::Compare(op, operand) => json!({ "type": "compare", "op": op.symbol(), "value": operand.to_json() }),
            Test::Range { low, high } => json!({ "type": "range", "low": bound(low), "high": bound(high) }),
            Test::Regex(regex) => {
                json!({ "type": "regex", "pattern": regex.pattern, "ignore_case": regex.ignore_case })
            }
            Test::IpRange(range) => {
                let (first, last) = print::addresses(range);
                json!({ "type": "ip_range", "first": first, "last": last })
            }
        }
    }
}

impl Pipe {
    /// The step as JSON: `{"pipe": "limit", "rows": 10}`.
    pub fn to_json(&self) -> Value {
        let patterns = |fields: &[FieldPattern]| fields.iter().map(FieldPattern::to_json).collect::<Vec<_>>();
        match self {
            Pipe::Fields(fields) => json!({ "pipe": "fields", "fields": patterns(fields) }),
            Pipe::Delete(fields) => json!({ "pipe": "delete", "fields": patterns(fields) }),
            Pipe::Filter(filter) => json!({ "pipe": "filter", "filter": filter.to_json() }),
            Pipe::Sort(sort) => json!({
                "pipe": "sort",
                "by": sort.by.iter().map(|k| json!({ "field": k.field, "descending": k.descending })).collect::<Vec<_>>(),
                "descending": sort.descending,
                "offset": sort.offset,
                "limit": sort.limit,
                "rank": sort.rank,
            }),
            Pipe::Limit(rows) => json!({ "pipe": "limit", "rows": rows }),
            Pipe::Offset(rows) => json!({ "pipe": "offset", "rows": rows }),
            Pipe::Stats(stats) => json!({
                "pipe": "stats",
                "by": stats.by.iter().map(GroupKey::to_json).collect::<Vec<_>>(),
                "functions": stats.functions.iter().map(StatsFunction::to_json).collect::<Vec<_>>(),
            }),
            Pipe::Top { limit, by, hits, rank } => {
                json!({ "pipe": "top", "limit": limit, "by": by, "hits": hits, "rank": rank })
            }
            Pipe::Uniq { by, hits, limit } => json!({ "pipe": "uniq", "by": by, "hits": hits, "limit": limit }),
        }
    }
}

impl FieldPattern {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "prefix": self.prefix })
    }
}

impl GroupKey {
    fn to_json(&self) -> Value {
        let bucket = match &self.bucket {
            None => Value::Null,
            Some(Bucket::Time { step_ns, offset_ns }) => json!({ "step_ns": step_ns, "offset_ns": offset_ns }),
            Some(Bucket::Calendar(CalendarStep::Week)) => json!({ "calendar": "week" }),
            Some(Bucket::Calendar(CalendarStep::Month)) => json!({ "calendar": "month" }),
            Some(Bucket::Calendar(CalendarStep::Year)) => json!({ "calendar": "year" }),
            Some(Bucket::Number { step }) => json!({ "step": step.number.to_string(), "unit": step.unit.map(unit) }),
        };
        json!({ "field": self.field, "bucket": bucket })
    }
}

impl StatsFunction {
    fn to_json(&self) -> Value {
        let (function, phi) = match self.kind {
            StatsKind::Count => ("count", None),
            StatsKind::CountUniq => ("count_uniq", None),
            StatsKind::Sum => ("sum", None),
            StatsKind::Avg => ("avg", None),
            StatsKind::Min => ("min", None),
            StatsKind::Max => ("max", None),
            StatsKind::Median => ("median", None),
            StatsKind::Quantile(phi) => ("quantile", Some(phi)),
            StatsKind::Values => ("values", None),
            StatsKind::UniqValues => ("uniq_values", None),
        };
        json!({
            "function": function,
            "phi": phi,
            "fields": self.fields,
            "if": self.condition.as_ref().map(Filter::to_json),
            "limit": self.limit,
            "column": self.column(),
            "alias": self.alias,
        })
    }
}
