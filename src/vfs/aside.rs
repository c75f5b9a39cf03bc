//! Sets bytes aside that a recovery cuts off.

use super::Vfs;
use crate::error::StorageError;
use std::path::{Path, PathBuf};

/// The last line of a reason: what the bytes set aside come to, and the words before, with a checksum of all of it.
pub fn aside_seal(reason: &str, bytes: &[u8]) -> String {
    let line = format!("blake3 {}", blake3::hash(bytes).to_hex());
    let mut crc = crc32fast::Hasher::new();
    crc.update(reason.as_bytes());
    crc.update(line.as_bytes());
    format!("{line} crc32 {:08x}\n", crc.finalize())
}

/// Most copies of one name.
const COPIES_MAX: u32 = 10_000;

/// Writes bytes into a folder, and beside them a file `<name>.reason`, both durable when this returns. Gives the path
/// of the bytes; where the name is taken, a number is added. The reason's last line has the hash of the bytes and a
/// checksum of the reason ([`aside_seal`]), so that a verifier can tell whether either changed.
pub fn set_aside(vfs: &dyn Vfs, dir: &Path, name: &str, bytes: &[u8], reason: &str) -> Result<PathBuf, StorageError> {
    vfs.create_dir_all(dir)?;
    let mut path = dir.join(name);
    for n in 2..COPIES_MAX {
        if !vfs.exists(&path)? {
            break;
        }
        path = dir.join(format!("{name}-{n}"));
    }
    let mut reason = reason.to_string();
    if !reason.ends_with('\n') {
        reason.push('\n');
    }
    reason.push_str(&aside_seal(&reason, bytes));
    let mut beside = path.as_os_str().to_owned();
    beside.push(".reason");
    // Each is whole where it has its name, and the reason comes second: what a crash leaves is no copy without its hash.
    vfs.replace(&path, bytes)?;
    vfs.replace(Path::new(&beside), reason.as_bytes())?;
    if let Some(above) = dir.parent() {
        vfs.sync_dir(above)?;
    }
    Ok(path)
}
