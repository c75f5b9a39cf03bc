//! The corpus under `grammar/corpus`: read, replayed, and written anew with `DURAMEN_BLESS=1`.

use duramen::query;
use std::path::PathBuf;

/// One case: the text, and what it should give.
pub struct Case {
    /// File and line, for messages.
    pub place: String,
    pub text: String,
    /// The line that gives the text, as it stands in the file.
    line: String,
    /// The lines after it.
    expected: Vec<String>,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("grammar/corpus")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory())
        .expect("grammar/corpus is there")
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    files
}

/// All cases of a file, with the comment lines before the first one.
fn read(path: &PathBuf) -> (Vec<String>, Vec<Case>) {
    let content = std::fs::read_to_string(path).expect("a corpus file is UTF-8");
    let (mut head, mut cases): (Vec<String>, Vec<Case>) = (Vec::new(), Vec::new());
    for (number, line) in content.split('\n').enumerate() {
        let text = if let Some(text) = line.strip_prefix("query: ") {
            text.to_owned()
        } else if let Some(json) = line.strip_prefix("query-json: ") {
            serde_json::from_str(json).expect("query-json holds a JSON string")
        } else {
            match cases.last_mut() {
                _ if line.is_empty() => {}
                Some(case) => case.expected.push(line.to_owned()),
                None => head.push(line.to_owned()),
            }
            continue;
        };
        let place = format!("{}:{}", path.file_name().unwrap_or_default().to_string_lossy(), number + 1);
        cases.push(Case { place, text, line: line.to_owned(), expected: Vec::new() });
    }
    (head, cases)
}

/// Every case of the corpus.
pub fn cases() -> Vec<Case> {
    files().iter().flat_map(|path| read(path).1).collect()
}

/// What the parser says of a text, as the lines of a case.
fn actual(text: &str) -> Vec<String> {
    match query::parse(text) {
        Ok(q) => vec![format!("canonical: {q}"), format!("ast: {}", q.to_json())],
        Err(e) => {
            let mut lines = vec![format!("error: {}..{} {}", e.span.start, e.span.end, e.message)];
            lines.extend(e.hint.map(|hint| format!("hint: {hint}")));
            lines
        }
    }
}

/// Compares every case, or writes the files anew.
pub fn replay() {
    let bless = std::env::var_os("DURAMEN_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let (head, cases) = read(&path);
        let mut out = head.iter().map(|line| format!("{line}\n")).collect::<String>();
        for case in cases {
            let actual = actual(&case.text);
            out.push_str(&format!("\n{}\n{}\n", case.line, actual.join("\n")));
            if actual != case.expected {
                wrong.push(format!(
                    "{}: {:?}\n  expected {:#?}\n  got {actual:#?}",
                    case.place, case.text, case.expected
                ));
            }
        }
        if bless {
            std::fs::write(&path, out).expect("the corpus can be written");
        }
    }
    assert!(bless || wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
