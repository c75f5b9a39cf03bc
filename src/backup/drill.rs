//! A recovery drill: the newest backup is restored to a folder of no further use, read whole, and compared with what
//! was backed up and with the store as it is now.

use super::check::is_set;
use super::restore::{RestoreOptions, bring_home, choose, fetch, fetch_control, verified};
use super::target::{get_bytes, put_bytes};
use super::{BackupError, ObjectId, Run, RunTenant, Target};
use crate::format::version::Version;
use crate::id::Seq;
use crate::record::Timestamp;
use crate::store::{Options, Store};
use crate::vfs::{RealVfs, Vfs, random_salt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where the results are.
pub(super) const DRILLS: &str = "drills/";
/// Longest result, in bytes.
const DRILL_BYTES_MAX: usize = 16 << 20;
/// Findings that are kept.
const FINDINGS_MAX: usize = 100;

/// What a drill found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Drill {
    /// Is all of it right?
    pub ok: bool,
    /// What is not, the first 100.
    pub findings: Vec<String>,
    /// The time of the run that was restored, Unix nanoseconds.
    pub run_ns: i64,
    /// When it ended, Unix nanoseconds.
    pub finished_ns: i64,
    /// Tenants that came back.
    pub tenants: u64,
    /// Records that a query of the restored store counted.
    pub records: u64,
    /// Leaves that were made again from the records, by the verifier.
    pub leaves: u64,
    /// Leaves that the store still has, and that are the same in both.
    pub leaves_compared: u64,
}

/// Restores the newest run of all tenants below `scratch`, verifies every record, and compares: the counts with those
/// of the run, heads of manifests with those of the run, and leaves with those of the store at `data`, as far as they
/// are still there. The result is kept in the target. What was restored is removed.
pub fn drill(target: &dyn Target, data: &Path, scratch: &Path, options: &Options) -> Result<Drill, BackupError> {
    is_set(target)?;
    let run = choose(target, &RestoreOptions::default())?;
    let folder = scratch.join(format!("duramen-drill-{:016x}", random_salt()));
    let drilled = restore_and_compare(target, &run, data, &folder, options);
    // Before the result: a drill that fills a disk is not to be called a success.
    let removed = RealVfs.remove_dir_all(&folder);
    let mut drill = drilled?;
    removed?;
    drill.findings.truncate(FINDINGS_MAX);
    drill.ok = drill.findings.is_empty();
    drill.run_ns = run.finished_ns;
    drill.finished_ns = Timestamp::now().0;
    let text = serde_json::to_vec(&drill).unwrap_or_default();
    put_bytes(target, &format!("{DRILLS}{:020}-{}.json", drill.finished_ns, ObjectId::of(&text)), &text)?;
    Ok(drill)
}

/// The newest result that is kept in a target.
pub fn last_drill(target: &dyn Target) -> Result<Option<Drill>, BackupError> {
    let Some(newest) = target.list(DRILLS)?.pop() else { return Ok(None) };
    let text = get_bytes(target, &newest.name, DRILL_BYTES_MAX)?;
    let stem = newest.name.trim_end_matches(".json").rsplit('-').next().unwrap_or_default();
    // One that is damaged says nothing: the next drill is due.
    Ok(if ObjectId::of(&text).to_string() == stem { serde_json::from_slice(&text).ok() } else { None })
}

fn restore_and_compare(
    target: &dyn Target,
    run: &Run,
    data: &Path,
    folder: &Path,
    options: &Options,
) -> Result<Drill, BackupError> {
    let tenants: Vec<&RunTenant> = run.tenants.iter().collect();
    fetch(&RealVfs, target, &tenants, folder)?;
    fetch_control(&RealVfs, target, run, folder)?;
    let mut drill = Drill { tenants: run.tenants.len() as u64, ..Drill::default() };
    tenants.iter().for_each(|tenant| compare_head(tenant, folder, &mut drill));
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    bring_home(&vfs, &tenants, folder)?;
    let (report, _) = verified(folder, run, true);
    drill.leaves = report.leaves;
    drill.findings.extend(report.findings.iter().map(ToString::to_string));
    let store = Store::open_read_only_with(folder, options.clone())?;
    for tenant in &run.tenants {
        let name = tenant.name.0.as_str();
        match store.existing_tenant(name).and_then(|t| count(&t)) {
            Ok(found) => {
                drill.records += found;
                if found != tenant.records {
                    drill
                        .findings
                        .push(format!("tenant {name}: {found} records, and {} were backed up", tenant.records));
                }
            }
            Err(e) => drill.findings.push(format!("tenant {name}: {e}")),
        }
        compare(tenant, data, folder, &mut drill);
    }
    store.close()?;
    Ok(drill)
}

/// Counts by reading: every block is opened.
fn count(tenant: &crate::store::Tenant) -> Result<u64, crate::store::Error> {
    let mut rows = tenant.query("* | stats count() as n")?;
    let row = rows.next().transpose()?;
    Ok(row.as_ref().and_then(|row| row.get("n")).and_then(|(_, n)| n.parse().ok()).unwrap_or(0))
}

fn version(store: &Path, tenant: &RunTenant) -> Result<Option<Version>, String> {
    let path = store.join("tenants").join(tenant.name.0.as_str()).join("manifest");
    if !RealVfs.exists(&path).map_err(|e| e.to_string())? {
        return Ok(None);
    }
    let read = crate::manifest::read_whole(&RealVfs, &path, &tenant.name.0);
    read.map(|(version, _)| Some(version)).map_err(|e| e.to_string())
}

/// Compares the manifest that came back with the run, before anything is added to it.
fn compare_head(tenant: &RunTenant, folder: &Path, drill: &mut Drill) {
    let (name, head) = (&tenant.name.0, tenant.head);
    match version(folder, tenant) {
        Ok(Some(back)) if ObjectId(back.head) == head => {}
        Ok(Some(back)) => {
            let found = ObjectId(back.head);
            drill.findings.push(format!("tenant {name}: manifest {found}, and {head} was backed up"));
        }
        // Said when the rest is compared.
        Ok(None) | Err(_) => {}
    }
}

/// Compares what came back with the store as it is now.
fn compare(tenant: &RunTenant, data: &Path, folder: &Path, drill: &mut Drill) {
    let name = &tenant.name.0;
    let (back, now) = match (version(folder, tenant), version(data, tenant)) {
        (Ok(Some(back)), Ok(now)) => (back, now),
        (Ok(None), _) => return drill.findings.push(format!("tenant {name}: no manifest came back")),
        (Err(e), _) | (_, Err(e)) => return drill.findings.push(format!("tenant {name}: {e}")),
    };
    // Deleted since, which is no fault of the backup.
    let Some(now) = now.filter(|now| now.created_at_ns == back.created_at_ns) else { return };
    if now.edits < tenant.entries {
        let (now, then) = (now.edits, tenant.entries);
        drill.findings.push(format!("tenant {name}: the store is at entry {now}, and its backup at {then}"));
    }
    let leaves: BTreeMap<(Seq, u32), [u8; 32]> = now.leaves().map(|l| ((l.first(), l.count()), l.hash)).collect();
    for leaf in back.leaves() {
        // A leaf that a deletion broke is another one now.
        let Some(hash) = leaves.get(&(leaf.first(), leaf.count())) else { continue };
        if *hash == leaf.hash {
            drill.leaves_compared += 1;
        } else if now.records_removed == back.records_removed {
            drill.findings.push(format!("tenant {name}: the leaf from Seq {} differs from the store's", leaf.first()));
        }
    }
}
