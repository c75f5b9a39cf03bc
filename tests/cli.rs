//! The command line, as scripts see it: what it prints where, and how it ends.
#![cfg(feature = "cli")]

mod program;

use program::{Run, duramen, folder, gzip, names, run_in, run_with_stdin};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

const LINES: &str = "{\"ts\":1735689600,\"level\":\"error\",\"message\":\"reset\",\"n\":1}\n\
                     {\"ts\":1735689601,\"level\":\"info\",\"message\":\"fine\",\"n\":2.50}\n\
                     {\"ts\":1735689602,\"level\":\"info\",\"message\":\"a,b\",\"l\":[1,null],\"e\":\"\"}\n";

/// A folder with `app.ndjson`, and the store `s` made from it.
fn store() -> tempfile::TempDir {
    let dir = folder();
    std::fs::write(dir.path().join("app.ndjson"), LINES).expect("written");
    let run = run_in(dir.path(), &["ingest", "--data", "s", "app.ndjson"]).exits(0);
    assert!(run.stderr.ends_with("3 records accepted, 0 rejected\n"), "{run:?}");
    assert_eq!(run.stdout, "");
    dir
}

fn query(dir: &Path, args: &[&str]) -> Run {
    let mut all = vec!["query", "--data", "s"];
    all.extend(args);
    run_in(dir, &all)
}

#[test]
fn formats_of_rows() {
    let dir = store();
    let rows = [
        r#"{"timestamp":"2025-01-01T00:00:02.000Z","e":"","l":[1,null],"level":"info","message":"a,b"}"#,
        r#"{"timestamp":"2025-01-01T00:00:01.000Z","level":"info","message":"fine","n":2.50}"#,
        r#"{"timestamp":"2025-01-01T00:00:00.000Z","level":"error","message":"reset","n":1}"#,
    ];
    let ndjson = rows.map(|row| format!("{row}\n")).concat();
    assert_eq!(query(dir.path(), &["*"]).exits(0).stdout, ndjson, "ndjson where stdout is no terminal");
    assert_eq!(query(dir.path(), &["--format", "ndjson", "*"]).exits(0).stdout, ndjson);
    let json = query(dir.path(), &["--format", "json", "*"]).exits(0).stdout;
    let parsed: Vec<serde_json::Value> = serde_json::from_str(&json).expect("one array");
    assert_eq!(parsed.len(), 3);
    let csv = query(dir.path(), &["--format", "csv", "*"]).exits(0).stdout;
    assert_eq!(
        csv,
        "timestamp,e,l,level,message,n\n2025-01-01T00:00:02.000Z,,\"[1,null]\",info,\"a,b\",\n\
         2025-01-01T00:00:01.000Z,,,info,fine,2.50\n2025-01-01T00:00:00.000Z,,,error,reset,1\n"
    );
    let txt = query(dir.path(), &["--format", "txt", "level:error"]).exits(0).stdout;
    assert_eq!(txt, "2025-01-01T00:00:00.000Z error reset n=1\n");
    let table = query(dir.path(), &["--format", "table", "* | stats by (level) count() as n"]).exits(0).stdout;
    assert!(table.starts_with("level"), "{table}");
    query(dir.path(), &["--format", "xml", "*"]).exits(2);
}

#[test]
fn bounds_of_time_and_number() {
    let dir = store();
    let count = |args: &[&str]| query(dir.path(), args).exits(0).stdout.lines().count();
    assert_eq!(count(&["*"]), 3);
    assert_eq!(count(&["--limit", "2", "*"]), 2);
    assert_eq!(count(&["--start", "2025-01-01T00:00:01Z", "*"]), 2);
    assert_eq!(count(&["--start", "1735689600001", "--end", "2025-01-01 00:00:02.000", "*"]), 1);
    assert_eq!(count(&["--since", "1h", "*"]), 0);
    assert_eq!(count(&["--start", "now-1h", "--end", "now", "*"]), 0);
    query(dir.path(), &["--start", "soon", "*"]).exits(2);
}

#[test]
fn a_query_that_does_not_parse_shows_where() {
    let dir = store();
    let run = query(dir.path(), &["level:error AND"]).exits(2);
    assert!(run.stdout.is_empty() && run.stderr.contains('^') && run.stderr.contains("level:error AND"), "{run:?}");
    query(dir.path(), &["--", "-level:error"]).exits(0);
    let run = run_in(dir.path(), &["parse", "--", "-level:error"]).exits(0);
    assert!(!run.stdout.is_empty());
}

