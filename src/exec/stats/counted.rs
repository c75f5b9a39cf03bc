//! Groups of which only the rows are counted: millions of them may be.
//!
//! Groups are spread over parts by the hash of their keys, so that threads can put together part by part what each of
//! them counted, and each picks the rows of its parts that are needed.

use super::codes::keys_of;
use super::ids::{ID_PARTS, IdBin, Ids};
use super::keys::{Encoder, KeyValue};
use super::part::{KeyPart, Part};
use super::pick::{Item, Picker};
use super::table::hash;
use super::{Grouping, Key, RowOrder};
use crate::exec::ExecError;
use crate::exec::filter::bits::Bits;
use crate::exec::limits::Budget;
use crate::exec::parallel;
use crate::exec::places::{Places, for_each_place, list_of};
use crate::exec::plan::GroupOutput;
use crate::exec::row::Row;
use crate::exec::target::Target;
use crate::exec::view::{BlockView, FEW_ROWS_MAX};
use crate::record::{Block, BlockInfo, Data, Field, Tag, Tags, Zone, is_empty_value};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Enough that the parts of a million groups stay in the second-level cache while they are put together.
const PARTS: usize = 64;
/// Fewer groups are put together faster than threads start.
const PARALLEL_GROUPS_MIN: usize = 16_384;

/// Counts of rows by group.
#[derive(Debug)]
pub(crate) struct Counted {
    parts: Vec<KeyPart>,
    /// Of one key alone: identifiers of one form.
    ids: Option<Ids>,
    key: Vec<u8>,
    /// Are groups what comes out, so that their number is bounded by itself? Memory always is.
    are_rows: bool,
}

/// Keys that are looked up together.
const BATCH: usize = 32;

/// Keys with their hashes and types.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
    tags: Vec<Tag>,
}

impl Batch {
    #[inline]
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Tag) {
        let start = self.bytes.len();
        self.tags.push(write(&mut self.bytes));
        self.ends.push(self.bytes.len());
        self.hashes.push(hash(&self.bytes[start..]));
    }
}

impl Counted {
    /// No groups yet, which will be rows or values that are only counted.
    pub(crate) fn new(are_rows: bool) -> Self {
        let parts = (0..PARTS).map(|_| KeyPart::default()).collect();
        Counted { parts, ids: None, key: Vec::new(), are_rows }
    }

    #[inline]
    fn add(&mut self, key: &[u8], tags: &[Tag], rows: u64, budget: &Budget) -> Result<(), ExecError> {
        let hash = hash(key);
        self.parts[hash as usize % PARTS].add(hash, key, tags, rows, budget)
    }

