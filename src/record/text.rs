//! Words, their case, and where they begin and end: shared by the scan and the index, so that the two agree.

/// Version of the rules on this page; an index built by others is not used.
pub const TEXT_RULES_VERSION: u8 = 1;

/// Is the character part of a word: a letter, a digit or `_` (ruling 4 of the language)?
#[inline]
pub fn is_word_char(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { c.is_alphanumeric() }
}

/// Folds one character. Lower case by Unicode's mapping, and the final sigma as any other one.
#[inline]
pub fn fold_char(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().map(|l| if l == 'ς' { 'σ' } else { l })
}

/// Appends the folded text.
pub fn fold_into(text: &str, out: &mut String) {
    let mut rest = text;
    loop {
        // Most texts are ASCII, which is folded many bytes at a time.
        let ascii = rest.bytes().position(|b| !b.is_ascii()).unwrap_or(rest.len());
        let (plain, more) = rest.split_at(ascii);
        let from = out.len();
        out.push_str(plain);
        if let Some(plain) = out.get_mut(from..) {
            plain.make_ascii_lowercase();
        }
        let Some(c) = more.chars().next() else { return };
        out.extend(fold_char(c));
        rest = &more[c.len_utf8()..];
    }
}

/// The folded text.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

/// The words of a text, in order.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word_char(c)).filter(|w| !w.is_empty())
}

/// Does `needle`, folded already, stand in `folded` with word boundaries at its ends?
///
/// The plain definition, for tests of what is faster. An end of the needle that is no word character needs no boundary. An empty needle is found nowhere.
#[cfg(test)]
pub fn contains_phrase(folded: &str, needle: &str) -> bool {
    let (Some(first), Some(last)) = (needle.chars().next(), needle.chars().next_back()) else { return false };
    let (left, right) = (is_word_char(first), is_word_char(last));
    let mut from = 0;
    while let Some(at) = folded.get(from..).and_then(|rest| rest.find(needle)).map(|at| from + at) {
        // A match of valid UTF-8 in valid UTF-8 begins and ends between characters.
        let before = folded.get(..at).and_then(|t| t.chars().next_back());
        let after = folded.get(at + needle.len()..).and_then(|t| t.chars().next());
        if !(left && before.is_some_and(is_word_char) || right && after.is_some_and(is_word_char)) {
            return true;
        }
        // The next one may overlap this one.
        from = at + first.len_utf8();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases() {
        for (text, needle, found) in [
            ("connection reset by peer", "connection reset", true),
            ("reconnection reset", "connection reset", false),
            ("xab ab", "ab", true),
            ("aab", "ab", false),
            ("20ms", "20", false),
            ("20 ms", "20", true),
            ("a/b/c", "/b/", true),
            ("aé", "a", false),
            ("a-b", "a", true),
            ("anything", "", false),
            ("ab ab a", "ab a", true),
            ("xa a a", "a a", true),
            ("(attempt 8)", "(attempt 8)", true),
        ] {
            assert_eq!(contains_phrase(text, needle), found, "{text} {needle}");
        }
    }

    #[test]
    fn folds() {
        assert_eq!(fold("ΨΕΥΔΆΡΓΥΡΟΣ"), fold("Ψευδάργυρος"));
        assert_eq!(fold("ÄbC"), "äbc");
    }
}
