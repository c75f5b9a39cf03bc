//! Zone maps: what is known of all values of a field in a block, without reading them.

use super::{Number, Quantity, Tag, elements, is_empty_value};

/// A zone map counts each value where there are at most so many; a block's dictionary of 256 entries takes one byte
/// a code, and up to here the counts cost less than they save.
pub const ZONE_COUNTS_MAX: usize = 256;
/// Bytes kept of the least and the greatest text.
pub const ZONE_BOUND_BYTES_MAX: usize = 64;

/// What is known of the values of one field in one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZoneMap {
    /// Records that have the field.
    pub values: u32,
    /// Among them, values that count as empty: null, `""`, `[]`, `{}`.
    pub empty: u32,
    /// The least text, cut to [`ZONE_BOUND_BYTES_MAX`] bytes: every text is at least this.
    pub min: Box<[u8]>,
    /// The greatest text, and whether it was cut: then texts may be greater, but begin with it.
    pub max: (Box<[u8]>, bool),
    /// Least and greatest of the values (and array elements) that parse as a plain number, rounded outward.
    pub plain: Option<(f64, f64)>,
    /// The same for numbers with a unit, in base units.
    pub with_unit: Option<(f64, f64)>,
    /// Is one of the values an array? Then its elements count, too.
    pub has_array: bool,
    /// Distinct values (type and text), where known.
    pub distinct: Option<u32>,
    /// Each value with its number of records, where there are at most [`ZONE_COUNTS_MAX`]; by type and text.
    pub counts: Option<Vec<(Tag, Box<[u8]>, u32)>>,
}

impl ZoneMap {
    /// Takes in a value that `count` records have.
    pub fn add(&mut self, tag: Tag, text: &str, count: u32) {
        let bytes = text.as_bytes();
        let first = self.values == 0;
        self.values += count;
        if is_empty_value(tag, bytes) {
            self.empty += count;
        }
        if first || bytes < &*self.min {
            self.min = bytes[..bytes.len().min(ZONE_BOUND_BYTES_MAX)].into();
        }
        let cut = bytes.len() > ZONE_BOUND_BYTES_MAX;
        let head = &bytes[..bytes.len().min(ZONE_BOUND_BYTES_MAX)];
        if first || head > &*self.max.0 || (head == &*self.max.0 && cut) {
            self.max = (head.into(), cut);
        }
        match tag {
            Tag::Number | Tag::String => self.add_number(text),
            Tag::Array => {
                self.has_array = true;
                self.add_number(text);
                self.add_elements(text);
            }
            Tag::Null | Tag::Bool | Tag::Object => {}
        }
    }

    fn add_elements(&mut self, array: &str) {
        for (tag, text) in elements(array) {
            match tag {
                Tag::Array => self.add_elements(&text),
                _ => self.add_number(&text),
            }
        }
    }

    fn add_number(&mut self, text: &str) {
        // Most texts are no numbers; Quantity::parse sees that at the first byte.
        if let Some(q) = Quantity::parse(text) {
            let range = if q.unit.is_some() { &mut self.with_unit } else { &mut self.plain };
            let (low, high) = outward(q.number);
            *range = Some(range.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
        }
    }
}

/// The nearest floats at or below, and at or above.
pub(crate) fn outward(n: Number) -> (f64, f64) {
    let f = n.to_f64();
    if f.is_finite() && Number::from_f64(f) == Some(n) { (f, f) } else { (f.next_down(), f.next_up()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let mut z = ZoneMap::default();
        for (tag, text) in [
            (Tag::String, "b"),
            (Tag::Number, "9007199254740993"),
            (Tag::Array, r#"["1.5s",["-3"]]"#),
            (Tag::Null, ""),
            (Tag::String, &"z".repeat(100)),
        ] {
            z.add(tag, text, 1);
        }
        assert_eq!((z.values, z.empty, z.has_array), (5, 1, true));
        assert_eq!(&*z.min, b"");
        assert_eq!(z.max, (vec![b'z'; 64].into(), true));
        assert_eq!(z.with_unit, Some((1.5e9, 1.5e9)));
        let (low, high) = z.plain.unwrap();
        assert_eq!(low, -3.0);
        assert!(
            high >= 9007199254740993u64 as f64
                && Number::from_f64(high).unwrap() >= Number::parse("9007199254740993").unwrap()
        );
    }
}
