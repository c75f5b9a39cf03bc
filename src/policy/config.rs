//! Rules as a configuration file has them, and all of them together once checked.

use super::limits::{Quota, Space};
use super::pattern::{self, cut};
use super::rule::{Archive, Retention, Scope};
use super::{BadRule, Settings, TenantPolicy};
use crate::id::{Place, TenantId};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A number, or a text with a unit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Amount {
    /// Plain.
    Number(u64),
    /// With a unit: `50MB`, `5M`.
    Text(String),
}

impl Amount {
    fn text(&self) -> String {
        match self {
            Amount::Number(n) => n.to_string(),
            Amount::Text(text) => text.clone(),
        }
    }
}

/// The part of a configuration that is about records' lives. A name that is not known is an error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// How long and how much is kept; see the module for which rule counts.
    pub retention: Vec<RetentionRule>,
    /// What goes to an archive, and when.
    pub archive: Vec<ArchiveRule>,
    /// The archives, by the names that rules use: folders, or buckets as `s3://BUCKET/PREFIX`. A name must go on meaning
    /// the same files.
    pub archives: BTreeMap<String, PathBuf>,
    /// How much tenants may hold and send.
    pub quota: QuotaRules,
    /// What is done when the disk has little room.
    pub space: SpaceRules,
}

/// A rule of retention. What it does not limit is kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RetentionRule {
    /// A tenant's name, a beginning of names (`user-*`), or all where it is missing.
    pub tenant: Option<String>,
    /// Labels that a stream must have, with these values; `*` is any value, `web-*` a beginning.
    pub labels: BTreeMap<String, String>,
    /// Only streams whose instance was deleted.
    pub deleted: bool,
    /// Records go when they are older: `30d`, `12h`.
    pub age: Option<String>,
    /// The oldest go when all that the rule is for takes more bytes of segments: `50MB`.
    pub bytes: Option<Amount>,
    /// The oldest go when there are more.
    pub records: Option<Amount>,
    /// Records that are older may go when the disk has little room; below `age`.
    pub low_space_age: Option<String>,
    /// Counts before rules that do not bind, also before a tenant's own settings.
    pub binding: bool,
}

/// A rule of archiving.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ArchiveRule {
    /// As in [`RetentionRule`].
    pub tenant: Option<String>,
    /// As in [`RetentionRule`].
    pub labels: BTreeMap<String, String>,
    /// As in [`RetentionRule`].
    pub deleted: bool,
    /// Segments go to the archive when all of their records are older.
    pub after: String,
    /// The name of the archive.
    pub to: String,
    /// As in [`RetentionRule`].
    pub binding: bool,
}

/// Quotas of every tenant, and of some others in their place.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct QuotaRules {
    /// Bytes of segments and logs that a tenant may hold.
    pub bytes: Option<Amount>,
    /// Records that a tenant may hold.
    pub records: Option<Amount>,
    /// Bytes of records that a tenant may send in a day (UTC), as they are before they are packed.
    pub ingest_bytes_per_day: Option<Amount>,
    /// By tenant; what one leaves out is as for every tenant.
    pub tenants: BTreeMap<String, TenantQuota>,
}

/// Quotas of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct TenantQuota {
    /// As in [`QuotaRules`].
    pub bytes: Option<Amount>,
    /// As in [`QuotaRules`].
    pub records: Option<Amount>,
    /// As in [`QuotaRules`].
    pub ingest_bytes_per_day: Option<Amount>,
}

/// What is done when the disk has little room. Where nothing is given, see [`Space`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SpaceRules {
    /// Below so many free bytes, what rules let go early goes.
    pub low_bytes: Option<Amount>,
    /// Below so many free bytes, no records are taken.
    pub refuse_bytes: Option<Amount>,
}

/// All rules, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub(super) retention: Vec<Retention>,
    pub(super) archive: Vec<Archive>,
    archives: BTreeMap<Place, PathBuf>,
    buckets: BTreeMap<Place, String>,
    quota: Quota,
    quota_of: BTreeMap<TenantId, Quota>,
    space: Space,
}

fn quota(what: &str, bytes: Option<&Amount>, records: Option<&Amount>, day: Option<&Amount>) -> Result<Quota, BadRule> {
    let read = |name: &str, amount: Option<&Amount>, read: fn(&str) -> Result<u64, String>| {
        amount.map(|a| read(&a.text())).transpose().map_err(|e| BadRule::new(what, format!("{name}: {e}")))
    };
    Ok(Quota {
        bytes: read("bytes", bytes, pattern::size)?,
        records: read("records", records, pattern::count)?,
        ingest_bytes_per_day: read("ingest_bytes_per_day", day, pattern::size)?,
    })
}

