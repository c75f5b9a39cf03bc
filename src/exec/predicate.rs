//! The condition of a query, resolved: times fixed, expressions compiled, names told apart, ordered by cost.

use super::filter::outline::{Found, Outlook};
use super::filter::{FieldKind, StreamTest, ValueTest};
use super::prune::Needs;
use super::target::{TIME_NAME, Target, Wanted};
use super::{ExecError, TimeSpan};
use crate::error::StorageError;
use crate::query::ast::{FieldRef, Filter, Test, WildcardPart};
use crate::record::{Block, Outline, Tag, Timestamp};
use std::fmt;
use std::sync::OnceLock;

/// A condition on one record.
#[derive(Debug)]
pub(crate) enum Predicate {
    /// Holds of every record.
    True,
    /// Holds of none.
    False,
    /// All hold; the cheapest first.
    And(Vec<Predicate>),
    /// One holds; the cheapest first.
    Or(Vec<Predicate>),
    /// Does not hold; never of another `Not`, an `And` or an `Or`.
    Not(Box<Predicate>),
    /// The time is in a span.
    Time(TimeSpan),
    /// The labels pass; with what was resolved, for explanations.
    Stream(StreamTest, Box<Filter>),
    /// A value passes.
    Field(Box<FieldTest>),
}

/// A test of the values that a name stands for.
#[derive(Debug)]
pub(crate) struct FieldTest {
    pub(crate) target: Target,
    pub(crate) test: ValueTest,
    /// What stands in every block that has a match.
    pub(crate) needs: Needs,
    /// The test as it looks at outlines, once one is met.
    outlook: OnceLock<Outlook>,
    /// What was resolved, for explanations.
    filter: Filter,
}

impl FieldTest {
    /// What is known of the values of each template of an outline of a block; `None` where that is nothing.
    pub(crate) fn found(&self, outline: &Outline, block: &dyn Block) -> Result<Option<Vec<Found>>, StorageError> {
        self.outlook.get_or_init(|| Outlook::new(&self.test, &self.needs)).found(outline, block)
    }
}

impl Predicate {
    /// Resolves a filter.
    pub(crate) fn new(filter: &Filter, now: Timestamp) -> Result<Self, ExecError> {
        Self::resolve(filter, now, false)
    }

    /// Resolves a filter or its negation: negations go down to the single tests, which can be pruned by.
    fn resolve(filter: &Filter, now: Timestamp, negated: bool) -> Result<Self, ExecError> {
        let parts = |parts: &[Filter]| parts.iter().map(|p| Self::resolve(p, now, negated)).collect::<Result<_, _>>();
        Ok(match filter {
            Filter::All => Predicate::constant(!negated),
            Filter::Not(inner) => return Self::resolve(inner, now, !negated),
            Filter::And(inner) if negated => Predicate::or(parts(inner)?),
            Filter::And(inner) => Predicate::and(parts(inner)?),
            Filter::Or(inner) if negated => Predicate::and(parts(inner)?),
            Filter::Or(inner) => Predicate::or(parts(inner)?),
            Filter::Time(range) => Predicate::Time(TimeSpan::resolve(range, now)).negated_if(negated),
            Filter::Stream(tests) => {
                Predicate::Stream(StreamTest::new(tests)?, filter.clone().into()).negated_if(negated)
            }
            Filter::Field { field, test } => Self::field(field, test)?.negated_if(negated),
        })
    }

    fn field(field: &FieldRef, test: &Test) -> Result<Self, ExecError> {
        let target = match field {
            FieldRef::Any => Target::Any,
            FieldRef::Named(name) => Target::of(name),
        };
        let exists = |target: Target| Self::leaf(field, target, &Test::Exists);
        match test {
            Test::Exact(text) if text.is_empty() => Ok(exists(target)?.negated_if(true)),
            Test::Empty => Ok(exists(target)?.negated_if(true)),
            Test::In(texts) if texts.iter().any(|t| t.is_empty()) => {
                let others: Vec<Box<str>> = texts.iter().filter(|t| !t.is_empty()).cloned().collect();
                let listed = match others.is_empty() {
                    true => Predicate::False,
                    false => Self::leaf(field, target.clone(), &Test::In(others))?,
                };
                Ok(Predicate::or(vec![listed, exists(target)?.negated_if(true)]))
            }
            Test::In(texts) if texts.is_empty() => Ok(Predicate::False),
            Test::Wildcard(parts) if **parts == [WildcardPart::Many] => exists(target),
            _ if target == Target::Time => match time_span(test) {
                Some(span) => Ok(Predicate::Time(span)),
                None if *test == Test::Exists => Ok(Predicate::True),
                None => Self::leaf(field, target, test),
            },
            _ => Self::leaf(field, target, test),
        }
    }

