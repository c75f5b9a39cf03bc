//! The list of files that a tenant put into archives, which makes them its own: nothing else is removed there.

use super::bytes::{DecodeError, Reader, put_bytes, put_u64};
use super::header::{ArchivedHeader, FILE_HEADER_BYTES, end_file, file_body};
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

/// How many of the 128 bits by which files are told apart may be wrong in a list that is damaged. Of two segments with one
/// number, whose roots have nothing to do with each other, one in three thousand million pairs is as near.
const BITS_WRONG_MAX: u32 = 8;

/// What is left of a list that is damaged: which files can be recognised in it, and which archives.
///
/// It gives no names, since any bit of them may be wrong. A file that is there can be looked for in it.
#[derive(Clone, Debug)]
pub struct ArchivedRemains(Vec<u8>);

impl ArchivedRemains {
    /// Of the list's bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        ArchivedRemains(bytes)
    }

    /// Does an entry begin with this number and these first bytes of a data root, but for a few bits?
    pub fn names(&self, id: SegmentId, root: [u8; 8]) -> bool {
        let mut wanted = [0; 16];
        wanted[..8].copy_from_slice(&id.0.to_le_bytes());
        wanted[8..].copy_from_slice(&root);
        let wanted = u128::from_le_bytes(wanted);
        // Anywhere: what is damaged may be where an entry ends.
        self.0.get(FILE_HEADER_BYTES..).unwrap_or_default().windows(16).any(|window| {
            let found = window.iter().rev().fold(0, |found: u128, byte| found << 8 | u128::from(*byte));
            (found ^ wanted).count_ones() <= BITS_WRONG_MAX
        })
    }

    /// The archives that its entries name, as far as they can be read; `None` among them for one that can't be.
    pub fn places(&self) -> BTreeSet<Option<Place>> {
        let mut places = BTreeSet::new();
        let end = self.0.len().saturating_sub(4);
        let mut r = Reader::new(self.0.get(FILE_HEADER_BYTES..end).unwrap_or_default(), FILE);
        while r.remaining() > 0 {
            let place = r.u64().and_then(|_| r.hash()).and_then(|_| r.bytes());
            let is_end = place.is_err();
            let place = place.ok().and_then(|name| Place::new(std::str::from_utf8(name).ok()?).ok());
            places.insert(place.filter(|place| !place.is_own()));
            if is_end {
                break;
            }
        }
        if self.0.len() < FILE_HEADER_BYTES + 4 {
            places.insert(None);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    #[test]
    fn files_are_recognised_in_a_damaged_list_and_others_are_not() {
        let header = ArchivedHeader { tenant: TenantId::new("acme").expect("a name"), salt: 77 };
        let file = |n: u8| ArchivedFile {
            place: Place::new("cold").expect("a name"),
            id: SegmentId(u64::from(n)),
            data_root: *blake3::hash(&[n]).as_bytes(),
        };
        let root = |n: u8| -> [u8; 8] { std::array::from_fn(|i| file(n).data_root[i]) };
        let whole = encode_archived(&header, &[1, 2, 3].map(file).into());
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let remains = ArchivedRemains::new(bytes);
            for n in 1..=3 {
                assert!(remains.names(SegmentId(u64::from(n)), root(n)), "bit {bit}: {n}");
                assert!(!remains.names(SegmentId(u64::from(n)), root(n + 3)), "bit {bit}: of another store");
            }
            assert!(!remains.names(SegmentId(4), root(4)), "bit {bit}");
            let known = remains.places().contains(&Some(Place::new("cold").expect("a name")));
            assert!(known || remains.places().contains(&None), "bit {bit}");
        }
        assert!(ArchivedRemains::new(encode_archived(&header, &BTreeSet::new())).places().is_empty());
        assert_eq!(ArchivedRemains::new(Vec::new()).places(), [None].into());
    }

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
