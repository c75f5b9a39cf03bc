//! Where words, names, strings and regular expressions begin and end; and tokens for a highlighter.
//!
//! Promises: [`tokens`] takes any text, also one that is no query, and its spans cover the text in order without a gap.
//! Parser, printer and highlighter share the rules on this page, so that they can't disagree about a word.
//! May not know: the syntax tree, nom.

use crate::record::text::is_word_char;
use std::ops::Range;

/// What a token is, as far as a highlighter cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// White space.
    Space,
    /// `#` to the end of the line.
    Comment,
    /// A name with a colon or a comparison after it.
    Field,
    /// A bare word or value.
    Word,
    /// A bare word with an unescaped `*` or `?`.
    Wildcard,
    /// A bare value that begins with a digit.
    Number,
    /// A string in any of the three quotes.
    Quoted,
    /// A string with no closing quote: the rest of the text.
    Unterminated,
    /// `/re/` with its flags.
    Regex,
    /// `AND`, `OR`, `NOT`, `&&`, `||`, `!`, and a `-` or `+` before a clause.
    Operator,
    /// `:`, `=`, `!=`, `>`, `=~` and so on.
    Comparison,
    /// The `|` before a pipe.
    Pipe,
    /// The name of a pipe.
    PipeName,
    /// A name with `(` right after it.
    Function,
    /// Parentheses, brackets, braces, commas.
    Punctuation,
    /// A character that has no place in a query outside of quotes.
    Unknown,
}

/// A part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is, in bytes.
    pub span: Range<usize>,
}

/// May this character stand in a bare word? Backslash escapes come on top of it, and are handled by [`bare_len`].
pub(crate) fn is_bare(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '@' | '$' | '%' | '+' | '*' | '?')
    } else {
        !c.is_whitespace() && !c.is_control()
    }
}

/// May this character begin a field's name?
pub(crate) fn is_name_start(c: char) -> bool {
    c == '@' || c == '_' || c.is_alphabetic()
}

/// May this character go on a field's name?
fn is_name_part(c: char) -> bool {
    is_word_char(c) || matches!(c, '.' | '-' | '/' | '@' | '$')
}

/// Bytes of white space and comments at the start.
pub(crate) fn space_len(text: &str) -> usize {
    let mut rest = text.trim_start();
    while rest.starts_with('#') {
        rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default().trim_start();
    }
    text.len() - rest.len()
}

/// Bytes of the bare word at the start, escapes (`\` and one character) taken in.
pub(crate) fn bare_len(text: &str) -> usize {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if is_bare(c) => {}
            _ => return at,
        }
    }
    text.len()
}

/// Bytes of the name at the start: a letter, `_` or `@`, then letters, digits and `_ . - / @ $`, and `[0]` after them.
/// An escaped punctuation mark or space is part of a name too.
pub(crate) fn name_len(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let mut chars = rest.chars();
        match chars.next() {
            Some(c) if end == 0 && is_name_start(c) || end > 0 && is_name_part(c) => end += c.len_utf8(),
            Some('\\') => match chars.next() {
                Some(c) if is_escapable(c) => end += 1 + c.len_utf8(),
                _ => return end,
            },
            Some('[') if end > 0 => {
                let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
                if digits == 0 || rest.as_bytes().get(1 + digits) != Some(&b']') {
                    return end;
                }
                end += digits + 2;
            }
            _ => return end,
        }
    }
}

/// May this character stand after a backslash in a bare word, for itself?
pub(crate) fn is_escapable(c: char) -> bool {
    c == ' ' || c.is_ascii_punctuation()
}

/// Bytes of the string at the start, its quotes taken in; `None` where the closing one is missing.
pub(crate) fn quoted_len(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + 1);
        }
        if c == '\\' && quote != '`' {
            chars.next();
        }
    }
    None
}

/// The length of the expression and of the whole of `/re/flags` at the start, where it is one: the first `/` that is
/// not escaped closes it, and white space, `)`, `|` or the end follows the flags.
pub(crate) fn regex_len(text: &str) -> Option<(usize, usize)> {
    let mut chars = text.char_indices();
    chars.next().filter(|&(_, c)| c == '/')?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '/' if at == 1 => return None,
            '/' => {
                let flags = text.get(at + 1..)?.chars().take_while(|&c| c == 'i').count();
                let end = at + 1 + flags;
                let after = text.get(end..)?.chars().next();
                let ends = after.is_none_or(|c| c.is_whitespace() || matches!(c, ')' | '|'))
                    || text.get(end..)?.starts_with("&&");
                return (ends && flags <= 1).then_some((at - 1, end));
            }
            _ => {}
        }
    }
    None
}

/// The comparison at the start, the longest one. The order matters.
pub(crate) fn comparison_at(text: &str) -> Option<&'static str> {
    const ALL: &[&str] = &[
        ":==", ":=", ":>=", ":<=", ":>", ":<", ":!=", ":!~", ":~", "==", "=~", "!=", "!~", ">=", "<=", "=", ">", "<",
        ":",
    ];
    ALL.iter().find(|op| text.starts_with(**op)).copied()
}

/// Is the word one of the operators, in any case?
pub(crate) fn is_operator_word(word: &str) -> bool {
    ["and", "or", "not"].iter().any(|op| word.eq_ignore_ascii_case(op))
}

/// The tokens of a text, for colours and completion. Never fails: what can't be read is [`TokenKind::Unknown`].
pub fn tokens(text: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, len) = next_token(rest, &out, text);
        let len = len.max(rest.chars().next().map_or(1, char::len_utf8));
        out.push(Token { kind, span: at..at + len });
        at += len;
    }
    out
}

