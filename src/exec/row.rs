//! Rows as they come out of a query.

use super::limits::allocated;
use super::predicate::RecordView;
use super::target::{MESSAGE_NAME, TIME_NAME, TIME_NAMES, Target};
use crate::record::{Labels, Tag, Timestamp, write_json_string, write_json_value};
use std::borrow::Cow;
use std::sync::Arc;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The name of the column.
    pub name: Arc<str>,
    /// The type of the value.
    pub tag: Tag,
    /// Its exact text; see [`Tag`].
    pub text: Box<str>,
}

/// A record or a result row: names and values in order.
///
/// A record has its time first, as the string `timestamp` in RFC 3339, then its fields in the order of their bytes. A
/// field that the record lacks is not there; one that is empty is there, and empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The values.
    pub cells: Vec<Cell>,
    /// What pipes may ask of a record by explicit name only; gone when fields were chosen or rows grouped.
    pub(crate) hidden: Option<Hidden>,
}

/// What a record has beside its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) seq: u64,
    /// The canonical text of its labels, where a pipe needs it.
    pub(crate) stream: Option<Arc<str>>,
}

impl Row {
    /// The value of a column.
    pub fn get(&self, name: &str) -> Option<(Tag, &str)> {
        self.cells.iter().find(|c| *c.name == *name).map(|c| (c.tag, &*c.text))
    }

    /// The sequence number of a record, as long as it is one: not of rows that `stats` made.
    pub fn seq(&self) -> Option<crate::id::Seq> {
        self.hidden.as_ref().map(|h| crate::id::Seq(h.seq))
    }

    pub(crate) fn push(&mut self, name: Arc<str>, tag: Tag, text: impl Into<Box<str>>) {
        self.cells.push(Cell { name, tag, text: text.into() });
    }

    /// Appends the row as one JSON object. Names stay flat, with dots.
    pub fn write_json(&self, out: &mut String) {
        out.push('{');
        for (i, cell) in self.cells.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            write_json_string(&cell.name, out);
            out.push(':');
            write_json_value(cell.tag, &cell.text, out);
        }
        out.push('}');
    }

    /// The row as one JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    /// Bytes of memory beside itself, about.
    pub(crate) fn memory(&self) -> usize {
        let cells = allocated(self.cells.capacity() * size_of::<Cell>());
        cells + self.cells.iter().map(|c| allocated(c.text.len())).sum::<usize>()
    }

    /// The place of the cell that a name stands for.
    pub(crate) fn place(&self, target: &Target) -> Option<usize> {
        let named = |name: &str| self.cells.iter().position(|c| *c.name == *name);
        match target {
            Target::Any => None,
            Target::Field(name) => named(name),
            Target::Message(name) => named(name).or_else(|| named(MESSAGE_NAME)),
            Target::Time => TIME_NAMES.iter().find_map(|name| named(name)),
            Target::Stream => named("_stream"),
            Target::StreamId => named("_stream_id"),
            Target::Seq => named("_seq"),
        }
    }
}

impl std::fmt::Display for Row {
    /// The row as one JSON object.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// The id of a stream as hex digits, of the canonical text of its labels.
pub(crate) fn stream_id_text(canonical: &str) -> String {
    let labels = Labels::parse(canonical).unwrap_or_default();
    labels.id().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl RecordView for Row {
    fn value(&self, target: &Target) -> Option<(Tag, Cow<'_, str>)> {
        if let Some(place) = self.place(target) {
            let cell = self.cells.get(place)?;
            return Some((cell.tag, Cow::Borrowed(&cell.text)));
        }
        let hidden = self.hidden.as_ref()?;
        match target {
            Target::Seq => Some((Tag::Number, Cow::Owned(hidden.seq.to_string()))),
            Target::Stream => Some((Tag::String, Cow::Borrowed(hidden.stream.as_deref()?))),
            Target::StreamId => Some((Tag::String, Cow::Owned(stream_id_text(hidden.stream.as_deref()?)))),
            _ => None,
        }
    }

    fn time(&self) -> Option<Timestamp> {
        self.value(&Target::Time).and_then(|(_, text)| Timestamp::parse(&text).ok())
    }

    fn any_field(&self, holds: &mut dyn FnMut(&str, Tag, &str) -> bool) -> bool {
        self.cells.iter().any(|c| *c.name != *TIME_NAME && holds(&c.name, c.tag, &c.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json() {
        let mut row = Row::default();
        row.push("a\"b".into(), Tag::String, "x\ny");
        row.push("n".into(), Tag::Number, "1.50");
        row.push("e".into(), Tag::Null, "");
        row.push("l".into(), Tag::Array, "[1]");
        assert_eq!(row.to_json(), r#"{"a\"b":"x\ny","n":1.50,"e":null,"l":[1]}"#);
    }
}
