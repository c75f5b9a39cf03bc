//! Duramen: an embedded, append-only, segmented log store.
#![warn(missing_docs)]

pub mod error;
pub mod id;
pub mod query;
pub mod record;

pub use id::TenantId;
pub use record::{Record, Value};
