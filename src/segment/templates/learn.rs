//! Learns patterns from rows: texts that are cut alike make one, and words that alone tell many apart become holes.

use super::cut::{holes, words};
use super::pattern::{Fields, Kind, Pattern};
use crate::record::Tag;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;
use std::ops::Range;

/// Longer texts are not cut: stack traces and bodies, which zstd does well on.
const TEXT_BYTES_MAX: usize = 1024;
/// Texts with more holes than this are not cut either.
const HOLES_MAX: usize = 32;
/// Patterns of fewer rows are not worth their place.
const ROWS_MIN: usize = 2;
/// So many patterns are made at most, of the most frequent ones.
const PATTERNS_MAX: usize = 512;
/// A word that alone tells so many patterns apart is a variable.
const WORDS_MIN: usize = 5;
/// Rounds of looking for such words.
const ROUNDS: usize = 3;
/// With so many rows, what a hole has in common in all of them is taken for part of the text around it.
const COMMON_ROWS_MIN: usize = 6;

/// A row to learn from: the text, and the fields that it may refer to.
pub(super) struct Sample<'r, 'a> {
    pub text: &'a [u8],
    /// The row's fields, with types and texts.
    pub row: &'r [(u32, Tag, &'a [u8])],
    /// By the number of a field: may the text refer to it?
    pub may: &'r [bool],
}

impl<'a> Sample<'_, 'a> {
    fn fields(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let fields = self.row.iter().filter(|(field, tag, text)| {
            matches!(tag, Tag::String | Tag::Number)
                && !text.is_empty()
                && self.may.get(*field as usize).is_some_and(|may| *may)
        });
        fields.map(|(field, _, text)| (*field, *text))
    }
}

impl Fields for Sample<'_, '_> {
    fn text(&self, field: u32) -> Option<&[u8]> {
        self.fields().find(|(other, _)| *other == field).map(|(_, text)| text)
    }
}

/// Rows that are cut alike.
#[derive(Default)]
struct Group {
    literals: Vec<Box<[u8]>>,
    /// The rows, and where each one's holes are.
    rows: Vec<(u32, Box<[Range<usize>]>)>,
}

/// The patterns of texts, the most frequent first, and how many rows each one has.
pub(super) fn learn(samples: &[Sample<'_, '_>]) -> Vec<(Pattern, usize)> {
    let mut groups: FxHashMap<Vec<u8>, Group> = FxHashMap::default();
    let (mut found, mut scratch) = (Vec::new(), Vec::new());
    let mut key = Vec::new();
    for (row, sample) in samples.iter().enumerate() {
        if sample.text.is_empty() || sample.text.len() > TEXT_BYTES_MAX {
            continue;
        }
        holes(sample.text, sample.fields().map(|(_, text)| text), &mut found, &mut scratch);
        if found.len() > HOLES_MAX {
            continue;
        }
        put_key(literals_of(sample.text, &found), &mut key);
        if !groups.contains_key(&key) {
            let literals = literals_of(sample.text, &found).map(Box::from).collect();
            groups.insert(key.clone(), Group { literals, rows: Vec::new() });
        }
        if let Some(group) = groups.get_mut(&key) {
            group.rows.push((row as u32, found.as_slice().into()));
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| (b.rows.len(), &a.literals).cmp(&(a.rows.len(), &b.literals)));
    for _ in 0..ROUNDS {
        if !join(&mut groups, samples) {
            break;
        }
    }
    groups.retain(|group| group.rows.len() >= ROWS_MIN);
    groups.sort_by(|a, b| (b.rows.len(), &a.literals).cmp(&(a.rows.len(), &b.literals)));
    groups.truncate(PATTERNS_MAX);
    groups.iter().map(|group| (pattern(group, samples), group.rows.len())).collect()
}

/// What stands around holes.
fn literals_of<'a>(text: &'a [u8], holes: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> {
    let ends = holes.iter().map(|h| h.start).chain([text.len()]);
    let starts = [0].into_iter().chain(holes.iter().map(|h| h.end));
    starts.zip(ends).map(|(start, end)| &text[start..end])
}

/// Bytes that are equal where the literals are.
fn put_key<'a>(literals: impl Iterator<Item = &'a [u8]>, key: &mut Vec<u8>) {
    key.clear();
    for literal in literals {
        key.extend_from_slice(&(literal.len() as u32).to_le_bytes());
        key.extend_from_slice(literal);
    }
}

/// A word: its group, which of the group's literals it is in, and where in that.
type Place = (u32, u32, Range<u32>);

/// What groups have in common that a single word tells apart: how many literals, in which one the word was and where, and a
/// hash of all of them without it. Where two hashes are equal by chance a pattern is made that fits few texts.
type Family = (u32, u32, u32, u64);

