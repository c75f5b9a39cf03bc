//! The control log: what was decided about tenants and tokens, as a chain of checksummed frames.
//!
//! Promises: every byte is under a checksum or compared with a constant; a frame names the hash of the one before, so
//! that none can be changed, left out or moved without all later ones being written anew. No secret is in it: of a
//! token its hash alone. May not know: paths, files, clocks, what a view of the events looks like.
//!
//! A frame ends with eight bytes that are not zero and begins on a multiple of eight, so that a sector which never
//! reached the disk (it reads as zeros) can be told from a flipped bit: the first is a torn write, which was never
//! acknowledged, the second damage.

mod event;
mod salvage;
#[cfg(test)]
mod tests;

pub use event::{BadToken, Cidr, Event, EventKind, KeyChange, Roles, TokenEntry};
pub use salvage::{Salvaged, salvage};

use super::bytes::{DecodeError, Reader, put_i64, put_u16, put_u32, put_u64};
use crate::record::Timestamp;

/// Length of the file header in bytes.
pub const CONTROL_HEADER_BYTES: usize = 256;
/// The version of the control log that this code writes, and the only one that it reads.
pub const CONTROL_VERSION: u16 = 1;
/// Longest payload of a frame in bytes: the longest event is far below it.
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a frame.
pub const CONTROL_FRAME_BYTES_MAX: usize = CONTROL_FRAME_HEADER_BYTES + CONTROL_PAYLOAD_BYTES_MAX + 8;
/// Length of a frame's header in bytes; the payload, its padding and the trailer follow.
pub const CONTROL_FRAME_HEADER_BYTES: usize = 56;

const MAGIC: [u8; 8] = *b"DURACTRL";
const FRAME_MAGIC: [u8; 4] = *b"DCtl";
const FRAME_END: [u8; 8] = *b"DCtl.end";
const CIPHER_NONE: u8 = 0;
/// Reserved in the header for a wrapped key, as in every file of the store.
const WRAPPED_KEY_BYTES: usize = 96;
const HEADER_CRC_AT: usize = CONTROL_HEADER_BYTES - 4;
const FRAME_CRC_AT: usize = CONTROL_FRAME_HEADER_BYTES - 4;
/// What a disk writes whole; disks with larger sectors write several of these at once.
const SECTOR_BYTES: usize = 512;
const WHAT: &str = "control log frame";

/// BLAKE3 of a frame, or of the file header for the first one.
pub type ControlHash = [u8; 32];

/// The header of a control log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlHeader {
    /// A random number that only this file has: bytes of another store's log never read as this one's.
    pub salt: u64,
    /// When the store was made.
    pub created: Timestamp,
}

