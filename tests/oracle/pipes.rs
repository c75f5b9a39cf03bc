//! A whole query over all records: filter, order, pipes.

use super::Rec;
use super::eval::{is_empty, matches, text_of};
use super::number::{Dec, quantity};
use super::tree::{Function, Key, Pipe, Query};
use crate::support::json::Val;
use std::collections::{BTreeMap, BTreeSet};

/// One value of an expected row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Is(Val),
    /// Equal as a number, however it is written.
    Number(Dec),
    /// A quotient.
    About(f64),
    /// A time in ns.
    Time(i64),
    /// An array with these texts, in any order.
    Texts(Vec<String>),
    /// Missing, null or `""`.
    Nothing,
    /// The language's page does not say.
    Anything,
}

pub type Row = BTreeMap<String, Cell>;

#[derive(Debug, Clone)]
pub struct Expected {
    pub rows: Vec<Row>,
    /// Is their order defined?
    pub ordered: bool,
    /// Rows that tie at a cut of unordered rows make any of them right; then only the number is compared.
    pub only_count: bool,
}

/// What is passed beside the query.
#[derive(Debug, Clone, Default)]
pub struct Window {
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub limit: Option<usize>,
    pub offset: usize,
}

/// A row on its way: the record it came from, where it still stands for one.
#[derive(Clone)]
struct Way {
    rec: Option<Rec>,
    cells: Row,
}

pub fn run(records: &[Rec], query: &Query, window: &Window) -> Expected {
    let mut found: Vec<&Rec> = records
        .iter()
        .filter(|r| window.start.is_none_or(|ns| r.time >= ns) && window.end.is_none_or(|ns| r.time < ns))
        .filter(|r| matches(r, &query.filter))
        .collect();
    found.sort_by_key(|r| std::cmp::Reverse((r.time, r.seq)));
    let mut rows: Vec<Way> = found
        .into_iter()
        .map(|r| {
            let mut cells: Row = r.all().into_iter().map(|(n, v)| (n, Cell::Is(v))).collect();
            cells.insert("timestamp".into(), Cell::Time(r.time));
            Way { rec: Some(r.clone()), cells }
        })
        .collect();
    let (mut ordered, mut only_count) = (true, false);
    for pipe in &query.pipes {
        match pipe {
            Pipe::Fields(names) => rows.iter_mut().for_each(|w| w.cells.retain(|n, _| named(names, n))),
            Pipe::Delete(names) => rows.iter_mut().for_each(|w| w.cells.retain(|n, _| !named(names, n))),
            Pipe::Filter(filter) => rows.retain(|w| matches(w.rec.as_ref().unwrap(), filter)),
            Pipe::Sort(keys, offset, limit) => {
                sort(&mut rows, keys);
                cut(&mut rows, *offset, *limit);
                ordered = true;
            }
            Pipe::Limit(n) => {
                only_count |= !ordered && rows.len() > *n;
                cut(&mut rows, 0, Some(*n));
            }
            Pipe::Offset(n) => {
                only_count |= !ordered && *n > 0;
                cut(&mut rows, *n, None);
            }
            Pipe::Stats(by, functions) => {
                rows = stats(&rows, by, functions);
                ordered = false;
            }
            Pipe::Top(n, by) => {
                let mut groups = counts(&rows, by);
                groups.sort_by_key(|g| std::cmp::Reverse(g.1));
                // Where the cut falls among equals, any of them may stand.
                only_count |= groups.get(*n).is_some_and(|g| g.1 == groups[n - 1].1);
                groups.truncate(*n);
                rows = groups.into_iter().map(|(cells, hits)| with_hits(cells, Some(hits))).collect();
                ordered = false;
            }
            Pipe::Uniq(by, hits) => {
                rows = counts(&rows, by).into_iter().map(|(cells, n)| with_hits(cells, hits.then_some(n))).collect();
                ordered = false;
            }
        }
    }
    only_count |= !ordered && (window.offset > 0 || window.limit.is_some_and(|n| n < rows.len()));
    cut(&mut rows, window.offset, window.limit);
    Expected { rows: rows.into_iter().map(|w| w.cells).collect(), ordered, only_count }
}

