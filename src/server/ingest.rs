//! `POST /api/v1/ingest`.

use super::error::ApiError;
use super::params::Params;
use super::small::{self, Parsed, SMALL_BODY_BYTES_MAX};
use super::{App, answer, auth, body};
use crate::front::parse_labels;
use crate::ingest::{DecodeError, Decoder, Encoding, Format, IngestOptions, Ingester, Rejected, Rejections, Sink};
use crate::record::{Batch, Timestamp};
use crate::store::{Ack, Roles, Tenant};
use crate::tenant::{AppendOptions, Idempotency, RECEIPT_ANSWER_BYTES_MAX};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Records are taken up to so far ahead of the clock; later ones are rejected, with a reason.
const AHEAD_NS_MAX: i64 = 24 * 3600 * 1_000_000_000;
/// Bytes of texts that wait for the end of the body: of one that goes wrong within these, nothing is stored.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Bytes of a body with an idempotency key, unpacked: it is committed as one frame, so that it is stored whole or not at
/// all, and waits in memory until then.
const KEYED_BODY_BYTES_MAX: u64 = 8 << 20;
/// Whether an answer was given before.
const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
/// Bytes unpacked at a time.
const PART_BYTES: usize = 64 << 10;

/// What a request asks for, besides its body.
struct Asked {
    options: IngestOptions,
    ack: Ack,
    encoding: Encoding,
    limit: u64,
    /// Bytes of the body, as its head says.
    announced: Option<u64>,
    keyed: Option<Keyed>,
}

impl Asked {
    /// How many bytes a body has that is small and plain.
    fn small(&self) -> Option<u64> {
        let is_plain = self.keyed.is_none() && self.encoding == Encoding::Identity;
        self.announced.filter(|bytes| is_plain && *bytes <= SMALL_BODY_BYTES_MAX.min(self.limit))
    }
}

/// The key of a request, and a hash of what it asks for that grows with its body.
struct Keyed {
    idempotency: Idempotency,
    hasher: blake3::Hasher,
}

impl Keyed {
    fn new(headers: &HeaderMap, options: &IngestOptions) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let no_text = |_| ApiError::bad_request("the Idempotency-Key is not made of visible ASCII characters");
        let idempotency = Idempotency::new(value.to_str().map_err(no_text)?)?;
        // What makes other records of the same body is part of what was asked; how it is packed or acknowledged is not.
        let mut hasher = blake3::Hasher::new();
        let labels = options.labels.to_string();
        let one = [&labels].into_iter().chain(&options.time_field).chain(&options.msg_field);
        let shape = [usize::from(options.time_field.is_some()), usize::from(options.msg_field.is_some())];
        for number in shape {
            hasher.update(&(number as u64).to_le_bytes());
        }
        for text in one.chain(&options.stream_fields) {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&u64::MAX.to_le_bytes());
        Ok(Some(Keyed { idempotency, hasher }))
    }
}

pub(super) async fn ingest(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, stream) = request.into_parts();
    let tenant = auth::admit(&app, &parts.headers, peer.ip(), Roles::WRITE).await?;
    let mut asked = asked(&app, parts.uri.query().unwrap_or_default(), &parts.headers)?;
    if let Some(kept) = tenant.policy().age_ns_max() {
        asked.options.time_min = Timestamp(asked.options.arrival.0.saturating_sub(kept));
    }
    if let Some(bytes) = asked.small() {
        return take_small(&app, &tenant, asked, stream, bytes).await;
    }
    let permit = app.ingests.take(tenant.name(), app.wait()).await?;
    let idle = Duration::from_millis(app.limits.body_idle_ms_max);
    let (pump, reader) = body::split(stream, idle);
    let worker = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        take_in(&app, &tenant, asked, reader)
    });
    // The pump ends where the worker does; dropped with the request, it makes the worker end.
    pump.run().await;
    worker.await.map_err(|e| ApiError::internal(e.to_string()))?
}

