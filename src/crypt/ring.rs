//! A tenant's keys: the file `key`, opened with a master key, and what is done with it.

use super::{Cipher, FileKey, KEY_FILE, MasterKey, Secret, random, random_secret};
use crate::error::{KeyProblem, StorageError};
use crate::format::DecodeError;
use crate::format::header::hex;
use crate::format::key_file::{KEY_GENERATIONS_MAX, KeyFile, KeySlot};
use crate::format::sealed::{BoxedFile, FileKind, KEY_BYTES, TAG_BYTES, WrappedKey};
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use zeroize::Zeroizing;

/// The file `key` while it is written.
const UNFINISHED: &str = "key.tmp";

/// What can be said of a tenant's keys without opening them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// When the tenant became an encrypted one.
    pub created: Timestamp,
    /// When the newest generation of its key was made.
    pub rotated: Timestamp,
    /// The number of the newest generation.
    pub generation: u32,
    /// The ids of the master keys that open it: one, or two while the master key is changed.
    pub masters: Vec<String>,
}

/// A small file as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boxed {
    /// It was not encrypted.
    Plain(Vec<u8>),
    /// It was, and this is what is within.
    Opened(Vec<u8>),
}

impl Boxed {
    /// The file's own bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Boxed::Plain(bytes) | Boxed::Opened(bytes) => bytes,
        }
    }
}

/// The keys of one tenant. A clone is the same ring; the default one is that of a tenant that is not encrypted.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Option<Arc<Ring>>);

#[derive(Debug)]
struct Ring {
    tenant: TenantId,
    /// Where the file is, unless its bytes were given.
    vfs: Option<Arc<dyn Vfs>>,
    path: PathBuf,
    master: Option<MasterKey>,
    keys: RwLock<Option<Arc<Keys>>>,
    /// Are leaves made with the key? Not before the log's file is an encrypted one.
    hashing: AtomicBool,
    /// Held while the file is replaced.
    change: Mutex<()>,
}

/// An opened key file.
struct Keys {
    file: KeyFile,
    root: Secret,
    hash: Secret,
    generations: Vec<Cipher>,
    /// The generations as they are, for writing the file anew.
    secrets: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} generations)", self.generations.len())
    }
}

