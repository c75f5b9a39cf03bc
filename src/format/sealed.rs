//! What encrypted files are made of: a wrapped key, and the container that a sealed segment is in.
//!
//! Promises: everything here can be read and checked without a key: checksums are over stored bytes. May not know:
//! ciphers, keys, who has them.
//!
//! A sealed segment is the plain segment, byte for byte, cut into sectors: the header stays in the clear and says how
//! its key is wrapped, then come the sectors of what follows, each with a tag and a checksum, and a trailer with the
//! hash of all that is stored.

use super::bytes::{DecodeError, Reader, put_u16, put_u32, put_u64};
use super::header::{WRAPPED_KEY_BYTES, check_crc};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, put_tenant, read_segment_header, read_tenant};
use crate::id::TenantId;

/// XChaCha20-Poly1305: the one cipher there is.
pub const CIPHER_XCHACHA: u8 = 1;
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a sector before it is encrypted; the last one of a file is shorter. A page is read with a sector or two,
/// and the tag and checksum of each add an eighth of a percent.
pub const SECTOR_BYTES: usize = 16 << 10;
/// What a sector takes on disk beyond its bytes: a tag and a checksum.
pub const SECTOR_EXTRA_BYTES: usize = TAG_BYTES + 4;
/// Bytes of the trailer of a sealed segment.
pub const SEALED_TRAILER_BYTES: usize = 48;

const SECTOR_STORED: u64 = (SECTOR_BYTES + SECTOR_EXTRA_BYTES) as u64;
const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;
const TRAILER: u64 = SEALED_TRAILER_BYTES as u64;
const TRAILER_MAGIC: [u8; 4] = *b"DSea";
/// Where a segment's header has its cipher, and the key behind it.
const CIPHER_AT: usize = 89;
const KEY_AT: usize = 91;
const CRC_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// Kinds of encrypted files. The number is in what is authenticated, so that none is taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// A log file.
    Log = 1,
    /// A segment.
    Segment = 2,
    /// An index beside a segment.
    Index = 3,
    /// Receipts of requests with idempotency keys.
    Receipts = 4,
}

/// A file's data key, encrypted with a generation of its tenant's key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which generation, from 1.
    pub generation: u32,
    /// The nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// The key, encrypted, and its tag.
    pub sealed: [u8; KEY_BYTES + TAG_BYTES],
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappedKey(generation {})", self.generation)
    }
}

impl WrappedKey {
    /// The bytes, as a header has them.
    pub fn encode(&self) -> [u8; WRAPPED_KEY_BYTES] {
        let mut out = [0; WRAPPED_KEY_BYTES];
        out[..4].copy_from_slice(&self.generation.to_le_bytes());
        out[4..4 + NONCE_BYTES].copy_from_slice(&self.nonce);
        out[4 + NONCE_BYTES..][..self.sealed.len()].copy_from_slice(&self.sealed);
        out
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, "wrapped key");
        let generation = r.u32()?;
        let mut key = WrappedKey { generation, nonce: [0; NONCE_BYTES], sealed: [0; KEY_BYTES + TAG_BYTES] };
        key.nonce.copy_from_slice(r.take(NONCE_BYTES)?);
        key.sealed.copy_from_slice(r.take(KEY_BYTES + TAG_BYTES)?);
        if generation == 0 {
            return Err(DecodeError::new("wrapped key", 0, "a generation from 1 on", generation));
        }
        match bytes[r.position()..].iter().position(|&b| b != 0) {
            Some(at) => Err(DecodeError::new("wrapped key", r.position() + at, "zeros", bytes[r.position() + at])),
            None => Ok(key),
        }
    }
}

/// What is authenticated with everything in a file: its kind, whose it is and which.
pub fn file_context(kind: FileKind, tenant: &TenantId, id: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.push(kind as u8);
    put_tenant(tenant, &mut out);
    put_u64(&mut out, id);
    out
}

/// What is authenticated with a sector: the file's context, the sector's number, and whether it is the last.
pub fn put_sector_context(context: &[u8], sector: u64, is_last: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(context);
    put_u64(out, sector);
    out.push(u8::from(is_last));
}

/// A segment's clear header: with the cipher and the wrapped key put into the plain one.
pub fn sealed_header(plain: &[u8; SEGMENT_HEADER_BYTES], key: &WrappedKey) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut out = *plain;
    out[CIPHER_AT] = CIPHER_XCHACHA;
    out[KEY_AT..KEY_AT + WRAPPED_KEY_BYTES].copy_from_slice(&key.encode());
    let crc = crc32fast::hash(&out[..CRC_AT]);
    out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The header of a sealed segment, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedHeader {
    /// What it says.
    pub header: SegmentHeader,
    /// How the file's key is wrapped.
    pub key: WrappedKey,
    /// The plain segment's header: the same without cipher and key.
    pub plain: [u8; SEGMENT_HEADER_BYTES],
}

