//! The deep look: every record decoded; zone maps, filters and leaves compared with what the records say.

use super::report::{Finding, FindingKind, Report};
use super::segment::Segment;
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::block::{BlockHead, BlockHeader, PresenceEncoding, read_overflow};
use crate::format::bundle::{Bundle, Tokenizer};
use crate::format::chunk::{Chunk, ChunkTags, decode_data, decode_tags, page_bytes, value_pages};
use crate::format::edit::Leaf;
use crate::format::payload::{Payload, Reencoder};
use crate::format::template::{Sources, decode_template, places_of};
use crate::format::version::Version;
use crate::id::Seq;
use crate::record::{Column, Data, Labels, Tag, Tags, Timestamp, ZoneMap, for_each_element};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A record of a decoded block.
type Place = (Arc<Payload>, u32);

/// The leaves of a manifest, and the records that have come so far for each.
pub(super) struct Leaves {
    leaves: Vec<Leaf>,
    /// For each leaf the highest Seq of it and those before: behind that no search need go back.
    reach: Vec<Seq>,
    /// The leaf that was found last.
    at: usize,
    /// For each leaf begun and not complete: its records by Seq.
    open: BTreeMap<usize, BTreeMap<Seq, Place>>,
    done: Vec<bool>,
    /// Seqs of segments that are missing or damaged, which was said of them: what did not come of these is no news.
    unread: Vec<(Seq, Seq)>,
    /// Seqs of leaves that expiry broke, and how many records of these came.
    broken: Arc<BTreeMap<Seq, Seq>>,
    without: u64,
    /// By file, what is odd and how many records are: one finding each, not one a record.
    odd: BTreeMap<(PathBuf, Odd), (u64, Seq, Seq)>,
}

/// What can be odd about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Odd {
    Twice,
    OfNoLeaf,
}

impl Leaves {
    pub fn new(version: &Version) -> Self {
        let leaves: Vec<Leaf> = version.leaves().cloned().collect();
        let broken = version.broken().clone();
        let mut highest = Seq(0);
        let reach = leaves.iter().map(|leaf| {
            highest = highest.max(leaf.last());
            highest
        });
        Leaves {
            reach: reach.collect(),
            at: 0,
            done: vec![false; leaves.len()],
            leaves,
            open: BTreeMap::new(),
            unread: Vec::new(),
            broken,
            without: 0,
            odd: BTreeMap::new(),
        }
    }

    /// A segment with records of these Seqs can't be read, or not all of it.
    pub fn unread(&mut self, from: Seq, to: Seq) {
        self.unread.push((from, to));
    }

    /// The leaf that has a Seq. Where leaves reach over each other, as those of different classes do, several are asked.
    fn find(&mut self, seq: Seq) -> Option<usize> {
        if self.leaves.get(self.at).is_some_and(|leaf| leaf.seqs.contains(seq)) {
            return Some(self.at);
        }
        let behind = self.leaves.partition_point(|leaf| leaf.first() <= seq);
        let near = (0..behind).rev().take_while(|at| self.reach[*at] >= seq);
        let found = near.into_iter().find(|at| self.leaves[*at].seqs.contains(seq))?;
        self.at = found;
        Some(found)
    }

