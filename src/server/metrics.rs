//! What is counted, as Prometheus text and as a summary in JSON.

use crate::store::{QueryStats, StoreFigures};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the classes of durations, in seconds.
const BOUNDS_S: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Durations, by class.
#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS_S.len() + 1],
    sum_s: f64,
}

impl Histogram {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let class = BOUNDS_S.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS_S.len());
        self.counts[class] += 1;
        self.sum_s += seconds;
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The bound of the class that the quantile is in, in ms; of the last class its lower bound.
    fn quantile_ms(&self, q: f64) -> f64 {
        let rank = (q * self.count() as f64).ceil() as u64;
        let mut below = 0;
        for (i, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank.max(1) {
                return BOUNDS_S[i.min(BOUNDS_S.len() - 1)] * 1000.0;
            }
        }
        0.0
    }

    fn summary(&self) -> Value {
        let count = self.count();
        let avg = if count == 0 { 0.0 } else { self.sum_s / count as f64 * 1000.0 };
        json!({
            "count": count,
            "avg_ms": (avg * 1000.0).round() / 1000.0,
            "p50_ms": self.quantile_ms(0.5),
            "p95_ms": self.quantile_ms(0.95),
            "p99_ms": self.quantile_ms(0.99),
        })
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        let mut below = 0;
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (count, bound) in self.counts.iter().zip(BOUNDS_S) {
            below += count;
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let count = self.count();
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {}\n{name}_count {count}", self.sum_s);
    }
}

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    request_durations: Mutex<Histogram>,
    query_durations: Mutex<Histogram>,
    query_errors: AtomicU64,
    rows_matched: AtomicU64,
    rows_scanned: AtomicU64,
    blocks_total: AtomicU64,
    blocks_read: AtomicU64,
    ingest_requests: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    rejected: AtomicU64,
}

