//! Levels of acknowledgement by name.

use crate::log::Ack;

/// A name that is no level's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level of acknowledgement: fsync, os and buffered are")]
pub struct UnknownAck(String);

const NAMED: [(&str, Ack); 3] = [("fsync", Ack::Fsync), ("os", Ack::Os), ("buffered", Ack::Buffered)];

/// The level of a name.
pub fn parse_ack(name: &str) -> Result<Ack, UnknownAck> {
    let found = NAMED.iter().find(|(known, _)| *known == name);
    found.map(|(_, ack)| *ack).ok_or_else(|| UnknownAck(name.chars().take(40).collect()))
}

/// The name of a level.
pub fn ack_name(ack: Ack) -> &'static str {
    NAMED.iter().find(|(_, known)| *known == ack).map_or("fsync", |(name, _)| name)
}
