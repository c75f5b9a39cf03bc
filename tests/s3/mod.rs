//! S3 as far as backups and archives need it, served by the test itself.
#![allow(dead_code, reason = "each test takes what it needs")]

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use duramen::Timestamp;
use duramen::object::Bucket;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// Objects of a page of a list: few, so that lists have several.
const PAGE: usize = 3;
/// What a part of an upload has at least, unless it is the last one.
const PART_BYTES_MIN: usize = 5 << 20;
pub const KEY: &str = "test-key";

/// What the service holds.
#[derive(Default)]
pub struct Contents {
    pub objects: BTreeMap<String, Object>,
    pub uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    pub multipart_done: u64,
    /// Pages of lists that were given.
    pub pages: u64,
    /// What is asked next is answered with these statuses, one each.
    pub refuse_next: VecDeque<u16>,
    /// All is answered so, until it is taken back.
    pub refuse_all: Option<u16>,
    /// The next object that is stored is, and the answer says that it was not.
    pub lose_answer: bool,
    /// A bit of the next object that is stored is another one.
    pub flip_next: bool,
    /// Nothing can be deleted.
    pub keep_all: bool,
    /// What was asked: method and key.
    pub asked: Vec<String>,
    made: u64,
}

#[derive(Clone)]
pub struct Object {
    pub bytes: Bytes,
    pub modified_s: i64,
    etag: String,
}

type Shared = Arc<Mutex<Contents>>;

/// A service on a port of its own, for as long as this lives. It has one bucket, `bucket`.
pub struct Service {
    contents: Shared,
    pub endpoint: String,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    pub fn start() -> Service {
        let contents = Shared::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(contents.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Service { contents, endpoint, _runtime: runtime }
    }

    pub fn open(&self, url: &str) -> Bucket {
        Bucket::open_at(url, &self.endpoint, KEY, "test-secret").unwrap()
    }

    pub fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.contents().objects.keys().cloned().collect()
    }

