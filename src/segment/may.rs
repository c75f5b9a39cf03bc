//! Which rows of a column of templates may hold a text, told from the templates and from what fills their holes, without
//! putting the texts together.
//!
//! The text stands in a literal, or in what fills a hole, or across a border of a hole. The first two are looked up. Of
//! the third it is known which bytes, and which pairs of bytes, a fill has; so the answer may be too many rows, and never
//! too few.

use super::fetch::Loaded;
use super::hold::may_hold;
use super::read::SegmentBlock;
use crate::error::StorageError;
use crate::format::chunk::{ChunkTags, Encoding};
use crate::format::template::{FillChunk, Template};
use crate::record::text::{fold, fold_into};
use crate::record::{Column, Data, FixedForm, Tag};
use std::sync::{Arc, OnceLock};

/// The number of a column's skeleton in the cache, from here on.
const PART_SKELETON: u32 = 1 << 27;
/// Where more than one in so many values may hold a text, all are put together: they stay for the next search.
const ROWS_SHARE: usize = 4;

/// The templates of a chunk, and which one each value has.
#[derive(Debug)]
pub(super) struct Skeleton {
    templates: Vec<Template>,
    codes: Vec<u32>,
    made_of: Vec<OnceLock<MadeOf>>,
}

impl Skeleton {
    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.codes.len() * 4
            + self.templates.iter().map(|t| 64 + t.holes.len() * 48).sum::<usize>()
            + self.made_of.len() * 640
    }
}

/// The bytes and the pairs of bytes that folded values have.
#[derive(Clone, Debug)]
struct MadeOf {
    bytes: [u64; 4],
    /// By a hash of both; `None` for all pairs of these bytes.
    pairs: Option<Box<[u64; 64]>>,
}

impl MadeOf {
    fn all_pairs_of(bytes: &[u8]) -> Self {
        let mut made_of = MadeOf { bytes: [0; 4], pairs: None };
        bytes.iter().for_each(|b| made_of.bytes[usize::from(b >> 6)] |= 1 << (b & 63));
        made_of
    }
    fn texts() -> Self {
        MadeOf { bytes: [0; 4], pairs: Some(Box::new([0; 64])) }
    }
    fn place(a: u8, b: u8) -> (usize, u64) {
        let hash = (usize::from(a) * 61 + usize::from(b)) & 4095;
        (hash / 64, 1 << (hash % 64))
    }
    fn add(&mut self, folded: &[u8]) {
        folded.iter().for_each(|b| self.bytes[usize::from(b >> 6)] |= 1 << (b & 63));
        if let Some(pairs) = &mut self.pairs {
            for pair in folded.windows(2) {
                let (word, bit) = Self::place(pair[0], pair[1]);
                pairs[word] |= bit;
            }
        }
    }
    /// Takes in what another one has.
    fn join(&mut self, other: &MadeOf) {
        self.bytes.iter_mut().zip(other.bytes).for_each(|(a, b)| *a |= b);
        match (&mut self.pairs, &other.pairs) {
            (Some(own), Some(others)) => own.iter_mut().zip(others.iter()).for_each(|(a, b)| *a |= b),
            _ => self.pairs = None,
        }
    }
    fn has(&self, b: u8) -> bool {
        self.bytes[usize::from(b >> 6)] >> (b & 63) & 1 == 1
    }
    fn has_pair(&self, a: u8, b: u8) -> bool {
        let (word, bit) = Self::place(a, b);
        self.has(b) && self.pairs.as_ref().is_none_or(|pairs| pairs[word] & bit != 0)
    }
    fn has_all(&self, folded: &[u8]) -> bool {
        folded.iter().all(|b| self.has(*b)) && folded.windows(2).all(|pair| self.has_pair(pair[0], pair[1]))
    }

