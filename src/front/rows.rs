//! Rows as texts, in the format that was asked for.

use super::csv::Csv;
use super::table::Table;
use crate::record::{Tag, write_json_string};
use crate::store::Row;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// Aligned columns, for people.
    Table,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// RFC 4180 with a header, lines ending with a line feed.
    Csv,
    /// A line a row: time, level, message, then `name=value`.
    Txt,
}

/// A name that is no format's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format of rows: table, json, ndjson, csv and txt are")]
pub struct UnknownRowFormat(String);

impl RowFormat {
    const NAMED: [(&'static str, RowFormat); 5] = [
        ("table", RowFormat::Table),
        ("json", RowFormat::Json),
        ("ndjson", RowFormat::Ndjson),
        ("csv", RowFormat::Csv),
        ("txt", RowFormat::Txt),
    ];
}

impl FromStr for RowFormat {
    type Err = UnknownRowFormat;
    fn from_str(name: &str) -> Result<Self, UnknownRowFormat> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| UnknownRowFormat(name.chars().take(40).collect()))
    }
}

impl fmt::Display for RowFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::NAMED.iter().find(|(_, format)| format == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// Writes rows as they come. What was begun is ended by [`RowWriter::finish`].
#[derive(Debug)]
pub struct RowWriter<W: Write> {
    out: W,
    form: Form,
    rows: u64,
    line: String,
}

#[derive(Debug)]
enum Form {
    Table(Table),
    Json,
    Ndjson,
    Csv(Csv),
    Txt,
}

impl<W: Write> RowWriter<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W, format: RowFormat) -> Self {
        let form = match format {
            RowFormat::Table => Form::Table(Table::default()),
            RowFormat::Json => Form::Json,
            RowFormat::Ndjson => Form::Ndjson,
            RowFormat::Csv => Form::Csv(Csv::default()),
            RowFormat::Txt => Form::Txt,
        };
        RowWriter { out, form, rows: 0, line: String::new() }
    }

    /// Writes a row, or keeps it until enough is known to write it.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        let first = self.rows == 0;
        self.rows += 1;
        self.line.clear();
        match &mut self.form {
            Form::Table(table) => return table.row(row, &mut self.out),
            Form::Csv(csv) => return csv.row(row),
            Form::Json => {
                self.line.push_str(if first { "[\n" } else { ",\n" });
                row.write_json(&mut self.line);
            }
            Form::Ndjson => {
                row.write_json(&mut self.line);
                self.line.push('\n');
            }
            Form::Txt => {
                write_text(row, &mut self.line);
                self.line.push('\n');
            }
        }
        self.out.write_all(self.line.as_bytes())
    }

    /// Number of rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Hands on what can be written now: a table that waits for more rows, and what `out` holds back.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Form::Table(table) = &mut self.form {
            table.page(&mut self.out)?;
        }
        self.out.flush()
    }

    /// Ends the text, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.end()?;
        Ok(self.out)
    }

    /// Ends the text; no row may come after.
    pub fn end(&mut self) -> io::Result<()> {
        match &mut self.form {
            Form::Table(table) => table.page(&mut self.out)?,
            Form::Csv(csv) => csv.finish(&mut self.out)?,
            Form::Json => self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?,
            Form::Ndjson | Form::Txt => {}
        }
        self.out.flush()
    }
}

/// Control characters could drive the terminal that a log is shown on; `keep` are those that stay.
pub(super) fn push_visible(text: &str, keep: &[char], out: &mut String) {
    for c in text.chars() {
        if c.is_control() && !keep.contains(&c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

/// `name=value`, quoted where the value would not read back as one word.
pub(super) fn push_pair(name: &str, tag: Tag, text: &str, out: &mut String) {
    push_visible(name, &[], out);
    out.push('=');
    let plain = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
    match tag {
        Tag::Null => out.push_str("null"),
        Tag::String if !plain => write_json_string(text, out),
        _ => push_visible(text, &[], out),
    }
}

/// The names that people look for first; where a row has them they stand first, without their names.
pub(super) const LEADING: [&str; 3] = ["timestamp", "level", "message"];

fn write_text(row: &Row, out: &mut String) {
    let start = out.len();
    for name in LEADING {
        if let Some((_, text)) = row.get(name) {
            if out.len() > start {
                out.push(' ');
            }
            push_visible(text, &['\n', '\t'], out);
        }
    }
    for cell in row.cells.iter().filter(|c| !LEADING.contains(&&*c.name)) {
        if out.len() > start {
            out.push(' ');
        }
        push_pair(&cell.name, cell.tag, &cell.text, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::row_from_json;

    fn write(format: &str, rows: &[&str]) -> String {
        let mut writer = RowWriter::new(Vec::new(), format.parse().expect("a format"));
        for row in rows {
            writer.row(&row_from_json(row).expect("a row")).expect("written");
        }
        String::from_utf8(writer.finish().expect("finished")).expect("UTF-8")
    }

    const ROWS: [&str; 2] = [
        r#"{"timestamp":"T1","code":200,"message":"a \"b\", c","tags":["x"]}"#,
        r#"{"timestamp":"T2","empty":"","level":"error","message":"two\nlines\u001b[0m","null":null}"#,
    ];

    #[test]
    fn json_and_ndjson() {
        assert_eq!(write("ndjson", &ROWS), format!("{}\n{}\n", ROWS[0], ROWS[1]));
        assert_eq!(write("json", &ROWS), format!("[\n{},\n{}\n]\n", ROWS[0], ROWS[1]));
        assert_eq!((write("json", &[]), write("ndjson", &[])), ("[]\n".into(), String::new()));
    }

    #[test]
    fn csv_has_all_columns_in_its_header() {
        let expect = "timestamp,code,message,tags,empty,level,null\nT1,200,\"a \"\"b\"\", c\",\"[\"\"x\"\"]\",,,\n\
                      T2,,\"two\nlines\u{1b}[0m\",,,error,\n";
        assert_eq!(write("csv", &ROWS), expect);
        assert_eq!(write("csv", &[]), "");
    }

    #[test]
    fn text_for_people_cannot_drive_a_terminal() {
        let expect = "T1 a \"b\", c code=200 tags=[\"x\"]\nT2 error two\nlines\\u{1b}[0m empty=\"\" null=null\n";
        assert_eq!(write("txt", &ROWS), expect);
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [r#"{"n":1,"url":"/a"}"#, r#"{"n":12345,"url":"/b\n"}"#];
        assert_eq!(write("table", &rows), "n      url\n-----  ----\n1      /a\n12345  /b\\n\n");
        assert_eq!(write("table", &[]), "");
    }
}
