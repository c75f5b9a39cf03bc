//! Requests a second, tenant by tenant.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// One bucket a tenant: it holds as many requests as a second allows, and fills as fast.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<Box<str>, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    /// At most so many requests a second of each; 0 for any.
    pub(super) fn new(per_second: u32) -> Self {
        Rates { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Takes one request in, if the rate allows it. Names come from who was let in, so that there are few.
    pub(super) fn take(&self, name: &str, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(|e| e.into_inner());
        let bucket = buckets.entry(name.into()).or_insert(Bucket { left: self.per_second, at: now });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + since * self.per_second).min(self.per_second);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_its_own_rate() {
        let rates = Rates::new(2);
        let now = Instant::now();
        let taken: Vec<bool> = (0..3).map(|_| rates.take("a", now)).collect();
        assert_eq!(taken, [true, true, false]);
        assert!(rates.take("b", now));
        assert!(rates.take("a", now + Duration::from_millis(500)));
        assert!(!rates.take("a", now + Duration::from_millis(500)));
        assert!((0..1000).all(|_| Rates::new(0).take("a", now)));
    }
}
