//! `duramen checkpoint`.

use crate::failure::Failure;
use crate::keys::master_key;
use crate::location::DataArgs;
use duramen::format::checkpoint::{Checkpoint, CheckpointKey, SignedCheckpoint};
use duramen::format::header::hex;
use duramen::vfs::{RealVfs, Vfs};
use duramen::{TenantId, Timestamp, verify};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Says, signed, how far a store has come; kept elsewhere, it shows later whether history was changed
///
/// Works beside a running server, and changes nothing in the store. `verify --checkpoint` compares.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen checkpoint --new-key signing.key\n         \
duramen checkpoint --data logs --key signing.key --out /elsewhere/logs.checkpoint")]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Only this tenant
    #[arg(long, value_name = "NAME", value_parser = TenantId::new)]
    tenant: Option<TenantId>,
    /// The file of the key that it is signed with
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Write here, where there is no such file yet, instead of printing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make a key in a new file that only you can read, and print its public part
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "out", "tenant"])]
    new_key: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if let Some(path) = &self.new_key {
            return new_key(path);
        }
        let path = self.key.as_deref().unwrap_or(Path::new(""));
        let text = RealVfs.read(path).map_err(|e| Failure::Failed(e.to_string()))?;
        let key = CheckpointKey::parse(&String::from_utf8_lossy(&text));
        let key = key.map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
        let taken = take(&self.data.folder()?, self.tenant.as_ref());
        let signed: SignedCheckpoint = key.sign(taken.map_err(|e| Failure::Failed(e.to_string()))?);
        let text = signed.to_json();
        match &self.out {
            Some(out) => write_new(out, text.as_bytes())?,
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn take(data: &Path, tenant: Option<&TenantId>) -> Result<Checkpoint, duramen::error::StorageError> {
    verify::take_checkpoint(data, tenant, master_key().as_ref(), Timestamp::now())
}

fn new_key(path: &Path) -> Result<ExitCode, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| Failure::Failed(format!("no random bytes: {e}")))?;
    write_new(path, format!("{}\n", hex(&secret)).as_bytes())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", hex(&CheckpointKey::new(&secret).public()))?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that only its owner can read, durable when this returns; an error where there is one.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        let file = RealVfs.create(path)?;
        file.write_all_at(0, bytes)?;
        file.sync()?;
        RealVfs.sync_dir(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    };
    write().map_err(|e: duramen::error::StorageError| Failure::Failed(e.to_string()))
}
