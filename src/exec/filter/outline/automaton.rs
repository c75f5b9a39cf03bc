//! An expression run over templates: over literals byte by byte, over holes as all that may stand there.
//!
//! A set of states stands for all texts so far. Where every text of a template ends in a match, all its values match;
//! where none does, none. What may stand in a hole may be more than what does, which makes the answer less certain and
//! never wrong.

use super::Found;
use crate::exec::filter::regex::{REGEX_BYTES_MAX, REGEX_CACHE_BYTES_MAX, REGEX_NEST_MAX};
use crate::record::{ByteSet, Data, Fill, FixedForm, Form, HELD_BYTES_MAX, Outline};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, hybrid};
use rustc_hash::FxHashMap;
use std::sync::{Mutex, PoisonError};

/// Steps that are spent on the templates of a column, about as many as a hundredth of its values take.
const STEPS_MAX: u32 = 200_000;

/// An expression as an automaton whose states are made when they are met.
#[derive(Debug)]
pub(crate) struct Automaton {
    dfa: DFA,
    /// What threads have met so far: as many as run at a time.
    caches: Mutex<Vec<Cache>>,
}

impl Automaton {
    /// Of a pattern; `None` where it takes too much memory, or asks for more than an automaton knows.
    pub(crate) fn new(pattern: &str, ignore_case: bool) -> Option<Self> {
        let config = hybrid::dfa::Config::new()
            .unicode_word_boundary(true)
            .cache_capacity(REGEX_CACHE_BYTES_MAX)
            // States that are kept would mean others then.
            .minimum_cache_clear_count(Some(0));
        let syntax = syntax::Config::new().case_insensitive(ignore_case).nest_limit(REGEX_NEST_MAX).utf8(false);
        let nfa = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(REGEX_BYTES_MAX))
            .which_captures(WhichCaptures::None);
        let dfa = hybrid::dfa::Builder::new().configure(config).syntax(syntax).thompson(nfa).build(pattern).ok()?;
        Some(Automaton { dfa, caches: Mutex::default() })
    }

    /// Puts what is known to the templates of which it is not.
    pub(crate) fn look_closer(&self, outline: &Outline, found: &mut [Found]) {
        if found.iter().all(|found| *found != Found::Perhaps) {
            return;
        }
        let own = self.caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let cache = own.unwrap_or_else(|| self.dfa.create_cache());
        let mut run = Run { dfa: &self.dfa, cache, steps: STEPS_MAX, known: FxHashMap::default() };
        for (template, found) in found.iter_mut().enumerate().filter(|(_, found)| **found == Found::Perhaps) {
            // Where it gives up, the template stays as it is.
            if let Some(answer) = run.template(outline, template) {
                *found = answer;
            }
        }
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).push(run.cache);
    }
}

/// The states that texts may be in, rising, and what became of those that need no more of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ways {
    open: Vec<LazyStateID>,
    /// Some match, whatever follows.
    matched: bool,
    /// Some do not match, whatever follows.
    failed: bool,
}

impl Ways {
    /// Of the same texts, with other states.
    fn without_states(&self) -> Ways {
        Ways { open: Vec::with_capacity(self.open.len()), ..*self }
    }

    /// Takes in others, which are then to be put in order.
    fn take(&mut self, other: &Ways) {
        self.open.extend_from_slice(&other.open);
        self.matched |= other.matched;
        self.failed |= other.failed;
    }

    fn put_in_order(&mut self) {
        if self.open.len() > 1 {
            self.open.sort_unstable();
            self.open.dedup();
        }
    }

    /// Is it known that some match and some do not?
    fn is_open(&self) -> bool {
        self.matched && self.failed
    }
}

/// Bytes that come one after the other.
struct Part {
    bytes: ByteSet,
    least: usize,
    /// `None` for any number.
    most: Option<usize>,
}

/// One outline under way. Nothing comes of it where it takes too many steps, or memory.
struct Run<'a> {
    dfa: &'a DFA,
    cache: Cache,
    steps: u32,
    /// What becomes of states in a hole. A fill is known by its address.
    known: FxHashMap<(*const Fill, Ways), Ways>,
}

