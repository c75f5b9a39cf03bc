//! What was decoded, kept between queries within a bound.
//!
//! Second-chance eviction: an entry that was used since the hand last passed gets another round. No results of
//! queries are kept, only what the files say.

use super::fetch::Loaded;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Which part of which file: the number that an opened file got, a block, and a part of it.
pub(super) type Key = (u64, u32, u32);

/// Decoded parts of segments, up to a number of bytes. Shared by all segments of a store.
#[derive(Debug)]
pub struct Cache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: FxHashMap<Key, Entry>,
    hand: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Loaded,
    bytes: usize,
    used: bool,
}

impl Cache {
    /// A cache of at most so many bytes; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        Cache { bytes_max, inner: Mutex::default() }
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
        while inner.bytes + bytes > self.bytes_max {
            let Some(oldest) = inner.hand.pop_front() else { break };
            match inner.entries.get_mut(&oldest) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    inner.hand.push_back(oldest);
                }
                Some(_) => {
                    if let Some(gone) = inner.entries.remove(&oldest) {
                        inner.bytes -= gone.bytes;
                    }
                }
                None => {}
            }
        }
        if let Some(before) = inner.entries.insert(key, Entry { value, bytes, used: false }) {
            inner.bytes -= before.bytes;
        } else {
            inner.hand.push_back(key);
        }
        inner.bytes += bytes;
    }

    /// Forgets all parts of a file.
    pub(super) fn forget(&self, file: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let gone: Vec<Key> = inner.entries.keys().filter(|k| k.0 == file).copied().collect();
        for key in gone {
            if let Some(entry) = inner.entries.remove(&key) {
                inner.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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
