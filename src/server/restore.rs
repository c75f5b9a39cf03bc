//! `POST /api/v1/admin/restore`: a tenant from the backups of this server, into the store that it serves.

use super::error::ApiError;
use super::{App, answer};
use crate::backup::RestoreOptions;
use crate::front::{parse_labels, parse_time};
use crate::record::Timestamp;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes of the body, which has four short texts.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Which tenant of the backup.
    tenant: String,
    /// Another name for it.
    #[serde(rename = "as")]
    new_name: Option<String>,
    /// Labels, `k=v,..`.
    #[serde(default)]
    stream: String,
    /// A time; the newest run where there is none.
    at: Option<String>,
}

/// Answers when the tenant is there, verified. Where it is the administrator who went, the work goes on.
pub(super) async fn restore(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let (admitting, headers) = (app.clone(), parts.headers);
    let admitted = tokio::task::spawn_blocking(move || admitting.admit_system(&headers, peer.ip())).await;
    admitted.map_err(|e| ApiError::internal(e.to_string()))??;
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| ApiError::bad_request("the body is too large, or broke off"))?;
    let options = options(&body)?;
    let Some(backups) = app.backups.clone() else {
        let message = "this server has no backups: none are in its configuration";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_backup", message).hint("add `[backup]` with a `target`"));
    };
    let restored = tokio::task::spawn_blocking(move || backups.restore(&options)).await;
    let report = restored.map_err(|e| ApiError::internal(e.to_string()))??;
    Ok(answer::json(StatusCode::OK, json!({"data": report}).to_string()))
}

fn options(body: &[u8]) -> Result<RestoreOptions, ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(e.to_string());
    let wanted: Wanted = serde_json::from_slice(body).map_err(|e| bad(&e))?;
    let at = wanted.at.as_deref().map(|text| parse_time(text, Timestamp::now())).transpose().map_err(|e| bad(&e))?;
    Ok(RestoreOptions {
        tenant: Some(wanted.tenant),
        new_name: wanted.new_name,
        stream: parse_labels(&wanted.stream).map_err(|e| bad(&e))?,
        at,
        ..RestoreOptions::default()
    })
}
