//! Keys, containers and frames: round trips, every flipped bit, swaps, cuts, crashes.

use super::*;
use crate::error::{KeyProblem, StorageError};
use crate::format::frame::{Codec, Frame, FrameOpen, FrameSeal, chain_start, decode_frame};
use crate::format::header::LogHeader;
use crate::format::key_file::KeyFile;
use crate::format::sealed::{FileKind, SECTOR_BYTES, read_sealed_header};
use crate::format::segment::{SegmentHeader, put_segment_header};
use crate::id::{LogId, SegmentId, Seq, TenantId};
use crate::record::Timestamp;
use crate::vfs::sim::{SimOp, SimVfs};
use crate::vfs::{Vfs, VfsFile};
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "store/tenants/acme";

fn acme() -> TenantId {
    TenantId::new("acme").expect("a name")
}

fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8 ^ n))
}

fn ring_of(vfs: &SimVfs, dir: &str, tenant: &TenantId, master: Option<&MasterKey>) -> Result<KeyRing, StorageError> {
    vfs.create_dir_all(Path::new(dir)).expect("made");
    Path::new(dir).ancestors().skip(1).for_each(|above| drop(vfs.sync_dir(above)));
    KeyRing::open(Arc::new(vfs.clone()), Path::new(dir), tenant, master)
}

fn ring(vfs: &SimVfs, master: Option<&MasterKey>) -> Result<KeyRing, StorageError> {
    ring_of(vfs, DIR, &acme(), master)
}

fn encrypted(vfs: &SimVfs) -> KeyRing {
    let ring = ring(vfs, Some(&master(1))).expect("opened");
    ring.encrypt().expect("encrypted");
    ring.begin_hashing();
    ring
}

fn problem(error: StorageError) -> KeyProblem {
    match error {
        StorageError::Key(e) => e.problem,
        other => panic!("{other}"),
    }
}

/// A plain segment's bytes, as far as the container looks at them.
fn plain(id: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = SegmentHeader { tenant: acme(), id: SegmentId(id), created: Timestamp(3) };
    put_segment_header(&header, &mut bytes);
    bytes.extend((0..len).map(|i| ((i / 7) ^ (i >> 8)) as u8));
    bytes
}

/// Writes a segment in pieces; gives its bytes on disk.
fn seal(vfs: &SimVfs, keys: &KeyRing, id: u64, bytes: &[u8], piece: usize) -> Vec<u8> {
    let path = Path::new(DIR).join(format!("{id}.seg"));
    let key = keys.new_file(FileKind::Segment, id).expect("a key").expect("encrypted");
    let writer = SealedWriter::new(vfs.create(&path).expect("made"), key);
    let mut at = 0;
    for some in bytes.chunks(piece) {
        writer.write_all_at(at, some).expect("written");
        at += some.len() as u64;
    }
    assert_eq!((writer.root(), writer.len().ok()), (None, Some(at)));
    writer.sync().expect("synced");
    writer.sync().expect("a second sync writes nothing");
    assert!(writer.write_all_at(at, b"x").is_err(), "it has ended");
    let stored = vfs.read(&path).expect("a file");
    let root = writer.root().expect("synced");
    let end = stored.len() - 48;
    assert_eq!((root.bytes, root.root), (stored.len() as u64, *blake3::hash(&stored[..end]).as_bytes()));
    stored
}

fn put(vfs: &SimVfs, name: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let path = Path::new(DIR).join(name);
    if vfs.exists(&path).expect("asked") {
        vfs.remove(&path).expect("removed");
    }
    let file = vfs.create(&path).expect("made");
    file.write_all_at(0, bytes).expect("written");
    file
}

/// The whole of a segment through its container.
fn read(vfs: &SimVfs, keys: &KeyRing, bytes: &[u8]) -> Result<Vec<u8>, StorageError> {
    let (file, root) = open_segment(put(vfs, "read.seg", bytes), keys)?;
    assert!(root.is_some());
    let mut out = vec![0; file.len()? as usize];
    file.read_exact_at(0, &mut out)?;
    Ok(out)
}

