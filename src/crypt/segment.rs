//! Sealed segments: read as if they were plain, and written so.

use super::{FileKey, KeyRing};
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::sealed::{
    FileKind, SEALED_TRAILER_BYTES, SECTOR_BYTES, SECTOR_EXTRA_BYTES, SealedTrailer, Sectors, check_sector,
    damaged_sealed_header, read_sealed_header, sealed_header,
};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::vfs::VfsFile;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// Most sectors that are read at once: what a page takes, and some more.
const READ_SECTORS_MAX: u64 = 64;
/// Bytes that are read at a time for a hash.
const HASH_BYTES: usize = 1 << 20;
const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;

/// What the manifest says of a sealed segment: of what is stored, so that it can be compared without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRoot {
    /// Bytes of the file.
    pub bytes: u64,
    /// BLAKE3 of all but the trailer.
    pub root: [u8; 32],
}

/// Opens a segment's file as it is read: a sealed one is decrypted sector by sector, a plain one is given back as it
/// is. The root is that of a sealed one.
pub fn open_segment(
    file: Arc<dyn VfsFile>,
    keys: &KeyRing,
) -> Result<(Arc<dyn VfsFile>, Option<StoredRoot>), StorageError> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let got = file.read_at(0, &mut header)?;
    let found = read_sealed_header(&header[..got]).map_err(|e| e.in_file(file.path()))?;
    let Some(found) = found else { return Ok((file, None)) };
    let key = keys.open_file(FileKind::Segment, found.header.id.0, &found.key, file.path())?;
    let (sealed, root) = SealedFile::open(file, key, found.plain)?;
    Ok((Arc::new(sealed), Some(root)))
}

/// The generation of the tenant's key that a segment is under, with no key; `None` where it is a plain one.
pub fn generation(file: &dyn VfsFile) -> Result<Option<u32>, StorageError> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let got = file.read_at(0, &mut header)?;
    let found = read_sealed_header(&header[..got]).map_err(|e| e.in_file(file.path()))?;
    Ok(found.map(|found| found.key.generation))
}

/// The stored root of a sealed segment, computed from its bytes, with no key; `None` where it is a plain one.
pub fn hash_stored(file: &dyn VfsFile) -> Result<Option<[u8; 32]>, StorageError> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let got = file.read_at(0, &mut header)?;
    if read_sealed_header(&header[..got]).map_err(|e| e.in_file(file.path()))?.is_none() {
        return Ok(None);
    }
    let end = file.len()?.saturating_sub(SEALED_TRAILER_BYTES as u64);
    let (mut hasher, mut at, mut buffer) = (blake3::Hasher::new(), 0, vec![0; HASH_BYTES]);
    while at < end {
        let n = usize::try_from(end - at).unwrap_or(HASH_BYTES).min(HASH_BYTES);
        file.read_exact_at(at, &mut buffer[..n])?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// What a damaged segment is read through.
#[derive(Debug)]
pub enum Salvaged {
    /// It is not encrypted.
    Plain,
    /// As the plain one within it, as far as its sectors hold; what does not is damage when it is read.
    Sealed(Arc<dyn VfsFile>),
    /// The file's key can't be read, and so nothing of it.
    Closed(StorageError),
}

/// Opens what may be a damaged sealed segment of this number. That the tenant's keys are not at hand is an error.
pub fn salvage_segment(file: &Arc<dyn VfsFile>, keys: &KeyRing, id: u64) -> Result<Salvaged, StorageError> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let got = file.read_at(0, &mut header)?;
    let mut end = [0; 4];
    let end_at = file.len()?.saturating_sub(end.len() as u64);
    let end_got = file.read_at(end_at, &mut end)?;
    let damage = |e: DecodeError| StorageError::from(e.in_file(file.path()));
    let (wrapped, plain, problem) = match read_sealed_header(&header[..got]) {
        Ok(Some(found)) => (found.key, found.plain, None),
        other => match damaged_sealed_header(&header[..got], &end[..end_got]) {
            None => return Ok(Salvaged::Plain),
            Some(wrapped) => {
                let whole = || DecodeError::new("segment header", 0, "a cipher and a key", "others");
                let problem = damage(other.err().unwrap_or_else(whole));
                let Some(wrapped) = wrapped else { return Ok(Salvaged::Closed(problem)) };
                (wrapped, header, Some(problem))
            }
        },
    };
    match (keys.open_file(FileKind::Segment, id, &wrapped, file.path()), problem) {
        (Ok(key), _) => SealedFile::salvage(file.clone(), key, plain),
        // Also the number of the generation may be damaged.
        (Err(_), Some(problem)) if keys.is_encrypted() => Ok(Salvaged::Closed(problem)),
        (Err(e), None) if e.is_damage() => Ok(Salvaged::Closed(e)),
        (Err(e), _) => Err(e),
    }
}

