//! Deletions as jobs over HTTP, and what is put on record of them and of decisions.
#![cfg(all(feature = "server", feature = "cli"))]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use support::bin::{Server, run_ok};
use support::http::{Answer, send};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A token's secret: the last word that the command prints.
fn token(data: &Path, of: &[&str]) -> String {
    let data = data.to_str().unwrap();
    let said = run_ok(&[&["token", "create", "--data", data], of].concat(), b"", 0);
    said.split_whitespace().next_back().unwrap().to_string()
}

struct Bench {
    dir: tempfile::TempDir,
    system: String,
    acme: String,
    other: String,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("s");
        let text = data.to_str().unwrap();
        for tenant in ["acme", "other"] {
            run_ok(&["tenant", "create", "--data", text, tenant], b"", 0);
            let lines: String = (0..300).map(|n| format!("{{\"n\":{n},\"user\":\"u{}\"}}\n", n % 3)).collect();
            run_ok(&["ingest", "--data", text, "--tenant", tenant, "-"], lines.as_bytes(), 0);
        }
        let system = token(&data, &["--system", "--roles", "admin"]);
        let [acme, other] = ["acme", "other"].map(|t| token(&data, &["--tenant", t, "--roles", "admin"]));
        Bench { dir, system, acme, other }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("s")
    }
}

fn ask(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    send(&server.address, method, path, &[("Authorization", &bearer), JSON], body.as_bytes()).unwrap()
}

