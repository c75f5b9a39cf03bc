//! The fuzz bodies, on their corpora and on what proptest makes up.

use crate::ingest::fuzz::{fuzz_json, fuzz_lines};
use proptest::prelude::*;

fn replay(corpus: &str, body: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut seeds = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        body(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 20, "{seeds}");
}

#[test]
fn corpora() {
    replay("json", fuzz_json);
    replay("lines", fuzz_lines);
}

/// JSON values with the odd ones among them.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_string()),
        Just("true".to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap_or_default()),
        "\"(\\\\u00[0-9a-f]{2}|\\\\n|[a-z .])*\"",
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let pair = ("[ab.é]{0,3}", inner.clone()).prop_map(|(k, v)| format!("\"{k}\" : {v}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..5).prop_map(|v| format!("[ {} ]", v.join(" ,\t"))),
            proptest::collection::vec(pair, 0..5).prop_map(|v| format!("{{{}}}", v.join(", "))),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    proptest::collection::vec(("[a-d.]{0,2}", value()), 0..6).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_as_serde_json_reads_them(text in object()) {
        fuzz_json(text.as_bytes());
    }

    #[test]
    fn broken_objects_too(text in object(), at in any::<prop::sample::Index>(), with in "[\"\\\\{}\\[\\],:0e.+ \n\u{1}x-]{0,2}", cut in 0usize..3) {
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, with.chars());
        fuzz_json(chars.into_iter().collect::<String>().as_bytes());
    }

    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_lines(&data);
    }
}
