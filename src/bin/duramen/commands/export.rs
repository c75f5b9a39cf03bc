//! `duramen export`.

use crate::failure::Failure;
use crate::filter::FilterArgs;
use crate::location::{Location, LocationArgs, open_to_read};
use crate::output::{FormatArgs, stdout, tell_missing, write_rows};
use duramen::front::{RowFormat, RowWriter};
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Level of zstd for exports: its default.
const ZSTD_LEVEL: i32 = 3;

/// Writes what a query finds to a file or to stdout
///
/// A file whose name ends in .gz or .zst is packed. It has its name only when it is complete.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen export --data logs --since 1d -o errors.ndjson.gz 'level:error'\n         \
duramen export --data logs --format txt '{instance=\"7\"} | sort by (timestamp)' > app.log")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// The file; stdout where none is given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that exists
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What came out.
struct Exported {
    rows: u64,
    /// Of an answer that misses something it is not 0.
    status: ExitCode,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let format = self.format.or(RowFormat::Ndjson);
        let exported = match &self.output {
            None => {
                let (_, exported) = self.write(stdout(format))?;
                return Ok(exported.status);
            }
            Some(path) => self.write_file(path, format)?,
        };
        eprintln!("{} rows exported", exported.rows);
        Ok(exported.status)
    }

    /// Runs the query into the writer; gives what is below it back.
    fn write<W: Write>(&self, writer: RowWriter<W>) -> Result<(W, Exported), Failure> {
        let options = self.filter.options()?;
        let mut rows = 0;
        match self.location.settle()? {
            Location::Folder(folder) => {
                let tenant = open_to_read(&folder, self.location.tenant_name())?;
                let mut found = tenant.query_with(self.filter.text(), &options)?;
                let out = write_rows(&mut found.by_ref().inspect(|_| rows += 1), writer)?;
                Ok((out, Exported { rows, status: tell_missing(&found.missing()) }))
            }
            Location::Server(remote) => {
                let (found, missing) = remote.query(self.filter.text(), &options)?;
                let out = write_rows(&mut found.inspect(|_| rows += 1), writer)?;
                Ok((out, Exported { rows, status: remote.tell_missing(missing) }))
            }
        }
    }

    fn write_file(&self, path: &Path, format: RowFormat) -> Result<Exported, Failure> {
        let fail = |e: io::Error| Failure::file(path, &e);
        if !self.force && path.exists() {
            return Err(Failure::Usage(format!("{}: exists; --force writes over it", path.display())));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        let file = BufWriter::new(beside.as_file().try_clone().map_err(fail)?);
        let suffix = path.extension().and_then(|e| e.to_str());
        let exported = match suffix {
            Some("gz") => {
                let packer = GzEncoder::new(file, flate2::Compression::default());
                let (packer, exported) = self.write(RowWriter::new(BufWriter::new(packer), format))?;
                let packer = packer.into_inner().map_err(|e| fail(e.into_error()))?;
                sync(packer.finish().map_err(fail)?).map_err(fail)?;
                exported
            }
            Some("zst") => {
                let packer = zstd::Encoder::new(file, ZSTD_LEVEL).map_err(fail)?;
                let (packer, exported) = self.write(RowWriter::new(packer, format))?;
                sync(packer.finish().map_err(fail)?).map_err(fail)?;
                exported
            }
            _ => {
                let (file, exported) = self.write(RowWriter::new(file, format))?;
                sync(file).map_err(fail)?;
                exported
            }
        };
        beside.persist(path).map_err(|e| fail(e.error))?;
        Ok(exported)
    }
}

fn sync(file: BufWriter<File>) -> io::Result<()> {
    file.into_inner()?.sync_all()
}
