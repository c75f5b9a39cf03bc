//! Small bodies: read and parsed where the request is, committed in groups, one thread at a time for each tenant.
//!
//! A thread for each request of one record costs more than the record: it is woken, it waits for the group that its
//! batch is in, and it wakes the request. Here requests queue their batches, and one thread writes those of all.

use super::error::ApiError;
use super::{App, body};
use crate::ingest::{Ingester, Rejected, Rejections, Sink};
use crate::record::Batch;
use crate::store::{Ack, Error, Tenant};
use axum::body::Body;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes of a body that is small, as announced: parsing it takes about as long as waking a thread.
pub(super) const SMALL_BODY_BYTES_MAX: u64 = 16 << 10;
/// Bytes of texts of a tenant that wait for their group; with more, a request takes a thread, for which it waits its turn.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Reads a small body.
pub(super) async fn read(body: Body, announced: u64, idle: Duration) -> Result<Vec<u8>, ApiError> {
    let mut body = body::parts(body, idle);
    let mut bytes = Vec::with_capacity(announced as usize);
    while let Some(part) = body.next().await.map_err(|error| body::unreadable(&error))? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The batches of a body, and what was rejected.
#[derive(Default)]
pub(super) struct Parsed {
    pub batches: Vec<Batch>,
    pub rejections: Rejections,
}

impl Parsed {
    /// Parses a whole body.
    pub fn new(mut ingester: Ingester, bytes: &[u8]) -> Self {
        let mut parsed = Parsed::default();
        let Ok(_counts) = ingester.feed(bytes, &mut parsed).and_then(|()| ingester.finish(&mut parsed));
        parsed
    }
}

impl Sink for Parsed {
    type Error = Infallible;

    fn batch(&mut self, batch: Batch) -> Result<(), Infallible> {
        self.batches.push(batch);
        Ok(())
    }

    fn rejected(&mut self, rejected: Rejected<'_>) {
        self.rejections.add(rejected);
    }
}

/// A batch that waits, and who waits for it: how many records were stored.
type Waiting = (Batch, Ack, oneshot::Sender<Result<u64, ApiError>>);

/// The batches of a tenant that wait. While there is a queue somebody works at it.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// The queues of tenants whose batches wait or are being written.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<Box<str>, Queue>>);

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Groups")
    }
}

impl Groups {
    fn queues(&self) -> MutexGuard<'_, HashMap<Box<str>, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits for a tenant; without any, its queue goes.
    fn take(&self, tenant: &str) -> Vec<Waiting> {
        let mut queues = self.queues();
        let taken = queues.get_mut(tenant).map(std::mem::take).unwrap_or_default();
        if taken.waiting.is_empty() {
            queues.remove(tenant);
        }
        taken.waiting
    }
}

/// Commits a batch together with those of other requests; how many records were stored. Gives the batch back where too
/// much waits already.
pub(super) async fn commit(
    app: &Arc<App>,
    tenant: &Tenant,
    batch: Batch,
    ack: Ack,
) -> Result<Result<u64, ApiError>, Batch> {
    let (sender, receiver) = oneshot::channel();
    let is_first = {
        let mut queues = app.groups.queues();
        let is_first = !queues.contains_key(tenant.name());
        let queue = match is_first {
            true => queues.entry(tenant.name().into()).or_default(),
            false => match queues.get_mut(tenant.name()) {
                Some(queue) if queue.bytes < WAITING_BYTES_MAX => queue,
                _ => return Err(batch),
            },
        };
        queue.bytes += batch.text_bytes();
        queue.waiting.push((batch, ack, sender));
        is_first
    };
    if is_first {
        // By itself: the request that happens to come first may be dropped.
        tokio::spawn(work(app.clone(), tenant.clone()));
    }
    Ok(receiver.await.unwrap_or_else(|_| Err(ApiError::internal("the thread that wrote the records ended"))))
}

/// Writes what waits for a tenant until nothing does.
async fn work(app: Arc<App>, tenant: Tenant) {
    loop {
        let turn = app.ingests.take(tenant.name(), app.wait()).await;
        let (groups, own) = (app.clone(), tenant.clone());
        let written = match turn {
            Ok(turn) => tokio::task::spawn_blocking(move || {
                let _turn = turn;
                // What came while the last group was written is the next one.
                std::iter::from_fn(|| Some(groups.groups.take(own.name())).filter(|group| !group.is_empty()))
                    .for_each(|group| write(&own, group));
            })
            .await
            .map_err(|error| ApiError::internal(error.to_string())),
            Err(error) => Err(error),
        };
        let Err(error) = written else { return };
        // Whoever comes after these finds the queue and trusts that it is worked at, so that it has to go with them.
        let group = app.groups.take(tenant.name());
        if group.is_empty() {
            return;
        }
        for (_, _, sender) in group {
            let _ = sender.send(Err(error.clone()));
        }
    }
}

/// Commits a group, and tells those who wait.
fn write(tenant: &Tenant, group: Vec<Waiting>) {
    let (mut batches, mut senders) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
    for (batch, ack, sender) in group {
        batches.push((batch, ack));
        senders.push(sender);
    }
    let results = match tenant.append_batches(&batches) {
        Ok(results) => results,
        // Of all: each by itself, whose error is its own.
        Err(_) => {
            batches.iter().map(|(batch, ack)| tenant.append_batch(batch, *ack)).collect::<Vec<Result<_, Error>>>()
        }
    };
    for (sender, result) in senders.into_iter().zip(results) {
        // Who went away is not told.
        let _ = sender.send(result.map(|appended| u64::from(appended.records)).map_err(ApiError::from));
    }
}
