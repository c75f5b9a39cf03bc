//! A folded text that is looked for in literals, in what fills holes, and across the borders of these.

use super::Found;
use crate::error::StorageError;
use crate::exec::filter::scan::{Boundaries, FoldedSearch, word_char_after, word_char_before};
use crate::record::text::{fold, is_word_char};
use crate::record::{Block, Data, FixedForm, Form, Outline};

/// Bytes of a text that are followed across borders: one bit each.
const FOLLOWED_BYTES_MAX: usize = 128;

/// A folded text with boundaries, ready to be looked for in outlines.
#[derive(Debug)]
pub(crate) struct Sought {
    folded: Box<str>,
    search: FoldedSearch,
    ends: Boundaries,
    /// For each byte the places of the text where it stands, as bits.
    places: Box<[u128; 256]>,
    /// How many bytes of the text are followed.
    followed: usize,
}

impl Sought {
    pub(crate) fn new(folded: &str, ends: Boundaries) -> Self {
        let mut places = Box::new([0; 256]);
        let followed = folded.len().min(FOLLOWED_BYTES_MAX);
        folded.bytes().take(followed).enumerate().for_each(|(i, b)| places[usize::from(b)] |= 1 << i);
        Sought { folded: folded.into(), search: FoldedSearch::new(folded), ends, places, followed }
    }

    pub(crate) fn ends(&self) -> Boundaries {
        self.ends
    }

    /// Does it stand in one of these texts?
    fn stands_in(&self, data: &Data) -> bool {
        match data {
            Data::Dictionary { entries, .. } => self.stands_in(entries),
            Data::Plain(texts) => {
                let mut found = false;
                self.search.scan(texts, |_, text, at| {
                    found |= at.is_some() || self.stands_in_text(text);
                    true
                });
                found
            }
            Data::Constant { text, .. } => self.stands_in_text(text),
            data => {
                let mut buffer = Vec::new();
                (0..data.len()).any(|i| self.stands_in_text(data.text(i, &mut buffer)))
            }
        }
    }

    fn stands_in_text(&self, text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| self.search.find_folded(fold(text).as_bytes()).is_some())
    }
}

/// One text looked for in one outline.
pub(crate) struct Look<'a> {
    sought: &'a Sought,
    outline: &'a Outline,
    block: &'a dyn Block,
    /// For each fill, once it was asked for: may the text stand in one of its texts?
    inside: Vec<Option<bool>>,
    /// Likewise the places of the text where a byte stands that a fill has.
    places: Vec<Option<u128>>,
}

impl<'a> Look<'a> {
    pub(crate) fn new(sought: &'a Sought, outline: &'a Outline, block: &'a dyn Block) -> Self {
        let fills = outline.fills.len();
        Look { sought, outline, block, inside: vec![None; fills], places: vec![None; fills] }
    }

    /// What is known of the texts of each template. No text has an empty one.
    pub(crate) fn found(&mut self, ends: Boundaries) -> Result<Vec<Found>, StorageError> {
        let (len, templates) = (self.sought.folded.len(), &self.outline.skeleton.templates);
        let mut found = vec![Found::Never; templates.len()];
        if len == 0 {
            return Ok(found);
        }
        let all = self.outline.literals.all();
        let mut from = 0;
        let find = |from: usize| self.sought.search.find_folded(all.get(from..)?).map(|at| from + at);
        while let Some(place) = find(from) {
            from = place + 1;
            let (template, at, start) = self.outline.literals.at(place);
            let (literal, start) = (self.outline.literals.get(template, at), place - start);
            let holes = &templates[template].holes;
            // Is there a word character beside it? Of what fills a hole that is not always known.
            let before = match at.checked_sub(1).and_then(|hole| holes.get(hole)) {
                Some(&hole) if start == 0 => self.edges(hole).1,
                _ => Some(word_char_before(literal, start)),
            };
            let after = match holes.get(at) {
                Some(&hole) if start + len == literal.len() => self.edges(hole).0,
                _ => Some(word_char_after(literal, start + len)),
            };
            let left = if ends.left { before } else { Some(false) };
            let right = if ends.right { after } else { Some(false) };
            match (left, right) {
                (Some(false), Some(false)) => found[template] = Found::Always,
                (Some(true), _) | (_, Some(true)) => {}
                _ if found[template] == Found::Never => found[template] = Found::Perhaps,
                _ => {}
            }
        }
        for (number, template) in templates.iter().enumerate().filter(|(_, template)| !template.holes.is_empty()) {
            if found[number] != Found::Never {
                continue;
            }
            let mut may = self.crosses(number, &template.holes);
            for &hole in &template.holes {
                may = may || self.is_inside(hole)?;
            }
            if may {
                found[number] = Found::Perhaps;
            }
        }
        Ok(found)
    }

