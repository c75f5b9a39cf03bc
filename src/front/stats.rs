//! The figures of a query, as JSON.

use crate::store::QueryStats;
use serde_json::Value;

/// The figures of a query, with the time that it took as `elapsed_ms`.
pub fn stats_json(stats: &QueryStats) -> Value {
    let mut value = serde_json::to_value(stats).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        members.remove("elapsed");
        let ms = (stats.elapsed.as_secs_f64() * 1e6).round() / 1e3;
        members.insert("elapsed_ms".into(), ms.into());
    }
    value
}
