//! Encrypted tenants: what can be checked without keys, and how what is encrypted is read where a master key is given.

use super::report::{Finding, FindingKind, Report};
use crate::crypt::{FileKey, KEY_FILE, KeyRing, MasterKey};
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::edit::SegmentMeta;
use crate::format::header::hex;
use crate::format::key_file::KeyFile;
use crate::format::sealed::{
    BoxedFile, FileKind, SEALED_TRAILER_BYTES, SealedHeader, SealedTrailer, Sectors, WrappedKey, check_sector,
    read_sealed_header,
};
use crate::id::{SegmentId, TenantId};
use crate::vfs::{MappedFile, Vfs};
use std::path::Path;

/// The keys of the tenant that is looked at, as far as they are at hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Unlock {
    /// What was given; it opens tenant after tenant.
    pub master: Option<MasterKey>,
    /// The tenant's keys; those of a tenant that is not encrypted where they can't be opened.
    pub ring: KeyRing,
    /// How many generations the file `key` has, where it is there and whole.
    generations: Option<u32>,
    /// Encrypted files that were met.
    files: u64,
    /// Those of them that were not decrypted.
    closed: u64,
}

impl Unlock {
    /// With a master key and no tenant.
    pub fn with(master: Option<MasterKey>) -> Self {
        Unlock { master, ..Unlock::default() }
    }
}

/// Looks at a tenant's file `key`, and opens it where a master key was given.
pub(super) fn verify_keys(vfs: &dyn Vfs, dir: &Path, tenant: Option<&TenantId>, report: &mut Report) {
    let path = dir.join(KEY_FILE);
    match vfs.exists(&path) {
        Ok(true) => {}
        Ok(false) => return,
        Err(e) => return report.add(Finding::error(&path, &e)),
    }
    let bytes = match vfs.read(&path) {
        Ok(bytes) => bytes,
        Err(e) => return report.add(Finding::error(&path, &e)),
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    let file = match KeyFile::decode(&bytes) {
        Ok(file) => file,
        Err(e) => return report.add(Finding::damage(FindingKind::Corruption, e.in_file(&path))),
    };
    if let Some(tenant) = tenant.filter(|tenant| file.tenant != **tenant) {
        let (expected, found) = (format!("the keys of {tenant}"), format!("those of {}", file.tenant));
        return report.add(Finding::new(FindingKind::Misplaced, &path, 11, expected, found));
    }
    report.unlock.generations = Some(file.generations);
    if report.unlock.master.is_none() {
        return;
    }
    match KeyRing::from_bytes(&bytes, &path, &file.tenant, report.unlock.master.as_ref()) {
        Ok(ring) => report.unlock.ring = ring,
        Err(e) => report.add(Finding::error(&path, &e)),
    }
}

/// At the end of a tenant: encrypted files want a file `key`; and what was not decrypted is said.
pub(super) fn finish(dir: &Path, report: &mut Report) {
    let Unlock { files, closed, generations, .. } = report.unlock;
    if files == 0 {
        return;
    }
    let path = dir.join(KEY_FILE);
    if generations.is_none() && !report.findings.iter().any(|finding| finding.file == path) {
        let expected = format!("the keys of {files} encrypted files");
        report.add(Finding::new(FindingKind::Missing, &path, 0, expected, "nothing"));
    }
    if closed > 0 {
        let text = "encrypted files were checked as they are stored, and not decrypted: that takes the master key";
        report.skipped.push(format!("{}: {closed} {text}", dir.display()));
    }
}

/// Is a file's key wrapped under a generation that there is? Says so, if not.
fn check_generation(path: &Path, at: u64, key: &WrappedKey, report: &mut Report) {
    if let Some(has) = report.unlock.generations.filter(|has| key.generation > *has) {
        let (expected, found) = (format!("a generation up to {has} of the tenant's key"), key.generation);
        report.add(Finding::new(FindingKind::Mismatch, path, at, expected, found));
    }
}

/// Counts an encrypted log file; gives its key, where it can be had.
pub(super) fn log_key(path: &Path, id: u64, key: &WrappedKey, report: &mut Report) -> Option<FileKey> {
    report.unlock.files += 1;
    check_generation(path, 96, key, report);
    let opened = open(path, FileKind::Log, id, key, report);
    report.unlock.closed += u64::from(opened.is_none());
    opened
}

fn open(path: &Path, kind: FileKind, id: u64, key: &WrappedKey, report: &mut Report) -> Option<FileKey> {
    if !report.unlock.ring.is_encrypted() {
        return None;
    }
    match report.unlock.ring.open_file(kind, id, key, path) {
        Ok(key) => Some(key),
        // That the generation is missing was said.
        Err(StorageError::Key(_)) => None,
        Err(e) => {
            report.add(Finding::error(path, &e));
            None
        }
    }
}

/// A small file that may be encrypted as a whole, as it is within; `None` where it can't be decrypted, or is damaged,
/// which was said then.
pub(super) fn take_out_of_box(
    (kind, id): (FileKind, u64),
    path: &Path,
    bytes: Vec<u8>,
    report: &mut Report,
) -> Option<Vec<u8>> {
    let boxed = match BoxedFile::decode(kind, &bytes) {
        Ok(None) => return Some(bytes),
        Ok(Some(boxed)) => boxed,
        Err(e) => {
            report.add(Finding::damage(FindingKind::Corruption, e.in_file(path)));
            return None;
        }
    };
    report.unlock.files += 1;
    check_generation(path, 80, &boxed.key, report);
    let taken = report.unlock.ring.is_encrypted().then(|| report.unlock.ring.take_out_of_box(kind, id, bytes, path));
    match taken {
        Some(Ok(plain)) => return Some(plain.into_bytes()),
        None | Some(Err(StorageError::Key(_))) => {}
        Some(Err(e)) => report.add(Finding::error(path, &e)),
    }
    report.unlock.closed += 1;
    None
}

/// A segment's bytes, as they are within where it is encrypted.
pub(super) enum Content {
    /// The file.
    Mapped(MappedFile),
    /// What it was decrypted to.
    Opened(Vec<u8>),
}

impl Content {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Content::Mapped(map) => map.bytes(),
            Content::Opened(bytes) => bytes,
        }
    }
}

