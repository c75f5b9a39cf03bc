//! Deletion of the records that a query matches: segments are written anew without them, and the old files go.
//!
//! Promises: one entry of the manifest names what goes and what comes, so that after a crash all of the records are
//! there or none; what is called done is gone from the disk and from archives: old segments, their indexes, log files, and
//! what was set aside. May not know: backups, and what was exported.

use super::output::Attempt;
use super::segments::{SegmentSource, index_path, segment_path};
use super::{TenantCore, Writer};
use crate::archive::ArchivedName;
use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::exec::{Execution, Plan};
use crate::format::compress::LEVEL_MERGE;
use crate::format::edit::{Edit, Leaf, SegmentMeta, SeqSet};
use crate::format::payload::{Payload, Reencoder};
use crate::format::rows::RowRef;
use crate::format::version::Version;
use crate::id::{SegmentId, Seq};
use crate::record::{Block, Source, Timestamp};
use crate::segment::{SegmentBlock, SegmentReader, block_payload, encode_block};
use crate::store::Error;
use crate::store::error::ErrorKind;
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// After so long, queries that began before a deletion are ended, so that the files they read can go.
pub const DELETE_READERS_WAIT: Duration = Duration::from_secs(30);
/// So long they may then take to end. What is held after that is told as held.
const READERS_END_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Records of broken leaves that are read at a time to make new ones.
const LEAF_RECORDS_AT_ONCE: u64 = 1 << 18;

/// What is told how far a deletion has come.
pub type DeleteListener = Arc<dyn Fn(&DeleteProgress) + Send + Sync>;

/// How to delete.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// Count only, and change nothing.
    pub dry_run: bool,
    /// Only records up to this Seq; by default all that were committed before. Whoever goes on with a deletion that was cut
    /// short gives what it began with.
    pub until: Option<Seq>,
    /// What relative times of the query count from; by default now.
    pub at: Option<Timestamp>,
    /// How long queries that began before may go on; by default [`DELETE_READERS_WAIT`].
    pub readers_wait: Duration,
    /// Told how far it has come, on the thread that deletes.
    pub progress: Option<DeleteListener>,
}

impl Default for DeleteOptions {
    fn default() -> Self {
        DeleteOptions { dry_run: false, until: None, at: None, readers_wait: DELETE_READERS_WAIT, progress: None }
    }
}

impl std::fmt::Debug for DeleteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DeleteOptions { dry_run, until, at, readers_wait, progress } = self;
        let mut out = f.debug_struct("DeleteOptions");
        out.field("dry_run", dry_run).field("until", until).field("at", at).field("readers_wait", readers_wait);
        out.field("progress", &progress.is_some()).finish()
    }
}

/// How far a deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteProgress {
    /// The log is sealed; so many segments are looked through.
    Sealed {
        /// How many.
        segments: u64,
    },
    /// So many of them were.
    Searched {
        /// How many.
        segments: u64,
    },
    /// So many records match, in so many segments that are written anew.
    Found {
        /// Records that go.
        records: u64,
        /// Segments that have them.
        segments: u64,
    },
    /// One more of them was.
    Rewritten {
        /// How many were.
        segments: u64,
    },
    /// No query that begins from here on sees the records; old files go when those before have ended.
    Invisible,
}

/// What a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DeleteReport {
    /// The query as it was understood.
    pub query: String,
    /// Was it only counted?
    pub dry_run: bool,
    /// Are the records gone from the disk? Not where a reader still held a file that it was in the middle of: then it
    /// goes with that reader, or when the tenant is next opened.
    pub done: bool,
    /// Records that matched and went. Those that were committed after the deletion began were not looked at.
    pub records: u64,
    /// Segments that had them.
    pub segments: u64,
    /// Segments with what is left.
    pub segments_made: u64,
    /// Leaves of the manifest that can't be made again.
    pub leaves_broken: u64,
    /// Leaves of what is left of them.
    pub leaves_new: u64,
    /// Files that had been set aside, and went since nobody can say what is in them.
    pub quarantine_removed: u64,
    /// Files that a reader still holds.
    pub files_held: u64,
    /// The manifest's entry that names the deletion; none where nothing matched.
    pub entry: Option<u64>,
    /// Whose files they hold.
    #[serde(skip)]
    held: Vec<Arc<SegmentMeta>>,
}

