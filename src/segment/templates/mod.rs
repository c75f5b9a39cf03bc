//! Takes the texts of columns apart while a block is built: templates, and what fills their holes.
//!
//! What is learnt of a column is kept from block to block of a segment, by the field's name: whether templates pay, and
//! which patterns its texts have. A text that no pattern fits is a template with one hole that takes all of it. Nothing
//! here decides what comes back: holes are cut out of the very text, and a field is referred to where its bytes are equal.

mod cut;
mod fill;
mod learn;
mod pattern;
mod pieces;
mod sample;

use super::build::Pieces;
use crate::format::chunk::PageWriter;
use crate::format::payload::Payload;
use crate::format::rows::RowRef;
use crate::format::template::{FillData, RANK_MAX, REBUILT_BYTES_MAX, Template, Templated};
use crate::id::Seq;
use crate::record::{Column, Data, Tag, Tags, Texts};
use fill::Fills;
use learn::learn;
use pattern::{Fields, Hole, Kind, Pattern};
use pieces::{Unit, cut};
use rustc_hash::{FxHashMap, FxHashSet};
use sample::{Sampled, read, worth_a_look};
use std::sync::Arc;

/// Rows of a block that are looked at to learn from at most, spread over it.
const SAMPLE_ROWS: usize = 1024;
/// One row in so many of a small block, of which learning would take most of the time: a quarter of 2,000 rows takes 8 %
/// fewer instructions of all of ingest than half of them, and leaves the segment 1 % larger.
const SAMPLE_SHARE: usize = 4;
/// But not fewer than this.
const SAMPLE_ROWS_MIN: usize = 512;
/// Blocks that a field is looked for in: one that is so rare is not worth it.
const LOOKS_MAX: u8 = 2;
/// Texts that no pattern fitted from which more is learnt after a block.
const MORE_ROWS: usize = 1024;
/// Blocks of a segment after which more is learnt.
const MORE_BLOCKS: u32 = 4;
/// A column is looked at where at least so many of its texts differ, in percent: others have a dictionary.
const DISTINCT_PERCENT_MIN: usize = 30;
/// Shorter texts have no parts.
const TEXT_BYTES_MIN: usize = 6;
/// Templates are made where they take at most so much of what plain texts take, in percent, in the sample.
const GAIN_PERCENT_MAX: usize = 85;
/// A block's column with more texts that nothing fits than this, in percent, stays plain.
const UNFIT_PERCENT_MAX: usize = 50;
/// Values of the sample without which a column is not judged.
const VALUES_MIN: usize = 32;
/// A pattern of at least so many rows of a block has fills of its own; others share them, by kind.
const OWN_FILL_ROWS: u32 = 128;
/// Patterns that are tried on a text at most.
const TRIALS_MAX: usize = 48;
/// Patterns that begin alike and differ far behind cost more than they save: a column is left as it is where those that
/// did not fit a text were tried for more holes than this, on average.
const HOLES_TRIED_MAX: u64 = 10;

/// What is known of the fields of a segment that is being written.
#[derive(Default)]
pub(super) struct Learned {
    numbers: FxHashMap<Box<str>, u32>,
    /// How often each field was looked for.
    looks: Vec<u8>,
    columns: FxHashMap<u32, Known>,
}

/// What is known of one field.
#[derive(Default)]
struct Known {
    /// Do templates pay?
    pays: bool,
    patterns: Vec<Pattern>,
    /// Has the pattern fills of its own?
    own: Vec<bool>,
    /// Its units, those that are not bare, and what is left of its literals.
    units: Vec<Vec<Unit>>,
    rest: Vec<Vec<std::ops::Range<usize>>>,
    /// Is a hole a unit of its own?
    bare: Vec<Vec<bool>>,
    /// Patterns by the first eight bytes of their first literal, those with at least four, and others.
    by_eight: FxHashMap<[u8; 8], Vec<u32>>,
    by_four: FxHashMap<[u8; 4], Vec<u32>>,
    others: Vec<u32>,
    /// Fields that a pattern refers to.
    refers: FxHashSet<u32>,
    learnt: u32,
}

