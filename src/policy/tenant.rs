//! The rules of one tenant: which class a stream is of, and how the records of a class live.

use super::pattern::period;
use super::rule::{Archive, Retention, ranked};
use super::settings::Own;
use super::{BadRule, INSTANCE, Policy, Quota, Settings};
use crate::id::{Class, Place, TenantId};
use crate::record::Labels;
use std::collections::{BTreeMap, BTreeSet};

/// The shortest span of time over which segments with an end are grouped and merged, in nanoseconds.
const SPAN_NS_MIN: i64 = 86_400_000_000_000;
/// A segment spans at most this part of the time that its records are kept, so that they stay at most so much longer.
const SPAN_PARTS: i64 = 8;
/// A segment is at most this part of what its class may hold.
const SHARE_PARTS: u64 = 8;

/// A segment that is too large is not parted into fewer records, however few bytes its class may hold.
const PART_RECORDS_MIN: u64 = 1024;

/// How the records of a class live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Records go when they are older, in nanoseconds.
    pub age_ns: Option<i64>,
    /// Most bytes of segments.
    pub bytes: Option<u64>,
    /// Most records.
    pub records: Option<u64>,
    /// Records may go when they are older and the disk has little room, in nanoseconds.
    pub low_space_age_ns: Option<i64>,
    /// When segments go to an archive, in nanoseconds, and to which.
    pub archive: Option<(i64, Place)>,
    /// What the rule is for, in words.
    pub scope: String,
}

/// What a segment may be when segments of a class are made or merged, so that expiry lets go little at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeLimits {
    /// Longest span from its earliest to its latest record, in nanoseconds: max(1 day, an eighth of the time until they
    /// go or are archived).
    pub span_ns: Option<i64>,
    /// Most bytes: an eighth of what the class may hold.
    pub bytes: Option<u64>,
    /// Most records, likewise.
    pub records: Option<u64>,
}

/// The rules of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPolicy {
    retention: Vec<Retention>,
    archive: Vec<Archive>,
    deleted: BTreeSet<Box<str>>,
    quota: Quota,
    /// The class of each pair of rules; the last of each is none, where one may match nothing.
    pairs: Vec<Vec<Class>>,
    classes: BTreeMap<Class, Lifetime>,
}

impl Default for TenantPolicy {
    /// No rules: everything is kept, in one class without a name.
    fn default() -> Self {
        let classes = BTreeMap::from([(Class::default(), Lifetime::default())]);
        let pairs = vec![vec![Class::default()]];
        let (retention, archive, deleted) = Default::default();
        TenantPolicy { retention, archive, deleted, quota: Quota::default(), pairs, classes }
    }
}

impl TenantPolicy {
    pub(super) fn new(
        policy: &Policy,
        tenant: &TenantId,
        settings: &Settings,
        quota: &Quota,
    ) -> Result<TenantPolicy, BadRule> {
        let own = Own::read(settings)?;
        own.archive.iter().try_for_each(|rule| policy.check_archive("archive", rule))?;
        let retention = policy.retention.iter().filter(|r| r.scope.is_for(tenant)).cloned().chain(own.retention);
        let archive = policy.archive.iter().filter(|r| r.scope.is_for(tenant)).cloned().chain(own.archive);
        let retention = ranked(retention, |r| &r.scope);
        let archive = ranked(archive, |r| &r.scope);
        if retention.is_empty() && archive.is_empty() {
            let (deleted, quota) = (own.deleted, own.quota.or(quota));
            return Ok(TenantPolicy { deleted, quota, ..TenantPolicy::default() });
        }
        let mut classes = BTreeMap::new();
        let mut pairs: Vec<Vec<String>> = Vec::new();
        for r in with_none(&retention, |r| r.scope.is_for_all()) {
            let mut row = Vec::new();
            for a in with_none(&archive, |a| a.scope.is_for_all()) {
                let class = class_of(tenant, r, a);
                classes.entry(class.clone()).or_insert_with(|| lifetime(r, a));
                row.push(class);
            }
            pairs.push(row);
        }
        // What a class of this name holds depends on all rules: where streams are of several classes, each is named
        // after all of them too, so that a segment that was grouped by other rules is known by its class.
        let division = match classes.len() {
            1 => String::new(),
            _ => division(&retention, &archive, &pairs, &own.deleted),
        };
        let named = |class: &str| {
            Class::new(&format!("{class}{division}")).map_err(|e| BadRule::new("retention", e.to_string()))
        };
        let pairs: Result<Vec<Vec<Class>>, BadRule> =
            pairs.iter().map(|row| row.iter().map(|class| named(class)).collect()).collect();
        let lifetimes: Result<BTreeMap<Class, Lifetime>, BadRule> =
            classes.into_iter().map(|(class, life)| Ok((named(&class)?, life))).collect();
        let (pairs, classes) = (pairs?, lifetimes?);
        Ok(TenantPolicy { retention, archive, deleted: own.deleted, quota: own.quota.or(quota), pairs, classes })
    }

    /// The class of a stream.
    pub fn classify(&self, labels: &Labels) -> &Class {
        let deleted = labels.get(INSTANCE).is_some_and(|instance| self.deleted.contains(instance));
        let r = self.retention.iter().position(|r| r.scope.matches(labels, deleted)).unwrap_or(self.retention.len());
        let a = self.archive.iter().position(|a| a.scope.matches(labels, deleted)).unwrap_or(self.archive.len());
        // A rule for all ends its list, so that there is a pair for whatever matches.
        &self.pairs[r.min(self.pairs.len() - 1)][a.min(self.pairs[0].len() - 1)]
    }

