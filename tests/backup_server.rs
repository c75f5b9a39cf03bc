//! A server that backs itself up by schedule, tries recoveries, and takes tenants back.
#![cfg(all(feature = "server", feature = "cli"))]

mod program;

use program::{duramen, folder, names, run_in};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    base: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(dir: &Path) -> Server {
        let mut command = duramen();
        command.current_dir(dir).args(["serve", "--data", "s", "--listen", "127.0.0.1:0", "--config", "duramen.toml"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let base = loop {
            let line = lines.next().expect("it listens").unwrap();
            if let Some(base) = line.strip_prefix("listening on ") {
                break base.to_string();
            }
        };
        // Read to its end, so that the server never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, base }
    }

    fn ask(&self, method: &str, path: &str, token: &str, more: &[(&str, &str)], body: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let mut answer = match method {
            "GET" => agent.run(request.body(()).unwrap()),
            _ => agent.run(request.body(body).unwrap()),
        }
        .unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn check(&self) -> Value {
        let (_, text) = self.ask("GET", "/health/detailed", "", &[], "");
        serde_json::from_str::<Value>(&text).unwrap()["checks"]["backup"].clone()
    }

    /// Waits until the backups are where a test wants them.
    fn until(&self, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let check = self.check();
            if reached(&check) {
                return check;
            }
            assert!(Instant::now() < deadline, "{what}: {check}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn rows(&self, token: &str, tenant: &str, query: &str) -> Vec<Value> {
        let headers = [("X-Duramen-Tenant", tenant), ("Content-Type", "application/json")];
        let body = json!({"query": query}).to_string();
        let (status, text) = self.ask("POST", "/api/v1/query", token, &headers, &body);
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["data"]["rows"].as_array().unwrap().clone()
    }
}

fn store(dir: &Path) -> (String, String) {
    std::fs::write(dir.join("in"), "{\"ts\":1735689600,\"a\":1}\n{\"ts\":1735689601,\"a\":2}\n").unwrap();
    run_in(dir, &["tenant", "create", "--data", "s", "acme"]).exits(0);
    run_in(dir, &["tenant", "set", "--data", "s", "acme", "--retention", "9999d"]).exits(0);
    run_in(dir, &["ingest", "--data", "s", "--tenant", "acme", "--stream", "app=web", "in"]).exits(0);
    let secret = |args: &[&str]| {
        let said = run_in(dir, &[&["token", "create", "--data", "s"], args].concat()).exits(0).stdout;
        said.split_whitespace().last().unwrap().to_string()
    };
    (secret(&["--system", "--roles", "admin"]), secret(&["--tenant", "acme", "--roles", "admin"]))
}

#[test]
fn runs_and_drills_by_schedule() {
    let dir = folder();
    let (admin, _) = store(dir.path());
    std::fs::create_dir(dir.path().join("scratch")).unwrap();
    let config = "[backup]\ntarget = \"set\"\nincremental = \"daily\"\nfull = \"weekly\"\ndrill = \"monthly\"\n\
                  at = \"03:00\"\nkeep = \"90d\"\nscratch = \"scratch\"\n";
    std::fs::write(dir.path().join("duramen.toml"), config).unwrap();
    let server = Server::start(dir.path());
    let check = server.until("a run and a drill", |check| check["last_drill"].is_string());
    assert_eq!(
        (&check["status"], &check["last_drill_ok"], &check["overdue"]),
        (&json!("healthy"), &json!(true), &json!(false))
    );
    assert_eq!(check["last_run"], check["last_full"], "the first one reads all");
    // The tenant of the server's own records has none before the first run, or the one of its own.
    assert!(check["drill_records"].as_u64() >= Some(2), "{check}");
    assert!(check["drill_leaves_compared"].as_u64() >= Some(1), "{check}");
    assert!(names(&dir.path().join("scratch")).is_empty());
    let (_, metrics) = server.ask("GET", "/metrics", &admin, &[], "");
    for line in
        ["duramen_backup_runs_total{result=\"ok\"} 1", "duramen_backup_last_drill_ok 1", "duramen_backup_overdue 0"]
    {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
    let said = server.rows(&admin, "system", "{category=\"application\"} source:backup");
    let messages: Vec<_> = said.iter().map(|row| row["message"].as_str().unwrap().to_string()).collect();
    assert_eq!(messages, ["recovery drill succeeded", "backup finished"]);
    drop(server);

    // Nothing is due again after a restart, since the target says when it was done.
    let server = Server::start(dir.path());
    let again = server.until("the target is read", |check| check["next_due"].is_string());
    assert_eq!((&again["last_run"], &again["last_drill"]), (&check["last_run"], &check["last_drill"]));
    let list = run_in(dir.path(), &["backup", "--list", "set"]).exits(0).stdout;
    assert_eq!(list.lines().count(), 1, "{list}");
}

#[test]
fn a_failed_backup_shows() {
    let dir = folder();
    let (admin, _) = store(dir.path());
    std::fs::create_dir(dir.path().join("set")).unwrap();
    std::fs::write(dir.path().join("set/letter"), "dear").unwrap();
    std::fs::write(dir.path().join("duramen.toml"), "[backup]\ntarget = \"set\"\nincremental = \"1h\"\n").unwrap();
    let server = Server::start(dir.path());
    let check = server.until("a failure", |check| check["last_run_failed"] == json!(true));
    assert_eq!(check["status"], "degraded");
    let (status, health) = server.ask("GET", "/health", "", &[], "");
    assert!(status == 200 && health.contains("\"degraded\"") && !health.contains("letter"), "{health}");
    let said = server.rows(&admin, "system", "message:\"backup failed\" | fields (level, reason)");
    assert_eq!(said[0]["level"], "error");
    drop(server);
    for bad in ["incremental = \"often\"", "target = 5", "at = \"3\"", "incremenal = \"daily\""] {
        std::fs::write(dir.path().join("duramen.toml"), format!("[backup]\ntarget = \"set\"\n{bad}\n")).unwrap();
        let run = run_in(dir.path(), &["serve", "--data", "s", "--config", "duramen.toml"]).exits(2);
        assert!(run.stderr.contains("duramen.toml"), "{run:?}");
    }
}

#[test]
fn a_tenant_comes_back_into_a_server() {
    let dir = folder();
    let (admin, own) = store(dir.path());
    std::fs::write(dir.path().join("duramen.toml"), "[backup]\ntarget = \"set\"\n").unwrap();
    run_in(dir.path(), &["backup", "--data", "s", "set"]).exits(0);
    let before = run_in(dir.path(), &["query", "--data", "s", "--tenant", "acme", "*"]).exits(0).stdout;
    // What a server that was killed left.
    std::fs::create_dir_all(dir.path().join("s/restoring-0000/store")).unwrap();
    run_in(dir.path(), &["verify", "s"]).exits(0);
    let server = Server::start(dir.path());
    let restore = |token: &str, body: Value| {
        let kind = [("Content-Type", "application/json")];
        let (status, text) = server.ask("POST", "/api/v1/admin/restore", token, &kind, &body.to_string());
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    assert_eq!(restore("", json!({"tenant": "acme", "as": "then"})).0, 401);
    assert_eq!(restore(&own, json!({"tenant": "acme", "as": "then"})).0, 403);
    assert_eq!(restore(&admin, json!({"tenant": "acme"})).0, 409, "it is there");
    assert_eq!(restore(&admin, json!({"tenant": "nobody"})).0, 404);
    assert_eq!(restore(&admin, json!({"tenant": "acme", "as": "../x"})).0, 400);
    assert_eq!(restore(&admin, json!({"tenant": "acme", "as": "x", "at": "2001-01-01T00:00:00Z"})).0, 404);
    assert_eq!(restore(&admin, json!({"tenant": "acme", "into": "x"})).0, 400);
    let (status, answer) = restore(&admin, json!({"tenant": "acme", "as": "then"}));
    assert_eq!((status, &answer["data"]["tenants"][0]["records"]), (200, &json!(2)), "{answer}");
    assert_eq!(server.rows(&admin, "then", "{app=\"web\"}").len(), 2);
    // It takes records as any other.
    let headers = [("X-Duramen-Tenant", "then"), ("Content-Type", "application/x-ndjson")];
    assert_eq!(server.ask("POST", "/api/v1/ingest", &admin, &headers, "{\"a\":3}\n").0, 200);
    assert_eq!(server.rows(&admin, "then", "*").len(), 3);
    let over = run_in(
        dir.path(),
        &[
            "restore",
            "--url",
            &server.base,
            "--token",
            &admin,
            "--tenant",
            "acme",
            "--as",
            "part",
            "--stream",
            "app=web",
        ],
    );
    assert!(over.exits(0).stdout.starts_with("part: 2 records, written anew"));
    let again = ["restore", "--url", &server.base, "--token", &admin, "--tenant", "acme", "--as", "part"];
    run_in(dir.path(), &again).exits(3);
    assert!(!names(&dir.path().join("s")).iter().any(|name| name.starts_with("restoring-")));
    drop(server);
    run_in(dir.path(), &["verify", "--deep", "s"]).exits(0);
    let list = run_in(dir.path(), &["tenant", "list", "--data", "s"]).exits(0).stdout;
    assert_eq!(list.matches("9999d").count(), 3, "settings come along: {list}");

    // One that was deleted by mistake comes back as it was, to the byte.
    run_in(dir.path(), &["tenant", "delete", "--data", "s", "acme", "--yes"]).exits(0);
    let server = Server::start(dir.path());
    let kind = [("Content-Type", "application/json")];
    let body = json!({"tenant": "acme"}).to_string();
    let (status, text) = server.ask("POST", "/api/v1/admin/restore", &admin, &kind, &body);
    assert!(status == 200 && text.contains("\"rewritten\":false"), "{text}");
    drop(server);
    let after = run_in(dir.path(), &["query", "--data", "s", "--tenant", "acme", "*"]).exits(0).stdout;
    assert_eq!(after, before);
}

#[test]
fn checkpoints_are_taken_by_schedule_and_hold() {
    let dir = folder();
    let (admin, _) = store(dir.path());
    let key = run_in(dir.path(), &["checkpoint", "--new-key", "signing.key"]).exits(0).stdout;
    std::fs::create_dir(dir.path().join("kept")).unwrap();
    let config = |key: &str| format!("[checkpoints]\nevery = \"1h\"\ndir = \"kept\"\nkey = \"{key}\"\nkeep = 3\n");
    std::fs::write(dir.path().join("duramen.toml"), config("signing.key")).unwrap();
    let server = Server::start(dir.path());
    let detailed = |server: &Server| -> Value {
        let (_, text) = server.ask("GET", "/health/detailed", "", &[], "");
        serde_json::from_str::<Value>(&text).unwrap()["checks"]["checkpoints"].clone()
    };
    let begun = Instant::now();
    let check = loop {
        let check = detailed(&server);
        if check["last"].is_string() {
            break check;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{check}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(
        (&check["status"], &check["last_failed"], &check["overdue"]),
        (&json!("healthy"), &json!(false), &json!(false))
    );
    let (_, metrics) = server.ask("GET", "/metrics", &admin, &[], "");
    assert!(metrics.lines().any(|l| l == "duramen_checkpoints_total{result=\"ok\"} 1"), "{metrics}");
    let said = server.rows(&admin, "system", "{category=\"application\"} source:checkpoint");
    assert_eq!(said[0]["message"], "checkpoint taken");
    drop(server);
    let files = names(&dir.path().join("kept"));
    assert!(matches!(&files[..], [one] if one.starts_with("checkpoint-") && one.ends_with("Z.json")), "{files:?}");
    let file = format!("kept/{}", files[0]);
    // The store that goes on continues it, and one that was put back does not.
    let verify = ["verify", "s", "--deep", "--checkpoint", &file, "--public-key", key.trim()];
    run_in(dir.path(), &verify).exits(0);
    let server = Server::start(dir.path());
    // None is due again after a restart, since the folder says when the last one was taken.
    let again = loop {
        let check = detailed(&server);
        if check["next_due"].is_string() {
            break check;
        }
    };
    assert_eq!(again["last"], check["last"]);
    assert_eq!(names(&dir.path().join("kept")), files);
    drop(server);
    run_in(dir.path(), &verify).exits(0);
    std::fs::write(dir.path().join("s/tenants/acme/manifest"), b"another").unwrap();
    run_in(dir.path(), &verify).exits(1);
    // A key that is none is said at the start.
    std::fs::write(dir.path().join("duramen.toml"), config("duramen.toml")).unwrap();
    let run = run_in(dir.path(), &["serve", "--data", "s", "--listen", "127.0.0.1:0", "--config", "duramen.toml"]);
    assert!(run.exits(3).stderr.contains("[checkpoints]"));
}
