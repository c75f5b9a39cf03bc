//! Duramen: an embedded, append-only, segmented log store.
//!
//! SQLite's place, for logs: it links into a program, or runs as one binary, and needs nothing else. A [`Store`] is a
//! folder; a [`Tenant`] of it takes [`Record`]s, acknowledges them when they are durable, and answers queries:
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("logs");
//! use duramen::{Store, record};
//!
//! let store = Store::open(&path)?;
//! let tenant = store.tenant("acme")?;
//! tenant.append(&[
//!     record! { level: "error", message: "connection reset", duration: 1500 },
//!     record! { level: "info", message: "connection accepted", duration: 3 },
//! ])?;
//! let mut rows = tenant.query("level:error AND duration:>1s | stats count() as n")?;
//! assert_eq!(rows.next().unwrap()?.to_json(), r#"{"n":1}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The API is synchronous and needs no async runtime; `default-features = false` builds no server.
//! `docs/architecture.md` in the repository shows the parts and which way they depend.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod archive;
pub mod backup;
pub mod cache;
pub mod catalog;
pub mod checkpoint;
pub mod crypt;
pub mod error;
pub mod exec;
pub mod format;
pub mod front;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod id;
pub mod index;
pub mod ingest;
#[cfg(feature = "tracing")]
pub mod layer;
pub mod log;
pub mod manifest;
pub mod memtable;
#[cfg(feature = "object-store")]
pub mod object;
pub mod policy;
pub mod query;
pub mod record;
pub mod repair;
pub mod segment;
#[cfg(feature = "server")]
pub mod server;
pub mod store;
pub mod tenant;
pub mod verify;
pub mod vfs;

pub use exec::{QueryStats, Row};
pub use id::{Seq, TenantId};
pub use log::Ack;
pub use record::{Batch, BatchBuilder, Labels, Level, Record, Tag, Timestamp, Value};
pub use store::{Error, Options, QueryOptions, Rows, Store, Tail, Tenant};
pub use tenant::{AppendOptions, Appended, Committed, CompactReport, Idempotency, TenantStats};
