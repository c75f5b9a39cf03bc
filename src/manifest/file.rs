//! The file: open, append, compact.

use super::{COMPACT_BYTES_MIN, Edit, Entry, ManifestError, Version};
use crate::error::{Damage, StorageError};
use crate::format::DecodeError;
use crate::format::edit::{HEAD_START, decode_entry, put_entry_mark, read_edits};
use crate::format::header::{MANIFEST_VERSION, ManifestHeader};
use crate::id::{SegmentId, TenantId};
use crate::record::Timestamp;
use crate::vfs::{Vfs, VfsFile, set_aside};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How often a reader beside a writer reads again what looks damaged: it may have seen half of a write.
const READ_ATTEMPTS_MAX: u32 = 4;
/// How long it waits before, times the attempt. Tests read thousands of files that stay damaged.
const READ_AGAIN_AFTER: Duration = if cfg!(test) { Duration::from_micros(1) } else { Duration::from_millis(1) };

/// The manifest of one tenant. Threads share it; one at a time applies edits.
#[derive(Debug)]
pub struct Manifest {
    writer: Mutex<Writer>,
    version: RwLock<Arc<Version>>,
}

/// What an open found beside entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestRecovery {
    /// Entries that were read.
    pub entries: u64,
    /// Where a torn last entry was cut off, in bytes from the beginning of the file.
    pub cut_at: Option<u64>,
    /// How many bytes that was.
    pub cut_bytes: u64,
    /// What was wrong with it; empty where nothing was.
    pub reason: String,
    /// Where it was copied to; missing for a reader.
    pub quarantined: Option<PathBuf>,
}

#[derive(Debug)]
struct Writer {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    header: ManifestHeader,
    file: Arc<dyn VfsFile>,
    end: u64,
    /// Where the first entry ends: a create or a snapshot.
    base_end: u64,
    /// Up to where the file was synced, and does a mark stand there? A mark behind it may be lost by a later sync that
    /// fails, also from what is read.
    synced: (u64, bool),
    /// A write failed, so that the file is not written to again but replaced.
    is_suspect: bool,
}

/// A manifest's file as read.
struct Loaded {
    header: ManifestHeader,
    version: Version,
    end: u64,
    base_end: u64,
    /// Where the last mark begins: entries before it are durable. The mark itself may not be.
    proven_end: u64,
    is_marked: bool,
    torn: Option<DecodeError>,
    report: ManifestRecovery,
}

/// Reads a manifest from its bytes. What was torn off is told apart from what is damaged.
fn load(path: &Path, bytes: &[u8], tenant: &TenantId) -> Result<Loaded, StorageError> {
    let damage = |e: DecodeError| StorageError::from(e.in_file(path));
    let (header, mut entries) = read_edits(bytes).map_err(damage)?;
    if header.tenant != *tenant {
        let (expected, found) = (format!("tenant {tenant}"), format!("tenant {}", header.tenant));
        return Err(damage(DecodeError::new("manifest header", 11, expected, found)));
    }
    let mut version: Option<Version> = None;
    let (mut base_end, mut proven_end, mut is_marked, mut torn) = (0, 0, false, None);
    let mut report = ManifestRecovery::default();
    for at in entries.by_ref() {
        let at = match at {
            Ok(at) => at,
            Err(e) => {
                torn = Some(e);
                break;
            }
        };
        is_marked = at.entry.is_none();
        let Some(entry) = at.entry else {
            proven_end = at.offset;
            continue;
        };
        let unfit = |reason: String| Damage {
            file: path.to_path_buf(),
            offset: at.offset,
            what: "manifest entry",
            expected: format!("edits that fit what entries up to {} made", at.number.saturating_sub(1)),
            found: reason,
        };
        let next = Version::after(version.as_ref(), &entry, at.head).map_err(|e| unfit(e.to_string()))?;
        if next.tenant != *tenant {
            return Err(unfit(format!("tenant {}", next.tenant)).into());
        }
        if version.is_none() {
            base_end = at.offset + at.bytes;
        }
        version = Some(next);
        report.entries += 1;
    }
    let end = entries.position();
    if let Some(mut error) = torn.clone() {
        if let Some(proof) = entries.proof_of_loss() {
            error.found.push_str(&format!(" (byte {proof} says that it was durable)"));
            return Err(damage(error));
        }
        (report.cut_at, report.cut_bytes) = (Some(end), bytes.len() as u64 - end);
        report.reason = error.to_string();
    }
    // A file gets its name only when its first entry is durable.
    let Some(version) = version else {
        return Err(damage(torn.unwrap_or_else(|| DecodeError::new("manifest", 0, "an entry", "the end"))));
    };
    Ok(Loaded { header, version, end, base_end, proven_end, is_marked, torn, report })
}

