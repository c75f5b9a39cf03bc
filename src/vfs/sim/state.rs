//! The disk, what runs on it, and every operation as one step that a crash may come in.

use super::content::{Change, Content, Inode};
use super::fault::Faults;
use super::tree::{NameChange, Node, Place, ROOT, Tree, names, names_after_crash, sync_names};
use super::{SimOp, SimRandom, SyncSkip};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, Inode>,
    pub(super) live: Tree,
    durable: Tree,
    name_changes: Vec<NameChange>,
    /// The highest number of a file or folder.
    last_number: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) is_down: bool,
    pub(super) syncs: u64,
    pub(super) skips: Option<SyncSkip>,
    pub(super) sync_takes: Duration,
    pub(super) space_bytes: Option<u64>,
    pub(super) faults: Faults,
    pub(super) short: bool,
    pub(super) orderly: Option<fn(&Path) -> bool>,
    pub(super) flip: Option<(PathBuf, u64)>,
    pub(super) flip_once: Option<(PathBuf, u64)>,
    pub(super) random: SimRandom,
}

fn crash() -> io::Error {
    io::Error::other("simulated crash")
}

impl State {
    pub(super) fn used_bytes(&self) -> u64 {
        self.live.files().iter().filter_map(|(_, n)| self.files.get(n)).map(|inode| inode.live.len() as u64).sum()
    }

    pub(super) fn up(&self) -> io::Result<()> {
        if self.is_down { Err(crash()) } else { Ok(()) }
    }

    /// Counts an operation; true where the crash happens in it.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        self.up()?;
        self.operations += 1;
        self.is_down = self.crash_at.is_some_and(|at| self.operations >= at);
        Ok(self.is_down)
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn room(&self) -> u64 {
        self.space_bytes.map_or(u64::MAX, |space| space.saturating_sub(self.used_bytes()))
    }

    /// Does a change to a file, as far as there is room: says how much of it, in bytes of growth or of the write.
    pub(super) fn change(&mut self, number: u64, path: &Path, change: Change) -> io::Result<usize> {
        let crashed = self.step()?;
        let fault = self.faults.take(SimOp::Write, path);
        let len = self.files.get(&number).map_or(0, |inode| inode.live.len());
        let growth = change.len_after(len).saturating_sub(len);
        let room = if growth == 0 { 0 } else { usize::try_from(self.room()).unwrap_or(usize::MAX) };
        let is_full = growth > room;
        let mut may = match &change {
            Change::Write(_, data) => data.len() - growth.saturating_sub(room).min(data.len()),
            _ => usize::MAX,
        };
        if fault.is_err() {
            // What failed may be done in part.
            may = if self.random.coin() { may.min(self.random.index(may.saturating_add(1))) } else { 0 };
        } else if self.short && may > 1 {
            may = may.min(1 + self.random.index(may));
        }
        let (done, change) = match change {
            Change::Write(at, data) if may < data.len() => (may, Change::Write(at, data[..may].into())),
            Change::Write(at, data) => (data.len(), Change::Write(at, data)),
            // Room is reserved piece by piece: what was reserved before there was none stays.
            Change::Grow(_) if is_full && self.random.coin() => (0, Change::Grow(len + room)),
            Change::Grow(_) | Change::SetLen(_) if is_full || fault.is_err() => (0, Change::Grow(0)),
            change => (0, change),
        };
        let Some(inode) = self.files.get_mut(&number) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        change.apply(&mut inode.live);
        inode.unsynced.push(change);
        fault?;
        match () {
            () if crashed => Err(crash()),
            () if is_full && done == 0 => Err(io::ErrorKind::StorageFull.into()),
            () => Ok(done),
        }
    }

    pub(super) fn sync(&mut self, number: u64, path: &Path) -> io::Result<()> {
        self.syncs += 1;
        let crashed = self.step()?;
        let fault = self.faults.take(SimOp::Sync, path);
        let skipped = self.skips.is_some_and(|skips| skips(SimOp::Sync, path));
        if let Some(inode) = self.files.get_mut(&number) {
            match fault {
                Err(e) => {
                    inode.failed_sync(&mut self.random, self.orderly.is_some_and(|is| is(path)));
                    return Err(e);
                }
                // A crash in a sync leaves it to chance what got there.
                Ok(()) if crashed => return Err(crash()),
                Ok(()) if skipped => {}
                Ok(()) => inode.sync(),
            }
        }
        Ok(())
    }

    fn rename_change(&mut self, change: NameChange, op: SimOp, path: &Path) -> io::Result<()> {
        let crashed = self.step()?;
        self.faults.take_path(op, path)?;
        change.apply(&mut self.live);
        self.name_changes.push(change);
        if crashed { Err(crash()) } else { Ok(()) }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        let to = self.live.place(path)?;
        if self.live.at(&to).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.room() == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = self.next_number();
        self.files.insert(number, Inode::default());
        let change = NameChange { node: Node::File(number), from: None, to: Some(to) };
        self.rename_change(change, SimOp::Create, path)?;
        Ok(number)
    }

