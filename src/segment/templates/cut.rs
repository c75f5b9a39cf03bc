//! Cuts a text where its holes may be: at values that other fields of the row have, and at words with digits.

use std::ops::Range;

/// Values of other fields shorter than this are looked for where a hole is already, and nowhere else: they stand
/// everywhere by chance.
const FIELD_BYTES_MIN: usize = 3;
/// Places of one field's value in one text that are looked at.
const PLACES_MAX: usize = 4;
/// Values of other fields that are looked for in one text: with all of a thousand, learning took most of the time of ingest.
const FIELDS_MAX: usize = 32;
/// A number may be followed by a unit of so many letters, which is not part of it.
const UNIT_LETTERS_MAX: usize = 3;

/// What a byte may be part of. A table, since each byte of each text that is learnt from is looked at.
static CLASSES: [u8; 256] = classes();
/// A letter or digit, or part of a character that may be one.
const ALPHANUMERIC: u8 = 1;
/// Part of a word: letters, digits and what joins them in names, numbers and addresses.
const WORD: u8 = 2;

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut b = 0;
    while b < 256 {
        if (b as u8).is_ascii_alphanumeric() || b >= 0x80 {
            classes[b] = ALPHANUMERIC | WORD;
        } else if matches!(b as u8, b'_' | b'-' | b'.') {
            classes[b] = WORD;
        }
        b += 1;
    }
    classes
}

#[inline]
fn is(class: u8, b: u8) -> bool {
    CLASSES[b as usize] & class != 0
}

/// See [`WORD`].
#[inline]
pub(super) fn is_word(b: u8) -> bool {
    is(WORD, b)
}

/// Words of a text, without points and dashes at their ends.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text[at..].iter().position(|&b| is_word(b))?;
            at = start + text[start..].iter().take_while(|&&b| is_word(b)).count();
            let (mut from, mut to) = (start, at);
            while from < to && matches!(text[from], b'.' | b'-') {
                from += 1;
            }
            while from < to && matches!(text[to - 1], b'.' | b'-') {
                to -= 1;
            }
            // A sign belongs to its number.
            if from > start && text[from - 1] == b'-' && from < to && text[from].is_ascii_digit() && from == start + 1 {
                from -= 1;
            }
            if from < to {
                return Some(from..to);
            }
        }
    })
}

/// The word without a unit behind a number: `20` of `20ms`.
fn without_unit(word: &[u8]) -> usize {
    let digits = word.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-')).count();
    let unit = &word[digits..];
    let is_unit = unit.len() <= UNIT_LETTERS_MAX && unit.iter().all(u8::is_ascii_alphabetic);
    if digits > 0 && word[digits - 1].is_ascii_digit() && is_unit { digits } else { word.len() }
}

/// Appends where the holes of a text are, in order, with at least a byte between two. `fields` are the values of the
/// row's other fields.
pub(super) fn holes<'a>(
    text: &[u8],
    fields: impl Iterator<Item = &'a [u8]>,
    found: &mut Vec<Range<usize>>,
    scratch: &mut Vec<Range<usize>>,
) {
    found.clear();
    scratch.clear();
    let alphanumeric = |at: usize| text.get(at).is_some_and(|b| is(ALPHANUMERIC, *b));
    let fits = |value: &&[u8]| (FIELD_BYTES_MIN..=text.len()).contains(&value.len());
    // Few bytes of a text begin words, and what no byte begins as needs no search.
    let begins = |at: usize| at == 0 || !(alphanumeric(at - 1) && alphanumeric(at));
    let mut firsts = [0u64; 4];
    let mut in_word = false;
    for &b in text {
        let goes_on = in_word && is(ALPHANUMERIC, b);
        in_word = is(ALPHANUMERIC, b);
        firsts[b as usize / 64] |= u64::from(!goes_on) << (b % 64);
    }
    for value in fields.filter(fits).take(FIELDS_MAX) {
        let first = value[0];
        if firsts[first as usize / 64] >> (first % 64) & 1 == 0 {
            continue;
        }
        let mut places = 0;
        let mut from = 0;
        for start in memchr::memchr_iter(first, text) {
            let end = start + value.len();
            if start < from || !begins(start) || text.get(start..end) != Some(value) {
                continue;
            }
            from = end;
            if !(alphanumeric(end - 1) && alphanumeric(end)) {
                scratch.push(start..end);
                places += 1;
                if places == PLACES_MAX {
                    break;
                }
            }
        }
    }
    // The longest first, and of equal ones the first.
    scratch.sort_by_key(|range| (std::cmp::Reverse(range.len()), range.start));
    for range in scratch.iter() {
        if !found.iter().any(|other| other.start < range.end && range.start < other.end) {
            found.push(range.clone());
        }
    }
    let spans = found.len();
    for word in words(text) {
        if text[word.clone()].iter().any(u8::is_ascii_digit) {
            let number = word.start..word.start + without_unit(&text[word.clone()]);
            if !found[..spans].iter().any(|other| other.start < number.end && number.start < other.end) {
                found.push(number);
            }
        }
    }
    found.sort_by_key(|range| range.start);
    // Two that touch are one.
    found.dedup_by(|next, kept| {
        let touch = kept.end == next.start;
        if touch {
            kept.end = next.end;
        }
        touch
    });
}
