//! A second implementation of the query language, for comparison: one record at a time, and as plain as can be.
//!
//! Written from the language's page alone. It shares no code with the engine, and takes no thought for speed.

pub mod draw;
pub mod engine;
pub mod eval;
pub mod number;
pub mod pipes;
#[cfg(test)]
mod rulings;
pub mod tree;
pub mod words;

use crate::support::json::Val;
use std::collections::BTreeMap;

/// A record as it was given: nested objects opened, names with dots.
#[derive(Debug, Clone)]
pub struct Rec {
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// Place in the order of arrival.
    pub seq: u64,
    pub labels: Vec<(String, String)>,
    pub fields: BTreeMap<String, Val>,
}

impl Rec {
    /// A field by the name that a query uses: the record's own, then a label, then what `msg` and `_msg` stand for.
    pub fn get(&self, name: &str) -> Option<Val> {
        let label = || self.labels.iter().find(|(n, _)| n == name).map(|(_, v)| Val::str(v));
        let own = self.fields.get(name).cloned().or_else(label);
        if own.is_none() && matches!(name, "msg" | "_msg") {
            return self.get("message");
        }
        own
    }

    /// Everything that an answer shows, but the time.
    pub fn all(&self) -> BTreeMap<String, Val> {
        let mut all: BTreeMap<String, Val> = self.labels.iter().map(|(n, v)| (n.clone(), Val::str(v))).collect();
        all.extend(self.fields.clone());
        all
    }
}
