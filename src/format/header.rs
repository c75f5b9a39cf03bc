//! The header that a log file, a manifest, a file of receipts and a list of archived files begin with, and that a file
//! of usage is: whose file this is, and room for its key.

use super::bytes::{DecodeError, Reader, put_i64, put_u16, put_u32, put_u64};
use super::sealed::{CIPHER_XCHACHA, WrappedKey};
use crate::id::{LogId, Seq, TENANT_NAME_BYTES_MAX, TenantId};

/// Length of a file header in bytes.
pub const FILE_HEADER_BYTES: usize = 256;
/// The version of a log file that this code writes, and the only one that it reads.
pub const LOG_VERSION: u16 = 1;
/// The version of a manifest that this code writes; it reads all from 1 on.
pub const MANIFEST_VERSION: u16 = 3;
/// The version of a file of receipts that this code writes, and the only one that it reads.
pub const RECEIPTS_VERSION: u16 = 1;
/// The version of a list of archived files that this code writes, and the only one that it reads.
pub const ARCHIVED_VERSION: u16 = 1;
/// The version of a file of usage that this code writes, and the only one that it reads.
pub const USAGE_VERSION: u16 = 1;
/// Bytes reserved in a file header for the file's wrapped key; zero where the file is not encrypted.
pub const WRAPPED_KEY_BYTES: usize = 96;
/// The cipher of a file that is not encrypted.
pub const CIPHER_NONE: u8 = 0;

/// No Seq is above this: a store at 100 million records a second gets there in 1,400 years. What a file says beyond is
/// damage, and sums of Seqs and counts do not overflow.
pub const SEQ_MAX: u64 = 1 << 62;

/// Bytes of a header that belong to the kind of file.
const OWN_BYTES: usize = 60;
const LOG_MAGIC: [u8; 8] = *b"DURAMLOG";
const MANIFEST_MAGIC: [u8; 8] = *b"DURAMMAN";
const RECEIPTS_MAGIC: [u8; 8] = *b"DURAMRCP";
const ARCHIVED_MAGIC: [u8; 8] = *b"DURAMARC";
const USAGE_MAGIC: [u8; 8] = *b"DURAMUSE";
const CRC_AT: usize = FILE_HEADER_BYTES - 4;
/// Where the wrapped key stands.
const KEY_AT: usize = 96;

/// What every frame or edit of a file is checked against besides its own bytes, so that bytes of another file, or of
/// an earlier file of that name, never read as its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// The file's number: a log's id; 0 for another file.
    pub id: u64,
    /// A random number that only this file has. It also keeps who writes records from forging a frame inside one.
    pub salt: u64,
}

impl FileStamp {
    /// What the header at the beginning of a file says although it may be damaged: for repair, which finds out with the
    /// first frame whether it is right.
    pub fn of_damaged(bytes: &[u8]) -> Option<FileStamp> {
        let number = |at: usize| bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        Some(FileStamp { id: number(80)?, salt: number(88)? })
    }

    /// A checksum that has taken in the stamp.
    pub(super) fn hasher(&self) -> crc32fast::Hasher {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(&self.id.to_le_bytes());
        hasher
    }
}

/// The header of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// Whose log.
    pub tenant: TenantId,
    /// The log's number, which also names the file.
    pub id: LogId,
    /// See [`FileStamp::salt`].
    pub salt: u64,
    /// The Seq of the first record in this file. Of what older files hold from here on nothing counts.
    pub first: Seq,
    /// The highest Seq known durable when the file was made, in older files; below `first`.
    pub durable: Seq,
    /// The file's key, wrapped, where its frames are encrypted.
    pub key: Option<WrappedKey>,
}

impl LogHeader {
    /// How the file's key is wrapped, as far as the header of a damaged file can be read. What was not wrapped so does
    /// not open.
    pub fn damaged_key(bytes: &[u8]) -> Option<WrappedKey> {
        WrappedKey::decode(bytes.get(KEY_AT..KEY_AT + WRAPPED_KEY_BYTES)?).ok()
    }

    /// What the file's frames are checked against.
    pub fn stamp(&self) -> FileStamp {
        FileStamp { id: self.id.0, salt: self.salt }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut own = Vec::with_capacity(16);
        put_u64(&mut own, self.first.0);
        put_u64(&mut own, self.durable.0);
        encode(LOG_MAGIC, LOG_VERSION, &self.tenant, self.stamp(), self.key.as_ref(), &own)
    }

