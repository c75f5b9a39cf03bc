//! Automata over words, as the flat list, tantivy's dictionary and digraphs are asked with them.

use crate::format::bundle::{Digraphs, Quads, Symbol};
use regex_automata::Anchored;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use rustc_hash::FxHashSet;

/// An automaton that is run from the beginning of a word to its end.
///
/// Where it gives up (at a byte that it was built to quit at, or since it can't be started), it accepts: the answer
/// may name too many blocks, never too few.
#[derive(Clone, Copy)]
pub(super) struct WordAutomaton<'a> {
    dfa: &'a dense::DFA<Vec<u32>>,
    start: Option<StateID>,
}

impl<'a> WordAutomaton<'a> {
    /// Prepares an automaton.
    pub fn new(dfa: &'a dense::DFA<Vec<u32>>) -> Self {
        let anchored = if dfa.start_kind() == StartKind::Unanchored { Anchored::No } else { Anchored::Yes };
        WordAutomaton { dfa, start: dfa.start_state(&start::Config::new().anchored(anchored)).ok() }
    }

    #[inline]
    fn step(&self, state: Option<StateID>, byte: u8) -> Option<StateID> {
        // `None`, and a state in which it quits, stay what they are.
        let state = state?;
        if self.dfa.is_quit_state(state) { Some(state) } else { Some(self.dfa.next_state(state, byte)) }
    }
    fn is_end(&self, state: Option<StateID>) -> bool {
        let Some(state) = state else { return true };
        if self.dfa.is_quit_state(state) {
            return true;
        }
        let end = self.dfa.next_eoi_state(state);
        self.dfa.is_match_state(end) || self.dfa.is_quit_state(end)
    }
    fn is_hopeless(&self, state: Option<StateID>) -> bool {
        state.is_some_and(|s| self.dfa.is_dead_state(s))
    }
    fn gave_up(&self, state: Option<StateID>) -> bool {
        state.is_none_or(|s| self.dfa.is_quit_state(s))
    }

    /// Does it accept a word?
    pub fn accepts(&self, word: &[u8]) -> bool {
        let mut state = self.start;
        for &b in word {
            state = self.step(state, b);
            if self.is_hopeless(state) {
                return false;
            }
        }
        self.is_end(state)
    }

    /// Puts the words of four hex digits in that it accepts.
    pub fn quads(&self, quads: &mut Quads) {
        let mut stack = vec![(self.start, 0u32, 0u16)];
        while let Some((state, digits, value)) = stack.pop() {
            if digits == 4 {
                if self.is_end(state) {
                    quads.insert(value);
                }
                continue;
            }
            for (digit, byte) in (0..16).zip(*b"0123456789abcdef") {
                let next = self.step(state, byte);
                if !self.is_hopeless(next) {
                    stack.push((next, digits + 1, value << 4 | digit));
                }
            }
        }
    }

    /// May it accept a word of at least so many bytes, of which all digraphs are these? Walks over states, each with
    /// the last symbol and the number of bytes as far as it counts.
    pub fn may_accept(&self, digraphs: &Digraphs, bytes_min: usize, budget: &mut usize) -> bool {
        let mut seen = FxHashSet::default();
        let mut stack = vec![(self.start, Symbol::EDGE, 0)];
        while let Some((state, last, bytes)) = stack.pop() {
            let may_end = bytes >= bytes_min && digraphs.follows(last, Symbol::EDGE);
            if self.gave_up(state) || (may_end && self.is_end(state)) {
                return true;
            }
            for byte in (b'0'..=b'9').chain(*b"_").chain(b'a'..=b'z').chain(0x80..=0xff) {
                let symbol = Symbol::of(byte);
                if !digraphs.follows(last, symbol) {
                    continue;
                }
                let Some(left) = budget.checked_sub(1) else { return true };
                *budget = left;
                let next = (self.step(state, byte), symbol, bytes_min.min(bytes + 1));
                if !self.is_hopeless(next.0) && seen.insert(next) {
                    stack.push(next);
                }
            }
        }
        false
    }
}

impl tantivy_fst::Automaton for &WordAutomaton<'_> {
    type State = Option<StateID>;
    fn start(&self) -> Self::State {
        self.start
    }
    fn is_match(&self, state: &Self::State) -> bool {
        self.is_end(*state)
    }
    fn can_match(&self, state: &Self::State) -> bool {
        !self.is_hopeless(*state)
    }
    fn accept(&self, state: &Self::State, byte: u8) -> Self::State {
        self.step(*state, byte)
    }
}
