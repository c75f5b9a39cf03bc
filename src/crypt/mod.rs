//! Encryption at rest: master keys, tenants' keys, and files that are encrypted under them.
//!
//! Promises: a nonce is used once under a key; nothing is given out whose tag was not right; keys are overwritten when
//! they are let go, and never printed; a wrong key is an error of its own, never taken for damage. The only importer of
//! the cipher. May not know: what files mean, queries, where tenants are.
//!
//! The master key, which lives outside of the store, encrypts a tenant's root key; that encrypts the tenant's keys (the
//! file `key`), of which each rotation makes a new one; the newest encrypts the data key of each new file, which stands
//! in the file's header. So a new master key is a matter of one small file a tenant, and a new tenant's key of none.

#[cfg(test)]
mod examples;
mod file;
mod master;
mod ring;
mod segment;
#[cfg(test)]
mod tests;

pub use file::{FileKey, FrameSealer};
pub use master::MasterKey;
pub use ring::{Boxed, KeyInfo, KeyRing, erase, remove_unfinished};
pub use segment::{Salvaged, SealedFile, SealedWriter, StoredRoot};
pub use segment::{generation, hash_stored, open_segment, salvage_segment};

use crate::error::StorageError;
use crate::format::sealed::{KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use std::path::Path;
use zeroize::Zeroizing;

/// The file with a tenant's keys, in the tenant's folder.
pub const KEY_FILE: &str = "key";

/// A key, overwritten when it is let go.
pub(crate) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// Random bytes of the system. There is no falling back: without them there is no key.
fn random<const N: usize>(why: &Path) -> Result<[u8; N], StorageError> {
    let mut bytes = [0; N];
    let failed =
        |e: getrandom::Error| StorageError::io("take random bytes for", why, std::io::Error::other(e.to_string()));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn random_secret(why: &Path) -> Result<Secret, StorageError> {
    random::<KEY_BYTES>(why).map(Zeroizing::new)
}

/// A cipher with its key.
struct Cipher(XChaCha20Poly1305);

impl Cipher {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        Cipher(XChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts in place; gives the tag.
    fn seal(&self, nonce: &[u8; NONCE_BYTES], context: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        // The one error is a length beyond 256 GiB, which no buffer here has.
        let tag = self.0.encrypt_inout_detached(nonce.into(), context, bytes.into());
        tag.map_or([0; TAG_BYTES], Into::into)
    }

    /// Decrypts in place; `false` where the tag is not right, and then nothing was decrypted.
    fn open(&self, nonce: &[u8; NONCE_BYTES], context: &[u8], bytes: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.0.decrypt_inout_detached(nonce.into(), context, bytes.into(), tag.into()).is_ok()
    }

    /// Encrypts a key.
    fn wrap(&self, nonce: &[u8; NONCE_BYTES], context: &[u8], key: &Secret) -> [u8; KEY_BYTES + TAG_BYTES] {
        let mut out = [0; KEY_BYTES + TAG_BYTES];
        out[..KEY_BYTES].copy_from_slice(&**key);
        let tag = self.seal(nonce, context, &mut out[..KEY_BYTES]);
        out[KEY_BYTES..].copy_from_slice(&tag);
        out
    }

    /// Decrypts a key.
    fn unwrap_key(
        &self,
        nonce: &[u8; NONCE_BYTES],
        context: &[u8],
        sealed: &[u8; KEY_BYTES + TAG_BYTES],
    ) -> Option<Secret> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        let mut key = Secret::default();
        key.copy_from_slice(bytes);
        self.open(nonce, context, &mut *key, tag).then_some(key)
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}
