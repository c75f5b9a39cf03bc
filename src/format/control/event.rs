//! The events of a control log: their bytes, and the small types that are in them.

use crate::format::bytes::{DecodeError, Reader, put_bytes, put_varint, put_zigzag};
use crate::id::TenantId;
use crate::record::Timestamp;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

const WHAT: &str = "control event";

const TENANT_CREATED: u8 = 1;
const TENANT_SET: u8 = 2;
const TENANT_DELETED: u8 = 3;
const TOKEN_CREATED: u8 = 4;
const TOKEN_REVOKED: u8 = 5;
const KEY_CHANGED: u8 = 6;

/// Something that was decided, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A tenant was made; one of that name that was deleted before is gone for good.
    TenantCreated {
        /// Its name.
        tenant: TenantId,
    },
    /// A setting of a tenant was given or, without a value, taken back.
    TenantSet {
        /// Whose.
        tenant: TenantId,
        /// Which setting.
        name: Box<str>,
        /// Its value.
        value: Option<Box<str>>,
    },
    /// A tenant was deleted, and all its tokens revoked.
    TenantDeleted {
        /// Its name.
        tenant: TenantId,
    },
    /// A token was made.
    TokenCreated(TokenEntry),
    /// A token was revoked.
    TokenRevoked {
        /// Its id.
        id: Box<str>,
    },
    /// A tenant's keys are about to be changed.
    KeyChanged {
        /// Whose.
        tenant: TenantId,
        /// What is done.
        change: KeyChange,
        /// The newest generation of the tenant's key when it is done.
        generation: u32,
    },
}

/// What is done to a tenant's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The tenant becomes an encrypted one.
    Encrypted,
    /// A new generation of its key is made.
    Rotated,
    /// Its keys are brought under another master key.
    Master {
        /// The id of that key, which says nothing of it.
        id: Box<str>,
    },
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Names it in lists and in logs; no secret.
    pub id: Box<str>,
    /// BLAKE3 of the secret.
    pub hash: [u8; 32],
    /// Whose it is; `None` for the system.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub roles: Roles,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Where it may be used from.
    pub cidr: Option<Cidr>,
}

/// What a token may do; an administrator may do all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Roles {
    /// May query.
    pub const READ: Roles = Roles(1);
    /// May append.
    pub const WRITE: Roles = Roles(2);
    /// May do both, and administer its tenant or, of the system, all of them.
    pub const ADMIN: Roles = Roles(4);
    const NAMED: [(&'static str, Roles); 3] = [("read", Roles::READ), ("write", Roles::WRITE), ("admin", Roles::ADMIN)];

    /// Both.
    pub const fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }
    /// Is this role among them, or implied by `admin`?
    pub fn allow(self, role: Roles) -> bool {
        self.0 & Roles::ADMIN.0 != 0 || self.0 & role.0 == role.0
    }
    /// The names, as the command line takes them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(_, role)| self.0 & role.0 != 0).map(|(name, _)| name)
    }
    fn from_bits(bits: u8) -> Option<Roles> {
        (1..8).contains(&bits).then_some(Roles(bits))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

/// Why a text names no roles or no address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadToken {
    /// Not a role.
    #[error("`{0}` is no role: read, write and admin are, with commas between them")]
    Role(String),
    /// Not an address range.
    #[error("`{0}` is no address range: 10.0.0.0/8, fd00::/8 and single addresses are")]
    Cidr(String),
}

