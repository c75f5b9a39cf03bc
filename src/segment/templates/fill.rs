//! Collects what fills the holes of a column's templates.

use super::pattern::{Hole, Kind, Pattern};
use crate::format::template::{FillData, Templated};
use crate::record::{Data, FixedForm, Tag};
use crate::segment::ColumnBuilder;
use crate::segment::column::read_fixed;
use rustc_hash::FxHashMap;

const NONE: u32 = u32::MAX;

/// The fills of a column.
pub(super) struct Fills {
    fills: Vec<Fill>,
    /// Of each pattern, and of the one that takes anything, the fill of each hole.
    of: Vec<Vec<u32>>,
    kinds: Vec<Vec<Kind>>,
    own: Vec<bool>,
    bare: Vec<Vec<bool>>,
    shared: FxHashMap<(Kind, bool), u32>,
    /// Of each fill, are its holes units of their own?
    bare_fills: Vec<bool>,
    /// Set where a text was not what it had been taken for.
    wrong: bool,
}

enum Fill {
    Field(u32),
    /// Integers, or decimals of so many places.
    Numbers(Option<u8>, Vec<i64>),
    Addresses(Vec<u8>),
    Fixed(FixedForm, Vec<u8>),
    Texts(ColumnBuilder),
}

impl Fills {
    pub fn new(patterns: &[Pattern], own: &[bool], bare: &[Vec<bool>]) -> Self {
        let kinds: Vec<Vec<Kind>> = patterns.iter().map(|p| p.holes.clone()).chain([vec![Kind::Any]]).collect();
        Fills {
            fills: Vec::new(),
            of: kinds.iter().map(|kinds| vec![NONE; kinds.len()]).collect(),
            own: own.iter().copied().chain([true]).collect(),
            kinds,
            bare: bare.iter().cloned().chain([vec![true]]).collect(),
            shared: FxHashMap::default(),
            bare_fills: Vec::new(),
            wrong: false,
        }
    }

    /// Takes in what stands in the holes of a text of this pattern.
    #[inline]
    pub fn put(&mut self, pattern: u32, text: &[u8], holes: &[Hole]) {
        for (number, hole) in holes.iter().enumerate() {
            let mut fill = self.of[pattern as usize][number];
            if fill == NONE {
                fill = self.begin(pattern as usize, number);
            }
            match &mut self.fills[fill as usize] {
                Fill::Field(_) => {}
                Fill::Numbers(_, values) => values.push(hole.value),
                Fill::Addresses(bytes) => bytes.extend_from_slice(&(hole.value as u32).to_be_bytes()),
                Fill::Fixed(form, bytes) => {
                    self.wrong |= !read_fixed(form, &text[hole.start as usize..hole.end as usize], bytes);
                }
                Fill::Texts(texts) => texts.push_bytes(Tag::String, &text[hole.start as usize..hole.end as usize]),
            }
        }
    }

    /// The fill of a hole that is used for the first time.
    fn begin(&mut self, pattern: usize, hole: usize) -> u32 {
        let kind = self.kinds[pattern][hole];
        // Nothing is taken from a field.
        let bare = self.bare[pattern][hole] || matches!(kind, Kind::Field(_));
        let next = self.fills.len() as u32;
        let is_shared = matches!(kind, Kind::Field(_)) || !self.own[pattern];
        let number = if is_shared { *self.shared.entry((kind, bare)).or_insert(next) } else { next };
        if number == next {
            self.bare_fills.push(bare);
            self.fills.push(match kind {
                Kind::Field(field) => Fill::Field(field),
                Kind::Integer => Fill::Numbers(None, Vec::new()),
                Kind::Decimal(places) => Fill::Numbers(Some(places), Vec::new()),
                Kind::Hex(digits) => {
                    Fill::Fixed(FixedForm::Hex { prefix: Box::default(), width: digits / 2 }, Vec::new())
                }
                Kind::Uuid => Fill::Fixed(FixedForm::Uuid, Vec::new()),
                Kind::Ipv4 => Fill::Addresses(Vec::new()),
                Kind::Any => Fill::Texts(ColumnBuilder::default()),
            });
        }
        self.of[pattern][hole] = number;
        number
    }

    /// The fill of each hole of a pattern.
    pub fn of(&self, pattern: u32) -> &[u32] {
        &self.of[pattern as usize]
    }

    /// The fields among them.
    pub fn fields(&self) -> Vec<u32> {
        let fields = self.fills.iter().filter_map(|fill| match fill {
            Fill::Field(field) => Some(*field),
            _ => None,
        });
        fields.collect()
    }

    /// What was collected, and whether each fill is in holes alone that are units of their own; fields still have their
    /// numbers in the segment.
    pub fn take(&mut self) -> Option<(Vec<FillData>, Vec<bool>)> {
        if self.wrong {
            return None;
        }
        let fills = std::mem::take(&mut self.fills).into_iter().map(|fill| match fill {
            Fill::Field(field) => FillData::Column(field),
            Fill::Numbers(None, values) => FillData::Values(Data::Integer(values)),
            Fill::Numbers(Some(places), values) => FillData::Values(Data::Decimal { values, places }),
            Fill::Addresses(bytes) => FillData::Values(Data::Fixed { form: FixedForm::Ipv4, bytes }),
            Fill::Fixed(form, bytes) => FillData::Values(Data::Fixed { form, bytes }),
            Fill::Texts(texts) => FillData::Values(texts.finish().data),
        });
        Some((fills.collect(), std::mem::take(&mut self.bare_fills)))
    }
}

impl Templated {
    /// From the numbers of fields in the segment to those of columns in the block.
    pub(super) fn name_columns(&mut self, columns: &[u32]) {
        for fill in &mut self.fills {
            if let FillData::Column(number) = fill {
                *number = columns.get(*number as usize).copied().unwrap_or(NONE);
            }
        }
    }
}
