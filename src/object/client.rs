//! The blocking client below `object_store`: the one that the command line has, so that no second HTTP stack is built.

use super::bucket::{PART_BYTES, Patience};
use http_body_util::BodyExt;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use std::future::Future;
use std::pin::Pin;

/// Longest answer that is taken, in bytes: a part of an object, or a page of a list.
const ANSWER_BYTES_MAX: u64 = 4 * PART_BYTES as u64;

/// Gives `object_store` the blocking client.
#[derive(Debug)]
pub(super) struct Connector(pub Patience);

#[derive(Debug)]
struct Client(ureq::Agent);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(self.0.connect()))
            .timeout_global(Some(self.0.request()))
            .build();
        Ok(HttpClient::new(Client(config.into())))
    }
}

impl HttpService for Client {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            // The thread that asks waits here; nothing else runs on it.
            let answer = match parts.method.as_str() {
                "PUT" | "POST" => self.0.run(ureq::http::Request::from_parts(parts, &body[..])),
                _ => self.0.run(ureq::http::Request::from_parts(parts, ())),
            };
            let (parts, mut body) = answer.map_err(failed)?.into_parts();
            let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
            Ok(HttpResponse::from_parts(parts, bytes.into()))
        })
    }
}

/// What went wrong, so that the crate knows whether to try again.
fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
