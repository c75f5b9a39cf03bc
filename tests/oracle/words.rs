//! Words, phrases, wildcards, near and fuzzy words: over vectors of characters.

pub fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Case is ignored: every character in lower case, and the final sigma as any other.
pub fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// Words begin and end at the ends of `text[from..to]`, where it begins and ends with characters of words.
fn on_boundaries(text: &[char], from: usize, to: usize) -> bool {
    let splits = |at: usize| at > 0 && at < text.len() && is_word_char(text[at - 1]) && is_word_char(text[at]);
    !splits(from) && !splits(to)
}

pub fn has_phrase(text: &str, phrase: &str) -> bool {
    let (text, phrase) = (fold(text), fold(phrase));
    !phrase.is_empty()
        && (0..=text.len().saturating_sub(phrase.len()))
            .any(|i| text[i..].starts_with(&phrase) && on_boundaries(&text, i, i + phrase.len()))
}

/// A part of a wildcard pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Wild {
    Text(String),
    Many,
    One,
}

pub fn has_wildcard(text: &str, pattern: &[Wild]) -> bool {
    let text = fold(text);
    (0..=text.len())
        .any(|from| ends(&text, from, pattern).into_iter().any(|to| to > from && on_boundaries(&text, from, to)))
}

/// Every place where a match of the pattern that begins at `from` may end.
fn ends(text: &[char], from: usize, pattern: &[Wild]) -> Vec<usize> {
    let Some((first, rest)) = pattern.split_first() else { return vec![from] };
    let starts: Vec<usize> = match first {
        Wild::Text(literal) => {
            let literal = fold(literal);
            if text[from..].starts_with(&literal) { vec![from + literal.len()] } else { vec![] }
        }
        Wild::One => text.get(from).filter(|c| is_word_char(**c)).map(|_| from + 1).into_iter().collect(),
        Wild::Many => {
            let run = text[from..].iter().take_while(|c| is_word_char(**c)).count();
            (from..=from + run).collect()
        }
    };
    starts.into_iter().flat_map(|at| ends(text, at, rest)).collect()
}

fn words(text: &str) -> Vec<Vec<char>> {
    fold(text).split(|c| !is_word_char(*c)).filter(|w| !w.is_empty()).map(<[char]>::to_vec).collect()
}

/// The words in any order, with at most `distance` other words between the first and the last of them.
pub fn has_near(text: &str, near: &[String], distance: usize) -> bool {
    let text = words(text);
    let near: Vec<Vec<char>> = near.iter().map(|w| fold(w)).collect();
    let span = near.len() + distance;
    (0..text.len()).any(|from| {
        let window = &text[from..text.len().min(from + span)];
        place(&near, window, &mut vec![false; window.len()])
    })
}

/// Has each word a place of its own?
fn place(near: &[Vec<char>], window: &[Vec<char>], used: &mut Vec<bool>) -> bool {
    let Some((word, rest)) = near.split_first() else { return true };
    (0..window.len()).any(|i| {
        if used[i] || window[i] != *word {
            return false;
        }
        used[i] = true;
        let fits = place(rest, window, used);
        used[i] = false;
        fits
    })
}

pub fn has_fuzzy(text: &str, word: &str, edits: usize) -> bool {
    words(text).iter().any(|w| distance(w, &fold(word)) <= edits)
}

/// Insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut d = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            d[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let other = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (d[i - 1][j] + 1).min(d[i][j - 1] + 1).min(d[i - 1][j - 1] + other);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(d[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    d[a.len()][b.len()]
}

#[test]
fn phrases() {
    for (text, phrase, found) in [
        ("Connection RESET by peer", "connection reset", true),
        ("reconnection reset", "connection reset", false),
        ("a [x] b", "[x]", true),
        ("a/b", "/", true),
        ("20ms", "20", false),
        ("20 ms", "20", true),
        ("user_id", "user", false),
        ("ΟΔΟΣ", "οδος", true),
        ("Größe 5", "GRÖSSE", false),
        ("日本語 ok", "日本", false),
        ("", "a", false),
    ] {
        assert_eq!(has_phrase(text, phrase), found, "{text:?} {phrase:?}");
    }
}

#[test]
fn wildcards() {
    let t = |s: &str| Wild::Text(s.into());
    for (text, pattern, found) in [
        ("a timeout", vec![t("tim"), Wild::Many], true),
        ("a timeout", vec![Wild::Many, t("out")], true),
        ("a time out", vec![t("tim"), Wild::Many, t("out")], false),
        ("multimeter", vec![t("tim"), Wild::Many], false),
        ("multimeter", vec![Wild::Many, t("tim"), Wild::Many], true),
        ("time", vec![t("t"), Wild::One, t("me")], true),
        ("tme", vec![t("t"), Wild::One, t("me")], false),
        ("times", vec![t("t"), Wild::One, t("me")], false),
    ] {
        assert_eq!(has_wildcard(text, &pattern), found, "{text:?} {pattern:?}");
    }
}

#[test]
fn near_and_fuzzy() {
    for (text, near, distance, found) in [
        ("a b", &["a", "b"][..], 0, true),
        ("b a", &["a", "b"], 0, true),
        ("a x y b", &["a", "b"], 1, false),
        ("a x y b", &["a", "b"], 2, true),
        ("a", &["a", "a"], 5, false),
        ("a a", &["a", "a"], 0, true),
    ] {
        let near: Vec<String> = near.iter().map(|w| w.to_string()).collect();
        assert_eq!(has_near(text, &near, distance), found, "{text:?} {near:?}~{distance}");
    }
    for (text, word, edits, found) in [
        ("tiemout", "timeout", 1, true),
        ("timeot now", "timeout", 1, true),
        ("time", "timeout", 2, false),
        ("x", "y", 0, false),
    ] {
        assert_eq!(has_fuzzy(text, word, edits), found, "{text:?} {word}~{edits}");
    }
}