/// The records that go: of each segment that has some, which.
type Matches = Vec<(Arc<SegmentSource>, RoaringTreemap)>;

/// A segment that was replaced, and who may hold its file.
struct Old {
    meta: Arc<SegmentMeta>,
    segment: Weak<SegmentSource>,
    reader: Weak<SegmentReader>,
}

impl Old {
    fn is_held(&self) -> bool {
        self.segment.strong_count() > 0 || self.reader.strong_count() > 0
    }
}

impl TenantCore {
    /// Deletes the records that match a plan without pipes; `query` is its canonical text, which the manifest keeps.
    ///
    /// Where a block that may have matches is damaged, nothing is deleted: that is an error.
    pub fn delete(&self, plan: &Plan, query: String, options: &DeleteOptions) -> Result<DeleteReport, Error> {
        let writer = self.writer()?;
        let mut report = DeleteReport { query, dry_run: options.dry_run, ..DeleteReport::default() };
        if options.dry_run {
            let span = plan.span();
            let sources = self.snapshot().sources(span.first, span.last)?;
            let mut segments = RoaringTreemap::new();
            for (i, source) in sources.into_iter().enumerate() {
                let records = matches(plan, source, options.until)?.len();
                report.records += records;
                segments.extend((records > 0).then_some(i as u64));
            }
            report.segments = segments.len();
            return Ok(report);
        }
        let tell = |progress| options.progress.iter().for_each(|f| f(&progress));
        // What a merge had written of an output goes with it, and so does what was copied for an archive.
        let merges = writer.merges.take_turn();
        self.seal()?;
        let archiving = self.archiving_turn()?;
        self.sweep_archives(writer, &archiving)?;
        let turn = self.turn(writer);
        let version = writer.manifest.version();
        let live: Vec<Arc<SegmentSource>> = self.state().segments.values().cloned().collect();
        tell(DeleteProgress::Sealed { segments: live.len() as u64 });
        let found = self.find(writer, (plan, options.until), &live, &tell)?;
        report.segments = found.len() as u64;
        report.records = found.iter().map(|(_, gone)| gone.len()).sum();
        if found.is_empty() {
            // It may go on with one that a crash ended between its entry and its end.
            report.quarantine_removed = self.clear_quarantine()?;
            // Or with one that could not remove a file, or whose entry is in doubt.
            self.settle(writer)?;
            self.options.leftover.retry(&*self.options.vfs)?;
            self.options.vfs.sync_dir(&self.options.dir.join("segments"))?;
            report.done = true;
            return Ok(report);
        }
        tell(DeleteProgress::Found { records: report.records, segments: report.segments });
        let mut attempt = self.attempt();
        let (outputs, broken, new) = self.rewritten(writer, &version, &live, &found, &mut attempt, &tell)?;
        report.segments_made = outputs.len() as u64;
        (report.leaves_broken, report.leaves_new) = (broken.len() as u64, new.len() as u64);
        let edit = Edit::Delete {
            inputs: found.iter().map(|(segment, _)| segment.meta().id).collect(),
            outputs,
            reason: report.query.clone(),
            records: report.records,
            leaves_broken: broken,
            leaves_new: new,
        };
        let version = self.apply_made(writer, edit, attempt)?;
        report.entry = Some(version.edits);
        let mut old = Vec::new();
        for (segment, _) in &found {
            let reader = segment.reader().map_or_else(|_| Weak::new(), Arc::downgrade);
            old.push(Old { meta: segment.meta().clone(), segment: Arc::downgrade(segment), reader });
        }
        self.publish(version);
        drop((turn, archiving, merges));
        drop((found, live));
        tell(DeleteProgress::Invisible);
        report.quarantine_removed = self.clear_quarantine()?;
        report.held = self.wait_until_gone(&old, options.readers_wait)?;
        report.files_held = report.held.len() as u64;
        report.done = report.files_held == 0;
        Ok(report)
    }

