//! What was read of files in buckets, kept for a while: a page of a block is some kilobytes, and a request some
//! milliseconds whatever it asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that are asked for at least, but at a file's end.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Bytes that are kept of an archive.
pub const CHUNKS_BYTES_MAX: usize = 64 << 20;

/// A chunk by its file and number.
type Key = (Arc<str>, u64);

/// Chunks, of which those that nobody asked for the longest go first.
#[derive(Debug, Default)]
pub(super) struct Chunks(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    chunks: HashMap<Key, (Arc<[u8]>, u64)>,
    /// By when they were last asked for.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} chunks, {} bytes", self.chunks.len(), self.bytes)
    }
}

impl Chunks {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, file: &Arc<str>, number: u64) -> Option<Arc<[u8]>> {
        let mut kept = self.kept();
        let key = (file.clone(), number);
        kept.clock += 1;
        let now = kept.clock;
        let (bytes, used) = kept.chunks.get_mut(&key)?;
        let (bytes, before) = (bytes.clone(), std::mem::replace(used, now));
        kept.order.remove(&before);
        kept.order.insert(now, key);
        Some(bytes)
    }

    pub fn put(&self, file: &Arc<str>, number: u64, bytes: Arc<[u8]>) {
        let mut kept = self.kept();
        let key = (file.clone(), number);
        kept.clock += 1;
        let now = kept.clock;
        kept.bytes += bytes.len();
        if let Some((other, used)) = kept.chunks.insert(key.clone(), (bytes, now)) {
            kept.bytes -= other.len();
            kept.order.remove(&used);
        }
        kept.order.insert(now, key);
        while kept.bytes > CHUNKS_BYTES_MAX {
            let Some((_, oldest)) = kept.order.pop_first() else { return };
            if let Some((gone, _)) = kept.chunks.remove(&oldest) {
                kept.bytes -= gone.len();
            }
        }
    }

    /// Lets go what is kept of a file.
    pub fn forget(&self, file: &str) {
        let mut kept = self.kept();
        let gone: Vec<(u64, Key)> =
            kept.order.iter().filter(|(_, k)| &*k.0 == file).map(|(n, k)| (*n, k.clone())).collect();
        for (used, key) in gone {
            kept.order.remove(&used);
            if let Some((bytes, _)) = kept.chunks.remove(&key) {
                kept.bytes -= bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_what_is_kept_is_bounded() {
        let chunks = Chunks::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let count = (CHUNKS_BYTES_MAX / CHUNK_BYTES) as u64;
        for n in 0..count {
            chunks.put(&one, n, vec![n as u8; CHUNK_BYTES].into());
        }
        assert!(chunks.get(&one, 0).is_some_and(|c| c[0] == 0), "all fit, and this one is the youngest now");
        chunks.put(&one, 0, vec![9; CHUNK_BYTES].into());
        chunks.put(&two, 0, vec![7; CHUNK_BYTES].into());
        assert!(chunks.get(&one, 1).is_none() && chunks.get(&one, 2).is_some());
        assert!(chunks.get(&one, 0).is_some_and(|c| c[0] == 9) && chunks.get(&two, 0).is_some());
        assert_eq!(chunks.kept().bytes, CHUNKS_BYTES_MAX);
        chunks.forget("one");
        let kept = chunks.kept();
        assert_eq!((kept.bytes, kept.chunks.len(), kept.order.len()), (CHUNK_BYTES, 1, 1));
    }
}
