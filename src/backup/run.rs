//! What a run wrote: the document that names its objects, and its name.

use super::target::{damage, get_bytes, put_bytes};
use super::{BackupError, ObjectId, Target};
use crate::id::TenantId;
use crate::record::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of the documents that this code writes, and the only one that it reads.
pub(super) const RUN_VERSION: u32 = 1;
/// Longest document of a run, in bytes: 10 million files.
pub(super) const RUN_BYTES_MAX: usize = 2 << 30;
/// What says that a folder or prefix holds a backup set.
pub(super) const MARKER: &str = "duramen-backup.json";
/// What its first line is.
pub(super) const MARKER_TEXT: &str = "{\"duramen_backup\":1}\n";
/// Where the runs are.
pub(super) const RUNS: &str = "runs/";

/// What a run read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All of the source, and all objects that it names were read back.
    Full,
    /// What no earlier run has.
    Incremental,
}

/// One finished backup. It names everything that a restore of that moment needs, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `RUN_VERSION`.
    pub version: u32,
    /// When it began, Unix nanoseconds.
    pub started_ns: i64,
    /// When its last file had been read, Unix nanoseconds, in whole milliseconds. The run's time.
    pub finished_ns: i64,
    /// What it read.
    pub kind: Kind,
    /// Which store: the salt of its control log in hexadecimal. Missing where it has none.
    pub store: Option<String>,
    /// The tenants that were asked for; missing where all were.
    pub only: Option<Vec<TenantName>>,
    /// `control.log` up to the end of its last whole frame; missing where the store has none.
    pub control: Option<RunFile>,
    /// The tenants, by name.
    pub tenants: Vec<RunTenant>,
    /// Tenants that could not be copied. Their newest copy is in an earlier run.
    pub problems: Vec<Problem>,
    /// Objects that this run added.
    pub objects_new: u64,
    /// Their bytes.
    pub bytes_new: u64,
}

/// A tenant at the moment when it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTenant {
    /// Its name.
    pub name: TenantName,
    /// Hash of the last entry of its manifest.
    pub head: ObjectId,
    /// Number of that entry.
    pub entries: u64,
    /// Records up to here are in segments.
    pub sealed_below: u64,
    /// The last record that was durable.
    pub last: u64,
    /// Records in segments and durable in the log.
    pub records: u64,
    /// Its files.
    pub files: Vec<RunFile>,
}

/// A file of the store, and the object that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its path below the tenant's folder, with slashes.
    pub path: FilePath,
    /// How many bytes.
    pub bytes: u64,
    /// The object: BLAKE3 of the bytes.
    pub blake3: ObjectId,
    /// Of a segment, the data root that the manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_root: Option<ObjectId>,
}

/// What could not be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Whose.
    pub tenant: TenantName,
    /// Why, with the file.
    pub reason: String,
}

/// The name of a tenant in a document: it was checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TenantName(pub TenantId);

impl From<TenantName> for String {
    fn from(name: TenantName) -> String {
        name.0.as_str().into()
    }
}

impl TryFrom<String> for TenantName {
    type Error = crate::id::BadTenantName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        TenantId::new(&name).map(TenantName)
    }
}

/// A path below a tenant's folder: one or two names, none of which leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FilePath(String);

/// A path that a backup has no business with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no path of a store's file")]
pub struct BadFilePath(String);

impl FilePath {
    /// Checks a path.
    pub fn new(path: &str) -> Result<Self, BadFilePath> {
        let is_name = |name: &str| {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            plain && name.bytes().next().is_some_and(|b| b != b'.')
        };
        let names: Vec<&str> = path.split('/').collect();
        if names.len() <= 2 && path.len() <= 200 && names.iter().all(|name| is_name(name)) {
            return Ok(FilePath(path.into()));
        }
        Err(BadFilePath(path.chars().take(80).collect()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> String {
        path.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = BadFilePath;

    fn try_from(path: String) -> Result<Self, BadFilePath> {
        FilePath::new(&path)
    }
}

impl Run {
    /// Its time.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.finished_ns)
    }

    /// A tenant of it.
    pub fn tenant(&self, name: &str) -> Option<&RunTenant> {
        self.tenants.iter().find(|t| t.name.0.as_str() == name)
    }

    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &RunFile> {
        self.tenants.iter().flat_map(|t| &t.files).chain(&self.control)
    }

    /// Writes the document. From here on the run is there.
    pub(super) fn store(&self, target: &dyn Target) -> Result<(), BackupError> {
        let text = serde_json::to_vec(self).map_err(|e| BackupError::Target {
            place: target.place(RUNS),
            op: "write a run",
            reason: e.to_string(),
        })?;
        let name = name_of(self.time(), &ObjectId::of(&text));
        put_bytes(target, &name, &text)?;
        // What can't be read back is no backup.
        load(target, &name)?;
        Ok(())
    }
}

/// `runs/20261121T030000.123Z-<BLAKE3 of the document>.json`: sorted by time, and a flipped byte shows.
fn name_of(time: Timestamp, id: &ObjectId) -> String {
    let text: String = time.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{RUNS}{text}-{id}.json")
}

/// Reads a document by its name.
pub(super) fn load(target: &dyn Target, name: &str) -> Result<Run, BackupError> {
    let stem = name.strip_prefix(RUNS).and_then(|n| n.strip_suffix(".json"));
    let id = stem.and_then(|n| n.rsplit_once('-')).and_then(|(_, id)| id.parse::<ObjectId>().ok());
    let Some(id) = id else {
        return Err(damage(target, name, "a name with the BLAKE3 of the document".into(), "another"));
    };
    let text = get_bytes(target, name, RUN_BYTES_MAX)?;
    let found = ObjectId::of(&text);
    if found != id {
        return Err(damage(target, name, format!("BLAKE3 {id}"), &found.to_string()));
    }
    // The version first: another one may have other members.
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| damage(target, name, "JSON".into(), &e.to_string()))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(RUN_VERSION.into()) {
        let found = version.map_or("none".to_string(), |v| v.to_string());
        return Err(damage(target, name, format!("version {RUN_VERSION}"), &found));
    }
    serde_json::from_value(value).map_err(|e| damage(target, name, "the document of a run".into(), &e.to_string()))
}
