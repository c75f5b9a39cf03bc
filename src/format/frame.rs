//! Frames of a log file: one committed batch each, or a mark that says how far the log is durable.

use super::bytes::{DecodeError, Reader, put_u16, put_u32, put_u64};
use super::header::{FILE_HEADER_BYTES, FileStamp, check_crc, hex};
use super::sealed::{NONCE_BYTES, TAG_BYTES};
use crate::id::Seq;
use std::cell::RefCell;

/// Length of a frame's header in bytes; a mark is nothing but a header.
pub const FRAME_HEADER_BYTES: usize = 100;
/// Longest payload of a frame, uncompressed, in bytes: it bounds what a damaged length can make a reader allocate.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Longest answer that is kept with an idempotency key, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4096;
/// How a frame's header begins.
pub const FRAME_MAGIC: [u8; 4] = *b"DFrm";

/// zstd packs at most one block of 128 KiB into 4 bytes, so that a payload can't be larger than this times its
/// stored length.
const ZSTD_RATIO_MAX: usize = 1 << 15;
/// Fast, and typed columns get what higher levels would: the log lives only until it is sealed.
const ZSTD_LEVEL: i32 = 1;
/// Below this many bytes zstd's own header eats what it gains.
const COMPRESS_BYTES_MIN: usize = 64;
/// A larger buffer is given back after use.
const SCRATCH_BYTES_MAX: usize = 4 << 20;
const KIND_BATCH: u8 = 1;
const KIND_MARK: u8 = 2;
const KEY_HASH_BYTES: usize = 32;
const HEADER_CRC_AT: usize = FRAME_HEADER_BYTES - 4;
const BODY_CRC_AT: usize = HEADER_CRC_AT - 4;
/// In the byte of the codec: the body is encrypted.
const SEALED_BIT: u8 = 0x80;
/// What a body takes beyond its bytes where it is encrypted.
const SEALED_EXTRA_BYTES: usize = NONCE_BYTES + TAG_BYTES;
const WHAT: &str = "log frame";

/// BLAKE3, cut to 128 bits: links a frame to the one before.
pub type ChainHash = [u8; 16];

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// As one zstd frame.
    Zstd = 1,
}

/// The hash of an `Idempotency-Key`, and what was answered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency<'a> {
    /// BLAKE3 of the key.
    pub key_hash: [u8; KEY_HASH_BYTES],
    /// The answer; at most [`ANSWER_BYTES_MAX`] bytes.
    pub answer: &'a [u8],
}

/// A frame; one without records is a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Seq of the first record; of a mark the Seq that comes next.
    pub first: Seq,
    /// How many records, with contiguous Seqs; 0 in a mark.
    pub records: u32,
    /// The highest Seq known durable when the frame was written; below `first`.
    pub durable: Seq,
    /// The hash of the frame before, or [`chain_start`].
    pub previous: ChainHash,
    /// BLAKE3 of the uncompressed payload; zero in a mark.
    pub leaf: [u8; 32],
    /// How the payload is stored.
    pub codec: Codec,
    /// Length of the payload, uncompressed, in bytes.
    pub raw_bytes: u32,
    /// The payload as stored.
    pub stored: &'a [u8],
    /// The key and answer of the request that brought the batch.
    pub idempotency: Option<Idempotency<'a>>,
}

/// A frame that was checked, and what it takes to read on.
#[derive(Clone, Copy, Debug)]
pub struct DecodedFrame<'a> {
    /// The frame.
    pub frame: Frame<'a>,
    /// Its length in bytes.
    pub bytes: usize,
    /// Its hash, which the next frame carries.
    pub hash: ChainHash,
    /// Where the body is encrypted: all that it takes to decrypt it. The frame's own body is empty then.
    pub sealed: Option<SealedBody<'a>>,
}

/// The body of an encrypted frame, whose checksum held.
#[derive(Clone, Copy, Debug)]
pub struct SealedBody<'a> {
    header: &'a [u8],
    body: &'a [u8],
    request_bytes: usize,
}

/// Encrypts the bodies of frames.
pub trait FrameSeal {
    /// Appends a nonce that was never used, what `plain` encrypts to, and a tag over it and `header`.
    fn seal(&mut self, header: &[u8], plain: &[u8], out: &mut Vec<u8>);
}

/// Decrypts the bodies of frames.
pub trait FrameOpen {
    /// What a [`FrameSeal`] was given; `None` where the tag does not fit.
    fn open(&self, header: &[u8], body: &[u8]) -> Option<Vec<u8>>;
}

