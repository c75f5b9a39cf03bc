//! Rows to stdout.

use crate::failure::{Failure, PROBLEM};
use duramen::Store;
use duramen::exec::{Missing, Row};
use duramen::front::{RowFormat, RowWriter};
use duramen::policy::SpaceLevel;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::process::ExitCode;

/// `--format` of rows.
#[derive(clap::Args, Clone, Debug)]
pub struct FormatArgs {
    /// table, json, ndjson, csv or txt; ndjson where stdout is no terminal, table where it is
    #[arg(long, value_name = "FORMAT")]
    format: Option<RowFormat>,
}

impl FormatArgs {
    /// The format asked for, or the one that fits stdout.
    pub fn or_fitting(&self) -> RowFormat {
        let fitting = if io::stdout().is_terminal() { RowFormat::Table } else { RowFormat::Ndjson };
        self.format.unwrap_or(fitting)
    }

    /// The format asked for.
    pub fn or(&self, other: RowFormat) -> RowFormat {
        self.format.unwrap_or(other)
    }
}

/// Segments that an answer misses and that are named one by one.
const MISSING_NAMED_MAX: usize = 10;

/// Says on stderr what an answer misses; the exit status that goes with that.
pub fn tell_missing(missing: &[Missing]) -> ExitCode {
    let (named, others) = missing.split_at(missing.len().min(MISSING_NAMED_MAX));
    for one in named {
        eprintln!("duramen: the answer is not whole: {one}");
    }
    if !others.is_empty() {
        let records = others.iter().map(|one| one.records).fold(0, u64::saturating_add);
        let segments = others.len();
        eprintln!(
            "duramen: the answer is not whole: up to {records} records of {segments} other segments can't be read"
        );
    }
    if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) }
}

/// A writer of rows to stdout.
pub fn stdout(format: RowFormat) -> RowWriter<BufWriter<Stdout>> {
    RowWriter::new(BufWriter::with_capacity(64 << 10, io::stdout()), format)
}

/// Says on stderr where the disk of a store has little room.
pub fn tell_space(store: &Store) {
    let space = store.space();
    let (free, low, refuse) = (space.free, space.low_below, space.refuse_below);
    match space.level {
        SpaceLevel::Low => eprintln!(
            "duramen: the disk has {free} bytes left: what rules let go early goes below {low} (space.low_bytes)"
        ),
        SpaceLevel::Refuse => eprintln!(
            "duramen: the disk has {free} bytes left: no records are taken below {refuse} (space.refuse_bytes)"
        ),
        SpaceLevel::Enough => {}
    }
}

/// Writes all rows. Where one fails, those before it are out, and a JSON array stays open: it must not look whole.
pub fn write_rows<W: Write, E: Into<Failure>>(
    rows: &mut dyn Iterator<Item = Result<Row, E>>,
    mut writer: RowWriter<W>,
) -> Result<W, Failure> {
    for row in rows {
        match row {
            Ok(row) => writer.row(&row)?,
            Err(error) => {
                writer.flush()?;
                return Err(error.into());
            }
        }
    }
    Ok(writer.finish()?)
}
