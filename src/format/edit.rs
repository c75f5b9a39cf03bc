//! Entries of a manifest: hash-chained, each with the edits that take effect together.

use super::bytes::{DecodeError, Reader, put_bytes, put_i64, put_u32, put_u64, put_varint};
use super::header::{FILE_HEADER_BYTES, FileStamp, MANIFEST_VERSION, ManifestHeader, check_crc, hex};
use super::leaf::{decode_leaves, put_leaves};
use super::meta::{ASSIGNMENT_BYTES, SEGMENT_META_BYTES};
use super::meta::{decode_assignment, decode_segment, decode_tenant, decode_vec};
use super::meta::{put_assignment, put_segment, put_vec};
use super::version::Version;
use crate::id::{SegmentId, Seq, TenantId};
use crate::record::Timestamp;

pub use super::leaf::{Leaf, SeqSet};
pub use super::meta::{Assignment, SegmentMeta};

/// Length of an entry's header in bytes; a mark is nothing but a header.
pub const ENTRY_HEADER_BYTES: usize = 64;
/// Longest payload of an entry, in bytes: room for a snapshot of some six million leaves.
pub const ENTRY_BYTES_MAX: usize = 256 << 20;
/// How an entry's header begins.
pub const ENTRY_MAGIC: [u8; 4] = *b"DEnt";
/// The chain's hash before the first entry.
pub const HEAD_START: [u8; 32] = [0; 32];

const HEADER_CRC_AT: usize = ENTRY_HEADER_BYTES - 4;
const WHAT: &str = "manifest entry";

/// A change of what a tenant's store consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// The tenant was made. The first edit of a chain, and only that.
    Create {
        /// Which tenant.
        tenant: TenantId,
        /// When, Unix nanoseconds.
        created_at_ns: i64,
    },
    /// Records went from the log into segments.
    Seal {
        /// The new segments; none where every record of the range was rejected or had expired.
        segments: Vec<SegmentMeta>,
        /// The leaves of the records that were sealed, by rising first Seq. Each is of records of one segment.
        leaves: Vec<Leaf>,
        /// Every record up to and with this Seq is in a segment now.
        sealed_below: Seq,
    },
    /// Segments were replaced by others with the same records. Leaves stay.
    Merge {
        /// What went.
        inputs: Vec<SegmentId>,
        /// What took its place.
        outputs: Vec<SegmentMeta>,
    },
    /// Segments reached the end of their retention.
    Expire {
        /// What went.
        segments: Vec<SegmentId>,
        /// Which rule, in words.
        reason: String,
        /// How many records went.
        records: u64,
        /// First Seqs of leaves of which only a part of the records went.
        leaves_broken: Vec<Seq>,
        /// First Seqs of leaves all of whose records went, although a live segment has Seqs among theirs. Leaves that no
        /// live segment overlaps go by themselves. Not before version 3.
        leaves_gone: Vec<Seq>,
    },
    /// Records were deleted by request: segments were rewritten without them.
    Delete {
        /// The segments that had the records.
        inputs: Vec<SegmentId>,
        /// The segments with what is left.
        outputs: Vec<SegmentMeta>,
        /// Which request, in words.
        reason: String,
        /// How many records went.
        records: u64,
        /// First Seqs of the leaves that can't be reproduced any more.
        leaves_broken: Vec<Seq>,
        /// The leaves of what is left of their records, by rising first Seq.
        leaves_new: Vec<Leaf>,
    },
    /// A segment's index was made anew.
    IndexRebuilt {
        /// Which segment.
        segment: SegmentId,
        /// The root of the new index.
        index_root: [u8; 32],
    },
    /// Segments are of another retention class, or their files in another place. Not in version 1.
    Assign {
        /// Which, and what they are given.
        segments: Vec<Assignment>,
    },
    /// These entries of the chain, both and what is between, are in no file any more, as a repair found. The store stays
    /// what it is; what the entries said can't be proven. Not in versions 1 and 2 of a manifest.
    HistoryLost {
        /// Number of the first one.
        first: u64,
        /// Number of the last one, at least the first.
        last: u64,
    },
    /// All that the chain up to here amounts to. The first edit of a manifest that was compacted, and only that.
    Snapshot(Box<Version>),
}

/// Edits that take effect together, at one link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the chain, from 1; compacting does not begin anew.
    pub number: u64,
    /// The chain's hash before it.
    pub previous: [u8; 32],
    /// When it was made, by the clock of the machine.
    pub at: Timestamp,
    /// The edits, at least one.
    pub edits: Vec<Edit>,
}

/// The chain's hash after an entry: BLAKE3 of the hash before and the payload.
pub fn chain_head(previous: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(previous).update(payload).finalize().as_bytes()
}

