//! What of a tenant is in archives, by its own list: a file is on it before it is there, and until it is known to be gone.
//!
//! So a crash leaves nothing that nobody knows of; and a copy of the store, which a backup makes without the list, takes
//! nothing from the store that it is a copy of.

use super::TenantOptions;
use crate::archive::{ArchivedName, Archives};
use crate::error::StorageError;
use crate::format::archived::{ArchivedFile, decode_archived, encode_archived};
use crate::format::edit::SegmentMeta;
use crate::format::header::ArchivedHeader;
use crate::format::version::Version;
use crate::id::{Place, TenantId};
use crate::vfs::{Vfs, set_aside};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The list's file, in the tenant's folder.
const LIST: &str = "archived";

/// Where a segment is, if that is an archive.
fn file_of(meta: &SegmentMeta, place: &Place) -> Option<ArchivedFile> {
    (!place.is_own()).then(|| ArchivedFile { place: place.clone(), id: meta.id, data_root: meta.data_root })
}

/// The files that a version says are in archives.
fn live(version: &Version) -> impl Iterator<Item = ArchivedFile> {
    version.segments.values().filter_map(|meta| file_of(meta, &meta.place))
}

fn name(file: &ArchivedFile) -> ArchivedName {
    ArchivedName::new(file.id, &file.data_root)
}

fn read(vfs: &dyn Vfs, dir: &Path, tenant: &TenantId) -> Result<BTreeSet<ArchivedFile>, StorageError> {
    let path = dir.join(LIST);
    if !vfs.exists(&path)? {
        return Ok(BTreeSet::new());
    }
    match decode_archived(&vfs.read(&path)?) {
        Ok((header, files)) if header.tenant == *tenant => Ok(files),
        Ok((header, _)) => {
            let expected = format!("that of tenant {tenant}");
            let error = crate::format::DecodeError::new("list of archived files", 11, expected, header.tenant);
            Err(error.in_file(&path).into())
        }
        Err(e) => Err(e.in_file(&path).into()),
    }
}

/// The list of an open tenant.
#[derive(Debug)]
pub(super) struct ArchivedList {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    tenant: TenantId,
    files: Mutex<BTreeSet<ArchivedFile>>,
}

impl ArchivedList {
    /// Reads the list. One that is damaged is set aside: what the manifest says is in archives is the tenant's anyhow.
    pub fn open(id: &TenantId, options: &TenantOptions, version: &Version) -> Result<ArchivedList, StorageError> {
        let (vfs, dir) = (options.vfs.clone(), options.dir.clone());
        let unfinished = dir.join(format!("{LIST}.tmp"));
        if vfs.exists(&unfinished)? {
            vfs.remove(&unfinished)?;
        }
        let mut files = match read(&*vfs, &dir, id) {
            Err(error) if error.is_damage() => {
                let path = dir.join(LIST);
                let (bytes, reason) = (vfs.read(&path)?, format!("{error}\n"));
                set_aside(&*vfs, &dir.join("quarantine"), LIST, &bytes, &reason)?;
                vfs.remove(&path)?;
                vfs.sync_dir(&dir)?;
                BTreeSet::new()
            }
            other => other?,
        };
        if !files.iter().eq(live(version).collect::<BTreeSet<_>>().iter()) {
            options.rules.note_left_over();
        }
        files.extend(live(version));
        Ok(ArchivedList { vfs, dir, tenant: id.clone(), files: Mutex::new(files) })
    }

    fn files(&self) -> MutexGuard<'_, BTreeSet<ArchivedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a changed list; where that fails it is as it was.
    fn change(&self, change: impl FnOnce(&mut BTreeSet<ArchivedFile>)) -> Result<(), StorageError> {
        let mut files = self.files();
        let mut changed = files.clone();
        change(&mut changed);
        let header = ArchivedHeader { tenant: self.tenant.clone(), salt: self.vfs.salt() };
        self.vfs.replace(&self.dir.join(LIST), &encode_archived(&header, &changed))?;
        *files = changed;
        Ok(())
    }

    /// Puts a file on the list that is about to be put into an archive. `false`, and nothing done, where one of its name
    /// is there and is not this tenant's.
    pub fn add(&self, archives: &Archives, meta: &SegmentMeta, place: &Place) -> Result<bool, StorageError> {
        let Some(file) = file_of(meta, place) else { return Ok(false) };
        if self.files().contains(&file) {
            return Ok(true);
        }
        match archives.get(place)?.open_afresh(&self.tenant, &name(&file)) {
            Ok(_) => return Ok(false),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        self.change(|files| _ = files.insert(file))?;
        Ok(true)
    }

    /// Removes from the archives, and then from the list, what a version does not say is there, but for what somebody
    /// reads.
    pub fn sweep(
        &self,
        archives: &Archives,
        version: &Version,
        is_read: impl Fn(&ArchivedName) -> bool,
    ) -> Result<(), StorageError> {
        let live: BTreeSet<ArchivedFile> = live(version).collect();
        let left: Vec<ArchivedFile> = self.files().difference(&live).filter(|f| !is_read(&name(f))).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        remove_all(archives, &self.tenant, left.iter())?;
        self.change(|files| files.retain(|file| !left.contains(file)))
    }
}

fn remove_all<'a>(
    archives: &Archives,
    id: &TenantId,
    files: impl Iterator<Item = &'a ArchivedFile> + Clone,
) -> Result<(), StorageError> {
    let places: BTreeSet<&Place> = files.clone().map(|file| &file.place).collect();
    places.into_iter().try_for_each(|place| archives.get(place)?.answers(id))?;
    files.into_iter().try_for_each(|file| archives.get(&file.place)?.remove(id, &name(file)))
}

/// All that a tenant has in archives, which nobody has open.
#[derive(Debug)]
pub(crate) struct Archived(BTreeSet<ArchivedFile>);

impl Archived {
    /// Reads the list, and the manifest as far as that can be read. An error where an archive is not known or does not
    /// answer, or where the list is damaged and so is the manifest.
    pub fn of(vfs: &dyn Vfs, dir: &Path, id: &TenantId, archives: &Archives) -> Result<Archived, StorageError> {
        let manifest = crate::manifest::open_read_only(vfs, &dir.join("manifest"), id);
        let mut files = match read(vfs, dir, id) {
            Err(error) if error.is_damage() && manifest.is_ok() => BTreeSet::new(),
            other => other?,
        };
        files.extend(manifest.iter().flat_map(|(version, _)| live(version)));
        let places: BTreeSet<&Place> = files.iter().map(|file| &file.place).collect();
        places.into_iter().try_for_each(|place| archives.get(place)?.answers(id))?;
        Ok(Archived(files))
    }

    /// Removes them for good.
    pub fn remove(&self, id: &TenantId, archives: &Archives) -> Result<(), StorageError> {
        remove_all(archives, id, self.0.iter())
    }
}
