//! From a backup to a folder: fetched beside where it will be, checked, and named last.

use super::check::{is_set, load_runs};
use super::records::copy_records;
use super::run::{Run, RunFile, RunTenant};
use super::target::get_checked;
use super::{BackupError, Target};
use crate::catalog::{CONTROL_LOG, Catalog, KeyChange};
use crate::crypt::KeyRing;
use crate::format::edit::{Assignment, Edit, SegmentMeta};
use crate::id::{Place, TenantId};
use crate::manifest::Manifest;
use crate::record::{Labels, Timestamp};
use crate::store::error::ErrorKind;
use crate::store::{Error, Options, Store};
use crate::verify::{FindingKind, Report, verify};
use crate::vfs::{RealVfs, Vfs, random_salt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of a tenant's folder that holds its key, where it is encrypted.
const KEY: &str = "key";

/// What comes back.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// This tenant alone; all where none is named.
    pub tenant: Option<String>,
    /// Records of the streams that have these labels, written anew; all where there are none.
    pub stream: Labels,
    /// The newest run that had finished by then; the newest of all where no time is given.
    pub at: Option<Timestamp>,
    /// The name that the tenant gets. Where it is another one, its records are written anew.
    pub new_name: Option<String>,
    /// How stores are opened, where records are written anew: with the master key where tenants are encrypted. These get
    /// keys of their own, wrapped under it.
    pub store: Options,
}

/// What came back.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The time of the run.
    pub at: String,
    /// The tenants.
    pub tenants: Vec<Restored>,
    /// What the run itself could not copy, tenant by tenant, and so is not here.
    pub problems: Vec<String>,
    /// Bytes that were read from the backup.
    pub bytes: u64,
}

/// A tenant that came back.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Restored {
    /// Its name in the backup.
    pub tenant: String,
    /// Its name now.
    pub name: String,
    /// Its records.
    pub records: u64,
    /// Were the records written anew, so that their Seqs and leaves are not those of the backup? Otherwise all files
    /// are the same to the byte.
    pub rewritten: bool,
}

/// Restores into a folder that does not exist, or is empty.
pub fn restore(target: &dyn Target, data: &Path, options: &RestoreOptions) -> Result<RestoreReport, BackupError> {
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let is_there = vfs.exists(data)?;
    if is_there && !vfs.list(data).is_ok_and(|entries| entries.is_empty()) {
        return Err(BackupError::Exists(data.into()));
    }
    let run = choose(target, options)?;
    // Into an empty folder from within: it may be where a disk is mounted, and can't be renamed over.
    let scratch = if is_there { Scratch::within(vfs, data)? } else { Scratch::beside(vfs, data)? };
    let report = build(target, &run, &scratch, options)?;
    if is_there {
        scratch.move_up(data)?
    } else {
        scratch.take_place(data)?
    }
    Ok(report)
}

/// Restores one tenant into a store that is open, under a name that no tenant of it has. It is made in a folder of its
/// own within the store's, verified there, and moved to its place in one step. Its settings come with it; tokens don't.
pub fn restore_into(
    target: &dyn Target,
    store: &Store,
    options: &RestoreOptions,
) -> Result<RestoreReport, BackupError> {
    let Some(tenant) = &options.tenant else {
        return Err(BackupError::Request("which tenant is to be restored is not said".into()));
    };
    let name = tenant_id(options.new_name.as_ref().unwrap_or(tenant))?;
    // Told before the work and not after it; the move looks again.
    if store.tenants()?.iter().any(|taken| taken == name.as_str()) {
        return Err(Error::from(ErrorKind::TenantExists(name.to_string())).into());
    }
    let run = choose(target, options)?;
    let scratch = Scratch::within(Arc::new(RealVfs), store.path())?;
    // With the keys of the store, if it has any.
    let options = RestoreOptions { store: store.opened_with().clone(), ..options.clone() };
    let report = build(target, &run, &scratch, &options)?;
    let (infos, _) = Catalog::read(&RealVfs, &scratch.store)?;
    let folder = scratch.store.join("tenants").join(name.as_str());
    if let Some(keys) = KeyRing::info(&RealVfs, &folder)? {
        // As any change of keys, on record before it is done.
        store.catalog()?.record_key_change(&name, KeyChange::Encrypted, keys.generation)?;
    }
    store.adopt_tenant(&name, &folder)?;
    let catalog = store.catalog()?;
    catalog.ensure_tenant(&name)?;
    for (setting, value) in infos.iter().filter(|info| info.name == name).flat_map(|info| &info.settings) {
        catalog.set(&name, setting, Some(value))?;
    }
    Ok(report)
}

