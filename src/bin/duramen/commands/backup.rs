//! `duramen backup`.

use crate::failure::{Failure, PROBLEM};
use crate::location::DataArgs;
use duramen::backup::{self, BackupOptions, Kind, Run, open_target};
use duramen::record::{Timestamp, parse_duration_ns};
use duramen::vfs::RealVfs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Copies a store to a folder or an object store, and reads the copy back
///
/// Works beside a running server. A run copies what no earlier one has, and is complete in itself: any run can be
/// restored, whatever became of the others.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen backup --data logs /mnt/backups\n         \
duramen backup --data logs s3://bucket/logs\n         duramen backup --list /mnt/backups\n         \
duramen backup --check /mnt/backups\n\n\
Exit status: 0 done, 1 a file is damaged or a tenant could not be copied.")]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Where the backups are: a folder, or s3://BUCKET/PREFIX
    #[arg(value_name = "DEST")]
    target: String,
    /// This tenant alone; may be given several times
    #[arg(long, value_name = "NAME")]
    tenant: Vec<String>,
    /// Read all of the store and all of its copy again, and mend what is damaged in the copy
    #[arg(long)]
    full: bool,
    /// Afterwards remove runs that are older than this, such as 90d, and what they alone name
    #[arg(long, value_name = "DURATION")]
    keep: Option<String>,
    /// List the runs in DEST in place of making one
    #[arg(long, conflicts_with_all = ["data", "tenant", "full", "keep", "check"])]
    list: bool,
    /// Read every object in DEST and compare it with its hash, in place of making a run
    #[arg(long, conflicts_with_all = ["data", "tenant", "full", "keep"])]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let target = open_target(&self.target)?;
        let mut out = io::stdout().lock();
        if self.list {
            for run in backup::runs(&*target)? {
                writeln!(out, "{}", if self.json { json(&run).to_string() } else { line(&run) })?;
            }
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.check {
            let report = backup::check(&*target)?;
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?;
            } else {
                report.findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
                let wrong = match report.findings.len() {
                    0 => "nothing is wrong".to_string(),
                    n => format!("{n} findings"),
                };
                let (runs, objects, bytes, unnamed) = (report.runs, report.objects, report.bytes, report.unnamed);
                writeln!(out, "{wrong}: {runs} runs, {objects} objects, {bytes} bytes; {unnamed} that no run names")?;
            }
            out.flush()?;
            return Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) });
        }
        let keep =
            self.keep.as_deref().map(|text| parse_duration_ns(text).filter(|ns| *ns > 0).ok_or(text)).transpose();
        let keep = keep.map_err(|text| Failure::Usage(format!("`{text}` is no duration, such as 90d")))?;
        let folder = self.data.folder()?;
        outside(&folder, &self.target)?;
        let mut options = BackupOptions::default();
        options.tenants = self.tenant;
        options.full = self.full;
        options.archives = crate::archives::open(&crate::config::of_store(&folder)?.policy)?;
        let report = backup::backup(&RealVfs, &folder, &*target, &options)?;
        if self.json {
            let mut value = json(&report.run);
            value["objects_mended"] = report.objects_mended.into();
            value["bytes_read"] = report.bytes_read.into();
            writeln!(out, "{value}")?;
        } else {
            writeln!(out, "{}", line(&report.run))?;
        }
        out.flush()?;
        if let Some(keep) = keep {
            let gone = backup::prune(&*target, Timestamp(report.run.finished_ns.saturating_sub(keep)))?;
            eprintln!("{} runs and {} objects removed: {} bytes", gone.runs, gone.objects, gone.bytes);
        }
        for problem in &report.run.problems {
            eprintln!("duramen: tenant `{}` is not in this backup: {}", problem.tenant.0, problem.reason);
        }
        Ok(if report.run.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
    }
}

/// A backup within the store would copy itself, and a verifier would find files that do not belong there.
fn outside(folder: &Path, target: &str) -> Result<(), Failure> {
    let real = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or(path.into());
        // As much of it as is there, without links.
        let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
        there.map_or(path.clone(), |(above, real)| real.join(path.strip_prefix(above).unwrap_or(Path::new(""))))
    };
    if !target.contains("://") && real(Path::new(target)).starts_with(real(folder)) {
        return Err(Failure::Usage(format!("{target}: lies within the store {}", folder.display())));
    }
    Ok(())
}

fn kind(run: &Run) -> &'static str {
    match run.kind {
        Kind::Full => "full",
        Kind::Incremental => "incremental",
    }
}

fn bytes(run: &Run) -> u64 {
    run.files().map(|f| f.bytes).sum()
}

fn records(run: &Run) -> u64 {
    run.tenants.iter().map(|t| t.records).sum()
}

fn line(run: &Run) -> String {
    let tenants = match (&run.only, run.tenants.as_slice()) {
        (Some(_), [one]) => format!("tenant {} alone", one.name.0),
        (Some(_), some) => format!("{} named tenants", some.len()),
        (None, [one]) => format!("1 tenant ({})", one.name.0),
        (None, all) => format!("{} tenants", all.len()),
    };
    let mut line = format!(
        "{} {}: {tenants}, {} records, {} bytes; {} bytes new",
        run.time(),
        kind(run),
        records(run),
        bytes(run),
        run.bytes_new
    );
    if !run.problems.is_empty() {
        line.push_str(&format!("; {} tenants could not be copied", run.problems.len()));
    }
    line
}

fn json(run: &Run) -> serde_json::Value {
    let tenants: Vec<serde_json::Value> = run
        .tenants
        .iter()
        .map(|t| {
            let bytes: u64 = t.files.iter().map(|f| f.bytes).sum();
            serde_json::json!({
                "tenant": t.name.0.as_str(),
                "records": t.records,
                "last_seq": t.last,
                "files": t.files.len(),
                "bytes": bytes,
                "manifest_head": t.head.to_string(),
            })
        })
        .collect();
    let problems: Vec<serde_json::Value> =
        run.problems.iter().map(|p| serde_json::json!({"tenant": p.tenant.0.as_str(), "reason": p.reason})).collect();
    serde_json::json!({
        "time": run.time().to_string(),
        "started": Timestamp(run.started_ns).to_string(),
        "kind": kind(run),
        "whole_store": run.only.is_none(),
        "tenants": tenants,
        "problems": problems,
        "records": records(run),
        "bytes": bytes(run),
        "objects_new": run.objects_new,
        "bytes_new": run.bytes_new,
    })
}