/// A sealed segment that is read as the plain one within it.
#[derive(Debug)]
pub struct SealedFile {
    file: Arc<dyn VfsFile>,
    key: FileKey,
    header: [u8; SEGMENT_HEADER_BYTES],
    sectors: Sectors,
    /// Is its end missing, and with it the last sector?
    is_cut: bool,
    /// The sector that was decrypted last: pages lie one behind the other.
    last: Mutex<Option<(u64, Vec<u8>)>>,
}

impl SealedFile {
    fn open(
        file: Arc<dyn VfsFile>,
        key: FileKey,
        header: [u8; SEGMENT_HEADER_BYTES],
    ) -> Result<(Self, StoredRoot), StorageError> {
        let bytes = file.len()?;
        let trailer_at = bytes.saturating_sub(SEALED_TRAILER_BYTES as u64);
        let mut end = vec![0; SEALED_TRAILER_BYTES];
        file.read_exact_at(trailer_at, &mut end)?;
        let (trailer, sectors) =
            SealedTrailer::decode(&end, bytes).map_err(|e| e.within(trailer_at).in_file(file.path()))?;
        let root = StoredRoot { bytes, root: trailer.root };
        Ok((SealedFile { file, key, header, sectors, is_cut: false, last: Mutex::default() }, root))
    }

    /// The same for a file whose trailer or end may be gone.
    fn salvage(
        file: Arc<dyn VfsFile>,
        key: FileKey,
        header: [u8; SEGMENT_HEADER_BYTES],
    ) -> Result<Salvaged, StorageError> {
        let damage = match Self::open(file.clone(), key.clone(), header) {
            Ok((whole, _)) => return Ok(Salvaged::Sealed(Arc::new(whole))),
            Err(e) if e.is_damage() => e,
            Err(e) => return Err(e),
        };
        let len = file.len()?;
        let of = |sectors, is_cut| SealedFile { file, key, header, sectors, is_cut, last: Mutex::default() };
        let whole = match Sectors::of_stored(len) {
            Ok(sectors) => of(sectors, false),
            Err(_) => match Sectors::of_cut(len) {
                Some(sectors) => return Ok(Salvaged::Sealed(Arc::new(of(sectors, true)))),
                None => return Ok(Salvaged::Closed(damage)),
            },
        };
        // Where the length is right, the last sector says that it is the last; it may be damaged as well, and then what
        // is before it is read all the same.
        let is_cut = match whole.decrypt(whole.sectors.count - 1, 1) {
            Ok(_) => false,
            Err(e) if e.is_damage() => true,
            Err(e) => return Err(e),
        };
        Ok(match (is_cut, Sectors::of_cut(len)) {
            (false, _) => Salvaged::Sealed(Arc::new(whole)),
            (true, Some(sectors)) => Salvaged::Sealed(Arc::new(SealedFile { sectors, is_cut, ..whole })),
            (true, None) => Salvaged::Closed(damage),
        })
    }

