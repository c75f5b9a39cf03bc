//! CSV: its header names all columns, which are known after the last row only, so that rows wait in a file.

use crate::format::{Reader, put_bytes, put_varint};
use crate::record::Tag;
use crate::store::Row;
use rustc_hash::FxHashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::sync::Arc;

/// Rows that wait in memory, in bytes; more go to a temporary file without a name.
const MEMORY_BYTES_MAX: usize = 8 << 20;

/// Rows that wait for their header.
#[derive(Debug, Default)]
pub(super) struct Csv {
    columns: Vec<Arc<str>>,
    places: FxHashMap<Arc<str>, u32>,
    /// Rows, each a length and as many bytes: the number of its cells, then place and text of each.
    waiting: Vec<u8>,
    row: Vec<u8>,
    file: Option<File>,
}

impl Csv {
    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        self.row.clear();
        put_varint(&mut self.row, row.cells.len() as u64);
        for cell in &row.cells {
            let place = match self.places.get(&cell.name) {
                Some(&place) => place,
                None => {
                    let place = self.columns.len() as u32;
                    self.columns.push(cell.name.clone());
                    self.places.insert(cell.name.clone(), place);
                    place
                }
            };
            put_varint(&mut self.row, u64::from(place));
            put_bytes(&mut self.row, if cell.tag == Tag::Null { b"" } else { cell.text.as_bytes() });
        }
        self.waiting.extend_from_slice(&(self.row.len() as u64).to_le_bytes());
        self.waiting.extend_from_slice(&self.row);
        if self.waiting.len() < MEMORY_BYTES_MAX {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(unnamed_file()?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.columns.iter().map(|c| &**c).collect();
        write_line(&names, out)?;
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(mut file) = self.file.take() {
            file.rewind()?;
            write_rows(&mut BufReader::with_capacity(1 << 20, file), names.len(), out)?;
        }
        write_rows(&mut waiting.as_slice(), names.len(), out)
    }
}

fn write_rows(from: &mut impl Read, columns: usize, out: &mut impl Write) -> io::Result<()> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "the temporary file of the CSV changed");
    let mut length = [0; 8];
    let mut row = Vec::new();
    loop {
        if from.read(&mut length[..1])? == 0 {
            return Ok(());
        }
        from.read_exact(&mut length[1..])?;
        row.clear();
        let length = u64::from_le_bytes(length);
        from.take(length).read_to_end(&mut row)?;
        let mut cells = vec![""; columns];
        let mut r = Reader::new(&row, "row");
        for _ in 0..r.varint().map_err(|_| odd())? {
            let place = r.varint().map_err(|_| odd())?;
            let cell = usize::try_from(place).ok().and_then(|place| cells.get_mut(place)).ok_or_else(odd)?;
            *cell = r.text().map_err(|_| odd())?;
        }
        write_line(&cells, out)?;
    }
}

fn write_line(cells: &[&str], out: &mut impl Write) -> io::Result<()> {
    // A line of one empty cell would read back as no row at all.
    if cells == [""] {
        return out.write_all(b"\"\"\n");
    }
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        if cell.contains(['"', ',', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

/// A file in the system's folder for temporary ones that only we can read, and that is gone when it is closed.
fn unnamed_file() -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let number = getrandom::u64().map_err(io::Error::other)?;
    let path = std::env::temp_dir().join(format!("duramen-csv-{}-{number:016x}", std::process::id()));
    let file = options.open(&path)?;
    // Where an open file can't be removed (Windows) it stays until the system clears its temporary folder.
    let _ = std::fs::remove_file(&path);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::row_from_json;

    #[test]
    fn rows_beyond_memory_come_back_in_order() {
        let mut csv = Csv::default();
        let long = "x".repeat(1 << 20);
        for i in 0..20 {
            csv.row(&row_from_json(&format!(r#"{{"i":{i},"c{}":"{long}"}}"#, i % 3)).expect("a row")).expect("taken");
        }
        assert!(csv.file.is_some());
        let mut out = Vec::new();
        csv.finish(&mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        let firsts: Vec<&str> = text.lines().map(|l| l.split(',').next().unwrap_or_default()).collect();
        assert_eq!(firsts[0], "i");
        assert!(firsts[1..].iter().enumerate().all(|(i, first)| *first == i.to_string()), "{firsts:?}");
    }
}
