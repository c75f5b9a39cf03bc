//! `duramen ingest`.

use crate::failure::{Failure, PROBLEM};
use crate::input::{self, Rejects};
use crate::location::{Location, LocationArgs, open_to_append};
use crate::progress::Progress;
use duramen::front::parse_labels;
use duramen::ingest::{Format, IngestOptions};
use duramen::record::{Batch, Labels, Timestamp};
use duramen::{Ack, Store, Tenant};
use std::path::PathBuf;
use std::process::ExitCode;

/// Records are taken up to so far ahead of the clock; later ones are rejected, with a reason.
const AHEAD_NS_MAX: i64 = 24 * 3600 * 1_000_000_000;

/// Stores log files, or what comes on stdin
///
/// The format is found out from the first lines; .gz and .zst are read as they are. Makes the store and the tenant
/// `default` where they are missing.
#[derive(clap::Args)]
#[command(
    after_help = "Example: duramen ingest --data logs --stream app=web,env=prod access.log.gz app.ndjson\n         \
kubectl logs web | duramen ingest --data logs -"
)]
pub struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Labels of the stream that the records belong to
    #[arg(long, value_name = "K=V,..", value_parser = parse_labels, default_value = "", hide_default_value = true)]
    stream: Labels,
    /// Fields whose values are labels too
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    stream_fields: Vec<String>,
    /// auto, json, logfmt, syslog, clf or text
    #[arg(long, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// A field that is looked in for the time before the usual ones are
    #[arg(long, value_name = "FIELD")]
    time_field: Option<String>,
    /// A field that becomes `message`
    #[arg(long, value_name = "FIELD")]
    msg_field: Option<String>,
    /// fsync, os or buffered: how durable the records are when the command ends [default: fsync, or `ack` of the
    /// configuration]
    #[arg(long, value_name = "LEVEL")]
    ack: Option<Ack>,
    /// Write rejected lines here, as JSON lines with a reason each
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Exit with status 1 where a line was rejected
    #[arg(long)]
    strict: bool,
    /// The files; - is stdin, as is no file
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (inputs, total) = input::open_all(&self.files)?;
        let mut rejects = Rejects::new(self.rejects.as_deref())?;
        let mut options = IngestOptions::new(Timestamp::now()).format(self.format);
        options.labels = self.stream.clone();
        options.stream_fields = self.stream_fields.clone();
        options.time_field = self.time_field.clone();
        options.msg_field = self.msg_field.clone();
        options.time_max = Timestamp(options.arrival.0.saturating_add(AHEAD_NS_MAX));
        let location = self.location.settle()?;
        let progress = Progress::bytes(total);
        let outcome = match &location {
            Location::Folder(folder) => {
                let store = Store::open_with(folder, crate::location::options_in(folder)?)?;
                let tenant = open_to_append(&store, self.location.tenant_name())?;
                // Older ones are rejected, rather than stored to be removed.
                if let Some(kept) = tenant.policy().age_ns_max() {
                    options.time_min = Timestamp(options.arrival.0.saturating_sub(kept));
                }
                let ack = self.ack.unwrap_or(store.ack());
                let mut appender = Appender::in_bulk(&tenant, ack);
                let outcome = input::read_all(inputs, &options, &mut rejects, &progress, &mut appender);
                // Also where an input failed: what was counted so far stays.
                if ack == Ack::Fsync {
                    tenant.flush()?;
                }
                let outcome = outcome?;
                drop(tenant);
                store.close()?;
                outcome
            }
            Location::Server(remote) => {
                let mut appender = remote.appender(self.ack);
                let mut outcome = input::read_all(inputs, &options, &mut rejects, &progress, &mut appender)?;
                outcome.accepted = outcome.accepted.saturating_sub(appender.refused);
                outcome.rejected += appender.refused;
                outcome
            }
        };
        drop(progress);
        for broken in &outcome.broken {
            eprintln!("duramen: {broken}; what was read before was kept");
        }
        eprintln!("{} records accepted, {} rejected", outcome.accepted, outcome.rejected);
        let problem = !outcome.broken.is_empty() || self.strict && outcome.rejected > 0;
        Ok(if problem { ExitCode::from(PROBLEM) } else { ExitCode::SUCCESS })
    }
}

/// Appends to a tenant of an open store.
pub struct Appender<'a> {
    tenant: &'a Tenant,
    ack: Ack,
}

impl<'a> Appender<'a> {
    /// Batches are acknowledged one by one.
    pub fn each_batch(tenant: &'a Tenant, ack: Ack) -> Self {
        Appender { tenant, ack }
    }

    /// Batches are handed to the operating system; [`Tenant::flush`] at the end makes all of them durable, since
    /// nothing is acknowledged to anybody before.
    pub fn in_bulk(tenant: &'a Tenant, ack: Ack) -> Self {
        Appender { tenant, ack: if ack == Ack::Fsync { Ack::Os } else { ack } }
    }
}

impl input::Store for Appender<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), Failure> {
        self.tenant.append_batch(&batch, self.ack)?;
        Ok(())
    }
}