    fn is_last(&self, sector: u64) -> bool {
        !self.is_cut && self.sectors.is_last(sector)
    }

    /// Decrypts sectors, in order.
    fn decrypt(&self, first: u64, count: u64) -> Result<Vec<u8>, StorageError> {
        let (at, _) = self.sectors.stored(first);
        let (last_at, last_len) = self.sectors.stored(first + count - 1);
        let mut stored = vec![0; (last_at - at) as usize + last_len];
        self.file.read_exact_at(at, &mut stored)?;
        let mut out = Vec::with_capacity(stored.len());
        for sector in first..first + count {
            let (sector_at, len) = self.sectors.stored(sector);
            let damage = |e: DecodeError| StorageError::from(e.within(sector_at).in_file(self.file.path()));
            let (sealed, tag) = check_sector(&stored[(sector_at - at) as usize..][..len]).map_err(damage)?;
            let from = out.len();
            out.extend_from_slice(sealed);
            if !self.key.open_sector(sector, self.is_last(sector), &mut out[from..], tag) {
                let found = "one that was not written there";
                return Err(damage(DecodeError::new("encrypted sector", 0, format!("sector {sector}"), found)));
            }
        }
        Ok(out)
    }

    fn last(&self) -> MutexGuard<'_, Option<(u64, Vec<u8>)>> {
        self.last.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Copies from the sector that was decrypted last, where it is this one.
    fn copy_last(&self, sector: u64, within: usize, buffer: &mut [u8]) -> Option<usize> {
        let last = self.last();
        let (_, bytes) = last.as_ref().filter(|(number, _)| *number == sector)?;
        let some = bytes.get(within..)?;
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        Some(n)
    }
}

impl VfsFile for SealedFile {
    fn path(&self) -> &Path {
        self.file.path()
    }
    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.sectors.plain_len())
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            if at < HEADER {
                let some = &self.header[at as usize..];
                let n = some.len().min(buffer.len() - done);
                buffer[done..done + n].copy_from_slice(&some[..n]);
                done += n;
                continue;
            }
            if at >= self.sectors.plain_len() {
                break;
            }
            let (first, within) = ((at - HEADER) / SECTOR_BYTES as u64, ((at - HEADER) % SECTOR_BYTES as u64) as usize);
            if let Some(n) = self.copy_last(first, within, &mut buffer[done..]) {
                done += n;
                continue;
            }
            let wanted = (within + (buffer.len() - done)).div_ceil(SECTOR_BYTES) as u64;
            let count = wanted.min(READ_SECTORS_MAX).min(self.sectors.count - first);
            let plain = self.decrypt(first, count)?;
            let some = &plain[within..];
            let n = some.len().min(buffer.len() - done);
            buffer[done..done + n].copy_from_slice(&some[..n]);
            done += n;
            let last = first + count - 1;
            let from = plain.len() - self.sectors.plain(last);
            *self.last() = Some((last, plain[from..].to_vec()));
        }
        Ok(done)
    }
    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

fn refuse(path: &Path, kind: ErrorKind) -> StorageError {
    StorageError::io("write", path, Error::from(kind))
}

/// A sealed segment that is being written, from front to back. The first [`VfsFile::sync`] ends it.
#[derive(Debug)]
pub struct SealedWriter {
    file: Arc<dyn VfsFile>,
    key: FileKey,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes taken in.
    at: u64,
    /// The header, or what comes behind it, not written yet.
    waiting: Vec<u8>,
    sector: u64,
    written: u64,
    hasher: blake3::Hasher,
    root: Option<StoredRoot>,
    /// A sector is never encrypted twice, so that what failed is not tried again.
    failed: bool,
}

impl SealedWriter {
    /// Writes to an empty file.
    pub fn new(file: Arc<dyn VfsFile>, key: FileKey) -> Self {
        let (waiting, hasher) = (Vec::new(), blake3::Hasher::new());
        let state = State { at: 0, waiting, sector: 0, written: 0, hasher, root: None, failed: false };
        SealedWriter { file, key, state: Mutex::new(state) }
    }

