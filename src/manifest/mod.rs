//! The manifest of one tenant: what its store consists of, as a chain of edits that each hash what came before.
//!
//! Promises: [`Manifest::apply`] returns when its edits are durable, all of them or none; a version does not change
//! under whoever holds it; damage to an entry that had been durable is refused; what a crash tore off was never acted
//! upon, and is set aside and reported. May not know: record contents, query, where logs and segments are.
//!
//! The bytes are [`crate::format::edit`], and what edits do is [`crate::format::version`], so that a verifier needs
//! nothing of this module.

mod file;

#[cfg(test)]
mod tests;

pub use crate::format::edit::{Edit, Entry, Leaf, SegmentMeta};
pub use crate::format::version::Version;
pub use file::{Manifest, ManifestRecovery, let_go, open_read_only, read_whole};

use crate::error::StorageError;

/// A manifest is written anew, beginning with a snapshot, when the entries after its snapshot take more than this, in
/// bytes, and more than twice as much as the snapshot.
pub const COMPACT_BYTES_MIN: u64 = 1 << 20;

/// Why edits were not applied.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// They do not fit what they would change. Nothing was written.
    #[error("an edit that does not fit: {reason}")]
    Unfit {
        /// Why.
        reason: String,
    },
    /// Nothing was written, and that is certain; it can be tried again.
    #[error("the manifest was not changed: {0}")]
    Unchanged(StorageError),
    /// A write failed, and so did putting the manifest in order: a crash now may show the edits as applied or not.
    /// What they name must be kept as it is, both what they add and what they remove, until an apply succeeds.
    #[error("the manifest may have been changed or not: {0}")]
    Uncertain(StorageError),
}
