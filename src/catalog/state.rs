//! What the events of the control log come to: tenants and tokens.

use crate::format::control::{Event, EventKind, TokenEntry};
use crate::id::TenantId;
use crate::policy;
use crate::record::{Timestamp, parse_duration_ns};
use std::collections::BTreeMap;

/// Longest value of a setting, in bytes: a frame of the control log must hold it.
const SETTING_BYTES_MAX: usize = 4096;

/// A tenant, as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantInfo {
    /// Its name.
    pub name: TenantId,
    /// When it was made.
    pub created: Timestamp,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
    /// Its settings, as they were given.
    pub settings: BTreeMap<Box<str>, Box<str>>,
}

impl TenantInfo {
    /// Is it there, and not deleted?
    pub fn is_live(&self) -> bool {
        self.deleted.is_none()
    }
}

impl TenantInfo {
    /// How long its records are kept by its own setting, in nanoseconds; rules may say otherwise.
    pub fn retention_ns(&self) -> Option<i64> {
        self.settings.get("retention").and_then(|text| parse_duration_ns(text))
    }
}

/// A token, as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// The token.
    pub entry: TokenEntry,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// Why a setting can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSetting {
    /// No setting has this name.
    #[error("`{0}` is no setting of a tenant: {names} are", names = policy::setting_names().collect::<Vec<_>>().join(", "))]
    Name(String),
    /// It can't have this value.
    #[error(transparent)]
    Value(#[from] policy::BadRule),
    /// Too long.
    #[error("a setting is longer than {SETTING_BYTES_MAX} bytes (setting_bytes_max)")]
    TooLong,
}

pub(super) fn check_setting(name: &str, value: Option<&str>) -> Result<(), BadSetting> {
    let cut = |text: &str| text.chars().take(80).collect::<String>();
    if !policy::is_setting(name) {
        return Err(BadSetting::Name(cut(name)));
    }
    let Some(value) = value else { return Ok(()) };
    if value.len() > SETTING_BYTES_MAX {
        return Err(BadSetting::TooLong);
    }
    Ok(policy::check_setting(name, value)?)
}

/// Tenants and tokens, or those of them that an event concerns.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, TenantInfo>,
    pub(super) tokens: BTreeMap<Box<str>, TokenInfo>,
}

impl State {
    /// Brings in an event. It was checked when it was made; one that concerns what isn't there changes nothing.
    pub(super) fn apply(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::TenantCreated { tenant } => {
                let info =
                    TenantInfo { name: tenant.clone(), created: at, deleted: None, settings: BTreeMap::default() };
                self.tenants.insert(tenant.clone(), info);
            }
            EventKind::TenantSet { tenant, name, value } => {
                let Some(info) = self.tenants.get_mut(tenant) else { return };
                match value {
                    Some(value) => drop(info.settings.insert(name.clone(), value.clone())),
                    None => drop(info.settings.remove(name)),
                }
            }
            EventKind::TenantDeleted { tenant } => {
                if let Some(info) = self.tenants.get_mut(tenant) {
                    info.deleted = Some(at);
                }
                // Or they would be keys to a tenant that is made under the name later.
                for token in self.tokens.values_mut().filter(|t| t.entry.tenant.as_ref() == Some(tenant)) {
                    token.revoked.get_or_insert(at);
                }
            }
            EventKind::TokenCreated(entry) => {
                let info = TokenInfo { entry: entry.clone(), created: at, revoked: None };
                self.tokens.insert(entry.id.clone(), info);
            }
            // A record, which no question is answered from.
            EventKind::KeyChanged { .. } => {}
            EventKind::TokenRevoked { id } => {
                if let Some(token) = self.tokens.get_mut(id) {
                    token.revoked.get_or_insert(at);
                }
            }
        }
    }
}
