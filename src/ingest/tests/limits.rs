//! Inputs that are made to do harm.

use super::Format::{Auto, Json, Text};
use super::*;
use crate::ingest::json::{ARRAY_DEPTH_MAX, OBJECT_DEPTH_MAX};
use crate::record::{FIELD_NAME_BYTES_MAX, RECORD_FIELDS_MAX};

fn between(bad: &str) -> String {
    format!("{{\"n\":1}}\n{bad}\n{{\"n\":2}}\n")
}

#[test]
fn lines_that_are_too_long() {
    let long = "x".repeat(10 << 20);
    let reason = "!2 longer than 4194304 bytes (line_bytes_max)";
    for format in [Json, Auto] {
        check(format, between(&long), &["- n=1", "- n=2", reason]);
        check(format, between(&format!("{{\"a\":\"{long}\"}}")), &["- n=1", "- n=2", reason]);
        check(format, format!("[{{\"n\":1}},\n{{\"a\":\"{long}\"}},\n{{\"n\":2}}]"), &["- n=1", "- n=2", reason]);
    }
    check(Text, format!("a\n{long}\nb"), &["- message=\"a\"", "- message=\"b\"", reason]);
    let spread = format!("{{\n\"a\":1,\n{}\n}}\n{{\"n\":1}}", " \"b\": 12345678,\n".repeat(300_000));
    check(Json, spread, &["- n=1", "!1 longer than 4194304 bytes (line_bytes_max)"]);
}

#[test]
fn nesting() {
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    let arrays = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let names = vec!["a"; OBJECT_DEPTH_MAX].join(".");
    check(Json, objects(OBJECT_DEPTH_MAX), &[&format!("- {names}=1")]);
    let reason = "!2 objects nested deeper than 64 (object_depth_max) at byte 320";
    check(Json, between(&objects(OBJECT_DEPTH_MAX + 1)), &["- n=1", "- n=2", reason]);
    check(Json, between(&objects(10_000)), &["- n=1", "- n=2", reason]);
    assert_eq!(run(&options(Json), arrays(ARRAY_DEPTH_MAX).as_bytes()).rejections.count, 0);
    let reason = "!2 arrays nested deeper than 128 (array_depth_max) at byte 133";
    check(Json, between(&arrays(ARRAY_DEPTH_MAX + 1)), &["- n=1", "- n=2", reason]);
    check(Json, between(&arrays(10_000)), &["- n=1", "- n=2", reason]);
    let deep = "[".repeat(1_000_000);
    assert_eq!(run(&options(Json), between(&deep).as_bytes()).rejections.count, 1);
}

#[test]
fn records_that_are_too_large() {
    let fields: Vec<String> = (0..=RECORD_FIELDS_MAX).map(|i| format!("\"k{i}\":1")).collect();
    let reason = "!2 the record has more than 10000 fields (record_fields_max)";
    check(Json, between(&format!("{{{}}}", fields.join(","))), &["- n=1", "- n=2", reason]);
    let name = "k".repeat(FIELD_NAME_BYTES_MAX);
    let reason = "!2 a field name is longer than 4096 bytes (field_name_bytes_max)";
    check(Json, between(&format!("{{\"{name}k\":1}}")), &["- n=1", "- n=2", reason]);
    check(Json, between(&format!("{{\"{name}k\":{{\"x\":1}}}}")), &["- n=1", "- n=2", reason]);
    check(Json, between(&format!("{{\"{name}\":{{\"x\":1}}}}")), &["- n=1", "- n=2", reason]);
}

#[test]
fn long_names_around_many_fields_take_linear_time() {
    let fields: Vec<String> = (0..50_000).map(|i| format!("\"{i}\":0")).collect();
    let input = format!("{{\"{}\":{{{}}}}}", "k".repeat(2 << 20), fields.join(","));
    assert_eq!(run(&options(Json), input.as_bytes()).rejections.count, 1);
}

#[test]
fn batches_are_bounded() {
    let line = format!("{{\"message\":\"{}\"}}\n", "x".repeat(1000));
    let out = run(&options(Json), line.repeat(5000).as_bytes());
    assert_eq!(out.batches.len(), 5);
    assert!(out.batches.iter().all(|b| b.text_bytes() < BATCH_TEXT_BYTES + 1001));
    // Many fields, no text.
    let fields: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":null")).collect();
    let line = format!("{{{}}}\n", fields.join(","));
    let out = run(&options(Json), line.repeat(3000).as_bytes());
    assert!(out.batches.len() > 1);
    // New names all the time.
    let mut input = String::new();
    for i in 0..3000 {
        input.push_str(&format!("{{\"{i}{}\":null}}\n", "n".repeat(4000)));
    }
    let out = run(&options(Json), input.as_bytes());
    assert!(out.batches.len() > 1 || out.batches[0].len() == 3000);
}

#[test]
fn rejections_kept_are_bounded() {
    let out = run(&options(Json), "x\n".repeat(5000).as_bytes());
    assert_eq!((out.rejections.count, out.rejections.first.len()), (5000, REJECTIONS_KEPT_MAX));
    assert_eq!(out.rejections.first[999].line, 1000);
}

#[test]
fn nothing_gives_nothing() {
    for format in Format::ALL {
        for input in ["", "\n", "\r\n\r\n", " \t\n", "\u{feff}", "\u{feff}\n"] {
            check(format, input, &[]);
        }
    }
}
