//! Names of things: tenants, segments, logs, sequence numbers.
//!
//! Promises: a [`TenantId`] was validated once, so that nothing below it handles a raw name.
//! May not know: any other module.

use std::fmt;

/// Longest tenant name, in bytes: it is a directory name, and room is left for suffixes.
pub const TENANT_NAME_BYTES_MAX: usize = 64;

/// The name of a tenant: 1 to [`TENANT_NAME_BYTES_MAX`] of `a-z A-Z 0-9 . _ -`, the first one a letter or digit.
///
/// ```
/// use duramen::TenantId;
/// assert!(TenantId::new("acme-1").is_ok());
/// assert!(TenantId::new("../acme").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Box<str>);

/// Why a text is no tenant name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a tenant name: 1 to 64 letters, digits, `.`, `_` or `-` are, beginning with a letter or digit"
)]
pub struct BadTenantName {
    /// The text as given, cut to 80 characters.
    pub name: String,
}

impl TenantId {
    /// Validates a name.
    pub fn new(name: &str) -> Result<Self, BadTenantName> {
        let bytes = name.as_bytes();
        let ok = !bytes.is_empty()
            && bytes.len() <= TENANT_NAME_BYTES_MAX
            && bytes[0].is_ascii_alphanumeric()
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if ok { Ok(Self(name.into())) } else { Err(BadTenantName { name: name.chars().take(80).collect() }) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record's place in its tenant's order of commits: given at commit, contiguous, from 1, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Number of a segment, unique within a tenant, rising.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

/// Number of a log file, unique within a tenant, rising.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_names() {
        for good in ["a", "default", "user_17", "A.b-c", &"x".repeat(64)] {
            assert_eq!(TenantId::new(good).map(|t| t.to_string()), Ok(good.to_string()));
        }
        for bad in ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "ü", "a\0", &"x".repeat(65)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
    }
}
