//! Queries on a tenant: once over what is there, or following what comes.

use super::error::ErrorKind;
use super::{Error, MemoryFreed, Tenant};
use crate::error::StorageError;
use crate::exec::{ExecError, Execution, Explanation, Limits, Missed, Missing, Plan, QueryStats, Row, TimeSpan};
use crate::id::Seq;
use crate::query::ast::{Pipe, Query};
use crate::record::{Block, BlockInfo, Source, TermIndex, Timestamp};
use crate::tenant::Snapshot;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows that go from the query's thread to its reader at a time.
const ROWS_PER_MESSAGE: usize = 256;
/// Fewer where these take so many bytes.
const BYTES_PER_MESSAGE: usize = 1 << 20;
/// Messages under way: with the one being filled, what a slow reader makes a query keep.
const MESSAGES_MAX: usize = 4;
/// How long a query waits for its reader before it looks again, at first and at most.
const SEND_AGAIN_AFTER: Duration = Duration::from_micros(50);
const SEND_AGAIN_AFTER_MAX: Duration = Duration::from_millis(5);
/// Sequence numbers that a tail looks through at a time.
const TAIL_WINDOW: u64 = 1 << 16;

/// Bounds of a query, beside its text.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Only records from here on.
    pub start: Option<Timestamp>,
    /// Only records before.
    pub end: Option<Timestamp>,
    /// At most so many rows of the result.
    pub limit: Option<u64>,
    /// Rows of the result to skip.
    pub offset: u64,
    /// What relative times count from; by default the clock.
    pub now: Option<Timestamp>,
    /// What the query may use.
    pub limits: Limits,
    /// Ends the query soon after it is set.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Is it an error where records can't be read that might match? Otherwise the answer is what can be read, and
    /// [`Rows::missing`] says what it misses.
    pub strict: bool,
}

/// Parses a query and puts the options' limit and offset behind its pipes.
fn plan(text: &str, options: &QueryOptions) -> Result<(String, Plan, TimeSpan), Error> {
    let mut query: Query = crate::query::parse(text)?;
    let canonical = query.to_string();
    if options.offset > 0 {
        query.pipes.push(Pipe::Offset(options.offset));
    }
    if let Some(limit) = options.limit {
        query.pipes.push(Pipe::Limit(limit));
    }
    let bounds = TimeSpan::half_open(options.start, options.end);
    let now = options.now.unwrap_or_else(Timestamp::now);
    let plan = Plan::new(&query, now, Some(bounds), options.limits)?;
    let span = plan.span();
    Ok((canonical, plan, span))
}

/// Explains a query; see [`Tenant::explain`].
pub(super) fn explain(tenant: &Tenant, text: &str, options: &QueryOptions) -> Result<Explanation, Error> {
    let (_, plan, span) = plan(text, options)?;
    let (_, sources) = tenant.core.sources(span.first, span.last)?;
    Ok(crate::exec::explain(&plan, &sources)?)
}

