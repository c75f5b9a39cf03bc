//! Turns: how many requests run at once, of all tenants and of each.
//!
//! A tenant may not have all of them, so that its flood, or its slow bodies, leave others their turn.

use super::error::ApiError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tenants whose turns are kept count of before those without a request are forgotten.
const TENANTS_KEPT_MAX: usize = 1024;

/// The turns of one kind of request.
#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// How many of them one tenant may have.
    each: usize,
    own: Mutex<HashMap<Box<str>, Weak<Semaphore>>>,
    /// The limit, as errors name it.
    limit: &'static str,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// What one tenant may have of so many turns: all but a quarter, and at least one.
fn share(max: usize) -> usize {
    (max - (max / 4).max(1).min(max)).max(1)
}

impl Turns {
    /// At most `max` at once. Where there is but one tenant, it may have all.
    pub(super) fn new(max: u32, one_tenant: bool, limit: &'static str) -> Self {
        let max = max.max(1) as usize;
        let each = if one_tenant { max } else { share(max) };
        Turns { all: Arc::new(Semaphore::new(max)), each, own: Mutex::default(), limit }
    }

    fn own(&self, tenant: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(found) = own.get(tenant).and_then(Weak::upgrade) {
            return found;
        }
        if own.len() >= TENANTS_KEPT_MAX {
            own.retain(|_, turns| turns.strong_count() > 0);
        }
        let made = Arc::new(Semaphore::new(self.each));
        own.insert(tenant.into(), Arc::downgrade(&made));
        made
    }

    /// Waits for a turn, not for ever. A tenant that has its share waits without taking a place from others.
    pub(super) async fn take(&self, tenant: &str, wait: Duration) -> Result<Turn, ApiError> {
        let both = async {
            let own = self.own(tenant).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Turn { _own: own, _all: self.all.clone().acquire_owned().await? })
        };
        match tokio::time::timeout(wait, both).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(ApiError::unavailable("shutting_down", "the server is shutting down")),
            Err(_) => Err(ApiError::too_many(format!("too many requests at once ({})", self.limit), 1)),
        }
    }

    /// Gives out no more turns.
    pub(super) fn close(&self) {
        self.all.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_not_all() {
        for (max, each) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (32, 24)] {
            assert_eq!(share(max), each, "{max}");
        }
    }
}
