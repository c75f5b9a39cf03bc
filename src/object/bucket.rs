//! A bucket, or what is below a prefix of it.
//!
//! The crate below is asynchronous and the engine is not: each bucket has a runtime of no thread, which runs while a call
//! waits, on the thread that called.

use super::ObjectError;
use super::client::Connector;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, RetryConfig, UpdateVersion,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Bytes of a part of an upload, and of a range that is read at a time: what is in memory. A thousand parts are 8 GiB,
/// and S3 takes ten thousand.
pub(super) const PART_BYTES: usize = 8 << 20;

/// How long a service may take before there is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// A backup that runs by night: a request may take five minutes, and be tried again for three.
    Long,
    /// A query that somebody waits for: a request may take 20 seconds, and be tried again for as many.
    Short,
}

impl Patience {
    /// How long a connection may take.
    pub(super) fn connect(self) -> Duration {
        match self {
            Patience::Long => Duration::from_secs(10),
            Patience::Short => Duration::from_secs(5),
        }
    }

    /// How long one request may take, with its body.
    pub(super) fn request(self) -> Duration {
        match self {
            Patience::Long => Duration::from_secs(300),
            Patience::Short => Duration::from_secs(20),
        }
    }

    fn retry(self) -> RetryConfig {
        let (max_retries, seconds) = match self {
            Patience::Long => (10, 180),
            Patience::Short => (4, 20),
        };
        RetryConfig { max_retries, retry_timeout: Duration::from_secs(seconds), backoff: BackoffConfig::default() }
    }
}

/// A bucket, or what is below a prefix of it. A clone is the same one.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    address: String,
    prefix: Path,
    store: AmazonS3,
    /// There until this is dropped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of the store below: it has a secret.
        f.debug_tuple("Bucket").field(&self.0.address).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Also by a thread of another runtime, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Which of the objects that had a name one after another.
#[derive(Clone, Debug)]
pub struct Version(UpdateVersion);

/// An object that is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was made, in Unix seconds by the service's clock.
    pub modified_s: i64,
    /// Which one it is.
    pub version: Version,
}