/// What the store holds at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges {
    pub(super) store: StoreFigures,
    pub(super) memtable_bytes: u64,
    pub(super) cache_bytes: u64,
    pub(super) sealed_bytes: u64,
    pub(super) merged_bytes: u64,
    pub(super) merges: u64,
    pub(super) in_flight: u64,
    pub(super) uptime_s: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Metrics {
    /// A request was answered. Routes are those of the router: what clients make up is not a label.
    pub(super) fn answered(&self, route: &'static str, status: u16, duration: Duration) {
        *lock(&self.requests).entry((route, status)).or_default() += 1;
        lock(&self.request_durations).add(duration);
    }

    /// A body of records was taken in, or part of it.
    pub(super) fn ingested(&self, records: u64, bytes: u64, rejected: u64) {
        self.ingest_requests.fetch_add(1, Relaxed);
        self.records.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.rejected.fetch_add(rejected, Relaxed);
    }

    /// A query ended; without figures where it went wrong or was dropped.
    pub(super) fn queried(&self, duration: Duration, stats: Option<QueryStats>) {
        lock(&self.query_durations).add(duration);
        match stats {
            Some(stats) => {
                self.rows_matched.fetch_add(stats.rows_matched, Relaxed);
                self.rows_scanned.fetch_add(stats.rows_scanned, Relaxed);
                self.blocks_total.fetch_add(stats.blocks_total, Relaxed);
                self.blocks_read.fetch_add(stats.blocks_read, Relaxed);
            }
            None => drop(self.query_errors.fetch_add(1, Relaxed)),
        }
    }

    /// Prometheus' text format, version 0.0.4.
    pub(super) fn prometheus(&self, gauges: &Gauges) -> String {
        let mut out = String::with_capacity(4096);
        let _ =
            writeln!(out, "# HELP duramen_requests_total Requests answered.\n# TYPE duramen_requests_total counter");
        for ((route, status), count) in lock(&self.requests).iter() {
            let _ = writeln!(out, "duramen_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        lock(&self.request_durations).write("duramen_request_duration_seconds", "Until the answer begins.", &mut out);
        lock(&self.query_durations).write("duramen_query_duration_seconds", "Until all rows are out.", &mut out);
        let counters = [
            ("query_errors_total", "Queries that went wrong or were dropped.", &self.query_errors),
            ("query_rows_matched_total", "Rows that matched queries.", &self.rows_matched),
            ("query_rows_scanned_total", "Rows of blocks that queries read.", &self.rows_scanned),
            ("query_blocks_read_total", "Blocks that queries read.", &self.blocks_read),
            ("ingest_requests_total", "Bodies of records taken in.", &self.ingest_requests),
            ("ingest_records_total", "Records accepted.", &self.records),
            ("ingest_bytes_total", "Bytes of bodies of records, unpacked.", &self.bytes),
            ("ingest_rejected_total", "Records rejected.", &self.rejected),
        ];
        for (name, help, counter) in counters {
            let value = counter.load(Relaxed);
            let _ =
                writeln!(out, "# HELP duramen_{name} {help}\n# TYPE duramen_{name} counter\nduramen_{name} {value}");
        }
        let pruned = self.blocks_total.load(Relaxed).saturating_sub(self.blocks_read.load(Relaxed));
        let name = "duramen_query_blocks_pruned_total";
        let _ = writeln!(out, "# HELP {name} Blocks that queries left out.\n# TYPE {name} counter\n{name} {pruned}");
        for (name, help, value) in [
            ("sealed_bytes_total", "Bytes of segments that seals wrote.", gauges.sealed_bytes),
            ("merged_bytes_total", "Bytes of segments that merges wrote.", gauges.merged_bytes),
            ("merges_total", "Merges of segments.", gauges.merges),
        ] {
            let _ =
                writeln!(out, "# HELP duramen_{name} {help}\n# TYPE duramen_{name} counter\nduramen_{name} {value}");
        }
        for (name, help, value) in [
            ("tenants", "Tenants of the store.", gauges.store.tenants),
            ("tenants_open", "Tenants that are open.", gauges.store.tenants_open),
            (
                "tenants_unknown",
                "Tenants that were not open since the start: not in the sums.",
                gauges.store.tenants_unknown,
            ),
            (
                "tenants_refused",
                "Tenants that could not be opened when they were last asked for.",
                gauges.store.tenants_refused,
            ),
            ("records", "Records kept by tenants that are or were open.", gauges.store.records),
            ("segments", "Live segments of tenants that are or were open.", gauges.store.segments),
            ("segment_bytes", "Bytes of these segments.", gauges.store.segment_bytes),
            ("log_bytes", "Bytes of log files of these tenants, without what is reserved.", gauges.store.log_bytes),
            ("memtable_bytes", "Bytes of records in memory that are not sealed yet.", gauges.memtable_bytes),
            ("cache_bytes", "Bytes of the cache of decoded pages.", gauges.cache_bytes),
            ("requests_in_flight", "Requests whose answers are not out yet.", gauges.in_flight),
            ("uptime_seconds", "Since the server began.", gauges.uptime_s),
        ] {
            let _ = writeln!(out, "# HELP duramen_{name} {help}\n# TYPE duramen_{name} gauge\nduramen_{name} {value}");
        }
        out
    }

    /// The summary in JSON.
    pub(super) fn summary(&self, gauges: &Gauges) -> Value {
        let mut ingest = json!({});
        for (name, counter) in [
            ("requests", &self.ingest_requests),
            ("records", &self.records),
            ("bytes", &self.bytes),
            ("rejected", &self.rejected),
        ] {
            ingest[name] = json!(counter.load(Relaxed));
        }
        let mut queries = lock(&self.query_durations).summary();
        queries["errors"] = json!(self.query_errors.load(Relaxed));
        queries["blocks_total"] = json!(self.blocks_total.load(Relaxed));
        queries["blocks_read"] = json!(self.blocks_read.load(Relaxed));
        json!({
            "requests": lock(&self.request_durations).summary(),
            "queries": queries,
            "ingest": ingest,
            "cache": {"bytes": gauges.cache_bytes},
            "memory": {"memtable_bytes": gauges.memtable_bytes},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_classes() {
        let mut h = Histogram::default();
        (0..90).for_each(|_| h.add(Duration::from_millis(1)));
        (0..10).for_each(|_| h.add(Duration::from_secs(100)));
        assert_eq!((h.quantile_ms(0.5), h.quantile_ms(0.95), h.count()), (1.0, 60_000.0, 100));
        assert_eq!(Histogram::default().quantile_ms(0.5), 0.0);
    }
}
