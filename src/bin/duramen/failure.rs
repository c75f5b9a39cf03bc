//! Why a command ends early, and with which exit status.

use duramen::Error;
use duramen::backup::BackupError;
use duramen::query::ParseError;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// Exit status where what was asked found a problem.
pub const PROBLEM: u8 = 1;
/// Exit status of wrong usage, and of a query that does not parse.
pub const USAGE: u8 = 2;
/// Exit status where the store or the network failed.
pub const FAILED: u8 = 3;

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense.
    Usage(String),
    /// The query does not parse.
    Query(Box<ParseError>),
    /// What was asked found a problem.
    Problem(String),
    /// The store or the network failed.
    Failed(String),
    /// Nobody reads the output any more, which is no error.
    ClosedPipe,
}

impl Failure {
    /// Tells it on stderr; the exit status.
    pub fn report(&self) -> ExitCode {
        let status = match self {
            Failure::Usage(_) | Failure::Query(_) => USAGE,
            Failure::Problem(_) => PROBLEM,
            Failure::Failed(_) => FAILED,
            Failure::ClosedPipe => return ExitCode::SUCCESS,
        };
        eprintln!("duramen: {self}");
        ExitCode::from(status)
    }

    /// A failure to read or write a file that the user named.
    pub fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Failure::Failed(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Problem(text) | Failure::Failed(text) => f.write_str(text),
            Failure::Query(error) => error.fmt(f),
            Failure::ClosedPipe => f.write_str("the output was closed"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.as_query_error() {
            Some(parse) => Failure::Query(Box::new(parse.clone())),
            None => Failure::Failed(error.to_string()),
        }
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Failure::Query(Box::new(error))
    }
}

impl From<duramen::catalog::CatalogError> for Failure {
    fn from(error: duramen::catalog::CatalogError) -> Self {
        if error.is_request() { Failure::Usage(error.to_string()) } else { Failure::Failed(error.to_string()) }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match &error {
            BackupError::Request(_) | BackupError::Exists(_) => Failure::Usage(error.to_string()),
            BackupError::NoRecords { .. } => Failure::Problem(error.to_string()),
            _ if error.is_damage() || error.is_missing_object() => Failure::Problem(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }
}

/// Errors of writing to stdout, the one place that commands write to without naming it.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Failed(format!("the output can't be written: {error}")),
        }
    }
}
