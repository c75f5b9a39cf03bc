//! One run: what the target lacks is copied, read back, and named last.

use super::check::{load_runs, stored};
use super::run::{Kind, MARKER, MARKER_TEXT, Problem, RUN_VERSION, Run, RunFile, RunTenant, TenantName};
use super::source::{NotRead, SourceFile, TenantFiles, moved, read_control, read_tenant};
use super::target::{get_bytes, get_checked, put_bytes};
use super::{BackupError, ObjectId, Target};
use crate::archive::Archives;
use crate::catalog::Catalog;
use crate::error::StorageError;
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::store::Error;
use crate::store::error::ErrorKind;
use crate::store::folders;
use crate::vfs::Vfs;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a tenant is begun again because its writer sealed or merged meanwhile. What was copied by then stays
/// copied, so that each attempt is shorter than the one before.
const ATTEMPTS_MAX: u32 = 20;
/// How long it is waited before, times the attempt.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// What an incremental run takes from the runs before it: of so many of the newest, the objects.
const RUNS_USED_MAX: usize = 8;

/// How a backup is made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    /// These tenants alone; all where it is empty.
    pub tenants: Vec<String>,
    /// Read all of the source and, of the target, all that the run names; write anew what is damaged there.
    pub full: bool,
    /// The archives that segments may be in.
    pub archives: Archives,
    /// Ends the run soon after it is set. What it copied by then is used by the next one.
    pub cancel: Option<std::sync::Arc<AtomicBool>>,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The run, as it is in the target.
    pub run: Run,
    /// Objects of earlier runs that were damaged or gone, and were written anew.
    pub objects_mended: u64,
    /// Bytes that were read from the source.
    pub bytes_read: u64,
}

/// What is known of a target.
pub(super) struct Copier<'a> {
    vfs: &'a dyn Vfs,
    target: &'a dyn Target,
    full: bool,
    archives: &'a Archives,
    cancel: Option<&'a AtomicBool>,
    /// The objects that are there, with their lengths, and whether this run has read them.
    there: HashMap<ObjectId, (u64, bool)>,
    /// Segments of earlier runs: whose, path and data root, to the object.
    known: HashMap<(String, String, ObjectId), ObjectId>,
    objects_new: u64,
    bytes_new: u64,
    objects_mended: u64,
    bytes_read: u64,
}

