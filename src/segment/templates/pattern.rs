//! A template as the writer knows it: literals, and what each hole takes. Fits texts, and says where the holes are.

use crate::record::FixedForm;
use crate::segment::column::{canonical_decimal, canonical_integer, read_fixed};

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

    /// Where each hole's text is in a text that fits; `false` where it does not, with the holes that did.
    #[inline]
    pub fn fit(&self, text: &[u8], fields: &dyn Fields, holes: &mut Vec<(u32, u32)>) -> bool {
        holes.clear();
        let Some(first) = self.literals.first() else { return false };
        if !text.starts_with(first) {
            return false;
        }
        let mut at = first.len();
        for (i, kind) in self.holes.iter().enumerate() {
            let rest = &text[at..];
            let next = &*self.literals[i + 1];
            let Some(len) = kind.take(rest, next, i + 1 == self.holes.len(), fields) else { return false };
            if !rest[len..].starts_with(next) {
                return false;
            }
            holes.push((at as u32, (at + len) as u32));
            at += len + next.len();
        }
        at == text.len()
    }
}

impl Kind {
    /// How many bytes at the beginning of a text the hole takes.
    #[inline]
    fn take(self, rest: &[u8], next: &[u8], is_last: bool, fields: &dyn Fields) -> Option<usize> {
        let run = |of: fn(&u8) -> bool| rest.iter().take_while(|b| of(b)).count();
        match self {
            Kind::Field(field) => fields.text(field).filter(|text| rest.starts_with(text)).map(<[u8]>::len),
            Kind::Integer => {
                let sign = usize::from(rest.first() == Some(&b'-'));
                let len = sign + rest[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
                canonical_integer(&rest[..len]).map(|_| len)
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
                canonical_decimal(text).filter(|(_, found)| *found == places).map(|_| len)
            }
            Kind::Hex(digits) => {
                let digits = usize::from(digits);
                let fits = run(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) == digits;
                fits.then_some(digits)
            }
            Kind::Uuid => {
                let text = rest.get(..36)?;
                read_fixed(&FixedForm::Uuid, text, &mut Vec::with_capacity(16)).then_some(36)
            }
            Kind::Ipv4 => {
                let len = run(|b| matches!(b, b'0'..=b'9' | b'.'));
                read_fixed(&FixedForm::Ipv4, &rest[..len], &mut Vec::with_capacity(4)).then_some(len)
            }
            Kind::Any if is_last => rest.len().checked_sub(next.len()),
            Kind::Any => match next {
                [] => None,
                // A searcher takes longer to make than a text to walk through.
                [first, ..] => {
                    memchr::memchr_iter(*first, rest).find(|&at| rest.get(at..).is_some_and(|r| r.starts_with(next)))
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
