//! A segment whose records are of several classes becomes one segment a class, so that each goes in its own time.

use super::output::{Attempt, Output};
use super::{CompactReport, SegmentSource, TenantCore, Writer};
use crate::format::block::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::format::compress::LEVEL_MERGE;
use crate::format::edit::{Edit, SegmentMeta};
use crate::format::payload::{Payload, Reencoder};
use crate::format::rows::{RowRef, split_rows};
use crate::id::{Class, Seq};
use crate::policy::{MergeLimits, TenantPolicy};
use crate::record::{Block, Labels};
use crate::segment::{SegmentBlock, block_payload, encode_block};
use crate::store::Error;
use std::collections::BTreeMap;
use std::sync::Arc;

impl TenantCore {
    /// Splits the store's segments of several classes. Archived ones stay: their records have gone together.
    pub(super) fn regroup(&self, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        let rules = self.options.rules.policy();
        let segments = self.state().segments.clone();
        for segment in segments.values().filter(|s| s.meta().place.is_own()) {
            // A damaged segment stays as it is.
            let Ok(classes) = self.classes_of(segment, &rules) else { continue };
            if classes.len() < 2 || segment.damage().is_some() {
                continue;
            }
            let _turn = self.turn(writer);
            if writer.manifest.version().segments.get(&segment.meta().id) != Some(segment.meta()) {
                continue;
            }
            // Once for each class: one dictionary is built at a time, and a segment has few classes.
            let mut attempt = self.attempt();
            let split = |class| self.split_off(writer, &mut attempt, segment, &rules, class);
            let outputs: Vec<SegmentMeta> = match classes.into_iter().map(split).collect::<Result<Vec<_>, _>>() {
                Ok(outputs) => outputs.concat(),
                Err(error) if self.note_damage(&error) => continue,
                Err(error) => return Err(error),
            };
            report.segments_merged += 1;
            report.segments_made += outputs.len() as u64;
            let edit = Edit::Merge { inputs: vec![segment.meta().id], outputs };
            let version = self.apply_made(writer, edit, attempt)?;
            self.publish(version);
        }
        Ok(())
    }

    /// Writes the records of one class of a segment into segments of their own.
    fn split_off(
        &self,
        writer: &Writer,
        attempt: &mut Attempt,
        segment: &SegmentSource,
        rules: &TenantPolicy,
        class: Class,
    ) -> Result<Vec<SegmentMeta>, Error> {
        let reader = segment.reader()?;
        let level = segment.meta().level;
        let mut parts = Parts { limits: rules.merge_limits(&class), ..Parts::default() };
        let mut pending = Pending::default();
        for number in 0..=reader.blocks() {
            let is_last = number == reader.blocks();
            if !is_last {
                let block = SegmentBlock::open(reader, number)?;
                pending.add(&block_payload(&block)?, &block.seqs()?, |labels| *rules.classify(labels) == class);
            }
            for (rows, batches) in pending.blocks(is_last) {
                let mut target = match parts.fitting(&rows, self)? {
                    Some(target) => target,
                    None => self.begin_segment(writer, attempt, level, class.clone())?,
                };
                let block = encode_block(&rows, &batches, LEVEL_MERGE, &mut target.sink);
                target.block(&block)?;
                parts.open = Some(target);
            }
        }
        parts.finish(self)
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
            self.done.push(open.finish(tenant)?);
        }
        (self.rows, self.begins) = (more, first);
        Ok(None)
    }

    fn finish(mut self, tenant: &TenantCore) -> Result<Vec<SegmentMeta>, Error> {
        if let Some(open) = self.open.take() {
            self.done.push(open.finish(tenant)?);
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