    /// Do the texts of a fill begin, and do they end, with a word character? `None` where some may not, or are empty.
    fn edges(&self, fill: u32) -> (Option<bool>, Option<bool>) {
        match &self.outline.fills[fill as usize].form {
            // There may be a sign.
            Form::Integer | Form::Decimal(1..) => (None, Some(true)),
            Form::Fixed(FixedForm::Ipv4 | FixedForm::Uuid) => (Some(true), Some(true)),
            Form::Fixed(FixedForm::Hex { prefix, width: 1.. }) => match std::str::from_utf8(prefix) {
                Ok(prefix) => (Some(prefix.chars().next().is_none_or(is_word_char)), Some(true)),
                Err(_) => (None, Some(true)),
            },
            Form::Decimal(0)
            | Form::Fixed(FixedForm::Hex { width: 0, .. })
            | Form::Among(_)
            | Form::AmongThose(_)
            | Form::Templates(_) => (None, None),
        }
    }

    /// May the text stand in a text of a fill?
    fn is_inside(&mut self, fill: u32) -> Result<bool, StorageError> {
        let fill = fill as usize;
        if let Some(inside) = self.inside[fill] {
            return Ok(inside);
        }
        let inside = self.outline.fills[fill].may_hold(&self.sought.folded)
            && match &self.outline.fills[fill].form {
                Form::Integer | Form::Decimal(_) | Form::Fixed(_) => true,
                Form::Among(column) => self.sought.stands_in(&column.data),
                // What is not known may be anything.
                Form::AmongThose(place) => {
                    self.block.fill_texts(*place)?.is_none_or(|column| self.sought.stands_in(&column.data))
                }
                Form::Templates(outline) => {
                    let mut look = Look::new(self.sought, outline, self.block);
                    let anywhere = Boundaries { left: false, right: false };
                    look.found(anywhere)?.iter().any(|found| *found != Found::Never)
                }
            };
        self.inside[fill] = Some(inside);
        Ok(inside)
    }

    /// Where in the text the bytes of a fill stand.
    fn places_of(&mut self, fill: u32) -> u128 {
        let fill = fill as usize;
        if let Some(places) = self.places[fill] {
            return places;
        }
        let bytes = self.outline.fills[fill].bytes.folded;
        let followed = self.sought.folded.bytes().take(self.sought.followed).enumerate();
        let places = followed.filter(|(_, b)| bytes.has(*b)).fold(0, |all, (i, _)| all | 1 << i);
        self.places[fill] = Some(places);
        places
    }

    /// May the text stand across a border of a hole? Follows all beginnings of it at once, a bit for each byte that
    /// was met last. In a hole any of its bytes may follow any other.
    fn crosses(&mut self, template: usize, holes: &[u32]) -> bool {
        let len = self.sought.followed;
        // A long text may go on behind what is followed.
        let is_whole = len == self.sought.folded.len();
        let last = 1u128 << (len - 1);
        let mut met = 0u128;
        for at in 0..=holes.len() {
            let mut bytes = self.outline.literals.get(template, at);
            if is_whole && bytes.len() > 2 * len {
                // In the middle stands nothing of what crosses a border.
                if self.follow(&bytes[..len - 1], &mut met, last, len) {
                    return true;
                }
                met = 0;
                bytes = &bytes[bytes.len() - (len - 1)..];
                self.follow(bytes, &mut met, last, 0);
            } else if self.follow(bytes, &mut met, last, if is_whole { len } else { usize::MAX }) {
                return true;
            }
            let Some(&hole) = holes.get(at) else { break };
            let places = self.places_of(hole);
            let mut entered = 0;
            let mut next = met;
            loop {
                next = next << 1 & places;
                if next & last != 0 {
                    return true;
                }
                if next & !entered == 0 {
                    break;
                }
                entered |= next;
                next = entered;
            }
            let mut within = 0;
            loop {
                // What stands in the hole as a whole is looked for elsewhere.
                let next = (within << 1 | 1) & places & !last;
                if next & !within == 0 {
                    break;
                }
                within |= next;
            }
            // There may be nothing in the hole.
            met |= entered | within;
        }
        false
    }

    /// Goes on through a literal. Says whether the text ended at one of the first `len - 1` bytes, so that it began
    /// before the literal.
    fn follow(&self, bytes: &[u8], met: &mut u128, last: u128, len: usize) -> bool {
        for (i, b) in bytes.iter().enumerate() {
            *met = (*met << 1 | 1) & self.sought.places[usize::from(*b)];
            if *met & last != 0 && i + 1 < len {
                return true;
            }
        }
        false
    }
}
