//! Rules that were read and checked, and which of them counts.

use super::BadRule;
use super::pattern::{Pattern, period};
use crate::id::{Place, TenantId};
use crate::record::Labels;

/// What a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// Is it one of the tenant's own settings?
    pub own: bool,
    pub tenant: Pattern,
    /// By name.
    pub labels: Vec<(Box<str>, Pattern)>,
    /// Only streams whose instance was deleted.
    pub deleted: bool,
    pub binding: bool,
    /// Its number among those of its kind.
    pub number: usize,
}

impl Scope {
    pub fn new<'a>(
        what: &str,
        tenant: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BadRule> {
        let bad = |problem: String| BadRule::new(what, problem);
        let tenant = Pattern::parse(tenant).map_err(|e| bad(format!("tenant: {e}")))?;
        let mut all = Vec::new();
        for (name, value) in labels {
            if name.is_empty() {
                return Err(bad("a label without a name".into()));
            }
            let value = Pattern::parse(value).map_err(|e| bad(format!("label {name}: {e}")))?;
            all.push((name.into(), value));
        }
        all.sort_by(|a: &(Box<str>, Pattern), b| a.0.cmp(&b.0));
        Ok(Scope { own: false, tenant, labels: all, deleted: false, binding: false, number: 0 })
    }

    pub fn is_for(&self, tenant: &TenantId) -> bool {
        self.tenant.matches(tenant.as_str())
    }

    pub fn matches(&self, labels: &Labels, deleted: bool) -> bool {
        (deleted || !self.deleted)
            && self.labels.iter().all(|(name, value)| labels.get(name).is_some_and(|v| value.matches(v)))
    }

    /// Does it match every stream of its tenants?
    pub fn is_for_all(&self) -> bool {
        self.labels.is_empty() && !self.deleted
    }

    /// The greatest counts.
    pub fn rank(&self) -> (bool, bool, u8, usize, usize, std::cmp::Reverse<usize>) {
        let exact = self.labels.iter().filter(|(_, v)| v.exactness() == 2).count();
        let conditions = self.labels.len() + usize::from(self.deleted);
        (self.binding, self.own, self.tenant.exactness(), conditions, exact, std::cmp::Reverse(self.number))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = self.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        parts.extend(self.deleted.then(|| "deleted".to_string()));
        if parts.is_empty() {
            parts.push("all".into());
        }
        f.write_str(&parts.join(","))
    }
}

/// A rule of retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    pub scope: Scope,
    pub age_ns: Option<i64>,
    pub bytes: Option<u64>,
    pub records: Option<u64>,
    pub low_space_age_ns: Option<i64>,
}

/// A rule of archiving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Archive {
    pub scope: Scope,
    pub after_ns: i64,
    pub to: Place,
}

impl Retention {
    /// Checks what goes together.
    pub fn checked(self, what: &str) -> Result<Self, BadRule> {
        let is_empty = (self.age_ns, self.bytes, self.records, self.low_space_age_ns) == (None, None, None, None);
        if is_empty && self.scope.is_for_all() && !self.scope.own && !self.scope.binding {
            return Err(BadRule::new(what, "it limits nothing: give `age`, `bytes` or `records`"));
        }
        if let (Some(age), Some(low)) = (self.age_ns, self.low_space_age_ns)
            && low >= age
        {
            let (low, age) = (period(low), period(age));
            return Err(BadRule::new(what, format!("low_space_age {low} is not below age {age}: it frees nothing")));
        }
        Ok(self)
    }

    /// All that decides a class but the age, where there is such.
    pub fn canonical(&self, tenant: &TenantId) -> Option<String> {
        let mut text = String::new();
        if self.bytes.is_some() || self.records.is_some() {
            // Sums are over what one rule is for, so that equal limits of two rules are two classes.
            text = format!("{tenant} {} {:?} {:?} ", self.scope, self.bytes, self.records);
        }
        if let Some(low) = self.low_space_age_ns {
            text.push_str(&format!("low {low} "));
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Sorted so that the first that matches counts, without those that never do.
pub(super) fn ranked<T: Clone>(rules: impl Iterator<Item = T>, scope: impl Fn(&T) -> &Scope) -> Vec<T> {
    let mut rules: Vec<T> = rules.collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(scope(rule).rank()));
    if let Some(all) = rules.iter().position(|rule| scope(rule).is_for_all()) {
        rules.truncate(all + 1);
    }
    rules
}