impl KeyRing {
    /// Opens the keys of the tenant whose folder this is. A tenant without a file `key` is not encrypted; one that has
    /// one needs a master key that opens it.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        tenant: &TenantId,
        master: Option<&MasterKey>,
    ) -> Result<KeyRing, StorageError> {
        let ring = Ring::new(Some(vfs), dir.join(KEY_FILE), tenant, master);
        ring.reload()?;
        Ok(KeyRing(Some(Arc::new(ring))))
    }

    /// Opens keys from the bytes of the file `key` at this path, for reading alone.
    pub fn from_bytes(
        bytes: &[u8],
        path: &Path,
        tenant: &TenantId,
        master: Option<&MasterKey>,
    ) -> Result<KeyRing, StorageError> {
        let ring = Ring::new(None, path.to_path_buf(), tenant, master);
        let keys = ring.load(bytes)?;
        *ring.keys.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(keys));
        Ok(KeyRing(Some(Arc::new(ring))))
    }

    /// What the file `key` in a tenant's folder says without being opened; `None` where there is none.
    pub fn info(vfs: &dyn Vfs, dir: &Path) -> Result<Option<KeyInfo>, StorageError> {
        let path = dir.join(KEY_FILE);
        if !vfs.exists(&path)? {
            return Ok(None);
        }
        let file = KeyFile::decode(&vfs.read(&path)?).map_err(|e| e.in_file(&path))?;
        Ok(Some(KeyInfo {
            created: file.created,
            rotated: file.rotated,
            generation: file.generations,
            masters: file.slots.iter().map(|slot| hex(&slot.master)).collect(),
        }))
    }

    /// Are the tenant's new files encrypted?
    pub fn is_encrypted(&self) -> bool {
        self.keys().is_some()
    }

    /// The number and age of the newest generation, where the tenant is encrypted.
    pub fn newest(&self) -> Option<(u32, Timestamp)> {
        self.keys().map(|keys| (keys.file.generations, keys.file.rotated))
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        self.0.as_ref()?.keys.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// A key for a new file; `None` where the tenant is not encrypted.
    pub fn new_file(&self, kind: FileKind, id: u64) -> Result<Option<FileKey>, StorageError> {
        let (Some(ring), Some(keys)) = (&self.0, self.keys()) else { return Ok(None) };
        let Some(newest) = keys.generations.last() else { return Ok(None) };
        FileKey::new((keys.file.generations, newest), (kind, &ring.tenant, id), &ring.path).map(Some)
    }

    /// The key of a file from how it stands in the file's header.
    pub fn open_file(
        &self,
        kind: FileKind,
        id: u64,
        wrapped: &WrappedKey,
        path: &Path,
    ) -> Result<FileKey, StorageError> {
        let Some(ring) = &self.0 else { return Err(KeyProblem::NoKeyFile.of(path)) };
        let at = wrapped.generation as usize - 1;
        let mut keys = self.keys();
        if keys.as_ref().is_none_or(|keys| at >= keys.generations.len()) {
            // A writer may have made a new generation since, or the first.
            ring.reload()?;
            keys = self.keys();
        }
        let keys = keys.ok_or_else(|| KeyProblem::NoKeyFile.of(path))?;
        let Some(tenant_key) = keys.generations.get(at) else {
            let (needs, has) = (wrapped.generation, keys.file.generations);
            return Err(KeyProblem::NoGeneration { needs, has }.of(path));
        };
        FileKey::unwrap_key(tenant_key, wrapped, (kind, &ring.tenant, id)).ok_or_else(|| {
            let expected = format!("a key for this file under generation {} of {}", wrapped.generation, ring.tenant);
            DecodeError::new("wrapped key", 0, expected, "another one").in_file(path).into()
        })
    }

    /// A small file as it is stored: as it is, or encrypted as a whole where the tenant is.
    pub fn put_in_box(&self, kind: FileKind, id: u64, bytes: Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let (Some(ring), Some(key)) = (&self.0, self.new_file(kind, id)?) else { return Ok(bytes) };
        // The key is for this one message, so that it is as one sector, the first and the last.
        let mut sealed = bytes;
        let tag = key.seal_sector(0, true, &mut sealed);
        sealed.extend_from_slice(&tag);
        Ok(BoxedFile { kind, tenant: ring.tenant.clone(), key: *key.wrapped(), sealed }.encode())
    }

    /// What [`KeyRing::put_in_box`] was given, from a file's bytes.
    pub fn take_out_of_box(&self, kind: FileKind, id: u64, bytes: Vec<u8>, path: &Path) -> Result<Boxed, StorageError> {
        let damage = |e: DecodeError| StorageError::from(e.in_file(path));
        let Some(boxed) = BoxedFile::decode(kind, &bytes).map_err(damage)? else { return Ok(Boxed::Plain(bytes)) };
        if let Some(ring) = self.0.as_ref().filter(|ring| ring.tenant != boxed.tenant) {
            return Err(damage(DecodeError::new(
                "encrypted file",
                11,
                format!("tenant {}", ring.tenant),
                boxed.tenant,
            )));
        }
        let key = self.open_file(kind, id, &boxed.key, path)?;
        let wrong = || damage(DecodeError::new("encrypted file", 0, "bytes that their tag fits", "others"));
        let (sealed, tag) = boxed.sealed.split_last_chunk::<TAG_BYTES>().ok_or_else(wrong)?;
        let mut plain = sealed.to_vec();
        if key.open_sector(0, true, &mut plain, tag) { Ok(Boxed::Opened(plain)) } else { Err(wrong()) }
    }

    /// From now on leaves are made with the tenant's key, where it is encrypted: no file that is not encrypted gets any
    /// more of them. Else who has no key could not check such a file.
    pub fn begin_hashing(&self) {
        if let Some(ring) = &self.0 {
            ring.hashing.store(true, Ordering::Release);
        }
    }

    /// The leaf of a payload: BLAKE3, keyed where the tenant is encrypted, so that it says nothing to who can guess.
    pub fn leaf(&self, payload: &[u8]) -> [u8; 32] {
        let hashing = self.0.as_ref().is_some_and(|ring| ring.hashing.load(Ordering::Acquire));
        match self.keys().filter(|_| hashing) {
            Some(keys) => *blake3::keyed_hash(&keys.hash, payload).as_bytes(),
            None => *blake3::hash(payload).as_bytes(),
        }
    }

    /// Is this the leaf of a payload? Records from before the tenant was encrypted have leaves without a key.
    pub fn is_leaf(&self, leaf: &[u8; 32], payload: &[u8]) -> bool {
        let keyed = |keys: Arc<Keys>| blake3::keyed_hash(&keys.hash, payload) == *leaf;
        self.keys().is_some_and(keyed) || blake3::hash(payload) == *leaf
    }

    /// Makes the tenant an encrypted one, durably: from then on its new files are. No error where it is one.
    pub fn encrypt(&self) -> Result<(), StorageError> {
        let Some(ring) = &self.0 else { return Ok(()) };
        let _one = ring.change.lock().unwrap_or_else(|e| e.into_inner());
        if self.is_encrypted() {
            return Ok(());
        }
        let Some(master) = &ring.master else {
            return Err(KeyProblem::NothingToWrapUnder.of(&ring.path));
        };
        let root = random_secret(&ring.path)?;
        let mut secrets = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES));
        for _ in 0..2 {
            secrets.extend_from_slice(&*random_secret(&ring.path)?);
        }
        let now = Timestamp::now();
        let slot = ring.slot(master, &root)?;
        ring.write((now, now), vec![slot], &root, &secrets)
    }

    /// Makes a new generation of the tenant's key, for the files that come; gives its number.
    pub fn rotate(&self) -> Result<u32, StorageError> {
        let (ring, _one, keys) = self.to_change()?;
        if keys.file.generations >= KEY_GENERATIONS_MAX {
            let text = format!("there are {KEY_GENERATIONS_MAX} generations of the tenant's key, and no more can be");
            return Err(KeyProblem::Refused(text).of(&ring.path));
        }
        let mut secrets = Zeroizing::new(Vec::with_capacity(keys.secrets.len() + KEY_BYTES));
        secrets.extend_from_slice(&keys.secrets);
        secrets.extend_from_slice(&*random_secret(&ring.path)?);
        let times = (keys.file.created, Timestamp::now());
        let masters = || keys.file.slots.iter().map(|slot| ring.master.as_ref()?.only(&slot.master));
        match masters().collect::<Option<Vec<MasterKey>>>() {
            // With a new root key, who kept the old one does not get at the new generation.
            Some(masters) => {
                let root = random_secret(&ring.path)?;
                let slots = masters.iter().map(|master| ring.slot(master, &root)).collect::<Result<_, _>>()?;
                ring.write(times, slots, &root, &secrets)?;
            }
            None => ring.write(times, keys.file.slots.clone(), &keys.root, &secrets)?,
        }
        Ok(keys.file.generations + 1)
    }

    /// Lets a new master key open the tenant's keys as well as the present one. The first half of changing it.
    pub fn add_master(&self, new: &MasterKey) -> Result<(), StorageError> {
        let (ring, _one, keys) = self.to_change()?;
        if keys.file.slots.iter().any(|slot| slot.master == *new.raw_id()) {
            return Ok(());
        }
        let mut slots: Vec<KeySlot> = keys.file.slots.clone();
        if slots.len() > 1 {
            // A change that was not finished: what opens the keys now stays, and the new key that never came to be goes.
            slots.retain(|slot| ring.master.as_ref().is_some_and(|m| m.cipher_of(&slot.master).is_some()));
            slots.truncate(1);
        }
        slots.push(ring.slot(new, &keys.root)?);
        ring.write((keys.file.created, keys.file.rotated), slots, &keys.root, &keys.secrets)
    }

    /// Lets only this master key open the tenant's keys, one that does already. The second half of changing it.
    pub fn retire_other_masters(&self, new: &MasterKey) -> Result<(), StorageError> {
        let (ring, _one, keys) = self.to_change()?;
        let slots: Vec<KeySlot> = keys.file.slots.iter().filter(|slot| slot.master == *new.raw_id()).cloned().collect();
        if slots.is_empty() {
            let text = format!("the master key of id {} does not open it yet", new.id());
            return Err(KeyProblem::Refused(text).of(&ring.path));
        }
        if slots.len() == keys.file.slots.len() {
            return Ok(());
        }
        ring.write((keys.file.created, keys.file.rotated), slots, &keys.root, &keys.secrets)
    }

    fn to_change(&self) -> Result<(&Ring, std::sync::MutexGuard<'_, ()>, Arc<Keys>), StorageError> {
        let refused = |path: &Path| KeyProblem::Refused("the tenant is not encrypted".into()).of(path);
        let Some(ring) = &self.0 else { return Err(refused(Path::new(KEY_FILE))) };
        let one = ring.change.lock().unwrap_or_else(|e| e.into_inner());
        let keys = self.keys().ok_or_else(|| refused(&ring.path))?;
        Ok((ring, one, keys))
    }
}

