//! Tidiness as a test: which module may import which, and what no source may hold.

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::{ALLOWED, FILE_LINES_MAX, FOR_ALL, MODULES, ONLY, PUBLIC_EXTERNAL, TOP_LEVEL, UNFINISHED, UNSAFE_IN};
use source::{Token, named_paths, tokens};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// What the checks of one file need to know of the rest.
struct Crate {
    /// Dependencies, as they are named in code.
    dependencies: Vec<String>,
    /// Names that the crate's root re-exports, with the module they come from.
    reexports: BTreeMap<String, String>,
    /// Modules that their parents declare as public, and do not hide from the documentation.
    public_modules: Vec<Vec<String>>,
    /// Modules that are built for tests only, or for fuzzing.
    test_modules: Vec<Vec<String>>,
}

impl Crate {
    fn new(manifest: &str, sources: &[(String, String)]) -> Crate {
        let mut in_dependencies = false;
        let mut dependencies = Vec::new();
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if let (true, Some((name, _))) = (in_dependencies, line.split_once(['=', '.', ' '])) {
                dependencies.push(name.trim().replace('-', "_"));
            }
        }
        let (mut reexports, mut public_modules, mut test_modules) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (file, text) in sources {
            let (all, module) = (tokens(text), module_of(file));
            if module.is_empty() {
                for named in named_paths(&all, &module).into_iter().filter(|n| n.imported) {
                    let parts: Vec<String> = named.path.into_iter().skip_while(|p| p == "crate").collect();
                    if let [first, .., last] = &parts[..] {
                        reexports.insert(last.clone(), first.clone());
                    }
                }
            }
            let child = |name: &Token| module.iter().cloned().chain([name.text.clone()]).collect::<Vec<_>>();
            let declared = all.windows(3).filter(|w| w[0].text == "mod" && w[0].test && w[2].text == ";");
            test_modules.extend(declared.map(|w| child(&w[1])));
            let words: Vec<&str> = all.iter().map(|t| t.text.as_str()).collect();
            for (i, three) in words.windows(3).enumerate() {
                let hidden = words[..i].ends_with(&["doc", "(", "hidden", ")", "]"]);
                if three[0] == "pub" && three[1] == "mod" && !hidden {
                    public_modules.push(child(&all[i + 2]));
                }
            }
        }
        Crate { dependencies, reexports, public_modules, test_modules }
    }

    /// Is the module built for tests only?
    fn is_test(&self, module: &[String]) -> bool {
        (1..=module.len()).any(|n| self.test_modules.iter().any(|m| m == &module[..n]))
    }

    /// Can users of the crate name what stands in this module?
    fn is_public(&self, module: &[String]) -> bool {
        (1..=module.len()).all(|n| self.public_modules.iter().any(|m| m == &module[..n]))
    }
}

/// `src/query/parse/mod.rs` is `["query", "parse"]`, the root is `[]`, and the programs are `["bin", ..]`.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_string).collect();
    if parts.len() == 1 && parts[0] == "lib" {
        parts.clear();
    }
    if matches!(parts.last().map(String::as_str), Some("mod" | "main")) {
        parts.pop();
    }
    parts
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn check_source(file: &str, text: &str, whole: &Crate) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut all = tokens(text);
    let module = module_of(file);
    let is_test = whole.is_test(&module);
    // The bodies of fuzz targets panic where they find something, and keep the table like all others.
    if is_test && !file.ends_with("fuzz.rs") {
        all.iter_mut().for_each(|t| t.test = true);
    }
    check_imports(&all, &module, whole, &mut found);
    check_tokens(&all, is_test, &module, &mut found);
    if whole.is_public(&module) {
        check_public(&all, &module, whole, &mut found);
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push((FILE_LINES_MAX, format!("longer than {FILE_LINES_MAX} lines ({lines}): split it by noun")));
    }
    let source_line = |line: usize| text.lines().nth(line - 1).unwrap_or_default();
    found
        .into_iter()
        .filter(|(line, rule)| {
            !ALLOWED.iter().any(|a| a.file == file && rule.contains(a.rule) && source_line(*line).contains(a.line))
        })
        .map(|(line, rule)| Violation { file: file.to_string(), line, rule })
        .collect()
}

