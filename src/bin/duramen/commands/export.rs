//! `duramen export`.

use crate::failure::Failure;
use crate::filter::FilterArgs;
use crate::location::{Location, LocationArgs, open_to_read};
use crate::output::{FormatArgs, stdout, write_rows};
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

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let format = self.format.or(RowFormat::Ndjson);
        let rows = match &self.output {
            None => {
                self.write(stdout(format))?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(path) => self.write_file(path, format)?,
        };
        eprintln!("{rows} rows exported");
        Ok(ExitCode::SUCCESS)
    }

    /// Runs the query into the writer; gives what is below it back, and the number of rows.
    fn write<W: Write>(&self, writer: RowWriter<W>) -> Result<(W, u64), Failure> {
        let options = self.filter.options()?;
        let mut count = 0;
        let out = match self.location.settle()? {
            Location::Folder(folder) => {
                let tenant = open_to_read(&folder, self.location.tenant_name())?;
                let mut rows = tenant.query_with(self.filter.text(), &options)?.inspect(|_| count += 1);
                write_rows(&mut rows, writer)?
            }
            Location::Server(remote) => {
                let mut rows = remote.query(self.filter.text(), &options)?.inspect(|_| count += 1);
                write_rows(&mut rows, writer)?
            }
        };
        Ok((out, count))
    }

    fn write_file(&self, path: &Path, format: RowFormat) -> Result<u64, Failure> {
        let fail = |e: io::Error| Failure::file(path, &e);
        if !self.force && path.exists() {
            return Err(Failure::Usage(format!("{}: exists; --force writes over it", path.display())));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        let file = BufWriter::new(beside.as_file().try_clone().map_err(fail)?);
        let suffix = path.extension().and_then(|e| e.to_str());
        let count = match suffix {
            Some("gz") => {
                let packer = GzEncoder::new(file, flate2::Compression::default());
                let (packer, count) = self.write(RowWriter::new(BufWriter::new(packer), format))?;
                let packer = packer.into_inner().map_err(|e| fail(e.into_error()))?;
                sync(packer.finish().map_err(fail)?).map_err(fail)?;
                count
            }
            Some("zst") => {
                let packer = zstd::Encoder::new(file, ZSTD_LEVEL).map_err(fail)?;
                let (packer, count) = self.write(RowWriter::new(packer, format))?;
                sync(packer.finish().map_err(fail)?).map_err(fail)?;
                count
            }
            _ => {
                let (file, count) = self.write(RowWriter::new(file, format))?;
                sync(file).map_err(fail)?;
                count
            }
        };
        beside.persist(path).map_err(|e| fail(e.error))?;
        Ok(count)
    }
}

fn sync(file: BufWriter<File>) -> io::Result<()> {
    file.into_inner()?.sync_all()
}
