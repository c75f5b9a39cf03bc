//! A reader in another language, which follows `docs/format.md` and shares no code with the engine, reads what the
//! engine writes.
//!
//! Needs `python3` and `zstd`; where they are missing this says so and tests nothing.

use duramen::{Ack, BatchBuilder, Labels, Store, Tag, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BEGINS: i64 = 1_700_000_000_000_000_000;

type Fields = Vec<(String, Tag, String)>;

/// Writes records into a store of their own, and holds the segment against them.
fn check(records: &[(i64, Labels, Fields)], expected_encodings: &[&str]) {
    let runs = |program: &str| {
        let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    if !runs("python3") || !runs("zstd") {
        eprintln!("no python3 or no zstd here: nothing was tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let tenant = store.tenant("acme").unwrap();
    let mut builder = BatchBuilder::new();
    let mut expected = Vec::new();
    for (time, labels, fields) in records {
        builder.begin();
        fields.iter().for_each(|(name, tag, text)| builder.field(name, *tag, text));
        builder.finish(Timestamp(*time), labels).unwrap();
    }
    let batch = builder.take();
    for (record, (time, labels, _)) in records.iter().enumerate() {
        let fields: Vec<Value> = batch.fields(record).map(|(n, tag, text)| json!([n, tag as u8, text])).collect();
        expected.push(json!([record + 1, time, labels.to_string(), fields]));
    }
    tenant.append_batch(&batch, Ack::Fsync).unwrap();
    tenant.seal().unwrap();
    let encodings: BTreeSet<&str> = tenant.part_costs().unwrap().iter().map(|cost| cost.encoding).collect();
    assert!(expected_encodings.iter().all(|name| encodings.contains(name)), "{encodings:?}");
    store.close().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("tenants/acme/segments")).unwrap() {
        let path = entry.unwrap().path();
        let run = read(&path);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let lines = String::from_utf8(run.stdout).unwrap();
        found.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        // One flipped bit in the first block, and the reader says so.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[400] ^= 4;
        let bad = folder.path().join("bad.seg");
        std::fs::write(&bad, bytes).unwrap();
        let run = read(&bad);
        assert!(!run.status.success() && String::from_utf8_lossy(&run.stderr).contains("damaged: CRC"));
    }
    found.sort_by_key(|record| record[0].as_u64());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

fn read(segment: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format_reader.py");
    Command::new("python3").arg(script).arg(segment).output().unwrap()
}

fn string(name: &str, text: impl ToString) -> (String, Tag, String) {
    (name.to_string(), Tag::String, text.to_string())
}

fn number(name: &str, text: impl ToString) -> (String, Tag, String) {
    (name.to_string(), Tag::Number, text.to_string())
}

#[test]
fn columns_of_every_encoding() {
    let hash = |n: i64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) as u64;
    let records: Vec<_> = (0..20_000i64)
        .map(|i| {
            let mut fields = vec![
                string("constant", "always"),
                string("dictionary", ["info", "warn", "error"][(hash(i) % 3) as usize]),
                number("integer", hash(i) as i64 >> 20),
                number("decimal", format!("{}.{:03}", i - 10_000, hash(i) % 1000)),
                string("address", format!("10.{}.{}.{}", i >> 16, (i >> 8) & 255, i & 255)),
                string("uuid", format!("{:08x}-0000-4000-8000-{:012x}", i, hash(i) >> 16)),
                string("request", format!("req_{:016x}", hash(i))),
                string("message", format!("Ψ took {} ms \"{}\"\n", hash(i) % 977, i)),
                number("odd", ["007", "-0", "1e400", "1.50"][(hash(i) % 4) as usize].repeat(1 + (i % 2) as usize)),
            ];
            // Taken apart, with references to fields that some rows lack.
            let call = if i % 3 == 0 {
                let path = format!("/things/{:08x}/\"Ψ\"", hash(i) as u32);
                fields.push(string("path", &path));
                string("call", format!("GET {path} in {}.{} s", hash(i) % 90, i % 10))
            } else {
                string(
                    "call",
                    ["idle".to_string(), format!("{{}} 10.0.{}.1 of {i}", i % 256)][(i % 2) as usize].clone(),
                )
            };
            fields.push(call);
            if i % 7 == 0 {
                fields.push(("mixed".into(), [Tag::Null, Tag::Bool][(i % 2) as usize], String::new()));
                fields.push(("array".into(), Tag::Array, format!("[{i},\"a\"]")));
            }
            if i % 11 == 0 {
                fields.push(if i % 2 == 0 { string("either", i) } else { number("either", i) });
            }
            // Not quite in order of time.
            (
                BEGINS + i * 1_000_000 + (hash(i) % 5) as i64 * 3_000_000,
                Labels::new([("app", (i % 5).to_string())]),
                fields,
            )
        })
        .collect();
    check(
        &records,
        &["constant", "dictionary", "integer", "decimal", "ipv4", "uuid", "hex", "plain", "template", "reference"],
    );
}

#[test]
fn rarer_fields_and_many_shapes() {
    // More names than columns: some overflow.
    let rare: Vec<_> = (0..300i64)
        .map(|i| {
            let many = (0..5).map(|n| number(&format!("field {:04}", i * 5 + n), n));
            (BEGINS, Labels::default(), many.chain([string("é:1", "é:\"2\"")]).collect())
        })
        .collect();
    check(&rare, &[]);
    // More sets of names than shapes: bitmaps.
    let shapes: Vec<_> = (0..5000i64)
        .map(|i| {
            let some = (0..13).filter(|bit| i >> bit & 1 == 1).map(|bit| number(&format!("bit{bit}"), i));
            (BEGINS + i, Labels::default(), some.collect())
        })
        .collect();
    check(&shapes, &[]);
}
