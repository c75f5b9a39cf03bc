//! Records of several segments by their Seqs: for leaves, and for what is lost.

use super::segment::{Readable, read_block};
use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::format::edit::{Leaf, SeqSet};
use crate::format::payload::{Payload, Reencoder};
use crate::id::Seq;
use crate::record::Block;
use crate::segment::SegmentBlock;
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Decoded blocks that are kept: records come in nearly in the order of their Seqs, so that few are needed at a time.
const BLOCKS_KEPT_MAX: usize = 8;
/// Seqs that a leaf spans at most which repair makes anew.
const LEAF_SEQS: u64 = 4096;

type Decoded = (Arc<Payload>, Arc<Vec<u64>>);

/// The records of some segments, by Seq.
pub(super) struct Records<'a> {
    readers: Vec<Readable>,
    keys: &'a KeyRing,
    /// The Seqs between which there are records that can't be read from here.
    elsewhere: Vec<(Seq, Seq)>,
    kept: VecDeque<((usize, usize), Decoded)>,
}

impl<'a> Records<'a> {
    pub fn new(readers: Vec<Readable>, keys: &'a KeyRing) -> Self {
        Records { readers, keys, elsewhere: Vec::new(), kept: VecDeque::new() }
    }

    /// Says between which Seqs there are records in files that are not at hand. Leaves over these stay as they are.
    pub fn with_elsewhere(self, elsewhere: Vec<(Seq, Seq)>) -> Self {
        Records { elsewhere, ..self }
    }

    fn block(&mut self, at: (usize, usize)) -> Result<Decoded, StorageError> {
        if let Some((_, decoded)) = self.kept.iter().find(|(key, _)| *key == at) {
            return Ok(decoded.clone());
        }
        let decoded = read_block(&self.readers[at.0].reader, at.1)?;
        if self.kept.len() == BLOCKS_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((at, decoded.clone()));
        Ok(decoded)
    }

    fn blocks_of(&self, first: Seq, last: Seq) -> Vec<(usize, usize)> {
        let of = |(i, segment): (usize, &Readable)| {
            let blocks = segment.reader.footer().blocks.iter().enumerate();
            let meets = blocks.filter(|(_, b)| b.info.seq.0 <= last && b.info.seq.1 >= first);
            meets.map(|(block, _)| (i, block)).collect::<Vec<_>>()
        };
        self.readers.iter().enumerate().flat_map(of).collect()
    }

    /// The Seqs from `first` to `last` that have a record.
    pub fn seqs(&self, first: Seq, last: Seq) -> Result<RoaringTreemap, StorageError> {
        let mut seqs = RoaringTreemap::new();
        for (reader, block) in self.blocks_of(first, last) {
            let of_block = SegmentBlock::open(&self.readers[reader].reader, block)?.seqs()?;
            seqs.extend(of_block.iter().copied().filter(|seq| (first.0..=last.0).contains(seq)));
        }
        Ok(seqs)
    }

    /// The leaf of the records that there are of these Seqs; `None` where there are none.
    pub fn leaf(&mut self, of: &SeqSet) -> Result<Option<Leaf>, StorageError> {
        self.leaf_or(of, None)
    }

    /// The same for the records of a leaf that there is: this one, where it still comes out.
    pub fn again(&mut self, leaf: &Leaf) -> Result<Option<Leaf>, StorageError> {
        if self.elsewhere.iter().any(|(first, last)| *first <= leaf.last() && *last >= leaf.first()) {
            return Ok(Some(leaf.clone()));
        }
        self.leaf_or(&leaf.seqs, Some(leaf))
    }

    fn leaf_or(&mut self, of: &SeqSet, known: Option<&Leaf>) -> Result<Option<Leaf>, StorageError> {
        let mut is_any_sealed = false;
        let mut records: BTreeMap<u64, (Arc<Payload>, usize)> = BTreeMap::new();
        for at in self.blocks_of(of.first(), of.last()) {
            let (is_sealed, before) = (self.readers[at.0].is_sealed, records.len());
            let (payload, seqs) = self.block(at)?;
            let within = seqs.iter().enumerate().filter(|(_, seq)| of.contains(Seq(**seq)));
            records.extend(within.map(|(record, seq)| (*seq, (payload.clone(), record))));
            is_any_sealed |= is_sealed && records.len() > before;
        }
        let Some(seqs) = SeqSet::of(records.keys().map(|seq| Seq(*seq))) else { return Ok(None) };
        let mut encoder = Reencoder::default();
        for (payload, record) in records.into_values() {
            let record = &payload.records[record];
            encoder.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
        }
        let payload = encoder.finish().bytes;
        if let Some(known) = known.filter(|known| self.keys.is_leaf(&known.hash, &payload)) {
            return Ok(Some(known.clone()));
        }
        // Whoever has no key can check leaves of what is not encrypted.
        let hash = if is_any_sealed { self.keys.leaf(&payload) } else { *blake3::hash(&payload).as_bytes() };
        Ok(Some(Leaf { seqs, hash }))
    }

    /// Leaves over all records: those of `known` that still come out the same, and others for what they leave.
    pub fn leaves(&mut self, known: &[Leaf], all: &RoaringTreemap) -> Result<Vec<Leaf>, StorageError> {
        let mut leaves = Vec::new();
        let mut rest = all.clone();
        for leaf in known {
            // Also where it comes out otherwise: its records are those that are left of it.
            leaves.extend(self.again(leaf)?);
            for (first, last) in leaf.seqs.runs() {
                rest.remove_range(first.0..=last.0);
            }
        }
        while let Some(first) = rest.min() {
            let last = first + LEAF_SEQS - 1;
            if let Some(of) = SeqSet::of(rest.iter().take_while(|seq| *seq <= last).map(Seq)) {
                leaves.extend(self.leaf(&of)?);
            }
            rest.remove_range(first..=last);
        }
        leaves.sort_by_key(Leaf::first);
        Ok(leaves)
    }
}

/// What is left of ranges of Seqs without some.
pub(super) fn ranges_without(ranges: &[(Seq, Seq)], without: &RoaringTreemap) -> Vec<(Seq, Seq)> {
    let mut left: Vec<(Seq, Seq)> = Vec::new();
    for (first, last) in ranges {
        let mut next = first.0;
        let mut inside = without.iter();
        inside.advance_to(first.0);
        for seq in inside.take_while(|seq| *seq <= last.0) {
            if seq > next {
                left.push((Seq(next), Seq(seq - 1)));
            }
            next = seq + 1;
        }
        if next <= last.0 {
            left.push((Seq(next), *last));
        }
    }
    left.sort_unstable();
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let without: RoaringTreemap = [3u64, 4, 9, 20].into_iter().collect();
        let left = |ranges: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let ranges: Vec<_> = ranges.iter().map(|(a, b)| (Seq(*a), Seq(*b))).collect();
            ranges_without(&ranges, &without).into_iter().map(|(a, b)| (a.0, b.0)).collect()
        };
        assert_eq!(left(&[(1, 10)]), [(1, 2), (5, 8), (10, 10)]);
        assert_eq!(left(&[(3, 4), (20, 20), (30, 31)]), [(30, 31)]);
        assert_eq!(left(&[(9, 12), (4, 5)]), [(5, 5), (10, 12)]);
    }
}
