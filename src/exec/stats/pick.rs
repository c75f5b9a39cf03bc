//! The rows of counted groups that are needed, and their order.

use super::keys::KeyValue;
use super::order::{OrderColumn, RowOrder};
use super::part::Part;
use super::{Grouping, Key};
use crate::exec::ExecError;
use crate::exec::limits::Budget;
use crate::exec::order::{Rank, ranks_memory};
use crate::exec::plan::GroupOutput;
use crate::exec::row::Row;
use crate::record::{Number, Tag, Timestamp};
use std::cmp::Ordering;

/// As for sorts: items are cut down whenever there are twice as many as needed and this many more.
const SLACK: usize = 1024;

/// A group that may come out.
#[derive(Clone, Debug)]
pub(super) struct Item {
    rows: u64,
    group: u32,
    /// Of the columns of the order that are keys, then of all keys.
    ranks: Box<[Rank]>,
}

impl Item {
    /// Bytes of memory beside itself.
    fn memory(&self) -> usize {
        ranks_memory(&self.ranks)
    }
}

/// Picks groups.
pub(super) struct Picker<'a> {
    pub(super) grouping: &'a Grouping,
    pub(super) order: &'a RowOrder,
}

impl Picker<'_> {
    fn keys<'p>(&self, part: &'p Part, group: u32) -> Vec<KeyValue<'p>> {
        part.keys(group, self.grouping.keys.len()).collect()
    }

    fn item(&self, part: &Part, group: u32) -> Item {
        let keys = self.keys(part, group);
        let first = self.order.by.iter().filter_map(|on| match on.column {
            OrderColumn::Key(i) => Some(keys[i].with_text(|tag, text| Rank::of(tag, text, on.kind))),
            OrderColumn::Function(_) | OrderColumn::Absent => None,
        });
        let ranks = first.chain(keys.iter().zip(&self.grouping.keys).map(|(value, key)| key.rank(value))).collect();
        Item { rows: part.rows(group), group, ranks }
    }

    /// The order of two items by the order's columns, and where in the ranks those of the keys begin.
    fn by_columns(&self, a: &Item, b: &Item) -> (Ordering, usize) {
        let mut at = 0;
        for on in &self.order.by {
            let order = match on.column {
                OrderColumn::Absent => Ordering::Equal,
                OrderColumn::Function(_) if on.descending => b.rows.cmp(&a.rows),
                OrderColumn::Function(_) => a.rows.cmp(&b.rows),
                OrderColumn::Key(_) => {
                    at += 1;
                    a.ranks[at - 1].compare(&b.ranks[at - 1], on.descending)
                }
            };
            if order.is_ne() {
                return (order, at);
            }
        }
        (Ordering::Equal, at)
    }

    /// The order of two groups: by their keys, and by texts where these are the same number.
    fn by_keys(&self, a: (&Part, &Item), b: (&Part, &Item)) -> Ordering {
        let width = self.grouping.keys.len();
        let tail = |item: &Item| item.ranks.len() - width;
        let ranks = a.1.ranks[tail(a.1)..].iter().zip(&b.1.ranks[tail(b.1)..]);
        let order = ranks.map(|(x, y)| x.compare(y, false)).find(|order| order.is_ne());
        order.unwrap_or_else(|| key_texts(&self.keys(a.0, a.1.group)).cmp(&key_texts(&self.keys(b.0, b.1.group))))
    }

    fn compare(&self, a: (&Part, &Item), b: (&Part, &Item)) -> Ordering {
        self.by_columns(a.1, b.1).0.then_with(|| self.by_keys(a, b))
    }

    /// Does a group surely come behind an item? Makes nothing of it: most of a million groups end here.
    fn is_behind(&self, part: &Part, group: u32, last: &Item) -> bool {
        let rows = part.rows(group);
        let by_rows_alone = self.order.by.iter().all(|on| matches!(on.column, OrderColumn::Function(_)));
        if by_rows_alone
            && !self.grouping.keys.iter().any(|key| key.kind.is_time)
            && let Some(by_key) = part.compare_ids(group, last.group)
        {
            let by_rows = match self.order.by.first() {
                None => Ordering::Equal,
                Some(on) if on.descending => last.rows.cmp(&rows),
                Some(_) => rows.cmp(&last.rows),
            };
            return by_rows.then(by_key).is_gt();
        }
        let mut ranks = last.ranks.iter();
        for on in &self.order.by {
            let order = match on.column {
                OrderColumn::Absent => Ordering::Equal,
                OrderColumn::Function(_) if on.descending => last.rows.cmp(&rows),
                OrderColumn::Function(_) => rows.cmp(&last.rows),
                OrderColumn::Key(i) => match (part.keys(group, self.grouping.keys.len()).nth(i), ranks.next()) {
                    (Some(value), Some(rank)) => {
                        value.with_text(|tag, text| rank.compare_value(tag, text, on.kind, on.descending))
                    }
                    _ => Ordering::Equal,
                },
            };
            if order.is_ne() {
                return order.is_gt();
            }
        }
        for ((value, key), rank) in part.keys(group, self.grouping.keys.len()).zip(&self.grouping.keys).zip(ranks) {
            let order = match &value {
                KeyValue::Time(_) => key.rank(&value).compare(rank, false),
                KeyValue::Value(tag, text) => rank.compare_value(*tag, text, key.kind, false),
            };
            if order.is_ne() {
                return order.is_gt();
            }
        }
        false
    }

    /// The groups of a part that may be among those needed.
    pub(super) fn pick(&self, part: &Part, budget: &Budget) -> Result<Vec<Item>, ExecError> {
        let limit = self.order.limit.unwrap_or(usize::MAX);
        let many = limit.saturating_mul(2).saturating_add(SLACK);
        let mut items: Vec<Item> = Vec::new();
        if limit == 0 {
            return Ok(items);
        }
        let mut last: Option<Item> = None;
        for group in 0..part.len() as u32 {
            if last.as_ref().is_some_and(|last| self.is_behind(part, group, last)) {
                continue;
            }
            self.take(part, group, &mut items, budget)?;
            if items.len() >= many {
                self.cut(&mut items, limit, budget, |item| (part, item));
                last = items.last().cloned();
            }
        }
        self.cut(&mut items, limit, budget, |item| (part, item));
        Ok(items)
    }

    #[inline(never)]
    fn take(&self, part: &Part, group: u32, items: &mut Vec<Item>, budget: &Budget) -> Result<(), ExecError> {
        let item = self.item(part, group);
        budget.reserve(items, 1)?;
        budget.charge(item.memory())?;
        items.push(item);
        Ok(())
    }

    /// Keeps the first `limit`; the last of them stands last.
    fn cut<'p, T>(&self, items: &mut Vec<T>, limit: usize, budget: &Budget, of: impl Fn(&T) -> (&'p Part, &Item)) {
        if limit < items.len() {
            items.select_nth_unstable_by(limit - 1, |a, b| self.compare(of(a), of(b)));
            budget.release(items.drain(limit..).map(|item| of(&item).1.memory()).sum());
        }
    }

    /// What is needed of all parts, in the order in which it comes out: number of the part, group and place.
    pub(super) fn put_in_order(
        &self,
        parts: &[Part],
        items: Vec<Vec<Item>>,
        budget: &Budget,
    ) -> Result<impl Iterator<Item = (usize, (Item, usize))> + use<>, ExecError> {
        let mut all: Vec<(usize, Item)> = Vec::new();
        budget.reserve(&mut all, items.iter().map(Vec::len).sum())?;
        for (part, items) in (0..).zip(items) {
            let before = items.capacity() * size_of::<Item>();
            all.extend(items.into_iter().map(|item| (part, item)));
            budget.release(before);
        }
        if let Some(limit) = self.order.limit.filter(|&limit| limit > 0) {
            self.cut(&mut all, limit, budget, |(part, item)| (&parts[*part], item));
        }
        fn of<'p>(parts: &'p [Part], x: &'p (usize, Item)) -> (&'p Part, &'p Item) {
            (&parts[x.0], &x.1)
        }
        match self.order.sorted {
            true => all.sort_unstable_by(|a, b| self.compare(of(parts, a), of(parts, b))),
            false => all.sort_unstable_by(|a, b| self.by_keys(of(parts, a), of(parts, b))),
        }
        Ok(all.into_iter().enumerate().map(|(place, (part, item))| (part, (item, place))))
    }

    /// The row of a group.
    pub(super) fn row(&self, part: &Part, item: &Item, place: usize, output: &GroupOutput) -> Row {
        let mut row = Row::default();
        for (key, value) in self.grouping.keys.iter().zip(part.keys(item.group, self.grouping.keys.len())) {
            push_key(&mut row, key, value);
        }
        if !matches!(output, GroupOutput::Uniq { hits: false, .. }) {
            for function in &self.grouping.functions {
                row.push(function.name.clone(), Tag::Number, item.rows.to_string());
            }
        }
        push_place(&mut row, place, output);
        row
    }
}

