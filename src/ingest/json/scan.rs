//! Finding the ends of JSON tokens.

use super::{ARRAY_DEPTH_MAX, JsonError};

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// The first byte that is not white space.
#[inline]
pub(crate) fn skip_space(b: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = b.get(at) {
        at += 1;
    }
    at
}

/// The first `"`, `\` or control character at or behind `at`, or the end.
#[inline]
pub(super) fn string_special(b: &[u8], mut at: usize) -> usize {
    // Sixteen bytes at a time: a byte of the marks has its high bit set where the byte is looked for. Borrows run
    // upward only, so that the lowest mark is always right.
    let marks = |word: u64| {
        let zero = |x: u64| x.wrapping_sub(ONES) & !x;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        (zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c)) | control) & HIGHS
    };
    while let Some(words) = b.get(at..at + 16).and_then(|w| <[u8; 16]>::try_from(w).ok()) {
        let both = u128::from_le_bytes(words);
        let (low, high) = (marks(both as u64), marks((both >> 64) as u64));
        if low | high != 0 {
            let (word, from) = if low != 0 { (low, at) } else { (high, at + 8) };
            return from + (word.trailing_zeros() / 8) as usize;
        }
        at += 16;
    }
    while b.get(at).is_some_and(|&c| c != b'"' && c != b'\\' && c >= 0x20) {
        at += 1;
    }
    at
}

/// The place behind the closing quote of the string whose text begins at `at`, and whether it has escapes.
#[inline]
pub(super) fn string_end(b: &[u8], at: usize) -> Result<(usize, bool), JsonError> {
    let end = string_special(b, at);
    if b.get(end) == Some(&b'"') { Ok((end + 1, false)) } else { escaped_end(b, end) }
}

#[cold]
fn escaped_end(b: &[u8], mut at: usize) -> Result<(usize, bool), JsonError> {
    loop {
        match b.get(at) {
            Some(b'"') => return Ok((at + 1, true)),
            Some(b'\\') => {
                at = match b.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at + 2,
                    Some(b'u') if b.get(at + 2..at + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) => at + 6,
                    Some(b'u') if b.len() < at + 6 => return Err(JsonError::expected(b, b.len(), "four hex digits")),
                    Some(_) => return Err(JsonError::Escape(at)),
                    None => return Err(JsonError::expected(b, b.len(), "an escape")),
                };
            }
            Some(_) => return Err(JsonError::Control(at)),
            None => return Err(JsonError::expected(b, at, "the end of a string")),
        }
        at = string_special(b, at);
    }
}

/// The place behind a number that begins at `at`, where `-` or a digit stands.
#[inline]
pub(super) fn number_end(b: &[u8], mut at: usize) -> Result<usize, JsonError> {
    let digits = |mut at: usize| {
        let from = at;
        while b.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == from { Err(JsonError::expected(b, at, "a digit")) } else { Ok(at) }
    };
    at += usize::from(b.get(at) == Some(&b'-'));
    at = if b.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if b.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = b.get(at) {
        at += 1 + usize::from(matches!(b.get(at + 1), Some(b'+' | b'-')));
        at = digits(at)?;
    }
    Ok(at)
}

/// The place behind `true`, `false` or `null`.
pub(super) fn literal_end(b: &[u8], at: usize) -> Result<usize, JsonError> {
    let rest = b.get(at..).unwrap_or_default();
    let word = [&b"true"[..], b"false", b"null"].into_iter().find(|w| rest.starts_with(w));
    word.map(|w| at + w.len()).ok_or_else(|| JsonError::expected(b, at, "a value"))
}

/// The place behind an array that begins at `at`, and whether there is white space in it between tokens.
pub(super) fn array_end(b: &[u8], mut at: usize) -> Result<(usize, bool), JsonError> {
    // A bit for each open array (0) and object (1), the innermost lowest.
    let (mut kinds, mut depth) = (0u128, 0usize);
    let mut spaced = false;
    let mut space = |at: usize| {
        let to = skip_space(b, at);
        spaced |= to > at;
        to
    };
    loop {
        match b.get(at) {
            Some(&open @ (b'[' | b'{')) => {
                if depth == ARRAY_DEPTH_MAX {
                    return Err(JsonError::ArrayDepth(at));
                }
                depth += 1;
                kinds = kinds << 1 | u128::from(open == b'{');
                at = space(at + 1);
                let object = open == b'{';
                if b.get(at) == Some(if object { &b'}' } else { &b']' }) {
                    at += 1;
                    depth -= 1;
                    kinds >>= 1;
                } else {
                    if object {
                        at = key_end(b, at, &mut space)?;
                    }
                    continue;
                }
            }
            Some(b'"') => at = string_end(b, at + 1)?.0,
            Some(b'-' | b'0'..=b'9') => at = number_end(b, at)?,
            _ => at = literal_end(b, at)?,
        }
        loop {
            if depth == 0 {
                return Ok((at, spaced));
            }
            at = space(at);
            let object = kinds & 1 == 1;
            match b.get(at) {
                Some(b',') => {
                    at = space(at + 1);
                    if object {
                        at = key_end(b, at, &mut space)?;
                    }
                    break;
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                _ if object => return Err(JsonError::expected(b, at, "`,` or `}`")),
                _ => return Err(JsonError::expected(b, at, "`,` or `]`")),
            }
            at += 1;
            depth -= 1;
            kinds >>= 1;
        }
    }
}

fn key_end(b: &[u8], at: usize, space: &mut impl FnMut(usize) -> usize) -> Result<usize, JsonError> {
    if b.get(at) != Some(&b'"') {
        return Err(JsonError::expected(b, at, "a key in quotes"));
    }
    let at = space(string_end(b, at + 1)?.0);
    if b.get(at) != Some(&b':') {
        return Err(JsonError::expected(b, at, "`:`"));
    }
    Ok(space(at + 1))
}

/// Is the whole text one JSON value other than an object?
pub(crate) fn is_value(b: &[u8]) -> bool {
    let at = skip_space(b, 0);
    let end = match b.get(at) {
        Some(b'[') => array_end(b, at).map(|(end, _)| end),
        Some(b'"') => string_end(b, at + 1).map(|(end, _)| end),
        Some(b'-' | b'0'..=b'9') => number_end(b, at),
        _ => literal_end(b, at),
    };
    end.is_ok_and(|end| skip_space(b, end) == b.len())
}
