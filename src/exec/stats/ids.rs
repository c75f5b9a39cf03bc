//! Counts of identifiers: values of one fixed form, such as UUIDs, as the bytes that columns keep.
//!
//! Most are distinct, so that a table of all would miss the cache with each. They are put aside by the low bits of their
//! hash; what has the same bits goes into a table of its own, which fits the cache, when there is much of it and at the
//! end. What is kept is accounted for before there is room for it.

use super::keys::KeyValue;
use crate::exec::ExecError;
use crate::exec::limits::Budget;
use crate::record::{FixedForm, Tag};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Debug;

/// Of two million, the table of each part fits the second-level cache.
pub(super) const ID_PARTS: usize = 64;
/// Values that a part puts aside before they are counted: all parts of a thread take some tens of MiB at most.
const ASIDE_MAX: usize = 32 << 10;
/// Slots of the smallest table.
const SLOTS_MIN: usize = 16;

/// An identifier: its bytes, the first one on top, so that numbers have the order of the bytes.
pub(super) trait Id: Copy + Eq + Ord + Default + Debug {
    /// Of at most as many bytes as it has room for.
    fn read(bytes: &[u8]) -> Self;
    /// The bytes; behind those that it was read from come zeros.
    fn bytes(self) -> [u8; 16];
    /// A hash with good bits at both ends.
    fn hash(self) -> u64;
}

