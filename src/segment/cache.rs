//! What was decoded, kept between queries within a bound.
//!
//! What is pushed out is chosen at random among what was not used lately. A query that reads more than fits, again and
//! again, finds most of it here each time, where a queue would always push out what comes next. No results of queries
//! are kept, only what the files say.

use super::fetch::Loaded;
use rustc_hash::FxHashMap;
use std::sync::Mutex;

/// Which part of which file: the number that an opened file got, a block, and a part of it.
pub(super) type Key = (u64, u32, u32);

/// Entries that are looked at before one in use is pushed out.
const TRIES_MAX: u32 = 32;

/// Decoded parts of segments, up to a number of bytes. Shared by all segments of a store.
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
    value: Loaded,
    bytes: usize,
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

    /// Pushes one entry out: the first one met that was not used. Those that were are spared once.
    fn push_out(&mut self) {
        self.turn += 1;
        for tries in 1.. {
            // Xorshift; any other would do.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let Some(place) = self.random.checked_rem(self.keys.len() as u64) else { return };
            let key = self.keys[place as usize];
            match self.entries.get_mut(&key) {
                Some(entry) if entry.used && tries < TRIES_MAX => {
                    entry.used = false;
                    entry.spared = self.turn;
                }
                Some(entry) if entry.spared == self.turn && tries < TRIES_MAX => {}
                _ => return self.remove(key),
            }
        }
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

    pub(super) fn get(&self, key: Key) -> Option<Loaded> {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let entry = inner.entries.get_mut(&key)?;
        entry.used = true;
        Some(entry.value.clone())
    }

    pub(super) fn put(&self, key: Key, value: Loaded) {
        let bytes = value.memory() + 64;
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
        inner.entries.insert(key, Entry { value, bytes, used: false, spared: 0, place });
        inner.bytes += bytes;
    }

    /// Forgets all parts of a file.
    pub(super) fn forget(&self, file: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let gone: Vec<Key> = inner.entries.keys().filter(|k| k.0 == file).copied().collect();
        gone.into_iter().for_each(|key| inner.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn most_of_what_is_read_in_turns_stays() {
        let cache = Cache::new(100_000);
        let mut hits = 0;
        for round in 0..10 {
            for i in 0..120 {
                match cache.get((1, i, 0)) {
                    Some(_) => hits += usize::from(round >= 5),
                    // With its overhead, a hundredth.
                    None => cache.put((1, i, 0), Loaded::Rows(Arc::from(vec![0u32; 234]))),
                }
            }
        }
        assert!(hits > 5 * 60, "{hits} of {}", 5 * 120);
    }

    #[test]
    fn bounded_and_keeps_what_is_used() {
        let cache = Cache::new(10_000);
        let value = || Loaded::Rows(Arc::from(vec![0u32; 200]));
        for i in 0..100 {
            cache.put((1, i, 0), value());
            assert!(cache.get((1, 0, 0)).is_some(), "the entry in use stays, {i}");
            assert!(cache.bytes() <= 10_000);
        }
        cache.forget(1);
        assert_eq!(cache.bytes(), 0);
        cache.put((2, 0, 0), Loaded::Rows(Arc::from(vec![0u32; 100_000])));
        assert_eq!(cache.bytes(), 0);
    }
}
