//! The server, as clients see it: over sockets, with requests written out.
#![cfg(all(feature = "server", feature = "cli"))]

mod program;
mod served;

use program::{folder, gzip, run_in};
use serde_json::json;
use served::{Answer, Server, read_answer, token};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn what_goes_in_comes_out() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let body = b"{\"message\":\"one\",\"ts\":1735689600,\"n\":1.50,\"big\":12345678901234567890}\n\nno\n\
                 {\"message\":\"two\",\"timestamp\":\"2025-01-01T00:00:01Z\",\"l\":[null,\"\"]}\n";
    let target = "/api/v1/ingest?stream=app%3Dweb,env=prod&stream_fields=message&ack=os";
    let answer = server.send("POST", target, &[], body);
    assert_eq!(answer.status, 200);
    let taken = answer.json();
    assert_eq!(
        (&taken["accepted"], &taken["ack"], &taken["rejected"][0]["line"]),
        (&2.into(), &"os".into(), &3.into())
    );
    assert!(taken["rejected"][0]["reason"].is_string());
    let answer = server.get("/api/v1/query?query=%7Bapp%3D%22web%22%7D&limit=5");
    let data = &answer.json()["data"];
    assert_eq!(data["query"], json!("{app=\"web\"}"));
    assert_eq!(data["rows"].as_array().map(Vec::len), Some(2));
    for name in ["rows_matched", "rows_scanned", "blocks_total", "blocks_read", "elapsed_ms"] {
        assert!(data["stats"][name].is_number(), "{name}: {data}");
    }
    let text = answer.text();
    assert!(text.contains("\"n\":1.50") && text.contains("\"big\":12345678901234567890"), "{text}");
    let rows = server.send("GET", "/api/v1/query?query=one", &[("Accept", "application/x-ndjson")], b"");
    assert_eq!(rows.text().lines().count(), 1);
    assert_eq!(rows.header("content-type").as_deref(), Some("application/x-ndjson"));
    let csv = server.get("/api/v1/query?query=*+%7C+fields+message&format=csv");
    assert_eq!(csv.text(), "message\ntwo\none\n");
    let post = |kind: &str, body: &str| {
        let answer = server.send("POST", "/api/v1/query", &[("Content-Type", kind)], body.as_bytes());
        answer.json()["data"]["rows"].as_array().map(Vec::len)
    };
    assert_eq!(post("application/json", r#"{"query":"*","limit":1,"offset":1}"#), Some(1));
    assert_eq!(post("application/x-www-form-urlencoded", "query=*&start=2025-01-01T00:00:01Z"), Some(1));
    assert_eq!(post("application/json; charset=utf-8", r#"{"query":"*","start":"now-1h"}"#), Some(0));
}

#[test]
fn bodies_packed_and_as_arrays() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let lines = "{\"a\":1}\n".repeat(3);
    assert_eq!(server.ingest(&[("Content-Encoding", "gzip")], &gzip(lines.as_bytes())).json()["accepted"], 3);
    let zst = zstd::encode_all(lines.as_bytes(), 1).expect("packed");
    assert_eq!(server.ingest(&[("Content-Encoding", "zstd")], &zst).json()["accepted"], 3);
    assert_eq!(server.ingest(&[], b"[{\"a\":1},\n{\"a\":2}]").json()["accepted"], 2);
    let chunked = b"4\r\n{\"a\"\r\n4\r\n:7}\n\r\n0\r\n\r\n";
    let mut stream = server.connect();
    let head =
        "POST /api/v1/ingest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(chunked)).expect("sent");
    assert_eq!(read_answer(&mut stream).json()["accepted"], 1);
    assert_eq!(server.count(&[]), 9);
}

#[test]
fn what_is_wrong_is_told_in_one_shape_and_stores_nothing() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let cut = gzip(b"{\"a\":1}\n");
    let cases: [(Answer, u16, &str); 12] = [
        (server.get("/api/v1/query?query=a+OR"), 400, "bad_query"),
        (server.get("/api/v1/query"), 400, "bad_request"),
        (server.get("/api/v1/query?query=*&limit=many"), 400, "bad_request"),
        (server.get("/api/v1/query?query=*&start=soon"), 400, "bad_request"),
        (server.get("/api/v1/query?query=%ff"), 400, "bad_request"),
        (server.get("/api/v1/nothing"), 404, "not_found"),
        (server.get("/api/v1/ingest"), 405, "method_not_allowed"),
        (server.send("POST", "/api/v1/ingest?ack=soon", &[], b"{\"a\":1}"), 400, "bad_request"),
        (server.ingest(&[("Content-Encoding", "br")], b"x"), 415, "unsupported_encoding"),
        (server.ingest(&[("Content-Encoding", "gzip")], &cut[..cut.len() - 4]), 400, "bad_encoding"),
        (server.ingest(&[], b"nothing\n"), 400, "nothing_accepted"),
        (server.send("POST", "/api/v1/query", &[("Content-Type", "text/xml")], b"x"), 415, "unsupported_media_type"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        let error = &answer.json()["error"];
        assert!(error["message"].is_string() && error.get("hint").is_some() && error.get("span").is_some());
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(server.get("/api/v1/query?query=a+OR").json()["error"]["span"], json!([4, 4]));
    assert_eq!(server.ingest(&[], b"").status, 400);
    assert_eq!(server.count(&[]), 0);
    // What is no HTTP at all.
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").expect("sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn ids_of_requests_are_taken_over() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let answer = server.send("GET", "/nothing", &[("X-Request-Id", "abc-1"), ("X-Correlation-Id", "c 2")], b"");
    assert_eq!(answer.header("x-request-id").as_deref(), Some("abc-1"));
    assert_eq!(answer.header("x-correlation-id").as_deref(), Some("abc-1"), "what is no id is not taken over");
    assert_ne!(server.get("/").header("x-request-id"), server.get("/").header("x-request-id"));
}

#[test]
fn figures() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    server.ingest(&[], b"{\"a\":1}\n{\"a\":2}\nno\n");
    server.get("/api/v1/query?query=a:1");
    // A query is counted when it has ended, which may be a moment after the last part of its answer went out.
    let is_counted = |text: &String| text.lines().any(|l| l == "duramen_query_duration_seconds_count 1");
    let mut texts = (0..200).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        server.get("/metrics").text()
    });
    let text = texts.find(is_counted).expect("the query is counted");
    for line in [
        "duramen_requests_total{route=\"/api/v1/ingest\",status=\"200\"} 1",
        "duramen_ingest_records_total 2",
        "duramen_ingest_rejected_total 1",
        "duramen_ingest_bytes_total 19",
        "duramen_query_duration_seconds_count 1",
        "duramen_records 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let summary = server.send("GET", "/metrics", &[("Accept", "application/json")], b"").json();
    assert!(summary["requests"]["p95_ms"].is_number() && summary["ingest"]["records"] == 2, "{summary}");
    let health = server.get("/health").json();
    assert_eq!((&health["status"], &health["checks"]["store"]), (&"healthy".into(), &"healthy".into()), "{health}");
    assert!(server.get("/health/detailed").json()["checks"]["store"]["time_ms"].is_number());
    assert_eq!(server.get("/ready").json()["ready"], true);
}

#[test]
fn large_answers_stream_and_dropped_ones_end() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let lines: String =
        (0..50_000).map(|i| format!("{{\"i\":{i},\"text\":\"some words to make it longer\"}}\n")).collect();
    assert_eq!(server.ingest(&[], lines.as_bytes()).json()["accepted"], 50_000);
    let answer = server.get("/api/v1/query?query=*");
    assert_eq!(answer.header("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(answer.json()["data"]["rows"].as_array().map(Vec::len), Some(50_000));
    for _ in 0..20 {
        // More than `queries_max` of these, none read to its end: the later ones only run if the earlier ones ended.
        let mut stream = server.connect();
        stream.write_all(b"GET /api/v1/query?query=* HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut some = [0; 100];
        stream.read_exact(&mut some).expect("it begins");
        assert!(some.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&some));
    }
    assert_eq!(server.count(&[]), 50_000);
}

#[test]
#[cfg(unix)]
fn sigterm_ends_in_order() {
    let dir = folder();
    let mut server = Server::start(dir.path(), &[]);
    server.ingest(&[], b"{\"a\":1}\n");
    // A body that is under way when the signal comes is taken in to its end, and what comes anew gets 503.
    let mut slow = server.connect();
    let head =
        "POST /api/v1/ingest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 16\r\n\r\n{\"a\":2}\n";
    slow.write_all(head.as_bytes()).expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(server.child.id() as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let refused = server.get("/api/v1/query?query=*");
    assert_eq!((refused.status, refused.code().as_str()), (503, "shutting_down"));
    assert_eq!((server.get("/health/live").status, server.get("/ready").status), (200, 503));
    slow.write_all(b"{\"a\":3}\n").expect("sent");
    assert_eq!(read_answer(&mut slow).json()["accepted"], 2);
    let begun = Instant::now();
    let status = server.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let rows = run_in(dir.path(), &["query", "--data", "s", "*"]).exits(0).stdout;
    assert_eq!(rows.lines().count(), 3);
    run_in(dir.path(), &["verify", "s"]).exits(0);
}

#[test]
fn the_command_line_over_http() {
    let dir = folder();
    run_in(dir.path(), &["tenant", "create", "--data", "s", "acme"]).exits(0);
    let writer = token(dir.path(), &["--tenant", "acme", "--roles", "read,write"]).replace("Bearer ", "");
    let server = Server::start(dir.path(), &[]);
    let url = format!("http://{}", server.address);
    let lines = "{\"ts\":1735689600.123456789,\"message\":\"a\",\"x.y\":[1]}\nplain {\n{\"message\":\"b\",\"n\":1.0}\n";
    std::fs::write(dir.path().join("in"), lines).expect("written");
    let at = ["--url", url.as_str(), "--token", writer.as_str()];
    let run = |args: &[&str]| run_in(dir.path(), &[args, &at[..]].concat());
    let ingested = run(&["ingest", "--format", "json", "--stream", "app=x", "in"]).exits(0);
    assert!(ingested.stderr.contains("2 records accepted, 1 rejected"), "{ingested:?}");
    let rows = run(&["query", "message:a"]).exits(0).stdout;
    assert_eq!(
        rows,
        "{\"timestamp\":\"2025-01-01T00:00:00.123456789Z\",\"app\":\"x\",\"message\":\"a\",\"x.y\":[1]}\n"
    );
    assert_eq!(run(&["query", "--format", "csv", "{app=\"x\"} n:* | fields n"]).exits(0).stdout, "n\n1.0\n");
    run(&["query", "a OR"]).exits(2);
    run(&["query", "--tenant", "nobody", "*"]).exits(3);
    run_in(dir.path(), &["query", "--url", &url, "*"]).exits(3);
    assert_eq!(run(&["export", "*"]).exits(0).stdout.lines().count(), 2);
}
