//! The documentation, held against the repository: links, limits, modules, dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn files(under: &Path, extension: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, out);
        } else if path.extension().is_some_and(|e| e == extension) {
            out.push(path);
        }
    }
    out.sort();
}

/// The pages: those at the top of the repository, and those in `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    files(&repository().join("docs"), "md", &mut pages);
    for entry in fs::read_dir(repository()).unwrap() {
        pages.extend(Some(entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    assert!(pages.len() > 5, "{pages:?}");
    pages
}

/// A page without what stands in fences, in indented blocks and between backticks.
fn prose(page: &str) -> String {
    let mut out = String::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            // What is at odd places of the split is code.
            out.extend(line.split('`').step_by(2));
            out.push('\n');
        }
    }
    out
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.split_whitespace().next().unwrap_or_default().to_string()).collect()
}

/// The anchor that a heading gets: small letters, digits, `-` and `_`, with `-` for a space.
fn anchor(heading: &str) -> String {
    let keep = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    heading.trim().to_lowercase().chars().filter(keep).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if !fenced && heading.len() < line.len() && heading.starts_with(' ') {
            let name = anchor(heading);
            // One that comes again gets a number.
            let again = (1..).map(|n| format!("{name}-{n}")).find(|n| !found.contains(n));
            let name = if found.contains(&name) { again.unwrap_or_default() } else { name };
            found.insert(name);
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for link in links(&prose(&read(&page))) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let anchored = || place.is_empty() || target.is_file() && anchors(&read(&target)).contains(place);
            let found = target.exists() && anchored();
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 30, "{seen} links");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The tables whose header's first cell is one of these, as rows of cells.
fn tables(page: &str, first: &[&str]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut wanted = None;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|') else {
            wanted = None;
            continue;
        };
        let cells: Vec<String> = row.trim_end_matches('|').split('|').map(|c| c.trim().to_string()).collect();
        match wanted {
            None => wanted = Some(first.contains(&cells[0].as_str())),
            Some(true) if !cells[0].starts_with("--") => rows.push(cells),
            Some(_) => {}
        }
    }
    rows
}

/// What stands between backticks.
fn codes(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// `16,384`, `64 KiB`, `4 MiB`.
fn quantity(text: &str) -> Option<u128> {
    let mut words = text.split_whitespace();
    let number: u128 = words.next()?.replace(',', "").parse().ok()?;
    match words.next() {
        None => Some(number),
        Some("KiB") => Some(number << 10),
        Some("MiB") => Some(number << 20),
        Some("GiB") => Some(number << 30),
        Some(_) => None,
    }
}

/// The value of an expression of numbers, `<<` and `*`.
fn evaluate(expression: &str) -> Option<u128> {
    if let Some((left, right)) = expression.split_once("<<") {
        return Some(evaluate(left)? << evaluate(right)?);
    }
    expression.split('*').map(|n| n.trim().replace('_', "").parse::<u128>().ok()).product()
}

/// The values of all constants of a name in a file; one that is made of others has none.
fn constants(source: &str, name: &str) -> Vec<u128> {
    let value = |rest: &str| evaluate(rest.split_once('=')?.1.split_once(';')?.0.trim());
    source.split(&format!("const {name}: ")).skip(1).filter_map(value).collect()
}

#[test]
fn limits_are_those_of_the_code() {
    let architecture = read(&repository().join("docs/architecture.md"));
    let mut rows = 0;
    for cells in tables(&architecture, &["constant"]) {
        let (name, file) = (codes(&cells[0]).concat(), codes(&cells[2]).concat());
        let said = quantity(&cells[1]).unwrap_or_else(|| panic!("{name}: `{}`", cells[1]));
        assert_eq!(constants(&read(&repository().join(&file)), &name), [said], "{name} in {file}");
        rows += 1;
    }
    assert!(rows > 25, "{rows} limits");
}

/// Other pages name limits as configuration does; where the code has a constant of that name, it is the default.
#[test]
fn limits_of_other_pages_are_those_of_the_code() {
    let mut sources = Vec::new();
    files(&repository().join("src"), "rs", &mut sources);
    let sources: Vec<String> = sources.iter().map(|p| read(p)).collect();
    let mut compared = 0;
    for page in pages() {
        for cells in tables(&read(&page), &["limit"]) {
            let (Some(name), Some(said)) = (codes(&cells[0]).first().cloned(), quantity(&cells[1])) else { continue };
            let name = name.to_uppercase();
            let found: Vec<u128> = sources.iter().flat_map(|source| constants(source, &name)).collect();
            assert!(found.is_empty() || found.contains(&said), "{}: {name}: {said}, not {found:?}", page.display());
            compared += found.len();
        }
    }
    assert!(compared > 5, "{compared} limits compared");
}

#[test]
fn the_code_map_has_every_module() {
    let architecture = read(&repository().join("docs/architecture.md"));
    let said: Vec<String> = tables(&architecture, &["module"]).iter().flat_map(|cells| codes(&cells[0])).collect();
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir(repository().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        found.extend(Some(name.trim_end_matches(".rs").to_string()).filter(|n| n != "lib"));
    }
    let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&said), sorted(&found));
    assert_eq!(said.len(), found.len(), "a module stands twice");
}

#[test]
fn the_page_of_dependencies_has_each_of_them() {
    let mut declared = BTreeSet::new();
    let mut within = false;
    for line in read(&repository().join("Cargo.toml")).lines() {
        if line.starts_with('[') {
            within = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (within && !line.starts_with('#'), line.split_once('=')) {
            declared.insert(name.trim().split('.').next().unwrap_or_default().to_string());
        }
    }
    // Its own tests depend on it with the bodies of the fuzz targets.
    declared.remove("duramen");
    let page = read(&repository().join("docs/dependencies.md"));
    let said: Vec<String> = tables(&page, &["crate"]).iter().flat_map(|cells| codes(&cells[0])).collect();
    assert!(said.len() > 30, "{said:?}");
    assert_eq!(said.iter().cloned().collect::<BTreeSet<_>>(), declared);
    assert_eq!(said.len(), declared.len(), "a dependency stands twice");
}

/// A page that names the machine it was written on, or a tool that readers don't have, is not about the project.
#[test]
fn pages_name_no_place_of_a_machine() {
    for page in pages() {
        let text = read(&page);
        for place in ["/home/", "/root/", "/tmp/", "/Users/", "/work/", "file://"] {
            assert!(!text.contains(place), "{}: {place}", page.display());
        }
    }
}

#[test]
fn the_helpers_do_what_they_say() {
    assert_eq!(links("a [b](c.md#d) [e](f \"g\")"), ["c.md#d", "f"]);
    assert_eq!(prose("a `[b](c)` d\n```\n[e](f)\n```\n    [g](h)\ni"), "a  d\ni\n");
    assert_eq!(anchor(" Batch (canonical payload)"), "batch-canonical-payload");
    assert!(anchors("# A\n## A\n```\n# B\n```").iter().eq(["a", "a-1"]));
    assert_eq!(["7", "16,384", "64 KiB", "2 s"].map(quantity), [Some(7), Some(16_384), Some(65_536), None]);
    assert_eq!(constants("pub const A: usize = 16 << 10;\nconst B: u64 = 3 * 1_000;", "A"), [16_384]);
    assert_eq!(constants("pub const A: usize = C;\nconst B: u64 = 3 * 1_000;", "B"), [3000]);
    assert_eq!(tables("| x | y |\n|---|---|\n| `a` | 1 |\n\n| z |\n|--|\n| 2 |", &["x"]), [["`a`", "1"]]);
}
