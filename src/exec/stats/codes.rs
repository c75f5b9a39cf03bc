//! The keys of rows, read from columns: each distinct value is looked at once, not once a row.

use super::keys::{Encoder, KeyValue, Tuples};
use super::table::{KeyTable, hash};
use super::{Grouping, Key};
use crate::exec::ExecError;
use crate::exec::limits::Budget;
use crate::exec::places::{Places, for_each_place};
use crate::exec::target::Target;
use crate::exec::view::{BlockView, FEW_ROWS_MAX};
use crate::record::{Data, Tag, Tags};
use rustc_hash::FxHashMap;

/// No number given yet.
const NONE: u32 = u32::MAX;
/// Pairs of numbers are put together through a table up to this size, and through a hash map beyond.
const PAIRS_MAX: usize = 1 << 20;
/// Joined keys up to this size are not accounted for one by one.
const JOINED_BYTES_MIN: usize = 4 << 20;

/// The keys of some rows, as numbers into a list of distinct ones.
pub(super) struct Codes {
    pub(super) of_row: Vec<u32>,
    pub(super) values: Tuples,
}

/// The keys of some rows, which rise.
pub(super) fn keys_of(
    view: &BlockView,
    rows: &[u32],
    grouping: &Grouping,
    budget: &Budget,
) -> Result<Codes, ExecError> {
    let mut keys = grouping.keys.iter();
    let Some(first) = keys.next() else {
        let mut values = Tuples::new(0);
        values.push_joined((&[], &[]), (&[], &[]));
        return Ok(Codes { of_row: vec![0; rows.len()], values });
    };
    let mut all = codes(view, rows, first, budget)?;
    for (before, key) in (1..).zip(keys) {
        let codes = codes(view, rows, key, budget)?;
        let (left, right) = (all.values.len().max(1), codes.values.len().max(1));
        let mut values = Tuples::new(before + 1);
        let mut join = |a: u32, b: u32| -> Result<u32, ExecError> {
            // Long texts in many pairs would take far more than the block itself.
            if values.bytes() > JOINED_BYTES_MIN {
                budget.check_memory(values.bytes())?;
            }
            Ok(values.push_joined(all.values.get(a), codes.values.get(b)))
        };
        if left.saturating_mul(right) <= PAIRS_MAX {
            let mut table = vec![NONE; left * right];
            for (own, &code) in all.of_row.iter_mut().zip(&codes.of_row) {
                let slot = &mut table[*own as usize * right + code as usize];
                if *slot == NONE {
                    *slot = join(*own, code)?;
                }
                *own = *slot;
            }
        } else {
            let mut table: FxHashMap<(u32, u32), u32> = FxHashMap::default();
            for (own, &code) in all.of_row.iter_mut().zip(&codes.of_row) {
                *own = match table.get(&(*own, code)) {
                    Some(&known) => known,
                    None => {
                        let new = join(*own, code)?;
                        table.insert((*own, code), new);
                        new
                    }
                };
            }
        }
        all.values = values;
    }
    Ok(all)
}

/// The number of the value of rows that lack the field, given to it when there is the first one.
fn number_of_missing(missing: &mut u32, values: &mut Tuples) -> u32 {
    if *missing == NONE {
        *missing = values.push(&KeyValue::missing());
    }
    *missing
}

/// The values of a key in some rows.
fn codes(view: &BlockView, rows: &[u32], key: &Key, budget: &Budget) -> Result<Codes, ExecError> {
    let mut codes = Codes { of_row: Vec::with_capacity(rows.len()), values: Tuples::new(1) };
    if key.target == Target::Time {
        let times = view.times()?;
        // Times rise, so that equal buckets stand side by side.
        let (mut end, mut last) = (i64::MIN, None);
        for &row in rows {
            let time = times.get(row as usize).copied().unwrap_or_default();
            if time >= end || last.is_none() {
                let (value, bucket_end) = key.of_time_until(time);
                end = bucket_end;
                if last.as_ref() != Some(&value) {
                    codes.values.push(&value);
                    last = Some(value);
                }
            }
            codes.of_row.push(codes.values.len() as u32 - 1);
        }
        return Ok(codes);
    }
    let few = (rows.len() as u64 <= FEW_ROWS_MAX).then_some(rows);
    let Some(field) = view.resolve(&key.target, few)? else {
        codes.values.push(&KeyValue::missing());
        codes.of_row.resize(rows.len(), 0);
        return Ok(codes);
    };
    let mut buffer = Vec::new();
    let mut missing = NONE;
    // Numbers of the distinct values that were met, by what tells them apart in the column.
    match (&field.column.data, field.column.entries()) {
        (data @ (Data::Dictionary { .. } | Data::Constant { .. }), Some(entries)) => {
            let mut table = vec![NONE; entries.len()];
            let mut encoder = Encoder::new(&entries);
            let entry_of = match data {
                Data::Dictionary { codes, .. } => Some(codes),
                _ => None,
            };
            let Codes { of_row, values } = &mut codes;
            for_each_place(&field, rows, view.rows(), |place| {
                let Some(place) = place else { return of_row.push(number_of_missing(&mut missing, values)) };
                let entry = entry_of.and_then(|codes| codes.get(place)).unwrap_or_default() as usize;
                let mut code = table[entry];
                if code == NONE {
                    code = match key.keeps_values() {
                        true => values.push_with(|out| encoder.value(entry, out)),
                        false => {
                            let text = std::str::from_utf8(entries.text(entry, &mut buffer)).unwrap_or_default();
                            values.push(&key.of_value(entries.tag(entry), text))
                        }
                    };
                    table[entry] = code;
                }
                of_row.push(code);
            });
        }
        (Data::Integer(numbers), _) => {
            let mut table: FxHashMap<(i64, Tag), u32> = FxHashMap::default();
            let Codes { of_row, values } = &mut codes;
            for_each_place(&field, rows, view.rows(), |place| {
                let Some(place) = place else { return of_row.push(number_of_missing(&mut missing, values)) };
                let (number, tag) = (numbers.get(place).copied().unwrap_or_default(), field.column.tag(place));
                let new = || values.push(&key.of_value(tag, &number.to_string()));
                of_row.push(*table.entry((number, tag)).or_insert_with(new));
            });
        }
        (data, _) => {
            let mut table = KeyTable::default();
            let mut find =
                |bytes: &[u8]| table.insert(hash(bytes), bytes, budget).ok_or_else(|| budget.memory_exceeded());
            let mut typed = Vec::new();
            let mut places = Places::new(&field);
            for &row in rows {
                let Some(place) = places.of(row) else {
                    codes.of_row.push(number_of_missing(&mut missing, &mut codes.values));
                    continue;
                };
                let (code, is_new) = match (data, &field.column.tags) {
                    (Data::Fixed { form, bytes }, Tags::One(_)) => {
                        let width = form.width();
                        find(bytes.get(place * width..(place + 1) * width).unwrap_or_default())?
                    }
                    _ => {
                        // A text with two types is two values here: which type is shown is for each group to say.
                        typed.clear();
                        typed.push(field.column.tag(place) as u8);
                        typed.extend_from_slice(field.column.text(place, &mut buffer));
                        find(&typed)?
                    }
                };
                // What is missing has a number of the list, but none of the table.
                let code = if missing != NONE && code >= missing { code + 1 } else { code };
                if is_new {
                    let text = std::str::from_utf8(field.column.text(place, &mut buffer)).unwrap_or_default();
                    codes.values.push(&key.of_value(field.column.tag(place), text));
                }
                codes.of_row.push(code);
            }
            budget.release(table.memory());
        }
    }
    Ok(codes)
}
