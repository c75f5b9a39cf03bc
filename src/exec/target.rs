//! Which values a field name of a query stands for.

use crate::query::ast::FieldPattern;
use std::sync::Arc;

/// Names of the time of a record, whatever fields it has.
pub(crate) const TIME_NAMES: [&str; 3] = ["timestamp", "_time", "@timestamp"];
/// The name that the time of a record is written under.
pub(crate) const TIME_NAME: &str = "timestamp";
/// The field that `_msg` and `msg` stand for where a record has no field of that name.
pub(crate) const MESSAGE_NAME: &str = "message";

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Any field of the record but its time.
    Any,
    /// The field of this name.
    Field(Arc<str>),
    /// The field of this name, or `message` where the record has none.
    Message(Arc<str>),
    /// The time of the record.
    Time,
    /// `_stream`: the canonical text of its labels.
    Stream,
    /// `_stream_id`: the id of its labels, as hex digits.
    StreamId,
    /// `_seq`: its sequence number.
    Seq,
}

impl Target {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            _ if TIME_NAMES.contains(&name) => Target::Time,
            "_msg" | "msg" => Target::Message(name.into()),
            "_stream" => Target::Stream,
            "_stream_id" => Target::StreamId,
            "_seq" => Target::Seq,
            _ => Target::Field(name.into()),
        }
    }
}

/// The columns that pipes need of the records they get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Every field of the records, and their time.
    pub(crate) all: bool,
    /// These, as typed.
    pub(crate) patterns: Vec<FieldPattern>,
}

impl Wanted {
    pub(crate) fn add(&mut self, name: &str) {
        self.patterns.push(FieldPattern { name: name.into(), prefix: false });
    }

    fn matches(pattern: &FieldPattern, name: &str) -> bool {
        if pattern.prefix {
            return name.starts_with(&*pattern.name);
        }
        *pattern.name == *name || (name == MESSAGE_NAME && matches!(Target::of(&pattern.name), Target::Message(_)))
    }

    /// Is a field of the records needed?
    pub(crate) fn field(&self, name: &str) -> bool {
        self.all || self.patterns.iter().any(|p| Self::matches(p, name))
    }

    /// Is the time needed?
    pub(crate) fn time(&self) -> bool {
        self.all || TIME_NAMES.iter().any(|name| self.patterns.iter().any(|p| Self::matches(p, name)))
    }

    /// Are the labels needed? By explicit name only.
    pub(crate) fn stream(&self) -> bool {
        self.patterns.iter().any(|p| !p.prefix && matches!(&*p.name, "_stream" | "_stream_id"))
    }
}
