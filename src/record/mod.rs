//! Records and their values, alone, in batches and in columns.
//!
//! Promises: a value is a type tag and its exact text, so that `200`, `200.0` and `"200"` stay apart and
//! come back as they were. May not know: any other module but [`crate::id`] and [`crate::error`].

mod batch;
mod block;
mod codes;
mod column;
mod counts;
mod grams;
mod json;
mod labels;
mod level;
mod number;
mod outline;
mod quantity;
mod source;
pub(crate) mod text;
mod time;
mod zone;

pub use batch::{Batch, BatchBuilder, Head, RecordError, Span};
pub use block::{Block, Field, Presence, Zone};
pub use codes::Codes;
pub(crate) use codes::each_width;
pub use column::{Column, Data, FixedForm, Tags, Texts, write_decimal, write_integer};
pub use counts::ValueCounts;
pub use grams::Grams;
pub use json::{ARRAY_DEPTH_MAX, elements, for_each_element, write_json_string, write_json_value};
pub use labels::Labels;
pub use level::Level;
pub use number::Number;
pub use outline::{ByteSet, Bytes, Fill, FillPlace, Form, HELD_BYTES_MAX, Outline, Skeleton, Template};
pub use quantity::{Quantity, Unit, field_unit};
pub use source::{BlockInfo, Source, TermIndex, TermQuery};
pub use time::{Timestamp, TimestampError, parse_duration_ns};
pub use zone::{ZONE_BOUND_BYTES_MAX, ZONE_COUNTS_MAX, ZoneMap};

/// Largest record: the bytes of its names and values together. A block holds 8 MB, and a frame must hold a record.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// Most fields a record may have after flattening.
pub const RECORD_FIELDS_MAX: usize = 10_000;
/// Longest field name, in bytes, after flattening.
pub const FIELD_NAME_BYTES_MAX: usize = 4096;

/// The type of a value. The discriminants are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tag {
    /// JSON `null`; its text is empty.
    Null = 0,
    /// `true` or `false`, which are its text.
    Bool = 1,
    /// A JSON number; its text is as it was written.
    Number = 2,
    /// A string; its text is what it says, without quotes and escapes.
    String = 3,
    /// An array; its text is its JSON, as it was written but for white space between tokens.
    Array = 4,
    /// An empty object, the only one that flattening leaves; its text is `{}`.
    Object = 5,
}

impl Tag {
    /// The tag with this number on disk.
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            0 => Tag::Null,
            1 => Tag::Bool,
            2 => Tag::Number,
            3 => Tag::String,
            4 => Tag::Array,
            5 => Tag::Object,
            _ => return None,
        })
    }
}

/// Does a value count as empty: null, `""`, `[]`, `{}` (ruling 17 of the language)?
pub fn is_empty_value(tag: Tag, text: &[u8]) -> bool {
    match tag {
        Tag::Null | Tag::Object => true,
        Tag::Bool | Tag::Number => false,
        Tag::String => text.is_empty(),
        Tag::Array => text == b"[]",
    }
}

/// One value: its type and its exact text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// The type.
    pub tag: Tag,
    /// The exact text; see [`Tag`] for what it is for each type.
    pub text: Box<str>,
}

impl Value {
    /// A null.
    pub fn null() -> Self {
        Value { tag: Tag::Null, text: "".into() }
    }
    /// A string.
    pub fn string(s: impl Into<Box<str>>) -> Self {
        Value { tag: Tag::String, text: s.into() }
    }
    /// A number, as text. The text is taken as it is: what is no JSON number becomes a string.
    pub fn number(s: impl Into<Box<str>>) -> Self {
        let text = s.into();
        let tag = if Number::is_json(&text) { Tag::Number } else { Tag::String };
        Value { tag, text }
    }
    /// Writes the value as JSON.
    pub fn write_json(&self, out: &mut String) {
        write_json_value(self.tag, &self.text, out);
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::string(s)
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::string(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value { tag: Tag::Bool, text: if b { "true" } else { "false" }.into() }
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or_else(Value::null, Into::into)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        let mut text = String::from("[");
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            item.into().write_json(&mut text);
        }
        text.push(']');
        Value { tag: Tag::Array, text: text.into() }
    }
}
macro_rules! from_integer {
    ($($t:ty)*) => { $(impl From<$t> for Value {
        fn from(n: $t) -> Self { Value { tag: Tag::Number, text: n.to_string().into() } }
    })* };
}
from_integer!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);
impl From<f64> for Value {
    /// The shortest text that reads back as the same number; what is not finite becomes a string.
    fn from(n: f64) -> Self {
        Value::number(n.to_string())
    }
}
impl From<f32> for Value {
    fn from(n: f32) -> Self {
        Value::number(n.to_string())
    }
}

/// One record, as a program makes it or gets it back: a time and named values.
///
/// Names are flat; a nested object is written with dots (`http.status`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When it happened; without one, when it arrives.
    pub time: Option<Timestamp>,
    /// Names and values, in any order; a name that comes twice keeps its last value.
    pub fields: Vec<(Box<str>, Value)>,
}

impl Record {
    /// An empty record, to be filled by [`Record::with`].
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a field.
    pub fn with(mut self, name: impl Into<Box<str>>, value: impl Into<Value>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }
    /// Sets the time.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().rev().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }
}

/// Makes a [`Record`] from `name: value` pairs; a name with dots is written as a string.
///
/// ```
/// let r = duramen::record! { level: "error", "http.status": 500, tags: vec!["a", "b"] };
/// assert_eq!(r.get("http.status").unwrap().text.as_ref(), "500");
/// ```
#[macro_export]
macro_rules! record {
    (@name $name:ident) => { stringify!($name) };
    (@name $name:literal) => { $name };
    ($($name:tt : $value:expr),* $(,)?) => {
        $crate::Record::new()$(.with($crate::record!(@name $name), $value))*
    };
}
