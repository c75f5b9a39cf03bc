//! Open files of the process, so that many tenants do not run out of them.
//!
//! A file that was opened by its name is closed again when others need its place, and opened anew when it is read or
//! written next. What was written is synced before; where that fails the file stays open, and its next sync says so.

use crate::error::StorageError;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// How many files stay open, besides those that are in use at this moment, unless [`keep_more_open`] was called. The usual
/// limit of a process is 1,024, and sockets need some of it.
pub const OPEN_FILES_MAX: usize = 256;

static OPEN_FILES: AtomicUsize = AtomicUsize::new(OPEN_FILES_MAX);

/// Lets the process open as many files as its system lets it, and a quarter of these stay open, up to `most`, if that is more
/// than [`OPEN_FILES_MAX`]. With many tenants, a file that is closed to make room for another one costs a sync, and an
/// open when it is used next. The soft limit that is raised is for programs that use `select`.
pub fn keep_more_open(most: usize) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Missing is without limit.
        let wanted = maximum.unwrap_or(u64::MAX).min(4 * most as u64).max(current.unwrap_or(u64::MAX));
        // Where it is refused, what there is has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        let given = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(given / 4).unwrap_or(usize::MAX).min(most);
        OPEN_FILES.store(files.max(OPEN_FILES_MAX), Ordering::Relaxed);
    }
    #[cfg(not(unix))]
    {
        let _ = most;
    }
}

/// How many files queries beside a writer keep open, of the whole process; but no more than half of what the system lets it
/// have open. What is read beyond may be closed, and is then gone for the query if the writer removed it meanwhile.
pub const HELD_FILES_MAX: usize = 512;

/// How many are held.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// A file that stays open as long as this lives.
#[derive(Debug)]
pub struct HeldFile {
    /// The pool closes none that somebody else has.
    _file: Arc<File>,
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

fn held_max() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.and_then(|limit| usize::try_from(limit / 2).ok()).unwrap_or(usize::MAX).min(HELD_FILES_MAX)
    }
    #[cfg(not(unix))]
    {
        HELD_FILES_MAX
    }
}

/// Files that may be closed, in turn. One for the process, as the limit is.
static POOL: Mutex<VecDeque<Weak<PooledFile>>> = Mutex::new(VecDeque::new());

/// A file that may be closed and opened again between any two operations.
#[derive(Debug)]
pub(super) struct PooledFile {
    path: PathBuf,
    is_writable: bool,
    /// Which file it was at first: another one of its name is not taken for it.
    identity: Identity,
    slot: Mutex<Slot>,
    /// Was it used since the pool last looked?
    used: AtomicBool,
    me: Weak<PooledFile>,
}

#[derive(Debug)]
struct Slot {
    file: Option<Arc<File>>,
    /// It may not be closed.
    pinned: bool,
    /// Something was written since the last sync.
    dirty: bool,
    /// A sync that the pool tried before closing failed.
    failed: Option<io::Error>,
}

type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &File) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}
#[cfg(not(unix))]
fn identity(_: &File) -> io::Result<Identity> {
    Ok((0, 0))
}

fn is_out_of_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        let errno = rustix::io::Errno::from_io_error(error);
        matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// Opens a file; where the process has too many, closes those that stand idle and tries again.
pub(super) fn with_room(mut open: impl FnMut() -> io::Result<File>) -> io::Result<File> {
    match open() {
        Err(e) if is_out_of_files(&e) => {
            make_room(0);
            open()
        }
        other => other,
    }
}

fn open(path: &Path, is_writable: bool) -> io::Result<File> {
    with_room(|| OpenOptions::new().read(true).write(is_writable).open(path))
}