#[test]
fn a_segment_comes_back_whatever_its_length_and_in_whatever_pieces() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let lens = [1, 15, SECTOR_BYTES - 1, SECTOR_BYTES, SECTOR_BYTES + 1, 2 * SECTOR_BYTES, 70 * SECTOR_BYTES + 5];
    for (id, len) in lens.into_iter().enumerate() {
        let bytes = plain(id as u64, len);
        let stored = seal(&vfs, &keys, id as u64, &bytes, if id % 2 == 0 { 10_007 } else { 1 << 20 });
        assert!(read(&vfs, &keys, &stored).expect("whole") == bytes, "{len}");
        let (file, _) = open_segment(put(&vfs, "some.seg", &stored), &keys).expect("opened");
        for (at, n) in
            [(0, 10), (250, 12), (255, 1), (256, 5), (256 + 16_380, 9), (len as u64 + 250, 40), (9_000_000, 3)]
        {
            let mut buffer = vec![0; n];
            let got = file.read_at(at, &mut buffer).expect("read");
            let from = (at as usize).min(bytes.len());
            assert_eq!(buffer[..got], bytes[from..(from + n).min(bytes.len())], "{len}: {n} at {at}");
        }
        assert!(file.write_all_at(0, b"x").is_err() && file.set_len(0).is_err() && file.allocate(9).is_err());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_sealed_segment_is_an_error() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let stored = seal(&vfs, &keys, 1, &plain(1, 300), 64);
    for bit in 0..stored.len() * 8 {
        let mut bad = stored.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let outcome = open_segment(put(&vfs, "bad.seg", &bad), &keys).and_then(|(file, root)| {
            let mut out = vec![0; file.len()? as usize];
            file.read_exact_at(0, &mut out)?;
            Ok((out, root))
        });
        // Where the cipher's number is gone it is a plain file, whose header's checksum does not hold. The hash in the
        // trailer is compared with the manifest's, and by the verifier with the bytes.
        if let Ok((out, root)) = outcome {
            let header = crate::format::segment::read_segment_header(&out);
            assert!(root.is_none() && header.is_err(), "bit {bit}");
        }
    }
    for n in 0..stored.len() {
        assert!(read_to_end(&vfs, &keys, &stored[..n]).is_err(), "{n} bytes");
    }
}

fn read_to_end(vfs: &SimVfs, keys: &KeyRing, bytes: &[u8]) -> Result<(), StorageError> {
    let (file, root) = open_segment(put(vfs, "cut.seg", bytes), keys)?;
    let mut out = vec![0; file.len()? as usize];
    file.read_exact_at(0, &mut out)?;
    match root {
        Some(_) => Ok(()),
        None => crate::format::segment::read_segment_header(&out).map(drop).map_err(|e| e.in_file(file.path()).into()),
    }
}

/// Gives a trailer that fits to bytes that were changed, as a forger can.
fn with_trailer(mut bytes: Vec<u8>) -> Vec<u8> {
    use crate::format::sealed::{SEALED_TRAILER_BYTES, SealedTrailer, Sectors};
    bytes.truncate(bytes.len() - SEALED_TRAILER_BYTES);
    let root = *blake3::hash(&bytes).as_bytes();
    let len = (bytes.len() + SEALED_TRAILER_BYTES) as u64;
    let plain_len = Sectors::of_stored(len).expect("whole sectors").plain_len();
    bytes.extend(SealedTrailer { root, plain_len }.encode());
    bytes
}

