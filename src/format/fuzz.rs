//! The bodies of the fuzz targets of this module: what they take must not panic, and what decodes must encode to the
//! bytes it came from.

use super::edit::{ENTRY_HEADER_BYTES, read_edits};
use super::frame::{FRAME_HEADER_BYTES, decode_frame};
use super::header::{FILE_HEADER_BYTES, FileStamp, LogHeader};
use super::version::Version;

/// A log file: a header and frames. Where there is no header, frames of log 1 without salt.
///
/// Checksums keep a fuzzer out, so a frame's are first made right where `data` is long enough.
pub fn fuzz_frame(data: &[u8]) {
    if let Ok((_, mut frames)) = super::log_file::read_frames(data) {
        frames.by_ref().for_each(drop);
        let _ = frames.proof_of_loss();
    }
    let (stamp, mut rest) = match LogHeader::decode(data) {
        Ok(header) => {
            assert_eq!(header.encode(), data[..FILE_HEADER_BYTES]);
            (header.stamp(), &data[FILE_HEADER_BYTES..])
        }
        Err(_) => (FileStamp { id: 1, salt: 0 }, data),
    };
    let mut fixed = rest.to_vec();
    fix_crc(&mut fixed, FRAME_HEADER_BYTES, &stamp);
    if let Ok(decoded) = decode_frame(&fixed, &stamp) {
        let _ = decoded.frame.payload();
    }
    while let Ok(decoded) = decode_frame(rest, &stamp) {
        let mut again = Vec::new();
        let hash = decoded.frame.encode(&stamp, &mut again);
        assert_eq!((hash, &again[..]), (decoded.hash, &rest[..decoded.bytes]));
        if let Ok(payload) = decoded.frame.payload() {
            assert_eq!(payload.len(), decoded.frame.raw_bytes as usize);
        }
        rest = &rest[decoded.bytes..];
    }
}

/// A manifest: a header and entries, folded into versions.
pub fn fuzz_edit(data: &[u8]) {
    read_all(data);
    let Ok((header, _)) = read_edits(data) else { return };
    let mut fixed = data.to_vec();
    fix_entry(&mut fixed[FILE_HEADER_BYTES..], &header.stamp());
    read_all(&fixed);
}

fn read_all(data: &[u8]) {
    let Ok((header, mut entries)) = read_edits(data) else { return };
    let mut version: Option<Version> = None;
    for at in entries.by_ref() {
        let Ok(at) = at else { break };
        let Some(entry) = at.entry else { continue };
        if let Ok(next) = Version::after(version.as_ref(), &entry, at.head) {
            let snapshot = super::edit::Entry {
                number: next.edits.wrapping_add(1),
                previous: next.head,
                at: entry.at,
                edits: vec![super::edit::Edit::Snapshot(Box::new(next.clone()))],
            };
            let _ = snapshot.encode(&header.stamp(), &mut Vec::new());
            version = Some(next);
        }
    }
    let _ = entries.proof_of_loss();
}

fn fix_crc(bytes: &mut [u8], header_bytes: usize, stamp: &FileStamp) {
    if let Some(header) = bytes.get_mut(..header_bytes) {
        let (checked, crc) = header.split_at_mut(header_bytes - 4);
        let mut hasher = stamp.hasher();
        hasher.update(checked);
        crc.copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

/// Makes the checksums of the first entry right, over whatever its payload is, up to the end.
fn fix_entry(bytes: &mut [u8], stamp: &FileStamp) {
    if bytes.len() <= ENTRY_HEADER_BYTES {
        return;
    }
    let payload_bytes = (bytes.len() - ENTRY_HEADER_BYTES) as u32;
    bytes[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    let mut hasher = stamp.hasher();
    hasher.update(&bytes[8..16]);
    hasher.update(&bytes[ENTRY_HEADER_BYTES..]);
    bytes[56..60].copy_from_slice(&hasher.finalize().to_le_bytes());
    fix_crc(bytes, ENTRY_HEADER_BYTES, stamp);
}

/// The payload of a frame: what decodes can be walked, and comes back as the same records from its own encoding.
pub fn fuzz_payload(data: &[u8]) {
    use super::payload::{Payload, Reencoder};
    let Ok(payload) = Payload::decode(data.to_vec()) else { return };
    let mut again = Reencoder::default();
    for record in &payload.records {
        again.push(record.time, &payload.streams[record.stream as usize], payload.fields(record));
    }
    let again = again.finish();
    let read = Payload::decode(again.bytes.clone());
    let read = read.unwrap_or_else(|e| panic!("what was encoded does not decode: {e}"));
    assert_eq!(read.records.len(), payload.records.len());
    for (a, b) in payload.records.iter().zip(&read.records) {
        assert_eq!((a.time, &payload.streams[a.stream as usize]), (b.time, &read.streams[b.stream as usize]));
        assert!(payload.fields(a).eq(read.fields(b)), "the same fields");
    }
    assert_eq!(super::payload::Payload::decode(again.bytes).map(|p| p.bytes).ok(), Some(read.bytes));
}

/// A control log: what decodes is encoded to the same bytes.
///
/// The file's header and the first frame get right checksums, so that what lies behind them is reached.
pub fn fuzz_control(data: &[u8]) {
    use super::control::{CONTROL_FRAME_HEADER_BYTES as FRAME, CONTROL_HEADER_BYTES as HEADER, ControlHeader};
    use super::control::{Event, decode};
    check_control(data);
    let _ = Event::decode(data);
    let mut fixed = data.to_vec();
    if fixed.len() < HEADER {
        return;
    }
    let crc = crc32fast::hash(&fixed[..HEADER - 4]);
    fixed[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    let Ok(header) = ControlHeader::decode(&fixed) else { return };
    let hash = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header.salt.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize().to_le_bytes()
    };
    if let Some(frame) = fixed.get_mut(HEADER..).filter(|f| f.len() >= FRAME) {
        frame[16..48].copy_from_slice(&header.start().hash);
        let length = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]) as usize;
        if let Some(payload) = frame[FRAME..].get(..length) {
            let crc = hash(payload);
            frame[48..52].copy_from_slice(&crc);
        }
        let crc = hash(&frame[..FRAME - 4]);
        frame[FRAME - 4..FRAME].copy_from_slice(&crc);
    }
    check_control(&fixed);
    let _ = decode(&fixed);
}

fn check_control(data: &[u8]) {
    use super::control::{decode, encode_frame};
    let Ok(contents) = decode(data) else { return };
    let mut again = contents.header.encode().to_vec();
    let mut head = contents.header.start();
    for event in &contents.events {
        head = encode_frame(&contents.header, &head, event, &mut again);
    }
    assert_eq!(head, contents.head);
    assert_eq!(again[256..], data[256..head.bytes as usize], "what decodes encodes to the same bytes");
}
