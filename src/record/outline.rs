//! Outlines of texts: what is known of the values of a column that is stored as templates, before they are put together.

use super::text::fold;
use super::{Codes, Column, Data, FixedForm, Grams, Tag, Tags};
use std::sync::Arc;

/// Texts of fewer bytes are searched as they are.
const GRAMS_BYTES_MIN: usize = 512;
/// An outline holds the texts of a fill that have no more bytes together.
pub const HELD_BYTES_MAX: usize = 4096;

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
    /// The number of each value's template. There is one of each.
    pub codes: Codes,
    /// How many values have each template.
    pub counts: Vec<u32>,
}

impl Skeleton {
    /// Counts the values of each template.
    pub fn new(templates: Vec<Template>, codes: Codes) -> Self {
        let counts = codes.counts(templates.len());
        Skeleton { templates, codes, counts }
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.codes.memory() + self.templates.iter().map(Template::memory).sum::<usize>()
    }
}

impl Template {
    fn memory(&self) -> usize {
        // Each literal is an allocation, which takes 16 bytes more, about; so are the two lists.
        let literals: usize = self.literals.iter().map(|l| size_of::<Box<[u8]>>() + 16 + l.len()).sum();
        size_of::<Self>() + 32 + literals + self.holes.len() * 4 + 4
    }
}

/// A skeleton, and what is known of the texts in its holes.
#[derive(Debug)]
pub struct Outline {
    /// The templates, and the values that have them.
    pub skeleton: Arc<Skeleton>,
    /// The literals of all templates, folded.
    pub literals: Literals,
    /// What holes are filled with, by the numbers that templates have of these.
    pub fills: Vec<Fill>,
}

/// Literals, folded (see `record::text`), one behind the other: one search goes through all.
#[derive(Debug, Default)]
pub struct Literals {
    bytes: Vec<u8>,
    /// Where each one begins. Between two is a byte that stands in no text.
    starts: Vec<u32>,
    /// Which template each one is of.
    templates: Vec<u32>,
    /// The first one of each template.
    first: Vec<u32>,
}

/// Stands in no text.
const NO_TEXT: u8 = 0xff;

impl Literals {
    fn of(templates: &[Template]) -> Self {
        let mut all = Literals::default();
        for (number, template) in (0..).zip(templates) {
            all.first.push(all.starts.len() as u32);
            for literal in &template.literals {
                all.starts.push(all.bytes.len() as u32);
                all.templates.push(number);
                // Literals were checked to be UTF-8 when they were read.
                all.bytes.extend_from_slice(fold(std::str::from_utf8(literal).unwrap_or_default()).as_bytes());
                all.bytes.push(NO_TEXT);
            }
        }
        all
    }

    /// All of them. Whatever is a text stands in one of them alone.
    pub fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// What stands at a place in all of them: the template, the number of its literal, and where this one begins.
    pub fn at(&self, place: usize) -> (usize, usize, usize) {
        let literal = self.starts.partition_point(|&start| start as usize <= place).saturating_sub(1);
        let template = self.templates[literal] as usize;
        (template, literal - self.first[template] as usize, self.starts[literal] as usize)
    }

    /// A literal of a template.
    pub fn get(&self, template: usize, at: usize) -> &[u8] {
        let literal = self.first[template] as usize + at;
        let end = self.starts.get(literal + 1).map_or(self.bytes.len(), |&next| next as usize);
        &self.bytes[self.starts[literal] as usize..end - 1]
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.starts.len() * 8 + self.first.len() * 4
    }
}

impl Outline {
    /// Folds the literals.
    pub fn new(skeleton: Arc<Skeleton>, fills: Vec<Fill>) -> Self {
        Outline { literals: Literals::of(&skeleton.templates), skeleton, fills }
    }

    /// The bytes of all texts of these templates.
    pub fn bytes(&self) -> Bytes {
        let mut folded = self.literals.bytes.clone();
        folded.retain(|b| *b != NO_TEXT);
        let plain = self.skeleton.templates.iter().flat_map(|t| &t.literals);
        let literals = Bytes {
            plain: plain.fold(ByteSet::default(), |all, l| all.with(ByteSet::of(l))),
            folded: ByteSet::of(&folded),
        };
        self.fills.iter().map(|fill| fill.bytes).fold(literals, |all, other| Bytes {
            plain: all.plain.with(other.plain),
            folded: all.folded.with(other.folded),
        })
    }

    /// Bytes of memory, about, without those of outlines that templates are of.
    pub fn memory(&self) -> usize {
        let of_fill = |fill: &Fill| match &fill.form {
            Form::Among(column) => column.data.memory(),
            _ => 0,
        };
        let of_fill =
            |fill: &Fill| size_of::<Fill>() + of_fill(fill) + fill.grams.as_ref().map_or(0, |grams| grams.memory());
        self.literals.memory() + self.fills.iter().map(of_fill).sum::<usize>()
    }
}

/// What may stand in a hole.
#[derive(Clone, Debug)]
pub struct Fill {
    /// How its texts are made.
    pub form: Form,
    /// The bytes that they have.
    pub bytes: Bytes,
    /// Three bytes in a row that they have, folded, where they are many texts of any form.
    grams: Option<Grams>,
}

/// Which texts of a block fill a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillPlace {
    /// The number of the column in the block.
    pub column: u32,
    /// The number of the fill among those of this column, where the texts are not those of the column itself.
    pub fill: Option<u32>,
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
    /// One of those that the block tells, see [`super::Block::fill_texts`]: too many to be held here.
    AmongThose(FillPlace),
    /// A text of these templates.
    Templates(Arc<Outline>),
}

/// Of texts that are long enough for it together.
fn grams_of(data: &Data) -> Option<Grams> {
    match data {
        Data::Dictionary { entries, .. } => grams_of(entries),
        // What is found across two of them is one too many.
        Data::Plain(texts) if texts.bytes.len() >= GRAMS_BYTES_MIN => {
            Some(Grams::of(&fold(std::str::from_utf8(&texts.bytes).ok()?)))
        }
        _ => None,
    }
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
            // Whatever these are.
            Form::AmongThose(_) => Bytes { plain: ByteSet([u64::MAX; 4]), folded: ByteSet([u64::MAX; 4]) },
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
        let grams = match &form {
            Form::Among(column) => grams_of(&column.data),
            _ => None,
        };
        Fill { form, bytes, grams }
    }

    /// Of texts that stand at a place of a block. What is known of them is kept, and they themselves where they are
    /// short.
    pub fn of_texts(column: &Column, place: FillPlace) -> Self {
        let data = match &column.data {
            Data::Dictionary { entries, .. } => entries,
            data => data,
        };
        if data.memory() <= HELD_BYTES_MAX {
            return Fill::new(Form::Among(Arc::new(Column { tags: Tags::One(Tag::String), data: data.clone() })));
        }
        Fill { form: Form::AmongThose(place), bytes: Bytes::of_data(data), grams: grams_of(data) }
    }

    /// May a folded text stand in one of its texts, folded, by the bytes that these have?
    pub fn may_hold(&self, folded: &str) -> bool {
        folded.bytes().all(|b| self.bytes.folded.has(b))
            && self.grams.as_ref().is_none_or(|grams| grams.may_hold(folded))
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
