//! Groups filled from the columns of a block: keys are looked up once per distinct value, not once per row.

use super::accumulator::RowPlace;
use super::bucket::KeyValue;
use super::groups::{Groups, add_value, encode_value};
use super::{Function, Grouping, Key};
use crate::exec::ExecError;
use crate::exec::limits::Budget;
use crate::exec::target::Target;
use crate::exec::view::{BlockView, measured};
use crate::query::ast::StatsKind;
use crate::record::{Block, BlockInfo, Data, Field, Number, Tag, Tags, Zone, is_empty_value};
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

/// No number given yet.
const NONE: u32 = u32::MAX;
/// Types of values.
const TAGS: usize = Tag::Object as usize + 1;
/// Pairs of numbers are put together through a table up to this size, and through a hash map beyond.
const PAIRS_MAX: usize = 1 << 20;

/// The value of a key in each of some rows, as numbers into a list of distinct values.
struct Codes {
    of_row: Vec<u32>,
    values: Vec<KeyValue>,
}

impl Groups {
    /// Takes in a block of which every row matches from its zone maps and range of time alone; tells whether that was
    /// possible.
    pub(crate) fn add_whole_block(
        &mut self,
        block: &dyn Block,
        info: BlockInfo,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<bool, ExecError> {
        if !grouping.counts_rows() {
            return Ok(false);
        }
        let mut count = |keys: &[KeyValue], rows: u32| -> Result<(), ExecError> {
            if rows > 0 {
                let group = self.find(keys, grouping, budget)?;
                (0..grouping.functions.len()).for_each(|function| {
                    if let Some(state) = self.state(group, function, grouping) {
                        state.count(rows.into());
                    }
                });
            }
            Ok(())
        };
        match &*grouping.keys {
            [] => count(&[], info.rows)?,
            [key] if key.target == Target::Time => {
                let (first, last) = (key.of_time(info.time.0.0), key.of_time(info.time.1.0));
                if first != last {
                    return Ok(false);
                }
                count(&[first], info.rows)?;
            }
            [key] => {
                let Target::Field(name) = &key.target else { return Ok(false) };
                match block.zone(name)? {
                    Zone::Absent => count(&[KeyValue::missing()], info.rows)?,
                    Zone::Known(map) => {
                        let Some(counts) = &map.counts else { return Ok(false) };
                        let texts: Option<Vec<_>> = counts
                            .iter()
                            .map(|(tag, text, rows)| Some((*tag, std::str::from_utf8(text).ok()?, *rows)))
                            .collect();
                        let Some(texts) = texts else { return Ok(false) };
                        for (tag, text, rows) in texts {
                            count(&[key.of_value(tag, text)], rows)?;
                        }
                        count(&[KeyValue::missing()], info.rows.saturating_sub(map.values))?;
                    }
                    Zone::Unknown => return Ok(false),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes in these rows of a block.
    pub(crate) fn add_block(
        &mut self,
        view: &BlockView,
        matching: &RoaringBitmap,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let rows: Vec<u32> = matching.iter().collect();
        let groups = self.groups_of(view, &rows, grouping, budget)?;
        for (i, function) in grouping.functions.iter().enumerate() {
            match &function.condition {
                None => self.add_function(view, &rows, &groups, i, grouping, budget)?,
                Some(condition) => {
                    let passing = view.evaluate(condition, matching)?;
                    let both = rows.iter().zip(&groups).filter(|(row, _)| passing.contains(**row));
                    let (rows, groups): (Vec<u32>, Vec<u32>) = both.unzip();
                    self.add_function(view, &rows, &groups, i, grouping, budget)?;
                }
            }
        }
        Ok(())
    }

    /// The group of each row.
    fn groups_of(
        &mut self,
        view: &BlockView,
        rows: &[u32],
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<Vec<u32>, ExecError> {
        let mut tuples: Vec<Vec<KeyValue>> = vec![Vec::new()];
        let mut of_row = vec![0u32; rows.len()];
        for key in &grouping.keys {
            let codes = codes(view, rows, key)?;
            let width = codes.values.len().max(1);
            let mut joined: Vec<Vec<KeyValue>> = Vec::new();
            let mut join = |tuple: u32, code: u32| {
                let mut values = tuples.get(tuple as usize).cloned().unwrap_or_default();
                values.push(codes.values.get(code as usize).cloned().unwrap_or_else(KeyValue::missing));
                joined.push(values);
                joined.len() as u32 - 1
            };
            if tuples.len().saturating_mul(width) <= PAIRS_MAX {
                let mut table = vec![NONE; tuples.len() * width];
                for (own, &code) in of_row.iter_mut().zip(&codes.of_row) {
                    let slot = &mut table[*own as usize * width + code as usize];
                    if *slot == NONE {
                        *slot = join(*own, code);
                    }
                    *own = *slot;
                }
            } else {
                let mut table: FxHashMap<(u32, u32), u32> = FxHashMap::default();
                for (own, &code) in of_row.iter_mut().zip(&codes.of_row) {
                    *own = *table.entry((*own, code)).or_insert_with(|| join(*own, code));
                }
            }
            tuples = joined;
        }
        let groups = tuples.iter().map(|tuple| self.find(tuple, grouping, budget)).collect::<Result<Vec<u32>, _>>()?;
        of_row.iter_mut().for_each(|own| *own = groups.get(*own as usize).copied().unwrap_or(0));
        Ok(of_row)
    }

    fn add_function(
        &mut self,
        view: &BlockView,
        rows: &[u32],
        groups: &[u32],
        index: usize,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let Some(function) = grouping.functions.get(index) else { return Ok(()) };
        if function.counts_rows() {
            self.count_rows(groups, index, grouping);
            return Ok(());
        }
        let few = (rows.len() as u64 <= crate::exec::view::FEW_ROWS_MAX).then_some(rows);
        let resolve = |target: &Target| view.resolve(target, few);
        let fields: Vec<Option<Field>> =
            function.fields.iter().map(|(target, _)| resolve(target)).collect::<Result<_, _>>()?;
        let mut bytes = 0;
        match function.kind {
            StatsKind::Count => {
                let mut filled = RoaringBitmap::new();
                for field in fields.iter().flatten() {
                    let exists = crate::exec::filter::ValueTest::Exists;
                    let kind = Target::Any.kind();
                    filled |= crate::exec::filter::column::matching_rows(field, &exists, kind);
                }
                let passing = rows.iter().zip(groups).filter(|(row, _)| filled.contains(**row));
                let groups: Vec<u32> = passing.map(|(_, group)| *group).collect();
                self.count_rows(&groups, index, grouping);
            }
            StatsKind::CountUniq => bytes += self.add_tuples(&fields, function, rows, groups, index, grouping),
            StatsKind::Sum
            | StatsKind::Avg
            | StatsKind::Median
            | StatsKind::Quantile(_)
            | StatsKind::Min
            | StatsKind::Max => {
                for (field, (_, kind)) in fields.iter().zip(&function.fields) {
                    let Some(field) = field else { continue };
                    let numbers = Numbers::of(field, *kind);
                    let mut buffer = Vec::new();
                    for (&row, &group) in rows.iter().zip(groups) {
                        let Some(place) = field.presence.place(row) else { continue };
                        let Some(state) = self.state(group, index, grouping) else { continue };
                        let number = numbers.get(field, place, *kind, &mut buffer);
                        if matches!(function.kind, StatsKind::Min | StatsKind::Max) {
                            let tag = field.column.tag(place);
                            if number.is_some() || !is_empty_value(tag, field.column.text(place, &mut buffer)) {
                                let greatest = function.kind == StatsKind::Max;
                                state.add_extreme(greatest, number, tag, || text(field, place, &mut buffer));
                            }
                        } else if let Some(number) = number {
                            bytes += state.add_number(number);
                        }
                    }
                }
            }
            StatsKind::Values | StatsKind::UniqValues => {
                let (times, seqs) = match function.kind {
                    StatsKind::Values => (Some(view.times()?), Some(view.block().seqs()?)),
                    _ => (None, None),
                };
                let at = |row: u32| match (&times, &seqs) {
                    (Some(times), Some(seqs)) => {
                        let row = row as usize;
                        let time = times.get(row).copied().unwrap_or_default();
                        RowPlace::newest_first(time, seqs.get(row).copied().unwrap_or_default())
                    }
                    _ => RowPlace(0, 0),
                };
                let mut buffer = Vec::new();
                for (i, (field, (_, kind))) in fields.iter().zip(&function.fields).enumerate() {
                    let Some(field) = field else { continue };
                    for (&row, &group) in rows.iter().zip(groups) {
                        let Some((tag, text)) = field.get(row, &mut buffer) else { continue };
                        let Some(state) = self.state(group, index, grouping) else { continue };
                        bytes += add_value(state, function, i as u32, tag, text, *kind, at(row));
                    }
                }
            }
        }
        budget.charge(bytes)
    }

    /// Counts rows by their groups.
    fn count_rows(&mut self, groups: &[u32], function: usize, grouping: &Grouping) {
        if self.len() > groups.len() {
            // Most groups are not in this block.
            for &group in groups {
                if let Some(state) = self.state(group, function, grouping) {
                    state.count(1);
                }
            }
            return;
        }
        let mut counts = vec![0u64; self.len()];
        groups.iter().for_each(|&group| counts[group as usize] += 1);
        for (group, &rows) in counts.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            if let Some(state) = self.state(group as u32, function, grouping) {
                state.count(rows);
            }
        }
    }

    fn add_tuples(
        &mut self,
        fields: &[Option<Field>],
        function: &Function,
        rows: &[u32],
        groups: &[u32],
        index: usize,
        grouping: &Grouping,
    ) -> usize {
        let (mut tuple, mut buffer, mut bytes) = (Vec::new(), Vec::new(), 0);
        // With a dictionary each value is looked at once a group.
        let codes = match fields {
            [Some(field)] => match &field.column.data {
                Data::Dictionary { codes, .. } => Some(codes),
                _ => None,
            },
            _ => None,
        };
        let mut seen: FxHashMap<(u32, u32), ()> = FxHashMap::default();
        for (&row, &group) in rows.iter().zip(groups) {
            if let (Some(codes), [Some(field)]) = (codes, fields) {
                let code = field.presence.place(row).and_then(|place| codes.get(place));
                if code.is_none_or(|&code| seen.insert((group, code), ()).is_some()) {
                    continue;
                }
            }
            tuple.clear();
            let mut filled = false;
            for field in fields {
                match field.as_ref().and_then(|f| f.get(row, &mut buffer)) {
                    Some((tag, text)) => {
                        filled |= !is_empty_value(tag, text.as_bytes());
                        encode_value(text, &mut tuple);
                    }
                    None => encode_value("", &mut tuple),
                }
            }
            if filled && let Some(state) = self.state(group, index, grouping) {
                bytes += state.add_tuple(&tuple, function.limit);
            }
        }
        bytes
    }
}

fn text<'a>(field: &'a Field, place: usize, buffer: &'a mut Vec<u8>) -> &'a str {
    std::str::from_utf8(field.column.text(place, buffer)).unwrap_or_default()
}

/// The numbers of a column, as cheaply as its form allows.
enum Numbers<'a> {
    Integers(&'a [i64]),
    /// By entry of a dictionary or constant.
    Entries(Vec<Option<Number>>, Option<&'a [u32]>),
    Texts,
}

impl<'a> Numbers<'a> {
    fn of(field: &'a Field, kind: crate::exec::filter::FieldKind) -> Self {
        let column = &field.column;
        let entries = || {
            let entries = column.entries()?;
            let mut buffer = Vec::new();
            let number = |i: usize| {
                let text = std::str::from_utf8(entries.text(i, &mut buffer)).unwrap_or_default();
                measured(entries.tag(i), text, kind)
            };
            Some((0..entries.len()).map(number).collect())
        };
        match &column.data {
            Data::Integer(values) => Numbers::Integers(values),
            Data::Dictionary { codes, .. } => entries().map_or(Numbers::Texts, |e| Numbers::Entries(e, Some(codes))),
            Data::Constant { .. } if matches!(column.tags, Tags::One(_)) => {
                entries().map_or(Numbers::Texts, |e| Numbers::Entries(e, None))
            }
            _ => Numbers::Texts,
        }
    }

    fn get(
        &self,
        field: &Field,
        place: usize,
        kind: crate::exec::filter::FieldKind,
        buffer: &mut Vec<u8>,
    ) -> Option<Number> {
        match self {
            Numbers::Integers(values) => values.get(place).map(|&n| Number::from(n)),
            Numbers::Entries(numbers, codes) => {
                let entry = codes.map_or(Some(0), |codes| codes.get(place).copied())?;
                numbers.get(entry as usize).copied().flatten()
            }
            Numbers::Texts => measured(field.column.tag(place), text(field, place, buffer), kind),
        }
    }
}

/// The values of a key in some rows.
fn codes(view: &BlockView, rows: &[u32], key: &Key) -> Result<Codes, ExecError> {
    let mut codes = Codes { of_row: Vec::with_capacity(rows.len()), values: Vec::new() };
    if key.target == Target::Time {
        let times = view.times()?;
        // Times rise, so that equal buckets stand side by side.
        for &row in rows {
            let value = key.of_time(times.get(row as usize).copied().unwrap_or_default());
            if codes.values.last() != Some(&value) {
                codes.values.push(value);
            }
            codes.of_row.push(codes.values.len() as u32 - 1);
        }
        return Ok(codes);
    }
    let few = (rows.len() as u64 <= crate::exec::view::FEW_ROWS_MAX).then_some(rows);
    let Some(field) = view.resolve(&key.target, few)? else {
        codes.values.push(KeyValue::missing());
        codes.of_row.resize(rows.len(), 0);
        return Ok(codes);
    };
    let mut buffer = Vec::new();
    let mut missing = NONE;
    let mut push_missing = |codes: &mut Codes| {
        if missing == NONE {
            missing = codes.values.len() as u32;
            codes.values.push(KeyValue::missing());
        }
        codes.of_row.push(missing);
    };
    // Numbers of the distinct values that were met, by what tells them apart in the column.
    match (&field.column.data, field.column.entries()) {
        (data @ (Data::Dictionary { .. } | Data::Constant { .. }), Some(entries)) => {
            let mut table = vec![NONE; entries.len()];
            for &row in rows {
                let Some(place) = field.presence.place(row) else {
                    push_missing(&mut codes);
                    continue;
                };
                let entry = match data {
                    Data::Dictionary { codes, .. } => codes.get(place).copied().unwrap_or_default() as usize,
                    _ => 0,
                };
                if table[entry] == NONE {
                    table[entry] = codes.values.len() as u32;
                    let text = std::str::from_utf8(entries.text(entry, &mut buffer)).unwrap_or_default();
                    codes.values.push(key.of_value(entries.tag(entry), text));
                }
                codes.of_row.push(table[entry]);
            }
        }
        (Data::Integer(values), _) => {
            let mut table: FxHashMap<(i64, Tag), u32> = FxHashMap::default();
            for &row in rows {
                let Some(place) = field.presence.place(row) else {
                    push_missing(&mut codes);
                    continue;
                };
                let (value, tag) = (values.get(place).copied().unwrap_or_default(), field.column.tag(place));
                let Codes { of_row, values } = &mut codes;
                of_row.push(*table.entry((value, tag)).or_insert_with(|| {
                    values.push(key.of_value(tag, &value.to_string()));
                    values.len() as u32 - 1
                }));
            }
        }
        _ => {
            // A text with two types is two values here: which type is shown is for each group to say.
            let mut tables: [FxHashMap<Box<str>, u32>; TAGS] = Default::default();
            for &row in rows {
                let Some((tag, text)) = field.get(row, &mut buffer) else {
                    push_missing(&mut codes);
                    continue;
                };
                let table = &mut tables[tag as usize % TAGS];
                let code = table.get(text).copied().unwrap_or_else(|| {
                    codes.values.push(key.of_value(tag, text));
                    let code = codes.values.len() as u32 - 1;
                    table.insert(text.into(), code);
                    code
                });
                codes.of_row.push(code);
            }
        }
    }
    Ok(codes)
}
