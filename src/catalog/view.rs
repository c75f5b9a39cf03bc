//! The view: what the events come to, in a sled tree, so that a store of many tenants opens and answers quickly.
//!
//! All entries are in one tree, because a batch of changes to one tree is atomic in sled, and with it the head of the
//! control log that they stand for. sled may panic on pages that it can't make sense of; such a panic is caught, and
//! counts as any other error of the view: it is made anew.

use super::state::{State, TenantInfo, TokenInfo};
use crate::format::control::{Event, EventKind, Head, TokenEntry};
use crate::format::{DecodeError, Reader, put_bytes, put_varint, put_zigzag};
use crate::id::TenantId;
use crate::record::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// sled's cache: it would take 1 GiB. The view of a thousand tenants fits into this many bytes many times over.
const CACHE_BYTES: u64 = 8 << 20;
/// The kind of work that finds out which work there is.
pub(super) const CHECK: &str = "check";

const HEAD: &[u8] = b"h";
const CLOSED: &[u8] = b"c";
const TENANT: u8 = b't';
const TOKEN: u8 = b'k';
const TOKEN_ID: u8 = b'i';
const DUE_AT: u8 = b'd';
const DUE_OF: u8 = b'w';

/// Where the view is kept.
#[derive(Clone, Debug)]
pub enum ViewPlace {
    /// In this folder of the real file system.
    Folder(PathBuf),
    /// In a temporary folder that goes with the process, for tests over other file systems.
    Temporary,
}

/// Work that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub tenant: TenantId,
    /// What; `check` where the catalog itself doesn't know, after a crash.
    pub kind: Box<str>,
    /// Since when.
    pub at: Timestamp,
}

/// Why the view can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it could not make sense of its pages: {0}")]
    Panic(String),
    #[error("an entry is of no use")]
    Entry,
    #[error("it is closed")]
    Closed,
}

/// The tree.
#[derive(Debug)]
pub(super) struct View {
    db: Option<sled::Db>,
}

fn guard<T>(f: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(ViewError::Panic(text.unwrap_or_default().lines().next().unwrap_or_default().chars().take(200).collect()))
    })
}