    /// Reads a header from the beginning of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "log file header";
        let (_, tenant, stamp, key, own) = decode(LOG_MAGIC, LOG_VERSION, WHAT, bytes)?;
        let mut own = Reader::new(own, WHAT);
        let (first, durable) = (own.u64()?, own.u64()?);
        if first > SEQ_MAX || durable >= first {
            return Err(DecodeError::new(
                WHAT,
                192,
                "a first Seq above the durable one",
                format!("{first}, {durable}"),
            ));
        }
        let (first, durable) = (Seq(first), Seq(durable));
        let header = LogHeader { tenant, id: LogId(stamp.id), salt: stamp.salt, first, durable, key };
        canonical(WHAT, bytes, &header.encode())?;
        Ok(header)
    }
}

/// The header of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHeader {
    /// Which version of the format its entries are of, from 1 to [`MANIFEST_VERSION`].
    pub version: u16,
    /// Whose manifest.
    pub tenant: TenantId,
    /// See [`FileStamp::salt`].
    pub salt: u64,
}

impl ManifestHeader {
    /// What the file's entries are checked against.
    pub fn stamp(&self) -> FileStamp {
        FileStamp { id: 0, salt: self.salt }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        encode(MANIFEST_MAGIC, self.version, &self.tenant, self.stamp(), None, &[])
    }

    /// Reads a header from the beginning of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "manifest header";
        let (version, tenant, stamp, key, _) = decode(MANIFEST_MAGIC, MANIFEST_VERSION, WHAT, bytes)?;
        if key.is_some() {
            return Err(DecodeError::new(WHAT, 10, "cipher 0 (none): manifests are not encrypted", CIPHER_XCHACHA));
        }
        let header = ManifestHeader { version, tenant, salt: stamp.salt };
        canonical(WHAT, bytes, &header.encode())?;
        Ok(header)
    }
}

/// The header of a file of receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptsHeader {
    /// Whose receipts.
    pub tenant: TenantId,
    /// See [`FileStamp::salt`].
    pub salt: u64,
}

impl ReceiptsHeader {
    /// What the file's checksum takes in.
    pub fn stamp(&self) -> FileStamp {
        FileStamp { id: 0, salt: self.salt }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        encode(RECEIPTS_MAGIC, RECEIPTS_VERSION, &self.tenant, self.stamp(), None, &[])
    }

    /// Reads a header from the beginning of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "header of a file of receipts";
        let (_, tenant, stamp, key, _) = decode(RECEIPTS_MAGIC, RECEIPTS_VERSION, WHAT, bytes)?;
        if key.is_some() {
            return Err(DecodeError::new(WHAT, 10, "cipher 0 (none): encrypted receipts are in a box", CIPHER_XCHACHA));
        }
        let header = ReceiptsHeader { tenant, salt: stamp.salt };
        canonical(WHAT, bytes, &header.encode())?;
        Ok(header)
    }
}

/// The header of a list of archived files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedHeader {
    /// Whose files.
    pub tenant: TenantId,
    /// See [`FileStamp::salt`].
    pub salt: u64,
}

impl ArchivedHeader {
    /// What the file's checksum takes in.
    pub fn stamp(&self) -> FileStamp {
        FileStamp { id: 0, salt: self.salt }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        encode(ARCHIVED_MAGIC, ARCHIVED_VERSION, &self.tenant, self.stamp(), None, &[])
    }

    /// Reads a header from the beginning of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "header of a list of archived files";
        let (_, tenant, stamp, key, _) = decode(ARCHIVED_MAGIC, ARCHIVED_VERSION, WHAT, bytes)?;
        if key.is_some() {
            return Err(DecodeError::new(WHAT, 10, "cipher 0 (none): the list is not encrypted", CIPHER_XCHACHA));
        }
        let header = ArchivedHeader { tenant, salt: stamp.salt };
        canonical(WHAT, bytes, &header.encode())?;
        Ok(header)
    }
}

/// The file `usage`, which is nothing but a header: what came of records on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageHeader {
    /// Whose.
    pub tenant: TenantId,
    /// See [`FileStamp::salt`].
    pub salt: u64,
    /// Which day, UTC, in days since 1970.
    pub day: i64,
    /// At least so many bytes of records came on it as were let in, encoded and not packed.
    pub bytes: u64,
}