/// Reads a manifest beside its writer, or with none: no lock is taken and nothing is written.
pub fn open_read_only(
    vfs: &dyn Vfs,
    path: &Path,
    tenant: &TenantId,
) -> Result<(Version, ManifestRecovery), StorageError> {
    load_beside(vfs, path, tenant).map(|(loaded, _)| (loaded.version, loaded.report))
}

/// Reads a manifest beside its writer, with its bytes up to the end of the last whole entry: what a copy takes.
pub fn read_whole(vfs: &dyn Vfs, path: &Path, tenant: &TenantId) -> Result<(Version, Vec<u8>), StorageError> {
    let (loaded, mut bytes) = load_beside(vfs, path, tenant)?;
    bytes.truncate(usize::try_from(loaded.end).unwrap_or(usize::MAX));
    Ok((loaded.version, bytes))
}

/// The segments that entries let go, as far as the manifest in a folder and the earlier parts of its chain can be read.
pub fn let_go(vfs: &dyn Vfs, folder: &Path) -> Result<BTreeSet<SegmentId>, StorageError> {
    let mut gone = BTreeSet::new();
    let is_part = |name: &str| name.strip_prefix("manifest.").is_some_and(|number| !number.ends_with("tmp"));
    for file in vfs.list(folder)?.into_iter().filter(|file| !file.is_dir) {
        if file.name != "manifest" && !is_part(&file.name) {
            continue;
        }
        let bytes = vfs.read(&folder.join(&file.name))?;
        let Ok((_, entries)) = read_edits(&bytes) else { continue };
        for edit in entries.map_while(Result::ok).flat_map(|at| at.entry).flat_map(|entry| entry.edits) {
            match edit {
                Edit::Merge { inputs, .. } | Edit::Delete { inputs, .. } => gone.extend(inputs),
                Edit::Expire { segments, .. } => gone.extend(segments),
                _ => {}
            }
        }
    }
    Ok(gone)
}

fn load_beside(vfs: &dyn Vfs, path: &Path, tenant: &TenantId) -> Result<(Loaded, Vec<u8>), StorageError> {
    let mut attempt = 1;
    loop {
        // A half of a write that was seen looks like damage or a torn end; the next look sees more of it.
        match vfs.read(path).and_then(|bytes| Ok((load(path, &bytes, tenant)?, bytes))) {
            Ok((loaded, bytes)) if loaded.torn.is_none() || attempt == READ_ATTEMPTS_MAX => {
                return Ok((loaded, bytes));
            }
            Err(e) if attempt == READ_ATTEMPTS_MAX || !matches!(e, StorageError::Damage(_)) => return Err(e),
            _ => {}
        }
        std::thread::sleep(READ_AGAIN_AFTER * attempt);
        attempt += 1;
    }
}

impl Manifest {
    /// Makes a manifest. An error where one exists.
    pub fn create(
        vfs: Arc<dyn Vfs>,
        path: PathBuf,
        tenant: &TenantId,
        created_at_ns: i64,
    ) -> Result<Manifest, StorageError> {
        if vfs.exists(&path)? {
            return Err(StorageError::io("create", &path, std::io::ErrorKind::AlreadyExists.into()));
        }
        let edits = vec![Edit::Create { tenant: tenant.clone(), created_at_ns }];
        let entry = Entry { number: 1, previous: HEAD_START, at: Timestamp(created_at_ns), edits };
        let (writer, version) = Writer::start(vfs, path, tenant, None, &entry)?;
        Ok(Manifest { writer: Mutex::new(writer), version: RwLock::new(Arc::new(version)) })
    }

    /// Puts a manifest in the place of one that is damaged or missing: a snapshot of what was found, which goes on the
    /// chain as far as that can be read. What was there is overwritten, so that the caller has a copy.
    pub fn rebuild(
        vfs: Arc<dyn Vfs>,
        path: PathBuf,
        found: &Version,
        at: Timestamp,
    ) -> Result<Arc<Version>, StorageError> {
        let edits = vec![Edit::Snapshot(Box::new(found.clone()))];
        let entry = Entry { number: found.edits + 1, previous: found.head, at, edits };
        let (_, version) = Writer::start(vfs, path, &found.tenant, Some(found), &entry)?;
        Ok(Arc::new(version))
    }

