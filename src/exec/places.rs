//! The places of values in a column, for rows that rise.

use super::filter::bits::Bits;
use crate::record::{Field, Presence, Tag};

/// Finds the places of rows, each after the one before: a search from the start would cost more than the value.
pub(crate) struct Places<'a> {
    presence: &'a Presence,
    at: usize,
}

impl<'a> Places<'a> {
    pub(crate) fn new(field: &'a Field) -> Self {
        Places { presence: &field.presence, at: 0 }
    }

    /// The place of a row's value. Rows must rise from call to call.
    #[inline]
    pub(crate) fn of(&mut self, row: u32) -> Option<usize> {
        let rows = match self.presence {
            Presence::All => return Some(row as usize),
            Presence::Rows(rows) => rows,
        };
        // Gallops: most rows are near the one before.
        let (mut low, mut step) = (self.at, 1);
        while rows.get(low + step).is_some_and(|&r| r <= row) {
            low += step;
            step *= 2;
        }
        let within = rows.get(low..rows.len().min(low + step)).unwrap_or_default();
        self.at = low + within.partition_point(|&r| r < row);
        (rows.get(self.at) == Some(&row)).then_some(self.at)
    }

    /// The value of a row, as [`Field::get`] gives it. Rows must rise from call to call.
    pub(crate) fn get<'b>(&mut self, field: &'b Field, row: u32, buffer: &'b mut Vec<u8>) -> Option<(Tag, &'b str)> {
        let place = self.of(row)?;
        let text = field.column.text(place, buffer);
        Some((field.column.tag(place), std::str::from_utf8(text).unwrap_or_default()))
    }
}

/// A list of rows, which are of a block of so many.
pub(crate) fn list_of(bits: &Bits, rows: u32) -> Vec<u32> {
    let count = bits.count();
    if count == rows as usize {
        return (0..rows).collect();
    }
    let mut list = Vec::with_capacity(count);
    list.extend(bits.rows());
    list
}

/// Calls with the place of each row's value, for rows that rise, of a block of `all` rows. Where these are all of them,
/// none is looked for.
#[inline]
pub(crate) fn for_each_place(field: &Field, rows: &[u32], all: u32, mut visit: impl FnMut(Option<usize>)) {
    match &field.presence {
        Presence::All => rows.iter().for_each(|&row| visit(Some(row as usize))),
        Presence::Rows(present) if rows.len() == all as usize => {
            let mut next = 0;
            for (place, &row) in present.iter().enumerate() {
                (next..row).for_each(|_| visit(None));
                visit(Some(place));
                next = row.saturating_add(1);
            }
            (next..all).for_each(|_| visit(None));
        }
        Presence::Rows(_) => {
            let mut places = Places::new(field);
            rows.iter().for_each(|&row| visit(places.of(row)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Column, Data, Tags};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn places_are_those_of_a_search(
            has in proptest::collection::btree_set(0u32..200, 0..100), asked in proptest::collection::btree_set(0u32..200, 0..100),
        ) {
            let has: BTreeSet<u32> = has;
            let column = Column { tags: Tags::One(Tag::Null), data: Data::Constant { len: has.len() as u32, text: Box::default() } };
            let field = Field { presence: Presence::Rows(has.into_iter().collect()), column: column.into() };
            let mut places = Places::new(&field);
            for &row in &asked {
                prop_assert_eq!(places.of(row), field.presence.place(row));
            }
            for rows in [asked.into_iter().collect::<Vec<_>>(), (0..200).collect()] {
                let expect: Vec<_> = rows.iter().map(|&row| field.presence.place(row)).collect();
                let mut found = Vec::new();
                for_each_place(&field, &rows, 200, |place| found.push(place));
                prop_assert_eq!(found, expect);
                prop_assert_eq!(list_of(&Bits::of_rows(200, rows.iter().copied()), 200), rows);
            }
        }
    }
}