#[test]
fn what_is_not_there_is_not_made() {
    let dir = store();
    query(dir.path(), &["--tenant", "nobody", "*"]).exits(3);
    query(dir.path(), &["--tenant", "../s", "*"]).exits(3);
    run_in(dir.path(), &["query", "--data", "none", "*"]).exits(3);
    run_in(dir.path(), &["ingest", "--data", "s", "--tenant", "nobody", "app.ndjson"]).exits(3);
    run_in(dir.path(), &["tenant", "set", "--data", "none", "x", "--retention", "1d"]).exits(3);
    assert_eq!(names(dir.path()), ["app.ndjson", "s"]);
    assert_eq!(names(&dir.path().join("s/tenants")), ["default"]);
    assert_eq!(run_in(dir.path(), &["query", "*"]).exits(2).stdout, "", "no store is named");
}

#[test]
fn rejected_lines() {
    let dir = folder();
    let bad = "\u{feff}{\"a\":1}\r\n{\"a\":\r\n\r\n{\"a\":3}\r\n[]\r\n";
    std::fs::write(dir.path().join("bad"), bad).expect("written");
    let args = ["ingest", "--data", "s", "--format", "json", "--rejects", "rejects", "bad"];
    let run = run_in(dir.path(), &args).exits(0);
    assert!(run.stderr.contains("2 records accepted, 2 rejected"), "{run:?}");
    let rejects = std::fs::read_to_string(dir.path().join("rejects")).expect("a file");
    let rejects: Vec<serde_json::Value> = rejects.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(rejects.iter().map(|r| r["line"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(5)]);
    assert_eq!((&rejects[0]["raw"], &rejects[0]["file"]), (&"{\"a\":".into(), &"bad".into()));
    assert!(rejects.iter().all(|r| r["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    let run = run_in(dir.path(), &["ingest", "--data", "s", "--format", "json", "--strict", "bad"]).exits(1);
    assert!(run.stderr.contains("bad:2: "), "without a file the first ones are told: {run:?}");
}

#[test]
fn packed_input_and_what_is_cut_off() {
    let dir = folder();
    let packed = gzip(LINES.repeat(2000).as_bytes());
    std::fs::write(dir.path().join("whole.gz"), &packed).expect("written");
    std::fs::write(dir.path().join("cut.gz"), &packed[..packed.len() - 9]).expect("written");
    let zst = zstd::encode_all(LINES.as_bytes(), 1).expect("packed");
    std::fs::write(dir.path().join("whole.zst"), &zst).expect("written");
    let run = run_in(dir.path(), &["ingest", "--data", "s", "whole.gz", "whole.zst"]).exits(0);
    assert!(run.stderr.contains("6003 records accepted, 0 rejected"), "{run:?}");
    let run = run_in(dir.path(), &["ingest", "--data", "t", "cut.gz"]).exits(1);
    assert!(run.stderr.contains("cut.gz") && run.stderr.contains("cut off"), "{run:?}");
    let kept = run_in(dir.path(), &["query", "--data", "t", "* | stats count() as n"]).exits(0).stdout;
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    assert!(kept["n"].as_u64().is_some_and(|n| n > 5000), "{kept}");
}

#[test]
fn stdin_and_labels() {
    let dir = folder();
    let args = ["ingest", "--data", "s", "--stream", "app=api,env=prod", "-"];
    run_with_stdin(dir.path(), &args, LINES.as_bytes()).exits(0);
    run_with_stdin(dir.path(), &["ingest", "--data", "s"], b"plain text\n").exits(0);
    assert_eq!(query(dir.path(), &["{app=\"api\"}"]).exits(0).stdout.lines().count(), 3);
    assert_eq!(query(dir.path(), &["plain"]).exits(0).stdout.lines().count(), 1);
    run_in(dir.path(), &["ingest", "--data", "s", "--stream", "app", "-"]).exits(2);
    run_in(dir.path(), &["ingest", "--data", "s", "no-such-file"]).exits(2);
}

#[test]
fn plain_files_need_no_store() {
    let dir = folder();
    std::fs::write(dir.path().join("a.log"), LINES).expect("written");
    std::fs::write(dir.path().join("b.log.gz"), gzip(LINES.as_bytes())).expect("written");
    let run = run_in(dir.path(), &["query", "--file", "a.log", "b.log.gz", "level:info | stats count() as n"]).exits(0);
    assert_eq!(run.stdout, "{\"n\":4}\n");
    let run = run_in(dir.path(), &["query", "--file", "a.log", "--format", "csv", "level:error | fields n"]).exits(0);
    assert_eq!(run.stdout, "n\n1\n");
    run_in(dir.path(), &["query", "--file", "a.log", "level:"]).exits(2);
    run_in(dir.path(), &["query", "--file", "missing.log", "other.log", "level:error"]).exits(2);
    assert_eq!(names(dir.path()), ["a.log", "b.log.gz"]);
}

#[test]
fn batches_of_queries() {
    let dir = folder();
    let input = "{\"query\":\"a AND  b\"}\nnot json\n{\"query\":\"a OR\"}\n{\"other\":1}\n\n{\"query\":\"é x:\"}";
    let run = run_with_stdin(dir.path(), &["parse", "--batch"], input.as_bytes()).exits(0);
    let answers: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ok: Vec<bool> = answers.iter().map(|a| a["ok"] == true).collect();
    assert_eq!(ok[..5], [true, false, false, false, false]);
    assert_eq!(answers.len(), 6);
    assert!(answers[0]["canonical"].is_string());
    assert!(answers.iter().filter(|a| a["ok"] == false).all(|a| a["error"]["message"].is_string()));
    assert_eq!(answers[2]["error"]["span"], serde_json::json!([4, 4]), "in bytes");
    let run = run_in(dir.path(), &["parse", "--json", "a b"]).exits(0);
    assert!(serde_json::from_str::<serde_json::Value>(&run.stdout).is_ok());
    run_in(dir.path(), &["parse", "a OR"]).exits(2);
    run_in(dir.path(), &["parse"]).exits(2);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let dir = folder();
    std::fs::write(dir.path().join("many"), LINES.repeat(20_000)).expect("written");
    run_in(dir.path(), &["ingest", "--data", "s", "many"]).exits(0);
    for args in [&["query", "--data", "s", "*"][..], &["export", "--data", "s", "*"], &["--help"]] {
        let mut command = duramen();
        command.current_dir(dir.path()).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{args:?}");
        assert!(!first.is_empty());
    }
}

#[test]
fn tenants_and_tokens() {
    let dir = store();
    let ok = |args: &[&str]| run_in(dir.path(), args).exits(0).stdout;
    ok(&["tenant", "create", "--data", "s", "acme"]);
    run_in(dir.path(), &["tenant", "create", "--data", "s", "acme"]).exits(2);
    run_in(dir.path(), &["tenant", "create", "--data", "s", "../x"]).exits(2);
    ok(&["tenant", "set", "--data", "s", "acme", "--retention", "30d"]);
    run_in(dir.path(), &["tenant", "set", "--data", "s", "acme", "--retention", "soon"]).exits(2);
    let list = ok(&["tenant", "list", "--data", "s", "--format", "csv"]);
    assert!(list.lines().any(|l| l.starts_with("acme,") && l.ends_with(",30d")), "{list}");
    let made = ok(&["token", "create", "--data", "s", "--tenant", "acme", "--roles", "read,write", "--expires", "24h"]);
    let secret = made.split_whitespace().last().unwrap_or_default();
    assert!(secret.starts_with("dmn_") && secret.len() == 47, "{made}");
    run_in(dir.path(), &["token", "create", "--data", "s", "--tenant", "nobody", "--roles", "read"]).exits(3);
    run_in(dir.path(), &["token", "create", "--data", "s", "--tenant", "acme", "--roles", "root"]).exits(2);
    run_in(dir.path(), &["token", "create", "--data", "s", "--roles", "read"]).exits(2);
    let list = ok(&["token", "list", "--data", "s"]);
    assert!(!list.contains(&secret[4..]) && list.contains("\"roles\":\"read,write\""), "{list}");
    let id = made.split_whitespace().next().unwrap_or_default();
    ok(&["token", "revoke", "--data", "s", id]);
    run_in(dir.path(), &["token", "revoke", "--data", "s", "tok_none"]).exits(2);
    run_in(dir.path(), &["tenant", "delete", "--data", "s", "acme"]).exits(2);
    ok(&["tenant", "delete", "--data", "s", "acme", "--yes"]);
    assert_eq!(names(&dir.path().join("s/tenants")), ["default"]);
}

#[test]
fn export_and_stats() {
    let dir = store();
    let run = run_in(dir.path(), &["export", "--data", "s", "-o", "out.csv.gz", "--format", "csv", "n:*"]).exits(0);
    assert!(run.stdout.is_empty(), "{run:?}");
    let packed = std::fs::read(dir.path().join("out.csv.gz")).expect("a file");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*packed).read_to_string(&mut text).expect("unpacked");
    assert_eq!(text.lines().count(), 3);
    run_in(dir.path(), &["export", "--data", "s", "-o", "out.csv.gz", "*"]).exits(2);
    run_in(dir.path(), &["export", "--data", "s", "-o", "bad", "a OR"]).exits(2);
    assert_eq!(names(dir.path()), ["app.ndjson", "out.csv.gz", "s"], "nothing is left of what failed");
    let stats = run_in(dir.path(), &["stats", "--data", "s", "--format", "json"]).exits(0).stdout;
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!((&stats[0]["tenant"], &stats[0]["records"]), (&"default".into(), &3.into()));
}

#[test]
fn of_many_missing_segments_some_are_named_and_all_are_counted() {
    let dir = store();
    for n in 0..14 {
        let line = format!("{{\"more\":{n}}}\n");
        run_with_stdin(dir.path(), &["ingest", "--data", "s", "-"], line.as_bytes()).exits(0);
    }
    let segments = dir.path().join("s/tenants/default/segments");
    let all = names(&segments);
    assert!(all.len() > 12, "{all:?}");
    all.iter().for_each(|name| std::fs::remove_file(segments.join(name)).expect("removed"));
    let stderr = run_in(dir.path(), &["query", "--data", "s", "*"]).exits(1).stderr;
    assert_eq!(stderr.lines().count(), 11, "{stderr}");
    let others = format!("of {} other segments", all.len() - 10);
    assert!(stderr.lines().last().is_some_and(|line| line.contains(&others)), "{stderr}");
}

#[test]
fn verify_finds_what_was_changed() {
    let dir = store();
    run_in(dir.path(), &["compact", "--data", "s"]).exits(0);
    run_in(dir.path(), &["verify", "s"]).exits(0);
    run_in(dir.path(), &["verify", "none"]).exits(3);
    let segments = dir.path().join("s/tenants/default/segments");
    let segment = segments.join(names(&segments).first().expect("a segment"));
    let mut bytes = std::fs::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    let run = run_in(dir.path(), &["verify", "s", "--json"]).exits(1);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("one object");
    let finding = &report["findings"][0];
    assert!(["kind", "file", "offset", "expected", "found"].iter().all(|name| !finding[name].is_null()), "{report}");
}

#[test]
fn what_is_deleted_is_gone() {
    let dir = store();
    let run = |args: &[&str]| run_in(dir.path(), &[&["delete", "--data", "s", "--tenant", "default"], args].concat());
    let all = run_in(dir.path(), &["query", "--data", "s", "*"]).exits(0).stdout.lines().count();
    let report: serde_json::Value = serde_json::from_str(&run(&["--dry-run", "*"]).exits(0).stdout).expect("JSON");
    assert_eq!((&report["records"], &report["done"]), (&all.into(), &false.into()));
    assert_eq!(run_in(dir.path(), &["query", "--data", "s", "*"]).exits(0).stdout.lines().count(), all);
    let report: serde_json::Value = serde_json::from_str(&run(&["*"]).exits(0).stdout).expect("JSON");
    assert_eq!((&report["records"], &report["done"]), (&all.into(), &true.into()));
    assert!(run_in(dir.path(), &["query", "--data", "s", "*"]).exits(0).stdout.is_empty());
    run(&["* | limit 1"]).exits(2);
    run(&["a OR"]).exits(2);
    run_in(dir.path(), &["verify", "s", "--deep"]).exits(0);
}

#[test]
fn a_checkpoint_is_made_kept_and_compared() {
    let dir = store();
    let key = run_in(dir.path(), &["checkpoint", "--new-key", "key"]).exits(0).stdout.trim().to_string();
    assert_eq!(key.len(), 64);
    run_in(dir.path(), &["checkpoint", "--new-key", "key"]).exits(3);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.path().join("key")).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    run_in(dir.path(), &["checkpoint", "--data", "s", "--key", "key", "--out", "kept"]).exits(0);
    let printed = run_in(dir.path(), &["checkpoint", "--data", "s", "--key", "key", "--tenant", "default"]).exits(0);
    assert!(
        serde_json::from_str::<serde_json::Value>(&printed.stdout).is_ok_and(|v| v["tenants"][0]["head"].is_string())
    );
    run_in(dir.path(), &["checkpoint", "--data", "s", "--key", "key", "--tenant", "nobody"]).exits(3);
    run_in(dir.path(), &["compact", "--data", "s"]).exits(0);
    let compare = ["verify", "s", "--checkpoint", "kept", "--public-key"];
    let run = run_in(dir.path(), &[&compare[..], &[&key]].concat()).exits(0);
    assert!(run.stdout.contains("continued from entry"), "{}", run.stdout);
    let other = "ab".repeat(32);
    let run = run_in(dir.path(), &[&compare[..], &[&other, "--json"]].concat()).exits(1);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("one object");
    assert_eq!(report["findings"][0]["kind"], "bad_checkpoint");
    run_in(dir.path(), &["verify", "s", "--public-key", &key]).exits(2);
    // The verifier alone says the same.
    let verifier = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_duramen-verify"));
        command.current_dir(dir.path()).args(args).output().expect("it runs").status.code()
    };
    assert_eq!(verifier(&["--checkpoint", "kept", "--public-key", &key, "s"]), Some(0));
    assert_eq!(verifier(&["--checkpoint", "kept", "--public-key", &other, "s"]), Some(1));
    assert_eq!(verifier(&["--checkpoint", "none", "s"]), Some(3));
    assert_eq!(verifier(&["--public-key", &key, "s"]), Some(2));
}

#[test]
#[cfg(feature = "server")]
fn a_second_writer_is_told_who_holds_the_store() {
    let dir = store();
    let mut command = duramen();
    command.current_dir(dir.path()).args(["serve", "--data", "s", "--listen", "127.0.0.1:0"]);
    let mut server = command.stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(server.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("listening on http://127.0.0.1:")));
    let run = run_in(dir.path(), &["ingest", "--data", "s", "app.ndjson"]).exits(3);
    assert!(run.stderr.contains(&server.id().to_string()), "{run:?}");
    for args in [&["query", "--data", "s", "*"][..], &["verify", "s"], &["tenant", "list", "--data", "s"]] {
        run_in(dir.path(), args).exits(0);
    }
    server.kill().expect("killed");
    server.wait().expect("it ends");
}

