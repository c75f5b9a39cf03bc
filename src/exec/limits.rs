//! What a query may use, and the account of what it does.

use super::ExecError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Default of [`Limits::memory_bytes`]: a few of these at once fit a small host.
pub const QUERY_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Default of [`Limits::rows_sorted`]. A row reference with a number as key takes about 100 bytes.
pub const QUERY_ROWS_SORTED_MAX: u64 = 2_000_000;
/// Default of [`Limits::groups`]. Memory ends most queries before: a group with a count takes about 50 bytes.
pub const QUERY_GROUPS_MAX: u64 = 10_000_000;

/// What one query may use. Going over one of these ends it with an error that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory for what a query keeps: sorted rows, groups, values. Blocks under way are not counted.
    pub memory_bytes: u64,
    /// Rows that a `sort` without a limit (or with a larger one) may keep.
    pub rows_sorted: u64,
    /// Groups of `stats`, `top` and `uniq`.
    pub groups: u64,
    /// Wall time; `None` for any. A caller that streams to a slow reader sets none.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: QUERY_MEMORY_BYTES_MAX,
            rows_sorted: QUERY_ROWS_SORTED_MAX,
            groups: QUERY_GROUPS_MAX,
            time: None,
        }
    }
}

/// The account of a running query, shared by its threads.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    limits: Limits,
    started: Instant,
    memory: AtomicU64,
    cancel: Option<&'a AtomicBool>,
    /// Set when a thread failed or the sink has had enough, so that the others stop.
    stopped: AtomicBool,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: Limits, cancel: Option<&'a AtomicBool>) -> Self {
        Budget { limits, started: Instant::now(), memory: AtomicU64::new(0), cancel, stopped: AtomicBool::new(false) }
    }

    /// Accounts for memory that is kept.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), ExecError> {
        let now = self.memory.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        if now > self.limits.memory_bytes {
            return Err(self.memory_exceeded());
        }
        Ok(())
    }

    /// The error of a query that keeps too much.
    pub(crate) fn memory_exceeded(&self) -> ExecError {
        let max = self.limits.memory_bytes;
        ExecError::LimitExceeded { limit: "query_memory_bytes_max", max, unit: "bytes" }
    }

    /// Ends the query where so many bytes, beside what is accounted for, would be too many.
    pub(crate) fn check_memory(&self, bytes: usize) -> Result<(), ExecError> {
        self.charge(bytes)?;
        self.release(bytes);
        Ok(())
    }

    /// Gives memory back.
    pub(crate) fn release(&self, bytes: usize) {
        self.memory.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Memory that is accounted for.
    pub(crate) fn charged(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Back to an account of before, where all that was kept since was let go.
    pub(crate) fn recharge(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn check_rows_sorted(&self, rows: usize) -> Result<(), ExecError> {
        if rows as u64 > self.limits.rows_sorted {
            let max = self.limits.rows_sorted;
            return Err(ExecError::LimitExceeded { limit: "query_rows_sorted_max", max, unit: "rows" });
        }
        Ok(())
    }

    pub(crate) fn check_groups(&self, groups: usize) -> Result<(), ExecError> {
        if groups as u64 > self.limits.groups {
            let max = self.limits.groups;
            return Err(ExecError::LimitExceeded { limit: "query_groups_max", max, unit: "groups" });
        }
        Ok(())
    }

    /// Between two blocks: goes on, or ends with what ended it.
    pub(crate) fn check(&self) -> Result<(), ExecError> {
        if self.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(ExecError::Cancelled);
        }
        match self.limits.time {
            Some(time) if self.started.elapsed() > time => Err(ExecError::LimitExceeded {
                limit: "query_time_ms_max",
                max: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                unit: "ms",
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
