//! A data set whose counts are known, asked through the command line and through HTTP, before and after a restart.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use support::bin::{Server, run_ok};
use support::http;
use support::json::{Val, parse};
use support::rng::{Rng, from_env};

/// One line of the log, as numbers: the text is made of it, and the truth is counted on it.
struct Row {
    number: u64,
    ms: i64,
    level: &'static str,
    category: &'static str,
    status: Option<u64>,
    duration: Option<u64>,
    user: u64,
    message: String,
    ip: String,
    error: Option<&'static str>,
    tool: Option<&'static str>,
    trace: String,
}

const START_MS: i64 = 1_748_736_000_000;
const HOUR_MS: i64 = 3_600_000;
const ERRORS: &[&str] = &["Error: connect ECONNREFUSED 10.0.0.9:5432", "KeyError: 'id'\n  at line 3\n  at line 9"];
const NEEDLE: &str = "0ddba11c-0000-4000-8000-00000000beef";

fn rows() -> Vec<Row> {
    let mut rng = Rng::new(from_env("DURAMEN_TRUTH_SEED", 11));
    (0..from_env("DURAMEN_TRUTH_ROWS", 4_000))
        .map(|number| {
            let category = *rng.choose(&["api", "api", "auth", "jobs", "audit"]);
            let level = *rng.choose(&["debug", "info", "info", "info", "warn", "error", "fatal"]);
            let status = (category == "api").then(|| *rng.choose(&[200, 200, 200, 201, 404, 429, 500, 503]));
            let duration = rng.chance(60).then(|| (rng.next() % 3_000).saturating_sub(500));
            let attempt = rng.below(12);
            let message = match rng.below(5) {
                0 => format!("Login failed for user {attempt} (attempt {attempt})"),
                1 => format!("Slow query detected on table t{attempt}"),
                2 => "heartbeat received".to_string(),
                3 => format!("GET /api/v{}/items/{attempt}?q=../../etc took {attempt}ms", 1 + attempt % 3),
                _ => format!("Ärger mit Ψευδάργυρος number {attempt}"),
            };
            Row {
                number,
                ms: START_MS + number as i64 * 4_000 + rng.range(-30_000, 3_999),
                level,
                category,
                status,
                duration,
                user: rng.next() % 20,
                message,
                ip: format!("10.{}.{}.{}", rng.below(3), rng.below(200), 1 + rng.below(250)),
                error: (level == "error" || level == "fatal").then(|| *rng.choose(ERRORS)),
                tool: rng.chance(20).then(|| *rng.choose(&["read_file", "write_file", "search"])),
                trace: if number == 1234 { NEEDLE.into() } else { format!("{:08x}-{:08x}", rng.next() as u32, number) },
            }
        })
        .collect()
}

fn line(row: &Row) -> String {
    let mut members = vec![
        ("timestamp".to_string(), Val::num(row.ms)),
        ("number".into(), Val::num(row.number)),
        ("level".into(), Val::str(row.level)),
        ("category".into(), Val::str(row.category)),
        ("userId".into(), Val::str(format!("user-{:03}", row.user))),
        ("message".into(), Val::str(row.message.as_str())),
        ("ip".into(), Val::str(row.ip.as_str())),
        ("trace".into(), Val::str(row.trace.as_str())),
    ];
    members.extend(row.status.map(|n| ("statusCode".into(), Val::num(n))));
    members.extend(row.duration.map(|n| ("duration".into(), Val::num(n))));
    members.extend(row.error.map(|e| ("error".into(), Val::str(e))));
    members.extend(row.tool.map(|t| ("metadata".into(), Val::Obj(vec![("tool".into(), Val::str(t))]))));
    format!("{}\n", Val::Obj(members))
}

