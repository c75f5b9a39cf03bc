//! The examples of encrypted files in `docs/format.md`, byte for byte. Their keys and nonces count up, so that whoever
//! reads the page can make the bytes again.

use super::*;
use crate::format::frame::{Codec, Frame};
use crate::format::header::LogHeader;
use crate::format::key_file::{KeyFile, KeySlot};
use crate::format::sealed::{FileKind, WrappedKey, file_context};
use crate::format::segment::{SegmentHeader, put_segment_header};
use crate::format::tests::check;
use crate::id::{LogId, SegmentId, Seq, TenantId};
use crate::record::Timestamp;
use crate::vfs::sim::SimVfs;
use crate::vfs::{Vfs, VfsFile};
use std::sync::Arc;

/// 2023-11-14T22:13:20Z, in nanoseconds.
const BEGINS: i64 = 1_700_000_000_000_000_000;

fn counting<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|i| from.wrapping_add(i as u8))
}

fn acme() -> TenantId {
    TenantId::new("acme").expect("a name")
}

/// The master key 00 01 .. 1f.
fn master() -> MasterKey {
    MasterKey::from_bytes(counting(0))
}

/// The keys of `acme`: root key 20 .. 3f, key of hashes 40 .. 5f, generation 1 60 .. 7f.
fn key_file() -> KeyFile {
    let root: Secret = Zeroizing::new(counting(0x20));
    let (nonce, id) = (counting(0xa0), *master().raw_id());
    let sealed = master().cipher().wrap(&nonce, &KeyFile::slot_context(&acme(), &id), &root);
    let mut file = KeyFile {
        tenant: acme(),
        created: Timestamp(BEGINS),
        rotated: Timestamp(BEGINS),
        generations: 1,
        slots: vec![KeySlot { master: id, nonce, sealed }],
        nonce: counting(0xc0),
        sealed: [counting::<32>(0x40), counting::<32>(0x60)].concat(),
    };
    let tag = Cipher::new(&root).seal(&file.nonce, &file.context(), &mut file.sealed);
    file.sealed.extend_from_slice(&tag);
    file
}

/// The data key 80 .. 9f, wrapped under generation 1 with the nonce e0 .. f7.
fn file_key(kind: FileKind, id: u64) -> FileKey {
    let (key, nonce, context) = (Zeroizing::new(counting(0x80)), counting(0xe0), file_context(kind, &acme(), id));
    let sealed = Cipher::new(&counting(0x60)).wrap(&nonce, &context, &key);
    FileKey::of(&key, WrappedKey { generation: 1, nonce, sealed }, context)
}

fn ring(vfs: &SimVfs) -> KeyRing {
    vfs.create_dir_all(Path::new("acme")).expect("made");
    vfs.put(Path::new("acme/key"), &key_file().encode());
    KeyRing::open(Arc::new(vfs.clone()), Path::new("acme"), &acme(), Some(&master())).expect("opened")
}

#[test]
fn the_document_shows_a_key_file() {
    check("key-file", &key_file().encode());
    assert_eq!(ring(&SimVfs::new()).newest(), Some((1, Timestamp(BEGINS))));
}

#[test]
fn the_document_shows_an_encrypted_segment() {
    let vfs = SimVfs::new();
    let keys = ring(&vfs);
    let mut plain = Vec::new();
    put_segment_header(&SegmentHeader { tenant: acme(), id: SegmentId(1), created: Timestamp(BEGINS) }, &mut plain);
    plain.extend_from_slice(b"blocks and so on");
    let path = Path::new("acme/1.seg");
    let writer = SealedWriter::new(vfs.create(path).expect("made"), file_key(FileKind::Segment, 1));
    writer.write_all_at(0, &plain).and_then(|()| writer.sync()).expect("written");
    let stored = vfs.read(path).expect("a file");
    check("sealed-segment", &stored);
    let (file, _) = open_segment(vfs.open(path).expect("a file"), &keys).expect("opened");
    let mut again = vec![0; plain.len()];
    file.read_exact_at(0, &mut again).expect("read");
    assert_eq!(again, plain);
}

#[test]
fn the_document_shows_an_encrypted_log_file() {
    let key = file_key(FileKind::Log, 2);
    let keys = ring(&SimVfs::new());
    keys.begin_hashing();
    let (salt, wrapped) = (0x0123_4567_89ab_cdef, Some(*key.wrapped()));
    let header = LogHeader { tenant: acme(), id: LogId(2), salt, first: Seq(41), durable: Seq(40), key: wrapped };
    let mut bytes = header.encode().to_vec();
    let payload = b"two records";
    let frame = Frame {
        records: 2,
        leaf: keys.leaf(payload),
        codec: Codec::Raw,
        raw_bytes: payload.len() as u32,
        stored: payload,
        ..Frame::mark(Seq(41), Seq(40), crate::format::frame::chain_start(&header.encode()))
    };
    let mut sealer = FrameSealer::counting_from(key.clone(), counting(0xb0), 0);
    let hash = frame.encode_sealed(&header.stamp(), &mut sealer, &mut bytes);
    Frame::mark(Seq(43), Seq(42), hash).encode_sealed(&header.stamp(), &mut sealer, &mut bytes);
    check("sealed-log-file", &bytes);
    let (_, mut frames) = crate::format::log_file::read_frames(&bytes).expect("a header");
    assert_eq!(frames.by_ref().filter(|frame| frame.is_ok()).count(), 2);
}
