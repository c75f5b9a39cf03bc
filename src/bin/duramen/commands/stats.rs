//! `duramen stats`.

use crate::failure::Failure;
use crate::location::{LocationArgs, options};
use crate::output::{self, FormatArgs};
use duramen::Store;
use duramen::front::row_from_json;
use std::process::ExitCode;

/// Says what a store holds, tenant by tenant
#[derive(clap::Args)]
#[command(after_help = "Example: duramen stats --data logs --format json")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let folder = self.location.folder("stats")?;
        let store = Store::open_read_only_with(&folder, options())?;
        let names = match self.location.given_tenant() {
            Some(name) => vec![name.to_string()],
            None => store.tenants()?,
        };
        let mut rows = names.iter().map(|name| {
            let stats = store.existing_tenant(name)?.stats()?;
            let figures = serde_json::to_string(&stats).unwrap_or_default();
            let tenant = serde_json::Value::from(name.as_str());
            let text = format!("{{\"tenant\":{tenant},{}", figures.trim_start_matches('{'));
            row_from_json(&text).map_err(|e| Failure::Failed(e.to_string()))
        });
        output::write_rows(&mut rows, output::stdout(self.format.or_fitting()))?;
        Ok(ExitCode::SUCCESS)
    }
}
