//! Rows in aligned columns, a page at a time: each page has its own header and widths.

use super::rows::{LEADING, push_pair, push_visible};
use crate::record::Tag;
use crate::store::Row;
use std::io::{self, Write};
use std::sync::Arc;

/// Rows of a page.
const PAGE_ROWS: usize = 200;
/// Longest cell that is shown whole, in characters; the last column is not cut.
const CELL_CHARS_MAX: usize = 80;
/// More columns than these don't fit a screen: those after the leading ones go into one, as `name=value`.
const COLUMNS_MAX: usize = 8;

/// Rows that wait for their page.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    pages: u64,
}

impl Table {
    pub(super) fn row(&mut self, row: &Row, out: &mut impl Write) -> io::Result<()> {
        self.rows.push(row.clone());
        if self.rows.len() >= PAGE_ROWS { self.page(out) } else { Ok(()) }
    }

    /// Writes the rows that wait.
    pub(super) fn page(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let mut columns: Vec<Arc<str>> = Vec::new();
        for cell in rows.iter().flat_map(|r| &r.cells) {
            if !columns.contains(&cell.name) {
                columns.push(cell.name.clone());
            }
        }
        let fold = columns.len() > COLUMNS_MAX;
        if fold {
            let leading = LEADING.iter().map(|&name| Arc::from(name));
            columns = leading.filter(|name| columns.contains(name)).collect();
        }
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
        lines.push(columns.iter().map(|name| name.to_string()).chain(fold.then(|| "fields".to_string())).collect());
        lines.extend(rows.iter().map(|row| cells(row, &columns, fold)));
        let last = lines[0].len().saturating_sub(1);
        for line in &mut lines {
            line[..last].iter_mut().for_each(cut);
        }
        let widths: Vec<usize> =
            (0..=last).map(|c| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0)).collect();
        if self.pages > 0 {
            out.write_all(b"\n")?;
        }
        self.pages += 1;
        for (i, line) in lines.iter().enumerate() {
            write_line(line, &widths, out)?;
            if i == 0 {
                let rules: Vec<String> = widths.iter().map(|&w| "-".repeat(w.min(CELL_CHARS_MAX))).collect();
                write_line(&rules, &widths, out)?;
            }
        }
        Ok(())
    }
}

fn cells(row: &Row, columns: &[Arc<str>], fold: bool) -> Vec<String> {
    let shown = |name: &str| {
        let mut out = String::new();
        match row.get(name) {
            Some((Tag::Null, _)) => out.push_str("null"),
            Some((_, text)) => push_visible(text, &[], &mut out),
            None => {}
        }
        out
    };
    let mut line: Vec<String> = columns.iter().map(|name| shown(name)).collect();
    if fold {
        let mut rest = String::new();
        for cell in row.cells.iter().filter(|c| !columns.contains(&c.name)) {
            if !rest.is_empty() {
                rest.push(' ');
            }
            push_pair(&cell.name, cell.tag, &cell.text, &mut rest);
        }
        line.push(rest);
    }
    line
}

fn cut(cell: &mut String) {
    if let Some((at, _)) = cell.char_indices().nth(CELL_CHARS_MAX) {
        cell.truncate(at);
        cell.pop();
        cell.push('…');
    }
}

fn write_line(cells: &[String], widths: &[usize], out: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    for (cell, &width) in cells.iter().zip(widths) {
        line.push_str(cell);
        let missing = width.saturating_sub(cell.chars().count()) + 2;
        line.extend(std::iter::repeat_n(' ', missing));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    out.write_all(line.as_bytes())
}
