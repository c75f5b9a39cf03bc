//! A tenant's `key` file: its keys, encrypted under a key of their own, which is encrypted under the master key.
//!
//! Promises: whose it is, how many keys it has and under which master keys it can be opened is read and checked without
//! a key. May not know: ciphers, keys.
//!
//! While the master key is being changed there are two slots, one for the old and one for the new: so there is no moment
//! at which neither opens the file.

use super::bytes::{DecodeError, Reader, put_i64, put_u16, put_u32};
use super::sealed::{CIPHER_XCHACHA, KEY_BYTES, NONCE_BYTES, TAG_BYTES, after_cipher};
use super::segment::{put_tenant, read_tenant};
use crate::id::TenantId;
use crate::record::Timestamp;

/// The version of the key file that this code writes, and the only one that it reads.
pub const KEY_FILE_VERSION: u16 = 1;
/// Most generations of a tenant's key: a new one every day for eleven years.
pub const KEY_GENERATIONS_MAX: u32 = 4096;
/// Most slots: the old master key and the new one.
pub const KEY_SLOTS_MAX: usize = 2;
/// Bytes of what tells master keys apart: they say nothing of the key.
pub const MASTER_ID_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"DuraKeys";
const HEAD_BYTES: usize = 104;
const WHAT: &str = "key file";

/// The key of the keys, encrypted under a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// Which master key.
    pub master: [u8; MASTER_ID_BYTES],
    /// The nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// The key, encrypted, and its tag.
    pub sealed: [u8; KEY_BYTES + TAG_BYTES],
}

/// A key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Whose.
    pub tenant: TenantId,
    /// When the tenant became an encrypted one.
    pub created: Timestamp,
    /// When the newest generation was made.
    pub rotated: Timestamp,
    /// How many generations there are; the newest has this number.
    pub generations: u32,
    /// Who opens it: one slot, or two while the master key is changed.
    pub slots: Vec<KeySlot>,
    /// The nonce of the keys.
    pub nonce: [u8; NONCE_BYTES],
    /// The keys, encrypted, and their tag: that of hashes, then each generation's.
    pub sealed: Vec<u8>,
}

impl KeyFile {
    /// What is authenticated with the keys: all of the head but the number of slots.
    pub fn context(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        put_u16(&mut out, KEY_FILE_VERSION);
        out.push(CIPHER_XCHACHA);
        put_tenant(&self.tenant, &mut out);
        out.resize(80, 0);
        put_i64(&mut out, self.created.0);
        put_i64(&mut out, self.rotated.0);
        put_u32(&mut out, self.generations);
        out
    }

    /// What is authenticated with a slot.
    pub fn slot_context(tenant: &TenantId, master: &[u8; MASTER_ID_BYTES]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        put_tenant(tenant, &mut out);
        out.extend_from_slice(master);
        out
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.context();
        put_u32(&mut out, self.slots.len() as u32);
        for slot in &self.slots {
            out.extend_from_slice(&slot.master);
            out.extend_from_slice(&slot.nonce);
            out.extend_from_slice(&slot.sealed);
        }
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.sealed);
        let crc = crc32fast::hash(&out);
        put_u32(&mut out, crc);
        out
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, WHAT);
        let magic = r.take(8)?;
        if magic != MAGIC {
            return Err(DecodeError::new(WHAT, 0, format!("`{}`", MAGIC.escape_ascii()), magic.escape_ascii()));
        }
        let mut r = after_cipher(WHAT, KEY_FILE_VERSION, bytes)?;
        let tenant = read_tenant(&mut r)?;
        if r.take(4)? != [0; 4] {
            return Err(DecodeError::new(WHAT, 76, "zeros", "something else"));
        }
        let (created, rotated) = (Timestamp(r.i64()?), Timestamp(r.i64()?));
        let (generations, slots) = (r.u32()?, r.u32()?);
        if generations == 0 || generations > KEY_GENERATIONS_MAX {
            return Err(DecodeError::new(WHAT, 96, format!("1 to {KEY_GENERATIONS_MAX} generations"), generations));
        }
        if slots == 0 || slots as usize > KEY_SLOTS_MAX {
            return Err(DecodeError::new(WHAT, 100, format!("1 to {KEY_SLOTS_MAX} slots"), slots));
        }
        let slots = (0..slots)
            .map(|_| {
                let (mut master, mut nonce) = ([0; MASTER_ID_BYTES], [0; NONCE_BYTES]);
                let mut sealed = [0; KEY_BYTES + TAG_BYTES];
                master.copy_from_slice(r.take(MASTER_ID_BYTES)?);
                nonce.copy_from_slice(r.take(NONCE_BYTES)?);
                sealed.copy_from_slice(r.take(KEY_BYTES + TAG_BYTES)?);
                Ok(KeySlot { master, nonce, sealed })
            })
            .collect::<Result<_, _>>()?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(r.take(NONCE_BYTES)?);
        let sealed = r.take(KEY_BYTES * (1 + generations as usize) + TAG_BYTES)?.to_vec();
        r.end()?;
        Ok(KeyFile { tenant, created, rotated, generations, slots, nonce, sealed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> KeyFile {
        let slot = |n| KeySlot { master: [n; MASTER_ID_BYTES], nonce: [n; NONCE_BYTES], sealed: [n; 48] };
        KeyFile {
            tenant: TenantId::new("acme").expect("a name"),
            created: Timestamp(1),
            rotated: Timestamp(2),
            generations: 2,
            slots: vec![slot(3), slot(4)],
            nonce: [5; NONCE_BYTES],
            sealed: vec![6; 3 * KEY_BYTES + TAG_BYTES],
        }
    }

    #[test]
    fn round_trips_and_shows_every_flipped_bit_and_every_cut() {
        let bytes = file().encode();
        assert_eq!(KeyFile::decode(&bytes), Ok(file()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(KeyFile::decode(&bad).is_err(), "bit {bit}");
        }
        for n in 0..bytes.len() {
            assert!(KeyFile::decode(&bytes[..n]).is_err(), "{n} bytes");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_behind_a_right_checksum() {
        for (at, n) in [(76, 1), (96, 0), (96, 3), (96, 5000), (100, 0), (100, 3), (10, 2)] {
            let mut bytes = file().encode();
            bytes[at..at + 2].copy_from_slice(&u16::to_le_bytes(n));
            let end = bytes.len() - 4;
            let crc = crc32fast::hash(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
            assert!(KeyFile::decode(&bytes).is_err(), "{n} at {at}");
        }
    }
}
