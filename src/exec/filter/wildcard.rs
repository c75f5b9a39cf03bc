//! Wildcards inside a word or phrase, case ignored.

use super::scan::{Boundaries, FoldedSearch};
use crate::query::ast::WildcardPart;
use crate::record::text::{fold, is_word_char};

/// A pattern, ready for search.
#[derive(Debug)]
pub(crate) struct Wildcard {
    /// What is matched one after the other.
    steps: Vec<Step>,
    /// Before step `i` (or at the end, for the last one): may any word characters stand here?
    many: Vec<bool>,
    /// The literals, folded, with what may stand beside them.
    literals: Vec<Literal>,
    /// The longest literal: a text without it does not match.
    longest: Option<FoldedSearch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Char(char),
    /// Any word character.
    One,
}

/// A literal part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) folded: Box<str>,
    pub(crate) open_left: bool,
    pub(crate) open_right: bool,
}

impl Wildcard {
    pub(crate) fn new(parts: &[WildcardPart]) -> Self {
        let (mut steps, mut many, mut literals) = (Vec::new(), vec![false], Vec::new());
        for (i, part) in parts.iter().enumerate() {
            match part {
                WildcardPart::Literal(text) => {
                    let folded = fold(text);
                    let open = |beside: Option<&WildcardPart>| beside.is_some();
                    literals.push(Literal {
                        open_left: open(i.checked_sub(1).and_then(|i| parts.get(i))),
                        open_right: open(parts.get(i + 1)),
                        folded: folded.as_str().into(),
                    });
                    for c in folded.chars() {
                        steps.push(Step::Char(c));
                        many.push(false);
                    }
                }
                WildcardPart::One => {
                    steps.push(Step::One);
                    many.push(false);
                }
                WildcardPart::Many => {
                    if let Some(here) = many.last_mut() {
                        *here = true;
                    }
                }
            }
        }
        let longest = literals.iter().max_by_key(|l| l.folded.len()).filter(|l| !l.folded.is_empty());
        let longest = longest.map(|l| FoldedSearch::new(&l.folded));
        Wildcard { steps, many, literals, longest }
    }

    /// The literal parts.
    pub(crate) fn literals(&self) -> &[Literal] {
        &self.literals
    }

    /// A search for a part that every match has.
    pub(crate) fn longest(&self) -> Option<&FoldedSearch> {
        self.longest.as_ref()
    }

    /// Where the pattern is one literal with at most any word characters beside it: that literal, folded, and at which of
    /// its ends a word must end. Every text that has it so matches.
    pub(crate) fn only_text(&self) -> Option<(&str, Boundaries)> {
        let [literal] = &*self.literals else { return None };
        let is_all = self.steps.len() == literal.folded.chars().count();
        let is_word = |c: Option<char>| c.is_some_and(is_word_char);
        let left = !literal.open_left && is_word(literal.folded.chars().next());
        let right = !literal.open_right && is_word(literal.folded.chars().next_back());
        is_all.then_some((&*literal.folded, Boundaries { left, right }))
    }

    /// The characters of the pattern, `None` for one that is any word character, and before each whether more may
    /// stand; with whether more may stand at the end.
    pub(crate) fn steps(&self) -> (impl Iterator<Item = (bool, Option<char>)>, bool) {
        let steps = self.steps.iter().zip(&self.many).map(|(step, &many)| match step {
            Step::Char(c) => (many, Some(*c)),
            Step::One => (many, None),
        });
        (steps, self.many.last().copied().unwrap_or(false))
    }

    fn is_word_step(step: Option<&Step>) -> bool {
        match step {
            Some(Step::Char(c)) => is_word_char(*c),
            Some(Step::One) => true,
            None => false,
        }
    }

    /// Does it match somewhere in a folded text? Follows all ways at once, so that the time is linear in the text.
    pub(crate) fn matches_folded(&self, text: &str) -> bool {
        if self.longest.as_ref().is_some_and(|search| search.find_folded(text.as_bytes()).is_none()) {
            return false;
        }
        let end = self.steps.len();
        let left = !self.many[0] && Self::is_word_step(self.steps.first());
        let right = !self.many[end] && Self::is_word_step(self.steps.last());
        // Numbers of steps done by the ways that are open, rising.
        let (mut open, mut next): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut before_is_word = false;
        for c in text.chars() {
            let is_word = is_word_char(c);
            if !(left && before_is_word) && open.first() != Some(&0) {
                open.insert(0, 0);
            }
            if open.last() == Some(&end) && !(right && is_word) {
                return true;
            }
            next.clear();
            for &state in &open {
                if self.many[state] && is_word && next.last() != Some(&state) {
                    next.push(state);
                }
                let matches = match self.steps.get(state) {
                    Some(Step::Char(expected)) => *expected == c,
                    Some(Step::One) => is_word,
                    None => false,
                };
                if matches {
                    next.push(state + 1);
                }
            }
            std::mem::swap(&mut open, &mut next);
            before_is_word = is_word;
        }
        open.last() == Some(&end) || end == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Wildcard {
        let mut parts = Vec::new();
        for piece in text.split_inclusive(['*', '?']) {
            let literal = piece.trim_end_matches(['*', '?']);
            if !literal.is_empty() {
                parts.push(WildcardPart::Literal(literal.into()));
            }
            match piece.as_bytes().last() {
                Some(b'*') => parts.push(WildcardPart::Many),
                Some(b'?') => parts.push(WildcardPart::One),
                _ => {}
            }
        }
        Wildcard::new(&parts)
    }

    #[test]
    fn matches() {
        for (text, wildcard, found) in [
            ("a timeout", "tim*", true),
            ("a ultim", "tim*", false),
            ("ultimate", "*tim*", true),
            ("read timeout x", "*out", true),
            ("outer", "*out", false),
            ("timet", "t?me*t", true),
            ("tmet", "t?me*t", false),
            ("foo-bar", "foo-b*r", true),
            ("foo-b r", "foo-b*r", false),
            ("a b", "a*b", false),
            ("aab", "a*b", true),
            ("xab", "?b", false),
            ("ab", "?b", true),
            ("é1", "?1", true),
            ("aaaaaaaab", "a*a*a*a*c", false),
            ("ab abc", "ab?", true),
            ("-x", "-?", true),
        ] {
            assert_eq!(pattern(wildcard).matches_folded(text), found, "{text} {wildcard}");
        }
    }

    #[test]
    fn literals_know_their_neighbours() {
        let literal = |folded: &str, open_left, open_right| Literal { folded: folded.into(), open_left, open_right };
        assert_eq!(
            pattern("Ab*c?d").literals(),
            [literal("ab", false, true), literal("c", true, true), literal("d", true, false)]
        );
    }
}
