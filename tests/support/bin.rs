//! Runs the program as a user would.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program under test: the one cargo built, or the one that `DURAMEN_BIN` names.
pub fn program() -> PathBuf {
    std::env::var_os("DURAMEN_BIN")
        .map_or_else(|| PathBuf::from(option_env!("CARGO_BIN_EXE_duramen").unwrap_or("duramen")), PathBuf::from)
}

/// Runs the program with arguments and what it reads from stdin.
pub fn run(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(program())
        .args(args)
        .env_remove("DURAMEN_DATA")
        .env_remove("DURAMEN_URL")
        .env_remove("DURAMEN_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A program that ends before it has read all of stdin is no error here.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs the program, which must end with this status; its stdout.
pub fn run_ok(args: &[&str], stdin: &[u8], status: i32) -> String {
    let output = run(args, stdin);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked at"), "{args:?}: {stderr}");
    assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server of its own on a free port; killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
}

impl Server {
    pub fn start(data: &Path) -> Server {
        Self::start_with(data, &[])
    }

    pub fn start_with(data: &Path, more: &[&str]) -> Server {
        Self::start_by(Command::new(program()), data, more)
    }

    /// By a command that runs the program, as another user perhaps.
    pub fn start_by(mut command: Command, data: &Path, more: &[&str]) -> Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut child = command
            .args(["serve", "--data"])
            .arg(data)
            .args(["--listen", &address])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        // Drained for the whole life of the server, so that it never waits on a full pipe.
        let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let keep = said.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while matches!(lines.read_line(&mut line), Ok(n) if n > 0) {
                keep.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        while super::http::get(&address, "/health/ready").map(|a| a.status) != Ok(200) {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", said.lock().unwrap());
            }
            assert!(Instant::now() < deadline, "no server after 30 s: {}", said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { child, address }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads all of a stream.
pub fn read_all(mut from: impl Read) -> String {
    let mut out = String::new();
    from.read_to_string(&mut out).unwrap();
    out
}