/// A query and which rows it takes, said in Rust.
type Count = (&'static str, fn(&Row) -> bool);

const COUNTS: &[Count] = &[
    ("*", |_| true),
    ("level:error", |r| r.level == "error"),
    ("NOT level:debug", |r| r.level != "debug"),
    ("level:>=error", |r| matches!(r.level, "error" | "fatal")),
    ("category:auth AND level=warn", |r| r.category == "auth" && r.level == "warn"),
    ("category:in(audit, jobs)", |r| matches!(r.category, "audit" | "jobs")),
    (r#""login failed""#, |r| r.message.starts_with("Login failed")),
    (r#"message:"(attempt 8)""#, |r| r.message.contains("(attempt 8)")),
    ("heartbeat", |r| r.message.starts_with("heartbeat")),
    ("hearts", |_| false),
    ("heart*", |r| r.message.starts_with("heartbeat")),
    ("ψευδάργυρος", |r| r.message.contains("Ψευδάργυρος")),
    (r#"message:"../../etc""#, |r| r.message.contains("../../etc")),
    (r"message:/items\/[0-4]\?/", |r| (0..5).any(|n| r.message.contains(&format!("items/{n}?")))),
    ("statusCode=500", |r| r.status == Some(500)),
    ("statusCode:[400 TO 500}", |r| r.status.is_some_and(|n| (400..500).contains(&n))),
    ("NOT statusCode:*", |r| r.status.is_none()),
    ("duration:>1000", |r| r.duration.is_some_and(|d| d > 1000)),
    ("duration:>=1.5s AND category:api", |r| r.duration.is_some_and(|d| d >= 1500) && r.category == "api"),
    ("duration=0", |r| r.duration == Some(0)),
    ("userId=user-007 OR userId=user-008", |r| matches!(r.user, 7 | 8)),
    ("metadata.tool=read_file", |r| r.tool == Some("read_file")),
    ("error:*", |r| r.error.is_some()),
    (r"error:/\n/", |r| r.error.is_some_and(|e| e.contains('\n'))),
    ("error:ECONNREFUSED -level:fatal", |r| r.error.is_some_and(|e| e.contains("ECONN")) && r.level != "fatal"),
    ("ip:10.1.0.0/16", |r| r.ip.starts_with("10.1.")),
    ("timestamp:[2025-06-01T00:00:00Z TO 2025-06-01T01:00:00Z}", |r| (0..HOUR_MS).contains(&(r.ms - START_MS))),
    ("0ddba11c-0000-4000-8000-00000000beef", |r| r.trace == NEEDLE),
    ("zzzabsentzzz", |_| false),
];

/// The records of an answer, however they came.
trait Ask {
    fn rows(&self, query: &str) -> Vec<Val>;
}

struct CommandLine<'a>(&'a str);

impl Ask for CommandLine<'_> {
    fn rows(&self, query: &str) -> Vec<Val> {
        let out = run_ok(&["query", "--data", self.0, "--format", "ndjson", "--", query], b"", 0);
        out.lines().map(|line| parse(line).unwrap()).collect()
    }
}

impl Ask for Server {
    fn rows(&self, query: &str) -> Vec<Val> {
        let answer =
            http::get(&self.address, &format!("/api/v1/query?limit=100000&query={}", http::escape(query))).unwrap();
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        parse(&answer.body).unwrap().get("data.rows").unwrap().items().to_vec()
    }
}

/// The value of each group, as text: `| stats by (key) .. as n`.
fn groups(rows: &[Val], key: &str) -> BTreeMap<String, u64> {
    rows.iter()
        .map(|row| {
            (
                row.get(key).and_then(Val::as_str).unwrap_or_default().to_string(),
                row.get("n").unwrap().as_u64().unwrap(),
            )
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

fn check(by: &dyn Ask, truth: &[Row], how: &str) {
    for (query, takes) in COUNTS {
        let mut expected: Vec<(i64, u64)> = truth.iter().filter(|r| takes(r)).map(|r| (r.ms, r.number)).collect();
        expected.sort_by(|a, b| b.cmp(a));
        let counted = by.rows(&format!("{query} | stats count() as n"));
        let counted = counted.first().and_then(|r| r.get("n")).and_then(Val::as_u64);
        assert_eq!(counted, Some(expected.len() as u64), "{how}: the count of {query}");
        let found: Vec<u64> = by.rows(query).iter().map(|r| r.get("number").unwrap().as_u64().unwrap()).collect();
        assert_eq!(found, expected.iter().map(|e| e.1).collect::<Vec<_>>(), "{how}: the rows of {query}");
    }
    let count_by = |of: &dyn Fn(&Row) -> Option<String>| {
        let mut out: BTreeMap<String, u64> = BTreeMap::new();
        truth.iter().filter_map(of).for_each(|key| *out.entry(key).or_default() += 1);
        out
    };
    let by_level = count_by(&|r| Some(r.level.into()));
    assert_eq!(groups(&by.rows("* | stats by (level) count() as n"), "level"), by_level, "{how}");
    let by_status = count_by(&|r| r.status.map(|s| s.to_string()));
    assert_eq!(groups(&by.rows("* | stats by (statusCode) count() as n"), "statusCode"), by_status, "{how}");
    let by_user = count_by(&|r| (r.level == "error").then(|| format!("user-{:03}", r.user)));
    let top = groups(&by.rows("level:error | top 20 by (userId) hits as n"), "userId");
    assert_eq!(top, by_user, "{how}");
    let mut durations: Vec<u64> = truth.iter().filter_map(|r| r.duration).collect();
    durations.sort_unstable();
    let rank = |percent: usize| durations[(durations.len() * percent).div_ceil(100) - 1];
    let figures = by.rows(
        "* | stats count(duration) as count, sum(duration) as sum, min(duration) as min, max(duration) as max, \
         p50(duration) as p50, p95(duration) as p95, p99(duration) as p99, count_uniq(userId) as users",
    );
    for (name, expected) in [
        ("count", durations.len() as u64),
        ("sum", durations.iter().sum()),
        ("min", durations[0]),
        ("max", durations[durations.len() - 1]),
        ("p50", rank(50)),
        ("p95", rank(95)),
        ("p99", rank(99)),
        ("users", count_by(&|r| Some(r.user.to_string())).len() as u64),
    ] {
        assert_eq!(figures[0].get(name).and_then(Val::as_u64), Some(expected), "{how}: {name}");
    }
}

fn ingest(data: &str, lines: &str) {
    let output = support::bin::run(&["ingest", "--data", data], lines.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("{} records accepted, 0 rejected", lines.lines().count())), "{said}");
}

#[test]
fn the_command_line_and_the_server_tell_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let text = data.to_str().unwrap();
    let truth = rows();
    let lines: String = truth.iter().map(line).collect();
    ingest(text, &lines);
    check(&CommandLine(text), &truth, "command line");
    let server = Server::start(Path::new(text));
    check(&server, &truth, "server");
    drop(server);
    run_ok(&["compact", "--data", text], b"", 0);
    check(&Server::start(Path::new(text)), &truth, "server, compacted and restarted");
    run_ok(&["verify", "--deep", text], b"", 0);
}

/// Half comes by the command line, half over HTTP, and the server is killed: the truth is the same.
#[test]
fn the_truth_survives_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let truth = rows();
    let (first, second) = truth.split_at(truth.len() / 2);
    ingest(data.to_str().unwrap(), &first.iter().map(line).collect::<String>());
    let server = Server::start(&data);
    let body: String = second.iter().map(line).collect();
    let answer = http::post(&server.address, "/api/v1/ingest", "application/x-ndjson", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    server.kill();
    check(&Server::start(&data), &truth, "server, killed and restarted");
}
