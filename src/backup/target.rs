//! Where backups go: named objects that are there whole or not at all.

use super::{BackupError, ObjectId};
use crate::error::Damage;
use std::path::PathBuf;

/// Bytes that are moved at a time, so that a segment of a gigabyte needs no memory of that size.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// An object of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name, with slashes.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What is held while a backup writes.
pub type TargetLock = Box<dyn Send>;

/// The parts of an object, in order.
pub type Chunks<'a> = dyn Iterator<Item = Result<Vec<u8>, BackupError>> + 'a;

/// A folder or a service that keeps objects by name. Names have slashes, and are made here: no user chooses one.
pub trait Target: Send + Sync + std::fmt::Debug {
    /// The address of an object, for people; of the target where the name is empty.
    fn place(&self, name: &str) -> String;
    /// Stores an object of this length, over one that has the name. It is durable when this returns, and nobody ever
    /// sees a part of it.
    fn put(&self, name: &str, bytes: u64, chunks: &mut Chunks<'_>) -> Result<(), BackupError>;
    /// Hands an object's bytes to `sink` in order. [`BackupError::Missing`] where there is none.
    fn get(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>) -> Result<(), BackupError>;
    /// The objects whose names begin with this, which is empty or ends with a slash, by name.
    fn list(&self, prefix: &str) -> Result<Vec<Stored>, BackupError>;
    /// Removes an object; no error where there is none.
    fn delete(&self, name: &str) -> Result<(), BackupError>;
    /// Says that one process at a time writes here, until what is returned is dropped.
    fn lock(&self) -> Result<TargetLock, BackupError>;
}

/// Stores bytes that are in memory.
pub(super) fn put_bytes(target: &dyn Target, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    let mut chunks = bytes.chunks(CHUNK_BYTES).map(|chunk| Ok(chunk.to_vec()));
    target.put(name, bytes.len() as u64, &mut chunks)
}

/// Reads a small object whole.
pub(super) fn get_bytes(target: &dyn Target, name: &str, bytes_max: usize) -> Result<Vec<u8>, BackupError> {
    let mut out = Vec::new();
    target.get(name, &mut |chunk| {
        if out.len() + chunk.len() > bytes_max {
            return Err(damage(target, name, format!("at most {bytes_max} bytes"), "more"));
        }
        out.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(out)
}

/// Reads an object and compares it with its name; `sink` gets the bytes before that is known.
pub(super) fn get_checked(
    target: &dyn Target,
    id: &ObjectId,
    bytes: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let name = id.path();
    let (mut hasher, mut got) = (blake3::Hasher::new(), 0u64);
    target.get(&name, &mut |chunk| {
        hasher.update(chunk);
        got += chunk.len() as u64;
        sink(chunk)
    })?;
    let found = ObjectId(*hasher.finalize().as_bytes());
    if (found, got) != (*id, bytes) {
        let found = format!("{got} bytes with BLAKE3 {found}");
        return Err(damage(target, &name, format!("{bytes} bytes with BLAKE3 {id}"), &found));
    }
    Ok(())
}

/// Damage of an object.
pub(super) fn damage(target: &dyn Target, name: &str, expected: String, found: &str) -> BackupError {
    let file = PathBuf::from(target.place(name));
    Damage { file, offset: 0, what: "object of a backup", expected, found: found.into() }.into()
}
