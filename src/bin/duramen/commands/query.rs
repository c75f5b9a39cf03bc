//! `duramen query`.

use crate::failure::Failure;
use crate::filter::FilterArgs;
use crate::input::{self, Rejects};
use crate::location::{Location, LocationArgs, open_to_read, options};
use crate::output::{self, FormatArgs};
use crate::progress::Progress;
use duramen::front::stats_json;
use duramen::ingest::{Format, IngestOptions};
use duramen::record::Timestamp;
use duramen::store::DEFAULT_TENANT;
use duramen::{Ack, Store};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs a query over a store, a server or plain files
///
/// Rows come newest first unless the query orders them. Without a time the query covers all time, and there is no
/// limit on rows.
#[derive(clap::Args)]
#[command(
    after_help = "Example: duramen query --data logs --since 1h 'level:error | stats by (service) count()'\n         \
duramen query --file app.log old.log.gz 'timeout OR \"connection reset\"'\n         \
duramen query --data logs -- '-level:debug'"
)]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Plain files in place of a store; the last one may be followed by the query
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["data", "url", "tenant"])]
    file: Vec<PathBuf>,
    /// The format of the files: auto, json, logfmt, syslog, clf or text
    #[arg(long, value_name = "FORMAT", default_value_t, requires = "file")]
    input: Format,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Print figures on what was read, on stderr
    #[arg(long)]
    stats: bool,
}

impl Args {
    pub fn run(mut self) -> Result<ExitCode, Failure> {
        if !self.file.is_empty() {
            return self.run_files();
        }
        let options = self.filter.options()?;
        let writer = output::stdout(self.format.or_fitting());
        match self.location.settle()? {
            Location::Folder(folder) => {
                let tenant = open_to_read(&folder, self.location.tenant_name())?;
                let mut rows = tenant.query_with(self.filter.text(), &options)?;
                output::write_rows(&mut rows, writer)?;
                self.tell(&rows);
                Ok(output::tell_missing(&rows.missing()))
            }
            Location::Server(remote) => {
                let (mut rows, missing) = remote.query(self.filter.text(), &options)?;
                output::write_rows(&mut rows, writer)?;
                Ok(remote.tell_missing(missing))
            }
        }
    }

    fn tell(&self, rows: &duramen::Rows) {
        if self.stats {
            eprintln!("{}", serde_json::json!({"query": rows.canonical(), "stats": stats_json(&rows.stats())}));
        }
    }

    /// Over files: they are read into a store in a temporary folder, which is gone afterwards.
    fn run_files(&mut self) -> Result<ExitCode, Failure> {
        self.take_query_from_files();
        let query_options = self.filter.options()?;
        let (inputs, total) = input::open_mapped(&self.file)?;
        let fail = |e: std::io::Error| Failure::Failed(format!("no temporary folder: {e}"));
        let folder = tempfile::Builder::new().prefix("duramen-query-").tempdir().map_err(fail)?;
        let store = Store::open_with(folder.path(), options())?;
        let tenant = store.tenant(DEFAULT_TENANT)?;
        let progress = Progress::bytes(total);
        let ingest = IngestOptions::new(Timestamp::now()).format(self.input);
        let mut appender = super::ingest::Appender::in_bulk(&tenant, Ack::Buffered);
        let outcome = input::read_all(inputs, &ingest, &mut Rejects::new(None)?, &progress, &mut appender)?;
        drop(progress);
        let mut rows = tenant.query_with(self.filter.text(), &query_options)?;
        output::write_rows(&mut rows, output::stdout(self.format.or_fitting()))?;
        self.tell(&rows);
        if outcome.rejected > 0 {
            eprintln!("duramen: {} lines could not be read", outcome.rejected);
        }
        match outcome.broken.is_empty() {
            true => Ok(ExitCode::SUCCESS),
            false => Err(Failure::Problem(outcome.broken.join("\n"))),
        }
    }

    /// `--file` takes all words behind it, of which the last one is the query where none stands elsewhere; only if it
    /// is the name of a file, it is one.
    fn take_query_from_files(&mut self) {
        let is_query = |path: &PathBuf| !path.exists() && path != Path::new("-");
        if self.filter.query.is_none() && self.file.len() > 1 && self.file.last().is_some_and(is_query) {
            self.filter.query = self.file.pop().map(|path| path.to_string_lossy().into_owned());
        }
    }
}
