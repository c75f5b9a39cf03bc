//! `duramen serve`.

use crate::failure::Failure;
use crate::location::{DataArgs, options_in};
use duramen::Store;
use duramen::server::{Config, ServeError, serve};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

/// Where the server listens unless it is told otherwise.
pub const LISTEN: &str = "127.0.0.1:4880";

/// Files that a server keeps open at most: a log and a manifest of 8,000 tenants.
const OPEN_FILES_MAX: usize = 16_384;

/// Serves a store over HTTP until SIGTERM or SIGINT
///
/// Makes the store where there is none. While no token was made, it answers on loopback alone, as the tenant
/// `default`.
#[derive(clap::Args)]
#[command(after_help = "Example: duramen serve --data logs\n         \
duramen serve --data logs --listen 0.0.0.0:4880 --config duramen.toml")]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Address and port; port 0 takes any, and says which [default: 127.0.0.1:4880]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Merge no segments in the background; `compact` does it at another time
    #[arg(long)]
    no_merge: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let folder = self.data.folder()?;
        let config = crate::config::of_store(&folder)?.server;
        let listen = self.listen.clone().or_else(|| config.listen.clone()).unwrap_or_else(|| LISTEN.to_string());
        // Before the store is made: a typo in the address should leave nothing behind.
        resolve(&listen)?;
        duramen::vfs::keep_more_open(OPEN_FILES_MAX);
        let mut options = options_in(&folder)?;
        options.merge = !self.no_merge;
        options.audit = Some("server".into());
        options.memory_freed = crate::heap::given_back();
        config.encryption.apply(&mut options);
        config.memory.apply(&mut options);
        let store = Store::open_with(&folder, options)?;
        serve_store(store, &listen, config)
    }
}

/// Serves an open store.
pub fn serve_store(store: Store, listen: &str, config: Config) -> Result<ExitCode, Failure> {
    let address = resolve(listen)?;
    let report = store.catalog()?.report().clone();
    if let Some(torn) = report.torn {
        eprintln!("duramen: control.log: {} bytes that a crash had torn were cut off", torn.bytes);
    }
    if report.lost_events > 0 {
        eprintln!("duramen: control.log: its last {} events are missing", report.lost_events);
    }
    let served = serve(store, address, config, |address, open| {
        if open {
            eprintln!("duramen: no token was made: answering this host alone, as the tenant `default`");
        }
        eprintln!("listening on http://{address}");
    });
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ServeError::Open(_)) => Err(Failure::Usage(error.to_string())),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn resolve(listen: &str) -> Result<SocketAddr, Failure> {
    let bad = |why: String| Failure::Usage(format!("`{listen}` is no address to listen on: {why}"));
    let mut found = listen.to_socket_addrs().map_err(|e| bad(e.to_string()))?;
    found.next().ok_or_else(|| bad("it has no address".into()))
}
