//! Rules of retention, archives and quotas on the command line.
#![cfg(feature = "cli")]

mod program;

use program::{Run, folder, names, run_in, run_with_stdin};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Records of so many days ago, as JSON lines.
fn lines(days_ago: u64, count: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    (0..count).map(|n| format!("{{\"ts\":{},\"n\":{n}}}\n", now - days_ago * 86_400 - n)).collect()
}

fn ingest(dir: &Path, stream: &str, days_ago: u64, count: u64) -> Run {
    let args = ["ingest", "--data", "s", "--tenant", "acme", "--stream", stream, "--format", "json", "-"];
    run_with_stdin(dir, &args, lines(days_ago, count).as_bytes())
}

fn ok(dir: &Path, args: &[&str]) -> String {
    run_in(dir, args).exits(0).stdout
}

fn count(dir: &Path, query: &str) -> usize {
    ok(dir, &["query", "--data", "s", "--tenant", "acme", query]).lines().count()
}

/// A figure of what `compact` prints.
fn compact(dir: &Path, figure: &str) -> u64 {
    let printed = ok(dir, &["compact", "--data", "s", "--tenant", "acme"]);
    let line: serde_json::Value = serde_json::from_str(&printed).expect("one object");
    line[figure].as_u64().unwrap_or_else(|| panic!("{line}"))
}

fn store() -> tempfile::TempDir {
    let dir = folder();
    ok(dir.path(), &["tenant", "create", "--data", "s", "acme"]);
    dir
}

fn set(dir: &Path, more: &[&str]) -> Run {
    run_in(dir, &[&["tenant", "set", "--data", "s", "acme"], more].concat())
}

#[test]
fn rules_by_label_in_settings_and_in_a_file() {
    let dir = store();
    let dir = dir.path();
    for stream in ["s=short", "s=long"] {
        ingest(dir, stream, 10, 20).exits(0);
    }
    set(dir, &["--rule", "s=short age=5d", "--rule", "s=gone,instance=* age=1d"]).exits(0);
    let list = ok(dir, &["tenant", "list", "--data", "s", "--format", "csv"]);
    assert!(list.contains("rules: s=short age=5d; s=gone,instance=* age=1d"), "{list}");
    assert_eq!(compact(dir, "records_expired"), 20);
    assert_eq!((count(dir, "s:short"), count(dir, "s:long")), (0, 20));
    // Now by a file in the store's folder, or another one that is named.
    set(dir, &["--rule", "none"]).exits(0);
    std::fs::write(dir.join("s/duramen.toml"), "[[retention]]\nlabels = { s = 'long' }\nage = '20d'\n")
        .expect("written");
    std::fs::write(dir.join("c.toml"), "[[retention]]\nlabels = { s = 'long' }\nage = '5d'\n").expect("written");
    assert_eq!((compact(dir, "records_expired"), count(dir, "s:long")), (0, 20));
    ok(dir, &["verify", "s", "--deep"]);
    ok(dir, &["compact", "--data", "s", "--config", "c.toml"]);
    assert_eq!(count(dir, "*"), 0);
    for (more, expect) in [
        (&["--rule", "s age=5d"][..], "`s` is neither"),
        (&["--rule", "s=x age=soon"], "`soon`"),
        (&["--archive", "s=x after=5d to=cold"], "no archive `cold`"),
        (&["--quota-bytes", "5d"], "quota_bytes"),
        (&["--retention", "none", "--retention-records", "few"], "retention_records"),
    ] {
        let run = set(dir, more).exits(2);
        assert!(run.stderr.contains(expect), "{run:?}");
    }
    set(dir, &[]).exits(2);
}

#[test]
fn an_archive_is_queried_verified_and_missed() {
    let dir = store();
    let dir = dir.path();
    let config = format!(
        "[archives]\ncold = '{}'\n[[archive]]\nlabels = {{ category = 'audit' }}\nafter = '30d'\nto = 'cold'\n",
        dir.join("cold").display()
    );
    std::fs::write(dir.join("s/duramen.toml"), config).expect("written");
    ingest(dir, "category=audit", 40, 30).exits(0);
    ingest(dir, "category=app", 40, 30).exits(0);
    assert_eq!(compact(dir, "segments_archived"), 1);
    assert_eq!(names(&dir.join("cold/acme")).len(), 1);
    assert_eq!((count(dir, "category:audit"), count(dir, "*")), (30, 60));
    ok(dir, &["verify", "s", "--deep"]);
    let archive = format!("cold={}", dir.join("cold").display());
    let alone = std::process::Command::new(env!("CARGO_BIN_EXE_duramen-verify"))
        .args(["--deep", "--archive", &archive])
        .arg(dir.join("s"))
        .output()
        .expect("it runs");
    assert!(alone.status.success() && String::from_utf8_lossy(&alone.stdout).contains("60 records"), "{alone:?}");
    std::fs::rename(dir.join("cold"), dir.join("away")).expect("moved");
    let run = run_in(dir, &["verify", "s"]).exits(1);
    assert!(run.stdout.contains("cold"), "{run:?}");
    let run = run_in(dir, &["query", "--data", "s", "--tenant", "acme", "*"]);
    assert!(run.stdout.lines().count() == 30 && run.stderr.contains("archive `cold`"), "{run:?}");
}

