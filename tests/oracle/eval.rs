//! Does a record match? One record, one test, one value at a time.

use super::Rec;
use super::number::{compare, quantity};
use super::tree::{Filter, Label, Op, Test};
use super::words::{has_fuzzy, has_near, has_phrase, has_wildcard};
use crate::support::json::Val;
use regex::Regex;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

/// What a query sees of a value: its text, and whether it is null.
struct Seen {
    text: String,
    null: bool,
}

/// The text of a value: strings without quotes, null as nothing, arrays and objects as JSON.
pub fn text_of(value: &Val) -> String {
    match value {
        Val::Null => String::new(),
        Val::Str(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Null, `""`, `[]` and `{}`.
pub fn is_empty(value: &Val) -> bool {
    match value {
        Val::Null => true,
        Val::Str(text) => text.is_empty(),
        Val::Arr(items) => items.is_empty(),
        Val::Obj(members) => members.is_empty(),
        _ => false,
    }
}

/// The value, and if it is an array its elements, and theirs.
fn seen(value: &Val) -> Vec<Seen> {
    let mut out = vec![Seen { text: text_of(value), null: *value == Val::Null }];
    if let Val::Arr(items) = value {
        out.extend(items.iter().flat_map(seen));
    }
    out
}

pub fn matches(rec: &Rec, filter: &Filter) -> bool {
    match filter {
        Filter::All => true,
        Filter::And(parts) => parts.iter().all(|p| matches(rec, p)),
        Filter::Or(parts) => parts.iter().any(|p| matches(rec, p)),
        Filter::Not(inner) => !matches(rec, inner),
        Filter::Field(Some(name), test) => field_matches(rec.get(name).as_ref(), test, name),
        Filter::Field(None, test) => rec.all().iter().any(|(name, value)| field_matches(Some(value), test, name)),
        Filter::Time(from, to) => {
            from.is_none_or(|(ns, taken)| rec.time > ns || (taken && rec.time == ns))
                && to.is_none_or(|(ns, taken)| rec.time < ns || (taken && rec.time == ns))
        }
        Filter::Stream(labels) => labels.iter().all(|(name, op, text)| {
            let value = rec.labels.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v);
            let whole = || compiled(&format!("^(?:{text})$")).is_match(value);
            match op {
                Label::Is => value == text,
                Label::IsNot => value != text,
                Label::Matches => whole(),
                Label::MatchesNot => !whole(),
            }
        }),
    }
}

fn field_matches(value: Option<&Val>, test: &Test, name: &str) -> bool {
    match test {
        Test::Empty => value.is_none_or(is_empty),
        Test::Exists => value.is_some_and(|v| !is_empty(v)),
        Test::In(values) if values.iter().any(String::is_empty) && value.is_none_or(is_empty) => true,
        _ => value.is_some_and(|v| seen(v).iter().any(|s| one_matches(s, test, name))),
    }
}

fn one_matches(seen: &Seen, test: &Test, name: &str) -> bool {
    // A null is no value: only `field:*` and `field:""` ask for it.
    if seen.null {
        return false;
    }
    let text = &seen.text;
    match test {
        Test::Phrase(phrase) => has_phrase(text, phrase),
        Test::Wildcard(pattern) => has_wildcard(text, pattern),
        Test::Near(words, distance) => has_near(text, words, *distance),
        Test::Fuzzy(word, edits) => has_fuzzy(text, word, *edits),
        Test::Exact(exact) => text == exact,
        Test::In(values) => values.contains(text),
        Test::Compare(op, bound, in_quotes) => order(text, bound, *in_quotes, name).is_some_and(|order| match op {
            Op::Less => order == Ordering::Less,
            Op::LessOrEqual => order != Ordering::Greater,
            Op::Greater => order == Ordering::Greater,
            Op::GreaterOrEqual => order != Ordering::Less,
        }),
        Test::Range(low, high) => {
            let keeps = |end: &Option<(String, bool)>, side: Ordering| {
                end.as_ref().is_none_or(|(bound, taken)| {
                    order(text, bound, false, name).is_some_and(|o| o == side || (*taken && o == Ordering::Equal))
                })
            };
            keeps(low, Ordering::Greater) && keeps(high, Ordering::Less)
        }
        Test::Regex(pattern, ignore_case) => {
            compiled(&format!("{}{pattern}", if *ignore_case { "(?i)" } else { "" })).is_match(text)
        }
        Test::Network(net) => in_network(text, net),
        Test::Exists | Test::Empty => unreachable!("asked of the value as a whole"),
    }
}

/// An expression, made once.
fn compiled(pattern: &str) -> Regex {
    static MADE: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    MADE.lock().unwrap().entry(pattern.to_string()).or_insert_with(|| Regex::new(pattern).unwrap()).clone()
}

/// How a value stands to a bound: as numbers, as levels, else by bytes.
fn order(text: &str, bound: &str, in_quotes: bool, name: &str) -> Option<Ordering> {
    if !in_quotes && let Some(bound) = quantity(bound) {
        return compare(&quantity(text)?, &bound, name);
    }
    if name == "level"
        && let (Some(a), Some(b)) = (severity(text), severity(bound))
    {
        return Some(a.cmp(&b));
    }
    Some(text.as_bytes().cmp(bound.as_bytes()))
}

/// Levels, least severe first, with their aliases.
fn severity(word: &str) -> Option<usize> {
    const LEVELS: &[&[&str]] = &[
        &["trace", "silly"],
        &["debug"],
        &["verbose"],
        &["http"],
        &["info"],
        &["warn", "warning"],
        &["error"],
        &["fatal", "critical"],
    ];
    LEVELS.iter().position(|names| names.contains(&word.to_lowercase().as_str()))
}

fn in_network(text: &str, net: &str) -> bool {
    let (address, bits) = net.split_once('/').unwrap();
    let mask = u32::MAX.checked_shl(32 - bits.parse::<u32>().unwrap()).unwrap_or(0);
    let number = |text: &str| text.parse::<Ipv4Addr>().map(u32::from);
    number(text).is_ok_and(|n| n & mask == number(address).unwrap() & mask)
}
