//! Tokens: how a secret is made, and what holding one allows.

use super::{CatalogError, TokenInfo};
use crate::format::control::{Cidr, Roles, TokenEntry};
use crate::id::TenantId;
use crate::record::Timestamp;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// How every secret begins, so that scanners for leaked secrets find it.
const PREFIX: &str = "dmn_";
/// Random bytes in a secret: 256 bits can't be tried out, which is why a plain hash of them is enough.
const SECRET_BYTES: usize = 32;
/// Random bytes in an id, which names a token in lists: enough that no two of a store are alike.
const ID_BYTES: usize = 9;
/// Longest secret that is looked up, in bytes; what is longer was never made here.
const SECRET_TEXT_BYTES_MAX: usize = 256;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whose; `None` for the system.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub roles: Roles,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Where it may be used from.
    pub cidr: Option<Cidr>,
}

/// A token that was made.
#[derive(Debug)]
pub struct CreatedToken {
    /// Its id.
    pub id: Box<str>,
    /// Its secret, to be handed on once.
    pub secret: Secret,
}

/// The secret of a token; it is written where it is asked for by name, and not by accident.
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant.
    Tenant(TenantId),
    /// The system: its administrators name the tenant themselves.
    System,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The id of the token, for logs.
    pub token_id: Box<str>,
    /// For whom it speaks.
    pub scope: Scope,
    /// What it may do.
    pub roles: Roles,
}

/// Why a secret is not let in. Outside, all but [`AuthError::Address`] and [`AuthError::Catalog`] should look alike.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No token has this secret.
    #[error("the token is not known")]
    Unknown,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It was taken back.
    #[error("the token was revoked")]
    Revoked,
    /// It may not be used from there.
    #[error("the token may not be used from this address")]
    Address,
    /// The catalog can't be asked.
    #[error(transparent)]
    Catalog(Arc<CatalogError>),
}

impl AuthError {
    pub(super) fn catalog(error: CatalogError) -> Self {
        AuthError::Catalog(Arc::new(error))
    }
}

impl NewToken {
    pub(super) fn make(self) -> Result<(CreatedToken, TokenEntry), CatalogError> {
        let mut random = [0; SECRET_BYTES + ID_BYTES];
        getrandom::fill(&mut random).map_err(|e| CatalogError::NoRandom(e.to_string()))?;
        let (secret, id) = random.split_at(SECRET_BYTES);
        let secret = Secret(format!("{PREFIX}{}", base64url(secret)));
        let id: Box<str> = format!("tok_{}", base64url(id)).into();
        let NewToken { tenant, roles, expires, cidr } = self;
        let entry = TokenEntry { id: id.clone(), hash: hash(secret.reveal()), tenant, roles, expires, cidr };
        Ok((CreatedToken { id, secret }, entry))
    }
}

/// The hash that a secret is known by.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    // Cut after the limit, so that a header of megabytes costs nothing; a cut text hashes to nothing known.
    let bytes = secret.as_bytes();
    *blake3::hash(&bytes[..bytes.len().min(SECRET_TEXT_BYTES_MAX)]).as_bytes()
}

pub(super) fn check(found: Option<TokenInfo>, peer: IpAddr, now: Timestamp) -> Result<Principal, AuthError> {
    let TokenInfo { entry, revoked, .. } = found.ok_or(AuthError::Unknown)?;
    if revoked.is_some() {
        return Err(AuthError::Revoked);
    }
    if entry.expires.is_some_and(|at| at <= now) {
        return Err(AuthError::Expired);
    }
    if entry.cidr.is_some_and(|range| !range.contains(peer)) {
        return Err(AuthError::Address);
    }
    let scope = entry.tenant.map_or(Scope::System, Scope::Tenant);
    Ok(Principal { token_id: entry.id, scope, roles: entry.roles })
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_as_in_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
