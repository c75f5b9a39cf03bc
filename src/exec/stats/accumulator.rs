//! What a function computes, value by value, and how two halves are put together.

use super::Function;
use super::quantile::Quantiles;
use super::sum::Sum;
use crate::exec::filter::FieldKind;
use crate::exec::order::Rank;
use crate::query::ast::StatsKind;
use crate::record::{Number, Tag, write_json_value};
use rustc_hash::{FxHashMap, FxHashSet};

/// Bytes that an entry of a hash table takes beside its text, about.
const ENTRY_BYTES: usize = 48;

/// The state of one function in one group.
#[derive(Debug)]
pub(crate) enum Accumulator {
    Count(u64),
    Distinct(FxHashSet<Box<[u8]>>),
    Sum(Sum),
    Extreme(Option<Extreme>),
    Quantiles(Quantiles),
    Values(Vec<Placed>),
    UniqValues(FxHashMap<Box<str>, Tag>),
}

/// The least or greatest value so far; a number as soon as there is one.
#[derive(Clone, Debug)]
pub(crate) struct Extreme {
    number: Option<Number>,
    tag: Tag,
    text: Box<str>,
}

/// A value, and where its row and field stand, so that values can be put in order of rows.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) at: RowPlace,
    pub(crate) field: u32,
    pub(crate) tag: Tag,
    pub(crate) text: Box<str>,
}

/// Where a row stands among others: smaller is earlier in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowPlace(pub(crate) i128, pub(crate) u64);

impl RowPlace {
    /// Of a record: the newest is first.
    pub(crate) fn newest_first(time: i64, seq: u64) -> Self {
        RowPlace(-i128::from(time), u64::MAX - seq)
    }
}

impl Accumulator {
    pub(crate) fn new(kind: &StatsKind) -> Self {
        match kind {
            StatsKind::Count => Accumulator::Count(0),
            StatsKind::CountUniq => Accumulator::Distinct(FxHashSet::default()),
            StatsKind::Sum | StatsKind::Avg => Accumulator::Sum(Sum::default()),
            StatsKind::Min | StatsKind::Max => Accumulator::Extreme(None),
            StatsKind::Median | StatsKind::Quantile(_) => Accumulator::Quantiles(Quantiles::default()),
            StatsKind::Values => Accumulator::Values(Vec::new()),
            StatsKind::UniqValues => Accumulator::UniqValues(FxHashMap::default()),
        }
    }

    /// Counts rows.
    #[inline]
    pub(crate) fn count(&mut self, rows: u64) {
        if let Accumulator::Count(n) = self {
            *n += rows;
        }
    }

    /// Takes in a tuple of values, encoded; tells the bytes that it takes.
    pub(crate) fn add_tuple(&mut self, tuple: &[u8], limit: Option<u64>) -> usize {
        match self {
            Accumulator::Distinct(tuples)
                if limit.is_none_or(|limit| (tuples.len() as u64) < limit) && !tuples.contains(tuple) =>
            {
                tuples.insert(tuple.into());
                tuple.len() + ENTRY_BYTES
            }
            _ => 0,
        }
    }

    /// Takes in a number, measured in units of its field.
    pub(crate) fn add_number(&mut self, number: Number) -> usize {
        match self {
            Accumulator::Sum(sum) => {
                sum.add(number);
                0
            }
            Accumulator::Quantiles(quantiles) => quantiles.add(number),
            _ => 0,
        }
    }

