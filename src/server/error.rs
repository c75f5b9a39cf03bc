//! Errors as answers.

use crate::query::ParseError;
use crate::store::{AuthError, Error, ExecError};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub(super) struct ApiError(Box<Told>);

#[derive(Clone, Debug)]
struct Told {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
    span: Option<(usize, usize)>,
    retry_after_s: Option<u64>,
    /// Members beside `error`.
    more: Map<String, Value>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let (hint, span, retry_after_s, more) = (None, None, None, Map::new());
        ApiError(Box::new(Told { status, code, message, hint, span, retry_after_s, more }))
    }
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.into(), value.into());
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }
    /// The same for a tenant that is another's and for one that does not exist.
    pub(super) fn access_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Access denied")
    }
    pub(super) fn role(role: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("the token lacks the role `{role}`"))
    }
    pub(super) fn too_large(limit: u64) -> Self {
        let message = format!("the body is larger than {limit} bytes (limits.ingest_body_bytes_max)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).hint("send it in several requests")
    }
    pub(super) fn too_many(message: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(retry_after_s)
    }
    pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(5)
    }
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<&ParseError> for ApiError {
    fn from(error: &ParseError) -> Self {
        let mut api = ApiError::new(StatusCode::BAD_REQUEST, ParseError::CODE, error.summary());
        api.0.hint = error.hint.clone();
        api.0.span = Some((error.span.start, error.span.end));
        api
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        if let Some(parse) = error.as_query_error() {
            return parse.into();
        }
        let text = error.to_string();
        match error.as_exec_error() {
            Some(ExecError::LimitExceeded { .. }) => {
                return ApiError::new(StatusCode::BAD_REQUEST, "limit_exceeded", text)
                    .hint("narrow the time or the filter, or add `| limit`");
            }
            Some(ExecError::Regex { .. }) => return ApiError::new(StatusCode::BAD_REQUEST, ParseError::CODE, text),
            Some(ExecError::Cancelled) => return ApiError::unavailable("cancelled", text),
            _ => {}
        }
        if let Some(quota) = error.as_quota_error() {
            return ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", text)
                .hint("ask for a larger quota, or for shorter retention")
                .with("quota", json!({"name": quota.quota, "limit": quota.limit, "used": quota.used}));
        }
        if error.is_no_such_tenant() {
            ApiError::access_denied()
        } else if error.is_being_deleted() {
            ApiError::new(StatusCode::CONFLICT, "being_deleted", text)
        } else if error.is_low_space() {
            ApiError::unavailable("low_space", text).retry_after(30)
        } else if error.is_out_of_space() {
            ApiError::unavailable("disk_full", "the disk is full: nothing was stored").retry_after(30)
        } else if error.is_closed() {
            ApiError::unavailable("shutting_down", "the server is shutting down")
        } else if error.is_read_only() {
            ApiError::unavailable("read_only", text)
        } else if error.is_key_reused() {
            ApiError::new(StatusCode::CONFLICT, "key_reused", text).hint("each request has a key of its own")
        } else if error.is_too_many_keys() {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_keys", text)
                .retry_after(60)
                .hint("send more records in each request, or none of the keys")
        } else if error.is_not_in_delete() {
            ApiError::new(StatusCode::BAD_REQUEST, ParseError::CODE, text)
        } else if error.is_ended() {
            ApiError::unavailable("cancelled", text)
        } else if error.is_bad_key() {
            ApiError::bad_request(text)
        } else if error.is_bad_record() {
            ApiError::new(StatusCode::BAD_REQUEST, "bad_record", text)
        } else if error.is_damage() {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", without_paths(&text))
        } else {
            ApiError::internal(without_paths(&text))
        }
    }
}

/// Where a store lies on the server's disk is for its log, not for who asks.
fn without_paths(text: &str) -> String {
    eprintln!("duramen: {text}");
    let relative = text.find("tenants/").and_then(|at| text.get(at..));
    match relative {
        Some(rest) => rest.split_once('/').map_or(text, |(_, rest)| rest).to_string(),
        None if text.starts_with('/') => text.split_once(": ").map_or("", |(_, rest)| rest).to_string(),
        None => text.to_string(),
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Address => ApiError::new(StatusCode::FORBIDDEN, "forbidden", error.to_string()),
            AuthError::Catalog(error) => ApiError::internal(without_paths(&error.to_string())),
            AuthError::Expired => ApiError::unauthorized("the token has expired"),
            // A token that was revoked looks like one that never was.
            _ => ApiError::unauthorized("the token is not known"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Told { status, code, message, hint, span, retry_after_s, mut more } = *self.0;
        let span = span.map(|(from, to)| [from, to]);
        more.insert("error".into(), json!({"code": code, "message": message, "hint": hint, "span": span}));
        let mut response = super::answer::json(status, Value::Object(more).to_string());
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let ways = HeaderValue::from_static("Bearer realm=\"duramen\", Basic realm=\"duramen\"");
            headers.insert(header::WWW_AUTHENTICATE, ways);
        }
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, Body::new(body))
    }
}
