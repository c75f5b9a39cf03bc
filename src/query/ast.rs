//! The syntax tree of a query: what was understood, with nothing resolved yet.
//!
//! Promises: every node can be printed (`query::print`), and reading the print gives the same node.
//! Texts are unescaped; case is as typed. Times that are relative stay relative, so that a tree can be kept.

use crate::record::{Quantity, Timestamp};

/// A whole query: which records, and what is done with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which records are taken.
    pub filter: Filter,
    /// What is done with them, in order.
    pub pipes: Vec<Pipe>,
}

/// A condition on one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// `*`: every record.
    All,
    /// All hold. At least two, none of them itself an `And`.
    And(Vec<Filter>),
    /// One holds. At least two, none of them itself an `Or`.
    Or(Vec<Filter>),
    /// Does not hold. Takes records that lack the field.
    Not(Box<Filter>),
    /// A test of one field, or of any field.
    Field {
        /// Where to look.
        field: FieldRef,
        /// What must hold there.
        test: Test,
    },
    /// `timestamp` in a range; also `_time:5m`, `timestamp:>..`.
    Time(TimeRange),
    /// `{service="api", env=~"prod.*"}`: all of these hold of the stream's labels.
    Stream(Vec<LabelTest>),
}

/// Where a test looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldRef {
    /// Any field of the record but its timestamp. Only with tests of a text or an address: never with `Exact`, `Exists`,
    /// `Empty`, `Compare` or `Range`.
    Any,
    /// The field of this name. `level`, `message` and so on are ordinary names; `_msg` and `msg` stand for `message`
    /// where the record has no field of that name (the resolution is the executor's). `timestamp` comes only with
    /// `Exists`, `Empty` and `Regex`: whatever else is asked of the time is a [`Filter::Time`].
    Named(Box<str>),
}

/// A test of a value. What it means for arrays is ruling 14: one element matches, or the JSON text as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The text has this word or phrase, case ignored, with word boundaries at its ends. Never empty.
    Phrase(Box<str>),
    /// Two or more words within `distance` of each other, in any order: `"a b"~3`. `distance` is the most words
    /// that may stand between the first and the last beyond those asked for.
    Near {
        /// The words, as typed.
        words: Vec<Box<str>>,
        /// How many other words may stand in between, all in all.
        distance: u32,
    },
    /// `word~1`: a word at most this many edits (insert, delete, replace, swap of neighbours) away, case ignored.
    Fuzzy {
        /// The word.
        word: Box<str>,
        /// 0 to 2.
        edits: u8,
    },
    /// A wildcard pattern inside a word or phrase: case ignored, boundaries at its ends as for `Phrase`.
    Wildcard(Box<[WildcardPart]>),
    /// `=`: the whole value, exactly, case kept. An empty text is `Empty`, never this.
    Exact(Box<str>),
    /// `in(a, b)`: the whole value is one of these, exactly; an empty text stands for `Empty`.
    In(Vec<Box<str>>),
    /// `field:*`: there, and not empty (ruling 17).
    Exists,
    /// `field:""`: missing or empty.
    Empty,
    /// A comparison with an order. As a number where both are numbers (ruling 6), as severity where the field is
    /// `level` and both are levels, else by bytes where the right side is no number.
    Compare(CompareOp, Operand),
    /// A range between two operands, `None` for an open end; never both open.
    Range {
        /// Lower bound and whether it is taken in.
        low: Option<(Operand, bool)>,
        /// Upper bound and whether it is taken in.
        high: Option<(Operand, bool)>,
    },
    /// A regular expression that matches somewhere in the value.
    Regex(Regex),
    /// An address inside a network, or in a range; the value as a whole is the address.
    IpRange(IpRange),
}

/// Part of a wildcard pattern. Two `Many` never follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WildcardPart {
    /// This text, case ignored.
    Literal(Box<str>),
    /// `*`: any number of word characters, also none.
    Many,
    /// `?`: one word character.
    One,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// The right side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// The text, unescaped.
    pub text: Box<str>,
    /// The text as a number with its unit, where it is one and was not quoted.
    pub quantity: Option<Quantity>,
}

/// A regular expression, checked when parsed (syntax and size).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regex {
    /// The expression, without its slashes.
    pub pattern: Box<str>,
    /// Is case ignored?
    pub ignore_case: bool,
}

/// A range of addresses, both ends taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpRange {
    /// IPv4, as big-endian numbers.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

/// A test of one label of the stream. A label that is missing counts as the empty text, as in Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelTest {
    /// The label's name.
    pub label: Box<str>,
    /// What must hold.
    pub op: LabelOp,
}

/// What a label must be. Regular expressions must match the whole value, as in Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelOp {
    /// `=`
    Equal(Box<str>),
    /// `!=`
    NotEqual(Box<str>),
    /// `=~`
    Matches(Box<str>),
    /// `!~`
    NotMatches(Box<str>),
}