    /// Opens a manifest. A torn last entry, which nobody acted upon, is copied to `quarantine` beside the file, cut
    /// off and reported; damage is an error, and then nothing was changed. One of an earlier version of the format is
    /// written anew, and kept beside it as compacting does.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        path: PathBuf,
        tenant: &TenantId,
    ) -> Result<(Manifest, ManifestRecovery), StorageError> {
        let bytes = vfs.read(&path)?;
        let Loaded { header, version, end, base_end, proven_end, is_marked, torn, mut report } =
            load(&path, &bytes, tenant)?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        remove_unfinished(&*vfs, &folder, &path)?;
        let file = vfs.open_write(&path)?;
        if torn.is_some() {
            let cut = bytes.get(usize::try_from(end).unwrap_or(usize::MAX)..).unwrap_or_default();
            let reason = format!("{} bytes of {} from byte {end}\n{}\n", cut.len(), path.display(), report.reason);
            let name = format!("manifest-{end}");
            report.quarantined = Some(set_aside(&*vfs, &folder.join("quarantine"), &name, cut, &reason)?);
            file.set_len(end)?;
        }
        let mut writer = Writer { vfs, path, header, file, end, base_end, synced: (end, is_marked), is_suspect: false };
        // What was read may be with the operating system only; from here on it is acted upon. After a sync that failed,
        // the system may take it for written, so that it is written again.
        let [from, to] = [proven_end, end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        writer.file.write_all_at(proven_end, bytes.get(from..to).unwrap_or_default())?;
        writer.file.sync()?;
        writer.vfs.sync_dir(&folder)?;
        if !is_marked {
            writer.mark(&version);
        }
        let mut version = version;
        if writer.header.version < MANIFEST_VERSION {
            match writer.compact(&version, Timestamp::now()) {
                Ok(anew) => version = anew,
                // On a full device, say: the tenant can be read meanwhile, and the next edit tries again.
                Err(_) => writer.is_suspect = true,
            }
        }
        Ok((Manifest { writer: Mutex::new(writer), version: RwLock::new(Arc::new(version)) }, report))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store consists of now.
    pub fn version(&self) -> Arc<Version> {
        self.version.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends an entry with these edits, made `at` this time, and returns the version with them once it is durable.
    pub fn apply(&self, at: Timestamp, edits: Vec<Edit>) -> Result<Arc<Version>, ManifestError> {
        let mut writer = self.writer();
        let before = writer.settled(self.version(), at)?;
        self.put(before.clone());
        if edits.is_empty() {
            return Ok(before);
        }
        let entry = Entry { number: before.edits + 1, previous: before.head, at, edits };
        let mut bytes = Vec::new();
        let unfit = |reason: String| ManifestError::Unfit { reason };
        let head = entry.encode(&writer.header.stamp(), &mut bytes).ok_or_else(|| unfit("it is too long".into()))?;
        let after = Version::after(Some(&before), &entry, head).map_err(|e| unfit(e.to_string()))?;
        // What can't be read back would be damage at the next open.
        match decode_entry(&bytes, &writer.header.stamp()) {
            Ok((Some(again), same_head)) if again == entry && same_head == head => {}
            Ok(_) => return Err(unfit("it reads back as another".into())),
            Err(e) => return Err(unfit(e.to_string())),
        }
        if let Err((source, is_undone)) = writer.append(&bytes) {
            if is_undone {
                return Err(ManifestError::Unchanged(source));
            }
            // Whatever of it is on the disk: a file without it takes the place of this one, or nobody knows.
            writer.is_suspect = true;
            let settled = writer.compact(&before, at).map_err(|_| ManifestError::Uncertain(source.clone()))?;
            self.put(Arc::new(settled));
            return Err(ManifestError::Unchanged(source));
        }
        let mut after = after;
        let (snapshot, rest) = (writer.base_end, writer.end - writer.base_end);
        writer.mark(&after);
        if rest > COMPACT_BYTES_MIN && rest / 2 > snapshot {
            // The edits are durable either way; where this fails, a later apply tries again.
            if let Ok(compacted) = writer.compact(&after, at) {
                after = compacted;
            }
        }
        let after = Arc::new(after);
        self.put(after.clone());
        Ok(after)
    }

    /// Writes the manifest anew, with a snapshot of the present version that goes on the chain. What it replaces is
    /// kept beside it as `<name>.<number of its last entry as 016x>`, so that the chain can be followed from its
    /// beginning.
    pub fn compact(&self, at: Timestamp) -> Result<Arc<Version>, ManifestError> {
        let mut writer = self.writer();
        let compacted = writer.compact(&self.version(), at).map_err(ManifestError::Uncertain)?;
        let compacted = Arc::new(compacted);
        self.put(compacted.clone());
        Ok(compacted)
    }

    fn put(&self, version: Arc<Version>) {
        *self.version.write().unwrap_or_else(PoisonError::into_inner) = version;
    }
}

/// Removes what a crash left of a manifest, or of a copy of an earlier one, that was being written.
fn remove_unfinished(vfs: &dyn Vfs, folder: &Path, path: &Path) -> Result<(), StorageError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for entry in vfs.list(folder)? {
        let rest = entry.name.strip_prefix(&*name);
        if !entry.is_dir && rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp")) {
            vfs.remove(&folder.join(&entry.name))?;
        }
    }
    Ok(())
}

