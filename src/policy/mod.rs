//! Rules of records' lives: how long and how much of them is kept, what goes to an archive, how much a tenant may hold,
//! and what happens when the disk has little room left.
//!
//! Promises: pure: the same rules, segments and time give the same answer. What can't be understood is an error that
//! names the rule. May not know: files, clocks, stores, what a segment looks like.
//!
//! A record's fate is decided by its tenant and the labels of its stream. Of the rules that match, one counts:
//! 1. a `binding` one before others;
//! 2. the tenant's own settings, then rules of the configuration that name the tenant, then those for names that begin
//!    so (`user-*`), then those for all;
//! 3. the one with more conditions (labels, `deleted`), then with more exact ones;
//! 4. the first.
//!
//! Rules of retention and of archiving are chosen apart. Records that the same two rules decide, or rules of the same
//! periods, are of one [`Class`], and stand in segments of their own: so that a class goes by removing files.

mod config;
mod expiry;
mod limits;
mod pattern;
mod rule;
mod settings;
mod tenant;
// They read TOML, which comes with the program.
#[cfg(all(test, feature = "cli"))]
mod tests;

pub use config::{Amount, ArchiveRule, Policy, PolicyConfig, QuotaRules, RetentionRule, SpaceRules, TenantQuota};
pub use expiry::{Expiry, Held, Move, expired, next_due, to_archive};
pub use limits::{LOW_BYTES, Quota, QuotaError, REFUSE_BYTES, Space, SpaceLevel, Usage};
pub use settings::{Settings, check_setting, is_setting, setting_names};
pub use tenant::{Lifetime, MergeLimits, TenantPolicy};

pub use crate::id::{Class, Place};

/// The label that says which instance a stream is of, for rules with `deleted`.
pub const INSTANCE: &str = "instance";

/// Why a rule can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {problem}")]
pub struct BadRule {
    /// Which rule, by its kind and number or its setting.
    pub rule: String,
    /// What is wrong with it.
    pub problem: String,
}

impl BadRule {
    pub(crate) fn new(rule: impl Into<String>, problem: impl Into<String>) -> Self {
        BadRule { rule: rule.into(), problem: problem.into() }
    }
}
