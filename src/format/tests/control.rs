//! The example of a control log.

use super::check;
use crate::format::control::{ControlHeader, Event, EventKind, decode, encode_frame};
use crate::id::TenantId;
use crate::record::Timestamp;

#[test]
fn the_document_shows_a_control_log() {
    let at = Timestamp(1_700_000_000_000_000_000);
    let header = ControlHeader { salt: 0x0123_4567_89ab_cdef, created: at };
    let mut bytes = header.encode().to_vec();
    let kind = EventKind::TenantCreated { tenant: TenantId::new("acme").expect("a name") };
    encode_frame(&header, &header.start(), &Event { at, kind }, &mut bytes);
    assert!(decode(&bytes).is_ok_and(|c| c.events.len() == 1 && c.torn.is_none()));
    check("control-log", &bytes);
}