impl Known {
    fn add(&mut self, pattern: Pattern, own: bool) {
        if self.patterns.contains(&pattern) {
            return;
        }
        let number = self.patterns.len() as u32;
        let first = &*pattern.literals[0];
        match (first.first_chunk::<8>(), first.first_chunk::<4>()) {
            (Some(eight), _) => self.by_eight.entry(*eight).or_default().push(number),
            (_, Some(four)) => self.by_four.entry(*four).or_default().push(number),
            _ => self.others.push(number),
        }
        self.refers.extend(pattern.holes.iter().filter_map(|kind| match kind {
            Kind::Field(field) => Some(*field),
            _ => None,
        }));
        let (mut units, rest) = cut(&pattern);
        let mut bare = vec![false; pattern.holes.len()];
        units.iter().filter(|unit| unit.is_bare()).for_each(|unit| bare[unit.holes.start as usize] = true);
        units.retain(|unit| !unit.is_bare());
        self.units.push(units);
        self.rest.push(rest);
        self.bare.push(bare);
        self.patterns.push(pattern);
        self.own.push(own);
    }

    /// The first pattern that fits a text.
    fn find(&self, text: &[u8], fields: &dyn Fields, holes: &mut Vec<Hole>, tried: &mut u64) -> Option<u32> {
        let mut left = TRIALS_MAX;
        let mut first = |numbers: &[u32]| {
            let numbers = &numbers[..numbers.len().min(left)];
            left -= numbers.len();
            numbers.iter().copied().find(|&number| {
                let pattern = &self.patterns[number as usize];
                if !pattern.may_fit(text) {
                    return false;
                }
                let fits = pattern.fit(text, fields, holes);
                if !fits {
                    *tried += holes.len() as u64;
                }
                fits
            })
        };
        let eight = || text.first_chunk::<8>().and_then(|key| self.by_eight.get(key));
        let four = || text.first_chunk::<4>().and_then(|key| self.by_four.get(key));
        let found = eight().and_then(|numbers| first(numbers));
        let found = found.or_else(|| four().and_then(|numbers| first(numbers)));
        found.or_else(|| first(&self.others))
    }
}

/// The values of the row at hand, by the columns of the block.
pub(super) struct RowTexts<'a> {
    texts: Vec<&'a [u8]>,
    rows: Vec<u32>,
    row: u32,
}

impl<'a> RowTexts<'a> {
    pub fn new(columns: usize) -> Self {
        RowTexts { texts: vec![&[]; columns], rows: vec![u32::MAX; columns], row: 0 }
    }
    /// The next row begins.
    pub fn begin(&mut self, row: u32) {
        self.row = row;
    }
    #[inline]
    pub fn put(&mut self, column: u32, text: &'a [u8]) {
        self.texts[column as usize] = text;
        self.rows[column as usize] = self.row;
    }
    #[inline]
    fn get(&self, column: u32) -> Option<&'a [u8]> {
        let there = self.rows.get(column as usize).is_some_and(|row| *row == self.row);
        there.then(|| self.texts[column as usize])
    }
}

/// A row of a block, by the numbers that fields have in the segment.
struct Numbered<'a, 'b> {
    texts: &'b RowTexts<'a>,
    columns: &'b [u32],
}

impl Fields for Numbered<'_, '_> {
    #[inline]
    fn text(&self, field: u32) -> Option<&[u8]> {
        self.texts.get(*self.columns.get(field as usize)?)
    }
}

/// The templates of a block that is being built.
pub(super) struct BlockTemplates {
    /// The block's column of each field of the segment; `u32::MAX` for none.
    columns: Vec<u32>,
    fitters: Vec<Fitter>,
    holes: Vec<Hole>,
}

/// A column taken apart, and what to look at of it for an index.
pub(super) struct Parts {
    pub templated: Templated,
    /// What is left of literals.
    literals: Texts,
    /// Is a fill in holes alone that are units of their own?
    bare: Vec<bool>,
    others: Texts,
}

