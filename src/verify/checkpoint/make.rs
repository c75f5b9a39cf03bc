//! Takes a checkpoint of a store from its files, beside a writer perhaps.

use super::records::Run;
use crate::crypt::{KEY_FILE, KeyRing, MasterKey};
use crate::error::{Damage, StorageError};
use crate::format::checkpoint::{Checkpoint, ControlAt, TailAt, TenantAt};
use crate::format::control;
use crate::format::edit::read_edits;
use crate::format::version::Version;
use crate::id::{Seq, TenantId};
use crate::record::Timestamp;
use crate::vfs::{RealVfs, Vfs};
use std::path::Path;
use std::time::Duration;

/// How often a tenant is read again while a writer is in the middle of an entry, or seals and trims.
const READ_ATTEMPTS_MAX: u32 = 50;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// How far a store has come: all of its tenants, or one. Only what is durable counts. Nothing is written.
///
/// An error where files can't be read or are damaged: what can't be read can't be vouched for. So an encrypted tenant
/// wants its master key.
pub fn take_checkpoint(
    data: &Path,
    tenant: Option<&TenantId>,
    master: Option<&MasterKey>,
    at: Timestamp,
) -> Result<Checkpoint, StorageError> {
    let vfs = &RealVfs;
    let live = vfs.is_locked(&data.join("LOCK"))?;
    let path = data.join("control.log");
    let control = if vfs.exists(&path)? {
        let contents = control::decode(&vfs.read(&path)?).map_err(|e| e.in_file(&path))?;
        Some(ControlAt { frames: contents.head.frames, hash: contents.head.hash })
    } else {
        None
    };
    let mut tenants = Vec::new();
    let folder = data.join("tenants");
    for entry in vfs.list(&folder)? {
        let Ok(id) = TenantId::new(&entry.name) else { continue };
        let dir = folder.join(&entry.name);
        if entry.is_dir && tenant.is_none_or(|only| *only == id) && vfs.exists(&dir.join("manifest"))? {
            tenants.push(take_tenant(vfs, &dir, id, (master, live))?);
        }
    }
    if let Some(missing) = tenant.filter(|_| tenants.is_empty()) {
        let path = folder.join(missing.as_str());
        return Err(StorageError::io("read", &path, std::io::ErrorKind::NotFound.into()));
    }
    Ok(Checkpoint { at, control, tenants })
}

fn take_tenant(
    vfs: &dyn Vfs,
    dir: &Path,
    id: TenantId,
    (master, live): (Option<&MasterKey>, bool),
) -> Result<TenantAt, StorageError> {
    let mut attempt = 1;
    loop {
        match take_once(vfs, dir, &id, (master, live)) {
            // No other attempt brings a key.
            Err(e @ StorageError::Key(_)) if master.is_none() => return Err(e),
            Ok(Some(taken)) => return Ok(taken),
            Err(e) if !live || attempt == READ_ATTEMPTS_MAX => return Err(e),
            _ if attempt == READ_ATTEMPTS_MAX => {
                let busy = std::io::Error::other("the manifest changed each time that it was read");
                return Err(StorageError::io("read", dir, busy));
            }
            _ => {}
        }
        attempt += 1;
        std::thread::sleep(READ_AGAIN_AFTER);
    }
}

/// `None` where the writer is in the middle of something.
fn take_once(
    vfs: &dyn Vfs,
    dir: &Path,
    id: &TenantId,
    (master, live): (Option<&MasterKey>, bool),
) -> Result<Option<TenantAt>, StorageError> {
    let ring = keys(vfs, dir, id, master)?;
    let Some(version) = durable_version(vfs, dir, id, live)? else { return Ok(None) };
    let sealed = version.sealed_below;
    let mut run = Run::new(Seq(sealed.0 + 1), None);
    let durable = run.add_log(vfs, &dir.join("log"), id, &ring)?;
    let last = if live { durable.min(run.last()) } else { run.last() };
    run.cut(last);
    if run.is_empty() {
        // Where the log begins further on, it was trimmed since the manifest was read.
        return Ok((!run.begins_later()).then_some(TenantAt {
            tenant: id.clone(),
            entry: version.edits,
            head: version.head,
            sealed,
            tail: None,
        }));
    }
    if !run.is_whole() {
        let found = format!("{} of them", run.len());
        let expected = format!("records {} to {last}", sealed.0 + 1);
        let gap = Damage { file: dir.join("log"), offset: 0, what: "log", expected, found };
        return if live { Ok(None) } else { Err(gap.into()) };
    }
    let tail = Some(TailAt { last, leaf: ring.leaf(&run.payload()) });
    Ok(Some(TenantAt { tenant: id.clone(), entry: version.edits, head: version.head, sealed, tail }))
}

/// The tenant's keys, which its leaves are made with where it is encrypted.
fn keys(vfs: &dyn Vfs, dir: &Path, id: &TenantId, master: Option<&MasterKey>) -> Result<KeyRing, StorageError> {
    let path = dir.join(KEY_FILE);
    if !vfs.exists(&path)? {
        return Ok(KeyRing::default());
    }
    let ring = KeyRing::from_bytes(&vfs.read(&path)?, &path, id, master)?;
    ring.begin_hashing();
    Ok(ring)
}

/// What the manifest amounts to, as far as it is durable: beside a writer up to an entry whose mark is there.
fn durable_version(vfs: &dyn Vfs, dir: &Path, id: &TenantId, live: bool) -> Result<Option<Version>, StorageError> {
    let path = dir.join("manifest");
    let bytes = vfs.read(&path)?;
    let (header, entries) = read_edits(&bytes).map_err(|e| e.in_file(&path))?;
    let damage =
        |expected: String, found: String| Damage { file: path.clone(), offset: 0, what: "manifest", expected, found };
    if header.tenant != *id {
        return Err(damage(format!("tenant {id}"), header.tenant.to_string()).into());
    }
    let (mut version, mut is_marked): (Option<Version>, bool) = (None, false);
    for at in entries {
        let at = match at {
            Ok(at) => at,
            Err(_) if live => return Ok(None),
            Err(e) => return Err(e.in_file(&path).into()),
        };
        is_marked = at.entry.is_none();
        if let Some(entry) = &at.entry {
            let after = Version::after(version.as_ref(), entry, at.head);
            version = Some(after.map_err(|e| damage("edits that fit".into(), e.0))?);
        }
    }
    let Some(version) = version else { return Err(damage("an entry".into(), "none".into()).into()) };
    Ok((is_marked || !live).then_some(version))
}
