//! Objects of a bucket: S3 and what speaks like it, through the crate `object_store`.
//!
//! Promises: an object is there whole or not at all; an error names bucket, key and what the service said, and never a
//! secret; what may be tried again is, for a bounded time. The only importer of `object_store`. May not know: what is in
//! objects, backups, archives.

mod bucket;
mod client;
mod error;

pub use bucket::{Bucket, Found, Listed, Patience, Version};
pub use error::ObjectError;
