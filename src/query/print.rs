//! Canonical text: every node prints itself, and reading the print gives the same node.
//!
//! Promises: one spelling for each meaning (`AND` is written out, names and texts are quoted only where they must be,
//! times are in UTC), and never deeper nested than what was read. May not know: how the text was typed.

use super::ast::*;
use super::lex;
use crate::record::text::is_word_char;
use crate::record::{Quantity, Unit};
use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.filter)?;
        self.pipes.iter().try_for_each(|pipe| write!(f, " | {pipe}"))
    }
}

/// How tightly a filter's own operator binds: a part that binds less tightly needs parentheses.
fn binding(filter: &Filter) -> u8 {
    match filter {
        Filter::Or(_) => 0,
        Filter::And(_) => 1,
        _ => 2,
    }
}

/// Writes a part of an operator, in parentheses where it must be.
fn part(f: &mut Formatter<'_>, filter: &Filter, around: u8) -> fmt::Result {
    if binding(filter) <= around { write!(f, "({filter})") } else { write!(f, "{filter}") }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut Formatter<'_>, parts: &[Filter], by: &str| {
            parts.iter().enumerate().try_for_each(|(i, p)| {
                f.write_str(if i > 0 { by } else { "" })?;
                part(f, p, binding(self))
            })
        };
        match self {
            Filter::All => f.write_str("*"),
            Filter::And(parts) => joined(f, parts, " AND "),
            Filter::Or(parts) => joined(f, parts, " OR "),
            Filter::Not(inner) => {
                f.write_str("NOT ")?;
                part(f, inner, 1)
            }
            Filter::Field { field, test } => field_test(f, field, test),
            Filter::Time(range) => write!(f, "{range}"),
            Filter::Stream(labels) => {
                f.write_str("{")?;
                list(f, labels)?;
                f.write_str("}")
            }
        }
    }
}

/// Writes items with commas between them.
fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(i, item)| write!(f, "{}{item}", if i > 0 { ", " } else { "" }))
}

/// Writes a test with the field before it: `a=b`, `a>5`, else `a:..`.
fn field_test(f: &mut Formatter<'_>, field: &FieldRef, test: &Test) -> fmt::Result {
    if let FieldRef::Named(name) = field {
        write!(f, "{}", Name(name))?;
        if !matches!(test, Test::Exact(_) | Test::Compare(..)) {
            f.write_str(":")?;
        }
    }
    match test {
        Test::Phrase(text) => write!(f, "{}", Text(text)),
        Test::Near { words, distance } => write!(f, "\"{}\"~{distance}", words.join(" ")),
        Test::Fuzzy { word, edits } => write!(f, "{word}~{edits}"),
        Test::Wildcard(parts) => parts.iter().try_for_each(|part| match part {
            WildcardPart::Literal(text) => write!(f, "{}", Text(text)),
            WildcardPart::Many => f.write_str("*"),
            WildcardPart::One => f.write_str("?"),
        }),
        Test::Exact(text) => write!(f, "={}", Text(text)),
        Test::In(values) => {
            f.write_str("in(")?;
            list(f, &values.iter().map(|v| Text(v)).collect::<Vec<_>>())?;
            f.write_str(")")
        }
        Test::Exists => f.write_str("*"),
        Test::Empty => f.write_str("\"\""),
        Test::Compare(op, operand) => write!(f, "{}{operand}", op.symbol()),
        Test::Range { low, high } => range(f, low, high),
        Test::Regex(regex) => write!(f, "{regex}"),
        Test::IpRange(range) => write!(f, "{range}"),
    }
}

/// Writes `[low TO high}`.
fn range<T: Display>(f: &mut Formatter<'_>, low: &Option<(T, bool)>, high: &Option<(T, bool)>) -> fmt::Result {
    match low {
        Some((low, inclusive)) => write!(f, "{}{low} TO ", if *inclusive { '[' } else { '{' })?,
        None => f.write_str("[* TO ")?,
    }
    match high {
        Some((high, inclusive)) => write!(f, "{high}{}", if *inclusive { ']' } else { '}' }),
        None => f.write_str("*]"),
    }
}

impl CompareOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            CompareOp::Less => "<",
            CompareOp::LessOrEqual => "<=",
            CompareOp::Greater => ">",
            CompareOp::GreaterOrEqual => ">=",
        }
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.quantity {
            Some(_) => f.write_str(&self.text),
            // In quotes, so that it is not read as a number.
            None if Quantity::parse(&self.text).is_some() => quote(f, &self.text, false),
            None => write!(f, "{}", Text(&self.text)),
        }
    }
}

