//! Today's store against a checkpoint: does it continue what was there then?

use super::history::{Continued, Followed, Gone, follow};
use super::records::Run;
use crate::crypt::KEY_FILE;
use crate::error::StorageError;
use crate::format::checkpoint::{
    BadCheckpoint, CHECKPOINT_BYTES_MAX, Checkpoint, ControlAt, SignedCheckpoint, TenantAt,
};
use crate::format::control::{self, EventKind};
use crate::format::header::hex;
use crate::format::version::Version;
use crate::id::{Seq, TenantId};
use crate::record::Timestamp;
use crate::verify::report::{Finding, FindingKind, Report};
use crate::verify::tenant::Archived;
use crate::verify::{deep, keys, segment, tenant};
use crate::vfs::{RealVfs, Vfs};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// How often a tenant is followed again beside a writer, which may write its manifest anew or seal meanwhile.
const READ_ATTEMPTS_MAX: u32 = 5;

/// A checkpoint that a store is compared with.
#[derive(Clone, Debug)]
pub struct Against {
    /// Its file, which findings about it name.
    pub file: PathBuf,
    /// What it says, or why it is none.
    pub signed: Result<SignedCheckpoint, BadCheckpoint>,
    /// The only key whose signature counts. Without one the signature shows accidents, and no forger.
    pub public_key: Option<[u8; 32]>,
}

impl Against {
    /// Reads a checkpoint's file. That it is none is a finding of the verification, not an error here.
    pub fn read(file: &Path, public_key: Option<[u8; 32]>) -> Result<Against, StorageError> {
        let open = RealVfs.open(file)?;
        if open.len()? > CHECKPOINT_BYTES_MAX {
            let reason = format!("longer than the {CHECKPOINT_BYTES_MAX} bytes of a checkpoint");
            return Err(StorageError::io("read", file, std::io::Error::other(reason)));
        }
        let text = String::from_utf8_lossy(&RealVfs.read(file)?).into_owned();
        Ok(Against { file: file.to_path_buf(), signed: SignedCheckpoint::parse(&text), public_key })
    }
}

/// What the comparison came to.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// When the checkpoint was taken, RFC 3339.
    pub at: String,
    /// The key that it is signed with.
    pub public_key: String,
    /// Was that compared with a key that the caller trusts?
    pub is_key_trusted: bool,
    /// Its tenants.
    pub tenants: Vec<TenantContinued>,
}

/// A tenant of a checkpoint, today.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TenantContinued {
    /// Which.
    pub tenant: String,
    /// Does the tenant continue what was there at the checkpoint?
    pub ok: bool,
    /// The chain's entry at the checkpoint.
    pub entry_then: u64,
    /// The last one now.
    pub entry_now: u64,
    /// Leaves of then that are there now; missing where those of then are not known any more.
    pub leaves_kept: Option<u64>,
    /// Records that the log had then and that came out the same now.
    pub tail_records: u64,
    /// What expired or was deleted since.
    pub gone: Vec<Gone>,
    /// When the tenant was deleted since, where it was.
    pub deleted_at: Option<String>,
}

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust = if self.is_key_trusted { "" } else { ", which was compared with no key that you gave" };
        writeln!(f, "checkpoint of {}, signed with key {}{trust}", self.at, self.public_key)?;
        for t in &self.tenants {
            let TenantContinued { tenant, entry_then, entry_now, tail_records, .. } = t;
            let then = match (t.ok, &t.deleted_at) {
                (_, Some(at)) => format!("deleted at {at}"),
                (true, None) => format!("continued from entry {entry_then} to {entry_now}"),
                (false, None) => "not continued".to_string(),
            };
            write!(f, "checkpoint: {tenant}: {then}")?;
            if let Some(kept) = t.leaves_kept {
                write!(f, "; {kept} leaves of then are there")?;
            }
            writeln!(f, "; {tail_records} records of the log of then are there")?;
            for Gone { entry, at, by, reason, records, leaves } in &t.gone {
                writeln!(
                    f,
                    "checkpoint: {tenant}: entry {entry} at {at}: {by}, {records} records, {leaves} leaves of then: {reason}"
                )?;
            }
        }
        Ok(())
    }
}