/// Appends the cell of a key.
pub(super) fn push_key(row: &mut Row, key: &Key, value: KeyValue<'_>) {
    match value {
        KeyValue::Time(time) => row.push(key.name.clone(), Tag::String, Timestamp(time).to_string()),
        KeyValue::Value(tag, text) => row.push(key.name.clone(), tag, text),
    }
}

/// Appends the cell with the place, from 1, where there is one.
pub(super) fn push_place(row: &mut Row, place: usize, output: &GroupOutput) {
    if let GroupOutput::Top { rank: Some(name), .. } = output {
        row.push(name.clone(), Tag::Number, (place + 1).to_string());
    }
}

/// For groups whose keys are the same number in different texts: `1` and `1.0`.
pub(super) fn key_texts<'k>(keys: &'k [KeyValue<'_>]) -> Vec<&'k str> {
    keys.iter()
        .map(|key| match key {
            KeyValue::Value(_, text) => &**text,
            KeyValue::Time(_) => "",
        })
        .collect()
}

impl KeyValue<'_> {
    /// Calls with type and text as the cell of a row has them.
    pub(super) fn with_text<R>(&self, call: impl FnOnce(Tag, &str) -> R) -> R {
        match self {
            KeyValue::Time(time) => call(Tag::String, &Timestamp(*time).to_string()),
            KeyValue::Value(tag, text) => call(*tag, text),
        }
    }
}

impl Key {
    /// The place of a group's value among others.
    pub(super) fn rank(&self, value: &KeyValue<'_>) -> Rank {
        match value {
            KeyValue::Time(time) => Rank::Number(Number::from(*time)),
            KeyValue::Value(tag, text) => Rank::of(*tag, text, self.kind),
        }
    }
}