    /// What the form of an encoding alone tells.
    fn of_form(encoding: &Encoding) -> Option<Self> {
        Some(match encoding {
            Encoding::Integer(_) => Self::all_pairs_of(b"0123456789-"),
            Encoding::Decimal { .. } => Self::all_pairs_of(b"0123456789-."),
            Encoding::Fixed { form: FixedForm::Ipv4, .. } => Self::all_pairs_of(b"0123456789."),
            Encoding::Fixed { form: FixedForm::Uuid, .. } => Self::all_pairs_of(b"0123456789abcdef-"),
            Encoding::Fixed { form: FixedForm::Hex { prefix, .. }, .. } => {
                let mut bytes = fold(std::str::from_utf8(prefix).ok()?).into_bytes();
                bytes.extend_from_slice(b"0123456789abcdef");
                Self::all_pairs_of(&bytes)
            }
            _ => return None,
        })
    }

    fn of_data(data: &Data) -> Self {
        let mut made_of = Self::texts();
        each_text(data, &mut |folded| {
            made_of.add(folded.as_bytes());
            false
        });
        made_of
    }
}

/// Calls with all distinct texts folded, one by one or many at once, until one call answers true; whether one did.
fn each_text(data: &Data, holds: &mut dyn FnMut(&str) -> bool) -> bool {
    match data {
        Data::Dictionary { entries, .. } => each_text(entries, holds),
        // What is found across two of them is one answer too many, and what is taken for a pair of theirs as well.
        Data::Plain(texts) => match std::str::from_utf8(&texts.bytes) {
            Ok(all) => holds(&fold(all)),
            // Such a value has no text, but nobody has to know it here.
            Err(_) => true,
        },
        data => {
            let (mut buffer, mut folded) = (Vec::new(), String::new());
            let len = if matches!(data, Data::Constant { .. }) { data.len().min(1) } else { data.len() };
            (0..len).any(|i| {
                folded.clear();
                fold_into(std::str::from_utf8(data.text(i, &mut buffer)).unwrap_or_default(), &mut folded);
                holds(&folded)
            })
        }
    }
}

fn contains(data: &Data, folded: &str) -> bool {
    let finder = memchr::memmem::Finder::new(folded.as_bytes());
    each_text(data, &mut |text| finder.find(text.as_bytes()).is_some())
}

/// May a text stand across the border of a hole? `made_of` tells of the fill of each hole.
fn across(template: &Template, folded: &[u8], made_of: &[&MadeOf]) -> bool {
    // What comes one after the other: bytes of literals, and holes by their number.
    let mut items: Vec<Result<u8, usize>> = Vec::new();
    for (i, literal) in template.literals.iter().enumerate() {
        items.extend(literal.iter().map(|b| Ok(*b)));
        if i < template.holes.len() {
            items.push(Err(i));
        }
    }
    // Where the next byte may be taken from: from the beginning of an item, from a hole that was entered by a border,
    // from a hole that the text begins in.
    let (mut before, mut entered, mut within): (Vec<usize>, Vec<usize>, Vec<usize>) = Default::default();
    let (mut next_before, mut next_entered): (Vec<usize>, Vec<usize>) = Default::default();
    for (i, &b) in folded.iter().enumerate() {
        next_before.clear();
        next_entered.clear();
        let mut step = |mut item: usize| {
            // A hole may be filled with nothing.
            while let Some(kind) = items.get(item) {
                match kind {
                    Ok(literal) => {
                        if *literal == b {
                            next_before.push(item + 1);
                        }
                        return;
                    }
                    Err(hole) => {
                        if made_of[*hole].has(b) {
                            next_entered.push(item);
                        }
                        item += 1;
                    }
                }
            }
        };
        let hole = |item: usize| match items[item] {
            Err(hole) => made_of[hole],
            Ok(_) => made_of[0],
        };
        if i == 0 {
            (0..items.len()).filter(|&item| items[item].is_ok()).for_each(&mut step);
            within = (0..items.len()).filter(|&item| items[item].is_err() && hole(item).has(b)).collect();
        } else {
            let a = folded[i - 1];
            before.iter().for_each(|&item| step(item));
            entered.iter().chain(&within).for_each(|&item| step(item + 1));
            next_entered.extend(entered.iter().filter(|&&item| hole(item).has_pair(a, b)));
            within.retain(|&item| hole(item).has_pair(a, b));
        }
        for next in [&mut next_before, &mut next_entered] {
            next.sort_unstable();
            next.dedup();
        }
        std::mem::swap(&mut before, &mut next_before);
        std::mem::swap(&mut entered, &mut next_entered);
        if before.is_empty() && entered.is_empty() && within.is_empty() {
            return false;
        }
    }
    !before.is_empty() || !entered.is_empty()
}

