//! The `duramen` command.
//!
//! Promises: results on stdout, everything else on stderr; 0 done, 1 what was asked found a problem, 2 wrong usage or a
//! query that does not parse, 3 the store or the network failed; a closed pipe is no error.

mod archives;
mod commands;
mod config;
mod failure;
mod filter;
mod heap;
mod input;
mod keys;
mod location;
mod output;
mod progress;
mod remote;
mod samples;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    heap::set_up();
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, on stdout; a pipe that is closed before their end is nobody's error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    config::give(cli.config);
    let known = keys::give(cli.master_key_file);
    match known.and_then(|()| cli.command.run()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
