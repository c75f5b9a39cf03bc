//! Many records in flat arrays, as ingest makes them and the log takes them.
//!
//! Records of one source repeat their field names in the same order, so the builder walks a tree of names: the
//! child taken last is tried first, and one comparison of bytes replaces hashing. A leaf of the tree knows the
//! record's shape (its set of names) and the order that sorts its values.

use super::{
    FIELD_NAME_BYTES_MAX, Labels, RECORD_BYTES_MAX, RECORD_FIELDS_MAX, Record, Tag, Timestamp, labels::LABELS_MAX,
};
use rustc_hash::FxHashMap;

/// Records of one commit, in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Field names; a name id is an index into it.
    pub names: Vec<Box<str>>,
    /// Sets of name ids, sorted by name, each set once.
    pub shapes: Vec<Box<[u32]>>,
    /// Label sets, each once.
    pub streams: Vec<Labels>,
    /// The records.
    pub heads: Vec<Head>,
    /// The values of all records; a record's are in the order of its shape.
    pub spans: Vec<Span>,
    /// Texts that the spans point into.
    pub bytes: Vec<u8>,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// When it happened.
    pub time: Timestamp,
    /// Index into [`Batch::shapes`].
    pub shape: u32,
    /// Index into [`Batch::streams`].
    pub stream: u32,
    /// Index of its first value in [`Batch::spans`].
    pub first: u32,
}

/// One value of a batch: a type, and where its text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The type.
    pub tag: Tag,
    /// First byte of the text.
    pub start: u32,
    /// Bytes of the text; it is UTF-8.
    pub len: u32,
}

/// Why a record can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Too large.
    #[error("the record is larger than {RECORD_BYTES_MAX} bytes (record_bytes_max)")]
    TooLarge,
    /// Too many fields.
    #[error("the record has more than {RECORD_FIELDS_MAX} fields (record_fields_max)")]
    TooManyFields,
    /// A name is too long.
    #[error("a field name is longer than {FIELD_NAME_BYTES_MAX} bytes (field_name_bytes_max)")]
    NameTooLong,
    /// Too many labels.
    #[error("a stream has more than {LABELS_MAX} labels (labels_max)")]
    TooManyLabels,
}

impl Batch {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.heads.len()
    }
    /// No records?
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
    /// The values of a record as name, type and text, by name.
    pub fn fields(&self, record: usize) -> impl Iterator<Item = (&str, Tag, &str)> {
        let head = self.heads[record];
        let shape = &self.shapes[head.shape as usize];
        shape.iter().zip(&self.spans[head.first as usize..]).map(|(&name, span)| {
            let text = &self.bytes[span.start as usize..(span.start + span.len) as usize];
            (&*self.names[name as usize], span.tag, std::str::from_utf8(text).unwrap_or_default())
        })
    }
    /// Bytes that the texts take; what limits of batches are measured in.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A node of the tree of names: a record's names so far, in order of arrival.
#[derive(Debug)]
struct Node {
    name: u32,
    parent: u32,
    last_child: u32,
    /// May the name be compared with the raw text of a JSON key: no `"`, no `\\`, no control character in it?
    plain: bool,
    /// Of a record that ended here.
    leaf: Option<Leaf>,
}

/// What is known of records whose names came in one order.
#[derive(Debug)]
struct Leaf {
    shape: u32,
    /// For each place of the shape the arrival place of its value.
    order: Box<[u32]>,
    /// Names that came again.
    duplicates: u32,
}

