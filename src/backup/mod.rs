//! Backups: copies of a store elsewhere, each verified, from which all of it, a tenant or a stream comes back.
//!
//! Promises: a run is there whole or not at all, since what names its objects is written last; what a run names was
//! read back from the target and is what the source holds; nothing goes that a run names; a restored folder was
//! verified before it gets its name, and nothing that exists is written over. The source is read beside its writer,
//! without a lock. May not know: HTTP, the text of queries, what is in a frame or a block.
//!
//! A backup set is described for users in `docs/backup.md`, with its bytes.

mod check;
mod copy;
mod drill;
mod error;
mod folder;
mod name;
#[cfg(feature = "object-store")]
mod object;
mod place;
mod prune;
mod records;
mod restore;
mod run;
mod schedule;
mod source;
mod target;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, check, runs};
pub use copy::{BackupOptions, BackupReport, backup};
pub use drill::{Drill, drill, last_drill};
pub use error::BackupError;
pub use folder::FolderTarget;
pub use name::ObjectId;
#[cfg(feature = "object-store")]
pub use object::ObjectTarget;
pub use place::open_target;
pub use prune::{PruneReport, prune};
pub use restore::{RestoreOptions, RestoreReport, Restored, remove_unfinished, restore, restore_into};
pub use run::{Kind, Problem, Run, RunFile, RunTenant};
pub use schedule::{BadSchedule, Every, Last, Schedule, Task, TimeOfDay};
pub use target::{Chunks, Stored, Target, TargetLock};
