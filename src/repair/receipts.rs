//! The receipts of requests with idempotency keys: in their file, and in frames whose records go to segments. And the file
//! of usage, which a tenant can be without as well.

use super::tenant::{Look, Tenant};
use crate::error::StorageError;
use crate::format::header::{ReceiptsHeader, UsageHeader};
use crate::format::receipt::{Filed, decode_receipts, encode_receipts};
use crate::format::sealed::FileKind;
use crate::store::Error;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Tenant<'_> {
    fn receipts_file(&self) -> PathBuf {
        self.dir.join("receipts")
    }

    /// What the file says, or what is wrong with it.
    fn read_receipts(&self) -> Result<Result<Vec<Filed>, String>, StorageError> {
        let path = self.receipts_file();
        if !self.vfs.exists(&path)? {
            return Ok(Ok(Vec::new()));
        }
        let bytes = match self.keys.take_out_of_box(FileKind::Receipts, 0, self.vfs.read(&path)?, &path) {
            Ok(boxed) => boxed.into_bytes(),
            Err(damage) if damage.is_damage() => return Ok(Err(damage.to_string())),
            Err(error) => return Err(error),
        };
        Ok(match decode_receipts(&bytes) {
            Ok((header, receipts)) if header.tenant == *self.id => Ok(receipts),
            Ok((header, _)) => Err(format!("it is that of {}", header.tenant)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Requests that were answered are known by this file alone once their records are sealed.
    pub(super) fn receipts(&mut self) -> Result<(), Error> {
        let Err(problem) = self.read_receipts()? else { return Ok(()) };
        let path = self.receipts_file();
        let copy = self.copy(&path, &problem)?;
        if !self.report.dry_run {
            self.vfs.remove(&path)?;
            self.vfs.sync_dir(self.dir)?;
        }
        self.act(&path, format!("{problem}: the idempotency keys in it are forgotten"), copy);
        Ok(())
    }

    /// What came today is known by this file alone.
    pub(super) fn usage(&mut self) -> Result<(), Error> {
        let path = self.dir.join("usage");
        if !self.vfs.exists(&path)? {
            return Ok(());
        }
        let problem = match UsageHeader::decode(&self.vfs.read(&path)?) {
            Ok(header) if header.tenant == *self.id => return Ok(()),
            Ok(header) => format!("it is that of {}", header.tenant),
            Err(error) => error.to_string(),
        };
        let copy = self.copy(&path, &problem)?;
        if !self.report.dry_run {
            self.vfs.remove(&path)?;
            self.vfs.sync_dir(self.dir)?;
        }
        self.act(&path, format!("{problem}: the sum for the quota of a day begins anew"), copy);
        Ok(())
    }

    /// Puts the receipts of frames whose records were brought to segments into the file, before the frames go.
    pub(super) fn keep_receipts(&self, look: &Look) -> Result<(), Error> {
        let Some(log) = look.log.as_ref().filter(|log| !log.receipts.is_empty() && !self.report.dry_run) else {
            return Ok(());
        };
        // Frames may be with the operating system alone. A receipt must not outlive its records.
        for file in &log.files {
            self.vfs.open_write(file)?.sync()?;
        }
        let mut all: BTreeMap<[u8; 32], Filed> = BTreeMap::new();
        for filed in self.read_receipts()?.unwrap_or_default().into_iter().chain(log.receipts.iter().cloned()) {
            // Where a key was used again, the younger one counts.
            match all.get(&filed.key) {
                Some(known) if known.receipt.at > filed.receipt.at => {}
                _ => drop(all.insert(filed.key, filed)),
            }
        }
        let mut all: Vec<Filed> = all.into_values().collect();
        all.sort_by_key(|filed| (filed.receipt.at, filed.first));
        let header = ReceiptsHeader { tenant: self.id.clone(), salt: self.vfs.salt() };
        let stored = self.keys.put_in_box(FileKind::Receipts, 0, encode_receipts(&header, &all))?;
        Ok(self.vfs.replace(&self.receipts_file(), &stored)?)
    }
}
