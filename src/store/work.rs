//! Background threads: few, named, one set a store.

use super::Inner;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often work that is due by age is looked for.
const TICK: Duration = Duration::from_secs(1);

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

    /// Ends the threads after what they are at.
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
        let Some(store) = store.upgrade() else { return };
        // What fails stays due, is tried again at the next tick, and shows in the tenant's figures.
        let _ = store.maintain();
    }
}
