//! The master key: from `--master-key-file`, or from the environment.

use crate::failure::Failure;
use duramen::store::MasterKey;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The master key, for all commands.
static GIVEN: OnceLock<Option<MasterKey>> = OnceLock::new();

/// Reads the key from the file that was given, or as the environment says. One that is named and can't be had ends any
/// command: it would go on as if none were named.
pub fn give(path: Option<PathBuf>) -> Result<(), Failure> {
    let found = match path {
        Some(path) => MasterKey::from_file(&path).map(Some),
        None => MasterKey::from_env(),
    };
    // Set once, before the command runs.
    let _ = GIVEN.set(found.map_err(|error| Failure::Usage(error.to_string()))?);
    Ok(())
}

/// The master key, where one is named.
pub fn master_key() -> Option<MasterKey> {
    GIVEN.get().cloned().flatten()
}
