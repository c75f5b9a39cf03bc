//! `duramen stats`.

use crate::failure::{Failure, PROBLEM};
use crate::location::{LocationArgs, options_in};
use crate::output::{self, FormatArgs};
use duramen::Store;
use duramen::front::row_from_json;
use duramen::store::Row;
use std::process::ExitCode;

/// Says what a store holds, tenant by tenant
#[derive(clap::Args)]
#[command(after_help = "Example: duramen stats --data logs --format json")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// What each column costs on disk, and how it is encoded, the dearest first
    #[arg(long)]
    columns: bool,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let folder = self.location.folder("stats")?;
        let store = Store::open_read_only_with(&folder, options_in(&folder)?)?;
        output::tell_space(&store);
        let names = match self.location.given_tenant() {
            Some(name) => vec![name.to_string()],
            None => store.tenants()?,
        };
        let mut failed = false;
        let mut rows = Vec::new();
        for name in &names {
            let of_tenant = store.existing_tenant(name).and_then(|tenant| {
                Ok(match self.columns {
                    true => tenant.part_costs()?.iter().map(|cost| row_of(name, cost)).collect(),
                    false => vec![row_of(name, &tenant.stats()?)],
                })
            });
            match of_tenant {
                Ok(of_tenant) => rows.extend(of_tenant),
                Err(error) if error.is_no_such_tenant() => return Err(error.into()),
                // One tenant that can't be opened does not hide the others.
                Err(error) => {
                    failed = true;
                    rows.push(row_of(name, &serde_json::json!({"error": error.to_string()})));
                }
            }
        }
        output::write_rows(&mut rows.into_iter(), output::stdout(self.format.or_fitting()))?;
        Ok(if failed { ExitCode::from(PROBLEM) } else { ExitCode::SUCCESS })
    }
}

fn row_of(tenant: &str, figures: &impl serde::Serialize) -> Result<Row, Failure> {
    let figures = serde_json::to_string(figures).unwrap_or_default();
    let tenant = serde_json::Value::from(tenant);
    let text = format!("{{\"tenant\":{tenant},{}", figures.trim_start_matches('{'));
    row_from_json(&text).map_err(|e| Failure::Failed(e.to_string()))
}
