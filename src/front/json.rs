//! Rows out of JSON: what a server sends is shown by the command line like its own.

use crate::record::Tag;
use crate::store::{Cell, Row};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Reads a row from one JSON object, its members in order and their texts as they stand.
pub fn row_from_json(text: &str) -> Result<Row, serde_json::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Row;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
            let mut row = Row::default();
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                let (tag, text) = value(raw.get());
                row.cells.push(Cell { name: name.into(), tag, text: text.into() });
            }
            Ok(row)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let row = reader.deserialize_map(Members)?;
    reader.end()?;
    Ok(row)
}

fn value(raw: &str) -> (Tag, String) {
    match raw.as_bytes().first() {
        Some(b'"') => (Tag::String, serde_json::from_str(raw).unwrap_or_else(|_| raw.to_string())),
        Some(b'[') => (Tag::Array, raw.to_string()),
        Some(b'{') => (Tag::Object, raw.to_string()),
        Some(b't' | b'f') => (Tag::Bool, raw.to_string()),
        Some(b'n') => (Tag::Null, String::new()),
        _ => (Tag::Number, raw.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text =
            r#"{"timestamp":"2025-01-01T00:00:00.000Z","n":1.50,"e":null,"l":[1,"a"],"o":{},"s":"x\ny","b":true}"#;
        assert_eq!(row_from_json(text).map(|r| r.to_json()).ok().as_deref(), Some(text));
        for bad in ["", "[]", "{\"a\":1} x", "{\"a\":}"] {
            assert!(row_from_json(bad).is_err(), "{bad}");
        }
    }
}
