//! The commands, one a file: arguments, and what is done with them.

mod backup;
mod checkpoint;
mod compact;
mod delete;
mod demo;
mod explain;
mod export;
mod ingest;
mod key;
mod parse;
mod query;
mod repair;
mod restore;
mod run;
#[cfg(feature = "server")]
mod serve;
mod stats;
mod tail;
mod tenant;
mod token;
mod verify;

use crate::failure::Failure;
use std::process::ExitCode;

/// A log store in one program: takes logs in, keeps them checksummed and compressed, and answers queries.
#[derive(clap::Parser)]
#[command(name = "duramen", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 done, 1 what was asked found a problem, 2 wrong usage or a query that does not \
parse,\n3 the store or the network failed.\n\nExample: duramen demo --no-serve"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// A configuration file, as TOML [default: duramen.toml in the store's folder, where it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// What opens encrypted tenants [env: DURAMEN_MASTER_KEY_FILE; DURAMEN_MASTER_KEY in hexadecimal]
    #[arg(long, global = true, value_name = "FILE")]
    pub master_key_file: Option<std::path::PathBuf>,
}

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    Demo(demo::Args),
    #[cfg(feature = "server")]
    Serve(serve::Args),
    Ingest(ingest::Args),
    Query(query::Args),
    Parse(parse::Args),
    Explain(explain::Args),
    Tail(tail::Args),
    Stats(stats::Args),
    Tenant(tenant::Args),
    Token(token::Args),
    Key(key::Args),
    Compact(compact::Args),
    Delete(delete::Args),
    Checkpoint(checkpoint::Args),
    Verify(verify::Args),
    Repair(repair::Args),
    Export(export::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Run(run::Args),
}

impl Command {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Command::Demo(args) => args.run(),
            #[cfg(feature = "server")]
            Command::Serve(args) => args.run(),
            Command::Ingest(args) => args.run(),
            Command::Query(args) => args.run(),
            Command::Parse(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Tail(args) => args.run(),
            Command::Stats(args) => args.run(),
            Command::Tenant(args) => args.run(),
            Command::Token(args) => args.run(),
            Command::Key(args) => args.run(),
            Command::Compact(args) => args.run(),
            Command::Delete(args) => args.run(),
            Command::Checkpoint(args) => args.run(),
            Command::Verify(args) => args.run(),
            Command::Repair(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::Backup(args) => args.run(),
            Command::Restore(args) => args.run(),
            Command::Run(args) => args.run(),
        }
    }
}
