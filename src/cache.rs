//! What was read and decoded, kept between queries within a bound.
//!
//! Promises: what is kept never takes more than the bound, whoever put it there; what is asked for is there or is not,
//! and is never something else. May not know: what it keeps.
//!
//! What is pushed out is the cheapest for its size among a few entries, chosen at random, that were not used lately. A
//! query that reads more than fits, again and again, finds most of it here each time, where a queue would always push
//! out what comes next; and what took long to make of many bytes stays, as headers and outlines do, while what is read
//! again in no time goes. This is GreedyDual-Size (Cao and Irani, 1997) with a lottery in place of its queue and its
//! aging. No results of queries are kept, only what the files say.

use rustc_hash::FxHashMap;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which part of what: the number of an owner (see [`Cache::owner`]), a block, and a part of it.
pub type Key = (u64, u32, u32);

/// What an entry takes beside its part.
const OVERHEAD_BYTES: usize = 128;
/// Entries that are looked at before one in use is pushed out.
const TRIES_MAX: u32 = 32;
/// Entries that were not used lately, of which the cheapest is pushed out.
const CANDIDATES: u32 = 4;
/// What was made in less time counts as made in this one: clocks tell no less.
const COST_MIN: Duration = Duration::from_micros(1);

/// Decoded parts of segments and of their indexes, up to a number of bytes. Shared by all of a store.
#[derive(Debug)]
pub struct Cache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: FxHashMap<Key, Entry>,
    /// The keys, in no order: for picking one at random.
    keys: Vec<Key>,
    bytes: usize,
    random: u64,
    /// Counts what was pushed out.
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    /// Picoseconds that it took to make, for each byte.
    worth: u64,
    /// Since it was last spared.
    used: bool,
    /// When that was.
    spared: u64,
    /// Where its key stands among the keys.
    place: usize,
}

impl Inner {
    fn remove(&mut self, key: Key) {
        let Some(gone) = self.entries.remove(&key) else { return };
        self.bytes -= gone.bytes;
        self.keys.swap_remove(gone.place);
        if let Some(entry) = self.keys.get(gone.place).and_then(|moved| self.entries.get_mut(moved)) {
            entry.place = gone.place;
        }
    }

    /// Pushes one entry out, of some that were not used. Those that were are spared once.
    fn push_out(&mut self) {
        self.turn += 1;
        let (mut candidates, mut cheapest) = (0, None);
        for _ in 0..TRIES_MAX {
            let Some(key) = self.any() else { return };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.used {
                entry.used = false;
                entry.spared = self.turn;
            }
            if entry.spared == self.turn {
                continue;
            }
            candidates += 1;
            if cheapest.is_none_or(|(worth, _)| entry.worth < worth) {
                cheapest = Some((entry.worth, key));
            }
            if candidates == CANDIDATES {
                break;
            }
        }
        // All that were met are in use.
        if let Some(key) = cheapest.map(|(_, key)| key).or_else(|| self.any()) {
            self.remove(key);
        }
    }

    /// Any of the keys.
    fn any(&mut self) -> Option<Key> {
        // Xorshift; any other would do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let place = self.random.checked_rem(self.keys.len() as u64)?;
        self.keys.get(place as usize).copied()
    }
}

impl Cache {
    /// A cache of at most so many bytes; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        Cache { bytes_max, inner: Mutex::new(Inner { random: 0x9e37_79b9_7f4a_7c15, ..Inner::default() }) }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.inner.lock().unwrap_or_else(|e| e.into_inner()).bytes
    }

    /// A number that nobody else has, for the keys of one owner of parts.
    pub fn owner() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// A part, where it is there and of this type.
    pub fn get<T: Send + Sync + 'static>(&self, key: Key) -> Option<Arc<T>> {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let entry = inner.entries.get_mut(&key)?;
        entry.used = true;
        entry.value.clone().downcast().ok()
    }

    /// Keeps a part of so many bytes that it took so long to read and to make.
    pub fn put<T: Send + Sync + 'static>(&self, key: Key, value: Arc<T>, bytes: usize, cost: Duration) {
        let bytes = bytes + OVERHEAD_BYTES;
        // One entry may not push out more than a quarter of the rest.
        if bytes > self.bytes_max / 4 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        // Two threads may have read the same part.
        inner.remove(key);
        while inner.bytes + bytes > self.bytes_max {
            inner.push_out();
        }
        let place = inner.keys.len();
        inner.keys.push(key);
        let worth = (cost.max(COST_MIN).as_nanos() as u64).saturating_mul(1000) / bytes as u64;
        inner.entries.insert(key, Entry { value, bytes, worth, used: false, spared: 0, place });
        inner.bytes += bytes;
    }

    /// Forgets all parts of an owner.
    pub fn forget(&self, owner: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let gone: Vec<Key> = inner.entries.keys().filter(|k| k.0 == owner).copied().collect();
        gone.into_iter().for_each(|key| inner.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Duration = Duration::from_micros(10);

    #[test]
    fn what_took_long_stays_beside_what_is_read_in_turns() {
        let cache = Cache::new(100_000);
        let mut hits = 0;
        for round in 0..10 {
            for i in 0..300 {
                let (key, cost) = ((1, i, 0), if i % 6 == 0 { 10 * COST } else { COST });
                match cache.get::<Vec<u32>>(key) {
                    Some(_) => hits += usize::from(round >= 5 && i % 6 == 0),
                    None => cache.put(key, Arc::new(vec![0u32; 234]), 872, cost),
                }
            }
        }
        assert!(hits > 5 * 35, "{hits} of {}", 5 * 50);
    }

    #[test]
    fn most_of_what_is_read_in_turns_stays() {
        let cache = Cache::new(100_000);
        let mut hits = 0;
        for round in 0..10 {
            for i in 0..120 {
                match cache.get::<Vec<u32>>((1, i, 0)) {
                    Some(_) => hits += usize::from(round >= 5),
                    // With its overhead, a hundredth.
                    None => cache.put((1, i, 0), Arc::new(vec![0u32; 234]), 872, COST),
                }
            }
        }
        assert!(hits > 5 * 60, "{hits} of {}", 5 * 120);
    }

    #[test]
    fn bounded_and_keeps_what_is_used() {
        let cache = Cache::new(10_000);
        let value = || Arc::new(vec![0u32; 200]);
        for i in 0..100 {
            cache.put((1, i, 0), value(), 800, COST);
            assert!(cache.get::<Vec<u32>>((1, 0, 0)).is_some(), "the entry in use stays, {i}");
            assert!(cache.bytes() <= 10_000);
        }
        cache.forget(1);
        assert_eq!(cache.bytes(), 0);
        cache.put((2, 0, 0), Arc::new(vec![0u32; 100_000]), 400_000, COST);
        assert_eq!(cache.bytes(), 0);
        cache.put((3, 0, 0), value(), 800, COST);
        assert!(cache.get::<u32>((3, 0, 0)).is_none(), "nothing of another type");
    }
}
