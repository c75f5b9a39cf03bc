//! A file system in memory that crashes, fills up and fails on request, the same way for the same seed.
//!
//! What is written is seen at once and durable only after a sync: of a file for its bytes and length, of a folder for
//! the names in it. [`SimVfs::after_crash`] keeps some of the rest: whole writes or some of their sectors, in any
//! order. Folders themselves are durable at once.

use super::{DirEntry, Lock, LockError, Vfs, VfsFile};
use crate::error::StorageError;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a crash may keep of a write by halves, in bytes.
const SECTOR_BYTES: usize = 512;

/// The simulated file system. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct SimVfs {
    state: Arc<Mutex<State>>,
}

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimOp {
    /// Reading from a file.
    Read,
    /// Writing to a file, or setting its length.
    Write,
    /// Syncing a file.
    Sync,
    /// Making a file.
    Create,
    /// Renaming a file.
    Rename,
    /// Syncing a folder.
    SyncDir,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    durable: Vec<u8>,
    live: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    name_changes: Vec<NameChange>,
    folders: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    crash_at: Option<u64>,
    is_down: bool,
    syncs: u64,
    syncs_lie: bool,
    sync_takes: Duration,
    space_bytes: Option<u64>,
    faults: Vec<(SimOp, u64)>,
    flip: Option<(PathBuf, u64)>,
}

/// A small generator (SplitMix64), so that a seed gives the same crash everywhere.
#[derive(Clone, Debug)]
pub struct SimRandom(pub u64);