/// An index beside a segment, as it is within where it is encrypted; empty where it can't be decrypted.
pub(super) fn open_index(path: &Path, id: SegmentId, map: MappedFile, report: &mut Report) -> Content {
    if !BoxedFile::is_box(map.bytes()) {
        return Content::Mapped(map);
    }
    let opened = take_out_of_box((FileKind::Index, id.0), path, map.bytes().to_vec(), report);
    Content::Opened(opened.unwrap_or_default())
}

/// A segment's file on the way to its content.
pub(super) enum Opened {
    /// It is not encrypted.
    Plain(MappedFile),
    /// It is, and this is the segment within.
    Sealed(Vec<u8>),
    /// It is, and can't be decrypted, or is damaged, which was said then.
    Closed,
}

/// Checks an encrypted segment as it is stored, and decrypts it where the keys are at hand. What is not one goes through.
///
/// `expect` is what the manifest says, and whether it means an index beside the segment.
pub(super) fn open_segment(
    path: &Path,
    map: MappedFile,
    expect: Option<(&SegmentMeta, bool)>,
    report: &mut Report,
) -> Opened {
    let corrupt = |e: DecodeError| Finding::damage(FindingKind::Corruption, e.in_file(path));
    let header = match read_sealed_header(map.bytes()) {
        Ok(Some(header)) => header,
        Ok(None) => return Opened::Plain(map),
        Err(e) => {
            report.add(corrupt(e));
            return Opened::Closed;
        }
    };
    report.unlock.files += 1;
    check_generation(path, 91, &header.key, report);
    let before = report.findings.len();
    let sectors = match stored(map.bytes()) {
        Ok((trailer, sectors)) => {
            check_stored(path, map.bytes(), (&trailer, &sectors), expect, report);
            sectors
        }
        Err(e) => {
            report.add(corrupt(e));
            return Opened::Closed;
        }
    };
    if report.findings.len() > before {
        return Opened::Closed;
    }
    if let Some(key) = open(path, FileKind::Segment, header.header.id.0, &header.key, report) {
        match decrypt(map.bytes(), &header, &sectors, &key) {
            Ok(plain) => return Opened::Sealed(plain),
            Err(e) => report.add(corrupt(e)),
        }
    }
    report.unlock.closed += 1;
    Opened::Closed
}

