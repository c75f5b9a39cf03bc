//! `GET` and `POST /api/v1/query`.

use super::answer::{self, CancelOnDrop, Parts};
use super::error::ApiError;
use super::params::Params;
use super::share::Turn;
use super::{App, auth};
use crate::front::{RowFormat, RowWriter, parse_time, stats_json};
use crate::record::Timestamp;
use crate::store::{Missed, QueryOptions, Roles, Rows, Tenant};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of rows that go out at a time.
const PART_BYTES: usize = 64 << 10;
/// In the head of an answer that misses damaged records: how many at most.
const MISSING_HEADER: HeaderName = HeaderName::from_static("x-duramen-missing");
/// Parts under way to a slow reader.
const PARTS_MAX: usize = 4;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One object with rows, canonical text and figures.
    Whole,
    /// Rows alone.
    Rows(RowFormat),
}

struct Asked {
    text: String,
    options: QueryOptions,
    form: Form,
}

pub(super) async fn query(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = auth::admit(&app, &parts.headers, peer.ip(), Roles::READ).await?;
    let mut params = Params::urlencoded(parts.uri.query().unwrap_or_default())?;
    if parts.method == Method::POST {
        params = posted(&app, &parts.headers, body).await?.or(params);
    }
    let cancel = Arc::new(AtomicBool::new(false));
    let dropped = CancelOnDrop(cancel.clone());
    let asked = asked(&app, &params, &parts.headers, cancel)?;
    let media_type = match asked.form {
        Form::Whole | Form::Rows(RowFormat::Json) => "application/json",
        Form::Rows(RowFormat::Ndjson) => "application/x-ndjson",
        Form::Rows(RowFormat::Csv) => "text/csv; charset=utf-8",
        Form::Rows(RowFormat::Txt | RowFormat::Table) => "text/plain; charset=utf-8",
    };
    let permit = app.queries.take(tenant.name(), app.wait()).await?;
    let (sender, receiver) = channel(PARTS_MAX);
    let (started, start) = tokio::sync::oneshot::channel();
    let told = Told::default();
    let tells = told.clone();
    tokio::task::spawn_blocking(move || run(&app, &tenant, &asked, permit, started, (sender, tells)));
    // Errors before the first bytes have a status of their own.
    start.await.map_err(|_| ApiError::internal("the query ended without an answer"))??;
    let mut response = answered(media_type, receiver, dropped).await?;
    if let Some(records) = told.get().filter(|records| **records > 0) {
        response.headers_mut().insert(MISSING_HEADER, HeaderValue::from(*records));
    }
    Ok(response)
}

/// How many records the head of the answer says are missing; set before the first part is handed on.
type Told = Arc<OnceLock<u64>>;

/// An answer that fits in one part goes out whole, with its length; others as they come.
async fn answered(
    media_type: &'static str,
    mut parts: Receiver<Bytes>,
    cancel: CancelOnDrop,
) -> Result<Response, ApiError> {
    let broken = || ApiError::internal("the query ended without an answer");
    let mut first = parts.recv().await.ok_or_else(broken)?;
    if first.len() < PART_BYTES {
        // Only the last part is short: what comes now is the end, or nothing.
        let end = if first.is_empty() { Some(Bytes::new()) } else { parts.recv().await };
        match end {
            Some(end) if end.is_empty() => return Ok(answer::typed(StatusCode::OK, media_type, Body::from(first))),
            Some(more) => first = [first, more].concat().into(),
            None => return Err(broken()),
        }
    }
    let body = Body::from_stream(Parts { first: Some(first), rest: parts, _cancel: cancel });
    Ok(answer::typed(StatusCode::OK, media_type, body))
}

/// The parameters in the body of a POST: a form, or JSON.
pub(super) async fn posted(app: &App, headers: &HeaderMap, body: Body) -> Result<Params, ApiError> {
    let limit = app.limits.query_body_bytes_max;
    let too_large = |_| {
        let message = format!("the body is larger than {limit} bytes (limits.query_body_bytes_max), or broke off");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let idle = Duration::from_millis(app.limits.body_idle_ms_max);
    let read = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX));
    let bytes = tokio::time::timeout(idle, read).await;
    let bytes = bytes.map_err(|_| super::body::unreadable(&io::ErrorKind::TimedOut.into()))?.map_err(too_large)?;
    let media_type = headers.get(header::CONTENT_TYPE).map_or("", |v| v.to_str().unwrap_or("?"));
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = match essence.as_str() {
        "application/json" => true,
        "application/x-www-form-urlencoded" => false,
        "" => bytes.trim_ascii_start().starts_with(b"{"),
        _ => {
            let message = format!("the media type `{essence}` is not known");
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
                .hint("send a form or application/json"));
        }
    };
    if json {
        return Params::json(&bytes);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::bad_request("the form is not UTF-8"))?;
    Params::urlencoded(text.trim())
}

