//! A tenant whose folder the system refuses, on a real disk and through the program: it says why, the others go on, and
//! it is there again when the cause is gone, without a restart.
//!
//! Permissions stop nobody who is root: then the server runs as nobody, where `setpriv` can do that, and a file in the
//! folder's place stops whoever it is.
#![cfg(all(feature = "server", unix))]

mod support;

use duramen::{Options, Record, Store, TenantId};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::bin::{Server, program, run_ok};
use support::http;
use support::json::parse;

const NOBODY: u32 = 65_534;

/// How a folder is made to refuse, and what is said then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Permissions,
    FileInItsPlace,
}

impl Way {
    fn aside(dir: &Path) -> PathBuf {
        dir.parent().unwrap().parent().unwrap().join("aside")
    }

    fn refuse(self, dir: &Path) {
        match self {
            Way::Permissions => std::fs::set_permissions(dir, PermissionsExt::from_mode(0o000)).unwrap(),
            Way::FileInItsPlace => {
                std::fs::rename(dir, Self::aside(dir)).unwrap();
                std::fs::write(dir, b"not a folder").unwrap();
            }
        }
    }

    fn undo(self, dir: &Path) {
        match self {
            Way::Permissions => std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap(),
            Way::FileInItsPlace => {
                std::fs::remove_file(dir).unwrap();
                std::fs::rename(Self::aside(dir), dir).unwrap();
            }
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Way::Permissions => "Permission denied",
            Way::FileInItsPlace => "Not a directory",
        }
    }
}

/// Who the server runs as.
enum User {
    Own,
    /// Nobody, from this copy of the program.
    Nobody(PathBuf),
}

impl User {
    fn command(&self) -> Command {
        match self {
            User::Own => Command::new(program()),
            User::Nobody(program) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
                command
            }
        }
    }

    /// A user whom permissions stop, where there is a way to be one.
    fn who_is_stopped(root: &Path) -> Option<User> {
        if std::fs::metadata(root).unwrap().uid() != 0 {
            return Some(User::Own);
        }
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755)).unwrap();
        let copy = root.join("duramen");
        std::fs::copy(program(), &copy).unwrap();
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
        let nobody = User::Nobody(copy);
        let works = nobody.command().arg("--version").output().is_ok_and(|output| output.status.success());
        works.then_some(nobody)
    }
}

struct Client {
    server: Server,
    token: String,
}

impl Client {
    fn start(user: &User, data: &Path, token: &str) -> Client {
        Client { server: Server::start_by(user.command(), data, &[]), token: format!("Bearer {token}") }
    }

    fn send(&self, method: &str, path: &str, tenant: &str, body: &str) -> (u16, String) {
        let headers = [
            ("Authorization", self.token.as_str()),
            ("X-Duramen-Tenant", tenant),
            ("Content-Type", "application/x-ndjson"),
        ];
        let answer = http::send(&self.server.address, method, path, &headers, body.as_bytes()).unwrap();
        (answer.status, answer.body)
    }

    /// Appends a record; status and body.
    fn append(&self, tenant: &str, n: u64) -> (u16, String) {
        self.send("POST", "/api/v1/ingest", tenant, &format!("{{\"n\":{n}}}\n"))
    }

    /// How many records there are, each counted once, or status and body of the error.
    fn count(&self, tenant: &str) -> Result<u64, (u16, String)> {
        let query = http::escape("* | stats count() as n, count_uniq(n) as u");
        let (status, body) = self.send("GET", &format!("/api/v1/query?format=csv&query={query}"), tenant, "");
        if status != 200 {
            return Err((status, body));
        }
        let numbers: Vec<u64> =
            body.split_whitespace().last().unwrap().split(',').map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers[0], numbers[1], "each is there once");
        Ok(numbers[0])
    }

    /// So many tenants refuse, as `/health` has it.
    fn says_refused(&self, tenants: u64) {
        let body = http::get(&self.server.address, "/health/detailed").unwrap().body;
        assert!(body.contains(&format!("\"tenants_refused\":{tenants},")), "{body}");
        assert_eq!(body.contains("degraded"), tenants > 0, "{body}");
    }

    fn refuses(&self, (status, body): (u16, String), way: Way) {
        let message = parse(&body).unwrap().get("error.message").and_then(|m| m.as_str().map(str::to_string));
        assert_eq!(status, 500, "{way:?}: {body}");
        assert!(message.is_some_and(|message| message.contains(way.reason())), "{way:?}: {body}");
    }
}