    /// Makes durable what was written so far, and goes on. What waits for more of its sector is not among it.
    pub fn sync_so_far(&self) -> Result<(), StorageError> {
        let state = self.state();
        match state.failed {
            true => Err(refuse(self.path(), ErrorKind::InvalidInput)),
            false => self.file.sync(),
        }
    }

    /// What the manifest is to say of it, once it is synced.
    pub fn root(&self) -> Option<StoredRoot> {
        self.state().root
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn put(&self, state: &mut State, bytes: &[u8]) -> Result<(), StorageError> {
        let result = self.file.write_all_at(state.written, bytes);
        state.failed |= result.is_err();
        result?;
        state.hasher.update(bytes);
        state.written += bytes.len() as u64;
        Ok(())
    }

    fn put_sectors(&self, state: &mut State, keep: usize) -> Result<(), StorageError> {
        let mut out = Vec::with_capacity(state.waiting.len() + state.waiting.len() / 512 + SECTOR_EXTRA_BYTES);
        let waiting = std::mem::take(&mut state.waiting);
        let mut rest = &waiting[..];
        while rest.len() > keep {
            let (some, more) = rest.split_at(rest.len().min(SECTOR_BYTES));
            let from = out.len();
            out.extend_from_slice(some);
            let tag = self.key.seal_sector(state.sector, keep == 0 && more.is_empty(), &mut out[from..]);
            out.extend_from_slice(&tag);
            let crc = crc32fast::hash(&out[from..]);
            out.extend_from_slice(&crc.to_le_bytes());
            state.sector += 1;
            rest = more;
        }
        state.waiting = rest.to_vec();
        self.put(state, &out)
    }
}

impl VfsFile for SealedWriter {
    fn path(&self) -> &Path {
        self.file.path()
    }
    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.state().at)
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize, StorageError> {
        Err(refuse(self.path(), ErrorKind::Unsupported))
    }
    fn write_all_at(&self, offset: u64, mut bytes: &[u8]) -> Result<(), StorageError> {
        let state = &mut *self.state();
        if offset != state.at || state.failed || state.root.is_some() {
            return Err(refuse(self.path(), ErrorKind::InvalidInput));
        }
        state.at += bytes.len() as u64;
        if state.written == 0 {
            let (header, rest) = bytes.split_at(bytes.len().min(SEGMENT_HEADER_BYTES - state.waiting.len()));
            state.waiting.extend_from_slice(header);
            let Some(plain) = state.waiting.first_chunk::<SEGMENT_HEADER_BYTES>() else { return Ok(()) };
            let header = sealed_header(plain, self.key.wrapped());
            state.waiting.clear();
            self.put(state, &header)?;
            bytes = rest;
        }
        state.waiting.extend_from_slice(bytes);
        // The last sector is marked as such, so that one always waits for what comes.
        if state.waiting.len() > SECTOR_BYTES { self.put_sectors(state, SECTOR_BYTES) } else { Ok(()) }
    }
    fn allocate(&self, _: u64) -> Result<(), StorageError> {
        Err(refuse(self.path(), ErrorKind::Unsupported))
    }
    fn set_len(&self, _: u64) -> Result<(), StorageError> {
        Err(refuse(self.path(), ErrorKind::Unsupported))
    }
    fn sync(&self) -> Result<(), StorageError> {
        let state = &mut *self.state();
        if state.failed || state.written == 0 || state.root.is_none() && state.waiting.is_empty() {
            return Err(refuse(self.path(), ErrorKind::InvalidInput));
        }
        if state.root.is_none() {
            self.put_sectors(state, 0)?;
            let root = *state.hasher.finalize().as_bytes();
            self.put(state, &SealedTrailer { root, plain_len: state.at }.encode())?;
            state.root = Some(StoredRoot { bytes: state.written, root });
        }
        self.file.sync()
    }
}
