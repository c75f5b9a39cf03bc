//! A tenant's own rules, as its settings in the catalog say them.

use super::pattern::{self, cut};
use super::rule::{Archive, Retention, Scope};
use super::{BadRule, limits::Quota};
use crate::id::Place;
use std::collections::{BTreeMap, BTreeSet};

/// The settings of a tenant, by name, as they were given.
pub type Settings = BTreeMap<Box<str>, Box<str>>;

/// How a setting begins that marks an instance deleted; the instance's label follows.
const DELETED: &str = "deleted/";
/// Longest value of an instance's label in a setting, in bytes.
const INSTANCE_BYTES_MAX: usize = 256;

/// All settings that a tenant can have; beside these, `deleted/<instance>`.
const NAMES: [&str; 8] = [
    "retention",
    "retention_bytes",
    "retention_records",
    "rules",
    "archive",
    "quota_bytes",
    "quota_records",
    "quota_ingest_bytes_per_day",
];

/// The names of settings, for errors and help.
pub fn setting_names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(["deleted/<instance>"])
}

/// Has a setting this name?
pub fn is_setting(name: &str) -> bool {
    let instance = name.strip_prefix(DELETED);
    NAMES.contains(&name) || instance.is_some_and(|i| !i.is_empty() && i.len() <= INSTANCE_BYTES_MAX)
}

/// Can a setting of this name have this value? Whether an archive is there is not asked.
pub fn check_setting(name: &str, value: &str) -> Result<(), BadRule> {
    let one = Settings::from([(name.into(), value.into())]);
    Own::read(&one).map(drop)
}

/// What settings come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    pub retention: Vec<Retention>,
    pub archive: Vec<Archive>,
    pub quota: Quota,
    pub deleted: BTreeSet<Box<str>>,
}

impl Own {
    pub fn read(settings: &Settings) -> Result<Own, BadRule> {
        let get = |name: &str| settings.get(name).map(|v| &**v);
        let bad = |name: &str| {
            let name = name.to_string();
            move |e: String| BadRule::new(name.clone(), e)
        };
        let size = |name: &str| get(name).map(pattern::size).transpose().map_err(bad(name));
        let count = |name: &str| get(name).map(pattern::count).transpose().map_err(bad(name));
        let mut own = Own {
            quota: Quota {
                bytes: size("quota_bytes")?,
                records: count("quota_records")?,
                ingest_bytes_per_day: size("quota_ingest_bytes_per_day")?,
            },
            ..Own::default()
        };
        for (number, text) in rules(get("rules")).enumerate() {
            own.retention.push(retention_rule("rules", text, number)?);
        }
        let whole = Retention {
            scope: Scope { own: true, number: usize::MAX, ..Scope::new("retention", "*", [])? },
            age_ns: get("retention").map(pattern::duration).transpose().map_err(bad("retention"))?,
            bytes: size("retention_bytes")?,
            records: count("retention_records")?,
            low_space_age_ns: None,
        };
        if (whole.age_ns, whole.bytes, whole.records) != (None, None, None) {
            own.retention.push(whole);
        }
        for (number, text) in rules(get("archive")).enumerate() {
            own.archive.push(archive_rule("archive", text, number)?);
        }
        own.deleted = settings.keys().filter_map(|name| name.strip_prefix(DELETED)).map(Into::into).collect();
        Ok(own)
    }
}

fn rules(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(';').map(str::trim).filter(|rule| !rule.is_empty())
}

/// The words of a rule: what it is for (`source=access,instance=*`, `all`), then `name=value` each.
type Words<'a> = (Vec<(&'a str, &'a str)>, bool, Vec<(&'a str, &'a str)>);

fn words<'a>(what: &str, text: &'a str) -> Result<Words<'a>, BadRule> {
    let bad = |problem: String| BadRule::new(what, format!("`{}`: {problem}", cut(text)));
    let mut words = text.split_whitespace();
    let scope = words.next().unwrap_or_default();
    let (mut labels, mut deleted) = (Vec::new(), false);
    for part in scope.split(',').filter(|part| *part != "all") {
        match part.split_once('=') {
            Some((name, value)) => labels.push((name, value)),
            None if part == "deleted" => deleted = true,
            None => {
                return Err(bad(format!("`{}` is neither `label=value` nor `deleted` nor `all`", cut(part))));
            }
        }
    }
    let mut values = Vec::new();
    for word in words {
        values.push(word.split_once('=').ok_or_else(|| bad(format!("`{}` has no value", cut(word))))?);
    }
    Ok((labels, deleted, values))
}

fn retention_rule(what: &str, text: &str, number: usize) -> Result<Retention, BadRule> {
    let bad = |problem: String| BadRule::new(what, format!("`{}`: {problem}", cut(text)));
    let (labels, deleted, values) = words(what, text)?;
    let scope = Scope { own: true, deleted, number, ..Scope::new(what, "*", labels)? };
    let mut rule = Retention { scope, age_ns: None, bytes: None, records: None, low_space_age_ns: None };
    for (name, value) in values {
        match name {
            "age" if value == "ever" => {}
            "age" => rule.age_ns = Some(pattern::duration(value).map_err(bad)?),
            "bytes" => rule.bytes = Some(pattern::size(value).map_err(bad)?),
            "records" => rule.records = Some(pattern::count(value).map_err(bad)?),
            "low_space_age" => rule.low_space_age_ns = Some(pattern::duration(value).map_err(bad)?),
            other => {
                let known = "age, bytes, records and low_space_age are";
                return Err(bad(format!("`{}` is no limit: {known}", cut(other))));
            }
        }
    }
    rule.checked(what)
}

fn archive_rule(what: &str, text: &str, number: usize) -> Result<Archive, BadRule> {
    let bad = |problem: String| BadRule::new(what, format!("`{}`: {problem}", cut(text)));
    let (labels, deleted, values) = words(what, text)?;
    let scope = Scope { own: true, deleted, number, ..Scope::new(what, "*", labels)? };
    let (mut after, mut to) = (None, None);
    for (name, value) in values {
        match name {
            "after" => after = Some(pattern::duration(value).map_err(bad)?),
            "to" => to = Some(Place::new(value).map_err(|e| bad(e.to_string()))?),
            other => return Err(bad(format!("`{}` is not known: after and to are", cut(other)))),
        }
    }
    match (after, to) {
        (Some(after_ns), Some(to)) if !to.is_own() => Ok(Archive { scope, after_ns, to }),
        _ => Err(bad("it needs `after=` and `to=`, such as `category=audit after=30d to=cold`".into())),
    }
}
