//! Files that are read elsewhere than where they are: segments in archives that are no folders, brought here one by one by
//! whoever knows how.

use super::report::Finding;
use crate::error::StorageError;
use crate::id::{Place, TenantId};
use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A copy of a file.
pub struct Fetched {
    /// Where the copy is.
    pub copy: PathBuf,
    /// What it is a copy of, for findings.
    pub of: PathBuf,
    /// Dropped when the copy is not needed any more.
    pub guard: Box<dyn Any>,
}

/// Brings a file by archive, tenant and name; `None` where it does not know the archive.
type Bring = dyn Fn(&Place, &TenantId, &str) -> Option<Result<Fetched, (PathBuf, StorageError)>> + Send + Sync;

/// Brings files of archives that are no folders. An error comes with what was to be brought.
#[derive(Clone)]
pub struct Fetch(Arc<Bring>);

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetch")
    }
}

impl Fetch {
    /// What brings them.
    pub fn new(
        bring: impl Fn(&Place, &TenantId, &str) -> Option<Result<Fetched, (PathBuf, StorageError)>> + Send + Sync + 'static,
    ) -> Self {
        Fetch(Arc::new(bring))
    }

    pub(super) fn bring(
        &self,
        place: &Place,
        tenant: &TenantId,
        name: &str,
    ) -> Option<Result<Fetched, (PathBuf, StorageError)>> {
        (self.0)(place, tenant, name)
    }
}

impl Fetched {
    /// Findings of the copy are of what it is a copy of.
    pub(super) fn name_in(&self, findings: &mut [Finding]) {
        findings
            .iter_mut()
            .filter(|finding| finding.file == self.copy)
            .for_each(|finding| finding.file = self.of.clone());
    }
}
