//! Comparisons with an order: as numbers, as levels or as texts.
//!
//! The rules of units (ruling 6): a *dimension* is time, size or percent; a plain number and a count (`2K`) have none.
//! Two sides without a dimension are compared as they stand; two of the same dimension in base units; two of different
//! ones never match. Where one side has a dimension, the other is scaled by the unit of the field, where the field has
//! one of that dimension, and is else taken as it stands.

use crate::query::ast::{CompareOp, Operand};
use crate::record::{Level, Number, Quantity, Unit, field_unit};
use std::cmp::Ordering;

/// What the name of a field tells about its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldKind {
    /// What plain numbers measure.
    pub(crate) unit: Option<(Unit, i128)>,
    /// Are levels compared by severity?
    pub(crate) is_level: bool,
    /// Is it the time of records? Then a time is a number of ns.
    pub(crate) is_time: bool,
}

impl FieldKind {
    pub(crate) fn of(name: &str) -> Self {
        FieldKind { unit: field_unit(name), is_level: name == "level", is_time: false }
    }

    /// A number in units of the field: what sums, sorts and buckets work on. Plain numbers stay as they are; those
    /// with a unit are in the unit of the field, where it has one of that dimension, and else in base units.
    pub(crate) fn measure(self, quantity: Quantity) -> Number {
        match (dimension(quantity), self.unit) {
            (Some(of), Some((unit, by))) if of == unit => divide(quantity.number, by),
            _ => quantity.number,
        }
    }
}

fn dimension(quantity: Quantity) -> Option<Unit> {
    quantity.unit.filter(|unit| *unit != Unit::Count)
}

/// `number / by`; exact where `by` is a power of ten, as nearly all units are.
fn divide(number: Number, by: i128) -> Number {
    if by == 1 {
        return number;
    }
    let places = by.unsigned_abs().ilog10();
    if 10i128.checked_pow(places) == Some(by)
        && let Some(n) = number.as_i128()
    {
        return Number::parse(&format!("{n}e-{places}")).unwrap_or(number);
    }
    Number::from_f64(number.to_f64() / by as f64).unwrap_or(number)
}

/// One or two bounds that a value must keep.
#[derive(Clone, Debug)]
pub(crate) struct Compare {
    pub(crate) low: Option<Bound>,
    pub(crate) high: Option<Bound>,
}

/// One end of a range.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) text: Box<str>,
    pub(crate) quantity: Option<Quantity>,
    pub(crate) level: Option<Level>,
    pub(crate) inclusive: bool,
}

impl Bound {
    fn new(operand: &Operand, inclusive: bool) -> Self {
        Bound { text: operand.text.clone(), quantity: operand.quantity, level: Level::parse(&operand.text), inclusive }
    }

    /// How a value stands to the bound; `None` where the two can't be compared.
    fn order(&self, text: &str, number: Option<Quantity>, kind: FieldKind) -> Option<Ordering> {
        if let Some(bound) = self.quantity {
            return order_numbers(number?, bound, kind);
        }
        if kind.is_level
            && let (Some(bound), Some(value)) = (self.level, Level::parse(text))
        {
            return Some(value.cmp(&bound));
        }
        Some(text.as_bytes().cmp(self.text.as_bytes()))
    }

    fn keeps(&self, order: Option<Ordering>, side: Ordering) -> bool {
        match order {
            Some(Ordering::Equal) => self.inclusive,
            Some(order) => order == side,
            None => false,
        }
    }
}

fn order_numbers(value: Quantity, bound: Quantity, kind: FieldKind) -> Option<Ordering> {
    let scale = |number: Number, other: Unit| match kind.unit {
        Some((unit, by)) if unit == other => number.scaled(by),
        _ => number,
    };
    Some(match (dimension(value), dimension(bound)) {
        (None, None) => value.number.cmp(&bound.number),
        (Some(a), Some(b)) if a == b => value.number.cmp(&bound.number),
        (Some(_), Some(_)) => return None,
        (None, Some(unit)) => scale(value.number, unit).cmp(&bound.number),
        (Some(unit), None) => value.number.cmp(&scale(bound.number, unit)),
    })
}

impl Compare {
    pub(crate) fn one(op: CompareOp, operand: &Operand) -> Self {
        let bound = |inclusive| Some(Bound::new(operand, inclusive));
        match op {
            CompareOp::Less => Compare { low: None, high: bound(false) },
            CompareOp::LessOrEqual => Compare { low: None, high: bound(true) },
            CompareOp::Greater => Compare { low: bound(false), high: None },
            CompareOp::GreaterOrEqual => Compare { low: bound(true), high: None },
        }
    }