    fn leaf(field: &FieldRef, target: Target, test: &Test) -> Result<Self, ExecError> {
        let filter = Filter::Field { field: field.clone(), test: test.clone() };
        let test = ValueTest::new(test)?;
        let needs = match target {
            Target::Any | Target::Field(_) | Target::Message(_) => Needs::of(&test),
            // No fields of the record, so that no index knows them.
            Target::Time | Target::Stream | Target::StreamId | Target::Seq => Needs::Unknown,
        };
        Ok(Predicate::Field(Box::new(FieldTest { target, test, needs, outlook: OnceLock::new(), filter })))
    }

    pub(crate) fn constant(holds: bool) -> Self {
        if holds { Predicate::True } else { Predicate::False }
    }

    fn negated_if(self, negated: bool) -> Self {
        match self {
            _ if !negated => self,
            Predicate::True => Predicate::False,
            Predicate::False => Predicate::True,
            Predicate::Not(inner) => *inner,
            Predicate::And(parts) => Predicate::or(parts.into_iter().map(|p| p.negated_if(true)).collect()),
            Predicate::Or(parts) => Predicate::and(parts.into_iter().map(|p| p.negated_if(true)).collect()),
            leaf => Predicate::Not(Box::new(leaf)),
        }
    }

    /// All of these.
    pub(crate) fn and(parts: Vec<Predicate>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Predicate::True => {}
                Predicate::False => return Predicate::False,
                Predicate::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_by_key(Predicate::cost);
        match flat.len() {
            0 => Predicate::True,
            1 => flat.remove(0),
            _ => Predicate::And(flat),
        }
    }

    /// One of these.
    pub(crate) fn or(parts: Vec<Predicate>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Predicate::False => {}
                Predicate::True => return Predicate::True,
                Predicate::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_by_key(Predicate::cost);
        match flat.len() {
            0 => Predicate::False,
            1 => flat.remove(0),
            _ => Predicate::Or(flat),
        }
    }

    /// Takes the spans that must hold out of the condition.
    pub(crate) fn take_span(self) -> (TimeSpan, Self) {
        match self {
            Predicate::Time(span) => (span, Predicate::True),
            Predicate::And(parts) => {
                let (mut span, mut others) = (TimeSpan::ALL, Vec::with_capacity(parts.len()));
                for part in parts {
                    match part {
                        Predicate::Time(part) => span = span.intersect(part),
                        other => others.push(other),
                    }
                }
                (span, Predicate::and(others))
            }
            other => (TimeSpan::ALL, other),
        }
    }

    /// The parts that must all hold.
    pub(crate) fn conjuncts(&self) -> &[Predicate] {
        match self {
            Predicate::And(parts) => parts,
            Predicate::True => &[],
            other => std::slice::from_ref(other),
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Predicate::True | Predicate::False | Predicate::Time(_) => 0,
            Predicate::Stream(..) => 1,
            Predicate::Not(inner) => inner.cost(),
            Predicate::And(parts) | Predicate::Or(parts) => {
                parts.iter().fold(1, |sum, part| sum.saturating_add(part.cost()))
            }
            Predicate::Field(field) => match field.target {
                // Some dozens of columns have to be looked at.
                Target::Any => field.test.cost() * 30,
                Target::Time | Target::StreamId => field.test.cost() + 10,
                _ => field.test.cost(),
            },
        }
    }

    /// Adds what it looks at to what is wanted.
    pub(crate) fn add_wanted(&self, wanted: &mut Wanted) {
        match self {
            Predicate::True | Predicate::False => {}
            Predicate::Time(_) => wanted.add(TIME_NAME),
            Predicate::Stream(..) => wanted.add("_stream"),
            Predicate::Not(inner) => inner.add_wanted(wanted),
            Predicate::And(parts) | Predicate::Or(parts) => parts.iter().for_each(|p| p.add_wanted(wanted)),
            Predicate::Field(field) => match &field.target {
                Target::Any => wanted.all = true,
                Target::Field(name) | Target::Message(name) => wanted.add(name),
                Target::Time => wanted.add(TIME_NAME),
                Target::Stream => wanted.add("_stream"),
                Target::StreamId => wanted.add("_stream_id"),
                Target::Seq => wanted.add("_seq"),
            },
        }
    }
}

