//! Deletions as jobs: begun by one request, asked for by others.
//!
//! Promises: a job has a number once there is an audit record that it begins, and another when it ends; it is called done
//! when the bytes are gone from the disk. Jobs are in memory; of one that this process does not know the audit records
//! tell. One that has no end there was cut short: the next server goes on with it, up to the Seq that it began with, so that
//! it takes nothing that came later.

use super::error::ApiError;
use crate::id::Seq;
use crate::record::{Record, Timestamp};
use crate::store::{DeleteListener, DeleteOptions, DeleteProgress, DeleteReport, Error, SYSTEM_TENANT, Store, Tenant};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Jobs that run at once; more are refused.
const JOBS_RUNNING_MAX: usize = 8;
/// Jobs that have ended and are kept in memory; of older ones the audit records tell.
const JOBS_KEPT_MAX: usize = 1000;
/// How long after it began a job is gone on with by a server that starts; later than that nobody expects it.
const RESUMED_WITHIN: &str = "7d";
/// How often it is looked whether a reader has let a file go.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is to be deleted.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// What a query matches, of a tenant.
    Records { tenant: Tenant, query: String, bound: Option<Bound> },
    /// A whole tenant.
    Tenant { name: String },
}

impl Work {
    fn tenant(&self) -> &str {
        match self {
            Work::Records { tenant, .. } => tenant.name(),
            Work::Tenant { name } => name,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Work::Records { .. } => "delete",
            Work::Tenant { .. } => "delete_tenant",
        }
    }
}

/// What a deletion began with, by which one that was cut short goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// What relative times of its query count from.
    at: Timestamp,
    /// The last record that there was.
    until: Seq,
}

/// How a job stands.
#[derive(Clone, Debug, Default)]
struct State {
    stage: &'static str,
    segments: u64,
    segments_searched: u64,
    segments_matched: u64,
    segments_rewritten: u64,
    records: u64,
    report: Option<Value>,
    error: Option<String>,
    ended: Option<Timestamp>,
}

#[derive(Debug)]
struct Job {
    id: String,
    kind: &'static str,
    tenant: String,
    query: Option<String>,
    begun: Timestamp,
    state: Mutex<State>,
}

impl Job {
    fn new(id: String, begun: Timestamp, work: &Work) -> Arc<Job> {
        let query = match work {
            Work::Records { query, .. } => Some(query.clone()),
            Work::Tenant { .. } => None,
        };
        let state = Mutex::new(State { stage: "sealing", ..State::default() });
        Arc::new(Job { id, kind: work.kind(), tenant: work.tenant().to_string(), query, begun, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, progress: &DeleteProgress) {
        let mut state = self.state();
        match progress {
            DeleteProgress::Sealed { segments } => (state.stage, state.segments) = ("searching", *segments),
            DeleteProgress::Searched { segments } => state.segments_searched = *segments,
            DeleteProgress::Found { records, segments } => {
                (state.stage, state.records, state.segments_matched) = ("rewriting", *records, *segments);
            }
            DeleteProgress::Rewritten { segments } => state.segments_rewritten = *segments,
            DeleteProgress::Invisible => state.stage = "waiting for readers",
        }
    }

    fn told(&self) -> Value {
        let state = self.state().clone();
        let status = match (&state.error, state.ended) {
            (Some(_), _) => "failed",
            (None, Some(_)) => "done",
            (None, None) => "running",
        };
        json!({
            "id": self.id,
            "kind": self.kind,
            "tenant": self.tenant,
            "query": self.query,
            "status": status,
            "begun": self.begun.to_string(),
            "ended": state.ended.map(|at| at.to_string()),
            "error": state.error,
            "progress": {
                "stage": state.stage,
                "segments": state.segments,
                "segments_searched": state.segments_searched,
                "segments_matched": state.segments_matched,
                "segments_rewritten": state.segments_rewritten,
                "records": state.records,
            },
            "report": state.report,
        })
    }
}

/// The jobs of a server.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    all: Mutex<BTreeMap<String, Arc<Job>>>,
    stop: Arc<AtomicBool>,
}

impl Jobs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server ends: a job that waits for readers does not go on waiting.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Begins a job, on a thread of its own; what is told of it. Blocking: its audit record is durable.
    pub(super) fn begin(&self, store: &Store, mut work: Work, by: &str) -> Result<Value, ApiError> {
        let begun = Timestamp::now();
        if let Work::Records { tenant, query, bound } = &mut work {
            // What is no filter is said at once. Nothing is looked for.
            tenant.check_delete(query)?;
            *bound = Some(Bound { at: begun, until: Seq(tenant.stats()?.last_seq) });
        }
        let job = Job::new(number()?, begun, &work);
        {
            let mut all = self.all();
            let running = all.values().filter(|job| job.state().ended.is_none()).count();
            if running >= JOBS_RUNNING_MAX {
                return Err(ApiError::too_many(format!("{JOBS_RUNNING_MAX} deletions run already"), 5));
            }
            while all.len() >= JOBS_KEPT_MAX {
                let ended = all.values().filter_map(|job| Some((job.state().ended?, job.id.clone())));
                let Some((_, oldest)) = ended.min() else { break };
                all.remove(&oldest);
            }
            all.insert(job.id.clone(), job.clone());
        }
        let told = job.told();
        let begun = audit_begin(store, &work, by, Some(&job.id)).map_err(ApiError::from);
        if let Err(e) = begun.and_then(|()| self.spawn(store, &job, work, by)) {
            self.all().remove(&job.id);
            return Err(e);
        }
        Ok(told)
    }

