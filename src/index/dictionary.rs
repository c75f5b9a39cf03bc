//! The words of a bundle, whichever form they have.

use super::engine::EngineReader;
use super::pattern::Pattern;
use crate::format::bundle::TermList;
use roaring::RoaringBitmap;

/// Words and their blocks.
pub(super) enum WordIndex {
    /// A flat list.
    List(TermList),
    /// Tantivy's files.
    Engine(EngineReader),
}

fn blocks_of(mask: u8) -> RoaringBitmap {
    (0..8).filter(|b| mask >> b & 1 != 0).collect()
}

impl WordIndex {
    /// The blocks of a word. An error says what is wrong with the bytes.
    pub fn get(&self, word: &[u8]) -> Result<RoaringBitmap, String> {
        match self {
            WordIndex::List(list) => list.get(word).map(blocks_of).map_err(|e| e.to_string()),
            WordIndex::Engine(engine) => engine.get(word),
        }
    }

    /// The blocks of all words that fit a pattern, at least as far as they are `wanted`.
    pub fn matching(&self, pattern: &Pattern<'_>, wanted: &RoaringBitmap) -> Result<RoaringBitmap, String> {
        match self {
            WordIndex::List(list) => {
                let mut mask = 0;
                list.for_each(|word, blocks| {
                    if mask | blocks != mask && pattern.matches(word) {
                        mask |= blocks;
                    }
                })
                .map_err(|e| e.to_string())?;
                Ok(blocks_of(mask))
            }
            WordIndex::Engine(engine) => engine.matching(pattern, wanted),
        }
    }
}
