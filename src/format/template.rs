//! Templates: texts with holes, and what fills the holes of each value.
//!
//! A templated chunk has a page of templates, a template code a value, and *fills*: a fill is either a list of values
//! of its own, from which each hole that names it takes the next one, in order of rows and of holes, or another column
//! of the same block, whose value in the same row it takes. Putting a text together is copying, so that what comes out
//! is what was taken apart, whoever decided where the holes are.
//!
//! A column that is referred to is of a lower rank than the one that refers, so that no reference leads back.

use super::chunk::{Encoding, PAGE_BYTES_MAX, Page, decode_codes, decode_data, value_pages};
use super::{DecodeError, Reader, put_bytes, put_varint};
use crate::error::StorageError;
use crate::record::{Column, Data, Skeleton, Tag, Tags, Texts};

pub use crate::record::Template;
use std::sync::Arc;

/// Greatest rank: each step is a column that is decoded for another one.
pub const RANK_MAX: u8 = 7;
/// Most bytes that the texts of a column may come to when they are put together. What they are made of is small, so
/// that nothing else bounds them; a writer takes no column apart that is larger.
pub const REBUILT_BYTES_MAX: usize = PAGE_BYTES_MAX;

/// Values that more templates take than this are counted one by one.
const TAKERS_MAX: usize = 4;

/// A templated chunk. See the head of the module.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateChunk {
    /// 0 where no fill is a column, else more than the ranks of these.
    pub rank: u8,
    /// The templates: a page of as many rows.
    pub templates: Page,
    /// Pages of integers: the template of each value.
    pub codes: Vec<Page>,
    /// What holes are filled with.
    pub fills: Vec<FillChunk>,
}

/// Where a hole's texts come from. The numbers are those on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum FillChunk {
    /// 0: the column with this number, in the same row.
    Column(u32),
    /// 1: values of its own.
    Values {
        /// How many.
        count: u32,
        /// How they are encoded: anything but templates.
        encoding: Encoding,
    },
}

/// A column taken apart.
#[derive(Clone, Debug)]
pub struct Templated {
    /// See [`TemplateChunk::rank`].
    pub rank: u8,
    /// The templates.
    pub templates: Vec<Template>,
    /// The template of each value.
    pub codes: Vec<i64>,
    /// What holes are filled with.
    pub fills: Vec<FillData>,
}

/// What a hole is filled with.
#[derive(Clone, Debug)]
pub enum FillData {
    /// The column with this number.
    Column(u32),
    /// These, one after the other.
    Values(Data),
}

/// Appends the raw bytes of a page of templates.
pub fn put_templates(templates: &[Template], out: &mut Vec<u8>) {
    for template in templates {
        put_varint(out, template.holes.len() as u64);
        for (literal, hole) in template.literals.iter().zip(&template.holes) {
            put_bytes(out, literal);
            put_varint(out, (*hole).into());
        }
        put_bytes(out, template.literals.last().map_or(&[][..], |l| l));
    }
}

/// Reads a page of templates; each hole names one of `fills` fills.
pub fn read_templates(page: &Page, raw: &[u8], fills: usize) -> Result<Vec<Template>, DecodeError> {
    let mut r = Reader::new(raw, "templates");
    let mut templates = Vec::with_capacity((page.rows as usize).min(raw.len() / 2));
    for _ in 0..page.rows {
        let holes = r.count(2)?;
        let mut template = Template::default();
        for _ in 0..holes {
            template.literals.push(r.text()?.as_bytes().into());
            let fill = r.varint()?;
            if fill >= fills as u64 {
                return Err(r.error(format!("a fill below {fills}"), fill));
            }
            template.holes.push(fill as u32);
        }
        template.literals.push(r.text()?.as_bytes().into());
        templates.push(template);
    }
    r.end()?;
    Ok(templates)
}

/// How decoding gets at pages and at other columns.
pub struct Sources<'a> {
    /// A page's raw bytes, checked.
    pub read: &'a mut dyn FnMut(&Page) -> Result<Vec<u8>, StorageError>,
    /// Puts a place to an error.
    pub fail: &'a dyn Fn(&Page, DecodeError) -> StorageError,
    /// A column of the block, and for each value of the own column the place of its row's value, [`NO_PLACE`] for none.
    pub refer: &'a mut Refer<'a>,
}

