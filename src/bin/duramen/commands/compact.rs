//! `duramen compact`.

use crate::failure::{FAILED, Failure};
use crate::location::{LocationArgs, open_to_change};
use std::io::{self, Write};
use std::process::ExitCode;

/// Seals what is in the log, does what rules of retention and archives ask for, and merges small segments
#[derive(clap::Args)]
#[command(after_help = "Example: duramen compact --data logs --tenant acme\n\n\
Exit status: 0 done, 3 a tenant could not be compacted; the others were.")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let folder = self.location.folder("compact")?;
        let store = open_to_change(&folder)?;
        crate::output::tell_space(&store);
        let names = match self.location.given_tenant() {
            Some(name) => vec![name.to_string()],
            None => store.tenants()?,
        };
        let mut out = io::stdout().lock();
        let mut failed = false;
        for name in names {
            let report = match store.existing_tenant(&name).and_then(|tenant| tenant.compact(None)) {
                Ok(report) => report,
                // One tenant's trouble does not keep the others from it.
                Err(error) if self.location.given_tenant().is_none() => {
                    eprintln!("duramen: tenant `{name}`: {error}");
                    failed = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let line = serde_json::json!({
                "tenant": name,
                "records_sealed": report.records_sealed,
                "segments_merged": report.segments_merged,
                "segments_made": report.segments_made,
                "segments_expired": report.segments_expired,
                "records_expired": report.records_expired,
                "segments_damaged": report.segments_damaged,
                "segments_archived": report.segments_archived,
            });
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        store.close()?;
        Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
    }
}