impl Parts {
    /// Texts that have the words of all values, but of those that other columns have.
    pub fn pieces(&self) -> Pieces<'_> {
        let values = self.templated.fills.iter().zip(&self.bare).filter_map(|(fill, bare)| match fill {
            FillData::Values(data) if *bare => Some(data),
            _ => None,
        });
        Pieces { values: values.collect(), texts: [&self.literals, &self.others] }
    }
}

/// Takes one column apart.
struct Fitter {
    field: u32,
    column: u32,
    /// The pattern of each value, `patterns.len()` for none.
    codes: Vec<u32>,
    counts: Vec<u32>,
    fills: Fills,
    /// The texts of units that are not bare.
    others: Texts,
    /// Rows of the block that nothing fitted, the first of them.
    unfit: Vec<u32>,
    bytes: usize,
    /// Holes that patterns were tried for which did not fit.
    tried: u64,
}

impl Learned {
    /// Begins a block with these columns; learns of those that are not known.
    pub fn begin(&mut self, names: &[&str], rows: &[RowRef], batches: &[(Seq, Arc<Payload>)]) -> BlockTemplates {
        let mut columns = vec![u32::MAX; self.numbers.len()];
        for (column, name) in names.iter().enumerate() {
            let next = self.numbers.len() as u32;
            let number = match self.numbers.get(*name) {
                Some(number) => *number,
                None => *self.numbers.entry((*name).into()).or_insert(next),
            };
            if columns.len() <= number as usize {
                columns.resize(number as usize + 1, u32::MAX);
            }
            columns[number as usize] = column as u32;
        }
        self.looks.resize(columns.len(), 0);
        let mut look = false;
        for (field, (column, looks)) in (0..).zip(columns.iter().zip(&mut self.looks)) {
            if *column != u32::MAX && *looks < LOOKS_MAX && !self.columns.contains_key(&field) {
                *looks += 1;
                look = true;
            }
        }
        if look {
            let most = (rows.len() / SAMPLE_SHARE).clamp(SAMPLE_ROWS_MIN, SAMPLE_ROWS);
            let step = rows.len().div_ceil(most).max(1);
            let sample: Vec<u32> = (0..rows.len() as u32).step_by(step).collect();
            self.look(&read(&self.numbers, &sample, rows, batches));
        }
        let fitters = columns.iter().enumerate().filter(|(_, column)| **column != u32::MAX);
        let fitters = fitters.filter_map(|(field, &column)| {
            let known = self.columns.get(&(field as u32)).filter(|known| known.pays)?;
            Some(Fitter::new(field as u32, column, known))
        });
        let fitters = fitters.collect();
        BlockTemplates { columns, fitters, holes: Vec::new() }
    }

    /// Judges the fields of rows that nothing is known of, the one with the most text first.
    fn look(&mut self, sampled: &Sampled<'_>) {
        let mut fields: Vec<(usize, u32)> = Vec::new();
        for (field, places) in (0..).zip(&sampled.places) {
            if places.len() >= VALUES_MIN && !self.columns.contains_key(&field) {
                self.columns.insert(field, Known::default());
                let bytes = sampled.values(field).map(|(_, _, text)| text.len()).sum::<usize>();
                if bytes >= places.len() * TEXT_BYTES_MIN {
                    fields.push((bytes, field));
                }
            }
        }
        fields.sort_by(|a, b| b.cmp(a));
        for (_, field) in fields {
            if worth_a_look(sampled, field) {
                self.study(field, sampled);
            }
        }
    }

