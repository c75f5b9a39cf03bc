//! The server, as clients see it: over sockets, with requests written out.
#![cfg(all(feature = "server", feature = "cli"))]

mod program;

use program::{duramen, folder, gzip, run_in};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

/// A server that is killed when it goes.
struct Server {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_string())
    }
    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_string()
    }
}

impl Server {
    fn start(dir: &Path, more: &[&str]) -> Server {
        let mut command = duramen();
        command.current_dir(dir).args(["serve", "--data", "s", "--listen", "127.0.0.1:0"]).args(more);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut server = Server { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), stderr };
        while server.address.port() == 0 {
            let mut line = String::new();
            assert!(server.stderr.read_line(&mut line).expect("a line") > 0, "it ended");
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                server.address = address.parse().expect("an address");
            }
        }
        server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        if method == "POST" && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        if method == "POST" {
            // The server may answer and close before it has read a body that it refuses.
            let _ = stream.write_all(body);
        }
        read_answer(&mut stream)
    }

    fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }
    fn ingest(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", "/api/v1/ingest", headers, body)
    }
    /// How many records a query finds.
    fn count(&self, headers: &[(&str, &str)]) -> Value {
        let answer = self.send("GET", "/api/v1/query?query=*+%7C+stats+count()+as+n", headers, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"]["rows"][0]["n"].clone()
    }
}

fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no answer: {:?}", String::from_utf8_lossy(&bytes));
    });
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let mut body = bytes[at + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Answer { status, head, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let at = rest.windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..at]).expect("hex"), 16).expect("hex");
        if length == 0 {
            return out;
        }
        out.extend_from_slice(&rest[at + 2..at + 2 + length]);
        rest = &rest[at + 4 + length..];
    }
}

fn token(dir: &Path, args: &[&str]) -> String {
    let mut all = vec!["token", "create", "--data", "s"];
    all.extend(args);
    let made = run_in(dir, &all).exits(0).stdout;
    format!("Bearer {}", made.split_whitespace().last().unwrap_or_default())
}

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
fn limits_on_bodies_and_rates() {
    let dir = folder();
    let config = "[limits]\ningest_body_bytes_max = 1000\n";
    std::fs::write(dir.path().join("c.toml"), config).expect("written");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    let line = "{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}\n";
    assert_eq!(server.ingest(&[], line.repeat(10).as_bytes()).status, 200);
    assert_eq!(server.ingest(&[], line.repeat(100).as_bytes()).code(), "body_too_large");
    let packed = gzip(line.repeat(100).as_bytes());
    assert!(packed.len() < 1000);
    let answer = server.ingest(&[("Content-Encoding", "gzip")], &packed);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let announced = server.ingest(&[("Content-Length", "1001")], b"{");
    assert_eq!(announced.status, 413);
    assert_eq!(server.count(&[]), 10);
    drop(server);
    std::fs::write(dir.path().join("c.toml"), "[limits]\nrequests_per_s_max = 2\n").expect("written");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    let answers: Vec<Answer> = (0..6).map(|_| server.get("/api/v1/query?query=*")).collect();
    let refused = answers.iter().find(|a| a.status == 429).expect("one too many");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert_eq!(server.get("/health").status, 200, "probes are not counted");
    drop(server);
    std::fs::write(dir.path().join("c.toml"), "[limits]\nrequest_per_s_max = 2\n").expect("written");
    let run = run_in(dir.path(), &["serve", "--data", "s", "--listen", "127.0.0.1:0", "--config", "c.toml"]).exits(2);
    assert!(run.stderr.contains("request_per_s_max"), "{run:?}");
}

