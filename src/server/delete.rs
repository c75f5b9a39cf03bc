//! Deletion: of what a query matches (`POST /api/v1/delete`), of a tenant (`DELETE /api/v1/admin/tenants/{name}`), and how
//! a job of either stands (`GET /api/v1/delete/{id}`).

use super::error::ApiError;
use super::jobs::{Work, audit_begin, audit_end, ended};
use super::query::posted;
use super::{App, answer, auth};
use crate::store::{DeleteOptions, Roles, SYSTEM_TENANT};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::Arc;

/// Deletes what a query matches, for an administrator of the tenant. As a job it answers at once; else when it is gone from
/// the disk, or is not since somebody still reads it. A client that goes away does not stop it.
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
    let is_job = params.parsed("job", str::parse)?.unwrap_or(false);
    if is_job && dry_run {
        return Err(ApiError::bad_request("`dry_run` counts at once, and is no job"));
    }
    blocking(move || {
        let by = app.asker(&parts.headers, peer.ip())?;
        let work = Work::Records { tenant: tenant.clone(), query: query.clone(), bound: None };
        if is_job {
            let told = app.jobs.begin(&app.store, work, &by)?;
            return Ok(answer::json(StatusCode::ACCEPTED, told.to_string()));
        }
        tenant.check_delete(&query)?;
        let options = DeleteOptions { dry_run, ..DeleteOptions::default() };
        if !dry_run {
            audit_begin(&app.store, &work, &by, None)?;
        }
        let deleted = tenant.delete(&query, &options);
        if !dry_run {
            let record = match &deleted {
                Ok(report) if report.done => ended(&work, None, "done", Some(report)),
                Ok(report) => ended(&work, None, "held by readers", Some(report)),
                Err(e) => ended(&work, None, "failed", None).with("reason", e.to_string()),
            };
            audit_end(&app.store, &work, &by, record);
        }
        let report = deleted?;
        let status = if report.done || report.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
        let text = serde_json::to_string(&report).map_err(|e| ApiError::internal(e.to_string()))?;
        Ok(answer::json(status, text))
    })
    .await
}

/// Deletes a tenant, as a job, for an administrator of the system.
pub(super) async fn delete_tenant(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    blocking(move || {
        app.admit_system(&headers, peer.ip())?;
        if name == SYSTEM_TENANT {
            let message = "the tenant `system` has the audit records, and can't be deleted";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
                .hint("a rule of retention says how long they stay"));
        }
        if !app.store.tenants()?.contains(&name) {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "no_such_tenant", "there is no such tenant"));
        }
        let by = app.asker(&headers, peer.ip())?;
        let told = app.jobs.begin(&app.store, Work::Tenant { name }, &by)?;
        Ok(answer::json(StatusCode::ACCEPTED, told.to_string()))
    })
    .await
}

/// How a job stands, for who may begin one of its kind. One of another tenant and none get the same answer.
pub(super) async fn job(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    blocking(move || {
        let system = app.admit_system(&headers, peer.ip());
        let own = match &system {
            Ok(()) => None,
            Err(_) => Some(app.admit(&headers, peer.ip(), Roles::ADMIN)?),
        };
        let may_see = |told: &serde_json::Value| {
            own.as_ref().is_none_or(|own| told["tenant"] == own.name() && told["kind"] == "delete")
        };
        match app.jobs.find(&app.store, &id)?.filter(may_see) {
            Some(told) => Ok(answer::json(StatusCode::OK, told.to_string())),
            None => Err(ApiError::new(StatusCode::NOT_FOUND, "no_such_job", "there is no such job")),
        }
    })
    .await
}

async fn blocking(work: impl FnOnce() -> Result<Response, ApiError> + Send + 'static) -> Result<Response, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| ApiError::internal(e.to_string()))?
}