fn check_imports(all: &[Token], module: &[String], whole: &Crate, found: &mut Vec<(usize, String)>) {
    let own = module.first().map(String::as_str);
    let here = module.join("::");
    let rule = own.and_then(|own| MODULES.iter().find(|m| m.name == own));
    if let (Some(own), None) = (own, rule)
        && own != "bin"
    {
        found.push((1, format!("module `{own}` is not in the table of tests/tidy/rules.rs: say what it may import")));
    }
    for named in named_paths(all, module) {
        let path = named.path.join("::");
        if named.path[0] != "crate" {
            for only in ONLY.iter().filter(|o| is_below(&path, o.path)) {
                if !only.importers.iter().any(|i| is_below(&here, i)) {
                    let rule = format!("only {} may name {}, not `{here}`", only.importers.join(", "), only.path);
                    found.push((named.line, rule));
                }
            }
            for banned in rule.map_or(&[][..], |r| r.must_not_name) {
                if is_below(&path, banned) {
                    found.push((named.line, format!("`{here}` must not name {banned}")));
                }
            }
            continue;
        }
        let (Some(rule), Some(target)) = (rule, named.path.get(1)) else { continue };
        // A re-export of the root counts as what it stands for.
        let target = match whole.reexports.get(target) {
            Some(origin) if !MODULES.iter().any(|m| m.name == target) => format!("{origin}::{target}"),
            _ => named.path[1..].join("::"),
        };
        let allowed = FOR_ALL.iter().chain(rule.may_import).chain([&rule.name]).any(|p| is_below(&target, p));
        if !allowed {
            found.push((named.line, format!("`{}` may not import {target}", rule.name)));
        }
    }
}

fn check_tokens(all: &[Token], is_test: bool, module: &[String], found: &mut Vec<(usize, String)>) {
    let here = module.join("::");
    let text = |i: usize| all.get(i).map_or("", |t| t.text.as_str());
    for (i, token) in all.iter().enumerate() {
        let word = token.text.as_str();
        if UNFINISHED.contains(&word) && text(i + 1) == "!" {
            found.push((token.line, format!("`{word}!` is unfinished work")));
        }
        if word == "unsafe" && !UNSAFE_IN.iter().any(|m| is_below(&here, m)) {
            found.push((token.line, format!("`unsafe` stands in {} only", UNSAFE_IN.join(", "))));
        }
        let call = text(i.wrapping_sub(1)) == "." && text(i + 1) == "(";
        if call && matches!(word, "unwrap" | "expect") && !token.test && !is_test {
            // A parser's own `expect(..)?` returns an error; it is the panicking one that is meant.
            let returns = closing(all, i + 1).is_some_and(|j| text(j + 1) == "?");
            if !returns {
                found.push((token.line, format!("`.{word}(` may panic: return an error, or allow it with a reason")));
            }
        }
    }
}

/// The parenthesis that closes the one at `open`.
fn closing(all: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (j, token) in all.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(j);
        }
    }
    None
}

