//! What stands in every block that has a match, for the index over words.

use crate::error::StorageError;
use crate::exec::filter::ValueTest;
use crate::exec::filter::fuzzy::Fuzzy;
use crate::exec::filter::wildcard::Wildcard;
use crate::record::text::{fold, is_word_char};
use crate::record::{TermIndex, TermQuery};
use regex_automata::dfa::{StartKind, dense};
use roaring::RoaringBitmap;

/// Lists longer than this are not looked up text by text.
const TEXTS_MAX: usize = 64;
/// An open literal shorter than this is in nearly every block, and makes the index walk much of its dictionary.
const OPEN_LITERAL_BYTES_MIN: usize = 3;
/// Memory for making an automaton, and for the automaton; a fuzzy word of 20 letters takes a tenth.
const AUTOMATON_BUILD_BYTES_MAX: usize = 8 << 20;
const AUTOMATON_BYTES_MAX: usize = 2 << 20;
/// Longer fuzzy words are not made into an automaton.
const FUZZY_CHARS_MAX: usize = 24;

/// What stands in every block that has a match.
#[derive(Debug)]
pub(crate) enum Needs {
    /// Nothing is known.
    Unknown,
    /// All of these.
    All(Vec<Needs>),
    /// One of these.
    One(Vec<Needs>),
    /// A text; see [`TermQuery::Literal`].
    Literal { folded: Box<str>, open_left: bool, open_right: bool },
    /// A word that an automaton accepts.
    Word(Box<dense::DFA<Vec<u32>>>),
}

impl Needs {
    /// What a value that passes a test needs.
    pub(crate) fn of(test: &ValueTest) -> Needs {
        match test {
            ValueTest::Phrase(phrase) => Needs::literal(phrase.folded(), false, false),
            ValueTest::Near(near) => Needs::all(near.words().map(|w| Needs::literal(w, false, false)).collect()),
            ValueTest::Fuzzy(fuzzy) => fuzzy_word(fuzzy),
            ValueTest::Wildcard(wildcard) => wildcard_needs(wildcard),
            // The whole value: nothing stands beside it.
            ValueTest::OneOf(texts) if texts.len() <= TEXTS_MAX => {
                Needs::one(texts.iter().map(|t| Needs::literal(&fold(t), false, false)).collect())
            }
            ValueTest::Regex(regex) => {
                let open =
                    |texts: &Vec<String>| Needs::one(texts.iter().map(|t| Needs::literal(t, true, true)).collect());
                Needs::all(regex.required().iter().map(open).collect())
            }
            ValueTest::OneOf(_) | ValueTest::Exists | ValueTest::Compare(_) | ValueTest::IpRange(_) => Needs::Unknown,
        }
    }

    fn literal(folded: &str, open_left: bool, open_right: bool) -> Needs {
        let too_short = (open_left || open_right) && folded.len() < OPEN_LITERAL_BYTES_MIN;
        if too_short || !folded.chars().any(is_word_char) {
            return Needs::Unknown;
        }
        Needs::Literal { folded: folded.into(), open_left, open_right }
    }

    fn all(mut parts: Vec<Needs>) -> Needs {
        parts.retain(|p| !p.is_unknown());
        match parts.len() {
            0 => Needs::Unknown,
            1 => parts.remove(0),
            _ => Needs::All(parts),
        }
    }

    fn one(mut parts: Vec<Needs>) -> Needs {
        match parts.len() {
            1 => parts.remove(0),
            _ if parts.is_empty() || parts.iter().any(Needs::is_unknown) => Needs::Unknown,
            _ => Needs::One(parts),
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Needs::Unknown)
    }

    /// May they stand in one value, where `holds` tells that of one text?
    pub(crate) fn may_hold(&self, holds: &mut dyn FnMut(&str) -> bool) -> bool {
        match self {
            Needs::Unknown | Needs::Word(_) => true,
            Needs::Literal { folded, .. } => holds(folded),
            Needs::All(parts) => parts.iter().all(|part| part.may_hold(holds)),
            Needs::One(parts) => parts.iter().any(|part| part.may_hold(holds)),
        }
    }

