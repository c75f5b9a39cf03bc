//! One wrong byte, anywhere: the verifier names the file and the place, a query is right or says what is wrong,
//! nothing panics, and other tenants answer on.
//!
//! `DURAMEN_FLIPS` tries more places, `DURAMEN_FLIP_SEED` others.

mod support;

use duramen::verify::verify;
use duramen::{Ack, Error, Options, Record, Store, TenantId, Timestamp};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use support::folder;
use support::rng::{Rng, from_env};

const TENANTS: &[&str] = &["acme", "bravo", "carol"];
/// A finding may point at the checksum rather than at the byte; one checksum covers at most so much.
const CHECKED_BYTES_MAX: u64 = 64 << 10;
const QUERIES: &[&str] = &[
    "*",
    "needle",
    "level:error AND n:>100",
    "request:5*",
    "* | stats by (level) count() as c, sum(n) as s | sort by (level)",
    "n:[10 TO 20] | fields n, message",
];

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.ack = Ack::Os;
    options
}

fn records(seed: u64, count: usize, from: i64) -> Vec<Record> {
    let mut rng = Rng::new(seed);
    (0..count as i64)
        .map(|i| {
            let level = rng.pick(&["debug", "info", "warn", "error"]);
            Record::new()
                .at(Timestamp(1_740_787_200_000_000_000 + (from + i) * 1_000_000_000))
                .with("level", level)
                .with("n", from + i)
                .with("request", format!("{:016x}", rng.next()))
                .with(
                    "message",
                    format!("{} request {} took {}ms", rng.pick(&["GET", "needle"]), i % 7, rng.below(900)),
                )
                .with("tags", vec!["a", "b"])
        })
        .collect()
}

/// Segments of several ages, merged ones among them, a log that is not sealed, a manifest and a control log.
fn make(data: &Path) {
    let store = Store::open_with(data, options()).unwrap();
    for (i, name) in TENANTS.iter().enumerate() {
        let id = TenantId::new(name).unwrap();
        store.catalog().unwrap().ensure_tenant(&id).unwrap();
        store.catalog().unwrap().set(&id, "retention", Some("30d")).unwrap();
        let tenant = store.tenant(name).unwrap();
        let seed = i as u64 * 100;
        for part in 0..3 {
            tenant.append(&records(seed + part, 150, part as i64 * 150)).unwrap();
            tenant.seal().unwrap();
        }
        tenant.compact(None).unwrap();
        tenant.append(&records(seed + 3, 200, 450)).unwrap();
        tenant.seal().unwrap();
        for part in 4..8 {
            tenant.append(&records(seed + part, 20, 650 + part as i64 * 20)).unwrap();
        }
        tenant.flush().unwrap();
    }
}

/// The answers to all queries, or the errors.
type Answers = Vec<Result<Vec<String>, String>>;

fn ask(store: &Store, tenant: &str) -> Answers {
    QUERIES
        .iter()
        .map(|query| {
            let rows = || -> Result<Vec<String>, Error> {
                store.existing_tenant(tenant)?.query(query)?.map(|row| Ok(row?.to_json())).collect()
            };
            rows().map_err(|e| e.to_string())
        })
        .collect()
}

/// Answers of every tenant; opening the store may fail as a whole.
fn ask_all(data: &Path, write: bool) -> Result<BTreeMap<&'static str, Answers>, String> {
    let store = if write { Store::open_with(data, options()) } else { Store::open_read_only_with(data, options()) };
    let store = store.map_err(|e| e.to_string())?;
    Ok(TENANTS.iter().map(|name| (*name, ask(&store, name))).collect())
}

/// What kind of file a path is: each kind gets its share of flips.
fn kind(file: &Path) -> &'static str {
    match file.extension().and_then(|e| e.to_str()) {
        Some("seg") => "segment",
        Some("log") if file.ends_with("control.log") => "control log",
        Some("log") => "log",
        Some("idx") => "index",
        _ if file.ends_with("manifest") => "manifest",
        _ => "other",
    }
}

struct Place {
    file: PathBuf,
    offset: usize,
    mask: u8,
}

/// Places over all kinds of files alike; preallocated tails of logs are part of them.
fn places(data: &Path, count: usize, rng: &mut Rng) -> Vec<Place> {
    let mut kinds: BTreeMap<&str, Vec<(PathBuf, usize)>> = BTreeMap::new();
    for path in folder::files(data) {
        let file = path.strip_prefix(data).unwrap().to_path_buf();
        let bytes = std::fs::metadata(&path).unwrap().len() as usize;
        if bytes > 0 && !file.starts_with("catalog") && file != Path::new("LOCK") {
            kinds.entry(kind(&file)).or_default().push((file, bytes));
        }
    }
    for needed in ["segment", "log", "manifest", "control log"] {
        assert!(kinds.contains_key(needed), "the store has no {needed}");
    }
    let kinds: Vec<_> = kinds.into_values().collect();
    (0..count)
        .map(|i| {
            let (file, bytes) = rng.choose(&kinds[i % kinds.len()]).clone();
            // Half of them near the beginning, where headers and first frames are.
            let reach = if rng.chance(50) { bytes.min(4096) } else { bytes };
            Place { file, offset: rng.below(reach), mask: 1 << rng.below(8) }
        })
        .collect()
}

fn tenant_of(file: &Path) -> Option<&str> {
    file.strip_prefix("tenants").ok()?.iter().next()?.to_str()
}