impl Ring {
    fn new(vfs: Option<Arc<dyn Vfs>>, path: PathBuf, tenant: &TenantId, master: Option<&MasterKey>) -> Self {
        Ring {
            tenant: tenant.clone(),
            vfs,
            path,
            master: master.cloned(),
            keys: RwLock::default(),
            hashing: AtomicBool::new(false),
            change: Mutex::default(),
        }
    }

    fn reload(&self) -> Result<(), StorageError> {
        let Some(vfs) = &self.vfs else { return Ok(()) };
        let keys = match vfs.exists(&self.path)? {
            true => Some(Arc::new(self.load(&vfs.read(&self.path)?)?)),
            false => None,
        };
        *self.keys.write().unwrap_or_else(|e| e.into_inner()) = keys;
        Ok(())
    }

    fn load(&self, bytes: &[u8]) -> Result<Keys, StorageError> {
        let damage = |e: DecodeError| StorageError::from(e.in_file(&self.path));
        let file = KeyFile::decode(bytes).map_err(damage)?;
        if file.tenant != self.tenant {
            let expected = format!("the keys of {}", self.tenant);
            return Err(damage(DecodeError::new("key file", 11, expected, format!("those of {}", file.tenant))));
        }
        let needs = || file.slots.iter().map(|slot| hex(&slot.master)).collect::<Vec<_>>().join(" or ");
        let Some(master) = &self.master else {
            return Err(KeyProblem::NoMasterKey { needs: needs() }.of(&self.path));
        };
        let known = |slot: &&KeySlot| master.cipher_of(&slot.master).is_some();
        let Some((slot, cipher)) =
            file.slots.iter().find(known).and_then(|slot| Some((slot, master.cipher_of(&slot.master)?)))
        else {
            return Err(KeyProblem::WrongMasterKey { needs: needs(), given: master.ids() }.of(&self.path));
        };
        // The checksum was right and so is the id, so that this is no accident.
        let forged = |what| damage(DecodeError::new("key file", 104, format!("{what} that its tag fits"), "another"));
        let context = KeyFile::slot_context(&self.tenant, &slot.master);
        let root = cipher.unwrap_key(&slot.nonce, &context, &slot.sealed).ok_or_else(|| forged("a root key"))?;
        let (sealed, tag) = file.sealed.split_last_chunk::<TAG_BYTES>().ok_or_else(|| forged("keys"))?;
        let mut secrets = Zeroizing::new(sealed.to_vec());
        if !Cipher::new(&root).open(&file.nonce, &file.context(), &mut secrets, tag) {
            return Err(forged("keys"));
        }
        self.keys_of(file, root, secrets)
    }

