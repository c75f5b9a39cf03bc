//! Parameters: of the address, of a form, or members of a JSON object.

use super::error::ApiError;
use serde_json::Value;

/// Names and values, in order; the last of a name counts.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Of `a=1&b=2`, percent-encoded.
    pub(super) fn urlencoded(text: &str) -> Result<Self, ApiError> {
        let parts = text.split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Params(pairs.collect::<Result<_, ApiError>>()?))
    }

    /// Of the members of a JSON object; numbers and booleans count as their texts, and null as absent.
    pub(super) fn json(bytes: &[u8]) -> Result<Self, ApiError> {
        let bad = |why: String| ApiError::bad_request(format!("the body is no JSON object of parameters: {why}"));
        let value: Value = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let Value::Object(members) = value else { return Err(bad("it is another value".into())) };
        let mut pairs = Vec::with_capacity(members.len());
        for (name, value) in members {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(bad(format!("`{name}` is no plain value"))),
            };
            pairs.push((name, text));
        }
        Ok(Params(pairs))
    }

    /// These, and others where these have none of a name.
    pub(super) fn or(mut self, others: Params) -> Self {
        self.0.splice(0..0, others.0);
        self
    }

    /// A value that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A value as what it should be.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ApiError> {
        let value = self.get(name).map(parse).transpose();
        value.map_err(|e| ApiError::bad_request(format!("the parameter `{name}`: {e}")))
    }

    /// Names with commas between them.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.get(name).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(String::from).collect()
    }
}

/// Percent-decoding, `+` for a space (the URL standard's `application/x-www-form-urlencoded`).
fn decode(text: &str) -> Result<String, ApiError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                // `from_str_radix` would take a sign too.
                let hex = hex.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
                match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(decoded) => {
                        rest = rest.get(2..).unwrap_or_default();
                        decoded
                    }
                    // As the standard has it: what is no escape stands for itself.
                    None => b'%',
                }
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| ApiError::bad_request("a parameter is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let p = Params::urlencoded("stream=a=b,c=d&q=x+y%20%C3%A9%&n=&q2").map(|p| p.0).unwrap_or_default();
        let expect = [("stream", "a=b,c=d"), ("q", "x y é%"), ("n", ""), ("q2", "")];
        assert_eq!(p, expect.map(|(a, b)| (a.to_string(), b.to_string())));
        assert!(Params::urlencoded("a=%ff").is_err());
        let p = Params::json(br#"{"query":"x","limit":5,"start":null}"#).expect("an object");
        assert_eq!((p.get("query"), p.get("limit"), p.get("start")), (Some("x"), Some("5"), None));
        assert!(Params::json(b"[]").is_err() && Params::json(br#"{"a":[]}"#).is_err());
    }
}
