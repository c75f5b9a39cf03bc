use super::*;
use crate::format::header::LogHeader;
use crate::id::{LogId, TenantId};

const STAMP: FileStamp = FileStamp { id: 3, salt: 0x5a17 };

fn batch<'a>(stored: &'a [u8], codec: Codec, payload: &[u8], answer: Option<&'a [u8]>) -> Frame<'a> {
    Frame {
        first: Seq(11),
        records: 2,
        durable: Seq(9),
        previous: [4; 16],
        leaf: *blake3::hash(payload).as_bytes(),
        codec,
        raw_bytes: payload.len() as u32,
        stored,
        idempotency: answer.map(|answer| Idempotency { key_hash: [5; 32], answer }),
    }
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&STAMP, &mut out);
    assert_eq!(out.len(), frame.encoded_bytes());
    out
}

#[test]
fn frames_round_trip() {
    let long = "a line of a log, and another one; ".repeat(100);
    for payload in ["", "short", &long] {
        let (codec, stored) = compress(payload.as_bytes());
        assert_eq!(codec == Codec::Zstd, payload.len() > 100);
        for answer in [None, Some(&b""[..]), Some(&b"{\"accepted\":2}"[..])] {
            let frame = batch(&stored, codec, payload.as_bytes(), answer);
            let mut bytes = Vec::new();
            let hash = frame.encode(&STAMP, &mut bytes);
            bytes.extend_from_slice(b"what comes next");
            let decoded = decode_frame(&bytes, &STAMP).expect("whole");
            assert_eq!((decoded.frame, decoded.hash, decoded.bytes), (frame, hash, bytes.len() - 15));
            assert_eq!(decoded.frame.payload().as_deref(), Ok(payload.as_bytes()));
        }
    }
    let mark = Frame::mark(Seq(5), Seq(4), [1; 16]);
    let bytes = encoded(&mark);
    assert_eq!(bytes.len(), FRAME_HEADER_BYTES);
    let decoded = decode_frame(&bytes, &STAMP).expect("whole");
    assert!(decoded.frame == mark && decoded.frame.is_mark());
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let text = "compress me ".repeat(20);
    let (codec, stored) = compress(text.as_bytes());
    let frames = [
        batch(b"raw", Codec::Raw, b"raw", Some(b"yes")),
        batch(&stored, codec, text.as_bytes(), None),
        Frame::mark(Seq(2), Seq(1), [0; 16]),
    ];
    for bytes in frames.iter().map(encoded) {
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(&bad, &STAMP).is_err(), "bit {bit}");
        }
        for n in 0..bytes.len() {
            assert!(decode_frame(&bytes[..n], &STAMP).is_err(), "{n} bytes");
        }
    }
}

#[test]
fn a_frame_of_another_file_is_none_of_this() {
    let bytes = encoded(&batch(b"raw", Codec::Raw, b"raw", None));
    for stamp in [FileStamp { id: 4, ..STAMP }, FileStamp { salt: 0, ..STAMP }] {
        assert!(decode_frame(&bytes, &stamp).is_err());
    }
}

#[test]
fn what_is_well_formed_and_wrong_is_found() {
    let wrong = [
        Frame { records: 0, ..batch(b"raw", Codec::Raw, b"raw", None) },
        Frame { raw_bytes: 4, ..batch(b"raw", Codec::Raw, b"raw", None) },
        Frame { raw_bytes: 2, ..batch(b"raw", Codec::Zstd, b"raw", None) },
        Frame { first: Seq(u64::MAX), ..batch(b"raw", Codec::Raw, b"raw", None) },
    ];
    for frame in wrong {
        assert!(decode_frame(&encoded(&frame), &STAMP).is_err(), "{frame:?}");
    }
    // These pass their checksums, and are found when the payload is unpacked.
    let wrong = [
        Frame { leaf: [0; 32], ..batch(b"raw", Codec::Raw, b"raw", None) },
        Frame { raw_bytes: 1 << 20, ..batch(b"no zstd", Codec::Zstd, b"raw", None) },
        Frame { raw_bytes: 64 << 20, ..batch(b"small", Codec::Zstd, b"raw", None) },
    ];
    for frame in wrong {
        let bytes = encoded(&frame);
        let decoded = decode_frame(&bytes, &STAMP).expect("checksums that fit");
        assert!(decoded.frame.payload().is_err(), "{frame:?}");
    }
}

/// The seeds of the fuzz corpus; `DURAMEN_WRITE_CORPUS=1` writes them anew.
#[test]
fn the_corpus_goes_through_the_fuzz_body() {
    let tenant = TenantId::new("acme").expect("a name");
    let header = LogHeader { tenant, id: LogId(3), salt: 0x5a17, first: Seq(11), durable: Seq(10), key: None };
    let mut file = header.encode().to_vec();
    let first = Frame { previous: chain_start(&header.encode()), ..batch(b"raw", Codec::Raw, b"raw", Some(b"yes")) };
    let hash = first.encode(&STAMP, &mut file);
    let text = "compress me ".repeat(20);
    let (codec, stored) = compress(text.as_bytes());
    let second = Frame { first: Seq(13), previous: hash, ..batch(&stored, codec, text.as_bytes(), None) };
    let hash = second.encode(&STAMP, &mut file);
    Frame::mark(Seq(15), Seq(14), hash).encode(&STAMP, &mut file);
    let mut bare = Vec::new();
    batch(b"raw", Codec::Raw, b"raw", None).encode(&FileStamp { id: 1, salt: 0 }, &mut bare);
    let seeds = [("file", file.clone()), ("torn", file[..file.len() - 70].to_vec()), ("bare", bare)];
    crate::format::tests::check_corpus("frame", &seeds, crate::format::fuzz::fuzz_frame);
}
