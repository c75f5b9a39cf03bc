//! Bodies of the fuzz targets; the tests replay the corpora in `fuzz/corpus` through them.
//!
//! `fuzz_json` holds the tokenizer against `serde_json`; `fuzz_lines` holds whole inputs against themselves, cut into
//! chunks.

use super::json::{JsonError, ObjectReader};
use super::writer::Writer;
use super::{Collected, Format, IngestOptions, Ingester, OutOfRange, Reason, ingest_slice};
use crate::record::{Batch, Tag, Timestamp};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Names that have rules of their own, so that the plain comparison does not hold.
const RULED: [&str; 6] = ["timestamp", "@timestamp", "_time", "time", "ts", "original_timestamp"];
/// The reference recurses; deeper input is refused by the tokenizer anyway.
const REFERENCE_DEPTH_MAX: usize = 200;

type Fields = BTreeMap<String, (Tag, String)>;

/// A text that should be one JSON object: taken exactly where `serde_json` takes it, with the same fields.
pub fn fuzz_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut writer = Writer::new(&IngestOptions::new(Timestamp(0)));
    let mut reader = ObjectReader::default();
    // Twice, so that the second time the names are predicted.
    for _ in 0..2 {
        writer.begin();
        let read = reader.read(text, &mut writer);
        if let Err(JsonError::ArrayDepth(_) | JsonError::ObjectDepth(_) | JsonError::NameTooLong) = read {
            return;
        }
        // serde_json refuses halves of surrogate pairs, which we take.
        if text.to_ascii_lowercase().contains("\\ud") {
            return;
        }
        let mut expect = Fields::new();
        let Some(taken) = reference(text, "", 0, &mut expect) else { return };
        assert_eq!(read.is_ok(), taken, "{read:?} {text}");
        if !taken {
            writer.abandon();
            continue;
        }
        match writer.finish() {
            Ok(()) => {}
            Err(Reason::Time { .. } | Reason::Record(_)) => return,
            Err(other) => panic!("{other} {text}"),
        }
        let Some(batch) = writer.take() else { panic!("no record of {text}") };
        if RULED.iter().any(|name| expect.contains_key(*name)) {
            return;
        }
        let fields = batch.fields(0).map(|(name, tag, value)| (name.to_string(), (tag, value.to_string())));
        assert_eq!(fields.collect::<Fields>(), expect, "{text}");
    }
}

/// The pairs of an object as they stand there, also those whose keys come twice.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// What `serde_json` makes of it: is it taken, and with what fields? Nothing where it is too deep to tell.
fn reference(text: &str, prefix: &str, depth: usize, out: &mut Fields) -> Option<bool> {
    if depth > REFERENCE_DEPTH_MAX {
        return None;
    }
    let Ok(Pairs(pairs)) = serde_json::from_str(text) else { return Some(false) };
    for (key, value) in pairs {
        let name = format!("{prefix}{key}");
        let raw = value.get();
        let value = match raw.as_bytes().first() {
            Some(b'{') => {
                let Ok(Pairs(inner)) = serde_json::from_str(raw) else { return Some(false) };
                if !inner.is_empty() {
                    if !reference(raw, &format!("{name}."), depth + 1, out)? {
                        return Some(false);
                    }
                    continue;
                }
                (Tag::Object, "{}".to_string())
            }
            Some(b'[') => (Tag::Array, without_space(raw)),
            Some(b'"') => match serde_json::from_str(raw) {
                Ok(text) => (Tag::String, text),
                Err(_) => return Some(false),
            },
            Some(b'n') => (Tag::Null, String::new()),
            Some(b't' | b'f') => (Tag::Bool, raw.to_string()),
            _ => (Tag::Number, raw.to_string()),
        };
        out.insert(name, value);
    }
    Some(true)
}

fn without_space(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            let keep = quoted || !matches!(c, ' ' | '\t' | '\r' | '\n');
            quoted ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            keep
        })
        .collect()
}

/// Any input: the first byte picks the format and the options, the second the size of the chunks.
pub fn fuzz_lines(data: &[u8]) {
    let [choice, size, input @ ..] = data else { return };
    let arrival = Timestamp(1_749_988_800_000_000_000);
    let formats = Format::ALL;
    let mut options = IngestOptions::new(arrival).format(formats[usize::from(*choice) % formats.len()]);
    if choice & 0x80 != 0 {
        options.time_min = Timestamp(0);
        options.out_of_range = OutOfRange::KeepAtArrival;
        options.stream_fields = vec!["a".into(), "hostname".into()];
        options.msg_field = Some("msg".into());
        options.join_lines = false;
    }
    let mut whole = Collected::default();
    let Ok(counts) = ingest_slice(&options, input, &mut whole);
    let mut parts = Collected::default();
    let mut ingester = Ingester::new(&options);
    for chunk in input.chunks(usize::from(*size).max(1)) {
        let Ok(()) = ingester.feed(chunk, &mut parts);
    }
    let Ok(again) = ingester.finish(&mut parts);
    assert_eq!(counts, again);
    assert_eq!(whole.rejections, parts.rejections);
    assert_eq!(records(&whole.batches), records(&parts.batches));
    assert_eq!(counts.accepted as usize, whole.batches.iter().map(Batch::len).sum::<usize>());
    let lines = input.iter().filter(|b| **b == b'\n').count() as u64 + 1;
    assert!(whole.rejections.first.is_sorted_by_key(|r| r.line));
    assert!(whole.rejections.first.iter().all(|r| (1..=lines).contains(&r.line)));
}

fn records(batches: &[Batch]) -> Vec<String> {
    let record = |batch: &Batch, i: usize| {
        let head = batch.heads[i];
        let fields: Vec<_> = batch.fields(i).collect();
        format!("{} {} {fields:?}", head.time.0, batch.streams[head.stream as usize])
    };
    for batch in batches {
        for span in &batch.spans {
            let text = &batch.bytes[span.start as usize..][..span.len as usize];
            assert!(std::str::from_utf8(text).is_ok());
        }
    }
    batches.iter().flat_map(|b| (0..b.len()).map(move |i| record(b, i))).collect()
}
