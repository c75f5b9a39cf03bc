//! Old runs go, and then the objects that no run names.

use super::check::{is_set, load_named, stored};
use super::run::Run;
use super::{BackupError, Target};
use crate::record::Timestamp;
use std::collections::BTreeSet;

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// Runs that were too old.
    pub runs: u64,
    /// Objects that no run names any more, or ever did.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Lets the runs go that had finished before `oldest`, and then the objects that none of the others names.
///
/// The newest run of all tenants stays whatever its age, and so does the newest copy of a tenant that this run could
/// not copy. A run's document goes before its objects, so that a run that is there is whole also after a crash. While
/// a document is damaged nothing goes: which objects it names is not known.
pub fn prune(target: &dyn Target, oldest: Timestamp) -> Result<PruneReport, BackupError> {
    is_set(target)?;
    let _lock = target.lock()?;
    let (named, damaged) = load_named(target)?;
    if let Some(error) = damaged.into_iter().next() {
        return Err(error);
    }
    let (names, runs): (Vec<String>, Vec<Run>) = named.into_iter().unzip();
    let kept = kept(&runs, oldest);
    let mut report = PruneReport::default();
    for (_, name) in names.iter().enumerate().filter(|(n, _)| !kept.contains(n)) {
        target.delete(name)?;
        report.runs += 1;
    }
    let named: BTreeSet<_> = kept.iter().flat_map(|&n| runs[n].files()).map(|file| file.blake3).collect();
    for (id, bytes) in stored(target)? {
        if !named.contains(&id) {
            target.delete(&id.path())?;
            report.objects += 1;
            report.bytes += bytes;
        }
    }
    Ok(report)
}

/// Which of the runs, oldest first, stay.
fn kept(runs: &[Run], oldest: Timestamp) -> BTreeSet<usize> {
    let mut kept: BTreeSet<usize> = (0..runs.len()).filter(|&n| runs[n].time() >= oldest).collect();
    kept.extend(runs.len().checked_sub(1));
    if let Some(whole) = runs.iter().rposition(|run| run.only.is_none()) {
        kept.insert(whole);
        for problem in &runs[whole].problems {
            kept.extend(runs.iter().rposition(|run| run.tenant(problem.tenant.0.as_str()).is_some()));
        }
    }
    kept
}