    /// Counts rows of a group.
    fn add_keys(&mut self, keys: &[KeyValue<'_>], rows: u32, budget: &Budget) -> Result<(), ExecError> {
        if rows == 0 {
            return Ok(());
        }
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        keys.iter().for_each(|value| value.encode(&mut key));
        let tags: Vec<Tag> = keys.iter().map(KeyValue::tag).collect();
        let added = self.add(&key, &tags, rows.into(), budget);
        self.key = key;
        added
    }

    fn groups(&self) -> usize {
        self.parts.iter().map(KeyPart::len).sum::<usize>() + self.ids.as_ref().map_or(0, Ids::len_min)
    }

    /// Ends the query where there are too many groups.
    fn check(&self, budget: &Budget) -> Result<(), ExecError> {
        if self.are_rows { budget.check_groups(self.groups()) } else { Ok(()) }
    }

    /// Counts rows, where there are no keys.
    pub(crate) fn add_rows(&mut self, rows: u32, budget: &Budget) -> Result<(), ExecError> {
        self.add_keys(&[], rows, budget)
    }

    /// Takes in a block of which every row matches, by what is known of it without opening it: how many rows it has, and
    /// when; tells whether that was enough.
    pub(crate) fn add_unread(
        &mut self,
        info: BlockInfo,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<bool, ExecError> {
        match &*grouping.keys {
            [] => self.add_keys(&[], info.rows, budget)?,
            [key] if key.target == Target::Time => {
                let (first, last) = (key.of_time(info.time.0.0), key.of_time(info.time.1.0));
                if first != last {
                    return Ok(false);
                }
                self.add_keys(&[first], info.rows, budget)?;
            }
            _ => return Ok(false),
        }
        self.check(budget)?;
        Ok(true)
    }

    /// Takes in a block of which every row matches from its zone maps and range of time alone; tells whether that was
    /// possible.
    pub(crate) fn add_whole_block(
        &mut self,
        block: &dyn Block,
        info: BlockInfo,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<bool, ExecError> {
        if self.add_unread(info, grouping, budget)? {
            return Ok(true);
        }
        match &*grouping.keys {
            [key] => {
                let Target::Field(name) = &key.target else { return Ok(false) };
                match block.zone(name)? {
                    Zone::Absent => self.add_keys(&[KeyValue::missing()], info.rows, budget)?,
                    Zone::Known(map) => {
                        let Some(counts) = &map.counts else { return Ok(false) };
                        let texts: Option<Vec<_>> = counts
                            .iter()
                            .map(|(tag, text, rows)| Some((tag, std::str::from_utf8(text).ok()?, rows)))
                            .collect();
                        let Some(texts) = texts else { return Ok(false) };
                        for (tag, text, rows) in texts {
                            self.add_keys(&[key.of_value(tag, text)], rows, budget)?;
                        }
                        self.add_keys(&[KeyValue::missing()], info.rows.saturating_sub(map.values), budget)?;
                    }
                    Zone::Unknown => return Ok(false),
                }
            }
            _ => return Ok(false),
        }
        self.check(budget)?;
        Ok(true)
    }

    /// Takes in these rows of a block.
    pub(crate) fn add_block(
        &mut self,
        view: &BlockView,
        matching: &Bits,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        if grouping.keys.is_empty() {
            return self.add_keys(&[], matching.count() as u32, budget);
        }
        let rows = list_of(matching, view.rows());
        if let [key] = &*grouping.keys
            && self.add_values(view, &rows, key, budget)?
        {
            return self.check(budget);
        }
        let codes = keys_of(view, &rows, grouping, budget)?;
        let mut counts = vec![0u64; codes.values.len()];
        codes.of_row.iter().for_each(|&code| counts[code as usize] += 1);
        for (tuple, count) in (0..).zip(counts) {
            let (key, tags) = codes.values.get(tuple);
            self.add(key, tags, count, budget)?;
        }
        self.check(budget)
    }

    /// Counts the values of one key value by value, where the column does not say which of them are the same.
    fn add_values(&mut self, view: &BlockView, rows: &[u32], key: &Key, budget: &Budget) -> Result<bool, ExecError> {
        if !key.keeps_values() || rows.len() as u64 <= FEW_ROWS_MAX {
            return Ok(false);
        }
        let Some(field) = view.resolve(&key.target, None)? else { return Ok(false) };
        if self.add_ids(&field, (rows, view.rows()), budget)? {
            return Ok(true);
        }
        if matches!(field.column.data, Data::Dictionary { .. } | Data::Constant { .. } | Data::Integer(_)) {
            return Ok(false);
        }
        let mut encode = Encoder::new(&field.column);
        let (mut places, mut missing) = (Places::new(&field), 0);
        let mut batch = Batch::default();
        for &row in rows {
            match places.of(row) {
                Some(place) => batch.push(|bytes| encode.value(place, bytes)),
                None => missing += 1,
            }
            if batch.tags.len() == BATCH {
                self.add_batch(&mut batch, budget)?;
            }
        }
        self.add_batch(&mut batch, budget)?;
        self.add_keys(&[KeyValue::missing()], missing, budget)?;
        Ok(true)
    }

    /// Counts identifiers, as their bytes stand in the column; tells whether they are any.
    fn add_ids(&mut self, field: &Field, (rows, all): (&[u32], u32), budget: &Budget) -> Result<bool, ExecError> {
        let Tags::One(tag) = field.column.tags else { return Ok(false) };
        let (form, bytes, codes) = match &field.column.data {
            Data::Fixed { form, bytes } => (form, bytes, None),
            Data::Dictionary { entries, codes } => match &**entries {
                Data::Fixed { form, bytes } => (form, bytes, Some(codes)),
                _ => return Ok(false),
            },
            _ => return Ok(false),
        };
        if self.ids.is_none() {
            self.ids = Ids::of(form, tag);
        }
        let Some(ids) = self.ids.as_mut().filter(|ids| ids.takes(form, tag)) else { return Ok(false) };
        let mut missing = 0;
        match codes {
            None => for_each_place(field, rows, all, |place| match place {
                Some(place) => ids.add(bytes, place, 1, budget),
                None => missing += 1,
            }),
            Some(codes) => {
                let mut counts = vec![0; bytes.len() / form.width().max(1)];
                for_each_place(field, rows, all, |place| match place.and_then(|place| codes.get(place)) {
                    Some(code) => counts[code as usize] += 1,
                    None => missing += 1,
                });
                let counted = counts.into_iter().enumerate().filter(|(_, rows)| *rows > 0);
                counted.for_each(|(entry, rows)| ids.add(bytes, entry, rows, budget));
            }
        }
        ids.check(budget)?;
        self.add_keys(&[KeyValue::missing()], missing, budget)?;
        Ok(true)
    }

    fn add_batch(&mut self, batch: &mut Batch, budget: &Budget) -> Result<(), ExecError> {
        let touch = |sum: u64, &hash: &u64| sum ^ self.parts[hash as usize % PARTS].table.touch(hash);
        std::hint::black_box(batch.hashes.iter().fold(0, touch));
        let mut start = 0;
        for ((&hash, &end), tag) in batch.hashes.iter().zip(&batch.ends).zip(&batch.tags) {
            let key = &batch.bytes[start..end];
            self.parts[hash as usize % PARTS].add(hash, key, std::slice::from_ref(tag), 1, budget)?;
            start = end;
        }
        batch.bytes.clear();
        batch.ends.clear();
        batch.hashes.clear();
        batch.tags.clear();
        Ok(())
    }

    /// How many distinct values there are, of one key, that count as filled.
    pub(crate) fn distinct(
        all: Vec<Counted>,
        threads: usize,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<u64, ExecError> {
        let filled = |part: &Part| {
            if let Part::Ids(part) = part {
                // None of them is empty.
                return Ok(part.len() as u64);
            }
            let groups = 0..part.len() as u32;
            let is_filled = |value: KeyValue<'_>| match value {
                // A text that is empty as an array, and is not as a string, has the lesser type: string.
                KeyValue::Value(tag, text) => !is_empty_value(tag, text.as_bytes()),
                KeyValue::Time(_) => true,
            };
            Ok(groups.filter(|&group| part.keys(group, grouping.keys.len()).any(is_filled)).count() as u64)
        };
        Ok(Self::merged(all, threads, grouping, budget, filled)?.into_iter().map(|(_, count)| count).sum())
    }

    /// Puts together what several threads counted, and hands on the rows that are needed.
    pub(crate) fn finish(
        mut all: Vec<Counted>,
        threads: usize,
        (grouping, output, order): (&Grouping, &GroupOutput, &RowOrder),
        budget: &Budget,
        emit: &mut dyn FnMut(Row) -> Result<ControlFlow<()>, ExecError>,
    ) -> Result<(), ExecError> {
        if grouping.keys.is_empty() && all.iter().all(|counted| counted.groups() == 0) {
            // One row in all, also of no records.
            all.truncate(1);
            match all.first_mut() {
                Some(first) => first.add(&[], &[], 0, budget)?,
                None => return Ok(()),
            }
        }
        let picker = Picker { grouping, order };
        let done = Self::merged(all, threads, grouping, budget, |part| picker.pick(part, budget))?;
        let (parts, items): (Vec<Part>, Vec<Vec<Item>>) = done.into_iter().unzip();
        for (part, (item, place)) in picker.put_in_order(&parts, items, budget)? {
            if emit(picker.row(&parts[part], &item, place, output))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Puts together what several threads counted, with what `of` makes of each part.
    fn merged<T: Send>(
        mut all: Vec<Counted>,
        threads: usize,
        grouping: &Grouping,
        budget: &Budget,
        of: impl Fn(&Part) -> Result<T, ExecError> + Sync,
    ) -> Result<Vec<(Part, T)>, ExecError> {
        let ids = Self::take_ids(&mut all, budget)?;
        let many = !ids.is_empty() || all.iter().map(Counted::groups).sum::<usize>() > PARALLEL_GROUPS_MIN;
        let (groups, are_rows) = (AtomicUsize::new(0), all.iter().any(|counted| counted.are_rows));
        let mut by_part: Vec<Mutex<Vec<KeyPart>>> = (0..PARTS).map(|_| Mutex::default()).collect();
        for counted in all {
            for (parts, part) in by_part.iter_mut().zip(counted.parts) {
                parts.get_mut().unwrap_or_else(PoisonError::into_inner).push(part);
            }
        }
        let ids: Vec<Mutex<Vec<IdBin>>> = ids.into_iter().map(Mutex::new).collect();
        let take_keys = |at: usize| -> Result<Part, ExecError> {
            let mut parts = std::mem::take(&mut *by_part[at].lock().unwrap_or_else(PoisonError::into_inner));
            // The others go into the largest, and away one by one.
            parts.sort_by_key(KeyPart::len);
            let mut own = parts.pop().unwrap_or_default();
            for other in parts {
                own.merge(&other, grouping.keys.len(), budget)?;
                budget.release(other.memory());
            }
            Ok(Part::Keys(own))
        };
        let take_ids = |parts: &Mutex<Vec<IdBin>>| -> Result<Option<Part>, ExecError> {
            let parts = std::mem::take(&mut *parts.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(IdBin::put_together(parts, budget)?.map(Part::Ids))
        };
        let count = PARTS + ids.len();
        let work = |done: &mut Vec<(Part, T)>, at: usize| -> Result<(), ExecError> {
            let own = match at.checked_sub(PARTS).and_then(|at| ids.get(at)) {
                None => Some(take_keys(at)?),
                Some(parts) => take_ids(parts)?,
            };
            let Some(own) = own else { return Ok(()) };
            if are_rows {
                budget.check_groups(groups.fetch_add(own.len(), Ordering::Relaxed) + own.len())?;
            }
            let made = of(&own)?;
            done.push((own, made));
            Ok(())
        };
        let done = parallel::fold(if many { threads } else { 1 }, count, budget, Vec::new, work)?;
        Ok(done.into_iter().flatten().collect())
    }

    /// The identifiers of all, part by part. What else is counted is none of their texts then: a value may be in a
    /// column of identifiers here and in one of texts there.
    fn take_ids(all: &mut [Counted], budget: &Budget) -> Result<Vec<Vec<IdBin>>, ExecError> {
        let mut taken: Vec<Ids> = Vec::new();
        for counted in all.iter_mut() {
            if let Some(ids) = counted.ids.take() {
                match taken.first().is_none_or(|first| first.same(&ids)) {
                    true => taken.push(ids),
                    false => counted.add_as_keys(ids, budget)?,
                }
            }
        }
        let Some(mut first) = taken.pop() else { return Ok(Vec::new()) };
        let mut types_differ = false;
        for counted in all.iter_mut() {
            for part in &mut counted.parts {
                types_differ |= !part.move_ids(&mut first, budget)?;
            }
        }
        taken.push(first);
        if types_differ && let Some(counted) = all.first_mut() {
            taken.into_iter().try_for_each(|ids| counted.add_as_keys(ids, budget))?;
            return Ok(Vec::new());
        }
        let mut bins: Vec<Vec<IdBin>> = (0..ID_PARTS).map(|_| Vec::new()).collect();
        for ids in taken {
            bins.iter_mut().zip(ids.into_parts()).for_each(|(bins, bin)| bins.push(bin));
        }
        Ok(bins)
    }

    /// Counts identifiers as any other keys.
    fn add_as_keys(&mut self, ids: Ids, budget: &Budget) -> Result<(), ExecError> {
        for bin in ids.into_parts() {
            let Some(part) = IdBin::put_together(vec![bin], budget)? else { continue };
            for group in 0..part.len() as u32 {
                let value = part.value(group);
                let (tag, mut key) = (value.tag(), Vec::new());
                value.encode(&mut key);
                self.add(&key, &[tag], part.rows(group), budget)?;
            }
            budget.release(part.memory());
        }
        self.check(budget)
    }
}
