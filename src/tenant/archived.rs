//! What of a tenant is in archives, by its own list: a file is on it before it is there, and until it is known to be gone.
//!
//! So a crash leaves nothing that nobody knows of; and a copy of the store, which a backup makes without the list, takes
//! nothing from the store that it is a copy of. Nothing goes by the list that may be the last to have a record: what it has
//! and the manifest can't know of shows that entries are lost.

use super::TenantOptions;
use crate::archive::{ArchivedName, Archives};
use crate::error::{Damage, StorageError};
use crate::format::archived::{ArchivedFile, ArchivedRemains, decode_archived, encode_archived};
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

/// Where a file is: two entries that agree in it are of one file.
fn at(file: &ArchivedFile) -> (Place, ArchivedName) {
    (file.place.clone(), name(file))
}

/// Where the files are that a version says are in archives.
fn names(version: &Version) -> BTreeSet<(Place, ArchivedName)> {
    live(version).map(|file| at(&file)).collect()
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

/// May the file have records that no other has, by a version that does not know that it is there? The entry that made the
/// segment, or moved it, is lost.
fn lacks(vfs: &dyn Vfs, dir: &Path, version: &Version, file: &ArchivedFile) -> bool {
    if file.id >= version.next_segment_id {
        return true;
    }
    let is_it = |meta: &SegmentMeta| meta.place.is_own() && meta.data_root[..8] == file.data_root[..8];
    version.segments.get(&file.id).is_some_and(|meta| is_it(meta))
        && !vfs.exists(&dir.join("segments").join(format!("{}.seg", file.id))).unwrap_or(false)
}

/// The damage that a list shows which goes further than the manifest: a segment was made before its file was listed.
fn older(dir: &Path, version: &Version, file: &ArchivedFile) -> Damage {
    let expected =
        format!("an entry behind {} that made segment {}, which is in `{}`", version.edits, file.id, file.place);
    let found = "none: it was cut, or put back to an older one".into();
    Damage { file: dir.join("manifest"), offset: 0, what: "manifest", expected, found }
}

/// What a list says, or what is left of it.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The files that are the tenant's.
    pub files: BTreeSet<ArchivedFile>,
    /// The bytes of a list that is damaged, and what is wrong with it. Then `files` are those that are there and that can
    /// be recognised in it; of their roots the first eight bytes are right, which make the name.
    pub damaged: Option<(Vec<u8>, String)>,
    /// How many of `files` were not on it, and are named by entries.
    pub added: usize,
    /// Where it is damaged: files in archives that can't be recognised. They are of another store, where nothing else says
    /// that they are the tenant's.
    pub others: Vec<(Place, ArchivedName)>,
}

impl Listed {
    /// Reads the list in a tenant's folder. Where it is damaged, the archives are asked what is there: an error where one
    /// that it may name is not known or does not answer.
    pub fn read(vfs: &dyn Vfs, dir: &Path, id: &TenantId, archives: &Archives) -> Result<Listed, StorageError> {
        match read(vfs, dir, id) {
            Ok(files) => Ok(Listed { files, ..Listed::default() }),
            Err(error) if error.is_damage() => {
                let bytes = vfs.read(&dir.join(LIST))?;
                let (files, others) = recognise(archives, id, &ArchivedRemains::new(bytes.clone()), dir)?;
                Ok(Listed { files, damaged: Some((bytes, error.to_string())), added: 0, others })
            }
            Err(error) => Err(error),
        }
    }

    /// What is wrong with a manifest that is whole, and of which the list shows that entries are lost.
    pub fn contradicts(&self, vfs: &dyn Vfs, dir: &Path, version: &Version) -> Option<Damage> {
        self.files.iter().find(|file| lacks(vfs, dir, version, file)).map(|file| older(dir, version, file))
    }

