//! Names of things: tenants, segments, logs, sequence numbers.
//!
//! Promises: a [`TenantId`] was validated once, so that nothing below it handles a raw name.
//! May not know: any other module.

use std::fmt;
use std::sync::Arc;

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

/// Longest name of a class or of a place, in bytes.
pub const SHORT_NAME_BYTES_MAX: usize = 32;

/// Why a text is no name of a class or of a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no name of a class or place: up to 32 of `a-z 0-9 . _ -` are, beginning with a letter or digit")]
pub struct BadShortName {
    /// The text as given, cut to 80 characters.
    pub name: String,
}

fn short_name(name: &str) -> Result<Arc<str>, BadShortName> {
    let bytes = name.as_bytes();
    let is_plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ok = bytes.len() <= SHORT_NAME_BYTES_MAX
        && bytes.first().is_none_or(is_plain)
        && bytes.iter().all(|b| is_plain(b) || matches!(b, b'.' | b'_' | b'-'));
    if ok { Ok(name.into()) } else { Err(BadShortName { name: name.chars().take(80).collect() }) }
}

/// The retention class of a segment: records of one class are kept, archived and counted by the same rules. Segments
/// of different classes are not merged. The empty one says that nobody grouped the segment's records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(Arc<str>);

/// Where a segment's file is: the empty place is the tenant's own folder, any other an archive, whose folder is in the
/// configuration and never in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(Arc<str>);

impl Class {
    /// Validates a name; the empty one is [`Class::default`].
    pub fn new(name: &str) -> Result<Self, BadShortName> {
        short_name(name).map(Class)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Class {
    fn default() -> Self {
        Class("".into())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Place {
    /// Validates a name; the empty one is [`Place::default`].
    pub fn new(name: &str) -> Result<Self, BadShortName> {
        short_name(name).map(Place)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is it the tenant's own folder?
    pub fn is_own(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Place {
    fn default() -> Self {
        Place("".into())
    }
}

impl fmt::Display for Place {
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

    #[test]
    fn names_of_classes_and_places() {
        for good in ["", "30d", "ever", "30d.5f3a9c01", "cold-1_b", &"x".repeat(32)] {
            assert_eq!(Class::new(good).map(|c| c.to_string()), Ok(good.to_string()));
            assert_eq!(Place::new(good).map(|p| p.is_own()), Ok(good.is_empty()));
        }
        for bad in [".", "..", "-x", "A", "a/b", "a b", "ü", "a\0", &"x".repeat(33)] {
            assert!(Class::new(bad).is_err() && Place::new(bad).is_err(), "{bad}");
        }
    }
}