/// Reads a segment's header where it is a sealed one's; `None` where it says that there is no cipher, or where it is no
/// header at all, which [`read_segment_header`] says better.
pub fn read_sealed_header(bytes: &[u8]) -> Result<Option<SealedHeader>, DecodeError> {
    const WHAT: &str = "segment header";
    let Some(stored) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else { return Ok(None) };
    if stored[CIPHER_AT] != CIPHER_XCHACHA || stored[CIPHER_AT + 1] != 0 {
        return Ok(None);
    }
    let stated = u32::from_le_bytes([stored[CRC_AT], stored[CRC_AT + 1], stored[CRC_AT + 2], stored[CRC_AT + 3]]);
    check_crc(WHAT, 0, crc32fast::hash(&stored[..CRC_AT]), stated)?;
    let mut plain = *stored;
    plain[CIPHER_AT] = 0;
    plain[KEY_AT..KEY_AT + WRAPPED_KEY_BYTES].fill(0);
    let crc = crc32fast::hash(&plain[..CRC_AT]);
    plain[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    let header = read_segment_header(&plain)?;
    let key = WrappedKey::decode(&stored[KEY_AT..KEY_AT + WRAPPED_KEY_BYTES]).map_err(|e| e.within(KEY_AT as u64))?;
    if let Some(at) = plain[KEY_AT..CRC_AT].iter().position(|&b| b != 0) {
        return Err(DecodeError::new(WHAT, KEY_AT + at, "zeros", plain[KEY_AT + at]));
    }
    Ok(Some(SealedHeader { header, key, plain }))
}

/// Is this a sealed segment, also where its header is damaged? By its first bytes and its last; and how its key is
/// wrapped, as far as that can be read. What was not wrapped so does not open.
pub fn damaged_sealed_header(begin: &[u8], end: &[u8]) -> Option<Option<WrappedKey>> {
    let stored = begin.get(KEY_AT..KEY_AT + WRAPPED_KEY_BYTES);
    let has_key =
        begin.get(CIPHER_AT) == Some(&CIPHER_XCHACHA) && stored.is_some_and(|key| key.iter().any(|b| *b != 0));
    (has_key || end.ends_with(&TRAILER_MAGIC)).then(|| WrappedKey::decode(stored?).ok())
}

/// Where the sectors of a sealed segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sectors {
    /// How many.
    pub count: u64,
    /// Bytes of the last one before it was encrypted.
    pub last: usize,
}

impl Sectors {
    /// Those of a file of so many bytes.
    pub fn of_stored(len: u64) -> Result<Self, DecodeError> {
        let body = len.saturating_sub(HEADER + TRAILER);
        let (full, rest) = (body / SECTOR_STORED, body % SECTOR_STORED);
        match rest {
            0 if full > 0 => Ok(Sectors { count: full, last: SECTOR_BYTES }),
            rest if rest > SECTOR_EXTRA_BYTES as u64 => {
                Ok(Sectors { count: full + 1, last: rest as usize - SECTOR_EXTRA_BYTES })
            }
            _ => Err(DecodeError::new("sealed segment", 0, "the length of whole sectors", format!("{len} bytes"))),
        }
    }

    /// The whole sectors of a file of so many bytes that was cut off; `None` where there is none. None of them is the
    /// last one of the segment.
    pub fn of_cut(len: u64) -> Option<Self> {
        let count = len.saturating_sub(HEADER) / SECTOR_STORED;
        (count > 0).then_some(Sectors { count, last: SECTOR_BYTES })
    }

    /// Bytes of the plain segment.
    pub fn plain_len(&self) -> u64 {
        HEADER + (self.count - 1) * SECTOR_BYTES as u64 + self.last as u64
    }

    /// Where a sector is stored, and its bytes there.
    pub fn stored(&self, sector: u64) -> (u64, usize) {
        (HEADER + sector * SECTOR_STORED, self.plain(sector) + SECTOR_EXTRA_BYTES)
    }

    /// Bytes of a sector before it was encrypted.
    pub fn plain(&self, sector: u64) -> usize {
        if self.is_last(sector) { self.last } else { SECTOR_BYTES }
    }

    /// Is it the last one?
    pub fn is_last(&self, sector: u64) -> bool {
        sector + 1 >= self.count
    }
}

/// Compares a stored sector with its checksum; gives what is encrypted and the tag.
pub fn check_sector(stored: &[u8]) -> Result<(&[u8], &[u8; TAG_BYTES]), DecodeError> {
    const WHAT: &str = "encrypted sector";
    let short = || DecodeError::new(WHAT, 0, "a tag and a checksum", format!("{} bytes", stored.len()));
    let (checked, crc) = stored.split_last_chunk::<4>().ok_or_else(short)?;
    check_crc(WHAT, 0, crc32fast::hash(checked), u32::from_le_bytes(*crc))?;
    checked.split_last_chunk::<TAG_BYTES>().ok_or_else(short)
}