#[test]
fn a_rule_that_comes_later_counts_in_an_archive_too() {
    let dir = store();
    let dir = dir.path();
    let cold = dir.join("cold");
    std::fs::write(dir.join("s/duramen.toml"), format!("[archives]\ncold = '{}'\n", cold.display())).expect("written");
    for stream in ["s=short", "s=long", "s=home"] {
        ingest(dir, stream, 40, 20).exits(0);
    }
    // One segment of all three: they go together.
    assert_eq!(compact(dir, "segments_made"), 1);
    set(dir, &["--archive", "all after=30d to=cold"]).exits(0);
    assert_eq!(compact(dir, "segments_archived"), 1);
    let before = names(&cold.join("acme"));
    assert_eq!(before.len(), 1);
    // It stays as it is where a rule lets none of its records go yet.
    set(dir, &["--rule", "s=short age=50d"]).exits(0);
    assert_eq!((compact(dir, "segments_made"), names(&cold.join("acme"))), (0, before.clone()));
    let archive = "s=short after=30d to=cold; s=long after=30d to=cold";
    let archive: Vec<&str> = archive.split("; ").flat_map(|rule| ["--archive", rule]).collect();
    set(dir, &[&["--rule", "s=short age=35d"], &archive[..]].concat()).exits(0);
    std::fs::rename(&cold, dir.join("away")).expect("moved");
    assert_eq!(compact(dir, "records_expired"), 0);
    std::fs::remove_dir_all(&cold).unwrap_or_default();
    std::fs::rename(dir.join("away"), &cold).expect("moved back");
    assert_eq!(compact(dir, "records_expired"), 20);
    assert_eq!((count(dir, "s:short"), count(dir, "s:long"), count(dir, "s:home")), (0, 20, 20));
    let after = names(&cold.join("acme"));
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    assert_eq!((compact(dir, "records_expired"), compact(dir, "segments_made")), (0, 0));
    ok(dir, &["verify", "s", "--deep"]);
}

#[test]
fn a_quota_ends_with_its_name() {
    let dir = store();
    let dir = dir.path();
    set(dir, &["--quota-records", "25"]).exits(0);
    ingest(dir, "a=b", 1, 20).exits(0);
    let run = ingest(dir, "a=b", 1, 20).exits(3);
    assert!(run.stderr.contains("the quota `records` of tenant `acme` is used up"), "{run:?}");
    assert_eq!(count(dir, "*"), 20);
    set(dir, &["--quota-records", "none"]).exits(0);
    ingest(dir, "a=b", 1, 20).exits(0);
}

#[test]
fn a_rule_that_comes_later_lets_go_what_is_older_than_it_says() {
    let dir = store();
    let dir = dir.path();
    for days in [60, 40, 20, 9, 8, 7, 3, 1] {
        ingest(dir, "s=a", days, 20).exits(0);
    }
    // Without a rule all of it is one segment, whose newest records would keep the oldest.
    assert_eq!(compact(dir, "segments_made"), 1);
    set(dir, &["--rule", "s=a age=10d"]).exits(0);
    assert_eq!(compact(dir, "records_expired"), 60);
    assert_eq!(count(dir, "*"), 100);
    assert_eq!((compact(dir, "records_expired"), compact(dir, "segments_made")), (0, 0));
    // Likewise where the rule is for all records of the tenant.
    set(dir, &["--rule", "none", "--retention", "5d"]).exits(0);
    assert_eq!(compact(dir, "records_expired"), 60);
    assert_eq!(count(dir, "*"), 40);
    ok(dir, &["verify", "--deep", "s"]);
}

#[test]
fn where_the_disk_has_little_room_compact_lets_go_early_and_says_so() {
    let dir = store();
    let dir = dir.path();
    for days in [20, 10, 1] {
        ingest(dir, "s=a", days, 20).exits(0);
    }
    let rules = "[[retention]]\nlabels = { s = 'a' }\nage = '30d'\nlow_space_age = '7d'\n";
    std::fs::write(dir.join("s/duramen.toml"), rules).expect("written");
    assert_eq!(compact(dir, "records_expired"), 0);
    let space = "[space]\nlow_bytes = '1000000TB'\nrefuse_bytes = '1B'\n";
    std::fs::write(dir.join("s/duramen.toml"), format!("{space}{rules}")).expect("written");
    let stats = run_in(dir, &["stats", "--data", "s"]).exits(0);
    assert!(stats.stderr.contains("space.low_bytes"), "{}", stats.stderr);
    assert_eq!(compact(dir, "records_expired"), 40);
    assert_eq!(count(dir, "*"), 20);
}

#[test]
fn a_limit_that_comes_later_keeps_as_much_as_it_says() {
    let dir = store();
    let dir = dir.path();
    let segment_bytes = || {
        let stats = ok(dir, &["stats", "--data", "s", "--tenant", "acme", "--format", "ndjson"]);
        let line: serde_json::Value = serde_json::from_str(&stats).expect("one object");
        line["segment_bytes"].as_u64().expect("bytes")
    };
    ingest(dir, "s=a", 1, 60_000).exits(0);
    let whole = segment_bytes();
    let limit = whole / 2;
    set(dir, &["--retention-bytes", &format!("{limit}B")]).exits(0);
    let gone = compact(dir, "records_expired");
    let left = segment_bytes();
    assert!(gone > 0 && left <= limit && left > limit / 4, "{left} of {whole} bytes");
    // By number, to an eighth of it.
    set(dir, &["--retention-bytes", "none", "--retention-records", "800"]).exits(0);
    compact(dir, "records_expired");
    let left = count(dir, "*");
    assert!((600..=800).contains(&left), "{left} records");
    // One more, and not all of what was there goes for it.
    ingest(dir, "s=a", 0, 1).exits(0);
    compact(dir, "records_expired");
    let left = count(dir, "*");
    assert!((600..=800).contains(&left), "{left} records");
    ok(dir, &["verify", "--deep", "s"]);
}