    /// Takes in a value for the least or the greatest. The text is asked for only where it counts.
    pub(crate) fn add_extreme<'t>(
        &mut self,
        greatest: bool,
        number: Option<Number>,
        tag: Tag,
        text: impl FnOnce() -> &'t str,
    ) {
        let Accumulator::Extreme(extreme) = self else { return };
        let (new, old) = (number, extreme.as_ref().map(|e| e.number));
        let better = match (new, old) {
            (_, None) => None,
            (Some(_), Some(None)) => Some(true),
            (None, Some(Some(_))) => Some(false),
            (Some(new), Some(Some(old))) if new != old => Some((new > old) == greatest),
            // Texts decide.
            _ => None,
        };
        if better == Some(false) {
            return;
        }
        let text = text();
        let better = better.unwrap_or_else(|| match extreme {
            None => true,
            // Of numbers that are the same, the least text, so that the order of rows does not show.
            Some(old) if new.is_some() => *text < *old.text || (*text == *old.text && tag < old.tag),
            Some(old) if *text == *old.text => tag < old.tag,
            Some(old) => (text.as_bytes() > old.text.as_bytes()) == greatest,
        });
        if better {
            *extreme = Some(Extreme { number, tag, text: text.into() });
        }
    }

    /// Takes in a value for a list.
    pub(crate) fn add_value(&mut self, value: impl FnOnce() -> Placed) -> usize {
        match self {
            Accumulator::Values(values) => {
                let value = value();
                let bytes = value.text.len() + size_of::<Placed>();
                values.push(value);
                bytes
            }
            _ => 0,
        }
    }

    /// Takes in a value for the list of distinct ones.
    pub(crate) fn add_distinct(&mut self, tag: Tag, text: &str) -> usize {
        let Accumulator::UniqValues(values) = self else { return 0 };
        if let Some(old) = values.get_mut(text) {
            *old = tag.min(*old);
            return 0;
        }
        values.insert(text.into(), tag);
        text.len() + ENTRY_BYTES
    }

    /// Takes in the state of another part of the rows; tells the bytes that it takes more than the two did.
    pub(crate) fn merge(&mut self, other: Accumulator, function: &Function) {
        match (&mut *self, other) {
            (Accumulator::Count(own), Accumulator::Count(others)) => *own += others,
            (Accumulator::Distinct(own), Accumulator::Distinct(others)) => own.extend(others),
            (Accumulator::Sum(own), Accumulator::Sum(others)) => own.merge(others),
            (Accumulator::Extreme(_), Accumulator::Extreme(Some(other))) => {
                self.add_extreme(function.kind == StatsKind::Max, other.number, other.tag, || &other.text);
            }
            (Accumulator::Quantiles(own), Accumulator::Quantiles(others)) => own.merge(others),
            (Accumulator::Values(own), Accumulator::Values(others)) => own.extend(others),
            (Accumulator::UniqValues(_), Accumulator::UniqValues(others)) => {
                for (text, tag) in others {
                    self.add_distinct(tag, &text);
                }
            }
            _ => {}
        }
    }

    /// The result as type and text. A function of numbers over no numbers is null.
    pub(crate) fn finish(self, function: &Function) -> (Tag, String) {
        let number = |n: Option<Number>| n.map_or((Tag::Null, String::new()), |n| (Tag::Number, n.to_string()));
        let limit = function.limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        match self {
            Accumulator::Count(n) => (Tag::Number, n.to_string()),
            // Parts that were cut at the limit each may have more of them together.
            Accumulator::Distinct(tuples) => (Tag::Number, tuples.len().min(limit).to_string()),
            Accumulator::Sum(sum) if function.kind == StatsKind::Avg => number(sum.mean()),
            Accumulator::Sum(sum) => number(sum.total()),
            Accumulator::Extreme(extreme) => {
                extreme.map_or((Tag::Null, String::new()), |e| (e.tag, e.text.into_string()))
            }
            Accumulator::Quantiles(quantiles) => match function.kind {
                StatsKind::Quantile(phi) => number(quantiles.quantile(phi)),
                _ => number(quantiles.quantile(0.5)),
            },
            Accumulator::Values(mut values) => {
                values.sort_by_key(|v| (v.at, v.field));
                array(values.iter().map(|v| (v.tag, &*v.text)).take(limit))
            }
            Accumulator::UniqValues(values) => {
                let kind = function.fields.first().map_or(FieldKind::of(""), |(_, kind)| *kind);
                let mut sorted: Vec<(Rank, Tag, Box<str>)> =
                    values.into_iter().map(|(text, tag)| (Rank::of(tag, &text, kind), tag, text)).collect();
                sorted.sort_by(|a, b| a.0.compare(&b.0, false).then_with(|| a.2.cmp(&b.2)));
                array(sorted.iter().map(|(_, tag, text)| (*tag, &**text)).take(limit))
            }
        }
    }
}

fn array<'t>(values: impl Iterator<Item = (Tag, &'t str)>) -> (Tag, String) {
    let mut json = String::from("[");
    for (i, (tag, text)) in values.enumerate() {
        if i > 0 {
            json.push(',');
        }
        write_json_value(tag, text, &mut json);
    }
    json.push(']');
    (Tag::Array, json)
}