/// A span of time. Resolved against one clock reading when the query is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeRange {
    /// Lower bound and whether it is taken in; `None` for an open end.
    pub start: Option<(TimePoint, bool)>,
    /// Upper bound likewise.
    pub end: Option<(TimePoint, bool)>,
    /// `offset 1h`: both ends are moved this far into the past, in ns.
    pub offset_ns: i64,
}

/// One end of a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimePoint {
    /// A fixed time.
    At(Timestamp),
    /// `now`, `now-1h`, `-5m`: this many ns from now (negative is past).
    Now(i64),
}

/// A step of processing.
#[derive(Clone, Debug, PartialEq)]
pub enum Pipe {
    /// Keeps these fields, in this order; a name may end in `*`.
    Fields(Vec<FieldPattern>),
    /// Drops these fields.
    Delete(Vec<FieldPattern>),
    /// Keeps the rows that match.
    Filter(Filter),
    /// Orders rows.
    Sort(Sort),
    /// Keeps the first rows.
    Limit(u64),
    /// Skips the first rows.
    Offset(u64),
    /// Groups and aggregates.
    Stats(Stats),
    /// The most frequent values of fields, with their number of rows in `hits`.
    Top {
        /// How many groups.
        limit: u64,
        /// The fields whose values form a group.
        by: Vec<Box<str>>,
        /// Name of the count column; `hits` by default.
        hits: Box<str>,
        /// Adds a column `rank`, from 1, of this name.
        rank: Option<Box<str>>,
    },
    /// The distinct values of fields.
    Uniq {
        /// The fields; none for whole rows.
        by: Vec<Box<str>>,
        /// `with hits`: adds a column `hits`.
        hits: bool,
        /// Most rows; `None` for all.
        limit: Option<u64>,
    },
}

/// A field name that may end in `*` (all names with that prefix); `*` alone is every field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern {
    /// The name, without the star.
    pub name: Box<str>,
    /// Does a star stand at the end?
    pub prefix: bool,
}

/// `sort by (a desc, b) offset 5 limit 10 rank as r`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// Keys, the first one deciding first; none sorts by time. Numbers before texts, missing last either way.
    pub by: Vec<SortKey>,
    /// `desc` after the parentheses: reverses every key.
    pub descending: bool,
    /// Rows to skip.
    pub offset: u64,
    /// Rows to keep.
    pub limit: Option<u64>,
    /// Name of a column with the place, from 1.
    pub rank: Option<Box<str>>,
}

/// One key of a sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// The field.
    pub field: Box<str>,
    /// Greatest first?
    pub descending: bool,
}

/// `stats by (a, _time:5m) count() as n, avg(x) if (level:error)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Keys of the groups; none for one row in all.
    pub by: Vec<GroupKey>,
    /// What is computed for each group; at least one.
    pub functions: Vec<StatsFunction>,
}

/// One key of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupKey {
    /// The field.
    pub field: Box<str>,
    /// How its values are put together.
    pub bucket: Option<Bucket>,
}

/// How values are put into buckets; the row shows the bucket's lower end.
#[derive(Clone, Debug, PartialEq)]
pub enum Bucket {
    /// Time in steps of this many ns, from the epoch moved by `offset_ns`.
    Time {
        /// Width.
        step_ns: i64,
        /// Shift of the bounds.
        offset_ns: i64,
    },
    /// Time in calendar steps, UTC.
    Calendar(CalendarStep),
    /// Numbers in steps.
    Number {
        /// Width, more than zero.
        step: Quantity,
    },
}

/// A step that is no fixed number of ns, or is aligned to the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarStep {
    /// Weeks from Monday.
    Week,
    /// Months.
    Month,
    /// Years.
    Year,
}

/// One aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsFunction {
    /// What is computed.
    pub kind: StatsKind,
    /// The fields it is computed from; empty is `*`, every field or every row.
    pub fields: Vec<Box<str>>,
    /// Only rows that match count: `count() if (level:error)`.
    pub condition: Option<Filter>,
    /// Name of the column; the canonical text of the function where none was given.
    pub alias: Option<Box<str>>,
    /// `limit N` of `uniq_values`, `values` and `count_uniq`.
    pub limit: Option<u64>,
}

/// What an aggregate computes.
#[derive(Clone, Debug, PartialEq)]
pub enum StatsKind {
    /// Rows; with fields, rows where one of them is not empty.
    Count,
    /// Distinct non-empty values (of the tuple, with more fields).
    CountUniq,
    /// Sum of the numbers.
    Sum,
    /// Mean of the numbers.
    Avg,
    /// Least value: numbers as numbers, else by text.
    Min,
    /// Greatest value.
    Max,
    /// `quantile(0.5)`.
    Median,
    /// `quantile(phi, field)` and `p50` to `p99` as phi 0.50 to 0.99: nearest rank over the numbers.
    Quantile(f64),
    /// Every non-empty value, as a JSON array, in row order.
    Values,
    /// Distinct non-empty values, sorted, as a JSON array.
    UniqValues,
}
