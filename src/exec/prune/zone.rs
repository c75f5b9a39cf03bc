//! What zone maps say about a block: may a row match, and do all rows match?

use crate::error::StorageError;
use crate::exec::filter::compare::ZoneUnit;
use crate::exec::filter::{FieldKind, Scratch, ValueTest};
use crate::exec::predicate::{FieldTest, Predicate};
use crate::exec::target::{MESSAGE_NAME, Target};
use crate::record::{Block, Tag, Timestamp, Zone, ZoneMap};

/// What is known of the rows of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// May a row match?
    pub(crate) may: bool,
    /// Does every row match?
    pub(crate) all: bool,
}

impl Verdict {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Verdict = Verdict { may: true, all: false };
    const NONE: Verdict = Verdict { may: false, all: false };
    const ALL: Verdict = Verdict { may: true, all: true };

    fn not(self) -> Verdict {
        // Not `!self.may` for `may`: a block where some rows match has others that don't.
        Verdict { may: !self.all, all: !self.may }
    }
}

/// What zone maps and the range of time say of a condition.
pub(crate) fn verdict(predicate: &Predicate, block: &dyn Block) -> Result<Verdict, StorageError> {
    match predicate {
        Predicate::True => Ok(Verdict::ALL),
        Predicate::False => Ok(Verdict::NONE),
        Predicate::And(parts) => {
            let mut all = Verdict::ALL;
            for part in parts {
                let part = verdict(part, block)?;
                all = Verdict { may: all.may && part.may, all: all.all && part.all };
                if !all.may {
                    break;
                }
            }
            Ok(all)
        }
        Predicate::Or(parts) => {
            let mut one = Verdict::NONE;
            for part in parts {
                let part = verdict(part, block)?;
                one = Verdict { may: one.may || part.may, all: one.all || part.all };
                if one.all {
                    break;
                }
            }
            Ok(one)
        }
        Predicate::Not(inner) => Ok(verdict(inner, block)?.not()),
        Predicate::Time(span) => Ok(of_time(*span, block.time_range())),
        Predicate::Stream(..) => Ok(Verdict::UNKNOWN),
        Predicate::Field(field) => of_field(field, block),
    }
}

/// How many rows match, where that is sure without reading a column: where zone maps count every value.
pub(crate) fn rows_matching(predicate: &Predicate, block: &dyn Block) -> Result<Option<u32>, StorageError> {
    let rows = block.rows();
    Ok(match predicate {
        Predicate::True => Some(rows),
        Predicate::False => Some(0),
        Predicate::Not(inner) => rows_matching(inner, block)?.and_then(|matching| rows.checked_sub(matching)),
        Predicate::Field(field) => match &field.target {
            Target::Field(name) => match block.zone(name)? {
                Zone::Absent => Some(0),
                Zone::Known(map) => values_matching(&field.test, &map, FieldKind::of(name)),
                Zone::Unknown => None,
            },
            _ => None,
        },
        Predicate::And(_) | Predicate::Or(_) | Predicate::Time(_) | Predicate::Stream(..) => None,
    })
}

/// How many values pass, where they are counted.
fn values_matching(test: &ValueTest, map: &ZoneMap, kind: FieldKind) -> Option<u32> {
    if let ValueTest::Exists = test {
        return map.values.checked_sub(map.empty);
    }
    let mut scratch = Scratch::default();
    let passing = map.counts.as_ref()?.iter().map(|(tag, text, count)| {
        let passes = test.matches(tag, std::str::from_utf8(text).ok()?, kind, &mut scratch);
        Some(if passes { count } else { 0 })
    });
    passing.sum()
}

/// Do zone maps often decide about a condition? Of words and patterns they know nothing but where all values are counted.
pub(crate) fn may_decide(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::True | Predicate::False | Predicate::Time(_) => true,
        Predicate::Stream(..) => false,
        Predicate::Not(inner) => may_decide(inner),
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().any(may_decide),
        Predicate::Field(field) => {
            let by_value = matches!(field.test, ValueTest::Exists | ValueTest::Compare(_) | ValueTest::IpRange(_));
            by_value && !matches!(field.target, Target::Any)
        }
    }
}

pub(crate) fn of_time(span: crate::exec::TimeSpan, range: (Timestamp, Timestamp)) -> Verdict {
    Verdict { may: span.overlaps(range), all: span.covers(range) }
}

fn of_field(field: &FieldTest, block: &dyn Block) -> Result<Verdict, StorageError> {
    match &field.target {
        Target::Field(name) => of_name(field, name, block),
        Target::Message(name) => match block.zone(name)? {
            Zone::Absent => of_name(field, MESSAGE_NAME, block),
            zone => {
                // Some rows have their own, others the message.
                let own = of_zone(&field.test, &zone, FieldKind::of(name), block.rows());
                let other = of_name(field, MESSAGE_NAME, block)?;
                Ok(Verdict { may: own.may || other.may, all: own.all })
            }
        },
        Target::Any | Target::Time | Target::Stream | Target::StreamId | Target::Seq => Ok(Verdict::UNKNOWN),
    }
}

/// What the zone map and the form of a field's column say of a test of it, whatever field the test asks for.
pub(crate) fn of_name(field: &FieldTest, name: &str, block: &dyn Block) -> Result<Verdict, StorageError> {
    let verdict = of_zone(&field.test, &block.zone(name)?, FieldKind::of(name), block.rows());
    if verdict.may && !verdict.all && !field.needs.may_hold(&mut |folded| block.may_hold(name, folded)) {
        return Ok(Verdict::NONE);
    }
    Ok(verdict)
}

fn of_zone(test: &ValueTest, zone: &Zone, kind: FieldKind, rows: u32) -> Verdict {
    match zone {
        Zone::Absent => Verdict::NONE,
        Zone::Unknown => Verdict::UNKNOWN,
        Zone::Known(map) => of_map(test, map, kind, rows),
    }
}

fn of_map(test: &ValueTest, map: &ZoneMap, kind: FieldKind, rows: u32) -> Verdict {
    if let ValueTest::Exists = test {
        let filled = map.values.saturating_sub(map.empty);
        return Verdict { may: filled > 0, all: filled == rows };
    }
    if let Some(counts) = &map.counts {
        let mut scratch = Scratch::default();
        let passing = counts.iter().filter(|&(tag, text, _)| {
            if tag != Tag::Array && test.is_too_short(text) {
                return false;
            }
            // A text that can't be read is no reason to leave its block out.
            std::str::from_utf8(text).map_or(true, |text| test.matches(tag, text, kind, &mut scratch))
        });
        let matching: u32 = passing.map(|(_, _, count)| count).sum();
        return Verdict { may: matching > 0, all: matching == rows };
    }
    let max = (&*map.max.0, map.max.1);
    let may = match test {
        ValueTest::OneOf(texts) => {
            // An element of an array may lie anywhere.
            map.has_array
                || texts.iter().any(|text| {
                    let text = text.as_bytes();
                    &*map.min <= text && (text <= max.0 || (max.1 && text.starts_with(max.0)))
                })
        }
        ValueTest::Compare(compare) if compare.all_numbers() => {
            map.plain.is_some_and(|range| compare.may_keep(range, ZoneUnit::Plain, kind))
                || map.with_unit.is_some_and(|range| compare.may_keep(range, ZoneUnit::Some, kind))
        }
        ValueTest::Compare(compare) if !compare.has_number() && !kind.is_level && !map.has_array => {
            compare.may_keep_text(&map.min, max)
        }
        _ => true,
    };
    Verdict { may, all: false }
}
