//! As much HTTP/1.1 as the tests need, over a plain socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The head in small letters.
    pub head: String,
    pub body: String,
}

pub fn get(address: &str, path: &str) -> Result<Answer, String> {
    request(address, "GET", path, "", b"")
}

pub fn post(address: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer, String> {
    request(address, "POST", path, kind, body)
}

/// One request on a connection of its own. An answer that was cut off is an error.
pub fn request(address: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer, String> {
    send(address, method, path, &[("Content-Type", kind)], body)
}

/// One request with headers.
pub fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, String> {
    let fail = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(address).map_err(fail)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(fail)?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(fail)?;
    // A server may answer before it has read a body that it refuses; one that is gone shows in what is read.
    let sent = stream.write_all(body).map_err(fail);
    let mut bytes = Vec::new();
    if let Err(e) = stream.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        return Err(sent.err().unwrap_or_else(|| fail(e)));
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or("no end of the header")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("no status")?;
    let header = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim_start_matches(':').trim());
    let rest = &bytes[end + 4..];
    let body = if header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        unchunk(rest)?
    } else {
        let length = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(rest.len());
        rest.get(..length).ok_or("a body that is cut off")?.to_vec()
    };
    let body = String::from_utf8(body).map_err(|e| e.to_string())?;
    Ok(Answer { status, head, body })
}

fn unchunk(mut bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").ok_or("a chunk without a length")?;
        let text = std::str::from_utf8(&bytes[..end]).map_err(|e| e.to_string())?;
        let length =
            usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16).map_err(|e| e.to_string())?;
        bytes = &bytes[end + 2..];
        if length == 0 {
            return Ok(out);
        }
        out.extend_from_slice(bytes.get(..length).ok_or("a chunk that is cut off")?);
        bytes = bytes.get(length + 2..).ok_or("a chunk without an end")?;
    }
}

/// A text as it stands in a query string.
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