fn asked(app: &App, query: &str, headers: &HeaderMap) -> Result<Asked, ApiError> {
    let params = Params::urlencoded(query)?;
    let mut options = IngestOptions::new(Timestamp::now()).format(Format::Json);
    options.labels = params.parsed("stream", parse_labels)?.unwrap_or_default();
    options.stream_fields = params.list("stream_fields");
    options.time_field = params.get("time_field").map(String::from);
    options.msg_field = params.get("msg_field").map(String::from);
    options.time_max = Timestamp(options.arrival.0.saturating_add(AHEAD_NS_MAX));
    let ack = params.parsed("ack", str::parse::<Ack>)?.unwrap_or(app.store.ack());
    let name = headers.get(header::CONTENT_ENCODING).map_or("", |v| v.to_str().unwrap_or("?"));
    let encoding = Encoding::from_name(name).ok_or_else(|| {
        let message = format!("the encoding `{name}` is not known");
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message).hint("send gzip or zstd")
    })?;
    let keyed = Keyed::new(headers, &options)?;
    options.one_batch = keyed.is_some();
    let mut limit = app.limits.ingest_body_bytes_max;
    if keyed.is_some() {
        limit = limit.min(KEYED_BODY_BYTES_MAX);
    }
    let announced: Option<u64> =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(too_large(limit, keyed.is_some()));
    }
    Ok(Asked { options, ack, encoding, limit, announced, keyed })
}

/// A body that needs no thread of its own.
async fn take_small(
    app: &Arc<App>,
    tenant: &Tenant,
    asked: Asked,
    body: Body,
    announced: u64,
) -> Result<Response, ApiError> {
    let body = small::read(body, announced, Duration::from_millis(app.limits.body_idle_ms_max)).await?;
    let Parsed { batches, rejections } = Parsed::new(Ingester::new(&asked.options), &body);
    let (mut stored, mut done) = (0, Ok(()));
    for batch in batches {
        let committed = match small::commit(app, tenant, batch, asked.ack).await {
            Ok(committed) => committed,
            Err(batch) => {
                let permit = app.ingests.take(tenant.name(), app.wait()).await?;
                let (tenant, ack) = (tenant.clone(), asked.ack);
                let append = move || {
                    let _permit = permit;
                    Ok(u64::from(tenant.append_batch(&batch, ack)?.records))
                };
                tokio::task::spawn_blocking(append).await.map_err(|e| ApiError::internal(e.to_string()))?
            }
        };
        match committed {
            Ok(records) => stored += records,
            Err(error) => {
                done = Err(error);
                break;
            }
        }
    }
    app.metrics.ingested(stored, body.len() as u64, rejections.count);
    finished(done, stored, &rejections, asked.ack, usize::MAX)
}

/// A body over the limit, which is a lower one for those with a key.
fn too_large(limit: u64, keyed: bool) -> ApiError {
    if !keyed || limit < KEYED_BODY_BYTES_MAX {
        return ApiError::too_large(limit);
    }
    let message = format!("the body of a request with an Idempotency-Key is larger than {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
        .hint("send it in several requests, each with a key of its own")
}

fn take_in(app: &App, tenant: &Tenant, asked: Asked, reader: body::BodyReader) -> Result<Response, ApiError> {
    let Asked { options, ack, encoding, limit, mut keyed, .. } = asked;
    let mut sink = Appending {
        tenant,
        ack,
        waiting: Vec::new(),
        waiting_bytes: 0,
        one_batch: keyed.is_some(),
        stored: 0,
        rejections: Rejections::default(),
    };
    let mut ingester = Ingester::new(&options);
    let mut bytes = 0;
    let input = Input { reader, encoding, limit, keyed: keyed.as_mut() };
    let read = input.read_all(&mut ingester, &mut sink, &mut bytes);
    let mut replayed = None;
    let done = read.and_then(|()| {
        // What waits is committed with the key, at the end.
        ingester.finish(&mut sink)?;
        match keyed {
            Some(keyed) => sink.commit_once(keyed).map(|answer| replayed = answer),
            None => sink.commit(),
        }
    });
    let Appending { stored, rejections, .. } = sink;
    app.metrics.ingested(stored, bytes, rejections.count);
    if let (Ok(()), Some(before)) = (&done, replayed) {
        let mut response = answer::json(StatusCode::OK, String::from_utf8_lossy(&before).into_owned());
        response.headers_mut().insert(REPLAY, HeaderValue::from_static("true"));
        return Ok(response);
    }
    let bytes_max = if options.one_batch { RECEIPT_ANSWER_BYTES_MAX } else { usize::MAX };
    finished(done, stored, &rejections, ack, bytes_max)
}

/// What is answered at the end of a body.
fn finished(
    done: Result<(), ApiError>,
    stored: u64,
    rejections: &Rejections,
    ack: Ack,
    bytes_max: usize,
) -> Result<Response, ApiError> {
    if let Err(error) = done {
        return Err(if stored > 0 { error.with("accepted", stored) } else { error });
    }
    let mut answer = told(stored, rejections, ack, bytes_max);
    if stored > 0 {
        return Ok(answer::json(StatusCode::OK, answer.to_string()));
    }
    let message = if rejections.count == 0 { "the body has no records" } else { "no record was accepted" };
    answer["error"] = json!({"code": "nothing_accepted", "message": message, "hint": null, "span": null});
    Ok(answer::json(StatusCode::BAD_REQUEST, answer.to_string()))
}

/// What is answered where something was stored: with as many rejections as fit.
fn told(stored: u64, rejections: &Rejections, ack: Ack, bytes_max: usize) -> Value {
    let all = |listed: &[Value]| {
        let mut answer = json!({"accepted": stored, "rejected": listed, "ack": ack.to_string()});
        if rejections.count > listed.len() as u64 {
            answer["rejected_total"] = json!(rejections.count);
        }
        answer
    };
    let mut listed: Vec<Value> = Vec::new();
    // A comma each, and the total, which may come to be told.
    let mut bytes = all(&[]).to_string().len() + 40;
    for r in &rejections.first {
        let one = json!({"line": r.line, "reason": r.reason});
        bytes = bytes.saturating_add(one.to_string().len() + 1);
        if bytes > bytes_max {
            break;
        }
        listed.push(one);
    }
    all(&listed)
}

/// A body, and how it is read.
struct Input<'a> {
    reader: body::BodyReader,
    encoding: Encoding,
    limit: u64,
    keyed: Option<&'a mut Keyed>,
}