#[test]
fn limits_on_queries_and_memory_are_configured() {
    let dir = folder();
    let config = |text: &str| std::fs::write(dir.path().join("c.toml"), text).expect("written");
    let groups = "/api/v1/query?query=*%20%7C%20stats%20count()%20by%20(n)";
    let lines: String = (0..200).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    // Nothing fits a cache and memtables of no bytes; all is there all the same.
    config("[memory]\ncache_bytes_max = 0\nmemtables_bytes_max = 0\n");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    assert_eq!(server.ingest(&[], lines.as_bytes()).status, 200);
    assert_eq!(server.ingest(&[], lines.as_bytes()).status, 200);
    assert_eq!(server.count(&[]), 400);
    assert_eq!(server.get(groups).status, 200);
    drop(server);
    let sort = "/api/v1/query?query=*%20%7C%20sort%20by%20(n)";
    for (limit, query) in [
        ("query_memory_bytes_max = 1000", groups),
        ("query_groups_max = 199", groups),
        ("query_rows_sorted_max = 399", sort),
    ] {
        config(&format!("[limits]\n{limit}\n"));
        let server = Server::start(dir.path(), &["--config", "c.toml"]);
        assert_eq!(server.get(query).code(), "limit_exceeded", "{limit}");
    }
    config("ack = \"os\"\n[limits]\nquery_groups_max = 200\nquery_rows_sorted_max = 400\n");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    assert_eq!((server.get(groups).status, server.get(sort).status), (200, 200));
    let level = |path: &str| server.send("POST", path, &[], b"{\"n\":1}\n").json()["ack"].clone();
    assert_eq!((level("/api/v1/ingest"), level("/api/v1/ingest?ack=fsync")), ("os".into(), "fsync".into()));
}

