//! A [`tracing`] layer that writes a host program's own events into a tenant.
//!
//! Promises: an event costs the program no write and no sync; what can't be kept up with is counted, and the count is
//! itself written. May not know: storage below the store's API.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("logs");
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! let store = duramen::Store::open(&path)?;
//! let (layer, flush) = duramen::layer::layer(store.tenant("host")?, duramen::Labels::new([("app", "shop")]));
//! tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
//!     let _span = tracing::info_span!("request", id = 7).entered();
//!     tracing::warn!(duration = 1500, "slow answer");
//! });
//! flush.flush();
//! let rows: Vec<_> = store.tenant("host")?.query(r#"{app="shop"} level:warn id:7 duration:>1s"#)?.collect();
//! assert_eq!(rows.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::record::{Labels, Level, Record, Timestamp, Value};
use crate::store::Tenant;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Events that wait to be written; more are lost, and counted. A disk that stands still must not stop the program.
const EVENTS_WAITING_MAX: usize = 16_384;
/// Events that are committed together at most.
const EVENTS_PER_COMMIT_MAX: usize = 1024;

enum Message {
    Event(Record),
    Flush(SyncSender<()>),
    End,
}

/// The layer; see [`layer`].
#[derive(Debug)]
pub struct TenantLayer {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Writes what is left when it is dropped. Keep it as long as the program runs.
#[derive(Debug)]
pub struct FlushGuard {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// A layer that writes events into a tenant, in the stream of these labels, and what ends it.
///
/// A record has the event's time, `level`, `target`, `message`, its fields, and those of the spans around it, the inner
/// ones first; `span` is the path of their names. Events are committed by a thread, with the store's acknowledgement.
pub fn layer(tenant: Tenant, labels: Labels) -> (TenantLayer, FlushGuard) {
    let (sender, receiver) = sync_channel(EVENTS_WAITING_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let count = lost.clone();
    let spawned = std::thread::Builder::new().name("duramen-layer".into()).spawn(move || {
        write(&tenant, &labels, &receiver, &count);
    });
    // Without a thread the channel has no other end, and every event counts as lost.
    (TenantLayer { sender: sender.clone(), lost }, FlushGuard { sender, thread: spawned.ok() })
}

impl TenantLayer {
    /// Events that were lost so far, since they came faster than they could be written, or writing failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl FlushGuard {
    /// Waits until all events before this call were written, or could not be.
    pub fn flush(&self) {
        let (sender, receiver) = sync_channel(1);
        if self.sender.send(Message::Flush(sender)).is_ok() {
            let _ = receiver.recv();
        }
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.sender.send(Message::End).is_ok()
        {
            // A panic in it was printed by it.
            let _ = thread.join();
        }
    }
}

fn write(tenant: &Tenant, labels: &Labels, receiver: &Receiver<Message>, lost: &AtomicU64) {
    let mut told = 0;
    while let Ok(first) = receiver.recv() {
        let (mut records, mut flushed, mut ended) = (Vec::new(), Vec::new(), false);
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Event(record) => records.push(record),
                Message::Flush(sender) => flushed.push(sender),
                Message::End => ended = true,
            }
            next = if records.len() < EVENTS_PER_COMMIT_MAX { receiver.try_recv().ok() } else { None };
        }
        let all = lost.load(Ordering::Relaxed);
        if all > told {
            let text = format!("{} events were lost: they came faster than they could be written", all - told);
            records.push(Record::new().at(Timestamp::now()).with("level", "warn").with("message", text));
            told = all;
        }
        if !records.is_empty() && tenant.append_labelled(&records, labels).is_err() {
            // One record over a limit refuses them all; alone, it is the only one.
            let failed = records.iter().filter(|r| tenant.append_labelled(std::slice::from_ref(r), labels).is_err());
            lost.fetch_add(failed.count() as u64, Ordering::Relaxed);
        }
        for sender in flushed {
            // Who asked may have gone.
            let _ = sender.send(());
        }
        if ended {
            return;
        }
    }
}

/// The fields of a span, kept with it.
struct SpanFields(Vec<(Box<str>, Value)>);

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for TenantLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(kept) = span.extensions_mut().get_mut::<SpanFields>()
        {
            kept.0.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut record = Record::new().at(Timestamp::now());
        // A name that comes twice keeps its last value, so that the outermost span goes first.
        let mut path = String::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if !path.is_empty() {
                path.push(':');
            }
            path.push_str(span.name());
            if let Some(kept) = span.extensions().get::<SpanFields>() {
                record.fields.extend(kept.0.iter().cloned());
            }
        }
        if !path.is_empty() {
            record.fields.push(("span".into(), path.into()));
        }
        let metadata = event.metadata();
        record.fields.push(("level".into(), level(*metadata.level()).name().into()));
        record.fields.push(("target".into(), metadata.target().into()));
        let mut fields = Fields(std::mem::take(&mut record.fields));
        event.record(&mut fields);
        record.fields = fields.0;
        if self.sender.try_send(Message::Event(record)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// Takes fields down with their types.
#[derive(Default)]
struct Fields(Vec<(Box<str>, Value)>);

impl Fields {
    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name().into(), value.into()));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, value);
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, value.to_string());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}"));
    }
}
