//! `duramen compact`.

use crate::failure::Failure;
use crate::location::{LocationArgs, open_to_change};
use duramen::TenantId;
use std::io::{self, Write};
use std::process::ExitCode;

/// Seals what is in the log, applies retention and merges small segments
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
            let info = match TenantId::new(&name) {
                Ok(id) => store.catalog()?.tenant(&id)?,
                Err(_) => None,
            };
            let report = tenant.compact(info.and_then(|info| info.retention_ns()))?;
            let figures = serde_json::to_string(&report).unwrap_or_default();
            let tenant = serde_json::Value::from(name.as_str());
            writeln!(out, "{{\"tenant\":{tenant},{}", figures.trim_start_matches('{'))?;
        }
        out.flush()?;
        store.close()?;
        Ok(ExitCode::SUCCESS)
    }
}
