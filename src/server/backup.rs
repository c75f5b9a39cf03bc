//! Backups and recovery drills by schedule, on a thread of their own, one at a time.

use super::error::ApiError;
use super::own;
use crate::backup::{
    BackupError, BackupOptions, BackupReport, Drill, Every, Kind, Last, RestoreOptions, RestoreReport, Schedule,
    Target, Task, TimeOfDay, backup, drill, last_drill, open_target, prune, restore_into, runs,
};
use crate::record::{Record, Timestamp};
use crate::store::Store;
use crate::vfs::RealVfs;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long it is waited after a failure, at first; each time twice as long.
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(60);
/// The longest that it is waited.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How often the clock is looked at while nothing is due: it may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// `[backup]` of the configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BackupConfig {
    /// Where the backups go: a folder, or `s3://BUCKET/PREFIX`.
    pub target: String,
    /// How often what is new is copied.
    #[serde(default)]
    pub incremental: Option<Every>,
    /// How often everything is read and compared.
    #[serde(default)]
    pub full: Option<Every>,
    /// How often a recovery is tried.
    #[serde(default)]
    pub drill: Option<Every>,
    /// When in the day, UTC.
    #[serde(default)]
    pub at: TimeOfDay,
    /// Runs older than this go, as far as newer ones stand for them; all stay where it is missing.
    #[serde(default)]
    pub keep: Option<Every>,
    /// Where drills restore to; the system's temporary folder where it is missing.
    #[serde(default)]
    pub scratch: Option<PathBuf>,
}

/// What was done last, and what is under way.
#[derive(Clone, Debug, Default)]
struct State {
    last: Last,
    /// Was what the target has read since the start?
    is_known: bool,
    running: Option<Task>,
    /// Why the last attempt failed; of a run also that some tenants are not in it.
    run_failed: Option<String>,
    drill_failed: Option<String>,
    kind: Option<Kind>,
    bytes_new: u64,
    records: u64,
    drill: Option<Drill>,
    runs_ok: u64,
    runs_failed: u64,
    drills_ok: u64,
    drills_failed: u64,
    again_at: Option<Timestamp>,
    again_after: Duration,
}

/// The backups of a server.
pub(super) struct Backups {
    config: BackupConfig,
    schedule: Schedule,
    target: Arc<dyn Target>,
    store: Store,
    state: Mutex<State>,
    wake: Condvar,
    cancel: Arc<AtomicBool>,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("target", &self.target).field("state", &self.state).finish()
    }
}

