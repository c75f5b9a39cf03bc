//! The server's part of the configuration.

pub use super::backup::BackupConfig;
pub use super::checkpoints::CheckpointsConfig;
use crate::store::{Options, QueryOptions};
use serde::Deserialize;

/// The configuration file, as TOML has it. A name that is not known is an error: a limit that is misspelt limits
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen; the command line wins.
    pub listen: Option<String>,
    /// What requests may cost.
    pub limits: Limits,
    /// Backups by schedule; none where it is missing.
    pub backup: Option<BackupConfig>,
    /// Checkpoints by schedule; none where it is missing.
    pub checkpoints: Option<CheckpointsConfig>,
    /// What is encrypted on disk.
    pub encryption: Encryption,
    /// What is kept in memory.
    pub memory: Memory,
}

/// What is kept in memory, for all tenants together; the rest of the process comes on top.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Memory {
    /// See [`Options::cache_bytes_max`].
    pub cache_bytes_max: usize,
    /// See [`Options::memtables_bytes_max`].
    pub memtables_bytes_max: usize,
}

impl Default for Memory {
    fn default() -> Self {
        let Options { cache_bytes_max, memtables_bytes_max, .. } = Options::default();
        Memory { cache_bytes_max, memtables_bytes_max }
    }
}

impl Memory {
    /// Brings it into the options of a store.
    pub fn apply(&self, options: &mut Options) {
        options.cache_bytes_max = self.cache_bytes_max;
        options.memtables_bytes_max = self.memtables_bytes_max;
    }
}

/// What is encrypted on disk. The master key is named by the command line or the environment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Encryption {
    /// Encrypt the tenants that are made.
    pub tenants: bool,
    /// A tenant gets a new key so many days after the last one; 0 for never.
    pub rotate_days: u32,
}

impl Encryption {
    /// Brings it into the options of a store.
    pub fn apply(&self, options: &mut Options) {
        options.encrypt_tenants = self.tenants;
        let day = std::time::Duration::from_secs(24 * 3600);
        options.rotate_keys_every = (self.rotate_days > 0).then(|| day * self.rotate_days);
    }
}

/// What requests may cost.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a body of records, unpacked.
    pub ingest_body_bytes_max: u64,
    /// Bytes of the body of a query.
    pub query_body_bytes_max: u64,
    /// Requests a second of each tenant, over a second at once as many; 0 for any.
    pub requests_per_s_max: u32,
    /// Queries that run at once; more wait.
    pub queries_max: u32,
    /// Bodies of records that are taken in at once; more wait.
    pub ingests_max: u32,
    /// How long a request waits for its turn.
    pub wait_ms_max: u64,
    /// How long a query may take; a slow reader of its rows counts.
    pub query_time_ms_max: u64,
    /// Bytes that a query keeps: groups, sorted rows, values.
    pub query_memory_bytes_max: u64,
    /// Groups that a query may have.
    pub query_groups_max: u64,
    /// Rows that a query may sort.
    pub query_rows_sorted_max: u64,
    /// How long a body, or the reader of an answer, may stand still.
    pub body_idle_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let query = QueryOptions::default().limits;
        Limits {
            query_memory_bytes_max: query.memory_bytes,
            query_groups_max: query.groups,
            query_rows_sorted_max: query.rows_sorted,
            ingest_body_bytes_max: 64 << 20,
            query_body_bytes_max: 1 << 20,
            requests_per_s_max: 0,
            // A query uses all cores, so that more at once make each slower and memory the bound.
            queries_max: 8,
            ingests_max: 32,
            wait_ms_max: 5_000,
            query_time_ms_max: 300_000,
            body_idle_ms_max: 30_000,
        }
    }
}