impl UsageHeader {
    /// The bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut own = Vec::with_capacity(16);
        put_i64(&mut own, self.day);
        put_u64(&mut own, self.bytes);
        encode(USAGE_MAGIC, USAGE_VERSION, &self.tenant, FileStamp { id: 0, salt: self.salt }, None, &own)
    }

    /// Reads a whole file.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "file of usage";
        let (_, tenant, stamp, key, own) = decode(USAGE_MAGIC, USAGE_VERSION, WHAT, bytes)?;
        if key.is_some() {
            return Err(DecodeError::new(WHAT, 10, "cipher 0 (none): usage is not encrypted", CIPHER_XCHACHA));
        }
        if bytes.len() > FILE_HEADER_BYTES {
            return Err(DecodeError::new(WHAT, FILE_HEADER_BYTES, "the end", format!("{} bytes", bytes.len())));
        }
        let mut own = Reader::new(own, WHAT);
        let header = UsageHeader { tenant, salt: stamp.salt, day: own.i64()?, bytes: own.u64()? };
        canonical(WHAT, bytes, &header.encode())?;
        Ok(header)
    }
}

fn encode(
    magic: [u8; 8],
    version: u16,
    tenant: &TenantId,
    stamp: FileStamp,
    key: Option<&WrappedKey>,
    own: &[u8],
) -> [u8; FILE_HEADER_BYTES] {
    let name = tenant.as_str().as_bytes();
    let mut out = Vec::with_capacity(FILE_HEADER_BYTES);
    out.extend_from_slice(&magic);
    put_u16(&mut out, version);
    out.push(if key.is_some() { CIPHER_XCHACHA } else { CIPHER_NONE });
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.resize(12 + TENANT_NAME_BYTES_MAX + 4, 0);
    put_u64(&mut out, stamp.id);
    put_u64(&mut out, stamp.salt);
    out.extend_from_slice(&key.map_or([0; WRAPPED_KEY_BYTES], WrappedKey::encode));
    debug_assert!(own.len() <= OWN_BYTES);
    out.extend_from_slice(own);
    let mut header = [0; FILE_HEADER_BYTES];
    header[..out.len()].copy_from_slice(&out);
    let crc = crc32fast::hash(&header[..CRC_AT]);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    header
}

type Decoded<'a> = (u16, TenantId, FileStamp, Option<WrappedKey>, &'a [u8]);

/// Reads a header of a version from 1 to `newest`.
fn decode<'a>(magic: [u8; 8], newest: u16, what: &'static str, bytes: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
    let mut r = Reader::new(bytes, what);
    let found = r.take(8)?;
    if found != magic {
        return Err(DecodeError::new(what, 0, format!("`{}`", magic.escape_ascii()), hex(found)));
    }
    // The version goes before the checksum: another version may be of another length.
    let version = r.u16()?;
    if !(1..=newest).contains(&version) {
        let expected = if newest == 1 { "format version 1".into() } else { format!("format version 1 to {newest}") };
        return Err(DecodeError::new(what, 8, expected, version));
    }
    let whole = Reader::new(bytes, what).take(FILE_HEADER_BYTES)?;
    let (checked, crc) = whole.split_at(CRC_AT);
    check_crc(what, 0, crc32fast::hash(checked), Reader::new(crc, what).u32()?)?;
    let mut r = Reader::new(&checked[10..], what);
    let cipher = r.u8()?;
    if cipher != CIPHER_NONE && cipher != CIPHER_XCHACHA {
        return Err(DecodeError::new(what, 10, "cipher 0 (none) or 1 (XChaCha20-Poly1305)", cipher));
    }
    let name_bytes = usize::from(r.u8()?);
    let area = r.take(TENANT_NAME_BYTES_MAX)?;
    let name = area.get(..name_bytes).and_then(|name| std::str::from_utf8(name).ok());
    let tenant = name
        .and_then(|name| TenantId::new(name).ok())
        .ok_or_else(|| DecodeError::new(what, 11, "a tenant name", area.escape_ascii()))?;
    r.take(4)?;
    let stamp = FileStamp { id: r.u64()?, salt: r.u64()? };
    let key = r.take(WRAPPED_KEY_BYTES)?;
    let key = match cipher {
        CIPHER_NONE => None,
        _ => Some(WrappedKey::decode(key).map_err(|e| e.within(KEY_AT as u64))?),
    };
    Ok((version, tenant, stamp, key, r.take(OWN_BYTES)?))
}

