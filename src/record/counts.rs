//! Distinct values and how many records have each, in as little memory as their texts take.

use super::Tag;

/// Values of one field, each once, with the number of records that have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueCounts {
    texts: Vec<u8>,
    values: Vec<Counted>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    /// Where its text ends.
    end: u32,
    records: u32,
    tag: Tag,
}

impl ValueCounts {
    /// Adds a value that so many records have. All texts together have less than 4 GiB.
    pub fn push(&mut self, tag: Tag, text: &[u8], records: u32) {
        self.texts.extend_from_slice(text);
        self.values.push(Counted { end: self.texts.len() as u32, records, tag });
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Type, text and records of each value, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (Tag, &[u8], u32)> {
        let mut start = 0;
        self.values.iter().map(move |value| {
            let text = &self.texts[start..value.end as usize];
            start = value.end as usize;
            (value.tag, text, value.records)
        })
    }

    /// Gives back what room was made beforehand.
    pub fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.texts.capacity() + self.values.capacity() * size_of::<Counted>()
    }
}

impl<T: AsRef<[u8]>> FromIterator<(Tag, T, u32)> for ValueCounts {
    fn from_iter<I: IntoIterator<Item = (Tag, T, u32)>>(values: I) -> Self {
        let mut counts = ValueCounts::default();
        values.into_iter().for_each(|(tag, text, records)| counts.push(tag, text.as_ref(), records));
        counts.shrink();
        counts
    }
}