impl Input<'_> {
    fn read_all(self, ingester: &mut Ingester, sink: &mut Appending<'_>, bytes: &mut u64) -> Result<(), ApiError> {
        let Input { reader, encoding, limit, mut keyed } = self;
        let is_keyed = keyed.is_some();
        let explain = |error: DecodeError| match error {
            DecodeError::TooLarge { limit } => too_large(limit, is_keyed),
            DecodeError::Io(error) => body::unreadable(&error),
            other => ApiError::new(StatusCode::BAD_REQUEST, "bad_encoding", other.to_string()),
        };
        let mut decoder = Decoder::new(reader, encoding, limit).map_err(explain)?;
        let mut part = vec![0; PART_BYTES];
        loop {
            let n = decoder.read(&mut part).map_err(explain)?;
            if n == 0 {
                return Ok(());
            }
            *bytes += n as u64;
            let part = part.get(..n).unwrap_or_default();
            if let Some(keyed) = &mut keyed {
                keyed.hasher.update(part);
            }
            ingester.feed(part, sink)?;
        }
    }
}

/// Appends batches, the first of them only when the body has ended or there are many.
struct Appending<'a> {
    tenant: &'a Tenant,
    ack: Ack,
    waiting: Vec<Batch>,
    waiting_bytes: usize,
    /// Is all of it one batch, which waits for its key?
    one_batch: bool,
    stored: u64,
    rejections: Rejections,
}

impl Appending<'_> {
    fn commit(&mut self) -> Result<(), ApiError> {
        self.waiting_bytes = 0;
        for batch in std::mem::take(&mut self.waiting) {
            self.tenant.append_batch(&batch, self.ack)?;
            self.stored += batch.len() as u64;
        }
        Ok(())
    }

    /// Commits the one batch of a request with a key. Gives what was answered before, where it came again. A request
    /// without a record leaves no receipt: nothing was stored, and it can be tried again with the key.
    fn commit_once(&mut self, keyed: Keyed) -> Result<Option<Box<[u8]>>, ApiError> {
        let Some(batch) = self.waiting.pop() else { return Ok(None) };
        let records = batch.len() as u64;
        let answer = told(records, &self.rejections, self.ack, RECEIPT_ANSWER_BYTES_MAX).to_string();
        let idempotency = keyed.idempotency.request(*keyed.hasher.finalize().as_bytes()).answer(answer.as_bytes());
        let options = AppendOptions::new().ack(self.ack).idempotency(idempotency);
        let committed = self.tenant.append_batch_with(&batch, options)?;
        if committed.replayed.is_none() {
            self.stored += records;
        }
        Ok(committed.replayed)
    }
}

impl Sink for Appending<'_> {
    type Error = ApiError;

    fn batch(&mut self, batch: Batch) -> Result<(), ApiError> {
        self.waiting_bytes += batch.text_bytes();
        self.waiting.push(batch);
        if self.waiting_bytes > WAITING_BYTES_MAX && !self.one_batch { self.commit() } else { Ok(()) }
    }

    fn rejected(&mut self, rejected: Rejected<'_>) {
        self.rejections.add(rejected);
    }
}