impl Policy {
    /// Checks rules. An error names the rule by its kind and number, from 1.
    pub fn new(config: &PolicyConfig) -> Result<Policy, BadRule> {
        let mut policy = Policy::default();
        for (name, folder) in &config.archives {
            let what = format!("archives.{}", cut(name));
            let place = Place::new(name).map_err(|e| BadRule::new(&what, e.to_string()))?;
            if place.is_own() || folder.as_os_str().is_empty() {
                return Err(BadRule::new(what, "an archive needs a name and a folder"));
            }
            match folder.to_str().filter(|text| text.contains("://")) {
                Some(url) => drop(policy.buckets.insert(place, url.into())),
                None => drop(policy.archives.insert(place, folder.clone())),
            }
        }
        for (i, rule) in config.retention.iter().enumerate() {
            policy.retention.push(rule.read(&format!("retention rule {}", i + 1), i)?);
        }
        for (i, rule) in config.archive.iter().enumerate() {
            let what = format!("archive rule {}", i + 1);
            let rule = rule.read(&what, i)?;
            policy.check_archive(&what, &rule)?;
            policy.archive.push(rule);
        }
        let q = &config.quota;
        policy.quota = quota("quota", q.bytes.as_ref(), q.records.as_ref(), q.ingest_bytes_per_day.as_ref())?;
        for (name, q) in &q.tenants {
            let what = format!("quota.tenants.{}", cut(name));
            let tenant = TenantId::new(name).map_err(|e| BadRule::new(&what, e.to_string()))?;
            let own = quota(&what, q.bytes.as_ref(), q.records.as_ref(), q.ingest_bytes_per_day.as_ref())?;
            policy.quota_of.insert(tenant, own.or(&policy.quota));
        }
        let size = |name: &str, amount: &Option<Amount>| match amount {
            Some(Amount::Number(0)) => Ok(Some(0)),
            Some(amount) => {
                pattern::size(&amount.text()).map(Some).map_err(|e| BadRule::new(format!("space.{name}"), e))
            }
            None => Ok(None),
        };
        let low = size("low_bytes", &config.space.low_bytes)?;
        let refuse = size("refuse_bytes", &config.space.refuse_bytes)?;
        if let (Some(low), Some(refuse)) = (low, refuse)
            && refuse > low
        {
            return Err(BadRule::new("space", format!("refuse_bytes {refuse} is above low_bytes {low}")));
        }
        policy.space = Space { low_bytes: low, refuse_bytes: refuse };
        Ok(policy)
    }

    /// A rule names an archive that there is.
    pub(super) fn check_archive(&self, what: &str, rule: &Archive) -> Result<(), BadRule> {
        if self.archives.contains_key(&rule.to) || self.buckets.contains_key(&rule.to) {
            return Ok(());
        }
        Err(BadRule::new(what, format!("there is no archive `{}`: give its folder in `[archives]`", rule.to)))
    }

    /// Is there any rule of retention or archiving?
    pub fn has_rules(&self) -> bool {
        !self.retention.is_empty() || !self.archive.is_empty()
    }

    /// The folder of an archive.
    pub fn archive_folder(&self, place: &Place) -> Option<&Path> {
        self.archives.get(place).map(PathBuf::as_path)
    }

    /// The archives that are buckets, by their URLs.
    pub fn archive_buckets(&self) -> &BTreeMap<Place, String> {
        &self.buckets
    }

    /// The archives that are folders.
    pub fn archives(&self) -> &BTreeMap<Place, PathBuf> {
        &self.archives
    }

    /// Adds the folder of an archive that no rule need name: a reader has no rules.
    pub fn with_archive(mut self, place: Place, folder: PathBuf) -> Policy {
        self.archives.insert(place, folder);
        self
    }

    /// When the disk has little room.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The rules of one tenant, with its own settings.
    pub fn of_tenant(&self, tenant: &TenantId, settings: &Settings) -> Result<TenantPolicy, BadRule> {
        let quota = self.quota_of.get(tenant).unwrap_or(&self.quota);
        TenantPolicy::new(self, tenant, settings, quota)
    }
}

impl RetentionRule {
    fn read(&self, what: &str, number: usize) -> Result<Retention, BadRule> {
        let bad = |name: &str| {
            let what = what.to_string();
            let name = name.to_string();
            move |e: String| BadRule::new(what.clone(), format!("{name}: {e}"))
        };
        let labels = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let scope = Scope::new(what, self.tenant.as_deref().unwrap_or("*"), labels)?;
        let (deleted, binding) = (self.deleted, self.binding);
        Retention {
            scope: Scope { number, deleted, binding, ..scope },
            age_ns: self.age.as_deref().map(pattern::duration).transpose().map_err(bad("age"))?,
            bytes: self.bytes.as_ref().map(|a| pattern::size(&a.text())).transpose().map_err(bad("bytes"))?,
            records: self.records.as_ref().map(|a| pattern::count(&a.text())).transpose().map_err(bad("records"))?,
            low_space_age_ns: (self.low_space_age.as_deref().map(pattern::duration).transpose())
                .map_err(bad("low_space_age"))?,
        }
        .checked(what)
    }
}

impl ArchiveRule {
    fn read(&self, what: &str, number: usize) -> Result<Archive, BadRule> {
        let labels = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let scope = Scope::new(what, self.tenant.as_deref().unwrap_or("*"), labels)?;
        let (deleted, binding) = (self.deleted, self.binding);
        Ok(Archive {
            scope: Scope { number, deleted, binding, ..scope },
            after_ns: pattern::duration(&self.after).map_err(|e| BadRule::new(what, format!("after: {e}")))?,
            to: Place::new(&self.to).map_err(|e| BadRule::new(what, format!("to: {e}")))?,
        })
    }
}
