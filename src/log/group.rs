//! The log as its owner sees it: group commit among the threads that append.

use super::file::ActiveFile;
use super::queue::{Append, Commit, Entry, Queue};
use super::recover::{Recovery, Replayed, path_of, plan};
use super::writer::Writer;
use super::{Ack, LogError, LogOptions, Prepared, ReadOnlyError};
use crate::error::StorageError;
use crate::format::header::LogHeader;
use crate::format::sealed::FileKind;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The append log of one tenant. Threads share it.
#[derive(Debug)]
pub struct Log {
    /// Taken only by whoever has the turn, so never waited for.
    writer: Mutex<Writer>,
    state: Mutex<State>,
    /// Told when a turn ends: for those who want one of their own.
    turns: Condvar,
    /// Told when batches were committed.
    commits: Condvar,
    /// Bytes in each file.
    files: Mutex<BTreeMap<LogId, u64>>,
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
}

#[derive(Debug)]
struct State {
    /// Does somebody write, or rotate, or commit?
    busy: bool,
    queue: Queue,
    next_ticket: u64,
    /// What came of the batches whose threads have not looked yet.
    results: HashMap<u64, Result<Seq, LogError>>,
    committed: Seq,
    durable: Seq,
    active: LogId,
    abandoned: Vec<LogId>,
    read_only: Option<ReadOnly>,
    closed: bool,
}

#[derive(Debug, Clone)]
struct ReadOnly {
    reason: String,
    /// Memory and log may differ, so that only opening anew helps.
    is_final: bool,
}

/// The right to write. Ends when dropped; where that is by a panic, the log takes no more.
struct Turn<'a> {
    log: &'a Log,
    /// Which batches it is for, and who waits for them.
    tickets: Vec<u64>,
    waiters: Vec<Arc<Condvar>>,
}

impl Turn<'_> {
    fn wake(&self) {
        self.waiters.iter().for_each(|waiter| waiter.notify_one());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.log.state();
        if std::thread::panicking() {
            let reason = "a commit panicked, so that memory may lack what the log holds".to_string();
            for ticket in &self.tickets {
                state.results.entry(*ticket).or_insert(Err(LogError::ReadOnly { reason: reason.clone() }));
            }
            state.read_only = Some(ReadOnly { reason, is_final: true });
            self.wake();
        }
        state.busy = false;
        // Who leads next.
        let next = state.queue.first();
        drop(state);
        if let Some(next) = next {
            next.notify_one();
        }
        self.log.turns.notify_all();
    }
}

impl State {
    fn new(last: Seq, active: LogId) -> Self {
        State {
            busy: false,
            queue: Queue::default(),
            next_ticket: 0,
            results: HashMap::new(),
            committed: last,
            durable: last,
            active,
            abandoned: Vec::new(),
            read_only: None,
            closed: false,
        }
    }

