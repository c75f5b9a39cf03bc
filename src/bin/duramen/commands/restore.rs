//! `duramen restore`.

use crate::failure::{Failure, PROBLEM};
use crate::location::{Location, LocationArgs, options};
use crate::remote::Remote;
use duramen::backup::{self, RestoreOptions, RestoreReport, open_target};
use duramen::front::{parse_labels, parse_time};
use duramen::record::{Labels, Timestamp};
use std::io::{self, Write};
use std::process::ExitCode;

/// Makes a store from a backup: of all tenants, of one, or of one stream
///
/// The store must not exist, or with --url --tenant, the tenant of the server: that restores from the server's own
/// backups, so SRC is left out. A store is made beside its place, compared with the backup byte by byte, verified, and gets its
/// name last. With --stream or --as the records are written anew, and get new sequence numbers.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen restore /mnt/backups --data restored\n         \
duramen restore s3://bucket/logs --data restored --tenant acme --at 2026-11-20T12:00:00Z\n         \
duramen restore /mnt/backups --data restored --tenant acme --stream instance=7\n         \
duramen restore --url http://127.0.0.1:4880 --tenant acme --as acme-then --at now-1d\n\n\
Exit status: 0 done, 1 the backup is damaged, or not all tenants are in it.")]
pub struct Args {
    /// Where the backups are: a folder, or s3://BUCKET/PREFIX; with --url, the server knows
    #[arg(value_name = "SRC")]
    target: Option<String>,
    #[command(flatten)]
    location: LocationArgs,
    /// Records of the streams with these labels alone
    #[arg(long, value_name = "K=V,..", value_parser = parse_labels, default_value = "", hide_default_value = true)]
    stream: Labels,
    /// The state of the newest backup that had finished by then, such as 2026-11-20T12:00:00Z or now-1d
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The name that the tenant gets
    #[arg(long = "as", value_name = "NAME", requires = "tenant")]
    new_name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let at = self.at.as_deref().map(|text| parse_time(text, Timestamp::now())).transpose();
        let at = at.map_err(|e| Failure::Usage(e.to_string()))?;
        let folder = match (self.location.settle()?, &self.target) {
            (Location::Folder(folder), _) => folder,
            (Location::Server(remote), None) => return self.restore_remotely(&remote),
            (Location::Server(_), Some(_)) => {
                let text = "a server restores from the backups of its own configuration: leave SRC out";
                return Err(Failure::Usage(text.into()));
            }
        };
        let Some(source) = &self.target else {
            return Err(Failure::Usage("where the backups are is not said: give SRC".into()));
        };
        let target = open_target(source)?;
        let mut wanted = RestoreOptions::default();
        wanted.tenant = self.location.given_tenant().map(String::from);
        wanted.stream = self.stream;
        wanted.at = at;
        wanted.new_name = self.new_name;
        wanted.store = options();
        let report = backup::restore(&*target, &folder, &wanted)?;
        tell(&report, self.json)?;
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
    }
}

impl Args {
    /// Asks the server, which answers when the tenant is there.
    fn restore_remotely(&self, remote: &Remote) -> Result<ExitCode, Failure> {
        let Some(tenant) = self.location.given_tenant() else {
            return Err(Failure::Usage("a server takes one tenant at a time: say which with --tenant".into()));
        };
        let stream = if self.stream.is_empty() { String::new() } else { self.stream.to_string() };
        let wanted = serde_json::json!({"tenant": tenant, "as": self.new_name, "stream": stream, "at": self.at});
        let answer = remote.post_json("/api/v1/admin/restore", &wanted)?;
        let mut out = io::stdout().lock();
        let data = &answer["data"];
        if self.json {
            writeln!(out, "{data}")?;
        } else {
            for tenant in data["tenants"].as_array().into_iter().flatten() {
                let rewritten = tenant["rewritten"].as_bool() == Some(true);
                let name = tenant["name"].as_str().unwrap_or_default();
                writeln!(out, "{name}: {} records, {}", tenant["records"], how(rewritten))?;
            }
            writeln!(out, "restored from the backup of {}, and verified", data["at"].as_str().unwrap_or_default())?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn how(rewritten: bool) -> &'static str {
    if rewritten { "written anew, with new sequence numbers" } else { "as they were" }
}

fn tell(report: &RestoreReport, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(report).unwrap_or_default())?;
    } else {
        for tenant in &report.tenants {
            writeln!(out, "{}: {} records, {}", tenant.name, tenant.records, how(tenant.rewritten))?;
        }
        writeln!(out, "restored from the backup of {}, and verified", report.at)?;
    }
    out.flush()?;
    for problem in &report.problems {
        eprintln!("duramen: not in this backup, but in an earlier one perhaps (--tenant): {problem}");
    }
    Ok(())
}
