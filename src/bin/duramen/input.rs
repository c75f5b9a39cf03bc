//! Files and stdin as input: packed or not, to records.

use crate::failure::Failure;
use crate::progress::Progress;
use duramen::ingest::{Decoder, IngestOptions, Ingester, Rejected, Sink};
use duramen::record::{Batch, write_json_string};
use duramen::vfs::MappedFile;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes read from a file at a time.
const PART_BYTES: usize = 256 << 10;
/// Rejections that are told on stderr where no file takes them.
const REJECTIONS_TOLD_MAX: u64 = 5;

/// An input that was opened.
pub struct Input {
    /// What to call it.
    pub name: String,
    file: Box<dyn Read>,
}

/// Opens all inputs before any is read, so that a name that is wrong is told before anything is stored. No name, or
/// `-`, is stdin. Also gives their length, where it is known.
pub fn open_all(paths: &[PathBuf]) -> Result<(Vec<Input>, Option<u64>), Failure> {
    open(paths, |path| Ok(Box::new(File::open(path)?)))
}

/// The same, with files mapped into memory: for files that are read once and as they are now.
pub fn open_mapped(paths: &[PathBuf]) -> Result<(Vec<Input>, Option<u64>), Failure> {
    open(paths, |path| match path.metadata()?.is_file() {
        true => {
            let map = MappedFile::open(path).map_err(io::Error::other)?;
            Ok(Box::new(MappedReader { map, at: 0 }))
        }
        // Pipes can't be mapped.
        false => Ok(Box::new(File::open(path)?)),
    })
}

/// Reads through a map.
struct MappedReader {
    map: MappedFile,
    at: usize,
}

impl Read for MappedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.map.bytes().get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

type OpenFile = fn(&Path) -> io::Result<Box<dyn Read>>;

fn open(paths: &[PathBuf], open_file: OpenFile) -> Result<(Vec<Input>, Option<u64>), Failure> {
    let stdin = || Input { name: "stdin".into(), file: Box::new(io::stdin()) };
    if paths.is_empty() {
        return Ok((vec![stdin()], None));
    }
    let mut total = Some(0);
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        if path == Path::new("-") {
            total = None;
            inputs.push(stdin());
            continue;
        }
        let fail = |e: io::Error| Failure::Usage(format!("{}: {e}", path.display()));
        let metadata = path.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{}: is a folder", path.display())));
        }
        total = total.filter(|_| metadata.is_file()).map(|t| t + metadata.len());
        inputs.push(Input { name: path.display().to_string(), file: open_file(path).map_err(fail)? });
    }
    Ok((inputs, total))
}

/// Where records of the inputs go.
pub trait Store {
    /// Takes a batch.
    fn batch(&mut self, batch: Batch) -> Result<(), Failure>;
}

/// What became of the inputs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records taken.
    pub accepted: u64,
    /// Lines that were not.
    pub rejected: u64,
    /// Packed inputs that are cut off or damaged, each with what was wrong. What came before was taken.
    pub broken: Vec<String>,
}

/// Counts the bytes that go through, packed as they are, for the progress bar.
struct Counted<'a> {
    from: Box<dyn Read>,
    progress: &'a Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.progress.add(n as u64);
        Ok(n)
    }
}

/// Reads inputs to their ends, one after the other, each with a format and line numbers of its own.
pub fn read_all(
    inputs: Vec<Input>,
    options: &IngestOptions,
    rejects: &mut Rejects,
    progress: &Progress,
    store: &mut dyn Store,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    for input in inputs {
        progress.say(&input.name);
        let fail = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", input.name));
        let source = BufReader::with_capacity(PART_BYTES, Counted { from: input.file, progress });
        let mut decoder = Decoder::detect(source, u64::MAX).map_err(|e| fail(&e))?;
        let mut ingester = Ingester::new(options);
        let mut sink = InputSink { name: &input.name, rejects: &mut *rejects, progress, store: &mut *store };
        let mut part = vec![0; PART_BYTES];
        loop {
            match decoder.read(&mut part) {
                Ok(0) => break,
                Ok(n) => ingester.feed(part.get(..n).unwrap_or_default(), &mut sink)?,
                Err(duramen::ingest::DecodeError::Io(error)) => return Err(fail(&error)),
                Err(error) => {
                    outcome.broken.push(format!("{}: {error}", input.name));
                    break;
                }
            }
        }
        let counts = ingester.finish(&mut sink)?;
        outcome.accepted += counts.accepted;
        outcome.rejected += counts.rejected;
    }
    rejects.finish()?;
    Ok(outcome)
}

/// Where rejected lines go: a file, or the first few to stderr.
pub struct Rejects {
    file: Option<(PathBuf, BufWriter<File>)>,
    failed: Option<Failure>,
    told: u64,
}

impl Rejects {
    /// Rejections to this file, as JSON lines of `file`, `line`, `reason` and `raw`.
    pub fn new(path: Option<&Path>) -> Result<Self, Failure> {
        let file = match path {
            Some(path) => {
                let file = File::create(path).map_err(|e| Failure::file(path, &e))?;
                Some((path.to_path_buf(), BufWriter::new(file)))
            }
            None => None,
        };
        Ok(Rejects { file, failed: None, told: 0 })
    }

    /// Takes one.
    pub fn add(&mut self, name: &str, line: u64, reason: &str, raw: &[u8], progress: &Progress) {
        self.told += 1;
        let Some((path, file)) = &mut self.file else {
            if self.told <= REJECTIONS_TOLD_MAX {
                progress.line(&format!("{name}:{line}: {reason}"));
            } else if self.told == REJECTIONS_TOLD_MAX + 1 {
                progress.line("more lines were rejected; --rejects FILE takes them all");
            }
            return;
        };
        let mut text = String::from("{\"file\":");
        write_json_string(name, &mut text);
        text.push_str(&format!(",\"line\":{line},\"reason\":"));
        write_json_string(reason, &mut text);
        text.push_str(",\"raw\":");
        write_json_string(&String::from_utf8_lossy(raw), &mut text);
        text.push_str("}\n");
        if let Err(error) = file.write_all(text.as_bytes()) {
            self.failed.get_or_insert(Failure::file(path, &error));
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if let Some((path, file)) = &mut self.file
            && let Err(error) = file.flush()
        {
            return Err(Failure::file(path, &error));
        }
        self.failed.take().map_or(Ok(()), Err)
    }
}

struct InputSink<'a> {
    name: &'a str,
    rejects: &'a mut Rejects,
    progress: &'a Progress,
    store: &'a mut dyn Store,
}

impl Sink for InputSink<'_> {
    type Error = Failure;

    fn batch(&mut self, batch: Batch) -> Result<(), Failure> {
        self.store.batch(batch)
    }

    fn rejected(&mut self, rejected: Rejected<'_>) {
        let reason = rejected.reason.to_string();
        self.rejects.add(self.name, rejected.line, &reason, rejected.raw, self.progress);
    }
}
