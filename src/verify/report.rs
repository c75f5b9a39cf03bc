//! What a verification found.

use super::checkpoint::CheckpointReport;
use crate::error::{Damage, StorageError};
use crate::id::Place;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Bytes are not what they should be.
    Corruption,
    /// The end of a log or manifest that a crash tore off, or bytes behind it that should be zeros.
    TornTail,
    /// A file that the manifest names is not there.
    Missing,
    /// A file that no manifest names.
    Orphan,
    /// A file that does not belong in a store.
    Unexpected,
    /// A file that belongs to another tenant, or is another one than its name says.
    Misplaced,
    /// Records that are neither sealed nor in the log, between those that are.
    Gap,
    /// The manifest or the log ends before what other files show that it had reached.
    RolledBack,
    /// Well-formed, and not what the manifest's chain says.
    Mismatch,
    /// Records that do not come to the hash that was acknowledged.
    LeafMismatch,
    /// A checkpoint that is none, or is not signed with the key that is trusted.
    BadCheckpoint,
    /// The chain is another one than at the checkpoint.
    Rewritten,
    /// What would show whether the chain continues the checkpoint is gone.
    Unproven,
    /// A file or folder that could not be read.
    Unreadable,
    /// An encrypted tenant that the master key at hand does not open. That says nothing against its files.
    WrongKey,
}

/// The name that it has in JSON: `torn_tail`.
impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in format!("{self:?}").char_indices() {
            let between = if at > 0 && c.is_ascii_uppercase() { "_" } else { "" };
            write!(f, "{between}{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// In which file.
    pub file: PathBuf,
    /// Where, in bytes.
    pub offset: u64,
    /// What was being read.
    pub what: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Finding {
    /// A finding about a file.
    pub fn new(kind: FindingKind, file: &Path, offset: u64, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Finding { kind, file: file.to_path_buf(), offset, what: "file".into(), expected, found }
    }

    /// What a manifest says of a file and what the file says of itself, by name; the finding that some of it differs.
    pub(super) fn mismatch(file: &Path, offset: u64, parts: &[(&str, String, String)]) -> Option<Self> {
        let (mut said, mut is) = (Vec::new(), Vec::new());
        for (name, expected, found) in parts.iter().filter(|(_, expected, found)| expected != found) {
            said.push(format!("{name} {expected}"));
            is.push(format!("{name} {found}"));
        }
        let expected = format!("what the manifest says: {}", said.join(", "));
        (!said.is_empty()).then(|| Self::new(FindingKind::Mismatch, file, offset, expected, is.join(", ")))
    }

    /// Damage as a finding.
    pub fn damage(kind: FindingKind, d: Damage) -> Self {
        Finding { kind, file: d.file, offset: d.offset, what: d.what.into(), expected: d.expected, found: d.found }
    }

    /// An error as a finding.
    pub fn error(file: &Path, error: &StorageError) -> Self {
        match error {
            StorageError::Damage(d) => Self::damage(FindingKind::Corruption, (**d).clone()),
            StorageError::Key(e) => Self::new(FindingKind::WrongKey, &e.file, 0, "keys that open it", &e.problem),
            other => Self::new(FindingKind::Unreadable, file, 0, "a file that can be read", other),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { kind, file, offset, what, expected, found } = self;
        write!(f, "{}: at byte {offset}: {kind}: {what}: expected {expected}, found {found}", file.display())
    }
}

/// The whole result.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Is nothing wrong?
    pub ok: bool,
    /// What is wrong, file by file.
    pub findings: Vec<Finding>,
    /// Were records decoded and compared with zone maps, filters and leaves?
    pub deep: bool,
    /// Tenants checked.
    pub tenants: u64,
    /// Files checked.
    pub files: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// Segments checked.
    pub segments: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Records in segments and logs.
    pub records: u64,
    /// Leaves that were made again from records and came out right; 0 unless `deep`.
    pub leaves: u64,
    /// What was not checked, and why.
    pub skipped: Vec<String>,
    /// The folders of archives that were given.
    #[serde(skip)]
    pub(super) archives: BTreeMap<Place, PathBuf>,
    /// What brings segments of others.
    #[serde(skip)]
    pub(super) fetch: Option<super::Fetch>,
    /// The keys that are at hand.
    #[serde(skip)]
    pub(super) unlock: super::keys::Unlock,
    /// What the comparison with a checkpoint came to, where there was one.
    pub checkpoint: Option<CheckpointReport>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// For people: a line a finding, then what was not checked, then the sums.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        self.skipped.iter().try_for_each(|skipped| writeln!(f, "not checked: {skipped}"))?;
        if let Some(checkpoint) = &self.checkpoint {
            write!(f, "{checkpoint}")?;
        }
        let Report { tenants, files, bytes, segments, blocks, records, .. } = self;
        match self.findings.len() {
            0 => write!(f, "nothing is wrong")?,
            1 => write!(f, "1 finding")?,
            n => write!(f, "{n} findings")?,
        }
        write!(f, ": {tenants} tenants, {files} files, {bytes} bytes, {segments} segments, {blocks} blocks, ")?;
        write!(f, "{records} records")
    }
}