    fn check(&self) -> Result<(), LogError> {
        match &self.read_only {
            _ if self.closed => Err(LogError::Closed),
            Some(ReadOnly { reason, .. }) => Err(LogError::ReadOnly { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

impl Log {
    /// Opens the log in a folder, which is made where it is missing, and hands the batches above `sealed_below` to
    /// `batch`, in the order of their Seqs.
    ///
    /// Everything up to and with `sealed_below` is in segments; files with nothing else are removed. What a crash tore
    /// off is copied to `../quarantine`, cut off and reported. Damage to what was durable is an error, and then
    /// nothing was changed. Only one log may be open in a folder; the caller holds the store's lock.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: PathBuf,
        tenant: &TenantId,
        options: LogOptions,
        sealed_below: Seq,
        batch: &mut dyn FnMut(Replayed),
    ) -> Result<(Log, Recovery), StorageError> {
        let above = dir.parent().unwrap_or(Path::new(".")).to_path_buf();
        vfs.create_dir_all(&dir)?;
        let mut plan = plan(&*vfs, &dir, (tenant, &options.keys), sealed_below).map_err(|e| match e {
            ReadOnlyError::Moved(e) | ReadOnlyError::Storage(e) => e,
        })?;
        let newest = plan.kept.last().filter(|kept| kept.scan.chain.next == plan.next);
        // A mark is written after all before it was synced, and the file's name and folder before that; the mark itself
        // may be with the system only, and is written again below. So a log that was closed in order, or stood idle,
        // opens without a sync: a thousand tenants would wait for thousands.
        let is_settled = newest.is_some_and(|kept| kept.scan.chain.is_marked && kept.cut.is_none());
        if !is_settled {
            // Also where the folder was there: whoever made it may have ended before this.
            vfs.sync_dir(&above)?;
        }
        let last = Seq(plan.next.0 - 1);
        let files = plan.kept.len() as u64;
        let mut report = Recovery { files, last, durable: plan.durable, ..Recovery::default() };
        for kept in &mut plan.kept {
            report.batches += kept.replay(sealed_below, last, batch)?;
        }
        for kept in &mut plan.kept {
            report.cuts.extend(kept.cut_off(&*vfs, &above.join("quarantine"))?);
        }
        for path in &plan.unfinished {
            vfs.remove(path)?;
        }
        for id in &plan.sealed {
            vfs.remove(&path_of(&dir, *id))?;
        }
        if !(plan.sealed.is_empty() && plan.unfinished.is_empty()) {
            vfs.sync_dir(&dir)?;
        }
        let mut sizes: BTreeMap<LogId, u64> = plan.kept.iter().map(|k| (k.source.header.id, k.scan.end)).collect();
        let next = plan.next;
        let newest = plan.kept.last_mut().filter(|kept| kept.scan.chain.next == next);
        let mut next_id = plan.next_id;
        let mut active = match newest {
            Some(kept) => {
                let at = (kept.scan.end, kept.scan.chain.hash, kept.scan.chain.is_marked);
                let (from, bytes) = kept.unproven()?;
                let mut active = ActiveFile::resume(&*vfs, &dir, (&kept.source.header, kept.source.key()?), at)?;
                active.write_again(from, &bytes)?;
                active
            }
            None => {
                let (tenant, id, salt) = (tenant.clone(), next_id, vfs.salt());
                next_id = LogId(id.0 + 1);
                let file_key = options.keys.new_file(FileKind::Log, id.0)?;
                let key = file_key.as_ref().map(|key| *key.wrapped());
                let header = LogHeader { tenant, id, salt, first: plan.next, durable: last, key };
                ActiveFile::create(&*vfs, &dir, (&header, file_key), &[]).map_err(|e| e.source)?
            }
        };
        if !is_settled {
            // What was replayed may be with the operating system only; from here on it is taken for durable.
            active.sync()?;
            // A rename whose folder was not synced before the crash.
            vfs.sync_dir(&dir)?;
        }
        sizes.insert(active.id(), active.bytes());
        report.trimmed = plan.sealed;
        let state = State::new(last, active.id());
        let mut writer = Writer::new((vfs.clone(), dir.clone(), tenant.clone()), options, active, next_id, plan.next);
        let fail = |op| {
            let dir = &dir;
            move |e: LogError| StorageError::io(op, dir, std::io::Error::other(e.to_string()))
        };
        writer.mark().map_err(fail("mark"))?;
        if writer.active.is_sealed() != writer.options.keys.is_encrypted() {
            // A file from before the tenant was encrypted gets no more frames.
            writer.rotate().map_err(fail("begin a new file"))?;
        }
        let log = Log {
            writer: Mutex::new(writer),
            state: Mutex::new(state),
            turns: Condvar::new(),
            commits: Condvar::new(),
            files: Mutex::new(sizes),
            vfs,
            dir,
        };
        log.publish(&mut log.writer());
        Ok((log, report))
    }

    // A panic under these locks leaves nothing half-done that `Turn` does not answer for.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn files(&self) -> MutexGuard<'_, BTreeMap<LogId, u64>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a batch, and returns the Seq of its first record when `ack` is met and `commit` was called.
    ///
    /// Commits are called one at a time, in the order of Seqs, on the thread of some caller; they must not call the
    /// log. A batch that gets an error was not committed. [`Ack::Buffered`] waits for a group that is being written.
    pub fn append(&self, batch: Prepared, ack: Ack, commit: Commit) -> Result<Seq, LogError> {
        self.append_all(vec![(batch, ack, commit)]).pop().unwrap_or(Err(LogError::Empty))
    }

    /// The same for several batches, which are in one group as far as it holds them; what came of each, in their order.
    pub fn append_all(&self, batches: Vec<Append>) -> Vec<Result<Seq, LogError>> {
        let count = batches.len();
        let mut state = self.state();
        if let Err(error) = state.check() {
            return vec![Err(error); count];
        }
        let (first, waiter) = (state.next_ticket, Arc::new(Condvar::new()));
        state.next_ticket += count as u64;
        for (ticket, (batch, ack, commit)) in (first..).zip(batches) {
            state.queue.push(Entry { ticket, batch, ack, commit, waiter: waiter.clone() });
        }
        let mut results = Vec::with_capacity(count);
        loop {
            while results.len() < count
                && let Some(result) = state.results.remove(&(first + results.len() as u64))
            {
                results.push(result);
            }
            if results.len() == count {
                return results;
            }
            if state.busy {
                state = waiter.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy = true;
            let group = state.queue.take_group();
            let checked = state.check();
            drop(state);
            self.lead(group, checked);
            state = self.state();
        }
    }

    /// Writes a group, for all whose batches are in it.
    fn lead(&self, group: Vec<Entry>, checked: Result<(), LogError>) {
        let mut waiters: Vec<_> = group.iter().map(|entry| entry.waiter.clone()).collect();
        waiters.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let turn = Turn { log: self, tickets: group.iter().map(|entry| entry.ticket).collect(), waiters };
        let (mut batches, mut commits) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for Entry { batch, ack, commit, .. } in group {
            batches.push((batch, ack));
            commits.push(commit);
        }
        let mut writer = self.writer();
        let result = checked.and_then(|()| writer.commit(batches));
        let results: Vec<Result<Seq, LogError>> = match result {
            Ok(firsts) => {
                for (commit, first) in commits.into_iter().zip(&firsts) {
                    commit(*first);
                }
                firsts.into_iter().map(Ok).collect()
            }
            Err(e) => vec![Err(e); turn.tickets.len()],
        };
        self.note_failure(results.first().and_then(|r| r.as_ref().err()));
        self.publish(&mut writer);
        let is_last = {
            let mut state = self.state();
            state.results.extend(turn.tickets.iter().copied().zip(results));
            state.queue.is_empty() && state.read_only.is_none()
        };
        turn.wake();
        if is_last {
            self.note_failure(writer.mark().err().as_ref());
            self.publish(&mut writer);
        }
        drop(writer);
        drop(turn);
    }

    fn note_failure(&self, error: Option<&LogError>) {
        if let Some(LogError::ReadOnly { reason }) = error {
            self.state().read_only.get_or_insert(ReadOnly { reason: reason.clone(), is_final: false });
        }
    }

    /// Shows where the writer is.
    fn publish(&self, writer: &mut Writer) {
        let mut state = self.state();
        state.committed = Seq(writer.next.0 - 1);
        state.durable = writer.durable;
        state.active = writer.active.id();
        state.abandoned.clone_from(&writer.abandoned);
        drop(state);
        let mut files = self.files();
        for (id, bytes) in writer.passed.drain(..) {
            files.entry(id).or_insert(bytes);
        }
        files.insert(writer.active.id(), writer.active.bytes());
        drop(files);
        self.commits.notify_all();
    }

    /// Waits for the turn, and does something with the writer alone.
    fn alone<T>(&self, work: impl FnOnce(&mut Writer) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut state = self.state();
        while state.busy {
            state = self.turns.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.busy = true;
        drop(state);
        let _turn = Turn { log: self, tickets: Vec::new(), waiters: Vec::new() };
        let mut writer = self.writer();
        let result = work(&mut writer);
        self.note_failure(result.as_ref().err());
        self.publish(&mut writer);
        result
    }

    fn check(&self) -> Result<(), LogError> {
        self.state().check()
    }

    /// Makes all that was committed durable.
    pub fn flush(&self) -> Result<(), LogError> {
        self.alone(|writer| {
            self.check()?;
            writer.flush()?;
            writer.mark()
        })
    }

    /// Goes on in a new file, and calls `freeze` with the last committed Seq at that moment, with no commit under way.
    ///
    /// Everything up to there is durable, and in files below the one whose id is returned, which [`Log::trim`] takes
    /// once it is sealed. On an error `freeze` was not called, and the log goes on in the file that it has.
    pub fn rotate<T>(&self, freeze: impl FnOnce(Seq) -> T) -> Result<(LogId, T), LogError> {
        self.alone(|writer| {
            self.check()?;
            writer.rotate()?;
            Ok((writer.active.id(), freeze(Seq(writer.next.0 - 1))))
        })
    }

    /// Removes the files older than `below`, whose records are all sealed, and says how many. After an error it is to be
    /// called again: what may still be there is not forgotten.
    pub fn trim(&self, below: LogId) -> Result<u64, LogError> {
        let active = self.state().active;
        let old: Vec<LogId> = self.files().range(..below.min(active)).map(|(id, _)| *id).collect();
        // Oldest first, so that what stays is without gaps also where this ends half-way.
        for id in &old {
            match self.vfs.remove(&path_of(&self.dir, *id)) {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        if !old.is_empty() {
            self.vfs.sync_dir(&self.dir)?;
            self.files().retain(|id, _| !old.contains(id));
        }
        Ok(old.len() as u64)
    }

    /// Tries again after [`LogError::ReadOnly`]: goes on in a new file that begins with all that is not yet durable.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.alone(|writer| {
            let read_only = self.state().read_only.clone();
            match read_only {
                None => return self.check(),
                Some(ReadOnly { reason, is_final: true }) => return Err(LogError::ReadOnly { reason }),
                Some(_) => {}
            }
            writer.take_over().map_err(|e| LogError::ReadOnly { reason: e.to_string() })?;
            self.state().read_only = None;
            Ok(())
        })
    }

    /// Makes all that was committed durable, says so in the file, and takes no more. A second call does nothing.
    pub fn close(&self) -> Result<(), LogError> {
        self.alone(|writer| {
            match self.check() {
                Err(LogError::Closed) => return Ok(()),
                Err(e) => return Err(e),
                Ok(()) => {}
            }
            self.state().closed = true;
            writer.close()
        })
    }

    /// The last committed Seq.
    pub fn last_seq(&self) -> Seq {
        self.state().committed
    }

    /// The highest Seq up to which everything is known durable.
    pub fn durable_seq(&self) -> Seq {
        self.state().durable
    }

    /// The file that is written to.
    pub fn active(&self) -> LogId {
        self.state().active
    }

    /// Bytes of headers and frames in all files; what is reserved and not yet written does not count.
    pub fn bytes(&self) -> u64 {
        self.files().values().sum()
    }

    /// Does it take no batches until [`Log::reopen`] succeeds?
    pub fn is_read_only(&self) -> bool {
        self.state().read_only.is_some()
    }

    /// Why the log takes no batches, where it does not.
    pub fn read_only_reason(&self) -> Option<String> {
        self.state().read_only.as_ref().map(|r| r.reason.clone())
    }

    /// The files that were given up after a failed write or sync since the last call. What was committed is whole all
    /// the same, but the owner should rotate and seal it from memory soon.
    pub fn take_abandoned(&self) -> Vec<LogId> {
        if self.state().abandoned.is_empty() {
            return Vec::new();
        }
        let taken = self.alone(|writer| Ok(std::mem::take(&mut writer.abandoned)));
        taken.unwrap_or_default()
    }

    /// Waits until a Seq above `seq` is committed, at most for `timeout`, and gives the last committed one.
    pub fn wait_beyond(&self, seq: Seq, timeout: Duration) -> Seq {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while state.committed <= seq && !state.closed {
            let left = until.map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state = self.commits.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.committed
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`.
        let _ = self.close();
    }
}