    /// Learns patterns of a field, and tries whether templates pay.
    fn study(&mut self, field: u32, sampled: &Sampled<'_>) {
        let may = self.may(field);
        let samples = sampled.samples(field, &may);
        let found = learn(&samples);
        let values = samples.len();
        let mut known = Known::default();
        for (pattern, count) in found {
            // As in a whole block.
            let rows = count * crate::format::block::BLOCK_ROWS_MAX / SAMPLE_ROWS;
            known.add(pattern, rows >= OWN_FILL_ROWS as usize);
        }
        let mut plain = Texts::default();
        let mut fitter = Fitter::new(field, 0, &known);
        let mut holes = Vec::new();
        for (row, sample) in samples.iter().enumerate() {
            plain.push(sample.text);
            fitter.add(&known, sample.text, sample, row as u32, &mut holes);
        }
        let column = Column { tags: Tags::One(Tag::String), data: Data::Plain(plain) };
        let Some(parts) = fitter.finish(&known, &|_| 0) else { return };
        let bytes = |write: &dyn Fn(&mut PageWriter)| {
            let mut pages = PageWriter::new(crate::format::compress::LEVEL_FAST);
            write(&mut pages);
            pages.out.len()
        };
        let with = bytes(&|pages| drop(pages.templated(&column, &parts.templated)));
        let without = bytes(&|pages| drop(pages.column(&column)));
        known.pays = values >= VALUES_MIN && with * 100 <= without * GAIN_PERCENT_MAX && !fitter.is_dear();
        if !known.pays {
            known.refers.clear();
        }
        self.columns.insert(field, known);
    }

    /// By the number of a field: may this one refer to it?
    fn may(&self, field: u32) -> Vec<bool> {
        (0..self.numbers.len() as u32).map(|other| !self.reaches(other, field)).collect()
    }

    /// Does a field refer to another one, by however many steps, or is it that?
    fn reaches(&self, from: u32, to: u32) -> bool {
        // References are learnt so that there is no circle.
        from == to
            || self.columns.get(&from).is_some_and(|known| known.refers.iter().any(|&next| self.reaches(next, to)))
    }

    /// Learns from what nothing fitted.
    fn learn_more(&mut self, fitters: Vec<Fitter>, rows: &[RowRef], batches: &[(Seq, Arc<Payload>)]) {
        for fitter in fitters {
            let Some(known) = self.columns.get_mut(&fitter.field) else { continue };
            if fitter.is_dear() {
                *known = Known::default();
                continue;
            }
            for (own, count) in known.own.iter_mut().zip(&fitter.counts) {
                *own |= *count >= OWN_FILL_ROWS;
            }
            let enough = fitter.unfit.len() * 64 > fitter.codes.len() && fitter.unfit.len() >= VALUES_MIN;
            if known.learnt >= MORE_BLOCKS || !enough {
                continue;
            }
            known.learnt += 1;
            let rows = read(&self.numbers, &fitter.unfit, rows, batches);
            let found = learn(&rows.samples(fitter.field, &self.may(fitter.field)));
            if let Some(known) = self.columns.get_mut(&fitter.field) {
                found.into_iter().for_each(|(pattern, count)| known.add(pattern, count >= OWN_FILL_ROWS as usize));
            }
        }
    }
}

impl Fitter {
    fn new(field: u32, column: u32, known: &Known) -> Self {
        Fitter {
            field,
            column,
            codes: Vec::new(),
            counts: vec![0; known.patterns.len() + 1],
            fills: Fills::new(&known.patterns, &known.own, &known.bare),
            others: Texts::default(),
            unfit: Vec::new(),
            bytes: 0,
            tried: 0,
        }
    }

    /// Do patterns fail too late?
    fn is_dear(&self) -> bool {
        self.tried > self.codes.len() as u64 * HOLES_TRIED_MAX
    }

    fn add(&mut self, known: &Known, text: &[u8], fields: &dyn Fields, row: u32, holes: &mut Vec<Hole>) {
        let none = known.patterns.len() as u32;
        let code = known.find(text, fields, holes, &mut self.tried).unwrap_or(none);
        if code == none {
            holes.clear();
            holes.push(Hole { start: 0, end: text.len() as u32, value: 0 });
            if self.unfit.len() < MORE_ROWS {
                self.unfit.push(row);
            }
        }
        self.bytes += text.len();
        self.counts[code as usize] += 1;
        self.codes.push(code);
        self.fills.put(code, text, holes);
        for unit in known.units.get(code as usize).into_iter().flatten() {
            let (first, last) = (holes[unit.holes.start as usize], holes[unit.holes.end as usize - 1]);
            self.others.push(&text[(first.start - unit.around.0) as usize..(last.end + unit.around.1) as usize]);
        }
    }