impl Writer {
    /// Writes a manifest that begins with this entry, durable when this returns.
    fn start(
        vfs: Arc<dyn Vfs>,
        path: PathBuf,
        tenant: &TenantId,
        before: Option<&Version>,
        entry: &Entry,
    ) -> Result<(Writer, Version), StorageError> {
        let refuse = |reason: &str| StorageError::io("write", &path, std::io::Error::other(reason.to_string()));
        let salt = vfs.salt();
        let header = ManifestHeader { version: MANIFEST_VERSION, tenant: tenant.clone(), salt };
        let mut bytes = header.encode().to_vec();
        let head = entry.encode(&header.stamp(), &mut bytes).ok_or_else(|| refuse("a snapshot that is too long"))?;
        let version = Version::after(None, entry, head).map_err(|e| refuse(&e.0))?;
        if let Some(before) = before {
            debug_assert_eq!((before.sealed_below, &before.segments), (version.sealed_below, &version.segments));
        }
        let base_end = bytes.len() as u64;
        put_entry_mark(entry.number, &head, &header.stamp(), &mut bytes);
        vfs.replace(&path, &bytes)?;
        let file = vfs.open_write(&path)?;
        let end = bytes.len() as u64;
        Ok((Writer { vfs, path, header, file, end, base_end, synced: (end, true), is_suspect: false }, version))
    }

    /// Where this fails, says whether what was written in part is certainly gone again.
    fn append(&mut self, bytes: &[u8]) -> Result<(), (StorageError, bool)> {
        self.file.write_all_at(self.end, bytes).map_err(|e| {
            // On a full device there is no room for a new file either, but this one is not in doubt.
            let is_undone = e.is_out_of_space() && self.file.set_len(self.end).and_then(|()| self.file.sync()).is_ok();
            (e, is_undone)
        })?;
        // After a failed sync another one may succeed and yet have lost the bytes, so there is no second try.
        self.file.sync().map_err(|e| (e, false))?;
        self.end += bytes.len() as u64;
        self.synced = (self.end, false);
        Ok(())
    }

    /// Says that all entries are durable. Not synced: where it is lost, so is only the proof.
    fn mark(&mut self, version: &Version) {
        let mut bytes = Vec::new();
        put_entry_mark(version.edits, &version.head, &self.header.stamp(), &mut bytes);
        match self.file.write_all_at(self.end, &bytes) {
            Ok(()) => self.end += bytes.len() as u64,
            Err(_) => self.is_suspect = true,
        }
    }

    /// The version to go on from, with the file in order.
    fn settled(&mut self, version: Arc<Version>, at: Timestamp) -> Result<Arc<Version>, ManifestError> {
        if !self.is_suspect {
            return Ok(version);
        }
        self.compact(&version, at).map(Arc::new).map_err(ManifestError::Uncertain)
    }

    fn compact(&mut self, version: &Version, at: Timestamp) -> Result<Version, StorageError> {
        // Where the next step fails, the file may have been replaced or not.
        let was_suspect = std::mem::replace(&mut self.is_suspect, true);
        let mut history = self.path.as_os_str().to_owned();
        history.push(format!(".{:016x}", version.edits));
        // Only what is known to be in order, and a mark.
        let (end, is_marked) = self.synced;
        let mut bytes = vec![0; usize::try_from(end).unwrap_or(usize::MAX)];
        self.file
            .read_exact_at(0, &mut bytes)
            .and_then(|()| {
                if !is_marked {
                    put_entry_mark(version.edits, &version.head, &self.header.stamp(), &mut bytes);
                }
                self.vfs.replace(Path::new(&history), &bytes)
            })
            .inspect_err(
                // The manifest itself was not touched.
                |_| self.is_suspect = was_suspect,
            )?;
        let edits = vec![Edit::Snapshot(Box::new(version.clone()))];
        let entry = Entry { number: version.edits + 1, previous: version.head, at, edits };
        let tenant = self.header.tenant.clone();
        let (writer, version) = Writer::start(self.vfs.clone(), self.path.clone(), &tenant, Some(version), &entry)?;
        *self = writer;
        Ok(version)
    }
}
