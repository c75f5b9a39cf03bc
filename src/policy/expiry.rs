//! Which segments go, and which go to an archive.
//!
//! What is let go is whole segments. By age a segment goes when its newest record is too old, so that a record stays at
//! most the span of its segment longer: see [`super::MergeLimits`]. By bytes or number the oldest segments of a class
//! go until the rest fits; its newest one stays, however large. One that is large since it was made under other rules is
//! parted before more goes with it than has to.

use super::pattern::period;
use super::{Lifetime, TenantPolicy};
use crate::id::{Class, Place, SegmentId};
use crate::record::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A live segment, as far as rules are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: SegmentId,
    /// The classes of its records, of those that rules make now.
    pub classes: BTreeSet<Class>,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// Time of its newest record.
    pub max_time: Timestamp,
    /// Where it is.
    pub place: Place,
    /// Is it much larger than segments of its class are, and can be parted?
    pub is_divisible: bool,
}

/// Segments that go for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Which.
    pub segments: Vec<SegmentId>,
    /// The rule, in words.
    pub reason: String,
}

/// A segment that goes to an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub segment: SegmentId,
    /// The class that it is of.
    pub class: Class,
    /// Where to.
    pub to: Place,
}

fn before(now: Timestamp, age_ns: i64) -> Timestamp {
    Timestamp(now.0.saturating_sub(age_ns))
}

/// The age at which the last of a segment's records may go, and for which rule: nothing where some stay for ever.
fn age_of<'a>(policy: &'a TenantPolicy, held: &Held, low_space: bool) -> Option<(i64, &'a Lifetime)> {
    let age = |life: &Lifetime| if low_space { life.low_space_age_ns.or(life.age_ns) } else { life.age_ns };
    let mut longest: Option<(i64, &Lifetime)> = None;
    for class in &held.classes {
        let life = policy.lifetime(class)?;
        let age = age(life)?;
        if longest.is_none_or(|(most, _)| age > most) {
            longest = Some((age, life));
        }
    }
    longest
}

/// Which segments go now. With `low_space` also what rules let go early.
pub fn expired(policy: &TenantPolicy, held: &[Held], now: Timestamp, low_space: bool) -> Vec<Expiry> {
    let mut by_reason: BTreeMap<String, Vec<SegmentId>> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for segment in held {
        let Some((age, life)) = age_of(policy, segment, low_space) else { continue };
        let limit = before(now, age);
        if segment.max_time < limit {
            let early =
                if low_space && life.low_space_age_ns == Some(age) { ", as the disk has little room" } else { "" };
            let reason = format!("older than {} (retention of {}), before {limit}{early}", period(age), life.scope);
            by_reason.entry(reason).or_default().push(segment.id);
            gone.insert(segment.id);
        }
    }
    for (class, life) in policy.classes() {
        let limits = [
            (life.bytes, "bytes", (|h: &Held| h.bytes) as fn(&Held) -> u64),
            (life.records, "records", |h: &Held| h.records),
        ];
        for (limit, unit, size) in limits {
            let Some(limit) = limit else { continue };
            let only = |h: &&Held| h.classes.len() == 1 && h.classes.contains(class) && !gone.contains(&h.id);
            let mut of_class: Vec<&Held> = held.iter().filter(only).collect();
            of_class.sort_by_key(|h| (h.max_time, h.id));
            let mut total: u64 = of_class.iter().map(|h| size(h)).fold(0, u64::saturating_add);
            let newest = of_class.pop();
            for segment in of_class {
                let left = total - size(segment);
                // Where room is wanted, too much goes rather than too little.
                if total <= limit || left < limit && segment.is_divisible && !low_space {
                    break;
                }
                total = left;
                let reason = format!("more than {limit} {unit} (retention of {})", life.scope);
                by_reason.entry(reason).or_default().push(segment.id);
                gone.insert(segment.id);
            }
            debug_assert!(
                total <= limit || newest.is_some_and(|h| size(h) == total) || held.iter().any(|h| h.is_divisible)
            );
        }
    }
    by_reason.into_iter().map(|(reason, segments)| Expiry { segments, reason }).collect()
}

/// Which segments go to an archive now.
pub fn to_archive(policy: &TenantPolicy, held: &[Held], now: Timestamp) -> Vec<Move> {
    let mut moves = Vec::new();
    for segment in held.iter().filter(|h| h.place.is_own() && h.classes.len() == 1) {
        let Some(class) = segment.classes.first() else { continue };
        let Some((after, to)) = policy.lifetime(class).and_then(|life| life.archive.as_ref()) else { continue };
        if segment.max_time < before(now, *after) {
            moves.push(Move { segment: segment.id, class: class.clone(), to: to.clone() });
        }
    }
    moves
}

/// When the next segment goes by age or to an archive, if one ever does.
pub fn next_due(policy: &TenantPolicy, held: &[Held]) -> Option<Timestamp> {
    let at = |h: &Held, age: i64| Timestamp(h.max_time.0.saturating_add(age).saturating_add(1));
    let expires = held.iter().filter_map(|h| age_of(policy, h, false).map(|(age, _)| at(h, age)));
    let archived = held.iter().filter(|h| h.place.is_own() && h.classes.len() == 1).filter_map(|h| {
        let life = h.classes.first().and_then(|class| policy.lifetime(class))?;
        life.archive.as_ref().map(|(after, _)| at(h, *after))
    });
    expires.chain(archived).min()
}
