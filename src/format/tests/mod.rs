//! The examples of `docs/format.md`, byte for byte, and the seeds of the fuzz corpora.
//!
//! An example is a fence ```` ```hex <name> ````. A line of it is bytes in hexadecimal, then `#` and what they mean;
//! `00*60` stands for sixty zeros.

mod checkpoint;
mod control;
mod logs;
mod segments;

use std::fmt::Write;

const DOCUMENT: &str = include_str!("../../../docs/format.md");

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

/// The bytes of an example of the document; an error says what is wrong with it.
fn example(document: &str, name: &str) -> Result<Vec<u8>, String> {
    let fence = format!("```hex {name}\n");
    let (_, rest) = document.split_once(&fence).ok_or(format!("no example `{name}`"))?;
    let (body, _) = rest.split_once("```").ok_or("no end")?;
    let mut bytes = Vec::new();
    for line in body.lines() {
        let hex = line.split('#').next().unwrap_or_default();
        for word in hex.split_whitespace() {
            let (byte, times) = word.split_once('*').unwrap_or((word, "1"));
            let bad = |_| format!("`{word}` in `{line}`");
            let byte = u8::from_str_radix(byte, 16).map_err(bad)?;
            bytes.resize(bytes.len() + times.parse::<usize>().map_err(bad)?, byte);
        }
    }
    Ok(bytes)
}

/// Bytes as a page may show them, for copying into it.
fn show(bytes: &[u8]) -> String {
    bytes.chunks(16).fold(String::new(), |mut text, line| {
        line.iter().for_each(|byte| {
            let _ = write!(text, "{byte:02x} ");
        });
        text + "\n"
    })
}

pub(crate) fn check(name: &str, bytes: &[u8]) {
    let found = example(DOCUMENT, name).unwrap_or_else(|e| panic!("docs/format.md: {e}; it is\n{}", show(bytes)));
    let at = found.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    let (len, own) = (found.len(), bytes.len());
    assert!(found == bytes, "docs/format.md: {name} ({len} of {own} bytes) differs at {at}; it is\n{}", show(bytes));
}

#[test]
fn examples_are_read_as_they_say() {
    let page = "text\n```hex a\n01 00*3  # one, zeros\nff\n```\n```hex b\n1\nzz\n```";
    assert_eq!(example(page, "a"), Ok(vec![1, 0, 0, 0, 255]));
    assert!(example(page, "b").is_err() && example(page, "c").is_err());
}
