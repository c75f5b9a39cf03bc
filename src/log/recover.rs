//! Replay: which files count up to where, what a crash tore off, and what is damage.

use super::scan::{Broken, FrameAt, LogSource, Scan, file_name, id_of};
use crate::crypt::KeyRing;
use crate::error::{Damage, StorageError};
use crate::format::header::FILE_HEADER_BYTES;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::{Vfs, set_aside};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a reader beside a writer reads again what looks damaged in the same place: it may have seen half of a
/// write, and a writer that lost its processor meanwhile takes a while to finish it.
const READ_ATTEMPTS_MAX: u32 = 7;
/// How long it waits before, doubled with each attempt. Tests read thousands of files that stay damaged.
const READ_AGAIN_AFTER: Duration = if cfg!(test) { Duration::from_micros(1) } else { Duration::from_millis(1) };
/// How often in all, where each look finds another place: a writer is ahead of the reader then.
const READ_PLACES_MAX: u32 = 100;

/// A batch from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Seq of its first record.
    pub first: Seq,
    /// How many records.
    pub records: u32,
    /// BLAKE3 of the payload; it was checked.
    pub leaf: [u8; 32],
    /// The payload, uncompressed.
    pub payload: Vec<u8>,
    /// Hash of the idempotency key that it came with, and what was answered.
    pub idempotency: Option<([u8; 32], Box<[u8]>)>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Files that were read.
    pub files: u64,
    /// Batches that were replayed.
    pub batches: u64,
    /// The last Seq: of the log, or for a reader beside a writer the last durable one.
    pub last: Seq,
    /// The highest Seq that the files said was durable.
    pub durable: Seq,
    /// What was cut off, or for a reader is not looked at.
    pub cuts: Vec<Cut>,
    /// Files that were removed because all in them is sealed.
    pub trimmed: Vec<LogId>,
}

/// Bytes at the end of a file that do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes, without zeros at the end.
    pub bytes: u64,
    /// Why.
    pub reason: String,
    /// Where they were copied to; missing for a reader.
    pub quarantined: Option<PathBuf>,
}

/// Why a reader beside a writer got nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadOnlyError {
    /// Files were sealed and trimmed since the manifest was read. Read the manifest again, then the log. Where this
    /// comes again with the same manifest, the files are missing, and this is the damage.
    #[error("the log moved on: {0}")]
    Moved(StorageError),
    /// The files can't be read or are damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A file whose records count, and which of them.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) source: LogSource,
    pub(super) scan: Scan,
    /// What counts of its frames.
    frames: Vec<FrameAt>,
    /// Where a cut begins, where it ends and why.
    pub(super) cut: Option<(u64, u64, String)>,
}

/// What the folder holds.
#[derive(Debug)]
pub(super) struct Plan {
    /// The files that count, oldest first.
    pub(super) kept: Vec<Kept>,
    /// Files with nothing in them that is not sealed.
    pub(super) sealed: Vec<LogId>,
    /// Files that were being made.
    pub(super) unfinished: Vec<PathBuf>,
    /// The Seq that comes next.
    pub(super) next: Seq,
    /// The highest Seq that any file says is durable.
    pub(super) durable: Seq,
    /// The lowest id that no file has.
    pub(super) next_id: LogId,
}

/// Reads headers and frames of all files, and decides what counts. `Err(Moved)` where the first file begins too late
/// or a listed one is gone.
pub(super) fn plan(
    vfs: &dyn Vfs,
    dir: &Path,
    owner: (&TenantId, &KeyRing),
    sealed_below: Seq,
) -> Result<Plan, ReadOnlyError> {
    let mut sources = Vec::new();
    let mut unfinished = Vec::new();
    for entry in vfs.list(dir)? {
        if entry.name.strip_suffix(".tmp").is_some_and(|name| id_of(name).is_some()) {
            unfinished.push(dir.join(&entry.name));
        } else if let Some(id) = id_of(&entry.name).filter(|_| !entry.is_dir) {
            sources.push(LogSource::open(vfs, dir, id, owner).map_err(|e| match e.is_not_found() {
                true => ReadOnlyError::Moved(e),
                false => e.into(),
            })?);
        }
    }
    sources.sort_by_key(|source| source.header.id);
    let next_id = LogId(sources.last().map_or(1, |newest| newest.header.id.0.saturating_add(1)));
    let mut plan = Plan { kept: vec![], sealed: vec![], unfinished, next: Seq(0), durable: Seq(0), next_id };
    // A file's records count up to where a younger one begins: it was made when the older one ended, or took over from
    // one that could not be written.
    let mut limit = Seq(u64::MAX);
    let mut limits = Vec::new();
    for source in sources.iter().rev() {
        limits.push(limit);
        limit = limit.min(source.header.first);
    }
    let newest = sources.last().map(|source| source.header.id);
    for (source, limit) in sources.into_iter().zip(limits.into_iter().rev()) {
        plan.durable = plan.durable.max(source.header.durable);
        if Some(source.header.id) != newest && limit.0 <= sealed_below.0.saturating_add(1) {
            plan.sealed.push(source.header.id);
            continue;
        }
        let begins_at = source.header.first;
        if plan.kept.is_empty() && begins_at.0 > sealed_below.0.saturating_add(1) {
            let expected = Seq(sealed_below.0 + 1);
            return Err(ReadOnlyError::Moved(gap(&source.path(), 192, expected, begins_at).into()));
        }
        let kept = keep(source, limit)?;
        plan.durable = plan.durable.max(kept.scan.chain.durable);
        plan.next = kept.scan.chain.next.min(limit);
        plan.kept.push(kept);
    }
    plan.next = plan.next.max(Seq(sealed_below.0.saturating_add(1)));
    Ok(plan)
}

