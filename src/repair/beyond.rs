//! A manifest that can be followed to its end, and does not say all that there was: somebody cut it, or put an older one in
//! its place. What it does not name may be all that there is of some records.
//!
//! Promises: says so where a file has records that the manifest expects, or that came behind its end, and nothing else has.
//! May not know: what is done about it.

use super::history::{History, goes_further, read_short};
use super::records::Records;
use super::segment::{Found, inspect};
use super::tenant::Tenant;
use super::write::segment_file;
use crate::error::{Damage, StorageError};
use crate::format::edit::SegmentMeta;
use crate::format::version::Version;
use crate::id::{SegmentId, Seq};
use crate::tenant::orphans::expected;
use roaring::RoaringTreemap;

impl History {
    /// Those of a segment's Seqs that count: all of one that the last version names, and of another one those that no entry
    /// up to there let go.
    pub fn wanted(&self, id: SegmentId, seqs: &RoaringTreemap) -> RoaringTreemap {
        match &self.version {
            Some(version) if !version.segments.contains_key(&id) => expected(version, seqs, self.removed.contains(&id)),
            _ => seqs.clone(),
        }
    }
}

impl Tenant<'_> {
    /// What is known where the manifest, which comes to this version, does not say all; `None` where it does.
    pub(super) fn beyond(&self, version: &Version) -> Result<Option<History>, StorageError> {
        let orphans = self.orphans(version)?;
        let goes_further = goes_further(&**self.vfs, self.dir, version)?;
        if orphans.is_empty() && !goes_further {
            return Ok(None);
        }
        let path = self.dir.join("manifest");
        let found = format!("entries up to {}", version.edits);
        let mut problem = Damage { file: path, offset: 0, what: "manifest", expected: String::new(), found };
        let history = read_short(&**self.vfs, self.dir, self.id, (version, problem.clone()))?;
        if goes_further {
            let reached = history.version.as_ref().map_or(0, |version| version.edits);
            problem.expected = format!("entries up to {reached}, which an earlier part has");
            return Ok(Some(History { problem, ..history }));
        }
        let mut files = Vec::new();
        for id in orphans {
            let seqs = self.seqs_of(id, None)?;
            files.push((id, history.wanted(id, &seqs)));
        }
        let mut needed = files.iter().fold(RoaringTreemap::new(), |all, (_, wanted)| all | wanted);
        self.without_present(version, &mut needed)?;
        let Some((id, _)) = files.iter().find(|(_, wanted)| !wanted.is_disjoint(&needed)) else { return Ok(None) };
        problem.expected = format!("entries that name segment {id}, which has records that nothing else has");
        Ok(Some(History { problem, ..history }))
    }

    /// The segments in the tenant's folder that a version does not name there.
    fn orphans(&self, version: &Version) -> Result<Vec<SegmentId>, StorageError> {
        let dir = self.dir.join("segments");
        let mut orphans = Vec::new();
        for entry in if self.vfs.exists(&dir)? { self.vfs.list(&dir)? } else { Vec::new() } {
            let id = entry.name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(SegmentId);
            let is_named = |id: &SegmentId| version.segments.get(id).is_some_and(|meta| meta.place.is_own());
            orphans.extend(id.filter(|id| format!("{id}.seg") == entry.name && !is_named(id)));
        }
        Ok(orphans)
    }

    /// For a dry run: says which of them an open takes away.
    pub(super) fn tell_orphans(&mut self, version: &Version) -> Result<(), StorageError> {
        for id in self.orphans(version)? {
            let what = "no entry names it: removed where its records are elsewhere, else set aside";
            self.act(&segment_file(self.dir, id), what, None);
        }
        Ok(())
    }

    /// Takes out the Seqs that a named segment or the log has.
    fn without_present(&self, version: &Version, needed: &mut RoaringTreemap) -> Result<(), StorageError> {
        for meta in version.segments.values() {
            if needed.range_cardinality(meta.min_seq.0..=meta.max_seq.0) == 0 {
                continue;
            }
            match meta.place.is_own() {
                true => *needed -= self.seqs_of(meta.id, Some(meta))?,
                // What is in an archive is read where it is needed.
                false => self.without_archived(meta, needed)?,
            }
        }
        if needed.max().is_some_and(|last| last > version.sealed_below.0) {
            let owner = (self.id, self.keys);
            let log = super::log::salvage(&**self.vfs, &self.dir.join("log"), owner, version.sealed_below)?;
            for (first, payload) in &log.batches {
                needed.remove_range(first.0..first.0 + payload.records.len() as u64);
            }
        }
        Ok(())
    }

    /// The Seqs that can be read of a segment in the tenant's folder.
    fn seqs_of(&self, id: SegmentId, meta: Option<&SegmentMeta>) -> Result<RoaringTreemap, StorageError> {
        let path = segment_file(self.dir, id);
        let left = match inspect(&**self.vfs, &path, (self.id, self.keys, id), meta)? {
            Found::Whole(segment, _) => segment,
            Found::Part(part) => part.left,
            Found::Missing(_) | Found::Foreign(_) => return Ok(RoaringTreemap::new()),
        };
        Records::new(vec![left], self.keys).seqs(Seq(0), Seq(u64::MAX))
    }
}
