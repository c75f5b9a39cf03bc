//! The batches that wait for the log.

use super::{Ack, GROUP_BYTES_MAX, Prepared};
use crate::id::Seq;
use std::sync::{Arc, Condvar};

/// What makes a batch visible; it gets the Seq of its first record.
pub type Commit = Box<dyn FnOnce(Seq) + Send>;

/// A batch to append, what must have happened to it before it is acknowledged, and what makes it visible.
pub type Append = (Prepared, Ack, Commit);

/// A batch in the queue.
pub(super) struct Entry {
    pub ticket: u64,
    pub batch: Prepared,
    pub ack: Ack,
    pub commit: Commit,
    /// Whose it is. Each thread waits by itself, so that only those are woken who have something to do.
    pub waiter: Arc<Condvar>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({})", self.ticket)
    }
}

/// Batches that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue(Vec<Entry>);

impl Queue {
    pub fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who waits for the oldest.
    pub fn first(&self) -> Option<Arc<Condvar>> {
        self.0.first().map(|entry| entry.waiter.clone())
    }

    /// As many batches as a group takes, oldest first.
    pub fn take_group(&mut self) -> Vec<Entry> {
        let mut bytes = 0;
        let over = self.0.iter().position(|entry| {
            bytes += entry.batch.stored_bytes();
            bytes > GROUP_BYTES_MAX
        });
        let rest = self.0.split_off(over.unwrap_or(self.0.len()).max(1).min(self.0.len()));
        std::mem::replace(&mut self.0, rest)
    }
}
