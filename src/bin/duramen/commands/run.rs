//! `duramen run`.

use super::ingest::Appender;
use crate::failure::{FAILED, Failure};
use crate::input::Rejects;
use crate::location::{Location, LocationArgs, open_to_append, options_in};
use crate::progress::Progress;
use duramen::front::parse_labels;
use duramen::ingest::{Format, IngestOptions, Ingester, Rejected, Sink};
use duramen::record::{Batch, Labels, Timestamp};
use duramen::{Ack, Store};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What a source has said is stored at the latest after so long.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Bytes read at a time.
const PART_BYTES: usize = 64 << 10;
/// Parts under way; a child that writes faster than the disk waits.
const PARTS_MAX: usize = 16;

/// Runs a command, and stores what it writes to stdout and stderr
///
/// The records have the label `output`, which is stdout or stderr, besides those given. Ends with the exit status of
/// the command, or 128 and the number of the signal that ended it; with 3 where storing failed.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen run --data logs --stream app=web -- node server.js --port 8080")]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Labels of the stream that the records belong to
    #[arg(long, value_name = "K=V,..", value_parser = parse_labels, default_value = "", hide_default_value = true)]
    stream: Labels,
    /// auto, json, logfmt, syslog, clf or text
    #[arg(long, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// fsync, os or buffered: how durable records are, at the latest a second after they were written [default: fsync,
    /// or `ack` of the configuration]
    #[arg(long, value_name = "LEVEL")]
    ack: Option<Ack>,
    /// Also pass on what the command writes
    #[arg(long)]
    tee: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What the child wrote.
struct Part {
    /// 0 stdout, 1 stderr.
    source: usize,
    bytes: Vec<u8>,
}

const SOURCES: [&str; 2] = ["stdout", "stderr"];

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        // The store is opened first: a command whose output can't be kept is not begun.
        match self.location.settle()? {
            Location::Folder(folder) => {
                let mut options = options_in(&folder)?;
                options.merge = true;
                let store = Store::open_with(&folder, options)?;
                let tenant = open_to_append(&store, self.location.tenant_name())?;
                let code = self.follow(&mut Appender::each_batch(&tenant, self.ack.unwrap_or(store.ack())))?;
                drop(tenant);
                store.close()?;
                Ok(code)
            }
            Location::Server(remote) => self.follow(&mut remote.appender(self.ack)),
        }
    }

    fn follow(&self, store: &mut dyn crate::input::Store) -> Result<ExitCode, Failure> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| Failure::Usage("no command".into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::Usage(format!("{}: {e}", program.to_string_lossy())))?;
        let (sender, receiver) = sync_channel(PARTS_MAX);
        let pipes: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|p| Box::new(p) as _), child.stderr.take().map(|p| Box::new(p) as _)];
        let mut readers = Vec::new();
        for (source, pipe) in pipes.into_iter().enumerate() {
            let (Some(pipe), sender, tee) = (pipe, sender.clone(), self.tee) else { continue };
            readers.push(std::thread::spawn(move || read(source, pipe, tee, &sender)));
        }
        drop(sender);
        let _signals = forward_signals(&child);
        let stored = self.store(&receiver, store);
        // Where storing failed the pipes are still drained, so that the command does not hang on a full one.
        receiver.iter().for_each(drop);
        let status = child.wait().map_err(|e| Failure::Failed(format!("the command can't be waited for: {e}")))?;
        for reader in readers {
            let _ = reader.join();
        }
        let (accepted, rejected) = stored?;
        eprintln!("{accepted} records accepted, {rejected} rejected");
        Ok(ExitCode::from(code(status)))
    }

    fn store(&self, parts: &Receiver<Part>, store: &mut dyn crate::input::Store) -> Result<(u64, u64), Failure> {
        let mut ingesters = SOURCES.map(|name| {
            let own = [("output", name)].into_iter().chain(self.stream.iter());
            let mut options = IngestOptions::new(Timestamp::now()).format(self.format);
            options.labels = Labels::new(own);
            Ingester::new(&options)
        });
        let mut sink = RunSink { store, rejects: Rejects::new(None)?, progress: Progress::bytes(None), source: 0 };
        let mut flushed = Instant::now();
        loop {
            let left = FLUSH_AFTER.saturating_sub(flushed.elapsed());
            let part = match parts.recv_timeout(left) {
                Ok(part) => Some(part),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(part) = part
                && let Some(ingester) = ingesters.get_mut(part.source)
            {
                sink.source = part.source;
                ingester.set_arrival(Timestamp::now());
                ingester.feed(&part.bytes, &mut sink)?;
            }
            if flushed.elapsed() >= FLUSH_AFTER {
                flushed = Instant::now();
                for (source, ingester) in ingesters.iter_mut().enumerate() {
                    sink.source = source;
                    ingester.flush(&mut sink)?;
                }
            }
        }
        let mut total = (0, 0);
        for (source, ingester) in ingesters.into_iter().enumerate() {
            sink.source = source;
            let counts = ingester.finish(&mut sink)?;
            total = (total.0 + counts.accepted, total.1 + counts.rejected);
        }
        Ok(total)
    }
}

fn read(source: usize, mut pipe: Box<dyn Read + Send>, tee: bool, parts: &SyncSender<Part>) {
    let mut buffer = vec![0; PART_BYTES];
    loop {
        let n = match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return eprintln!("duramen: the command's {}: {error}", SOURCES[source]),
        };
        let bytes = buffer.get(..n).unwrap_or_default().to_vec();
        if tee {
            // Nobody may be reading there any more; what counts is that it is stored.
            let _ = if source == 0 { std::io::stdout().write_all(&bytes) } else { std::io::stderr().write_all(&bytes) };
        }
        // Where storing has ended, what comes is dropped, and the reason is told at the end.
        let _ = parts.send(Part { source, bytes });
    }
}

struct RunSink<'a> {
    store: &'a mut dyn crate::input::Store,
    rejects: Rejects,
    progress: Progress,
    source: usize,
}

impl Sink for RunSink<'_> {
    type Error = Failure;

    fn batch(&mut self, batch: Batch) -> Result<(), Failure> {
        self.store.batch(batch)
    }

    fn rejected(&mut self, rejected: Rejected<'_>) {
        let name = SOURCES[self.source];
        self.rejects.add(name, rejected.line, &rejected.reason.to_string(), rejected.raw, &self.progress);
    }
}

/// The status that a shell would give.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(FAILED);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// Passes SIGTERM on to the child, and leaves SIGINT, which a terminal sends to both, to it: we go on until its output
/// ends, so that nothing of it is lost.
#[cfg(all(unix, feature = "server"))]
fn forward_signals(child: &Child) -> Option<tokio::runtime::Runtime> {
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{SignalKind, signal};
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
    runtime.spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => drop(kill_process(pid, Signal::TERM)),
                _ = interrupt.recv() => {}
            }
        }
    });
    Some(runtime)
}

/// Without an async runtime in the tree there is nothing that takes signals.
#[cfg(not(all(unix, feature = "server")))]
fn forward_signals(_child: &Child) -> Option<()> {
    None
}
