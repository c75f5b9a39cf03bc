//! The examples of `docs/format-log.md`, byte for byte, and the seeds of the fuzz corpora.

use super::edit::{Edit, Entry, HEAD_START, put_entry_mark};
use super::frame::{Codec, Frame, chain_start};
use super::header::{LogHeader, ManifestHeader};
use crate::id::{LogId, Seq, TenantId};
use crate::record::Timestamp;
use std::fmt::Write;

const DOCUMENT: &str = include_str!("../../docs/format-log.md");

/// Runs a fuzz body over a corpus and every flipped byte of it, and holds its files against what they should be.
pub(super) fn check_corpus(name: &str, seeds: &[(&str, Vec<u8>)], body: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    for (seed, bytes) in seeds {
        if std::env::var_os("DURAMEN_WRITE_CORPUS").is_some() {
            std::fs::write(folder.join(seed), bytes).expect("written");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            body(&bad);
            body(&bytes[..at]);
        }
    }
    for entry in std::fs::read_dir(folder).expect("a corpus") {
        body(&std::fs::read(entry.expect("an entry").path()).expect("a seed"));
    }
}

fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut was_zeros = false;
    for (n, line) in bytes.chunks(16).enumerate() {
        // A run of zeros is one line, as in `hexdump`.
        let is_zeros = line.iter().all(|b| *b == 0) && line.len() == 16;
        if is_zeros && was_zeros {
            if !text.ends_with("*\n") {
                text.push_str("*\n");
            }
            continue;
        }
        was_zeros = is_zeros;
        let _ = write!(text, "{:04x} ", n * 16);
        for byte in line {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    text
}

fn check(what: &str, bytes: &[u8]) {
    let dump = dump(bytes);
    assert!(DOCUMENT.contains(&dump), "docs/format-log.md does not have this example of {what}:\n{dump}");
}

#[test]
fn the_document_shows_a_log_file() {
    let tenant = TenantId::new("acme").expect("a name");
    let header = LogHeader { tenant, id: LogId(2), salt: 0x0123_4567_89ab_cdef, first: Seq(41), durable: Seq(40) };
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
    check("a log file", &bytes);
}

#[test]
fn the_document_shows_a_manifest() {
    let tenant = TenantId::new("acme").expect("a name");
    let header = ManifestHeader { tenant: tenant.clone(), salt: 0x0123_4567_89ab_cdef };
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
        edits: vec![Edit::Seal {
            segments: vec![super::edit::tests::segment(1, (1, 2))],
            leaves: vec![super::edit::tests::leaf(1, 2)],
            sealed_below: Seq(2),
        }],
    };
    seal.encode(&header.stamp(), &mut bytes).expect("short");
    check("a manifest", &bytes);
}
