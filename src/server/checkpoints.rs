//! Checkpoints by schedule, on a thread of their own.

use super::own;
use crate::backup::Every;
use crate::checkpoint::{Series, SeriesError, Taken};
use crate::record::{Record, Timestamp};
use crate::store::Store;
use crate::vfs::RealVfs;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// After a failure it is tried again this much later, or when the next one is due where that is sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often the clock is looked at while nothing is due: it may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// `[checkpoints]` of the configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CheckpointsConfig {
    /// How often one is taken.
    pub every: Every,
    /// The folder that they are kept in.
    pub dir: PathBuf,
    /// The file of the key that they are signed with.
    pub key: PathBuf,
    /// How many stay; all where it is missing.
    #[serde(default)]
    pub keep: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// When the last one was taken, as the folder knows it.
    last: Option<Timestamp>,
    /// Was the folder read?
    is_known: bool,
    failed: bool,
    again_at: Option<Timestamp>,
    tenants: u64,
    taken: u64,
    failures: u64,
}

/// The checkpoints of a server.
#[derive(Debug)]
pub(super) struct Checkpoints {
    series: Series,
    every: Every,
    store: Store,
    state: Mutex<State>,
    wake: Condvar,
    stop: AtomicBool,
}

/// The thread, which ends when this is dropped.
pub(super) struct Running(Arc<Checkpoints>, Option<JoinHandle<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.wake.notify_all();
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

impl Checkpoints {
    /// Reads the configuration and the key: one that is of no use is an error at once, and not in an hour.
    pub(super) fn new(config: CheckpointsConfig, store: Store) -> Result<Arc<Checkpoints>, SeriesError> {
        let CheckpointsConfig { every, dir, key, keep } = config;
        let series = Series { dir, key, keep };
        series.key(&RealVfs)?;
        let (state, wake, stop) = Default::default();
        Ok(Arc::new(Checkpoints { series, every, store, state, wake, stop }))
    }

    /// Begins to take them.
    pub(super) fn start(self: Arc<Self>) -> std::io::Result<Running> {
        let checkpoints = self.clone();
        let thread = std::thread::Builder::new().name("duramen-checkpoint".into()).spawn(move || checkpoints.run())?;
        Ok(Running(self, Some(thread)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let wait = self.step();
            let state = self.state();
            if !self.stop.load(Ordering::Acquire) {
                drop(self.wake.wait_timeout(state, wait));
            }
        }
    }

    /// Takes one if it is due; how long there is nothing to do.
    fn step(&self) -> Duration {
        let now = Timestamp::now();
        let known = self.state().clone();
        let last = match known.is_known {
            true => known.last,
            // A restart changes nothing: the folder says when the last one was taken.
            false => match self.series.all(&RealVfs) {
                Ok(all) => {
                    let mut state = self.state();
                    (state.last, state.is_known) = (all.last().copied(), true);
                    state.last
                }
                Err(e) => return self.failed(now, &e.into()),
            },
        };
        let due = known.again_at.unwrap_or_else(|| self.due(last));
        if due > now {
            return Duration::from_nanos(due.0.saturating_sub(now.0).max(0) as u64).min(LOOK_EVERY);
        }
        let master = self.store.opened_with().master_key.as_ref();
        match self.series.take(&RealVfs, self.store.path(), master, now) {
            Ok(taken) => self.taken(&taken),
            Err(e) => return self.failed(now, &e),
        }
        Duration::ZERO
    }

    fn due(&self, last: Option<Timestamp>) -> Timestamp {
        last.map_or(Timestamp(0), |last| Timestamp(last.0.saturating_add(self.every.ns())))
    }

    fn taken(&self, taken: &Taken) {
        let file = taken.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = Record::new().with("message", "checkpoint taken").with("file", file);
        let record = record.with("tenants", taken.tenants).with("removed", taken.removed);
        own::record(&self.store, "checkpoint", "info", record);
        let mut state = self.state();
        (state.last, state.again_at, state.failed) = (Some(taken.at), None, false);
        state.tenants = taken.tenants;
        state.taken += 1;
    }

    fn failed(&self, now: Timestamp, reason: &SeriesError) -> Duration {
        let record = Record::new().with("message", "checkpoint failed").with("reason", reason.to_string());
        own::record(&self.store, "checkpoint", "error", record);
        let after = AGAIN_AFTER.min(Duration::from_nanos(self.every.ns().max(0) as u64));
        let mut state = self.state();
        state.failed = true;
        state.failures += 1;
        state.again_at = Some(Timestamp(now.0.saturating_add(after.as_nanos() as i64)));
        after.min(LOOK_EVERY)
    }

    /// When the next one should have been taken, and half of the time between them more.
    fn is_overdue(&self, state: &State) -> bool {
        let limit = |last| Timestamp(self.due(Some(last)).0.saturating_add(self.every.ns() / 2));
        state.last.is_some_and(|last| limit(last) < Timestamp::now())
    }

    /// For `/health`: did the last attempt succeed, and is the last one young enough?
    pub(super) fn health(&self) -> (&'static str, Value) {
        let state = self.state().clone();
        let is_overdue = self.is_overdue(&state);
        let next = state.is_known.then(|| state.again_at.unwrap_or_else(|| self.due(state.last)).max(Timestamp::now()));
        let figures = json!({
            "last": state.last.map(|at| at.to_string()),
            "last_failed": state.failed,
            "overdue": is_overdue,
            "next_due": next.map(|at| at.to_string()),
            "tenants": state.tenants,
        });
        (if state.failed || is_overdue { "degraded" } else { "healthy" }, figures)
    }

    /// For `/metrics`.
    pub(super) fn prometheus(&self, out: &mut String) {
        let state = self.state().clone();
        let last = state.last.map_or(0, |at| at.0 / 1_000_000_000);
        let overdue = u8::from(self.is_overdue(&state));
        let _ = write!(
            out,
            "# HELP duramen_checkpoints_total Checkpoints by how they ended.\n\
             # TYPE duramen_checkpoints_total counter\n\
             duramen_checkpoints_total{{result=\"ok\"}} {}\n\
             duramen_checkpoints_total{{result=\"failed\"}} {}\n\
             # HELP duramen_checkpoint_last_timestamp_seconds When the newest checkpoint was taken.\n\
             # TYPE duramen_checkpoint_last_timestamp_seconds gauge\n\
             duramen_checkpoint_last_timestamp_seconds {last}\n\
             # HELP duramen_checkpoint_overdue Whether one should have been taken by now.\n\
             # TYPE duramen_checkpoint_overdue gauge\n\
             duramen_checkpoint_overdue {overdue}\n",
            state.taken, state.failures,
        );
    }

    /// For the summary in JSON.
    pub(super) fn summary(&self) -> Value {
        let (status, mut figures) = self.health();
        figures["status"] = status.into();
        figures
    }
}