    /// Are the files gone that readers held when a deletion ended?
    pub fn is_deleted(&self, report: &mut DeleteReport) -> Result<bool, StorageError> {
        if report.done || report.dry_run {
            return Ok(true);
        }
        let vfs = &self.options.vfs;
        for meta in &report.held {
            let is_there = match meta.place.is_own() {
                true => vfs.exists(&segment_path(&self.options, meta.id))?,
                false => {
                    let archive = self.options.rules.archives().get(&meta.place)?;
                    match archive.open(&self.id, &ArchivedName::of(meta)) {
                        Err(e) if e.is_not_found() => false,
                        opened => opened.map(|_| true)?,
                    }
                }
            };
            if is_there || vfs.exists(&index_path(&self.options.dir, meta.id))? {
                return Ok(false);
            }
        }
        vfs.sync_dir(&self.options.dir.join("segments"))?;
        report.held.clear();
        (report.files_held, report.done) = (0, true);
        Ok(true)
    }

    fn find(
        &self,
        writer: &Writer,
        (plan, until): (&Plan, Option<Seq>),
        live: &[Arc<SegmentSource>],
        tell: &dyn Fn(DeleteProgress),
    ) -> Result<Matches, Error> {
        let span = plan.span();
        let mut found = Vec::new();
        for (n, segment) in live.iter().enumerate() {
            go_on(writer)?;
            tell(DeleteProgress::Searched { segments: n as u64 });
            let meta = segment.meta();
            if meta.max_time < span.first
                || meta.min_time > span.last
                || until.is_some_and(|until| meta.min_seq > until)
            {
                continue;
            }
            let gone = matches(plan, segment.source(false)?, until)?;
            if gone.is_empty() {
                continue;
            }
            found.push((segment.clone(), gone));
        }
        tell(DeleteProgress::Searched { segments: live.len() as u64 });
        Ok(found)
    }

    /// Writes the segments anew, and gives them, the leaves that are broken and those of what is left.
    #[expect(clippy::type_complexity, reason = "three lists of one edit")]
    fn rewritten(
        &self,
        writer: &Writer,
        version: &Version,
        live: &[Arc<SegmentSource>],
        found: &Matches,
        attempt: &mut Attempt,
        tell: &dyn Fn(DeleteProgress),
    ) -> Result<(Vec<SegmentMeta>, Vec<Seq>, Vec<Leaf>), Error> {
        let mut outputs = Vec::new();
        for (n, (segment, gone)) in found.iter().enumerate() {
            go_on(writer)?;
            outputs.extend(self.rewrite(writer, segment, gone, attempt)?);
            tell(DeleteProgress::Rewritten { segments: n as u64 + 1 });
        }
        let mut all = RoaringTreemap::new();
        found.iter().for_each(|(_, gone)| all |= gone);
        let rewritten: BTreeSet<SegmentId> = found.iter().map(|(segment, _)| segment.meta().id).collect();
        let broken: Vec<Leaf> = broken_leaves(version, &all);
        let mut new = Vec::new();
        let mut from = 0;
        while from < broken.len() {
            let mut records = 0;
            let len = broken[from..].iter().take_while(|leaf| {
                let fits = records < LEAF_RECORDS_AT_ONCE;
                records += u64::from(leaf.count());
                fits
            });
            let to = from + len.count();
            new.extend(leaves_of_rest(&broken[from..to], live, (&all, &rewritten), &self.options.keys)?);
            from = to;
        }
        // What a leaf begins with may have gone.
        new.sort_by_key(Leaf::first);
        Ok((outputs, broken.iter().map(Leaf::first).collect(), new))
    }

