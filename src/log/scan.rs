//! One log file, read from its beginning to its end or to where it is broken.

use crate::crypt::{FileKey, KeyRing};
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::frame::{DecodedFrame, FRAME_HEADER_BYTES, FrameHeader, decode_frame};
use crate::format::header::{FILE_HEADER_BYTES, FileStamp, LogHeader};
use crate::format::log_file::{FrameChain, PROOF_OVERLAP_BYTES, proof_of_loss};
use crate::format::sealed::FileKind;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::{Vfs, VfsFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many bytes are read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// A log file that is read through a window, with the header that it begins with.
#[derive(Debug)]
pub(super) struct LogSource {
    file: Arc<dyn VfsFile>,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
    pub(super) header: LogHeader,
    pub(super) keys: KeyRing,
}

/// A batch's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameAt {
    pub(super) offset: u64,
    pub(super) bytes: usize,
    pub(super) first: Seq,
    pub(super) records: u32,
}

impl FrameAt {
    pub(super) fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.records) - 1)
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// The batches, in order.
    pub(super) frames: Vec<FrameAt>,
    /// Where the last good frame ends.
    pub(super) end: u64,
    /// Where the file is after the last good frame.
    pub(super) chain: FrameChain,
    /// What stands behind the last good frame where that is not zeros.
    pub(super) broken: Option<Broken>,
}

/// Bytes that are no frame.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// What is wrong, with its offset in the file.
    pub(super) error: DecodeError,
    /// Where the last byte that is not zero ends.
    pub(super) end: u64,
    /// Where the file says, further on, that the records that stood here were durable, and up to which Seq.
    pub(super) proof: Option<(u64, Seq)>,
}

/// The name of a log's file.
pub(super) fn file_name(id: LogId) -> String {
    format!("{id}.log")
}

/// The id that a file's name stands for.
pub(super) fn id_of(name: &str) -> Option<LogId> {
    let id = LogId(u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()?);
    (file_name(id) == name).then_some(id)
}

impl LogSource {
    /// Opens a file and checks its header.
    pub(super) fn open(
        vfs: &dyn Vfs,
        dir: &Path,
        id: LogId,
        (tenant, keys): (&TenantId, &KeyRing),
    ) -> Result<Self, StorageError> {
        let path = dir.join(file_name(id));
        let file = vfs.open(&path)?;
        let mut bytes = [0; FILE_HEADER_BYTES];
        let got = file.read_at(0, &mut bytes)?;
        let header = LogHeader::decode(&bytes[..got]).map_err(|e| e.in_file(&path))?;
        let wrong = |at, expected: &dyn ToString, found: &dyn ToString| {
            let error = DecodeError::new("log file header", at, expected.to_string(), found.to_string());
            Err(StorageError::from(error.in_file(&path)))
        };
        if header.tenant != *tenant {
            return wrong(11, &format!("tenant {tenant}"), &format!("tenant {}", header.tenant));
        }
        if header.id != id {
            return wrong(80, &format!("log {id}"), &format!("log {}", header.id));
        }
        let (keys, len) = (keys.clone(), file.len()?);
        Ok(LogSource { file, len, window: Vec::new(), window_at: 0, header, keys })
    }

    /// The file's key, where its frames are encrypted. Where they are is known without.
    pub(super) fn key(&self) -> Result<Option<FileKey>, StorageError> {
        let wrapped = self.header.key.as_ref();
        let open = |wrapped| self.keys.open_file(FileKind::Log, self.header.id.0, wrapped, self.file.path());
        wrapped.map(open).transpose()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    fn stamp(&self) -> FileStamp {
        self.header.stamp()
    }

    /// Up to `n` bytes; fewer only at the end of the file.
    fn bytes(&mut self, at: u64, n: usize) -> Result<&[u8], StorageError> {
        let n = n.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let has = |window: &[u8], window_at: u64| {
            let from = usize::try_from(at.checked_sub(window_at)?).ok()?;
            (from.checked_add(n)? <= window.len()).then_some(from)
        };
        if has(&self.window, self.window_at).is_none() {
            let room = n.max(WINDOW_BYTES).min(usize::try_from(self.len - at.min(self.len)).unwrap_or(usize::MAX));
            self.window.resize(room, 0);
            let got = self.file.read_at(at, &mut self.window)?;
            self.window.truncate(got);
            self.window_at = at;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX).min(self.window.len());
        let to = (from + n).min(self.window.len());
        Ok(&self.window[from..to])
    }

    /// The frame at an offset.
    pub(super) fn frame(&mut self, at: u64) -> Result<Result<DecodedFrame<'_>, DecodeError>, StorageError> {
        let stamp = self.stamp();
        let header = match FrameHeader::decode(self.bytes(at, FRAME_HEADER_BYTES)?, &stamp) {
            Ok(header) => header,
            Err(e) => return Ok(Err(e.within(at))),
        };
        let bytes = self.bytes(at, header.frame_bytes())?;
        Ok(decode_frame(bytes, &stamp).map_err(|e| e.within(at)))
    }

    /// Reads all frames; payloads are checked by their CRC and not unpacked.
    pub(super) fn scan(&mut self) -> Result<Scan, StorageError> {
        let mut scan = Scan {
            frames: Vec::new(),
            end: FILE_HEADER_BYTES as u64,
            chain: FrameChain::start(&self.header),
            broken: None,
        };
        while scan.end < self.len {
            if let Err(error) = self.scan_one(&mut scan)? {
                scan.broken = self.broken(error, scan.end, scan.chain.next)?;
                break;
            }
        }
        Ok(scan)
    }

    fn scan_one(&mut self, scan: &mut Scan) -> Result<Result<(), DecodeError>, StorageError> {
        let at = scan.end;
        let decoded = match self.frame(at)? {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = scan.chain.accept(&decoded) {
            return Ok(Err(error.within(at)));
        }
        let DecodedFrame { frame, bytes, .. } = decoded;
        if !frame.is_mark() {
            scan.frames.push(FrameAt { offset: at, bytes, first: frame.first, records: frame.records });
        }
        scan.end = at + bytes as u64;
        Ok(Ok(()))
    }

    /// Looks at what stands from `at` on, where no frame is; `None` where it is all zeros.
    fn broken(&mut self, error: DecodeError, at: u64, next: Seq) -> Result<Option<Broken>, StorageError> {
        let mut end = None;
        let mut proof = None;
        let mut from = at;
        while from < self.len {
            // Windows overlap, so that a header that lies across the edge of one is found in the next.
            let (stamp, len) = (self.stamp(), self.len);
            let window = self.bytes(from, WINDOW_BYTES)?;
            if window.is_empty() {
                break;
            }
            if let Some(last) = window.iter().rposition(|b| *b != 0) {
                end = Some(from + last as u64 + 1);
            }
            if proof.is_none() {
                let found = proof_of_loss(window, &stamp, next);
                proof = found.map(|(n, durable)| (from + n as u64, durable));
            }
            let is_last = window.len() <= PROOF_OVERLAP_BYTES || from + window.len() as u64 >= len;
            let step = if is_last { window.len() } else { window.len() - PROOF_OVERLAP_BYTES };
            from += step as u64;
        }
        Ok(end.map(|end| Broken { error, end, proof }))
    }

    /// A copy of bytes, for quarantine.
    pub(super) fn copy(&mut self, from: u64, to: u64) -> Result<Vec<u8>, StorageError> {
        let n = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        Ok(self.bytes(from, n)?.to_vec())
    }
}
