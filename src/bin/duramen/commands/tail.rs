//! `duramen tail`.

use crate::failure::Failure;
use crate::location::{LocationArgs, open_to_read};
use crate::output::{self, FormatArgs};
use duramen::front::RowFormat;
use duramen::id::Seq;
use duramen::{QueryOptions, query};
use std::process::ExitCode;
use std::time::Duration;

/// How often a store that another process writes is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Follows new records, in the order in which they are stored
///
/// Works beside a server or an `ingest` that writes the store, and shows what is durable.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen tail --data logs -n 20 'level:>=warn'")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Begin with the last N records that match
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    last: u64,
    /// End after the records that are there
    #[arg(long)]
    no_follow: bool,
    /// A filter, without pipes
    #[arg(value_name = "FILTER", default_value = "*", hide_default_value = true)]
    filter: String,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        query::parse_filter(&self.filter)?;
        let folder = self.location.folder("tail")?;
        let name = self.location.tenant_name();
        let mut tenant = open_to_read(&folder, name)?;
        let mut writer = output::stdout(self.format.or(RowFormat::Ndjson));
        let mut seen = Seq(tenant.stats()?.last_seq);
        let options = QueryOptions { limit: Some(self.last), ..QueryOptions::default() };
        let mut found = tenant.query_with(&self.filter, &options)?;
        let mut before = found.by_ref().collect::<Result<Vec<_>, _>>()?;
        let status = output::tell_missing(&found.missing());
        before.reverse();
        before.iter().try_for_each(|row| writer.row(row))?;
        writer.flush()?;
        if self.no_follow {
            writer.finish()?;
            return Ok(status);
        }
        loop {
            std::thread::sleep(LOOK);
            // A reader without the lock sees the state at its opening, so that news take a new one.
            tenant = open_to_read(&folder, name)?;
            let mut tail = tenant.tail(&self.filter, Some(seen))?;
            let last = Seq(tenant.stats()?.last_seq);
            while let Some((_, row)) = tail.next(Duration::ZERO)? {
                writer.row(&row)?;
            }
            writer.flush()?;
            output::tell_missing(&tail.missing());
            seen = seen.max(last);
        }
    }
}