/// Compares a store, or one tenant's folder of it, with a checkpoint.
pub(in crate::verify) fn check(vfs: &dyn Vfs, path: &Path, live: bool, against: &Against, report: &mut Report) {
    let Against { file, signed, public_key } = against;
    let expected = "a checkpoint that is signed with a key that is trusted";
    let signed = match signed {
        Ok(signed) => signed,
        Err(e) => return report.add(Finding::new(FindingKind::BadCheckpoint, file, 0, expected, e)),
    };
    let Checkpoint { at, control, tenants } = &signed.checkpoint;
    let mut out = CheckpointReport {
        at: at.to_string(),
        public_key: hex(&signed.public_key),
        is_key_trusted: public_key.is_some(),
        tenants: Vec::new(),
    };
    if let Err(e) = signed.check(public_key.as_ref()) {
        report.add(Finding::new(FindingKind::BadCheckpoint, file, 0, expected, e));
        // What nobody vouches for is compared with nothing.
        report.checkpoint = Some(out);
        return;
    }
    let is_store = path.join("tenants").is_dir();
    let data = if is_store { path.to_path_buf() } else { path.join("../..") };
    let deleted = check_control(vfs, &data, control.as_ref(), *at, report);
    for then in tenants {
        let dir = if is_store { data.join("tenants").join(then.tenant.as_str()) } else { path.to_path_buf() };
        if !is_store && dir.canonicalize().unwrap_or(dir.clone()).file_name() != Some(then.tenant.as_str().as_ref()) {
            continue;
        }
        let mut continued = TenantContinued {
            tenant: then.tenant.to_string(),
            entry_then: then.entry,
            deleted_at: deleted.get(&then.tenant).map(ToString::to_string),
            ..TenantContinued::default()
        };
        let before = report.findings.len();
        if continued.deleted_at.is_none()
            && let Err(e) = check_tenant(vfs, &dir, live, then, &mut continued, report)
        {
            report.add(Finding::error(&dir, &e));
        }
        continued.ok = report.findings.len() == before;
        out.tenants.push(continued);
    }
    report.checkpoint = Some(out);
}

/// Compares the control log; gives the tenants that were deleted since, and when.
fn check_control(
    vfs: &dyn Vfs,
    data: &Path,
    then: Option<&ControlAt>,
    at: Timestamp,
    report: &mut Report,
) -> BTreeMap<TenantId, Timestamp> {
    let path = data.join("control.log");
    let mut deleted = BTreeMap::new();
    let bytes = match vfs.exists(&path) {
        Ok(true) => vfs.read(&path),
        Ok(false) if then.is_none() => return deleted,
        Ok(false) => {
            report.add(Finding::new(FindingKind::Missing, &path, 0, "a control log, as at the checkpoint", "nothing"));
            return deleted;
        }
        Err(e) => Err(e),
    };
    // What can't be read was said by the verification.
    let Some(contents) = bytes.ok().and_then(|bytes| control::decode(&bytes).ok()) else { return deleted };
    // Encoded again, the events give the hash behind each: their bytes are of one form only.
    let mut head = contents.header.start();
    let mut found = then.filter(|then| then.frames == 0).map(|_| head.hash);
    let mut bytes = Vec::new();
    for event in &contents.events {
        bytes.clear();
        head = control::encode_frame(&contents.header, &head, event, &mut bytes);
        if then.is_some_and(|then| then.frames == head.frames) {
            found = Some(head.hash);
        }
        let is_later = then.is_none_or(|then| head.frames > then.frames);
        match &event.kind {
            EventKind::TenantDeleted { tenant } if is_later && event.at >= at => {
                deleted.insert(tenant.clone(), event.at);
            }
            _ => {}
        }
    }
    match (then, found) {
        (Some(then), None) => {
            let expected = format!("{} frames at least, as at the checkpoint", then.frames);
            report.add(Finding::new(FindingKind::RolledBack, &path, head.bytes, expected, head.frames));
        }
        (Some(then), Some(hash)) if hash != then.hash => {
            let expected = format!("hash {} behind frame {}, as at the checkpoint", hex(&then.hash), then.frames);
            report.add(Finding::new(FindingKind::Rewritten, &path, 0, expected, hex(&hash)));
        }
        _ => return deleted,
    }
    // A control log that does not continue says nothing about deletions.
    BTreeMap::new()
}

fn check_tenant(
    vfs: &dyn Vfs,
    dir: &Path,
    live: bool,
    then: &TenantAt,
    continued: &mut TenantContinued,
    report: &mut Report,
) -> Result<(), StorageError> {
    let manifest = dir.join("manifest");
    if !vfs.exists(&manifest)? {
        let expected = format!("tenant {}, which the checkpoint has", then.tenant);
        report.add(Finding::new(FindingKind::Missing, &manifest, 0, expected, "nothing"));
        return Ok(());
    }
    let mut attempt = 1;
    loop {
        let unlock = keys::Unlock::with(report.unlock.master.clone());
        let (archives, fetch) = (report.archives.clone(), report.fetch.clone());
        let mut part = Report { deep: report.deep, archives, fetch, unlock, ..Report::default() };
        let followed = follow(vfs, dir, then.entry, &then.head)?;
        let result = compare(vfs, dir, followed, then, continued, &mut part);
        if live && attempt < READ_ATTEMPTS_MAX && (result.is_err() || !part.findings.is_empty()) {
            attempt += 1;
            continue;
        }
        report.findings.extend(part.findings);
        report.skipped.extend(part.skipped);
        return result;
    }
}