/// Closes files that nobody has used for the longest, until at most so many stay open.
fn make_room(files_max: usize) {
    let pool = || POOL.lock().unwrap_or_else(|e| e.into_inner());
    // Twice around: the first time finds who was used lately.
    let rounds = 2 * pool().len();
    for _ in 0..rounds {
        let next = {
            let mut pool = pool();
            if pool.len() <= files_max {
                return;
            }
            pool.pop_front()
        };
        let Some(file) = next.and_then(|file| file.upgrade()) else { continue };
        // Not under the pool's lock: this may sync.
        if file.used.swap(false, Ordering::Relaxed) || !file.close() {
            pool().push_back(Arc::downgrade(&file));
        }
    }
}

impl PooledFile {
    /// Opens a file that exists.
    pub(super) fn open(path: &Path, is_writable: bool) -> io::Result<Arc<Self>> {
        let file = open(path, is_writable)?;
        let made = Self::new(file, path, is_writable, false)?;
        made.register();
        Ok(made)
    }

    /// A file that stays open until it is dropped.
    pub(super) fn pinned(file: File, path: &Path) -> Arc<Self> {
        let slot = Slot { file: Some(Arc::new(file)), pinned: true, dirty: false, failed: None };
        Self::with_slot(slot, path, true, (0, 0))
    }

    fn new(file: File, path: &Path, is_writable: bool, pinned: bool) -> io::Result<Arc<Self>> {
        let identity = identity(&file)?;
        let slot = Slot { file: Some(Arc::new(file)), pinned, dirty: false, failed: None };
        Ok(Self::with_slot(slot, path, is_writable, identity))
    }

    fn with_slot(slot: Slot, path: &Path, is_writable: bool, identity: Identity) -> Arc<Self> {
        Arc::new_cyclic(|me| PooledFile {
            path: path.to_path_buf(),
            is_writable,
            identity,
            slot: Mutex::new(slot),
            used: AtomicBool::new(true),
            me: me.clone(),
        })
    }

