//! `/health`, `/ready` and `/metrics`.

use super::error::ApiError;
use super::metrics::Gauges;
use super::{App, answer};
use crate::policy::SpaceLevel;
use crate::record::Timestamp;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The process answers: all that this says.
pub(super) async fn live() -> Response {
    answer::json(StatusCode::OK, json!({"status": "alive"}).to_string())
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let draining = app.draining.load(Ordering::Acquire);
    let checks = checks(app).await;
    let bad = checks.iter().find(|c| c.status == "unhealthy");
    let reason = if draining { Some("shutting down") } else { bad.map(|c| c.name) };
    let ready = reason.is_none();
    let services: Vec<Value> = checks.iter().map(|c| json!({"name": c.name, "status": c.status})).collect();
    let body = json!({"ready": ready, "services": services, "reason": reason});
    answer::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body.to_string())
}

pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    healthy(app, |check| json!(check.status)).await
}

pub(super) async fn detailed(State(app): State<Arc<App>>) -> Response {
    healthy(app, |check| {
        let mut all = check.figures.clone();
        all["status"] = json!(check.status);
        all["time_ms"] = json!(check.time_ms);
        all
    })
    .await
}

async fn healthy(app: Arc<App>, shown: impl Fn(&Check) -> Value) -> Response {
    let uptime = app.started.elapsed().as_secs();
    let checks = checks(app).await;
    let any = |status: &str| checks.iter().any(|c| c.status == status);
    let status = if any("unhealthy") {
        "unhealthy"
    } else if any("degraded") {
        "degraded"
    } else {
        "healthy"
    };
    let body = json!({
        "status": status,
        "timestamp": Timestamp::now().to_string(),
        "uptime": uptime,
        "checks": checks.iter().map(|c| (c.name.to_string(), shown(c))).collect::<serde_json::Map<_, _>>(),
    });
    let code = if status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    answer::json(code, body.to_string())
}

struct Check {
    name: &'static str,
    status: &'static str,
    time_ms: f64,
    figures: Value,
}

fn check(name: &'static str, look: impl FnOnce() -> (&'static str, Value)) -> Check {
    let begun = Instant::now();
    let (status, figures) = look();
    Check { name, status, time_ms: begun.elapsed().as_micros() as f64 / 1000.0, figures }
}

async fn checks(app: Arc<App>) -> Vec<Check> {
    let looked = tokio::task::spawn_blocking(move || {
        let mut all = vec![
            check("store", || match app.store.tenant_counts() {
                Ok((tenants, refused)) => {
                    let damaged = app.store.usage_damaged();
                    let status = if damaged == 0 && refused == 0 { "healthy" } else { "degraded" };
                    (status, json!({"tenants": tenants, "tenants_refused": refused, "usage_damaged": damaged}))
                }
                // The reason has paths in it, which probes must not tell.
                Err(_) => ("unhealthy", json!({})),
            }),
            check("disk", || disk(&app)),
            check("memory", || {
                let (memtables, cache) = app.store.memory();
                ("healthy", json!({"memtable_bytes": memtables, "cache_bytes": cache}))
            }),
        ];
        all.extend(app.backups.as_ref().map(|backups| check("backup", || backups.health())));
        all.extend(app.checkpoints.as_ref().map(|checkpoints| check("checkpoints", || checkpoints.health())));
        all
    });
    looked.await.unwrap_or_default()
}

fn disk(app: &App) -> (&'static str, Value) {
    let space = app.store.space();
    if space.total == 0 {
        return ("degraded", json!({}));
    }
    let status = match space.level {
        SpaceLevel::Refuse => "unhealthy",
        SpaceLevel::Low => "degraded",
        SpaceLevel::Enough => "healthy",
    };
    let figures = json!({
        "total_bytes": space.total,
        "free_bytes": space.free,
        "space": space.level.to_string(),
        "low_below_bytes": space.low_below,
        "refuse_below_bytes": space.refuse_below,
    });
    (status, figures)
}

/// Answered to this host and to administrators of the system.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let json =
        headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("application/json"));
    let answered = tokio::task::spawn_blocking(move || {
        app.admit_operator(&headers, peer.ip())?;
        let gauges = gauges(&app)?;
        Ok(if json {
            let mut summary = app.metrics.summary(&gauges);
            if let Some(backups) = &app.backups {
                summary["backup"] = backups.summary();
            }
            if let Some(checkpoints) = &app.checkpoints {
                summary["checkpoints"] = checkpoints.summary();
            }
            answer::json(StatusCode::OK, summary.to_string())
        } else {
            let mut text = app.metrics.prometheus(&gauges);
            if let Some(backups) = &app.backups {
                backups.prometheus(&mut text);
            }
            if let Some(checkpoints) = &app.checkpoints {
                checkpoints.prometheus(&mut text);
            }
            answer::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Body::from(text))
        })
    });
    answered.await.unwrap_or_else(|e| Err(ApiError::internal(e.to_string())))
}

fn gauges(app: &App) -> Result<Gauges, ApiError> {
    let mut gauges = Gauges {
        in_flight: app.in_flight.load(Ordering::Relaxed),
        uptime_s: app.started.elapsed().as_secs(),
        ..Gauges::default()
    };
    (gauges.memtable_bytes, gauges.cache_bytes) = app.store.memory();
    let written = app.store.written();
    gauges.sealed_bytes = written.sealed.load(Ordering::Relaxed);
    gauges.merged_bytes = written.merged.load(Ordering::Relaxed);
    gauges.merges = written.merges.load(Ordering::Relaxed);
    gauges.store = app.store.figures()?;
    Ok(gauges)
}