/// The beginning of the name of a folder within a store where a tenant is being restored.
pub(super) const WITHIN: &str = "restoring-";

/// Removes what a restore into this store left that ended in the middle. For who has the store open for writing, and
/// restores nothing yet.
pub fn remove_unfinished(data: &Path) -> Result<(), BackupError> {
    for entry in RealVfs.list(data)? {
        if entry.is_dir && entry.name.starts_with(WITHIN) {
            RealVfs.remove_dir_all(&data.join(entry.name))?;
        }
    }
    Ok(())
}

/// A folder near the one to be made, which goes again.
struct Scratch {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
    /// The store that will be there.
    store: PathBuf,
    /// The backup as it is, where records are written anew from it.
    copy: PathBuf,
}

impl Scratch {
    fn at(vfs: Arc<dyn Vfs>, root: PathBuf) -> Result<Scratch, BackupError> {
        let (store, copy) = (root.join("store"), root.join("copy"));
        vfs.create_dir_all(&store)?;
        Ok(Scratch { vfs, root, store, copy })
    }

    fn beside(vfs: Arc<dyn Vfs>, data: &Path) -> Result<Scratch, BackupError> {
        let data =
            std::path::absolute(data).map_err(|e| BackupError::Request(format!("{}: no path: {e}", data.display())))?;
        let (Some(parent), Some(name)) = (data.parent(), data.file_name()) else {
            return Err(BackupError::Request(format!("{}: no store can be here", data.display())));
        };
        let name = format!("{}.restoring-{:08x}", name.to_string_lossy(), random_salt() as u32);
        Self::at(vfs, parent.join(name))
    }

    fn within(vfs: Arc<dyn Vfs>, data: &Path) -> Result<Scratch, BackupError> {
        Self::at(vfs, data.join(format!("{WITHIN}{:08x}", random_salt() as u32)))
    }

    fn take_place(self, data: &Path) -> Result<(), BackupError> {
        let data = std::path::absolute(data).unwrap_or(data.into());
        let parent = data.parent().unwrap_or(Path::new("."));
        self.vfs.sync_dir(&self.store)?;
        // Renaming replaces an empty folder, and fails where something came to be in it.
        self.vfs.rename(&self.store, &data)?;
        Ok(self.vfs.sync_dir(parent)?)
    }

    /// Moves what is in the store to the folder above: the tenants last, since without them it is no store.
    fn move_up(self, data: &Path) -> Result<(), BackupError> {
        let entries = self.vfs.list(&self.store)?;
        let (last, first): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.name == "tenants");
        for entry in first.into_iter().chain(last) {
            self.vfs.sync_dir(data)?;
            self.vfs.rename(&self.store.join(&entry.name), &data.join(&entry.name))?;
        }
        Ok(self.vfs.sync_dir(data)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.vfs.remove_dir_all(&self.root);
    }
}

fn tenant_id(name: &str) -> Result<TenantId, BackupError> {
    TenantId::new(name).map_err(|e| BackupError::Request(e.to_string()))
}

