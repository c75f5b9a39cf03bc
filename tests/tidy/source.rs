//! Rust source as tokens with lines, comments and texts left out: as much as the rules need, and no more.

/// One token: an identifier, a number, one character of punctuation, or `""` for any string or character.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
    /// Does it stand under `#[cfg(test)]`?
    pub test: bool,
}

/// A path that the source names, with `crate`, `self`, `super` and `use` trees resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// `["crate", "format", "chunk"]` for a path of this crate, `["std", "fs"]` for another's.
    pub path: Vec<String>,
    pub line: usize,
    /// Is it imported by a `use`, so that its last part is a name in the file?
    pub imported: bool,
}

pub fn tokens(source: &str) -> Vec<Token> {
    let mut out = lex(source);
    mark_tests(&mut out);
    out
}

fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut i, mut line, mut out) = (0, 1, Vec::new());
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while i < chars.len() {
        let (from, begins) = (i, line);
        let c = chars[i];
        let mut text = String::new();
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some((body, hashes)) = raw_string(&chars, i) {
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            i = body;
            while i < chars.len() && !chars[i..].starts_with(&close) {
                i += 1;
            }
            i += close.len();
            text = "\"\"".into();
        } else if c == '"' || (matches!(c, 'b' | 'c') && at(i + 1) == '"') {
            i += 1 + usize::from(c != '"');
            while i < chars.len() && chars[i] != '"' {
                i += 1 + usize::from(chars[i] == '\\');
            }
            i += 1;
            text = "\"\"".into();
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += 2 + usize::from(at(i + 1) == '\\');
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
            text = "\"\"".into();
        } else if c.is_alphanumeric() || c == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            text = chars[from..i].iter().collect();
        } else {
            i += 1;
            if !c.is_whitespace() {
                text = c.into();
            }
        }
        i = i.min(chars.len());
        line += chars[from..i].iter().filter(|c| **c == '\n').count();
        if !text.is_empty() {
            out.push(Token { text, line: begins, test: false });
        }
    }
    out
}

/// `r"`, `br#"` and the like: where the body begins, and how many hashes close it.
fn raw_string(chars: &[char], mut i: usize) -> Option<(usize, usize)> {
    if i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_') {
        return None;
    }
    i += usize::from(matches!(chars.get(i), Some('b' | 'c')));
    if chars.get(i) != Some(&'r') {
        return None;
    }
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(i + 1 + hashes) == Some(&'"')).then_some((i + 2 + hashes, hashes))
}

fn mark_tests(tokens: &mut [Token]) {
    let mut i = 0;
    while i < tokens.len() {
        let Some(end) = attribute_end(tokens, i) else {
            i += 1;
            continue;
        };
        if !is_test_attribute(&tokens[i..end]) {
            i = end;
            continue;
        }
        // The item reaches to the end of its first braces, or to a semicolon before them.
        let (mut j, mut depth) = (end, 0);
        while let Some(next) = attribute_end(tokens, j) {
            j = next;
        }
        while j < tokens.len() {
            match tokens[j].text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            let text = tokens[j].text.as_str();
            j += 1;
            if depth == 0 && matches!(text, "}" | ";") {
                break;
            }
        }
        tokens[i..j].iter_mut().for_each(|t| t.test = true);
        i = j;
    }
}

fn attribute_end(tokens: &[Token], i: usize) -> Option<usize> {
    let text = |i: usize| tokens.get(i).map(|t| t.text.as_str());
    if text(i) != Some("#") || text(i + 1) != Some("[") {
        return None;
    }
    let mut depth = 0;
    for (j, token) in tokens.iter().enumerate().skip(i + 1) {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(j + 1);
        }
    }
    None
}

fn is_test_attribute(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|t| t.text.as_str()).collect();
    words.contains(&"test") && !words.contains(&"not") && (words.contains(&"cfg") || words.len() == 4)
}

/// Every path that code outside of tests names. `module` is the file's own (`["query", "parse"]`).
pub fn named_paths(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let code: Vec<&Token> = tokens.iter().filter(|t| !t.test).collect();
    let text = |i: usize| code.get(i).map_or("", |t| t.text.as_str());
    let mut out = Vec::new();
    // Inline modules deepen the path until their brace closes.
    let (mut inline, mut depth) = (Vec::<(String, usize)>::new(), 0);
    let mut i = 0;
    while i < code.len() {
        let here: Vec<String> = module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
        match text(i) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, d)| *d == depth) {
                    inline.pop();
                }
            }
            "mod" if text(i + 2) == "{" => inline.push((text(i + 1).to_string(), depth)),
            "use" if i == 0 || matches!(text(i - 1), ";" | "}" | "{" | "pub" | ")" | "]") => {
                i = use_tree(&code, i + 1, &[], &here, &mut out);
                continue;
            }
            head if is_name(head) && text(i + 1) == ":" && text(i + 2) == ":" && !after_path(&code, i) => {
                let line = code[i].line;
                let mut path = vec![head.to_string()];
                let mut j = i;
                while text(j + 1) == ":" && text(j + 2) == ":" && is_name(text(j + 3)) {
                    path.push(text(j + 3).to_string());
                    j += 3;
                }
                out.push(Named { path: resolve(&path, &here), line, imported: false });
                i = j;
            }
            _ => {}
        }
        i += 1;
    }
    out
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Is the token at `i` a later part of a path, a field, or `$crate`?
fn after_path(code: &[&Token], i: usize) -> bool {
    let before = |n: usize| i.checked_sub(n).map_or("", |j| code[j].text.as_str());
    (before(1) == ":" && before(2) == ":") || matches!(before(1), "." | "$")
}

fn use_tree(code: &[&Token], mut i: usize, prefix: &[String], here: &[String], out: &mut Vec<Named>) -> usize {
    let text = |i: usize| code.get(i).map_or("", |t| t.text.as_str());
    let mut path = prefix.to_vec();
    let line = code.get(i).map_or(0, |t| t.line);
    loop {
        match text(i) {
            "{" => {
                i += 1;
                while !matches!(text(i), "}" | "") {
                    i = use_tree(code, i, &path, here, out);
                    i += usize::from(text(i) == ",");
                }
                return i + 1;
            }
            "*" => i += 1,
            ":" => i += 1,
            "as" => i += 2,
            name if is_name(name) => {
                path.push(name.to_string());
                i += 1;
            }
            _ => {
                out.push(Named { path: resolve(&path, here), line, imported: true });
                return i;
            }
        }
    }
}

/// `self` and `super` at the beginning of a path, replaced by what they stand for.
fn resolve(path: &[String], here: &[String]) -> Vec<String> {
    let mut base: Vec<String> = here.to_vec();
    let mut rest = path;
    let mut local = false;
    while let Some(head) = rest.first() {
        match head.as_str() {
            "self" => local = true,
            "super" => {
                local = true;
                base.pop();
            }
            _ => break,
        }
        rest = &rest[1..];
    }
    if local {
        std::iter::once("crate".to_string()).chain(base).chain(rest.iter().cloned()).collect()
    } else {
        rest.to_vec()
    }
}
