//! Background threads: few, named, one set a store. They seal, and when nothing is to be sealed, they merge.
//!
//! Promises: one merge at a time; what is to be sealed waits for one block of it at most; while records come in or
//! queries begin, a merge takes half of its thread's time. May not know: what a merge consists of.

use super::{Error, Inner, MEMORY_FREED_MIN, MemoryFreed};
use crate::tenant::TenantCore;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often work that is due by age is looked for.
const TICK: Duration = Duration::from_secs(1);
/// A store is in use for so long after an append or the begin of a query.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// While the store is in use, a merge rests after each block for so many times as long as the block took.
const MERGE_REST: u32 = 1;
/// But not longer than this, should a block have taken long for other reasons.
const MERGE_REST_MAX: Duration = Duration::from_millis(500);

/// The threads, and how they are woken.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    signal: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    wake: Condvar,
    /// Appends and queries so far.
    uses: AtomicU64,
    /// Held by who merges.
    merging: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    asked: bool,
    stop: bool,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Workers {
    /// Starts as many threads as the options say. They hold no handle of the store, so that dropping it ends them.
    pub fn start(&self, inner: &Arc<Inner>) {
        let mut threads = self.threads.lock().unwrap_or_else(|e| e.into_inner());
        for number in 0..inner.options().background_threads {
            let (store, signal) = (Arc::downgrade(inner), self.signal.clone());
            let spawned =
                std::thread::Builder::new().name(format!("duramen-work-{number}")).spawn(move || run(store, &signal));
            // Without a thread, whoever appends does the work (see `freeze_if_full`).
            threads.extend(spawned.ok());
        }
    }

    /// Are there threads?
    pub fn any(&self) -> bool {
        !self.threads.lock().unwrap_or_else(|e| e.into_inner()).is_empty()
    }

    /// Says that there is work.
    pub fn ask(&self) {
        self.signal.state().asked = true;
        self.signal.wake.notify_one();
    }

    /// Says that the store is in use.
    pub fn busy(&self) {
        self.signal.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the threads after what they are at, and a merge after its block.
    pub fn stop(&self) {
        self.signal.state().stop = true;
        self.signal.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(|e| e.into_inner()));
        for thread in threads {
            // The last handle may be dropped by a worker that just upgraded its own.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn run(store: Weak<Inner>, signal: &Signal) {
    let mut sealed = 0;
    loop {
        {
            let mut state = signal.state();
            if !state.asked && !state.stop {
                state = signal.wake.wait_timeout(state, TICK).map_or_else(|e| e.into_inner().0, |(s, _)| s);
            }
            state.asked = false;
            if state.stop {
                return;
            }
        }
        let Some(inner) = store.upgrade() else { return };
        // What fails stays due, is tried again at the next tick, and shows in the tenant's figures.
        let _ = inner.seal_due();
        // By whoever; a memtable and what its segment was made with were let go.
        let before = std::mem::replace(&mut sealed, inner.written.sealed.load(Ordering::Relaxed));
        if sealed != before {
            MemoryFreed::tell(&inner.options.memory_freed, MEMORY_FREED_MIN);
        }
        let (due, freed) = (inner.merges_due(), inner.options.memory_freed.clone());
        // Not held during a merge, so that dropping the last handle of a store closes it and ends the merge.
        drop(inner);
        let mut pacer = Pacer::new(&store, signal);
        let _ = merge_all(&due, signal, &freed, &mut |worked| pacer.rest(worked));
        // Closing waits for merges: only now that none is under way.
        drop(pacer.last);
    }
}

/// A tenant that may have something to merge.
struct Due {
    tenant: Weak<TenantCore>,
    settle: Duration,
}

impl Inner {
    /// Merges what is due, in the caller's thread and without a rest.
    pub(super) fn merge_due(&self) -> Result<(), Error> {
        let signal = &self.workers.signal;
        let due = self.merges_due();
        merge_all(&due, signal, &self.options.memory_freed, &mut |_| match signal.state().stop {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn merges_due(&self) -> Vec<Due> {
        if !self.options.merge {
            return Vec::new();
        }
        let open = self.tenants.open();
        open.iter()
            .filter(|t| t.may_merge())
            .map(|t| Due { tenant: Arc::downgrade(t), settle: self.options.merge_age_min })
            .collect()
    }
}

/// Merges until nothing is due, or the pace says that it is over. Where somebody else merges, that is theirs to do.
fn merge_all(
    due: &[Due],
    signal: &Signal,
    freed: &Option<MemoryFreed>,
    pace: &mut dyn FnMut(Duration) -> ControlFlow<()>,
) -> Result<(), Error> {
    let _one = match signal.merging.try_lock() {
        Ok(one) => one,
        Err(TryLockError::Poisoned(e)) => e.into_inner(),
        Err(TryLockError::WouldBlock) => return Ok(()),
    };
    let mut first_error = Ok(());
    for due in due {
        let mut over = false;
        while let Some(tenant) = due.tenant.upgrade() {
            let merged = tenant.merge_due(due.settle, &mut |worked| {
                let flow = pace(worked);
                over = flow.is_break();
                flow
            });
            match merged {
                Ok(0) => break,
                // Its blocks and the dictionary that it made.
                Ok(_) => MemoryFreed::tell(freed, MEMORY_FREED_MIN),
                // One tenant's trouble does not keep another's segments small.
                Err(e) => {
                    first_error = first_error.and(Err(e));
                    break;
                }
            }
        }
        if over {
            break;
        }
    }
    first_error
}

/// What a worker does between the blocks of a merge.
struct Pacer<'a> {
    store: &'a Weak<Inner>,
    signal: &'a Signal,
    sealed_at: Instant,
    uses: u64,
    used_at: Option<Instant>,
    /// The store, where its last handle was dropped while this one sealed.
    last: Option<Inner>,
}

impl<'a> Pacer<'a> {
    fn new(store: &'a Weak<Inner>, signal: &'a Signal) -> Self {
        let uses = signal.uses.load(Ordering::Relaxed);
        Pacer { store, signal, sealed_at: Instant::now(), uses, used_at: None, last: None }
    }

    fn is_busy(&mut self) -> bool {
        let uses = self.signal.uses.load(Ordering::Relaxed);
        if uses != self.uses {
            (self.uses, self.used_at) = (uses, Some(Instant::now()));
        }
        self.used_at.is_some_and(|at| at.elapsed() < BUSY_FOR)
    }

    /// Seals what is to be sealed, and rests.
    fn rest(&mut self, worked: Duration) -> ControlFlow<()> {
        let rest = if self.is_busy() { (worked * MERGE_REST).min(MERGE_REST_MAX) } else { Duration::ZERO };
        let until = Instant::now() + rest;
        loop {
            let mut state = self.signal.state();
            if state.stop {
                return ControlFlow::Break(());
            }
            if state.asked || self.sealed_at.elapsed() >= TICK {
                state.asked = false;
                drop(state);
                let Some(store) = self.store.upgrade() else { return ControlFlow::Break(()) };
                // What fails stays due, as above.
                let _ = store.try_seal_full();
                self.sealed_at = Instant::now();
                // The last handle closes the store, which waits for this merge: so it outlives it.
                self.last = Arc::into_inner(store);
                if self.last.is_some() {
                    return ControlFlow::Break(());
                }
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            drop(self.signal.wake.wait_timeout(state, left.min(TICK)));
        }
    }
}
