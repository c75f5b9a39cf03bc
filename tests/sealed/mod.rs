//! Encrypted tenants and what is in their files.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use duramen::store::MasterKey;
use duramen::verify::{Report, VerifyOptions, verify_as};
use duramen::{Ack, BatchBuilder, Labels, Options, Record, Store, Tenant, Timestamp};
use std::path::{Path, PathBuf};

/// In every record's message, field name and label.
pub const MARKER: &str = "xyzzyplugh";

pub fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8 ^ n))
}

pub fn options(key: Option<u8>) -> Options {
    let mut options = Options::default();
    options.master_key = key.map(master);
    options.background_threads = 0;
    options.query_threads = 1;
    options
}

pub fn open(dir: &Path, key: Option<u8>) -> Store {
    Store::open_with(dir, options(key)).expect("a store")
}

pub fn append(tenant: &Tenant, from: u64, count: u64) {
    let mut builder = BatchBuilder::new();
    let labels = Labels::new([("app", MARKER)]);
    for n in from..from + count {
        let text = format!("request {n} of {MARKER} took long: {}", n * 7919 % 1000);
        let record = Record::new().with("n", n).with("message", text).with(MARKER, n % 10).with("even", n % 2 == 0);
        builder.push(&record, Timestamp(1_700_000_000_000_000_000 + n as i64 * 1_000_000), &labels).expect("a record");
    }
    tenant.append_batch(&builder.take(), Ack::Fsync).expect("appended");
}

pub fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    tenant.query(query).expect("a query").map(|row| row.expect("a row").to_json()).collect()
}

pub fn count(tenant: &Tenant) -> String {
    rows(tenant, "* | stats count() as n").concat()
}

pub fn files(under: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Which files have the marker in them, as far as it can be seen.
pub fn with_marker(under: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(under, &mut all);
    assert!(!all.is_empty());
    let has = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        bytes.windows(MARKER.len()).any(|w| w.eq_ignore_ascii_case(MARKER.as_bytes()))
    };
    all.into_iter().filter(has).collect()
}

/// Sizes at which nothing is compressed away, and all kinds of files are there: log, segments, quarantine.
pub fn fill(tenant: &Tenant) {
    append(tenant, 0, 300);
    tenant.seal().expect("sealed");
    append(tenant, 300, 200);
    tenant.seal().expect("sealed");
    append(tenant, 500, 3);
}

pub fn torn_tail(dir: &Path) {
    let mut all = Vec::new();
    files(&dir.join("log"), &mut all);
    all.sort();
    let log = all.last().expect("a log");
    let mut bytes = std::fs::read(log).expect("read");
    let end = bytes.iter().rposition(|b| *b != 0).expect("frames");
    // The mark and the end of the frame before it.
    bytes.truncate(end - 120);
    std::fs::write(log, bytes).expect("written");
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

pub fn options_with(key: u8) -> Options {
    options(Some(key))
}

pub fn verify_with_key<P: AsRef<Path>>(paths: &[P], deep: bool, key: Option<&MasterKey>) -> Report {
    verify_as(paths, &VerifyOptions { deep, master_key: key.cloned(), ..VerifyOptions::default() })
}
