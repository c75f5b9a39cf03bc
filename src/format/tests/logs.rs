//! The examples of a log file and a manifest.

use super::check;
use crate::format::archived::{ArchivedFile, encode_archived};
use crate::format::edit::tests::{leaf, scattered, segment};
use crate::format::edit::{Edit, Entry, HEAD_START, put_entry_mark};
use crate::format::frame::{Codec, Frame, chain_start};
use crate::format::header::{ArchivedHeader, LogHeader, MANIFEST_VERSION, ManifestHeader, ReceiptsHeader, UsageHeader};
use crate::format::receipt::{Filed, Receipt, encode_receipts};
use crate::id::{LogId, Place, SegmentId, Seq, TenantId};
use crate::record::Timestamp;

#[test]
fn the_document_shows_a_log_file() {
    let tenant = TenantId::new("acme").expect("a name");
    let header =
        LogHeader { tenant, id: LogId(2), salt: 0x0123_4567_89ab_cdef, first: Seq(41), durable: Seq(40), key: None };
    let mut bytes = header.encode().to_vec();
    let payload = b"two records";
    let frame = Frame {
        first: Seq(41),
        records: 2,
        durable: Seq(40),
        previous: chain_start(&header.encode()),
        leaf: *blake3::hash(payload).as_bytes(),
        codec: Codec::Raw,
        raw_bytes: payload.len() as u32,
        stored: payload,
        idempotency: None,
    };
    let hash = frame.encode(&header.stamp(), &mut bytes);
    Frame::mark(Seq(43), Seq(42), hash).encode(&header.stamp(), &mut bytes);
    check("log-file", &bytes);
}

#[test]
fn the_document_shows_a_file_of_receipts() {
    let tenant = TenantId::new("acme").expect("a name");
    let header = ReceiptsHeader { tenant, salt: 0x0123_4567_89ab_cdef };
    let receipt = Receipt {
        at: Timestamp(1_700_000_000_000_000_000),
        request: *blake3::hash(b"ab").as_bytes(),
        ack: 0,
        answer: b"{\"accepted\":1}"[..].into(),
    };
    let key = *blake3::hash(b"k-1").as_bytes();
    check("receipts", &encode_receipts(&header, &[Filed { key, first: Seq(41), records: 1, receipt }]));
}

#[test]
fn the_document_shows_a_file_of_usage() {
    let tenant = TenantId::new("acme").expect("a name");
    let usage = UsageHeader { tenant, salt: 0x0123_4567_89ab_cdef, day: 19_675, bytes: 1_000_000 };
    check("usage", &usage.encode());
}

#[test]
fn the_document_shows_leaves() {
    let odd: Vec<u64> = (5..40).filter(|n| n % 2 == 1).collect();
    let leaves = [leaf(1, 4), scattered(&odd), scattered(&[6, 8, 9, 10, 60])];
    let mut bytes = Vec::new();
    crate::format::leaf::put_leaves(&mut bytes, leaves.len(), leaves.iter());
    check("leaves", &bytes);
}

#[test]
fn the_document_shows_a_list_of_archived_files() {
    let header = ArchivedHeader { tenant: TenantId::new("acme").expect("a name"), salt: 0x0123_4567_89ab_cdef };
    let place = Place::new("cold").expect("a name");
    let file = ArchivedFile { place, id: SegmentId(7), data_root: *blake3::hash(b"segment").as_bytes() };
    check("archived", &encode_archived(&header, &[file].into()));
}

#[test]
fn the_document_shows_a_manifest() {
    let tenant = TenantId::new("acme").expect("a name");
    let header = ManifestHeader { version: MANIFEST_VERSION, tenant: tenant.clone(), salt: 0x0123_4567_89ab_cdef };
    let mut bytes = header.encode().to_vec();
    let at = Timestamp(1_700_000_000_000_000_000);
    let create = Entry {
        number: 1,
        previous: HEAD_START,
        at,
        edits: vec![Edit::Create { tenant, created_at_ns: 1_700_000_000_000_000_000 }],
    };
    let head = create.encode(&header.stamp(), &mut bytes).expect("short");
    put_entry_mark(1, &head, &header.stamp(), &mut bytes);
    let seal = Entry {
        number: 2,
        previous: head,
        at,
        edits: vec![Edit::Seal { segments: vec![segment(1, (1, 2))], leaves: vec![leaf(1, 2)], sealed_below: Seq(2) }],
    };
    seal.encode(&header.stamp(), &mut bytes).expect("short");
    check("manifest", &bytes);
}
