//! The bodies of all fuzz targets, for `fuzz/` and for the tests that replay its corpora. No part of the API.
//!
//! Each takes any bytes and panics where a promise is broken.

pub use crate::format::fuzz::{
    fuzz_control as control, fuzz_edit as edit, fuzz_frame as frame, fuzz_payload as payload,
};
pub use crate::index::fuzz::fuzz_bundle as bundle;
pub use crate::ingest::fuzz::{fuzz_json as json, fuzz_lines as lines};
pub use crate::query::fuzz::fuzz_query as query;
pub use crate::segment::fuzz::{fuzz_block as block, fuzz_segment as segment};

/// The body of a target.
pub type Body = fn(&[u8]);

/// The targets by name.
pub const TARGETS: &[(&str, Body)] = &[
    ("block", block),
    ("bundle", bundle),
    ("canary", canary),
    ("control", control),
    ("edit", edit),
    ("frame", frame),
    ("json", json),
    ("lines", lines),
    ("payload", payload),
    ("query", query),
    ("segment", segment),
];

/// Has a planted bug: a fuzzer that does not find it finds nothing.
///
/// # Panics
///
/// On seven certain bytes, compared one by one so that a fuzzer led by coverage gets there in steps.
pub fn canary(data: &[u8]) {
    let song = b"duramen";
    let right = data.iter().zip(song).take_while(|(a, b)| a == b).count();
    assert!(right < song.len(), "the canary's bug was found");
}