/// The run that fits: the newest one by the time asked for that has what is asked for.
pub(super) fn choose(target: &dyn Target, options: &RestoreOptions) -> Result<Run, BackupError> {
    is_set(target)?;
    let (mut runs, damaged) = load_runs(target)?;
    let no_run = |reason: String| BackupError::NoRun { place: target.place(""), reason };
    let at = options.at;
    let (oldest, newest) = (runs.first().map(Run::time), runs.last().map(Run::time));
    runs.retain(|run| at.is_none_or(|at| run.time() <= at));
    if runs.is_empty() && !damaged.is_empty() {
        return Err(damaged.into_iter().next().unwrap_or(BackupError::Cancelled));
    }
    let Some(any) = runs.last() else {
        return Err(no_run(match (at, oldest, newest) {
            (Some(at), Some(oldest), Some(newest)) => {
                format!("no backup had finished by {at}: the oldest is of {oldest}, the newest of {newest}")
            }
            _ => "no backup was finished here".into(),
        }));
    };
    let Some(tenant) = &options.tenant else {
        let whole = runs.iter().rposition(|run| run.only.is_none());
        return match whole {
            Some(n) => Ok(runs.swap_remove(n)),
            None => Err(no_run("no backup of all tenants is here: name one with --tenant".into())),
        };
    };
    // A run that could not copy the tenant, or was not asked to, is no statement about it; one that could is.
    let says = |run: &Run| run.only.is_none() && run.problems.iter().all(|p| p.tenant.0.as_str() != tenant);
    let found = runs.iter().rposition(|run| run.tenant(tenant).is_some() || says(run));
    match found {
        Some(n) if runs[n].tenant(tenant).is_some() => Ok(runs.swap_remove(n)),
        Some(n) => Err(no_run(format!("the backup of {} has no tenant `{tenant}`", runs[n].time()))),
        None => Err(no_run(format!("no backup up to that of {} has the tenant `{tenant}`", any.time()))),
    }
}

/// Makes the store in the scratch folder, and verifies it.
fn build(
    target: &dyn Target,
    run: &Run,
    scratch: &Scratch,
    options: &RestoreOptions,
) -> Result<RestoreReport, BackupError> {
    let anew =
        !options.stream.is_empty() || options.new_name.as_ref().is_some_and(|n| Some(n) != options.tenant.as_ref());
    if options.new_name.is_some() && options.tenant.is_none() {
        return Err(BackupError::Request("a new name is for one tenant: say which with --tenant".into()));
    }
    let vfs = &*scratch.vfs;
    let is_whole = options.tenant.is_none() && !anew;
    let folder = if anew { &scratch.copy } else { &scratch.store };
    let mut report = RestoreReport { at: run.time().to_string(), tenants: Vec::new(), problems: Vec::new(), bytes: 0 };
    let tenants: Vec<&RunTenant> = match &options.tenant {
        Some(name) => run.tenant(name).into_iter().collect(),
        None => run.tenants.iter().collect(),
    };
    if anew {
        can_be_read(&tenants, &options.store)?;
    }
    report.bytes = fetch(vfs, target, &tenants, folder)?;
    bring_home(&scratch.vfs, &tenants, folder)?;
    // Beside the store where it is not to be part of it.
    let control = if is_whole { folder } else { &scratch.root };
    report.bytes += fetch_control(vfs, target, run, control)?;
    let mut absent = is_right(folder, run)?;
    if anew {
        write_anew(scratch, &tenants, run, options, &mut report)?;
        absent = is_right(&scratch.store, run)?;
    } else {
        for tenant in &tenants {
            let (name, records) = (tenant.name.0.to_string(), tenant.records);
            report.tenants.push(Restored { tenant: name.clone(), name, records, rewritten: false });
        }
        if !is_whole {
            settings(vfs, scratch, &tenants, None)?;
        }
    }
    if options.tenant.is_none() {
        report.problems.extend(run.problems.iter().map(|p| format!("tenant `{}`: {}", p.tenant.0, p.reason)));
        absent.retain(|name| run.problems.iter().all(|p| p.tenant.0.as_str() != name));
        report.problems.extend(absent.iter().map(|name| format!("tenant `{name}`: it was being deleted")));
    }
    Ok(report)
}

