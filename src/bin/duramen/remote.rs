//! The same commands against a server.

use crate::failure::{Failure, PROBLEM};
use crate::input;
use duramen::QueryOptions;
use duramen::exec::Row;
use duramen::front::row_from_json;
use duramen::record::{Batch, write_json_string, write_json_value};
use std::io::{BufRead, BufReader, Read};
use std::process::ExitCode;
use std::time::Duration;

/// Bytes of a request that carries records: far below what servers take by default.
const BODY_BYTES: usize = 4 << 20;
/// Bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server.
pub struct Remote {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
    tenant: Option<String>,
}

impl Remote {
    /// A server by its address; nothing is asked yet.
    pub fn new(url: &str, token: Option<String>, tenant: Option<String>) -> Result<Self, Failure> {
        if url.starts_with("https://") {
            let hint = "this program speaks plain HTTP: reach a TLS endpoint through a local tunnel";
            return Err(Failure::Usage(format!("{url}: {hint}")));
        }
        if !url.starts_with("http://") {
            return Err(Failure::Usage(format!("`{url}` is no address of a server: http://127.0.0.1:4880 is")));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(None)
            .build();
        Ok(Remote { agent: config.into(), base: url.trim_end_matches('/').to_string(), token, tenant })
    }

    fn headers<T>(&self, mut request: ureq::RequestBuilder<T>) -> ureq::RequestBuilder<T> {
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Duramen-Tenant", tenant);
        }
        request
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!("{}: {error}", self.base))
    }

    /// Runs a query; rows come as the server sends them. Gives the number of records, too, that the answer misses.
    pub fn query(
        &self,
        text: &str,
        options: &QueryOptions,
    ) -> Result<(impl Iterator<Item = Result<Row, Failure>>, u64), Failure> {
        let mut form: Vec<(&str, String)> = vec![("query", text.to_string()), ("format", "ndjson".into())];
        form.extend(options.start.map(|t| ("start", t.to_string())));
        form.extend(options.end.map(|t| ("end", t.to_string())));
        form.extend(options.limit.map(|n| ("limit", n.to_string())));
        if options.offset > 0 {
            form.push(("offset", options.offset.to_string()));
        }
        if options.strict {
            form.push(("strict", "true".into()));
        }
        let url = format!("{}/api/v1/query", self.base);
        let request = self.headers(self.agent.post(&url)).send_form(form);
        let response = checked(request.map_err(|e| self.failed(&e))?)?;
        let missing = response.headers().get("X-Duramen-Missing").and_then(|n| n.to_str().ok()?.parse().ok());
        let lines = BufReader::with_capacity(64 << 10, response.into_body().into_reader()).lines();
        let base = self.base.clone();
        let rows = lines.filter(|line| !matches!(line, Ok(line) if line.is_empty())).map(move |line| {
            let fail = |e: &dyn std::fmt::Display| Failure::Failed(format!("{base}: the answer broke off: {e}"));
            let line = line.map_err(|e| fail(&e))?;
            row_from_json(&line).map_err(|e| fail(&e))
        });
        Ok((rows, missing.unwrap_or(0)))
    }

    /// Says on stderr how many records an answer misses; the exit status that goes with that.
    pub fn tell_missing(&self, records: u64) -> ExitCode {
        if records == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!("duramen: the answer is not whole: up to {records} records can't be read by {}", self.base);
        ExitCode::from(PROBLEM)
    }

    /// Sends an object and waits for the answer, for as long as it takes.
    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value, Failure> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = self.headers(request).content_type("application/json");
        let text = read_text(checked(request.send(body.to_string()).map_err(|e| self.failed(&e))?)?)?;
        serde_json::from_str(&text).map_err(|e| self.failed(&e))
    }

    /// A store that appends to the server; where no level is named, the server's own counts.
    pub fn appender(&self, ack: Option<duramen::Ack>) -> Appender<'_> {
        Appender { remote: self, ack, refused: 0 }
    }
}

/// Sends records.
pub struct Appender<'a> {
    remote: &'a Remote,
    ack: Option<duramen::Ack>,
    /// Records that the server did not take.
    pub refused: u64,
}

impl input::Store for Appender<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), Failure> {
        for (stream, labels) in batch.streams.iter().enumerate() {
            let mut body = String::new();
            let labels = labels.to_string();
            for (i, head) in batch.heads.iter().enumerate().filter(|(_, head)| head.stream as usize == stream) {
                body.push_str(&format!("{{\"timestamp\":\"{}\"", head.time));
                for (name, tag, text) in batch.fields(i) {
                    body.push(',');
                    write_json_string(name, &mut body);
                    body.push(':');
                    write_json_value(tag, text, &mut body);
                }
                body.push_str("}\n");
                if body.len() >= BODY_BYTES {
                    self.send(&std::mem::take(&mut body), &labels)?;
                }
            }
            if !body.is_empty() {
                self.send(&body, &labels)?;
            }
        }
        Ok(())
    }
}

impl Appender<'_> {
    fn send(&mut self, body: &str, labels: &str) -> Result<(), Failure> {
        let url = format!("{}/api/v1/ingest", self.remote.base);
        let mut request = self.remote.headers(self.remote.agent.post(&url));
        if let Some(ack) = self.ack {
            request = request.query("ack", ack.to_string());
        }
        if labels != "{}" {
            request = request.query("stream", labels);
        }
        let request = request.content_type("application/x-ndjson").send(body);
        let response = request.map_err(|e| self.remote.failed(&e))?;
        // Of a request of which nothing was taken the answer lists the reasons too.
        let status = response.status().as_u16();
        let text = if status == 400 { read_text(response)? } else { read_text(checked(response)?)? };
        let answer: serde_json::Value = serde_json::from_str(&text).map_err(|e| self.remote.failed(&e))?;
        let Some(rejected) = answer.get("rejected").and_then(|r| r.as_array()) else {
            return Err(refusal(status, &text));
        };
        for one in rejected {
            let reason = one.get("reason").and_then(|r| r.as_str()).unwrap_or("no reason was given");
            eprintln!("{}: {reason}", self.remote.base);
        }
        let kept = answer.get("rejected_total").and_then(serde_json::Value::as_u64);
        self.refused += kept.unwrap_or(rejected.len() as u64);
        Ok(())
    }
}

fn read_text(response: ureq::http::Response<ureq::Body>) -> Result<String, Failure> {
    let mut text = String::new();
    let read = response.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|e| Failure::Failed(format!("the answer broke off: {e}")))?;
    Ok(text)
}

/// An answer that is one, or what the server says against it.
fn checked(response: ureq::http::Response<ureq::Body>) -> Result<ureq::http::Response<ureq::Body>, Failure> {
    let status = response.status().as_u16();
    if status < 300 {
        return Ok(response);
    }
    Err(refusal(status, &read_text(response)?))
}

/// What an error's body says; a query that does not parse is told like one that was parsed here.
fn refusal(status: u16, text: &str) -> Failure {
    let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let part = |name: &str| answer.pointer(&format!("/error/{name}")).and_then(|v| v.as_str());
    let message = part("message").map_or_else(|| format!("the server answered {status}"), |m| m.to_string());
    let message = match part("hint") {
        Some(hint) => format!("{message}\nhint: {hint}"),
        None => message,
    };
    if part("code") == Some("bad_query") { Failure::Usage(message) } else { Failure::Failed(message) }
}
