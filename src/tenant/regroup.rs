//! A segment whose records are of several classes, since rules changed, becomes one segment a class, so that each goes
//! in its own time.
//!
//! It is a merge with one input: in the background it comes before others, and is paced and given up as they are.

use super::compact::{Outcome, Pace};
use super::output::{Attempt, Output};
use super::{CompactReport, SegmentSource, TenantCore, Writer};
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::format::edit::SegmentMeta;
use crate::format::payload::{Payload, Reencoder};
use crate::format::rows::{RowRef, split_rows};
use crate::id::{Class, Seq};
use crate::policy::{MergeLimits, TenantPolicy};
use crate::record::{Block, Labels};
use crate::segment::{SegmentBlock, block_payload, encode_block};
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// A segment of several classes, and these.
pub(super) type Mixed = (Arc<SegmentSource>, BTreeSet<Class>);

impl TenantCore {
    /// Splits the store's segments of several classes. The turn of merges is the caller's.
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

    /// The first segment whose records are of several classes by these rules, as far as it can be read. Archived ones
    /// stay: their records have gone together.
    pub(super) fn next_mixed(&self, rules: &TenantPolicy) -> Option<Mixed> {
        if rules.only_class().is_some() {
            return None;
        }
        let segments = self.state().segments.clone();
        let own = segments.values().filter(|s| s.meta().place.is_own() && s.damage().is_none());
        let mut mixed = own.filter_map(|segment| Some((segment.clone(), self.classes_of(segment, rules).ok()?)));
        mixed.find(|(_, classes)| classes.len() > 1)
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
        self.replace(writer, sources, outputs, attempt, unwanted)
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
        let mut parts = Parts { limits: rules.merge_limits(class), ..Parts::default() };
        let mut pending = Pending::default();
        for number in 0..=reader.blocks() {
            let begun = Instant::now();
            let is_last = number == reader.blocks();
            if !is_last {
                let block = SegmentBlock::open(reader, number)?;
                pending.add(&block_payload(&block)?, &block.seqs()?, |labels| rules.classify(labels) == class);
            }
            for (rows, batches) in pending.blocks(is_last) {
                let mut target = match parts.fitting(&rows, self)? {
                    Some(target) => target,
                    None => self.begin_segment(writer, attempt, level, class.clone())?,
                };
                let block = encode_block(&rows, &batches, packed, &mut target.sink);
                target.block(&block)?;
                parts.open = Some(target);
            }
            if !go_on(begun) {
                return Ok(None);
            }
        }
        parts.finish(self).map(Some)
    }
}

/// The segments that the records of a class become.
#[derive(Default)]
struct Parts {
    limits: MergeLimits,
    open: Option<Output>,
    rows: u64,
    begins: i64,
    done: Vec<SegmentMeta>,
}

impl Parts {
    /// The open segment where these rows fit into it; it is finished where they do not.
    fn fitting(&mut self, rows: &[RowRef], tenant: &TenantCore) -> Result<Option<Output>, Error> {
        let (first, last) = (rows.first().map_or(0, |r| r.time.0), rows.last().map_or(0, |r| r.time.0));
        let more = rows.len() as u64;
        if let Some(open) = self.open.take() {
            let fits = self.limits.bytes.is_none_or(|most| open.writer.bytes() < most)
                && self.limits.records.is_none_or(|most| self.rows + more <= most)
                && self.limits.span_ns.is_none_or(|most| last.saturating_sub(self.begins) <= most);
            if fits {
                self.rows += more;
                return Ok(Some(open));
            }
            self.done.push(open.finish(&*tenant.options.vfs, &tenant.options.dir)?);
        }
        (self.rows, self.begins) = (more, first);
        Ok(None)
    }

    fn finish(mut self, tenant: &TenantCore) -> Result<Vec<SegmentMeta>, Error> {
        if let Some(open) = self.open.take() {
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

    /// The blocks that are full; with `all` also what is left.
    fn blocks(&mut self, all: bool) -> Vec<Rows> {
        if !all && self.rows.len() < BLOCK_ROWS_MAX && self.bytes < BLOCK_BYTES_MAX {
            return Vec::new();
        }
        let ends = split_rows(&self.rows, &self.batches);
        let whole = if all { ends.len() } else { ends.len().saturating_sub(1) };
        let mut blocks = Vec::new();
        let mut from = 0;
        for end in ends.into_iter().take(whole) {
            blocks.push(picked(&self.rows[from..end], &self.batches));
            from = end;
        }
        let (rows, batches) = picked(&self.rows[from..], &self.batches);
        self.bytes = if rows.is_empty() { 0 } else { batches.iter().map(|(_, p)| p.bytes.len()).sum() };
        (self.rows, self.batches) = (rows, batches);
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