impl FromStr for Roles {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut roles = Roles(0);
        for word in text.split(',').map(str::trim) {
            let known = Self::NAMED.iter().find(|(name, _)| *name == word);
            let (_, role) = known.ok_or_else(|| BadToken::Role(word.chars().take(40).collect()))?;
            roles = roles.and(*role);
        }
        Ok(roles)
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The range of addresses that share their first `prefix` bits with this one.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Cidr { address, prefix })
    }

    /// Is the address in the range? An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                // A range over mapped addresses states its prefix for 128 bits.
                let prefix = if self.address.is_ipv6() { self.prefix.saturating_sub(96) } else { self.prefix };
                let shift = 32 - u32::from(prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let bad = || BadToken::Cidr(text.chars().take(60).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
        let prefix = match prefix {
            Some(p) => p.trim().parse().map_err(|_| bad())?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        Cidr::new(address, prefix).ok_or_else(bad)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Event {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(match &self.kind {
            EventKind::TenantCreated { .. } => TENANT_CREATED,
            EventKind::TenantSet { .. } => TENANT_SET,
            EventKind::TenantDeleted { .. } => TENANT_DELETED,
            EventKind::TokenCreated(_) => TOKEN_CREATED,
            EventKind::TokenRevoked { .. } => TOKEN_REVOKED,
            EventKind::KeyChanged { .. } => KEY_CHANGED,
        });
        put_zigzag(&mut out, self.at.0);
        match &self.kind {
            EventKind::TenantCreated { tenant } | EventKind::TenantDeleted { tenant } => {
                put_bytes(&mut out, tenant.as_str().as_bytes());
            }
            EventKind::TenantSet { tenant, name, value } => {
                put_bytes(&mut out, tenant.as_str().as_bytes());
                put_bytes(&mut out, name.as_bytes());
                put_option(&mut out, value.as_deref(), |out, value| put_bytes(out, value.as_bytes()));
            }
            EventKind::TokenCreated(token) => token.encode(&mut out),
            EventKind::TokenRevoked { id } => put_bytes(&mut out, id.as_bytes()),
            EventKind::KeyChanged { tenant, change, generation } => {
                put_bytes(&mut out, tenant.as_str().as_bytes());
                put_varint(&mut out, u64::from(*generation));
                out.push(match change {
                    KeyChange::Encrypted => 1,
                    KeyChange::Rotated => 2,
                    KeyChange::Master { .. } => 3,
                });
                if let KeyChange::Master { id } = change {
                    put_bytes(&mut out, id.as_bytes());
                }
            }
        }
        out
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, WHAT);
        let kind = r.u8()?;
        let at = Timestamp(r.zigzag()?);
        let kind = match kind {
            TENANT_CREATED => EventKind::TenantCreated { tenant: tenant(&mut r)? },
            TENANT_SET => EventKind::TenantSet {
                tenant: tenant(&mut r)?,
                name: r.text()?.into(),
                value: option(&mut r, |r| Ok(r.text()?.into()))?,
            },
            TENANT_DELETED => EventKind::TenantDeleted { tenant: tenant(&mut r)? },
            TOKEN_CREATED => EventKind::TokenCreated(TokenEntry::decode(&mut r)?),
            TOKEN_REVOKED => EventKind::TokenRevoked { id: r.text()?.into() },
            KEY_CHANGED => {
                let tenant = tenant(&mut r)?;
                let generation = r.varint()?;
                let generation = u32::try_from(generation).map_err(|_| r.error("a generation", generation))?;
                let change = match r.u8()? {
                    1 => KeyChange::Encrypted,
                    2 => KeyChange::Rotated,
                    3 => KeyChange::Master { id: r.text()?.into() },
                    other => return Err(r.error("a change of keys from 1 to 3", other)),
                };
                EventKind::KeyChanged { tenant, change, generation }
            }
            other => return Err(DecodeError::new(WHAT, 0, "a kind of event from 1 to 6", other)),
        };
        r.end()?;
        Ok(Event { at, kind })
    }
}

impl TokenEntry {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.id.as_bytes());
        out.extend_from_slice(&self.hash);
        put_option(out, self.tenant.as_ref(), |out, tenant| put_bytes(out, tenant.as_str().as_bytes()));
        out.push(self.roles.0);
        put_option(out, self.expires, |out, at| put_zigzag(out, at.0));
        put_option(out, self.cidr, |out, cidr| {
            match cidr.address {
                IpAddr::V4(a) => put_bytes(out, &a.octets()),
                IpAddr::V6(a) => put_bytes(out, &a.octets()),
            }
            put_varint(out, u64::from(cidr.prefix));
        });
    }

    /// Reads what `encode` wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(TokenEntry {
            id: r.text()?.into(),
            hash: r.hash()?,
            tenant: option(r, tenant)?,
            roles: {
                let bits = r.u8()?;
                Roles::from_bits(bits).ok_or_else(|| r.error("roles", bits))?
            },
            expires: option(r, |r| Ok(Timestamp(r.zigzag()?)))?,
            cidr: option(r, |r| {
                let octets = r.bytes()?;
                let address = match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
                    (Ok(v4), _) => Some(IpAddr::from(v4)),
                    (_, Ok(v6)) => Some(IpAddr::from(v6)),
                    _ => None,
                };
                let prefix = u8::try_from(r.varint()?).ok();
                let cidr = address.zip(prefix).and_then(|(a, p)| Cidr::new(a, p));
                cidr.ok_or_else(|| r.error("an address range", "another"))
            })?,
        })
    }
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<'a, T>(
    r: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match r.u8()? {
        0 => Ok(None),
        1 => read(r).map(Some),
        other => Err(r.error("0 or 1", other)),
    }
}

fn tenant(r: &mut Reader<'_>) -> Result<TenantId, DecodeError> {
    let name = r.text()?;
    TenantId::new(name).map_err(|e| r.error("a tenant name", e.name))
}