    fn register(&self) {
        let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
        pool.push_back(self.me.clone());
        let most = OPEN_FILES.load(Ordering::Relaxed);
        let is_over = pool.len() > most;
        drop(pool);
        if is_over {
            make_room(most);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error of an operation, with the file's name.
    pub(super) fn fail<T>(&self, op: &'static str, result: io::Result<T>) -> Result<T, StorageError> {
        result.map_err(|e| StorageError::io(op, &self.path, e))
    }

    /// The file, open. While the result is held it is not closed.
    fn opened(&self, dirty: bool) -> io::Result<Arc<File>> {
        self.used.store(true, Ordering::Relaxed);
        let mut slot = self.slot();
        slot.dirty |= dirty;
        if let Some(file) = &slot.file {
            return Ok(file.clone());
        }
        // Room is made by who opened it: the pool must not be asked while the slot is held.
        let file = OpenOptions::new().read(true).write(self.is_writable).open(&self.path);
        let file = match file {
            Err(e) if is_out_of_files(&e) => {
                drop(slot);
                make_room(0);
                slot = self.slot();
                if let Some(file) = &slot.file {
                    return Ok(file.clone());
                }
                OpenOptions::new().read(true).write(self.is_writable).open(&self.path)?
            }
            other => other?,
        };
        if identity(&file)? != self.identity {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name now"));
        }
        let file = Arc::new(file);
        slot.file = Some(file.clone());
        drop(slot);
        self.register();
        Ok(file)
    }

    pub(super) fn reading(&self) -> io::Result<Arc<File>> {
        self.opened(false)
    }

    /// See [`super::VfsFile::hold`].
    pub(super) fn hold(&self) -> io::Result<Option<HeldFile>> {
        if HELD.fetch_add(1, Ordering::Relaxed) >= held_max() {
            HELD.fetch_sub(1, Ordering::Relaxed);
            return Ok(None);
        }
        match self.reading() {
            Ok(_file) => Ok(Some(HeldFile { _file })),
            Err(error) => {
                HELD.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    pub(super) fn writing(&self) -> io::Result<Arc<File>> {
        self.opened(true)
    }

    /// Makes contents and length durable; nothing to do where that was done when it was closed.
    pub(super) fn sync(&self) -> io::Result<()> {
        let file = {
            let mut slot = self.slot();
            if let Some(error) = slot.failed.take() {
                return Err(error);
            }
            if slot.file.is_none() && !slot.dirty {
                return Ok(());
            }
            drop(slot);
            self.opened(false)?
        };
        // Before the sync: what is written beside it may not be in it.
        let was_dirty = std::mem::replace(&mut self.slot().dirty, false);
        // fdatasync also writes the length where it changed; on macOS std issues F_FULLFSYNC.
        file.sync_data().inspect_err(|_| self.slot().dirty |= was_dirty)
    }

    /// Closes it, unless somebody uses it or what was written can't be made durable.
    fn close(&self) -> bool {
        let mut slot = self.slot();
        if slot.pinned || slot.failed.is_some() {
            return false;
        }
        let Some(file) = &slot.file else { return true };
        if Arc::strong_count(file) > 1 {
            return false;
        }
        if slot.dirty
            && let Err(error) = file.sync_data()
        {
            // The writer is told by its next sync, as if that had failed.
            slot.failed = Some(error);
            return false;
        }
        slot.dirty = false;
        slot.file = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RealVfs, Vfs};
    use super::*;

    #[test]
    fn more_files_than_may_stay_open_are_read_and_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |n: usize| dir.path().join(n.to_string());
        let count = OPEN_FILES_MAX + 100;
        let files: Vec<_> = (0..count)
            .map(|n| {
                std::fs::write(path(n), format!("file {n}")).expect("written");
                RealVfs.open_write(&path(n)).expect("opened")
            })
            .collect();
        for round in 0..2 {
            for (n, file) in files.iter().enumerate() {
                let mut bytes = vec![0; 100];
                let got = file.read_at(0, &mut bytes).expect("read");
                let more = if round == 0 { String::new() } else { " again".into() };
                assert_eq!(String::from_utf8_lossy(&bytes[..got]), format!("file {n}{more}"));
                if round == 0 {
                    file.write_all_at(got as u64, b" again").expect("written");
                }
                // Half of them stay unsynced: closing sees to it.
                if n % 2 == 0 {
                    file.sync().expect("synced");
                }
            }
        }
        // Where the system does not tell, all are read and written all the same.
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            let names = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
            let open = names.filter(|name| name.starts_with(dir.path())).count();
            assert!((1..=OPEN_FILES_MAX).contains(&open), "{open}");
        }
    }

    #[test]
    fn a_file_that_is_held_is_read_when_its_name_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |n: usize| dir.path().join(n.to_string());
        let open = |n: usize| {
            std::fs::write(path(n), format!("file {n}")).expect("written");
            PooledFile::open(&path(n), false).expect("opened")
        };
        let (one, other) = (open(0), open(1));
        let held = one.hold().expect("open").expect("few are held");
        let more: Vec<_> = (2..OPEN_FILES_MAX + 100).map(open).collect();
        assert!(!one.close() && other.close());
        (0..2).for_each(|n| std::fs::remove_file(path(n)).expect("removed"));
        assert!(one.reading().is_ok() && other.reading().is_err());
        drop(held);
        assert!(one.close() && one.reading().is_err());
        // So many, and then it is for each to see.
        let mut held: Vec<_> = more.iter().cycle().map_while(|file| file.hold().expect("open")).collect();
        assert!(!held.is_empty() && held.len() <= HELD_FILES_MAX, "{}", held.len());
        held.pop();
        assert!(more[0].hold().expect("open").is_some());
    }

    #[test]
    fn another_file_of_the_name_is_not_taken_for_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a");
        std::fs::write(&path, b"one").expect("written");
        let file = PooledFile::open(&path, false).expect("opened");
        assert!(file.close());
        assert!(file.reading().is_ok());
        assert!(file.close());
        std::fs::write(dir.path().join("b"), b"two").expect("written");
        std::fs::rename(dir.path().join("b"), &path).expect("renamed");
        assert_eq!(file.reading().map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
    }
}
