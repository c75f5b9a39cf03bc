//! `duramen repair`.

use crate::failure::{FAILED, Failure, PROBLEM};
use crate::location::DataArgs;
use duramen::TenantId;
use duramen::repair::{RepairOptions, repair};
use std::io::{self, Write};
use std::process::ExitCode;

/// Puts a damaged store in order, keeps what can be read, and lists the records that are lost
///
/// Nothing may have the store open for writing. What is removed is copied to `quarantine` first. Running it again does
/// no harm.
#[derive(clap::Args)]
#[command(
    after_help = "Example: duramen repair --data logs --dry-run\n         duramen repair --data logs --tenant acme --json\n\n\
Exit status: 0 nothing is lost, 1 something is (it is listed), or was left as it is (a strange file, a tenant whose folder \
is gone), or a dry run found something to do, 3 something could not be repaired."
)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Only this tenant
    #[arg(long, value_name = "NAME", value_parser = TenantId::new)]
    tenant: Option<TenantId>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object with `actions`, `lost`, `left` and `failures`
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let mut options = RepairOptions::default();
        (options.tenant, options.dry_run) = (self.tenant.map(|t| t.to_string()), self.dry_run);
        options.master_key = crate::keys::master_key();
        let folder = self.data.folder()?;
        options.archives = crate::archives::open(&crate::config::of_store(&folder)?.policy)?;
        let report = repair(&folder, &options)?;
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?,
            false => writeln!(out, "{report}")?,
        }
        out.flush()?;
        Ok(match () {
            () if !report.failures.is_empty() => ExitCode::from(FAILED),
            () if !report.lost.is_empty() || !report.left.is_empty() || report.control_lost => ExitCode::from(PROBLEM),
            () if self.dry_run && !report.is_clean() => ExitCode::from(PROBLEM),
            () => ExitCode::SUCCESS,
        })
    }
}
