//! Errors that more than one module gives.
//!
//! Promises: damage always names file, offset, what was expected and what was found. May not know: any other module.

use std::path::{Path, PathBuf};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What was being read (`block header`, `manifest edit`).
    pub what: &'static str,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damage { file, offset, what, expected, found } = self;
        write!(f, "{}: at byte {offset}: damaged {what}: expected {expected}, found {found}", file.display())
    }
}

impl std::error::Error for Damage {}

/// What can go wrong between a file and its meaning.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    #[error("{}: {op}: {source}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: std::sync::Arc<std::io::Error>,
    },
    /// Bytes are not what they should be.
    #[error(transparent)]
    Damage(Box<Damage>),
    /// The file is encrypted, and the keys at hand don't open it. That says nothing against the file.
    #[error(transparent)]
    Key(Box<KeyError>),
}

/// An encrypted file that can't be opened with the keys at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct KeyError {
    /// The file.
    pub file: PathBuf,
    /// What is missing or wrong.
    pub problem: KeyProblem,
}

/// What is wrong with the keys at hand. Master keys are named by their ids, which say nothing of the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// A tenant is to be encrypted, and the store has no master key.
    #[error("a tenant is encrypted under the master key of its store, and none was given")]
    NothingToWrapUnder,
    /// No master key was given.
    #[error("it is encrypted, and no master key was given; it needs the one of id {needs}")]
    NoMasterKey {
        /// The ids of those that open it.
        needs: String,
    },
    /// Another master key was given.
    #[error("wrong master key: it needs the one of id {needs}, and that of id {given} was given")]
    WrongMasterKey {
        /// The ids of those that open it.
        needs: String,
        /// The ids of those that were given.
        given: String,
    },
    /// The tenant's `key` file is not there, so that nobody can read what was encrypted: it was deleted or lost.
    #[error("it is encrypted, and the tenant's file `key` is not there")]
    NoKeyFile,
    /// The tenant's `key` file lacks the generation that the file was encrypted under: it is an older copy.
    #[error("it is encrypted under generation {needs} of the tenant's key, and the file `key` has {has}")]
    NoGeneration {
        /// Which.
        needs: u32,
        /// How many there are.
        has: u32,
    },
    /// The master key itself is no key.
    #[error("no master key: {0}")]
    BadMasterKey(String),
    /// Something that was asked for needs another state of the keys.
    #[error("{0}")]
    Refused(String),
}

impl KeyProblem {
    /// The error, with its file.
    pub fn of(self, file: &Path) -> StorageError {
        StorageError::Key(Box::new(KeyError { file: file.to_path_buf(), problem: self }))
    }
}

impl StorageError {
    /// An operating system's error, with what was tried on which file.
    pub fn io(op: &'static str, path: &Path, source: std::io::Error) -> Self {
        StorageError::Io { op, path: path.to_path_buf(), source: std::sync::Arc::new(source) }
    }

    /// Are bytes not what they should be? Reading again does not help, as it may with the system's errors.
    pub fn is_damage(&self) -> bool {
        matches!(self, StorageError::Damage(_))
    }

    /// Is the file missing?
    pub fn is_not_found(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Is the device full, or a quota of the system used up?
    pub fn is_out_of_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, StorageError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

impl From<Damage> for StorageError {
    fn from(damage: Damage) -> Self {
        StorageError::Damage(Box::new(damage))
    }
}
