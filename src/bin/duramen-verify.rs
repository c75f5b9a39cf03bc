//! The verifier alone: reads a store's files by the written format, with no engine in the program.
//!
//! Promises: changes nothing; works beside a running server; 0 nothing is wrong, 1 something is, 2 wrong usage, 3 a path
//! is not there. May not know: anything but `duramen::verify` and `duramen::crypt`, and hexadecimal digits.

use duramen::crypt::MasterKey;
use duramen::format::checkpoint::unhex;
use duramen::id::Place;
use duramen::verify::{Against, VerifyOptions, verify_as};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "Checks the files of stores, tenants or single segments, and changes nothing

Usage: duramen-verify [--json] [--deep] [--archive NAME=DIR] [--master-key-file FILE]
                      [--checkpoint FILE [--public-key HEX]] PATH..

  --json     print one JSON object with `findings`
  --deep     also compare records with zone maps, filters and leaves
  --archive NAME=DIR  the folder of an archive; may be given several times
  --master-key-file FILE  also decrypt what is encrypted, with the key in this file
             [env: DURAMEN_MASTER_KEY, DURAMEN_MASTER_KEY_FILE]
  --checkpoint FILE  also compare with a checkpoint: the store must go on from what was there then
  --public-key HEX   the key that the checkpoint must be signed with
  --help     this text
  --version  the version

Exit status: 0 nothing is wrong, 1 something is, 2 wrong usage, 3 a path is not there.
Example: duramen-verify --deep logs
";

#[derive(Default)]
struct Arguments {
    paths: Vec<PathBuf>,
    json: bool,
    deep: bool,
    archives: BTreeMap<Place, PathBuf>,
    master_key_file: Option<PathBuf>,
    checkpoint: Option<PathBuf>,
    public_key: Option<[u8; 32]>,
    help: bool,
    version: bool,
}

fn arguments(mut all: impl Iterator<Item = std::ffi::OsString>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut options = true;
    while let Some(argument) = all.next() {
        let text = argument.to_string_lossy();
        if !options || !text.starts_with('-') {
            arguments.paths.push(argument.into());
            continue;
        }
        match &*text {
            "--" => options = false,
            "--json" => arguments.json = true,
            "--deep" => arguments.deep = true,
            "--archive" => {
                let value = all.next().unwrap_or_default();
                let named = value.to_str().and_then(|v| v.split_once('='));
                let (name, folder) = named.ok_or("--archive takes NAME=DIR")?;
                let place = Place::new(name).map_err(|e| e.to_string())?;
                arguments.archives.insert(place, folder.into());
            }
            "--master-key-file" => {
                let file = all.next().ok_or("--master-key-file needs a file")?;
                arguments.master_key_file = Some(file.into());
            }
            "--checkpoint" => arguments.checkpoint = Some(all.next().ok_or("--checkpoint needs a file")?.into()),
            "--public-key" => {
                let hex = all.next().ok_or("--public-key needs a key")?;
                let key = unhex(&hex.to_string_lossy()).ok_or("a public key is 64 hexadecimal digits")?;
                arguments.public_key = Some(key);
            }
            "-h" | "--help" => arguments.help = true,
            "-V" | "--version" => arguments.version = true,
            other => return Err(format!("`{other}` is no option")),
        }
    }
    if arguments.public_key.is_some() && arguments.checkpoint.is_none() {
        return Err("--public-key goes with --checkpoint".into());
    }
    if arguments.paths.is_empty() && !arguments.help && !arguments.version {
        return Err("no path is given".into());
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("duramen-verify: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let mut out = io::stdout().lock();
    let written = if arguments.help {
        out.write_all(HELP.as_bytes()).map(|()| ExitCode::SUCCESS)
    } else if arguments.version {
        writeln!(out, "duramen-verify {}", env!("CARGO_PKG_VERSION")).map(|()| ExitCode::SUCCESS)
    } else {
        run(&arguments, &mut out)
    };
    match written.and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => code,
        // Nobody reads on, which is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("duramen-verify: the output can't be written: {error}");
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<ExitCode> {
    if let Some(missing) = arguments.paths.iter().find(|path| !path.exists()) {
        eprintln!("duramen-verify: {}: there is nothing to verify", missing.display());
        return Ok(ExitCode::from(3));
    }
    let master = match &arguments.master_key_file {
        Some(file) => MasterKey::from_file(file).map(Some),
        None => MasterKey::from_env(),
    };
    let master = match master {
        Ok(master) => master,
        Err(error) => {
            eprintln!("duramen-verify: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let against = arguments.checkpoint.as_deref().map(|file| Against::read(file, arguments.public_key)).transpose();
    let against = match against {
        Ok(against) => against,
        Err(error) => {
            eprintln!("duramen-verify: {error}");
            return Ok(ExitCode::from(3));
        }
    };
    let (deep, archives) = (arguments.deep, arguments.archives.clone());
    let report =
        verify_as(&arguments.paths, &VerifyOptions { deep, archives, fetch: None, master_key: master, against });
    match arguments.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => writeln!(out, "{report}")?,
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
