//! The error of the public API: opaque, with questions that callers ask of it.

use crate::catalog::CatalogError;
use crate::error::StorageError;
use crate::exec::ExecError;
use crate::index::BuildError;
use crate::log::LogError;
use crate::manifest::ManifestError;
use crate::policy::QuotaError;
use crate::query::ParseError;
use crate::record::RecordError;
use crate::vfs::LockError;
use std::fmt;

/// What went wrong. It reads well to a person; programs ask the `is_..` methods.
#[derive(Debug)]
pub struct Error(Box<ErrorKind>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ErrorKind {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Index(#[from] BuildError),
    #[error(transparent)]
    Query(#[from] ParseError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    TenantName(#[from] crate::id::BadTenantName),
    #[error("there is no tenant `{0}`")]
    NoSuchTenant(String),
    #[error("there is a tenant `{0}` already")]
    TenantExists(String),
    #[error("{}: there is no store here", .0.display())]
    NoSuchStore(std::path::PathBuf),
    #[error("the tenant `{0}` is not encrypted")]
    NotEncrypted(String),
    #[error("the store was opened read-only")]
    ReadOnly,
    #[error("the store is closed")]
    Closed,
    #[error("a tail has no end, so that it can't do `{0}`; it takes filters only")]
    NotInTail(String),
    #[error("what `{0}` makes of records can't be deleted; a deletion takes filters only")]
    NotInDelete(String),
    #[error("the tenant `{0}` is being deleted, and something of it is left: delete it again, or see why that fails")]
    BeingDeleted(String),
    #[error(
        "{}: is there already, and not of this store; give it an archive of its own (segment {segment})",
        path.display()
    )]
    NameTaken { segment: String, path: std::path::PathBuf },
    #[error("records were deleted, and this query began too long before to go on")]
    Ended,
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("an idempotency key of {bytes} bytes; it has 1 to {bytes_max}")]
    BadKey { bytes: usize, bytes_max: usize },
    #[error("the idempotency key was used for another request within 24 hours")]
    KeyReused,
    #[error("the receipts of requests with idempotency keys take {bytes_max} bytes (receipts_bytes_max)")]
    TooManyKeys { bytes_max: usize },
    #[error(transparent)]
    Quota(#[from] QuotaError),
    #[error("the disk has {free} bytes left, and records are taken from {limit} on (space.refuse_bytes)")]
    LowSpace { free: u64, limit: u64 },
}

impl<T: Into<ErrorKind>> From<T> for Error {
    fn from(kind: T) -> Self {
        Error(Box::new(kind.into()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}

impl Error {
    /// No tenant has this name, or the text is no tenant's name.
    pub fn is_no_such_tenant(&self) -> bool {
        matches!(*self.0, ErrorKind::NoSuchTenant(_) | ErrorKind::TenantName(_))
    }
    /// A tenant of this name exists already.
    pub fn is_tenant_exists(&self) -> bool {
        matches!(*self.0, ErrorKind::TenantExists(_))
    }
    /// The tenant is being deleted, and something of it is left: nobody can use its name.
    pub fn is_being_deleted(&self) -> bool {
        matches!(*self.0, ErrorKind::BeingDeleted(_))
    }
    /// In the archive is a file of this name that this store did not put there: it is a copy of the store that did.
    pub fn is_name_taken(&self) -> bool {
        matches!(*self.0, ErrorKind::NameTaken { .. })
    }
    /// No store is at the path.
    pub fn is_no_such_store(&self) -> bool {
        matches!(*self.0, ErrorKind::NoSuchStore(_))
    }
    /// Another writer holds the store.
    pub fn is_locked(&self) -> bool {
        matches!(*self.0, ErrorKind::Lock(LockError::Held { .. }))
    }
    /// What is wrong with the text of the query, where that is the error.
    pub fn as_query_error(&self) -> Option<&ParseError> {
        match &*self.0 {
            ErrorKind::Query(e) => Some(e),
            _ => None,
        }
    }
    /// The query has pipes, which a deletion does not take.
    pub fn is_not_in_delete(&self) -> bool {
        matches!(*self.0, ErrorKind::NotInDelete(_))
    }
    /// The query was ended since records that it might have read were deleted meanwhile.
    pub fn is_ended(&self) -> bool {
        matches!(*self.0, ErrorKind::Ended)
    }
    /// The query can't be followed as a tail.
    pub fn is_not_in_tail(&self) -> bool {
        matches!(*self.0, ErrorKind::NotInTail(_))
    }
    /// What went wrong while a query ran, or why it can't run, where that is the error.
    pub fn as_exec_error(&self) -> Option<&ExecError> {
        match &*self.0 {
            ErrorKind::Exec(e) => Some(e),
            _ => None,
        }
    }
    /// The storage's error below, where there is one.
    pub fn as_storage_error(&self) -> Option<&StorageError> {
        match &*self.0 {
            ErrorKind::Storage(e)
            | ErrorKind::Lock(LockError::Storage(e))
            | ErrorKind::Catalog(CatalogError::Storage(e))
            | ErrorKind::Exec(ExecError::Storage(e))
            | ErrorKind::Manifest(ManifestError::Unchanged(e) | ManifestError::Uncertain(e))
            | ErrorKind::Log(
                LogError::Full { source: e } | LogError::Abandoned { source: e, .. } | LogError::Storage(e),
            ) => Some(e),
            _ => None,
        }
    }
    /// Bytes on disk are not what they should be.
    pub fn is_damage(&self) -> bool {
        matches!(self.as_storage_error(), Some(StorageError::Damage(_)))
    }
    /// An encrypted tenant can't be opened with the keys at hand: no master key was given, or a wrong one, or the
    /// tenant's own are gone.
    pub fn is_key(&self) -> bool {
        matches!(self.as_storage_error(), Some(StorageError::Key(_)))
    }
    /// The disk is full.
    pub fn is_out_of_space(&self) -> bool {
        self.as_storage_error().is_some_and(StorageError::is_out_of_space)
    }
    /// Which quota of the tenant is used up, where that is the error.
    pub fn as_quota_error(&self) -> Option<&QuotaError> {
        match &*self.0 {
            ErrorKind::Quota(e) => Some(e),
            _ => None,
        }
    }
    /// The disk has less room than records are taken with; it is not full.
    pub fn is_low_space(&self) -> bool {
        matches!(*self.0, ErrorKind::LowSpace { .. })
    }
    /// Nothing can be written: the store was opened so, or the tenant's log was given up.
    pub fn is_read_only(&self) -> bool {
        matches!(*self.0, ErrorKind::ReadOnly | ErrorKind::Log(LogError::ReadOnly { .. }))
    }
    /// A record or batch is over a limit.
    pub fn is_bad_record(&self) -> bool {
        matches!(*self.0, ErrorKind::Record(_) | ErrorKind::Log(LogError::TooLarge { .. } | LogError::Empty))
    }
    /// The idempotency key is empty or too long.
    pub fn is_bad_key(&self) -> bool {
        matches!(*self.0, ErrorKind::BadKey { .. })
    }
    /// The idempotency key was used for another request.
    pub fn is_key_reused(&self) -> bool {
        matches!(*self.0, ErrorKind::KeyReused)
    }
    /// No more idempotency keys are taken until older ones have expired.
    pub fn is_too_many_keys(&self) -> bool {
        matches!(*self.0, ErrorKind::TooManyKeys { .. })
    }
    /// The store or the tenant was closed.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0, ErrorKind::Closed | ErrorKind::Log(LogError::Closed))
    }
}
