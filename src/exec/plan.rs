//! A query, resolved and ready to be run any number of times over any sources.

use super::filter::FieldKind;
use super::predicate::Predicate;
use super::stats::{Function, Grouping, Key, default_name};
use super::target::{Target, Wanted};
use super::{ExecError, Limits, TimeSpan};
use crate::query::ast::{self, FieldPattern, Pipe, Query, SortKey};
use crate::record::Timestamp;
use std::fmt;
use std::sync::Arc;

/// What is to be done: which records, in what span of time, and the steps they go through.
#[derive(Debug)]
pub struct Plan {
    span: TimeSpan,
    predicate: Predicate,
    steps: Vec<Step>,
    wanted: Wanted,
    limits: Limits,
}

/// A pipe, resolved.
#[derive(Debug)]
pub(crate) enum Step {
    Fields(Vec<FieldPattern>),
    Delete(Vec<FieldPattern>),
    Filter(Predicate),
    Sort(SortStep),
    Limit(u64),
    Offset(u64),
    Group(Grouping, GroupOutput),
    /// The distinct rows as a whole, in order of their first one.
    UniqRows {
        hits: bool,
        limit: Option<u64>,
    },
}

/// `sort`, resolved.
#[derive(Debug)]
pub(crate) struct SortStep {
    pub(crate) keys: Vec<SortOn>,
    pub(crate) offset: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) rank: Option<Arc<str>>,
}

/// One key of a sort.
#[derive(Debug)]
pub(crate) struct SortOn {
    pub(crate) name: Box<str>,
    pub(crate) target: Target,
    pub(crate) kind: FieldKind,
    pub(crate) descending: bool,
}

impl SortStep {
    /// Rows that must be kept, where that is bounded.
    pub(crate) fn rows_max(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.offset))
    }
}

/// How groups are put out.
#[derive(Debug)]
pub(crate) enum GroupOutput {
    /// By their keys.
    Stats,
    /// The most frequent first.
    Top { limit: u64, rank: Option<Arc<str>> },
    /// By their keys; the count only with `hits`.
    Uniq { hits: bool, limit: Option<u64> },
}

impl Plan {
    /// Resolves a query: relative times against `now`, what pipes need, expressions. `bounds` is a span that the
    /// request gives beside the query.
    pub fn new(query: &Query, now: Timestamp, bounds: Option<TimeSpan>, limits: Limits) -> Result<Plan, ExecError> {
        let mut conditions = vec![Predicate::new(&query.filter, now)?];
        let mut steps = Vec::new();
        for pipe in &query.pipes {
            match pipe {
                // Filters before anything else are part of the condition.
                Pipe::Filter(filter) if steps.is_empty() => conditions.push(Predicate::new(filter, now)?),
                pipe => steps.push(step(pipe, now)?),
            }
        }
        limit_sorts(&mut steps);
        let (span, predicate) = Predicate::and(conditions).take_span();
        let span = span.intersect(bounds.unwrap_or(TimeSpan::ALL));
        let others = query.pipes.iter().position(|p| !matches!(p, Pipe::Filter(_))).unwrap_or(query.pipes.len());
        Ok(Plan { span, predicate, wanted: wanted(&query.pipes[others..]), steps, limits })
    }

    /// The span of time that records must lie in.
    pub fn span(&self) -> TimeSpan {
        self.span
    }
    pub(crate) fn predicate(&self) -> &Predicate {
        &self.predicate
    }
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }
    /// The limits that the query runs under.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Most rows of the newest that can matter, where the first pipes bound them.
    pub(crate) fn rows_max(&self) -> Option<u64> {
        rows_max(&self.steps)
    }
}

/// Most rows that some steps let matter, of those that go into them, where that is bounded.
pub(crate) fn rows_max(steps: &[Step]) -> Option<u64> {
    let mut skipped = 0u64;
    for step in steps {
        match step {
            Step::Fields(_) | Step::Delete(_) => {}
            Step::Offset(n) => skipped = skipped.saturating_add(*n),
            Step::Limit(n) => return Some(skipped.saturating_add(*n)),
            _ => return None,
        }
    }
    None
}

