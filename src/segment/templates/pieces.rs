//! Where a template may be cut without cutting a word, so that an index need look at no text twice.
//!
//! A *unit* is a hole, or several with what stands between, and what of the text around it may be of one word with it,
//! or of one of the joined words that an index takes as a whole (addresses). What is left of a literal stands alone.

use super::pattern::Pattern;
use std::ops::Range;

/// Holes that are in words together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Which holes.
    pub holes: Range<u32>,
    /// Bytes before the first and behind the last one.
    pub around: (u32, u32),
}

impl Unit {
    /// Is it a hole and nothing else? Then what fills the hole can be looked at in its stead.
    pub fn is_bare(&self) -> bool {
        self.holes.len() == 1 && self.around == (0, 0)
    }
}

/// Does no word go on across this byte, and are no words joined by it?
fn separates(b: u8) -> bool {
    b.is_ascii() && !b.is_ascii_alphanumeric() && !matches!(b, b'_' | b'.' | b':' | b'-')
}

/// The units of a pattern, in order, and what is left of each literal.
pub(super) fn cut(pattern: &Pattern) -> (Vec<Unit>, Vec<Range<usize>>) {
    let mut units: Vec<Unit> = Vec::new();
    let mut rest = Vec::new();
    let last = pattern.literals.len() - 1;
    for (i, literal) in pattern.literals.iter().enumerate() {
        let first_separator = literal.iter().position(|b| separates(*b));
        let last_separator = literal.iter().rposition(|b| separates(*b));
        let (Some(from), Some(to)) = (first_separator, last_separator) else {
            // All of it is of the holes at its sides.
            match (units.last_mut(), i == last) {
                (None, true) => rest.push(0..literal.len()),
                (None, false) => {
                    units.push(Unit { holes: 0..1, around: (literal.len() as u32, 0) });
                    rest.push(0..0);
                }
                (Some(unit), true) => {
                    unit.around.1 = literal.len() as u32;
                    rest.push(0..0);
                }
                (Some(unit), false) => {
                    unit.holes.end += 1;
                    rest.push(0..0);
                }
            }
            continue;
        };
        if let Some(unit) = units.last_mut() {
            unit.around.1 = from as u32;
        }
        let end = if i == last { literal.len() } else { to + 1 };
        if i < last {
            units.push(Unit { holes: i as u32..i as u32 + 1, around: ((literal.len() - end) as u32, 0) });
        }
        rest.push(if i == 0 { 0 } else { from }..end);
    }
    (units, rest)
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Kind;
    use super::*;

    #[test]
    fn units_take_what_may_be_of_their_words() {
        let check = |literals: &[&str], expect: &[(Range<u32>, u32, u32)], rest: &[&str]| {
            let pattern = Pattern {
                literals: literals.iter().map(|l| l.as_bytes().into()).collect(),
                holes: vec![Kind::Any; literals.len() - 1],
            };
            let (units, left) = cut(&pattern);
            let units: Vec<_> = units.into_iter().map(|u| (u.holes, u.around.0, u.around.1)).collect();
            let left: Vec<&str> = left.into_iter().zip(literals).map(|(range, l)| &l[range]).collect();
            assert_eq!((&*units, &*left), (expect, rest), "{literals:?}");
        };
        check(&["idle: 5"], &[], &["idle: 5"]);
        check(&["", ""], &[(0..1, 0, 0)], &["", ""]);
        check(&["", " ", " in ", "ms"], &[(0..1, 0, 0), (1..2, 0, 0), (2..3, 0, 2)], &["", " ", " in ", ""]);
        check(&["at 10.0.", ".", ":80 (x)"], &[(0..2, 5, 3)], &["at ", "", " (x)"]);
        check(&["a", "b", " c"], &[(0..2, 1, 0)], &["", "", " c"]);
        check(&["é", "é "], &[(0..1, 2, 2)], &["", " "]);
        check(&["x=", ""], &[(0..1, 0, 0)], &["x=", ""]);
    }
}