impl Entry {
    /// Appends the bytes, and gives the chain's hash after the entry; `None`, and nothing appended, where the payload
    /// is above [`ENTRY_BYTES_MAX`].
    pub fn encode(&self, stamp: &FileStamp, out: &mut Vec<u8>) -> Option<[u8; 32]> {
        let mut payload = Vec::new();
        put_i64(&mut payload, self.at.0);
        put_varint(&mut payload, self.edits.len() as u64);
        self.edits.iter().for_each(|edit| edit.encode(&mut payload));
        if payload.len() > ENTRY_BYTES_MAX {
            return None;
        }
        put_header(self.number, &self.previous, &payload, stamp, out);
        out.extend_from_slice(&payload);
        Some(chain_head(&self.previous, &payload))
    }
}

/// Appends a mark: the chain up to entry `number`, whose hash is `head`, is durable. It is no link of the chain.
pub fn put_entry_mark(number: u64, head: &[u8; 32], stamp: &FileStamp, out: &mut Vec<u8>) {
    put_header(number, head, &[], stamp, out);
}

fn put_header(number: u64, previous: &[u8; 32], payload: &[u8], stamp: &FileStamp, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&ENTRY_MAGIC);
    put_u32(out, payload.len() as u32);
    put_u64(out, number);
    out.extend_from_slice(previous);
    put_u64(out, 0); // reserved
    put_u32(out, payload_crc(stamp, number, payload));
    let mut crc = stamp.hasher();
    crc.update(&out[at..]);
    put_u32(out, crc.finalize());
}

fn payload_crc(stamp: &FileStamp, number: u64, payload: &[u8]) -> u32 {
    let mut crc = stamp.hasher();
    crc.update(&number.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// An entry's header that was checked, its payload unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// See [`Entry::number`]; of a mark the number of the last durable entry.
    pub number: u64,
    /// The chain's hash before an entry, or at a mark.
    pub previous: [u8; 32],
    payload_bytes: u32,
    payload_crc: u32,
}

impl EntryHeader {
    /// Checks the header at the beginning of `bytes`. The payload may be missing.
    pub fn decode(bytes: &[u8], stamp: &FileStamp) -> Result<Self, DecodeError> {
        let header = Reader::new(bytes, WHAT).take(ENTRY_HEADER_BYTES)?;
        let mut r = Reader::new(header, WHAT);
        let magic = r.take(4)?;
        if magic != ENTRY_MAGIC {
            return Err(DecodeError::new(WHAT, 0, "an entry", hex(magic)));
        }
        let mut crc = stamp.hasher();
        crc.update(&header[..HEADER_CRC_AT]);
        check_crc(WHAT, 0, crc.finalize(), Reader::new(&header[HEADER_CRC_AT..], WHAT).u32()?)?;
        let (payload_bytes, number, previous) = (r.u32()?, r.u64()?, r.hash()?);
        let reserved = r.u64()?;
        if reserved != 0 {
            return Err(DecodeError::new(WHAT, 48, "zero", reserved));
        }
        if payload_bytes as usize > ENTRY_BYTES_MAX {
            return Err(DecodeError::new(WHAT, 4, format!("at most {ENTRY_BYTES_MAX} bytes"), payload_bytes));
        }
        Ok(EntryHeader { number, previous, payload_bytes, payload_crc: r.u32()? })
    }

    /// Is it a mark?
    pub fn is_mark(&self) -> bool {
        self.payload_bytes == 0
    }

    /// Length of the whole entry in bytes.
    pub fn entry_bytes(&self) -> usize {
        ENTRY_HEADER_BYTES + self.payload_bytes as usize
    }

    /// Checks the payload of the entry at the beginning of `bytes`, whose header this is; `None` for a mark.
    fn decode_payload(
        &self,
        bytes: &[u8],
        stamp: &FileStamp,
        version: u16,
    ) -> Result<(Option<Entry>, [u8; 32]), DecodeError> {
        let payload = &Reader::new(bytes, WHAT).take(self.entry_bytes())?[ENTRY_HEADER_BYTES..];
        check_crc(WHAT, ENTRY_HEADER_BYTES, payload_crc(stamp, self.number, payload), self.payload_crc)?;
        if self.is_mark() {
            return Ok((None, self.previous));
        }
        let entry = self.decode_edits(payload, version).map_err(|e| e.within(ENTRY_HEADER_BYTES as u64))?;
        Ok((Some(entry), chain_head(&self.previous, payload)))
    }

    fn decode_edits(&self, payload: &[u8], version: u16) -> Result<Entry, DecodeError> {
        let mut r = Reader::new(payload, WHAT);
        let at = Timestamp(r.i64()?);
        let edits = decode_vec(&mut r, 2, |r| Edit::decode(r, version))?;
        r.end()?;
        if edits.is_empty() {
            return Err(r.error("edits", "none"));
        }
        Ok(Entry { number: self.number, previous: self.previous, at, edits })
    }
}

/// Checks the entry at the beginning of `bytes`, as [`Entry::encode`] writes it: its header, its payload and which file
/// it belongs to. Gives it, or `None` for a mark, and the chain's hash after it. What comes before it is for the caller
/// to compare.
pub fn decode_entry(bytes: &[u8], stamp: &FileStamp) -> Result<(Option<Entry>, [u8; 32]), DecodeError> {
    EntryHeader::decode(bytes, stamp)?.decode_payload(bytes, stamp, MANIFEST_VERSION)
}

/// What stands at a place of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryAt {
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The entry; `None` for a mark.
    pub entry: Option<Entry>,
    /// The number of the last entry so far.
    pub number: u64,
    /// The chain's hash after it.
    pub head: [u8; 32],
}

