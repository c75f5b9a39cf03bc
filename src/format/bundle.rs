//! The index bundle: which blocks of a segment may have which words, in one run of bytes.
//!
//! A header of fixed size, sections one after the other, and their directory, with a checksum each, so that every
//! byte is covered. What a section holds is up to its kind; the files that the dictionary's engine (tantivy) wrote
//! are sections whose bytes mean nothing here. The header says by which rules the words were cut and folded, and by
//! which version of the engine; a reader of other rules does not use the bundle. Byte tables: `docs/format.md`.

mod digraphs;
mod directory;
mod filter;
mod header;
mod list;
mod quads;
mod terms;
mod view;

pub use digraphs::{DIGRAPHS_BYTES, Digraphs, SYMBOLS, Symbol};
pub use directory::{BlockEntry, BundleWriter, Directory, Kind, Section, decode_blocks, encode_blocks};
pub use filter::{EXACT_HASHES_MAX, Filter};
pub use header::{BUNDLE_VERSION, Dictionary, Engine, HEADER_BYTES, Header, Mismatch};
pub use list::{LIST_BLOCKS_MAX, TermList};
pub use quads::Quads;
pub use terms::{
    Class, IDENTIFIER_BYTES_MIN, PADDING, TERM_RULES_VERSION, TERMS_AT_ONCE, Term, Tokenizer, WORD_BYTES_MAX, class,
    hash_at, is_hex, quad_text, term_hash,
};
pub use view::{Bundle, check_bundle, engine_file, index_root};

/// Most blocks of a bundle: more than a segment of 1 GiB can have of blocks that are worth one.
pub const BUNDLE_BLOCKS_MAX: u32 = 1 << 20;
