//! A template as the writer knows it: literals, and what each hole takes. Fits texts, and says where the holes are.

use crate::record::FixedForm;
use crate::segment::column::{canonical_decimal, canonical_integer, is_uuid, read_fixed, read_ipv4};
use crate::segment::short::{begins, ends};

/// What a hole takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The value that another field, with this number, has in the same row.
    Field(u32),
    /// An integer as `i64` prints it.
    Integer,
    /// A decimal with so many places.
    Decimal(u8),
    /// So many hex digits in lower case, an even number of them.
    Hex(u8),
    /// A UUID.
    Uuid,
    /// A dotted address.
    Ipv4,
    /// Anything up to the literal that follows.
    Any,
}

/// A text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// One more than holes; none but the first and the last is empty.
    pub literals: Vec<Box<[u8]>>,
    pub holes: Vec<Kind>,
}

/// Where in a text a hole is, and its value where the hole takes numbers or addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub start: u32,
    pub end: u32,
    pub value: i64,
}

/// The fields of a row by their numbers.
pub(super) trait Fields {
    /// The text of a field, where the row has it.
    fn text(&self, field: u32) -> Option<&[u8]>;
}

impl Pattern {
    /// Takes any text.
    pub fn anything() -> Self {
        Pattern { literals: vec![Box::default(), Box::default()], holes: vec![Kind::Any] }
    }

    /// Does a text end as the pattern does? Few texts of another pattern do, and it is quickly seen.
    #[inline]
    pub fn may_fit(&self, text: &[u8]) -> bool {
        self.literals.last().is_some_and(|last| ends(text, last))
    }

    /// Where each hole's text is in a text that fits; `false` where it does not, with the holes that did.
    #[inline]
    pub fn fit(&self, text: &[u8], fields: &dyn Fields, holes: &mut Vec<Hole>) -> bool {
        holes.clear();
        let Some(first) = self.literals.first() else { return false };
        if !begins(text, first) {
            return false;
        }
        let mut at = first.len();
        for (i, kind) in self.holes.iter().enumerate() {
            let rest = &text[at..];
            let next = &*self.literals[i + 1];
            let Some((len, value)) = kind.take(rest, next, i + 1 == self.holes.len(), fields) else { return false };
            if !begins(&rest[len..], next) {
                return false;
            }
            holes.push(Hole { start: at as u32, end: (at + len) as u32, value });
            at += len + next.len();
        }
        at == text.len()
    }
}

impl Kind {
    /// How many bytes at the beginning of a text the hole takes, and their value: of an integer, of a decimal its digits,
    /// of an address its bytes as a number, else 0.
    #[inline]
    fn take(self, rest: &[u8], next: &[u8], is_last: bool, fields: &dyn Fields) -> Option<(usize, i64)> {
        let run = |of: fn(&u8) -> bool| rest.iter().take_while(|b| of(b)).count();
        match self {
            Kind::Field(field) => fields.text(field).filter(|text| begins(rest, text)).map(|text| (text.len(), 0)),
            Kind::Integer => {
                let sign = usize::from(rest.first() == Some(&b'-'));
                let len = sign + rest[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
                canonical_integer(&rest[..len]).map(|n| (len, n))
            }
            Kind::Decimal(places) => {
                let sign = usize::from(rest.first() == Some(&b'-'));
                let point = sign + rest[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
                let len = point + 1 + usize::from(places);
                let text = rest.get(..len)?;
                // A further digit is one place more.
                if rest.get(len).is_some_and(u8::is_ascii_digit) {
                    return None;
                }
                canonical_decimal(text).filter(|(_, found)| *found == places).map(|(n, _)| (len, n))
            }
            Kind::Hex(digits) => {
                let digits = usize::from(digits);
                let fits = run(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) == digits;
                fits.then_some((digits, 0))
            }
            Kind::Uuid => rest.get(..36).filter(|text| is_uuid(text)).map(|_| (36, 0)),
            Kind::Ipv4 => {
                let len = run(|b| matches!(b, b'0'..=b'9' | b'.'));
                read_ipv4(&rest[..len]).map(|address| (len, u32::from_be_bytes(address).into()))
            }
            Kind::Any if is_last => rest.len().checked_sub(next.len()).map(|len| (len, 0)),
            Kind::Any => match next {
                [] => None,
                // A searcher takes longer to make than a text to walk through.
                [first, ..] => {
                    memchr::memchr_iter(*first, rest).find(|&at| begins(&rest[at..], next)).map(|at| (at, 0))
                }
            },
        }
    }

    /// The narrowest kind that takes all of these texts.
    pub fn of<'a>(mut texts: impl Iterator<Item = &'a [u8]> + Clone) -> Kind {
        let Some(first) = texts.clone().next() else { return Kind::Any };
        let fixed = |form: &FixedForm, text: &[u8]| read_fixed(form, text, &mut Vec::new());
        if canonical_integer(first).is_some() && texts.clone().all(|t| canonical_integer(t).is_some()) {
            return Kind::Integer;
        }
        if let Some((_, places)) = canonical_decimal(first)
            && texts.clone().all(|t| canonical_decimal(t).is_some_and(|d| d.1 == places))
        {
            return Kind::Decimal(places);
        }
        if texts.clone().all(|t| fixed(&FixedForm::Uuid, t)) {
            return Kind::Uuid;
        }
        if texts.clone().all(|t| fixed(&FixedForm::Ipv4, t)) {
            return Kind::Ipv4;
        }
        let digits = first.len();
        let is_hex = |t: &[u8]| t.len() == digits && t.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if HEX_DIGITS.contains(&digits) && digits.is_multiple_of(2) && texts.all(is_hex) {
            return Kind::Hex(digits as u8);
        }
        Kind::Any
    }
}

/// Shorter runs of hex digits are words, as `face`; hashes of 512 bits are the longest that are met.
const HEX_DIGITS: std::ops::RangeInclusive<usize> = 8..=128;