fn spread(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

impl Id for u64 {
    #[inline]
    fn read(bytes: &[u8]) -> Self {
        if let Ok(whole) = bytes.try_into() {
            return u64::from_be_bytes(whole);
        }
        let mut all = [0; 8];
        all.iter_mut().zip(bytes).for_each(|(own, byte)| *own = *byte);
        u64::from_be_bytes(all)
    }
    fn bytes(self) -> [u8; 16] {
        (u128::from(self) << 64).to_be_bytes()
    }
    fn hash(self) -> u64 {
        spread(spread(self))
    }
}

impl Id for u128 {
    #[inline]
    fn read(bytes: &[u8]) -> Self {
        if let Ok(whole) = bytes.try_into() {
            return u128::from_be_bytes(whole);
        }
        let mut all = [0; 16];
        all.iter_mut().zip(bytes).for_each(|(own, byte)| *own = *byte);
        u128::from_be_bytes(all)
    }
    fn bytes(self) -> [u8; 16] {
        self.to_be_bytes()
    }
    fn hash(self) -> u64 {
        spread(spread((self >> 64) as u64) ^ self as u64)
    }
}

/// A hash table of identifiers with their numbers of rows.
#[derive(Debug, Default)]
struct Table<K> {
    ids: Vec<K>,
    /// None where a slot is free.
    rows: Vec<u64>,
    len: usize,
}

impl<K: Id> Table<K> {
    /// Makes room for so many more, and accounts for it before.
    fn reserve(&mut self, more: usize, budget: &Budget) -> Result<(), ExecError> {
        let slots = ((self.len + more) * 4 / 3 + 1).next_power_of_two().max(SLOTS_MIN);
        if slots <= self.ids.len() {
            return Ok(());
        }
        let before = self.memory();
        budget.charge(slots * (size_of::<K>() + 8))?;
        let ids = std::mem::replace(&mut self.ids, vec![K::default(); slots]);
        let rows = std::mem::replace(&mut self.rows, vec![0; slots]);
        for (id, rows) in ids.into_iter().zip(rows).filter(|(_, rows)| *rows > 0) {
            let at = self.find(id);
            (self.ids[at], self.rows[at]) = (id, rows);
        }
        budget.release(before);
        Ok(())
    }

    /// The slot of an identifier, or where it would be.
    #[inline]
    fn find(&self, id: K) -> usize {
        let mask = self.ids.len() - 1;
        let mut at = (id.hash() >> 32) as usize & mask;
        while self.rows[at] > 0 && self.ids[at] != id {
            at = (at + 1) & mask;
        }
        at
    }

    /// Counts; there must be room, and rows.
    #[inline]
    fn add(&mut self, id: K, rows: u64) {
        let at = self.find(id);
        if self.rows[at] == 0 {
            self.ids[at] = id;
            self.len += 1;
        }
        self.rows[at] += rows;
    }

    fn into_list(self, budget: &Budget) -> Result<Vec<(K, u64)>, ExecError> {
        budget.charge(self.len * size_of::<(K, u64)>())?;
        let before = self.memory();
        let all = self.ids.into_iter().zip(self.rows);
        let mut list = Vec::with_capacity(self.len);
        list.extend(all.filter(|(_, rows)| *rows > 0));
        budget.release(before);
        Ok(list)
    }

    fn memory(&self) -> usize {
        self.ids.len() * (size_of::<K>() + 8)
    }
}

/// The identifiers whose hashes have the same low bits.
#[derive(Debug, Default)]
struct Bin<K> {
    aside: Vec<K>,
    aside_rows: Vec<u32>,
    table: Table<K>,
    /// Was there no memory for a value?
    is_refused: bool,
}

impl<K: Id> Bin<K> {
    /// Takes a value, where there is memory for it.
    #[inline]
    fn push(&mut self, id: K, rows: u32, budget: &Budget) {
        if self.aside.len() == self.aside.capacity() && self.make_room(budget).is_err() {
            self.is_refused = true;
            return;
        }
        self.aside.push(id);
        self.aside_rows.push(rows);
    }

    #[cold]
    fn make_room(&mut self, budget: &Budget) -> Result<(), ExecError> {
        if self.aside.len() >= ASIDE_MAX {
            return self.count(budget);
        }
        // To the double: from a power of two to the bound.
        let more = self.aside.len().max(1);
        budget.reserve(&mut self.aside, more)?;
        budget.reserve(&mut self.aside_rows, more)
    }

    fn count(&mut self, budget: &Budget) -> Result<(), ExecError> {
        self.table.reserve(self.aside.len(), budget)?;
        for (id, rows) in self.aside.drain(..).zip(self.aside_rows.drain(..)) {
            self.table.add(id, rows.into());
        }
        Ok(())
    }

    fn aside_memory(&self) -> usize {
        self.aside.capacity() * size_of::<K>() + self.aside_rows.capacity() * 4
    }

    fn memory(&self) -> usize {
        self.aside_memory() + self.table.memory()
    }
}

#[derive(Debug)]
enum Bins {
    Narrow(Vec<Bin<u64>>),
    Wide(Vec<Bin<u128>>),
}

/// Counts of identifiers of one form and type.
#[derive(Debug)]
pub(super) struct Ids {
    form: FixedForm,
    tag: Tag,
    bins: Bins,
}

fn bins<K: Id>() -> Vec<Bin<K>> {
    (0..ID_PARTS).map(|_| Bin::default()).collect()
}

impl Ids {
    /// No values yet, of a form; `None` where they are too wide, or their order is not that of their bytes.
    pub(super) fn of(form: &FixedForm, tag: Tag) -> Option<Self> {
        let bins = match form {
            FixedForm::Ipv4 => return None,
            form if form.width() <= 8 => Bins::Narrow(bins()),
            form if form.width() <= 16 => Bins::Wide(bins()),
            _ => return None,
        };
        Some(Ids { form: form.clone(), tag, bins })
    }

    /// Are values of that form and type among those that it counts?
    pub(super) fn takes(&self, form: &FixedForm, tag: Tag) -> bool {
        self.form == *form && self.tag == tag
    }

    /// What takes the text of a value, where it has the form.
    pub(super) fn read(&self, text: &str) -> Option<Vec<u8>> {
        self.form.read(text)
    }

    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// Counts the value at a place of a column, with a number of rows that is not zero. [`Ids::check`] tells whether there was
    /// memory for it.
    #[inline]
    pub(super) fn add(&mut self, bytes: &[u8], place: usize, rows: u32, budget: &Budget) {
        let width = self.form.width();
        let value = bytes.get(place * width..(place + 1) * width).unwrap_or_default();
        match &mut self.bins {
            Bins::Narrow(bins) => {
                let id = u64::read(value);
                bins[id.hash() as usize % ID_PARTS].push(id, rows, budget);
            }
            Bins::Wide(bins) => {
                let id = u128::read(value);
                bins[id.hash() as usize % ID_PARTS].push(id, rows, budget);
            }
        }
    }

    /// Ends the query where there was no memory for a value.
    pub(super) fn check(&self, budget: &Budget) -> Result<(), ExecError> {
        let is_refused = match &self.bins {
            Bins::Narrow(bins) => bins.iter().any(|bin| bin.is_refused),
            Bins::Wide(bins) => bins.iter().any(|bin| bin.is_refused),
        };
        if is_refused { Err(budget.memory_exceeded()) } else { Ok(()) }
    }

    /// Counts so many rows of a value.
    pub(super) fn add_rows(&mut self, bytes: &[u8], rows: u64, budget: &Budget) -> Result<(), ExecError> {
        fn table<'t, K: Id>(bins: &'t mut [Bin<K>], id: K, budget: &Budget) -> Result<&'t mut Table<K>, ExecError> {
            let table = &mut bins[id.hash() as usize % ID_PARTS].table;
            table.reserve(1, budget)?;
            Ok(table)
        }
        match &mut self.bins {
            _ if rows == 0 => {}
            Bins::Narrow(bins) => table(bins, u64::read(bytes), budget)?.add(u64::read(bytes), rows),
            Bins::Wide(bins) => table(bins, u128::read(bytes), budget)?.add(u128::read(bytes), rows),
        }
        Ok(())
    }

    /// Are they of the same form and type as others?
    pub(super) fn same(&self, other: &Ids) -> bool {
        self.takes(&other.form, other.tag)
    }

    /// At least so many distinct ones.
    pub(super) fn len_min(&self) -> usize {
        match &self.bins {
            Bins::Narrow(bins) => bins.iter().map(|bin| bin.table.len).sum(),
            Bins::Wide(bins) => bins.iter().map(|bin| bin.table.len).sum(),
        }
    }

    /// The parts, each to be put together with those at the same place of others of the same form and type.
    pub(super) fn into_parts(self) -> Vec<IdBin> {
        let Ids { form, tag, bins } = self;
        let part = |bin: AnyBin| IdBin { form: form.clone(), tag, bin };
        match bins {
            Bins::Narrow(bins) => bins.into_iter().map(|bin| part(AnyBin::Narrow(bin))).collect(),
            Bins::Wide(bins) => bins.into_iter().map(|bin| part(AnyBin::Wide(bin))).collect(),
        }
    }
}

