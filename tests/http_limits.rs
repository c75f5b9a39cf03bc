//! What a server bounds: bodies, rates, queries, quotas, and how much of it one tenant has.
#![cfg(all(feature = "server", feature = "cli"))]

mod program;
mod served;

use program::{folder, gzip, run_in};
use serde_json::json;
use served::{Answer, Server, token};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

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
