//! `POST /api/v1/delete`.

use super::error::ApiError;
use super::query::posted;
use super::{App, answer, auth};
use crate::store::{DeleteOptions, Roles};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::Arc;

/// Deletes what a query matches, for an administrator of the tenant, and answers when it is gone from the disk, or is
/// not since somebody still reads it. A client that goes away does not stop it.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = auth::admit(&app, &parts.headers, peer.ip(), Roles::ADMIN).await?;
    let params = posted(&app, &parts.headers, body).await?;
    let query = params.get("query").ok_or_else(|| ApiError::bad_request("the parameter `query` is missing"))?;
    let query = query.to_string();
    let dry_run = params.parsed("dry_run", str::parse)?.unwrap_or(false);
    let options = DeleteOptions { dry_run, ..DeleteOptions::default() };
    let deleted = tokio::task::spawn_blocking(move || tenant.delete(&query, &options)).await;
    let report = deleted.map_err(|e| ApiError::internal(e.to_string()))??;
    let status = if report.done || report.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let text = serde_json::to_string(&report).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(answer::json(status, text))
}