    /// The class of every stream, where there is but one.
    pub fn only_class(&self) -> Option<&Class> {
        self.classes.keys().next().filter(|_| self.classes.len() == 1)
    }

    /// How the records of a class live; nothing where no rule makes such a class, now.
    pub fn lifetime(&self, class: &Class) -> Option<&Lifetime> {
        self.classes.get(class)
    }

    /// All classes that streams can be of.
    pub fn classes(&self) -> impl Iterator<Item = (&Class, &Lifetime)> {
        self.classes.iter()
    }

    /// How the records of a stream live.
    pub fn lifetime_of(&self, labels: &Labels) -> &Lifetime {
        &self.classes[self.classify(labels)]
    }

    /// The longest age that a rule keeps records for; nothing where one keeps them for ever.
    pub fn age_ns_max(&self) -> Option<i64> {
        let ages: Option<Vec<i64>> = self.classes.values().map(|l| l.age_ns).collect();
        ages?.into_iter().max()
    }

    /// What segments of a class may be.
    pub fn merge_limits(&self, class: &Class) -> MergeLimits {
        self.lifetime(class).map_or_else(MergeLimits::default, Lifetime::merge_limits)
    }

    /// What the tenant may hold and send.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }
}

impl Lifetime {
    /// Is a segment larger than a quarter of what its class may hold, and has records enough to be parted?
    pub fn is_too_large(&self, bytes: u64, records: u64) -> bool {
        let quarter = |most: u64| (most / 4).max(1);
        self.bytes.is_some_and(|most| records > 2 * PART_RECORDS_MIN && bytes > quarter(most))
            || self.records.is_some_and(|most| records > quarter(most))
    }

    /// At most how many records go into each part of a segment of so many bytes and records, where that is bounded: about
    /// as many as have the bytes that a segment of the class may have.
    pub fn part_records(&self, bytes: u64, records: u64) -> Option<u64> {
        let limits = self.merge_limits();
        let by_bytes = limits.bytes.filter(|share| *share < bytes).map(|share| {
            let part = u128::from(records) * u128::from(share) / u128::from(bytes);
            u64::try_from(part).unwrap_or(u64::MAX).max(PART_RECORDS_MIN)
        });
        [by_bytes, limits.records].into_iter().flatten().min()
    }

    /// What segments may be whose records live so.
    pub fn merge_limits(&self) -> MergeLimits {
        let archive = self.archive.as_ref().map(|(after, _)| *after);
        let soonest = [self.age_ns, archive, self.low_space_age_ns].into_iter().flatten().min();
        let share = |most: u64| (most / SHARE_PARTS).max(1);
        MergeLimits {
            span_ns: soonest.map(|ns| (ns / SPAN_PARTS).max(SPAN_NS_MIN)),
            bytes: self.bytes.map(share),
            records: self.records.map(share),
        }
    }
}

/// Rules and, unless the last is for all, none.
fn with_none<T>(rules: &[T], is_for_all: impl Fn(&T) -> bool) -> impl Iterator<Item = Option<&T>> {
    let may_be_none = !rules.last().is_some_and(is_for_all);
    rules.iter().map(Some).chain(may_be_none.then_some(None))
}

/// Longest age in the name of a class; a longer one stands in the hash alone.
const AGE_BYTES_MAX: usize = 10;

/// `30d`, or `ever`; with eight digits of a hash behind a dot where more than the age decides.
fn class_of(tenant: &TenantId, retention: Option<&Retention>, archive: Option<&Archive>) -> String {
    let mut age = retention.and_then(|r| r.age_ns).map_or_else(|| "ever".to_string(), period);
    let mut more = retention.and_then(|r| r.canonical(tenant)).unwrap_or_default();
    if let Some(archive) = archive {
        more.push_str(&format!("to {} after {}", archive.to, archive.after_ns));
    }
    if age.len() > AGE_BYTES_MAX {
        more.push_str(&age);
        age = "age".into();
    }
    match more.is_empty() {
        true => age,
        false => format!("{age}.{}", &blake3::hash(more.as_bytes()).to_hex()[..8]),
    }
}

/// Eight digits behind a dash that stand for which streams are of which class.
fn division(
    retention: &[Retention],
    archive: &[Archive],
    pairs: &[Vec<String>],
    deleted: &BTreeSet<Box<str>>,
) -> String {
    let mut text = String::new();
    for scope in retention.iter().map(|r| &r.scope).chain(archive.iter().map(|a| &a.scope)) {
        text.push_str(&format!("{scope};"));
    }
    pairs.iter().flatten().for_each(|class| text.push_str(&format!("{class};")));
    if retention.iter().any(|r| r.scope.deleted) || archive.iter().any(|a| a.scope.deleted) {
        deleted.iter().for_each(|instance| text.push_str(&format!("{instance:?};")));
    }
    format!("-{}", &blake3::hash(text.as_bytes()).to_hex()[..8])
}

fn lifetime(retention: Option<&Retention>, archive: Option<&Archive>) -> Lifetime {
    Lifetime {
        age_ns: retention.and_then(|r| r.age_ns),
        bytes: retention.and_then(|r| r.bytes),
        records: retention.and_then(|r| r.records),
        low_space_age_ns: retention.and_then(|r| r.low_space_age_ns),
        archive: archive.map(|a| (a.after_ns, a.to.clone())),
        scope: retention.map_or_else(|| "all".to_string(), |r| r.scope.to_string()),
    }
}
