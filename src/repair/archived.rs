//! What a tenant has in archives, where its manifest or its list of that is damaged.
//!
//! Promises: a file that the list says is the tenant's, and that has records which nothing else has, is named again or what
//! can be read of it is kept; a file that may be another store's is left as it is. May not know: rules.

use super::history::History;
use super::rebuild::meta_of;
use super::records::Records;
use super::segment::{Found, Part, Readable, Stored, inspect_file};
use super::tenant::{KEPT, Look, Tenant};
use crate::archive::ArchivedName;
use crate::error::StorageError;
use crate::format::archived::ArchivedFile;
use crate::format::edit::SegmentMeta;
use crate::id::{SegmentId, Seq};
use crate::store::Error;
use crate::tenant::archived::Listed;
use crate::vfs::{MemoryFile, VfsFile, set_aside};
use roaring::RoaringTreemap;
use std::path::PathBuf;
use std::sync::Arc;

/// A segment some of whose records other files have as well.
type Overlapping = (SegmentId, Option<SegmentMeta>, Part);

/// A segment's file in an archive.
enum InArchive {
    Whole(Readable, Stored),
    /// Damaged there, as a copy of it says that was made at once.
    Part(Part),
    /// Another one than is meant.
    Foreign(String),
    /// The archive answers, and has no such file.
    Gone(String),
    /// The archive is not known or does not answer.
    Unknown(StorageError),
}

