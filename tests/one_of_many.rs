//! What goes wrong with one tenant keeps no command from the others.
#![cfg(feature = "cli")]

mod program;

use program::{folder, run_in, run_with_stdin};
use std::path::Path;

const KEY: [&str; 2] = ["--master-key-file", "master.key"];

/// Three encrypted tenants; of the one in the middle this file is damaged.
fn store(dir: &Path, damaged: &str) {
    run_in(dir, &["key", "generate", "master.key"]).exits(0);
    for name in ["a", "b", "c"] {
        run_in(dir, &[&["tenant", "create", "--data", "s", name, "--encrypt"][..], &KEY].concat()).exits(0);
        let args = [&["ingest", "--data", "s", "--tenant", name, "-"][..], &KEY].concat();
        run_with_stdin(dir, &args, b"{\"n\":1}\n{\"n\":2}\n").exits(0);
    }
    let file = dir.join("s/tenants/b").join(damaged);
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[40] ^= 1;
    std::fs::write(&file, bytes).expect("written");
}

fn with_key(dir: &Path, args: &[&str]) -> program::Run {
    run_in(dir, &[args, &KEY].concat())
}

#[test]
fn compact_and_backup_go_on() {
    let dir = folder();
    let dir = dir.path();
    store(dir, "manifest");
    let run = with_key(dir, &["compact", "--data", "s"]).exits(3);
    let names: Vec<&str> = ["a", "b", "c"].into_iter().filter(|n| run.stdout.contains(&format!("\"{n}\""))).collect();
    assert_eq!(names, ["a", "c"], "{}", run.stdout);
    assert!(run.stderr.contains("tenant `b`: s/tenants/b/manifest: at byte"), "{}", run.stderr);
    let run = with_key(dir, &["compact", "--data", "s", "--tenant", "b"]).exits(3);
    assert_eq!(run.stdout, "");
    let run = run_in(dir, &["backup", "--data", "s", "copy"]).exits(1);
    assert!(run.stdout.contains("2 tenants") && run.stderr.contains("`b` is not in this backup"), "{}", run.stderr);
    // One that lost its manifest is no tenant less.
    std::fs::remove_file(dir.join("s/tenants/b/manifest")).expect("removed");
    let run = run_in(dir, &["backup", "--data", "s", "copy"]).exits(1);
    assert!(run.stdout.contains("2 tenants") && run.stderr.contains("`b` is not in this backup"), "{}", run.stderr);
    std::fs::remove_dir_all(dir.join("s/tenants/b")).expect("removed");
    let run = run_in(dir, &["backup", "--data", "s", "copy"]).exits(1);
    assert!(run.stdout.contains("2 tenants") && run.stderr.contains("`b` is not in this backup"), "{}", run.stderr);
}

#[test]
fn keys_are_changed_and_listed() {
    let dir = folder();
    let dir = dir.path();
    store(dir, "key");
    let run = with_key(dir, &["key", "rotate", "--data", "s"]).exits(3);
    for name in ["a", "c"] {
        assert!(run.stderr.contains(&format!("tenant `{name}`: generation 2")), "{}", run.stderr);
    }
    assert!(run.stderr.contains("tenant `b`: s/tenants/b/key: at byte"), "{}", run.stderr);
    let run = with_key(dir, &["key", "renew", "--data", "s"]).exits(3);
    assert_eq!(run.stderr.matches("1 segments were written anew").count(), 2, "{}", run.stderr);
    let run = run_in(dir, &["key", "list", "--data", "s", "--format", "ndjson"]).exits(0);
    let lines: Vec<serde_json::Value> = run.stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["generation"], 2);
    assert!(lines[1]["error"].as_str().is_some_and(|e| e.contains("key")) && lines[1]["encrypted"].is_null());
    assert_eq!(lines[2]["generation"], 2);
}

#[test]
fn the_level_of_acknowledgement_is_the_stores_where_none_is_named() {
    let dir = folder();
    let dir = dir.path();
    run_with_stdin(dir, &["ingest", "--data", "s", "-"], b"{\"n\":1}\n").exits(0);
    for (level, status) in [("\"os\"", 0), ("\"buffered\"", 0), ("\"never\"", 2), ("3", 2)] {
        std::fs::write(dir.join("s/duramen.toml"), format!("ack = {level}\n")).expect("written");
        let run = run_with_stdin(dir, &["ingest", "--data", "s", "-"], b"{\"n\":2}\n").exits(status);
        assert!(status == 0 || run.stderr.contains("duramen.toml: ack: "), "{}", run.stderr);
    }
}

/// A server keeps more files open than a program that links the store in, and no more than it was told.
#[cfg(target_os = "linux")]
#[test]
fn a_process_may_keep_more_files_open() {
    use duramen::vfs::{OPEN_FILES_MAX, RealVfs, Vfs, keep_more_open};
    let most = OPEN_FILES_MAX + 40;
    keep_more_open(most);
    let dir = tempfile::tempdir().unwrap();
    let open = |n: usize| {
        let path = dir.path().join(n.to_string());
        std::fs::write(&path, "x").unwrap();
        RealVfs.open(&path).unwrap()
    };
    let _files: Vec<_> = (0..most + 100).map(open).collect();
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let open = names.filter(|name| name.starts_with(dir.path())).count();
    // A system that lets it open few is none of its own doing.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let least = if limit.is_some_and(|limit| limit < 4 * most as u64) { 1 } else { OPEN_FILES_MAX + 1 };
    assert!((least..=most).contains(&open), "{open}");
}
