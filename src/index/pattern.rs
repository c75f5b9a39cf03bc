//! What a word of which only a part is known, or an automaton over words, fits.

use super::automaton::WordAutomaton;
use crate::format::bundle::{Digraphs, Quads, is_hex, quad_text};
use memchr::memmem;

/// Which words are asked for.
pub(super) enum Pattern<'a> {
    /// Words with this part: at their beginning unless `open_left`, at their end unless `open_right`.
    Part {
        /// The part; not empty.
        text: &'a [u8],
        /// May more stand before it?
        open_left: bool,
        /// May more stand after it?
        open_right: bool,
    },
    /// Words that an automaton accepts.
    Automaton(WordAutomaton<'a>),
}

impl Pattern<'_> {
    /// Does a word fit?
    pub fn matches(&self, word: &[u8]) -> bool {
        match self {
            Pattern::Part { text, open_left: true, open_right: true } => memmem::find(word, text).is_some(),
            Pattern::Part { text, open_left: true, open_right: false } => word.ends_with(text),
            Pattern::Part { text, open_left: false, open_right: true } => word.starts_with(text),
            Pattern::Part { text, open_left: false, open_right: false } => word == *text,
            Pattern::Automaton(automaton) => automaton.accepts(word),
        }
    }

    /// The words of four hex digits that fit; `None` where none does.
    pub fn quads(&self) -> Option<Quads> {
        if let Pattern::Part { text, .. } = self
            && (text.len() > 4 || !text.iter().all(|&b| is_hex(b)))
        {
            return None;
        }
        let mut quads = Quads::default();
        match self {
            Pattern::Automaton(automaton) => automaton.quads(&mut quads),
            Pattern::Part { .. } => {
                (0..=u16::MAX).filter(|&q| self.matches(&quad_text(q))).for_each(|q| quads.insert(q));
            }
        }
        (!quads.is_empty()).then_some(quads)
    }

    /// May a word of these digraphs, and of at least so many bytes, fit? `budget` is how many steps may be spent on
    /// finding out; without any left, the answer is yes.
    pub fn may_fit(&self, digraphs: &Digraphs, bytes_min: usize, budget: &mut usize) -> bool {
        match self {
            Pattern::Part { text, open_left, open_right } => digraphs.may_have(text, *open_left, *open_right),
            Pattern::Automaton(automaton) => automaton.may_accept(digraphs, bytes_min, budget),
        }
    }
}