#[test]
fn swapped_dropped_and_foreign_sectors_are_refused_behind_right_checksums() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let one = seal(&vfs, &keys, 1, &plain(1, 3 * SECTOR_BYTES), 1 << 20);
    let two = seal(&vfs, &keys, 2, &plain(2, 3 * SECTOR_BYTES), 1 << 20);
    assert!(read(&vfs, &keys, &with_trailer(one.clone())).is_ok());
    let sector = SECTOR_BYTES + 20;
    let at = |n: usize| 256 + n * sector..256 + (n + 1) * sector;
    let mut swapped = one.clone();
    let (first, second) = (one[at(0)].to_vec(), one[at(1)].to_vec());
    swapped[at(0)].copy_from_slice(&second);
    swapped[at(1)].copy_from_slice(&first);
    let mut foreign = one.clone();
    foreign[at(1)].copy_from_slice(&two[at(1)]);
    let dropped = [&one[..at(1).start], &one[at(2).start..]].concat();
    let cut = [&one[..at(2).start], &one[at(2).end..]].concat();
    let header = [&two[..256], &one[256..]].concat();
    for (what, bytes) in
        [("swapped", swapped), ("foreign", foreign), ("dropped", dropped), ("cut", cut), ("header", header)]
    {
        let error = read(&vfs, &keys, &with_trailer(bytes)).expect_err(what);
        assert!(matches!(error, StorageError::Damage(_)), "{what}: {error}");
    }
    // The same file under another id: its key does not open.
    let mut renamed = one.clone();
    renamed[73] = 2;
    let crc = crc32fast::hash(&renamed[..252]);
    renamed[252..256].copy_from_slice(&crc.to_le_bytes());
    assert!(read(&vfs, &keys, &with_trailer(renamed)).is_err());
}

#[test]
fn a_small_file_in_a_box_comes_back_and_no_other() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let path = Path::new("receipts");
    let put = |bytes: &[u8]| keys.put_in_box(FileKind::Receipts, 0, bytes.to_vec()).expect("boxed");
    let take = |bytes: &[u8]| keys.take_out_of_box(FileKind::Receipts, 0, bytes.to_vec(), path);
    for bytes in [&b""[..], b"a marker", &[7; 70_000]] {
        let boxed = put(bytes);
        assert_eq!(take(&boxed).ok(), Some(Boxed::Opened(bytes.to_vec())));
        assert!(keys.take_out_of_box(FileKind::Receipts, 1, boxed.clone(), path).is_err(), "of another id");
        assert!(keys.take_out_of_box(FileKind::Index, 0, boxed, path).is_err(), "of another kind");
    }
    let boxed = put(b"a marker");
    assert_ne!(put(b"a marker"), boxed, "each has a key of its own");
    for bit in 0..boxed.len() * 8 {
        let mut bad = boxed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Without the magic it is a file that is not in a box, which its reader refuses.
        assert!(bit < 64 || take(&bad).is_err(), "bit {bit}");
        let end = bad.len() - 4;
        let crc = crc32fast::hash(&bad[..end]);
        bad[end..].copy_from_slice(&crc.to_le_bytes());
        assert!(bit < 64 || bit >= end * 8 || take(&bad).is_err(), "bit {bit} behind a right checksum");
    }
    (0..boxed.len()).for_each(|n| assert!(n < 8 || take(&boxed[..n]).is_err(), "{n} bytes"));
    // A tenant that is not encrypted keeps files as they are.
    let plain = KeyRing::default();
    assert_eq!(plain.put_in_box(FileKind::Receipts, 0, b"x".to_vec()).ok(), Some(b"x".to_vec()));
    assert_eq!(
        problem(plain.take_out_of_box(FileKind::Receipts, 0, boxed, path).expect_err("no key")),
        KeyProblem::NoKeyFile
    );
}

#[test]
fn a_failed_write_ends_a_segment_so_that_no_sector_is_encrypted_twice() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let key = keys.new_file(FileKind::Segment, 1).expect("a key").expect("encrypted");
    let writer = SealedWriter::new(vfs.create(&Path::new(DIR).join("1.seg")).expect("made"), key);
    let bytes = plain(1, 5 * SECTOR_BYTES);
    writer.write_all_at(0, &bytes[..256]).expect("written");
    vfs.fail(SimOp::Write, 1);
    assert!(writer.write_all_at(256, &bytes[256..]).is_err());
    assert!(writer.write_all_at(256, &bytes[256..]).is_err() && writer.sync().is_err() && writer.root().is_none());
}