/// Comparisons of the time with something that reads as a time are by time, not by text.
fn time_span(test: &Test) -> Option<TimeSpan> {
    use crate::query::ast::{TimePoint, TimeRange};
    let at = |text: &str| Timestamp::parse(text).ok().map(TimePoint::At);
    let end = |end: &Option<(crate::query::ast::Operand, bool)>| match end {
        None => Some(None),
        Some((operand, inclusive)) => Some(Some((at(&operand.text)?, *inclusive))),
    };
    let (start, end) = match test {
        Test::Range { low, high } => (end(low)?, end(high)?),
        Test::Exact(text) => (Some((at(text)?, true)), Some((at(text)?, true))),
        Test::Compare(op, operand) => {
            use crate::query::ast::CompareOp::{Greater, GreaterOrEqual, Less, LessOrEqual};
            let point = at(&operand.text)?;
            match op {
                Greater => (Some((point, false)), None),
                GreaterOrEqual => (Some((point, true)), None),
                Less => (None, Some((point, false))),
                LessOrEqual => (None, Some((point, true))),
            }
        }
        _ => return None,
    };
    Some(TimeSpan::resolve(&TimeRange { start, end, offset_ns: 0 }, Timestamp(0)))
}

/// A record, looked at one value at a time. A field that is missing gives `None`.
pub(crate) trait RecordView {
    /// The value that a name stands for; of [`Target::Any`] there is none.
    fn value(&self, target: &Target) -> Option<(Tag, std::borrow::Cow<'_, str>)>;
    /// The time.
    fn time(&self) -> Option<Timestamp>;
    /// Calls with each field but the time, until one call answers true.
    fn any_field(&self, holds: &mut dyn FnMut(&str, Tag, &str) -> bool) -> bool;
}

impl Predicate {
    /// Does it hold of a record? What all the faster ways must agree with.
    pub(crate) fn matches(&self, record: &dyn RecordView, scratch: &mut super::filter::Scratch) -> bool {
        match self {
            Predicate::True => true,
            Predicate::False => false,
            Predicate::And(parts) => parts.iter().all(|p| p.matches(record, scratch)),
            Predicate::Or(parts) => parts.iter().any(|p| p.matches(record, scratch)),
            Predicate::Not(inner) => !inner.matches(record, scratch),
            Predicate::Time(span) => record.time().is_some_and(|time| span.contains(time)),
            Predicate::Stream(test, _) => {
                record.value(&Target::Stream).is_some_and(|(_, labels)| test.matches(&labels))
            }
            Predicate::Field(field) => match &field.target {
                Target::Any => {
                    record.any_field(&mut |name, tag, text| field.test.matches(tag, text, FieldKind::of(name), scratch))
                }
                target => record
                    .value(target)
                    .is_some_and(|(tag, text)| field.test.matches(tag, &text, target.kind(), scratch)),
            },
        }
    }
}

impl Target {
    /// What its name tells about its values.
    pub(crate) fn kind(&self) -> FieldKind {
        match self {
            Target::Field(name) => FieldKind::of(name),
            // A message has no unit, whichever of its names it has.
            other => FieldKind { unit: None, is_level: false, is_time: *other == Target::Time },
        }
    }
}

/// As text of the query language, in the order in which the parts are tested.
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Predicate], word: &str| {
            for (i, part) in parts.iter().enumerate() {
                let inner = matches!(part, Predicate::And(_) | Predicate::Or(_));
                let (open, close) = if inner { ("(", ")") } else { ("", "") };
                write!(f, "{}{open}{part}{close}", if i > 0 { word } else { "" })?;
            }
            Ok(())
        };
        match self {
            Predicate::True => f.write_str("*"),
            Predicate::False => f.write_str("NOT *"),
            Predicate::And(parts) => list(f, parts, " AND "),
            Predicate::Or(parts) => list(f, parts, " OR "),
            Predicate::Not(inner) => write!(f, "NOT {inner}"),
            Predicate::Time(span) => write!(f, "{span}"),
            Predicate::Stream(_, filter) => write!(f, "{filter}"),
            Predicate::Field(field) => write!(f, "{}", field.filter),
        }
    }
}
