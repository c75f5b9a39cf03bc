//! `duramen demo`.

use super::ingest::Appender;
use crate::failure::Failure;
use crate::input::Store as _;
use crate::location::options;
use crate::samples;
use duramen::front::{RowFormat, RowWriter};
use duramen::ingest::{IngestOptions, Rejected, Sink, ingest_slice};
use duramen::record::{Batch, Labels, Timestamp};
use duramen::store::DEFAULT_TENANT;
use duramen::{Ack, QueryOptions, Store, Tenant};
use std::io::{self, Write};
use std::process::ExitCode;

/// What the demo asks, and why one would.
const QUERIES: [(&str, &str); 5] = [
    ("How much of what is there?", "* | stats by (app, level) count() as records | sort by (records desc)"),
    (
        "What went wrong, wherever it was logged?",
        "\"connection reset\" | fields timestamp, app, level, message | limit 5",
    ),
    ("When did it?", "level:error | stats by (_time:5m) count() as errors | sort by (_time) | limit 12"),
    (
        "How slow was the shop, by route?",
        "{app=\"shop\"} duration:* | stats by (route) count() as n, p95(duration) as p95_ms, max(duration) as max_ms | sort by (p95_ms desc)",
    ),
    (
        "Where are passwords tried?",
        "app_name:sshd \"failed password\" | stats by (hostname) count() as tries, max(_time) as last | sort by (tries desc)",
    ),
];

/// Makes a store from sample logs, asks it questions, verifies it, and serves it
///
/// All of it is in a temporary folder, which is gone when the demo ends.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen demo --no-serve")]
pub struct Args {
    /// End after the queries and the verification
    #[arg(long)]
    no_serve: bool,
    /// Where to serve the store
    #[cfg(feature = "server")]
    #[arg(long, value_name = "ADDRESS", default_value = super::serve::LISTEN)]
    listen: String,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let fail = |e: io::Error| Failure::Failed(format!("no temporary folder: {e}"));
        let folder = tempfile::Builder::new().prefix("duramen-demo-").tempdir().map_err(fail)?;
        let store = Store::open_with(folder.path(), options())?;
        let tenant = crate::location::open_to_append(&store, DEFAULT_TENANT)?;
        let mut out = io::stdout().lock();
        for sample in samples::all(Timestamp::now()) {
            let mut options = IngestOptions::new(Timestamp::now());
            options.labels = Labels::new(sample.labels);
            let mut sink = DemoSink(Appender::in_bulk(&tenant, Ack::Fsync));
            let counts = ingest_slice(&options, sample.text.as_bytes(), &mut sink)?;
            let (lines, format) = (sample.text.lines().count(), sample.format);
            writeln!(out, "{}: {lines} lines of {format}, {} records", sample.name, counts.accepted)?;
        }
        tenant.flush()?;
        tenant.seal()?;
        for (question, query) in QUERIES {
            writeln!(out, "\n{question}\n> {query}\n")?;
            ask(&tenant, query, &mut out)?;
        }
        writeln!(out, "\nIs every byte as it was written?\n> duramen verify --deep\n")?;
        let report = duramen::verify::verify(&[folder.path()], true);
        writeln!(out, "{report}")?;
        out.flush()?;
        drop(out);
        drop(tenant);
        if !report.ok {
            return Err(Failure::Problem("the demo's store is damaged".into()));
        }
        self.end(store)
    }

    #[cfg(feature = "server")]
    fn end(&self, store: Store) -> Result<ExitCode, Failure> {
        if self.no_serve {
            store.close()?;
            return Ok(ExitCode::SUCCESS);
        }
        println!("\nTry: curl -G http://{}/api/v1/query --data-urlencode 'query=level:error | limit 3'", self.listen);
        super::serve::serve_store(store, &self.listen, duramen::server::Config::default())
    }

    #[cfg(not(feature = "server"))]
    fn end(&self, store: Store) -> Result<ExitCode, Failure> {
        if !self.no_serve {
            eprintln!("duramen: this program was built without the server");
        }
        store.close()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn ask(tenant: &Tenant, query: &str, out: &mut impl Write) -> Result<(), Failure> {
    let mut writer = RowWriter::new(out, RowFormat::Table);
    for row in tenant.query_with(query, &QueryOptions::default())? {
        writer.row(&row?)?;
    }
    writer.end()?;
    Ok(())
}

struct DemoSink<'a>(Appender<'a>);

impl Sink for DemoSink<'_> {
    type Error = Failure;

    fn batch(&mut self, batch: Batch) -> Result<(), Failure> {
        self.0.batch(batch)
    }

    /// The samples are ours: a test holds that nothing of them is rejected.
    fn rejected(&mut self, rejected: Rejected<'_>) {
        eprintln!("duramen: a sample's line {} was rejected: {}", rejected.line, rejected.reason);
    }
}
