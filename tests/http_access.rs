//! Who may ask a server, and who may read its files.
#![cfg(all(feature = "server", feature = "cli"))]

mod program;
mod served;

use program::{folder, run_in};
use served::{Answer, Server, token};
use std::path::Path;

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
