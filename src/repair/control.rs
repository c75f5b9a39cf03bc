//! The control log: what can be read of it, and no right that may have been taken back.

use super::report::{Action, RepairReport};
use crate::catalog::CONTROL_LOG;
use crate::error::StorageError;
use crate::format::control::{self, ControlHeader, Event, EventKind};
use crate::record::Timestamp;
use crate::vfs::{Vfs, random_salt, set_aside};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes a damaged control log anew from the events that can be read. One that can't may have revoked any token that
/// there was: all of these are revoked, and the report names them.
pub(super) fn repair(vfs: &dyn Vfs, data: &Path, report: &mut RepairReport) -> Result<(), StorageError> {
    let path = data.join(CONTROL_LOG);
    if !vfs.exists(&path)? {
        return Ok(());
    }
    let bytes = vfs.read(&path)?;
    let problem = match control::decode(&bytes) {
        // What a crash tore off is cut off when the store is opened.
        Ok(contents) => {
            if let Some(torn) = contents.torn {
                let what = format!("torn at byte {}: {} bytes are cut off", torn.offset, torn.bytes);
                report.actions.push(Action { tenant: None, file: path, what, quarantined: None });
            }
            return Ok(());
        }
        Err(error) => error,
    };
    let found = control::salvage(&bytes);
    let last_hole = found.holes.iter().map(|hole| hole.1).max().unwrap_or(0);
    // The header alone holds no event.
    let has_lost = found.holes.iter().any(|hole| hole.0 > 0);
    let mut live: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, event) in &found.events {
        match &event.kind {
            EventKind::TokenCreated(token) => drop(live.insert(&token.id, *at)),
            EventKind::TokenRevoked { id } => drop(live.remove(&**id)),
            _ => {}
        }
    }
    let revoked: Vec<&str> = live.into_iter().filter(|(_, at)| has_lost && *at < last_hole).map(|(id, _)| id).collect();
    let mut what = format!("damaged at byte {}: written anew from {} events", problem.offset, found.events.len());
    if has_lost {
        let holes: Vec<String> =
            found.holes.iter().filter(|hole| hole.0 > 0).map(|(from, to)| format!("{from}-{to}")).collect();
        what.push_str(&format!("; what was decided in bytes {} is lost", holes.join(", ")));
        what.push_str(&match revoked.len() {
            0 => String::new(),
            n => format!("; since a revocation may be among it, {n} tokens were revoked: {}", revoked.join(", ")),
        });
        report.control_lost = true;
    }
    let mut quarantined = None;
    if !report.dry_run {
        let reason = format!("{}\n", problem.in_file(&path));
        quarantined = Some(set_aside(vfs, &data.join("quarantine"), CONTROL_LOG, &bytes, &reason)?);
        // Backups know the store by its salt. Where the header is damaged, a frame that can be read shows that it is right.
        let is_known = ControlHeader::decode(&bytes).is_ok() || !found.events.is_empty();
        let salt = if is_known { found.header.salt } else { random_salt() };
        let header = ControlHeader { salt, created: found.header.created };
        let mut out = header.encode().to_vec();
        let mut head = header.start();
        let at = Timestamp::now();
        let revocations = revoked.iter().map(|id| Event { at, kind: EventKind::TokenRevoked { id: Box::from(*id) } });
        for event in found.events.iter().map(|(_, event)| event.clone()).chain(revocations) {
            head = control::encode_frame(&header, &head, &event, &mut out);
        }
        vfs.replace(&path, &out)?;
    }
    report.actions.push(Action { tenant: None, file: path, what, quarantined });
    Ok(())
}
