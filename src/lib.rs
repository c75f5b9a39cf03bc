//! Duramen: an embedded, append-only, segmented log store.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod catalog;
pub mod error;
pub mod format;
pub mod id;
pub mod index;
pub mod ingest;
pub mod memtable;
pub mod query;
pub mod record;
pub mod segment;
pub mod vfs;

pub use id::TenantId;
pub use record::{Record, Value};
