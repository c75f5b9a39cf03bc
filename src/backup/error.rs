//! What goes wrong with backups.

use crate::catalog::CatalogError;
use crate::error::{Damage, StorageError};
use crate::record::Timestamp;
use crate::store::Error;
use std::path::PathBuf;

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file of the store or of the target can't be read or written, or is damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The target's service refused.
    #[error("{place}: {op}: {reason}")]
    Target {
        /// Which object, as an address.
        place: String,
        /// What was tried.
        op: &'static str,
        /// What it said.
        reason: String,
    },
    /// The target has no object of this name.
    #[error("{0}: there is no such object")]
    Missing(String),
    /// The target holds something else.
    #[error("{0}: this is no backup set, and it is not empty")]
    NotASet(String),
    /// The target holds a set, and no finished run that fits.
    #[error("{place}: {reason}")]
    NoRun {
        /// The target.
        place: String,
        /// Which run was looked for, and which there are.
        reason: String,
    },
    /// The set is another store's.
    #[error("{place}: the backups of another store are here (store {theirs}, and this one is {ours})")]
    OtherStore {
        /// The target.
        place: String,
        /// Whose backups.
        theirs: String,
        /// Which store was to be added.
        ours: String,
    },
    /// Another backup writes there.
    #[error("{place}: another process is at these backups: {holder}")]
    Busy {
        /// The target.
        place: String,
        /// Who, as far as it is known.
        holder: String,
    },
    /// Something is where a restored store should go.
    #[error("{}: exists already; a store is restored to where nothing is", .0.display())]
    Exists(PathBuf),
    /// What was asked makes no sense.
    #[error("{0}")]
    Request(String),
    /// The restored folder is not right.
    #[error("{}: what was restored is not right: {finding}", path.display())]
    NotRight {
        /// The folder; it is gone again.
        path: PathBuf,
        /// The first thing that is wrong.
        finding: String,
    },
    /// The run was told to end.
    #[error("the backup was told to end before it was done")]
    Cancelled,
    /// No record of the stream is in the backup.
    #[error("no record of the stream {stream} is in the backup of {at}")]
    NoRecords {
        /// The labels that were asked for.
        stream: String,
        /// Which run.
        at: Timestamp,
    },
    /// A store could not be opened or written.
    #[error(transparent)]
    Store(#[from] Error),
    /// Tenants or tokens could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<Damage> for BackupError {
    fn from(damage: Damage) -> Self {
        BackupError::Storage(damage.into())
    }
}

impl BackupError {
    /// Bytes of the source or of the backup are not what they should be.
    pub fn is_damage(&self) -> bool {
        match self {
            BackupError::Storage(StorageError::Damage(_)) | BackupError::NotRight { .. } => true,
            BackupError::Store(e) => e.is_damage(),
            _ => false,
        }
    }

    /// Is what was looked for missing?
    pub fn is_missing(&self) -> bool {
        match self {
            BackupError::Missing(_) => true,
            BackupError::Storage(e) => e.is_not_found(),
            _ => false,
        }
    }

    /// Does the backup lack an object that a run names?
    pub fn is_missing_object(&self) -> bool {
        matches!(self, BackupError::Missing(_))
    }

    /// Was the request wrong, and not the store or the target?
    pub fn is_request(&self) -> bool {
        matches!(self, BackupError::Request(_))
    }
}
