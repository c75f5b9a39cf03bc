//! The bytes of every structure on disk: encode, decode, checksum.
//!
//! Promises: all integers little-endian; every structure checked before it is trusted; no input panics, and no length
//! that a file states is allocated before it is known to fit. May not know: paths, files, clocks, threads, tantivy.

pub mod archived;
pub mod block;
pub mod bundle;
mod bytes;
pub mod checkpoint;
pub mod chunk;
pub mod compress;
pub mod control;
pub mod edit;
pub mod frame;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod header;
pub mod ints;
pub mod key_file;
mod leaf;
pub mod log_file;
mod meta;
pub mod payload;
pub mod receipt;
pub mod rows;
pub mod sealed;
pub mod segment;
pub mod template;
#[cfg(test)]
pub(crate) mod tests;
pub mod version;

pub use bytes::{DecodeError, Reader, put_bytes, put_i64, put_u16, put_u32, put_u64, put_varint, put_zigzag};
