//! Groups of which rows are counted, put together part by part.

use super::ids::{IdPart, Ids};
use super::keys::KeyValue;
use super::table::{KeyTable, hash};
use crate::exec::ExecError;
use crate::exec::limits::Budget;
use crate::record::Tag;
use std::cmp::Ordering;

/// The groups whose hashes have the same low bits.
#[derive(Debug)]
pub(super) enum Part {
    /// Of any keys.
    Keys(KeyPart),
    /// Of one key whose values are identifiers.
    Ids(IdPart),
}

impl Part {
    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        match self {
            Part::Keys(part) => part.len(),
            Part::Ids(part) => part.len(),
        }
    }

    /// The rows of a group.
    pub(super) fn rows(&self, group: u32) -> u64 {
        match self {
            Part::Keys(part) => part.counts[group as usize],
            Part::Ids(part) => part.rows(group),
        }
    }

    /// The keys of a group, in order.
    pub(super) fn keys(&self, group: u32, width: usize) -> impl Iterator<Item = KeyValue<'_>> {
        let (keys, id) = match self {
            Part::Keys(part) => (Some(part.keys(group, width)), None),
            Part::Ids(part) => (None, Some(part.value(group))),
        };
        keys.into_iter().flatten().chain(id)
    }

    /// The order of the keys of two groups, where it is known without making their texts.
    #[inline]
    pub(super) fn compare_ids(&self, a: u32, b: u32) -> Option<Ordering> {
        match self {
            Part::Ids(part) if part.is_text() => Some(part.compare(a, b)),
            _ => None,
        }
    }
}

/// Groups of any keys, as bytes.
#[derive(Debug, Default)]
pub(super) struct KeyPart {
    pub(super) table: KeyTable,
    /// Those of each group's keys.
    tags: Vec<Tag>,
    counts: Vec<u64>,
}

impl KeyPart {
    /// Counts rows of a group; what it takes is accounted for before.
    pub(super) fn add(
        &mut self,
        hash: u64,
        key: &[u8],
        tags: &[Tag],
        rows: u64,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let (group, is_new) = self.table.insert(hash, key, budget).ok_or_else(|| budget.memory_exceeded())?;
        if is_new {
            budget.reserve(&mut self.counts, 1)?;
            self.counts.push(rows);
            budget.reserve(&mut self.tags, tags.len())?;
            self.tags.extend_from_slice(tags);
            return Ok(());
        }
        let at = group as usize;
        self.counts[at] += rows;
        // Of a text with several types, the least is shown, so that the order of rows does not show.
        for (own, new) in self.tags[at * tags.len()..].iter_mut().zip(tags) {
            *own = (*own).min(*new);
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The bytes, types and rows of a group.
    pub(super) fn group(&self, group: usize, width: usize) -> (&[u8], &[Tag], u64) {
        (self.table.get(group as u32), &self.tags[group * width..(group + 1) * width], self.counts[group])
    }

    pub(super) fn keys(&self, group: u32, width: usize) -> impl Iterator<Item = KeyValue<'_>> {
        let (mut rest, tags, _) = self.group(group as usize, width);
        tags.iter().map(move |tag| {
            let (value, after) = KeyValue::decode(rest, *tag);
            rest = after;
            value
        })
    }

    /// Hands those that are identifiers on, where these are groups of one key; tells whether their types are the same.
    pub(super) fn move_ids(&mut self, ids: &mut Ids, budget: &Budget) -> Result<bool, ExecError> {
        let read = |part: &KeyPart, group: usize| match part.keys(group as u32, 1).next() {
            Some(KeyValue::Value(tag, text)) => Some((ids.read(&text)?, tag)),
            _ => None,
        };
        let found: Vec<_> = (0..self.len()).map(|group| read(self, group)).collect();
        if found.iter().all(Option::is_none) {
            return Ok(true);
        }
        if found.iter().flatten().any(|(_, tag)| *tag != ids.tag()) {
            return Ok(false);
        }
        let mut rest = KeyPart::default();
        for (group, found) in found.into_iter().enumerate() {
            let (key, tags, rows) = self.group(group, 1);
            match found {
                None => rest.add(hash(key), key, tags, rows, budget)?,
                Some((id, _)) => ids.add_rows(&id, rows, budget)?,
            }
        }
        budget.release(self.memory());
        *self = rest;
        Ok(true)
    }

    pub(super) fn memory(&self) -> usize {
        self.table.memory() + self.tags.capacity() + self.counts.capacity() * 8
    }

    pub(super) fn merge(&mut self, other: &KeyPart, width: usize, budget: &Budget) -> Result<(), ExecError> {
        for group in 0..other.len() {
            let (key, tags, rows) = other.group(group, width);
            self.add(hash(key), key, tags, rows, budget)?;
        }
        Ok(())
    }
}