    /// Adds what entries name. Without it on the list, nobody would know of a file that another entry lets go.
    pub fn add<'a>(&mut self, segments: impl IntoIterator<Item = &'a SegmentMeta>) {
        let named: BTreeSet<ArchivedFile> =
            segments.into_iter().filter_map(|meta| file_of(meta, &meta.place)).collect();
        let before: BTreeSet<_> = self.files.iter().map(at).collect();
        self.others.retain(|(place, name)| !named.iter().any(|file| file.place == *place && at(file).1 == *name));
        take_in(&mut self.files, named);
        self.added = self.files.iter().filter(|file| !before.contains(&at(file))).count();
    }

    /// Writes the list, where it is not as it should be; sets one that is damaged aside, and gives where it is then.
    pub fn mend(&self, vfs: &dyn Vfs, dir: &Path, id: &TenantId) -> Result<Option<PathBuf>, StorageError> {
        let aside = self
            .damaged
            .as_ref()
            .map(|(bytes, why)| set_aside(vfs, &dir.join("quarantine"), LIST, bytes, &format!("{why}\n")));
        let aside = aside.transpose()?;
        if aside.is_some() || self.added > 0 {
            let header = ArchivedHeader { tenant: id.clone(), salt: vfs.salt() };
            vfs.replace(&dir.join(LIST), &encode_archived(&header, &self.files))?;
        }
        Ok(aside)
    }
}

/// Files in archives: those that are the tenant's, and others.
type Recognised = (BTreeSet<ArchivedFile>, Vec<(Place, ArchivedName)>);

/// Looks in archives for what a damaged list named. A file that it did not name is not the tenant's, whatever its folder:
/// an archive may serve several stores.
fn recognise(
    archives: &Archives,
    id: &TenantId,
    remains: &ArchivedRemains,
    dir: &Path,
) -> Result<Recognised, StorageError> {
    let (mut files, mut others) = Recognised::default();
    let places = remains.places();
    if places.is_empty() {
        return Ok((files, others));
    }
    // Where it can't be read which they are, each counts.
    let are_known = places.iter().all(|place| place.as_ref().is_some_and(|place| archives.get(place).is_ok()));
    if !are_known && archives.is_empty() {
        let why = "what it lists is in archives, and none is known: say where they are in `[archives]`";
        return Err(StorageError::io("mend", &dir.join(LIST), std::io::Error::other(why)));
    }
    for (place, archive) in archives.iter() {
        let names = match archive.list(id) {
            Err(error) if !are_known || places.contains(&Some(place.clone())) => return Err(error),
            listed => listed.unwrap_or_default(),
        };
        for name in names {
            let (segment, root) = name.parts();
            if remains.names(segment, root) {
                let mut data_root = [0; 32];
                data_root[..8].copy_from_slice(&root);
                files.insert(ArchivedFile { place: place.clone(), id: segment, data_root });
            } else {
                others.push((place.clone(), name));
            }
        }
    }
    Ok((files, others))
}

/// The list of an open tenant.
#[derive(Debug)]
pub(super) struct ArchivedList {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    tenant: TenantId,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    files: BTreeSet<ArchivedFile>,
    /// Is the list damaged, and it is not known yet what of it is there? Then it stays as it is.
    is_damaged: bool,
}

impl ArchivedList {
    /// Reads the list. One that is damaged is set aside once the archives have said what of it is there; until then what
    /// the manifest names is the tenant's anyhow.
    pub fn open(id: &TenantId, options: &TenantOptions, version: &Version) -> Result<ArchivedList, StorageError> {
        let (vfs, dir) = (options.vfs.clone(), options.dir.clone());
        let unfinished = dir.join(format!("{LIST}.tmp"));
        if vfs.exists(&unfinished)? {
            vfs.remove(&unfinished)?;
        }
        let (mut files, is_damaged) = match read(&*vfs, &dir, id) {
            Err(error) if error.is_damage() => (BTreeSet::new(), true),
            other => (other?, false),
        };
        let (before, named) = (files.iter().map(at).collect::<BTreeSet<_>>(), names(version));
        if is_damaged || before != named {
            options.rules.note_left_over();
        }
        take_in(&mut files, live(version).collect());
        let list = ArchivedList { vfs, dir, tenant: id.clone(), known: Mutex::new(Known { files, is_damaged }) };
        // What fails now is tried again by whoever wants something of an archive.
        if let Ok(mut known) = list.known(options.rules.archives()) {
            // Numbers that it would give again are of segments that it does not know.
            if let Some(file) = known.files.iter().find(|file| file.id >= version.next_segment_id) {
                return Err(older(&list.dir, version, file).into());
            }
            if !named.is_subset(&before) && !is_damaged {
                drop(list.change(&mut known, |_| {}));
            }
        }
        Ok(list)
    }

