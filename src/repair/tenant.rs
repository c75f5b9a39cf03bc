//! One tenant: looked at, then put in order by one entry of its manifest.
//!
//! What is recovered is durable before that entry, and so are the copies of what it lets go; files go after it. So a
//! crash leaves a tenant that a second repair finds as it was, or with files that nothing names.

use super::history::{Chain, read, read_short};
use super::log::Salvage;
use super::loss::{count, expected_of, loss_of_part};
use super::records::{Records, ranges_without};
use super::report::{Action, Loss, RepairReport};
use super::segment::{Found, Part, Readable, inspect};
use super::write::{Maker, segment_file};
use super::{fresh, index};
use crate::archive::Archives;
use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::format::archived::ArchivedFile;
use crate::format::edit::{Edit, SegmentMeta, SeqSet};
use crate::format::version::Version;
use crate::id::{Class, SegmentId, Seq, TenantId};
use crate::log::ReadOnlyError;
use crate::manifest::Manifest;
use crate::record::Timestamp;
use crate::store::Error;
use crate::tenant::archived::Listed;
use crate::vfs::{Vfs, set_aside};
use roaring::RoaringTreemap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What became of the records of a damaged file.
pub(super) const KEPT: &str = "what can be read of it is in a new segment";

/// A tenant under repair.
pub(super) struct Tenant<'a> {
    pub vfs: &'a Arc<dyn Vfs>,
    pub dir: &'a Path,
    pub id: &'a TenantId,
    pub keys: &'a KeyRing,
    pub archives: &'a Archives,
    pub report: &'a mut RepairReport,
}

/// What was found of a tenant's files.
pub(super) struct Look {
    /// Whole segments, with a way to their records where they are in the tenant's own folder.
    pub kept: Vec<(SegmentMeta, Option<Readable>)>,
    /// Segments of which something can be recovered, with their class and level.
    pub parts: Vec<(SegmentId, Option<SegmentMeta>, Part)>,
    /// Segments that the manifest names, and of which nothing is left.
    pub gone: Vec<(SegmentMeta, String, bool)>,
    /// Files that go, why, and what became of what they had.
    pub aside: Vec<(PathBuf, String, &'static str)>,
    /// Segments whose index is to be made anew.
    pub unindexed: Vec<(SegmentId, Readable, String)>,
    pub log: Option<Salvage>,
    /// The lowest number that no segment has had.
    pub highest: SegmentId,
}

impl Look {
    pub fn new(highest: SegmentId) -> Self {
        let (kept, parts, gone, aside, unindexed) = Default::default();
        Look { kept, parts, gone, aside, unindexed, log: None, highest }
    }
}

/// What was recovered.
#[derive(Default)]
pub(super) struct Made {
    pub segments: Vec<SegmentMeta>,
    pub of_log: Option<SegmentMeta>,
    pub readers: Vec<Readable>,
}

impl Tenant<'_> {
    pub fn run(&mut self) -> Result<(), Error> {
        self.receipts()?;
        self.usage()?;
        // It may be the one thing that says where records are: without it nothing is changed.
        let mut listed = Listed::read(&**self.vfs, self.dir, self.id, self.archives)?;
        let history = match read(&**self.vfs, self.dir, self.id)? {
            Chain::Whole(version, is_torn) => {
                let short = match listed.contradicts(&**self.vfs, self.dir, &version) {
                    Some(problem) => Some(read_short(&**self.vfs, self.dir, self.id, (&version, problem))?),
                    None => self.beyond(&version)?,
                };
                match short {
                    Some(history) => history,
                    None => {
                        if self.report.dry_run {
                            self.tell_orphans(&version)?;
                        }
                        listed.add(version.segments.values().map(|meta| &**meta));
                        self.mend_list(&listed)?;
                        return self.by_manifest(&version, is_torn);
                    }
                }
            }
            Chain::Broken(history) => *history,
        };
        listed.add(history.segments.values().filter(|meta| !history.removed.contains(&meta.id)));
        self.without_manifest(history, &listed)
    }

    pub(super) fn act(&mut self, file: &Path, what: impl Into<String>, quarantined: Option<PathBuf>) {
        let what = without_path(what.into(), file);
        let (tenant, file) = (Some(self.id.to_string()), file.to_path_buf());
        self.report.actions.push(Action { tenant, file, what, quarantined });
    }

    pub(super) fn lose(&mut self, mut loss: Loss) {
        loss.tenant = self.id.to_string();
        loss.reason = without_path(loss.reason, &loss.file);
        self.report.lost.push(loss);
    }

