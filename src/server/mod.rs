//! The HTTP server: routes, who may ask, and what is counted. The only importer of axum.
//!
//! Promises: what a request costs is bounded: its body, its time, how many run at once; a request that is dropped ends
//! its query; whoever asks sees one tenant, and can't tell another's from none. May not know: anything but the API of
//! the store, the catalog and ingest. What it answers is written down for users in `docs/http.md`.

mod answer;
mod auth;
mod backup;
mod body;
mod checkpoints;
mod config;
mod delete;
mod error;
mod ingest;
mod jobs;
mod layer;
mod limit;
mod metrics;
mod own;
mod params;
mod probes;
mod query;
mod restore;
mod serve;
mod share;
mod small;

pub use config::{BackupConfig, CheckpointsConfig, Config, Limits};
pub use serve::{ServeError, serve};

use crate::store::Store;
use metrics::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

/// What all requests share.
#[derive(Debug)]
struct App {
    store: Store,
    limits: Limits,
    /// No token was ever made: everybody who reaches the server speaks for the tenant `default`.
    open: bool,
    metrics: Metrics,
    backups: Option<Arc<backup::Backups>>,
    checkpoints: Option<Arc<checkpoints::Checkpoints>>,
    jobs: jobs::Jobs,
    rates: limit::Rates,
    queries: share::Turns,
    ingests: share::Turns,
    groups: small::Groups,
    /// Requests whose answers are not out yet.
    in_flight: Arc<AtomicU64>,
    draining: AtomicBool,
    started: Instant,
}

impl App {
    /// How long a request waits for its turn.
    fn wait(&self) -> Duration {
        Duration::from_millis(self.limits.wait_ms_max)
    }
}
