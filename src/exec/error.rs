//! What can end a query early.

use crate::error::StorageError;

/// Why a query gave no answer. Rows that the sink got before are right, but not all.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// Records could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The query went over a limit.
    #[error("the query went over the limit {limit}: more than {max} {unit}")]
    LimitExceeded {
        /// Name of the limit.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// What it counts.
        unit: &'static str,
    },
    /// A regular expression can't be compiled within the limits.
    #[error("the regular expression `{pattern}` can't be used: {reason}")]
    Regex {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody set the flag that cancels the query.
    #[error("the query was cancelled")]
    Cancelled,
    /// A thread of the query panicked: a mistake in Duramen.
    #[error("a thread of the query panicked")]
    Panicked,
}

impl ExecError {
    /// Did the query go over a limit?
    pub fn is_limit(&self) -> bool {
        matches!(self, ExecError::LimitExceeded { .. })
    }
    /// Was the query cancelled?
    pub fn is_cancelled(&self) -> bool {
        matches!(self, ExecError::Cancelled)
    }
}