/// Copies a store, beside its writer perhaps, to a target.
///
/// A tenant that can't be copied is in the run's problems, and the others are copied. An error says that there is no
/// new run; what was copied then waits for the next one.
pub fn backup(
    vfs: &dyn Vfs,
    data: &Path,
    target: &dyn Target,
    options: &BackupOptions,
) -> Result<BackupReport, BackupError> {
    let started_ns = Timestamp::now().0;
    let tenants = tenants(vfs, data, &options.tenants)?;
    let _lock = target.lock()?;
    mark(target)?;
    let (runs, _damaged) = load_runs(target)?;
    let mut copier = Copier::new(vfs, target, options);
    copier.learn(&runs, &stored(target)?);
    let store = read_control(vfs, data)?.map(|(_, salt)| salt);
    same_store(target, &runs, store.as_deref())?;
    let mut run = Run {
        version: RUN_VERSION,
        started_ns,
        finished_ns: 0,
        kind: if options.full || runs.is_empty() { Kind::Full } else { Kind::Incremental },
        store,
        only: (!options.tenants.is_empty()).then(|| tenants.iter().cloned().map(TenantName).collect()),
        control: None,
        tenants: Vec::new(),
        problems: Vec::new(),
        objects_new: 0,
        bytes_new: 0,
    };
    copier.tenants(data, &tenants, &mut run)?;
    // After the tenants, so that a token that was revoked meanwhile is revoked in the copy. It may know tenants by then
    // that were made meanwhile.
    if let Some((file, _)) = read_control(vfs, data)? {
        run.control = Some(copier.file("", &file).map_err(|e| copier.give_up(e))?);
        if run.only.is_none() {
            let mut made = self::tenants(vfs, data, &[])?;
            made.retain(|id| !tenants.contains(id));
            copier.tenants(data, &made, &mut run)?;
            let known = |id: &TenantId| tenants.contains(id) || made.contains(id);
            run.problems.extend(lost(vfs, data, &known)?);
            run.tenants.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }
    (run.objects_new, run.bytes_new) = (copier.objects_new, copier.bytes_new);
    let newest = runs.iter().map(|r| r.finished_ns).max().unwrap_or(0);
    run.finished_ns = finished(newest);
    run.store(target)?;
    Ok(BackupReport { run, objects_mended: copier.objects_mended, bytes_read: copier.bytes_read })
}

/// The present in whole milliseconds, so that it prints and parses the same, and after all runs that there are.
fn finished(newest_ns: i64) -> i64 {
    const MS: i64 = 1_000_000;
    let now = Timestamp::now().0.div_euclid(MS);
    now.max(newest_ns.div_euclid(MS).saturating_add(1)).saturating_mul(MS)
}

/// The tenants to copy, by name.
fn tenants(vfs: &dyn Vfs, data: &Path, asked: &[String]) -> Result<Vec<TenantId>, BackupError> {
    let folder = data.join("tenants");
    if !vfs.exists(&folder)? {
        return Err(Error::from(ErrorKind::NoSuchStore(data.into())).into());
    }
    let mut all = folders::tenants(vfs, data)?;
    if let Some(missing) = asked.iter().find(|name| !all.iter().any(|id| id.as_str() == **name)) {
        return Err(Error::from(ErrorKind::NoSuchTenant(missing.clone())).into());
    }
    all.retain(|id| asked.is_empty() || asked.iter().any(|name| name == id.as_str()));
    Ok(all)
}

/// Tenants that the control log has and that have no folder. Deletion takes a tenant out of the control log before its
/// folder goes, and making one puts it there when the folder is there: so that what is read after the first look at the
/// folders, and looked for again, is lost.
fn lost(vfs: &dyn Vfs, data: &Path, known: &dyn Fn(&TenantId) -> bool) -> Result<Vec<Problem>, BackupError> {
    let (said, _) = Catalog::read(vfs, data)?;
    let mut problems = Vec::new();
    for id in said.into_iter().map(|info| info.name).filter(|id| !known(id)) {
        let folder = data.join("tenants").join(id.as_str());
        if !vfs.exists(&folder)? {
            let reason = format!("{}: control.log has the tenant, and its folder is not there", folder.display());
            problems.push(Problem { tenant: TenantName(id), reason });
        }
    }
    Ok(problems)
}

/// Makes the target a backup set, where it is empty.
fn mark(target: &dyn Target) -> Result<(), BackupError> {
    match get_bytes(target, MARKER, 4096) {
        Ok(text) if text == MARKER_TEXT.as_bytes() => Ok(()),
        Ok(_) => Err(BackupError::NotASet(target.place(MARKER))),
        Err(e) if e.is_missing() => {
            if !target.list("")?.is_empty() {
                return Err(BackupError::NotASet(target.place("")));
            }
            put_bytes(target, MARKER, MARKER_TEXT.as_bytes())
        }
        Err(e) => Err(e),
    }
}

fn same_store(target: &dyn Target, runs: &[Run], ours: Option<&str>) -> Result<(), BackupError> {
    let theirs = runs.iter().rev().find_map(|run| run.store.as_deref());
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            Err(BackupError::OtherStore { place: target.place(""), theirs: theirs.into(), ours: ours.into() })
        }
        _ => Ok(()),
    }
}

/// Is it a file of the source, or of its archives, that could not be read, so that other tenants' files may be right?
fn is_of_source(error: &BackupError, data: &Path, tenant: &TenantId, archives: &Archives) -> bool {
    let file = match error {
        BackupError::Storage(StorageError::Io { path, .. }) => path,
        BackupError::Storage(StorageError::Damage(damage)) => &damage.file,
        BackupError::Request(_) => return true,
        _ => return false,
    };
    file.starts_with(data) || archives.holds(tenant, file)
}

impl<'a> Copier<'a> {
    fn new(vfs: &'a dyn Vfs, target: &'a dyn Target, options: &'a BackupOptions) -> Self {
        Copier {
            vfs,
            target,
            full: options.full,
            archives: &options.archives,
            cancel: options.cancel.as_deref(),
            there: HashMap::new(),
            known: HashMap::new(),
            objects_new: 0,
            bytes_new: 0,
            objects_mended: 0,
            bytes_read: 0,
        }
    }

    /// Takes in what is there. A full run does not take an earlier one's word for what is in a file.
    fn learn(&mut self, runs: &[Run], stored: &BTreeMap<ObjectId, u64>) {
        self.there = stored.iter().map(|(id, bytes)| (*id, (*bytes, false))).collect();
        if self.full {
            return;
        }
        for tenant in runs.iter().rev().take(RUNS_USED_MAX).flat_map(|run| &run.tenants) {
            for file in &tenant.files {
                let Some(root) = file.data_root.filter(|_| stored.get(&file.blake3) == Some(&file.bytes)) else {
                    continue;
                };
                let key = (tenant.name.0.to_string(), file.path.as_str().to_string(), root);
                self.known.insert(key, file.blake3);
            }
        }
    }