/// The thread, which ends when this is dropped.
pub(super) struct Running(Arc<Backups>, Option<JoinHandle<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel.store(true, Ordering::Release);
        self.0.wake.notify_all();
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

impl Backups {
    /// Reads the configuration; nothing runs yet.
    pub(super) fn new(config: BackupConfig, store: Store) -> Result<Arc<Backups>, BackupError> {
        let target = open_target(&config.target)?;
        let BackupConfig { incremental, full, drill, at, .. } = config;
        let schedule = Schedule { incremental, full, drill, at };
        let (state, wake, cancel) = (Mutex::default(), Condvar::new(), Arc::default());
        Ok(Arc::new(Backups { config, schedule, target, store, state, wake, cancel }))
    }

    /// Begins to do what is due.
    pub(super) fn start(self: Arc<Self>) -> std::io::Result<Running> {
        let backups = self.clone();
        let thread = std::thread::Builder::new().name("duramen-backup".into()).spawn(move || backups.run())?;
        Ok(Running(self, Some(thread)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while !self.cancel.load(Ordering::Acquire) {
            let wait = self.step();
            let state = self.state();
            if !self.cancel.load(Ordering::Acquire) {
                drop(self.wake.wait_timeout(state, wait));
            }
        }
    }

    /// Does what is due, if anything is; how long there is nothing to do.
    fn step(&self) -> Duration {
        let now = Timestamp::now();
        let until = |at: Timestamp| Duration::from_nanos(at.0.saturating_sub(now.0).max(0) as u64).min(LOOK_EVERY);
        let state = self.state().clone();
        if let Some(again) = state.again_at.filter(|at| *at > now) {
            return until(again);
        }
        if !state.is_known {
            match self.read_target() {
                Ok((last, drill)) => {
                    let mut state = self.state();
                    (state.last, state.drill, state.is_known) = (last, drill, true);
                }
                Err(e) => self.failed(None, &e.to_string()),
            }
            return Duration::ZERO;
        }
        match self.schedule.next(&state.last) {
            None => LOOK_EVERY,
            Some((_, at)) if at > now => until(at),
            Some((task, _)) => {
                self.state().running = Some(task);
                self.perform(task);
                self.state().running = None;
                Duration::ZERO
            }
        }
    }

    /// When what was done last, as the target knows it.
    fn read_target(&self) -> Result<(Last, Option<Drill>), BackupError> {
        let all = match runs(&*self.target) {
            Err(BackupError::NoRun { .. }) => Vec::new(),
            other => other?,
        };
        let mut last = Last::default();
        for run in all.iter().filter(|run| run.only.is_none()) {
            last.run = Some(run.time());
            if run.kind == Kind::Full {
                last.full = last.run;
            }
        }
        let drill = if all.is_empty() { None } else { last_drill(&*self.target)? };
        last.drill = drill.as_ref().map(|drill| Timestamp(drill.finished_ns));
        Ok((last, drill))
    }

    fn perform(&self, task: Task) {
        let outcome = match task {
            Task::Full | Task::Incremental => self.back_up(task == Task::Full),
            Task::Drill => self.try_recovery(),
        };
        match outcome {
            Ok(()) => (self.state().again_at, self.state().again_after) = (None, Duration::ZERO),
            // The server ends, and the next one goes on.
            Err(BackupError::Cancelled) => {}
            Err(e) => self.failed(Some(task), &e.to_string()),
        }
    }

    fn back_up(&self, full: bool) -> Result<(), BackupError> {
        let (archives, cancel) = (self.store.archives().clone(), Some(self.cancel.clone()));
        let options = BackupOptions { full, archives, cancel, ..BackupOptions::default() };
        let BackupReport { run, .. } = backup(&RealVfs, self.store.path(), &*self.target, &options)?;
        let records = run.tenants.iter().map(|t| t.records).sum();
        let problems: Vec<String> = run.problems.iter().map(|p| format!("{}: {}", p.tenant.0, p.reason)).collect();
        {
            let mut state = self.state();
            state.last.run = Some(run.time());
            if run.kind == Kind::Full {
                state.last.full = state.last.run;
            }
            (state.kind, state.bytes_new, state.records) = (Some(run.kind), run.bytes_new, records);
            state.run_failed = (!problems.is_empty()).then(|| problems.join("; "));
            *(if problems.is_empty() { &mut state.runs_ok } else { &mut state.runs_failed }) += 1;
        }
        let level = if problems.is_empty() { "info" } else { "error" };
        let record = Record::new()
            .with("message", "backup finished")
            .with("tenants", run.tenants.len() as u64)
            .with("records", records)
            .with("bytes_new", run.bytes_new)
            .with("full", run.kind == Kind::Full)
            .with("problems", problems.join("; "));
        self.log(level, record);
        if let Some(keep) = self.config.keep {
            let gone = prune(&*self.target, Timestamp(Timestamp::now().0.saturating_sub(keep.ns())))?;
            if gone.runs > 0 {
                let record = Record::new().with("message", "old backups removed");
                self.log("info", record.with("runs", gone.runs).with("bytes", gone.bytes));
            }
        }
        Ok(())
    }

    fn try_recovery(&self) -> Result<(), BackupError> {
        let scratch = self.config.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let found = drill(&*self.target, self.store.path(), &scratch, self.store.opened_with())?;
        let record = Record::new()
            .with("message", if found.ok { "recovery drill succeeded" } else { "recovery drill failed" })
            .with("backup", Timestamp(found.run_ns).to_string())
            .with("tenants", found.tenants)
            .with("records", found.records)
            .with("leaves", found.leaves)
            .with("leaves_compared", found.leaves_compared)
            .with("findings", found.findings.join("; "));
        self.log(if found.ok { "info" } else { "error" }, record);
        let mut state = self.state();
        *(if found.ok { &mut state.drills_ok } else { &mut state.drills_failed }) += 1;
        state.last.drill = Some(Timestamp(found.finished_ns));
        state.drill_failed = found.findings.first().cloned();
        state.drill = Some(found);
        Ok(())
    }

    fn failed(&self, task: Option<Task>, reason: &str) {
        let what = if task == Some(Task::Drill) { "recovery drill failed" } else { "backup failed" };
        self.log("error", Record::new().with("message", what).with("reason", reason));
        let mut state = self.state();
        if task == Some(Task::Drill) {
            state.drills_failed += 1;
            state.drill_failed = Some(reason.into());
        } else {
            state.runs_failed += 1;
            state.run_failed = Some(reason.into());
        }
        state.again_after = (state.again_after * 2).clamp(AGAIN_AFTER_MIN, AGAIN_AFTER_MAX);
        state.again_at = Some(Timestamp(Timestamp::now().0.saturating_add(state.again_after.as_nanos() as i64)));
    }

    fn log(&self, level: &str, record: Record) {
        own::record(&self.store, "backup", level, record);
    }

    /// For `/health`: is there a run that is right and young enough, and did the last drill succeed?
    pub(super) fn health(&self) -> (&'static str, Value) {
        let state = self.state().clone();
        let now = Timestamp::now();
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let is_overdue = self.schedule.overdue(&state.last).is_some_and(|at| at < now);
        let drill_ok = state.drill.as_ref().is_none_or(|drill| drill.ok) && state.drill_failed.is_none();
        let is_right = state.run_failed.is_none() && !is_overdue && drill_ok;
        let next = self.schedule.next(&state.last).filter(|_| state.is_known).map(|(_, at)| at.max(now));
        let figures = json!({
            "last_run": time(state.last.run),
            "last_full": time(state.last.full),
            "last_run_failed": state.run_failed.is_some(),
            "overdue": is_overdue,
            "next_due": time(next),
            "running": state.running.map(|task| match task {
                Task::Full => "full",
                Task::Incremental => "incremental",
                Task::Drill => "drill",
            }),
            "bytes_new": state.bytes_new,
            "records": state.records,
            "last_drill": time(state.last.drill),
            "last_drill_ok": state.drill.as_ref().map(|drill| drill.ok && state.drill_failed.is_none()),
            "drill_records": state.drill.as_ref().map(|drill| drill.records),
            "drill_leaves_compared": state.drill.as_ref().map(|drill| drill.leaves_compared),
        });
        (if is_right { "healthy" } else { "degraded" }, figures)
    }

    /// For `/metrics`.
    pub(super) fn prometheus(&self, out: &mut String) {
        let state = self.state().clone();
        let seconds = |at: Option<Timestamp>| at.map_or(0, |at| at.0 / 1_000_000_000);
        let (_, health) = self.health();
        let overdue = u8::from(health["overdue"] == Value::Bool(true));
        let drill_ok = u8::from(health["last_drill_ok"] == Value::Bool(true));
        let _ = write!(
            out,
            "# HELP duramen_backup_runs_total Backups by how they ended.\n\
             # TYPE duramen_backup_runs_total counter\n\
             duramen_backup_runs_total{{result=\"ok\"}} {}\n\
             duramen_backup_runs_total{{result=\"failed\"}} {}\n\
             # HELP duramen_backup_last_success_timestamp_seconds When the newest backup had finished.\n\
             # TYPE duramen_backup_last_success_timestamp_seconds gauge\n\
             duramen_backup_last_success_timestamp_seconds {}\n\
             # HELP duramen_backup_last_bytes_new Bytes that the last backup added.\n\
             # TYPE duramen_backup_last_bytes_new gauge\n\
             duramen_backup_last_bytes_new {}\n\
             # HELP duramen_backup_overdue Whether a backup should have been made by now.\n\
             # TYPE duramen_backup_overdue gauge\n\
             duramen_backup_overdue {overdue}\n\
             # HELP duramen_backup_drills_total Recovery drills by how they ended.\n\
             # TYPE duramen_backup_drills_total counter\n\
             duramen_backup_drills_total{{result=\"ok\"}} {}\n\
             duramen_backup_drills_total{{result=\"failed\"}} {}\n\
             # HELP duramen_backup_last_drill_timestamp_seconds When the last recovery drill had ended.\n\
             # TYPE duramen_backup_last_drill_timestamp_seconds gauge\n\
             duramen_backup_last_drill_timestamp_seconds {}\n\
             # HELP duramen_backup_last_drill_ok Whether it found nothing wrong.\n\
             # TYPE duramen_backup_last_drill_ok gauge\n\
             duramen_backup_last_drill_ok {drill_ok}\n",
            state.runs_ok,
            state.runs_failed,
            seconds(state.last.run),
            state.bytes_new,
            state.drills_ok,
            state.drills_failed,
            seconds(state.last.drill),
        );
    }

    /// For the summary in JSON.
    pub(super) fn summary(&self) -> Value {
        let (status, mut figures) = self.health();
        figures["status"] = status.into();
        figures
    }

    /// Brings a tenant back into the store that is being served.
    pub(super) fn restore(&self, options: &RestoreOptions) -> Result<RestoreReport, ApiError> {
        let report = restore_into(&*self.target, &self.store, options)?;
        let names: Vec<&str> = report.tenants.iter().map(|t| t.name.as_str()).collect();
        let records: u64 = report.tenants.iter().map(|t| t.records).sum();
        let record = Record::new().with("message", "restored from a backup").with("backup", report.at.as_str());
        self.log("info", record.with("tenants", names.join(",")).with("records", records));
        Ok(report)
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        match error {
            BackupError::Request(_) => ApiError::bad_request(text),
            BackupError::Store(e) if e.is_tenant_exists() => {
                ApiError::new(StatusCode::CONFLICT, "tenant_exists", text).hint("choose another name with `as`")
            }
            BackupError::NoRun { .. } => ApiError::new(StatusCode::NOT_FOUND, "no_backup", text),
            BackupError::NoRecords { .. } => ApiError::new(StatusCode::NOT_FOUND, "no_records", text),
            BackupError::Store(e) => e.into(),
            // Who may restore may know where.
            _ => ApiError::internal(text),
        }
    }
}
