//! What the command line and the HTTP server share: times and labels as people write them, rows as texts.
//!
//! Promises: a row's values come out exactly as they are kept; memory stays bounded, however many rows there are.
//! May not know: stores, sockets, terminals.

mod csv;
mod json;
mod labels;
mod rows;
mod stats;
mod table;
mod time;

pub use json::row_from_json;
pub use labels::{BadLabels, parse_labels};
pub use rows::{RowFormat, RowWriter, UnknownRowFormat};
pub use stats::stats_json;
pub use time::{BadTime, parse_time};