#[test]
fn another_tenants_file_and_another_generation_are_told_apart() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let stored = seal(&vfs, &keys, 1, &plain(1, 100), 64);
    let name = TenantId::new("other").expect("a name");
    let other = ring_of(&vfs, "store/tenants/other", &name, Some(&master(1))).expect("opened");
    // Not encrypted: the file's key is wanted, and there is none.
    assert_eq!(problem(read(&vfs, &other, &stored).expect_err("refused")), KeyProblem::NoKeyFile);
    other.encrypt().expect("encrypted");
    assert!(matches!(read(&vfs, &other, &stored), Err(StorageError::Damage(_))));
    // A key file of another tenant is not taken, either.
    vfs.replace(Path::new("store/tenants/other/key"), &vfs.read(&Path::new(DIR).join("key")).expect("a file"))
        .expect("put");
    assert!(matches!(ring_of(&vfs, "store/tenants/other", &name, Some(&master(1))), Err(StorageError::Damage(_))));

    let before = vfs.read(&Path::new(DIR).join("key")).expect("a file");
    assert_eq!(keys.rotate().expect("rotated"), 2);
    let newer = seal(&vfs, &keys, 2, &plain(2, 100), 64);
    assert_eq!(read_sealed_header(&newer).expect("a header").expect("sealed").key.generation, 2);
    assert!(read(&vfs, &keys, &stored).is_ok() && read(&vfs, &keys, &newer).is_ok());
    // A reader that opened the keys before finds the new generation; one with an old copy of them says so.
    vfs.replace(&Path::new(DIR).join("key"), &before).expect("put back");
    let old = ring(&vfs, Some(&master(1))).expect("opened");
    assert!(read(&vfs, &old, &stored).is_ok());
    assert_eq!(problem(read(&vfs, &old, &newer).expect_err("refused")), KeyProblem::NoGeneration { needs: 2, has: 1 });
}

#[test]
fn without_the_master_key_and_with_a_wrong_one_the_error_says_so() {
    let vfs = SimVfs::new();
    assert!(!ring(&vfs, None).expect("not encrypted").is_encrypted());
    let without = ring(&vfs, None).expect("opened").encrypt().expect_err("refused");
    assert!(matches!(problem(without), KeyProblem::NothingToWrapUnder));
    encrypted(&vfs);
    let needs = master(1).id();
    let none = ring(&vfs, None).expect_err("refused");
    assert_eq!(problem(none), KeyProblem::NoMasterKey { needs: needs.clone() });
    let wrong = ring(&vfs, Some(&master(2))).expect_err("refused");
    assert_eq!(problem(wrong), KeyProblem::WrongMasterKey { needs, given: master(2).id() });
    assert!(ring(&vfs, Some(&master(2).and(&master(1)))).expect("one of them").is_encrypted());
    assert!(!format!("{:?}", master(1)).contains("0001"), "no key is printed");
}

#[test]
fn every_flipped_bit_of_a_key_file_is_refused_also_behind_a_right_checksum() {
    let vfs = SimVfs::new();
    encrypted(&vfs);
    let path = Path::new(DIR).join("key");
    let bytes = vfs.read(&path).expect("a file");
    let end = bytes.len() - 4;
    for bit in 0..end * 8 {
        for fix in [false, true] {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if fix {
                let crc = crc32fast::hash(&bad[..end]);
                bad[end..].copy_from_slice(&crc.to_le_bytes());
            }
            put(&vfs, "key", &bad);
            assert!(ring(&vfs, Some(&master(1))).is_err(), "bit {bit}, {fix}");
        }
    }
}