    fn add(&mut self, seq: Seq, place: Place, path: &Path, report: &mut Report) {
        match self.find(seq) {
            Some(at) => {
                let records = self.open.entry(at).or_default();
                if self.done[at] || records.insert(seq, place).is_some() {
                    self.note(Odd::Twice, seq, path);
                } else if records.len() == self.leaves[at].count() as usize {
                    self.complete(at, path, report);
                }
            }
            _ if self.broken.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last) => self.without += 1,
            _ => self.note(Odd::OfNoLeaf, seq, path),
        }
    }

    fn note(&mut self, odd: Odd, seq: Seq, path: &Path) {
        let (count, first, last) = self.odd.entry((path.to_path_buf(), odd)).or_insert((0, seq, seq));
        *count += 1;
        (*first, *last) = ((*first).min(seq), (*last).max(seq));
    }

    fn complete(&mut self, at: usize, path: &Path, report: &mut Report) {
        let leaf = self.leaves[at].clone();
        let mut encoder = Reencoder::default();
        for (payload, record) in self.open.remove(&at).unwrap_or_default().into_values() {
            let record = &payload.records[record as usize];
            encoder.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
        }
        self.done[at] = true;
        let payload = encoder.finish().bytes;
        if report.unlock.ring.is_leaf(&leaf.hash, &payload) {
            report.leaves += 1;
        } else {
            let hex = crate::format::header::hex;
            let expected = format!("records {} to {} with leaf {}", leaf.first(), leaf.last(), hex(&leaf.hash));
            let found = blake3::hash(&payload).to_hex();
            report.add(Finding::new(FindingKind::LeafMismatch, path, 0, expected, found));
        }
    }

    /// At the end: leaves of which records did not come.
    pub fn finish(mut self, manifest: &Path, report: &mut Report) {
        for ((path, odd), (count, first, last)) in std::mem::take(&mut self.odd) {
            let which = if count == 1 { format!("record {first}") } else { format!("records {first} to {last}") };
            let (expected, found) = match odd {
                Odd::Twice => (format!("{which} once"), format!("{count} of them twice")),
                Odd::OfNoLeaf => ("records that the manifest has a leaf of".into(), format!("{count} others, {which}")),
            };
            report.add(Finding::new(FindingKind::LeafMismatch, &path, 0, expected, found));
        }
        if self.without > 0 {
            let why = "their leaves covered records that have expired: these are under the segments' checksums alone";
            report.skipped.push(format!("{}: leaves of {} records: {why}", manifest.display(), self.without));
        }
        for at in 0..self.leaves.len() {
            if self.done[at] {
                continue;
            }
            let leaf = self.leaves[at].clone();
            if self.unread.iter().any(|(from, to)| *from <= leaf.last() && *to >= leaf.first()) {
                continue;
            }
            let came = self.open.get(&at).map_or(0, BTreeMap::len);
            let before = report.findings.len();
            // Before version 3 a delete left fewer records than Seqs, and a leaf over what was left.
            self.complete(at, manifest, report);
            if let Some(finding) = report.findings.get_mut(before) {
                finding.found = format!("{came} of {} records", leaf.count());
            }
        }
    }
}

/// Decodes all of a segment whose checksums hold.
pub(super) fn verify_segment(segment: &Segment, mut leaves: Option<&mut Leaves>, report: &mut Report) {
    let bundle = bundle(segment);
    let mut tokenizer = Tokenizer::default();
    let mut zones: BTreeMap<Box<str>, ZoneMap> = BTreeMap::new();
    for (number, head, header, pages_at) in &segment.blocks {
        let offset = segment.footer.blocks[*number].offset;
        let decoded = Decoder { segment, pages_at: *pages_at }.block(head, header);
        let block = match decoded {
            Ok(block) => block,
            Err(e) => {
                report.add(Finding::error(&segment.path, &e));
                if let Some(leaves) = leaves.as_deref_mut() {
                    leaves.unread(head.seq.0, head.seq.1);
                }
                continue;
            }
        };
        let wrong = |report: &mut Report, expected: String, found: String| {
            report.add(Finding::new(FindingKind::Corruption, &segment.path, offset, expected, found));
        };
        for problem in block.problems {
            wrong(report, problem.0, problem.1);
        }
        for (name, column, stored) in &block.columns {
            let zone = ZoneMap::of(column);
            if zone != **stored {
                wrong(report, format!("zone map of `{name}`: {zone:?}"), format!("{stored:?}"));
            }
            zones.entry(Box::from(*name)).or_default().merge(&zone);
            if let Some(bundle) = &bundle
                && let Some(missing) = missing_term(bundle, *number as u32, column, &mut tokenizer)
            {
                wrong(
                    report,
                    format!("`{missing}` of field `{name}` in the index"),
                    "no such term in this block".into(),
                );
            }
        }
        if let Some(leaves) = leaves.as_deref_mut() {
            let payload = Arc::new(block.payload);
            for (record, &seq) in block.seqs.iter().enumerate() {
                leaves.add(Seq(seq), (payload.clone(), record as u32), &segment.path, report);
            }
        }
    }
    for (name, zone) in &mut zones {
        (zone.counts, zone.distinct) = (None, None);
        let stored = segment.footer.fields.iter().find(|(n, _)| n == name).map(|(_, z)| z);
        if segment.blocks.len() == segment.footer.blocks.len() && stored != Some(zone) {
            let at = segment.trailer.footer_offset;
            report.add(Finding::new(
                FindingKind::Corruption,
                &segment.path,
                at,
                format!("zone map of `{name}`: {zone:?}"),
                format!("{stored:?}"),
            ));
        }
    }
}

/// Hands on the records of a segment, each with its Seq and its place in a payload. Blocks that can't be decoded are left
/// out.
pub(super) fn records(segment: &Segment, each: &mut dyn FnMut(Seq, &Arc<Payload>, u32)) {
    for (_, head, header, pages_at) in &segment.blocks {
        let Ok(block) = (Decoder { segment, pages_at: *pages_at }).block(head, header) else { continue };
        let payload = Arc::new(block.payload);
        for (record, &seq) in block.seqs.iter().enumerate() {
            each(Seq(seq), &payload, record as u32);
        }
    }
}

