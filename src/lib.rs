//! Duramen: an embedded, append-only, segmented log store.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod catalog;
pub mod error;
pub mod format;
pub mod id;
pub mod index;
pub mod ingest;
pub mod log;
pub mod manifest;
pub mod memtable;
pub mod query;
pub mod record;
pub mod segment;
//pub mod store;
//pub mod tenant;
pub mod verify;
pub mod vfs;

pub use id::TenantId;
pub use record::{Record, Value};