    /// Copies tenants; what can't be copied of the source is a problem of the run, and what the target refuses its end.
    fn tenants(&mut self, data: &Path, tenants: &[TenantId], run: &mut Run) -> Result<(), BackupError> {
        for tenant in tenants {
            match self.tenant(&data.join("tenants").join(tenant.as_str()), tenant) {
                Ok(copied) => run.tenants.extend(copied),
                // The target's trouble is every tenant's.
                Err(e) if !is_of_source(&e, data, tenant, self.archives) => return Err(e),
                Err(e) => run.problems.push(Problem { tenant: TenantName(tenant.clone()), reason: e.to_string() }),
            }
        }
        Ok(())
    }

    fn check_cancel(&self) -> Result<(), BackupError> {
        match self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(BackupError::Cancelled),
            _ => Ok(()),
        }
    }

    /// What is left of a file that went or failed where there is no second try.
    fn give_up(&self, e: NotRead) -> BackupError {
        match e {
            NotRead::Moved(e) => e.into(),
            NotRead::Failed(e) => e,
            NotRead::Gone => BackupError::Cancelled,
        }
    }

    /// Copies a tenant; `None` where it was deleted meanwhile.
    fn tenant(&mut self, dir: &Path, tenant: &TenantId) -> Result<Option<RunTenant>, BackupError> {
        let mut attempt = 1;
        loop {
            match self.tenant_once(dir, tenant) {
                Ok(copied) => return Ok(Some(copied)),
                Err(NotRead::Gone) => return Ok(None),
                Err(NotRead::Moved(e)) if attempt == ATTEMPTS_MAX => return Err(e.into()),
                Err(NotRead::Moved(_)) => {}
                Err(NotRead::Failed(e)) => return Err(e),
            }
            std::thread::sleep(AGAIN_AFTER * attempt);
            attempt += 1;
        }
    }

    fn tenant_once(&mut self, dir: &Path, tenant: &TenantId) -> Result<RunTenant, NotRead> {
        let found: TenantFiles = read_tenant(self.vfs, dir, tenant, self.archives)?;
        let mut files = Vec::with_capacity(found.files.len());
        for file in &found.files {
            files.push(self.file(tenant.as_str(), file)?);
        }
        Ok(RunTenant {
            name: TenantName(tenant.clone()),
            head: ObjectId(found.version.head),
            entries: found.version.edits,
            sealed_below: found.version.sealed_below.0,
            last: found.last.0,
            records: found.records(),
            files,
        })
    }

    /// Sees to it that a file's bytes are in the target.
    fn file(&mut self, tenant: &str, file: &SourceFile) -> Result<RunFile, NotRead> {
        self.check_cancel()?;
        let data_root = file.segment.as_ref().map(|meta| ObjectId(meta.data_root));
        let made = |blake3| RunFile { path: file.path.clone(), bytes: file.bytes, blake3, data_root };
        let key = data_root.map(|root| (tenant.to_string(), file.path.as_str().to_string(), root));
        if let Some(id) = key.as_ref().and_then(|key| self.known.get(key)) {
            return Ok(made(*id));
        }
        let id = ObjectId(file.hash(self.vfs)?);
        self.bytes_read += file.bytes;
        let there = self.there.get(&id).copied();
        let is_right = match there {
            Some((bytes, _)) if bytes != file.bytes => false,
            Some((_, read)) if read || !self.full => true,
            Some(_) => match get_checked(self.target, &id, file.bytes, &mut |_| Ok(())) {
                Ok(()) => true,
                Err(e) if e.is_damage() || e.is_missing() => false,
                Err(e) => return Err(e.into()),
            },
            None => false,
        };
        if !is_right {
            let mut chunks = file.chunks(self.vfs)?;
            self.target.put(&id.path(), file.bytes, &mut chunks).map_err(|e| match e {
                BackupError::Storage(e) => moved(e),
                e => NotRead::Failed(e),
            })?;
            // What the target gives back is what counts.
            get_checked(self.target, &id, file.bytes, &mut |_| Ok(()))?;
            self.bytes_new += file.bytes;
            match there {
                Some(_) => self.objects_mended += 1,
                None => self.objects_new += 1,
            }
        }
        self.there.insert(id, (file.bytes, true));
        if let Some(key) = key {
            self.known.insert(key, id);
        }
        Ok(made(id))
    }
}