fn cut(rows: &mut Vec<Way>, offset: usize, limit: Option<usize>) {
    rows.drain(..offset.min(rows.len()));
    rows.truncate(limit.unwrap_or(usize::MAX));
}

fn named(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|p| p.strip_suffix('*').map_or(p == name, |prefix| name.starts_with(prefix)))
}

fn value(way: &Way, name: &str) -> Option<Val> {
    match way.cells.get(name) {
        Some(Cell::Is(v)) => Some(v.clone()),
        _ => None,
    }
}

fn number(way: &Way, name: &str) -> Option<Dec> {
    match way.cells.get(name) {
        Some(Cell::Number(n)) => Some(n.clone()),
        Some(Cell::Is(v @ (Val::Num(_) | Val::Str(_)))) => quantity(&text_of(v)).map(|(n, _)| n),
        _ => None,
    }
}

/// Numbers before texts, what is missing last; ties keep the order that was.
fn sort(rows: &mut [Way], keys: &[(String, bool)]) {
    rows.sort_by(|a, b| {
        for (name, down) in keys {
            let of = |w: &Way| -> (u8, Option<Dec>, String) {
                match number(w, name) {
                    Some(n) => (0, Some(n), String::new()),
                    None => match value(w, name) {
                        Some(v) if !is_empty(&v) => (1, None, text_of(&v)),
                        _ => (2, None, String::new()),
                    },
                }
            };
            let (a, b) = (of(a), of(b));
            let by_kind = a.0.cmp(&b.0);
            let by_value = a.1.cmp(&b.1).then_with(|| a.2.as_bytes().cmp(b.2.as_bytes()));
            let order = by_kind.then(if *down { by_value.reverse() } else { by_value });
            if order.is_ne() {
                return order;
            }
        }
        std::cmp::Ordering::Equal
    });
}

fn with_hits(cells: Row, hits: Option<u64>) -> Way {
    let mut cells = cells;
    if let Some(hits) = hits {
        cells.insert("hits".into(), Cell::Number(Dec::parse(&hits.to_string()).unwrap()));
    }
    Way { rec: None, cells }
}

/// The rows of each group, the groups in no order.
fn groups<'a>(rows: &'a [Way], by: &[Key]) -> Vec<(Row, Vec<&'a Way>)> {
    let mut out: BTreeMap<Vec<String>, (Row, Vec<&Way>)> = BTreeMap::new();
    for way in rows {
        let (mut key, mut cells) = (Vec::new(), Row::new());
        for part in by {
            let (name, text, cell) = match part {
                Key::Field(name) => match value(way, name).filter(|v| !is_empty(v)) {
                    Some(v) => (name.as_str(), text_of(&v), Cell::Is(v)),
                    None => (name.as_str(), String::new(), Cell::Nothing),
                },
                Key::Time(step) => {
                    let time = way.rec.as_ref().unwrap().time;
                    let bucket = time.div_euclid(*step) * step;
                    ("_time", bucket.to_string(), Cell::Time(bucket))
                }
            };
            key.push(text);
            cells.insert(name.into(), cell);
        }
        out.entry(key).or_insert_with(|| (cells, Vec::new())).1.push(way);
    }
    out.into_values().collect()
}

fn counts(rows: &[Way], by: &[String]) -> Vec<(Row, u64)> {
    let keys: Vec<Key> = by.iter().cloned().map(Key::Field).collect();
    groups(rows, &keys).into_iter().map(|(cells, ways)| (cells, ways.len() as u64)).collect()
}

fn stats(rows: &[Way], by: &[Key], functions: &[Function]) -> Vec<Way> {
    let mut groups = groups(rows, by);
    if by.is_empty() && groups.is_empty() {
        groups.push((Row::new(), Vec::new()));
    }
    groups
        .into_iter()
        .map(|(mut cells, ways)| {
            for f in functions {
                let ways: Vec<&Way> = ways
                    .iter()
                    .copied()
                    .filter(|w| f.condition.as_ref().is_none_or(|c| matches(w.rec.as_ref().unwrap(), c)))
                    .collect();
                cells.insert(f.alias.clone(), aggregate(&ways, f));
            }
            Way { rec: None, cells }
        })
        .collect()
}

