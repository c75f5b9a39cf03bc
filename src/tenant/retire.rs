//! Ending a tenant that nobody uses, and taking up again one whose log had failed.

use super::{TenantCore, Writer};
use crate::store::Error;
use std::time::{Duration, Instant};

/// An idle tenant with fewer bytes in memory is closed with its records in the log, which the next open reads again:
/// sealed each time, a trickle of records would make many small segments.
const RETIRE_SEAL_BYTES: usize = 1 << 20;
/// How long appends are refused after a log failed before one of them tries to go on in a new file.
const REVIVE_AFTER: Duration = Duration::from_secs(1);

impl TenantCore {
    /// Makes all durable and ends the log. On an error the tenant is as it was, and has to stay open.
    pub fn retire(&self) -> Result<(), Error> {
        let Some(writer) = &self.writer else { return Ok(()) };
        self.seal_frozen()?;
        if self.active_bytes() >= RETIRE_SEAL_BYTES {
            self.seal()?;
        }
        writer.log.flush()?;
        // A merge that found it before it was idle: nobody may write beside who opens it next.
        writer.merges.end();
        // All of it is durable: what fails now is only the proof, and reserved room.
        let _ = writer.log.close();
        let _ = self.daily.settle(&self.id, &self.options);
        Ok(())
    }

    /// Where the log takes no batches since its file failed and so did a new one, tries a new one again: the disk may
    /// have room by now, or be there again. Not at every append, since each attempt writes.
    pub(super) fn revive(&self, writer: &Writer) -> Result<(), Error> {
        if !writer.log.is_read_only() {
            return Ok(());
        }
        let mut tried = writer.revived.lock().unwrap_or_else(|e| e.into_inner());
        if tried.is_some_and(|at| at.elapsed() < REVIVE_AFTER) {
            return Ok(());
        }
        let result = writer.log.reopen();
        *tried = Some(Instant::now());
        Ok(result?)
    }
}
