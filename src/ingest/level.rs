//! The level that a line of text says it has. Wrong levels are worse than none, so only what is clear counts.

use crate::record::Level;

/// How far behind the time a level may stand, in words and bytes.
const WORDS_MAX: usize = 7;
const BYTES_MAX: usize = 128;

/// A level as programs write it in lines of text: also the short names of zerolog, Serilog and java.util.logging.
/// `http` is none here: it is a word that lines begin with.
fn of_word(word: &str) -> Option<Level> {
    if word.len() < 3 || !word.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let others = [
        ("INF", Level::Info),
        ("NOTE", Level::Info),
        ("WRN", Level::Warn),
        ("DBG", Level::Debug),
        ("TRC", Level::Trace),
        ("FINER", Level::Trace),
        ("FINEST", Level::Trace),
        ("FTL", Level::Fatal),
        ("SEVERE", Level::Error),
    ];
    match Level::parse(word) {
        Some(Level::Http) => None,
        Some(level) => Some(level),
        None => others.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| *level),
    }
}

fn is_upper(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_uppercase())
}

/// Of a line that begins with a time which ends at `end`.
pub(super) fn after_time(line: &str, end: usize) -> Option<Level> {
    let mut to = line.len().min(end + BYTES_MAX);
    while !line.is_char_boundary(to) {
        to -= 1;
    }
    let rest = line.get(end..to)?;
    if let Some(level) = android(rest) {
        return Some(level);
    }
    // The brackets and commas that close the time.
    let rest = rest.trim_start_matches([']', ')', '>', ',', ';', ' ', '\t', '|', '-', ':']);
    let mut between_marks = true;
    let mut at = 0;
    for index in 0..WORDS_MAX {
        let here = rest.get(at..)?;
        let len = here.find([' ', '\t', '|']).unwrap_or(here.len());
        let word = here.get(..len)?;
        let after = here.get(len..)?;
        if let Some(level) = marked(word) {
            return Some(level);
        }
        let bare = word.trim_end_matches([':', ',', ';', ']', ')']);
        if let Some(level) = of_word(bare) {
            // In capitals, or set off from what follows, as prose does not do it.
            let set_off = bare.len() < word.len()
                || after.starts_with(['\t', '|'])
                || after.starts_with("  ")
                || after.starts_with(" - ")
                || after.starts_with(" |");
            if is_upper(bare) || (set_off && (index == 0 || between_marks)) {
                return Some(level);
            }
            return None;
        }
        let gap = after.bytes().take_while(|b| matches!(b, b' ' | b'\t' | b'|')).count();
        let next = after.get(gap..)?;
        let marks = matches!(word, "-" | "|" | "") || after.get(..gap)?.contains('|');
        let before_mark = next.starts_with("- ") || after.get(..gap)?.contains('|');
        // Prose has begun: what comes may be a level's name, but not the line's level.
        if !(marks || (between_marks && before_mark) || is_no_prose(word)) {
            return None;
        }
        between_marks = marks;
        at += len + gap;
    }
    None
}

/// Does a word have what words of prose don't: digits, brackets, dots inside, or only capitals?
fn is_no_prose(word: &str) -> bool {
    let inner = word.trim_end_matches([',', '.', ':', ';', '!', '?']);
    let capitals = inner.len() > 1 && is_upper(inner);
    capitals || inner.bytes().any(|b| !b.is_ascii_alphabetic() && b != b'\'' && b < 0x80)
}

/// Of a line without a time: its first word, in capitals or set off.
pub(super) fn at_start(line: &str) -> Option<Level> {
    let len = line.find([' ', '\t', '|']).unwrap_or(line.len());
    let word = line.get(..len)?;
    if let Some(level) = marked(word) {
        return Some(level);
    }
    let bare = word.trim_end_matches(':');
    let level = of_word(bare)?;
    (bare.len() < word.len() || is_upper(bare)).then_some(level)
}

/// `[error]`, `<info>`, `[core:error]`, `level=warn`, `"level":"info"`.
fn marked(word: &str) -> Option<Level> {
    let pair = word.trim_matches(['"', '{', ',']);
    for key in ["level=", "lvl=", "severity=", "level\":\"", "severity\":\""] {
        if let Some(value) = pair.strip_prefix(key) {
            return of_word(value.split(['"', ',', '}']).find(|v| !v.is_empty())?);
        }
    }
    let close = match word.bytes().next()? {
        b'[' => ']',
        b'<' => '>',
        b'(' => ')',
        _ => return None,
    };
    let inner = word.get(1..)?;
    match inner.split_once(close) {
        Some((inner, _)) => of_word(inner).or_else(|| of_word(inner.rsplit_once(':')?.1)),
        // Padded: `[INFO ]`.
        None => of_word(inner).filter(|_| is_upper(inner)),
    }
}

/// Android's `  1702  2395 D WindowManager: `.
fn android(rest: &str) -> Option<Level> {
    let mut words = rest.split_ascii_whitespace();
    let number = |word: Option<&str>| word.is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit()));
    if !number(words.next()) || !number(words.next()) {
        return None;
    }
    letter(words.next()?)
}

/// `I0102 15:04:05.678901`, of a line whose time has been read so.
pub(super) fn glog(start: &str) -> Option<Level> {
    let digits = start.get(1..5)?.bytes().all(|b| b.is_ascii_digit());
    if digits { letter(start.get(..1)?) } else { None }
}

fn letter(word: &str) -> Option<Level> {
    Some(match word {
        "V" => Level::Verbose,
        "D" => Level::Debug,
        "I" => Level::Info,
        "W" => Level::Warn,
        "E" => Level::Error,
        "F" => Level::Fatal,
        _ => return None,
    })
}
