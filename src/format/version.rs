//! What a chain of edits amounts to.

use super::bytes::{DecodeError, Reader, put_bytes, put_i64, put_u64};
use super::edit::{Edit, Entry, HEAD_START, Leaf, SegmentMeta};
use super::header::SEQ_MAX;
use super::leaf::{decode_leaves, first_shared, put_leaves};
use super::meta::{SEGMENT_META_BYTES, decode_segment, decode_tenant, decode_vec, put_segment};
use crate::id::{SegmentId, Seq, TenantId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most leaves that are kept as one shared run, so that a change copies little.
const LEAVES_PER_RUN_MAX: usize = 4096;

/// What a tenant's store consists of after some entry of the chain. It does not change; the next one shares with it.
#[derive(Clone, Debug)]
pub struct Version {
    /// Whose store.
    pub tenant: TenantId,
    /// When the tenant was made, Unix nanoseconds.
    pub created_at_ns: i64,
    /// The live segments.
    pub segments: BTreeMap<SegmentId, Arc<SegmentMeta>>,
    /// Every record up to and with this Seq is in a segment, or has gone from one.
    pub sealed_below: Seq,
    /// The lowest number that no segment has had.
    pub next_segment_id: SegmentId,
    /// The chain's hash.
    pub head: [u8; 32],
    /// Number of the last entry.
    pub edits: u64,
    /// Records that expired or were deleted, since the beginning.
    pub records_removed: u64,
    /// Runs of leaves by rising first Seq, under the first Seq of each run.
    leaves: BTreeMap<Seq, Arc<[Leaf]>>,
    /// Seqs of leaves that expiry broke, first and last: of their records that are left there is no leaf.
    broken: Arc<BTreeMap<Seq, Seq>>,
}

impl PartialEq for Version {
    /// The same store at the same place of a chain; how leaves are cut into runs does not count.
    fn eq(&self, other: &Self) -> bool {
        let Version { tenant, created_at_ns, segments, sealed_below, next_segment_id, head, edits, .. } = self;
        (tenant, *created_at_ns, segments) == (&other.tenant, other.created_at_ns, &other.segments)
            && (*sealed_below, *next_segment_id) == (other.sealed_below, other.next_segment_id)
            && (head, *edits, self.records_removed) == (&other.head, other.edits, other.records_removed)
            && self.leaves().eq(other.leaves())
            && self.broken == other.broken
    }
}

impl Eq for Version {}

/// Why an edit does not fit what it would change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEdit(pub String);

fn bad<T>(text: String) -> Result<T, BadEdit> {
    Err(BadEdit(text))
}

impl Version {
    /// The version after an entry whose hash is `head`; `before` is missing at the beginning of a manifest.
    pub fn after(before: Option<&Version>, entry: &Entry, head: [u8; 32]) -> Result<Version, BadEdit> {
        let mut edits = entry.edits.iter();
        let mut version = match before {
            Some(version) => version.clone(),
            None => match edits.next() {
                Some(Edit::Create { tenant, created_at_ns }) => Version::new(tenant.clone(), *created_at_ns),
                Some(Edit::Snapshot(version)) => (**version).clone(),
                _ => return bad("a chain begins with a create or a snapshot".into()),
            },
        };
        edits.try_for_each(|edit| version.apply(edit))?;
        version.head = head;
        version.edits = entry.number;
        Ok(version)
    }

    /// A version made of what could be found of a store whose manifest is damaged. What is found goes on the chain of
    /// `before`, the last version that can be read; without one the chain begins here.
    pub fn rebuilt(
        tenant: &TenantId,
        before: Option<&Version>,
        segments: &[SegmentMeta],
        leaves: &[Leaf],
        (sealed_below, next_segment_id): (Seq, SegmentId),
    ) -> Result<Version, BadEdit> {
        let mut version = Version::new(tenant.clone(), before.map_or(0, |before| before.created_at_ns));
        if let Some(before) = before {
            (version.head, version.edits) = (before.head, before.edits);
            version.records_removed = before.records_removed;
        }
        version.next_segment_id = SegmentId(0);
        version.seal(segments, leaves, sealed_below)?;
        version.next_segment_id = version.next_segment_id.max(next_segment_id);
        Ok(version)
    }

    /// The leaves of all records that are sealed and live, by rising first Seq. No two have a Seq in common.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.values().flat_map(|run| run.iter())
    }

    /// Seqs, first and last, of which some records expired and others are live: for these there is no leaf any more.
    pub fn broken(&self) -> &Arc<BTreeMap<Seq, Seq>> {
        &self.broken
    }

    /// Runs of Seqs, first and last, of which the version says that there are records: those of leaves that reach from one
    /// Seq to another. What is sealed and in none of them was let go, or is in [`Version::broken`].
    pub fn runs_between(&self, first: Seq, last: Seq) -> impl Iterator<Item = (Seq, Seq)> {
        self.leaves().filter(move |leaf| leaf.first() <= last && leaf.last() >= first).flat_map(|leaf| leaf.seqs.runs())
    }

    fn new(tenant: TenantId, created_at_ns: i64) -> Self {
        Version {
            tenant,
            created_at_ns,
            segments: BTreeMap::new(),
            sealed_below: Seq(0),
            next_segment_id: SegmentId(1),
            head: HEAD_START,
            edits: 0,
            records_removed: 0,
            leaves: BTreeMap::new(),
            broken: Arc::default(),
        }
    }

    fn apply(&mut self, edit: &Edit) -> Result<(), BadEdit> {
        match edit {
            Edit::Create { .. } | Edit::Snapshot(_) => bad("a create or snapshot only begins a chain".into()),
            Edit::Seal { segments, leaves, sealed_below } => self.seal(segments, leaves, *sealed_below),
            Edit::Merge { inputs, outputs } => {
                let rows_in = self.remove(inputs)?;
                let rows_out: u64 = outputs.iter().map(|s| s.rows).fold(0, u64::saturating_add);
                if rows_in != rows_out {
                    return bad(format!("a merge of {rows_in} records into {rows_out}"));
                }
                self.add_in_place_of(inputs, outputs)
            }
            Edit::Expire { segments, records, leaves_broken, leaves_gone, .. } => {
                self.remove(segments)?;
                self.records_removed = self.records_removed.saturating_add(*records);
                for leaf in self.break_leaves(leaves_broken)? {
                    self.add_broken(leaf.first(), leaf.last());
                }
                self.break_leaves(leaves_gone)?;
                self.drop_bare_leaves();
                Ok(())
            }
            Edit::Delete { inputs, outputs, records, leaves_broken, leaves_new, .. } => {
                self.remove(inputs)?;
                self.add_in_place_of(inputs, outputs)?;
                self.records_removed = self.records_removed.saturating_add(*records);
                self.break_leaves(leaves_broken)?;
                if !leaves_new.is_sorted_by(|a, b| a.first() < b.first()) {
                    return bad("new leaves out of order".into());
                }
                leaves_new.iter().try_for_each(|leaf| self.insert_leaf(leaf))?;
                self.check_shared(leaves_new)?;
                self.drop_bare_leaves();
                Ok(())
            }
            Edit::IndexRebuilt { segment, index_root } => match self.segments.get_mut(segment) {
                Some(meta) => {
                    Arc::make_mut(meta).index_root = *index_root;
                    Ok(())
                }
                None => bad(format!("the index of segment {segment}, which is not live")),
            },
            Edit::Assign { segments } => segments.iter().try_for_each(|a| match self.segments.get_mut(&a.segment) {
                Some(meta) => {
                    let meta = Arc::make_mut(meta);
                    (meta.class, meta.place) = (a.class.clone(), a.place.clone());
                    Ok(())
                }
                None => bad(format!("a class and place of segment {}, which is not live", a.segment)),
            }),
            Edit::HistoryLost { first, last } => match (1..=*last).contains(first) && *last <= self.edits {
                true => Ok(()),
                false => bad(format!("entries {first} to {last} are lost of the {} before", self.edits)),
            },
        }
    }

    fn seal(&mut self, segments: &[SegmentMeta], leaves: &[Leaf], sealed_below: Seq) -> Result<(), BadEdit> {
        if sealed_below < self.sealed_below || sealed_below.0 > SEQ_MAX {
            return bad(format!("a seal up to Seq {sealed_below}, before {}", self.sealed_below));
        }
        let mut before = self.sealed_below;
        for leaf in leaves {
            if leaf.count() == 0 || leaf.first() <= before || leaf.last() > sealed_below {
                return bad(format!("a leaf from Seq {} in a seal of {before} to {sealed_below}", leaf.first()));
            }
            before = leaf.first();
        }
        if let Some(seq) = first_shared(leaves.iter()) {
            return bad(format!("two leaves of Seq {seq}"));
        }
        if let Some(s) = segments.iter().find(|s| s.max_seq > sealed_below) {
            return bad(format!("segment {} up to Seq {} in a seal up to {sealed_below}", s.id, s.max_seq));
        }
        self.add(segments)?;
        self.sealed_below = sealed_below;
        for run in leaves.chunks(LEAVES_PER_RUN_MAX) {
            self.leaves.insert(run[0].first(), run.into());
        }
        Ok(())
    }

    fn remove(&mut self, ids: &[SegmentId]) -> Result<u64, BadEdit> {
        let mut rows = 0u64;
        for id in ids {
            match self.segments.remove(id) {
                Some(meta) => rows = rows.saturating_add(meta.rows),
                None => return bad(format!("segment {id} goes, which is not live")),
            }
        }
        Ok(rows)
    }

    fn add(&mut self, segments: &[SegmentMeta]) -> Result<(), BadEdit> {
        segments.iter().try_for_each(|meta| self.add_from(self.next_segment_id, meta))
    }

    /// What takes long to write has its number before what was written meanwhile, but after what it replaces.
    fn add_in_place_of(&mut self, inputs: &[SegmentId], outputs: &[SegmentMeta]) -> Result<(), BadEdit> {
        let from = inputs.iter().max().map_or(self.next_segment_id, |last| SegmentId(last.0.saturating_add(1)));
        outputs.iter().try_for_each(|meta| self.add_from(from, meta))
    }

    fn add_from(&mut self, from: SegmentId, meta: &SegmentMeta) -> Result<(), BadEdit> {
        if meta.id < from || meta.id.0 == u64::MAX || self.segments.contains_key(&meta.id) {
            return bad(format!("a new segment {}, below {from} or live", meta.id));
        }
        if meta.min_seq > meta.max_seq || meta.min_time > meta.max_time || meta.rows == 0 {
            return bad(format!("segment {} with no records or its bounds the wrong way round", meta.id));
        }
        self.next_segment_id = self.next_segment_id.max(SegmentId(meta.id.0 + 1));
        self.segments.insert(meta.id, Arc::new(meta.clone()));
        Ok(())
    }

    fn run_of(&self, seq: Seq) -> Option<Seq> {
        self.leaves.range(..=seq).next_back().map(|(first, _)| *first)
    }

    fn add_broken(&mut self, mut first: Seq, mut last: Seq) {
        let broken = Arc::make_mut(&mut self.broken);
        // One after another they are one span, so that a class that goes day by day leaves few.
        if let Some((&from, &to)) = broken.range(..=first).next_back()
            && to.0.saturating_add(1) >= first.0
        {
            (first, last) = (from, to.max(last));
        }
        while let Some((&from, &to)) = broken.range(first..=Seq(last.0.saturating_add(1))).next() {
            broken.remove(&from);
            last = last.max(to);
        }
        broken.insert(first, last);
    }

    fn break_leaves(&mut self, firsts: &[Seq]) -> Result<Vec<Leaf>, BadEdit> {
        let mut broken = Vec::new();
        for first in firsts {
            let run = self.run_of(*first).and_then(|key| Some((key, self.leaves.get(&key)?.clone())));
            let at = run.as_ref().and_then(|(_, run)| run.binary_search_by_key(first, Leaf::first).ok());
            let (Some((key, run)), Some(at)) = (run, at) else {
                return bad(format!("no leaf begins at Seq {first}"));
            };
            broken.push(run[at].clone());
            self.leaves.remove(&key);
            self.put_run([&run[..at], &run[at + 1..]].concat());
        }
        Ok(broken)
    }

    fn insert_leaf(&mut self, leaf: &Leaf) -> Result<(), BadEdit> {
        let key = self.run_of(leaf.first());
        let mut run = key.and_then(|key| self.leaves.remove(&key)).map_or_else(Vec::new, |run| run.to_vec());
        let at = run.partition_point(|other| other.first() < leaf.first());
        if leaf.count() == 0 || leaf.last() > self.sealed_below {
            return bad(format!("a new leaf from Seq {} over what is not sealed", leaf.first()));
        }
        run.insert(at, leaf.clone());
        self.put_run(run);
        Ok(())
    }

    /// Is no Seq of new leaves, which are among the others now, in another one as well?
    fn check_shared(&self, new: &[Leaf]) -> Result<(), BadEdit> {
        let (Some(first), Some(last)) = (new.iter().map(Leaf::first).min(), new.iter().map(Leaf::last).max()) else {
            return Ok(());
        };
        match first_shared(self.leaves().filter(|leaf| leaf.first() <= last && leaf.last() >= first)) {
            Some(seq) => bad(format!("a new leaf of Seq {seq}, which another one has")),
            None => Ok(()),
        }
    }

    fn put_run(&mut self, run: Vec<Leaf>) {
        if let Some(leaf) = run.first() {
            self.leaves.insert(leaf.first(), run.into());
        }
    }

    /// Drops the leaves that no live segment overlaps: none of their records are left.
    fn drop_bare_leaves(&mut self) {
        let mut ranges: Vec<(Seq, Seq)> = self.segments.values().map(|s| (s.min_seq, s.max_seq)).collect();
        ranges.sort_unstable();
        // Merged so that they do not overlap: the one that reaches a Seq is then found by search.
        let mut merged: Vec<(Seq, Seq)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        let is_live = |first: Seq, last: Seq| {
            let at = merged.partition_point(|(_, to)| *to < first);
            merged.get(at).is_some_and(|(from, _)| *from <= last)
        };
        let is_covered = |leaf: &Leaf| is_live(leaf.first(), leaf.last());
        if self.broken.iter().any(|(first, last)| !is_live(*first, *last)) {
            Arc::make_mut(&mut self.broken).retain(|first, last| is_live(*first, *last));
        }
        let thinned: Vec<(Seq, Vec<Leaf>)> = (self.leaves.iter())
            .filter(|(_, run)| !run.iter().all(is_covered))
            .map(|(key, run)| (*key, run.iter().filter(|leaf| is_covered(leaf)).cloned().collect()))
            .collect();
        for (key, run) in thinned {
            self.leaves.remove(&key);
            self.put_run(run);
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.tenant.as_str().as_bytes());
        put_i64(out, self.created_at_ns);
        put_u64(out, self.sealed_below.0);
        put_u64(out, self.next_segment_id.0);
        out.extend_from_slice(&self.head);
        put_u64(out, self.edits);
        put_u64(out, self.records_removed);
        super::bytes::put_varint(out, self.segments.len() as u64);
        self.segments.values().for_each(|meta| put_segment(out, meta));
        put_leaves(out, self.leaves().count(), self.leaves());
        super::bytes::put_varint(out, self.broken.len() as u64);
        for (first, last) in &*self.broken {
            put_u64(out, first.0);
            put_u64(out, last.0);
        }
    }

    /// Reads what a snapshot of a version of the format holds.
    pub(super) fn decode(r: &mut Reader<'_>, format: u16) -> Result<Self, DecodeError> {
        let at = r.clone();
        let mut version = Version::new(decode_tenant(r)?, r.i64()?);
        let (sealed_below, next_segment_id) = (Seq(r.u64()?), SegmentId(r.u64()?));
        version.head = r.hash()?;
        (version.edits, version.records_removed) = (r.u64()?, r.u64()?);
        let segments = decode_vec(r, SEGMENT_META_BYTES, |r| decode_segment(r, format))?;
        let leaves = decode_leaves(r, format)?;
        let refuse = |e: BadEdit| at.error("a snapshot that fits together", e);
        version.next_segment_id = SegmentId(0);
        version.seal(&segments, &leaves, sealed_below).map_err(refuse)?;
        if version.next_segment_id > next_segment_id {
            return Err(at.error("segments below the next number", next_segment_id));
        }
        version.next_segment_id = next_segment_id;
        if format > 1 && r.remaining() > 0 {
            let spans = decode_vec(r, 16, |r| Ok((Seq(r.u64()?), Seq(r.u64()?))))?;
            let is_after = |a: &(Seq, Seq), b: &(Seq, Seq)| a.1 < b.0;
            if !spans.iter().all(|(first, last)| first <= last) || !spans.is_sorted_by(is_after) {
                return Err(at.error("spans of Seqs by rising first", "others"));
            }
            version.broken = Arc::new(spans.into_iter().collect());
        }
        Ok(version)
    }
}