impl SimRandom {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n.max(1)
    }
    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
            Change::SetLen(len) => bytes.resize(*len, 0),
        }
    }

    fn apply_torn(&self, bytes: &mut Vec<u8>, random: &mut SimRandom) {
        let Change::Write(at, data) = self else { return self.apply(bytes) };
        let mut from = 0;
        while from < data.len() {
            let to = ((at + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at).min(data.len());
            if random.coin() {
                Change::Write(at + from, data[from..to].to_vec()).apply(bytes);
            }
            from = to;
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            NameChange::Unlink(path) => drop(names.remove(path)),
            NameChange::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn is_in(&self, folder: &Path) -> bool {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) => path.parent() == Some(folder),
            NameChange::Rename(from, to, _) => from.parent() == Some(folder) || to.parent() == Some(folder),
        }
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.live.len() as u64).sum()
    }

    fn up(&self) -> io::Result<()> {
        if self.is_down { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    /// Takes a fault that was asked for.
    fn fault(&mut self, op: SimOp) -> io::Result<()> {
        let Some(fault) = self.faults.iter_mut().find(|(which, count)| *which == op && *count > 0) else {
            return Ok(());
        };
        fault.1 -= 1;
        Err(io::Error::other("simulated fault"))
    }

    /// Counts an operation; true where the crash happens in it.
    fn step(&mut self) -> io::Result<bool> {
        self.up()?;
        self.operations += 1;
        self.is_down = self.crash_at.is_some_and(|at| self.operations >= at);
        Ok(self.is_down)
    }

    fn change(&mut self, inode: u64, change: Change) -> io::Result<()> {
        let crashed = self.step()?;
        self.fault(SimOp::Write)?;
        let len = self.inodes.get(&inode).map_or(0, |inode| inode.live.len());
        let len_after = match &change {
            Change::Write(at, data) => len.max(at + data.len()),
            Change::SetLen(len) => *len,
        };
        let growth = len_after.saturating_sub(len) as u64;
        let is_full = growth > 0 && self.space_bytes.is_some_and(|space| self.used_bytes() + growth > space);
        let Some(inode) = self.inodes.get_mut(&inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // A write to a full device is done in part.
        let change = match change {
            Change::Write(at, data) if is_full => Change::Write(at, data[..data.len() / 2].to_vec()),
            change => change,
        };
        if !is_full || matches!(change, Change::Write(..)) {
            change.apply(&mut inode.live);
            inode.unsynced.push(change);
        }
        match (is_full, crashed) {
            (true, _) => Err(io::ErrorKind::StorageFull.into()),
            (_, true) => Err(io::Error::other("simulated crash")),
            _ => Ok(()),
        }
    }

    fn rename_change(&mut self, change: NameChange, op: Option<SimOp>) -> io::Result<()> {
        let crashed = self.step()?;
        if let Some(op) = op {
            self.fault(op)?;
        }
        change.apply(&mut self.names);
        self.name_changes.push(change);
        if crashed { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.syncs += 1;
        let crashed = self.step()?;
        self.fault(SimOp::Sync)?;
        // A crash in a sync leaves it to chance what got there.
        if crashed {
            return Err(io::Error::other("simulated crash"));
        }
        if !self.syncs_lie
            && let Some(inode) = self.inodes.get_mut(&inode)
        {
            inode.durable.clone_from(&inode.live);
            inode.unsynced.clear();
        }
        Ok(())
    }
}

impl SimVfs {
    /// An empty file system.
    pub fn new() -> Self {
        SimVfs::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the `n`-th changing operation on, counted from now and from 1, everything fails; that one may be done in
    /// part.
    pub fn crash_at(&self, n: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.operations + n);
    }

    /// Changing operations so far: writes, syncs, and changes of names.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Has it crashed?
    pub fn is_down(&self) -> bool {
        self.state().is_down
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Makes each sync of a file take this long.
    pub fn sync_takes(&self, time: Duration) {
        self.state().sync_takes = time;
    }

    /// Makes syncs of files do nothing: the bug that crash tests must find.
    pub fn syncs_lie(&self, lie: bool) {
        self.state().syncs_lie = lie;
    }

    /// Room for this many bytes in all files; `None` for no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space_bytes = bytes;
    }

    /// Bytes in all files.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// The next `count` operations of this kind fail with an error that is not about space.
    pub fn fail(&self, op: SimOp, count: u64) {
        self.state().faults.push((op, count));
    }

    /// Takes back what [`SimVfs::fail`] asked for.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// From now on this bit of the file, counted from its beginning, reads flipped; `None` for none.
    pub fn flip_bit(&self, flip: Option<(&Path, u64)>) {
        self.state().flip = flip.map(|(path, bit)| (path.to_path_buf(), bit));
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Puts bytes in the place of a file's, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let next = state.inodes.last_key_value().map_or(1, |(inode, _)| inode + 1);
        state.inodes.insert(next, Inode { durable: bytes.to_vec(), live: bytes.to_vec(), unsynced: Vec::new() });
        state.names.insert(path.to_path_buf(), next);
        state.durable_names.insert(path.to_path_buf(), next);
    }

    /// A copy as a killed process leaves it: everything written is there.
    pub fn after_kill(&self) -> SimVfs {
        let from = self.state();
        let state = State {
            inodes: from.inodes.clone(),
            names: from.names.clone(),
            durable_names: from.durable_names.clone(),
            name_changes: from.name_changes.clone(),
            folders: from.folders.clone(),
            syncs_lie: from.syncs_lie,
            ..State::default()
        };
        SimVfs { state: Arc::new(Mutex::new(state)) }
    }

    /// A copy as a loss of power leaves it: what was not synced is there, torn, or lost, by the seed.
    pub fn after_crash(&self, seed: u64) -> SimVfs {
        let from = self.state();
        let mut random = SimRandom(seed);
        let mut names = from.durable_names.clone();
        let in_order = random.coin();
        let kept_names = random.below(from.name_changes.len() as u64 + 1);
        for (n, change) in from.name_changes.iter().enumerate() {
            if if in_order { (n as u64) < kept_names } else { random.coin() } {
                change.apply(&mut names);
            }
        }
        let mut inodes = BTreeMap::new();
        for (number, inode) in &from.inodes {
            let mut bytes = inode.durable.clone();
            let how = random.below(4);
            let kept = random.below(inode.unsynced.len() as u64 + 1);
            for (n, change) in inode.unsynced.iter().enumerate() {
                match how {
                    0 => {}
                    1 if (n as u64) < kept => change.apply(&mut bytes),
                    2 if random.coin() => change.apply(&mut bytes),
                    3 if random.coin() => change.apply_torn(&mut bytes, &mut random),
                    _ => {}
                }
            }
            inodes.insert(*number, Inode { durable: bytes.clone(), live: bytes, unsynced: Vec::new() });
        }
        let durable_names = names.clone();
        let state = State {
            inodes,
            names,
            durable_names,
            folders: from.folders.clone(),
            syncs_lie: from.syncs_lie,
            ..State::default()
        };
        SimVfs { state: Arc::new(Mutex::new(state)) }
    }

    fn open_file(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        let state = self.state();
        let found = state.up().and_then(|()| state.names.get(path).ok_or(io::ErrorKind::NotFound.into()).copied());
        let inode = found.map_err(|e| StorageError::io("open", path, e))?;
        Ok(Arc::new(SimFile { vfs: self.clone(), inode, path: path.to_path_buf() }))
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.open_file(path)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.open_file(path)
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        let mut state = self.state();
        let fail = |e| StorageError::io("create", path, e);
        if state.names.contains_key(path) {
            return Err(fail(io::ErrorKind::AlreadyExists.into()));
        }
        if !path.parent().is_some_and(|parent| state.folders.contains(parent)) {
            return Err(fail(io::ErrorKind::NotFound.into()));
        }
        let inode = state.inodes.last_key_value().map_or(1, |(inode, _)| inode + 1);
        state.rename_change(NameChange::Link(path.to_path_buf(), inode), Some(SimOp::Create)).map_err(fail)?;
        state.inodes.insert(inode, Inode::default());
        Ok(Arc::new(SimFile { vfs: self.clone(), inode, path: path.to_path_buf() }))
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        state.up().map_err(|e| StorageError::io("create folder", path, e))?;
        state.folders.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, StorageError> {
        let state = self.state();
        state.up().map_err(|e| StorageError::io("list folder", path, e))?;
        if !state.folders.contains(path) {
            return Err(StorageError::io("list folder", path, io::ErrorKind::NotFound.into()));
        }
        let entry = |path: &Path, is_dir| {
            path.file_name().map(|name| DirEntry { name: name.to_string_lossy().into_owned(), is_dir })
        };
        let files = state.names.keys().filter(|file| file.parent() == Some(path)).filter_map(|f| entry(f, false));
        let folders = state.folders.iter().filter(|file| file.parent() == Some(path)).filter_map(|f| entry(f, true));
        let mut entries: Vec<DirEntry> = files.chain(folders).collect();
        entries.sort();
        Ok(entries)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        let fail = |e| StorageError::io("rename", from, e);
        let inode = state.names.get(from).copied().ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf(), inode);
        state.rename_change(change, Some(SimOp::Rename)).map_err(fail)
    }
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        let fail = |e| StorageError::io("remove", path, e);
        if !state.names.contains_key(path) {
            return Err(fail(io::ErrorKind::NotFound.into()));
        }
        state.rename_change(NameChange::Unlink(path.to_path_buf()), None).map_err(fail)
    }
    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        state.step().map_err(|e| StorageError::io("remove folder", path, e))?;
        state.folders.retain(|folder| !folder.starts_with(path));
        state.names.retain(|file, _| !file.starts_with(path));
        state.durable_names.retain(|file, _| !file.starts_with(path));
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        let fail = |e| StorageError::io("sync folder", path, e);
        let crashed = state.step().map_err(fail)?;
        state.fault(SimOp::SyncDir).map_err(fail)?;
        if crashed {
            return Err(fail(io::Error::other("simulated crash")));
        }
        let (synced, rest) = std::mem::take(&mut state.name_changes).into_iter().partition(|c| c.is_in(path));
        state.name_changes = rest;
        let synced: Vec<NameChange> = synced;
        synced.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }
    fn lock(&self, path: &Path) -> Result<Lock, LockError> {
        if !self.state().locks.insert(path.to_path_buf()) {
            return Err(LockError::Held { path: path.to_path_buf(), pid: None });
        }
        let (vfs, path) = (self.clone(), path.to_path_buf());
        Ok(Lock { release: Some(Box::new(move || vfs.state().locks.retain(|held| *held != path))) })
    }
    fn exists(&self, path: &Path) -> Result<bool, StorageError> {
        let state = self.state();
        state.up().map_err(|e| StorageError::io("look for", path, e))?;
        Ok(state.names.contains_key(path) || state.folders.contains(path))
    }
}

#[derive(Debug)]
struct SimFile {
    vfs: SimVfs,
    inode: u64,
    path: PathBuf,
}

impl SimFile {
    fn fail(&self, op: &'static str) -> impl FnOnce(io::Error) -> StorageError {
        let path = self.path.clone();
        move |e| StorageError::io(op, &path, e)
    }
}

impl VfsFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn len(&self) -> Result<u64, StorageError> {
        let state = self.vfs.state();
        state.up().map_err(self.fail("read length"))?;
        Ok(state.inodes.get(&self.inode).map_or(0, |inode| inode.live.len() as u64))
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut state = self.vfs.state();
        state.up().and_then(|()| state.fault(SimOp::Read)).map_err(self.fail("read"))?;
        let live = state.inodes.get(&self.inode).map_or(&[][..], |inode| &inode.live);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(live.len());
        let some = &live[from..];
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        if let Some((_, bit)) = state.flip.as_ref().filter(|(path, _)| *path == self.path)
            && let Some(at) = (bit / 8).checked_sub(from as u64).filter(|at| *at < n as u64)
        {
            buffer[at as usize] ^= 1 << (bit % 8);
        }
        Ok(n)
    }
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let change = Change::Write(offset as usize, bytes.to_vec());
        self.vfs.state().change(self.inode, change).map_err(self.fail("write"))
    }
    fn allocate(&self, len: u64) -> Result<(), StorageError> {
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }
    fn set_len(&self, len: u64) -> Result<(), StorageError> {
        self.vfs.state().change(self.inode, Change::SetLen(len as usize)).map_err(self.fail("set length"))
    }
    fn sync(&self) -> Result<(), StorageError> {
        let takes = self.vfs.state().sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        self.vfs.state().sync(self.inode).map_err(self.fail("sync"))
    }
}