impl SegmentBlock {
    /// The rows whose values of a column may hold a folded text; `None` where that is not known, or where it is many of
    /// them.
    pub(super) fn rows_of_templates(&self, at: usize, folded: &str) -> Result<Option<Vec<u32>>, StorageError> {
        let chunk = &self.header().columns[at].chunk;
        // Of an array, a text may stand in an element, unescaped.
        let is_textual = matches!(chunk.tags, ChunkTags::One(Tag::String | Tag::Number));
        if chunk.encoding.template().is_none() || !is_textual || folded.is_empty() || self.has_cached(at as u32) {
            return Ok(None);
        }
        let skeleton = self.skeleton(at)?;
        let finder = memchr::memmem::Finder::new(folded);
        let mut may = vec![false; skeleton.templates.len()];
        for (template, may) in skeleton.templates.iter().zip(&mut may) {
            *may = template.literals.iter().any(|literal| finder.find(literal).is_some())
                || self.holes_may_hold(at, &skeleton, template, folded)?;
        }
        let passing = |code: &u32| may.get(*code as usize).copied().unwrap_or(true);
        if skeleton.codes.iter().filter(|code| passing(code)).count() * ROWS_SHARE > skeleton.codes.len() {
            return Ok(None);
        }
        let presence = self.presence(at, chunk.rows)?;
        let places = (0..skeleton.codes.len()).filter(|&place| passing(&skeleton.codes[place]));
        Ok(Some(places.map(|place| presence.row(place)).collect()))
    }

    /// May a text stand in what fills a template's holes, or across their borders?
    fn holes_may_hold(
        &self,
        at: usize,
        skeleton: &Skeleton,
        template: &Template,
        folded: &str,
    ) -> Result<bool, StorageError> {
        let text = folded.as_bytes();
        let mut made_of = Vec::with_capacity(template.holes.len());
        for &fill in &template.holes {
            let fill = fill as usize;
            if skeleton.made_of[fill].get().is_none() {
                let found = self.fill_made_of(at, fill)?;
                let _ = skeleton.made_of[fill].set(found);
            }
            let Some(fill_made_of) = skeleton.made_of[fill].get() else { return Ok(true) };
            if fill_made_of.has_all(text) && self.fill_may_hold(at, fill, folded)? {
                return Ok(true);
            }
            made_of.push(fill_made_of);
        }
        Ok(across(template, text, &made_of))
    }

    /// The templates of a column, their literals folded.
    fn skeleton(&self, at: usize) -> Result<Arc<Skeleton>, StorageError> {
        let load = || {
            let chunk = &self.header().columns[at].chunk;
            let Some(template) = chunk.encoding.template() else {
                return Err(self.damage("block header", "templates", chunk.encoding.name()));
            };
            let (mut templates, codes) = self.pages().skeleton(template)?;
            for literal in templates.iter_mut().flat_map(|t| &mut t.literals) {
                *literal = fold(std::str::from_utf8(literal).unwrap_or_default()).into_bytes().into();
            }
            let made_of = template.fills.iter().map(|_| OnceLock::new()).collect();
            Ok(Loaded::Skeleton(Arc::new(Skeleton { templates, codes, made_of })))
        };
        match self.cached(PART_SKELETON + at as u32, load)? {
            Loaded::Skeleton(skeleton) => Ok(skeleton),
            _ => Err(self.damage("cache", "templates", "another part")),
        }
    }

