//! The key of one file, and the frames of a log that are encrypted under it.

use super::{Cipher, Secret, random, random_secret};
use crate::error::StorageError;
use crate::format::frame::{FrameOpen, FrameSeal};
use crate::format::sealed::{FileKind, NONCE_BYTES, TAG_BYTES, WrappedKey, file_context, put_sector_context};
use crate::id::TenantId;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a frame's nonce that are random; the others count.
const NONCE_RANDOM_BYTES: usize = NONCE_BYTES - 8;

/// The data key of one file. It can't be had from here, only used.
#[derive(Debug, Clone)]
pub struct FileKey(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cipher: Cipher,
    wrapped: WrappedKey,
    /// Kind, tenant and id: authenticated with everything.
    context: Vec<u8>,
}

impl FileKey {
    /// A new key, wrapped by a generation of the tenant's key.
    pub(super) fn new(
        (generation, tenant_key): (u32, &Cipher),
        (kind, tenant, id): (FileKind, &TenantId, u64),
        why: &Path,
    ) -> Result<Self, StorageError> {
        let (key, nonce, context) = (random_secret(why)?, random(why)?, file_context(kind, tenant, id));
        let sealed = tenant_key.wrap(&nonce, &context, &key);
        Ok(Self::of(&key, WrappedKey { generation, nonce, sealed }, context))
    }

    /// The key that a header has; `None` where it was not wrapped so, for this file.
    pub(super) fn unwrap_key(
        tenant_key: &Cipher,
        wrapped: &WrappedKey,
        (kind, tenant, id): (FileKind, &TenantId, u64),
    ) -> Option<Self> {
        let context = file_context(kind, tenant, id);
        let key = tenant_key.unwrap_key(&wrapped.nonce, &context, &wrapped.sealed)?;
        Some(Self::of(&key, *wrapped, context))
    }

    pub(super) fn of(key: &Secret, wrapped: WrappedKey, context: Vec<u8>) -> Self {
        FileKey(Arc::new(Inner { cipher: Cipher::new(key), wrapped, context }))
    }

    /// How it stands in the file's header.
    pub fn wrapped(&self) -> &WrappedKey {
        &self.0.wrapped
    }

    /// Encrypts a sector in place. Each sector of a file is encrypted once, so that its number is the nonce.
    pub(super) fn seal_sector(&self, sector: u64, is_last: bool, bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        self.0.cipher.seal(&sector_nonce(sector), &self.sector_context(sector, is_last), bytes)
    }

    /// Decrypts a sector in place; `false` where it is not what was written there.
    pub fn open_sector(&self, sector: u64, is_last: bool, bytes: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.0.cipher.open(&sector_nonce(sector), &self.sector_context(sector, is_last), bytes, tag)
    }

    fn sector_context(&self, sector: u64, is_last: bool) -> Vec<u8> {
        let mut context = Vec::with_capacity(self.0.context.len() + 9);
        put_sector_context(&self.0.context, sector, is_last, &mut context);
        context
    }

    fn frame_context(&self, header: &[u8]) -> Vec<u8> {
        [&self.0.context, header].concat()
    }
}

fn sector_nonce(sector: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&sector.to_le_bytes());
    nonce
}

impl FrameOpen for FileKey {
    fn open(&self, header: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = body.split_first_chunk::<NONCE_BYTES>()?;
        let (sealed, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut plain = sealed.to_vec();
        self.0.cipher.open(nonce, &self.frame_context(header), &mut plain, tag).then_some(plain)
    }
}

/// Encrypts the frames of a log file that is open for writing.
///
/// A frame that did not reach the disk, or was cut off after a crash, has its place taken by another one under the same
/// key, so that no place can be a nonce. In its stead there are sixteen random bytes for each time that a file is
/// opened, and a count of what was encrypted since.
#[derive(Debug)]
pub struct FrameSealer {
    key: FileKey,
    random: [u8; NONCE_RANDOM_BYTES],
    sealed: u64,
}

impl FrameSealer {
    /// For a file that was just opened; `why` is its path, for errors.
    pub fn new(key: FileKey, why: &Path) -> Result<Self, StorageError> {
        Ok(FrameSealer { key, random: random(why)?, sealed: 0 })
    }

    /// One whose nonces are known beforehand, for the examples of the format.
    #[cfg(test)]
    pub(super) fn counting_from(key: FileKey, random: [u8; NONCE_RANDOM_BYTES], sealed: u64) -> Self {
        FrameSealer { key, random, sealed }
    }
}

impl FrameSeal for FrameSealer {
    fn seal(&mut self, header: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..NONCE_RANDOM_BYTES].copy_from_slice(&self.random);
        nonce[NONCE_RANDOM_BYTES..].copy_from_slice(&self.sealed.to_le_bytes());
        self.sealed += 1;
        out.extend_from_slice(&nonce);
        let at = out.len();
        out.extend_from_slice(plain);
        let tag = self.key.0.cipher.seal(&nonce, &self.key.frame_context(header), &mut out[at..]);
        out.extend_from_slice(&tag);
    }
}