fn gap(file: &Path, offset: u64, expected: Seq, found: impl ToString) -> Damage {
    let found = found.to_string();
    Damage { file: file.to_path_buf(), offset, what: "log", expected: format!("Seq {expected}"), found }
}

fn keep(mut source: LogSource, limit: Seq) -> Result<Kept, StorageError> {
    let path = source.path();
    let scan = source.scan()?;
    if let Some(frame) = scan.frames.iter().find(|frame| frame.first < limit && frame.last() >= limit) {
        let found = format!("Seqs {} to {}", frame.first, frame.last());
        return Err(gap(&path, frame.offset, Seq(limit.0 - 1), found).into());
    }
    let frames: Vec<FrameAt> = scan.frames.iter().filter(|frame| frame.first < limit).copied().collect();
    let superseded = scan.frames.get(frames.len()).map(|frame| frame.offset);
    let is_newest = limit.0 == u64::MAX;
    if !is_newest && source.header.first < limit && scan.chain.next < limit {
        // A younger file begins further on, so all up to there had been durable.
        return Err(match &scan.broken {
            Some(broken) => broken.error.clone().in_file(&path).into(),
            None => gap(&path, scan.end, scan.chain.next, "the end of the file").into(),
        });
    }
    if let Some(Broken { error, proof: Some((at, durable)), .. }) = &scan.broken
        && is_newest
    {
        let mut damage = error.clone().in_file(&path);
        damage.found.push_str(&format!(" (byte {at} says that Seqs up to {durable} were durable)"));
        return Err(damage.into());
    }
    let cut = match (&scan.broken, superseded) {
        (broken, Some(at)) => {
            let end = broken.as_ref().map_or(scan.end, |broken| broken.end);
            Some((at, end, format!("a younger log holds the records from Seq {limit} on")))
        }
        (Some(broken), None) => Some((scan.end, broken.end, format!("torn tail: {}", broken.error))),
        (None, None) => None,
    };
    Ok(Kept { source, scan, frames, cut })
}

impl Kept {
    /// Hands on the batches with records in `(after, up_to]`, in order.
    pub(super) fn replay(
        &mut self,
        after: Seq,
        up_to: Seq,
        batch: &mut dyn FnMut(Replayed),
    ) -> Result<u64, StorageError> {
        let path = self.source.path();
        let mut batches = 0;
        let wanted = |at: &&FrameAt| at.last() > after && at.last() <= up_to;
        let key = if self.frames.iter().any(|at| wanted(&at)) { self.source.key()? } else { None };
        for at in self.frames.iter().filter(wanted) {
            let keys = self.source.keys.clone();
            let decoded = self.source.frame(at.offset)?.map_err(|e| e.in_file(&path))?;
            // Its CRC was right, so that nothing from here on is a torn write.
            let opened = decoded.open(key.as_ref().map(|key| key as _));
            let opened = opened.map_err(|e| e.within(at.offset).in_file(&path))?;
            let frame = opened.frame();
            let payload = frame.payload_where(&|leaf, payload| keys.is_leaf(leaf, payload));
            let payload = payload.map_err(|e| e.within(at.offset).in_file(&path))?;
            let idempotency = frame.idempotency.map(|i| (i.key_hash, i.answer.into()));
            batch(Replayed { first: frame.first, records: frame.records, leaf: frame.leaf, payload, idempotency });
            batches += 1;
        }
        Ok(batches)
    }