/// A sort whose first rows alone matter need not keep the others.
fn limit_sorts(steps: &mut [Step]) {
    for at in 0..steps.len() {
        if let [Step::Sort(sort), after @ ..] = &mut steps[at..]
            && let Some(needed) = rows_max(after)
        {
            sort.limit = Some(sort.limit.map_or(needed, |limit| limit.min(needed)));
        }
    }
}

fn step(pipe: &Pipe, now: Timestamp) -> Result<Step, ExecError> {
    let key = |name: &str, bucket: Option<ast::Bucket>| Key {
        name: name.into(),
        target: Target::of(name),
        kind: Target::of(name).kind(),
        bucket,
    };
    Ok(match pipe {
        Pipe::Fields(patterns) => Step::Fields(patterns.clone()),
        Pipe::Delete(patterns) => Step::Delete(patterns.clone()),
        Pipe::Filter(filter) => Step::Filter(Predicate::new(filter, now)?),
        Pipe::Sort(sort) => {
            let by_time = [SortKey { field: super::target::TIME_NAME.into(), descending: false }];
            let by = if sort.by.is_empty() { &by_time[..] } else { &sort.by };
            let keys = by.iter().map(|on| SortOn {
                target: Target::of(&on.field),
                kind: Target::of(&on.field).kind(),
                name: on.field.clone(),
                descending: on.descending != sort.descending,
            });
            let rank = sort.rank.as_deref().map(Arc::from);
            Step::Sort(SortStep { keys: keys.collect(), offset: sort.offset, limit: sort.limit, rank })
        }
        Pipe::Limit(n) => Step::Limit(*n),
        Pipe::Offset(n) => Step::Offset(*n),
        Pipe::Stats(stats) => {
            let keys = stats.by.iter().map(|by| key(&by.field, by.bucket.clone())).collect();
            let mut functions: Vec<Function> = Vec::with_capacity(stats.functions.len());
            for function in &stats.functions {
                let wished = function.alias.as_deref().map_or_else(|| default_name(function), str::to_string);
                // Two columns of one name would hide one another.
                let taken = |name: &str| functions.iter().any(|f| *f.name == *name);
                let mut name = wished.clone();
                let mut n = 2;
                while taken(&name) {
                    name = format!("{wished}_{n}");
                    n += 1;
                }
                functions.push(Function {
                    kind: function.kind.clone(),
                    fields: function.fields.iter().map(|f| (Target::of(f), Target::of(f).kind())).collect(),
                    condition: function.condition.as_ref().map(|c| Predicate::new(c, now)).transpose()?,
                    name: name.into(),
                    limit: function.limit,
                });
            }
            Step::Group(Grouping { keys, functions }, GroupOutput::Stats)
        }
        Pipe::Top { limit, by, hits, rank } => {
            let grouping = counted(by.iter().map(|name| key(name, None)).collect(), hits);
            Step::Group(grouping, GroupOutput::Top { limit: *limit, rank: rank.as_deref().map(Arc::from) })
        }
        Pipe::Uniq { by, hits, limit } if by.is_empty() => Step::UniqRows { hits: *hits, limit: *limit },
        Pipe::Uniq { by, hits, limit } => {
            let grouping = counted(by.iter().map(|name| key(name, None)).collect(), "hits");
            Step::Group(grouping, GroupOutput::Uniq { hits: *hits, limit: *limit })
        }
    })
}

/// Groups with the number of their rows.
fn counted(keys: Vec<Key>, name: &str) -> Grouping {
    let count =
        Function { kind: ast::StatsKind::Count, fields: Vec::new(), condition: None, name: name.into(), limit: None };
    Grouping { keys, functions: vec![count] }
}

