//! Listening, answering, and ending in order.

use super::error::ApiError;
use super::jobs::Jobs;
use super::share::Turns;
use super::small::Groups;
use super::{App, Config, backup, checkpoints, delete, ingest, layer, limit, metrics, probes, query, restore};
use crate::store::{DEFAULT_TENANT, Error, SYSTEM_TENANT, Store};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long answers under way may take once the server is told to end.
const DRAIN: Duration = Duration::from_secs(20);
/// How long connections may take to close after that.
const CLOSE: Duration = Duration::from_secs(2);
/// How often what is under way is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Why the server did not begin, or ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No token was made, so that anybody could read and write from elsewhere.
    #[error(
        "{0} is not on loopback, and no token was made: make one with `duramen token create`, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The address can't be listened on.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// No threads, no signals, no sockets.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] crate::store::CatalogError),
    /// The configuration of backups is of no use.
    #[error("[backup]: {0}")]
    Backup(#[from] crate::backup::BackupError),
    /// The configuration of checkpoints is of no use.
    #[error("[checkpoints]: {0}")]
    Checkpoints(#[from] crate::checkpoint::SeriesError),
}

/// Serves a store until SIGTERM or SIGINT, then closes it. `on_listen` is told where it listens, and whether it asks
/// for no token.
pub fn serve(
    store: Store,
    listen: SocketAddr,
    config: Config,
    on_listen: impl FnOnce(SocketAddr, bool),
) -> Result<(), ServeError> {
    let catalog = store.catalog()?;
    let open = !catalog.has_tokens()?;
    if open && !listen.ip().to_canonical().is_loopback() {
        return Err(ServeError::Open(listen));
    }
    // The second has the server's own records, and those of audits.
    for name in [DEFAULT_TENANT, SYSTEM_TENANT] {
        if let Ok(id) = crate::TenantId::new(name) {
            store.tenant(name)?;
            catalog.ensure_tenant(&id)?;
        }
    }
    let limits = config.limits;
    crate::backup::remove_unfinished(store.path())?;
    let backups = config.backup.map(|config| backup::Backups::new(config, store.clone())).transpose()?;
    let scheduled = backups.clone().map(backup::Backups::start).transpose()?;
    let checkpoints =
        config.checkpoints.map(|config| checkpoints::Checkpoints::new(config, store.clone())).transpose()?;
    let taking = checkpoints.clone().map(checkpoints::Checkpoints::start).transpose()?;
    let app = Arc::new(App {
        open,
        metrics: metrics::Metrics::default(),
        backups,
        checkpoints,
        jobs: Jobs::default(),
        rates: limit::Rates::new(limits.requests_per_s_max),
        queries: Turns::new(limits.queries_max, open, "limits.queries_max"),
        ingests: Turns::new(limits.ingests_max, open, "limits.ingests_max"),
        groups: Groups::default(),
        in_flight: Arc::default(),
        draining: AtomicBool::new(false),
        started: Instant::now(),
        store: store.clone(),
        limits,
    });
    if let Err(e) = app.jobs.resume(&store) {
        // Who asks for them is told that they failed.
        eprintln!("duramen: deletions that were cut short can't go on: {e}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("duramen-http").enable_all().build()?;
    let served = runtime.block_on(run(app, listen, open, on_listen));
    // Threads that still run a query see their store close, or end with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // A run that is under way ends with the object that it is at, and the next server goes on.
    drop(scheduled);
    drop(taking);
    served?;
    store.close()?;
    Ok(())
}

async fn run(
    app: Arc<App>,
    listen: SocketAddr,
    open: bool,
    on_listen: impl FnOnce(SocketAddr, bool),
) -> Result<(), ServeError> {
    let listener = TcpListener::bind(listen).await.map_err(|e| ServeError::Listen(listen, e))?;
    // Taken before anybody is told that we listen, so that a signal right after that finds us ready.
    let ended = signals()?;
    on_listen(listener.local_addr()?, open);
    // An answer goes out in pieces, and without this its last one waits up to 40 ms for the client to confirm the first.
    // A socket that refuses is only slower.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { drop(stopped.await) });
    let mut server = tokio::spawn(async move { server.await });
    tokio::select! {
        _ = ended => {}
        failed = &mut server => {
            return failed.map_err(std::io::Error::other)?.map_err(ServeError::System);
        }
    }
    // New requests get 503, while those under way go on.
    app.draining.store(true, Ordering::Release);
    let deadline = Instant::now() + DRAIN;
    while app.in_flight.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    app.queries.close();
    app.ingests.close();
    app.jobs.stop();
    drop(stop);
    if tokio::time::timeout(CLOSE, &mut server).await.is_err() {
        // Connections that are kept open, or answers that nobody reads: dropped, which also ends their queries.
        server.abort();
    }
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/ingest", post(ingest::ingest))
        .route("/api/v1/query", get(query::query).post(query::query))
        .route("/api/v1/admin/restore", post(restore::restore))
        .route("/api/v1/delete", post(delete::delete))
        .route("/api/v1/delete/{id}", get(delete::job))
        .route("/api/v1/admin/tenants/{name}", axum::routing::delete(delete::delete_tenant))
        .route("/health", get(probes::health))
        .route("/health/live", get(probes::live))
        .route("/health/ready", get(probes::ready))
        .route("/health/detailed", get(probes::detailed))
        .route("/ready", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such route"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route does not take this method")
        })
        // Each route bounds its body itself, and says so in its own words.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::around))
        .with_state(app)
}

/// What ends the server.
#[cfg(unix)]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