/// A frame's header that was checked, its body unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// See [`Frame::first`].
    pub first: Seq,
    /// See [`Frame::records`].
    pub records: u32,
    /// See [`Frame::durable`].
    pub durable: Seq,
    /// See [`Frame::previous`].
    pub previous: ChainHash,
    leaf: [u8; 32],
    codec: Codec,
    raw_bytes: u32,
    stored_bytes: u32,
    request_bytes: u16,
    body_crc: u32,
    is_sealed: bool,
}

/// The hash that the first frame of a log file carries as that of the frame before.
pub fn chain_start(file_header: &[u8; FILE_HEADER_BYTES]) -> ChainHash {
    chain_hash(file_header, &[])
}

fn chain_hash(header: &[u8], request: &[u8]) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(request);
    let mut hash = ChainHash::default();
    hasher.finalize_xof().fill(&mut hash);
    hash
}

impl<'a> Frame<'a> {
    /// A mark: everything up to `durable` is durable, and `next` is the Seq that comes next.
    pub fn mark(next: Seq, durable: Seq, previous: ChainHash) -> Self {
        let codec = Codec::Raw;
        let (leaf, stored) = ([0; 32], &[][..]);
        Frame { first: next, records: 0, durable, previous, leaf, codec, raw_bytes: 0, stored, idempotency: None }
    }

    /// Is it a mark?
    pub fn is_mark(&self) -> bool {
        self.records == 0
    }

    /// Its length in bytes when encoded.
    pub fn encoded_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.request_bytes() + self.stored.len()
    }

    fn request_bytes(&self) -> usize {
        self.idempotency.map_or(0, |i| KEY_HASH_BYTES + i.answer.len())
    }

    /// Appends the bytes, and gives the frame's hash.
    ///
    /// The caller keeps the limits: [`PAYLOAD_BYTES_MAX`] and [`ANSWER_BYTES_MAX`].
    pub fn encode(&self, stamp: &FileStamp, out: &mut Vec<u8>) -> ChainHash {
        let (at, body) = (out.len(), self.body());
        self.put_head(stamp, 0, out);
        self.put_crcs(stamp, at, &body, out);
        let hash = chain_hash(&out[at..], &body[..self.request_bytes()]);
        out.extend_from_slice(&body);
        hash
    }

    /// Appends the bytes with the body encrypted, and gives the frame's hash. A mark has no body, and is as it is.
    pub fn encode_sealed(&self, stamp: &FileStamp, seal: &mut dyn FrameSeal, out: &mut Vec<u8>) -> ChainHash {
        if self.is_mark() {
            return self.encode(stamp, out);
        }
        let (at, mut body) = (out.len(), Vec::new());
        self.put_head(stamp, SEALED_BIT, out);
        seal.seal(&out[at..], &self.body(), &mut body);
        self.put_crcs(stamp, at, &body, out);
        let hash = chain_hash(&out[at..], tag_of(&body));
        out.extend_from_slice(&body);
        hash
    }

    /// Request part and payload, as they are stored where they are not encrypted.
    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.request_bytes() + self.stored.len());
        if let Some(Idempotency { key_hash, answer }) = &self.idempotency {
            debug_assert!(answer.len() <= ANSWER_BYTES_MAX);
            body.extend_from_slice(key_hash);
            body.extend_from_slice(answer);
        }
        body.extend_from_slice(self.stored);
        body
    }

    /// The header but for its checksums.
    fn put_head(&self, stamp: &FileStamp, bits: u8, out: &mut Vec<u8>) {
        debug_assert!(self.durable < self.first && self.raw_bytes as usize <= PAYLOAD_BYTES_MAX);
        out.extend_from_slice(&FRAME_MAGIC);
        out.push(if self.is_mark() { KIND_MARK } else { KIND_BATCH });
        out.push(self.codec as u8 | bits);
        put_u16(out, self.request_bytes() as u16);
        put_u64(out, stamp.id);
        put_u64(out, self.first.0);
        put_u32(out, self.records);
        put_u32(out, self.stored.len() as u32);
        put_u32(out, self.raw_bytes);
        put_u64(out, self.durable.0);
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.leaf);
    }

    fn put_crcs(&self, stamp: &FileStamp, at: usize, body: &[u8], out: &mut Vec<u8>) {
        put_u32(out, body_crc(stamp, self.first, body));
        let mut crc = stamp.hasher();
        crc.update(&out[at..]);
        put_u32(out, crc.finalize());
    }

    /// The payload, uncompressed and checked against the leaf.
    pub fn payload(&self) -> Result<Vec<u8>, DecodeError> {
        self.payload_where(&|leaf, payload| blake3::hash(payload).as_bytes() == leaf)
    }

    /// The payload, uncompressed, where `is_leaf` says of the leaf and it that they fit.
    pub fn payload_where(&self, is_leaf: &dyn Fn(&[u8; 32], &[u8]) -> bool) -> Result<Vec<u8>, DecodeError> {
        let at = FRAME_HEADER_BYTES + self.request_bytes();
        let payload = unpack(self.codec, self.stored, self.raw_bytes as usize)
            .map_err(|found| DecodeError::new(WHAT, at, format!("{} bytes in zstd", self.raw_bytes), found))?;
        if is_leaf(&self.leaf, &payload) {
            Ok(payload)
        } else {
            let found = blake3::hash(&payload).to_hex();
            Err(DecodeError::new(WHAT, at, format!("a payload of hash {}", hex(&self.leaf)), found))
        }
    }
}