/// A store with two tenants of ten records each, and the token of an administrator.
fn make(data: &Path) -> String {
    let mut options = Options::default();
    options.background_threads = 0;
    let store = Store::open_with(data, options).unwrap();
    for name in ["shut", "open"] {
        store.catalog().unwrap().ensure_tenant(&TenantId::new(name).unwrap()).unwrap();
        let records: Vec<Record> = (0..10u64).map(|n| Record::new().with("n", n)).collect();
        store.tenant(name).unwrap().append(&records).unwrap();
    }
    store.close().unwrap();
    let data = data.to_str().unwrap();
    let made = run_ok(&["token", "create", "--data", data, "--system", "--roles", "read,write,admin"], b"", 0);
    made.split_whitespace().last().unwrap().to_string()
}

fn give(path: &Path, user: &User) {
    let User::Nobody(_) = user else { return };
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

fn check(way: Way, user: &User, root: &Path) {
    let data = root.join(format!("{way:?}"));
    let token = make(&data);
    give(&data, user);
    let shut = data.join("tenants/shut");
    way.refuse(&shut);
    let client = Client::start(user, &data, &token);
    // It says why, each time that it is asked, and takes nothing; the other one goes on.
    for n in 0..3 {
        client.refuses(client.count("shut").unwrap_err(), way);
        client.refuses(client.append("shut", 100 + n), way);
        assert_eq!(client.append("open", 100 + n).0, 200, "{way:?}");
        assert_eq!(client.count("open"), Ok(11 + n), "{way:?}");
        assert_eq!(http::get(&client.server.address, "/health/ready").unwrap().status, 200, "{way:?}");
        client.says_refused(1);
    }
    // The cause is gone: so is the refusal, at once, and of what was refused nothing is there.
    way.undo(&shut);
    assert_eq!(client.count("shut"), Ok(10), "{way:?}");
    client.says_refused(0);
    assert_eq!(client.append("shut", 200).0, 200, "{way:?}");
    assert_eq!((client.count("shut"), client.count("open")), (Ok(11), Ok(13)), "{way:?}");
    if way == Way::FileInItsPlace {
        return;
    }
    // While it is open: what is acknowledged is there, whatever could not be done, also after a kill.
    way.refuse(&shut);
    let mut acked = 11;
    for n in 0..20 {
        acked += u64::from(client.append("shut", 300 + n).0 == 200);
        assert_eq!(client.append("open", 300 + n).0, 200, "{way:?}");
    }
    assert_eq!(client.count("open"), Ok(33), "{way:?}");
    way.undo(&shut);
    let begun = Instant::now();
    while client.append("shut", 400).0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not taken up again");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(client.count("shut"), Ok(acked + 1), "{way:?}");
    client.server.kill();
    let client = Client::start(user, &data, &token);
    assert_eq!((client.count("shut"), client.count("open")), (Ok(acked + 1), Ok(33)), "{way:?}");
}

#[test]
fn a_folder_that_is_refused_keeps_one_tenant_from_its_records_for_as_long() {
    let root = tempfile::tempdir().unwrap();
    check(Way::FileInItsPlace, &User::Own, root.path());
    match User::who_is_stopped(root.path()) {
        Some(user) => check(Way::Permissions, &user, root.path()),
        None => eprintln!("permissions stop nobody here: root, and no setpriv"),
    }
}