fn compare(
    vfs: &dyn Vfs,
    dir: &Path,
    followed: Followed,
    then: &TenantAt,
    continued: &mut TenantContinued,
    report: &mut Report,
) -> Result<(), StorageError> {
    let expected = format!("entry {} with hash {}, as at the checkpoint", then.entry, hex(&then.head));
    let Continued { version, kept, lost, gone } = match followed {
        Followed::Continues(found) => *found,
        Followed::Rewritten { file, offset, head } => {
            report.add(Finding::new(FindingKind::Rewritten, &file, offset, expected, hex(&head)));
            return Ok(());
        }
        Followed::Ends { file, offset, number } => {
            let found = format!("a chain that ends at entry {number}");
            report.add(Finding::new(FindingKind::RolledBack, &file, offset, expected, found));
            return Ok(());
        }
        Followed::BeginsLater { file, number } => {
            let found = format!("nothing before entry {number}: the earlier part of the chain is gone");
            report.add(Finding::new(FindingKind::Unproven, &file, 0, expected, found));
            return Ok(());
        }
        Followed::Broken { file, last, number } => {
            let expected = format!("a chain that goes on from entry {}, as at the checkpoint", then.entry);
            let found = format!("nothing between entries {last} and {number}: that part of the chain is gone");
            report.add(Finding::new(FindingKind::Unproven, &file, 0, expected, found));
            return Ok(());
        }
    };
    continued.entry_now = version.edits;
    continued.leaves_kept = kept;
    continued.gone = gone;
    if lost > 0 {
        let expected = "the leaves of the checkpoint, but for those that an entry let go";
        let found = format!("{lost} fewer");
        report.add(Finding::new(FindingKind::LeafMismatch, &dir.join("manifest"), 0, expected, found));
    }
    if !report.deep && kept.is_none_or(|kept| kept > 0) {
        let dir = dir.display();
        report
            .skipped
            .push(format!("{dir}: records that were sealed at the checkpoint; --deep makes their leaves again"));
    }
    compare_tail(vfs, dir, &version, then, continued, report)
}

/// Are the records that the log had then there, in segments or the log, and the same?
fn compare_tail(
    vfs: &dyn Vfs,
    dir: &Path,
    version: &Version,
    then: &TenantAt,
    continued: &mut TenantContinued,
    report: &mut Report,
) -> Result<(), StorageError> {
    let Some(tail) = then.tail else { return Ok(()) };
    let range = format!("records {} to {}", then.sealed.0 + 1, tail.last);
    // What is wrong with files was said by the verification.
    let mut aside = Report { unlock: report.unlock.clone(), ..Report::default() };
    keys::verify_keys(vfs, dir, Some(&version.tenant), &mut aside);
    let ring = aside.unlock.ring.clone();
    if vfs.exists(&dir.join(KEY_FILE))? && !ring.is_encrypted() {
        let text = "compared with no checkpoint: the tenant is encrypted, and that takes its master key";
        report.skipped.push(format!("{}: {range}: {text}", dir.display()));
        return Ok(());
    }
    let mut run = Run::new(Seq(then.sealed.0 + 1), Some(tail.last));
    let mut elsewhere = 0;
    for (id, meta) in &version.segments {
        if !run.meets(meta.min_seq, meta.max_seq) {
            continue;
        }
        let mut held = None;
        let path = match tenant::archived(version, meta, report) {
            None => dir.join("segments").join(format!("{id}.seg")),
            Some(Archived::Here(path)) => path,
            Some(Archived::Fetched(fetched)) => held.insert(fetched).copy.clone(),
            Some(Archived::Failed(..) | Archived::Unknown) => {
                elsewhere += 1;
                continue;
            }
        };
        let index = dir.join("segments").join(format!("{id}.idx"));
        if let Some(found) = segment::verify_file(&path, Some(&index), Some((version, meta)), &mut aside) {
            deep::records(&found, &mut |seq, payload, record| run.add(seq, payload, record));
        }
    }
    run.add_log(vfs, &dir.join("log"), &then.tenant, &ring)?;
    if run.is_whole() {
        let payload = run.payload();
        if ring.is_leaf(&tail.leaf, &payload) {
            continued.tail_records = run.len() as u64;
            return Ok(());
        }
        let expected = format!("{range} with leaf {}, as at the checkpoint", hex(&tail.leaf));
        let found = blake3::hash(&payload).to_hex();
        report.add(Finding::new(FindingKind::LeafMismatch, &dir.join("segments"), 0, expected, found));
    } else if elsewhere > 0 {
        let text = format!("{elsewhere} of their segments are in archives that were not given or did not answer");
        report.skipped.push(format!("{}: {range}: {text}; {} are there", dir.display(), run.len()));
    } else if continued.gone.is_empty() {
        let last = run.last();
        let kind = if last < tail.last { FindingKind::RolledBack } else { FindingKind::Gap };
        let found = format!("{} of them, the last one {last}", run.len());
        report.add(Finding::new(kind, &dir.join("log"), 0, format!("{range}, which the log had"), found));
    } else {
        let n = run.len();
        report.skipped.push(format!("{}: {range}: some expired or were deleted since; {n} are there", dir.display()));
    }
    Ok(())
}
