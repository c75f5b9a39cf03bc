//! The query language: text to syntax tree and back.
//!
//! Promises: pure; no input panics; what is not understood is an error with a place, never a guess;
//! `parse(print(ast)) == ast`. May not know: I/O, tantivy, records on disk.
//!
//! The grammar is `grammar/duramen.ebnf`, the page for users `docs/query-language.md`; `tests/grammar.rs` holds both
//! against this module.

pub mod ast;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod json;
mod lex;
pub mod limits;
mod parse;
mod print;

pub use error::ParseError;
pub use lex::{Token, TokenKind, tokens};
pub use parse::{parse, parse_filter};
