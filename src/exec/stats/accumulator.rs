//! What a function computes, value by value, and how two halves are put together.

use super::Function;
use super::quantile::Quantiles;
use super::sum::Sum;
use super::table::{KeyTable, hash};
use crate::exec::ExecError;
use crate::exec::filter::FieldKind;
use crate::exec::limits::{Budget, allocated, map_bytes};
use crate::exec::order::Rank;
use crate::query::ast::StatsKind;
use crate::record::{Number, Tag, write_json_value};
use rustc_hash::FxHashMap;

/// The state of one function in one group.
#[derive(Debug)]
pub(crate) enum Accumulator {
    Count(u64),
    Distinct(Box<KeyTable>),
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
            StatsKind::CountUniq => Accumulator::Distinct(Box::default()),
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

    /// Bytes of memory that the state of a function takes beside itself before it has a value.
    pub(crate) fn memory_at_first(kind: &StatsKind) -> usize {
        match kind {
            StatsKind::CountUniq | StatsKind::Median | StatsKind::Quantile(_) => Self::new(kind).memory(),
            _ => 0,
        }
    }

    /// Bytes of memory beside itself: what was charged for it.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Accumulator::Count(_) | Accumulator::Sum(_) => 0,
            Accumulator::Distinct(tuples) => size_of::<KeyTable>() + tuples.memory(),
            Accumulator::Extreme(extreme) => extreme.as_ref().map_or(0, |e| allocated(e.text.len())),
            Accumulator::Quantiles(quantiles) => quantiles.memory(),
            Accumulator::Values(values) => {
                let texts: usize = values.iter().map(|value| allocated(value.text.len())).sum();
                values.capacity() * size_of::<Placed>() + texts
            }
            Accumulator::UniqValues(values) => {
                map_bytes(values) + values.keys().map(|text| allocated(text.len())).sum::<usize>()
            }
        }
    }

    /// Takes in a tuple of values, encoded.
    pub(crate) fn add_tuple(&mut self, tuple: &[u8], limit: Option<u64>, budget: &Budget) -> Result<(), ExecError> {
        let Accumulator::Distinct(tuples) = self else { return Ok(()) };
        if limit.is_some_and(|limit| tuples.len() as u64 >= limit) {
            return Ok(());
        }
        tuples.insert(hash(tuple), tuple, budget).map(|_| ()).ok_or_else(|| budget.memory_exceeded())
    }

    /// Takes in so many integers, as their sum.
    pub(crate) fn add_integers(&mut self, sum: i128, count: u64) {
        if let Accumulator::Sum(own) = self {
            own.add_integers(sum, count);
        }
    }

    /// Takes in a number, measured in units of its field.
    #[inline]
    pub(crate) fn add_number(&mut self, number: Number, budget: &Budget) -> Result<(), ExecError> {
        match self {
            Accumulator::Sum(sum) => sum.add(number),
            Accumulator::Quantiles(quantiles) => quantiles.add(number, budget)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes in a value for the least or the greatest. The text is asked for only where it counts.
    pub(crate) fn add_extreme<'t>(
        &mut self,
        greatest: bool,
        number: Option<Number>,
        tag: Tag,
        text: impl FnOnce() -> &'t str,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let Accumulator::Extreme(extreme) = self else { return Ok(()) };
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
            return Ok(());
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
            budget.charge(allocated(text.len()))?;
            budget.release(extreme.as_ref().map_or(0, |old| allocated(old.text.len())));
            *extreme = Some(Extreme { number, tag, text: text.into() });
        }
        Ok(())
    }

    /// Takes in a value for a list.
    pub(crate) fn add_value(
        &mut self,
        (at, field): (RowPlace, u32),
        tag: Tag,
        text: &str,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let Accumulator::Values(values) = self else { return Ok(()) };
        budget.reserve(values, 1)?;
        budget.charge(allocated(text.len()))?;
        values.push(Placed { at, field, tag, text: text.into() });
        Ok(())
    }

    /// Takes in a value for the list of distinct ones.
    pub(crate) fn add_distinct(&mut self, tag: Tag, text: &str, budget: &Budget) -> Result<(), ExecError> {
        let Accumulator::UniqValues(values) = self else { return Ok(()) };
        if let Some(old) = values.get_mut(text) {
            *old = tag.min(*old);
            return Ok(());
        }
        budget.reserve_in_map(values)?;
        budget.charge(allocated(text.len()))?;
        values.insert(text.into(), tag);
        Ok(())
    }

    /// Takes in the state of another part of the rows, and gives back what that took.
    pub(crate) fn merge(&mut self, other: Accumulator, function: &Function, budget: &Budget) -> Result<(), ExecError> {
        let before = other.memory();
        match (&mut *self, other) {
            (Accumulator::Count(own), Accumulator::Count(others)) => *own += others,
            (Accumulator::Distinct(own), Accumulator::Distinct(mut others)) => {
                if own.len() < others.len() {
                    std::mem::swap(own, &mut others);
                }
                for tuple in 0..others.len() as u32 {
                    let tuple = others.get(tuple);
                    own.insert(hash(tuple), tuple, budget).ok_or_else(|| budget.memory_exceeded())?;
                }
                // Which of the two it is that goes was open.
                budget.release(size_of::<KeyTable>() + others.memory());
                return Ok(());
            }
            (Accumulator::Sum(own), Accumulator::Sum(others)) => own.merge(others),
            (Accumulator::Extreme(_), Accumulator::Extreme(Some(other))) => {
                let greatest = function.kind == StatsKind::Max;
                self.add_extreme(greatest, other.number, other.tag, || &other.text, budget)?;
            }
            (Accumulator::Quantiles(own), Accumulator::Quantiles(others)) => return own.merge(others, budget),
            (Accumulator::Values(own), Accumulator::Values(others)) => {
                budget.reserve(own, others.len())?;
                budget.release(others.capacity() * size_of::<Placed>());
                // Their texts are kept as they are.
                own.extend(others);
                return Ok(());
            }
            (Accumulator::UniqValues(_), Accumulator::UniqValues(others)) => {
                for (text, tag) in others {
                    self.add_distinct(tag, &text, budget)?;
                }
            }
            _ => {}
        }
        budget.release(before);
        Ok(())
    }

    /// The result as type and text, and gives back what the state took. A function of numbers over no numbers is null.
    pub(crate) fn finish(self, function: &Function, budget: &Budget) -> Result<(Tag, String), ExecError> {
        let before = self.memory();
        let number = |n: Option<Number>| n.map_or((Tag::Null, String::new()), |n| (Tag::Number, n.to_string()));
        let limit = function.limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let result = match self {
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
                values.sort_unstable_by_key(|v| (v.at, v.field));
                array(values.iter().map(|v| (v.tag, &*v.text)).take(limit), budget)?
            }
            Accumulator::UniqValues(values) => {
                let kind = function.fields.first().map_or(FieldKind::of(""), |(_, kind)| *kind);
                budget.charge(values.len() * size_of::<(Rank, Tag, &str)>())?;
                let mut sorted: Vec<(Rank, Tag, &str)> = Vec::with_capacity(values.len());
                for (text, tag) in &values {
                    let rank = Rank::of(*tag, text, kind);
                    budget.charge(rank.memory())?;
                    sorted.push((rank, *tag, text));
                }
                sorted.sort_unstable_by(|a, b| a.0.compare(&b.0, false).then_with(|| a.2.cmp(b.2)));
                let ranks = sorted.iter().map(|(rank, ..)| size_of::<(Rank, Tag, &str)>() + rank.memory()).sum();
                let result = array(sorted.iter().map(|(_, tag, text)| (*tag, *text)).take(limit), budget)?;
                budget.release(ranks);
                result
            }
        };
        budget.release(before);
        Ok(result)
    }
}

/// An array of values. Its text is accounted for by whoever keeps it, and here while it is made.
fn array<'t>(
    values: impl Iterator<Item = (Tag, &'t str)> + Clone,
    budget: &Budget,
) -> Result<(Tag, String), ExecError> {
    // With quotes and a comma; few texts have anything to escape.
    let bytes = values.clone().map(|(_, text)| text.len() + 3).sum::<usize>() + 1;
    budget.charge(bytes)?;
    let mut json = String::with_capacity(bytes);
    json.push('[');
    for (i, (tag, text)) in values.enumerate() {
        if i > 0 {
            json.push(',');
        }
        write_json_value(tag, text, &mut json);
    }
    json.push(']');
    budget.release(bytes);
    Ok((Tag::Array, json))
}
