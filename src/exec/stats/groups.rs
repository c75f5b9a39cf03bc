//! The table of groups: keys, the states of their functions, and the rows that come out.

use super::accumulator::{Accumulator, RowPlace};
use super::keys::{KeyValue, encode_text};
use super::order::{OrderColumn, RowOrder};
use super::pick::{key_texts, push_key, push_place};
use super::table::{KeyTable, hash};
use super::{Function, Grouping, Key};
use crate::exec::filter::{FieldKind, Scratch};
use crate::exec::limits::{Budget, allocated};
use crate::exec::order::{Rank, ranks_memory};
use crate::exec::plan::GroupOutput;
use crate::exec::predicate::RecordView;
use crate::exec::row::Row;
use crate::exec::view::measured;
use crate::exec::{ExecError, target::Target};
use crate::query::ast::StatsKind;
use crate::record::{Tag, is_empty_value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// As for sorts: rows are cut down whenever there are twice as many as needed and this many more.
const SLACK: usize = 1024;

/// Groups with the states of their functions.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    table: KeyTable,
    /// Those of each group's keys.
    tags: Vec<Tag>,
    /// Those of one group follow each other.
    states: Vec<Accumulator>,
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// A group on its way out: what decides its place, the keys, and the results.
struct Finished<'t> {
    /// Of the columns of the order, then of the keys.
    ranks: Vec<Rank>,
    keys: Vec<KeyValue<'t>>,
    results: Vec<(Tag, String)>,
}

impl Finished<'_> {
    /// Bytes of memory beside itself, about.
    fn memory(&self) -> usize {
        let texts = |key: &KeyValue<'_>| match key {
            KeyValue::Value(_, Cow::Owned(text)) => allocated(text.capacity()),
            KeyValue::Value(_, Cow::Borrowed(_)) | KeyValue::Time(_) => 0,
        };
        let keys = allocated(size_of_val(&*self.keys)) + self.keys.iter().map(texts).sum::<usize>();
        let results = self.results.iter().map(|(_, text)| allocated(text.capacity())).sum::<usize>();
        ranks_memory(&self.ranks) + keys + allocated(size_of_val(&*self.results)) + results
    }
}

