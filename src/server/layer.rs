//! What every request goes through: its id, the count of those under way, the door while the server shuts down.

use super::App;
use super::answer::Held;
use super::error::ApiError;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Longest id that is taken over, in bytes.
const ID_BYTES_MAX: usize = 128;
/// Routes that answer while the server shuts down.
const PROBES: [&str; 6] = ["/health", "/health/live", "/health/ready", "/health/detailed", "/ready", "/metrics"];

/// The routes, as they are counted.
pub(super) const ROUTES: [&str; 10] = [
    "/api/v1/admin/restore",
    "/api/v1/delete",
    "/api/v1/ingest",
    "/api/v1/query",
    "/health",
    "/health/live",
    "/health/ready",
    "/health/detailed",
    "/ready",
    "/metrics",
];

/// A request under way, until its answer is out or dropped.
struct InFlight(Arc<AtomicU64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = ROUTES.into_iter().find(|route| *route == request.uri().path()).unwrap_or("other");
    let request_id = id(request.headers(), &REQUEST_ID).unwrap_or_else(made);
    let correlation_id = id(request.headers(), &CORRELATION_ID).unwrap_or_else(|| request_id.clone());
    app.in_flight.fetch_add(1, Ordering::AcqRel);
    let in_flight = InFlight(app.in_flight.clone());
    let mut response = if app.draining.load(Ordering::Acquire) && !PROBES.contains(&route) {
        ApiError::unavailable("shutting_down", "the server is shutting down").into_response()
    } else {
        next.run(request).await
    };
    let status = response.status();
    app.metrics.answered(route, status.as_u16(), begun.elapsed());
    if status.is_server_error() {
        let (request, correlation) = (request_id.to_str().unwrap_or("?"), correlation_id.to_str().unwrap_or("?"));
        eprintln!("duramen: {route} answered {status} (request {request}, correlation {correlation})");
    }
    response.headers_mut().insert(REQUEST_ID, request_id);
    response.headers_mut().insert(CORRELATION_ID, correlation_id);
    let (parts, body) = response.into_parts();
    // A body of known length is held by hyper alone; only streams outlive this call by more than a moment.
    if axum::body::HttpBody::size_hint(&body).exact().is_some() {
        return Response::from_parts(parts, body);
    }
    let held = Held { body: body.into_data_stream(), _held: in_flight };
    Response::from_parts(parts, Body::from_stream(held))
}

/// An id that was sent, if it is one: a log line that quotes it stays one line.
fn id(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let value = headers.get(name)?;
    let text = value.as_bytes();
    let plain = !text.is_empty() && text.len() <= ID_BYTES_MAX && text.iter().all(u8::is_ascii_graphic);
    plain.then(|| value.clone())
}

fn made() -> HeaderValue {
    // Without random numbers ids are alike; a request is no less answered.
    let random = getrandom::u64().unwrap_or(0);
    HeaderValue::from_str(&format!("{random:016x}")).unwrap_or_else(|_| HeaderValue::from_static("0"))
}