    /// The column in parts; `rank` says that of each field.
    fn finish(&mut self, known: &Known, rank: &dyn Fn(u32) -> u8) -> Option<Parts> {
        let none = known.patterns.len();
        let unfit = self.counts[none] as usize;
        if unfit * 100 > self.codes.len() * UNFIT_PERCENT_MAX || self.bytes > REBUILT_BYTES_MAX {
            return None;
        }
        let mut numbers = vec![u32::MAX; none + 1];
        let mut templates = Vec::new();
        let mut literals = Texts::default();
        let anything = Pattern::anything();
        let codes = self.codes.iter().map(|&code| {
            if numbers[code as usize] == u32::MAX {
                numbers[code as usize] = templates.len() as u32;
                let pattern = known.patterns.get(code as usize).unwrap_or(&anything);
                let holes = self.fills.of(code).to_vec();
                let rest = known.rest.get(code as usize).map_or(&[][..], |rest| rest);
                rest.iter().zip(&pattern.literals).for_each(|(range, literal)| literals.push(&literal[range.clone()]));
                templates.push(Template { literals: pattern.literals.clone(), holes });
            }
            numbers[code as usize].into()
        });
        let codes = codes.collect();
        let fields = self.fills.fields();
        let rank = match fields.iter().map(|&field| rank(field)).max() {
            None => 0,
            Some(rank) if rank < RANK_MAX => rank + 1,
            Some(_) => return None,
        };
        let (fills, bare) = self.fills.take()?;
        let others = std::mem::take(&mut self.others);
        Some(Parts { templated: Templated { rank, templates, codes, fills }, literals, bare, others })
    }
}

impl BlockTemplates {
    /// Takes the values of a row apart.
    #[inline]
    pub fn row(&mut self, learned: &Learned, texts: &RowTexts<'_>, row: u32) {
        for fitter in &mut self.fitters {
            let Some(text) = texts.get(fitter.column) else { continue };
            let Some(known) = learned.columns.get(&fitter.field) else { continue };
            let fields = Numbered { texts, columns: &self.columns };
            fitter.add(known, text, &fields, row, &mut self.holes);
        }
    }

    /// What became of each column: those that have templates, in parts.
    pub fn finish(
        mut self,
        learned: &mut Learned,
        columns: &[Column],
        rows: &[RowRef],
        batches: &[(Seq, Arc<Payload>)],
    ) -> Vec<Option<Parts>> {
        let mut parts: Vec<Option<Parts>> = columns.iter().map(|_| None).collect();
        let mut ranks: FxHashMap<u32, u8> = FxHashMap::default();
        // Those that refer to nothing first, then those that refer to these, and so on.
        let mut order: Vec<usize> = (0..self.fitters.len()).collect();
        order.sort_by_key(|&i| learned.depth(self.fitters[i].field));
        for i in order {
            let fitter = &mut self.fitters[i];
            let (Some(known), column) = (learned.columns.get(&fitter.field), fitter.column as usize) else { continue };
            // A dictionary is smaller, and a form that is kept as bytes.
            if !matches!(columns[column].data, Data::Plain(_)) {
                continue;
            }
            let rank = |field: u32| ranks.get(&field).copied().unwrap_or(0);
            parts[column] = fitter.finish(known, &rank);
            if let Some(Parts { templated, .. }) = &mut parts[column] {
                ranks.insert(fitter.field, templated.rank);
                templated.name_columns(&self.columns);
            }
        }
        learned.learn_more(self.fitters, rows, batches);
        parts
    }
}

impl Learned {
    /// Steps from a field to one that refers to nothing.
    fn depth(&self, field: u32) -> usize {
        let known = self.columns.get(&field);
        known.map_or(0, |known| known.refers.iter().map(|&next| 1 + self.depth(next)).max().unwrap_or(0))
    }
}
