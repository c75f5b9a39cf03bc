//! What a tenant has in archives, where its manifest or its list of that is damaged.
//!
//! Promises: a file that the list says is the tenant's, and that has records which nothing else has, is named again or what
//! can be read of it is kept; a file that may be another store's is left as it is. May not know: rules.

use super::history::History;
use super::rebuild::meta_of;
use super::records::Records;
use super::segment::{Found, Part, Readable, inspect_file};
use super::tenant::{KEPT, Look, Tenant};
use crate::archive::ArchivedName;
use crate::crypt::MemoryFile;
use crate::error::StorageError;
use crate::format::archived::ArchivedFile;
use crate::format::edit::SegmentMeta;
use crate::id::{SegmentId, Seq};
use crate::store::Error;
use crate::tenant::archived::Listed;
use crate::vfs::{VfsFile, set_aside};
use roaring::RoaringTreemap;
use std::path::PathBuf;
use std::sync::Arc;

/// A segment some of whose records other files have as well.
type Overlapping = (SegmentId, Option<SegmentMeta>, Part);

impl Tenant<'_> {
    /// Puts what the archives have of a damaged list in its place.
    pub(super) fn mend_list(&mut self, listed: &Listed) -> Result<(), Error> {
        let Some((_, why)) = &listed.damaged else { return Ok(()) };
        let copy = match self.report.dry_run {
            true => None,
            false => listed.mend(&**self.vfs, self.dir, self.id)?,
        };
        let what = format!("{why}: made anew from what the archives have of it, {} files", listed.files.len());
        self.act(&self.dir.join("archived"), what, copy);
        Ok(())
    }

    /// The segment in an archive, where the archive is at hand and it is whole. Nothing is done with it there.
    pub(super) fn archived(&self, meta: &SegmentMeta) -> Result<Option<Readable>, StorageError> {
        let Ok(archive) = self.archives.get(&meta.place) else { return Ok(None) };
        let name = ArchivedName::of(meta);
        let (file, path) = (archive.open_afresh(self.id, &name), archive.path(self.id, &name));
        match inspect_file(file, &path, (self.id, self.keys, meta.id), Some(meta))? {
            Found::Whole(segment, _) => Ok(Some(segment)),
            _ => Ok(None),
        }
    }

    /// Is the segment's file certainly not in its archive, which is at hand and has the tenant's folder?
    pub(super) fn is_gone_from_archive(&self, meta: &SegmentMeta) -> bool {
        let Ok(archive) = self.archives.get(&meta.place) else { return false };
        let opened = archive.open_afresh(self.id, &ArchivedName::of(meta));
        archive.answers(self.id).is_ok() && opened.is_err_and(|error| error.is_not_found())
    }

    /// Takes back what the list says is in archives and no entry that can be read does: an entry that is lost may have made
    /// it, or moved it there. Without it nothing would name the file, and it would go. An error where an archive that may
    /// have such a file is not known or does not answer: what is in it can't be known then, and nothing is changed.
    ///
    /// Gives segments of which only some records are needed.
    pub(super) fn take_back(
        &mut self,
        listed: &Listed,
        history: &History,
        (look, taken): (&mut Look, &mut RoaringTreemap),
    ) -> Result<Vec<Overlapping>, Error> {
        let is_named = |look: &Look, file: &ArchivedFile| {
            let of = |meta: &SegmentMeta| (meta.place.clone(), ArchivedName::of(meta));
            let of_file = (file.place.clone(), ArchivedName::new(file.id, &file.data_root));
            look.kept.iter().any(|(meta, _)| of(meta) == of_file)
        };
        let mut overlapping = Vec::new();
        let mut found = Vec::new();
        let mut files: Vec<&ArchivedFile> = listed.files.iter().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.id));
        // Before anything is written: an archive that does not answer ends it.
        for file in files {
            if !history.removed.contains(&file.id)
                && !is_named(look, file)
                && let Some(one) = self.listed_file(file, history)?
            {
                found.push((file, one));
            }
        }
        self.mend_list(listed)?;
        for (file, (meta, one)) in found {
            let name = ArchivedName::new(file.id, &file.data_root);
            let path = self.archives.get(&file.place)?.path(self.id, &name);
            match one {
                Found::Whole(segment, stored) => {
                    let seqs = Records::new(vec![segment.clone()], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
                    if seqs.is_subset(taken) {
                        continue;
                    }
                    if seqs.is_disjoint(taken) {
                        *taken |= seqs;
                        let meta = meta.unwrap_or_else(|| meta_of(&segment, &stored));
                        look.kept.push((SegmentMeta { place: file.place.clone(), ..meta }, Some(segment)));
                        self.act(
                            &path,
                            "no entry that can be read names it, and the list does: it is named again",
                            None,
                        );
                    } else {
                        let why = "newer segments have some of its records: the others are copied";
                        let problem = StorageError::io("keep", &path, std::io::Error::other(why));
                        self.act(&path, format!("{problem}: {KEPT}"), None);
                        overlapping.push((
                            file.id,
                            meta,
                            Part { left: segment, lost: Vec::new(), is_listed: true, problem },
                        ));
                    }
                }
                Found::Part(part) => {
                    let copy = self.copy_archived(file, &part.problem.to_string())?;
                    self.act(&path, format!("{}: {KEPT}", part.problem), copy);
                    look.parts.push((file.id, meta, part));
                }
                Found::Missing(_) | Found::Foreign(_) => {}
            }
        }
        let nothing_says = listed.files.is_empty() && listed.damaged.is_none();
        let mut others = listed.others.clone();
        for (place, archive) in self.archives.iter().filter(|_| nothing_says) {
            others.extend(archive.list(self.id).unwrap_or_default().into_iter().map(|name| (place.clone(), name)));
        }
        others
            .retain(|(place, name)| !look.kept.iter().any(|(m, _)| m.place == *place && ArchivedName::of(m) == *name));
        for (place, name) in others {
            let path = self.archives.get(&place)?.path(self.id, &name);
            let what =
                "neither entries nor the list, as far as they can be read, say whose it is: it was left as it is";
            self.act(&path, what, None);
        }
        Ok(overlapping)
    }

    /// A file that the list names, with what an entry says of it; `None` where its archive answers and has no such file.
    fn listed_file(
        &self,
        file: &ArchivedFile,
        history: &History,
    ) -> Result<Option<(Option<SegmentMeta>, Found)>, StorageError> {
        let (archive, name) = (self.archives.get(&file.place)?, ArchivedName::new(file.id, &file.data_root));
        let meta = history.segments.get(&file.id).filter(|meta| ArchivedName::of(meta) == name).cloned();
        let (opened, path) = (archive.open_afresh(self.id, &name), archive.path(self.id, &name));
        match inspect_file(opened, &path, (self.id, self.keys, file.id), meta.as_ref())? {
            Found::Missing(_) => archive.answers(self.id).map(|()| None),
            Found::Whole(_, stored) if stored.data_root[..8] != file.data_root[..8] => Ok(None),
            Found::Part(_) => {
                // Once more, of a copy: an object store that does not answer for a moment looks like damage, too.
                let copy = Arc::new(MemoryFile::new(&path, self.bytes_of(file)?)) as Arc<dyn VfsFile>;
                let found = inspect_file(Ok(copy), &path, (self.id, self.keys, file.id), meta.as_ref())?;
                Ok(Some((meta, found)))
            }
            found => Ok(Some((meta, found))),
        }
    }

    fn bytes_of(&self, file: &ArchivedFile) -> Result<Vec<u8>, StorageError> {
        let name = ArchivedName::new(file.id, &file.data_root);
        let stored = self.archives.get(&file.place)?.open_afresh(self.id, &name)?;
        let mut bytes = vec![0; usize::try_from(stored.len()?).unwrap_or(usize::MAX)];
        stored.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a file of an archive to quarantine; nothing in a dry run.
    fn copy_archived(&self, file: &ArchivedFile, reason: &str) -> Result<Option<PathBuf>, StorageError> {
        if self.report.dry_run {
            return Ok(None);
        }
        let name = ArchivedName::new(file.id, &file.data_root);
        let (bytes, path) = (self.bytes_of(file)?, self.archives.get(&file.place)?.path(self.id, &name));
        let reason = format!("repair: {}: {reason}\n", path.display());
        set_aside(&**self.vfs, &self.dir.join("quarantine"), name.as_str(), &bytes, &reason).map(Some)
    }
}
