//! What a query may use, and the account of what it does.

use super::ExecError;
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Default of [`Limits::memory_bytes`]: a few of these at once fit a small host.
pub const QUERY_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Default of [`Limits::rows_sorted`]. A row reference with a number as key takes about 100 bytes.
pub const QUERY_ROWS_SORTED_MAX: u64 = 2_000_000;
/// Default of [`Limits::groups`]. Memory ends most queries before: a group with a count takes about 50 bytes.
pub const QUERY_GROUPS_MAX: u64 = 10_000_000;

/// Items that a list has room for at first.
const LIST_ROOM_MIN: usize = 16;
/// Slots that a map has at first, at most.
const MAP_SLOTS_MIN: usize = 16;

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
    /// The most of it, but for what was charged since some was given back last.
    memory_before: AtomicU64,
    cancel: Option<&'a AtomicBool>,
    /// Set when a thread failed or the sink has had enough, so that the others stop.
    stopped: AtomicBool,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: Limits, cancel: Option<&'a AtomicBool>) -> Self {
        Budget {
            limits,
            started: Instant::now(),
            memory: AtomicU64::new(0),
            memory_before: AtomicU64::new(0),
            cancel,
            stopped: AtomicBool::new(false),
        }
    }

    /// Accounts for memory that is going to be kept. What does not fit is not asked of the allocator: so this comes first.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), ExecError> {
        let add = |now: u64| now.checked_add(bytes as u64).filter(|then| *then <= self.limits.memory_bytes);
        match self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.memory_exceeded()),
        }
    }

    /// Makes room in a list for so many more, and accounts for it before. What is kept in it takes its capacity.
    #[inline]
    pub(crate) fn reserve<T>(&self, list: &mut Vec<T>, more: usize) -> Result<(), ExecError> {
        if list.capacity() - list.len() >= more { Ok(()) } else { self.grow(list, more) }
    }

    /// By half, not to the double: a list may be most of what a query keeps.
    #[cold]
    fn grow<T>(&self, list: &mut Vec<T>, more: usize) -> Result<(), ExecError> {
        let (len, before) = (list.len(), list.capacity());
        let room = len.saturating_add(more.max(len / 2).max(LIST_ROOM_MIN));
        // The old one is there until all of it was moved.
        self.charge(room.saturating_mul(size_of::<T>()))?;
        list.reserve_exact(room - len);
        self.release(before * size_of::<T>());
        Ok(())
    }

    /// Makes room in a map for one more, and accounts for it before. What is kept in it takes [`map_bytes`].
    pub(crate) fn reserve_in_map<K: Eq + Hash, V>(&self, map: &mut FxHashMap<K, V>) -> Result<(), ExecError> {
        if map.len() < map.capacity() {
            return Ok(());
        }
        let before = map_bytes(map);
        let room = before.saturating_mul(2).max(MAP_SLOTS_MIN * (size_of::<(K, V)>() + 1));
        self.charge(room)?;
        map.reserve(1);
        self.release((before + room).saturating_sub(map_bytes(map)));
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
        let before = self.memory.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.memory_before.fetch_max(before, Ordering::Relaxed);
    }

    /// The most memory that was accounted for at a time, in bytes; not above the limit.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.memory_before.load(Ordering::Relaxed).max(self.charged())
    }

    /// What it may keep at most, in bytes.
    pub(crate) fn memory_max(&self) -> u64 {
        self.limits.memory_bytes
    }

    /// Memory that is accounted for.
    pub(crate) fn charged(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Back to an account of before, where all that was kept since was let go.
    pub(crate) fn recharge(&self, bytes: u64) {
        let before = self.memory.swap(bytes, Ordering::Relaxed);
        self.memory_before.fetch_max(before, Ordering::Relaxed);
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

/// Bytes of memory that a map takes beside what its entries point to: of each slot its entry and a byte. It fills seven
/// of eight slots, whose number is a power of two.
pub(crate) fn map_bytes<K, V>(map: &FxHashMap<K, V>) -> usize {
    match map.capacity() {
        0 => 0,
        capacity => (capacity * 8).div_ceil(7).next_power_of_two() * (size_of::<(K, V)>() + 1),
    }
}

/// Bytes of memory that one allocation takes, about: allocators round up, and keep its size beside it.
pub(crate) fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.saturating_add(8).next_multiple_of(16).max(32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is charged is what is there, and there is never more of it than the limit says: what does not fit is
        /// refused before there is room for it, and what was there stays.
        #[test]
        fn charges_come_before_growth(steps in proptest::collection::vec((0usize..3, 1usize..200), 1..60), max in 0u64..20_000) {
            let budget = Budget::new(Limits { memory_bytes: max, ..Limits::default() }, None);
            let (mut list, mut map, mut bytes) = (Vec::<u64>::new(), FxHashMap::<u64, [u8; 3]>::default(), 0);
            for (step, (what, many)) in steps.into_iter().enumerate() {
                let (capacity, room) = (list.capacity(), map.capacity());
                let done = match what {
                    0 => budget.reserve(&mut list, many).map(|()| list.extend(std::iter::repeat_n(0, many))),
                    1 => (0..many).try_for_each(|i| {
                        budget.reserve_in_map(&mut map)?;
                        map.insert((step * 1000 + i) as u64, [0; 3]);
                        Ok(())
                    }),
                    _ => budget.charge(many).map(|()| bytes += many),
                };
                let expect = list.capacity() * 8 + map_bytes(&map) + bytes;
                prop_assert_eq!(budget.charged(), expect as u64);
                prop_assert!(budget.memory_peak() <= max && budget.memory_peak() >= budget.charged());
                match done {
                    Ok(()) => prop_assert!(list.capacity() >= list.len()),
                    Err(ExecError::LimitExceeded { limit: "query_memory_bytes_max", .. }) => {
                        prop_assert!(what == 1 || (list.capacity(), map.capacity()) == (capacity, room));
                    }
                    Err(error) => prop_assert!(false, "{error}"),
                }
            }
        }
    }
}