/// The same from the command line: status 1, and one object that names file and offset.
fn wrong_of_program(scratch: &Path, file: &Path) -> Option<String> {
    let output = support::bin::run(&["verify", "--json", scratch.to_str().unwrap()], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() != Some(1) {
        return Some(format!("`verify` ends with {}", output.status));
    }
    let Ok(report) = support::json::parse(&text) else { return Some(format!("`verify --json` says {text}")) };
    let findings = report.get("findings").map_or(&[][..], |f| f.items());
    let named = findings.iter().any(|f| {
        f.get("file").and_then(|v| v.as_str()).is_some_and(|name| Path::new(name).ends_with(file))
            && f.get("offset").and_then(|v| v.as_u64()).is_some()
            && ["kind", "expected", "found"].iter().all(|name| f.get(name).is_some())
    });
    (!named).then(|| format!("`verify --json` does not name the file: {text}"))
}

/// What goes wrong with one flipped bit, if anything does.
fn wrong(
    data: &Path,
    scratch: &Path,
    place: &Place,
    writes: &[bool],
    right: &BTreeMap<&str, Answers>,
    by_program: &dyn Fn(&Path) -> Option<String>,
) -> Option<String> {
    folder::copy(data, scratch);
    let path = scratch.join(&place.file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[place.offset] ^= place.mask;
    std::fs::write(&path, &bytes).unwrap();
    for deep in [false, true] {
        let report = match catch_unwind(|| verify(&[scratch], deep)) {
            Ok(report) => report,
            Err(_) => return Some("the verifier panics".into()),
        };
        if report.ok {
            return Some(format!("the verifier finds nothing (deep: {deep})"));
        }
        // What lies behind the last frame of a log is one tail, found where it begins.
        let near = |offset: u64| offset.saturating_sub(place.offset as u64) <= CHECKED_BYTES_MAX;
        if !report.findings.iter().any(|f| f.file == path && near(f.offset)) {
            return Some(format!("no finding names the place: {:?}", report.findings));
        }
    }
    if let Some(what) = by_program(scratch) {
        return Some(what);
    }
    for &write in writes {
        let answers = match catch_unwind(AssertUnwindSafe(|| ask_all(scratch, write))) {
            Ok(answers) => answers,
            Err(_) => return Some(format!("a query panics (write: {write})")),
        };
        let answers = match answers {
            Ok(answers) => answers,
            // The control log is the whole store's; damage elsewhere stays in its tenant.
            Err(_) if tenant_of(&place.file).is_none() => continue,
            Err(e) => return Some(format!("the store does not open (write: {write}): {e}")),
        };
        for (tenant, answers) in &answers {
            let own = tenant_of(&place.file) == Some(tenant);
            for ((query, got), right) in QUERIES.iter().zip(answers).zip(&right[tenant]) {
                match got {
                    Ok(rows) if Ok(rows) == right.as_ref() => {}
                    Ok(rows) => {
                        let right = right.as_ref().map_or(0, Vec::len);
                        return Some(format!(
                            "{tenant}: {query}: {} rows in place of {right} (write: {write})",
                            rows.len()
                        ));
                    }
                    Err(e) if own => {
                        if e.is_empty() {
                            return Some("an error without a word".into());
                        }
                    }
                    Err(e) => return Some(format!("{tenant}, which is whole: {query}: {e} (write: {write})")),
                }
            }
        }
    }
    None
}

#[test]
fn a_flipped_bit_is_found_and_stays_in_its_tenant() {
    let seed = from_env("DURAMEN_FLIP_SEED", 1);
    let count = from_env("DURAMEN_FLIPS", 120) as usize;
    let root = tempfile::tempdir().unwrap();
    let made = root.path().join("made");
    make(&made);
    // Closing seals, so the logs are kept as a crash would leave them: copied while the store is open.
    let data = root.path().join("data");
    {
        let store = Store::open_with(&made, options()).unwrap();
        for name in TENANTS {
            store.tenant(name).unwrap().append(&records(9, 30, 1000)).unwrap();
            store.tenant(name).unwrap().flush().unwrap();
        }
        folder::copy(&made, &data);
    }
    let clean = verify(&[&data], true);
    assert!(clean.ok, "{:?}", clean.findings);
    let right = ask_all(&data, false).unwrap();
    assert!(right.values().flatten().all(|a| a.as_ref().is_ok_and(|rows| !rows.is_empty())), "{right:?}");
    let mut rng = Rng::new(seed);
    let mut found = Vec::new();
    for (i, place) in places(&data, count, &mut rng).into_iter().enumerate() {
        // A folder of its own: the thread of the last query may hold the store before for a moment longer.
        let scratch = root.path().join(format!("scratch-{i}"));
        // To open for writing syncs a lot, and is tried for every third place.
        let writes: &[bool] = if i % 3 == 0 { &[false, true] } else { &[false] };
        let Place { file, offset, mask } = &place;
        let by_program = |scratch: &Path| (i % 10 == 0).then(|| wrong_of_program(scratch, &place.file)).flatten();
        if let Some(what) = wrong(&data, &scratch, &place, writes, &right, &by_program) {
            found.push(format!("{} byte {offset} ^ {mask:#04x}: {what}", file.display()));
        }
        drop(std::fs::remove_dir_all(&scratch));
    }
    assert!(found.is_empty(), "seed {seed}: {} of {count}:\n{}", found.len(), found.join("\n"));
}
