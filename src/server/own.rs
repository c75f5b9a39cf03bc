//! The server's own records: tenant `system`, stream `category=application`.

use crate::record::{Labels, Record};
use crate::store::{SYSTEM_TENANT, Store};
use std::fmt::Write;

/// The category of records of the server's work.
const CATEGORY: &str = "application";

/// Stores a record of the server's own work, and gives a line to who reads its stderr where it is no success.
pub(super) fn record(store: &Store, source: &str, level: &str, record: Record) {
    let record = record.with("level", level).with("source", source);
    if level != "info" {
        let mut text = String::new();
        for (name, value) in &record.fields {
            let _ = write!(text, " {name}={}", value.text);
        }
        eprintln!("duramen: {source}:{text}");
    }
    let labels = Labels::new([("category", CATEGORY)]);
    let stored = crate::TenantId::new(SYSTEM_TENANT).map_err(crate::store::Error::from).and_then(|id| {
        store.catalog()?.ensure_tenant(&id)?;
        store.tenant(SYSTEM_TENANT)?.append_labelled(&[record], &labels)
    });
    if let Err(e) = stored {
        eprintln!("duramen: {source}: its record could not be stored: {e}");
    }
}
