//! Compares short texts. Most values and pieces of templates have a few bytes, and a call of the system's comparison
//! takes longer than they do.

/// Does a text begin with these bytes?
#[inline(always)]
pub(super) fn begins(text: &[u8], with: &[u8]) -> bool {
    text.get(..with.len()).is_some_and(|text| same(text, with))
}

/// Does a text end with these bytes?
#[inline(always)]
pub(super) fn ends(text: &[u8], with: &[u8]) -> bool {
    text.len().checked_sub(with.len()).is_some_and(|from| same(&text[from..], with))
}

/// Are the two equal?
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    // First and last bytes overlap where there are fewer than both take.
    match len {
        0 => true,
        1..4 => a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1],
        4..8 => a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk(),
        8..=16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        _ => a.first_chunk::<8>() == b.first_chunk() && a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_other_byte_tells_texts_apart() {
        for len in 0..40 {
            let text: Vec<u8> = (0..len).collect();
            assert!(same(&text, &text.clone()) && begins(&text, &text) && ends(&text, &text));
            assert!(!same(&text, &[&text[..], b"x"].concat()) && !begins(&text, &[&text[..], b"x"].concat()));
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!same(&text, &other), "{len} {at}");
                for part in 0..=text.len() {
                    assert_eq!(begins(&text, &other[..part]), text.starts_with(&other[..part]), "{len} {at} {part}");
                    assert_eq!(ends(&text, &other[part..]), text.ends_with(&other[part..]), "{len} {at} {part}");
                }
            }
        }
    }
}
