//! How much came today, for the quota of a day: it is known again after a restart and after a crash.
//!
//! Promises: before a batch is let in, the file `usage` says durably that at least as much came as will have come with
//! it, so that no crash lets a tenant send more than its quota. It says up to a 64th of the quota more than came, so that
//! not each batch writes it; a tenant that is closed in order has it say what came. May not know: other quotas.

use super::TenantOptions;
use crate::error::StorageError;
use crate::format::header::UsageHeader;
use crate::id::TenantId;
use crate::store::Error;
use std::sync::{Mutex, MutexGuard};

/// The file says at most such a part of the quota more than came.
const AHEAD_PARTS: u64 = 64;

/// What came on the last day that anything did.
#[derive(Debug, Default)]
pub(super) struct Daily {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Days since 1970.
    day: i64,
    /// Bytes that were let in on it.
    came: u64,
    /// What the file says for it; 0 where it says nothing.
    written: u64,
    /// Why no more is known of it than what the log and the segments of that day have.
    damage: Option<String>,
}

impl State {
    fn begin(&mut self, day: i64) {
        if self.day != day {
            *self = State { day, ..State::default() };
        }
    }
}

impl Daily {
    /// Reads a tenant's file, which is missing where no quota of a day ever counted. Where it is damaged, as much counts
    /// as having come today as `known` says, which is asked then alone; [`Daily::damage`] tells of it for the day.
    pub fn open(
        id: &TenantId,
        options: &TenantOptions,
        write: bool,
        known: impl FnOnce(i64) -> u64,
    ) -> Result<Daily, StorageError> {
        let (vfs, path) = (&options.vfs, options.dir.join("usage"));
        let beside = options.dir.join("usage.tmp");
        if write && vfs.exists(&beside)? {
            vfs.remove(&beside)?;
        }
        let mut state = State::default();
        if vfs.exists(&path)? {
            let damage = match UsageHeader::decode(&vfs.read(&path)?) {
                Ok(header) if header.tenant == *id => {
                    state = State { day: header.day, came: header.bytes, written: header.bytes, damage: None };
                    None
                }
                Ok(header) => Some(format!("it is that of {}", header.tenant)),
                Err(error) => Some(error.in_file(&path).to_string()),
            };
            if let Some(damage) = damage {
                let day = options.rules.today();
                let came = known(day);
                let damage = Some(format!("{damage}: {came} bytes are taken for what came today, by log and segments"));
                state = State { day, came, written: 0, damage };
            }
        }
        Ok(Daily { state: Mutex::new(state) })
    }

    /// Why the sum of a day may be too low, where its file was damaged.
    pub fn damage(&self, day: i64) -> Option<String> {
        let state = self.state();
        state.damage.clone().filter(|_| state.day == day)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked; each statement leaves it whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Bytes that came on a day.
    pub fn came(&self, day: i64) -> u64 {
        let state = self.state();
        if state.day == day { state.came } else { 0 }
    }

    /// Lets a batch in if `admit`, which is given what came on the day, does; with a quota of a day it is on the disk
    /// before this returns. What is let in counts, also where it can't be stored then.
    pub fn admit(
        &self,
        (id, options): (&TenantId, &TenantOptions),
        day: i64,
        (bytes, per_day): (u64, Option<u64>),
        admit: impl FnOnce(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Held while the file is written: two batches are not let in for the room of one.
        let mut state = self.state();
        state.begin(day);
        admit(state.came)?;
        let came = state.came.saturating_add(bytes);
        if let Some(limit) = per_day
            && came > state.written
        {
            let ahead = came.saturating_add(limit / AHEAD_PARTS).min(limit.max(came));
            write(id, options, day, ahead)?;
            state.written = ahead;
        }
        state.came = came;
        Ok(())
    }

    /// Has the file say what came, where it says more. Where that fails it goes on to say more.
    pub fn settle(&self, id: &TenantId, options: &TenantOptions) -> Result<(), StorageError> {
        let mut state = self.state();
        if state.written > state.came {
            write(id, options, state.day, state.came)?;
            state.written = state.came;
        }
        Ok(())
    }
}

fn write(id: &TenantId, options: &TenantOptions, day: i64, bytes: u64) -> Result<(), StorageError> {
    let header = UsageHeader { tenant: id.clone(), salt: options.vfs.salt(), day, bytes };
    options.vfs.replace(&options.dir.join("usage"), &header.encode())
}