impl Tenant {
    /// Runs a query and hands each row to `sink` on this thread, until it breaks.
    ///
    /// Rows that came before an error are right, but not all. Where `records_missing` of what this gives is above zero,
    /// damaged records were left out.
    pub fn query_each(
        &self,
        text: &str,
        options: &QueryOptions,
        sink: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<QueryStats, Error> {
        let (_, plan, span) = plan(text, options)?;
        let (_snapshot, sources) = self.core.sources(span.first, span.last)?;
        let never = AtomicBool::new(false);
        let cancel = options.cancel.as_deref().unwrap_or(&never);
        let peak = AtomicU64::new(0);
        let store = self.store.options();
        let execution = Execution::new().threads(store.query_threads).cancel(cancel).strict(options.strict);
        let result = execution.memory_peak(&peak).run(&plan, &sources, sink);
        MemoryFreed::tell(&store.memory_freed, peak.into_inner());
        Ok(result?)
    }
}

/// What the query's thread says. The end is said, too: a thread that panicked says nothing, and what came before must
/// not look like a whole answer.
enum Message {
    Rows(Vec<Row>),
    End(Result<(), Error>),
}

/// The rows of a query, from a thread of its own; dropping this ends it.
#[derive(Debug)]
pub struct Rows {
    canonical: String,
    /// Gone only while this is dropped.
    receiver: Option<Receiver<Message>>,
    thread: Option<JoinHandle<()>>,
    ready: VecDeque<Row>,
    cancel: Arc<AtomicBool>,
    stats: Arc<Mutex<QueryStats>>,
    missed: Arc<Missed>,
    /// Did the query's thread stop without a word since it was ended?
    was_ended: Arc<AtomicBool>,
    ended: bool,
}

impl Rows {
    pub(super) fn start(tenant: &Tenant, text: &str, options: &QueryOptions) -> Result<Rows, Error> {
        tenant.store.workers().busy();
        let (canonical, plan, span) = plan(text, options)?;
        // Taken before this returns, so that the rows are those of now.
        let (snapshot, sources) = tenant.core.sources(span.first, span.last)?;
        let cancel = options.cancel.clone().unwrap_or_default();
        let stats = Arc::new(Mutex::new(QueryStats::default()));
        let (sender, receiver) = sync_channel(MESSAGES_MAX);
        let threads = tenant.store.options().query_threads;
        let (flag, out) = (cancel.clone(), stats.clone());
        let told = Arc::new(AtomicBool::new(false));
        let was_ended = told.clone();
        let missed = Arc::new(Missed::default());
        let (noted, strict) = (missed.clone(), options.strict);
        // The tenant is kept open while its rows are read.
        let tenant = tenant.clone();
        let thread = std::thread::Builder::new()
            .name("duramen-query".into())
            .spawn(move || {
                let peak = AtomicU64::new(0);
                let execution = Execution::new().threads(threads).cancel(&flag).missed(&noted).strict(strict);
                let out = Out { sender, snapshot: &snapshot, stats: &out };
                let is_told = run(execution.memory_peak(&peak), &plan, &sources, &out);
                was_ended.store(!is_told && snapshot.is_ended(), Ordering::Release);
                MemoryFreed::tell(&tenant.store.options().memory_freed, peak.into_inner());
            })
            .map_err(|e| StorageError::io("start a thread", std::path::Path::new("query"), e))?;
        Ok(Rows {
            canonical,
            receiver: Some(receiver),
            thread: Some(thread),
            ready: VecDeque::new(),
            cancel,
            stats,
            missed,
            was_ended: told,
            ended: false,
        })
    }

    /// The query as it was understood.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The damaged records that the answer misses, where it was not asked for strictly: those that were come upon so
    /// far, and all of them when the rows have ended. Empty where the answer is whole.
    pub fn missing(&self) -> Vec<Missing> {
        self.missed.list()
    }

    /// What [`Rows::missing`] lists, as it is noted, for another thread.
    pub fn missed(&self) -> Arc<Missed> {
        self.missed.clone()
    }

    /// What the query did; complete when the rows have ended.
    pub fn stats(&self) -> QueryStats {
        *self.stats.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Where the rows of a query go.
struct Out<'q> {
    sender: SyncSender<Message>,
    snapshot: &'q Snapshot,
    stats: &'q Mutex<QueryStats>,
}

impl Out<'_> {
    /// Sends, waiting for a slow reader; `false` where there is none any more, or where the query is ended since what
    /// it reads is to go from the disk.
    fn send(&self, mut message: Message) -> bool {
        let mut pause = SEND_AGAIN_AFTER;
        loop {
            message = match self.sender.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if self.snapshot.is_ended() => return false,
                Err(TrySendError::Full(message)) => message,
            };
            std::thread::sleep(pause);
            pause = (pause * 2).min(SEND_AGAIN_AFTER_MAX);
        }
    }
}

/// Runs a query to its end; says whether that was told.
fn run(execution: Execution<'_>, plan: &Plan, sources: &[Arc<dyn Source>], out: &Out<'_>) -> bool {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut first = true;
    let mut sink = |row: Row| {
        bytes += row.memory();
        batch.push(row);
        // The first row goes at once: whoever asks for a few wants to see them.
        if first || batch.len() >= ROWS_PER_MESSAGE || bytes >= BYTES_PER_MESSAGE {
            (first, bytes) = (false, 0);
            if !out.send(Message::Rows(std::mem::take(&mut batch))) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let result = execution.run(plan, sources, &mut sink);
    let end = match result {
        Ok(stats) => {
            *out.stats.lock().unwrap_or_else(|e| e.into_inner()) = stats;
            Ok(())
        }
        // Whatever it was that failed, this is why.
        Err(_) if out.snapshot.is_ended() => Err(ErrorKind::Ended.into()),
        Err(error) => Err(error.into()),
    };
    // Where nobody listens any more there is nobody to tell.
    out.send(Message::Rows(batch)) && out.send(Message::End(end))
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            let Some(receiver) = &self.receiver else { return None };
            match receiver.recv() {
                Ok(Message::Rows(rows)) => self.ready.extend(rows),
                Ok(Message::End(end)) => {
                    self.ended = true;
                    return end.err().map(Err);
                }
                Err(_) => {
                    self.ended = true;
                    let was_ended = self.was_ended.load(Ordering::Acquire);
                    return Some(Err(if was_ended { ErrorKind::Ended.into() } else { ExecError::Panicked.into() }));
                }
            }
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        // The thread holds the store open: with nobody to listen it ends soon, and when this returns it has.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was told as an error.
            let _ = thread.join();
        }
    }
}