    fn spawn(&self, store: &Store, job: &Arc<Job>, work: Work, by: &str) -> Result<(), ApiError> {
        let (job, store, by, stop) = (job.clone(), store.clone(), by.to_string(), self.stop.clone());
        let run = move || run(&job, &store, &work, &by, &stop);
        let spawned = std::thread::Builder::new().name("duramen-delete".into()).spawn(run);
        spawned.map(drop).map_err(|e| ApiError::internal(e.to_string()))
    }

    /// Goes on with deletions of records that the last server began and did not end. A tenant's is the store's matter.
    pub(super) fn resume(&self, store: &Store) -> Result<(), Error> {
        for Unfinished { id, tenant, query, bound, by } in unfinished(store)? {
            // Of a tenant that is gone or damaged there is nothing to go on with: it is told as failed.
            let Ok(tenant) = store.existing_tenant(&tenant) else { continue };
            let work = Work::Records { tenant, query, bound: Some(bound) };
            let job = Job::new(id, bound.at, &work);
            self.all().insert(job.id.clone(), job.clone());
            if let Err(e) = self.spawn(store, &job, work, &by) {
                self.all().remove(&job.id);
                eprintln!("duramen: the deletion {} can't go on: {e:?}", job.id);
            }
        }
        Ok(())
    }

    /// What is told of a job; nothing where there is none of that number. Blocking: it may ask the audit records.
    pub(super) fn find(&self, store: &Store, id: &str) -> Result<Option<Value>, Error> {
        if let Some(job) = self.all().get(id) {
            return Ok(Some(job.told()));
        }
        recorded(store, id)
    }
}

/// 128 random bits.
fn number() -> Result<String, ApiError> {
    let random = || getrandom::u64().map_err(|e| ApiError::internal(format!("no random bytes: {e}")));
    Ok(format!("{:016x}{:016x}", random()?, random()?))
}

fn run(job: &Arc<Job>, store: &Store, work: &Work, by: &str, stop: &AtomicBool) {
    let done = perform(job, store, work, stop);
    if done.is_err() && stop.load(Ordering::Acquire) && matches!(work, Work::Records { .. }) {
        // The server ends. Without an end on record the next one goes on.
        return;
    }
    let record = match &done {
        Ok(report) => ended(work, Some(&job.id), "done", report.as_ref()),
        Err(reason) => ended(work, Some(&job.id), "failed", None).with("reason", reason.as_str()),
    };
    audit_end(store, work, by, record);
    let mut state = job.state();
    match done {
        Ok(report) => {
            state.stage = "done";
            state.records = report.as_ref().map_or(0, |report| report.records);
            state.report = report.map(|report| json!(report));
        }
        Err(reason) => state.error = Some(reason),
    }
    state.ended = Some(Timestamp::now());
}