fn told(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// Asks until a job has ended.
fn ended(server: &Server, token: &str, id: &Value) -> Value {
    let path = format!("/api/v1/delete/{}", id.as_str().unwrap());
    let begun = Instant::now();
    loop {
        let job = told(&ask(server, token, "GET", &path, &Value::Null), 200);
        if job["status"] != "running" {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn rows(server: &Server, token: &str, tenant: &str, query: &str) -> Vec<Value> {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", &*bearer), ("X-Duramen-Tenant", tenant), JSON];
    let body = json!({ "query": query }).to_string();
    let answer = send(&server.address, "POST", "/api/v1/query", &headers, body.as_bytes()).unwrap();
    told(&answer, 200)["data"]["rows"].as_array().unwrap().clone()
}

fn audits(server: &Server, token: &str, query: &str) -> Vec<Value> {
    rows(server, token, "system", &format!("{{category=\"audit\"}} {query} | sort by (_time)"))
}

#[test]
fn a_deletion_is_a_job_and_done_when_the_bytes_are_gone() {
    let bench = Bench::new();
    let server = Server::start(&bench.data());
    let delete = |token: &str, body: Value| ask(&server, token, "POST", "/api/v1/delete", &body);
    // What can't be a job is said at once.
    for (body, code) in [
        (json!({"query": "user:", "job": true}), "bad_query"),
        (json!({"query": "* | limit 1", "job": true}), ""),
        (json!({"query": "n:1", "job": true, "dry_run": true}), "bad_request"),
    ] {
        let answer = told(&delete(&bench.acme, body.clone()), 400);
        assert!(code.is_empty() || answer["error"]["code"] == code, "{body}: {answer}");
    }
    assert_eq!(audits(&server, &bench.system, "action:delete_begun"), Vec::<Value>::new());
    let begun = told(&delete(&bench.acme, json!({"query": "user:=u1", "job": true})), 202);
    assert_eq!((&begun["kind"], &begun["tenant"]), (&json!("delete"), &json!("acme")));
    let job = ended(&server, &bench.acme, &begun["id"]);
    assert_eq!(
        (&job["status"], &job["report"]["records"], &job["report"]["done"]),
        (&json!("done"), &json!(100), &json!(true))
    );
    let progress = &job["progress"];
    assert_eq!((&progress["stage"], &progress["records"]), (&json!("done"), &json!(100)), "{job}");
    assert_eq!(progress["segments_searched"], progress["segments"]);
    assert_eq!(progress["segments_rewritten"], progress["segments_matched"]);
    assert_eq!(rows(&server, &bench.acme, "acme", "* | stats count() as n")[0]["n"], 200);
    // Nobody else sees it, and who may not delete begins none.
    let path = format!("/api/v1/delete/{}", begun["id"].as_str().unwrap());
    let none =
        told(&ask(&server, &bench.acme, "GET", "/api/v1/delete/0123456789abcdef0123456789abcdef", &Value::Null), 404);
    assert_eq!(told(&ask(&server, &bench.other, "GET", &path, &Value::Null), 404), none);
    assert_eq!(told(&ask(&server, &bench.system, "GET", &path, &Value::Null), 200)["status"], "done");
    // The form that waits is there as well, and on record.
    let waited = told(&delete(&bench.acme, json!({"query": "user:=u2"})), 200);
    assert_eq!((&waited["done"], &waited["records"]), (&json!(true), &json!(100)));
    let audits = audits(&server, &bench.system, "action:delete_* tenant:=acme");
    let seen: Vec<_> = audits.iter().map(|a| (a["action"].as_str().unwrap(), a["query"].as_str().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("delete_begun", "user:=u1"),
            ("delete_ended", "user:=u1"),
            ("delete_begun", "user:=u2"),
            ("delete_ended", "user:=u2")
        ]
    );
    assert_eq!(
        (&audits[1]["status"], &audits[1]["records"], &audits[1]["job"]),
        (&json!("done"), &json!(100), &begun["id"])
    );
    assert!(audits.iter().all(|a| a["by"].as_str().unwrap().contains(" from 127.0.0.1")), "{audits:?}");
    drop(server);
    // Another process knows it from what is on record.
    let server = Server::start(&bench.data());
    let job = told(&ask(&server, &bench.acme, "GET", &path, &Value::Null), 200);
    assert_eq!(
        (&job["status"], &job["query"], &job["progress"]["records"]),
        (&json!("done"), &json!("user:=u1"), &json!(100))
    );
    assert_eq!(told(&ask(&server, &bench.other, "GET", &path, &Value::Null), 404), none);
}

#[test]
fn a_job_that_a_restart_cut_short_is_told_as_failed() {
    let bench = Bench::new();
    let id = "00112233445566778899aabbccddeeff";
    {
        // As a server leaves it that is killed in the middle.
        let store = duramen::Store::open(bench.data()).unwrap();
        for (id, kind, tenant) in
            [(id, "delete", "acme"), ("ff112233445566778899aabbccddeeff", "delete_tenant", "gone")]
        {
            let record = duramen::record! { job: id, kind: kind, tenant: tenant, message: "begins" };
            store.audit("delete_begun", "token x", record).unwrap();
        }
        store.close().unwrap();
    }
    let server = Server::start(&bench.data());
    let job = told(&ask(&server, &bench.acme, "GET", &format!("/api/v1/delete/{id}"), &Value::Null), 200);
    assert_eq!(job["status"], "failed");
    assert!(job["error"].as_str().unwrap().contains("server ended"), "{job}");
    // Of a tenant that is not there any more the next start has finished it.
    let path = "/api/v1/delete/ff112233445566778899aabbccddeeff";
    assert_eq!(told(&ask(&server, &bench.system, "GET", path, &Value::Null), 200)["status"], "done");
    told(&ask(&server, &bench.acme, "GET", path, &Value::Null), 404);
}

#[test]
fn a_job_that_a_restart_cut_short_goes_on_up_to_where_it_began() {
    let bench = Bench::new();
    let id = |n: u8| format!("{n:02x}112233445566778899aabbccddeeff");
    let now = duramen::Timestamp::now();
    let old = duramen::Timestamp(now.0 - 3_600_000_000_000);
    {
        // As a server leaves it that is killed: half of the records are from before it was asked.
        let store = duramen::Store::open(bench.data()).unwrap();
        let begun = |id: String, tenant: &str, query: &str, at: duramen::Timestamp| {
            let (at, until) = (at.to_string(), 150);
            let (source, kind) = ("delete", "delete");
            let record = duramen::record! {
                source: source, job: id, kind: kind, tenant: tenant, query: query, at: at, until: until
            };
            store.audit("delete_begun", "token x", record).unwrap();
        };
        begun(id(1), "acme", "user:=u1", now);
        // Of the last five minutes of an hour ago.
        begun(id(2), "acme", "_time:5m", old);
        begun(id(3), "gone", "*", now);
        begun(id(4), "other", "*", now);
        let (source, how, other) = ("delete", "done", id(4));
        let record = duramen::record! { source: source, job: other, kind: source, tenant: "other", status: how };
        store.audit("delete_ended", "token x", record).unwrap();
        store.close().unwrap();
    }
    let server = Server::start(&bench.data());
    let job = ended(&server, &bench.acme, &json!(id(1)));
    assert_eq!((&job["status"], &job["report"]["records"]), (&json!("done"), &json!(50)), "{job}");
    assert_eq!((&job["query"], &job["begun"]), (&json!("user:=u1"), &json!(now.to_string())));
    let job = ended(&server, &bench.acme, &json!(id(2)));
    assert_eq!((&job["status"], &job["report"]["records"]), (&json!("done"), &json!(0)), "{job}");
    assert_eq!(rows(&server, &bench.acme, "acme", "* | stats count() as n")[0]["n"], 250);
    assert_eq!(rows(&server, &bench.acme, "acme", "user:=u1 n:<150 | stats count() as n")[0]["n"], 0);
    assert_eq!(rows(&server, &bench.other, "other", "* | stats count() as n")[0]["n"], 300);
    let path = format!("/api/v1/delete/{}", id(3));
    assert_eq!(told(&ask(&server, &bench.system, "GET", &path, &Value::Null), 200)["status"], "failed");
    // Its end is on record, with who had asked for it: the next server does not begin again.
    let ends = audits(&server, &bench.system, &format!("action:=delete_ended job:={}", id(1)));
    assert_eq!((ends.len(), &ends[0]["by"], &ends[0]["records"]), (1, &json!("token x"), &json!(50)));
    drop(server);
    let server = Server::start(&bench.data());
    let path = format!("/api/v1/delete/{}", id(1));
    let job = told(&ask(&server, &bench.acme, "GET", &path, &Value::Null), 200);
    assert_eq!((&job["status"], &job["report"]), (&json!("done"), &Value::Null), "by what is on record: {job}");
    // What a server begins has what the next one needs.
    let begun = told(&ask(&server, &bench.acme, "POST", "/api/v1/delete", &json!({"query": "n:1", "job": true})), 202);
    ended(&server, &bench.acme, &begun["id"]);
    let on_record = audits(&server, &bench.system, "action:=delete_begun query:\"n:1\"");
    assert_eq!((&on_record[0]["until"], &on_record[0]["at"]), (&json!(300), &begun["begun"]), "{on_record:?}");
}

#[test]
fn a_tenant_is_deleted_as_a_job() {
    let bench = Bench::new();
    let server = Server::start(&bench.data());
    let delete =
        |token: &str, name: &str| ask(&server, token, "DELETE", &format!("/api/v1/admin/tenants/{name}"), &Value::Null);
    assert_eq!(delete(&bench.acme, "acme").status, 403, "an administrator of the system may");
    assert_eq!(delete(&bench.system, "nobody").status, 404);
    assert_eq!(delete(&bench.system, "system").status, 403, "the audit records stay");
    let begun = told(&delete(&bench.system, "acme"), 202);
    let job = ended(&server, &bench.system, &begun["id"]);
    assert_eq!((&job["status"], &job["kind"]), (&json!("done"), &json!("delete_tenant")));
    assert!(!bench.data().join("tenants/acme").exists());
    assert_eq!(
        ask(&server, &bench.acme, "GET", "/api/v1/query?query=*", &Value::Null).status,
        401,
        "its tokens are revoked"
    );
    assert_eq!(rows(&server, &bench.other, "other", "* | stats count() as n")[0]["n"], 300);
    let begun = Instant::now();
    // The event of control.log follows within a moment.
    while audits(&server, &bench.system, "action:=tenant_deleted tenant:=acme").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(audits(&server, &bench.system, "action:delete_* kind:=delete_tenant").len(), 2);
}

#[test]
fn what_is_decided_has_one_audit_record_and_no_secret() {
    let bench = Bench::new();
    let data = bench.data();
    let text = data.to_str().unwrap();
    run_ok(&["tenant", "set", "--data", text, "acme", "--retention", "36500d"], b"", 0);
    // None is there before a server ran or something was deleted.
    assert!(!data.join("tenants/system").exists());
    drop(Server::start(&data));
    let wait_for = |count: usize| {
        let server = Server::start(&data);
        let begun = Instant::now();
        loop {
            let found = audits(&server, &bench.system, "control:*");
            if found.len() >= count {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{found:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Two tenants, three tokens, a setting, `default` and `system` (made by ingest or the server).
    let first = wait_for(8);
    let actions = |found: &[Value]| -> Vec<String> {
        let mut all: Vec<String> = found.iter().map(|a| a["action"].as_str().unwrap().to_string()).collect();
        all.sort();
        all
    };
    assert_eq!(actions(&first).iter().filter(|a| *a == "token_created").count(), 3);
    let numbers = |found: &[Value]| -> Vec<u64> {
        let mut all: Vec<u64> = found.iter().map(|a| a["control"].as_u64().unwrap()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(numbers(&first), (1..=first.len() as u64).collect::<Vec<_>>(), "each once");
    let id = first.iter().find(|a| a["tenant"] == "other" && a["action"] == "token_created").unwrap()["token"].clone();
    // Where the tenant is there, the command line writes them as well.
    run_ok(&["token", "revoke", "--data", text, id.as_str().unwrap()], b"", 0);
    run_ok(&["tenant", "delete", "--data", text, "other", "--yes"], b"", 0);
    run_ok(&["delete", "--data", text, "--tenant", "acme", "user:=u1"], b"", 0);
    let more = wait_for(first.len() + 2);
    assert_eq!(numbers(&more), (1..=first.len() as u64 + 2).collect::<Vec<_>>(), "none twice");
    let server = Server::start(&data);
    let by = audits(&server, &bench.system, "action:=tenant_deleted");
    assert_eq!((&by[0]["by"], &by[0]["tenant"]), (&json!("command line"), &json!("other")));
    let deletion = audits(&server, &bench.system, "action:delete_* by:=\"command line\"");
    assert_eq!(deletion.len(), 2);
    assert!(deletion.iter().any(|row| row["status"] == "done" && !row["entry"].is_null()), "{deletion:?}");
    let all = rows(&server, &bench.system, "system", "*");
    let all = Value::from(all).to_string();
    for secret in [&bench.system, &bench.acme, &bench.other] {
        let hash: String = blake3::hash(secret.as_bytes()).to_hex().to_string();
        assert!(!all.contains(secret.as_str()) && !all.contains(&hash));
    }
}