    /// What is on the list, which is mended first where it is damaged.
    fn known(&self, archives: &Archives) -> Result<MutexGuard<'_, Known>, StorageError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_damaged {
            let mut listed = Listed::read(&*self.vfs, &self.dir, &self.tenant, archives)?;
            take_in(&mut listed.files, known.files.clone());
            listed.mend(&*self.vfs, &self.dir, &self.tenant)?;
            *known = Known { files: listed.files, is_damaged: false };
        }
        Ok(known)
    }

    /// Writes a changed list; where that fails it is as it was.
    fn change(&self, known: &mut Known, change: impl FnOnce(&mut BTreeSet<ArchivedFile>)) -> Result<(), StorageError> {
        let mut changed = known.files.clone();
        change(&mut changed);
        let header = ArchivedHeader { tenant: self.tenant.clone(), salt: self.vfs.salt() };
        self.vfs.replace(&self.dir.join(LIST), &encode_archived(&header, &changed))?;
        known.files = changed;
        Ok(())
    }

    /// Puts a file on the list that is about to be put into an archive. `false`, and nothing done, where one of its name
    /// is there and is not this tenant's.
    pub fn add(&self, archives: &Archives, meta: &SegmentMeta, place: &Place) -> Result<bool, StorageError> {
        let Some(file) = file_of(meta, place) else { return Ok(false) };
        let mut known = self.known(archives)?;
        if known.files.iter().any(|listed| at(listed) == at(&file)) {
            return Ok(true);
        }
        match archives.get(place)?.open_afresh(&self.tenant, &name(&file)) {
            Ok(_) => return Ok(false),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        self.change(&mut known, |files| _ = files.insert(file))?;
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
        let live = names(version);
        let mut known = self.known(archives)?;
        let is_left = |file: &&ArchivedFile| {
            !live.contains(&at(file)) && !is_read(&name(file)) && !lacks(&*self.vfs, &self.dir, version, file)
        };
        let left: Vec<ArchivedFile> = known.files.iter().filter(is_left).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        remove_all(archives, &self.tenant, left.iter())?;
        self.change(&mut known, |files| files.retain(|file| !left.contains(file)))
    }
}

/// Adds files to a list, in the place of those of their names.
fn take_in(files: &mut BTreeSet<ArchivedFile>, more: BTreeSet<ArchivedFile>) {
    let names: BTreeSet<_> = more.iter().map(at).collect();
    files.retain(|listed| !names.contains(&at(listed)));
    files.extend(more);
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
    /// answer, or where both are damaged and there are files of which nobody can say whose they are.
    pub fn of(vfs: &dyn Vfs, dir: &Path, id: &TenantId, archives: &Archives) -> Result<Archived, StorageError> {
        let manifest = crate::manifest::open_read_only(vfs, &dir.join("manifest"), id);
        let mut files = match read(vfs, dir, id) {
            Err(error) if error.is_damage() => {
                let listed = Listed::read(vfs, dir, id, archives)?;
                if let Some((place, name)) = listed.others.first().filter(|_| manifest.is_err()) {
                    let path = archives.get(place)?.path(id, name);
                    let why = "manifest and list are damaged, and can't say whose this is: repair the tenant first";
                    return Err(StorageError::io("delete", &path, std::io::Error::other(why)));
                }
                listed.files
            }
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
