//! A tenant's folder that was made elsewhere becomes one of an open store.

use super::error::ErrorKind;
use super::{Error, Options, Store};
use crate::id::TenantId;
use std::path::Path;
use std::sync::atomic::Ordering;

impl Store {
    /// How it was opened, for who opens a copy of it in the same way.
    pub(crate) fn opened_with(&self) -> &Options {
        &self.0.options
    }

    /// Moves a tenant's folder, complete and durable, into the store. It has to be on the same file system. An error
    /// where there is a tenant of that name, or anything in its place; nothing was moved then.
    pub(crate) fn adopt_tenant(&self, id: &TenantId, folder: &Path) -> Result<(), Error> {
        let inner = &self.0;
        if inner.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        if inner.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        // Its slot is held, so that nobody makes the tenant meanwhile.
        inner.tenants.alone(id, |open| {
            let dir = inner.tenant_dir(id);
            if inner.vfs.exists(&super::delete::mark(&inner.path.join("tenants"), id))? {
                return Err(ErrorKind::BeingDeleted(id.to_string()).into());
            }
            if open.is_some() || inner.vfs.exists(&dir)? {
                return Err(ErrorKind::TenantExists(id.to_string()).into());
            }
            inner.vfs.rename(folder, &dir)?;
            inner.figures.folders_change();
            Ok(inner.vfs.sync_dir(&inner.path.join("tenants"))?)
        })
    }
}