    /// Says to a program where the service is, and who asks.
    pub fn tell(&self, command: &mut std::process::Command) {
        command.env("AWS_ENDPOINT", &self.endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", "test-secret");
    }
}

fn time(seconds: i64) -> String {
    Timestamp(seconds * 1_000_000_000).to_string()
}

/// A date as HTTP has it.
fn http_date(seconds: i64) -> String {
    let text = time(seconds);
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        [text[5..7].parse::<usize>().unwrap() - 1];
    let day = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(seconds.div_euclid(86_400)).rem_euclid(7) as usize];
    format!("{day}, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

fn reply(status: u16, headers: &[(&str, String)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body.into()).unwrap()
}

fn xml(status: u16, text: String) -> Response {
    reply(status, &[("content-type", "application/xml".into())], format!("<?xml version=\"1.0\"?>{text}"))
}

fn refused(status: u16, code: &str) -> Response {
    xml(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            b'+' => out.push(b' '),
            b => out.push(b),
        }
    }
    String::from_utf8(out).unwrap()
}

async fn answer(State(contents): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let signed = parts.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY}/")) || !signed.contains("Signature=") {
        return refused(403, "AccessDenied");
    }
    let path = unescape(parts.uri.path());
    let (name, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    if name != "bucket" {
        return refused(404, "NoSuchBucket");
    }
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect();
    let mut bucket = contents.lock().unwrap();
    bucket.asked.push(format!("{} {key}", parts.method));
    if let Some(status) = bucket.refuse_next.pop_front().or(bucket.refuse_all) {
        return refused(status, "SlowDown");
    }
    if bucket.keep_all && (parts.method == Method::DELETE || query.contains_key("delete")) {
        return refused(403, "AccessDenied");
    }
    match (parts.method, query.contains_key("uploads"), query.get("uploadId"), key) {
        (Method::GET, _, _, "") => list(&mut bucket, &query),
        (Method::POST, _, _, "") => delete_several(&mut bucket, &body),
        (Method::POST, true, _, _) => {
            bucket.made += 1;
            let id = format!("upload-{}", bucket.made);
            bucket.uploads.insert(id.clone(), BTreeMap::new());
            xml(
                200,
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"),
            )
        }
        (Method::PUT, _, Some(id), _) => {
            let number: u32 = query["partNumber"].parse().unwrap();
            bucket.uploads.get_mut(id).unwrap().insert(number, body);
            reply(200, &[("etag", format!("\"part-{number}\""))], "")
        }
        (Method::POST, _, Some(id), _) => {
            let parts = bucket.uploads.remove(id).unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            let is_named = |n: &u32| text.contains(&format!("<PartNumber>{n}</PartNumber>"));
            assert!(parts.keys().all(is_named) && text.matches("<PartNumber>").count() == parts.len(), "{text}");
            let last = parts.len().saturating_sub(1);
            if parts.values().take(last).any(|part| part.len() < PART_BYTES_MIN) {
                return refused(400, "EntityTooSmall");
            }
            let whole: Vec<u8> = parts.into_values().flatten().collect();
            bucket.multipart_done += 1;
            let etag = bucket.put(key, whole.into());
            xml(200, format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"))
        }
        (Method::DELETE, _, Some(id), _) => {
            bucket.uploads.remove(id);
            reply(204, &[], "")
        }
        (Method::PUT, _, None, _) => {
            let found = bucket.objects.get(key).map(|object| object.etag.clone());
            let wanted = parts.headers.get("if-match").map(|v| v.to_str().unwrap().to_string());
            if parts.headers.contains_key("if-none-match") && found.is_some() || wanted.is_some() && wanted != found {
                return refused(412, "PreconditionFailed");
            }
            let mut body = body.to_vec();
            let middle = body.len() / 2;
            if std::mem::take(&mut bucket.flip_next) {
                body[middle] ^= 1;
            }
            let etag = bucket.put(key, body.into());
            match std::mem::take(&mut bucket.lose_answer) {
                true => refused(503, "ServiceUnavailable"),
                false => reply(200, &[("etag", etag)], ""),
            }
        }
        (Method::DELETE, _, None, _) => {
            bucket.objects.remove(key);
            reply(204, &[], "")
        }
        (Method::GET | Method::HEAD, _, _, _) => match bucket.objects.get(key) {
            Some(object) => get(object, &parts.headers),
            None => refused(404, "NoSuchKey"),
        },
        _ => refused(405, "MethodNotAllowed"),
    }
}

impl Contents {
    fn put(&mut self, key: &str, bytes: Bytes) -> String {
        self.made += 1;
        let etag = format!("\"{:x}\"", self.made);
        let modified_s = Timestamp::now().0 / 1_000_000_000;
        self.objects.insert(key.into(), Object { bytes, etag: etag.clone(), modified_s });
        etag
    }
}

fn get(object: &Object, headers: &HeaderMap) -> Response {
    let len = object.bytes.len();
    let mut told = vec![
        ("etag", object.etag.clone()),
        ("last-modified", http_date(object.modified_s)),
        ("accept-ranges", "bytes".to_string()),
    ];
    let range = headers.get(header::RANGE).map(|v| v.to_str().unwrap().strip_prefix("bytes=").unwrap().to_string());
    let Some((from, to)) = range.as_ref().and_then(|range| range.split_once('-')) else {
        told.push(("content-length", len.to_string()));
        return reply(200, &told, object.bytes.clone());
    };
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    if from >= len {
        return refused(416, "InvalidRange");
    }
    let to = to.min(len - 1);
    told.push(("content-range", format!("bytes {from}-{to}/{len}")));
    reply(StatusCode::PARTIAL_CONTENT.as_u16(), &told, object.bytes.slice(from..=to))
}

fn list(bucket: &mut Contents, query: &BTreeMap<String, String>) -> Response {
    let prefix = query.get("prefix").map_or("", |p| p);
    let after = query.get("continuation-token").map_or("", |t| t);
    let found: Vec<_> =
        bucket.objects.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after).collect();
    let is_cut = found.len() > PAGE;
    let mut text = format!("<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>");
    for (name, object) in found.iter().take(PAGE) {
        let (size, modified) = (object.bytes.len(), time(object.modified_s));
        let etag = object.etag.trim_matches('"');
        text.push_str(&format!("<Contents><Key>{name}</Key><LastModified>{modified}</LastModified>"));
        text.push_str(&format!("<ETag>{etag}</ETag><Size>{size}</Size></Contents>"));
    }
    if is_cut {
        text.push_str(&format!("<NextContinuationToken>{}</NextContinuationToken>", found[PAGE - 1].0));
    }
    bucket.pages += 1;
    xml(200, text + "</ListBucketResult>")
}

fn delete_several(bucket: &mut Contents, body: &[u8]) -> Response {
    let text = std::str::from_utf8(body).unwrap();
    let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| key);
    let mut told = String::from("<DeleteResult>");
    for key in keys {
        bucket.objects.remove(key);
        told.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
    }
    xml(200, told + "</DeleteResult>")
}