#[test]
fn run_stores_what_a_command_says() {
    let dir = folder();
    let script = "echo to stdout; echo to stderr >&2; exit 7";
    let args = ["run", "--data", "s", "--stream", "app=x", "--", "sh", "-c", script];
    let run = run_in(dir.path(), &args).exits(7);
    assert!(run.stdout.is_empty() && run.stderr.contains("2 records accepted"), "{run:?}");
    assert_eq!(query(dir.path(), &["app:x output:stderr"]).exits(0).stdout.lines().count(), 1);
    let run = run_in(dir.path(), &["run", "--data", "s", "--tee", "--", "echo", "--flag"]).exits(0);
    assert_eq!(run.stdout, "--flag\n");
    run_in(dir.path(), &["run", "--data", "s", "--", "no-such-command"]).exits(2);
}

#[test]
fn the_demo_leaves_nothing_behind() {
    let dir = folder();
    let run = run_in(dir.path(), &["demo", "--no-serve"]).exits(0);
    assert!(run.stdout.contains("nothing is wrong") && run.stdout.contains("connection reset"), "{run:?}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn tail_and_explain() {
    let dir = store();
    let run = run_in(dir.path(), &["tail", "--data", "s", "--no-follow", "-n", "2"]).exits(0);
    let messages: Vec<bool> = run.stdout.lines().map(|line| line.contains("fine")).collect();
    assert_eq!(messages, [true, false], "the last two, oldest first");
    run_in(dir.path(), &["tail", "--data", "s", "* | stats count()"]).exits(2);
    assert!(!run_in(dir.path(), &["explain", "--data", "s", "level:error"]).exits(0).stdout.is_empty());
}

#[test]
fn environment_and_usage() {
    let dir = store();
    let run = duramen().current_dir(dir.path()).env("DURAMEN_DATA", "s").args(["query", "*"]).output();
    assert_eq!(Run::from(run.expect("it runs")).exits(0).stdout.lines().count(), 3);
    let mut both = duramen();
    both.current_dir(dir.path()).env("DURAMEN_DATA", "s").env("DURAMEN_URL", "http://127.0.0.1:1");
    Run::from(both.args(["query", "*"]).output().expect("it runs")).exits(2);
    run_in(dir.path(), &["query", "--url", "http://127.0.0.1:1", "*"]).exits(3);
    run_in(dir.path(), &["query", "--url", "https://example.com", "*"]).exits(2);
    run_in(dir.path(), &["nonsense"]).exits(2);
    run_in::<&str>(dir.path(), &[]).exits(2);
    for command in [
        "demo",
        "serve",
        "ingest",
        "query",
        "parse",
        "explain",
        "tail",
        "stats",
        "tenant",
        "token",
        "compact",
        "delete",
        "checkpoint",
        "verify",
        "export",
        "run",
    ] {
        let run = run_in(dir.path(), &[command, "--help"]).exits(0);
        assert!(run.stdout.contains("Example"), "{command}");
    }
}