/// Records whose names differ each time would grow the tree without bound; at this size it is begun anew.
const NODES_MAX: usize = 1 << 16;
/// Names go with each batch, so that many or long ones would cost each batch; past so many bytes they are dropped.
const NAMES_BYTES_MAX: usize = 1 << 20;
const NONE: u32 = u32::MAX;
/// In a path of names: from here on they are labels, which stand back behind fields of the same name.
const LABELS: u32 = u32::MAX - 1;
/// Most text bytes in one batch, so that spans fit in 32 bits with room to spare. Callers commit far sooner.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Builds a [`Batch`] record by record: `begin`, `field`.., then `finish` or `abandon`.
#[derive(Debug)]
pub struct BatchBuilder {
    batch: Batch,
    nodes: Vec<Node>,
    children: FxHashMap<(u32, u32), u32>,
    name_ids: FxHashMap<Box<str>, u32>,
    shape_ids: FxHashMap<Box<[u32]>, u32>,
    stream_ids: FxHashMap<Labels, u32>,
    // The record under way.
    node: u32,
    spans: Vec<Span>,
    text_bytes: usize,
    bytes_before: usize,
    error: Option<RecordError>,
    name_bytes: usize,
    last_stream: u32,
    duplicates: u64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        BatchBuilder {
            batch: Batch::default(),
            nodes: vec![Node { name: NONE, parent: NONE, last_child: NONE, plain: false, leaf: None }],
            children: FxHashMap::default(),
            name_ids: FxHashMap::default(),
            shape_ids: FxHashMap::default(),
            stream_ids: FxHashMap::default(),
            node: 0,
            spans: Vec::new(),
            text_bytes: 0,
            bytes_before: 0,
            error: None,
            name_bytes: 0,
            last_stream: NONE,
            duplicates: 0,
        }
    }

    /// Records finished.
    pub fn len(&self) -> usize {
        self.batch.heads.len()
    }
    /// No record finished?
    pub fn is_empty(&self) -> bool {
        self.batch.heads.is_empty()
    }
    /// Bytes of the texts so far.
    pub fn text_bytes(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Bytes of memory that the batch and the tree of names take, about. Texts alone do not bound a batch: records may
    /// have many fields with no text in them, or a new set of long names each.
    pub fn memory(&self) -> usize {
        let batch = &self.batch;
        batch.bytes.len()
            + self.name_bytes * 2
            + batch.names.len() * 64
            + self.nodes.len() * (size_of::<Node>() + 32)
            + (batch.spans.len() * 2 + self.spans.len()) * size_of::<Span>()
            + batch.heads.len() * size_of::<Head>()
    }

    /// Fields left out since a later one of the same record had the same name, over the life of the builder.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The name that the next field of the record under way most likely has: the one that followed the same names
    /// last time. Only one that JSON writes as it is, so that it may be compared with the text of a key.
    #[inline]
    pub fn predicted(&self) -> Option<&str> {
        let child = self.nodes.get(self.nodes.get(self.node as usize)?.last_child as usize)?;
        if child.plain { self.batch.names.get(child.name as usize).map(|name| &**name) } else { None }
    }

    /// Adds the field that [`BatchBuilder::predicted`] named.
    #[inline]
    pub fn field_predicted(&mut self, tag: Tag, text: &str) {
        self.node = self.nodes[self.node as usize].last_child;
        self.value(tag, text);
    }

    /// Begins a record; what was begun and not finished is dropped.
    pub fn begin(&mut self) {
        self.abandon();
        self.text_bytes = 0;
    }

    /// Adds a field to the record under way. A name that comes twice keeps its last value.
    #[inline]
    pub fn field(&mut self, name: &str, tag: Tag, text: &str) {
        let predicted = self.nodes[self.node as usize].last_child;
        if predicted != NONE {
            let id = self.nodes[predicted as usize].name;
            if self.batch.names.get(id as usize).is_some_and(|n| **n == *name) {
                self.node = predicted;
                return self.value(tag, text);
            }
        }
        self.step(name);
        self.value(tag, text);
    }

    #[inline]
    fn value(&mut self, tag: Tag, text: &str) {
        let start = self.batch.bytes.len();
        self.text_bytes += text.len();
        if self.text_bytes > RECORD_BYTES_MAX || start > BATCH_BYTES_MAX || self.spans.len() >= RECORD_FIELDS_MAX {
            self.error.get_or_insert(if self.spans.len() >= RECORD_FIELDS_MAX {
                RecordError::TooManyFields
            } else {
                RecordError::TooLarge
            });
            return;
        }
        self.batch.bytes.extend_from_slice(text.as_bytes());
        self.spans.push(Span { tag, start: start as u32, len: text.len() as u32 });
    }

    /// Goes to the child of this name, making it where there is none.
    fn step(&mut self, name: &str) {
        if self.error.is_some() {
            return;
        }
        if name.len() > FIELD_NAME_BYTES_MAX {
            self.error = Some(RecordError::NameTooLong);
            return;
        }
        let id = match self.name_ids.get(name) {
            Some(&id) => id,
            None => {
                let id = self.batch.names.len() as u32;
                self.name_bytes += name.len();
                self.batch.names.push(name.into());
                self.name_ids.insert(name.into(), id);
                id
            }
        };
        self.node = self.child(id);
    }

    fn child(&mut self, name: u32) -> u32 {
        let here = self.node;
        let new = self.nodes.len() as u32;
        let child = *self.children.entry((here, name)).or_insert(new);
        if child == new {
            let text = self.batch.names.get(name as usize);
            let plain = text.is_some_and(|n| n.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\'));
            self.nodes.push(Node { name, parent: here, last_child: NONE, plain, leaf: None });
        }
        self.nodes[here as usize].last_child = child;
        child
    }

    /// The names of the record under way, in order of arrival.
    fn path(&self) -> Vec<u32> {
        let mut path = Vec::with_capacity(self.spans.len());
        let mut node = self.node;
        while node != 0 {
            path.push(self.nodes[node as usize].name);
            node = self.nodes[node as usize].parent;
        }
        path.reverse();
        path
    }

    /// Looks a value of the record under way up by name.
    pub fn peek(&self, name: &str) -> Option<(Tag, &str)> {
        let id = *self.name_ids.get(name)?;
        let at = self.path().iter().rposition(|&n| n == id)?;
        let span = self.spans.get(at)?;
        let text = self.batch.bytes.get(span.start as usize..(span.start + span.len) as usize)?;
        Some((span.tag, std::str::from_utf8(text).ok()?))
    }

    /// Gives the record up.
    pub fn abandon(&mut self) {
        self.batch.bytes.truncate(self.bytes_before);
        self.spans.clear();
        self.node = 0;
        self.error = None;
    }

    /// Ends the record. Labels become fields too, where the record has none of that name.
    pub fn finish(&mut self, time: Timestamp, labels: &Labels) -> Result<(), RecordError> {
        if !labels.is_empty() {
            self.node = self.child(LABELS);
            for (name, value) in labels.iter() {
                self.field(name, Tag::String, value);
            }
        }
        if labels.iter().len() > LABELS_MAX {
            self.error = Some(RecordError::TooManyLabels);
        }
        if let Some(error) = self.error.take() {
            self.abandon();
            return Err(error);
        }
        // Most records have the labels of the one before: that saves the hash of them.
        if self.batch.streams.get(self.last_stream as usize) != Some(labels) {
            self.last_stream = match self.stream_ids.get(labels) {
                Some(&id) => id,
                None => {
                    let id = self.batch.streams.len() as u32;
                    self.batch.streams.push(labels.clone());
                    self.stream_ids.insert(labels.clone(), id);
                    id
                }
            };
        }
        if self.nodes[self.node as usize].leaf.is_none() {
            self.make_leaf();
        }
        let Some(leaf) = &self.nodes[self.node as usize].leaf else { return Ok(()) };
        let first = self.batch.spans.len() as u32;
        self.batch.spans.extend(leaf.order.iter().map(|&at| self.spans[at as usize]));
        self.batch.heads.push(Head { time, shape: leaf.shape, stream: self.last_stream, first });
        self.duplicates += u64::from(leaf.duplicates);
        self.spans.clear();
        self.node = 0;
        self.bytes_before = self.batch.bytes.len();
        Ok(())
    }

    fn make_leaf(&mut self) {
        let path = self.path();
        let own = path.iter().position(|&id| id == LABELS).unwrap_or(path.len());
        // Of names that come twice, the last one of the record's own is kept, and a label only where there is none.
        let labels = path.iter().skip(own + 1).enumerate().map(|(at, &id)| (id, (own + at) as u32));
        let fields = path[..own].iter().enumerate().map(|(at, &id)| (id, at as u32)).rev();
        let mut sorted: Vec<(u32, u32)> = fields.chain(labels).collect();
        sorted.sort_by(|a, b| self.batch.names[a.0 as usize].cmp(&self.batch.names[b.0 as usize]));
        sorted.dedup_by_key(|(id, _)| *id);
        let shape: Box<[u32]> = sorted.iter().map(|&(id, _)| id).collect();
        let order: Box<[u32]> = sorted.iter().map(|&(_, at)| at).collect();
        let kept = order.iter().filter(|&&at| (at as usize) < own).count();
        let duplicates = (own - kept) as u32;
        let id = match self.shape_ids.get(&shape) {
            Some(&id) => id,
            None => {
                let id = self.batch.shapes.len() as u32;
                self.batch.shapes.push(shape.clone());
                self.shape_ids.insert(shape, id);
                id
            }
        };
        self.nodes[self.node as usize].leaf = Some(Leaf { shape: id, order, duplicates });
    }

    /// Takes what was built; the builder is empty then, and keeps its memory of shapes no longer than useful.
    pub fn take(&mut self) -> Batch {
        self.abandon();
        let batch = std::mem::take(&mut self.batch);
        self.shape_ids.clear();
        self.stream_ids.clear();
        self.last_stream = NONE;
        // `bytes_before` was the end of the last record in the bytes that are gone now.
        self.bytes_before = 0;
        if self.nodes.len() > NODES_MAX || batch.names.len() > NODES_MAX || self.name_bytes > NAMES_BYTES_MAX {
            *self = BatchBuilder { duplicates: self.duplicates, ..BatchBuilder::new() };
            return batch;
        }
        // Names keep their ids, so that the tree stays right; shapes and streams are found anew.
        self.batch.names = batch.names.clone();
        // The next batch is most likely as large: growing by doubling would copy, and touch, twice the memory.
        self.batch.bytes.reserve(batch.bytes.len() + batch.bytes.len() / 64);
        self.batch.spans.reserve(batch.spans.len() + batch.spans.len() / 16);
        self.batch.heads.reserve(batch.heads.len() + batch.heads.len() / 16);
        for node in &mut self.nodes {
            node.leaf = None;
        }
        batch
    }

    /// Adds a whole record.
    pub fn push(&mut self, record: &Record, arrival: Timestamp, labels: &Labels) -> Result<(), RecordError> {
        self.begin();
        for (name, value) in &record.fields {
            self.field(name, value.tag, &value.text);
        }
        self.finish(record.time.unwrap_or(arrival), labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(batch: &Batch, record: usize) -> String {
        batch.fields(record).map(|(name, tag, text)| format!("{name}:{tag:?}:{text} ")).collect()
    }

    #[test]
    fn sorted_and_last_value_wins() {
        let mut b = BatchBuilder::new();
        let labels = Labels::new([("app", "x"), ("b", "label")]);
        for _ in 0..2 {
            b.begin();
            for (name, text) in [("z", "1"), ("b", "2"), ("z", "3")] {
                b.field(name, Tag::String, text);
            }
            b.finish(Timestamp(5), &labels).unwrap();
            b.begin();
            b.field("only", Tag::Number, "1");
            b.abandon();
            let batch = b.take();
            assert_eq!(fields(&batch, 0), "app:String:x b:String:2 z:String:3 ");
            assert_eq!((batch.len(), batch.streams.len(), batch.text_bytes()), (1, 1, 9));
        }
    }

    #[test]
    fn abandoned_text_does_not_stay_after_a_batch_was_taken() {
        let mut b = BatchBuilder::new();
        let none = Labels::default();
        for text in ["a long text", "x"] {
            b.begin();
            b.field("dropped", Tag::String, "dropped");
            b.abandon();
            b.begin();
            b.field("a", Tag::String, text);
            b.finish(Timestamp(0), &none).unwrap();
            assert_eq!(b.take().text_bytes(), text.len());
        }
    }

    #[test]
    fn predicts_what_followed_last_time() {
        let mut b = BatchBuilder::new();
        let labels = Labels::new([("a", "label"), ("l", "label")]);
        for round in 0..3 {
            b.begin();
            for name in ["a", "q\"uote", "b", "a"] {
                let plain = name != "q\"uote";
                assert_eq!(b.predicted(), Some(name).filter(|_| round > 0 && plain));
                match b.predicted() {
                    Some(_) => b.field_predicted(Tag::String, "v"),
                    None => b.field(name, Tag::String, "v"),
                }
            }
            b.finish(Timestamp(0), &labels).unwrap();
            // A label that stands back behind a field is no duplicate.
            assert_eq!(b.duplicates(), round + 1);
        }
        let batch = b.take();
        assert_eq!(fields(&batch, 0), fields(&batch, 2));
        assert_eq!(batch.streams.len(), 1);
    }

    #[test]
    fn limits_drop_the_record_alone() {
        let mut b = BatchBuilder::new();
        let none = Labels::default();
        b.begin();
        b.field("a", Tag::String, &"x".repeat(RECORD_BYTES_MAX + 1));
        assert_eq!(b.finish(Timestamp(0), &none), Err(RecordError::TooLarge));
        b.begin();
        b.field(&"n".repeat(FIELD_NAME_BYTES_MAX + 1), Tag::String, "");
        assert_eq!(b.finish(Timestamp(0), &none), Err(RecordError::NameTooLong));
        b.begin();
        (0..=RECORD_FIELDS_MAX).for_each(|i| b.field(&i.to_string(), Tag::Null, ""));
        assert_eq!(b.finish(Timestamp(0), &none), Err(RecordError::TooManyFields));
        b.begin();
        b.field("a", Tag::String, "good");
        assert_eq!(b.finish(Timestamp(0), &none), Ok(()));
        let batch = b.take();
        assert_eq!((batch.len(), fields(&batch, 0).as_str()), (1, "a:String:good "));
    }
}
