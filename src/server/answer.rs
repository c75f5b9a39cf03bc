//! Answers, whole or as streams.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_core::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// An answer of a type.
pub(super) fn typed(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    typed(status, "application/json", Body::from(text))
}

/// Ends what runs for a request when the request is dropped.
#[derive(Debug)]
pub(super) struct CancelOnDrop(pub(super) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A body that a thread fills, part by part. An empty part is its end: where the thread goes before that, however it
/// does, the connection is broken off, so that nobody takes the answer for whole.
pub(super) struct Parts {
    pub(super) first: Option<Bytes>,
    pub(super) rest: Receiver<Bytes>,
    pub(super) _cancel: CancelOnDrop,
}

impl Stream for Parts {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(part) = self.first.take() {
            return Poll::Ready(Some(Ok(part)));
        }
        self.rest.poll_recv(context).map(|part| match part {
            Some(end) if end.is_empty() => None,
            Some(part) => Some(Ok(part)),
            None => Some(Err(io::Error::other("the answer broke off"))),
        })
    }
}

/// Keeps something until a body is out or dropped.
pub(super) struct Held<T> {
    pub(super) body: axum::body::BodyDataStream,
    pub(super) _held: T,
}

impl<T: Unpin> Stream for Held<T> {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