fn bundle(segment: &Segment) -> Option<Bundle> {
    let bytes = segment.bundle();
    if bytes.is_empty() {
        return None;
    }
    // Damage was reported when the checksums were looked at.
    Bundle::decode(bytes).ok().flatten()
}

/// The first term of a column's values that the index should have for the block, and has not.
fn missing_term(bundle: &Bundle, block: u32, column: &Column, tokenizer: &mut Tokenizer) -> Option<String> {
    let distinct = column.entries();
    let column = distinct.as_ref().unwrap_or(column);
    let mut buffer = Vec::new();
    for i in 0..column.len() {
        let text = std::str::from_utf8(column.text(i, &mut buffer)).unwrap_or_default().to_string();
        if let Some(missing) = bundle.first_missing(block, &text, tokenizer) {
            return Some(missing);
        }
        if column.tag(i) == Tag::Array {
            let mut missing = None;
            for_each_element(&text, &mut |_, text| {
                if missing.is_none() {
                    missing = bundle.first_missing(block, text, tokenizer);
                }
            });
            if missing.is_some() {
                return missing;
            }
        }
    }
    None
}

/// A block, decoded.
struct Decoded<'a> {
    columns: Vec<(&'a str, Column, &'a ZoneMap)>,
    seqs: Vec<u64>,
    payload: Payload,
    /// Expected and found.
    problems: Vec<(String, String)>,
}

struct Decoder<'a> {
    segment: &'a Segment,
    pages_at: usize,
}

impl<'a> Decoder<'a> {
    fn damage(&self, at: u64, e: DecodeError) -> StorageError {
        DecodeError { offset: self.pages_at as u64 + at, ..e }.in_file(&self.segment.path).into()
    }

    fn column(&self, chunk: &Chunk) -> Result<Column, StorageError> {
        let mut read = |page: &crate::format::chunk::Page| self.page(page);
        let fail = |page: &crate::format::chunk::Page, e| self.damage(page.offset, e);
        let data = decode_data(&chunk.encoding, chunk.rows, value_pages(&chunk.encoding), &mut read, &fail)?;
        Ok(Column { tags: self.tags(chunk)?, data })
    }

    fn page(&self, page: &crate::format::chunk::Page) -> Result<Vec<u8>, StorageError> {
        let at = self.pages_at + page.offset as usize;
        let stored = self.segment.map.bytes().get(at..at + page.stored as usize).unwrap_or_default();
        page_bytes(page, stored).map_err(|e| self.damage(page.offset, e))
    }

    fn tags(&self, chunk: &Chunk) -> Result<Tags, StorageError> {
        Ok(match &chunk.tags {
            ChunkTags::One(tag) => Tags::One(*tag),
            ChunkTags::Each(page) => {
                Tags::Each(decode_tags(&self.page(page)?).map_err(|e| self.damage(page.offset, e))?)
            }
        })
    }

    /// A column of the block, put together from those that it refers to where it does.
    fn column_of(&self, header: &BlockHeader, presence: &[Vec<u32>], at: usize) -> Result<Column, StorageError> {
        let chunk = &header.columns[at].chunk;
        let Some(template) = chunk.encoding.template() else { return self.column(chunk) };
        let mut read = |page: &crate::format::chunk::Page| self.page(page);
        let fail = |page: &crate::format::chunk::Page, e| self.damage(page.offset, e);
        let mut refer = |other: u32| {
            let column = self.column_of(header, presence, other as usize)?;
            let places = places_of(presence[at].iter().copied(), &presence[other as usize]);
            Ok((Arc::new(column), places))
        };
        let mut sources = Sources { read: &mut read, fail: &fail, refer: &mut refer };
        let data = Data::Plain(decode_template(template, &mut sources)?);
        Ok(Column { tags: self.tags(chunk)?, data })
    }

    fn integers(&self, chunk: &Chunk) -> Result<Vec<i64>, StorageError> {
        match self.column(chunk)?.data {
            Data::Integer(values) => Ok(values),
            _ => Err(self.damage(0, DecodeError::new("block", 0, "integers", chunk.encoding.name()))),
        }
    }