    fn keys_of(&self, file: KeyFile, root: Secret, secrets: Zeroizing<Vec<u8>>) -> Result<Keys, StorageError> {
        let (all, _) = secrets.as_chunks::<KEY_BYTES>();
        let Some((hash, generations)) = all.split_first() else {
            let error = DecodeError::new("key file", 104, "keys", "none");
            return Err(error.in_file(&self.path).into());
        };
        let (hash, generations) = (Zeroizing::new(*hash), generations.iter().map(Cipher::new).collect());
        Ok(Keys { file, root, hash, generations, secrets })
    }

    fn slot(&self, master: &MasterKey, root: &Secret) -> Result<KeySlot, StorageError> {
        let (nonce, id) = (random(&self.path)?, *master.raw_id());
        let sealed = master.cipher().wrap(&nonce, &KeyFile::slot_context(&self.tenant, &id), root);
        Ok(KeySlot { master: id, nonce, sealed })
    }

    /// Replaces the file, and goes on with what it says from then on.
    fn write(
        &self,
        (created, rotated): (Timestamp, Timestamp),
        slots: Vec<KeySlot>,
        root: &Secret,
        secrets: &Zeroizing<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let generations = (secrets.len() / KEY_BYTES - 1) as u32;
        let (tenant, nonce, mut sealed) = (self.tenant.clone(), random(&self.path)?, secrets.to_vec());
        let mut file = KeyFile { tenant, created, rotated, generations, slots, nonce, sealed: Vec::new() };
        let tag = Cipher::new(root).seal(&file.nonce, &file.context(), &mut sealed);
        sealed.extend_from_slice(&tag);
        file.sealed = sealed;
        let Some(vfs) = &self.vfs else {
            return Err(KeyProblem::Refused("the keys were opened for reading".into()).of(&self.path));
        };
        vfs.replace(&self.path, &file.encode())?;
        let keys = self.keys_of(file, root.clone(), secrets.clone())?;
        *self.keys.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(keys));
        Ok(())
    }
}

/// Removes what a crash left of a change of keys that did not come to be. For who has the tenant open for writing.
pub fn remove_unfinished(vfs: &dyn Vfs, dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(UNFINISHED);
    if vfs.exists(&path)? { vfs.remove(&path) } else { Ok(()) }
}

/// Makes what a tenant's folder holds unreadable: overwrites its file `key`, and removes it, durably. This goes before
/// anything else when a tenant is deleted. No error where there is no such file.
pub fn erase(vfs: &dyn Vfs, dir: &Path) -> Result<(), StorageError> {
    let mut found = false;
    for name in [KEY_FILE, UNFINISHED] {
        let path = dir.join(name);
        if !vfs.exists(&path)? {
            continue;
        }
        found = true;
        let file = vfs.open_write(&path)?;
        let zeros = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
        file.write_all_at(0, &zeros)?;
        file.sync()?;
        drop(file);
        vfs.remove(&path)?;
    }
    if found { vfs.sync_dir(dir) } else { Ok(()) }
}