fn stored(bytes: &[u8]) -> Result<(SealedTrailer, Sectors), DecodeError> {
    let at = bytes.len().saturating_sub(SEALED_TRAILER_BYTES);
    SealedTrailer::decode(&bytes[at..], bytes.len() as u64).map_err(|e| e.within(at as u64))
}

/// The checksum of each sector, the hash of all of it, and what the manifest says.
fn check_stored(
    path: &Path,
    bytes: &[u8],
    (trailer, sectors): (&SealedTrailer, &Sectors),
    expect: Option<(&SegmentMeta, bool)>,
    report: &mut Report,
) {
    let before = report.findings.len();
    for sector in 0..sectors.count {
        if let Err(e) = sector_bytes(bytes, sectors, sector).and_then(check_sector) {
            let (at, _) = sectors.stored(sector);
            report.add(Finding::damage(FindingKind::Corruption, e.within(at).in_file(path)));
        }
    }
    let end = bytes.len() - SEALED_TRAILER_BYTES;
    let root = *blake3::hash(&bytes[..end]).as_bytes();
    // The root says that something is wrong, and not where: where a sector has said so, that is enough.
    if root != trailer.root && report.findings.len() == before {
        let expected = format!("BLAKE3 {}", hex(&trailer.root));
        report.add(Finding::new(FindingKind::Corruption, path, 0, expected, hex(&root)));
    }
    let Some((meta, is_beside)) = expect else { return };
    let index_root = if is_beside { &[0; 32] } else { &meta.index_root };
    let parts = [
        ("bytes", meta.bytes.to_string(), bytes.len().to_string()),
        ("data root", hex(&meta.data_root), hex(&trailer.root)),
        ("index root", hex(index_root), hex(&[0; 32])),
    ];
    if let Some(finding) = Finding::mismatch(path, end as u64, &parts) {
        report.add(finding);
    }
}

fn sector_bytes<'a>(bytes: &'a [u8], sectors: &Sectors, sector: u64) -> Result<&'a [u8], DecodeError> {
    let (at, len) = sectors.stored(sector);
    let some = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..len));
    some.ok_or_else(|| DecodeError::new("encrypted sector", 0, format!("{len} bytes"), "the end of the file"))
}

fn decrypt(bytes: &[u8], header: &SealedHeader, sectors: &Sectors, key: &FileKey) -> Result<Vec<u8>, DecodeError> {
    let mut plain = header.plain.to_vec();
    plain.reserve(usize::try_from(sectors.plain_len()).unwrap_or(0).min(bytes.len()));
    for sector in 0..sectors.count {
        let (sealed, tag) = check_sector(sector_bytes(bytes, sectors, sector)?)?;
        let from = plain.len();
        plain.extend_from_slice(sealed);
        if !key.open_sector(sector, sectors.is_last(sector), &mut plain[from..], tag) {
            let (at, _) = sectors.stored(sector);
            let found = "one that was not written there";
            return Err(DecodeError::new("encrypted sector", 0, format!("sector {sector}"), found).within(at));
        }
    }
    Ok(plain)
}
