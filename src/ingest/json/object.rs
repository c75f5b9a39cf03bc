//! One object to the fields of one record.

use super::scan::{array_end, literal_end, number_end, skip_space, string_end};
use super::string::{minify, unescape};
use super::{JsonError, OBJECT_DEPTH_MAX};
use crate::ingest::writer::Writer;
use crate::record::{FIELD_NAME_BYTES_MAX, Tag};

/// Reads objects; keeps its buffers between them.
#[derive(Debug, Default)]
pub(crate) struct ObjectReader {
    /// The names of the open objects, each with a dot behind it.
    prefix: String,
    /// For each open object but the outermost, the length of the prefix outside of it.
    open: Vec<usize>,
    /// The whole name of a field that was not predicted.
    name: String,
    /// The text of a value that can't be lent from the input.
    text: String,
}

/// How the name of the field under way is known.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    Predicted,
    Read,
}

impl ObjectReader {
    /// Reads a text that is one object, and adds its fields to the record under way.
    pub(crate) fn read(&mut self, text: &str, writer: &mut Writer) -> Result<(), JsonError> {
        let b = text.as_bytes();
        let mut at = skip_space(b, 0);
        if b.get(at) != Some(&b'{') {
            return Err(JsonError::NotAnObject);
        }
        at += 1;
        self.prefix.clear();
        self.open.clear();
        let mut just_opened = true;
        loop {
            at = skip_space(b, at);
            match b.get(at) {
                Some(b'"') => {
                    let (name, after) = self.key(text, at + 1, writer)?;
                    at = skip_space(b, after);
                    if b.get(at) != Some(&b':') {
                        return Err(JsonError::expected(b, at, "`:`"));
                    }
                    at = skip_space(b, at + 1);
                    if b.get(at) == Some(&b'{') {
                        self.enter(name, at, writer)?;
                        at += 1;
                        just_opened = true;
                        continue;
                    }
                    at = self.value(text, at, name, writer)?;
                }
                Some(b'}') if just_opened => {
                    // The outermost object may be empty: a record with no fields.
                    if let Some(name) = self.prefix.strip_suffix('.').filter(|_| !self.open.is_empty()) {
                        writer.field(name, Tag::Object, "{}");
                    }
                    match self.leave() {
                        Some(()) => at += 1,
                        None => return end(b, at + 1),
                    }
                }
                _ if just_opened => return Err(JsonError::expected(b, at, "a key in quotes or `}`")),
                _ => return Err(JsonError::expected(b, at, "a key in quotes")),
            }
            just_opened = false;
            loop {
                at = skip_space(b, at);
                match b.get(at) {
                    Some(b',') => {
                        at += 1;
                        break;
                    }
                    Some(b'}') => match self.leave() {
                        Some(()) => at += 1,
                        None => return end(b, at + 1),
                    },
                    _ => return Err(JsonError::expected(b, at, "`,` or `}`")),
                }
            }
        }
    }

    /// Reads the key whose text begins at `at`; also gives the place behind its closing quote.
    #[inline]
    fn key(&mut self, text: &str, at: usize, writer: &Writer) -> Result<(Name, usize), JsonError> {
        let b = text.as_bytes();
        if let Some(len) = writer.predicts(b.get(at..).unwrap_or_default(), &self.prefix) {
            return Ok((Name::Predicted, at + len + 1));
        }
        let (end, escaped) = string_end(b, at)?;
        let raw = text.get(at..end - 1).unwrap_or_default();
        self.name.clear();
        self.name.push_str(&self.prefix);
        if escaped {
            unescape(raw, &mut self.name)
        } else {
            self.name.push_str(raw)
        }
        Ok((Name::Read, end))
    }

    fn enter(&mut self, name: Name, at: usize, writer: &Writer) -> Result<(), JsonError> {
        if self.open.len() + 1 == OBJECT_DEPTH_MAX {
            return Err(JsonError::ObjectDepth(at));
        }
        let name = if name == Name::Predicted { writer.predicted() } else { &self.name };
        // Each field inside repeats the prefix; without this bound, long keys would take quadratic time.
        if name.len() > FIELD_NAME_BYTES_MAX {
            return Err(JsonError::NameTooLong);
        }
        self.open.push(self.prefix.len());
        self.prefix.clear();
        self.prefix.push_str(name);
        self.prefix.push('.');
        Ok(())
    }

    /// Closes the innermost object; nothing where it was the outermost.
    fn leave(&mut self) -> Option<()> {
        let outside = self.open.pop()?;
        self.prefix.truncate(outside);
        Some(())
    }

    /// Reads a value that is no object, and adds the field.
    #[inline]
    fn value(&mut self, text: &str, at: usize, name: Name, writer: &mut Writer) -> Result<usize, JsonError> {
        let b = text.as_bytes();
        let (tag, value, end) = match b.get(at) {
            Some(b'"') => {
                let (end, escaped) = string_end(b, at + 1)?;
                let raw = text.get(at + 1..end - 1).unwrap_or_default();
                if escaped {
                    self.text.clear();
                    unescape(raw, &mut self.text);
                    (Tag::String, self.text.as_str(), end)
                } else {
                    (Tag::String, raw, end)
                }
            }
            Some(b'-' | b'0'..=b'9') => {
                let end = number_end(b, at)?;
                (Tag::Number, text.get(at..end).unwrap_or_default(), end)
            }
            Some(b'[') => {
                let (end, spaced) = array_end(b, at)?;
                let raw = text.get(at..end).unwrap_or_default();
                if spaced {
                    self.text.clear();
                    minify(raw, &mut self.text);
                    (Tag::Array, self.text.as_str(), end)
                } else {
                    (Tag::Array, raw, end)
                }
            }
            _ => {
                let end = literal_end(b, at)?;
                let word = text.get(at..end).unwrap_or_default();
                if word == "null" { (Tag::Null, "", end) } else { (Tag::Bool, word, end) }
            }
        };
        match name {
            Name::Predicted => writer.field_predicted(tag, value),
            Name::Read => writer.field(&self.name, tag, value),
        }
        Ok(end)
    }
}

fn end(b: &[u8], at: usize) -> Result<(), JsonError> {
    let at = skip_space(b, at);
    if at == b.len() { Ok(()) } else { Err(JsonError::Trailing(at)) }
}
