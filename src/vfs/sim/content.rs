//! What a file holds, and the changes to it that were not synced.

use super::SimRandom;
use std::sync::Arc;

/// What a disk writes whole or not at all, at least; some of it may be torn all the same, see [`Fate::TornBytes`].
const SECTOR_BYTES: usize = 512;

/// A file's bytes: those up to the last one that was written, and zeros from there to its length. So room that is
/// reserved costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
    len: usize,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Content { bytes: bytes.to_vec(), len: bytes.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Reads what there is from an offset on; says how many bytes.
    pub(super) fn read(&self, from: usize, buffer: &mut [u8]) -> usize {
        let n = self.len.saturating_sub(from).min(buffer.len());
        let some = self.bytes.get(from..).unwrap_or_default();
        let written = some.len().min(n);
        buffer[..written].copy_from_slice(&some[..written]);
        buffer[written..n].fill(0);
        n
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        let end = at + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(data);
        self.len = self.len.max(end);
    }

    fn set_len(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.len = len;
    }

    /// Turns a bit over; false where the file is shorter.
    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let Ok(at) = usize::try_from(bit / 8) else { return false };
        if at >= self.len {
            return false;
        }
        if at >= self.bytes.len() {
            self.bytes.resize(at + 1, 0);
        }
        self.bytes[at] ^= 1 << (bit % 8);
        true
    }
}

/// A change that is seen at once, and durable after a sync.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(usize, Arc<[u8]>),
    SetLen(usize),
    /// Room that was reserved: the file is at least so long.
    Grow(usize),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Change::Write(at, data) => content.write(*at, data),
            Change::SetLen(len) => content.set_len(*len),
            Change::Grow(len) => content.len = content.len.max(*len),
        }
    }

    /// How long a file of this length is after it.
    pub(super) fn len_after(&self, len: usize) -> usize {
        match self {
            Change::Write(at, data) => len.max(at + data.len()),
            Change::SetLen(len) => *len,
            Change::Grow(more) => len.max(*more),
        }
    }
}

/// A file, with or without names.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) durable: Content,
    pub(super) live: Content,
    pub(super) unsynced: Vec<Change>,
}

/// What became of a file's unsynced changes when the power went.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// None is there.
    Lost,
    /// Those up to some moment.
    Prefix,
    /// Any of them.
    Some,
    /// Any sectors of any of them.
    TornSectors,
    /// One range of bytes of any of them: a sector that was being written when the power went.
    TornBytes,
    /// Any of them; where a lost write had made the file longer, the length is there, and what stands there once
    /// belonged to another file.
    Stale,
    /// All.
    Kept,
}

impl Inode {
    /// What is there after the power went. `stale` is what other files' blocks held.
    pub(super) fn after_crash(&self, random: &mut SimRandom, stale: &Content, is_orderly: bool) -> Content {
        use Fate::*;
        if is_orderly {
            return self.by_sectors(random);
        }
        let fates = [Lost, Prefix, Some, TornSectors, Kept, TornBytes, Stale];
        let fate = fates[random.index(fates.len())];
        let mut content = self.durable.clone();
        let kept = random.index(self.unsynced.len() + 1);
        for (n, change) in self.unsynced.iter().enumerate() {
            let survives = match fate {
                Lost => false,
                Prefix => n < kept,
                Kept => true,
                Some | TornSectors | TornBytes | Stale => random.coin(),
            };
            match (fate, change) {
                (TornSectors, Change::Write(at, data)) if survives => write_sectors(&mut content, *at, data, random),
                (TornBytes, Change::Write(at, data)) if survives => {
                    let to = random.index(data.len() + 1);
                    let from = random.index(to + 1);
                    content.write(at + from, &data[from..to]);
                }
                (Stale, Change::Write(at, data)) if !survives && at + data.len() > content.len => {
                    let from = (*at).max(content.len);
                    content.write(from, &stale_bytes(stale, from, at + data.len() - from, random));
                }
                _ if survives => change.apply(&mut content),
                _ => {}
            }
        }
        content
    }

    /// What is there after the power went of a file on a disk that writes sectors whole, from memory that has all changes
    /// up to then: each sector is as it was after some of the first changes, and so is the length.
    fn by_sectors(&self, random: &mut SimRandom) -> Content {
        let n = self.unsynced.len();
        // None, all, or each as it comes.
        let kept = [Some(0), Some(n), None, None][random.index(4)];
        let kept_of = |random: &mut SimRandom| kept.unwrap_or_else(|| random.index(n + 1));
        let end = self.unsynced.iter().fold(self.durable.len, |len, change| len.max(change.len_after(len)));
        let wanted: Vec<usize> = (0..end.div_ceil(SECTOR_BYTES)).map(|_| kept_of(random)).collect();
        let len_kept = kept_of(random);
        let (mut state, mut out) = (self.durable.clone(), Content::default());
        let mut len = 0;
        for made in 0..=n {
            for (sector, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted == made) {
                let from = sector * SECTOR_BYTES;
                if from < state.bytes.len() {
                    let to = (from + SECTOR_BYTES).min(state.bytes.len());
                    out.write(from, &state.bytes[from..to]);
                }
            }
            if made == len_kept {
                len = state.len;
            }
            if let Some(change) = self.unsynced.get(made) {
                change.apply(&mut state);
            }
        }
        out.set_len(len);
        out
    }

    /// A sync that failed: some of what was unsynced is on the disk all the same, and what is not never will be,
    /// though it may still be seen.
    pub(super) fn failed_sync(&mut self, random: &mut SimRandom, is_orderly: bool) {
        let how = random.below(4);
        if how == 0 {
            // It failed before anything was written, and all is still to be written.
            return;
        }
        if is_orderly {
            self.durable = self.by_sectors(random);
            self.unsynced.clear();
        }
        for change in std::mem::take(&mut self.unsynced) {
            if random.coin() {
                change.apply(&mut self.durable);
            }
        }
        if how == 1 {
            // What is seen from now on is what the disk has.
            self.live = self.durable.clone();
        }
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.durable);
        }
    }
}

fn write_sectors(content: &mut Content, at: usize, data: &[u8], random: &mut SimRandom) {
    let mut from = 0;
    while from < data.len() {
        let to = ((at + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at).min(data.len());
        if random.coin() {
            content.write(at + from, &data[from..to]);
        }
        from = to;
    }
}

/// What another file held, at the same place or anywhere.
fn stale_bytes(stale: &Content, at: usize, n: usize, random: &mut SimRandom) -> Vec<u8> {
    let from = if random.coin() { at } else { random.index(stale.len + 1) };
    let mut bytes: Vec<u8> = (0..n).map(|_| random.next_u64() as u8).collect();
    stale.read(from, &mut bytes);
    bytes
}