/// The end of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedTrailer {
    /// BLAKE3 of everything before.
    pub root: [u8; 32],
    /// Bytes of the plain segment.
    pub plain_len: u64,
}

impl SealedTrailer {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEALED_TRAILER_BYTES);
        out.extend_from_slice(&self.root);
        put_u64(&mut out, self.plain_len);
        let crc = crc32fast::hash(&out);
        put_u32(&mut out, crc);
        out.extend_from_slice(&TRAILER_MAGIC);
        out
    }

    /// Reads the last bytes of a file of `len` bytes, and compares the two lengths.
    pub fn decode(bytes: &[u8], len: u64) -> Result<(Self, Sectors), DecodeError> {
        const WHAT: &str = "sealed segment's trailer";
        let mut r = Reader::new(bytes, WHAT);
        let trailer = SealedTrailer { root: r.hash()?, plain_len: r.u64()? };
        let crc = r.u32()?;
        let magic = r.take(4)?;
        if magic != TRAILER_MAGIC {
            let expected = format!("`{}`", TRAILER_MAGIC.escape_ascii());
            return Err(DecodeError::new(WHAT, SEALED_TRAILER_BYTES - 4, expected, magic.escape_ascii()));
        }
        check_crc(WHAT, 0, crc32fast::hash(&bytes[..40]), crc)?;
        let sectors = Sectors::of_stored(len)?;
        if sectors.plain_len() != trailer.plain_len {
            let (expected, found) = (sectors.plain_len(), trailer.plain_len);
            return Err(DecodeError::new(WHAT, 32, format!("{expected} bytes of a segment"), found));
        }
        Ok((trailer, sectors))
    }
}

const BOX_MAGIC: [u8; 8] = *b"DURABOXD";
const BOX_VERSION: u16 = 1;
/// Bytes of a box before what is encrypted.
const BOX_HEAD_BYTES: usize = 80 + WRAPPED_KEY_BYTES;

/// A small file that is encrypted as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxedFile {
    /// What it is.
    pub kind: FileKind,
    /// Whose.
    pub tenant: TenantId,
    /// The file's key, wrapped.
    pub key: WrappedKey,
    /// The file, encrypted, and the tag.
    pub sealed: Vec<u8>,
}

impl BoxedFile {
    /// Does a file begin as one does?
    pub fn is_box(bytes: &[u8]) -> bool {
        bytes.starts_with(&BOX_MAGIC)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BOX_HEAD_BYTES + self.sealed.len() + 4);
        out.extend_from_slice(&BOX_MAGIC);
        put_u16(&mut out, BOX_VERSION);
        out.push(CIPHER_XCHACHA);
        put_tenant(&self.tenant, &mut out);
        out.push(self.kind as u8);
        out.resize(80, 0);
        out.extend_from_slice(&self.key.encode());
        out.extend_from_slice(&self.sealed);
        let crc = crc32fast::hash(&out);
        put_u32(&mut out, crc);
        out
    }

    /// Reads what `encode` wrote, of a file that should be of this kind; `None` where it is not in a box.
    pub fn decode(kind: FileKind, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        const WHAT: &str = "encrypted file";
        if !Self::is_box(bytes) {
            return Ok(None);
        }
        let mut r = after_cipher(WHAT, BOX_VERSION, bytes)?;
        let tenant = read_tenant(&mut r)?;
        let found = r.take(4)?;
        if found != [kind as u8, 0, 0, 0] {
            return Err(DecodeError::new(WHAT, 76, format!("kind {}", kind as u8), format!("{found:?}")));
        }
        let key = WrappedKey::decode(r.take(WRAPPED_KEY_BYTES)?).map_err(|e| e.within(80))?;
        let sealed = r.take(r.remaining())?;
        if sealed.len() < TAG_BYTES {
            return Err(DecodeError::new(WHAT, BOX_HEAD_BYTES, "a tag", format!("{} bytes", sealed.len())));
        }
        Ok(Some(BoxedFile { kind, tenant, key, sealed: sealed.to_vec() }))
    }
}

/// Checks how a file begins, after its magic, that is all encrypted or holds keys: version, cipher, and the checksum at its
/// end. What follows the cipher, up to the checksum, is left to read.
pub(super) fn after_cipher<'a>(what: &'static str, newest: u16, bytes: &'a [u8]) -> Result<Reader<'a>, DecodeError> {
    let mut r = Reader::new(bytes, what);
    r.take(8)?;
    let version = r.u16()?;
    if version != newest {
        return Err(DecodeError::new(what, 8, format!("version {newest}"), version));
    }
    let (checked, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| r.error("a checksum", "the end"))?;
    check_crc(what, 0, crc32fast::hash(checked), u32::from_le_bytes(*crc))?;
    let mut r = Reader::new(checked, what);
    r.take(10)?;
    let cipher = r.u8()?;
    if cipher != CIPHER_XCHACHA {
        return Err(DecodeError::new(what, 10, format!("cipher {CIPHER_XCHACHA}"), cipher));
    }
    Ok(r)
}