fn perform(job: &Arc<Job>, store: &Store, work: &Work, stop: &AtomicBool) -> Result<Option<DeleteReport>, String> {
    let (tenant, query, bound) = match work {
        Work::Tenant { name } => {
            job.state().stage = "removing";
            return store.delete_tenant(name).map(|()| None).map_err(|e| e.to_string());
        }
        Work::Records { tenant, query, bound } => (tenant, query, bound),
    };
    let told = job.clone();
    let progress: DeleteListener = Arc::new(move |progress: &DeleteProgress| told.progress(progress));
    let (at, until) = bound.map(|bound| (bound.at, bound.until)).unzip();
    let options = DeleteOptions { progress: Some(progress), at, until, ..DeleteOptions::default() };
    let mut report = tenant.delete(query, &options).map_err(|e| e.to_string())?;
    while !tenant.is_deleted(&mut report).map_err(|e| e.to_string())? {
        if stop.load(Ordering::Acquire) {
            let held = report.files_held;
            return Err(format!(
                "the server ended while readers held {held} files, which go when the store is opened again"
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(Some(report))
}

fn about(work: &Work, job: Option<&str>) -> Record {
    let record = Record::new().with("source", "delete").with("tenant", work.tenant()).with("kind", work.kind());
    let record = job.into_iter().fold(record, |record, id| record.with("job", id));
    match work {
        Work::Records { query, bound, .. } => {
            let record = record.with("query", query.as_str());
            match bound {
                Some(Bound { at, until }) => record.with("at", at.to_string()).with("until", until.0),
                None => record,
            }
        }
        Work::Tenant { .. } => record,
    }
}

/// A deletion begins: what can't be put on record is not done.
pub(super) fn audit_begin(store: &Store, work: &Work, by: &str, job: Option<&str>) -> Result<(), Error> {
    let message = match work {
        Work::Records { tenant, .. } => format!("deletion of records of {} begins", tenant.name()),
        Work::Tenant { name } => format!("deletion of tenant {name} begins"),
    };
    store.audit("delete_begun", by, about(work, job).with("message", message.as_str()))
}

/// What is put on record of a deletion that ended.
pub(super) fn ended(work: &Work, job: Option<&str>, how: &str, report: Option<&DeleteReport>) -> Record {
    let message = format!("deletion {how}");
    let record = about(work, job).with("message", message.as_str()).with("status", how);
    match report {
        Some(report) => record
            .with("records", report.records)
            .with("segments", report.segments)
            .with("leaves_broken", report.leaves_broken)
            .with("entry", report.entry.unwrap_or(0)),
        None => record,
    }
}

pub(super) fn audit_end(store: &Store, work: &Work, by: &str, record: Record) {
    if let Err(e) = store.audit("delete_ended", by, record) {
        // It is done, and the manifest says so; that it began is on record.
        eprintln!("duramen: the end of a deletion of {} could not be put on record: {e}", work.tenant());
    }
}

/// A deletion that was begun, and of which nothing says that it ended.
struct Unfinished {
    id: String,
    tenant: String,
    query: String,
    bound: Bound,
    by: String,
}

/// What the audit records have of jobs that no server ended.
fn unfinished(store: &Store) -> Result<Vec<Unfinished>, Error> {
    if !store.tenants()?.iter().any(|name| name == SYSTEM_TENANT) {
        return Ok(Vec::new());
    }
    let query = format!("{{category=\"audit\"}} _time:{RESUMED_WITHIN} source:=delete kind:=delete job:*");
    let (mut begun, mut ended) = (BTreeMap::new(), BTreeSet::new());
    for row in store.existing_tenant(SYSTEM_TENANT)?.query(&query)? {
        let row = row?;
        let text = |name: &str| row.get(name).map(|(_, text)| text.to_string());
        let Some(id) = text("job") else { continue };
        if text("action").as_deref() == Some("delete_ended") {
            ended.insert(id);
            continue;
        }
        // One that was put on record before there were bounds is not gone on with.
        let at = text("at").and_then(|at| Timestamp::parse(&at).ok());
        let until = text("until").and_then(|until| until.parse().ok());
        if let (Some(tenant), Some(query), Some(at), Some(until)) = (text("tenant"), text("query"), at, until) {
            let (bound, by) = (Bound { at, until: Seq(until) }, text("by").unwrap_or_default());
            begun.insert(id.clone(), Unfinished { id, tenant, query, bound, by });
        }
    }
    Ok(begun.into_values().filter(|one| !ended.contains(&one.id)).collect())
}

/// What the audit records tell of a job that this process does not know.
fn recorded(store: &Store, id: &str) -> Result<Option<Value>, Error> {
    let is_number = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_number || !store.tenants()?.iter().any(|name| name == SYSTEM_TENANT) {
        return Ok(None);
    }
    let query = format!("{{category=\"audit\"}} job:=\"{id}\"");
    let (mut begun, mut ended) = (None, None);
    for row in store.existing_tenant(SYSTEM_TENANT)?.query(&query)? {
        let row = row?;
        let text = |name: &str| row.get(name).map(|(_, text)| text.to_string());
        let told = json!({
            "tenant": text("tenant"),
            "kind": text("kind"),
            "query": text("query"),
            "at": text("_time"),
            "status": text("status"),
            "reason": text("reason"),
            "records": text("records").and_then(|n| n.parse::<u64>().ok()),
        });
        match text("action").as_deref() {
            Some("delete_begun") => begun = Some(told),
            Some("delete_ended") => ended = Some(told),
            _ => {}
        }
    }
    let Some(begun) = begun else { return Ok(None) };
    let is_gone = || Ok::<_, Error>(!store.tenants()?.iter().any(|name| begun["tenant"] == name.as_str()));
    let (status, error) = match &ended {
        Some(ended) => (ended["status"].clone(), ended["reason"].clone()),
        // The next start finishes what was begun of a tenant.
        None if begun["kind"] == "delete_tenant" && is_gone()? => (json!("done"), Value::Null),
        None => (json!("failed"), json!("the server ended before it was done: what is left can be deleted again")),
    };
    Ok(Some(json!({
        "id": id,
        "kind": begun["kind"],
        "tenant": begun["tenant"],
        "query": begun["query"],
        "status": status,
        "begun": begun["at"],
        "ended": ended.as_ref().map(|ended| ended["at"].clone()),
        "error": error,
        "progress": {"records": ended.as_ref().map(|ended| ended["records"].clone())},
        "report": Value::Null,
    })))
}