fn body_crc(stamp: &FileStamp, first: Seq, body: &[u8]) -> u32 {
    let mut crc = stamp.hasher();
    crc.update(&first.0.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

/// The tag at the end of an encrypted body: it stands for all of it.
fn tag_of(body: &[u8]) -> &[u8] {
    &body[body.len().saturating_sub(TAG_BYTES)..]
}

impl<'a> DecodedFrame<'a> {
    /// Decrypts the body; nothing to do for a frame that is not encrypted.
    pub fn open(&self, key: Option<&dyn FrameOpen>) -> Result<Opened<'a>, DecodeError> {
        let Some(SealedBody { header, body, request_bytes }) = self.sealed else {
            return Ok(Opened { frame: self.frame, plain: None, request_bytes: 0 });
        };
        let wrong = |expected, found| Err(DecodeError::new(WHAT, FRAME_HEADER_BYTES, expected, found));
        let Some(key) = key else { return wrong("a key", "a body that is encrypted") };
        match key.open(header, body) {
            Some(plain) => Ok(Opened { frame: self.frame, plain: Some(plain), request_bytes }),
            None => wrong("a body that its tag fits", "another"),
        }
    }
}

/// A frame whose body is not encrypted any more.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    frame: Frame<'a>,
    plain: Option<Vec<u8>>,
    request_bytes: usize,
}

impl Opened<'_> {
    /// The frame.
    pub fn frame(&self) -> Frame<'_> {
        let Some((request, stored)) = self.plain.as_ref().and_then(|all| all.split_at_checked(self.request_bytes))
        else {
            return self.frame;
        };
        Frame { stored, idempotency: idempotency(request), ..self.frame }
    }
}

fn idempotency(request: &[u8]) -> Option<Idempotency<'_>> {
    let (key_hash, answer) = request.split_first_chunk::<KEY_HASH_BYTES>()?;
    Some(Idempotency { key_hash: *key_hash, answer })
}

impl FrameHeader {
    /// Checks the header at the beginning of `bytes`. The body may be missing.
    pub fn decode(bytes: &[u8], stamp: &FileStamp) -> Result<Self, DecodeError> {
        let wrong = |at, expected: &str, found: String| Err(DecodeError::new(WHAT, at, expected, found));
        let header = Reader::new(bytes, WHAT).take(FRAME_HEADER_BYTES)?;
        let mut r = Reader::new(header, WHAT);
        let magic = r.take(4)?;
        if magic != FRAME_MAGIC {
            return wrong(0, "a frame", hex(magic));
        }
        let mut crc = stamp.hasher();
        crc.update(&header[..HEADER_CRC_AT]);
        check_crc(WHAT, 0, crc.finalize(), Reader::new(&header[HEADER_CRC_AT..], WHAT).u32()?)?;
        let kind = r.u8()?;
        let (stated, is_sealed) = {
            let byte = r.u8()?;
            (byte & !SEALED_BIT, byte & SEALED_BIT != 0)
        };
        let codec = match stated {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            other => return wrong(5, "codec 0 or 1", other.to_string()),
        };
        let request_bytes = r.u16()?;
        let log = r.u64()?;
        if log != stamp.id {
            return wrong(8, &format!("log {:016x}", stamp.id), format!("{log:016x}"));
        }
        let (first, records, stored_bytes, raw_bytes) = (r.u64()?, r.u32()?, r.u32()?, r.u32()?);
        let (durable, mut previous) = (r.u64()?, ChainHash::default());
        previous.copy_from_slice(r.take(16)?);
        let (leaf, body_crc) = (r.hash()?, r.u32()?);
        let is_mark = match kind {
            KIND_BATCH => false,
            KIND_MARK => true,
            other => return wrong(4, "a batch or a mark", format!("kind {other}")),
        };
        let (stored, raw) = (stored_bytes as usize, raw_bytes as usize);
        let empty = stored == 0 && raw == 0 && request_bytes == 0 && leaf == [0; 32];
        let request = usize::from(request_bytes);
        if is_mark != (records == 0) || is_mark && (!empty || is_sealed) {
            return wrong(24, "records in a batch and none in a mark", format!("{records} records in kind {kind}"));
        }
        if durable >= first || first.checked_add(u64::from(records)).is_none() {
            return wrong(16, "Seqs above the durable one", format!("{first}, durable {durable}"));
        }
        if raw > PAYLOAD_BYTES_MAX || stored > raw || codec == Codec::Raw && stored != raw {
            return wrong(28, "a payload's lengths", format!("{stored} stored, {raw} in all, codec {}", codec as u8));
        }
        if request != 0 && !(KEY_HASH_BYTES..=KEY_HASH_BYTES + ANSWER_BYTES_MAX).contains(&request) {
            return wrong(6, "the length of a key's hash and answer", request.to_string());
        }
        let (first, durable) = (Seq(first), Seq(durable));
        Ok(FrameHeader {
            first,
            records,
            durable,
            previous,
            leaf,
            codec,
            raw_bytes,
            stored_bytes,
            request_bytes,
            body_crc,
            is_sealed,
        })
    }

