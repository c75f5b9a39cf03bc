//! A bit of a segment in the archive that is flipped: the verifier finds it, answers say that they miss something or have
//! all of it, and nothing is done on the strength of what can't be read.

use super::model::Found;
use super::records::{copy_out, files_of, number_of, read_row};
use super::world::{COLD, Stop, World};
use duramen::TenantId;
use duramen::archive::ArchivedName;
use duramen::format::segment::{TRAILER_BYTES, read_trailer};
use duramen::store::DeleteOptions;
use duramen::verify::{VerifyOptions, verify_as};
use duramen::vfs::sim::SimVfs;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The files in the archive that a tenant's manifest names; none where it can't be read.
fn named(vfs: &SimVfs, name: &str) -> Vec<PathBuf> {
    let Ok(id) = TenantId::new(name) else { return Vec::new() };
    let read = duramen::manifest::open_read_only(vfs, &World::tenant_dir(name).join("manifest"), &id);
    let of =
        |meta: &duramen::format::edit::SegmentMeta| Path::new(COLD).join(name).join(ArchivedName::of(meta).as_str());
    let (version, _) = match read {
        Ok(read) => read,
        Err(_) => return Vec::new(),
    };
    version.segments.values().filter(|meta| !meta.place.is_own()).map(|meta| of(meta)).collect()
}

/// What a query gives, and whether it says that it misses something.
fn rows(tenant: &duramen::Tenant) -> Result<(BTreeSet<(Found, String)>, bool), String> {
    let mut rows = tenant.query("*").map_err(|e| e.to_string())?;
    let mut found = BTreeSet::new();
    for row in rows.by_ref() {
        let row = row.map_err(|e| e.to_string())?;
        found.insert((read_row(&row)?, row.to_json()));
    }
    Ok((found, !rows.missing().is_empty()))
}

/// Is the bit in the index of a segment that is not encrypted? No record is in it.
fn is_in_index(segment: &[u8], bit: u64) -> bool {
    let end: Option<&[u8; TRAILER_BYTES]> = segment.last_chunk();
    let trailer = end.and_then(|end| read_trailer(end, segment.len() as u64).ok());
    trailer.is_some_and(|at| (at.index_offset..at.index_offset + at.index_len).contains(&(bit / 8)))
}

impl World {
    /// Flips a bit of a tenant's file in the archive, on a copy of the disk, and looks at all that reads it. Says whether
    /// there was one.
    pub fn look_at_archived(&mut self, left: &SimVfs, name: &'static str) -> Result<bool, Stop> {
        let files = named(left, name);
        if files.is_empty() || self.random.coin() {
            return Ok(false);
        }
        let file = files[self.random.below(files.len() as u64) as usize].clone();
        let (whole, damaged) = (left.after_kill(), left.after_kill());
        let len = left.bytes(&file).map_or(0, |bytes| bytes.len() as u64);
        let bit = self.random.below(8 * len);
        if !damaged.damage(&file, bit) {
            return Ok(false);
        }
        // Not its name: that has bytes in it which are not the same each time.
        self.note(format!("bit {bit} of a file of {name} in the archive, on a copy"));
        let what = format!("bit {bit} of {} is flipped", file.display());
        let result = self.compare_archived(&whole, &damaged, (name, &file, bit));
        result.map(|()| true).map_err(|e| Stop::Wrong(format!("{what}: {e}")))
    }

    fn compare_archived(&self, whole: &SimVfs, damaged: &SimVfs, of: (&'static str, &Path, u64)) -> Result<(), String> {
        let (name, file, bit) = of;
        let is_in_index = is_in_index(&whole.bytes(file).unwrap_or_default(), bit);
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        copy_out(damaged, folder.path()).map_err(|e| e.to_string())?;
        let mut options = VerifyOptions::default();
        options.master_key = self.options.master_key.clone();
        options.archives.extend(duramen::policy::Place::new("cold").map(|cold| (cold, folder.path().join("cold"))));
        let findings = verify_as(&[folder.path().join("store")], &options).findings;
        let id = file.file_name().and_then(|name| name.to_str()?.get(..16)).unwrap_or_default();
        let index = World::tenant_dir(name).join("segments").join(format!("{id}.idx"));
        // Where another index stands in the place of it, nobody reads it.
        let is_read = !is_in_index || whole.bytes(&index).is_none();
        if is_read && !findings.iter().any(|finding| finding.file.file_name() == file.file_name()) {
            return Err(format!("the verifier finds {findings:?}"));
        }
        let store = self.open_on(whole, true).map_err(|e| e.to_string())?;
        let (all, _) = rows(&store.existing_tenant(name).map_err(|e| e.to_string())?)?;
        whole.crash_at(0);
        drop(store);
        let store = self.open_on(damaged, true).map_err(|e| e.to_string())?;
        let tenant = store.existing_tenant(name).map_err(|e| e.to_string())?;
        let (found, is_told) = rows(&tenant)?;
        if !found.is_subset(&all) || (found != all && !is_told) {
            return Err(format!("gives {} rows of {}, told {is_told}", found.len(), all.len()));
        }
        let mut counted = tenant.query("* | stats count() as n").map_err(|e| e.to_string())?;
        let n = counted.by_ref().next().transpose().map_err(|e| e.to_string())?;
        let n = n.and_then(|row| number_of(&row, "n")).unwrap_or(0) as usize;
        if n > all.len() || n < found.len() || (n < all.len() && counted.missing().is_empty()) {
            return Err(format!("counts {n} of {} to {}", found.len(), all.len()));
        }
        drop(counted);
        let mut options = DeleteOptions::default();
        options.readers_wait = Duration::ZERO;
        match tenant.delete("*", &options) {
            Ok(report) if report.done && found == all && rows(&tenant)? == (BTreeSet::new(), false) => {}
            // Pages of which no answer has anything are those of streams, beside their labels.
            Err(e) if e.is_damage() && !is_in_index && rows(&tenant)?.0 == found => {}
            other => {
                let (found, all) = (found.len(), all.len());
                return Err(format!("{found} rows of {all}, told {is_told}, a deletion of all: {other:?}"));
            }
        }
        tenant.compact(None).map_err(|e| format!("compact: {e}"))?;
        if !rows(&tenant)?.0.is_subset(&found) {
            return Err("after a compaction there are others".into());
        }
        drop(tenant);
        store.delete_tenant(name).map_err(|e| format!("delete: {e}"))?;
        let is_gone = files_of(damaged, name).is_empty();
        damaged.crash_at(0);
        if is_gone { Ok(()) } else { Err("a deletion of the tenant leaves files".into()) }
    }
}