/// Makes the folder where it is missing, and lets nobody but its owner in: sled leaves that to the umask.
fn private(path: &Path) -> Result<(), ViewError> {
    match std::fs::symlink_metadata(path) {
        // What is no folder is sled's to refuse.
        Ok(found) if !found.is_dir() => return Ok(()),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::fs::create_dir(path)?,
        Err(e) => return Err(e.into()),
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let mode = if entry.file_type()?.is_dir() { 0o700 } else { 0o600 };
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

impl View {
    pub(super) fn open(place: &ViewPlace) -> Result<Self, ViewError> {
        guard(|| {
            let config = sled::Config::new().cache_capacity(CACHE_BYTES).flush_every_ms(None);
            let config = match place {
                ViewPlace::Folder(path) => config.path(path),
                ViewPlace::Temporary => config.temporary(true),
            };
            if let ViewPlace::Folder(path) = place {
                private(path)?;
            }
            let db = config.mode(sled::Mode::LowSpace).open()?;
            if let ViewPlace::Folder(path) = place {
                private(path)?;
            }
            Ok(View { db: Some(db) })
        })
    }

    /// Removes what is there, and makes the view of a state.
    pub(super) fn build(place: &ViewPlace, state: &State, head: &Head) -> Result<Self, ViewError> {
        if let ViewPlace::Folder(path) = place {
            match std::fs::symlink_metadata(path) {
                Ok(found) if found.is_dir() => std::fs::remove_dir_all(path)?,
                Ok(_) => std::fs::remove_file(path)?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        let view = Self::open(place)?;
        view.write(state, head, sled::Batch::default())?;
        Ok(view)
    }

    fn db(&self) -> Result<&sled::Db, ViewError> {
        self.db.as_ref().ok_or(ViewError::Closed)
    }

    fn get<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, ViewError> {
        guard(|| {
            let Some(value) = self.db()?.get(key)? else { return Ok(None) };
            let mut r = Reader::new(&value, "catalog entry");
            let found = read(&mut r)?;
            r.end()?;
            Ok(Some(found))
        })
    }

    fn all<T>(
        &self,
        prefix: u8,
        read: impl Fn(&[u8], &mut Reader<'_>) -> Result<T, ViewError>,
    ) -> Result<Vec<T>, ViewError> {
        guard(|| {
            let mut all = Vec::new();
            for entry in self.db()?.scan_prefix([prefix]) {
                let (key, value) = entry?;
                all.push(read(&key[1..], &mut Reader::new(&value, "catalog entry"))?);
            }
            Ok(all)
        })
    }

    /// The head of the log that the view stands for; `None` where it is new.
    pub(super) fn head(&self) -> Result<Option<Head>, ViewError> {
        self.get(HEAD, |r| Ok(Head { frames: r.varint()?, bytes: r.varint()?, hash: r.hash()? }))
    }

    pub(super) fn tenant(&self, tenant: &TenantId) -> Result<Option<TenantInfo>, ViewError> {
        self.get(&key(TENANT, tenant.as_str().as_bytes()), |r| read_tenant(tenant.clone(), r))
    }

    pub(super) fn tenants(&self) -> Result<Vec<TenantInfo>, ViewError> {
        self.all(TENANT, |key, r| Ok(read_tenant(tenant_name(key)?, r)?))
    }

    pub(super) fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenInfo>, ViewError> {
        self.get(&key(TOKEN, hash), read_token)
    }

    pub(super) fn token_by_id(&self, id: &str) -> Result<Option<TokenInfo>, ViewError> {
        match self.get(&key(TOKEN_ID, id.as_bytes()), |r| r.hash())? {
            Some(hash) => self.token_by_hash(&hash),
            None => Ok(None),
        }
    }

    pub(super) fn tokens(&self) -> Result<Vec<TokenInfo>, ViewError> {
        let mut all = self.all(TOKEN, |_, r| Ok(read_token(r)?))?;
        all.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.entry.id.cmp(&b.entry.id)));
        Ok(all)
    }

    pub(super) fn has_tokens(&self) -> Result<bool, ViewError> {
        guard(|| Ok(self.db()?.scan_prefix([TOKEN]).next().transpose()?.is_some()))
    }

    /// Brings in an event that is in the log, up to this head.
    pub(super) fn apply(&self, event: &Event, head: &Head) -> Result<(), ViewError> {
        let mut state = State::default();
        let mut batch = sled::Batch::default();
        match &event.kind {
            EventKind::TenantCreated { .. } | EventKind::TokenCreated(_) | EventKind::KeyChanged { .. } => {}
            EventKind::TenantSet { tenant, .. } => {
                state.tenants.extend(self.tenant(tenant)?.map(|t| (tenant.clone(), t)));
            }
            EventKind::TenantDeleted { tenant } => {
                state.tenants.extend(self.tenant(tenant)?.map(|t| (tenant.clone(), t)));
                let tokens = self.tokens()?.into_iter().filter(|t| t.entry.tenant.as_ref() == Some(tenant));
                state.tokens.extend(tokens.map(|t| (t.entry.id.clone(), t)));
                for due in self.due_by(Timestamp(i64::MAX))?.into_iter().filter(|d| d.tenant == *tenant) {
                    batch.remove(due_at_key(due.at, &due.tenant, &due.kind));
                    batch.remove(due_of_key(&due.tenant, &due.kind));
                }
            }
            EventKind::TokenRevoked { id } => {
                state.tokens.extend(self.token_by_id(id)?.map(|t| (id.clone(), t)));
            }
        }
        state.apply(event);
        self.write(&state, head, batch)
    }

    fn write(&self, state: &State, head: &Head, mut batch: sled::Batch) -> Result<(), ViewError> {
        for tenant in state.tenants.values() {
            batch.insert(key(TENANT, tenant.name.as_str().as_bytes()), tenant_bytes(tenant));
        }
        for token in state.tokens.values() {
            batch.insert(key(TOKEN, &token.entry.hash), token_bytes(token));
            batch.insert(key(TOKEN_ID, token.entry.id.as_bytes()), &token.entry.hash);
        }
        let mut bytes = Vec::with_capacity(48);
        put_varint(&mut bytes, head.frames);
        put_varint(&mut bytes, head.bytes);
        bytes.extend_from_slice(&head.hash);
        batch.insert(HEAD, bytes);
        guard(|| Ok(self.db()?.apply_batch(batch)?))
    }

    pub(super) fn set_due(&self, tenant: &TenantId, kind: &str, at: Option<Timestamp>) -> Result<(), ViewError> {
        let of = due_of_key(tenant, kind);
        let before = self.get(&of, |r| Ok(Timestamp(r.zigzag()?)))?;
        if before == at {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        if let Some(before) = before {
            batch.remove(due_at_key(before, tenant, kind));
            batch.remove(of.clone());
        }
        if let Some(at) = at {
            let mut value = Vec::new();
            put_zigzag(&mut value, at.0);
            batch.insert(of, value);
            batch.insert(due_at_key(at, tenant, kind), &[]);
        }
        guard(|| Ok(self.db()?.apply_batch(batch)?))
    }

    pub(super) fn due_by(&self, now: Timestamp) -> Result<Vec<Due>, ViewError> {
        guard(|| {
            let mut all = Vec::new();
            for entry in self.db()?.scan_prefix([DUE_AT]) {
                let due = read_due(&entry?.0)?;
                if due.at > now {
                    break;
                }
                all.push(due);
            }
            Ok(all)
        })
    }

    pub(super) fn next_due(&self) -> Result<Option<Timestamp>, ViewError> {
        guard(|| {
            let first = self.db()?.scan_prefix([DUE_AT]).next().transpose()?;
            first.map(|(key, _)| read_due(&key).map(|due| due.at)).transpose()
        })
    }

    /// Was it closed in order the last time?
    pub(super) fn was_closed(&self) -> Result<bool, ViewError> {
        Ok(self.get(CLOSED, |_| Ok(()))?.is_some())
    }

    pub(super) fn mark_open(&self) -> Result<(), ViewError> {
        guard(|| {
            self.db()?.remove(CLOSED)?;
            self.db()?.flush()?;
            Ok(())
        })
    }

    /// Closes it in order; from then on every question is an error.
    pub(super) fn close(&mut self) {
        let Some(db) = self.db.take() else { return };
        // Where this fails the view doesn't fit the log, or is not marked closed, and is seen to when it is opened.
        let _ = guard(move || {
            db.insert(CLOSED, &[])?;
            db.flush()?;
            drop(db);
            Ok(())
        });
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.close();
    }
}

fn key(prefix: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(prefix);
    key.extend_from_slice(name);
    key
}

/// Tenant names have no zero byte in them, so that one ends them.
fn due_of_key(tenant: &TenantId, kind: &str) -> Vec<u8> {
    let mut key = key(DUE_OF, tenant.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(kind.as_bytes());
    key
}

/// Big-endian with the sign turned, so that the order of the keys is the order of time.
fn due_at_key(at: Timestamp, tenant: &TenantId, kind: &str) -> Vec<u8> {
    let mut all = key(DUE_AT, &((at.0 as u64) ^ (1 << 63)).to_be_bytes());
    all.extend_from_slice(&due_of_key(tenant, kind)[1..]);
    all
}

fn read_due(key: &[u8]) -> Result<Due, ViewError> {
    let (at, rest) = key.get(1..).and_then(|k| k.split_first_chunk::<8>()).ok_or(ViewError::Entry)?;
    let zero = rest.iter().position(|&b| b == 0).ok_or(ViewError::Entry)?;
    let kind = std::str::from_utf8(&rest[zero + 1..]).map_err(|_| ViewError::Entry)?;
    let at = Timestamp((u64::from_be_bytes(*at) ^ (1 << 63)) as i64);
    Ok(Due { tenant: tenant_name(&rest[..zero])?, kind: kind.into(), at })
}

fn tenant_name(bytes: &[u8]) -> Result<TenantId, ViewError> {
    let name = std::str::from_utf8(bytes).map_err(|_| ViewError::Entry)?;
    TenantId::new(name).map_err(|_| ViewError::Entry)
}

fn put_time(out: &mut Vec<u8>, at: Option<Timestamp>) {
    out.push(u8::from(at.is_some()));
    put_zigzag(out, at.map_or(0, |at| at.0));
}

fn read_time(r: &mut Reader<'_>) -> Result<Option<Timestamp>, DecodeError> {
    let some = r.u8()? != 0;
    let at = r.zigzag()?;
    Ok(some.then_some(Timestamp(at)))
}

fn tenant_bytes(tenant: &TenantInfo) -> Vec<u8> {
    let mut out = Vec::new();
    put_zigzag(&mut out, tenant.created.0);
    put_time(&mut out, tenant.deleted);
    put_varint(&mut out, tenant.settings.len() as u64);
    for (name, value) in &tenant.settings {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    out
}

fn read_tenant(name: TenantId, r: &mut Reader<'_>) -> Result<TenantInfo, DecodeError> {
    let created = Timestamp(r.zigzag()?);
    let deleted = read_time(r)?;
    let settings = (0..r.count(2)?).map(|_| Ok((r.text()?.into(), r.text()?.into()))).collect::<Result<_, _>>()?;
    Ok(TenantInfo { name, created, deleted, settings })
}

fn token_bytes(token: &TokenInfo) -> Vec<u8> {
    let mut out = Vec::new();
    put_zigzag(&mut out, token.created.0);
    put_time(&mut out, token.revoked);
    token.entry.encode(&mut out);
    out
}

fn read_token(r: &mut Reader<'_>) -> Result<TokenInfo, DecodeError> {
    let created = Timestamp(r.zigzag()?);
    let revoked = read_time(r)?;
    Ok(TokenInfo { created, revoked, entry: TokenEntry::decode(r)? })
}