    fn fill(&self, at: usize, fill: usize) -> Result<&FillChunk, StorageError> {
        let template = self.header().columns[at].chunk.encoding.template();
        let fill = template.and_then(|template| template.fills.get(fill));
        fill.ok_or_else(|| self.damage("block header", "a fill", "none"))
    }

    fn fill_made_of(&self, at: usize, fill: usize) -> Result<MadeOf, StorageError> {
        match self.fill(at, fill)? {
            FillChunk::Column(column) => self.column_made_of(*column as usize),
            FillChunk::Values { count, encoding } => match MadeOf::of_form(encoding) {
                Some(made_of) => Ok(made_of),
                None => Ok(MadeOf::of_data(&self.pages().entries_of(encoding, *count)?)),
            },
        }
    }

    fn column_made_of(&self, at: usize) -> Result<MadeOf, StorageError> {
        let chunk = &self.header().columns[at].chunk;
        if let Some(made_of) = MadeOf::of_form(&chunk.encoding) {
            return Ok(made_of);
        }
        let Some(template) = chunk.encoding.template() else {
            return Ok(MadeOf::of_data(&self.distinct(at)?.data));
        };
        let skeleton = self.skeleton(at)?;
        let mut made_of = MadeOf::texts();
        skeleton.templates.iter().flat_map(|t| &t.literals).for_each(|literal| made_of.add(literal));
        let mut ends = MadeOf::all_pairs_of(&[]);
        for fill in 0..template.fills.len() {
            let fill = self.fill_made_of(at, fill)?;
            made_of.join(&fill);
            ends.join(&fill);
        }
        // Across borders any byte of a fill may stand beside one of a literal or of another fill.
        let borders: Vec<u8> = skeleton
            .templates
            .iter()
            .flat_map(|t| &t.literals)
            .flat_map(|l| [l.first(), l.last()])
            .flatten()
            .copied()
            .collect();
        if let Some(pairs) = &mut made_of.pairs {
            for other in borders.iter().copied() {
                for byte in (0..=255u8).filter(|b| ends.has(*b) || borders.contains(b)) {
                    for (a, b) in [(byte, other), (other, byte)] {
                        let (word, bit) = MadeOf::place(a, b);
                        pairs[word] |= bit;
                    }
                }
            }
        }
        Ok(made_of)
    }

    fn fill_may_hold(&self, at: usize, fill: usize, folded: &str) -> Result<bool, StorageError> {
        match self.fill(at, fill)? {
            FillChunk::Values { count, encoding } => match MadeOf::of_form(encoding) {
                Some(_) => Ok(true),
                None => Ok(contains(&self.pages().entries_of(encoding, *count)?, folded)),
            },
            FillChunk::Column(column) => {
                let column = *column as usize;
                let chunk = &self.header().columns[column].chunk;
                if chunk.encoding.template().is_some() {
                    return Ok(self.rows_of_templates(column, folded)?.is_none_or(|rows| !rows.is_empty()));
                }
                let textual = matches!(chunk.tags, ChunkTags::One(Tag::String | Tag::Number));
                if (textual && !may_hold(chunk, folded)) || MadeOf::of_form(&chunk.encoding).is_some() {
                    return Ok(may_hold(chunk, folded));
                }
                Ok(contains(&self.distinct(column)?.data, folded))
            }
        }
    }

    /// The distinct values of a column, or all of them.
    fn distinct(&self, at: usize) -> Result<Arc<Column>, StorageError> {
        use crate::record::Block;
        let name = &self.header().columns[at].name;
        match self.entries(name)? {
            Some(entries) => Ok(entries),
            None => self.column_of(at),
        }
    }
}