/// An object of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name below the bucket's prefix.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Bucket {
    /// A bucket by its URL: `s3://BUCKET/PREFIX`. Region, endpoint and credentials come from the environment, by the
    /// names that `object_store` documents: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    /// `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP` and others. Nothing is asked yet.
    pub fn open(url: &str, patience: Patience) -> Result<Bucket, ObjectError> {
        Self::configure(url, patience, AmazonS3Builder::from_env())
    }

    /// The same with what is said here in place of the environment; for tests, which share theirs.
    #[doc(hidden)]
    pub fn open_at(url: &str, endpoint: &str, key: &str, secret: &str) -> Result<Bucket, ObjectError> {
        let builder = AmazonS3Builder::new().with_endpoint(endpoint).with_region("us-east-1").with_allow_http(true);
        Self::configure(url, Patience::Short, builder.with_access_key_id(key).with_secret_access_key(secret))
    }

    fn configure(url: &str, patience: Patience, builder: AmazonS3Builder) -> Result<Bucket, ObjectError> {
        let bad = |why: &str| ObjectError::Address(why.to_string());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        if scheme != "s3" {
            return Err(bad("a folder is, and s3://BUCKET/PREFIX"));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(bad("it names no bucket"));
        }
        if !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(bad(
                "a bucket's name has letters, digits, `.`, `-` and `_`; credentials and hosts are not in it",
            ));
        }
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|e| bad(&e.to_string()))?;
        let builder = builder.with_bucket_name(bucket).with_retry(patience.retry());
        let store = builder.with_http_connector(Connector(patience)).build().map_err(|e| bad(&e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = Some(runtime.map_err(|e| bad(&e.to_string()))?);
        let address = url.trim_end_matches('/').to_string();
        Ok(Bucket(Arc::new(Inner { address, prefix, store, runtime })))
    }

    fn wait<T>(&self, op: &'static str, name: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
        let Some(runtime) = &self.0.runtime else {
            let (place, reason) = (self.place(name), "the bucket is closed".to_string());
            return Err(Failed { error: ObjectError::Refused { place, op, reason }, is_other: false });
        };
        runtime.block_on(work).map_err(|e| Failed {
            error: ObjectError::of(op, self.place(name), &e),
            is_other: matches!(e, Error::AlreadyExists { .. } | Error::Precondition { .. }),
        })
    }

    fn path(&self, name: &str) -> Path {
        // Names are made of letters, digits and a few signs, which paths take as they are.
        let prefix = self.0.prefix.parts().map(|p| p.as_ref().to_string());
        Path::from_iter(prefix.chain(name.split('/').filter(|part| !part.is_empty()).map(String::from)))
    }

    /// The address of an object, for people; of the bucket where the name is empty.
    pub fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.0.address).trim_end_matches('/').to_string()
    }

    /// Stores an object of this length, over one that has the name: at once, or where it is large in parts, of which
    /// nobody sees any before all are there.
    pub fn put<E: From<ObjectError>>(
        &self,
        name: &str,
        bytes: u64,
        chunks: &mut dyn Iterator<Item = Result<Vec<u8>, E>>,
    ) -> Result<(), E> {
        let length = |found| ObjectError::Length { place: self.place(name), expected: bytes, found };
        let mut part = Vec::new();
        let is_small = loop {
            if part.len() >= PART_BYTES {
                break false;
            }
            match chunks.next() {
                Some(chunk) => part.extend_from_slice(&chunk?),
                None => break true,
            }
        };
        if is_small {
            // The length is compared before anything has the name.
            if part.len() as u64 != bytes {
                return Err(length(part.len() as u64).into());
            }
            let payload = PutPayload::from(part);
            let path = self.path(name);
            self.wait("put", name, self.0.store.put(&path, payload)).map_err(Failed::error)?;
            return Ok(());
        }
        let path = self.path(name);
        let mut upload = self.wait("upload", name, self.0.store.put_multipart(&path)).map_err(Failed::error)?;
        let parts = self.put_parts(name, &mut *upload, part, chunks);
        let whole = parts.and_then(|sent| if sent == bytes { Ok(()) } else { Err(length(sent).into()) });
        match whole {
            Ok(()) => Ok(self.wait("upload", name, upload.complete()).map(drop).map_err(Failed::error)?),
            Err(e) => {
                // Where this fails too, the bucket's rule for unfinished uploads takes the parts.
                let _ = self.wait("upload", name, upload.abort());
                Err(e)
            }
        }
    }

    /// Uploads what there is, part by part; gives the bytes.
    fn put_parts<E: From<ObjectError>>(
        &self,
        name: &str,
        upload: &mut dyn MultipartUpload,
        first: Vec<u8>,
        chunks: &mut dyn Iterator<Item = Result<Vec<u8>, E>>,
    ) -> Result<u64, E> {
        let (mut part, mut sent) = (first, 0);
        loop {
            let chunk = chunks.next();
            let is_last = chunk.is_none();
            part.extend_from_slice(&chunk.transpose()?.unwrap_or_default());
            if part.len() >= PART_BYTES || is_last && !part.is_empty() {
                sent += part.len() as u64;
                let payload = PutPayload::from(std::mem::take(&mut part));
                self.wait("upload", name, upload.put_part(payload)).map_err(Failed::error)?;
            }
            if is_last {
                return Ok(sent);
            }
        }
    }

    /// Stores a small object where there is none of the name; `None` where there is one.
    pub fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, ObjectError> {
        self.put_if(name, bytes, PutMode::Create)
    }

    /// Stores a small object in the place of this version; `None` where another one is there by now, or none.
    pub fn put_over(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, ObjectError> {
        match self.put_if(name, bytes, PutMode::Update(version.0.clone())) {
            Err(e) if e.is_missing() => Ok(None),
            other => other,
        }
    }

    fn put_if(&self, name: &str, bytes: &[u8], mode: PutMode) -> Result<Option<Version>, ObjectError> {
        let (path, payload) = (self.path(name), PutPayload::from(bytes.to_vec()));
        match self.wait("put", name, self.0.store.put_opts(&path, payload, PutOptions::from(mode))) {
            Ok(put) => Ok(Some(Version(put.into()))),
            Err(failed) if failed.is_other => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// What is known of an object; `None` where there is none.
    pub fn head(&self, name: &str) -> Result<Option<Found>, ObjectError> {
        let path = self.path(name);
        match self.wait("look at", name, self.0.store.head(&path)) {
            Ok(meta) => Ok(Some(Found {
                bytes: meta.size,
                modified_s: meta.last_modified.timestamp(),
                version: Version(UpdateVersion { e_tag: meta.e_tag, version: meta.version }),
            })),
            Err(failed) if failed.error.is_missing() => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// Up to `len` bytes of an object from a place on, fewer only at its end; and the length of all of it. A place behind
    /// the end is an error.
    pub fn read_at(&self, name: &str, at: u64, len: usize) -> Result<(Vec<u8>, u64), ObjectError> {
        let range = at..at.saturating_add(len as u64);
        let path = self.path(name);
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let get = async {
            let got = self.0.store.get_opts(&path, options).await?;
            let size = got.meta.size;
            Ok((got.bytes().await?, size))
        };
        let (bytes, size) = self.wait("get", name, get).map_err(Failed::error)?;
        let expected = range.end.min(size).saturating_sub(at);
        if bytes.len() as u64 != expected {
            let reason = format!("{} bytes came from byte {at} on, and {expected} were asked for", bytes.len());
            return Err(ObjectError::Refused { place: self.place(name), op: "get", reason });
        }
        Ok((bytes.into(), size))
    }

    /// Hands an object's bytes to `sink` in order, some megabytes at a time.
    pub fn read<E: From<ObjectError>>(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        loop {
            let (part, size) = match self.read_at(name, at, PART_BYTES) {
                Err(e) if at == 0 && is_no_range(&e) && self.head(name)?.is_some_and(|f| f.bytes == 0) => return Ok(()),
                other => other?,
            };
            sink(&part)?;
            at += part.len() as u64;
            if at >= size || part.is_empty() {
                return Ok(());
            }
        }
    }

    /// The objects whose names begin with this, which is empty or ends with a slash, by name.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectError> {
        let below = self.path(prefix);
        let list = async {
            let mut stream = self.0.store.list(Some(&below));
            let mut all = Vec::new();
            while let Some(found) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                all.push(found?);
            }
            Ok(all)
        };
        let all = self.wait("list", prefix, list).map_err(Failed::error)?;
        let root = self.0.prefix.as_ref();
        let name = |key: &str| -> Option<String> {
            let below = if root.is_empty() { Some(key) } else { key.strip_prefix(root)?.strip_prefix('/') };
            below.map(String::from)
        };
        let mut out: Vec<Listed> = all
            .iter()
            .filter_map(|meta| Some(Listed { name: name(meta.location.as_ref())?, bytes: meta.size }))
            .collect();
        out.sort();
        Ok(out)
    }

    /// Removes an object; no error where there is none.
    pub fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let path = self.path(name);
        match self.wait("delete", name, self.0.store.delete(&path)).map_err(Failed::error) {
            Err(e) if e.is_missing() => Ok(()),
            other => other,
        }
    }
}

/// May it be that an object has no bytes, of which none can be asked for? Services say it in these ways.
fn is_no_range(error: &ObjectError) -> bool {
    let ObjectError::Refused { reason, .. } = error else { return false };
    ["416", "non-partial response", "only 0 bytes"].iter().any(|words| reason.contains(words))
}

/// A request that failed.
struct Failed {
    error: ObjectError,
    /// Was there another version than the one that it was for?
    is_other: bool,
}

impl Failed {
    fn error(self) -> ObjectError {
        self.error
    }
}
