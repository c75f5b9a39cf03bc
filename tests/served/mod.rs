//! A server of its own for a test, and requests written out over sockets.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use crate::program::{duramen, run_in};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

/// A server that is killed when it goes.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    pub stderr: BufReader<ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_string())
    }
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_string()
    }
}

impl Server {
    pub fn start(dir: &Path, more: &[&str]) -> Server {
        let mut command = duramen();
        command.current_dir(dir).args(["serve", "--data", "s", "--listen", "127.0.0.1:0"]).args(more);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut server = Server { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), stderr };
        while server.address.port() == 0 {
            let mut line = String::new();
            assert!(server.stderr.read_line(&mut line).expect("a line") > 0, "it ended");
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                server.address = address.parse().expect("an address");
            }
        }
        server
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        if method == "POST" && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        if method == "POST" {
            // The server may answer and close before it has read a body that it refuses.
            let _ = stream.write_all(body);
        }
        read_answer(&mut stream)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }
    pub fn ingest(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", "/api/v1/ingest", headers, body)
    }
    /// How many records a query finds.
    pub fn count(&self, headers: &[(&str, &str)]) -> Value {
        let answer = self.send("GET", "/api/v1/query?query=*+%7C+stats+count()+as+n", headers, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"]["rows"][0]["n"].clone()
    }
}

pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no answer: {:?}", String::from_utf8_lossy(&bytes));
    });
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let mut body = bytes[at + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Answer { status, head, body }
}

pub fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let at = rest.windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..at]).expect("hex"), 16).expect("hex");
        if length == 0 {
            return out;
        }
        out.extend_from_slice(&rest[at + 2..at + 2 + length]);
        rest = &rest[at + 4 + length..];
    }
}

pub fn token(dir: &Path, args: &[&str]) -> String {
    let mut all = vec!["token", "create", "--data", "s"];
    all.extend(args);
    let made = run_in(dir, &all).exits(0).stdout;
    format!("Bearer {}", made.split_whitespace().last().unwrap_or_default())
}
