//! What can go wrong in the catalog.

use super::state::BadSetting;
use super::view::ViewError;
use crate::error::StorageError;
use crate::id::TenantId;

/// Why the catalog can't do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The control log can't be read or written, or is damaged.
    #[error(transparent)]
    Storage(StorageError),
    /// A sync of the control log failed before; what reached the disk is not known, so that nothing more is written.
    #[error("the control log could not be synced before, and takes nothing more until the store is opened anew")]
    Stopped,
    /// There is no such tenant.
    #[error("there is no tenant `{0}`")]
    NoSuchTenant(TenantId),
    /// There is a tenant of that name.
    #[error("there is a tenant `{0}` already")]
    TenantExists(TenantId),
    /// There is no such token.
    #[error("there is no token `{0}`")]
    NoSuchToken(String),
    /// A setting that can't be taken.
    #[error(transparent)]
    BadSetting(#[from] BadSetting),
    /// The operating system has no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    NoRandom(String),
    /// The view can't be made; the log is untouched.
    #[error("the folder `catalog`, which is derived from control.log, can't be used: {0}")]
    View(String),
}

impl CatalogError {
    pub(super) fn view(error: ViewError) -> Self {
        CatalogError::View(error.to_string())
    }

    /// Is it what was asked that is wrong, and not the store?
    pub fn is_request(&self) -> bool {
        use CatalogError::{BadSetting, NoSuchTenant, NoSuchToken, TenantExists};
        matches!(self, NoSuchTenant(_) | TenantExists(_) | NoSuchToken(_) | BadSetting(_))
    }
}