/// An error where a tenant is encrypted and no master key is at hand: its records can't be read, nor written anew. Said
/// before anything is fetched.
pub(super) fn can_be_read(tenants: &[&RunTenant], options: &Options) -> Result<(), BackupError> {
    let is_encrypted = |tenant: &&&RunTenant| tenant.files.iter().any(|file| file.path.as_str() == KEY);
    match tenants.iter().find(is_encrypted).filter(|_| options.master_key.is_none()) {
        None => Ok(()),
        Some(tenant) => Err(BackupError::Request(format!(
            "tenant `{}` is encrypted: to write its records anew, encrypted anew, takes the master key. Without it the \
             tenant is restored whole, under its own name",
            tenant.name.0
        ))),
    }
}

/// Copies the files of tenants into a folder; gives the bytes. Each is compared with its name on the way, and durable.
pub(super) fn fetch(
    vfs: &dyn Vfs,
    target: &dyn Target,
    tenants: &[&RunTenant],
    folder: &Path,
) -> Result<u64, BackupError> {
    let total: u64 = tenants.iter().flat_map(|t| &t.files).map(|f| f.bytes).sum();
    vfs.create_dir_all(&folder.join("tenants"))?;
    for tenant in tenants {
        let dir = folder.join("tenants").join(tenant.name.0.as_str());
        for below in ["log", "segments"] {
            vfs.create_dir_all(&dir.join(below))?;
        }
        // The manifest is the last file: a folder without one is no tenant.
        let is_manifest = |file: &&RunFile| file.path.as_str() == "manifest";
        let others = tenant.files.iter().filter(|f| !is_manifest(f));
        for file in others.chain(tenant.files.iter().filter(is_manifest)) {
            fetch_file(vfs, target, file, &dir.join(file.path.as_str()))?;
        }
        for below in ["log", "segments", ""] {
            vfs.sync_dir(&dir.join(below))?;
        }
    }
    vfs.sync_dir(&folder.join("tenants"))?;
    vfs.sync_dir(folder)?;
    Ok(total)
}

/// Says in the manifests that segments which had been in archives are in their tenants' folders, where they were fetched
/// to: what comes back needs no archive, and takes none from the store that it is a copy of.
pub(super) fn bring_home(vfs: &Arc<dyn Vfs>, tenants: &[&RunTenant], folder: &Path) -> Result<(), BackupError> {
    for tenant in tenants {
        let dir = folder.join("tenants").join(tenant.name.0.as_str());
        let path = dir.join("manifest");
        let (version, _) = crate::manifest::read_whole(&**vfs, &path, &tenant.name.0)?;
        let is_here = |id| tenant.files.iter().any(|file| file.path.as_str() == format!("segments/{id}.seg"));
        let away = version.segments.values().filter(|meta| !meta.place.is_own() && is_here(meta.id));
        let home = |meta: &Arc<SegmentMeta>| Assignment {
            segment: meta.id,
            class: meta.class.clone(),
            place: Place::default(),
        };
        let segments: Vec<Assignment> = away.map(home).collect();
        if !segments.is_empty() {
            let (manifest, _) = Manifest::open(vfs.clone(), path, &tenant.name.0)?;
            manifest.apply(Timestamp::now(), vec![Edit::Assign { segments }]).map_err(Error::from)?;
        }
    }
    Ok(())
}

/// Copies the control log into a folder.
pub(super) fn fetch_control(vfs: &dyn Vfs, target: &dyn Target, run: &Run, folder: &Path) -> Result<u64, BackupError> {
    let Some(file) = &run.control else { return Ok(0) };
    fetch_file(vfs, target, file, &folder.join(CONTROL_LOG))?;
    vfs.sync_dir(folder)?;
    Ok(file.bytes)
}

fn fetch_file(vfs: &dyn Vfs, target: &dyn Target, file: &RunFile, to: &Path) -> Result<(), BackupError> {
    if let Some(folder) = to.parent() {
        vfs.create_dir_all(folder)?;
    }
    let written = vfs.create(to)?;
    let mut at = 0;
    get_checked(target, &file.blake3, file.bytes, &mut |chunk| {
        written.write_all_at(at, chunk)?;
        at += chunk.len() as u64;
        Ok(())
    })?;
    Ok(written.sync()?)
}

