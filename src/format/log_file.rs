//! A log file as a whole: what makes one frame continue another, and a walk over the bytes of a file.

use super::bytes::DecodeError;
use super::frame::{ChainHash, DecodedFrame, FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, FrameHeader};
use super::frame::{chain_start, decode_frame};
use super::header::{FILE_HEADER_BYTES, FileStamp, LogHeader, hex};
use crate::id::Seq;

/// Where a log file is after some frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameChain {
    /// The Seq that comes next.
    pub next: Seq,
    /// The hash that the next frame carries.
    pub hash: ChainHash,
    /// The highest Seq that the file has said is durable.
    pub durable: Seq,
    /// Is the last frame a mark that covers all before it?
    pub is_marked: bool,
    /// Are the file's frames encrypted?
    pub is_sealed: bool,
}

impl FrameChain {
    /// Before the first frame.
    pub fn start(header: &LogHeader) -> Self {
        let hash = chain_start(&header.encode());
        FrameChain {
            next: header.first,
            hash,
            durable: header.durable,
            is_marked: false,
            is_sealed: header.key.is_some(),
        }
    }

    /// Goes on by a frame, where it continues the one before.
    pub fn accept(&mut self, decoded: &DecodedFrame<'_>) -> Result<(), DecodeError> {
        let DecodedFrame { frame, hash, .. } = decoded;
        if frame.first != self.next {
            let found = format!("Seq {}", frame.first);
            return Err(DecodeError::new("log frame", 16, format!("Seq {}", self.next), found));
        }
        if frame.previous != self.hash {
            let expected = format!("{} of the frame before", hex(&self.hash));
            return Err(DecodeError::new("log frame", 44, expected, hex(&frame.previous)));
        }
        if !frame.is_mark() && decoded.sealed.is_some() != self.is_sealed {
            let (expected, found) = ("a frame that is encrypted where the file is", "the other");
            return Err(DecodeError::new("log frame", 5, expected, found));
        }
        self.durable = self.durable.max(frame.durable);
        self.next = Seq(frame.first.0 + u64::from(frame.records));
        self.is_marked = frame.is_mark() && frame.durable.0 + 1 == self.next.0;
        self.hash = *hash;
        Ok(())
    }
}

/// Looks in bytes behind the last good frame for a proof that records from `next` on had been durable: a frame header
/// with right checksums that says so. Gives its place and the Seq that it names.
pub fn proof_of_loss(bytes: &[u8], stamp: &FileStamp, next: Seq) -> Option<(usize, Seq)> {
    memchr::memmem::find_iter(bytes, &FRAME_MAGIC).find_map(|at| {
        let header = FrameHeader::decode(&bytes[at..], stamp).ok()?;
        (header.durable >= next).then_some((at, header.durable))
    })
}

/// The frames of a log file in their order, up to the end, to zeros that last until the end, or to what is no frame.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    stamp: FileStamp,
    chain: FrameChain,
    failed: bool,
}

/// Reads a log file from its bytes, the whole file: its header, and then what the iterator gives.
pub fn read_frames(bytes: &[u8]) -> Result<(LogHeader, Frames<'_>), DecodeError> {
    let header = LogHeader::decode(bytes)?;
    let (stamp, chain) = (header.stamp(), FrameChain::start(&header));
    Ok((header, Frames { bytes, at: FILE_HEADER_BYTES, stamp, chain, failed: false }))
}

impl Frames<'_> {
    /// Where the last good frame ends, in bytes from the beginning of the file.
    pub fn position(&self) -> u64 {
        self.at as u64
    }

    /// Where the file is after the last good frame.
    pub fn reached(&self) -> FrameChain {
        self.chain
    }

    /// After an error: the place that proves that durable records are lost, and the Seq that it names. Without one,
    /// and with no younger log file that begins further on, a crash tore the end off.
    pub fn proof_of_loss(&self) -> Option<(u64, Seq)> {
        let rest = self.bytes.get(self.at..)?;
        proof_of_loss(rest, &self.stamp, self.chain.next).map(|(at, durable)| ((self.at + at) as u64, durable))
    }
}

impl<'a> Iterator for Frames<'a> {
    /// A frame's offset in the file, and the frame. Its payload is not yet unpacked: see [`Frame::payload`].
    type Item = Result<(u64, Frame<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty() && !self.failed)?;
        let accepted = decode_frame(rest, &self.stamp).and_then(|d| self.chain.accept(&d).map(|()| d));
        match accepted {
            Ok(decoded) => {
                let offset = self.at as u64;
                self.at += decoded.bytes;
                Some(Ok((offset, decoded.frame)))
            }
            Err(_) if rest.iter().all(|b| *b == 0) => None,
            Err(e) => {
                self.failed = true;
                Some(Err(e.within(self.at as u64)))
            }
        }
    }
}

/// By how much windows over a file have to overlap so that [`proof_of_loss`] misses nothing at their edges, in bytes.
pub const PROOF_OVERLAP_BYTES: usize = FRAME_HEADER_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LogId, TenantId};

    /// Three frames, a mark and zeros.
    fn file() -> Vec<u8> {
        let tenant = TenantId::new("acme").expect("a name");
        let header = LogHeader { tenant, id: LogId(1), salt: 77, first: Seq(1), durable: Seq(0), key: None };
        let mut bytes = header.encode().to_vec();
        let mut hash = FrameChain::start(&header).hash;
        for first in [1, 2, 3] {
            let frame = Frame {
                records: 1,
                leaf: *blake3::hash(b"line").as_bytes(),
                raw_bytes: 4,
                stored: b"line",
                ..Frame::mark(Seq(first), Seq(first - 1), hash)
            };
            hash = frame.encode(&header.stamp(), &mut bytes);
        }
        Frame::mark(Seq(4), Seq(3), hash).encode(&header.stamp(), &mut bytes);
        bytes.resize(bytes.len() + 50, 0);
        bytes
    }

    #[test]
    fn a_file_is_walked_to_its_zeros() {
        let bytes = file();
        let (_, mut frames) = read_frames(&bytes).expect("a header");
        let firsts: Vec<u64> = frames.by_ref().map(|f| f.expect("whole").1.first.0).collect();
        assert_eq!(firsts, [1, 2, 3, 4]);
        assert_eq!(frames.position() as usize, bytes.len() - 50);
        let chain = frames.reached();
        assert!(chain.is_marked && chain.next == Seq(4) && chain.durable == Seq(3));
    }

    #[test]
    fn every_flipped_bit_stops_the_walk_and_what_was_durable_is_known_lost() {
        let whole = file();
        let mark = whole.len() - 50 - FRAME_HEADER_BYTES;
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok((_, mut frames)) = read_frames(&bytes) else { continue };
            assert!(frames.by_ref().any(|f| f.is_err()), "bit {bit}");
            assert_eq!(frames.proof_of_loss().is_some(), bit / 8 < mark, "bit {bit}");
        }
    }

    #[test]
    fn frames_that_are_whole_and_in_the_wrong_place_are_found() {
        let bytes = file();
        let frame = FRAME_HEADER_BYTES + 4;
        let (first, rest) = bytes[FILE_HEADER_BYTES..].split_at(frame);
        for body in [[rest, first].concat(), [first, first, rest].concat(), rest.to_vec()] {
            let moved = [&bytes[..FILE_HEADER_BYTES], &body].concat();
            assert!(read_frames(&moved).expect("a header").1.any(|f| f.is_err()));
        }
    }
}