impl Groups {
    /// Groups so far.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The number of the group with these keys, which is made where there is none.
    pub(super) fn find(
        &mut self,
        key: &[u8],
        tags: &[Tag],
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<u32, ExecError> {
        let (group, is_new) = self.table.insert(hash(key), key, budget).ok_or_else(|| budget.memory_exceeded())?;
        if is_new {
            budget.check_groups(self.len())?;
            budget.reserve(&mut self.tags, tags.len())?;
            budget.reserve(&mut self.states, grouping.functions.len())?;
            budget.charge(grouping.functions.iter().map(|f| Accumulator::memory_at_first(&f.kind)).sum())?;
            self.tags.extend_from_slice(tags);
            self.states.extend(grouping.functions.iter().map(|f| Accumulator::new(&f.kind)));
        } else if let Some(own) = self.tags.get_mut(group as usize * tags.len()..) {
            // Of a text with several types, the least is shown, so that the order of rows does not show.
            own.iter_mut().zip(tags).for_each(|(own, new)| *own = (*own).min(*new));
        }
        Ok(group)
    }

    /// The state of a function in a group.
    pub(super) fn state(&mut self, group: u32, function: usize, grouping: &Grouping) -> Option<&mut Accumulator> {
        self.states.get_mut(group as usize * grouping.functions.len() + function)
    }

    /// Takes in a row.
    pub(crate) fn add_row(
        &mut self,
        row: &Row,
        place: RowPlace,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        let add_key = |key: &Key| key.of_row(row, &mut encoded);
        let tags: Vec<Tag> = grouping.keys.iter().map(add_key).collect();
        let group = self.find(&encoded, &tags, grouping, budget)?;
        self.encoded = encoded;
        for (i, function) in grouping.functions.iter().enumerate() {
            if let Some(condition) = &function.condition
                && !condition.matches(row, &mut self.scratch)
            {
                continue;
            }
            let Some(state) = self.state(group, i, grouping) else { continue };
            add_row(state, function, row, place, budget)?;
        }
        Ok(())
    }

    /// Takes in the groups of another part of the rows.
    pub(crate) fn merge(&mut self, other: Groups, grouping: &Grouping, budget: &Budget) -> Result<(), ExecError> {
        if self.len() == 0 {
            *self = other;
            return Ok(());
        }
        let before = other.table.memory() + other.tags.capacity() + other.states.capacity() * size_of::<Accumulator>();
        let mut states = other.states.into_iter();
        let width = grouping.keys.len();
        for from in 0..other.table.len() {
            let tags = &other.tags[from * width..(from + 1) * width];
            let group = self.find(other.table.get(from as u32), tags, grouping, budget)?;
            for (i, function) in grouping.functions.iter().enumerate() {
                if let (Some(own), Some(others)) = (self.state(group, i, grouping), states.next()) {
                    own.merge(others, function, budget)?;
                }
            }
        }
        budget.release(before);
        Ok(())
    }

    /// Hands on the rows that are needed, in the order that the output asks for, until that breaks.
    pub(crate) fn finish(
        mut self,
        (grouping, output, order): (&Grouping, &GroupOutput, &RowOrder),
        budget: &Budget,
        emit: &mut dyn FnMut(Row) -> Result<ControlFlow<()>, ExecError>,
    ) -> Result<(), ExecError> {
        if grouping.keys.is_empty() && self.len() == 0 {
            // One row in all, also of no records.
            self.find(&[], &[], grouping, budget)?;
        }
        let width = grouping.functions.len();
        let mut states = self.states.into_iter();
        let columns = order.by.len();
        let by_keys = |a: &Finished, b: &Finished| {
            let ranks = a.ranks[columns..].iter().zip(&b.ranks[columns..]);
            let by_keys = ranks.map(|(x, y)| x.compare(y, false)).find(|o| o.is_ne());
            by_keys.unwrap_or_else(|| key_texts(&a.keys).cmp(&key_texts(&b.keys)))
        };
        let by_order = |a: &Finished, b: &Finished| {
            let ranks = order.by.iter().zip(a.ranks.iter().zip(&b.ranks));
            let by_columns = ranks.map(|(on, (x, y))| x.compare(y, on.descending)).find(|o| o.is_ne());
            by_columns.unwrap_or(Ordering::Equal).then_with(|| by_keys(a, b))
        };
        let limit = order.limit.unwrap_or(usize::MAX);
        let cut = |rows: &mut Vec<Finished>| {
            if limit > 0 && limit < rows.len() {
                rows.select_nth_unstable_by(limit - 1, by_order);
            }
            let gone = rows.drain(limit.min(rows.len())..);
            budget.release(gone.map(|row| row.memory()).sum());
        };
        let mut rows: Vec<Finished> = Vec::new();
        for group in 0..self.table.len() {
            let mut rest = self.table.get(group as u32);
            let mut keys = Vec::with_capacity(grouping.keys.len());
            for tag in &self.tags[group * grouping.keys.len()..(group + 1) * grouping.keys.len()] {
                let (value, after) = KeyValue::decode(rest, *tag);
                keys.push(value);
                rest = after;
            }
            let mut results = Vec::with_capacity(width);
            for (state, function) in states.by_ref().take(width).zip(&grouping.functions) {
                results.push(state.finish(function, budget)?);
            }
            let first = order.by.iter().map(|on| match on.column {
                OrderColumn::Key(i) => keys[i].with_text(|tag, text| Rank::of(tag, text, on.kind)),
                OrderColumn::Function(i) => Rank::of(results[i].0, &results[i].1, on.kind),
                OrderColumn::Absent => Rank::Missing,
            });
            let ranks = first.chain(keys.iter().zip(&grouping.keys).map(|(value, key)| key.rank(value))).collect();
            let row = Finished { ranks, keys, results };
            budget.reserve(&mut rows, 1)?;
            budget.charge(row.memory())?;
            rows.push(row);
            if rows.len() >= limit.saturating_mul(2).saturating_add(SLACK) {
                cut(&mut rows);
            }
        }
        cut(&mut rows);
        match order.sorted {
            true => rows.sort_unstable_by(by_order),
            false => rows.sort_unstable_by(by_keys),
        }
        let with_results = !matches!(output, GroupOutput::Uniq { hits: false, .. });
        for (place, finished) in rows.into_iter().enumerate() {
            budget.release(finished.memory());
            let mut row = Row::default();
            for (key, value) in grouping.keys.iter().zip(finished.keys) {
                push_key(&mut row, key, value);
            }
            if with_results {
                for (function, (tag, text)) in grouping.functions.iter().zip(finished.results) {
                    row.push(function.name.clone(), tag, text);
                }
            }
            push_place(&mut row, place, output);
            if emit(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Key {
    /// Appends the value of a row's group, and tells its type.
    fn of_row(&self, row: &Row, out: &mut Vec<u8>) -> Tag {
        let found = row.value(&self.target);
        let value = match &found {
            Some((tag, text)) => self.of_value(*tag, text),
            None => KeyValue::missing(),
        };
        value.encode(out);
        value.tag()
    }
}

/// Takes a row into the state of a function.
fn add_row(
    state: &mut Accumulator,
    function: &Function,
    row: &Row,
    place: RowPlace,
    budget: &Budget,
) -> Result<(), ExecError> {
    if function.counts_rows() {
        state.count(1);
        return Ok(());
    }
    if function.fields.is_empty() {
        // Every field of the row.
        let cells = row.cells.iter().map(|c| (c.tag, Cow::Borrowed(&*c.text), Target::of(&c.name).kind()));
        let cells: Vec<_> = cells.collect();
        if function.kind == StatsKind::CountUniq {
            let mut tuple = Vec::new();
            for cell in &row.cells {
                encode_text(cell.name.as_bytes(), &mut tuple);
                encode_text(cell.text.as_bytes(), &mut tuple);
            }
            return state.add_tuple(&tuple, function.limit, budget);
        }
        for (field, (tag, text, kind)) in cells.iter().enumerate() {
            add_value(state, function, field as u32, (*tag, text, *kind), place, budget)?;
        }
        return Ok(());
    }
    let values = || function.fields.iter().map(|(target, kind)| (row.value(target), *kind));
    let filled = |value: &Option<(Tag, Cow<'_, str>)>| {
        value.as_ref().is_some_and(|(tag, text)| !is_empty_value(*tag, text.as_bytes()))
    };
    match function.kind {
        StatsKind::Count => {
            if values().any(|(value, _)| filled(&value)) {
                state.count(1);
            }
        }
        StatsKind::CountUniq => {
            let values: Vec<_> = values().map(|(value, _)| value).collect();
            if values.iter().any(filled) {
                let mut tuple = Vec::new();
                let text =
                    |value: &Option<(Tag, Cow<'_, str>)>| value.as_ref().map_or(String::new(), |v| v.1.to_string());
                values.iter().for_each(|value| encode_text(text(value).as_bytes(), &mut tuple));
                state.add_tuple(&tuple, function.limit, budget)?;
            }
        }
        _ => {
            for (field, (value, kind)) in values().enumerate() {
                if let Some((tag, text)) = value {
                    add_value(state, function, field as u32, (tag, &text, kind), place, budget)?;
                }
            }
        }
    }
    Ok(())
}

/// Takes one value of a row into the state of a function of single values.
pub(super) fn add_value(
    state: &mut Accumulator,
    function: &Function,
    field: u32,
    (tag, text, kind): (Tag, &str, FieldKind),
    at: RowPlace,
    budget: &Budget,
) -> Result<(), ExecError> {
    if is_empty_value(tag, text.as_bytes()) {
        return Ok(());
    }
    match function.kind {
        StatsKind::Sum | StatsKind::Avg | StatsKind::Median | StatsKind::Quantile(_) => {
            measured(tag, text, kind).map_or(Ok(()), |number| state.add_number(number, budget))
        }
        StatsKind::Min | StatsKind::Max => {
            let greatest = function.kind == StatsKind::Max;
            state.add_extreme(greatest, measured(tag, text, kind), tag, || text, budget)
        }
        StatsKind::Values => state.add_value((at, field), tag, text, budget),
        StatsKind::UniqValues => state.add_distinct(tag, text, budget),
        StatsKind::Count | StatsKind::CountUniq => Ok(()),
    }
}
