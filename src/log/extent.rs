//! How far a log's files count, for whoever copies them.

use super::recover::{ReadOnlyError, plan_beside};
use crate::crypt::KeyRing;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};

/// A log file, and how much of it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its number.
    pub id: LogId,
    /// Where it is.
    pub path: PathBuf,
    /// Where the last whole frame ends that counts. What stands behind is zeros, half of a write, or void.
    pub bytes: u64,
}

/// What a copy of a log takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// The files with records that are not sealed, oldest first.
    pub files: Vec<Extent>,
    /// The last Seq that a reader takes. Whole batches behind it were written and not yet synced.
    pub last: Seq,
}

/// Finds out how far the log counts, beside its writer or with none: no lock is taken and nothing is written. Files
/// only grow up to there, until all in them is sealed and they go. It takes no keys.
pub fn extents(vfs: &dyn Vfs, dir: &Path, tenant: &TenantId, sealed_below: Seq) -> Result<Extents, ReadOnlyError> {
    let plan = plan_beside(vfs, dir, (tenant, &KeyRing::default()), sealed_below)?;
    let files = plan.kept.iter().map(|kept| Extent {
        id: kept.source.header.id,
        path: kept.source.path(),
        bytes: kept.cut.as_ref().map_or(kept.scan.end, |(from, ..)| *from),
    });
    Ok(Extents { files: files.collect(), last: plan.last_readable(sealed_below).0 })
}
