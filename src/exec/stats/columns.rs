//! Groups filled from the columns of a block: keys are looked up once per distinct value, not once per row.

use super::accumulator::RowPlace;
use super::codes::keys_of;
use super::groups::{Groups, add_value};
use super::keys::{Encoder, encode_text};
use super::{Function, Grouping};
use crate::exec::ExecError;
use crate::exec::filter::bits::Bits;
use crate::exec::limits::Budget;
use crate::exec::places::{Places, for_each_place, list_of};
use crate::exec::target::Target;
use crate::exec::view::{BlockView, measured};
use crate::query::ast::StatsKind;
use crate::record::{Codes, Data, Field, Number, Tags, is_empty_value};
use rustc_hash::FxHashMap;

impl Groups {
    /// Takes in these rows of a block.
    pub(crate) fn add_block(
        &mut self,
        view: &BlockView,
        matching: &Bits,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let rows = list_of(matching, view.rows());
        let groups = self.groups_of(view, &rows, grouping, budget)?;
        for (i, function) in grouping.functions.iter().enumerate() {
            match &function.condition {
                None => self.add_function(view, &rows, &groups, i, grouping, budget)?,
                Some(condition) => {
                    let passing = view.evaluate(condition, matching)?;
                    let both = rows.iter().zip(&groups).filter(|(row, _)| passing.get(**row as usize));
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
        let mut codes = keys_of(view, rows, grouping, budget)?;
        let mut groups = Vec::with_capacity(codes.values.len());
        for tuple in 0..codes.values.len() as u32 {
            let (key, tags) = codes.values.get(tuple);
            groups.push(self.find(key, tags, grouping, budget)?);
        }
        codes.of_row.iter_mut().for_each(|own| *own = groups.get(*own as usize).copied().unwrap_or(0));
        Ok(codes.of_row)
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
        match function.kind {
            StatsKind::Count => {
                let mut filled = Bits::none(view.rows() as usize);
                for field in fields.iter().flatten() {
                    let exists = crate::exec::filter::ValueTest::Exists;
                    let kind = Target::Any.kind();
                    filled.or(&crate::exec::filter::column::matching_rows(field, view.rows(), &exists, kind));
                }
                let passing = rows.iter().zip(groups).filter(|(row, _)| filled.get(**row as usize));
                let groups: Vec<u32> = passing.map(|(_, group)| *group).collect();
                self.count_rows(&groups, index, grouping);
            }
            StatsKind::CountUniq => self.add_tuples(&fields, function, (rows, groups), index, grouping, budget)?,
            StatsKind::Sum
            | StatsKind::Avg
            | StatsKind::Median
            | StatsKind::Quantile(_)
            | StatsKind::Min
            | StatsKind::Max => {
                for (field, (_, kind)) in fields.iter().zip(&function.fields) {
                    let Some(field) = field else { continue };
                    let numbers = Numbers::of(field, *kind);
                    if matches!(function.kind, StatsKind::Sum | StatsKind::Avg)
                        && let Numbers::Integers(values) = numbers
                    {
                        self.add_integers((field, values), (rows, view.rows()), groups, index, grouping);
                        continue;
                    }
                    let (mut buffer, mut places) = (Vec::new(), Places::new(field));
                    for (&row, &group) in rows.iter().zip(groups) {
                        let Some(place) = places.of(row) else { continue };
                        let Some(state) = self.state(group, index, grouping) else { continue };
                        let number = numbers.get(field, place, *kind, &mut buffer);
                        if matches!(function.kind, StatsKind::Min | StatsKind::Max) {
                            let tag = field.column.tag(place);
                            if number.is_some() || !is_empty_value(tag, field.column.text(place, &mut buffer)) {
                                let greatest = function.kind == StatsKind::Max;
                                state.add_extreme(greatest, number, tag, || text(field, place, &mut buffer), budget)?;
                            }
                        } else if let Some(number) = number {
                            state.add_number(number, budget)?;
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
                    let mut places = Places::new(field);
                    for (&row, &group) in rows.iter().zip(groups) {
                        let Some((tag, text)) = places.get(field, row, &mut buffer) else { continue };
                        let Some(state) = self.state(group, index, grouping) else { continue };
                        add_value(state, function, i as u32, (tag, text, *kind), at(row), budget)?;
                    }
                }
            }
        }
        Ok(())
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

    /// Adds integers to the sums of their groups: first up in a table of the block, then each group once.
    fn add_integers(
        &mut self,
        (field, values): (&Field, &[i64]),
        (rows, all): (&[u32], u32),
        groups: &[u32],
        index: usize,
        grouping: &Grouping,
    ) {
        let mut groups_of_rows = groups.iter();
        let mut for_each = |add: &mut dyn FnMut(u32, i64)| {
            for_each_place(field, rows, all, |place| {
                if let (Some(&group), Some(&value)) = (groups_of_rows.next(), place.and_then(|place| values.get(place)))
                {
                    add(group, value);
                }
            });
        };
        if self.len() > groups.len() {
            // Most groups are not in this block.
            for_each(&mut |group, value| {
                if let Some(state) = self.state(group, index, grouping) {
                    state.add_integers(value.into(), 1);
                }
            });
            return;
        }
        let mut sums = vec![(0i128, 0u64); self.len()];
        for_each(&mut |group, value| {
            let (sum, count) = &mut sums[group as usize];
            *sum += i128::from(value);
            *count += 1;
        });
        for (group, &(sum, count)) in sums.iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            if let Some(state) = self.state(group as u32, index, grouping) {
                state.add_integers(sum, count);
            }
        }
    }

    fn add_tuples(
        &mut self,
        fields: &[Option<Field>],
        function: &Function,
        (rows, groups): (&[u32], &[u32]),
        index: usize,
        grouping: &Grouping,
        budget: &Budget,
    ) -> Result<(), ExecError> {
        let (mut tuple, mut buffer) = (Vec::new(), Vec::new());
        let mut readers: Vec<_> =
            fields.iter().map(|field| field.as_ref().map(|f| (f, Places::new(f), Encoder::new(&f.column)))).collect();
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
            tuple.clear();
            let mut filled = false;
            for reader in &mut readers {
                let Some((field, places, encoder)) = reader else {
                    encode_text(b"", &mut tuple);
                    continue;
                };
                let Some(place) = places.of(row) else {
                    encode_text(b"", &mut tuple);
                    continue;
                };
                if let Some(codes) = codes
                    && codes.get(place).is_none_or(|code| seen.insert((group, code), ()).is_some())
                {
                    continue;
                }
                filled |= match &field.column.data {
                    // None of these texts is empty.
                    Data::Fixed { .. } | Data::Integer(_) | Data::Decimal { .. } => true,
                    _ => !is_empty_value(field.column.tag(place), field.column.text(place, &mut buffer)),
                };
                encoder.value(place, &mut tuple);
            }
            if filled && let Some(state) = self.state(group, index, grouping) {
                state.add_tuple(&tuple, function.limit, budget)?;
            }
        }
        Ok(())
    }
}

fn text<'a>(field: &'a Field, place: usize, buffer: &'a mut Vec<u8>) -> &'a str {
    std::str::from_utf8(field.column.text(place, buffer)).unwrap_or_default()
}

/// The numbers of a column, as cheaply as its form allows.
enum Numbers<'a> {
    Integers(&'a [i64]),
    /// By entry of a dictionary or constant.
    Entries(Vec<Option<Number>>, Option<&'a Codes>),
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
                let entry = codes.map_or(Some(0), |codes| codes.get(place))?;
                numbers.get(entry as usize).copied().flatten()
            }
            Numbers::Texts => measured(field.column.tag(place), text(field, place, buffer), kind),
        }
    }
}