impl Display for Regex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('/')?;
        let mut escaped = false;
        for c in self.pattern.chars() {
            if c == '/' && !escaped {
                f.write_char('\\')?;
            }
            escaped = c == '\\' && !escaped;
            f.write_char(c)?;
        }
        f.write_str(if self.ignore_case { "/i" } else { "/" })
    }
}

/// The first and the last address of a range.
pub(super) fn addresses(range: &IpRange) -> (String, String) {
    match *range {
        IpRange::V4(a, b) => (Ipv4Addr::from(a).to_string(), Ipv4Addr::from(b).to_string()),
        IpRange::V6(a, b) => (Ipv6Addr::from(a).to_string(), Ipv6Addr::from(b).to_string()),
    }
}

impl Display for IpRange {
    /// A network where the range is one, else both ends.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, width, a, b) = match *self {
            IpRange::V4(a, b) => ("ipv4_range", 32, u128::from(a), u128::from(b)),
            IpRange::V6(a, b) => ("ipv6_range", 128, a, b),
        };
        let (first, last) = addresses(self);
        // In a network the last bits are all 0 in the first address and all 1 in the last one.
        let host = a ^ b;
        if host & a == 0 && host.trailing_ones() == 128 - host.leading_zeros() {
            write!(f, "{kind}({first}/{})", width - host.trailing_ones())
        } else {
            write!(f, "{kind}({first}, {last})")
        }
    }
}

impl Display for LabelTest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // In an expression an escape such as `\u{0}` stays as it is typed, so a control character stands for itself.
        let (op, text, bare_controls) = match &self.op {
            LabelOp::Equal(text) => ("=", text, false),
            LabelOp::NotEqual(text) => ("!=", text, false),
            LabelOp::Matches(text) => ("=~", text, true),
            LabelOp::NotMatches(text) => ("!~", text, true),
        };
        write!(f, "{}{op}", Name(&self.label))?;
        quote(f, text, bare_controls)
    }
}

impl Display for TimePoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TimePoint::At(time) => write!(f, "{time}"),
            TimePoint::Now(0) => f.write_str("now"),
            TimePoint::Now(ns) if *ns > 0 => write!(f, "now+{}", Duration(*ns)),
            TimePoint::Now(ns) => write!(f, "now{}", Duration(*ns)),
        }
    }
}

impl Display for TimeRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("timestamp")?;
        match (&self.start, &self.end) {
            (Some((start, true)), None) => write!(f, ">={start}")?,
            (Some((start, false)), None) => write!(f, ">{start}")?,
            (None, Some((end, true))) => write!(f, "<={end}")?,
            (None, Some((end, false))) => write!(f, "<{end}")?,
            (start, end) => {
                f.write_str(":")?;
                range(f, start, end)?;
            }
        }
        match self.offset_ns {
            0 => Ok(()),
            ns => write!(f, " offset {}", Duration(ns)),
        }
    }
}

/// A duration in ns, in the units that make it short: `1h30m`.
struct Duration(i64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: &[(&str, u64)] = &[
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut left = self.0.unsigned_abs();
        for (unit, ns) in UNITS {
            if left >= *ns {
                write!(f, "{}{unit}", left / ns)?;
                left %= ns;
            }
        }
        Ok(())
    }
}

/// A text in double quotes; control characters as escapes, where they are read back.
fn quote(f: &mut Formatter<'_>, text: &str, bare_controls: bool) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() && !bare_controls => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Words that mean something where a word or a name stands, and are quoted there.
fn is_reserved(text: &str) -> bool {
    // `in` and `to` only where a list or a range follows; `select` only at the start; quoted they are always words.
    ["in", "to", "select"].iter().any(|word| text.eq_ignore_ascii_case(word)) || lex::is_operator_word(text)
}

/// A word or text, bare where every reader takes it for nothing but a word.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = |c: char| is_word_char(c) || matches!(c, '.' | '-');
        if self.0.starts_with(is_word_char) && self.0.chars().all(plain) && !is_reserved(self.0) {
            f.write_str(self.0)
        } else {
            quote(f, self.0, false)
        }
    }
}

/// The name of a field or a column, bare where it can be.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bare = lex::name_len(self.0) == self.0.len() && !self.0.contains(['\\', '@']) && !self.0.is_empty();
        if bare && !is_reserved(self.0) { f.write_str(self.0) } else { quote(f, self.0, false) }
    }
}

impl Display for FieldPattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.prefix, self.name.is_empty()) {
            (true, true) => f.write_str("*"),
            (true, false) => write!(f, "{}*", Name(&self.name)),
            _ => write!(f, "{}", Name(&self.name)),
        }
    }
}

