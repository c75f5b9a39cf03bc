//! What can still be read of a control log that is damaged.

use super::{CONTROL_FRAME_HEADER_BYTES, CONTROL_HEADER_BYTES, ControlHeader, Event, FRAME_END, FRAME_MAGIC};
use super::{check_crc, frame_header};
use crate::format::{DecodeError, Reader};
use crate::record::Timestamp;

/// The events of a damaged control log that can be read, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Its header, or what the damaged one still says.
    pub header: ControlHeader,
    /// The events, each with the place of its frame in bytes.
    pub events: Vec<(u64, Event)>,
    /// Runs of bytes that are no frame: where each begins and ends. An event that is lost stood in one of these.
    pub holes: Vec<(u64, u64)>,
}

/// Reads what can be read. The chain is not followed: a frame counts where its checksums hold.
pub fn salvage(bytes: &[u8]) -> Salvaged {
    let mut holes = Vec::new();
    let header = ControlHeader::decode(bytes).unwrap_or_else(|_| {
        holes.push((0, CONTROL_HEADER_BYTES as u64));
        let number = |at: usize| {
            bytes.get(at..).and_then(|b| b.first_chunk::<8>()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        ControlHeader { salt: number(16), created: Timestamp(number(24) as i64) }
    });
    let mut events = Vec::new();
    let mut at = CONTROL_HEADER_BYTES;
    while at < bytes.len() {
        if let Ok((event, end)) = frame(&header, &bytes[at..]) {
            events.push((at as u64, event));
            at += end;
            continue;
        }
        let next = memchr::memmem::find_iter(&bytes[at + 1..], &FRAME_MAGIC).map(|found| at + 1 + found);
        let next = next.into_iter().find(|&next| frame(&header, &bytes[next..]).is_ok()).unwrap_or(bytes.len());
        holes.push((at as u64, next as u64));
        at = next;
    }
    Salvaged { header, events, holes }
}

fn frame(header: &ControlHeader, bytes: &[u8]) -> Result<(Event, usize), DecodeError> {
    const WHAT: &str = super::WHAT;
    let payload_bytes = frame_header(header, bytes)?;
    let mut r = Reader::new(bytes, WHAT);
    let head = r.take(CONTROL_FRAME_HEADER_BYTES)?;
    let payload = r.take(payload_bytes)?;
    check_crc(WHAT, 48, header.crc(payload), &head[48..52])?;
    r.take(payload_bytes.next_multiple_of(8) - payload_bytes)?;
    let end = r.take(FRAME_END.len())?;
    if end != FRAME_END {
        return Err(r.error("the end of a frame", end.escape_ascii()));
    }
    Ok((Event::decode(payload)?, r.position()))
}
