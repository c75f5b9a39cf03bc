//! What a JSON string says.

/// Appends the text of a string's inside, whose escapes are known to be well-formed. A surrogate without its other
/// half is no character: U+FFFD stands for it.
pub(super) fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (c, len) = match escape.as_bytes().get(1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unicode(escape),
            Some(&other) => (char::from(other), 2),
            None => break,
        };
        out.push(c);
        rest = escape.get(len..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The character of `\u....`, or of two of them, and the length of that.
fn unicode(escape: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, escape.len()) };
    if let Some(c) = char::from_u32(first) {
        return (c, 6);
    }
    if first < 0xdc00
        && let Some(second @ 0xdc00..=0xdfff) = unit(6)
        && let Some(c) = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    {
        return (c, 12);
    }
    (char::REPLACEMENT_CHARACTER, 6)
}

/// Appends an array's text without the white space between its tokens; the text is well-formed.
pub(super) fn minify(array: &str, out: &mut String) {
    let (mut from, mut at) = (0, 0);
    let b = array.as_bytes();
    let mut in_string = false;
    while let Some(&c) = b.get(at) {
        match c {
            b'"' => in_string = !in_string,
            b'\\' => at += 1,
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => {
                out.push_str(array.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(array.get(from..).unwrap_or_default());
}