#[test]
fn a_changed_master_key_opens_what_was_there_and_the_old_one_does_not() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let stored = seal(&vfs, &keys, 1, &plain(1, 100), 64);
    let (old, new) = (master(1), master(2));
    assert!(keys.retire_other_masters(&new).is_err(), "it would lock everybody out");
    keys.add_master(&new).expect("added");
    keys.add_master(&new).expect("again");
    // Both open it, and a generation can be made meanwhile.
    assert_eq!(keys.rotate().expect("rotated"), 2);
    for key in [&old, &new] {
        assert!(read(&vfs, &ring(&vfs, Some(key)).expect("opened"), &stored).is_ok());
    }
    // A change that was given up is taken over by another.
    ring(&vfs, Some(&old)).expect("opened").add_master(&master(3)).expect("added");
    assert!(ring(&vfs, Some(&new)).is_err());
    let third = ring(&vfs, Some(&master(3))).expect("opened");
    third.retire_other_masters(&master(3)).expect("retired");
    assert!(matches!(problem(ring(&vfs, Some(&old)).expect_err("gone")), KeyProblem::WrongMasterKey { .. }));
    assert!(read(&vfs, &third, &stored).is_ok());
    let info = KeyRing::info(&vfs, Path::new(DIR)).expect("read").expect("a file");
    assert_eq!((info.generation, info.masters), (2, vec![master(3).id()]));
}

#[test]
fn a_crash_at_any_operation_leaves_keys_that_the_old_or_the_new_master_opens() {
    let (old, new) = (master(1), master(2));
    let mut crashed = 0;
    for at in 0..200 {
        let vfs = SimVfs::new();
        let keys = encrypted(&vfs);
        let stored = seal(&vfs, &keys, 1, &plain(1, 40), 64);
        vfs.crash_at(at + 1);
        let changed =
            keys.rotate().map(drop).and_then(|()| keys.add_master(&new)).and_then(|()| keys.retire_other_masters(&new));
        for seed in 0..4 {
            let after = vfs.after_crash(seed);
            let opened: Vec<KeyRing> = [&old, &new].into_iter().filter_map(|m| ring(&after, Some(m)).ok()).collect();
            assert!(!opened.is_empty(), "operation {at}, seed {seed}");
            assert!(opened.iter().all(|keys| read(&after, keys, &stored).is_ok()), "operation {at}, seed {seed}");
        }
        if changed.is_ok() {
            assert!(ring(&vfs.after_crash(9), Some(&old)).is_err());
            assert!(at > 10, "{at} operations");
            return;
        }
        crashed += 1;
    }
    panic!("{crashed} crashes, and no end");
}

#[test]
fn erased_keys_are_gone_from_the_disk_and_nothing_can_be_read() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let stored = seal(&vfs, &keys, 1, &plain(1, 40), 64);
    let file = KeyFile::decode(&vfs.read(&Path::new(DIR).join("key")).expect("a file")).expect("whole");
    let open = vfs.open(&Path::new(DIR).join("key")).expect("open");
    erase(&vfs, Path::new(DIR)).expect("erased");
    erase(&vfs, Path::new(DIR)).expect("nothing to do");
    assert!(!vfs.exists(&Path::new(DIR).join("key")).expect("asked"));
    // Who had the file open sees what was put over it.
    let mut left = vec![1; open.len().expect("a length") as usize];
    open.read_exact_at(0, &mut left).expect("read");
    assert!(left.iter().all(|b| *b == 0) && left.len() > file.sealed.len());
    for seed in 0..4 {
        let after = vfs.after_crash(seed);
        let keys = ring(&after, Some(&master(1))).expect("no keys to open");
        assert_eq!(problem(read(&after, &keys, &stored).expect_err("refused")), KeyProblem::NoKeyFile);
    }
}

#[test]
fn master_keys_are_read_as_bytes_or_digits_and_nothing_else() {
    let digits = |n: u8| (0..32).map(|i| format!("{:02X}", i ^ n)).collect::<String>();
    let raw: Vec<u8> = (0..32).collect();
    assert_eq!(MasterKey::parse(&raw).expect("bytes").id(), master(0).id());
    assert_eq!(MasterKey::parse(format!("# now\n{}\n", digits(0)).as_bytes()).expect("digits").id(), master(0).id());
    let two = MasterKey::parse(format!("{}\n\n  {}\n", digits(1), digits(2)).as_bytes()).expect("two");
    assert_eq!((two.id(), two.ids()), (master(1).id(), format!("{}, {}", master(1).id(), master(2).id())));
    for bad in [&b""[..], b"\n# nothing\n", &[7; 32], &[0; 32], &raw[1..], b"00ff", "é".repeat(20).as_bytes()] {
        assert!(MasterKey::parse(bad).is_err(), "{bad:?}");
    }
    assert!(MasterKey::parse(format!("{}g", &digits(0)[1..]).as_bytes()).is_err());
}

