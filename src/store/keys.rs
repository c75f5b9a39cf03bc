//! Encrypted tenants: made, given new keys, brought under another master key. Each of it is recorded in `control.log`
//! before it is done, so that there is a record of whatever was.

use super::error::ErrorKind;
use super::{Catalog, Error, Inner, Store, Tenant};
use crate::catalog::KeyChange;
use crate::crypt::{KeyInfo, KeyRing, MasterKey};
use crate::error::KeyProblem;
use crate::id::TenantId;
use crate::record::Timestamp;
use crate::tenant::TenantCore;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kind of due work that is a change of keys.
pub(super) const DUE_KEYS: &str = "keys";

impl Store {
    /// Makes a tenant whose records are encrypted on disk; an error where it exists, or where the store was opened
    /// without a master key.
    pub fn create_encrypted_tenant(&self, name: &str) -> Result<Tenant, Error> {
        let id = TenantId::new(name)?;
        if self.0.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        let dir = self.0.tenant_dir(&id);
        if self.0.vfs.exists(&dir.join("manifest"))? {
            return Err(ErrorKind::TenantExists(name.into()).into());
        }
        self.must_have_master(&id)?;
        let master = self.0.options.master_key.as_ref();
        let keys = KeyRing::open(self.0.vfs.clone(), &dir, &id, master)?;
        self.catalog()?.ensure_tenant(&id)?;
        self.record(&id, KeyChange::Encrypted, 1)?;
        // The keys are there before the first file is.
        self.0.vfs.create_dir_all(&dir)?;
        keys.encrypt()?;
        self.tenant(name)
    }

    /// Encrypts what a tenant is given from now on; no error where it is encrypted. Segments that it has stay as they
    /// are until they are written anew.
    pub fn encrypt_tenant(&self, name: &str) -> Result<(), Error> {
        let tenant = self.existing_tenant(name)?;
        if tenant.core.keys().is_encrypted() {
            return Ok(());
        }
        self.must_have_master(tenant.core.id())?;
        self.record(tenant.core.id(), KeyChange::Encrypted, 1)?;
        tenant.core.encrypt()
    }

    /// Refuses what needs a master key where there is none, before anything is written or put on record.
    fn must_have_master(&self, id: &TenantId) -> Result<(), Error> {
        match self.0.options.master_key {
            Some(_) => Ok(()),
            None => Err(KeyProblem::NothingToWrapUnder.of(&self.0.tenant_dir(id).join("key")).into()),
        }
    }

    /// Makes a new generation of an encrypted tenant's key, for the files that are made from now on; gives its number.
    /// What was written is not touched, and is read with the key that it was written under.
    pub fn rotate_tenant_key(&self, name: &str) -> Result<u32, Error> {
        let tenant = self.existing_tenant(name)?;
        let before = tenant.core.keys().newest().map_or(0, |(generation, _)| generation);
        if before > 0 {
            self.record(tenant.core.id(), KeyChange::Rotated, before + 1)?;
        }
        tenant.core.rotate_key()
    }

    /// Brings the encrypted tenants (or one of them) under a new master key; gives their names. The store was opened with
    /// the present one. No record is read or written for it: one small file a tenant is.
    ///
    /// Where this is cut short, every tenant opens with the old master key or every one with the new, and calling it
    /// again, with either, completes it. Where only one tenant is named, the others stay under the old key.
    pub fn rotate_master_key(&self, tenant: Option<&str>, new: &MasterKey) -> Result<Vec<String>, Error> {
        if self.0.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        let names = match tenant {
            Some(name) => vec![self.existing_name(name)?],
            None => self.tenants()?,
        };
        let mut rings = Vec::new();
        // Held, so that they stay open: opened anew they would have another ring.
        let mut held = Vec::new();
        for name in &names {
            let id = TenantId::new(name)?;
            let open = self.0.tenants.find(&id);
            let ring = match &open {
                Some(core) => core.keys().clone(),
                None => {
                    // The new key as well: where this was cut short, some tenants are under it alone.
                    let master = self.0.options.master_key.as_ref().map(|master| master.and(new));
                    KeyRing::open(self.0.vfs.clone(), &self.0.tenant_dir(&id), &id, master.as_ref())?
                }
            };
            if let Some((generation, _)) = ring.newest() {
                rings.push((id, generation, ring));
            }
            held.extend(open);
        }
        if rings.is_empty() && tenant.is_some() {
            return Err(ErrorKind::NotEncrypted(names.join(", ")).into());
        }
        for (id, generation, _) in &rings {
            self.record(id, KeyChange::Master { id: new.id().into() }, *generation)?;
        }
        // Only when the new key opens all of them does the old one stop to open the first.
        for (_, _, ring) in &rings {
            ring.add_master(new)?;
        }
        for (_, _, ring) in &rings {
            ring.retire_other_masters(new)?;
        }
        Ok(rings.into_iter().map(|(id, ..)| id.to_string()).collect())
    }