/// What the verifier finds in a restored store, without the tenants that the control log knows and the run has not:
/// those are told by their names.
pub(super) fn verified(folder: &Path, run: &Run, deep: bool) -> (Report, Vec<String>) {
    let mut report = verify(&[folder], deep);
    let mut absent = Vec::new();
    report.findings.retain(|finding| {
        let name = finding.file.strip_prefix(folder.join("tenants")).ok().and_then(Path::to_str);
        let is_absent = finding.kind == FindingKind::Missing
            && name.is_some_and(|name| TenantId::new(name).is_ok() && run.tenant(name).is_none());
        absent.extend(name.filter(|_| is_absent).map(String::from));
        !is_absent
    });
    (report, absent)
}

/// An error where the verifier finds anything; the tenants that the run has not.
fn is_right(folder: &Path, run: &Run) -> Result<Vec<String>, BackupError> {
    let (report, absent) = verified(folder, run, false);
    match report.findings.first() {
        None => Ok(absent),
        Some(finding) => Err(BackupError::NotRight { path: folder.into(), finding: finding.to_string() }),
    }
}

/// Gives a store a control log of its own, with the settings of these tenants: it must not know of others, or of
/// tokens.
fn settings(
    vfs: &dyn Vfs,
    scratch: &Scratch,
    tenants: &[&RunTenant],
    new_name: Option<&TenantId>,
) -> Result<(), BackupError> {
    let (infos, _) = Catalog::read(vfs, &scratch.root)?;
    let opened = Store::open_with(&scratch.store, Options::default())?;
    let catalog = opened.catalog()?;
    for tenant in tenants {
        let name = new_name.unwrap_or(&tenant.name.0);
        catalog.ensure_tenant(name)?;
        let known = infos.iter().find(|info| info.name == tenant.name.0);
        for (setting, value) in known.iter().flat_map(|info| &info.settings) {
            catalog.set(name, setting, Some(value))?;
        }
    }
    Ok(opened.close()?)
}

/// Writes records of the copy into the store.
fn write_anew(
    scratch: &Scratch,
    tenants: &[&RunTenant],
    run: &Run,
    options: &RestoreOptions,
    report: &mut RestoreReport,
) -> Result<(), BackupError> {
    let new_name = options.new_name.as_deref().map(tenant_id).transpose()?;
    // No rule counts while records are written anew: none goes, or goes to an archive, before all of them are there.
    let options_of_store = Options { policy: Arc::default(), ..options.store.clone() };
    let from = Store::open_read_only_with(&scratch.copy, options_of_store.clone())?;
    let to = Store::open_with(&scratch.store, options_of_store)?;
    let mut written: Vec<&RunTenant> = Vec::new();
    for tenant in tenants {
        let source = from.existing_tenant(tenant.name.0.as_str())?;
        let name = new_name.as_ref().unwrap_or(&tenant.name.0);
        // What was encrypted is encrypted again on its way, under a key of its own.
        let made = match from.key_info(tenant.name.0.as_str())? {
            Some(_) => to.create_encrypted_tenant(name.as_str())?,
            None => to.tenant(name.as_str())?,
        };
        let records = copy_records(&source, &made, &options.stream)?;
        made.seal()?;
        drop(made);
        if records == 0 && !options.stream.is_empty() {
            to.delete_tenant(name.as_str())?;
            continue;
        }
        written.push(tenant);
        let (tenant, name) = (tenant.name.0.to_string(), name.to_string());
        report.tenants.push(Restored { tenant, name, records, rewritten: true });
    }
    to.close()?;
    from.close()?;
    if written.is_empty() {
        return Err(BackupError::NoRecords { stream: options.stream.to_string(), at: run.time() });
    }
    settings(&*scratch.vfs, scratch, &written, new_name.as_ref())?;
    Ok(scratch.vfs.remove_dir_all(&scratch.copy)?)
}