/// The kind and length of the token at the start of `rest`, given those before it.
fn next_token(rest: &str, before: &[Token], text: &str) -> (TokenKind, usize) {
    use TokenKind as K;
    let last = before.last();
    // The last token that is no space, with its text.
    let previous = before
        .iter()
        .rev()
        .take(3)
        .find(|t| !matches!(t.kind, K::Space | K::Comment))
        .map(|t| (t.kind, text.get(t.span.clone()).unwrap_or_default()));
    let after_value = last.is_some_and(|t| {
        matches!(t.kind, K::Word | K::Field | K::Number | K::Quoted | K::Wildcard | K::Regex)
            || text.get(t.span.clone()) == Some(")")
    });
    let Some(first) = rest.chars().next() else { return (K::Unknown, 0) };
    let after_colon = previous.is_some_and(|(kind, _)| kind == K::Comparison);
    match first {
        c if c.is_whitespace() => (K::Space, rest.len() - rest.trim_start().len()),
        '#' if !after_value => (K::Comment, rest.find('\n').unwrap_or(rest.len())),
        '"' | '\'' | '`' => quoted_len(rest).map_or((K::Unterminated, rest.len()), |len| (K::Quoted, len)),
        '|' if rest.starts_with("||") => (K::Operator, 2),
        '&' if rest.starts_with("&&") => (K::Operator, 2),
        '|' => (K::Pipe, 1),
        '(' | ')' | '[' | ']' | '{' | '}' | ',' => (K::Punctuation, 1),
        '-' | '+' if !after_value && !after_colon && bare_len(rest) > 1 => (K::Operator, 1),
        '/' if !after_value && regex_len(rest).is_some() => (K::Regex, regex_len(rest).map_or(1, |(_, len)| len)),
        '>' | '<' | '=' | '!' | ':' => match comparison_at(rest) {
            Some(op) => (K::Comparison, op.len()),
            None => (K::Operator, 1),
        },
        '~' => (K::Comparison, 1 + rest.bytes().skip(1).take_while(u8::is_ascii_digit).count()),
        c if is_bare(c) || c == '\\' => word_token(rest, previous.map(|(kind, _)| kind), after_colon),
        c => (K::Unknown, c.len_utf8()),
    }
}

/// The kind and length of a bare word.
fn word_token(rest: &str, previous: Option<TokenKind>, after_colon: bool) -> (TokenKind, usize) {
    use TokenKind as K;
    let (name, bare) = (name_len(rest), bare_len(rest));
    let after_name = rest.get(name..).unwrap_or_default();
    if previous == Some(K::Pipe) && name > 0 {
        let call = after_name.starts_with('(');
        return (if call { K::Function } else { K::PipeName }, name);
    }
    if name > 0 && after_name.starts_with('(') {
        let word = rest.get(..name).unwrap_or_default();
        return (if is_operator_word(word) { K::Operator } else { K::Function }, name);
    }
    if name > 0 && !after_colon {
        let colon = after_name.starts_with(':') && !after_name.starts_with("://");
        if colon || comparison_at(after_name.trim_start()).is_some_and(|op| op != ":") {
            return (K::Field, name);
        }
    }
    let word = rest.get(..bare).unwrap_or_default();
    if is_operator_word(word) && !after_colon {
        (K::Operator, bare)
    } else if has_wildcard(word) {
        (K::Wildcard, bare)
    } else if word.trim_start_matches(['-', '+', '.']).starts_with(|c: char| c.is_ascii_digit()) {
        (K::Number, bare)
    } else {
        (K::Word, bare)
    }
}

/// Does the bare word have a wildcard that is not escaped?
pub(crate) fn has_wildcard(word: &str) -> bool {
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> String {
        let show = |t: &Token| format!("{:?}({})", t.kind, &text[t.span.clone()]);
        tokens(text).iter().filter(|t| t.kind != TokenKind::Space).map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn for_a_highlighter() {
        assert_eq!(
            kinds("level:error AND -x duration > 5ms | stats count() by (h) # done"),
            "Field(level) Comparison(:) Word(error) Operator(AND) Operator(-) Word(x) Field(duration) Comparison(>) \
             Number(5ms) Pipe(|) PipeName(stats) Function(count) Punctuation(() Punctuation()) Word(by) \
             Punctuation(() Word(h) Punctuation()) Comment(# done)"
        );
        assert_eq!(
            kinds("path:/a b/i http://x/y tim* \"open"),
            "Field(path) Comparison(:) Regex(/a b/i) Word(http://x/y) Wildcard(tim*) Unterminated(\"open)"
        );
    }

    #[test]
    fn tokens_cover_any_text() {
        for text in ["", "\0", "é\\", "a\\", "😀:\"", "((((", "a[0].b:x", "\\", "|", "# x", "~~~", "\u{202e}א ;"] {
            let mut at = 0;
            for t in tokens(text) {
                assert_eq!(t.span.start, at, "{text:?}");
                assert!(text.get(t.span.clone()).is_some_and(|t| !t.is_empty()), "{text:?}");
                at = t.span.end;
            }
            assert_eq!(at, text.len(), "{text:?}");
        }
    }

    #[test]
    fn where_things_end() {
        for (text, name, bare) in [
            ("a.b-c[0].d:x", 10, 5),
            ("http://x", 4, 8),
            ("12:30:45 x", 0, 8),
            ("a\\ b:c", 4, 6),
            ("a[x]", 1, 1),
            ("foo(bar)", 3, 3),
        ] {
            assert_eq!((name_len(text), bare_len(text)), (name, bare), "{text}");
        }
        for (text, regex) in [
            ("/a/", Some((1, 3))),
            ("/a\\/b/i)", Some((4, 7))),
            ("/api/v1/users", None),
            ("//", None),
            ("/a/g", None),
            ("/a", None),
        ] {
            assert_eq!(regex_len(text), regex, "{text}");
        }
    }
}