fn aggregate(ways: &[&Way], f: &Function) -> Cell {
    let count = |n: usize| Cell::Number(Dec::parse(&n.to_string()).unwrap());
    let Some(field) = &f.field else { return count(ways.len()) };
    let texts: Vec<String> =
        ways.iter().filter_map(|w| value(w, field)).filter(|v| !is_empty(v)).map(|v| text_of(&v)).collect();
    let mut numbers: Vec<Dec> = ways.iter().filter_map(|w| number(w, field)).collect();
    numbers.sort();
    let distinct: BTreeSet<&String> = texts.iter().collect();
    // The least number with at least so many hundredths of all at or below it.
    let rank = |percent: usize| (numbers.len() * percent).div_ceil(100).max(1) - 1;
    let sum = || numbers.iter().fold(Dec::parse("0").unwrap(), |sum, n| sum.plus(n));
    match f.name {
        "count" => count(texts.len()),
        "count_uniq" => count(distinct.len()),
        "values" => Cell::Texts(texts),
        "uniq_values" => Cell::Texts(distinct.into_iter().cloned().collect()),
        _ if numbers.is_empty() => Cell::Anything,
        "sum" => Cell::Number(sum()),
        "avg" => Cell::About(sum().to_f64() / numbers.len() as f64),
        "min" => Cell::Number(numbers[0].clone()),
        "max" => Cell::Number(numbers[numbers.len() - 1].clone()),
        "median" => Cell::Number(numbers[rank(50)].clone()),
        "quantile" => Cell::Number(numbers[rank(f.percent)].clone()),
        other => unreachable!("{other} is not drawn"),
    }
}

/// Is an answer's row the expected one? Nested objects count as their dotted names.
pub fn row_is(expected: &Row, got: &BTreeMap<String, Val>) -> bool {
    expected.iter().all(|(name, cell)| {
        let found = match (cell, name.as_str()) {
            (Cell::Time(_), "_time") => got.get("_time").or_else(|| got.get("timestamp")),
            _ => got.get(name),
        };
        cell_is(cell, found)
    }) && got.keys().all(|n| expected.contains_key(n) || (n == "timestamp" && expected.contains_key("_time")))
}

fn cell_is(cell: &Cell, found: Option<&Val>) -> bool {
    match (cell, found) {
        (Cell::Anything, _) => true,
        (Cell::Nothing, found) => found.is_none_or(|v| matches!(v, Val::Null) || *v == Val::str("")),
        (_, None) => false,
        (Cell::Is(v), Some(found)) => v == found,
        (Cell::Number(n), Some(found)) => Dec::parse(&text_of(found)).as_ref() == Some(n),
        (Cell::About(x), Some(found)) => {
            Dec::parse(&text_of(found)).is_some_and(|n| (n.to_f64() - x).abs() <= 1e-9 * x.abs().max(1e-9))
        }
        (Cell::Time(ns), Some(found)) => super::number::time_ns(&text_of(found)) == Some(*ns),
        (Cell::Texts(texts), Some(found)) => {
            let mut got: Vec<String> = found.items().iter().map(text_of).collect();
            let mut expected = texts.clone();
            got.sort();
            expected.sort();
            got == expected && matches!(found, Val::Arr(_))
        }
    }
}

/// What is wrong with an answer, if anything is.
pub fn difference(expected: &Expected, got: &[BTreeMap<String, Val>]) -> Option<String> {
    if expected.rows.len() != got.len() {
        return Some(format!("{} rows, expected {}", got.len(), expected.rows.len()));
    }
    if expected.only_count {
        return None;
    }
    if expected.ordered {
        let at = expected.rows.iter().zip(got).position(|(e, g)| !row_is(e, g))?;
        return Some(format!("row {at} is {:?}\nexpected {:?}", got[at], expected.rows[at]));
    }
    let mut left: Vec<&BTreeMap<String, Val>> = got.iter().collect();
    for row in &expected.rows {
        let Some(at) = left.iter().position(|g| row_is(row, g)) else {
            return Some(format!("no row is {row:?}\nleft are {left:?}"));
        };
        left.remove(at);
    }
    None
}
