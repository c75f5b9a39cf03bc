//! Wire formats to records: JSON, logfmt, syslog, access logs and plain text, in any chunks, also compressed.
//!
//! Promises: whatever bytes arrive, each line becomes part of a record or a rejection with its number and a reason;
//! how the input is cut into chunks changes nothing; memory stays bounded by the limits named here. May not know:
//! storage, queries, HTTP. The rules for each format are written down for users in `docs/ingest.md`.

mod clf;
mod decode;
mod ingester;
mod json;
mod level;
mod lines;
mod logfmt;
mod multiline;
mod reject;
mod sniff;
mod syslog;
mod text;
mod time;
mod writer;

#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, Decoder, Encoding, ZSTD_WINDOW_LOG_MAX, decode_slice};
pub use ingester::{Counts, Ingester, ingest_slice};
pub use json::{ARRAY_DEPTH_MAX, JsonError, OBJECT_DEPTH_MAX};
pub use multiline::{MESSAGE_BYTES_MAX, MESSAGE_LINES_MAX};
pub use reject::{Collected, REJECTIONS_KEPT_MAX, Reason, Rejected, Rejection, Rejections, Sink};

use crate::record::{Labels, RECORD_BYTES_MAX, Timestamp};
use std::fmt;
use std::str::FromStr;

/// Longest line (or element of a JSON array, or object over several lines), in bytes. A longer one is rejected, and
/// passed over without being held in memory. The same as the largest record, which no line worth keeping exceeds.
pub const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// Bytes of text at which a batch is handed out: a frame of the log is about so large.
pub const BATCH_TEXT_BYTES: usize = 1 << 20;
/// Bytes of memory at which a batch is handed out though it has less text: records of many empty fields.
pub const BATCH_MEMORY_BYTES: usize = 16 << 20;
/// Bytes of a rejected line that are handed on; lines that were too long are not held, so there is no more of them.
pub const REJECTED_BYTES_MAX: usize = 64 << 10;

/// A wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Found out from the first lines; see `docs/ingest.md`.
    #[default]
    Auto,
    /// JSON objects: one a line, over several lines, or as elements of one array.
    Json,
    /// `key=value key="quoted value"`.
    Logfmt,
    /// RFC 5424 and RFC 3164.
    Syslog,
    /// Common and Combined Log Format, with fields of nginx and Apache behind them.
    Clf,
    /// Plain lines.
    Text,
}

impl Format {
    /// All formats, as the command line lists them.
    pub const ALL: [Format; 6] =
        [Format::Auto, Format::Json, Format::Logfmt, Format::Syslog, Format::Clf, Format::Text];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Json => "json",
            Format::Logfmt => "logfmt",
            Format::Syslog => "syslog",
            Format::Clf => "clf",
            Format::Text => "text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no format's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format: auto, json, logfmt, syslog, clf and text are")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Format::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| UnknownFormat(name.to_string()))
    }
}

/// What becomes of a record whose time is before [`IngestOptions::time_min`] or after [`IngestOptions::time_max`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OutOfRange {
    /// It is rejected, with a reason.
    #[default]
    Reject,
    /// It is kept at its arrival, the time it came with beside it in the field `original_timestamp`.
    KeepAtArrival,
}

/// How input is read.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// The wire format.
    pub format: Format,
    /// Stream labels of every record.
    pub labels: Labels,
    /// Names of fields whose values are stream labels too. A label given in `labels` wins over a field.
    pub stream_fields: Vec<String>,
    /// A field that is looked in for the time before the usual ones are.
    pub time_field: Option<String>,
    /// A field that becomes `message`.
    pub msg_field: Option<String>,
    /// The time of records that have none; it also tells the year of times without one.
    pub arrival: Timestamp,
    /// Earliest time taken as it is.
    pub time_min: Timestamp,
    /// Latest time taken as it is.
    pub time_max: Timestamp,
    /// What becomes of records outside of these.
    pub out_of_range: OutOfRange,
    /// Do lines that continue a plain text (stack traces) join it?
    pub join_lines: bool,
    /// Are all records handed out as one batch at the end? Whoever feeds bounds the input then.
    pub one_batch: bool,
}

impl IngestOptions {
    /// Format found out, no labels, all times taken, lines joined.
    pub fn new(arrival: Timestamp) -> Self {
        IngestOptions {
            format: Format::Auto,
            labels: Labels::default(),
            stream_fields: Vec::new(),
            time_field: None,
            msg_field: None,
            arrival,
            time_min: Timestamp(i64::MIN),
            time_max: Timestamp(i64::MAX),
            out_of_range: OutOfRange::Reject,
            join_lines: true,
            one_batch: false,
        }
    }

    /// With this format.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }
}
