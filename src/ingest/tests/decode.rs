//! Compressed input, whole and cut off.

use crate::ingest::{DecodeError, Decoder, Encoding, decode_slice};
use std::io::{self, BufReader, Read, Write};

const LIMIT: u64 = 1 << 20;

fn text() -> Vec<u8> {
    (0..20_000).map(|i| format!("{{\"n\":{i}}}\n")).collect::<String>().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn decode(packed: &[u8], limit: u64) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut out = Vec::new();
    let result = decode_slice(packed, Encoding::detect(packed), limit, &mut out);
    (out, result)
}

#[test]
fn whole_streams_of_one_part_and_of_several() {
    let text = text();
    let twice = [&text[..], &text].concat();
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd, <[u8]>::to_vec] {
        let packed = pack(&text);
        for (packed, expect) in [(packed.clone(), &text), ([&packed[..], &packed].concat(), &twice)] {
            let (out, result) = decode(&packed, LIMIT);
            assert!(result.is_ok() && out == *expect, "{result:?}");
        }
        assert!(decode(&pack(b""), LIMIT).1.is_ok());
    }
}

#[test]
fn cut_off_keeps_what_was_read() {
    let text = text();
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
        let packed = pack(&text);
        for at in [packed.len() - 1, packed.len() / 2, 20, 5] {
            let (out, result) = decode(&packed[..at], LIMIT);
            assert!(text.starts_with(&out), "{at}");
            let unpacked = out.len() as u64;
            assert!(matches!(result, Err(DecodeError::Truncated { unpacked: n }) if n == unpacked), "{at} {result:?}");
        }
        let kept = decode(&packed[..packed.len() - 1], LIMIT).0.len();
        assert!(kept > text.len() / 2, "{kept}");
    }
}

#[test]
fn more_than_the_limit() {
    let bomb = vec![b'x'; 50 << 20];
    for packed in [gzip(&bomb), zstd(&bomb)] {
        let (out, result) = decode(&packed, LIMIT);
        assert!(out.len() as u64 <= LIMIT);
        let error = result.unwrap_err();
        assert!(error.is_too_large());
        assert_eq!(error.to_string(), "unpacks to more than 1048576 bytes (ingest_body_bytes_max)");
    }
    let exact = vec![b'x'; LIMIT as usize];
    assert!(decode(&gzip(&exact), LIMIT).1.is_ok());
}

#[test]
fn damage_is_no_truncation() {
    for mut packed in [gzip(&text()), zstd(&text())] {
        let middle = packed.len() / 2;
        packed[middle..middle + 16].fill(0xaa);
        let error = decode(&packed, LIMIT).1.unwrap_err();
        assert!(matches!(error, DecodeError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn errors_of_the_source_are_its_own() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk gone"))
        }
    }
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Identity] {
        let start = if encoding == Encoding::Gzip { gzip(&text()) } else { zstd(&text()) };
        let source = BufReader::new((&start[..100]).chain(Broken));
        let mut decoder = Decoder::new(source, encoding, LIMIT).unwrap();
        let mut buffer = [0; 4096];
        let error = loop {
            match decoder.read(&mut buffer) {
                Ok(n) => assert!(n > 0),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, DecodeError::Io(ref e) if e.to_string() == "disk gone"), "{encoding:?} {error:?}");
    }
}

#[test]
fn names_of_encodings() {
    for (name, encoding) in [
        ("gzip", Some(Encoding::Gzip)),
        (" GZIP ", Some(Encoding::Gzip)),
        ("zstd", Some(Encoding::Zstd)),
        ("identity", Some(Encoding::Identity)),
        ("br", None),
    ] {
        assert_eq!(Encoding::from_name(name), encoding);
    }
    let found = Decoder::detect(&zstd(b"x")[..], LIMIT).and_then(|mut d| d.read(&mut [0; 9]));
    assert!(matches!(found, Ok(1)));
}
