//! Master keys, and where they come from.

use super::{Cipher, Secret, random_secret};
use crate::error::{KeyProblem, StorageError};
use crate::format::header::hex;
use crate::format::key_file::MASTER_ID_BYTES;
use crate::format::sealed::KEY_BYTES;
use crate::vfs::{RealVfs, Vfs, is_private};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The context in which an id is derived from a master key.
const ID_CONTEXT: &str = "duramen 2026-11 id of a master key";
/// Most keys of one file: the present one, and those before it while tenants are brought over.
const MASTER_KEYS_MAX: usize = 16;

/// One master key or several: the first encrypts, all of them open. It is overwritten when the last clone goes, and
/// shows only its ids.
#[derive(Clone)]
pub struct MasterKey(Arc<Vec<One>>);

struct One {
    id: [u8; MASTER_ID_BYTES],
    key: Secret,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.ids())
    }
}

impl MasterKey {
    /// A key of 32 random bytes.
    pub fn from_bytes(key: [u8; KEY_BYTES]) -> Self {
        Self::of(vec![Zeroizing::new(key)])
    }

    fn of(keys: Vec<Secret>) -> Self {
        let one = |key: Secret| {
            let id = Zeroizing::new(blake3::derive_key(ID_CONTEXT, &*key));
            let mut short = [0; MASTER_ID_BYTES];
            short.copy_from_slice(&id[..MASTER_ID_BYTES]);
            One { id: short, key }
        };
        MasterKey(Arc::new(keys.into_iter().map(one).collect()))
    }

    /// What a file or a variable holds: 32 bytes, or 64 hexadecimal digits a line, the present key first. Empty lines and
    /// those that begin with `#` are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyProblem> {
        let bad = |why: &str| KeyProblem::BadMasterKey(why.to_string());
        if let Ok(key) = <[u8; KEY_BYTES]>::try_from(bytes) {
            return Self::checked(vec![Zeroizing::new(key)]);
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| bad("neither 32 bytes nor lines of 64 hexadecimal digits"))?;
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut key = Secret::default();
            let digits = line.as_bytes();
            if digits.len() != 2 * KEY_BYTES || keys.len() == MASTER_KEYS_MAX {
                return Err(bad("neither 32 bytes nor lines of 64 hexadecimal digits"));
            }
            for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) =
                    digit(pair[0]).zip(digit(pair[1])).ok_or_else(|| bad("a digit is not hexadecimal"))?;
                *byte = (high * 16 + low) as u8;
            }
            keys.push(key);
        }
        Self::checked(keys)
    }

    fn checked(keys: Vec<Secret>) -> Result<Self, KeyProblem> {
        let bad = |why: &str| Err(KeyProblem::BadMasterKey(why.to_string()));
        match () {
            () if keys.is_empty() => bad("there is nothing in it"),
            () if keys.iter().any(|key| key.iter().all(|b| *b == key[0])) => bad("all bytes of it are the same"),
            () => Ok(Self::of(keys)),
        }
    }

    /// Reads a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, StorageError> {
        let bytes = Zeroizing::new(RealVfs.read(path)?);
        if !is_private(path)? {
            let why = "others can read the file: take their rights away (chmod 600)".to_string();
            return Err(KeyProblem::BadMasterKey(why).of(path));
        }
        Self::parse(&bytes).map_err(|problem| problem.of(path))
    }

    /// Makes a key at random, in a file that is not there yet and that only its owner can read.
    pub fn generate(path: &Path) -> Result<Self, StorageError> {
        let key = random_secret(path)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
        for byte in key.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        text.push('\n');
        let file = RealVfs.create(path)?;
        file.write_all_at(0, text.as_bytes())?;
        file.sync()?;
        match path.parent() {
            Some(folder) if folder != Path::new("") => RealVfs.sync_dir(folder)?,
            _ => RealVfs.sync_dir(Path::new("."))?,
        }
        Ok(Self::of(vec![key]))
    }

    /// What the environment names: a key in hexadecimal (`DURAMEN_MASTER_KEY`), or a file (`DURAMEN_MASTER_KEY_FILE`);
    /// `None` where it names neither.
    pub fn from_env() -> Result<Option<Self>, StorageError> {
        const KEY: &str = "DURAMEN_MASTER_KEY";
        const FILE: &str = "DURAMEN_MASTER_KEY_FILE";
        let value = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match (value(KEY), value(FILE)) {
            (Some(_), Some(_)) => {
                let why = format!("{KEY} and {FILE} are both set");
                Err(KeyProblem::BadMasterKey(why).of(Path::new(KEY)))
            }
            (Some(key), None) => {
                let key = Zeroizing::new(key.to_string_lossy().into_owned().into_bytes());
                // A variable is text, and 32 characters of text are no key.
                let parsed = match key.len() {
                    KEY_BYTES => Err(KeyProblem::BadMasterKey("it is not of 64 hexadecimal digits".into())),
                    _ => Self::parse(&key),
                };
                parsed.map(Some).map_err(|problem| problem.of(Path::new(KEY)))
            }
            (None, Some(file)) => Self::from_file(Path::new(&file)).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The id of the key that encrypts, in hexadecimal.
    pub fn id(&self) -> String {
        hex(self.raw_id())
    }

    /// The ids of all keys, as an error shows them.
    pub fn ids(&self) -> String {
        self.0.iter().map(|one| hex(&one.id)).collect::<Vec<_>>().join(", ")
    }

    /// This key, and behind it those of another, which open and do not encrypt.
    pub fn and(&self, older: &MasterKey) -> Self {
        let fresh = |one: &&One| !self.0.iter().any(|own| own.id == one.id);
        Self::of(self.0.iter().chain(older.0.iter().filter(fresh)).map(|one| one.key.clone()).collect())
    }

    pub(super) fn raw_id(&self) -> &[u8; MASTER_ID_BYTES] {
        &self.0[0].id
    }

    pub(super) fn cipher(&self) -> Cipher {
        Cipher::new(&self.0[0].key)
    }

    /// The cipher of the key of an id.
    pub(super) fn cipher_of(&self, id: &[u8; MASTER_ID_BYTES]) -> Option<Cipher> {
        self.0.iter().find(|one| one.id == *id).map(|one| Cipher::new(&one.key))
    }

    /// The key of an id alone.
    pub(super) fn only(&self, id: &[u8; MASTER_ID_BYTES]) -> Option<MasterKey> {
        let one = self.0.iter().find(|one| one.id == *id)?;
        Some(Self::of(vec![one.key.clone()]))
    }
}
