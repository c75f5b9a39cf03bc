//! The append log of one tenant: batches that were committed and are not yet sealed.
//!
//! Promises: a batch that was acknowledged at [`Ack::Fsync`] is replayed, once, after a crash at any moment; Seqs are
//! given at commit, without gaps, in the order in which batches become visible; a batch is written whole or not at
//! all; damage to what was durable is refused, and what a crash tore off is set aside and reported, never dropped in
//! silence. May not know: segments, index, query, what a payload means.
//!
//! Calls are synchronous and there are no threads here: whoever appends while nobody writes becomes the leader of a
//! group, and writes and syncs for everybody who waits.

mod extent;
mod file;
mod group;
mod prepared;
mod queue;
mod recover;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

pub use extent::{Extent, Extents, extents};
pub use group::Log;
pub use prepared::Prepared;
pub use queue::{Append, Commit};
pub use recover::{Cut, ReadOnlyError, Recovery, Replayed, read_only};

use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::id::LogId;

/// By how many bytes a log file's room is reserved at a time, so that a full disk shows before an ack.
pub const PREALLOCATE_BYTES: u64 = 4 << 20;
/// How much is reserved at first. It doubles as the file grows, so that a thousand tenants of a few records do not take
/// gigabytes.
pub const PREALLOCATE_BYTES_MIN: u64 = 64 << 10;
/// How many bytes of batches may wait in memory after [`Ack::Buffered`] before they are written.
pub const BUFFERED_BYTES_MAX: usize = 1 << 20;
/// How many bytes of committed batches may be not yet durable. They are also kept in memory, so that a failed sync
/// loses none; the group that goes over it is synced whatever acks it asks for.
pub const UNSYNCED_BYTES_MAX: usize = 4 << 20;
/// How many bytes of batches one group takes from the queue, unless the first alone is larger.
pub const GROUP_BYTES_MAX: usize = 16 << 20;

/// Sizes of a log. The defaults are the constants of this module.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// See [`PREALLOCATE_BYTES`]; 0 reserves only what is written.
    pub preallocate_bytes: u64,
    /// See [`BUFFERED_BYTES_MAX`].
    pub buffered_bytes_max: usize,
    /// See [`UNSYNCED_BYTES_MAX`].
    pub unsynced_bytes_max: usize,
    /// The tenant's keys: new files are encrypted where it is.
    pub keys: KeyRing,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            preallocate_bytes: PREALLOCATE_BYTES,
            buffered_bytes_max: BUFFERED_BYTES_MAX,
            unsynced_bytes_max: UNSYNCED_BYTES_MAX,
            keys: KeyRing::default(),
        }
    }
}

/// What must have happened to a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ack {
    /// It is durable: it survives a loss of power.
    #[default]
    Fsync,
    /// It is with the operating system: it survives the end of this process.
    Os,
    /// It is in memory, and is written with the next group, [`Log::flush`] or [`Log::close`].
    Buffered,
}

/// A name that is no level of acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level of acknowledgement: fsync, os and buffered are")]
pub struct UnknownAck(String);

impl Ack {
    const NAMED: [(&str, Ack); 3] = [("fsync", Ack::Fsync), ("os", Ack::Os), ("buffered", Ack::Buffered)];
}

impl std::str::FromStr for Ack {
    type Err = UnknownAck;

    fn from_str(name: &str) -> Result<Self, UnknownAck> {
        let found = Ack::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, ack)| *ack).ok_or_else(|| UnknownAck(name.chars().take(40).collect()))
    }
}

impl std::fmt::Display for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Ack::NAMED.iter().find(|(_, known)| known == self).map_or("fsync", |(name, _)| name))
    }
}

/// Why a log did not do what was asked. Nothing of a batch that got an error was committed in this process; after
/// [`LogError::Abandoned`] and [`LogError::ReadOnly`] a crash may still bring it to light if nothing was committed in
/// its place.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// No room on the device. Nothing was appended; it can be tried again.
    #[error("no room for the log: {source}")]
    Full {
        /// What the operating system said.
        source: StorageError,
    },
    /// A write or sync failed, and the log went on in a new file. The batch was not committed; it can be tried again.
    /// What was committed before has been carried over; the owner should seal it from memory soon, since the device
    /// is in doubt. See [`Log::take_abandoned`].
    #[error("log {log} was abandoned: {source}")]
    Abandoned {
        /// The file that was given up.
        log: LogId,
        /// What failed.
        source: StorageError,
    },
    /// The log takes no more batches until [`Log::reopen`] succeeds.
    #[error("the log is read-only: {reason}")]
    ReadOnly {
        /// Why.
        reason: String,
    },
    /// The batch is larger than a frame may be.
    #[error("{what} of {bytes} bytes, above the limit of {bytes_max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// A batch has no records.
    #[error("a batch without records")]
    Empty,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// Files could not be read, written or removed; the log goes on as before.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
