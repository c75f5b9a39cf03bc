//! `duramen explain`.

use crate::failure::Failure;
use crate::filter::FilterArgs;
use crate::location::{LocationArgs, open_to_read};
use std::io::{self, Write};
use std::process::ExitCode;

/// Says how a query is understood, and what it would read
#[derive(clap::Args)]
#[command(after_help = "Example: duramen explain --data logs --since 1d 'status:500 AND url:\"/checkout\"'")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let options = self.filter.options()?;
        let folder = self.location.folder("explain")?;
        let tenant = open_to_read(&folder, self.location.tenant_name())?;
        let explanation = tenant.explain(self.filter.text(), &options)?;
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(&explanation).unwrap_or_default())?,
            false => writeln!(out, "{explanation}")?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
