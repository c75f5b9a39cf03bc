//! What a target holds: its runs, and whether their objects are right.

use super::run::{MARKER, MARKER_TEXT, RUNS, Run, load};
use super::target::{get_bytes, get_checked};
use super::{BackupError, ObjectId, Target};
use crate::record::Timestamp;
use std::collections::BTreeMap;

/// The prefix of all objects.
pub(super) const OBJECTS: &str = "objects/";

/// What a check found.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Is nothing wrong?
    pub ok: bool,
    /// What is wrong, with the object and the runs that need it.
    pub findings: Vec<String>,
    /// Runs that were read.
    pub runs: u64,
    /// Objects that they name, each read once.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no run names: left by runs that did not finish.
    pub unnamed: u64,
}

/// The runs of a target, oldest first, and what is wrong with those that can't be read.
pub(super) fn load_runs(target: &dyn Target) -> Result<(Vec<Run>, Vec<BackupError>), BackupError> {
    let (runs, damaged) = load_named(target)?;
    Ok((runs.into_iter().map(|(_, run)| run).collect(), damaged))
}

/// The runs with the names of their documents, and what could not be read.
type Named = (Vec<(String, Run)>, Vec<BackupError>);

/// The same, each with the name of its document.
pub(super) fn load_named(target: &dyn Target) -> Result<Named, BackupError> {
    let (mut runs, mut damaged) = (Vec::new(), Vec::new());
    for stored in target.list(RUNS)? {
        match load(target, &stored.name) {
            Ok(run) => runs.push((stored.name, run)),
            Err(e) if e.is_missing() => {}
            Err(e) if e.is_damage() => damaged.push(e),
            Err(e) => return Err(e),
        }
    }
    runs.sort_by_key(|(_, run)| run.finished_ns);
    Ok((runs, damaged))
}

/// The runs of a target, oldest first. An error where one is damaged, or where there is no backup set.
pub fn runs(target: &dyn Target) -> Result<Vec<Run>, BackupError> {
    is_set(target)?;
    let (runs, damaged) = load_runs(target)?;
    match damaged.into_iter().next() {
        Some(e) => Err(e),
        None => Ok(runs),
    }
}

/// An error where no backup set is here.
pub(super) fn is_set(target: &dyn Target) -> Result<(), BackupError> {
    let no_run = |reason: &str| BackupError::NoRun { place: target.place(""), reason: reason.into() };
    match get_bytes(target, MARKER, 4096) {
        Ok(text) if text == MARKER_TEXT.as_bytes() => Ok(()),
        Ok(_) => Err(no_run("no backup set of a version that this program knows")),
        Err(e) if e.is_missing() => Err(no_run("there are no backups here")),
        Err(e) => Err(e),
    }
}

/// The objects of a target with their lengths.
pub(super) fn stored(target: &dyn Target) -> Result<BTreeMap<ObjectId, u64>, BackupError> {
    let mut all = BTreeMap::new();
    for stored in target.list(OBJECTS)? {
        let id = stored.name.rsplit('/').next().and_then(|name| name.parse::<ObjectId>().ok());
        if let Some(id) = id.filter(|id| id.path() == stored.name) {
            all.insert(id, stored.bytes);
        }
    }
    Ok(all)
}

/// Reads every object that a run names, and compares it with its name.
pub fn check(target: &dyn Target) -> Result<CheckReport, BackupError> {
    is_set(target)?;
    let (runs, damaged) = load_runs(target)?;
    let mut report = CheckReport { runs: runs.len() as u64, ..CheckReport::default() };
    report.findings.extend(damaged.iter().map(ToString::to_string));
    let there = stored(target)?;
    // Each object with its length, and the runs that would miss it.
    let mut named: BTreeMap<ObjectId, (u64, Vec<Timestamp>)> = BTreeMap::new();
    for run in &runs {
        for file in run.files() {
            let (_, times) = named.entry(file.blake3).or_insert((file.bytes, Vec::new()));
            if times.last() != Some(&run.time()) {
                times.push(run.time());
            }
        }
    }
    report.unnamed = there.keys().filter(|id| !named.contains_key(id)).count() as u64;
    for (id, (bytes, times)) in &named {
        report.objects += 1;
        match get_checked(target, id, *bytes, &mut |_| Ok(())) {
            Ok(()) => report.bytes += bytes,
            Err(e) if e.is_damage() || e.is_missing() => {
                let first = times.first().copied().unwrap_or_default();
                report.findings.push(format!("{e} (needed by {} runs, the first one of {first})", times.len()));
            }
            Err(e) => return Err(e),
        }
    }
    report.ok = report.findings.is_empty();
    Ok(report)
}
