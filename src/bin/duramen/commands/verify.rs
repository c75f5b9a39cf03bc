//! `duramen verify`.

use crate::failure::{Failure, PROBLEM};
use crate::keys::master_key;
use duramen::format::checkpoint::unhex;
use duramen::policy::Place;
use duramen::verify::{self, VerifyOptions};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks the files of stores, tenants or single segments, and changes nothing
///
/// Works beside a running server. Every byte is under a checksum; --deep also decodes the records, and compares them
/// with what the files say about them.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen verify logs --deep\n         duramen verify logs/tenants/acme --json\n\n\
Exit status: 0 nothing is wrong, 1 something is.")]
pub struct Args {
    /// Stores, tenants' folders or .seg files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Print one JSON object with `findings`
    #[arg(long)]
    json: bool,
    /// Also compare records with zone maps, filters, leaves and the index
    #[arg(long)]
    deep: bool,
    /// The folder of an archive, or s3://BUCKET/PREFIX; those in the configuration are known
    #[arg(long, value_name = "NAME=DIR", value_parser = archive)]
    archive: Vec<(Place, String)>,
    /// Also compare with a checkpoint: today's store must go on from what was there then
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The key that the checkpoint must be signed with: what `checkpoint --new-key` printed
    #[arg(long, value_name = "HEX", requires = "checkpoint", value_parser = public_key)]
    public_key: Option<[u8; 32]>,
}

fn archive(text: &str) -> Result<(Place, String), String> {
    let (name, folder) = text.split_once('=').ok_or("an archive is given as NAME=DIR")?;
    Ok((Place::new(name).map_err(|e| e.to_string())?, folder.into()))
}

fn public_key(text: &str) -> Result<[u8; 32], String> {
    unhex(text).ok_or_else(|| "64 hexadecimal digits are expected".to_string())
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if let Some(missing) = self.paths.iter().find(|p| !p.exists()) {
            return Err(Failure::Failed(format!("{}: there is nothing to verify", missing.display())));
        }
        let (mut archives, mut buckets) = (BTreeMap::new(), BTreeMap::new());
        for path in self.paths.iter().filter(|p| p.is_dir()) {
            let policy = crate::config::of_store(path)?.policy;
            archives.extend(policy.archives().clone());
            buckets.extend(policy.archive_buckets().clone());
        }
        for (place, address) in self.archive {
            match address.contains("://") {
                true => drop(buckets.insert(place, address)),
                false => drop(archives.insert(place, address.into())),
            }
        }
        let fetch = crate::archives::fetch(&buckets)?;
        let against = self.checkpoint.as_deref().map(|file| verify::Against::read(file, self.public_key)).transpose();
        let against = against.map_err(|e| Failure::Failed(e.to_string()))?;
        let options = VerifyOptions { deep: self.deep, archives, fetch, master_key: master_key(), against };
        let report = verify::verify_as(&self.paths, &options);
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?,
            false => writeln!(out, "{report}")?,
        }
        out.flush()?;
        Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
    }
}
