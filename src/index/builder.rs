//! Builds the index of one segment, block by block.

use super::distinct::Distinct;
use super::engine;
use super::postings::Postings;
use crate::format::bundle::{
    BlockEntry, BundleWriter, Dictionary, Digraphs, Filter, Header, Kind, LIST_BLOCKS_MAX, TermList, Tokenizer,
    encode_blocks,
};
use std::convert::Infallible;

/// Most words of one block that go to the dictionary; where a block has more, all of them go to its filter. Texts of
/// 8 MB in natural language have a third as many.
pub const BLOCK_WORDS_MAX: usize = 1 << 17;
/// Once the dictionary takes so many bytes of memory, the words of further blocks go to their filters.
pub const DICTIONARY_BYTES_MAX: usize = 64 << 20;

/// Why an index can't be built. Nothing that is in the texts makes it fail.
#[derive(Debug, Clone, thiserror::Error)]
#[error("building the index failed: {0}")]
pub struct BuildError(pub(super) String);

/// Builds the index of one segment. Texts are given block by block, in any order within a block; each distinct one
/// need come only once. Afterwards the builder can be used for another segment, and keeps its memory.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    pub(super) tokenizer: Tokenizer,
    pub(super) block: Distinct,
    pub(super) seen: super::columns::Seen,
    pub(super) waiting: super::columns::Waiting,
    bundle: BundleWriter,
    entries: Vec<BlockEntry>,
    digraphs: Vec<Digraphs>,
    postings: Postings,
}

impl IndexBuilder {
    /// A builder of an index with no blocks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a block, and drops what was added since the last one ended.
    pub fn begin_block(&mut self) {
        self.block.clear();
        self.seen.clear();
    }

    /// Adds a text to the block.
    #[inline]
    pub fn add_text(&mut self, text: &str) {
        let block = &mut self.block;
        self.tokenizer.terms(text, |term| block.add(term));
    }

    /// Ends the block; the next one has the next number.
    pub fn end_block(&mut self) -> Result<(), BuildError> {
        let number = self.entries.len() as u32;
        let block = &mut self.block;
        let words_filtered = block.words.len() > BLOCK_WORDS_MAX || self.postings.memory() > DICTIONARY_BYTES_MAX;
        if words_filtered {
            block.filter_words();
        }
        if !block.filtered.is_empty() {
            let filter = Filter::build(&mut block.filtered, block.filtered_distinct);
            self.bundle.section(Kind::Filter, number, |out| filter.encode(out));
        }
        if !block.quads.is_empty() {
            self.bundle.section(Kind::Quads, number, |out| block.quads.encode(out));
        }
        self.entries.push(BlockEntry {
            words: block.words.len() as u32,
            hashes: block.filtered.len() as u32,
            words_filtered,
        });
        self.digraphs.push(std::mem::take(&mut block.digraphs));
        self.postings.add_block(&block.words);
        self.begin_block();
        Ok(())
    }

    /// Number of blocks so far.
    pub fn blocks(&self) -> usize {
        self.entries.len()
    }

    /// The bundle. The builder has no blocks then.
    pub fn finish(&mut self) -> Result<Vec<u8>, BuildError> {
        let mut bundle = std::mem::take(&mut self.bundle);
        let entries = std::mem::take(&mut self.entries);
        let digraphs = std::mem::take(&mut self.digraphs);
        let postings = std::mem::take(&mut self.postings);
        self.begin_block();
        bundle.section(Kind::Blocks, 0, |out| encode_blocks(&entries, out));
        bundle.section(Kind::Digraphs, 0, |out| digraphs.iter().for_each(|d| d.encode(out)));
        let dictionary = if postings.blocks() > LIST_BLOCKS_MAX {
            for (number, (name, bytes)) in (0..).zip(engine::write(&postings)?) {
                bundle.section(Kind::File, number, |out| {
                    crate::format::put_bytes(out, name.as_bytes());
                    out.extend_from_slice(&bytes);
                });
            }
            Dictionary::Engine
        } else {
            let list = term_list(&postings);
            bundle.section(Kind::List, 0, |out| list.encode(out));
            Dictionary::List
        };
        Ok(bundle.finish(Header::new(dictionary, entries.len() as u32, engine::version())))
    }
}

/// The words of up to [`LIST_BLOCKS_MAX`] blocks as one list.
fn term_list(postings: &Postings) -> TermList {
    let mut all: Vec<(&[u8], u8)> = Vec::new();
    let Ok(()) = postings.for_each(|word, blocks| {
        all.push((word, blocks.iter().fold(0, |mask, block| mask | 1 << block)));
        Ok::<_, Infallible>(())
    });
    TermList::build(all.into_iter())
}
