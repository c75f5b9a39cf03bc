//! Rows of a block to learn from, by field.

use super::DISTINCT_PERCENT_MIN;
use super::learn::Sample;
use crate::format::payload::Payload;
use crate::format::rows::RowRef;
use crate::id::Seq;
use crate::record::Tag;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Some rows to learn from.
pub(super) struct Sampled<'a> {
    /// Of each row its fields with types and texts.
    rows: Vec<Vec<(u32, Tag, &'a [u8])>>,
    /// By the number of a field: which rows have it, and as which of their fields.
    pub places: Vec<Vec<(u32, u32)>>,
}

impl<'a> Sampled<'a> {
    /// The values of a field.
    pub fn values(&self, field: u32) -> impl Iterator<Item = &(u32, Tag, &'a [u8])> + Clone {
        let places = self.places.get(field as usize).into_iter().flatten();
        places.map(|(row, place)| &self.rows[*row as usize][*place as usize])
    }

    /// The rows that have a field, each with what it may refer to.
    pub fn samples<'r>(&'r self, field: u32, may: &'r [bool]) -> Vec<Sample<'r, 'a>> {
        let places = self.places.get(field as usize).into_iter().flatten();
        let samples = places.map(|(row, place)| {
            let row = &self.rows[*row as usize][..];
            Sample { text: row[*place as usize].2, row, may }
        });
        samples.collect()
    }
}

/// Reads some rows.
pub(super) fn read<'a>(
    numbers: &FxHashMap<Box<str>, u32>,
    which: &[u32],
    rows: &[RowRef],
    batches: &'a [(Seq, Arc<Payload>)],
) -> Sampled<'a> {
    // Of each batch the number of each of its names.
    let mut fields: FxHashMap<u32, Vec<Option<u32>>> = FxHashMap::default();
    let read = which.iter().filter_map(|&row| {
        let row = rows.get(row as usize)?;
        let payload = &*batches[row.batch as usize].1;
        let number = |name: &str| numbers.get(name).copied();
        let fields = fields.entry(row.batch).or_insert_with(|| payload.names.iter().map(|name| number(name)).collect());
        let record = &payload.records[row.record as usize];
        let shape = &payload.shapes[record.shape as usize];
        let mut values = Vec::with_capacity(shape.len());
        let named = shape.iter().zip(payload.raw_values(record));
        values.extend(named.filter_map(|(&name, (tag, text))| Some((fields[name as usize]?, tag, text))));
        Some(values)
    });
    let rows: Vec<_> = read.collect();
    let mut places = vec![Vec::new(); numbers.len()];
    for (number, row) in (0..).zip(&rows) {
        for (place, (field, ..)) in (0..).zip(row) {
            places[*field as usize].push((number, place));
        }
    }
    Sampled { rows, places }
}

/// Has a field many different texts, of no form that is kept as bytes anyway?
pub(super) fn worth_a_look(sampled: &Sampled<'_>, field: u32) -> bool {
    let values = || sampled.values(field);
    if !values().all(|(_, tag, _)| matches!(tag, Tag::String | Tag::Array)) {
        return false;
    }
    let texts = || values().map(|(_, _, text)| *text);
    let distinct: FxHashSet<&[u8]> = texts().collect();
    distinct.len() * 100 >= texts().count() * DISTINCT_PERCENT_MIN && !crate::segment::column::has_form(texts())
}