/// What the pipes need of records, as far as one of them makes other rows of them.
fn wanted(pipes: &[Pipe]) -> Wanted {
    let mut wanted = Wanted::default();
    let add_filter = |wanted: &mut Wanted, filter: &ast::Filter| {
        match Predicate::new(filter, Timestamp(0)) {
            Ok(predicate) => predicate.add_wanted(wanted),
            // It was resolved before, so that this does not happen; everything is always enough.
            Err(_) => wanted.all = true,
        }
    };
    for pipe in pipes {
        match pipe {
            Pipe::Filter(filter) => add_filter(&mut wanted, filter),
            Pipe::Sort(sort) => {
                sort.by.iter().for_each(|key| wanted.add(&key.field));
                if sort.by.is_empty() {
                    wanted.add(super::target::TIME_NAME);
                }
            }
            Pipe::Delete(_) | Pipe::Limit(_) | Pipe::Offset(_) => {}
            Pipe::Fields(patterns) => {
                wanted.patterns.extend(patterns.iter().cloned());
                return wanted;
            }
            Pipe::Stats(stats) => {
                stats.by.iter().for_each(|key| wanted.add(&key.field));
                for function in &stats.functions {
                    function.fields.iter().for_each(|field| wanted.add(field));
                    if function.fields.is_empty() && function.kind != ast::StatsKind::Count {
                        wanted.all = true;
                    }
                    if let Some(condition) = &function.condition {
                        add_filter(&mut wanted, condition);
                    }
                }
                return wanted;
            }
            Pipe::Top { by, .. } | Pipe::Uniq { by, .. } if !by.is_empty() => {
                by.iter().for_each(|field| wanted.add(field));
                return wanted;
            }
            Pipe::Top { .. } | Pipe::Uniq { .. } => break,
        }
    }
    wanted.all = true;
    wanted
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = matches!(self.predicate, Predicate::True);
        let grouped = matches!(self.predicate, Predicate::Or(_));
        match (self.span == TimeSpan::ALL, all) {
            (true, _) => write!(f, "take {}", self.predicate)?,
            (false, true) => write!(f, "take {}", self.span)?,
            (false, false) if grouped => write!(f, "take {} AND ({})", self.span, self.predicate)?,
            (false, false) => write!(f, "take {} AND {}", self.span, self.predicate)?,
        }
        self.steps.iter().try_for_each(|step| write!(f, "\n| {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |patterns: &[FieldPattern]| {
            let text = |p: &FieldPattern| format!("{}{}", p.name, if p.prefix { "*" } else { "" });
            patterns.iter().map(text).collect::<Vec<_>>().join(", ")
        };
        let key = |k: &Key| ast::GroupKey { field: (&*k.name).into(), bucket: k.bucket.clone() }.to_string();
        let keys = |grouping: &Grouping| grouping.keys.iter().map(key).collect::<Vec<_>>().join(", ");
        match self {
            Step::Fields(patterns) => write!(f, "keep {}", names(patterns)),
            Step::Delete(patterns) => write!(f, "drop {}", names(patterns)),
            Step::Filter(predicate) => write!(f, "take {predicate}"),
            Step::Sort(sort) => {
                let keys: Vec<String> = sort.keys.iter().map(SortOn::to_string).collect();
                write!(f, "sort by ({})", keys.join(", "))?;
                sort.rows_max().iter().try_for_each(|n| write!(f, ", keeping {n} rows"))
            }
            Step::Limit(n) => write!(f, "the first {n}"),
            Step::Offset(n) => write!(f, "skip {n}"),
            Step::Group(grouping, GroupOutput::Top { limit, .. }) => write!(f, "top {limit} of {}", keys(grouping)),
            Step::Group(grouping, GroupOutput::Uniq { .. }) => write!(f, "distinct {}", keys(grouping)),
            Step::Group(grouping, GroupOutput::Stats) => {
                let functions: Vec<&str> = grouping.functions.iter().map(|f| &*f.name).collect();
                write!(f, "group by ({}): {}", keys(grouping), functions.join(", "))
            }
            Step::UniqRows { .. } => write!(f, "distinct rows"),
        }
    }
}

impl fmt::Display for SortOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SortKey { field: self.name.clone(), descending: self.descending }.fmt(f)
    }
}