/// See [`Sources::refer`].
pub type Refer<'a> = dyn FnMut(u32) -> Result<(Arc<Column>, Vec<u32>), StorageError> + 'a;

/// The row has no value there.
pub const NO_PLACE: u32 = u32::MAX;

/// For each of these rows (ascending, but for any [`NO_PLACE`]) its place in another list of rows (ascending).
pub fn places_of(rows: impl Iterator<Item = u32>, others: &[u32]) -> Vec<u32> {
    let mut at = 0;
    rows.map(|row| {
        if row == NO_PLACE {
            return NO_PLACE;
        }
        while others.get(at).is_some_and(|&other| other < row) {
            at += 1;
        }
        if others.get(at) == Some(&row) { at as u32 } else { NO_PLACE }
    })
    .collect()
}

/// What a hole is filled with, ready to be copied.
#[derive(Debug)]
pub struct Filling {
    column: Arc<Column>,
    /// Of a column: the place for each text. Of values: the place of each next one, where not all are taken.
    places: Option<Vec<u32>>,
    by_row: bool,
    next: usize,
}

impl Filling {
    /// For each text the value of a column at one of these places.
    pub fn by_row(column: Arc<Column>, places: Vec<u32>) -> Self {
        Filling { column, places: Some(places), by_row: true, next: 0 }
    }

    /// One value after the other: those at these places, or all.
    pub fn in_turn(column: Arc<Column>, places: Option<Vec<u32>>) -> Self {
        Filling { column, places, by_row: false, next: 0 }
    }

    /// Appends the text for a row; false where there is none.
    #[inline]
    fn put(&mut self, row: usize, out: &mut Vec<u8>) -> bool {
        let at = if self.by_row {
            row
        } else {
            self.next += 1;
            self.next - 1
        };
        let place = match &self.places {
            None => at,
            Some(places) => places.get(at).map_or(usize::MAX, |&place| place as usize),
        };
        place < self.column.len() && {
            self.column.data.append_text(place, out);
            true
        }
    }
}

/// The templates of a chunk, and which one each value has: checked to be one of these, and to take all values that the
/// fills have of their own.
pub fn decode_skeleton(
    chunk: &TemplateChunk,
    read: &mut dyn FnMut(&Page) -> Result<Vec<u8>, StorageError>,
    fail: &dyn Fn(&Page, DecodeError) -> StorageError,
) -> Result<Skeleton, StorageError> {
    let page = &chunk.templates;
    let templates = read_templates(page, &read(page)?, chunk.fills.len()).map_err(|e| fail(page, e))?;
    let codes = decode_codes(&chunk.codes, templates.len() as u32, read, fail)?;
    let skeleton = Skeleton::new(templates, codes);
    let mut taken: Vec<u64> = vec![0; chunk.fills.len()];
    for (template, &count) in skeleton.templates.iter().zip(&skeleton.counts) {
        template.holes.iter().for_each(|&fill| taken[fill as usize] += u64::from(count));
    }
    for (fill, &taken) in chunk.fills.iter().zip(&taken) {
        if let FillChunk::Values { count, .. } = fill
            && taken != u64::from(*count)
        {
            return Err(fail(page, DecodeError::new("templates", 0, format!("{count} values of a fill"), taken)));
        }
    }
    Ok(skeleton)
}

/// All texts of a templated chunk.
pub fn decode_template(chunk: &TemplateChunk, sources: &mut Sources<'_>) -> Result<Texts, StorageError> {
    let Sources { read, fail, refer } = sources;
    let skeleton = decode_skeleton(chunk, *read, *fail)?;
    let mut fillings = Vec::with_capacity(chunk.fills.len());
    for fill in &chunk.fills {
        fillings.push(match fill {
            FillChunk::Column(number) => {
                let (column, places) = refer(*number)?;
                Some(Filling::by_row(column, places))
            }
            FillChunk::Values { count, encoding } => {
                let data = decode_data(encoding, *count, value_pages(encoding), *read, *fail)?;
                Some(Filling::in_turn(Arc::new(Column { tags: Tags::One(Tag::String), data }), None))
            }
        });
    }
    put_together(&skeleton, skeleton.codes.iter(), &mut fillings).map_err(|e| fail(&chunk.templates, e))
}