/// What these versions reserve is zero: something there would mean what this code does not know.
fn canonical(what: &'static str, bytes: &[u8], encoded: &[u8; FILE_HEADER_BYTES]) -> Result<(), DecodeError> {
    match bytes.iter().zip(encoded).position(|(found, expected)| found != expected) {
        Some(at) => Err(DecodeError::new(what, at, format!("{:02x}", encoded[at]), format!("{:02x}", bytes[at]))),
        None => Ok(()),
    }
}

/// Compares a checksum with the stored one. An error points at `at`, where the bytes that it covers begin.
pub(super) fn check_crc(what: &'static str, at: usize, computed: u32, stored: u32) -> Result<(), DecodeError> {
    if computed == stored {
        return Ok(());
    }
    Err(DecodeError::new(what, at, format!("CRC {computed:08x}"), format!("CRC {stored:08x}")))
}

/// Ends a small file, of which nothing is believed unless all of it is whole: the checksum of what follows its header.
pub(super) fn end_file(stamp: &FileStamp, out: &mut Vec<u8>) {
    let mut crc = stamp.hasher();
    crc.update(out.get(FILE_HEADER_BYTES..).unwrap_or_default());
    put_u32(out, crc.finalize());
}

/// What stands between the header and the checksum of a file that [`end_file`] ended.
pub(super) fn file_body<'a>(stamp: &FileStamp, bytes: &'a [u8], what: &'static str) -> Result<Reader<'a>, DecodeError> {
    let mut r = Reader::new(bytes, what);
    r.take(FILE_HEADER_BYTES)?;
    let Some((whole, stored)) = bytes.split_last_chunk::<4>().filter(|(whole, _)| whole.len() >= FILE_HEADER_BYTES)
    else {
        return Err(r.error("a checksum", format!("{} bytes", r.remaining())));
    };
    let mut crc = stamp.hasher();
    crc.update(&whole[FILE_HEADER_BYTES..]);
    check_crc(what, whole.len(), crc.finalize(), u32::from_le_bytes(*stored))?;
    let mut r = Reader::new(whole, what);
    r.take(FILE_HEADER_BYTES)?;
    Ok(r)
}

/// Bytes in hexadecimal, for errors.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_header() -> LogHeader {
        let tenant = TenantId::new("acme-1").expect("a name");
        LogHeader { tenant, id: LogId(7), salt: 0x1122_3344_5566_7788, first: Seq(41), durable: Seq(40), key: None }
    }

    #[test]
    fn headers_round_trip_and_are_not_taken_for_each_other() {
        let log = log_header();
        assert_eq!(LogHeader::decode(&log.encode()), Ok(log.clone()));
        for version in 0..=MANIFEST_VERSION + 1 {
            let manifest = ManifestHeader { version, tenant: log.tenant.clone(), salt: 9 };
            let is_known = (1..=MANIFEST_VERSION).contains(&version);
            assert_eq!(ManifestHeader::decode(&manifest.encode()).ok(), is_known.then_some(manifest));
        }
        let manifest = ManifestHeader { version: 1, tenant: log.tenant.clone(), salt: 9 };
        assert!(LogHeader::decode(&manifest.encode()).is_err());
        assert!(ManifestHeader::decode(&log.encode()).is_err());
    }

    #[test]
    fn a_file_of_usage_is_a_header_and_nothing_else() {
        let usage = UsageHeader { tenant: TenantId::new("acme").expect("a name"), salt: 7, day: -3, bytes: u64::MAX };
        let bytes = usage.encode();
        assert_eq!(UsageHeader::decode(&bytes), Ok(usage));
        assert!(UsageHeader::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(UsageHeader::decode(&log_header().encode()).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(UsageHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn reserved_bytes_are_zero() {
        for at in [76, 100, 191, 210, 251] {
            let mut bytes = log_header().encode();
            bytes[at] = 1;
            let crc = crc32fast::hash(&bytes[..CRC_AT]);
            bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(LogHeader::decode(&bytes).map_err(|e| e.offset), Err(at as u64));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_found() {
        let bytes = log_header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(LogHeader::decode(&bad).is_err(), "bit {bit}");
        }
        for n in 0..bytes.len() {
            assert!(LogHeader::decode(&bytes[..n]).is_err(), "{n} bytes");
        }
    }
}
