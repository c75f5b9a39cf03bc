//! The index of a segment: which of its blocks may have which words. The only importer of tantivy.
//!
//! A tantivy document is a block, not a record. Words go to a dictionary (tantivy's from 8 blocks on, else a flat
//! list), identifiers to one binary fuse filter a block; see [`crate::format::bundle`] for what is kept where.
//!
//! Promises: a block that has what was asked for is always in the answer; a damaged index gives an error, never a
//! panic and never an answer; tantivy starts no thread and sees no file. May not know: log, manifest, HTTP, the text
//! of queries, what a segment is.

mod automaton;
mod builder;
mod columns;
mod dictionary;
mod distinct;
mod engine;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod pattern;
mod postings;
mod reader;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use builder::{BLOCK_WORDS_MAX, BuildError, DICTIONARY_BYTES_MAX, IndexBuilder};
pub use reader::{IndexReader, OpenError};