impl ControlHeader {
    /// The bytes.
    pub fn encode(&self) -> [u8; CONTROL_HEADER_BYTES] {
        let mut out = Vec::with_capacity(CONTROL_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        put_u16(&mut out, CONTROL_VERSION);
        out.push(CIPHER_NONE);
        out.resize(16, 0);
        put_u64(&mut out, self.salt);
        put_i64(&mut out, self.created.0);
        out.resize(out.len() + WRAPPED_KEY_BYTES, 0);
        let mut header = [0; CONTROL_HEADER_BYTES];
        header[..out.len()].copy_from_slice(&out);
        let crc = crc32fast::hash(&header[..HEADER_CRC_AT]);
        header[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Reads a header from the beginning of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "control log header";
        let mut r = Reader::new(bytes, WHAT);
        let found = r.take(MAGIC.len())?;
        if found != MAGIC {
            return Err(DecodeError::new(WHAT, 0, format!("`{}`", MAGIC.escape_ascii()), found.escape_ascii()));
        }
        // The version goes before the checksum: another version may be of another length.
        let version = r.u16()?;
        if version != CONTROL_VERSION {
            return Err(DecodeError::new(WHAT, 8, format!("format version {CONTROL_VERSION}"), version));
        }
        let whole = Reader::new(bytes, WHAT).take(CONTROL_HEADER_BYTES)?;
        let (checked, crc) = whole.split_at(HEADER_CRC_AT);
        check_crc(WHAT, 0, crc32fast::hash(checked), crc)?;
        let mut r = Reader::new(&checked[10..], WHAT);
        let cipher = r.u8()?;
        if cipher != CIPHER_NONE {
            return Err(DecodeError::new(WHAT, 10, "cipher 0 (none)", cipher));
        }
        r.take(5)?;
        Ok(ControlHeader { salt: r.u64()?, created: Timestamp(r.i64()?) })
    }

    /// Where a log with no frames yet stands.
    pub fn start(&self) -> Head {
        let hash = *blake3::hash(&self.encode()).as_bytes();
        Head { frames: 0, hash, bytes: CONTROL_HEADER_BYTES as u64 }
    }

    fn crc(&self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// How far a control log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of frames; the next one's number is one more.
    pub frames: u64,
    /// The hash of the last frame.
    pub hash: ControlHash,
    /// Length of header and frames in bytes; the next frame begins here.
    pub bytes: u64,
}

/// Bytes behind the last whole frame: a write that a crash cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// What is missing of the frame.
    pub found: &'static str,
}

/// What a control log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its header.
    pub header: ControlHeader,
    /// All events, in order.
    pub events: Vec<Event>,
    /// How far it goes.
    pub head: Head,
    /// What a crash left behind it.
    pub torn: Option<Torn>,
}

/// Appends the frame of an event to `out`, and gives the head behind it.
pub fn encode_frame(header: &ControlHeader, head: &Head, event: &Event, out: &mut Vec<u8>) -> Head {
    let payload = event.encode();
    debug_assert!(payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
    let from = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    put_u32(out, payload.len() as u32);
    put_u64(out, head.frames + 1);
    out.extend_from_slice(&head.hash);
    put_u32(out, header.crc(&payload));
    let crc = header.crc(&out[from..]);
    put_u32(out, crc);
    out.extend_from_slice(&payload);
    let padding = payload.len().next_multiple_of(8) - payload.len();
    out.resize(out.len() + padding, 0);
    out.extend_from_slice(&FRAME_END);
    let hash = *blake3::hash(&out[from..]).as_bytes();
    Head { frames: head.frames + 1, hash, bytes: head.bytes + (out.len() - from) as u64 }
}

/// Reads a whole control log, checking every byte. What a crash can leave behind the last frame is told apart from
/// damage, which is an error.
pub fn decode(bytes: &[u8]) -> Result<Contents, DecodeError> {
    let header = ControlHeader::decode(bytes)?;
    let mut head = header.start();
    let mut events = Vec::new();
    let mut at = CONTROL_HEADER_BYTES;
    let mut torn = None;
    while at < bytes.len() {
        match decode_frame(&header, &head, bytes, at) {
            Ok((event, end)) => {
                let hash = *blake3::hash(&bytes[at..end]).as_bytes();
                head = Head { frames: head.frames + 1, hash, bytes: end as u64 };
                events.push(event);
                at = end;
            }
            Err(error) => match torn_at(&header, bytes, at) {
                Some(found) => {
                    torn = Some(Torn { offset: at as u64, bytes: (bytes.len() - at) as u64, found });
                    break;
                }
                None => return Err(error),
            },
        }
    }
    Ok(Contents { header, events, head, torn })
}

/// The event of the frame at `at`, and where the frame ends.
fn decode_frame(header: &ControlHeader, head: &Head, bytes: &[u8], at: usize) -> Result<(Event, usize), DecodeError> {
    let base = at as u64;
    let place = |e: DecodeError| e.within(base);
    let rest = &bytes[at..];
    let payload_bytes = frame_header(header, rest).map_err(place)?;
    let mut r = Reader::new(rest, WHAT);
    r.take(8).map_err(place)?;
    let number = r.u64().map_err(place)?;
    if number != head.frames + 1 {
        return Err(DecodeError::new(WHAT, at + 8, format!("frame {}", head.frames + 1), format!("frame {number}")));
    }
    let previous = r.hash().map_err(place)?;
    if previous != head.hash {
        let hex = |h: &ControlHash| blake3::Hash::from(*h).to_hex().to_string();
        return Err(DecodeError::new(WHAT, at + 16, format!("hash {}", hex(&head.hash)), hex(&previous)));
    }
    let payload_crc = r.take(4).map_err(place)?;
    r.take(4).map_err(place)?;
    let payload_at = at + r.position();
    let payload = r.take(payload_bytes).map_err(place)?;
    check_crc(WHAT, payload_at, header.crc(payload), payload_crc)?;
    let padding_at = at + r.position();
    let padding = r.take(payload_bytes.next_multiple_of(8) - payload_bytes).map_err(place)?;
    if padding.iter().any(|&b| b != 0) {
        return Err(DecodeError::new(WHAT, padding_at, "zeros", padding.escape_ascii()));
    }
    let end_at = at + r.position();
    let end = r.take(FRAME_END.len()).map_err(place)?;
    if end != FRAME_END {
        return Err(DecodeError::new(WHAT, end_at, format!("`{}`", FRAME_END.escape_ascii()), end.escape_ascii()));
    }
    let event = Event::decode(payload).map_err(|e| e.within(payload_at as u64))?;
    Ok((event, at + r.position()))
}

/// Checks the header of a frame by itself, and gives the length of its payload.
fn frame_header(header: &ControlHeader, frame: &[u8]) -> Result<usize, DecodeError> {
    let mut r = Reader::new(frame, WHAT);
    let checked = r.take(FRAME_CRC_AT)?;
    check_crc(WHAT, 0, header.crc(checked), r.take(4)?)?;
    let mut r = Reader::new(checked, WHAT);
    let magic = r.take(4)?;
    if magic != FRAME_MAGIC {
        return Err(DecodeError::new(WHAT, 0, format!("`{}`", FRAME_MAGIC.escape_ascii()), magic.escape_ascii()));
    }
    let n = r.u32()? as usize;
    if n > CONTROL_PAYLOAD_BYTES_MAX {
        return Err(DecodeError::new(WHAT, 4, format!("at most {CONTROL_PAYLOAD_BYTES_MAX} bytes of payload"), n));
    }
    Ok(n)
}

/// Is what stands at `at`, which is no valid frame, what a crash leaves of one: cut short, or with a sector that never
/// reached the disk? Then what is missing of it. A later valid frame header says that it is damage after all.
fn torn_at(header: &ControlHeader, bytes: &[u8], at: usize) -> Option<&'static str> {
    let rest = &bytes[at..];
    let whole = frame_header(header, rest).ok().map(|n| CONTROL_FRAME_HEADER_BYTES + n.next_multiple_of(8) + 8);
    // Nothing follows a torn frame: the next write begins where it began.
    if rest.len() > whole.unwrap_or(CONTROL_FRAME_BYTES_MAX) {
        return None;
    }
    let later = (8..rest.len()).step_by(8).any(|skip| frame_header(header, &rest[skip..]).is_ok());
    if later {
        return None;
    }
    if rest.len() < whole.unwrap_or(CONTROL_FRAME_HEADER_BYTES) {
        return Some("the end of the file within a frame");
    }
    // A file may have got longer before its last sector was written again. One byte that changed is no proof of it.
    if rest.ends_with(&[0, 0]) {
        return Some("zeros at the end of a frame");
    }
    let mut from = 0;
    while from < rest.len() {
        let to = (from + SECTOR_BYTES - (at + from) % SECTOR_BYTES).min(rest.len());
        if rest[from..to].iter().all(|&b| b == 0) {
            return Some("a sector of zeros within a frame");
        }
        from = to;
    }
    None
}

fn check_crc(what: &'static str, at: usize, computed: u32, stored: &[u8]) -> Result<(), DecodeError> {
    let stored = Reader::new(stored, what).u32()?;
    if computed == stored {
        return Ok(());
    }
    Err(DecodeError::new(what, at, format!("CRC {computed:08x}"), format!("CRC {stored:08x}")))
}
