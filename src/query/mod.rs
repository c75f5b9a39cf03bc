//! The query language: text to syntax tree and back.
//!
//! Promises: pure; no input panics; what is not understood is an error with a place, never a guess.
//! May not know: I/O, tantivy, records on disk.

pub mod ast;
