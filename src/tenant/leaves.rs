//! Leaves: which records have one together when they are sealed, and what becomes of leaves when segments go.
//!
//! Promises: at seal no leaf has records of two segments, so that what rules let go together takes whole leaves with it,
//! and those of what stays can be made again.

use crate::crypt::KeyRing;
use crate::format::edit::{Leaf, SegmentMeta, SeqSet};
use crate::format::payload::Reencoder;
use crate::format::rows::RowRef;
use crate::format::version::Version;
use crate::id::{SegmentId, Seq};
use crate::memtable::CommittedBatch;
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A leaf of the manifest spans at least so many records where batches are smaller, so that a million requests of one
/// record do not make a million leaves. A batch that has as many keeps the leaf that it got when it was appended: to join
/// batches is to encode and hash their records again, a tenth of what sealing costs, and a leaf takes some 60 bytes.
const LEAF_RECORDS_MIN: usize = 512;

/// The leaves of the rows of a segment: of each batch's share of it its own, and one for runs of small ones.
pub(super) fn leaves_of(rows: &[RowRef], batches: &[CommittedBatch], keys: &KeyRing) -> Vec<Leaf> {
    let mut rows = rows.to_vec();
    // Arrival is nearly in order of time, so that this is little work.
    rows.sort_by_key(|row| row.seq);
    let shares: Vec<&[RowRef]> = rows.chunk_by(|a, b| a.batch == b.batch).collect();
    let mut leaves = Vec::new();
    let mut at = 0;
    while at < shares.len() {
        let mut end = at;
        let mut records = 0;
        while end < shares.len() && records < LEAF_RECORDS_MIN {
            let more = shares[end].len();
            if end > at && more >= LEAF_RECORDS_MIN {
                break;
            }
            records += more;
            end += 1;
        }
        let run = &shares[at..end];
        at = end;
        let rows = || run.iter().copied().flatten();
        let hash = match run {
            [share] if batch(share, batches).is_some_and(|b| b.payload.records.len() == share.len()) => {
                batch(share, batches).map_or([0; 32], |b| b.leaf)
            }
            _ => joint_leaf(rows(), batches, keys),
        };
        // One memtable has fewer records than a set can span.
        leaves.extend(SeqSet::of(rows().map(|row| row.seq)).map(|seqs| Leaf { seqs, hash }));
    }
    leaves
}

fn batch<'a>(share: &[RowRef], batches: &'a [CommittedBatch]) -> Option<&'a CommittedBatch> {
    batches.get(share.first()?.batch as usize)
}

/// The leaf of records of several batches as one.
fn joint_leaf<'a>(rows: impl Iterator<Item = &'a RowRef>, batches: &[CommittedBatch], keys: &KeyRing) -> [u8; 32] {
    let mut all = Reencoder::default();
    for row in rows {
        let payload = &batches[row.batch as usize].payload;
        let record = &payload.records[row.record as usize];
        all.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
    }
    keys.leaf(&all.finish().bytes)
}

/// First Seqs of the leaves that an expiry names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parted {
    /// Some of their records go and some stay.
    pub broken: Vec<Seq>,
    /// All of them go, which the segments' bounds alone do not show.
    pub gone: Vec<Seq>,
}

impl Parted {
    /// What becomes of leaves where segments go. `seqs_of` gives the Seqs of the records of one of these, or nothing
    /// where it can't be read: leaves that may have some of them then count as broken.
    ///
    /// It is asked only of segments among whose Seqs a segment has some that stays.
    pub fn by(
        version: &Version,
        going: &BTreeSet<SegmentId>,
        seqs_of: &mut dyn FnMut(SegmentId) -> Option<Arc<RoaringTreemap>>,
    ) -> Parted {
        let (go, stay): (Vec<_>, Vec<_>) = version.segments.values().partition(|s| going.contains(&s.id));
        let (go_spans, stay_spans) = (spans(go.iter().copied()), spans(stay.into_iter()));
        let asked: Vec<&Leaf> = (version.leaves())
            .filter(|leaf| meets(&go_spans, leaf.first(), leaf.last()) && meets(&stay_spans, leaf.first(), leaf.last()))
            .collect();
        let mut reach: BTreeMap<Seq, Seq> = BTreeMap::new();
        for leaf in &asked {
            match reach.last_entry() {
                Some(mut last) if leaf.first() <= *last.get() => drop(last.insert(leaf.last().max(*last.get()))),
                _ => drop(reach.insert(leaf.first(), leaf.last())),
            }
        }
        let (mut went, mut unknown) = (RoaringTreemap::new(), Vec::new());
        for meta in go.into_iter().filter(|meta| meets(&reach, meta.min_seq, meta.max_seq)) {
            match seqs_of(meta.id) {
                Some(seqs) => went |= &*seqs,
                None => unknown.push(meta),
            }
        }
        let unknown = spans(unknown.into_iter());
        let mut parted = Parted::default();
        for leaf in asked {
            let gone: u64 = leaf.seqs.runs().map(|(from, to)| went.range_cardinality(from.0..=to.0)).sum();
            let is_unknown = meets(&unknown, leaf.first(), leaf.last());
            match gone {
                n if n == u64::from(leaf.count()) => parted.gone.push(leaf.first()),
                0 if !is_unknown => {}
                _ => parted.broken.push(leaf.first()),
            }
        }
        parted
    }
}

/// The Seqs that segments span, as spans that do not overlap, by their first.
fn spans<'a>(segments: impl Iterator<Item = &'a Arc<SegmentMeta>>) -> BTreeMap<Seq, Seq> {
    let mut all: Vec<(Seq, Seq)> = segments.map(|s| (s.min_seq, s.max_seq)).collect();
    all.sort_unstable();
    let mut spans: BTreeMap<Seq, Seq> = BTreeMap::new();
    for (from, to) in all {
        match spans.last_entry() {
            Some(mut last) if from <= *last.get() => drop(last.insert(to.max(*last.get()))),
            _ => drop(spans.insert(from, to)),
        }
    }
    spans
}

fn meets(spans: &BTreeMap<Seq, Seq>, first: Seq, last: Seq) -> bool {
    spans.range(..=last).next_back().is_some_and(|(_, to)| *to >= first)
}
