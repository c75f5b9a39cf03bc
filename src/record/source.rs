//! A set of blocks that execution reads together, and what an index can say about them.

use super::{Block, Timestamp};
use crate::error::StorageError;
use crate::id::Seq;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// Blocks that belong together: those of one segment, or the unsealed ones of a tenant.
pub trait Source: Send + Sync {
    /// What to call it in an explanation, such as a segment's id or `memtable`.
    fn label(&self) -> String;
    /// Number of blocks.
    fn len(&self) -> usize;
    /// No blocks?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What is known of a block without reading it.
    fn info(&self, block: usize) -> BlockInfo;
    /// A block.
    fn block(&self, block: usize) -> Result<Arc<dyn Block>, StorageError>;
    /// The index over the words of all fields, where there is one that can be used.
    fn terms(&self) -> Option<Arc<dyn TermIndex>>;
    /// The damage that a block is known to have, so that its records are left out as a whole.
    fn damage(&self, block: usize) -> Option<StorageError> {
        let _ = block;
        None
    }
    /// Told where a block turned out to be damaged.
    fn note_damage(&self, block: usize, error: &StorageError) {
        let _ = (block, error);
    }
}

/// What is known of a block without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Number of rows.
    pub rows: u32,
    /// Time of the first and the last row.
    pub time: (Timestamp, Timestamp),
    /// Least and greatest sequence number.
    pub seq: (Seq, Seq),
}

/// Which blocks may hold a text. Fields are not told apart: the answer is for any field of any row.
pub trait TermIndex: Send + Sync {
    /// Blocks that may have a match: every block that has one is in the set; others may be, too.
    fn may_match(&self, query: &TermQuery<'_>) -> Result<RoaringBitmap, StorageError>;
}

/// A question to a [`TermIndex`]. All texts are folded (see the rules of words in `record::text`).
#[derive(Clone, Debug)]
pub enum TermQuery<'a> {
    /// Values in which this text stands. With `open_left`, its first word may be the end of a longer word in the value
    /// (the text was taken from the middle of a regular expression, say); `open_right` likewise. Case of the values is
    /// ignored, so that the answer also serves questions that keep it.
    Literal {
        /// The text, folded.
        folded: &'a str,
        /// May word characters stand right before it?
        open_left: bool,
        /// May word characters stand right after it?
        open_right: bool,
    },
    /// Values that have a word which this automaton accepts as a whole (anchored at both ends).
    Word {
        /// An automaton over the bytes of folded words.
        automaton: &'a regex_automata::dfa::dense::DFA<Vec<u32>>,
    },
}
