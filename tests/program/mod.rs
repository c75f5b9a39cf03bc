//! Running the built program.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program, with nothing of ours in its environment.
pub fn duramen() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duramen"));
    for name in ["DURAMEN_DATA", "DURAMEN_URL", "DURAMEN_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Run {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// Holds the status, showing everything where it is another.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

/// Runs in a folder.
pub fn run_in<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Run {
    let mut command = duramen();
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command.output().expect("the program runs").into()
}

/// Runs in a folder with this on stdin.
pub fn run_with_stdin<S: AsRef<OsStr>>(folder: &Path, args: &[S], stdin: &[u8]) -> Run {
    let mut command = duramen();
    command.current_dir(folder).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // One that ends early closes the pipe, which is its right.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("it ends").into()
}

/// A temporary folder.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// gzip of some bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).expect("packed");
    packer.finish().expect("packed")
}
