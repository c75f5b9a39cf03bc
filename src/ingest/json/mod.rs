//! JSON to fields: an own tokenizer (RFC 8259, strictly), since libraries lose the text of numbers, `-0`, duplicate
//! keys or speed.
//!
//! Promises: takes what `serde_json` takes, and lone surrogates besides (as U+FFFD); never recurses; what it reads
//! comes out as it was written. May not know: lines, chunks, time, labels.

mod elements;
mod object;
mod pretty;
mod scan;
mod string;

pub(super) use elements::{Element, Elements};
pub(super) use object::ObjectReader;
pub(super) use pretty::{Pretty, Step};
pub(super) use scan::{is_value, skip_space};

/// Objects in objects, the outermost counted. Each level makes names longer; real logs have four.
pub const OBJECT_DEPTH_MAX: usize = 64;
/// Arrays and objects inside a value that is an array, itself counted. The bits of a `u128` hold which is which, and
/// it is where `serde_json` gives up, too.
pub const ARRAY_DEPTH_MAX: usize = 128;

/// Why a text is no JSON object that is taken. Offsets are in bytes from the start of the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Something else than an object.
    #[error("a record must be a JSON object, which begins with `{{`")]
    NotAnObject,
    /// Something else was expected here.
    #[error("broken JSON at byte {at}: expected {expected}")]
    Expected {
        /// Where.
        at: usize,
        /// What.
        expected: &'static str,
    },
    /// The text ends too early.
    #[error("broken JSON: ends at byte {at}, expected {expected}")]
    Ends {
        /// Its length.
        at: usize,
        /// What.
        expected: &'static str,
    },
    /// Text behind the object.
    #[error("broken JSON at byte {0}: more text behind the object")]
    Trailing(usize),
    /// A control character in a string.
    #[error("broken JSON at byte {0}: a control character in a string must be escaped")]
    Control(usize),
    /// An unknown escape.
    #[error("broken JSON at byte {0}: unknown escape in a string")]
    Escape(usize),
    /// Too deep.
    #[error("objects nested deeper than {OBJECT_DEPTH_MAX} (object_depth_max) at byte {0}")]
    ObjectDepth(usize),
    /// Too deep.
    #[error("arrays nested deeper than {ARRAY_DEPTH_MAX} (array_depth_max) at byte {0}")]
    ArrayDepth(usize),
    /// The names around a field are too long.
    #[error("a field name is longer than {} bytes (field_name_bytes_max)", crate::record::FIELD_NAME_BYTES_MAX)]
    NameTooLong,
    /// Nothing between two commas of the outer array.
    #[error("an element of the array is missing")]
    MissingElement,
    /// The outer array has no end.
    #[error("the array has no end")]
    ArrayEnds,
}

impl JsonError {
    /// An object that breaks off at the end of the text.
    pub(super) fn ends(text: &[u8]) -> Self {
        JsonError::Ends { at: text.len(), expected: "`}`" }
    }

    /// Expected something at a place, which may be the end of the text.
    fn expected(text: &[u8], at: usize, expected: &'static str) -> Self {
        if at >= text.len() {
            JsonError::Ends { at: text.len(), expected }
        } else {
            JsonError::Expected { at, expected }
        }
    }
}