    pub(crate) fn range(low: Option<&(Operand, bool)>, high: Option<&(Operand, bool)>) -> Self {
        let bound = |end: Option<&(Operand, bool)>| end.map(|(operand, inclusive)| Bound::new(operand, *inclusive));
        Compare { low: bound(low), high: bound(high) }
    }

    /// Does a text, that of no null, keep the bounds?
    pub(crate) fn matches(&self, text: &str, kind: FieldKind) -> bool {
        let number = if self.has_number() { Quantity::parse(text) } else { None };
        self.low.as_ref().is_none_or(|b| b.keeps(b.order(text, number, kind), Ordering::Greater))
            && self.high.as_ref().is_none_or(|b| b.keeps(b.order(text, number, kind), Ordering::Less))
    }

    fn bounds(&self) -> impl Iterator<Item = &Bound> {
        self.low.iter().chain(&self.high)
    }

    /// Is one of the bounds a number?
    pub(crate) fn has_number(&self) -> bool {
        self.bounds().any(|b| b.quantity.is_some())
    }
    /// Are all bounds numbers?
    pub(crate) fn all_numbers(&self) -> bool {
        self.bounds().all(|b| b.quantity.is_some())
    }

    /// Does a quantity keep the bounds, which are all numbers?
    fn keeps_number(&self, value: Quantity, kind: FieldKind) -> bool {
        self.low.as_ref().is_none_or(|b| b.keeps(b.order("", Some(value), kind), Ordering::Greater))
            && self.high.as_ref().is_none_or(|b| b.keeps(b.order("", Some(value), kind), Ordering::Less))
    }

    /// The integers `n` for which the plain number `n / 10^places` keeps the bounds, as first and last one; `None`
    /// for none. Only where all bounds are numbers.
    pub(crate) fn plain_range(&self, places: u8, kind: FieldKind) -> Option<(i64, i64)> {
        let number = |n: i64| {
            if places == 0 { Some(Number::from(n)) } else { Number::parse(&decimal_text(n, places)) }
        };
        let above = |n: i64| {
            let value = number(n).map(|number| Quantity { number, unit: None });
            self.low
                .as_ref()
                .is_none_or(|b| b.keeps(value.and_then(|v| order_numbers(v, b.quantity?, kind)), Ordering::Greater))
        };
        let below = |n: i64| {
            let value = number(n).map(|number| Quantity { number, unit: None });
            self.high
                .as_ref()
                .is_none_or(|b| b.keeps(value.and_then(|v| order_numbers(v, b.quantity?, kind)), Ordering::Less))
        };
        // Both change once only, so that the places where they do are found by halving.
        let first = if above(i64::MIN) { i64::MIN } else { first_where(above)? };
        let last = if below(i64::MAX) { i64::MAX } else { first_where(|n| !below(n))?.checked_sub(1)? };
        (first <= last).then_some((first, last))
    }

    /// May a number between two floats keep the bounds? Those of a zone map are rounded outward.
    pub(crate) fn may_keep(&self, range: (f64, f64), unit: ZoneUnit, kind: FieldKind) -> bool {
        let (Some(low), Some(high)) = (Number::from_f64(range.0), Number::from_f64(range.1)) else { return true };
        let may = |unit: Option<Unit>| {
            // The least and the greatest are the best that there is for each bound.
            let high_keeps = Compare { low: self.low.clone(), high: None };
            let low_keeps = Compare { low: None, high: self.high.clone() };
            high_keeps.keeps_number(Quantity { number: high, unit }, kind)
                && low_keeps.keeps_number(Quantity { number: low, unit }, kind)
        };
        match unit {
            ZoneUnit::Plain => may(None),
            // A zone map does not tell units apart.
            ZoneUnit::Some => [None, Some(Unit::Time), Some(Unit::Size), Some(Unit::Percent)].into_iter().any(may),
        }
    }

    /// May a text between the least and the greatest of a zone map keep the bounds? `max` may have been cut.
    pub(crate) fn may_keep_text(&self, min: &[u8], max: (&[u8], bool)) -> bool {
        let low = self.low.as_ref().is_none_or(|b| {
            let bound = b.text.as_bytes();
            bound <= max.0 || (max.1 && bound.starts_with(max.0))
        });
        low && self.high.as_ref().is_none_or(|b| min <= b.text.as_bytes())
    }
}