impl Tenant<'_> {
    /// Puts what the archives have of a damaged list in its place.
    pub(super) fn mend_list(&mut self, listed: &Listed) -> Result<(), Error> {
        let why = match &listed.damaged {
            Some((_, why)) => why.clone(),
            None if listed.added == 0 => return Ok(()),
            None => format!("it lacks {} files that entries name", listed.added),
        };
        let copy = match self.report.dry_run {
            true => None,
            false => listed.mend(&**self.vfs, self.dir, self.id)?,
        };
        let what = format!("{why}: made anew, with {} files", listed.files.len());
        self.act(&self.dir.join("archived"), what, copy);
        Ok(())
    }

    /// A segment that the manifest names in an archive: kept, or recovered where it is damaged there. Where the archive is
    /// not at hand, nothing is done with it. `is_exact` says whether no entry can have let it go.
    pub(super) fn archived(&mut self, meta: &SegmentMeta, is_exact: bool, look: &mut Look) -> Result<(), Error> {
        let file = ArchivedFile { place: meta.place.clone(), id: meta.id, data_root: meta.data_root };
        match self.in_archive(&file, Some(meta))? {
            InArchive::Whole(segment, _) => self.keep(look, meta.clone(), segment)?,
            InArchive::Unknown(_) => look.kept.push((meta.clone(), None)),
            InArchive::Part(part) => {
                let why = part.problem.to_string();
                let copy = self.copy_archived(&file, &why)?;
                self.act(&self.archived_path(&file)?, format!("{why}: {KEPT}"), copy);
                look.parts.push((meta.id, Some(meta.clone()), part));
            }
            InArchive::Foreign(why) => {
                let copy = self.copy_archived(&file, &why)?;
                self.act(&self.archived_path(&file)?, format!("{why}: none of its records count"), copy);
                look.gone.push((meta.clone(), why, is_exact));
            }
            InArchive::Gone(why) => look.gone.push((meta.clone(), why, is_exact)),
        }
        Ok(())
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
        (look, taken, let_go): (&mut Look, &mut RoaringTreemap, &mut RoaringTreemap),
    ) -> Result<Vec<Overlapping>, Error> {
        let (archives, id) = (self.archives, self.id);
        let is_named = |look: &Look, file: &ArchivedFile| {
            let of = |meta: &SegmentMeta| (meta.place.clone(), ArchivedName::of(meta));
            let of_file = (file.place.clone(), name(file));
            let path = archives.get(&file.place).map(|archive| archive.path(id, &name(file)));
            let is_part = |part: &Part| path.as_ref().is_ok_and(|path| part.left.reader.file().path() == path);
            look.kept.iter().any(|(meta, _)| of(meta) == of_file) || look.parts.iter().any(|(_, _, part)| is_part(part))
        };
        let mut overlapping = Vec::new();
        let mut found = Vec::new();
        let mut files: Vec<&ArchivedFile> = listed.files.iter().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.id));
        // Before anything is written: an archive that does not answer ends it.
        for file in files {
            if !history.removed.contains(&file.id) && !is_named(look, file) {
                let of = |meta: &&SegmentMeta| meta.data_root[..8] == file.data_root[..8];
                let meta = history.segments.get(&file.id).filter(of).cloned();
                match self.in_archive(file, meta.as_ref())? {
                    InArchive::Unknown(error) => return Err(error.into()),
                    one => found.push((file, meta, one)),
                }
            }
        }
        self.mend_list(listed)?;
        for (file, meta, one) in found {
            let path = self.archived_path(file)?;
            match one {
                InArchive::Whole(segment, stored) => {
                    let seqs = Records::new(vec![segment.clone()], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
                    let wanted = history.wanted(file.id, &seqs);
                    *let_go |= &seqs - &wanted;
                    if wanted.is_subset(taken) {
                        continue;
                    }
                    if seqs.is_disjoint(taken) && wanted == seqs {
                        *taken |= seqs;
                        let meta = meta.unwrap_or_else(|| meta_of(&segment, &stored));
                        self.keep(look, SegmentMeta { place: file.place.clone(), ..meta }, segment)?;
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
                InArchive::Part(part) => {
                    let copy = self.copy_archived(file, &part.problem.to_string())?;
                    self.act(&path, format!("{}: {KEPT}", part.problem), copy);
                    look.parts.push((file.id, meta, part));
                }
                InArchive::Gone(_) | InArchive::Foreign(_) | InArchive::Unknown(_) => {}
            }
        }
        let nothing_says = listed.files.len() == listed.added && listed.damaged.is_none();
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

    /// Takes out the Seqs of a segment that the manifest names in an archive: all between its ends where that is not at hand.
    pub(super) fn without_archived(&self, meta: &SegmentMeta, needed: &mut RoaringTreemap) -> Result<(), StorageError> {
        let file = ArchivedFile { place: meta.place.clone(), id: meta.id, data_root: meta.data_root };
        let left = match self.in_archive(&file, Some(meta))? {
            InArchive::Whole(segment, _) => segment,
            InArchive::Part(part) => part.left,
            InArchive::Foreign(_) | InArchive::Gone(_) => return Ok(()),
            InArchive::Unknown(_) => {
                needed.remove_range(meta.min_seq.0..=meta.max_seq.0);
                return Ok(());
            }
        };
        *needed -= Records::new(vec![left], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
        Ok(())
    }

    /// Looks at a segment's file in an archive.
    fn in_archive(&self, file: &ArchivedFile, meta: Option<&SegmentMeta>) -> Result<InArchive, StorageError> {
        let archive = match self.archives.get(&file.place) {
            Ok(archive) => archive,
            Err(error) => return Ok(InArchive::Unknown(error)),
        };
        let (name, path) = (name(file), self.archived_path(file)?);
        let owner = (self.id, self.keys, file.id);
        let opened = match archive.open_afresh(self.id, &name) {
            // A bucket whose service does not answer.
            Err(error) if error.is_damage() => return Ok(InArchive::Unknown(error)),
            opened => opened,
        };
        let mut found = inspect_file(opened, &path, owner, meta)?;
        if let Found::Part(_) = found {
            // Once more, of a copy: a service that does not answer for a moment looks like damage, too.
            let copy = match self.bytes_of(file) {
                Ok(bytes) => Arc::new(MemoryFile::new(&path, bytes)) as Arc<dyn VfsFile>,
                Err(error) => return Ok(InArchive::Unknown(error)),
            };
            found = inspect_file(Ok(copy), &path, owner, meta)?;
        }
        Ok(match found {
            Found::Whole(segment, stored) if stored.data_root[..8] == file.data_root[..8] => {
                InArchive::Whole(segment, stored)
            }
            Found::Whole(..) => InArchive::Foreign("it is another segment than its name says".into()),
            Found::Part(part) => InArchive::Part(part),
            Found::Foreign(why) => InArchive::Foreign(why),
            Found::Missing(_) => match archive.answers(self.id) {
                Ok(()) => InArchive::Gone("no such file in its archive".into()),
                Err(error) => InArchive::Unknown(error),
            },
        })
    }

    /// Where it is, or would be.
    pub(super) fn archived_path(&self, file: &ArchivedFile) -> Result<PathBuf, StorageError> {
        Ok(self.archives.get(&file.place)?.path(self.id, &name(file)))
    }

    fn bytes_of(&self, file: &ArchivedFile) -> Result<Vec<u8>, StorageError> {
        let stored = self.archives.get(&file.place)?.open_afresh(self.id, &name(file))?;
        let mut bytes = vec![0; usize::try_from(stored.len()?).unwrap_or(usize::MAX)];
        stored.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a file of an archive to quarantine; nothing in a dry run.
    fn copy_archived(&self, file: &ArchivedFile, reason: &str) -> Result<Option<PathBuf>, StorageError> {
        if self.report.dry_run {
            return Ok(None);
        }
        let (bytes, path) = (self.bytes_of(file)?, self.archived_path(file)?);
        let reason = format!("repair: {}: {reason}\n", path.display());
        set_aside(&**self.vfs, &self.dir.join("quarantine"), name(file).as_str(), &bytes, &reason).map(Some)
    }
}

fn name(file: &ArchivedFile) -> ArchivedName {
    ArchivedName::new(file.id, &file.data_root)
}
