//! What a repair did, and what is lost.

use crate::id::Seq;
use crate::record::Timestamp;
use serde::ser::{SerializeStruct, Serializer};
use std::fmt;
use std::path::PathBuf;

/// Ranges of Seqs that a line for people has; JSON has all.
const RANGES_SHOWN_MAX: usize = 8;

/// The whole result.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// Was this a look only, with nothing changed?
    pub dry_run: bool,
    /// What was done, or would be, in order.
    pub actions: Vec<Action>,
    /// The records that are lost; none where everything could be kept.
    pub lost: Vec<Loss>,
    /// What could not be repaired.
    pub failures: Vec<Failure>,
    /// What `verify` finds and a repair can do nothing about.
    pub left: Vec<Left>,
    /// Are decisions about tenants and tokens lost?
    pub control_lost: bool,
    /// Records that were recovered from damaged segments and logs.
    pub records_recovered: u64,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Action {
    /// Whose file it is; `None` for one of the whole store.
    pub tenant: Option<String>,
    /// The file.
    pub file: PathBuf,
    /// What was wrong, and what was done about it.
    pub what: String,
    /// Where the damaged file was copied to.
    pub quarantined: Option<PathBuf>,
}

/// Records that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub tenant: String,
    /// The file that had them.
    pub file: PathBuf,
    /// How many.
    pub records: u64,
    /// Is that number sure? It is not where what said so is lost as well: then they are at most so many.
    pub is_exact: bool,
    /// The ranges of sequence numbers that they lie in, ends taken in; others in these may be no records.
    pub seqs: Vec<(Seq, Seq)>,
    /// The times that they lie between, where these are known.
    pub time: Option<(Timestamp, Timestamp)>,
    /// What is wrong with the file.
    pub reason: String,
}

/// Something that could not be repaired.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// Whose; `None` for the whole store.
    pub tenant: Option<String>,
    /// Why.
    pub error: String,
}

/// Something that was left as it is: a file that is none of the store's, or a tenant whose folder is gone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Left {
    /// Whose; `None` for the whole store.
    pub tenant: Option<String>,
    /// The file or folder.
    pub file: PathBuf,
    /// What it is.
    pub what: String,
}

impl RepairReport {
    /// Was there nothing to do? There may be something all the same that was left as it is.
    pub fn is_clean(&self) -> bool {
        self.actions.is_empty() && self.lost.is_empty() && self.failures.is_empty()
    }

    /// How many records are lost, at most.
    pub fn records_lost(&self) -> u64 {
        self.lost.iter().map(|loss| loss.records).sum()
    }
}

impl serde::Serialize for Loss {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("Loss", 8)?;
        let seqs: Vec<(u64, u64)> = self.seqs.iter().map(|(from, to)| (from.0, to.0)).collect();
        object.serialize_field("tenant", &self.tenant)?;
        object.serialize_field("file", &self.file)?;
        object.serialize_field("records", &self.records)?;
        object.serialize_field("is_exact", &self.is_exact)?;
        object.serialize_field("seqs", &seqs)?;
        object.serialize_field("first_time", &self.time.map(|(first, _)| first.to_string()))?;
        object.serialize_field("last_time", &self.time.map(|(_, last)| last.to_string()))?;
        object.serialize_field("reason", &self.reason)?;
        object.end()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.is_exact { "" } else { "up to " };
        write!(f, "{}: lost {about}{} records", self.tenant, self.records)?;
        if let Some((first, last)) = self.time {
            write!(f, " between {first} and {last}")?;
        }
        for (i, (from, to)) in self.seqs.iter().take(RANGES_SHOWN_MAX).enumerate() {
            write!(f, "{} {from}-{to}", if i == 0 { ", Seqs" } else { "," })?;
        }
        if let Some(more) = self.seqs.len().checked_sub(RANGES_SHOWN_MAX).filter(|more| *more > 0) {
            write!(f, " and {more} more ranges")?;
        }
        write!(f, ": {}: {}", self.file.display(), self.reason)
    }
}

/// For people: a line for each thing that was done, that is lost and that could not be done, then the sums.
impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Action { file, what, quarantined, .. } in &self.actions {
            write!(f, "{}: {what}", file.display())?;
            match quarantined {
                Some(copy) => writeln!(f, "; a copy is {}", copy.display())?,
                None => writeln!(f)?,
            }
        }
        self.lost.iter().try_for_each(|loss| writeln!(f, "{loss}"))?;
        for Failure { tenant, error } in &self.failures {
            writeln!(f, "{}: could not be repaired: {error}", tenant.as_deref().unwrap_or("the store"))?;
        }
        for Left { file, what, .. } in &self.left {
            writeln!(f, "{}: {what}", file.display())?;
        }
        if self.is_clean() {
            f.write_str("nothing to repair")?;
            return if self.left.is_empty() { Ok(()) } else { write!(f, ", {} left as they are", self.left.len()) };
        }
        let (recovered, lost) = (self.records_recovered, self.records_lost());
        let done = if self.dry_run { "would be recovered" } else { "recovered" };
        write!(f, "{} actions: {recovered} records {done}, {lost} lost", self.actions.len())?;
        if self.failures.is_empty() { Ok(()) } else { write!(f, ", {} failures", self.failures.len()) }
    }
}