    /// The blocks that may have a match; `None` for all of them.
    pub(crate) fn blocks(&self, terms: &dyn TermIndex) -> Result<Option<RoaringBitmap>, StorageError> {
        match self {
            Needs::Unknown => Ok(None),
            Needs::Literal { folded, open_left, open_right } => {
                let query = TermQuery::Literal { folded, open_left: *open_left, open_right: *open_right };
                terms.may_match(&query).map(Some)
            }
            Needs::Word(automaton) => terms.may_match(&TermQuery::Word { automaton }).map(Some),
            Needs::All(parts) => {
                let mut all: Option<RoaringBitmap> = None;
                for part in parts {
                    // What is empty stays empty: the rest need not be looked up.
                    if all.as_ref().is_some_and(RoaringBitmap::is_empty) {
                        break;
                    }
                    all = intersect(all, part.blocks(terms)?);
                }
                Ok(all)
            }
            Needs::One(parts) => {
                let mut any = RoaringBitmap::new();
                for part in parts {
                    match part.blocks(terms)? {
                        Some(blocks) => any |= blocks,
                        None => return Ok(None),
                    }
                }
                Ok(Some(any))
            }
        }
    }
}

/// What is in both, where `None` is everything.
pub(crate) fn intersect(a: Option<RoaringBitmap>, b: Option<RoaringBitmap>) -> Option<RoaringBitmap> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a & b),
        (one, None) | (None, one) => one,
    }
}

fn wildcard_needs(wildcard: &Wildcard) -> Needs {
    let literals = wildcard.literals();
    if literals.iter().any(|l| l.folded.len() >= OPEN_LITERAL_BYTES_MIN) {
        let literal = |l: &crate::exec::filter::wildcard::Literal| Needs::literal(&l.folded, l.open_left, l.open_right);
        return Needs::all(literals.iter().map(literal).collect());
    }
    // Too short to be looked up. A pattern inside of one word is a pattern of the whole word.
    let (steps, many_at_end) = wildcard.steps();
    let mut pattern = String::new();
    let mut has_literal = false;
    for (many, step) in steps {
        pattern.push_str(if many { "(?s:.)*" } else { "" });
        match step {
            Some(c) if is_word_char(c) => {
                has_literal = true;
                pattern.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
            }
            Some(_) => return Needs::Unknown,
            None => pattern.push_str("(?s:.)"),
        }
    }
    pattern.push_str(if many_at_end { "(?s:.)*" } else { "" });
    if has_literal { word(&pattern) } else { Needs::Unknown }
}

/// An automaton for one edit: a few edits more accept most words, so that a scan is as good.
fn fuzzy_word(fuzzy: &Fuzzy) -> Needs {
    let chars = fuzzy.word();
    if fuzzy.edits() != 1 || chars.len() < 3 || chars.len() > FUZZY_CHARS_MAX {
        return Needs::Unknown;
    }
    let text = |part: &[char]| regex_syntax::escape(&part.iter().collect::<String>());
    let mut ways = Vec::new();
    for i in 0..=chars.len() {
        let (before, after) = (text(&chars[..i]), &chars[i..]);
        ways.push(format!("{before}(?s:.){}", text(after)));
        if let [_, rest @ ..] = after {
            // Deleted, or replaced by another.
            ways.push(format!("{before}(?s:.)?{}", text(rest)));
        }
        if let [a, b, rest @ ..] = after {
            ways.push(format!("{before}{}{}", text(&[*b, *a]), text(rest)));
        }
    }
    word(&ways.join("|"))
}

/// An automaton for whole words; nothing is known where it takes too much memory.
fn word(pattern: &str) -> Needs {
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(AUTOMATON_BUILD_BYTES_MAX));
    match dense::Builder::new().configure(config).build(&format!("\\A(?:{pattern})\\z")) {
        Ok(automaton) => Needs::Word(Box::new(automaton)),
        Err(_) => Needs::Unknown,
    }
}
