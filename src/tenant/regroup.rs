//! A segment whose records are of several classes, since rules changed, becomes one segment a class, so that each goes
//! in its own time. So does one that spans too much time for its class, or holds too much, since it was made under other
//! rules or none: what goes is apart from what stays.
//!
//! It is a merge with one input: in the background it comes before others, and is paced and given up as they are. An
//! archived segment comes after all others, and only where its records are of several classes and some are to go: its parts
//! are written into the tenant's folder, and go to the archive again by its rule.

use super::compact::{Outcome, Pace};
use super::group::SPANS_MAX;
use super::output::{Attempt, Output};
use super::{CompactReport, SegmentSource, TenantCore, Writer};
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::format::edit::SegmentMeta;
use crate::format::payload::{Payload, Reencoder};
use crate::format::rows::{RowRef, split_rows};
use crate::id::{Class, SegmentId, Seq};
use crate::policy::{MergeLimits, TenantPolicy};
use crate::record::{Block, Labels, Timestamp};
use crate::segment::{SegmentBlock, block_payload, encode_block};
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// A segment that is to be parted, and the classes of its records.
pub(super) type Mixed = (Arc<SegmentSource>, BTreeSet<Class>);

impl TenantCore {
    /// Splits the store's segments of several classes or of too much time. The turn of merges is the caller's.
    pub(super) fn regroup(&self, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        let rules = self.options.rules.policy();
        while let Some(mixed) = self.next_mixed(&rules) {
            let unwanted = || writer.merges.is_ended();
            match self.split(writer, &mixed, &rules, &mut |_| ControlFlow::Continue(()), &unwanted) {
                Ok(Outcome::Done(made)) => {
                    report.segments_merged += 1;
                    report.segments_made += made as u64;
                }
                Ok(Outcome::Abandoned) if unwanted() => return Err(ErrorKind::Closed.into()),
                // It is of another class since, or went.
                Ok(Outcome::Abandoned) => {}
                // A damaged segment stays as it is.
                Err(error) if self.note_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Splits archived segments of which some records are to go, and has each part go its way before the next one comes
    /// home. What does not answer is told at the end, and does not keep the others. The turn of merges is the caller's.
    pub(super) fn regroup_archived(&self, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        let rules = self.options.rules.policy();
        let (mut tried, mut stayed) = (BTreeSet::new(), Ok(()));
        while let Some(mixed) = self.next_mixed_archived(&rules, &tried) {
            tried.insert(mixed.0.meta().id);
            let unwanted = || writer.merges.is_ended();
            match self.split(writer, &mixed, &rules, &mut |_| ControlFlow::Continue(()), &unwanted) {
                Ok(Outcome::Done(made)) => {
                    report.segments_merged += 1;
                    report.segments_made += made as u64;
                    drop(mixed);
                    report.add(&self.live_by_rules(false)?);
                }
                Ok(Outcome::Abandoned) if unwanted() => return Err(ErrorKind::Closed.into()),
                Ok(Outcome::Abandoned) => {}
                Err(error) if self.note_damage(&error) => {}
                Err(error) => stayed = stayed.and(Err(error)),
            }
        }
        stayed
    }

    /// The first archived segment, but for these, of several classes by these rules of which one has records that are to go
    /// by their age, or that count for a limit, as far as it can be read.
    fn next_mixed_archived(&self, rules: &TenantPolicy, tried: &BTreeSet<SegmentId>) -> Option<Mixed> {
        if rules.only_class().is_some() {
            return None;
        }
        let now = self.options.rules.now();
        let segments = self.state().segments.clone();
        let archived = segments.values().filter(|s| !s.meta().place.is_own() && s.damage().is_none());
        let mut left = archived.filter(|s| !tried.contains(&s.meta().id));
        left.find_map(|segment| {
            let oldest = segment.meta().min_time.0;
            let goes = |class: &Class| {
                rules.lifetime(class).is_some_and(|life| {
                    let is_over = |age| oldest < now.0.saturating_sub(age);
                    life.age_ns.is_some_and(is_over) || life.bytes.is_some() || life.records.is_some()
                })
            };
            let classes = self.classes_of(segment, rules).ok()?;
            (classes.len() > 1 && classes.iter().any(goes)).then(|| (segment.clone(), classes))
        })
    }

    /// The archived segment that is to be split in the background, one at a time: none while another is to go to an archive.
    pub(super) fn next_to_bring_home(&self, rules: &TenantPolicy) -> Option<Mixed> {
        let mixed = self.next_mixed_archived(rules, &BTreeSet::new())?;
        self.none_goes_to_archive(rules).then_some(mixed)
    }

    /// The first segment whose records are of several classes by these rules, or are kept too long by others beside
    /// them, or are too many to go together, as far as it can be read. Archived ones are for
    /// [`TenantCore::regroup_archived`].
    pub(super) fn next_mixed(&self, rules: &TenantPolicy) -> Option<Mixed> {
        let has_end = |class: &Class| {
            let limits = rules.merge_limits(class);
            limits.span_ns.is_some() || limits.bytes.is_some() || limits.records.is_some()
        };
        if rules.only_class().is_some_and(|class| !has_end(class)) {
            return None;
        }
        let now = self.options.rules.now();
        let segments = self.state().segments.clone();
        let own = segments.values().filter(|s| s.meta().place.is_own() && s.damage().is_none());
        let mut mixed = own.filter_map(|segment| Some((segment.clone(), self.classes_of(segment, rules).ok()?)));
        mixed.find(|(segment, classes)| {
            let keeps_too_long = |class| Windows::of(rules, class, now).keep_too_long(segment.meta());
            classes.len() > 1
                || classes.first().is_some_and(keeps_too_long)
                || self.is_too_large(segment, classes, rules)
        })
    }

    /// Writes the records of each class of a segment into segments of their own, which take its place.
    pub(super) fn split(
        &self,
        writer: &Writer,
        (segment, classes): &Mixed,
        rules: &TenantPolicy,
        pace: &mut Pace<'_>,
        unwanted: &dyn Fn() -> bool,
    ) -> Result<Outcome, Error> {
        let mut attempt = self.attempt();
        let sources = std::slice::from_ref(segment);
        let mut outputs = Vec::new();
        // Once for each class: one dictionary is built at a time, and a segment has few classes.
        for class in classes {
            let mut go_on = |begun: Instant| {
                !(pace(begun.elapsed()).is_break() || unwanted() || self.live(&[segment.meta().id]).is_none())
            };
            match self.split_off(writer, segment, rules, class, (&mut attempt, &mut go_on))? {
                Some(of_class) => outputs.extend(of_class),
                None => return Ok(Outcome::Abandoned),
            }
        }
        let made: Vec<_> = outputs.iter().map(|meta| meta.id).collect();
        let outcome = self.replace(writer, sources, outputs, attempt, unwanted)?;
        self.options.rules.parted.lock().unwrap_or_else(|e| e.into_inner()).extend(made);
        Ok(outcome)
    }

    /// Writes the records of one class of a segment into segments of their own; `None` where it is given up.
    fn split_off(
        &self,
        writer: &Writer,
        segment: &SegmentSource,
        rules: &TenantPolicy,
        class: &Class,
        (attempt, go_on): (&mut Attempt, &mut dyn FnMut(Instant) -> bool),
    ) -> Result<Option<Vec<SegmentMeta>>, Error> {
        let reader = segment.reader()?;
        let (level, packed) = (segment.meta().level, self.merge_level(segment.meta().max_time));
        let windows = Windows::of(rules, class, self.options.rules.now()).for_segment(segment.meta());
        let (bytes, rows) = (segment.meta().bytes, segment.meta().rows);
        let records = rules.lifetime(class).and_then(|life| life.part_records(bytes, rows));
        let mut parts = Parts { limits: MergeLimits { records, ..rules.merge_limits(class) }, ..Parts::default() };
        let mut pending = Pending::default();
        for number in 0..=reader.blocks() {
            let begun = Instant::now();
            let is_last = number == reader.blocks();
            if !is_last {
                let block = SegmentBlock::open(reader, number)?;
                pending.add(&block_payload(&block)?, &block.seqs()?, |labels| rules.classify(labels) == class);
            }
            for (rows, batches) in pending.blocks(is_last, &windows, parts.limits.records) {
                let window = rows.first().map_or(Window::Over, |row| windows.at(row.time));
                let mut target = match parts.fitting(window, rows.len() as u64, self)? {
                    Some(target) => target,
                    None => self.begin_segment(writer, attempt, level, class.clone())?,
                };
                let block = encode_block(&rows, &batches, packed, &mut target.sink);
                target.block(&block)?;
                parts.open = Some((target, window));
            }
            if !go_on(begun) {
                return Ok(None);
            }
        }
        parts.finish(self).map(Some)
    }
}

/// Which records of a class go into one segment, by their time.
#[derive(Clone, Copy, Debug)]
struct Windows {
    /// What is older is over its time.
    oldest: i64,
    /// How much time a segment may span, in nanoseconds.
    span: Option<i64>,
}

/// One of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    /// All that is over its time.
    Over,
    /// So many spans after 1970.
    Kept(i64),
}

impl Windows {
    fn of(rules: &TenantPolicy, class: &Class, now: Timestamp) -> Windows {
        let age = rules.lifetime(class).and_then(|life| life.age_ns);
        let oldest = age.map_or(i64::MIN, |age| now.0.saturating_sub(age));
        Windows { oldest, span: rules.merge_limits(class).span_ns }
    }

    /// Of a segment with records over a long time, fewer and longer ones.
    fn for_segment(mut self, meta: &SegmentMeta) -> Windows {
        let kept = meta.max_time.0.saturating_sub(meta.min_time.0.max(self.oldest));
        while self.span.is_some_and(|span| kept / span.max(1) >= SPANS_MAX as i64) {
            self.span = self.span.map(|span| span.saturating_mul(2));
        }
        self
    }

    fn at(&self, time: Timestamp) -> Window {
        match self.span {
            _ if time.0 < self.oldest => Window::Over,
            Some(span) => Window::Kept(time.0.div_euclid(span.max(1))),
            None => Window::Kept(0),
        }
    }

    /// Does a segment keep records for longer beyond their time than one that is sealed or merged by these rules could?
    fn keep_too_long(&self, meta: &SegmentMeta) -> bool {
        let is_kept = meta.max_time.0 >= self.oldest;
        self.oldest != i64::MIN
            && is_kept
            && self.span.is_some_and(|span| meta.min_time.0 < self.oldest.saturating_sub(span))
    }
}

/// The segments that the records of a class become.
#[derive(Default)]
struct Parts {
    limits: MergeLimits,
    open: Option<(Output, Window)>,
    rows: u64,
    done: Vec<SegmentMeta>,
}

impl Parts {
    /// The open segment where so many rows of a window fit into it; it is finished where they do not.
    fn fitting(&mut self, window: Window, more: u64, tenant: &TenantCore) -> Result<Option<Output>, Error> {
        if let Some((open, of)) = self.open.take() {
            let fits = of == window
                && self.limits.bytes.is_none_or(|most| open.writer.bytes() < most)
                && self.limits.records.is_none_or(|most| self.rows + more <= most);
            if fits {
                self.rows += more;
                return Ok(Some(open));
            }
            self.done.push(open.finish(&*tenant.options.vfs, &tenant.options.dir)?);
        }
        self.rows = more;
        Ok(None)
    }

    fn finish(mut self, tenant: &TenantCore) -> Result<Vec<SegmentMeta>, Error> {
        if let Some((open, _)) = self.open.take() {
            self.done.push(open.finish(&*tenant.options.vfs, &tenant.options.dir)?);
        }
        Ok(self.done)
    }
}

type Rows = (Vec<RowRef>, Vec<(Seq, Arc<Payload>)>);

/// Records that wait for a block to be full. Those of one block that was read are a batch.
#[derive(Default)]
struct Pending {
    rows: Vec<RowRef>,
    batches: Vec<(Seq, Arc<Payload>)>,
    bytes: usize,
}

impl Pending {
    fn add(&mut self, payload: &Payload, seqs: &[u64], is_wanted: impl Fn(&Labels) -> bool) {
        let wanted: Vec<bool> = payload.streams.iter().map(is_wanted).collect();
        let mut records = Reencoder::default();
        let first = self.rows.len();
        for (record, seq) in payload.records.iter().zip(seqs) {
            if wanted[record.stream as usize] {
                records.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
                let (batch, at) = (self.batches.len() as u32, (self.rows.len() - first) as u32);
                self.rows.push(RowRef { time: record.time, seq: Seq(*seq), batch, record: at });
            }
        }
        if self.rows.len() > first {
            let records = records.finish();
            self.bytes += records.bytes.len();
            self.batches.push((Seq(0), Arc::new(records)));
        }
    }

    /// The blocks that are full, or end with their window; with `all` also what is left. Rows come in order of time. None
    /// has more than `most` records.
    fn blocks(&mut self, all: bool, windows: &Windows, most: Option<u64>) -> Vec<Rows> {
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX).max(1);
        let windows: Vec<&[RowRef]> = self.rows.chunk_by(|a, b| windows.at(a.time) == windows.at(b.time)).collect();
        let is_full = self.rows.len() >= BLOCK_ROWS_MAX || self.bytes >= BLOCK_BYTES_MAX;
        let (mut blocks, mut done) = (Vec::new(), 0);
        for (n, rows) in windows.iter().enumerate() {
            let is_last = n + 1 == windows.len() && !all;
            if is_last && !is_full {
                break;
            }
            let ends = split_rows(rows, &self.batches);
            let whole = if is_last { ends.len().saturating_sub(1) } else { ends.len() };
            let mut from = 0;
            for end in ends.into_iter().take(whole) {
                while from < end {
                    let to = end.min(from.saturating_add(most));
                    blocks.push(picked(&rows[from..to], &self.batches));
                    from = to;
                }
            }
            done += from;
        }
        if done > 0 {
            let (rows, batches) = picked(&self.rows[done..], &self.batches);
            self.bytes = if rows.is_empty() { 0 } else { batches.iter().map(|(_, p)| p.bytes.len()).sum() };
            (self.rows, self.batches) = (rows, batches);
        }
        blocks
    }
}

/// Rows with the batches that they are of, and no others.
fn picked(rows: &[RowRef], batches: &[(Seq, Arc<Payload>)]) -> Rows {
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    let mut kept = Vec::new();
    let renumbered = rows.iter().map(|row| {
        let batch = *numbers.entry(row.batch).or_insert_with(|| {
            kept.push(batches[row.batch as usize].clone());
            kept.len() as u32 - 1
        });
        RowRef { batch, ..*row }
    });
    let rows = renumbered.collect();
    (rows, kept)
}
