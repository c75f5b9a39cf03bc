//! The order of values in sorts and of groups: numbers, then texts, then what is missing.

use super::filter::FieldKind;
use super::limits::allocated;
use super::view::measured;
use crate::record::{Number, Tag};
use std::cmp::Ordering;

/// A value as far as its place in an order goes. A value with an empty text (null, `""`) counts as missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Number(Number),
    Text(Box<str>),
    Missing,
}

impl Rank {
    pub(crate) fn of(tag: Tag, text: &str, kind: FieldKind) -> Self {
        match measured(tag, text, kind) {
            Some(number) => Rank::Number(number),
            None if text.is_empty() => Rank::Missing,
            None => Rank::Text(text.into()),
        }
    }

    /// The order of two; `descending` turns numbers and texts around among themselves, and leaves numbers before
    /// texts and what is missing last.
    pub(crate) fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let class = |rank: &Rank| match rank {
            Rank::Number(_) => 0,
            Rank::Text(_) => 1,
            Rank::Missing => 2,
        };
        let order = match (self, other) {
            (Rank::Number(a), Rank::Number(b)) => a.cmp(b),
            (Rank::Text(a), Rank::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => return class(self).cmp(&class(other)),
        };
        if descending { order.reverse() } else { order }
    }

    /// The order of a value to this one, as that of its rank would be, with nothing kept of the value.
    pub(crate) fn compare_value(&self, tag: Tag, text: &str, kind: FieldKind, descending: bool) -> Ordering {
        match (measured(tag, text, kind), self) {
            (Some(number), _) => Rank::Number(number).compare(self, descending),
            (None, _) if text.is_empty() => Rank::Missing.compare(self, descending),
            (None, Rank::Number(_)) => Ordering::Greater,
            (None, Rank::Missing) => Ordering::Less,
            (None, Rank::Text(own)) => {
                let order = text.as_bytes().cmp(own.as_bytes());
                if descending { order.reverse() } else { order }
            }
        }
    }

    /// Bytes of memory beside itself, about.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Rank::Text(text) => allocated(text.len()),
            Rank::Number(_) | Rank::Missing => 0,
        }
    }
}

/// Bytes of memory of a list of ranks, about.
pub(crate) fn ranks_memory(ranks: &[Rank]) -> usize {
    allocated(size_of_val(ranks)) + ranks.iter().map(Rank::memory).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_as_their_ranks() {
        let texts = ["b", "10", "", "9", "a", "1.5", "1ms", "10.0"];
        let kind = FieldKind::of("x");
        for (a, b, descending) in
            texts.iter().flat_map(|a| texts.iter().flat_map(move |b| [(a, b, false), (a, b, true)]))
        {
            let (rank_a, rank_b) = (Rank::of(Tag::String, a, kind), Rank::of(Tag::String, b, kind));
            let got = rank_b.compare_value(Tag::String, a, kind, descending);
            assert_eq!(got, rank_a.compare(&rank_b, descending), "{a} {b}");
        }
    }

    #[test]
    fn order() {
        let sorted = |descending: bool| {
            let mut texts = ["b", "10", "", "9", "a", "1.5"];
            texts.sort_by(|a, b| {
                let rank = |t: &str| Rank::of(Tag::String, t, FieldKind::of("x"));
                rank(a).compare(&rank(b), descending)
            });
            texts.join(" ")
        };
        assert_eq!(sorted(false), "1.5 9 10 a b ");
        assert_eq!(sorted(true), "10 9 1.5 b a ");
    }
}