#[test]
fn who_may_ask() {
    let dir = folder();
    for tenant in ["acme", "other"] {
        run_in(dir.path(), &["tenant", "create", "--data", "s", tenant]).exits(0);
    }
    let reader = token(dir.path(), &["--tenant", "acme", "--roles", "read"]);
    let writer = token(dir.path(), &["--tenant", "acme", "--roles", "write"]);
    let other = token(dir.path(), &["--tenant", "other", "--roles", "read,write"]);
    let admin = token(dir.path(), &["--system", "--roles", "admin"]);
    let short = token(dir.path(), &["--tenant", "acme", "--roles", "read", "--expires", "1ms"]);
    let far = token(dir.path(), &["--tenant", "acme", "--roles", "read", "--cidr", "10.0.0.0/8"]);
    let near = token(dir.path(), &["--tenant", "acme", "--roles", "read", "--cidr", "127.0.0.0/8"]);
    let server = Server::start(dir.path(), &[]);
    let with = |method: &str, target: &str, token: &str, tenant: &str| {
        let mut headers = vec![("Authorization", token)];
        if !tenant.is_empty() {
            headers.push(("X-Duramen-Tenant", tenant));
        }
        server.send(method, target, &headers, b"{\"a\":1}").status
    };
    let (query, ingest) = ("/api/v1/query?query=*", "/api/v1/ingest");
    assert_eq!(with("POST", ingest, &writer, ""), 200);
    assert_eq!(with("POST", ingest, &reader, ""), 403);
    assert_eq!(with("GET", query, &writer, ""), 403);
    assert_eq!(with("GET", query, &reader, ""), 200);
    assert_eq!(with("GET", query, &reader, "acme"), 200);
    assert_eq!(with("GET", query, &near, ""), 200);
    assert_eq!(with("GET", query, &far, ""), 403);
    assert_eq!(with("GET", query, &short, ""), 401);
    for unknown in ["Bearer dmn_x", "Bearer", "Digest x", &writer.replace("Bearer ", "")] {
        assert_eq!(with("GET", query, unknown, ""), 401, "{unknown}");
    }
    let none = server.get(query);
    assert_eq!((none.status, none.code().as_str()), (401, "unauthorized"));
    assert!(none.header("www-authenticate").is_some());
    // Another's tenant and none look alike.
    let answers: Vec<Answer> = ["other", "nobody", "../acme"]
        .map(|name| server.send("GET", query, &[("Authorization", &reader), ("X-Scope-OrgID", name)], b""))
        .into();
    assert!(answers.iter().all(|a| a.status == 403 && a.body == answers[0].body), "{answers:?}");
    // The administrator names the tenant; each sees its own records alone.
    assert_eq!(server.count(&[("Authorization", &other)]), 0);
    assert_eq!(server.count(&[("Authorization", &admin), ("X-Duramen-Tenant", "acme")]), 1);
    assert_eq!(server.count(&[("Authorization", &admin), ("X-Scope-OrgID", "other")]), 0);
    assert_eq!(with("GET", query, &admin, "nobody"), 403);
    // What is deleted is gone for good, and only an administrator may.
    let delete = |token: &str, body: &str| {
        let headers = [("Authorization", token), ("X-Duramen-Tenant", "acme"), ("Content-Type", "application/json")];
        server.send("POST", "/api/v1/delete", &headers, body.as_bytes())
    };
    assert_eq!((delete(&writer, r#"{"query":"*"}"#).status, delete(&reader, r#"{"query":"*"}"#).status), (403, 403));
    assert_eq!((delete(&admin, "{}").status, delete(&admin, r#"{"query":"* | limit 1"}"#).status), (400, 400));
    let counted = delete(&admin, r#"{"query":"a:1","dry_run":"true"}"#);
    assert!(counted.status == 200 && counted.text().contains(r#""records":1"#), "{counted:?}");
    assert_eq!(server.count(&[("Authorization", &reader)]), 1);
    let deleted = delete(&admin, r#"{"query":"a:1"}"#);
    assert!(deleted.status == 200 && deleted.text().contains(r#""done":true"#), "{deleted:?}");
    assert_eq!(server.count(&[("Authorization", &reader)]), 0);
    assert!(!dir.path().join("s/tenants/nobody").exists());
    // Basic, with the token as the password: `any:TOKEN`.
    let basic = format!("Basic {}", base64(format!("any:{}", reader.replace("Bearer ", "")).as_bytes()));
    assert_eq!(with("GET", query, &basic, ""), 200);
    for probe in ["/health", "/health/live", "/health/ready", "/ready", "/metrics"] {
        assert_eq!(server.get(probe).status, 200, "{probe}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]);
            out.push(if i <= three.len() { digit } else { '=' });
        }
    }
    out
}

#[test]
fn without_tokens_it_answers_this_host_alone() {
    let dir = folder();
    let run = run_in(dir.path(), &["serve", "--data", "s", "--listen", "0.0.0.0:0"]).exits(2);
    assert!(run.stderr.contains("token"), "{run:?}");
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.count(&[]), 0);
    let named = |name| server.send("GET", "/api/v1/query?query=*", &[("X-Duramen-Tenant", name)], b"").status;
    assert_eq!((named("default"), named("acme")), (200, 403));
    let page = server.send("GET", "/api/v1/query?query=*", &[("Origin", "https://example.com")], b"");
    assert_eq!(page.status, 403);
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

#[test]
fn readers_that_stand_still_do_not_keep_others_waiting() {
    let dir = folder();
    let config = "[limits]\nqueries_max = 2\nbody_idle_ms_max = 300\nwait_ms_max = 10000\n";
    std::fs::write(dir.path().join("c.toml"), config).expect("written");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    let lines: String = (0..100_000).map(|i| format!("{{\"i\":{i},\"text\":\"{}\"}}\n", "word ".repeat(40))).collect();
    assert_eq!(server.ingest(&[], lines.as_bytes()).json()["accepted"], 100_000);
    let stuck: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /api/v1/query?query=* HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
            stream
        })
        .collect();
    assert_eq!(server.count(&[]), 100_000);
    // By then each has had its turn, and stood still for too long in it.
    std::thread::sleep(Duration::from_secs(3));
    // One that reads on late finds its answer broken off, and not ended.
    let mut late = stuck.into_iter().next().expect("a stream");
    let mut rest = Vec::new();
    let _ = late.read_to_end(&mut rest);
    let (start, end) = (&rest[..rest.len().min(12)], &rest[rest.len().saturating_sub(5)..]);
    assert!(start == b"HTTP/1.1 200" && end != b"0\r\n\r\n", "{} bytes, {start:?}, {end:?}", rest.len());
}

#[test]
fn a_quota_that_is_used_up_is_named() {
    let dir = folder();
    std::fs::write(dir.path().join("c.toml"), "[quota]\nrecords = 10\n").expect("written");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    let line = "{\"a\":\"x\"}\n";
    assert_eq!(server.ingest(&[], line.repeat(8).as_bytes()).status, 200);
    let answer = server.ingest(&[], line.repeat(3).as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (507, "quota_exceeded"));
    let told = answer.json();
    assert_eq!(told["quota"], json!({"name": "records", "limit": 10, "used": 8}));
    assert!(told["error"]["message"].as_str().is_some_and(|m| m.contains("`records` of tenant `default`")), "{told}");
    assert_eq!(server.count(&[]), 8);
    assert_eq!(server.ingest(&[], line.repeat(2).as_bytes()).status, 200);
    drop(server);
    // Room that no disk has: nothing is taken, and it is said why.
    std::fs::write(dir.path().join("c.toml"), "[space]\nlow_bytes = '9000TB'\nrefuse_bytes = '9000TB'\n")
        .expect("written");
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    let answer = server.ingest(&[], line.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (503, "low_space"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(server.get("/health").status, 503);
    let detailed = server.get("/health/detailed").json();
    assert_eq!(detailed["checks"]["disk"]["space"], "refuse", "{detailed}");
    assert_eq!(server.count(&[]), 10, "queries go on");
    drop(server);
    std::fs::write(dir.path().join("c.toml"), "[[retention]]\nage = 'soon'\n").expect("written");
    let run = run_in(dir.path(), &["serve", "--data", "s", "--listen", "127.0.0.1:0", "--config", "c.toml"]).exits(2);
    assert!(run.stderr.contains("retention rule 1: age: `soon`"), "{run:?}");
}

#[test]
fn one_tenants_slow_bodies_leave_another_its_turn() {
    let dir = folder();
    std::fs::write(dir.path().join("c.toml"), "[limits]\ningests_max = 4\nwait_ms_max = 1000\n").expect("written");
    let writer = |name: &str| {
        run_in(dir.path(), &["tenant", "create", "--data", "s", name]).exits(0);
        token(dir.path(), &["--tenant", name, "--roles", "read,write"])
    };
    let (acme, bravo) = (writer("acme"), writer("bravo"));
    let server = Server::start(dir.path(), &["--config", "c.toml"]);
    let slow = |bytes: u32| -> Vec<TcpStream> {
        let one = |_| {
            let mut stream = server.connect();
            let head = format!("POST /api/v1/ingest HTTP/1.1\r\nHost: localhost\r\nAuthorization: {acme}\r\n");
            stream.write_all(head.as_bytes()).expect("sent");
            let body = format!("Content-Length: {bytes}\r\n\r\n{{\"a\":1}}\n");
            stream.write_all(body.as_bytes()).expect("sent");
            stream
        };
        let streams = (0..6).map(one).collect();
        std::thread::sleep(Duration::from_millis(300));
        streams
    };
    let asks = |token: &str| server.ingest(&[("Authorization", token)], b"{\"a\":1}\n").status;
    // Small ones take no turn before they are whole.
    let small = slow(100);
    assert_eq!((asks(&acme), asks(&bravo)), (200, 200));
    drop(small);
    let slow = slow(100_000);
    assert_eq!((asks(&acme), asks(&bravo)), (429, 200));
    drop(slow);
    assert_eq!(asks(&acme), 200);
}

#[test]
#[cfg(unix)]
fn nobody_else_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;
    fn check(path: &Path) {
        let meta = std::fs::symlink_metadata(path).expect("there");
        let expected = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.permissions().mode() & 0o777, expected, "{}", path.display());
        if meta.is_dir() {
            std::fs::read_dir(path).expect("a folder").for_each(|entry| check(&entry.expect("an entry").path()));
        }
    }
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    server.ingest(&[("Idempotency-Key", "k")], b"{\"a\":1}\n");
    run_in(dir.path(), &["query", "--data", "s", "*"]).exits(0);
    check(&dir.path().join("s"));
    drop(server);
    // The next writer seals, and sets aside what was torn.
    run_in(dir.path(), &["compact", "--data", "s"]).exits(0);
    check(&dir.path().join("s"));
}
