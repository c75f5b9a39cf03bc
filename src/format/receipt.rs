//! Receipts: what is kept of a request with an idempotency key, so that it can be answered again.
//!
//! A receipt goes into the frame of the batch that the request brought, and from there, when the batch is sealed, into
//! the tenant's file `receipts`.

use super::bytes::{DecodeError, Reader, put_bytes, put_i64, put_u32, put_u64};
use super::frame::ANSWER_BYTES_MAX;
use super::header::{ReceiptsHeader, SEQ_MAX, end_file, file_body};
use crate::id::Seq;
use crate::record::Timestamp;

/// Bytes of a receipt besides the answer, as it stands in a frame.
const FIXED_BYTES: usize = 8 + 32 + 1;
/// Longest answer of a receipt, in bytes: what the frame has room for.
pub const RECEIPT_ANSWER_BYTES_MAX: usize = 4055;
const _: () = assert!(RECEIPT_ANSWER_BYTES_MAX == ANSWER_BYTES_MAX - FIXED_BYTES);
/// The highest number that stands for a level of acknowledgement.
const ACK_MAX: u8 = 2;
const WHAT: &str = "receipt";
const FILE: &str = "file of receipts";

/// What is kept of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When its batch was about to be written.
    pub at: Timestamp,
    /// BLAKE3 of what was asked: the same key with another hash is another request.
    pub request: [u8; 32],
    /// What was promised: 0 `fsync`, 1 `os`, 2 `buffered`.
    pub ack: u8,
    /// What was answered, at most [`RECEIPT_ANSWER_BYTES_MAX`] bytes.
    pub answer: Box<[u8]>,
}

impl Receipt {
    /// The bytes, as they stand in a frame behind the hash of the key.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(self.ack <= ACK_MAX && self.answer.len() <= RECEIPT_ANSWER_BYTES_MAX);
        let mut out = Vec::with_capacity(FIXED_BYTES + self.answer.len());
        put_i64(&mut out, self.at.0);
        out.extend_from_slice(&self.request);
        out.push(self.ack);
        out.extend_from_slice(&self.answer);
        out
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, WHAT);
        let (at, request, ack) = (Timestamp(r.i64()?), r.hash()?, r.u8()?);
        if ack > ACK_MAX {
            return Err(DecodeError::new(WHAT, 40, "a level of acknowledgement", ack));
        }
        let answer = r.take(r.remaining())?;
        if answer.len() > RECEIPT_ANSWER_BYTES_MAX {
            let expected = format!("an answer of at most {RECEIPT_ANSWER_BYTES_MAX} bytes");
            return Err(DecodeError::new(WHAT, FIXED_BYTES, expected, answer.len()));
        }
        Ok(Receipt { at, request, ack, answer: answer.into() })
    }
}

/// A receipt with its key and the records that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    /// BLAKE3 of the key.
    pub key: [u8; 32],
    /// Seq of the first record.
    pub first: Seq,
    /// How many records.
    pub records: u32,
    /// The receipt.
    pub receipt: Receipt,
}

impl Filed {
    /// Seq of the last record.
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.records.max(1)) - 1)
    }
}

/// A file of receipts: header, receipts, checksum.
pub fn encode_receipts<'a>(header: &ReceiptsHeader, receipts: impl IntoIterator<Item = &'a Filed>) -> Vec<u8> {
    let mut out = header.encode().to_vec();
    for filed in receipts {
        out.extend_from_slice(&filed.key);
        put_u64(&mut out, filed.first.0);
        put_u32(&mut out, filed.records);
        put_bytes(&mut out, &filed.receipt.encode());
    }
    end_file(&header.stamp(), &mut out);
    out
}

/// Reads a file of receipts; nothing of it is believed unless all of it is whole.
pub fn decode_receipts(bytes: &[u8]) -> Result<(ReceiptsHeader, Vec<Filed>), DecodeError> {
    let header = ReceiptsHeader::decode(bytes)?;
    let mut r = file_body(&header.stamp(), bytes, FILE)?;
    let mut receipts = Vec::new();
    while r.remaining() > 0 {
        let (key, first, records) = (r.hash()?, r.u64()?, r.u32()?);
        if first == 0 || first > SEQ_MAX || records == 0 {
            return Err(r.error("records of a batch", format!("{records} from Seq {first}")));
        }
        let kept = r.bytes()?;
        let at = (r.position() - kept.len()) as u64;
        let receipt = Receipt::decode(kept).map_err(|e| e.within(at))?;
        receipts.push(Filed { key, first: Seq(first), records, receipt });
    }
    Ok((header, receipts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    fn filed(n: u8, answer: &[u8]) -> Filed {
        let receipt = Receipt { at: Timestamp(5), request: [n + 1; 32], ack: n % 3, answer: answer.into() };
        Filed { key: [n; 32], first: Seq(u64::from(n) + 1), records: 1, receipt }
    }

    fn file() -> (ReceiptsHeader, Vec<Filed>, Vec<u8>) {
        let header = ReceiptsHeader { tenant: TenantId::new("acme").expect("a name"), salt: 77 };
        let receipts = vec![filed(0, b""), filed(1, b"{\"accepted\":1}"), filed(2, &[7; RECEIPT_ANSWER_BYTES_MAX])];
        let bytes = encode_receipts(&header, &receipts);
        (header, receipts, bytes)
    }

    #[test]
    fn a_file_round_trips() {
        let (header, receipts, bytes) = file();
        assert_eq!(decode_receipts(&bytes), Ok((header.clone(), receipts)));
        let empty = encode_receipts(&header, &[]);
        assert_eq!(decode_receipts(&empty), Ok((header, Vec::new())));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (_, _, bytes) = file();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(decode_receipts(&bad).is_err(), "byte {at}");
            assert!(decode_receipts(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        let mut bytes = filed(1, b"ok").receipt.encode();
        assert!(Receipt::decode(&bytes).is_ok());
        bytes[40] = 3;
        assert_eq!(Receipt::decode(&bytes).map_err(|e| e.offset), Err(40));
        assert!(Receipt::decode(&bytes[..40]).is_err());
        assert!(Receipt::decode(&[0; ANSWER_BYTES_MAX + 1]).is_err());
    }
}