/// Follows a tenant's commits; see [`Tenant::tail`].
#[derive(Debug)]
pub struct Tail {
    tenant: Tenant,
    plan: Plan,
    after: Seq,
    missed: Missed,
    ready: VecDeque<(Seq, Row)>,
}

impl Tail {
    pub(super) fn start(tenant: &Tenant, filter: &str, after: Option<Seq>) -> Result<Tail, Error> {
        let query: Query = crate::query::parse(filter)?;
        // Other pipes need an end, which a tail lacks, or take from a record what it is followed by.
        if let Some(pipe) = query.pipes.iter().find(|p| !matches!(p, Pipe::Filter(_))) {
            let name = pipe.to_string();
            return Err(ErrorKind::NotInTail(name).into());
        }
        let plan = Plan::new(&query, Timestamp::now(), None, Limits::default())?;
        let after = after.unwrap_or_else(|| tenant.core.last_seq());
        Ok(Tail { tenant: tenant.clone(), plan, after, missed: Missed::default(), ready: VecDeque::new() })
    }

    /// The next record, or `None` where none came in time. A record's number is what to go on after.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<(Seq, Row)>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(Some(next));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let last = self.tenant.core.wait_beyond(self.after, left);
            if last <= self.after {
                return Ok(None);
            }
            let to = Seq(last.0.min(self.after.0 + TAIL_WINDOW));
            self.read(to)?;
            self.after = to;
        }
    }

    /// The damaged records that it misses, of what it looked through so far.
    pub fn missing(&self) -> Vec<Missing> {
        self.missed.list()
    }

    fn read(&mut self, to: Seq) -> Result<(), Error> {
        let from = self.after;
        let (_, all) = self.tenant.core.sources(Timestamp(i64::MIN), Timestamp(i64::MAX))?;
        let sources: Vec<Arc<dyn Source>> =
            all.into_iter().map(|source| Arc::new(Window::new(source, from, to)) as Arc<dyn Source>).collect();
        let mut rows = Vec::new();
        Execution::new().missed(&self.missed).run(&self.plan, &sources, &mut |row| {
            if let Some(seq) = row.seq().filter(|&seq| seq > from && seq <= to) {
                rows.push((seq, row));
            }
            ControlFlow::Continue(())
        })?;
        rows.sort_by_key(|(seq, _)| *seq);
        self.ready.extend(rows);
        Ok(())
    }
}

/// Of a source, the blocks that have records of a range of numbers.
struct Window {
    source: Arc<dyn Source>,
    blocks: Vec<usize>,
}

impl Window {
    fn new(source: Arc<dyn Source>, after: Seq, to: Seq) -> Self {
        let meets = |info: BlockInfo| info.seq.1 > after && info.seq.0 <= to;
        let blocks = (0..source.len()).filter(|&b| meets(source.info(b))).collect();
        Window { source, blocks }
    }
}

impl Source for Window {
    fn label(&self) -> String {
        self.source.label()
    }
    fn len(&self) -> usize {
        self.blocks.len()
    }
    fn info(&self, block: usize) -> BlockInfo {
        self.source.info(self.blocks[block])
    }
    fn block(&self, block: usize) -> Result<Arc<dyn Block>, StorageError> {
        self.source.block(self.blocks[block])
    }
    fn damage(&self, block: usize) -> Option<StorageError> {
        self.source.damage(self.blocks[block])
    }
    fn note_damage(&self, block: usize, error: &StorageError) {
        self.source.note_damage(self.blocks[block], error);
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        // Its answers are in the source's numbers of blocks; a few recent blocks are scanned as fast.
        None
    }
}