/// Of each fill, the numbers of the values that the texts at these places (ascending) take, `None` where they take
/// none; of a column the list is empty.
pub fn values_taken(skeleton: &Skeleton, places: &[u32], fills: &[FillChunk]) -> Vec<Option<Vec<u32>>> {
    let mut is_needed = vec![false; fills.len()];
    let mut is_wanted = vec![false; skeleton.templates.len()];
    places
        .iter()
        .filter_map(|&place| skeleton.codes.get(place as usize))
        .for_each(|code| is_wanted[code as usize] = true);
    let wanted = skeleton.templates.iter().zip(&is_wanted).filter(|(_, wanted)| **wanted);
    wanted.flat_map(|(template, _)| &template.holes).for_each(|&fill| is_needed[fill as usize] = true);
    let values = |fill: usize| {
        // How many values a text of each template takes.
        let of_template = |t: &Template| t.holes.iter().filter(|hole| **hole as usize == fill).count() as u32;
        let taking: Vec<u32> = skeleton.templates.iter().map(of_template).collect();
        let takers: Vec<(u32, u32)> = (0..).zip(&taking).filter(|(_, n)| **n > 0).map(|(t, n)| (t, *n)).collect();
        let (mut from, mut taken, mut values) = (0, 0u32, Vec::new());
        for &place in places {
            let Some(code) = skeleton.codes.get(place as usize) else { break };
            let before = from..place as usize;
            taken += match takers.len() {
                0..=TAKERS_MAX => takers.iter().map(|&(t, n)| skeleton.codes.count_of(t, before.clone()) * n).sum(),
                _ => before.map(|place| taking[skeleton.codes.at(place) as usize]).sum::<u32>(),
            };
            values.extend(taken..taken + taking[code as usize]);
            from = place as usize;
        }
        values
    };
    let taken = (0..).zip(fills).zip(is_needed).map(|((number, fill), is_needed)| match fill {
        FillChunk::Column(_) => is_needed.then(Vec::new),
        FillChunk::Values { .. } => is_needed.then(|| values(number)),
    });
    taken.collect()
}

/// Texts of these templates, one for each code. The fillings are as many as the fills; one that no text takes may be
/// missing.
pub fn put_together(
    skeleton: &Skeleton,
    codes: impl ExactSizeIterator<Item = u32>,
    fillings: &mut [Option<Filling>],
) -> Result<Texts, DecodeError> {
    let mut texts = Texts::default();
    texts.ends.reserve_exact(codes.len());
    let too_long =
        |len: usize| DecodeError::new("templates", 0, format!("texts of at most {REBUILT_BYTES_MAX} bytes"), len);
    for (row, code) in codes.enumerate() {
        let template = &skeleton.templates[code as usize];
        let mut literals = template.literals.iter();
        for (&hole, literal) in template.holes.iter().zip(&mut literals) {
            texts.bytes.extend_from_slice(literal);
            if !fillings[hole as usize].as_mut().is_some_and(|filling| filling.put(row, &mut texts.bytes)) {
                return Err(DecodeError::new("templates", 0, "a value for each hole", "none"));
            }
            if texts.bytes.len() > REBUILT_BYTES_MAX {
                return Err(too_long(texts.bytes.len()));
            }
        }
        literals.for_each(|literal| texts.bytes.extend_from_slice(literal));
        texts.ends.push(texts.bytes.len().min(u32::MAX as usize) as u32);
        if texts.bytes.len() > REBUILT_BYTES_MAX {
            return Err(too_long(texts.bytes.len()));
        }
    }
    Ok(texts)
}

/// The pages that hold the values at these places (ascending), as their values, and which these are.
pub fn decode_some(
    encoding: &Encoding,
    rows: u32,
    places: &[u32],
    read: &mut dyn FnMut(&Page) -> Result<Vec<u8>, StorageError>,
    fail: &dyn Fn(&Page, DecodeError) -> StorageError,
) -> Result<(Data, Vec<u32>), StorageError> {
    let all = value_pages(encoding);
    if all.len() < 2 {
        return Ok((decode_data(encoding, rows, all, read, fail)?, (0..rows).collect()));
    }
    let (mut pages, mut held) = (Vec::new(), Vec::new());
    let mut first = 0u32;
    for page in all {
        let end = first + page.rows;
        let next = places.partition_point(|&p| p < first);
        if places.get(next).is_some_and(|&p| p < end) {
            pages.push(*page);
            held.extend(first..end);
        }
        first = end;
    }
    Ok((decode_data(encoding, held.len() as u32, &pages, read, fail)?, held))
}
