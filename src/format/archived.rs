//! The list of files that a tenant put into archives, which makes them its own: nothing else is removed there.

use super::bytes::{DecodeError, put_bytes, put_u64};
use super::header::{ArchivedHeader, end_file, file_body};
use crate::id::{Place, SegmentId};
use std::collections::BTreeSet;

const FILE: &str = "list of archived files";

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchivedFile {
    /// Which archive.
    pub place: Place,
    /// Of which segment.
    pub id: SegmentId,
    /// The segment's data root.
    pub data_root: [u8; 32],
}

/// The list's file: header, entries by place and number, checksum.
pub fn encode_archived(header: &ArchivedHeader, files: &BTreeSet<ArchivedFile>) -> Vec<u8> {
    let mut out = header.encode().to_vec();
    for file in files {
        put_u64(&mut out, file.id.0);
        out.extend_from_slice(&file.data_root);
        put_bytes(&mut out, file.place.as_str().as_bytes());
    }
    end_file(&header.stamp(), &mut out);
    out
}

/// Reads what [`encode_archived`] wrote; nothing of it is believed unless all of it is whole.
pub fn decode_archived(bytes: &[u8]) -> Result<(ArchivedHeader, BTreeSet<ArchivedFile>), DecodeError> {
    let header = ArchivedHeader::decode(bytes)?;
    let mut r = file_body(&header.stamp(), bytes, FILE)?;
    let mut files = BTreeSet::new();
    while r.remaining() > 0 {
        let (id, data_root) = (SegmentId(r.u64()?), r.hash()?);
        let name = r.bytes()?;
        let place = std::str::from_utf8(name).ok().and_then(|name| Place::new(name).ok());
        let Some(place) = place.filter(|place| !place.is_own()) else {
            return Err(r.error("the name of an archive", format!("{name:02x?}")));
        };
        let file = ArchivedFile { place, id, data_root };
        // One order, so that there is one way to write a list.
        if files.last().is_some_and(|last| *last >= file) {
            return Err(r.error("entries by archive and segment", format!("segment {id} in `{}`", file.place)));
        }
        files.insert(file);
    }
    Ok((header, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    #[test]
    fn a_list_round_trips_and_every_flipped_bit_and_cut_is_found() {
        let header = ArchivedHeader { tenant: TenantId::new("acme").expect("a name"), salt: 77 };
        let file = |place: &str, n: u8| ArchivedFile {
            place: Place::new(place).expect("a name"),
            id: SegmentId(u64::from(n)),
            data_root: [n; 32],
        };
        let files = BTreeSet::from([file("cold", 2), file("audit", 9), file("cold", 1)]);
        let bytes = encode_archived(&header, &files);
        assert_eq!(decode_archived(&bytes), Ok((header.clone(), files)));
        let none = encode_archived(&header, &BTreeSet::new());
        assert_eq!(decode_archived(&none), Ok((header, BTreeSet::new())));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(decode_archived(&bad).is_err(), "byte {at}");
            assert!(decode_archived(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn entries_out_of_order_or_without_a_place_are_refused() {
        let header = ArchivedHeader { tenant: TenantId::new("acme").expect("a name"), salt: 77 };
        let entry = |place: &[u8], id: u64| {
            let mut out = Vec::new();
            put_u64(&mut out, id);
            out.extend_from_slice(&[1; 32]);
            put_bytes(&mut out, place);
            out
        };
        let decode = |entries: &[Vec<u8>]| {
            let mut bytes = header.encode().to_vec();
            bytes.extend(entries.concat());
            end_file(&header.stamp(), &mut bytes);
            decode_archived(&bytes).map(|(_, files)| files.len())
        };
        assert_eq!(decode(&[entry(b"a", 1), entry(b"a", 2), entry(b"b", 1)]), Ok(3));
        for bad in [vec![entry(b"a", 2), entry(b"a", 1)], vec![entry(b"a", 1), entry(b"a", 1)], vec![entry(b"", 1)]] {
            assert!(decode(&bad).is_err(), "{bad:?}");
        }
        assert!(decode(&[entry(b"../x", 1)]).is_err() && decode(&[entry(b"\xff", 1)]).is_err());
    }
}
