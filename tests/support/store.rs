//! A small store that has one of everything: two tenants, merged and unmerged segments, a manifest that was compacted
//! and went on, an expired segment, a log that is not sealed, a control log, a quarantine.

use super::{folder, rng::Rng};
use duramen::manifest::Manifest;
use duramen::vfs::RealVfs;
use duramen::{Ack, Options, Record, Store, TenantId, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const TENANTS: &[&str] = &["acme", "bravo"];
/// Zeros that are left of the room reserved in a log: its whole 4 MiB would only be copied about.
const RESERVED_BYTES_KEPT: usize = 4096;

pub fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 1;
    options.ack = Ack::Os;
    options
}

pub fn records(seed: u64, count: usize, from: i64) -> Vec<Record> {
    let mut rng = Rng::new(seed);
    (0..count as i64)
        .map(|i| {
            let level = rng.pick(&["debug", "info", "warn", "error"]);
            Record::new()
                .at(Timestamp(1_740_787_200_000_000_000 + (from + i) * 1_000_000_000))
                .with("level", level)
                .with("n", from + i)
                .with("request", format!("{:016x}", rng.next()))
                .with(
                    "message",
                    format!("{} request {} took {}ms", rng.pick(&["GET", "needle"]), i % 7, rng.below(900)),
                )
                .with("tags", vec!["a", "b"])
        })
        .collect()
}

/// The tenant's folder.
pub fn tenant_dir(data: &Path, tenant: &str) -> PathBuf {
    data.join("tenants").join(tenant)
}

/// The files of a tenant's folder `segments` or `log`, by name.
pub fn files_of(data: &Path, tenant: &str, folder: &str) -> Vec<PathBuf> {
    folder::files(&tenant_dir(data, tenant).join(folder))
}

/// Makes the store; `data` is as a crash leaves it, with nobody who holds it.
pub fn make(root: &Path, data: &Path) {
    let made = root.join("made");
    {
        let store = Store::open_with(&made, options()).unwrap();
        for (i, name) in TENANTS.iter().enumerate() {
            let tenant = store.tenant(name).unwrap();
            let id = TenantId::new(name).unwrap();
            store.catalog().unwrap().ensure_tenant(&id).unwrap();
            store.catalog().unwrap().set(&id, "retention", Some("20000d")).unwrap();
            for part in 0..3 {
                tenant.append(&records(i as u64 * 100 + part, 60, part as i64 * 60)).unwrap();
                tenant.seal().unwrap();
            }
            tenant.compact(None).unwrap();
        }
        store.close().unwrap();
    }
    for name in TENANTS {
        let id = TenantId::new(name).unwrap();
        let path = tenant_dir(&made, name).join("manifest");
        let (manifest, _) = Manifest::open(Arc::new(RealVfs), path, &id).unwrap();
        manifest.compact(Timestamp::now()).unwrap();
        // A tail that the next open sets aside.
        let log = files_of(&made, name, "log").pop().unwrap();
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, [&bytes[..], b"torn in the middle of a frame"].concat()).unwrap();
    }
    let store = Store::open_with(&made, options()).unwrap();
    for (i, name) in TENANTS.iter().enumerate() {
        let tenant = store.existing_tenant(name).unwrap();
        let seed = i as u64 * 100 + 10;
        let old: Vec<Record> = (1..20).map(|n| Record::new().at(Timestamp(n)).with("old", n)).collect();
        tenant.append(&old).unwrap();
        tenant.seal().unwrap();
        tenant.append(&records(seed, 40, 200)).unwrap();
        // Forty years: the segment of 1970 goes, and then the others become one.
        tenant.compact(Some(40 * 365 * 86_400 * 1_000_000_000)).unwrap();
        tenant.append(&records(seed + 1, 80, 240)).unwrap();
        tenant.seal().unwrap();
        tenant.append(&records(seed + 2, 30, 320)).unwrap();
        tenant.seal().unwrap();
        for part in 3..7 {
            tenant.append(&records(seed + part, 10, 400 + part as i64 * 20)).unwrap();
        }
        tenant.flush().unwrap();
    }
    folder::copy(&made, data);
    for name in TENANTS {
        for log in files_of(data, name, "log") {
            let bytes = std::fs::read(&log).unwrap();
            let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
            std::fs::write(&log, &bytes[..bytes.len().min(end + RESERVED_BYTES_KEPT)]).unwrap();
        }
    }
    drop(store);
}
