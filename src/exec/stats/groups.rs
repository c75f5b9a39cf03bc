//! The table of groups: keys, the states of their functions, and the rows that come out.

use super::accumulator::{Accumulator, Placed, RowPlace};
use super::keys::{KeyValue, encode_text};
use super::order::{OrderColumn, RowOrder};
use super::pick::{key_texts, push_key, push_place};
use super::table::{KeyTable, hash};
use super::{Function, Grouping, Key};
use crate::exec::filter::Scratch;
use crate::exec::limits::Budget;
use crate::exec::order::Rank;
use crate::exec::plan::GroupOutput;
use crate::exec::predicate::RecordView;
use crate::exec::row::Row;
use crate::exec::view::measured;
use crate::exec::{ExecError, target::Target};
use crate::query::ast::StatsKind;
use crate::record::{Tag, is_empty_value};
use std::borrow::Cow;
use std::cmp::Ordering;

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
        let before = self.table.memory();
        let (group, is_new) = self.table.insert(hash(key), key).ok_or_else(|| budget.memory_exceeded())?;
        if is_new {
            budget.check_groups(self.len())?;
            let states = grouping.functions.len() * size_of::<Accumulator>();
            budget.charge(self.table.memory() - before + tags.len() + states)?;
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
            budget.charge(add_row(state, function, row, place))?;
        }
        Ok(())
    }

    /// Takes in the groups of another part of the rows.
    pub(crate) fn merge(&mut self, other: Groups, grouping: &Grouping, budget: &Budget) -> Result<(), ExecError> {
        if self.len() == 0 {
            *self = other;
            return Ok(());
        }
        let mut states = other.states.into_iter();
        let width = grouping.keys.len();
        for from in 0..other.table.len() {
            let tags = &other.tags[from * width..(from + 1) * width];
            let group = self.find(other.table.get(from as u32), tags, grouping, budget)?;
            for (i, function) in grouping.functions.iter().enumerate() {
                if let (Some(own), Some(others)) = (self.state(group, i, grouping), states.next()) {
                    budget.charge(own.merge(others, function))?;
                }
            }
        }
        Ok(())
    }

    /// The rows that are needed, in the order that the output asks for.
    pub(crate) fn finish(
        mut self,
        (grouping, output, order): (&Grouping, &GroupOutput, &RowOrder),
        budget: &Budget,
    ) -> Result<Vec<Row>, ExecError> {
        if grouping.keys.is_empty() && self.len() == 0 {
            // One row in all, also of no records.
            self.find(&[], &[], grouping, budget)?;
        }
        let width = grouping.functions.len();
        let mut states = self.states.into_iter();
        let mut rows: Vec<Finished> = Vec::with_capacity(self.table.len());
        for group in 0..self.table.len() {
            let mut rest = self.table.get(group as u32);
            let mut keys = Vec::with_capacity(grouping.keys.len());
            for tag in &self.tags[group * grouping.keys.len()..(group + 1) * grouping.keys.len()] {
                let (value, after) = KeyValue::decode(rest, *tag);
                keys.push(value);
                rest = after;
            }
            let results: Vec<(Tag, String)> =
                states.by_ref().take(width).zip(&grouping.functions).map(|(s, f)| s.finish(f)).collect();
            let first = order.by.iter().map(|on| match on.column {
                OrderColumn::Key(i) => keys[i].with_text(|tag, text| Rank::of(tag, text, on.kind)),
                OrderColumn::Function(i) => Rank::of(results[i].0, &results[i].1, on.kind),
                OrderColumn::Absent => Rank::Missing,
            });
            let ranks = first.chain(keys.iter().zip(&grouping.keys).map(|(value, key)| key.rank(value))).collect();
            rows.push(Finished { ranks, keys, results });
        }
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
        match order.limit {
            Some(0) => rows.clear(),
            Some(limit) if limit < rows.len() => {
                rows.select_nth_unstable_by(limit - 1, by_order);
                rows.truncate(limit);
            }
            _ => {}
        }
        match order.sorted {
            true => rows.sort_unstable_by(by_order),
            false => rows.sort_unstable_by(by_keys),
        }
        let with_results = !matches!(output, GroupOutput::Uniq { hits: false, .. });
        let made = rows.into_iter().enumerate().map(|(place, finished)| {
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
            row
        });
        Ok(made.collect())
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

/// Takes a row into the state of a function; tells the bytes that it takes.
fn add_row(state: &mut Accumulator, function: &Function, row: &Row, place: RowPlace) -> usize {
    if function.counts_rows() {
        state.count(1);
        return 0;
    }
    let mut bytes = 0;
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
            return state.add_tuple(&tuple, function.limit);
        }
        for (field, (tag, text, kind)) in cells.iter().enumerate() {
            bytes += add_value(state, function, field as u32, *tag, text, *kind, place);
        }
        return bytes;
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
                bytes += state.add_tuple(&tuple, function.limit);
            }
        }
        _ => {
            for (field, (value, kind)) in values().enumerate() {
                if let Some((tag, text)) = value {
                    bytes += add_value(state, function, field as u32, tag, &text, kind, place);
                }
            }
        }
    }
    bytes
}

/// Takes one value of a row into the state of a function of single values.
pub(super) fn add_value(
    state: &mut Accumulator,
    function: &Function,
    field: u32,
    tag: Tag,
    text: &str,
    kind: crate::exec::filter::FieldKind,
    at: RowPlace,
) -> usize {
    if is_empty_value(tag, text.as_bytes()) {
        return 0;
    }
    match function.kind {
        StatsKind::Sum | StatsKind::Avg | StatsKind::Median | StatsKind::Quantile(_) => {
            measured(tag, text, kind).map_or(0, |number| state.add_number(number))
        }
        StatsKind::Min | StatsKind::Max => {
            state.add_extreme(function.kind == StatsKind::Max, measured(tag, text, kind), tag, || text);
            0
        }
        StatsKind::Values => state.add_value(|| Placed { at, field, tag, text: text.into() }),
        StatsKind::UniqValues => state.add_distinct(tag, text),
        StatsKind::Count | StatsKind::CountUniq => 0,
    }
}