    /// Makes a folder and those above. One right below the root stands for a disk that was there before: it is durable.
    pub(super) fn create_folders(&mut self, path: &Path) -> io::Result<()> {
        self.up()?;
        let (mut folder, mut so_far) = (ROOT, PathBuf::from("/"));
        for name in names(path) {
            so_far.push(&name);
            let to: Place = (folder, name);
            folder = match self.live.at(&to) {
                Some(Node::Folder(found)) => found,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let number = self.next_number();
                    let is_disk = folder == ROOT;
                    let change = NameChange { node: Node::Folder(number), from: None, to: Some(to) };
                    if is_disk {
                        change.apply(&mut self.live);
                        change.apply(&mut self.durable);
                    } else if self.room() == 0 {
                        return Err(io::ErrorKind::StorageFull.into());
                    } else {
                        self.rename_change(change, SimOp::CreateDir, &so_far)?;
                    }
                    number
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.up()?;
        let node = Node::File(self.live.file(from)?);
        let (from_place, to_place) = (self.live.place(from)?, self.live.place(to)?);
        if let Some(Node::Folder(_)) = self.live.at(&to_place) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let change = NameChange { node, from: Some(from_place), to: Some(to_place) };
        self.rename_change(change, SimOp::Rename, from)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.up()?;
        let node = Node::File(self.live.file(path)?);
        let from = Some(self.live.place(path)?);
        self.rename_change(NameChange { node, from, to: None }, SimOp::Remove, path)
    }

    /// Removes a folder with all in it, one name after another.
    pub(super) fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        self.up()?;
        let folder = self.live.folder(path)?;
        let entries: Vec<(String, Node)> = self.live.entries(folder).map(|(name, node)| (name.clone(), node)).collect();
        for (name, node) in entries {
            let below = path.join(&name);
            match node {
                Node::Folder(_) => self.remove_all(&below)?,
                Node::File(_) => {
                    let change = NameChange { node, from: Some((folder, name)), to: None };
                    self.rename_change(change, SimOp::Remove, &below)?;
                }
            }
        }
        let from = Some(self.live.place(path)?);
        self.rename_change(NameChange { node: Node::Folder(folder), from, to: None }, SimOp::Remove, path)
    }

    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let crashed = self.step()?;
        self.faults.take_path(SimOp::SyncDir, path)?;
        let folder = self.live.folder(path)?;
        if crashed {
            return Err(crash());
        }
        if !self.skips.is_some_and(|skips| skips(SimOp::SyncDir, path)) {
            sync_names(&mut self.name_changes, folder, &mut self.durable);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, number: u64, path: &Path, at: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.up()?;
        self.faults.take(SimOp::Read, path)?;
        let mut most = buffer.len();
        if self.short && most > 1 {
            if self.random.below(8) == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            most = 1 + self.random.index(most);
        }
        let buffer = &mut buffer[..most];
        let n = self.files.get(&number).map_or(0, |inode| inode.live.read(at, buffer));
        let flips = |flip: &Option<(PathBuf, u64)>| {
            let (_, bit) = flip.as_ref().filter(|(of, _)| of == path)?;
            let place = usize::try_from(bit / 8).ok()?.checked_sub(at).filter(|place| *place < n)?;
            Some((place, 1 << (bit % 8)))
        };
        let (steady, once) = (flips(&self.flip), flips(&self.flip_once));
        if once.is_some() {
            self.flip_once = None;
        }
        for (place, bit) in steady.into_iter().chain(once) {
            buffer[place] ^= bit;
        }
        Ok(n)
    }

    /// Puts bytes in the place of a file's, durably.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let to = self.live.place(path)?;
        let number = self.next_number();
        let content = Content::of(bytes);
        self.files.insert(number, Inode { durable: content.clone(), live: content, unsynced: Vec::new() });
        let change = NameChange { node: Node::File(number), from: None, to: Some(to) };
        // Whatever was to become of the name before, this is what it stands for.
        self.name_changes.retain(|c| c.from != change.to && c.to != change.to);
        change.apply(&mut self.live);
        change.apply(&mut self.durable);
        Ok(())
    }

    /// The same disk, on which nothing runs and nothing fails.
    pub(super) fn after_kill(&self) -> State {
        State {
            files: self.files.clone(),
            live: self.live.clone(),
            durable: self.durable.clone(),
            name_changes: self.name_changes.clone(),
            last_number: self.last_number,
            skips: self.skips,
            orderly: self.orderly,
            random: self.random.clone(),
            ..State::default()
        }
    }

    /// The disk as it is after the power went and came back.
    pub(super) fn after_crash(&self, seed: u64) -> State {
        let mut random = SimRandom(seed);
        let tree = names_after_crash(&self.durable, &self.name_changes, &mut random);
        let others: Vec<&Inode> = self.files.values().collect();
        let mut files = BTreeMap::new();
        for (path, number) in tree.files() {
            let Some(inode) = self.files.get(&number) else { continue };
            // Each file has chances of its own, whatever the others are called.
            let mut random = SimRandom(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
            let stale = &others[random.index(others.len())].live;
            let content = inode.after_crash(&mut random, stale, self.orderly.is_some_and(|is| is(&path)));
            files.insert(number, Inode { durable: content.clone(), live: content, unsynced: Vec::new() });
        }
        State {
            files,
            live: tree.clone(),
            durable: tree,
            last_number: self.last_number,
            skips: self.skips,
            orderly: self.orderly,
            random,
            ..State::default()
        }
    }
}
