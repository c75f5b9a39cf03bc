//! Duramen: an embedded, append-only, segmented log store.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod error;
pub mod exec;
pub mod format;
pub mod id;
pub mod query;
pub mod record;
pub mod vfs;

pub use id::TenantId;
pub use record::{Record, Value};