impl Run<'_> {
    fn template(&mut self, outline: &Outline, template: usize) -> Option<Found> {
        let start = self.dfa.start_state_forward(&mut self.cache, &Input::new(b"")).ok()?;
        let mut ways = Ways::default();
        self.note(start, &mut ways)?;
        let ways = self.through(outline, template, ways)?;
        let (mut matched, mut failed) = (ways.matched, ways.failed);
        for state in ways.open {
            let end = self.dfa.next_eoi_state(&mut self.cache, state).ok()?;
            matched |= end.is_match();
            failed |= !end.is_match();
        }
        Some(match (matched, failed) {
            (false, _) => Found::Never,
            (true, false) => Found::Always,
            (true, true) => Found::Perhaps,
        })
    }

    /// Puts a state to others. Nothing is known of texts in which the automaton gives up.
    fn note(&self, state: LazyStateID, ways: &mut Ways) -> Option<()> {
        if state.is_quit() {
            return None;
        }
        match (state.is_match(), state.is_dead()) {
            (true, _) => ways.matched = true,
            (_, true) => ways.failed = true,
            _ => ways.open.push(state),
        }
        Some(())
    }

    /// All texts of a template.
    fn through(&mut self, outline: &Outline, template: usize, mut ways: Ways) -> Option<Ways> {
        let template = outline.skeleton.templates.get(template)?;
        for (at, literal) in template.literals.iter().enumerate() {
            self.text(literal, &mut ways)?;
            if let Some(&hole) = template.holes.get(at) {
                ways = self.hole(outline.fills.get(hole as usize)?, ways)?;
            }
            if ways.open.is_empty() || ways.is_open() {
                break;
            }
        }
        Some(ways)
    }

    fn text(&mut self, text: &[u8], ways: &mut Ways) -> Option<()> {
        self.steps = self.steps.checked_sub(u32::try_from(text.len() * ways.open.len()).ok()?)?;
        let mut kept = 0;
        for i in 0..ways.open.len() {
            let mut state = ways.open[i];
            for &b in text {
                state = self.dfa.next_state(&mut self.cache, state, b).ok()?;
                // Giving up, a match, or dead.
                if state.is_tagged() && (state.is_match() || state.is_dead() || state.is_quit()) {
                    break;
                }
            }
            match (state.is_quit(), state.is_match(), state.is_dead()) {
                (true, ..) => return None,
                (_, true, _) => ways.matched = true,
                (.., true) => ways.failed = true,
                _ => {
                    ways.open[kept] = state;
                    kept += 1;
                }
            }
        }
        ways.open.truncate(kept);
        ways.put_in_order();
        Some(())
    }

    /// All that may stand in a hole.
    fn hole(&mut self, fill: &Fill, ways: Ways) -> Option<Ways> {
        let key = (std::ptr::from_ref(fill), ways.clone());
        if let Some(known) = self.known.get(&key) {
            return Some(known.clone());
        }
        let digits = || ByteSet::of(b"0123456789");
        let hex = || ByteSet::of(b"0123456789abcdef");
        let part = |bytes: ByteSet, least: usize, most: Option<usize>| Part { bytes, least, most };
        let just = |bytes: ByteSet, count: usize| part(bytes, count, Some(count));
        let signed = || [part(ByteSet::of(b"-"), 0, Some(1)), part(digits(), 1, None)];
        let after = match &fill.form {
            Form::Integer => self.parts(&signed(), ways)?,
            Form::Decimal(places) => {
                let [sign, whole] = signed();
                self.parts(&[sign, whole, just(ByteSet::of(b"."), 1), just(digits(), usize::from(*places))], ways)?
            }
            Form::Fixed(FixedForm::Ipv4) => {
                let number = || part(digits(), 1, Some(3));
                let point = || just(ByteSet::of(b"."), 1);
                self.parts(&[number(), point(), number(), point(), number(), point(), number()], ways)?
            }
            Form::Fixed(FixedForm::Uuid) => {
                let mut parts = vec![just(hex(), 8)];
                for count in [4, 4, 4, 12] {
                    parts.extend([just(ByteSet::of(b"-"), 1), just(hex(), count)]);
                }
                self.parts(&parts, ways)?
            }
            Form::Fixed(FixedForm::Hex { prefix, width }) => {
                let mut ways = ways;
                self.text(prefix, &mut ways)?;
                self.parts(&[just(hex(), 2 * usize::from(*width))], ways)?
            }
            Form::Among(column) => match self.each(&column.data, &ways)? {
                Some(after) => after,
                None => self.parts(&[part(fill.bytes.plain, 0, None)], ways)?,
            },
            Form::AmongThose(_) => self.parts(&[part(fill.bytes.plain, 0, None)], ways)?,
            Form::Templates(outline) => {
                let mut after = Ways::default();
                for (template, &count) in outline.skeleton.counts.iter().enumerate() {
                    if count > 0 {
                        after.take(&self.through(outline, template, ways.clone())?);
                    }
                }
                after.put_in_order();
                after
            }
        };
        self.known.insert(key, after.clone());
        Some(after)
    }

    /// Texts one by one, where they are not too long together.
    fn each(&mut self, data: &Data, ways: &Ways) -> Option<Option<Ways>> {
        match data {
            Data::Dictionary { entries, .. } => self.each(entries, ways),
            Data::Constant { text, .. } => {
                let mut after = ways.clone();
                self.text(text, &mut after)?;
                Some(Some(after))
            }
            Data::Plain(texts) if texts.bytes.len() <= HELD_BYTES_MAX => {
                let (mut after, mut one) = (Ways::default(), ways.clone());
                for i in 0..texts.len() {
                    one.open.clear();
                    one.take(ways);
                    self.text(texts.get(i), &mut one)?;
                    // Most lead to the same.
                    if one.open != after.open {
                        after.take(&one);
                        after.put_in_order();
                    }
                    after.matched |= one.matched;
                    after.failed |= one.failed;
                }
                Some(Some(after))
            }
            _ => Some(None),
        }
    }

    fn parts(&mut self, parts: &[Part], mut ways: Ways) -> Option<Ways> {
        for part in parts {
            // One byte of each class that the automaton tells apart.
            let mut classes: Vec<u8> = part.bytes.iter().collect();
            classes.sort_unstable_by_key(|b| self.dfa.byte_classes().get(*b));
            classes.dedup_by_key(|b| self.dfa.byte_classes().get(*b));
            for _ in 0..part.least {
                ways = self.any_of(&classes, &ways)?;
            }
            // With no further byte, or one, or two, until nothing new comes of it.
            for _ in part.least..part.most.unwrap_or(usize::MAX) {
                let mut more = self.any_of(&classes, &ways)?;
                more.take(&ways);
                more.put_in_order();
                if more == ways {
                    break;
                }
                ways = more;
            }
        }
        Some(ways)
    }

    /// One of these bytes.
    fn any_of(&mut self, bytes: &[u8], ways: &Ways) -> Option<Ways> {
        let mut after = ways.without_states();
        self.steps = self.steps.checked_sub(u32::try_from(bytes.len() * ways.open.len()).ok()?)?;
        for &state in &ways.open {
            for &b in bytes {
                let state = self.dfa.next_state(&mut self.cache, state, b).ok()?;
                self.note(state, &mut after)?;
            }
        }
        after.put_in_order();
        Some(after)
    }
}