/// A hash of the literal with this number, given in two parts. Those of all literals are added up.
fn literal_hash(number: usize, parts: [&[u8]; 2]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_usize(number);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// The places of words that alone tell at least [`WORDS_MIN`] groups apart, by family.
fn families(groups: &[Group]) -> Vec<Vec<Place>> {
    let mut numbers: FxHashMap<Family, u32> = FxHashMap::default();
    let mut sizes: Vec<u32> = Vec::new();
    let mut places: Vec<(u32, Place)> = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        if group.literals.len() > HOLES_MAX {
            continue;
        }
        let hashes = group.literals.iter().enumerate().map(|(i, literal)| literal_hash(i, [literal, &[]]));
        let all = hashes.fold(0, u64::wrapping_add);
        for (i, literal) in group.literals.iter().enumerate() {
            let others = all.wrapping_sub(literal_hash(i, [literal, &[]]));
            for word in words(literal) {
                // A hole may not touch another one.
                let touches = (word.start == 0 && i > 0)
                    || (word.end == literal.len() && i + 1 < group.literals.len())
                    || !literal[word.clone()].iter().any(u8::is_ascii_alphabetic);
                if touches {
                    continue;
                }
                let hash = others.wrapping_add(literal_hash(i, [&literal[..word.start], &literal[word.end..]]));
                let family = (group.literals.len() as u32, i as u32, word.start as u32, hash);
                let next = sizes.len() as u32;
                let family = *numbers.entry(family).or_insert(next);
                if family == next {
                    sizes.push(0);
                }
                sizes[family as usize] += 1;
                places.push((family, (number as u32, i as u32, word.start as u32..word.end as u32)));
            }
        }
    }
    let mut found: FxHashMap<u32, Vec<Place>> = FxHashMap::default();
    for (family, place) in places {
        if sizes[family as usize] as usize >= WORDS_MIN {
            found.entry(family).or_default().push(place);
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    let first = |family: &[Place]| (family[0].0, family[0].1, family[0].2.start);
    found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| first(a).cmp(&first(b))));
    found
}

/// Makes one of groups that a single word tells apart; whether there were any.
fn join(groups: &mut Vec<Group>, samples: &[Sample<'_, '_>]) -> bool {
    let families = families(groups);
    let mut joined = vec![false; groups.len()];
    let mut made: Vec<Group> = Vec::new();
    for family in families {
        let family: Vec<_> = family.into_iter().filter(|(group, ..)| !joined[*group as usize]).collect();
        if family.len() < WORDS_MIN {
            continue;
        }
        let mut one = Group::default();
        for (number, i, word) in family {
            joined[number as usize] = true;
            let group = std::mem::take(&mut groups[number as usize]);
            let i = i as usize;
            for (row, holes) in group.rows {
                let start = if i == 0 { 0 } else { holes[i - 1].end };
                let mut holes = holes.into_vec();
                holes.insert(i, start + word.start as usize..start + word.end as usize);
                one.rows.push((row, holes.into()));
            }
        }
        if let Some((row, holes)) = one.rows.first() {
            one.literals = literals_of(samples[*row as usize].text, holes).map(Box::from).collect();
        }
        made.push(one);
    }
    let any = !made.is_empty();
    groups.retain(|group| !group.rows.is_empty());
    groups.extend(made);
    any
}

/// What the holes of a group take.
fn pattern(group: &Group, samples: &[Sample<'_, '_>]) -> Pattern {
    let mut literals: Vec<Vec<u8>> = vec![group.literals[0].to_vec()];
    let mut kinds = Vec::new();
    for hole in 0..group.literals.len() - 1 {
        let following = &group.literals[hole + 1];
        let texts = group.rows.iter().map(|(row, holes)| &samples[*row as usize].text[holes[hole].clone()]);
        let last = literals.len() - 1;
        if let Some(field) = common_field(group, samples, hole) {
            kinds.push(Kind::Field(field));
            literals.push(following.to_vec());
            continue;
        }
        let first = texts.clone().next().unwrap_or_default();
        let enough = group.rows.len() >= COMMON_ROWS_MIN;
        if enough && texts.clone().all(|text| text == first) {
            literals[last].extend_from_slice(first);
            literals[last].extend_from_slice(following);
            continue;
        }
        let (before, after) = if enough { common_ends(texts.clone()) } else { (0, 0) };
        kinds.push(Kind::of(texts.clone().map(|text| &text[before..text.len() - after])));
        literals[last].extend_from_slice(&first[..before]);
        literals.push([&first[first.len() - after..], following].concat());
    }
    Pattern { literals: literals.into_iter().map(Into::into).collect(), holes: kinds }
}

/// A field whose value is a hole's text in all rows.
fn common_field(group: &Group, samples: &[Sample<'_, '_>], hole: usize) -> Option<u32> {
    let mut rows = group.rows.iter().map(|(row, holes)| {
        let sample = &samples[*row as usize];
        (&sample.text[holes[hole].clone()], sample)
    });
    let (text, sample) = rows.next()?;
    let mut candidates: Vec<u32> = sample.fields().filter(|(_, value)| *value == text).map(|(f, _)| f).collect();
    for (text, sample) in rows {
        candidates.retain(|candidate| sample.text(*candidate).is_some_and(|value| value == text));
        if candidates.is_empty() {
            break;
        }
    }
    candidates.first().copied()
}

/// How many bytes all texts begin with and end with, but for parts of numbers, with something left between in each.
fn common_ends<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> (usize, usize) {
    let Some(first) = texts.clone().next() else { return (0, 0) };
    let same = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let same_end = |a: &[u8], b: &[u8]| a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let mut before = texts.clone().map(|text| same(first, text)).min().unwrap_or(0);
    let mut after = texts.clone().map(|text| same_end(first, text)).min().unwrap_or(0);
    // Back to where no number is cut, nor a character.
    let number = |b: u8| b.is_ascii_digit() || b >= 0x80;
    while before > 0
        && (number(first[before - 1]) || (before > 1 && first[before - 1] == b'.' && number(first[before - 2])))
    {
        before -= 1;
    }
    while after > 0 {
        let at = first.len() - after;
        if number(first[at]) || (first[at] == b'.' && first.get(at + 1).is_some_and(|b| number(*b))) {
            after -= 1;
        } else {
            break;
        }
    }
    let shortest = texts.map(<[u8]>::len).min().unwrap_or(0);
    if before + after >= shortest { (0, 0) } else { (before, after) }
}
