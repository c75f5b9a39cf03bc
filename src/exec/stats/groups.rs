//! The table of groups: keys, the states of their functions, and the rows that come out.

use super::accumulator::{Accumulator, Placed, RowPlace};
use super::bucket::KeyValue;
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
use crate::record::{Number, Tag, Timestamp, is_empty_value};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes that a group takes beside its keys and the states of its functions, about.
const GROUP_BYTES: usize = 96;

/// Groups with the states of their functions.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    index: FxHashMap<Box<[u8]>, u32>,
    keys: Vec<Box<[KeyValue]>>,
    /// Those of one group follow each other.
    states: Vec<Accumulator>,
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// A group on its way out: the places of its keys in their order, the keys, and the results.
type Finished = (Vec<Rank>, Box<[KeyValue]>, Vec<(Tag, String)>);

/// Appends a value to the encoded form of a tuple. Type and text alike count by text alone.
pub(super) fn encode_value(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl Groups {
    /// Groups so far.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of the group with these keys, which is made where there is none.
    pub(super) fn find(&mut self, keys: &[KeyValue], grouping: &Grouping, budget: &Budget) -> Result<u32, ExecError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        keys.iter().for_each(|key| key.encode(&mut encoded));
        let found = self.index.get(&*encoded).copied();
        let group = match found {
            Some(group) => {
                if let Some(own) = self.keys.get_mut(group as usize) {
                    own.iter_mut().zip(keys).for_each(|(own, new)| least_tag(own, new));
                }
                group
            }
            None => {
                let group = self.keys.len() as u32;
                budget.check_groups(self.keys.len() + 1)?;
                let states = grouping.functions.len() * size_of::<Accumulator>();
                budget.charge(GROUP_BYTES + 2 * encoded.len() + states + size_of_val(keys))?;
                self.index.insert(encoded.as_slice().into(), group);
                self.keys.push(keys.into());
                self.states.extend(grouping.functions.iter().map(|f| Accumulator::new(&f.kind)));
                group
            }
        };
        self.encoded = encoded;
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
        let keys: Vec<KeyValue> = grouping.keys.iter().map(|key| key.of_row(row)).collect();
        let group = self.find(&keys, grouping, budget)?;
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
        if self.keys.is_empty() {
            *self = other;
            return Ok(());
        }
        let mut states = other.states.into_iter();
        for keys in other.keys {
            let group = self.find(&keys, grouping, budget)?;
            for (i, function) in grouping.functions.iter().enumerate() {
                if let (Some(own), Some(others)) = (self.state(group, i, grouping), states.next()) {
                    own.merge(others, function);
                }
            }
        }
        Ok(())
    }

    /// The rows, in the order that the output asks for.
    pub(crate) fn finish(
        mut self,
        grouping: &Grouping,
        output: &GroupOutput,
        budget: &Budget,
    ) -> Result<Vec<Row>, ExecError> {
        if grouping.keys.is_empty() && self.keys.is_empty() {
            // One row in all, also of no records.
            self.find(&[], grouping, budget)?;
        }
        let width = grouping.functions.len();
        let mut states = self.states.into_iter();
        let mut rows: Vec<Finished> = Vec::with_capacity(self.keys.len());
        for keys in self.keys {
            let ranks = keys.iter().zip(&grouping.keys).map(|(value, key)| key.rank(value)).collect();
            let results = states.by_ref().take(width).zip(&grouping.functions).map(|(s, f)| s.finish(f)).collect();
            rows.push((ranks, keys, results));
        }
        let hits = |results: &[(Tag, String)]| results.first().and_then(|(_, text)| text.parse::<u64>().ok());
        rows.sort_by(|a, b| {
            let by_keys = a.0.iter().zip(&b.0).map(|(x, y)| x.compare(y, false)).find(|o| o.is_ne());
            let by_keys = by_keys.unwrap_or_else(|| key_texts(&a.1).cmp(&key_texts(&b.1)));
            match output {
                GroupOutput::Top { .. } => hits(&b.2).cmp(&hits(&a.2)).then(by_keys),
                GroupOutput::Stats | GroupOutput::Uniq { .. } => by_keys,
            }
        });
        let limit = match output {
            GroupOutput::Stats => None,
            GroupOutput::Top { limit, .. } => Some(*limit),
            GroupOutput::Uniq { limit, .. } => *limit,
        };
        rows.truncate(limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
        let with_results = !matches!(output, GroupOutput::Uniq { hits: false, .. });
        Ok(rows
            .into_iter()
            .enumerate()
            .map(|(i, (_, keys, results))| {
                let mut row = Row::default();
                for (key, value) in grouping.keys.iter().zip(keys) {
                    match value {
                        KeyValue::Time(time) => {
                            row.push(key.name.clone(), Tag::String, Timestamp(time).to_string());
                        }
                        KeyValue::Value(tag, text) => row.push(key.name.clone(), tag, text),
                    }
                }
                if with_results {
                    for (function, (tag, text)) in grouping.functions.iter().zip(results) {
                        row.push(function.name.clone(), tag, text);
                    }
                }
                if let GroupOutput::Top { rank: Some(name), .. } = output {
                    row.push(Arc::clone(name), Tag::Number, (i + 1).to_string());
                }
                row
            })
            .collect())
    }
}

/// For groups whose keys are the same number in different texts: `1` and `1.0`.
fn key_texts(keys: &[KeyValue]) -> Vec<&str> {
    keys.iter()
        .map(|key| match key {
            KeyValue::Value(_, text) => &**text,
            KeyValue::Time(_) => "",
        })
        .collect()
}

/// Of a text with several types, the least is shown, so that the order of rows does not show.
fn least_tag(own: &mut KeyValue, new: &KeyValue) {
    if let (KeyValue::Value(own, _), KeyValue::Value(new, _)) = (own, new) {
        *own = (*own).min(*new);
    }
}

impl Key {
    fn of_row(&self, row: &Row) -> KeyValue {
        match row.value(&self.target) {
            Some((tag, text)) => self.of_value(tag, &text),
            None => KeyValue::missing(),
        }
    }

    fn rank(&self, value: &KeyValue) -> Rank {
        match value {
            KeyValue::Time(time) => Rank::Number(Number::from(*time)),
            KeyValue::Value(tag, text) => Rank::of(*tag, text, self.kind),
        }
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
                encode_value(&cell.name, &mut tuple);
                encode_value(&cell.text, &mut tuple);
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
                values.iter().for_each(|value| encode_value(&text(value), &mut tuple));
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