    /// Length of the whole frame in bytes.
    pub fn frame_bytes(&self) -> usize {
        let extra = if self.is_sealed { SEALED_EXTRA_BYTES } else { 0 };
        FRAME_HEADER_BYTES + usize::from(self.request_bytes) + self.stored_bytes as usize + extra
    }

    /// Checks the body of the frame at the beginning of `bytes`, whose header this is.
    pub fn decode_body<'a>(&self, bytes: &'a [u8], stamp: &FileStamp) -> Result<DecodedFrame<'a>, DecodeError> {
        let whole = Reader::new(bytes, WHAT).take(self.frame_bytes())?;
        let (header, body) = whole.split_at(FRAME_HEADER_BYTES);
        check_crc(WHAT, FRAME_HEADER_BYTES, body_crc(stamp, self.first, body), self.body_crc)?;
        let request_bytes = usize::from(self.request_bytes);
        let (request, stored) = if self.is_sealed { (&[][..], &[][..]) } else { body.split_at(request_bytes) };
        let sealed = self.is_sealed.then(|| SealedBody { header: &header[..BODY_CRC_AT], body, request_bytes });
        let hash = chain_hash(header, if self.is_sealed { tag_of(body) } else { request });
        let &FrameHeader { first, records, durable, previous, leaf, codec, raw_bytes, .. } = self;
        let idempotency = idempotency(request);
        let frame = Frame { first, records, durable, previous, leaf, codec, raw_bytes, stored, idempotency };
        Ok(DecodedFrame { frame, bytes: whole.len(), hash, sealed })
    }
}

/// Checks the frame at the beginning of `bytes`: its header, its body and which file it belongs to. What comes before
/// it (chain, Seq) is for the caller to compare, and the payload is checked by [`Frame::payload`].
pub fn decode_frame<'a>(bytes: &'a [u8], stamp: &FileStamp) -> Result<DecodedFrame<'a>, DecodeError> {
    FrameHeader::decode(bytes, stamp)?.decode_body(bytes, stamp)
}

/// A payload as it is stored: compressed where that makes it smaller.
pub fn compress(payload: &[u8]) -> (Codec, Vec<u8>) {
    thread_local! {
        // A context takes about 0.5 MB and longer to make than a small batch to compress.
        static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
        // What is kept is copied out of it: a buffer for the worst case, cut down to what was needed, leaves a hole in the
        // heap behind each batch, which took as much again as the batches of a thousand tenants.
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if payload.len() >= COMPRESS_BYTES_MIN {
        let packed = COMPRESSOR.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
            }
            let compressor = slot.as_mut()?;
            SCRATCH.with_borrow_mut(|scratch| {
                let most = zstd::zstd_safe::compress_bound(payload.len());
                if scratch.len() < most {
                    scratch.resize(most, 0);
                }
                let packed = compressor.compress_to_buffer(payload, &mut scratch[..most]).ok();
                let packed = packed.filter(|len| *len < payload.len()).map(|len| scratch[..len].to_vec());
                if scratch.len() > SCRATCH_BYTES_MAX {
                    *scratch = Vec::new();
                }
                packed
            })
        });
        if let Some(packed) = packed {
            return (Codec::Zstd, packed);
        }
    }
    (Codec::Raw, payload.to_vec())
}

/// What [`compress`] was given, of so many bytes; an error says what was found.
pub fn unpack(codec: Codec, stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, String> {
    match codec {
        Codec::Raw => Ok(stored.to_vec()),
        Codec::Zstd => decompress(stored, raw_bytes),
    }
}

fn decompress(stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, String> {
    if raw_bytes > PAYLOAD_BYTES_MAX || raw_bytes / ZSTD_RATIO_MAX > stored.len() {
        return Err(format!("{} bytes", stored.len()));
    }
    super::compress::decompress(stored, super::compress::Codec::Zstd, raw_bytes, WHAT).map_err(|e| e.found)
}

#[cfg(test)]
mod tests;