/// No item that users can name shows a type of another crate, but for the allowed ones.
fn check_public(all: &[Token], module: &[String], whole: &Crate, found: &mut Vec<(usize, String)>) {
    let foreign = |path: &[String]| {
        path.first()
            .filter(|head| whole.dependencies.contains(head) && !PUBLIC_EXTERNAL.contains(&head.as_str()))
            .cloned()
    };
    let imported: BTreeMap<String, String> = named_paths(all, module)
        .iter()
        .filter(|n| n.imported)
        .filter_map(|n| Some((n.path.last()?.clone(), foreign(&n.path)?)))
        .filter(|(name, _)| name.starts_with(char::is_uppercase))
        .collect();
    let code: Vec<&Token> = all.iter().filter(|t| !t.test).collect();
    for (i, token) in code.iter().enumerate() {
        let next = code.get(i + 1).map_or("", |t| t.text.as_str());
        // `pub(crate)` is not public.
        if token.text != "pub" || !matches!(next, "fn" | "struct" | "type" | "const" | "static" | "trait" | "use") {
            continue;
        }
        let header: Vec<&&Token> = code[i + 1..].iter().take_while(|t| !matches!(t.text.as_str(), "{" | ";")).collect();
        for (j, part) in header.iter().enumerate() {
            let path =
                header.get(j + 1).is_some_and(|t| t.text == ":") && header.get(j + 2).is_some_and(|t| t.text == ":");
            let name = std::slice::from_ref(&part.text);
            if let Some(owner) = foreign(name).filter(|_| path).or_else(|| imported.get(&part.text).cloned()) {
                found.push((part.line, format!("a public item shows a type of {owner}")));
            }
        }
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(under).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    rust_files(&repository().join("src"), &mut files);
    let name = |path: &Path| path.strip_prefix(repository()).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn sources_keep_the_rules() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources are found");
    let whole = Crate::new(&std::fs::read_to_string(repository().join("Cargo.toml")).unwrap(), &sources);
    let violations: Vec<String> = sources
        .iter()
        .flat_map(|(file, text)| check_source(file, text, &whole))
        .map(|violation| violation.to_string())
        .collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn test_files_are_short_too() {
    let mut files = Vec::new();
    ["tests", "benches", "fuzz"].iter().map(|d| repository().join(d)).filter(|d| d.is_dir()).for_each(|d| {
        rust_files(&d, &mut files);
    });
    for path in files.iter().filter(|p| !p.components().any(|c| c.as_os_str() == "target")) {
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines: split it by noun", path.display());
    }
}

#[test]
fn nothing_unexpected_lies_at_the_top() {
    for entry in std::fs::read_dir(repository()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(TOP_LEVEL.contains(&name.as_str()), "`{name}` is not in TOP_LEVEL of tests/tidy/rules.rs");
    }
}

#[test]
fn exceptions_have_reasons_and_are_needed() {
    for allow in ALLOWED {
        assert!(!allow.reason.is_empty(), "{}: {}", allow.file, allow.rule);
        let text = std::fs::read_to_string(repository().join(allow.file)).unwrap();
        assert!(text.contains(allow.line), "{}: no line has `{}` any more", allow.file, allow.line);
    }
}

#[test]
fn each_rule_finds_its_violation() {
    let whole = Crate::new(
        "[dependencies]\nnom = \"8\"\nregex = \"1\"\ntantivy = \"0\"\nserde = \"1\"\n",
        &[
            ("src/lib.rs", "pub mod format;\n#[doc(hidden)]\npub mod index;\npub mod query;\npub use store::Store;\n"),
            ("src/format/mod.rs", "mod private; pub mod a; #[cfg(test)] mod testing; mod real;"),
        ]
        .map(|(file, text)| (file.to_string(), text.to_string())),
    );
    let long = "\n".repeat(FILE_LINES_MAX + 1);
    // (file, source, line and part of the rule; "" where nothing is wrong)
    let cases: &[(&str, &str, usize, &str)] = &[
        ("src/log/mod.rs", "use crate::query::ast::Query;", 1, "`log` may not import query"),
        ("src/log/mod.rs", "\nuse crate::{id::Seq,\n segment::Segment};", 3, "`log` may not import segment"),
        ("src/log/a/b.rs", "use super::super::super::index::x;", 1, "`log` may not import index"),
        ("src/log/a/b.rs", "use super::super::index::x;", 0, ""),
        ("src/log/mod.rs", "fn f() { let _ = crate::manifest::open(); }", 1, "`log` may not import manifest"),
        ("src/exec/mod.rs", "use crate::query::parse;", 1, "`exec` may not import query::parse"),
        ("src/exec/mod.rs", "use crate::query::ast::{self, Query};", 0, ""),
        ("src/format/mod.rs", "use crate::Store;", 1, "`format` may not import store::Store"),
        ("src/format/mod.rs", "use std::{fs::File, fmt};", 1, "must not name std::fs"),
        ("src/format/mod.rs", "fn f() -> std::time::Instant {}", 1, "must not name std::time"),
        ("src/format/mod.rs", "mod a { mod b { use super::super::super::vfs::Vfs; } }", 1, "may not import vfs"),
        ("src/format/bytes.rs", "use std::path::Path;", 0, ""),
        ("src/format/bytes.rs", "use std::path::PathBuf as Path;", 1, "must not name std::path"),
        ("src/tenant/mod.rs", "use tantivy::Index;", 1, "only index may name tantivy"),
        ("src/query/mod.rs", "use nom::IResult;", 1, "only query::parse may name nom"),
        ("src/query/parse/mod.rs", "use nom::IResult;", 0, ""),
        ("src/store/mod.rs", "fn f() { sled::open(p) }", 1, "only catalog may name sled"),
        ("src/server/mod.rs", "use axum::Router;", 0, ""),
        ("src/ingest/mod.rs", "use axum::Router;", 1, "only server may name axum"),
        ("src/segment/mod.rs", "use memmap2::Mmap;", 1, "only vfs may name memmap2"),
        ("src/segment/mod.rs", "fn f() { unsafe { g() } }", 1, "`unsafe` stands in vfs"),
        ("src/vfs/map.rs", "fn f() { unsafe { g() } }", 0, ""),
        ("src/newcomer/mod.rs", "", 1, "`newcomer` is not in the table"),
        ("src/id.rs", "fn f() {\n todo!() }", 2, "`todo!` is unfinished"),
        ("src/id.rs", "fn f() { dbg!(1) }", 1, "`dbg!` is unfinished"),
        ("src/id.rs", "fn f() { x.unwrap() }", 1, "`.unwrap(` may panic"),
        ("src/id.rs", "fn f() { x\n.expect(\"y\") }", 2, "`.expect(` may panic"),
        ("src/id.rs", "fn f() { p.expect(':')?; }", 0, ""),
        ("src/id.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); use crate::store::X; } }", 0, ""),
        ("src/id.rs", "#[cfg(not(test))]\nmod tests { fn f() { x.unwrap() } }", 2, "may panic"),
        ("src/id.rs", "#[cfg(test)]\nmod tests;\nfn f() { x.unwrap() }", 3, "may panic"),
        ("src/id.rs", "// x.unwrap() todo!()\n/* /* dbg!() */ unsafe */ const A: &str = \"todo!()\";", 0, ""),
        ("src/id.rs", "const A: &str = r#\"\" todo!() \"#; const B: char = '\"'; fn f<'a>(x: &'a str) {}", 0, ""),
        ("src/format/testing.rs", "fn f() { x.unwrap(); }", 0, ""),
        ("src/format/testing/deeper.rs", "fn f() { x.unwrap(); }", 0, ""),
        ("src/format/real.rs", "fn f() { x.unwrap(); }", 1, "may panic"),
        ("src/id.rs", &long, FILE_LINES_MAX, "split it by noun"),
        ("src/query/mod.rs", "pub fn f() -> tantivy::Score {}", 1, "shows a type of tantivy"),
        ("src/format/a.rs", "use tantivy::Score;\npub struct A(pub Score);", 2, "shows a type of tantivy"),
        ("src/index/mod.rs", "pub fn f() -> tantivy::Score {}", 0, ""),
        ("src/format/private.rs", "pub fn f() -> regex::Regex {}", 0, ""),
        ("src/format/mod.rs", "pub(crate) fn f() -> nom::X {} pub fn g() -> serde::Y {}", 0, ""),
    ];
    for (file, source, line, rule) in cases {
        let found = check_source(file, source, &whole);
        if rule.is_empty() {
            let real: Vec<_> = found.iter().filter(|v| !v.rule.contains("only query::parse may name nom")).collect();
            assert!(real.is_empty(), "{file}: {source}: {found:?}");
        } else {
            let hit = found.iter().any(|v| v.line == *line && v.rule.contains(rule) && v.file == *file);
            assert!(hit, "{file}: {source}: no `{rule}` at line {line}: {found:?}");
        }
    }
}
