//! Outlines of texts: what is known of the values of a column that is stored as templates, before they are put together.

use super::text::fold;
use super::{Column, Data, FixedForm};
use std::sync::Arc;

/// A text with holes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Template {
    /// What stands before each hole, and after the last one: one more than there are holes.
    pub literals: Vec<Box<[u8]>>,
    /// The fill of each hole.
    pub holes: Vec<u32>,
}

/// The templates of a column, and which one each value has.
#[derive(Clone, Debug, Default)]
pub struct Skeleton {
    /// The templates.
    pub templates: Vec<Template>,
    /// The number of each value's template, which is one of these.
    pub codes: Vec<u32>,
    /// How many values have each template.
    pub counts: Vec<u32>,
}

impl Skeleton {
    /// Counts the values of each template.
    pub fn new(templates: Vec<Template>, codes: Vec<u32>) -> Self {
        let mut counts = vec![0; templates.len()];
        for &code in &codes {
            if let Some(count) = counts.get_mut(code as usize) {
                *count += 1;
            }
        }
        Skeleton { templates, codes, counts }
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.codes.len() * 4 + self.templates.iter().map(Template::memory).sum::<usize>()
    }
}

impl Template {
    fn memory(&self) -> usize {
        let literals: usize = self.literals.iter().map(|l| size_of::<Box<[u8]>>() + l.len()).sum();
        size_of::<Self>() + literals + self.holes.len() * 4 + 4
    }
}

/// A skeleton, and what is known of the texts in its holes.
#[derive(Debug)]
pub struct Outline {
    /// The templates, and the values that have them.
    pub skeleton: Arc<Skeleton>,
    /// The literals of each template, folded (see `record::text`).
    pub folded: Vec<Vec<Box<[u8]>>>,
    /// What holes are filled with, by the numbers that templates have of these.
    pub fills: Vec<Fill>,
}

impl Outline {
    /// Folds the literals.
    pub fn new(skeleton: Arc<Skeleton>, fills: Vec<Fill>) -> Self {
        // Literals were checked to be UTF-8 when they were read.
        let fold = |literal: &[u8]| fold(std::str::from_utf8(literal).unwrap_or_default()).into_bytes().into();
        let folded = skeleton.templates.iter().map(|t| t.literals.iter().map(|l| fold(l)).collect()).collect();
        Outline { skeleton, folded, fills }
    }

    /// The bytes of all texts of these templates.
    pub fn bytes(&self) -> Bytes {
        let templates = self.skeleton.templates.iter().zip(&self.folded);
        let literals = templates.map(|(template, folded)| Bytes {
            plain: template.literals.iter().fold(ByteSet::default(), |all, l| all.with(ByteSet::of(l))),
            folded: folded.iter().fold(ByteSet::default(), |all, l| all.with(ByteSet::of(l))),
        });
        literals.chain(self.fills.iter().map(|fill| fill.bytes)).fold(Bytes::default(), |all, other| Bytes {
            plain: all.plain.with(other.plain),
            folded: all.folded.with(other.folded),
        })
    }

    /// Bytes of memory, about: of its columns also those that others have as well, but of none that templates are of.
    pub fn memory(&self) -> usize {
        let of_literals =
            |folded: &Vec<Box<[u8]>>| folded.iter().map(|l| size_of::<Box<[u8]>>() + l.len()).sum::<usize>();
        let of_fill = |fill: &Fill| match &fill.form {
            Form::Among(column) => size_of::<Fill>() + column.data.memory(),
            _ => size_of::<Fill>(),
        };
        self.folded.iter().map(of_literals).sum::<usize>() + self.fills.iter().map(of_fill).sum::<usize>()
    }
}

/// What may stand in a hole.
#[derive(Clone, Debug)]
pub struct Fill {
    /// How its texts are made.
    pub form: Form,
    /// The bytes that they have.
    pub bytes: Bytes,
}

/// How the texts in a hole are made. There may be texts of a form that no value has.
#[derive(Clone, Debug)]
pub enum Form {
    /// An integer as `i64` prints it.
    Integer,
    /// Digits, a point, and so many digits, with a sign or none.
    Decimal(u8),
    /// A fixed form.
    Fixed(FixedForm),
    /// One of these.
    Among(Arc<Column>),
    /// A text of these templates.
    Templates(Arc<Outline>),
}

/// Bytes of texts: as they are, and folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// As they are.
    pub plain: ByteSet,
    /// Folded.
    pub folded: ByteSet,
}

impl Fill {
    /// Finds out the bytes of a form.
    pub fn new(form: Form) -> Self {
        let same = |bytes: &[u8]| Bytes { plain: ByteSet::of(bytes), folded: ByteSet::of(bytes) };
        let bytes = match &form {
            Form::Integer => same(b"0123456789-"),
            Form::Decimal(_) => same(b"0123456789-."),
            Form::Fixed(FixedForm::Ipv4) => same(b"0123456789."),
            Form::Fixed(FixedForm::Uuid) => same(b"0123456789abcdef-"),
            Form::Fixed(FixedForm::Hex { prefix, .. }) => {
                let (digits, prefix) = (same(b"0123456789abcdef"), Bytes::of(prefix));
                Bytes { plain: digits.plain.with(prefix.plain), folded: digits.folded.with(prefix.folded) }
            }
            Form::Among(column) => Bytes::of_data(&column.data),
            Form::Templates(outline) => outline.bytes(),
        };
        Fill { form, bytes }
    }
}

impl Bytes {
    fn of(text: &[u8]) -> Self {
        let plain = ByteSet::of(text);
        if text.is_ascii() {
            let folded: Vec<u8> = plain.iter().map(|b| b.to_ascii_lowercase()).collect();
            return Bytes { plain, folded: ByteSet::of(&folded) };
        }
        match std::str::from_utf8(text) {
            Ok(text) => Bytes { plain, folded: ByteSet::of(fold(text).as_bytes()) },
            // Such a value has no text, but the others have.
            Err(_) => Bytes { plain, folded: ByteSet([u64::MAX; 4]) },
        }
    }

    fn of_data(data: &Data) -> Self {
        match data {
            Data::Plain(texts) => Self::of(&texts.bytes),
            Data::Constant { text, .. } => Self::of(text),
            Data::Dictionary { entries, .. } => Self::of_data(entries),
            _ => {
                let mut texts = Vec::new();
                (0..data.len()).for_each(|i| data.append_text(i, &mut texts));
                Self::of(&texts)
            }
        }
    }
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// Those of a text.
    pub fn of(text: &[u8]) -> Self {
        let mut seen = [false; 256];
        text.iter().for_each(|b| seen[usize::from(*b)] = true);
        let mut set = ByteSet::default();
        (0..=255u8).filter(|b| seen[usize::from(*b)]).for_each(|b| set.0[usize::from(b >> 6)] |= 1 << (b & 63));
        set
    }
    /// Those of both.
    pub fn with(self, other: ByteSet) -> Self {
        ByteSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
    /// Is it among them?
    #[inline]
    pub fn has(self, b: u8) -> bool {
        self.0[usize::from(b >> 6)] >> (b & 63) & 1 == 1
    }
    /// All of them, rising.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=255u8).filter(move |b| self.has(*b))
    }
}
