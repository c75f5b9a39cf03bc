//! `duramen compact`.

use crate::failure::Failure;
use crate::location::{LocationArgs, open_to_change};
use std::io::{self, Write};
use std::process::ExitCode;

/// Seals what is in the log, does what rules of retention and archives ask for, and merges small segments
#[derive(clap::Args)]
#[command(after_help = "Example: duramen compact --data logs --tenant acme")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let folder = self.location.folder("compact")?;
        let store = open_to_change(&folder)?;
        let names = match self.location.given_tenant() {
            Some(name) => vec![name.to_string()],
            None => store.tenants()?,
        };
        let mut out = io::stdout().lock();
        for name in names {
            let tenant = store.existing_tenant(&name)?;
            let report = tenant.compact(None)?;
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
        Ok(ExitCode::SUCCESS)
    }
}