    /// For each column, and the overflow column last, the rows that have it.
    fn presence(&self, head: &BlockHead, header: &BlockHeader) -> Result<Vec<Vec<u32>>, StorageError> {
        let columns = header.columns.len() + 1;
        let mut rows = vec![Vec::new(); columns];
        match &header.presence {
            PresenceEncoding::Shapes { shapes, ids } => {
                for (row, id) in self.integers(ids)?.into_iter().enumerate() {
                    let shape = usize::try_from(id).ok().and_then(|id| shapes.get(id));
                    let shape = shape.ok_or_else(|| {
                        self.damage(0, DecodeError::new("shapes", 0, format!("a shape below {}", shapes.len()), id))
                    })?;
                    shape.iter().for_each(|&column| rows[column as usize].push(row as u32));
                }
            }
            PresenceEncoding::Bitmaps(chunks) => {
                for (column, chunk) in chunks.iter().enumerate() {
                    let Data::Fixed { bytes, .. } = self.column(chunk)?.data else {
                        return Err(self.damage(0, DecodeError::new("bitmaps", 0, "bytes", chunk.encoding.name())));
                    };
                    rows[column] = (0..head.rows)
                        .filter(|&r| bytes.get(r as usize / 8).is_some_and(|b| b >> (r % 8) & 1 == 1))
                        .collect();
                }
            }
        }
        Ok(rows)
    }

    fn block(&self, head: &BlockHead, header: &'a BlockHeader) -> Result<Decoded<'a>, StorageError> {
        let mut problems = Vec::new();
        let times = self.integers(&header.times)?;
        let seqs: Vec<u64> = self.integers(&header.seqs)?.into_iter().map(|n| n as u64).collect();
        let ordered = times.iter().zip(&seqs).is_sorted();
        let bounds =
            ((times.first().copied(), times.last().copied()), (seqs.iter().min().copied(), seqs.iter().max().copied()));
        let said = ((Some(head.time.0.0), Some(head.time.1.0)), (Some(head.seq.0.0), Some(head.seq.1.0)));
        if !ordered || bounds != said {
            problems.push((format!("rows in order, {said:?}"), format!("{bounds:?}, in order: {ordered}")));
        }
        let streams = self.column(&header.streams)?;
        let presence = self.presence(head, header)?;
        let mut columns = Vec::new();
        for (at, (entry, rows)) in header.columns.iter().zip(&presence).enumerate() {
            let column = self.column_of(header, &presence, at)?;
            if column.len() != rows.len() {
                problems.push((format!("{} values of `{}`", rows.len(), entry.name), column.len().to_string()));
            }
            columns.push((&*entry.name, column, &entry.zone));
        }
        let overflow = header.overflow.as_ref().map(|chunk| self.column(chunk)).transpose()?;
        let payload = self.records(&times, &streams, &columns, overflow.as_ref(), &presence)?;
        Ok(Decoded { columns, seqs, payload, problems })
    }

    /// The records, encoded again in the order of the block.
    fn records(
        &self,
        times: &[i64],
        streams: &Column,
        columns: &[(&str, Column, &ZoneMap)],
        overflow: Option<&Column>,
        presence: &[Vec<u32>],
    ) -> Result<Payload, StorageError> {
        let mut next = vec![0usize; columns.len() + 1];
        let mut out = Reencoder::default();
        let mut buffer = Vec::new();
        let mut labels: BTreeMap<String, Labels> = BTreeMap::new();
        for (row, &time) in times.iter().enumerate() {
            let mut fields: Vec<(String, Tag, String)> = Vec::new();
            for (i, (name, column, _)) in columns.iter().enumerate() {
                if presence[i].get(next[i]) == Some(&(row as u32)) && next[i] < column.len() {
                    let tag = column.tag(next[i]);
                    let text = String::from_utf8_lossy(column.text(next[i], &mut buffer)).into_owned();
                    fields.push((name.to_string(), tag, text));
                    next[i] += 1;
                }
            }
            let last = columns.len();
            if let Some(overflow) = overflow
                && presence[last].get(next[last]) == Some(&(row as u32))
                && next[last] < overflow.len()
            {
                let text = String::from_utf8_lossy(overflow.text(next[last], &mut buffer)).into_owned();
                let rarer = read_overflow(&text).map_err(|e| self.damage(0, e))?;
                fields.extend(rarer.into_iter().map(|(n, t, v)| (n.to_string(), t, v.to_string())));
                fields.sort();
                next[last] += 1;
            }
            let stream = String::from_utf8_lossy(streams.text(row, &mut buffer)).into_owned();
            if !labels.contains_key(&stream) {
                let parsed = Labels::parse(&stream)
                    .ok_or_else(|| self.damage(0, DecodeError::new("streams", 0, "labels", &stream)))?;
                labels.insert(stream.clone(), parsed);
            }
            out.push(Timestamp(time), &labels[&stream], fields.iter().map(|(n, t, v)| (&**n, *t, &**v)));
        }
        Ok(out.finish())
    }
}
