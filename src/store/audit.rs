//! Audit records: what was decided and deleted, in the tenant `system`, stream `category=audit`.
//!
//! Promises: where the tenant `system` is there, every event of `control.log` has a record in it, once, a moment after it
//! was decided, or when the store is next opened where a crash came between; `control.log` stays what counts. A deletion
//! has a record before it begins. No secret is in any, nor the hash of one. May not know: HTTP, who holds a token.

use super::{Error, Inner, Store};
use crate::catalog::{Event, EventKind, KeyChange};
use crate::exec::{Execution, Limits, Plan};
use crate::id::TenantId;
use crate::log::Ack;
use crate::record::{BatchBuilder, Labels, Record, Timestamp};
use crate::tenant::TenantCore;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The tenant of the system's own records.
pub const SYSTEM_TENANT: &str = "system";
/// The stream of audit records in it.
const STREAM: (&str, &str) = ("category", "audit");
/// Decisions that are taken over in one commit.
const DECISIONS_AT_ONCE: usize = 1000;

fn labels() -> Labels {
    Labels::new([STREAM])
}

impl Store {
    /// Keeps a record of something that is done by whoever this says: `action` is what, in one word. When this returns the
    /// record is durable. It goes to the tenant `system`, which is made where it is missing; quotas do not count for it.
    ///
    /// What is decided in the catalog (tenants, settings, tokens, keys) has records by itself: see [`crate::Options::audit`].
    pub fn audit(&self, action: &str, by: &str, record: Record) -> Result<(), Error> {
        let id = TenantId::new(SYSTEM_TENANT)?;
        let core = self.0.core(&id, true)?;
        // Its folder first: a tenant that control.log has and that has none is one that was lost.
        self.catalog()?.ensure_tenant(&id)?;
        let record = record.with("action", action).with("by", by).with("level", "info");
        append(&core, &[record])
    }
}

fn append(core: &Arc<TenantCore>, records: &[Record]) -> Result<(), Error> {
    let mut builder = BatchBuilder::new();
    for record in records {
        builder.push(record, Timestamp::now(), &labels())?;
    }
    core.make_room()?;
    core.append(&builder.take(), Ack::Fsync).map(drop)
}

impl Inner {
    /// Takes over what was decided since it was looked last, where audit records are wanted and `system` is there.
    pub(super) fn audit_decisions(&self) -> Result<(), Error> {
        let (Some(by), Some(catalog)) = (&self.options.audit, self.catalog.get()) else { return Ok(()) };
        let mut told = self.lifecycle.audited();
        let (frames, own) = catalog.decisions();
        if *told == Some(frames) {
            return Ok(());
        }
        let id = TenantId::new(SYSTEM_TENANT)?;
        if !crate::tenant::exists(&*self.vfs, &self.tenant_dir(&id))? {
            return Ok(());
        }
        let core = self.core(&id, false)?;
        let last = match *told {
            Some(last) => last,
            None => last_decision(&core)?,
        };
        let decided = catalog.decided_after(last)?;
        // What would expire at once was there once, perhaps.
        let age = core.rules().policy().lifetime_of(&labels()).age_ns;
        let oldest = Timestamp(age.map_or(i64::MIN, |age| self.options.clock.now().0.saturating_sub(age)));
        for part in decided.chunks(DECISIONS_AT_ONCE) {
            // Who decided before this process did is not known.
            let who = |number: u64| if number > frames.saturating_sub(own) { by } else { "unknown" };
            let young = part.iter().filter(|(_, event)| event.at >= oldest);
            let records: Vec<Record> = young.map(|(number, event)| record(*number, event, who(*number))).collect();
            if !records.is_empty() {
                append(&core, &records)?;
            }
            *told = part.last().map(|(number, _)| *number).or(*told);
        }
        if decided.is_empty() {
            *told = Some(frames);
        }
        Ok(())
    }
}

/// The number of the last decision that there is a record of.
fn last_decision(core: &TenantCore) -> Result<u64, Error> {
    let query = crate::query::parse("{category=\"audit\"} control:* | stats max(control) as n")?;
    let plan = Plan::new(&query, Timestamp::now(), None, Limits::default())?;
    let sources = core.snapshot().sources(plan.span().first, plan.span().last)?;
    let mut last = 0;
    Execution::new().run(&plan, &sources, &mut |row| {
        last = row.get("n").and_then(|(_, text)| text.parse().ok()).unwrap_or(last);
        ControlFlow::Continue(())
    })?;
    Ok(last)
}

fn record(number: u64, event: &Event, by: &str) -> Record {
    let begun = Record::new().at(event.at).with("control", number).with("by", by).with("level", "info");
    let tenant = |action: &str, tenant: &TenantId| {
        let message = format!("{} {tenant}", action.replace('_', " "));
        (action.to_string(), message, vec![("tenant", tenant.to_string())])
    };
    let (action, message, fields) = match &event.kind {
        EventKind::TenantCreated { tenant: id } => tenant("tenant_created", id),
        EventKind::TenantDeleted { tenant: id } => tenant("tenant_deleted", id),
        EventKind::TenantSet { tenant: id, name, value } => {
            let (action, message, mut fields) = tenant("tenant_set", id);
            fields.push(("setting", name.to_string()));
            fields.extend(value.as_ref().map(|value| ("value", value.to_string())));
            (action, format!("{message}: {name}"), fields)
        }
        EventKind::TokenCreated(token) => {
            let scope = token.tenant.as_ref().map_or_else(|| "the system".to_string(), ToString::to_string);
            let mut fields = vec![("token", token.id.to_string()), ("roles", token.roles.to_string())];
            fields.extend(token.tenant.as_ref().map(|tenant| ("tenant", tenant.to_string())));
            fields.extend(token.expires.map(|at| ("expires", at.to_string())));
            fields.extend(token.cidr.map(|cidr| ("cidr", cidr.to_string())));
            ("token_created".to_string(), format!("token created {} for {scope}", token.id), fields)
        }
        EventKind::TokenRevoked { id } => {
            ("token_revoked".to_string(), format!("token revoked {id}"), vec![("token", id.to_string())])
        }
        EventKind::KeyChanged { tenant: id, change, generation } => {
            let action = match change {
                KeyChange::Encrypted => "tenant_encrypted",
                KeyChange::Rotated => "key_rotated",
                KeyChange::Master { .. } => "master_key_changed",
            };
            let (action, message, mut fields) = tenant(action, id);
            fields.push(("generation", generation.to_string()));
            if let KeyChange::Master { id } = change {
                fields.push(("master_key", id.to_string()));
            }
            (action, message, fields)
        }
    };
    let record = begun.with("action", action.as_str()).with("message", message.as_str());
    fields.into_iter().fold(record, |record, (name, value)| record.with(name, value.as_str()))
}
