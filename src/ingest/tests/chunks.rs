//! However the input is cut, the same comes out.

use super::*;
use proptest::prelude::*;

/// Feeds the input in pieces of these lengths, over and over.
pub(super) fn run_in_chunks(options: &IngestOptions, input: &[u8], lengths: &[usize]) -> Collected {
    let mut out = Collected::default();
    let mut ingester = Ingester::new(options);
    let (mut rest, mut lengths) = (input, lengths.iter().cycle());
    while !rest.is_empty() {
        let len = lengths.next().map_or(1, |l| (*l).max(1)).min(rest.len());
        let (now, later) = rest.split_at(len);
        let Ok(()) = ingester.feed(now, &mut out);
        rest = later;
    }
    let Ok(_) = ingester.finish(&mut out);
    out
}

fn same(options: &IngestOptions, input: &[u8], lengths: &[usize]) {
    let (whole, parts) = (run(options, input), run_in_chunks(options, input, lengths));
    assert_eq!(render(&parts), render(&whole), "{:?} {lengths:?} {}", options.format, String::from_utf8_lossy(input));
}

#[test]
fn cut_at_each_place() {
    let inputs: [&[u8]; 8] = [
        b"\xef\xbb\xbf{\"a\":\"\xc3\xa9\"}\r\n\r\n{\"b\":[1, 2]}\n{broken\n",
        b"\xef\xbb\xbf\n [ {\"a\":\"],\\\"{\"} , 3,\n{\"b\":\"open\n{\"c\":1}, , ] rest\n{\"d\":1}",
        b"[{\"a\":1},\n{\"b\":",
        b"[\n \n",
        b"{\n  \"a\": 1\n}\n{\"b\":2}\ntext\n\tmore\n{\n",
        b"Jun 14 15:16:01 h a[1]: x\n more\nother\n",
        b"level=info msg=\"x\ny=\"\nn=1 m=2",
        b"\xff\xfe\x00\n\xef\xbb",
    ];
    for input in inputs {
        for format in Format::ALL {
            for at in 1..=input.len() {
                same(&options(format), input, &[at, usize::MAX]);
                same(&options(format), input, &[at]);
            }
        }
    }
}

#[test]
fn more_than_the_sample() {
    let mut input = String::from("\u{feff}");
    for i in 0..3000 {
        input.push_str(&format!("{{\"n\":{i},\"message\":\"{}\"}}\n", "x".repeat(i % 200)));
    }
    let long = format!("{}\n{input}", "y".repeat(200_000));
    for input in [&input, &long] {
        for lengths in [&[1000][..], &[65_536], &[65_539, 7], &[100_000], &[3, 1 << 20]] {
            same(&options(Format::Auto), input.as_bytes(), lengths);
        }
    }
}

#[test]
fn a_quiet_source_is_flushed() {
    let mut out = Collected::default();
    let mut ingester = Ingester::new(&options(Format::Auto));
    let Ok(()) = ingester.feed(b"one\n\ttwo\nthr", &mut out);
    assert_eq!(render(&out).len(), 0);
    let Ok(()) = ingester.flush(&mut out);
    assert_eq!(render(&out), ["- message=\"one\\n\\ttwo\""]);
    ingester.set_arrival(Timestamp(0));
    let Ok(()) = ingester.feed(b"ee\n{\"n\":1}\n", &mut out);
    let Ok(counts) = ingester.finish(&mut out);
    assert_eq!(counts.accepted, 3);
    assert_eq!(render(&out)[1..], ["1970-01-01T00:00:00.000Z message=\"three\"", "1970-01-01T00:00:00.000Z n=1"]);
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        r#"\{"[a-c]{1,3}":("[a-z\\"]{0,9}"|-?[0-9]{1,5}|\[[0-9, ]{0,6}\]|\{"[ab]":null\})\}"#
            .prop_map(String::into_bytes),
        "[ \t]{0,2}[a-z=\"{}\\[\\],:\\\\]{0,20}\r?".prop_map(String::into_bytes),
        "<[0-9]{1,3}>(1 )?[A-Za-z0-9 :\\[\\]-]{0,40}".prop_map(String::into_bytes),
        "Jun [0-9]{1,2} 15:16:01 [a-z]{1,5} [a-z]{1,5}(\\[[0-9]\\])?: [a-z ]{0,9}".prop_map(String::into_bytes),
        "[a-z]{1,3}=[a-z0-9]{0,4} [a-z]=\"[a-z\\\\\" ]{0,5}\"?".prop_map(String::into_bytes),
        Just(b"{".to_vec()),
        Just(b"}".to_vec()),
        Just(b" \"k\": [".to_vec()),
        Just(b"[".to_vec()),
        Just(b",".to_vec()),
        Just(b"]".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_cut(
        lines in proptest::collection::vec(line(), 0..70),
        lengths in proptest::collection::vec(1usize..60, 1..8),
        array in any::<bool>(),
    ) {
        let mut input = if array { b"[{},".to_vec() } else { Vec::new() };
        input.extend(lines.join(&b'\n'));
        for format in Format::ALL {
            same(&options(format), &input, &lengths);
        }
    }
}