/// The entries and marks of a manifest in their order, up to the end or the first that is damaged.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
    stamp: FileStamp,
    version: u16,
    /// Number and hash of the last entry; `None` before the first, which says itself where the chain is.
    last: Option<(u64, [u8; 32])>,
    failed: bool,
}

/// Reads a manifest from its bytes, the whole file: its header, and then what the iterator gives.
pub fn read_edits(bytes: &[u8]) -> Result<(ManifestHeader, Entries<'_>), DecodeError> {
    let header = ManifestHeader::decode(bytes)?;
    let (stamp, version) = (header.stamp(), header.version);
    Ok((header, Entries { bytes, at: FILE_HEADER_BYTES, stamp, version, last: None, failed: false }))
}

impl Entries<'_> {
    /// Where the next one begins, or what is damaged.
    pub fn position(&self) -> u64 {
        self.at as u64
    }

    /// After a damaged entry: does anything behind it show that it had been durable? An entry is synced before the
    /// next one or its mark is written, so a mark of its number or whatever is of a higher one does. Gives the offset.
    ///
    /// An entry of its own number does not: the damage is then to the mark before it, which was never synced.
    pub fn proof_of_loss(&self) -> Option<u64> {
        let expected = self.last.map_or(1, |(number, _)| number + 1);
        let from = self.at + 1;
        let rest = self.bytes.get(from..)?;
        let is_proof = |h: EntryHeader| h.number > expected || h.number == expected && h.is_mark();
        memchr::memmem::find_iter(rest, &ENTRY_MAGIC)
            .find(|&at| EntryHeader::decode(&rest[at..], &self.stamp).is_ok_and(is_proof))
            .map(|at| (from + at) as u64)
    }

    fn read(&mut self) -> Result<EntryAt, DecodeError> {
        let bytes = &self.bytes[self.at..];
        let header = EntryHeader::decode(bytes, &self.stamp)?;
        let (number, previous) = match self.last {
            Some((number, head)) => (number + u64::from(!header.is_mark()), head),
            None if header.is_mark() => return Err(DecodeError::new(WHAT, 4, "an entry first", "a mark")),
            None => (header.number, header.previous),
        };
        if header.number != number {
            return Err(DecodeError::new(WHAT, 8, format!("entry {number}"), header.number));
        }
        if header.previous != previous {
            let expected = format!("the hash {} of what comes before", hex(&previous));
            return Err(DecodeError::new(WHAT, 16, expected, hex(&header.previous)));
        }
        let (entry, head) = header.decode_payload(bytes, &self.stamp, self.version)?;
        if let Some(entry) = entry.as_ref().filter(|_| self.last.is_none()) {
            let begins = match &entry.edits[0] {
                Edit::Create { .. } => number == 1 && previous == HEAD_START,
                Edit::Snapshot(version) => version.head == previous && version.edits.checked_add(1) == Some(number),
                _ => false,
            };
            if !begins {
                return Err(DecodeError::new(WHAT, ENTRY_HEADER_BYTES, "the beginning of a chain", "another edit"));
            }
        }
        let (offset, bytes) = (self.at as u64, header.entry_bytes());
        self.at += bytes;
        self.last = Some((number, head));
        Ok(EntryAt { offset, bytes: bytes as u64, entry, number, head })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<EntryAt, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.bytes.len() {
            return None;
        }
        let result = self.read().map_err(|e| e.within(self.at as u64));
        self.failed = result.is_err();
        Some(result)
    }
}

