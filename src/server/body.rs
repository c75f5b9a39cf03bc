//! The body of a request, read by a thread that blocks.

use super::error::ApiError;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_core::Stream;
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Parts of a body under way: with the one being read, what a body takes in memory before it is unpacked.
const PARTS_MAX: usize = 8;

/// The reading end, for a thread that blocks.
#[derive(Debug)]
pub(super) struct BodyReader {
    parts: Receiver<Result<Bytes, io::Error>>,
    part: Bytes,
    ended: bool,
}

/// The parts of a body as they come.
pub(super) struct BodyParts {
    body: axum::body::BodyDataStream,
    idle: Duration,
}

/// The parts of a body; one of which nothing comes for `idle` is an error.
pub(super) fn parts(body: Body, idle: Duration) -> BodyParts {
    BodyParts { body: body.into_data_stream(), idle }
}

impl BodyParts {
    /// The next part, which is not empty; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let next = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_next(context));
            return match tokio::time::timeout(self.idle, next).await {
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
                Ok(None) => Ok(None),
                Ok(Some(Ok(part))) if part.is_empty() => continue,
                Ok(Some(Ok(part))) => Ok(Some(part)),
                Ok(Some(Err(error))) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
            };
        }
    }
}

/// The other end: pumps the body until it ends or nobody reads it.
pub(super) struct BodyPump {
    body: BodyParts,
    parts: Sender<Result<Bytes, io::Error>>,
}

/// Splits a body in two; a body of which nothing comes for `idle` is an error.
pub(super) fn split(body: Body, idle: Duration) -> (BodyPump, BodyReader) {
    let (sender, receiver) = channel(PARTS_MAX);
    let pump = BodyPump { body: parts(body, idle), parts: sender };
    (pump, BodyReader { parts: receiver, part: Bytes::new(), ended: false })
}

impl BodyPump {
    /// Runs to the end. Where this is dropped before, the reader gets an error, and not an end.
    pub(super) async fn run(mut self) {
        loop {
            let part = self.body.next().await.map(Option::unwrap_or_default);
            // An empty part is the end; no end at all says that the request was dropped.
            let last = part.as_ref().map_or(true, Bytes::is_empty);
            if self.parts.send(part).await.is_err() || last {
                return;
            }
        }
    }
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.part.is_empty() && !self.ended {
            match self.parts.blocking_recv() {
                Some(Ok(part)) => {
                    self.ended = part.is_empty();
                    self.part = part;
                }
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the request was dropped")),
            }
        }
        Ok(&self.part)
    }

    fn consume(&mut self, amount: usize) {
        let _ = self.part.split_to(amount.min(self.part.len()));
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

/// What to answer where a body can't be read to its end.
pub(super) fn unreadable(error: &io::Error) -> ApiError {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body stood still for too long")
        }
        _ => ApiError::bad_request("the body broke off"),
    }
}
