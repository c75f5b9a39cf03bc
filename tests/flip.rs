//! One wrong byte, anywhere: the verifier names the file and the place, a query is right or says what is wrong,
//! nothing panics, and other tenants answer on.
//!
//! `DURAMEN_FLIPS` tries more places, `DURAMEN_FLIP_SEED` others.

mod support;

use duramen::verify::verify;
use duramen::{Error, Store};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use support::folder;
use support::rng::{Rng, from_env};
use support::store::{TENANTS, make, options};

/// How far the place that a finding names may be before the flipped byte: a checksum does not say which of the bytes
/// that it covers is wrong, and a finding points at the first.
const COVERED_BYTES_MAX: u64 = 64 << 10;
const QUERIES: &[&str] = &[
    "*",
    "needle",
    "level:error AND n:>100",
    "request:5*",
    "* | stats by (level) count() as c, sum(n) as s | sort by (level)",
    "n:[10 TO 20] | fields n, message",
];

/// The answers to all queries, or the errors; an answer that says that it misses something is one of these.
type Answers = Vec<Result<Vec<String>, String>>;

fn ask(store: &Store, tenant: &str) -> Answers {
    QUERIES
        .iter()
        .map(|query| {
            let ask = || -> Result<Result<Vec<String>, String>, Error> {
                let mut rows = store.existing_tenant(tenant)?.query(query)?;
                let all = rows.by_ref().map(|row| Ok(row?.to_json())).collect::<Result<_, Error>>()?;
                Ok(rows.missing().first().map_or(Ok(all), |missing| Err(missing.to_string())))
            };
            ask().map_err(|e| e.to_string()).flatten()
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
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = file.parent().and_then(|f| f.file_name()).map(|n| n.to_string_lossy().into_owned());
    match (folder.as_deref(), name.as_str()) {
        (_, "LOCK") => "lock",
        (_, "control.log") => "control log",
        (_, "manifest") => "manifest",
        (Some("quarantine"), name) if name.ends_with(".reason") => "reason",
        (Some("quarantine"), _) => "quarantine",
        (Some("log"), _) => "log",
        (Some("segments"), name) if name.ends_with(".idx") => "index",
        (Some("segments"), _) => "segment",
        (_, name) if name.starts_with("manifest.") => "earlier manifest",
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
        // `catalog/` is derived, and made anew where it does not fit.
        if bytes > 0 && !file.starts_with("catalog") {
            kinds.entry(kind(&file)).or_default().push((file, bytes));
        }
    }
    for needed in ["segment", "log", "manifest", "earlier manifest", "control log", "quarantine", "reason", "lock"] {
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

/// What goes wrong with one flipped bit, if anything does. The byte is flipped in place; what writes gets a copy.
fn wrong(
    data: &Path,
    copy: Option<&Path>,
    place: &Place,
    right: &BTreeMap<&str, Answers>,
    by_program: &dyn Fn(&Path) -> Option<String>,
) -> Option<String> {
    let path = data.join(&place.file);
    for deep in [false, true] {
        let report = match catch_unwind(|| verify(&[data], deep)) {
            Ok(report) => report,
            Err(_) => return Some("the verifier panics".into()),
        };
        if report.ok {
            return Some(format!("the verifier finds nothing (deep: {deep})"));
        }
        if let Some(other) = report.findings.iter().find(|f| f.file != path) {
            return Some(format!("a file that is whole is named: {other}"));
        }
        let near = |offset: u64| (place.offset as u64).checked_sub(offset).is_some_and(|n| n <= COVERED_BYTES_MAX);
        if !report.findings.iter().any(|f| near(f.offset)) {
            return Some(format!("no finding names the place: {:?}", report.findings));
        }
    }
    if let Some(what) = by_program(data) {
        return Some(what);
    }
    let mut tries = vec![(data, false)];
    if let Some(copy) = copy {
        folder::copy(data, copy);
        tries.push((copy, true));
    }
    for (data, write) in tries {
        let answers = match catch_unwind(AssertUnwindSafe(|| ask_all(data, write))) {
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
                        let n = rows.len();
                        return Some(format!("{tenant}: {query}: {n} rows in place of {right} (write: {write})"));
                    }
                    Err(e) if own && !e.is_empty() => {}
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
    let count = from_env("DURAMEN_FLIPS", 500) as usize;
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    make(root.path(), &data);
    let clean = verify(&[&data], true);
    assert!(clean.ok, "{:?}", clean.findings);
    let right = ask_all(&data, false).unwrap();
    assert!(right.values().flatten().all(|a| a.as_ref().is_ok_and(|rows| !rows.is_empty())), "{right:?}");
    let mut rng = Rng::new(seed);
    let mut found = Vec::new();
    for (i, place) in places(&data, count, &mut rng).into_iter().enumerate() {
        let Place { file, offset, mask } = &place;
        let path = data.join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[*offset] ^= mask;
        std::fs::write(&path, &bytes).unwrap();
        // To open for writing syncs a lot, and is tried for every fifth place.
        let copy = root.path().join(format!("copy-{i}"));
        let by_program = |data: &Path| (i % 25 == 0).then(|| wrong_of_program(data, file)).flatten();
        if let Some(what) = wrong(&data, (i % 5 == 0).then_some(&copy), &place, &right, &by_program) {
            found.push(format!("{} byte {offset} ^ {mask:#04x}: {what}", file.display()));
        }
        std::fs::write(&path, &whole).unwrap();
        drop(std::fs::remove_dir_all(&copy));
    }
    assert!(found.is_empty(), "seed {seed}: {} of {count}:\n{}", found.len(), found.join("\n"));
}