/// Which values a range of a zone map is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneUnit {
    /// Those without a unit.
    Plain,
    /// Those with any unit.
    Some,
}

fn decimal_text(n: i64, places: u8) -> String {
    let mut out = Vec::with_capacity(24);
    crate::record::write_decimal(n, places, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// The least integer for which a condition holds that, once it holds, holds for all greater ones.
fn first_where(holds: impl Fn(i64) -> bool) -> Option<i64> {
    let (mut low, mut high) = (i128::from(i64::MIN), i128::from(i64::MAX) + 1);
    while low < high {
        let middle = (low + high).div_euclid(2);
        match i64::try_from(middle) {
            Ok(n) if !holds(n) => low = middle + 1,
            _ => high = middle,
        }
    }
    i64::try_from(low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn operand(text: &str) -> Operand {
        Operand { text: text.into(), quantity: Quantity::parse(text) }
    }

    #[test]
    fn rules() {
        use CompareOp::{Greater, GreaterOrEqual, Less, LessOrEqual};
        for (field, value, op, bound, expect) in [
            ("a", "1000", Greater, "999", true),
            ("a", "1e3", GreaterOrEqual, "1000.0", true),
            ("a", "abc", Greater, "1", false),
            ("a", "9007199254740993", Greater, "9007199254740992", true),
            // Plain as it stands, but for fields that have a unit.
            ("a", "20000", Greater, "10KB", true),
            ("duration", "1500", Greater, "1.5s", false),
            ("duration", "1501", Greater, "1.5s", true),
            ("duration", "1.6s", Greater, "1500", true),
            ("duration", "1.5s", LessOrEqual, "1500", true),
            ("a", "1.5s", Greater, "1500", true),
            ("x_bytes", "2K", Greater, "1KiB", true),
            ("duration", "2K", LessOrEqual, "2s", true),
            // Other dimensions are not comparable.
            ("a", "5s", Greater, "1B", false),
            ("a", "5s", Less, "1B", false),
            ("cpu", "75%", Greater, "50", true),
            ("cpu", "75", Greater, "50%", true),
            // Levels.
            ("level", "error", GreaterOrEqual, "warn", true),
            ("level", "CRITICAL", Greater, "error", true),
            ("level", "debug", GreaterOrEqual, "warn", false),
            ("level", "zebra", Greater, "warn", true),
            ("lvl", "error", GreaterOrEqual, "warn", false),
            // Texts.
            ("a", "b", Greater, "a", true),
            ("a", "", Less, "a", true),
            ("a", "10", Less, "a", true),
        ] {
            let compare = Compare::one(op, &operand(bound));
            assert_eq!(compare.matches(value, FieldKind::of(field)), expect, "{field} {value} {op:?} {bound}");
        }
    }

    #[test]
    fn measures() {
        for (field, text, expect) in [
            ("duration", "1.5s", "1500"),
            ("duration", "7", "7"),
            ("a", "1.5s", "1500000000"),
            ("a_mb", "1KB", "0.001"),
        ] {
            let number = FieldKind::of(field).measure(Quantity::parse(text).expect("a quantity"));
            assert_eq!(number.to_string(), expect, "{field} {text}");
        }
    }

    const BOUNDS: &[&str] = &[
        "0",
        "-1",
        "0.5",
        "1.25s",
        "3ms",
        "2K",
        "1e30",
        "-1e30",
        "9223372036854775807",
        "-9223372036854775808",
        "50%",
    ];

    proptest! {
        #[test]
        fn plain_range_is_what_matches(
            low in 0..BOUNDS.len(), high in 0..BOUNDS.len(), inclusive: bool, open in 0..3,
            places in 0u8..4, values in proptest::collection::vec(any::<i64>().prop_map(|n| n >> (n & 63)), 20),
            field in prop_oneof![Just("a"), Just("duration")],
        ) {
            let end = |i: usize| (operand(BOUNDS[i]), inclusive);
            let (low, high) = (end(low), end(high));
            let compare = Compare::range((open != 1).then_some(&low), (open != 2).then_some(&high));
            let kind = FieldKind::of(field);
            let range = compare.plain_range(places, kind);
            for n in values {
                let text = if places == 0 { n.to_string() } else { decimal_text(n, places) };
                let fast = range.is_some_and(|(a, b)| (a..=b).contains(&n));
                prop_assert_eq!(fast, compare.matches(&text, kind), "{} {:?}", text, compare);
            }
        }
    }
}