    /// The end of the file that it does not itself say is durable: from which offset on, and the bytes.
    pub(super) fn unproven(&mut self) -> Result<(u64, Vec<u8>), StorageError> {
        let durable = self.scan.chain.durable;
        let proven = self.scan.frames.iter().take_while(|frame| frame.last() <= durable).last();
        let from = proven.map_or(FILE_HEADER_BYTES as u64, |frame| frame.offset + frame.bytes as u64);
        Ok((from, self.source.copy(from, self.scan.end)?))
    }

    fn reported_cut(&self) -> Option<Cut> {
        let (from, to, reason) = self.cut.clone()?;
        Some(Cut { file: self.source.path(), offset: from, bytes: to - from, reason, quarantined: None })
    }

    /// Copies what does not count to quarantine, then cuts it off. Where the file ends now is its end.
    pub(super) fn cut_off(&mut self, vfs: &dyn Vfs, quarantine: &Path) -> Result<Option<Cut>, StorageError> {
        let Some(mut cut) = self.reported_cut() else { return Ok(None) };
        let name = format!("{}.log-{}", self.source.header.id, cut.offset);
        let bytes = self.source.copy(cut.offset, cut.offset + cut.bytes)?;
        let reason =
            format!("{} bytes of {} from byte {}\n{}\n", cut.bytes, cut.file.display(), cut.offset, cut.reason);
        cut.quarantined = Some(set_aside(vfs, quarantine, &name, &bytes, &reason)?);
        let file = vfs.open_write(&cut.file)?;
        file.set_len(cut.offset)?;
        file.sync()?;
        Ok(Some(cut))
    }
}

/// What the folder holds, beside a writer perhaps.
pub(super) fn plan_beside(
    vfs: &dyn Vfs,
    dir: &Path,
    (tenant, keys): (&TenantId, &KeyRing),
    sealed_below: Seq,
) -> Result<Plan, ReadOnlyError> {
    let (mut place, mut attempt, mut looks) = (None, 0, 0);
    loop {
        match plan(vfs, dir, (tenant, keys), sealed_below) {
            // A half of a write that was seen looks like damage; the next look sees more of it.
            Err(ReadOnlyError::Storage(StorageError::Damage(damage))) => {
                let found = Some((damage.file.clone(), damage.offset));
                attempt = if place == found { attempt + 1 } else { 1 };
                (place, looks) = (found, looks + 1);
                if attempt == READ_ATTEMPTS_MAX || looks == READ_PLACES_MAX {
                    return Err(StorageError::Damage(damage).into());
                }
                std::thread::sleep(READ_AGAIN_AFTER * (1 << (attempt - 1)));
            }
            other => return other,
        }
    }
}

impl Plan {
    /// The last Seq that a reader takes, and the last one that the files say is durable.
    pub(super) fn last_readable(&self, sealed_below: Seq) -> (Seq, Seq) {
        let durable = self.durable.max(sealed_below);
        // What is still broken after reading again was left by a crash, or is damage to the mark behind a synced frame.
        // Either way there is no frame under way, and the whole ones are what the next writer takes.
        let is_torn = self.kept.last().is_some_and(|kept| kept.scan.broken.is_some());
        (if is_torn { Seq(self.next.0 - 1) } else { durable }, durable)
    }
}

/// Replays a log beside its writer, or with none: no lock is taken and nothing is written.
///
/// `batch` gets the batches above `sealed_below` up to the last one that the files say is durable, in order; where
/// the end is torn, up to the last whole one, as the next writer will. A partial frame at the end is the end. An error
/// may come after some batches were handed on; they are void then.
pub fn read_only(
    vfs: &dyn Vfs,
    dir: &Path,
    owner: (&TenantId, &KeyRing),
    sealed_below: Seq,
    batch: &mut dyn FnMut(Replayed),
) -> Result<Recovery, ReadOnlyError> {
    let mut plan = plan_beside(vfs, dir, owner, sealed_below)?;
    let (last, durable) = plan.last_readable(sealed_below);
    let mut report = Recovery { files: plan.kept.len() as u64, last, durable, ..Recovery::default() };
    for kept in &mut plan.kept {
        report.cuts.extend(kept.reported_cut());
        report.batches += kept.replay(sealed_below, last, batch)?;
    }
    Ok(report)
}

/// The path of a log's file.
pub(super) fn path_of(dir: &Path, id: LogId) -> PathBuf {
    dir.join(file_name(id))
}
