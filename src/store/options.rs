//! What a store can be told when it is opened.

use crate::archive::Archives;
use crate::crypt::MasterKey;
use crate::log::Ack;
use crate::policy::Policy;
use crate::tenant::Clock;
use std::sync::Arc;
use std::time::Duration;

/// How a store is opened. The defaults suit a program that keeps its own logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What is waited for where an append does not say.
    pub ack: Ack,
    /// Threads that seal and merge in the background, for all tenants together. With 0 this is left to
    /// [`crate::Store::maintain`], and to the append that finds a memtable full.
    pub background_threads: usize,
    /// Threads that one query may use.
    pub query_threads: usize,
    /// A tenant's memtable is sealed at so many bytes.
    pub memtable_bytes_max: usize,
    /// All memtables together; over it the largest ones are sealed, and over it by a quarter appends wait for that. Of
    /// many tenants batches are kept compressed, once memtables have an eighth of this.
    pub memtables_bytes_max: usize,
    /// Records are sealed at the latest so long after they came, where maintenance runs.
    pub seal_age_max: Duration,
    /// Bytes of decoded parts of segments and of their indexes that are kept between queries; 192 MiB hold all that 1 GB of
    /// logs has. What is larger is read again in part: what takes longest for its size is kept.
    pub cache_bytes_max: usize,
    /// Read sealed segments through a memory map. A truncated file or a failing disk then ends the process (SIGBUS).
    pub mapped: bool,
    /// How many tenants stay open, besides those that somebody has a handle of. Where more are asked for, the one that
    /// was not for the longest is closed.
    pub tenants_open_max: usize,
    /// Segments at least this large are not merged any more. Merges make segments of up to twice as many bytes; a
    /// quarter of the largest segment (1 GiB) is the most that counts.
    pub merge_bytes_max: u64,
    /// What records live by, besides the settings of tenants.
    pub policy: Arc<Policy>,
    /// Archives besides those that the policy gives folders or buckets for, or in their place. Rules go by what the policy
    /// names.
    pub archives: Archives,
    /// How often it is looked for what rules let go.
    pub lifecycle_every: Duration,
    /// The room on the disk is looked at this often, or each second if that is more often.
    pub space_every: Duration,
    /// Tells the time that rules are held against.
    pub clock: Clock,
    /// Merge small segments in the background, or in [`crate::Store::maintain`]; else only
    /// [`crate::Tenant::compact`] does.
    pub merge: bool,
    /// What is left in small segments of a day or a week is merged so long after its end, and so long after the last
    /// of them was made: records that come late are merged with the others in one go.
    pub merge_age_min: Duration,
    /// What opens the keys of encrypted tenants. Without it they are not opened; others are.
    pub master_key: Option<MasterKey>,
    /// Encrypt the tenants that are made. It needs a master key.
    pub encrypt_tenants: bool,
    /// An encrypted tenant's key is changed when it is so old, where maintenance runs; `None` for never.
    pub rotate_keys_every: Option<Duration>,
    /// Who acts through this store. Where it is given, what is decided in the catalog (tenants, settings, tokens, keys) has
    /// audit records in the tenant `system`, if there is one; without it only [`crate::Store::audit`] makes any.
    pub audit: Option<String>,
    /// What is told when much memory was let go: an allocator may keep it, and a program may have it given back.
    pub memory_freed: Option<MemoryFreed>,
}

/// What a query must have kept for that to be told of once it was let go, in bytes.
pub const MEMORY_FREED_MIN: u64 = 32 << 20;

/// What is called with the bytes that a query kept at the most, where that is [`MEMORY_FREED_MIN`] or more, and with so many
/// after merges and seals in the background: in their threads, behind the answer of the query. It should return at once.
/// May be called many times a second.
#[derive(Clone)]
pub struct MemoryFreed(Arc<dyn Fn(u64) + Send + Sync>);

impl MemoryFreed {
    /// Calls this function.
    pub fn new(call: impl Fn(u64) + Send + Sync + 'static) -> Self {
        MemoryFreed(Arc::new(call))
    }

    /// Calls where so many bytes are many.
    pub(super) fn tell(freed: &Option<Self>, bytes: u64) {
        if let Some(MemoryFreed(call)) = freed.as_ref().filter(|_| bytes >= MEMORY_FREED_MIN) {
            call(bytes);
        }
    }
}

impl std::fmt::Debug for MemoryFreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryFreed")
    }
}

/// Eight blocks of 16 K records, from which on a segment gets a tantivy index at once (design, section 5).
pub const MEMTABLE_BYTES_MAX: usize = 64 << 20;

/// An open tenant without records takes some tens of KiB.
pub const TENANTS_OPEN_MAX: usize = 1024;

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            ack: Ack::Fsync,
            background_threads: 1,
            query_threads: cores,
            memtable_bytes_max: MEMTABLE_BYTES_MAX,
            memtables_bytes_max: 2 * MEMTABLE_BYTES_MAX,
            seal_age_max: Duration::from_secs(600),
            cache_bytes_max: 192 << 20,
            mapped: false,
            tenants_open_max: TENANTS_OPEN_MAX,
            merge_bytes_max: 64 << 20,
            policy: Arc::default(),
            archives: Archives::default(),
            lifecycle_every: Duration::from_secs(600),
            space_every: Duration::from_secs(10),
            clock: Clock::default(),
            merge: true,
            merge_age_min: Duration::from_secs(3600),
            master_key: None,
            encrypt_tenants: false,
            rotate_keys_every: None,
            audit: None,
            memory_freed: None,
        }
    }
}
