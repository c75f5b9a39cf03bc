//! An object store as a target.

use super::BackupError;
use super::target::{Chunks, Stored, Target, TargetLock};
use crate::error::Damage;
use crate::object::{Bucket, ObjectError, Patience, Version};
use crate::record::Timestamp;
use crate::vfs::random_salt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The object that says who writes.
const LOCK: &str = "LOCK";
/// A lock that was not renewed for so long was left by a process that ended.
const LOCK_STALE_AFTER: Duration = Duration::from_secs(3600);
/// How often it is renewed.
const LOCK_RENEWED_AFTER: Duration = Duration::from_secs(300);

/// A bucket, or what is below a prefix of it, that holds a backup set.
#[derive(Clone, Debug)]
pub struct ObjectTarget {
    bucket: Bucket,
    /// The lock while it is held.
    held: Arc<Mutex<Option<HeldLock>>>,
}

#[derive(Debug)]
struct HeldLock {
    /// When it was renewed.
    at: Instant,
    version: Version,
    /// What is in it: nobody else's is the same.
    text: String,
}

impl From<ObjectError> for BackupError {
    fn from(e: ObjectError) -> Self {
        match e {
            ObjectError::Address(_) => BackupError::Request(e.to_string()),
            ObjectError::Missing { place } => BackupError::Missing(place),
            ObjectError::Length { place, expected, found } => {
                let (file, offset) = (PathBuf::from(place), found);
                let (expected, found) = (format!("{expected} bytes"), format!("{found} bytes"));
                Damage { file, offset, what: "source", expected, found }.into()
            }
            ObjectError::Refused { place, op, reason } => BackupError::Target { place, op, reason },
        }
    }
}

impl ObjectTarget {
    /// A target by its URL: `s3://BUCKET/PREFIX`. See [`Bucket::open`] for where region, endpoint and credentials come
    /// from. Nothing is asked yet.
    pub fn open(url: &str) -> Result<ObjectTarget, BackupError> {
        Ok(Bucket::open(url, Patience::Long)?.into())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<HeldLock>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lock where that is due. Where it is another's by now, this process is not to write any more.
    fn renew(&self) -> Result<(), BackupError> {
        let mut held = self.held();
        let Some(lock) = held.as_mut().filter(|lock| lock.at.elapsed() >= LOCK_RENEWED_AFTER) else { return Ok(()) };
        match self.bucket.put_over(LOCK, lock.text.as_bytes(), &lock.version)? {
            Some(version) => (lock.at, lock.version) = (Instant::now(), version),
            None => {
                // A request that was answered too late, and then sent again, finds its own.
                let version = self.ours(&lock.text)?;
                (lock.at, lock.version) = (Instant::now(), version.ok_or_else(|| self.busy())?);
            }
        }
        Ok(())
    }

    /// The lock that is there, if this is its text.
    fn ours(&self, text: &str) -> Result<Option<Version>, BackupError> {
        let Some(found) = self.bucket.head(LOCK)? else { return Ok(None) };
        Ok((self.holder() == text).then_some(found.version))
    }

    /// Who holds the lock, as far as that can be read.
    fn holder(&self) -> String {
        const BYTES_MAX: usize = 200;
        let text = self.bucket.read_at(LOCK, 0, BYTES_MAX).map(|(text, _)| text);
        text.map_or("unknown".into(), |t| String::from_utf8_lossy(&t).trim().to_string())
    }

    fn busy(&self) -> BackupError {
        let holder = format!("{}, which holds {}", self.holder(), self.bucket.place(LOCK));
        BackupError::Busy { place: self.bucket.place(""), holder }
    }
}

impl From<Bucket> for ObjectTarget {
    fn from(bucket: Bucket) -> Self {
        ObjectTarget { bucket, held: Arc::default() }
    }
}

impl Target for ObjectTarget {
    fn place(&self, name: &str) -> String {
        self.bucket.place(name)
    }

    fn put(&self, name: &str, bytes: u64, chunks: &mut Chunks<'_>) -> Result<(), BackupError> {
        self.renew()?;
        // Also between the parts of a large object.
        let mut chunks = chunks.map(|chunk| self.renew().and(chunk));
        self.bucket.put(name, bytes, &mut chunks)
    }

    fn get(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>) -> Result<(), BackupError> {
        self.bucket.read(name, &mut |chunk| self.renew().and_then(|()| sink(chunk)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>, BackupError> {
        let all = self.bucket.list(prefix)?.into_iter();
        Ok(all.filter(|o| o.name != LOCK).map(|o| Stored { name: o.name, bytes: o.bytes }).collect())
    }

    fn delete(&self, name: &str) -> Result<(), BackupError> {
        self.renew()?;
        Ok(self.bucket.delete(name)?)
    }

    fn lock(&self) -> Result<TargetLock, BackupError> {
        let text = format!("process {} ({:016x})", std::process::id(), random_salt());
        let mut version = self.bucket.put_new(LOCK, text.as_bytes())?;
        if version.is_none() {
            version = self.ours(&text)?;
        }
        if version.is_none() {
            // One that nobody renews was left behind. Taking it over names the version that was seen, so that of two who
            // find it one gets it.
            let found = self.bucket.head(LOCK)?.ok_or_else(|| self.busy())?;
            let age = Timestamp::now().0 / 1_000_000_000 - found.modified_s;
            if age >= LOCK_STALE_AFTER.as_secs() as i64 {
                version = self.bucket.put_over(LOCK, text.as_bytes(), &found.version)?;
            }
        }
        let version = version.ok_or_else(|| self.busy())?;
        *self.held() = Some(HeldLock { at: Instant::now(), version, text });
        Ok(Box::new(Held(self.clone())))
    }
}

/// The lock of an object store, which goes when this is dropped.
struct Held(ObjectTarget);

impl Drop for Held {
    fn drop(&mut self) {
        let was = self.0.held().take();
        // One that was not renewed in time may be another's by now.
        if was.is_some_and(|lock| lock.at.elapsed() < LOCK_STALE_AFTER) {
            let _ = self.0.bucket.delete(LOCK);
        }
    }
}
