//! The configuration file: `--config FILE`, or `duramen.toml` in the store's folder.

use crate::failure::Failure;
use duramen::Ack;
use duramen::policy::{Policy, PolicyConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The file in a store's folder that is read where none is given.
const IN_FOLDER: &str = "duramen.toml";
/// The tables that are rules of records' lives; the others are the server's.
const OF_POLICY: [&str; 5] = ["retention", "archive", "archives", "quota", "space"];

/// What `--config` says, for all commands.
static GIVEN: OnceLock<PathBuf> = OnceLock::new();

/// Says which file was given.
pub fn give(path: Option<PathBuf>) {
    if let Some(path) = path {
        // Set once, before the command runs.
        let _ = GIVEN.set(path);
    }
}

/// A configuration.
#[derive(Default)]
pub struct Config {
    /// What records live by.
    pub policy: Arc<Policy>,
    /// What is waited for where neither a request nor an option says.
    pub ack: Ack,
    /// What the server does.
    #[cfg(feature = "server")]
    pub server: duramen::server::Config,
}

/// Reads the configuration for a store. None is none, unless it was given.
pub fn of_store(folder: &Path) -> Result<Config, Failure> {
    let in_folder = folder.join(IN_FOLDER);
    match GIVEN.get() {
        Some(path) => read(path),
        None if in_folder.exists() => read(&in_folder),
        None => Ok(Config::default()),
    }
}

fn read(path: &Path) -> Result<Config, Failure> {
    let usage = |e: &dyn std::fmt::Display| Failure::Usage(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| usage(&e))?;
    let mut tables: toml::Table = toml::from_str(&text).map_err(|e| usage(&e))?;
    let mut rules = toml::Table::new();
    for name in OF_POLICY {
        rules.extend(tables.remove(name).map(|table| (name.to_string(), table)));
    }
    let ack = match tables.remove("ack") {
        None => Ack::default(),
        Some(toml::Value::String(level)) => level.parse().map_err(|e| usage(&format!("ack: {e}")))?,
        Some(other) => return Err(usage(&format!("ack: {other} is no level: \"fsync\", \"os\" and \"buffered\" are"))),
    };
    let rules: PolicyConfig = rules.try_into().map_err(|e| usage(&e))?;
    let policy = Arc::new(Policy::new(&rules).map_err(|e| usage(&e))?);
    Ok(Config {
        policy,
        ack,
        #[cfg(feature = "server")]
        server: tables.try_into().map_err(|e| usage(&e))?,
    })
}