    /// What the keys of a tenant say without being opened; `None` where it is not encrypted.
    pub fn key_info(&self, name: &str) -> Result<Option<KeyInfo>, Error> {
        let name = self.existing_name(name)?;
        Ok(KeyRing::info(&*self.0.vfs, &self.0.tenant_dir(&TenantId::new(&name)?))?)
    }

    fn existing_name(&self, name: &str) -> Result<String, Error> {
        let id = TenantId::new(name)?;
        match self.0.vfs.exists(&self.0.tenant_dir(&id).join("manifest"))? {
            true => Ok(name.to_string()),
            false => Err(ErrorKind::NoSuchTenant(name.into()).into()),
        }
    }

    fn record(&self, tenant: &TenantId, change: KeyChange, generation: u32) -> Result<(), Error> {
        Ok(self.catalog()?.record_key_change(tenant, change, generation)?)
    }
}

impl Inner {
    /// Changes the keys of open tenants that are older than the options let them become. Those of others are changed when
    /// they are due: see [`Self::look_after_others`].
    pub(super) fn rotate_due(&self, open: &[Arc<TenantCore>]) -> Result<(), Error> {
        let mut first_error = Ok(());
        for tenant in open {
            if let Err(e) = self.rotate_if_due(tenant) {
                first_error = first_error.and(Err(e));
            }
        }
        first_error
    }

    /// Changes a tenant's key where it is older than the options let it become.
    pub(super) fn rotate_if_due(&self, tenant: &TenantCore) -> Result<(), Error> {
        let Some((generation, _)) = tenant.keys().newest() else { return Ok(()) };
        if self.next_rotation(tenant).is_none_or(|at| at > Timestamp::now()) {
            return Ok(());
        }
        self.open_catalog()?.record_key_change(tenant.id(), KeyChange::Rotated, generation + 1)?;
        tenant.rotate_key().map(drop)
    }

    /// When a tenant's key is due to be changed; never where it is not encrypted, or nobody asked for it.
    pub(super) fn next_rotation(&self, tenant: &TenantCore) -> Option<Timestamp> {
        let (_, rotated) = tenant.keys().newest()?;
        self.rotation_after(rotated)
    }

    fn rotation_after(&self, rotated: Timestamp) -> Option<Timestamp> {
        let every = self.options.rotate_keys_every.filter(|_| !self.read_only)?;
        let every = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX);
        Some(Timestamp(rotated.0.saturating_add(every)))
    }

    /// Puts down when the keys of tenants are due that are not open, as their files say it. Once a process: the options
    /// may be others than they were. A file that can't be read is the tenant's trouble when it is opened.
    pub(super) fn schedule_rotations(&self, catalog: &Catalog, open: &BTreeSet<&TenantId>) -> Result<(), Error> {
        if self.options.rotate_keys_every.is_none() || self.lifecycle.are_keys_scheduled() {
            return Ok(());
        }
        for id in self.tenant_ids()?.iter().filter(|id| !open.contains(id)) {
            if let Ok(Some(info)) = KeyRing::info(&*self.vfs, &self.tenant_dir(id)) {
                catalog.due(id, DUE_KEYS, self.rotation_after(info.rotated))?;
            }
        }
        Ok(())
    }
}
