//! JSON values that keep the text of their numbers: read and written without the engine's code.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Val {
    Null,
    Bool(bool),
    /// As it was written.
    Num(String),
    Str(String),
    Arr(Vec<Val>),
    Obj(Vec<(String, Val)>),
}

impl Val {
    pub fn str(text: impl Into<String>) -> Val {
        Val::Str(text.into())
    }
    pub fn num(text: impl fmt::Display) -> Val {
        Val::Num(text.to_string())
    }
    /// The value of a member, by its name or along a dotted path.
    pub fn get(&self, path: &str) -> Option<&Val> {
        let Val::Obj(members) = self else { return None };
        let own = members.iter().find(|(name, _)| name == path).map(|(_, value)| value);
        own.or_else(|| {
            let (head, rest) = path.split_once('.')?;
            members.iter().find(|(name, _)| name == head)?.1.get(rest)
        })
    }
    pub fn as_str(&self) -> Option<&str> {
        if let Val::Str(text) | Val::Num(text) = self { Some(text) } else { None }
    }
    pub fn as_u64(&self) -> Option<u64> {
        self.as_str()?.parse().ok()
    }
    pub fn items(&self) -> &[Val] {
        if let Val::Arr(items) = self { items } else { &[] }
    }
    /// Names and values with nested objects opened; empty objects stay.
    pub fn flat(&self) -> BTreeMap<String, Val> {
        let mut out = BTreeMap::new();
        self.flatten("", &mut out);
        out
    }
    fn flatten(&self, prefix: &str, out: &mut BTreeMap<String, Val>) {
        let Val::Obj(members) = self else { return };
        for (name, value) in members {
            let name = format!("{prefix}{name}");
            match value {
                Val::Obj(inner) if !inner.is_empty() => value.flatten(&format!("{name}."), out),
                _ => drop(out.insert(name, value.clone())),
            }
        }
    }
}

impl fmt::Display for Val {
    /// Compact JSON; only what must be escaped is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Null => f.write_str("null"),
            Val::Bool(b) => write!(f, "{b}"),
            Val::Num(text) => f.write_str(text),
            Val::Str(text) => quote(text, f),
            Val::Arr(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Val::Obj(members) => {
                f.write_str("{")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    quote(name, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// Reads one JSON value.
pub fn parse(text: &str) -> Result<Val, String> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at == chars.len() { Ok(value) } else { Err(format!("more at character {}: {text}", reader.at)) }
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> char {
        self.chars.get(self.at).copied().unwrap_or('\0')
    }
    fn space(&mut self) {
        while matches!(self.peek(), ' ' | '\t' | '\n' | '\r') {
            self.at += 1;
        }
    }
    fn expect(&mut self, c: char) -> Result<(), String> {
        self.space();
        if self.peek() != c {
            return Err(format!("expected {c:?} at character {}, found {:?}", self.at, self.peek()));
        }
        self.at += 1;
        Ok(())
    }
    fn value(&mut self) -> Result<Val, String> {
        self.space();
        match self.peek() {
            '{' => self
                .list('{', '}', |r| {
                    r.space();
                    let name = r.string()?;
                    r.expect(':')?;
                    Ok((name, r.value()?))
                })
                .map(Val::Obj),
            '[' => self.list('[', ']', Reader::value).map(Val::Arr),
            '"' => self.string().map(Val::Str),
            _ => {
                let from = self.at;
                while self.peek().is_ascii_alphanumeric() || matches!(self.peek(), '-' | '+' | '.') {
                    self.at += 1;
                }
                let word: String = self.chars[from..self.at].iter().collect();
                match word.as_str() {
                    "null" => Ok(Val::Null),
                    "true" => Ok(Val::Bool(true)),
                    "false" => Ok(Val::Bool(false)),
                    w if w.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Ok(Val::Num(word)),
                    _ => Err(format!("no value at character {from}: {word:?}")),
                }
            }
        }
    }
    fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.expect(open)?;
        let mut out = Vec::new();
        self.space();
        while self.peek() != close {
            if !out.is_empty() {
                self.expect(',')?;
            }
            out.push(item(self)?);
            self.space();
        }
        self.at += 1;
        Ok(out)
    }
    fn string(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = *self.chars.get(self.at).ok_or("a string without an end")?;
            self.at += 1;
            let plain = match c {
                '"' => return Ok(String::from_utf16_lossy(&units)),
                '\\' => {
                    let escape = self.peek();
                    self.at += 1;
                    match escape {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'u' => {
                            let hex: String = self.chars.iter().skip(self.at).take(4).collect();
                            self.at += 4;
                            units.push(u16::from_str_radix(&hex, 16).map_err(|e| e.to_string())?);
                            continue;
                        }
                        other => other,
                    }
                }
                c => c,
            };
            units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
        }
    }
}
