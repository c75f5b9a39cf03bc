//! Segments: immutable files of blocks, built once, read by many, merged into larger ones.
//!
//! Promises: what was built reads back to the byte; a page is checked before it is decoded; nothing is read that a
//! query does not ask for. May not know: log, manifest, tantivy.

mod build;
mod column;
mod copy;
mod cost;
mod counted;
mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod hold;
mod merge;
#[cfg(test)]
mod merge_tests;
mod outline;
mod overflow;
mod read;
mod refer;
mod rows;
mod short;
#[cfg(test)]
mod template_tests;
mod templates;
#[cfg(test)]
mod tests;
mod write;

pub use build::{BlockEncoder, BlockSink, EncodedBlock, Pieces, encode_block};
pub use column::ColumnBuilder;
pub use copy::copy_block;
pub use cost::{PartCost, PartCosts};
pub use merge::{Merged, MergedRows, Merger, block_payload};
pub use read::{SegmentBlock, SegmentReader};
pub use write::{SegmentSummary, SegmentWriter};