    /// Writes a segment anew without some of its records; `None` where nothing is left.
    fn rewrite(
        &self,
        writer: &Writer,
        segment: &SegmentSource,
        gone: &RoaringTreemap,
        attempt: &mut Attempt,
    ) -> Result<Option<SegmentMeta>, Error> {
        let (reader, meta) = (segment.reader()?.clone(), segment.meta());
        let mut output = None;
        for number in 0..reader.blocks() {
            let (seqs, payload) = block(&reader, number)?;
            let row = |(i, seq): (usize, &u64)| {
                let record = payload.records.get(i).filter(|_| !gone.contains(*seq))?;
                Some(RowRef { time: record.time, seq: Seq(*seq), batch: 0, record: i as u32 })
            };
            let rows: Vec<RowRef> = seqs.iter().enumerate().filter_map(row).collect();
            if rows.is_empty() {
                continue;
            }
            let target = match &mut output {
                Some(target) => target,
                None => output.insert(self.begin_segment(writer, attempt, meta.level, meta.class.clone())?),
            };
            let encoded = encode_block(&rows, &[(Seq(0), payload)], LEVEL_MERGE, &mut target.sink);
            target.block(&encoded)?;
        }
        output.map(|output| output.finish(&*self.options.vfs, &self.options.dir)).transpose()
    }

    /// Removes what was set aside: pieces that can't be read may hold what was deleted.
    fn clear_quarantine(&self) -> Result<u64, StorageError> {
        let (vfs, dir) = (&self.options.vfs, self.options.dir.join("quarantine"));
        if !vfs.exists(&dir)? {
            return Ok(0);
        }
        let (reasons, copies): (Vec<_>, Vec<_>) =
            vfs.list(&dir)?.into_iter().partition(|e| e.name.ends_with(".reason"));
        let removed = copies.len() as u64;
        // Reasons first: a crash between leaves none that stands for nothing.
        for entries in [reasons, copies] {
            for entry in entries {
                let path = dir.join(&entry.name);
                if entry.is_dir { vfs.remove_dir_all(&path)? } else { vfs.remove(&path)? }
            }
            vfs.sync_dir(&dir)?;
        }
        Ok(removed)
    }

    /// Waits until the files of segments are removed, and makes that durable. Readers that take longer than `wait` are
    /// ended; gives whose files are held all the same.
    fn wait_until_gone(&self, old: &[Old], wait: Duration) -> Result<Vec<Arc<SegmentMeta>>, StorageError> {
        let begun = Instant::now();
        let mut is_ended = false;
        let held = loop {
            let held: Vec<_> = old.iter().filter(|old| old.is_held()).map(|old| old.meta.clone()).collect();
            if held.is_empty() || is_ended && begun.elapsed() >= wait.saturating_add(READERS_END_WITHIN) {
                break held;
            }
            if begun.elapsed() >= wait && !is_ended {
                old.iter().filter_map(|old| old.segment.upgrade()).for_each(|segment| segment.end());
                is_ended = true;
            }
            std::thread::sleep(LOOK_EVERY);
        };
        for old in old.iter().filter(|old| !old.is_held()) {
            let (own, id) = (old.meta.place.is_own(), old.meta.id);
            if !own {
                let archive = self.options.rules.archives().get(&old.meta.place)?;
                archive.remove(&self.id, &ArchivedName::of(&old.meta))?;
            }
            let segment = own.then(|| segment_path(&self.options, id));
            for path in segment.into_iter().chain([index_path(&self.options.dir, id)]) {
                // The last reader may be at it still.
                self.options.leftover.remove(&*self.options.vfs, &path)?;
            }
        }
        self.options.leftover.retry(&*self.options.vfs)?;
        self.options.vfs.sync_dir(&self.options.dir.join("segments"))?;
        Ok(held)
    }
}

