//! `POST /api/v1/ingest`.

use super::error::ApiError;
use super::params::Params;
use super::{App, answer, auth, body, layer};
use crate::front::parse_labels;
use crate::id::TenantId;
use crate::ingest::{DecodeError, Decoder, Encoding, Format, IngestOptions, Ingester, Rejected, Rejections, Sink};
use crate::record::{Batch, Timestamp};
use crate::store::{Ack, Roles, Tenant};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Records are taken up to so far ahead of the clock; later ones are rejected, with a reason.
const AHEAD_NS_MAX: i64 = 24 * 3600 * 1_000_000_000;
/// Bytes of texts that wait for the end of the body: of one that goes wrong within these, nothing is stored.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Bytes unpacked at a time.
const PART_BYTES: usize = 64 << 10;

/// What a request asks for, besides its body.
struct Asked {
    options: IngestOptions,
    ack: Ack,
    encoding: Encoding,
    limit: u64,
}

pub(super) async fn ingest(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, stream) = request.into_parts();
    let tenant = auth::admit(&app, &parts.headers, peer.ip(), Roles::WRITE).await?;
    let asked = asked(&app, parts.uri.query().unwrap_or_default(), &parts.headers)?;
    let permit = layer::turn(&app, &app.ingests, "limits.ingests_max").await?;
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
    let ack = params.parsed("ack", str::parse::<Ack>)?.unwrap_or(Ack::Fsync);
    let name = headers.get(header::CONTENT_ENCODING).map_or("", |v| v.to_str().unwrap_or("?"));
    let encoding = Encoding::from_name(name).ok_or_else(|| {
        let message = format!("the encoding `{name}` is not known");
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message).hint("send gzip or zstd")
    })?;
    let limit = app.limits.ingest_body_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > limit) {
        return Err(ApiError::too_large(limit));
    }
    Ok(Asked { options, ack, encoding, limit })
}

fn take_in(app: &App, tenant: &Tenant, asked: Asked, reader: body::BodyReader) -> Result<Response, ApiError> {
    let Asked { mut options, ack, encoding, limit } = asked;
    if let Some(kept) = retention_ns(app, tenant)? {
        options.time_min = Timestamp(options.arrival.0.saturating_sub(kept));
    }
    let mut sink =
        Appending { tenant, ack, waiting: Vec::new(), waiting_bytes: 0, stored: 0, rejections: Rejections::default() };
    let mut ingester = Ingester::new(&options);
    let mut bytes = 0;
    let read = read_all(reader, encoding, limit, &mut ingester, &mut sink, &mut bytes);
    let done = read.and_then(|()| {
        ingester.finish(&mut sink)?;
        sink.commit()
    });
    let Appending { stored, rejections, .. } = sink;
    app.metrics.ingested(stored, bytes, rejections.count);
    if let Err(error) = done {
        return Err(if stored > 0 { error.with("accepted", stored) } else { error });
    }
    let mut answer = json!({
        "accepted": stored,
        "rejected": rejections.first.iter().map(|r| json!({"line": r.line, "reason": r.reason})).collect::<Vec<_>>(),
        "ack": ack.to_string(),
    });
    if rejections.count > rejections.first.len() as u64 {
        answer["rejected_total"] = json!(rejections.count);
    }
    if stored > 0 {
        return Ok(answer::json(StatusCode::OK, answer.to_string()));
    }
    let message = if rejections.count == 0 { "the body has no records" } else { "no record was accepted" };
    answer["error"] = json!({"code": "nothing_accepted", "message": message, "hint": null, "span": null});
    Ok(answer::json(StatusCode::BAD_REQUEST, answer.to_string()))
}

fn retention_ns(app: &App, tenant: &Tenant) -> Result<Option<i64>, ApiError> {
    let Ok(id) = TenantId::new(tenant.name()) else { return Ok(None) };
    let info = app.store.catalog()?.tenant(&id).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(info.and_then(|info| info.retention_ns()))
}

fn read_all(
    reader: body::BodyReader,
    encoding: Encoding,
    limit: u64,
    ingester: &mut Ingester,
    sink: &mut Appending<'_>,
    bytes: &mut u64,
) -> Result<(), ApiError> {
    let explain = |error: DecodeError| match error {
        DecodeError::TooLarge { limit } => ApiError::too_large(limit),
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
        ingester.feed(part.get(..n).unwrap_or_default(), sink)?;
    }
}

/// Appends batches, the first of them only when the body has ended or there are many.
struct Appending<'a> {
    tenant: &'a Tenant,
    ack: Ack,
    waiting: Vec<Batch>,
    waiting_bytes: usize,
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
}

impl Sink for Appending<'_> {
    type Error = ApiError;

    fn batch(&mut self, batch: Batch) -> Result<(), ApiError> {
        self.waiting_bytes += batch.text_bytes();
        self.waiting.push(batch);
        if self.waiting_bytes > WAITING_BYTES_MAX { self.commit() } else { Ok(()) }
    }

    fn rejected(&mut self, rejected: Rejected<'_>) {
        self.rejections.add(rejected);
    }
}