fn asked(app: &App, params: &Params, headers: &HeaderMap, cancel: Arc<AtomicBool>) -> Result<Asked, ApiError> {
    let text = params
        .get("query")
        .ok_or_else(|| ApiError::bad_request("the parameter `query` is missing").hint("`*` asks for every record"))?;
    let now = Timestamp::now();
    let mut options = QueryOptions {
        start: params.parsed("start", |t| parse_time(t, now))?,
        end: params.parsed("end", |t| parse_time(t, now))?,
        limit: params.parsed("limit", str::parse)?,
        offset: params.parsed("offset", str::parse)?.unwrap_or(0),
        now: Some(now),
        cancel: Some(cancel),
        strict: params.parsed("strict", str::parse)?.unwrap_or(false),
        ..QueryOptions::default()
    };
    options.limits.time = Some(Duration::from_millis(app.limits.query_time_ms_max));
    options.limits.memory_bytes = app.limits.query_memory_bytes_max;
    options.limits.groups = app.limits.query_groups_max;
    options.limits.rows_sorted = app.limits.query_rows_sorted_max;
    let form = match params.get("format") {
        Some("json") => Form::Whole,
        Some(name) => Form::Rows(name.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?),
        None => accepted(headers),
    };
    Ok(Asked { text: text.to_string(), options, form })
}

/// The form that `Accept` asks for; the first known media type counts.
fn accepted(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).map_or("", |v| v.to_str().unwrap_or_default());
    for one in accept.split(',') {
        match one.split(';').next().unwrap_or_default().trim() {
            "application/json" | "*/*" => return Form::Whole,
            "application/x-ndjson" | "application/ndjson" | "application/stream+json" | "application/jsonl" => {
                return Form::Rows(RowFormat::Ndjson);
            }
            "text/csv" => return Form::Rows(RowFormat::Csv),
            "text/plain" => return Form::Rows(RowFormat::Txt),
            _ => {}
        }
    }
    Form::Whole
}

type Started = tokio::sync::oneshot::Sender<Result<(), ApiError>>;

/// Runs the query in its own thread, which holds the permit until all rows are out.
fn run(
    app: &App,
    tenant: &Tenant,
    asked: &Asked,
    _permit: Turn,
    started: Started,
    (parts, told): (Sender<Bytes>, Told),
) {
    let begun = Instant::now();
    let mut rows = match tenant.query_with(&asked.text, &asked.options) {
        Ok(rows) => rows,
        Err(error) => {
            app.metrics.queried(begun.elapsed(), None);
            return drop(started.send(Err(error.into())));
        }
    };
    // What goes wrong before the first row is told with a status.
    let first = match rows.next().transpose() {
        Ok(first) => first,
        Err(error) => {
            app.metrics.queried(begun.elapsed(), None);
            return drop(started.send(Err(error.into())));
        }
    };
    if started.send(Ok(())).is_err() {
        return;
    }
    let idle = Duration::from_millis(app.limits.body_idle_ms_max);
    let buffer = Vec::with_capacity(PART_BYTES);
    let mut out = PartWriter { parts, buffer, runtime: Handle::current(), idle, missed: rows.missed(), told };
    let written = write(&mut rows, first, asked.form, &mut out);
    app.metrics.queried(begun.elapsed(), written.is_ok().then(|| rows.stats()));
}

fn write(rows: &mut Rows, first: Option<crate::store::Row>, form: Form, out: &mut PartWriter) -> io::Result<()> {
    let broken = |error: String| {
        eprintln!("duramen: a query broke off: {error}");
        io::Error::other(error)
    };
    let format = match form {
        Form::Rows(format) => format,
        Form::Whole => RowFormat::Json,
    };
    if form == Form::Whole {
        out.write_all(b"{\"data\":{\"rows\":")?;
    }
    let mut writer = RowWriter::new(&mut *out, format);
    if let Some(first) = first {
        writer.row(&first)?;
        for row in &mut *rows {
            writer.row(&row.map_err(|e| broken(e.to_string()))?)?;
        }
    }
    writer.end()?;
    if form == Form::Whole {
        let mut stats = stats_json(&rows.stats());
        if let Some(members) = stats.as_object_mut() {
            members.insert("missing".into(), serde_json::to_value(rows.missing()).unwrap_or_default());
        }
        let canonical = serde_json::Value::from(rows.canonical());
        writeln!(out, ",\"query\":{canonical},\"stats\":{stats}}}}}")?;
    }
    out.send()?;
    if form != Form::Whole && out.told.get().copied().unwrap_or(0) != out.missed.records() {
        // Rows alone have no place to say so behind the head. It is remembered: the next answer says it in its head.
        return Err(broken(format!("{} records can't be read", out.missed.records())));
    }
    // The end; without it the answer breaks off, which is all that is left to do once it has begun.
    out.hand_on(Bytes::new())
}

/// Collects bytes to parts, and hands them on; an error where nobody takes them any more.
struct PartWriter {
    parts: Sender<Bytes>,
    buffer: Vec<u8>,
    runtime: Handle,
    /// How long a reader may stand still: its query holds a place that others wait for.
    idle: Duration,
    missed: Arc<Missed>,
    told: Told,
}

impl PartWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(PART_BYTES));
        self.hand_on(Bytes::from(part))
    }

    fn hand_on(&self, part: Bytes) -> io::Result<()> {
        self.told.get_or_init(|| self.missed.records());
        let sent = self.runtime.block_on(async { tokio::time::timeout(self.idle, self.parts.send(part)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