/// An error where the tenant is being closed or deleted: before its entry a deletion can still be given up.
fn go_on(writer: &Writer) -> Result<(), Error> {
    if writer.merges.is_ended() { Err(ErrorKind::Closed.into()) } else { Ok(()) }
}

/// The Seqs of a source's records that match, up to one.
fn matches(plan: &Plan, source: Arc<dyn Source>, until: Option<Seq>) -> Result<RoaringTreemap, Error> {
    let mut seqs = RoaringTreemap::new();
    Execution::new().strict(true).run(plan, &[source], &mut |row| {
        seqs.extend(row.seq().filter(|seq| until.is_none_or(|until| *seq <= until)).map(|seq| seq.0));
        ControlFlow::Continue(())
    })?;
    Ok(seqs)
}

/// A block's Seqs, and its records encoded again.
fn block(reader: &Arc<SegmentReader>, number: usize) -> Result<(Arc<Vec<u64>>, Arc<Payload>), StorageError> {
    let block = SegmentBlock::open(reader, number)?;
    Ok((block.seqs()?, Arc::new(block_payload(&block as &dyn Block)?)))
}

/// The leaves that cover some of these Seqs.
fn broken_leaves(version: &Version, gone: &RoaringTreemap) -> Vec<Leaf> {
    let is_broken = |leaf: &&Leaf| {
        let reach = leaf.first().0..=leaf.last().0;
        gone.range_cardinality(reach) > 0
            && leaf.seqs.runs().any(|(from, to)| gone.range_cardinality(from.0..=to.0) > 0)
    };
    version.leaves().filter(is_broken).cloned().collect()
}

/// For each leaf that still has records, the leaf of these. Where none of them is in an encrypted segment, it has no key:
/// else who has none could not check it.
fn leaves_of_rest(
    broken: &[Leaf],
    live: &[Arc<SegmentSource>],
    (gone, rewritten): (&RoaringTreemap, &BTreeSet<SegmentId>),
    keys: &KeyRing,
) -> Result<Vec<Leaf>, StorageError> {
    let (Some(low), Some(high)) = (broken.first().map(Leaf::first), broken.iter().map(Leaf::last).max()) else {
        return Ok(Vec::new());
    };
    let mut wanted = RoaringTreemap::new();
    for (from, to) in broken.iter().flat_map(|leaf| leaf.seqs.runs()) {
        wanted.insert_range(from.0..=to.0);
    }
    wanted -= gone;
    let mut rest: BTreeMap<Seq, (Arc<Payload>, usize, bool)> = BTreeMap::new();
    for segment in live.iter().filter(|s| s.meta().min_seq <= high && s.meta().max_seq >= low) {
        let reader = segment.reader()?;
        let is_sealed = segment.is_sealed()? || keys.is_encrypted() && rewritten.contains(&segment.meta().id);
        for number in 0..reader.blocks() {
            let (from, to) = reader.info(number).seq;
            if from > high || to < low {
                continue;
            }
            let (seqs, payload) = block(reader, number)?;
            for (record, seq) in seqs.iter().enumerate() {
                if wanted.contains(*seq) {
                    rest.insert(Seq(*seq), (payload.clone(), record, is_sealed));
                }
            }
        }
    }
    let mut new = Vec::new();
    for leaf in broken {
        let mut encoder = Reencoder::default();
        let (mut left, mut is_any_sealed) = (Vec::new(), false);
        for (seq, (payload, record, is_sealed)) in leaf.seqs.runs().flat_map(|(from, to)| rest.range(from..=to)) {
            let Some(record) = payload.records.get(*record) else { continue };
            encoder.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
            left.push(*seq);
            is_any_sealed |= is_sealed;
        }
        if let Some(seqs) = SeqSet::of(left) {
            let payload = encoder.finish().bytes;
            let hash = if is_any_sealed { keys.leaf(&payload) } else { *blake3::hash(&payload).as_bytes() };
            new.push(Leaf { seqs, hash });
        }
    }
    Ok(new)
}