fn names(f: &mut Formatter<'_>, names: &[Box<str>]) -> fmt::Result {
    list(f, &names.iter().map(|n| Name(n)).collect::<Vec<_>>())
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Pipe::Fields(fields) => {
                f.write_str("fields ")?;
                list(f, fields)
            }
            Pipe::Delete(fields) => {
                f.write_str("delete ")?;
                list(f, fields)
            }
            Pipe::Filter(filter) => write!(f, "filter {filter}"),
            Pipe::Sort(sort) => write!(f, "{sort}"),
            Pipe::Limit(n) => write!(f, "limit {n}"),
            Pipe::Offset(n) => write!(f, "offset {n}"),
            Pipe::Stats(stats) => write!(f, "{stats}"),
            Pipe::Top { limit, by, hits, rank } => {
                write!(f, "top {limit} by (")?;
                names(f, by)?;
                f.write_str(")")?;
                if &**hits != "hits" {
                    write!(f, " hits as {}", Name(hits))?;
                }
                rank.iter().try_for_each(|rank| write!(f, " rank as {}", Name(rank)))
            }
            Pipe::Uniq { by, hits, limit } => {
                f.write_str("uniq")?;
                if !by.is_empty() {
                    f.write_str(" by (")?;
                    names(f, by)?;
                    f.write_str(")")?;
                }
                f.write_str(if *hits { " with hits" } else { "" })?;
                limit.iter().try_for_each(|n| write!(f, " limit {n}"))
            }
        }
    }
}

impl Display for Sort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("sort")?;
        if !self.by.is_empty() {
            f.write_str(" by (")?;
            list(f, &self.by)?;
            f.write_str(")")?;
        }
        f.write_str(if self.descending { " desc" } else { "" })?;
        if self.offset > 0 {
            write!(f, " offset {}", self.offset)?;
        }
        self.limit.iter().try_for_each(|n| write!(f, " limit {n}"))?;
        self.rank.iter().try_for_each(|rank| write!(f, " rank as {}", Name(rank)))
    }
}

impl Display for SortKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Name(&self.field), if self.descending { " desc" } else { "" })
    }
}

impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("stats ")?;
        if !self.by.is_empty() {
            f.write_str("by (")?;
            list(f, &self.by)?;
            f.write_str(") ")?;
        }
        list(f, &self.functions)
    }
}

impl Display for GroupKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Name(&self.field))?;
        match &self.bucket {
            None => Ok(()),
            Some(bucket) => write!(f, ":{bucket}"),
        }
    }
}

impl Display for Bucket {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Bucket::Time { step_ns, offset_ns: 0 } => write!(f, "{}", Duration(*step_ns)),
            Bucket::Time { step_ns, offset_ns } => write!(f, "{} offset {}", Duration(*step_ns), Duration(*offset_ns)),
            Bucket::Calendar(CalendarStep::Week) => f.write_str("week"),
            Bucket::Calendar(CalendarStep::Month) => f.write_str("month"),
            Bucket::Calendar(CalendarStep::Year) => f.write_str("year"),
            Bucket::Number { step } => {
                let unit = match step.unit {
                    Some(Unit::Time) => "ns",
                    Some(Unit::Size) => "B",
                    Some(Unit::Percent) => "%",
                    Some(Unit::Count) | None => "",
                };
                write!(f, "{}{unit}", step.number)
            }
        }
    }
}

impl StatsFunction {
    /// The name of the function's column: its alias, or the function as it is written.
    pub fn column(&self) -> String {
        match &self.alias {
            Some(alias) => alias.to_string(),
            None => self.to_string(),
        }
    }
}

impl Display for StatsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            StatsKind::Count => f.write_str("count(")?,
            StatsKind::CountUniq => f.write_str("count_uniq(")?,
            StatsKind::Sum => f.write_str("sum(")?,
            StatsKind::Avg => f.write_str("avg(")?,
            StatsKind::Min => f.write_str("min(")?,
            StatsKind::Max => f.write_str("max(")?,
            StatsKind::Median => f.write_str("median(")?,
            StatsKind::Quantile(phi) => match (50..=99u8).find(|n| f64::from(*n) / 100.0 == phi) {
                Some(n) => write!(f, "p{n}(")?,
                None => write!(f, "quantile({phi}, ")?,
            },
            StatsKind::Values => f.write_str("values(")?,
            StatsKind::UniqValues => f.write_str("uniq_values(")?,
        }
        match self.fields.as_slice() {
            [] if self.kind == StatsKind::Count => {}
            [] => f.write_str("*")?,
            fields => names(f, fields)?,
        }
        f.write_str(")")?;
        self.limit.iter().try_for_each(|n| write!(f, " limit {n}"))?;
        self.condition.iter().try_for_each(|filter| write!(f, " if ({filter})"))?;
        self.alias.iter().try_for_each(|alias| write!(f, " as {}", Name(alias)))
    }
}
