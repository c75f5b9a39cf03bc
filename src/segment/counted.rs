//! What stands in fields of few values, all of which zone maps count: a search in any field looks at none of these where
//! its text is in no value of theirs.

use super::fetch::Header;
use crate::record::text::fold_into;
use crate::record::{Grams, Tag, ZoneMap};
use std::sync::Arc;

/// Fields of a block by whether zone maps have all their texts.
#[derive(Debug)]
pub(super) struct Counted {
    /// Of the values of those that do.
    grams: Grams,
    /// The names of the others, in order of their bytes.
    others: Vec<Arc<str>>,
}

impl Counted {
    /// Of the fields of a block.
    pub fn of(header: &Header) -> Self {
        let (mut texts, mut others) = (String::new(), Vec::new());
        for (name, zone) in header.names.iter().zip(&header.zones) {
            let len = texts.len();
            if !add_texts(zone, &mut texts) {
                texts.truncate(len);
                others.push(name.clone());
            }
        }
        others.extend(header.header.overflow_names.iter().map(|name| Arc::from(&**name)));
        others.sort();
        Counted { grams: Grams::of(&texts), others }
    }

    /// May a folded text stand in a value of a field that is none of the others?
    pub fn may_hold(&self, folded: &str) -> bool {
        self.grams.may_hold(folded)
    }

    /// The names of the others.
    pub fn others(&self) -> &[Arc<str>] {
        &self.others
    }
}

/// Appends all texts that a zone map counts, folded; false where it has not all of them, or where a text may stand in an
/// element of an array, unescaped.
fn add_texts(zone: &ZoneMap, texts: &mut String) -> bool {
    let Some(counts) = zone.counts.as_ref().filter(|_| !zone.has_array) else { return false };
    counts
        .iter()
        .all(|(tag, text, _)| tag != Tag::Array && std::str::from_utf8(text).map(|text| fold_into(text, texts)).is_ok())
}
