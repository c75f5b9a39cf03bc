//! A segment goes to an archive: copied, synced, compared, named by the manifest, and only then gone from the store.

use super::segments::{index_path, segment_path};
use super::{CompactReport, TenantCore, Writer};
use crate::archive::{ArchivedName, compare};
use crate::format::edit::{Assignment, Edit};
use crate::policy::Move;
use crate::record::Timestamp;
use crate::store::Error;
use crate::store::error::ErrorKind;
use std::sync::MutexGuard;

/// What is held while a segment goes to an archive.
pub(crate) type ArchivingTurn<'a> = MutexGuard<'a, ()>;

/// Why a segment did not go.
enum Stays {
    /// It is about this one.
    One(Error),
    /// No other would.
    All(Error),
}

impl<E: Into<Error>> From<E> for Stays {
    fn from(error: E) -> Self {
        Stays::All(error.into())
    }
}

impl TenantCore {
    /// Waits for the segment that is on its way to an archive. No other goes while this is held: a deletion leaves no copy
    /// of what it deletes.
    pub(crate) fn archiving_turn(&self) -> Result<ArchivingTurn<'_>, Error> {
        Ok(self.writer()?.archiving.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Moves segments, unless they went meanwhile. One that is damaged, or whose file is another store's in the archive, is
    /// told at the end, and does not keep the others.
    pub(super) fn archive_all(&self, moves: &[Move], report: &mut CompactReport) -> Result<(), Error> {
        let mut stayed = Ok(());
        for to in moves {
            match self.archive(to, report) {
                Err(Stays::One(error)) => stayed = stayed.and(Err(error)),
                Err(Stays::All(error)) => {
                    // What is there of the copy goes at once, if it can.
                    let _ = self.sweep_archives(self.writer()?, &self.archiving_turn()?);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        stayed
    }

    fn archive(&self, to: &Move, report: &mut CompactReport) -> Result<(), Stays> {
        let writer = self.writer()?;
        let _one = self.archiving_turn()?;
        let Some(meta) = self.version().segments.get(&to.segment).cloned() else { return Ok(()) };
        let rules = &self.options.rules;
        let (archive, name) = (rules.archives().get(&to.to)?, ArchivedName::of(&meta));
        let is_made_anew = self.options.vfs.exists(&index_path(&self.options.dir, meta.id))?;
        // Before it is copied, for a damaged one each time that it is due.
        let source = self.options.vfs.open(&segment_path(&self.options, meta.id)).and_then(|source| {
            compare(&*source, &meta, is_made_anew)?;
            Ok(source)
        });
        let source = source.map_err(|error| Stays::One(error.into()))?;
        archive.prepare(&self.id)?;
        if !writer.archived.add(rules.archives(), &meta, &to.to)? {
            let path = archive.path(&self.id, &name);
            return Err(Stays::One(ErrorKind::NameTaken { segment: meta.id.to_string(), path }.into()));
        }
        // Until the manifest names it: whatever is there goes at the next look.
        rules.note_left_over();
        archive.put(&self.id, &name, &*source)?;
        compare(&*archive.open_afresh(&self.id, &name)?, &meta, is_made_anew)?;
        let turn = self.turn(writer);
        if writer.manifest.version().segments.get(&meta.id) == Some(&meta) {
            let assignment = Assignment { segment: meta.id, class: to.class.clone(), place: to.to.clone() };
            let version = self.apply(writer, Edit::Assign { segments: vec![assignment] })?;
            self.publish(version);
            report.segments_archived += 1;
        }
        drop(turn);
        Ok(())
    }

    /// Removes from the archives what the tenant put there and the manifest does not name: a crash left it, or it could not
    /// be removed. Looks where that may be so alone.
    pub(super) fn sweep_archives(&self, writer: &Writer, _archiving: &ArchivingTurn<'_>) -> Result<(), Error> {
        let rules = &self.options.rules;
        if !rules.take_left_over() {
            return Ok(());
        }
        let swept = (|| {
            // Where an entry may be there or not, it is known from here on.
            let version = writer.manifest.apply(Timestamp::now(), Vec::new())?;
            Ok(writer.archived.sweep(rules.archives(), &version, |name| rules.is_read(name))?)
        })();
        swept.inspect_err(|_| rules.note_left_over())
    }
}
