//! JSON text of values, and the elements of arrays.

use super::Tag;

/// Appends a JSON string. Only what must be escaped is (RFC 8259, section 7).
pub fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    let mut from = 0;
    for (i, b) in text.bytes().enumerate() {
        let escape: &str = match b {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..i]);
        if escape.is_empty() {
            out.push_str("\\u00");
            out.push(char::from(b'0' + (b >> 4)));
            out.push(char::from(b"0123456789abcdef"[usize::from(b & 15)]));
        } else {
            out.push_str(escape);
        }
        from = i + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Appends a value as JSON.
pub fn write_json_value(tag: Tag, text: &str, out: &mut String) {
    match tag {
        Tag::Null => out.push_str("null"),
        Tag::String => write_json_string(text, out),
        Tag::Bool | Tag::Number | Tag::Array | Tag::Object => out.push_str(text),
    }
}

/// The elements of an array's JSON text, each as type and text: strings unescaped, nested arrays and objects as
/// their JSON. What is no JSON array has no elements.
pub fn elements(array: &str) -> Vec<(Tag, String)> {
    let Ok(raw) = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(array) else { return Vec::new() };
    raw.into_iter()
        .map(|item| {
            let text = item.get();
            match text.as_bytes().first() {
                Some(b'"') => (Tag::String, serde_json::from_str(text).unwrap_or_else(|_| text.to_string())),
                Some(b'[') => (Tag::Array, text.to_string()),
                Some(b'{') => (Tag::Object, text.to_string()),
                Some(b't' | b'f') => (Tag::Bool, text.to_string()),
                Some(b'n') => (Tag::Null, String::new()),
                _ => (Tag::Number, text.to_string()),
            }
        })
        .collect()
}

/// How deep elements of arrays in arrays are looked at; deeper ones count by the JSON text around them alone. Without a
/// bound, a record of brackets would overflow the stack.
pub const ARRAY_DEPTH_MAX: usize = 64;

/// Hands on the elements of an array, and of the arrays in it, down to [`ARRAY_DEPTH_MAX`].
pub fn for_each_element(array: &str, each: &mut dyn FnMut(Tag, &str)) {
    fn descend(array: &str, depth: usize, each: &mut dyn FnMut(Tag, &str)) {
        for (tag, text) in elements(array) {
            each(tag, &text);
            if tag == Tag::Array && depth + 1 < ARRAY_DEPTH_MAX {
                descend(&text, depth + 1, each);
            }
        }
    }
    descend(array, 0, each);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip() {
        for text in ["", "a\"b\\c", "\0\u{1f}\n\r\t\u{8}\u{c}", "Ψ🚀", "\u{7f}\u{2028}"] {
            let mut json = String::new();
            write_json_string(text, &mut json);
            assert_eq!(serde_json::from_str::<String>(&json).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn array_elements() {
        let expect: Vec<(Tag, String)> = [
            (Tag::String, "a\nb"),
            (Tag::Number, "12345678901234567890123"),
            (Tag::Null, ""),
            (Tag::Array, "[1,[]]"),
            (Tag::Object, "{\"k\":1}"),
            (Tag::Bool, "true"),
        ]
        .map(|(t, s)| (t, s.to_string()))
        .into();
        assert_eq!(elements(r#"["a\nb",12345678901234567890123,null,[1,[]],{"k":1},true]"#), expect);
        assert!(elements("nonsense").is_empty());
    }
}
