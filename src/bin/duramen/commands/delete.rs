//! `duramen delete`.

use crate::failure::{Failure, PROBLEM};
use crate::location::{DataArgs, open_to_change};
use duramen::store::{DeleteOptions, DeleteProgress};
use duramen::{Record, TenantId};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Deletes the records that a query matches, for good
///
/// Done means gone from the disk: the segments are written anew without them, and the log, what was set aside and old
/// files go. Backups and exports are out of its reach. A server that runs on the store is asked over HTTP instead.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen delete --data logs --tenant acme --dry-run 'user:=\"u-17\"'\n\n\
Exit status: 0 done, 1 a reader still holds files, which go with it.")]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// The tenant
    #[arg(long, value_name = "NAME", value_parser = TenantId::new)]
    tenant: TenantId,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// What to delete: filters, without pipes
    query: String,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let store = open_to_change(&self.data.folder()?)?;
        let mut options = DeleteOptions::default();
        options.dry_run = self.dry_run;
        if io::stderr().is_terminal() {
            options.progress = Some(Arc::new(|progress: &DeleteProgress| {
                let text = match progress {
                    DeleteProgress::Sealed { segments } => format!("looking through {segments} segments"),
                    DeleteProgress::Found { records, segments } => format!("{records} records in {segments} segments"),
                    DeleteProgress::Rewritten { segments } => format!("{segments} segments written anew"),
                    DeleteProgress::Invisible => "no query sees them; waiting for the files to go".to_string(),
                    _ => return,
                };
                eprintln!("{text}");
            }));
        }
        let tenant = store.existing_tenant(self.tenant.as_str())?;
        let about = || {
            let record = Record::new().with("source", "delete").with("kind", "delete");
            record.with("tenant", self.tenant.as_str()).with("query", self.query.as_str())
        };
        if !self.dry_run && tenant.check_delete(&self.query).is_ok() {
            // What can't be put on record is not done.
            let message = format!("deletion of records of {} begins", self.tenant);
            store.audit("delete_begun", "command line", about().with("message", message.as_str()))?;
        }
        let deleted = tenant.delete(&self.query, &options);
        if !self.dry_run && !deleted.as_ref().is_err_and(|e| e.is_not_in_delete() || e.as_query_error().is_some()) {
            let record = match &deleted {
                Ok(report) => {
                    let how = if report.done { "done" } else { "held by readers" };
                    let record = about().with("message", format!("deletion {how}")).with("status", how);
                    record
                        .with("records", report.records)
                        .with("segments", report.segments)
                        .with("leaves_broken", report.leaves_broken)
                        .with("entry", report.entry.unwrap_or(0))
                }
                Err(e) => {
                    let record = about().with("message", "deletion failed").with("status", "failed");
                    record.with("reason", e.to_string())
                }
            };
            store.audit("delete_ended", "command line", record)?;
        }
        let report = deleted.map_err(|error| match error.is_not_in_delete() {
            true => Failure::Usage(error.to_string()),
            false => error.into(),
        })?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?;
        out.flush()?;
        store.close()?;
        if report.records > 0 && !report.dry_run {
            eprintln!("backups and exports are out of reach: what they hold of these records is still there");
        }
        Ok(if report.done || report.dry_run { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
    }
}
