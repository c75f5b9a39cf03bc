//! The user's page: its examples and its tables.

const PAGE: &str = include_str!("../../docs/query-language.md");

/// Every example: blocks marked `query`, and what stands in backticks in the first column of a table headed `query`.
pub fn examples() -> Vec<String> {
    let (mut out, mut in_block, mut in_table) = (Vec::new(), false, false);
    for line in PAGE.lines() {
        match line {
            "```query" => in_block = true,
            "```" => in_block = false,
            _ if in_block => out.push(line.to_owned()),
            _ if line.starts_with("| query |") => in_table = true,
            _ if !line.starts_with('|') => in_table = false,
            _ if in_table && !line.starts_with("|--") => out.extend(codes(&first_cell(line))),
            _ => {}
        }
    }
    out
}

/// The limits of the table, by name.
pub fn limits() -> Vec<(String, usize)> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| limit |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2].parse().expect("a number in the table of limits"))
        })
        .collect()
}

/// The first cell of a row, `\|` in it taken for a pipe.
fn first_cell(line: &str) -> String {
    let joined = line.replace("\\|", "\u{1}");
    joined.split('|').nth(1).unwrap_or_default().trim().replace('\u{1}', "|")
}

/// What stands in single or double backticks.
fn codes(cell: &str) -> Vec<String> {
    let (mut out, mut rest) = (Vec::new(), cell);
    while let Some(at) = rest.find('`') {
        let fence = if rest[at..].starts_with("``") { "``" } else { "`" };
        let inner = &rest[at + fence.len()..];
        let end = inner.find(fence).expect("a closing backtick");
        out.push(inner[..end].trim().to_owned());
        rest = &inner[end + fence.len()..];
    }
    out
}