impl Edit {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let kind = match self {
            Edit::Create { tenant, created_at_ns } => {
                put_bytes(&mut body, tenant.as_str().as_bytes());
                put_i64(&mut body, *created_at_ns);
                1
            }
            Edit::Seal { segments, leaves, sealed_below } => {
                put_u64(&mut body, sealed_below.0);
                put_vec(&mut body, segments, put_segment);
                put_leaves(&mut body, leaves.len(), leaves.iter());
                2
            }
            Edit::Merge { inputs, outputs } => {
                put_vec(&mut body, inputs, |out, id| put_u64(out, id.0));
                put_vec(&mut body, outputs, put_segment);
                3
            }
            Edit::Expire { segments, reason, records, leaves_broken, leaves_gone } => {
                put_vec(&mut body, segments, |out, id| put_u64(out, id.0));
                put_bytes(&mut body, reason.as_bytes());
                put_u64(&mut body, *records);
                put_vec(&mut body, leaves_broken, |out, seq| put_u64(out, seq.0));
                put_vec(&mut body, leaves_gone, |out, seq| put_u64(out, seq.0));
                4
            }
            Edit::Delete { inputs, outputs, reason, records, leaves_broken, leaves_new } => {
                put_vec(&mut body, inputs, |out, id| put_u64(out, id.0));
                put_vec(&mut body, outputs, put_segment);
                put_bytes(&mut body, reason.as_bytes());
                put_u64(&mut body, *records);
                put_vec(&mut body, leaves_broken, |out, seq| put_u64(out, seq.0));
                put_leaves(&mut body, leaves_new.len(), leaves_new.iter());
                5
            }
            Edit::IndexRebuilt { segment, index_root } => {
                put_u64(&mut body, segment.0);
                body.extend_from_slice(index_root);
                6
            }
            Edit::Snapshot(version) => {
                version.encode(&mut body);
                7
            }
            Edit::Assign { segments } => {
                put_vec(&mut body, segments, put_assignment);
                8
            }
            Edit::HistoryLost { first, last } => {
                put_u64(&mut body, *first);
                put_u64(&mut body, *last);
                9
            }
        };
        out.push(kind);
        put_bytes(out, &body);
    }

    fn decode(r: &mut Reader<'_>, version: u16) -> Result<Self, DecodeError> {
        let kind_at = r.position();
        let kind = r.u8()?;
        let body = r.bytes()?;
        let base = (r.position() - body.len()) as u64;
        let mut r = Reader::new(body, "manifest edit");
        // A kind that is not known changes the store in a way that is not known: there is no skipping it.
        let kinds = match version {
            1 => 7,
            2 => 8,
            _ => 9,
        };
        if !(1..=kinds).contains(&kind) {
            let expected = format!("an edit of kind 1 to {kinds}; a later version of duramen may have written this");
            return Err(DecodeError::new("manifest edit", kind_at, expected, format!("kind {kind}")));
        }
        let edit = Self::decode_body(kind, &mut r, version).and_then(|edit| r.end().map(|()| edit));
        edit.map_err(|e| e.within(base))
    }

    fn decode_body(kind: u8, r: &mut Reader<'_>, version: u16) -> Result<Self, DecodeError> {
        let segments = |r: &mut Reader<'_>| decode_vec(r, SEGMENT_META_BYTES, |r| decode_segment(r, version));
        let segment_id = |r: &mut Reader<'_>| Ok(SegmentId(r.u64()?));
        let seq = |r: &mut Reader<'_>| Ok(Seq(r.u64()?));
        Ok(match kind {
            1 => Edit::Create { tenant: decode_tenant(r)?, created_at_ns: r.i64()? },
            2 => {
                let sealed_below = seq(r)?;
                let segments = segments(r)?;
                Edit::Seal { segments, leaves: decode_leaves(r, version)?, sealed_below }
            }
            3 => Edit::Merge { inputs: decode_vec(r, 8, segment_id)?, outputs: segments(r)? },
            4 => Edit::Expire {
                segments: decode_vec(r, 8, segment_id)?,
                reason: r.text()?.to_string(),
                records: r.u64()?,
                leaves_broken: decode_vec(r, 8, seq)?,
                leaves_gone: if version < 3 { Vec::new() } else { decode_vec(r, 8, seq)? },
            },
            5 => Edit::Delete {
                inputs: decode_vec(r, 8, segment_id)?,
                outputs: segments(r)?,
                reason: r.text()?.to_string(),
                records: r.u64()?,
                leaves_broken: decode_vec(r, 8, seq)?,
                leaves_new: decode_leaves(r, version)?,
            },
            6 => Edit::IndexRebuilt { segment: segment_id(r)?, index_root: r.hash()? },
            7 => Edit::Snapshot(Box::new(Version::decode(r, version)?)),
            8 => Edit::Assign { segments: decode_vec(r, ASSIGNMENT_BYTES, decode_assignment)? },
            _ => Edit::HistoryLost { first: r.u64()?, last: r.u64()? },
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