    /// Copies a file to quarantine; nothing in a dry run, or where there is no file.
    pub(super) fn copy(&self, path: &Path, reason: &str) -> Result<Option<PathBuf>, StorageError> {
        if self.report.dry_run || !self.vfs.exists(path)? {
            return Ok(None);
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = self.vfs.read(path)?;
        let reason = format!("repair: {}: {reason}\n", path.display());
        set_aside(&**self.vfs, &self.dir.join("quarantine"), &name, &bytes, &reason).map(Some)
    }

    /// The manifest says what there should be. `is_torn`: its last entry is cut off.
    fn by_manifest(&mut self, version: &Version, is_torn: bool) -> Result<(), Error> {
        let mut look = Look::new(version.next_segment_id);
        for meta in version.segments.values() {
            if !meta.place.is_own() {
                self.archived(meta, true, &mut look)?;
                continue;
            }
            let path = segment_file(self.dir, meta.id);
            match inspect(&**self.vfs, &path, (self.id, self.keys, meta.id), Some(meta))? {
                Found::Whole(segment, _) => self.keep(&mut look, (**meta).clone(), segment)?,
                Found::Part(part) => {
                    look.aside.push((path, part.problem.to_string(), KEPT));
                    look.parts.push((meta.id, Some((**meta).clone()), part));
                }
                Found::Missing(why) => {
                    let let_go = ", and the entry that is cut off the manifest may have let it go";
                    let why = if is_torn { why + let_go } else { why };
                    look.gone.push(((**meta).clone(), why, !is_torn));
                }
                Found::Foreign(why) => {
                    look.aside.push((path, why.clone(), "none of its records count"));
                    look.gone.push(((**meta).clone(), why, true));
                }
            }
        }
        self.look_at_log(&mut look, version.sealed_below)?;
        let parts = self.look_at_parts(version)?;
        let is_whole = look.parts.is_empty() && look.gone.is_empty() && look.unindexed.is_empty();
        if is_whole && look.log.is_none() && parts.is_empty() {
            return Ok(());
        }
        let mut taken = RoaringTreemap::new();
        // First: a loss of power amid this may take the frames and leave a segment, which the next repair takes records of.
        self.keep_receipts(&look)?;
        let made = self.recover(&look, &mut taken, version.sealed_below)?;
        let lost = self.losses(&look, version.sealed_below, Some(version))?;
        if self.report.dry_run {
            self.clear_parts(&parts, &[])?;
            return self.tell(&look, &[]);
        }
        let indexes = self.make_indexes(&look)?;
        let (copies, of_parts) = (self.copies(&look)?, self.keep_parts(&parts)?);
        let mut edits = self.edits(version, &look, &made, (lost, indexes))?;
        edits.extend(parts.edits());
        let path = self.dir.join("manifest");
        let (manifest, recovery) = Manifest::open(self.vfs.clone(), path.clone(), self.id)?;
        if let Some(at) = recovery.cut_at {
            let what = format!("{} bytes from byte {at} on are cut off: {}", recovery.cut_bytes, recovery.reason);
            self.act(&path, what, recovery.quarantined);
        }
        let after = manifest.apply(Timestamp::now(), edits)?;
        self.clear_parts(&parts, &of_parts)?;
        self.tell(&look, &copies)?;
        self.clear(&look, after.sealed_below)
    }

    fn edits(
        &self,
        version: &Version,
        look: &Look,
        made: &Made,
        (lost, indexes): (u64, Vec<(SegmentId, [u8; 32])>),
    ) -> Result<Vec<Edit>, Error> {
        let mut edits = Vec::new();
        let inputs: Vec<&SegmentMeta> =
            look.parts.iter().filter_map(|(_, m, _)| m.as_ref()).chain(look.gone.iter().map(|(m, ..)| m)).collect();
        if !inputs.is_empty() {
            let mut records = Records::new(readers(look, made), self.keys).with_elsewhere(elsewhere(look));
            let (mut leaves_broken, mut leaves_new) = (Vec::new(), Vec::new());
            let touched = |leaf: &&crate::format::edit::Leaf| {
                inputs.iter().any(|m| m.min_seq <= leaf.last() && m.max_seq >= leaf.first())
            };
            for leaf in version.leaves().filter(touched) {
                let again = records.again(leaf)?;
                if again.as_ref() != Some(leaf) {
                    leaves_broken.push(leaf.first());
                    leaves_new.extend(again);
                }
            }
            edits.push(Edit::Delete {
                inputs: inputs.iter().map(|m| m.id).collect(),
                outputs: made.segments.clone(),
                reason: format!("repair: {} damaged segments, {lost} of their records can't be read", inputs.len()),
                records: lost,
                leaves_broken,
                leaves_new,
            });
        }
        if let Some(log) = &look.log
            && log.reached > version.sealed_below
        {
            let mut records = Records::new(made.readers.clone(), self.keys);
            let mut leaves = Vec::new();
            for (first, payload) in &log.batches {
                let of = SeqSet::of((first.0..first.0 + payload.records.len() as u64).map(Seq));
                if let Some(of) = of {
                    leaves.extend(records.leaf(&of)?);
                }
            }
            let segments = made.of_log.iter().cloned().collect();
            edits.push(Edit::Seal { segments, leaves, sealed_below: log.reached });
        }
        edits.extend(indexes.into_iter().map(|(segment, index_root)| Edit::IndexRebuilt { segment, index_root }));
        Ok(edits)
    }

    /// Keeps a segment, and looks at its index.
    pub(super) fn keep(&self, look: &mut Look, meta: SegmentMeta, segment: Readable) -> Result<(), StorageError> {
        if let Some(why) = index::problem(&**self.vfs, self.dir, (&meta, self.keys), &segment)? {
            look.unindexed.push((meta.id, segment.clone(), why));
        }
        look.kept.push((meta, Some(segment)));
        Ok(())
    }

    /// Where a segment's file is.
    fn file_of(&self, meta: &SegmentMeta) -> PathBuf {
        let file = ArchivedFile { place: meta.place.clone(), id: meta.id, data_root: meta.data_root };
        self.archived_path(&file).unwrap_or_else(|_| segment_file(self.dir, meta.id))
    }

    fn look_at_log(&self, look: &mut Look, sealed_below: Seq) -> Result<(), StorageError> {
        let dir = self.dir.join("log");
        if !self.vfs.exists(&dir)? {
            return Ok(());
        }
        let problem = match crate::log::read_only(&**self.vfs, &dir, (self.id, self.keys), sealed_below, &mut |_| {}) {
            Ok(_) => return Ok(()),
            Err(ReadOnlyError::Moved(error)) => error,
            Err(ReadOnlyError::Storage(error)) if error.is_damage() => error,
            Err(ReadOnlyError::Storage(error)) => return Err(error),
        };
        let log = super::log::salvage(&**self.vfs, &dir, (self.id, self.keys), sealed_below)?;
        look.aside.extend(log.files.iter().map(|file| (file.clone(), problem.to_string(), KEPT)));
        look.log = Some(log);
        Ok(())
    }

    /// Brings what can be read of damaged segments and of the log into new segments.
    pub(super) fn recover(
        &mut self,
        look: &Look,
        taken: &mut RoaringTreemap,
        sealed_below: Seq,
    ) -> Result<Made, Error> {
        let mut made = Made::default();
        let mut maker = Maker { vfs: &**self.vfs, dir: self.dir, tenant: self.id, keys: self.keys, next: look.highest };
        for (_, meta, part) in &look.parts {
            let class = meta.as_ref().map_or(Class::default(), |m| m.class.clone());
            let level = meta.as_ref().map_or(0, |m| m.level);
            if self.report.dry_run {
                let seqs = Records::new(vec![part.left.clone()], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
                self.report.records_recovered += (&seqs - &*taken).len();
                *taken |= seqs;
            } else if let Some(new) = maker.of_blocks(&part.left.reader, taken, (class, level))? {
                self.report.records_recovered += new.rows;
                made.segments.push(new);
            }
        }
        if let Some(log) = &look.log {
            if self.report.dry_run {
                self.report.records_recovered += log.batches.iter().map(|(_, p)| p.records.len() as u64).sum::<u64>();
            } else if let Some(new) = maker.of_batches(&log.batches, taken, sealed_below)? {
                self.report.records_recovered += new.rows;
                made.of_log = Some(new);
            }
        }
        for meta in made.segments.iter().chain(&made.of_log) {
            made.readers.push(maker.open(meta.id)?);
        }
        Ok(made)
    }

    /// Says which records are lost; gives how many of them were in segments. What the version does not expect is not.
    pub(super) fn losses(&mut self, look: &Look, floor: Seq, version: Option<&Version>) -> Result<u64, StorageError> {
        let readable: Vec<_> = (look.kept.iter().filter_map(|(_, reader)| reader.clone()))
            .chain(look.parts.iter().map(|(_, _, part)| part.left.clone()))
            .collect();
        let records = Records::new(readable, self.keys);
        let without = |ranges: &[(Seq, Seq)]| -> Result<Vec<(Seq, Seq)>, StorageError> {
            let mut present = RoaringTreemap::new();
            for (first, last) in ranges {
                present |= records.seqs(*first, *last)?;
            }
            if let Some(log) = &look.log {
                log.batches.iter().for_each(|(first, payload)| {
                    present.insert_range(first.0..first.0 + payload.records.len() as u64);
                });
            }
            let ranges = version.map_or(ranges.to_vec(), |version| expected_of(version, ranges));
            Ok(ranges_without(&ranges, &present))
        };
        let mut losses = Vec::new();
        for (_, meta, part) in &look.parts {
            let file = part.left.reader.file().path().to_path_buf();
            if let Some(loss) = loss_of_part(meta.as_ref(), part, &without)? {
                losses.push(Loss { file, ..loss });
            }
        }
        for (meta, why, is_exact) in &look.gone {
            let seqs = without(&[(meta.min_seq, meta.max_seq)])?;
            losses.push(Loss {
                tenant: String::new(),
                file: self.file_of(meta),
                records: meta.rows.min(count(&seqs)),
                is_exact: *is_exact,
                seqs,
                time: Some((meta.min_time, meta.max_time)),
                reason: why.clone(),
            });
        }
        let of_segments = losses.iter().map(|loss| loss.records).sum();
        if let Some(log) = look.log.as_ref().filter(|log| !log.lost.is_empty()) {
            let seqs: Vec<_> = log.lost.iter().filter(|(_, last)| *last > floor).copied().collect();
            losses.push(Loss {
                tenant: String::new(),
                file: self.dir.join("log"),
                records: count(&seqs),
                is_exact: true,
                seqs,
                time: None,
                reason: "frames of the log can't be read".into(),
            });
        }
        losses.into_iter().filter(|loss| loss.records > 0).for_each(|loss| self.lose(loss));
        Ok(of_segments)
    }

    pub(super) fn make_indexes(&self, look: &Look) -> Result<Vec<(SegmentId, [u8; 32])>, Error> {
        look.unindexed
            .iter()
            .map(|(id, segment, _)| Ok((*id, index::make(&**self.vfs, self.dir, (*id, self.keys), &segment.reader)?)))
            .collect()
    }

    /// Copies what goes; durable before anything names it away.
    pub(super) fn copies(&self, look: &Look) -> Result<Vec<Option<PathBuf>>, StorageError> {
        look.aside.iter().map(|(path, reason, _)| self.copy(path, reason)).collect()
    }

    pub(super) fn tell(&mut self, look: &Look, copies: &[Option<PathBuf>]) -> Result<(), Error> {
        for (i, (path, why, done)) in look.aside.iter().enumerate() {
            self.act(path, format!("{why}: {done}"), copies.get(i).cloned().flatten());
        }
        for (meta, why, _) in &look.gone {
            self.act(&self.file_of(meta), format!("{why}: it was let go"), None);
        }
        for (id, _, why) in &look.unindexed {
            self.act(&index::path(self.dir, *id), format!("{why}: the index was made anew"), None);
        }
        Ok(())
    }

    /// Removes what nothing names any more. The log goes on in a file with a number that none has had.
    pub(super) fn clear(&self, look: &Look, sealed_below: Seq) -> Result<(), Error> {
        if let Some(log) = &look.log {
            if log.last_id > 0 {
                fresh::log(&**self.vfs, self.dir, (self.id, self.keys), (log.last_id, sealed_below))?;
            }
            for file in &log.files {
                self.vfs.remove(file)?;
            }
            let dir = self.dir.join("log");
            if self.vfs.exists(&dir)? {
                self.vfs.sync_dir(&dir)?;
            }
        }
        for (path, ..) in &look.aside {
            if self.vfs.exists(path)? {
                self.vfs.remove(path)?;
            }
        }
        for (id, ..) in &look.parts {
            let index = index::path(self.dir, *id);
            if self.vfs.exists(&index)? {
                self.vfs.remove(&index)?;
            }
        }
        let dir = self.dir.join("segments");
        if self.vfs.exists(&dir)? {
            self.vfs.sync_dir(&dir)?;
        }
        Ok(())
    }
}

/// What is wrong with a file, without the file's name, which stands beside it.
fn without_path(what: String, file: &Path) -> String {
    what.strip_prefix(&format!("{}: ", file.display())).map_or(what.clone(), str::to_string)
}

/// The Seqs between which segments lie that are in archives which are not at hand.
pub(super) fn elsewhere(look: &Look) -> Vec<(Seq, Seq)> {
    look.kept.iter().filter(|(_, segment)| segment.is_none()).map(|(meta, _)| (meta.min_seq, meta.max_seq)).collect()
}

/// All segments whose records count from now on.
pub(super) fn readers(look: &Look, made: &Made) -> Vec<Readable> {
    look.kept.iter().filter_map(|(_, reader)| reader.clone()).chain(made.readers.iter().cloned()).collect()
}
