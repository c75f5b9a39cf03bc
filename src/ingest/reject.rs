//! What is not taken, why, and who is told.

use super::{JsonError, LINE_BYTES_MAX, REJECTED_BYTES_MAX};
use crate::record::{Batch, RecordError, Timestamp};
use std::convert::Infallible;

/// Rejections that [`Rejections`] keeps with their reasons; more are counted. An answer over HTTP lists them.
pub const REJECTIONS_KEPT_MAX: usize = 1000;

/// Why a line is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Longer than a line may be.
    #[error("longer than {LINE_BYTES_MAX} bytes (line_bytes_max)")]
    LineTooLong,
    /// Not UTF-8, where the format demands it.
    #[error("invalid UTF-8 at byte {0}")]
    Utf8(usize),
    /// Not JSON, or not an object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// No `key=value` in a line of logfmt.
    #[error("no `key=value` in the line")]
    NotLogfmt,
    /// A quoted value of logfmt has no end.
    #[error("the quoted value that begins at byte {0} has no end")]
    LogfmtQuote(usize),
    /// Not a syslog message.
    #[error("not a syslog message of RFC 5424 or RFC 3164")]
    NotSyslog,
    /// Not an access log's line.
    #[error("not a line of the Common or Combined Log Format")]
    NotClf,
    /// Neither JSON nor text, in the midst of JSON.
    #[error("neither JSON nor text: a control character or invalid UTF-8 at byte {0}")]
    Binary(usize),
    /// The field of the time holds no time.
    #[error("the field `{field}` holds no time: {why}")]
    Time {
        /// The field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// Outside of the times that are taken.
    #[error("the time {time} is {}", if *early { format!("before {bound}, the earliest that is taken") } else { format!("after {bound}, the latest that is taken") })]
    OutOfRange {
        /// The record's time.
        time: Timestamp,
        /// The bound that it is beyond.
        bound: Timestamp,
        /// Is it before the bound?
        early: bool,
    },
    /// Too large, or too many fields.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A rejected line, as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'a> {
    /// The number of its first line, from 1.
    pub line: u64,
    /// Why.
    pub reason: &'a Reason,
    /// Its bytes, without the end of the line: at most the first [`REJECTED_BYTES_MAX`].
    pub raw: &'a [u8],
}

impl<'a> Rejected<'a> {
    pub(super) fn new(line: u64, reason: &'a Reason, raw: &'a [u8]) -> Self {
        Rejected { line, reason, raw: raw.get(..REJECTED_BYTES_MAX).unwrap_or(raw) }
    }
}

/// Takes what an [`super::Ingester`] makes.
pub trait Sink {
    /// What can go wrong with a batch; it ends the ingestion.
    type Error;
    /// A full batch, or the last one; never an empty one.
    fn batch(&mut self, batch: Batch) -> Result<(), Self::Error>;
    /// A line that was not taken.
    fn rejected(&mut self, rejected: Rejected<'_>);
}

/// A rejection as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The number of the first line, from 1.
    pub line: u64,
    /// Why, as a sentence.
    pub reason: String,
}

/// The first rejections, and the number of all: bounded, whatever arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// The first [`REJECTIONS_KEPT_MAX`].
    pub first: Vec<Rejection>,
    /// How many there were.
    pub count: u64,
}

impl Rejections {
    /// Takes one in.
    pub fn add(&mut self, rejected: Rejected<'_>) {
        self.count += 1;
        if self.first.len() < REJECTIONS_KEPT_MAX {
            self.first.push(Rejection { line: rejected.line, reason: rejected.reason.to_string() });
        }
    }
}

/// The simplest [`Sink`]: keeps all batches and the first rejections.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The batches.
    pub batches: Vec<Batch>,
    /// The rejections.
    pub rejections: Rejections,
}

impl Sink for Collected {
    type Error = Infallible;

    fn batch(&mut self, batch: Batch) -> Result<(), Infallible> {
        self.batches.push(batch);
        Ok(())
    }

    fn rejected(&mut self, rejected: Rejected<'_>) {
        self.rejections.add(rejected);
    }
}