/// The example of a cipher from draft-irtf-cfrg-xchacha-03, appendix A.3.1: the crate does what its name says.
#[test]
fn the_cipher_is_the_one_of_the_specification() {
    let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
    let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + i as u8);
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let text =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
would be it.";
    let mut bytes = text.to_vec();
    let tag = Cipher::new(&key).seal(&nonce, &aad, &mut bytes);
    assert_eq!(crate::format::header::hex(&bytes[..16]), "bd6d179d3e83d43b9576579493c0e939");
    assert_eq!(crate::format::header::hex(&tag), "c0875924c1c7987947deafd8780acf49");
    assert!(!Cipher::new(&key).open(&nonce, &aad[1..], &mut bytes.clone(), &tag));
    assert!(Cipher::new(&key).open(&nonce, &aad, &mut bytes, &tag) && bytes == text);
}

#[test]
fn frames_are_bound_to_their_header_and_no_nonce_comes_twice() {
    let vfs = SimVfs::new();
    let keys = encrypted(&vfs);
    let key = keys.new_file(FileKind::Log, 1).expect("a key").expect("encrypted");
    let wrapped = Some(*key.wrapped());
    let header = LogHeader { tenant: acme(), id: LogId(1), salt: 5, first: Seq(1), durable: Seq(0), key: wrapped };
    let payload = b"a marker that must not be seen";
    let frame = Frame {
        records: 1,
        leaf: keys.leaf(payload),
        codec: Codec::Raw,
        raw_bytes: payload.len() as u32,
        stored: payload,
        ..Frame::mark(Seq(1), Seq(0), chain_start(&header.encode()))
    };
    let mut sealer = FrameSealer::new(key.clone(), Path::new("log")).expect("random bytes");
    let (mut one, mut two) = (Vec::new(), Vec::new());
    frame.encode_sealed(&header.stamp(), &mut sealer, &mut one);
    frame.encode_sealed(&header.stamp(), &mut sealer, &mut two);
    assert_ne!(one[100..124], two[100..124], "the same frame again has another nonce");
    let mut reopened = FrameSealer::new(key.clone(), Path::new("log")).expect("random bytes");
    let mut three = Vec::new();
    reopened.seal(b"header", b"plain", &mut three);
    assert_ne!(three[..24], one[100..124], "and so has the first one of a file that is opened again");
    assert!(!one.windows(10).any(|w| payload.windows(10).any(|p| p == w)));

    let decoded = decode_frame(&one, &header.stamp()).expect("whole");
    assert!(decoded.open(None).is_err());
    let opened = decoded.open(Some(&key)).expect("the right key");
    let is_leaf = |leaf: &[u8; 32], bytes: &[u8]| keys.is_leaf(leaf, bytes);
    assert_eq!(opened.frame().payload_where(&is_leaf).as_deref(), Ok(&payload[..]));
    assert!(opened.frame().payload().is_err(), "the leaf has a key");
    // The same body under another header, as a forger would write it.
    let moved = Frame { first: Seq(2), ..frame };
    let mut forged = Vec::new();
    moved.encode_sealed(&header.stamp(), &mut Copied(one[100..].to_vec()), &mut forged);
    let decoded = decode_frame(&forged, &header.stamp()).expect("its checksums hold");
    assert!(decoded.open(Some(&key)).is_err());
    let other = keys.new_file(FileKind::Log, 1).expect("a key").expect("encrypted");
    assert!(FrameOpen::open(&other, &one[..92], &one[100..]).is_none());
}

struct Copied(Vec<u8>);

impl FrameSeal for Copied {
    fn seal(&mut self, _: &[u8], _: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}
