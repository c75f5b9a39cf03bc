//! A file system in memory that crashes, fills up and fails on request, the same way for the same seed.
//!
//! Promises: what it does a disk may do, and of what a disk may do it leaves out as little as it can. What is written
//! is seen at once, and durable only after a sync: of a file for its bytes and length, of a folder for the names in it.
//! May not know: what the bytes mean.
//!
//! # What a loss of power may leave
//!
//! POSIX says of `fsync` that it makes a file durable, and nothing of what is there without. What file systems do is
//! in Pillai et al., *All File Systems Are Not Created Equal* (OSDI 2014), whose model of persistence this follows.
//! [`SimVfs::after_crash`] chooses for each file by itself, so that nothing is ordered between files:
//!
//! - *Writes that were not synced*: none, those up to some moment, any of them, any 512-byte sectors of any of them, a
//!   range of bytes of any of them (a disk promises a sector as a whole; checksums make do with less), or all. They
//!   do not change places where they overlap: there is one page cache.
//! - *Length*: may be there without the bytes. They read as zeros, or as what another file once had there (ext4 with
//!   `data=writeback`, and what the paper calls a lack of content atomicity of appends).
//! - *Names*: making, renaming and removing files and folders may have happened or not: none, all, those up to some
//!   moment (the journals of ext4 and XFS), or any of them, but for each file or folder its own in their order, since
//!   it has one inode (Btrfs reorders names). A rename is one step on all of them. A file that was synced may have no
//!   name; a folder that was synced may itself have none in the folder above.
//! - A folder right below the root stands for a mounted disk, and stays.
//!
//! [`SimVfs::after_kill`] keeps all that was written: the system goes on. A later loss of power may take it.
//!
//! # Failures
//!
//! [`SimVfs::inject`] takes a [`SimFault`]. A write that fails may be done in part. After a failed sync of a file any
//! part of what was unsynced is on the disk; what is not is never written again, and the file reads as the program
//! wrote it (ext4, XFS) or as the disk has it (Btrfs), as in Rebello et al., *Can Applications Recover from fsync
//! Failures?* (ATC 2020). Without room, a write is short and the next one fails. [`SimVfs::short`] makes reads and
//! writes short that need not be, and interrupts some, as POSIX permits.

mod content;
mod fault;
mod files;
mod random;
mod state;
mod tree;

#[cfg(test)]
mod tests;

pub use fault::{SIM_OPS, SimFault, SimOp};
pub use random::SimRandom;

use state::State;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Says of a sync, of a file or of a folder, whether it is left out.
pub type SyncSkip = fn(SimOp, &Path) -> bool;

/// The simulated file system. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct SimVfs {
    state: Arc<Mutex<State>>,
}

impl SimVfs {
    /// An empty file system.
    pub fn new() -> Self {
        SimVfs::default()
    }

    /// An empty one, whose chances are this seed's.
    pub fn seeded(seed: u64) -> Self {
        let vfs = SimVfs::default();
        vfs.state().random = SimRandom(seed);
        vfs
    }

    fn of(state: State) -> Self {
        SimVfs { state: Arc::new(Mutex::new(state)) }
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
        self.skip_syncs(lie.then_some(|op, _| op == SimOp::Sync));
    }

    /// Makes these syncs, of files ([`SimOp::Sync`]) and of folders ([`SimOp::SyncDir`]), do nothing.
    pub fn skip_syncs(&self, which: Option<SyncSkip>) {
        self.state().skips = which;
    }

    /// Room for this many bytes in all files; `None` for no limit. Where there is none left, no file can be made.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space_bytes = bytes;
    }

    /// Bytes in all files.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// The next `count` operations of this kind fail with an error that is not about space.
    pub fn fail(&self, op: SimOp, count: u64) {
        self.inject(SimFault::new(op).times(count));
    }

    /// Plans a fault.
    pub fn inject(&self, fault: SimFault) {
        self.state().faults.planned.push(fault);
    }

    /// Takes back what [`SimVfs::fail`] and [`SimVfs::inject`] asked for.
    pub fn heal(&self) {
        self.state().faults.planned.clear();
    }

    /// How many operations failed by what was asked for; a crash does not count.
    pub fn faults(&self) -> u64 {
        self.state().faults.failed
    }

    /// Refuses or permits what is below a path, as the permissions of a folder or file do. What is open stays open.
    pub fn refuse(&self, path: &Path, refuse: bool) {
        let refused = &mut self.state().faults.refused;
        refused.retain(|other| other != path);
        if refuse {
            refused.push(path.to_path_buf());
        }
    }

    /// Makes every change an error, as on a disk that was mounted read-only after an error, or permits them again.
    pub fn read_only(&self, read_only: bool) {
        self.state().faults.read_only = read_only;
    }

    /// Makes reads and writes shorter than was asked for, and interrupts some.
    pub fn short(&self, short: bool) {
        self.state().short = short;
    }

    /// Makes a loss of power tear writes to these files only between sectors, and show zeros where nothing was written, as
    /// ext4 with `data=ordered` and XFS do on a disk that keeps its word.
    pub fn orderly(&self, which: fn(&Path) -> bool) {
        self.state().orderly = Some(which);
    }

    /// From now on this bit of the file, counted from its beginning, reads flipped; `None` for none.
    pub fn flip_bit(&self, flip: Option<(&Path, u64)>) {
        self.state().flip = flip.map(|(path, bit)| (path.to_path_buf(), bit));
    }

    /// The next read of this bit of the file reads it flipped, and no further one.
    pub fn flip_bit_once(&self, path: &Path, bit: u64) {
        self.state().flip_once = Some((path.to_path_buf(), bit));
    }

    /// Flips a bit of a file on the disk; false where there is no such bit.
    pub fn damage(&self, path: &Path, bit: u64) -> bool {
        let mut state = self.state();
        let Some(inode) = state.live.file(path).ok().and_then(|n| state.files.get_mut(&n)) else { return false };
        inode.durable.flip(bit);
        inode.live.flip(bit)
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().live.files().into_iter().map(|(path, _)| path).collect()
    }

    /// What is in a file, whatever fails or is refused.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let number = state.live.file(path).ok()?;
        let content = &state.files.get(&number)?.live;
        let mut bytes = vec![0; content.len()];
        content.read(0, &mut bytes);
        Some(bytes)
    }

    /// Puts bytes in the place of a file's, durably. Does nothing where there is no such folder.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let _: io::Result<()> = self.state().put(path, bytes);
    }

    /// A copy as a killed process leaves it: everything written is there.
    pub fn after_kill(&self) -> SimVfs {
        SimVfs::of(self.state().after_kill())
    }

    /// A copy as a loss of power leaves it: what was not synced is there, torn, or lost, by the seed.
    pub fn after_crash(&self, seed: u64) -> SimVfs {
        SimVfs::of(self.state().after_crash(seed))
    }
}
