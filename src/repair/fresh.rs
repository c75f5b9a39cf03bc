//! A log file that goes on behind what was sealed.

use crate::crypt::KeyRing;
use crate::error::StorageError;
use crate::format::header::LogHeader;
use crate::format::sealed::FileKind;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::{Vfs, random_salt};
use std::path::Path;

/// Makes an empty log file with the number behind `last_id`, so that no number is used twice. It voids what older files
/// hold behind `sealed_below`, which nobody was told is there.
pub(super) fn log(
    vfs: &dyn Vfs,
    dir: &Path,
    (tenant, keys): (&TenantId, &KeyRing),
    (last_id, sealed_below): (u64, Seq),
) -> Result<(), StorageError> {
    let id = LogId(last_id.saturating_add(1));
    let first = Seq(sealed_below.0 + 1);
    let key = keys.new_file(FileKind::Log, id.0)?.map(|key| *key.wrapped());
    let header = LogHeader { tenant: tenant.clone(), id, salt: random_salt(), first, durable: sealed_below, key };
    let dir = dir.join("log");
    vfs.create_dir_all(&dir)?;
    vfs.replace(&dir.join(format!("{id}.log")), &header.encode())
}