#[derive(Debug)]
enum AnyBin {
    Narrow(Bin<u64>),
    Wide(Bin<u128>),
}

/// A part of the identifiers.
#[derive(Debug)]
pub(super) struct IdBin {
    form: FixedForm,
    tag: Tag,
    bin: AnyBin,
}

fn counted<K: Id>(parts: impl Iterator<Item = Bin<K>>, budget: &Budget) -> Result<Vec<(K, u64)>, ExecError> {
    let mut parts: Vec<Bin<K>> = parts.collect();
    parts.sort_by_key(|bin| bin.table.len);
    let mut own = parts.pop().unwrap_or_default();
    own.count(budget)?;
    budget.release(own.aside_memory());
    (own.aside, own.aside_rows) = (Vec::new(), Vec::new());
    for part in parts {
        own.table.reserve(part.table.len + part.aside.len(), budget)?;
        let before = part.memory();
        let counted = part.table.ids.into_iter().zip(part.table.rows).filter(|(_, rows)| *rows > 0);
        counted.for_each(|(id, rows)| own.table.add(id, rows));
        part.aside.into_iter().zip(part.aside_rows).for_each(|(id, rows)| own.table.add(id, rows.into()));
        budget.release(before);
    }
    own.table.into_list(budget)
}

impl IdBin {
    /// Counts what several threads found of a part. They are of one form and type.
    pub(super) fn put_together(parts: Vec<IdBin>, budget: &Budget) -> Result<Option<IdPart>, ExecError> {
        let Some(first) = parts.first() else { return Ok(None) };
        let (form, tag) = (first.form.clone(), first.tag);
        let groups = match &first.bin {
            AnyBin::Narrow(_) => {
                let bins = parts.into_iter().filter_map(|part| match part.bin {
                    AnyBin::Narrow(bin) => Some(bin),
                    AnyBin::Wide(_) => None,
                });
                Groups::Narrow(counted(bins, budget)?)
            }
            AnyBin::Wide(_) => {
                let bins = parts.into_iter().filter_map(|part| match part.bin {
                    AnyBin::Wide(bin) => Some(bin),
                    AnyBin::Narrow(_) => None,
                });
                Groups::Wide(counted(bins, budget)?)
            }
        };
        Ok(Some(IdPart { form, tag, groups }))
    }
}

#[derive(Debug)]
enum Groups {
    Narrow(Vec<(u64, u64)>),
    Wide(Vec<(u128, u64)>),
}

/// Distinct identifiers with their numbers of rows.
#[derive(Debug)]
pub(super) struct IdPart {
    form: FixedForm,
    tag: Tag,
    groups: Groups,
}

impl IdPart {
    pub(super) fn len(&self) -> usize {
        match &self.groups {
            Groups::Narrow(groups) => groups.len(),
            Groups::Wide(groups) => groups.len(),
        }
    }

    /// The rows of a group.
    pub(super) fn rows(&self, group: u32) -> u64 {
        match &self.groups {
            Groups::Narrow(groups) => groups[group as usize].1,
            Groups::Wide(groups) => groups[group as usize].1,
        }
    }

    /// The value of a group.
    pub(super) fn value(&self, group: u32) -> KeyValue<'static> {
        let bytes = match &self.groups {
            Groups::Narrow(groups) => groups[group as usize].0.bytes(),
            Groups::Wide(groups) => groups[group as usize].0.bytes(),
        };
        let mut text = Vec::with_capacity(36);
        self.form.write(bytes.get(..self.form.width()).unwrap_or_default(), &mut text);
        KeyValue::Value(self.tag, Cow::Owned(String::from_utf8(text).unwrap_or_default()))
    }

    /// The order of the texts of two groups.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        match &self.groups {
            Groups::Narrow(groups) => groups[a as usize].0.cmp(&groups[b as usize].0),
            Groups::Wide(groups) => groups[a as usize].0.cmp(&groups[b as usize].0),
        }
    }

    /// Is no value of the form a number, in any unit, so that values are in order of their texts?
    pub(super) fn is_text(&self) -> bool {
        match &self.form {
            // Behind digits comes a dash, which stands in no number there and in no unit.
            FixedForm::Uuid => true,
            FixedForm::Ipv4 => false,
            FixedForm::Hex { prefix, .. } => prefix.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_'),
        }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        match &self.groups {
            Groups::Narrow(groups) => groups.capacity() * size_of::<(u64, u64)>(),
            Groups::Wide(groups) => groups.capacity() * size_of::<(u128, u64)>(),
        }
    }
}
