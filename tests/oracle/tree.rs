//! A query tree of the oracle's own, and its text: the engine has to read it.

use super::number::time_text;
use super::words::Wild;
use crate::support::rng::Rng;

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    All,
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// A test of a field, or of any field.
    Field(Option<String>, Test),
    /// From, until; both taken in or not.
    Time(Option<(i64, bool)>, Option<(i64, bool)>),
    Stream(Vec<(String, Label, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    Is,
    IsNot,
    Matches,
    MatchesNot,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Phrase(String),
    Wildcard(Vec<Wild>),
    Near(Vec<String>, usize),
    Fuzzy(String, usize),
    Exact(String),
    In(Vec<String>),
    Exists,
    Empty,
    /// The text, and whether it stands in quotes, so that it is no number.
    Compare(Op, String, bool),
    /// Ends and whether they are taken in.
    Range(Option<(String, bool)>, Option<(String, bool)>),
    /// The expression, and whether case is ignored.
    Regex(String, bool),
    /// IPv4 network: address and bits.
    Network(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Pipe {
    Fields(Vec<String>),
    Delete(Vec<String>),
    Filter(Filter),
    /// Names and whether they descend; rows to skip, rows to keep.
    Sort(Vec<(String, bool)>, usize, Option<usize>),
    Limit(usize),
    Offset(usize),
    Stats(Vec<Key>, Vec<Function>),
    Top(usize, Vec<String>),
    Uniq(Vec<String>, bool),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Field(String),
    /// Steps of so many ns.
    Time(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub name: &'static str,
    /// Of `quantile`, in percent.
    pub percent: usize,
    pub field: Option<String>,
    pub condition: Option<Filter>,
    pub alias: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub filter: Filter,
    pub pipes: Vec<Pipe>,
}

/// Writes trees; where the language has more than one spelling, a seeded choice picks one.
pub struct Printer {
    rng: Rng,
}

impl Printer {
    pub fn new(seed: u64) -> Self {
        Printer { rng: Rng::new(seed) }
    }

    pub fn query(&mut self, query: &Query) -> String {
        let mut out = self.filter(&query.filter);
        for pipe in &query.pipes {
            out.push_str(" | ");
            out.push_str(&self.pipe(pipe));
        }
        out
    }

    fn one(&mut self, spellings: &[&str]) -> String {
        self.rng.pick(spellings).to_string()
    }

    pub fn filter(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::All => "*".into(),
            Filter::And(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|p| self.part(p, matches!(p, Filter::Or(_) | Filter::And(_)))).collect();
                let by = self.one(&[" AND ", " and ", " && ", " "]);
                parts.join(&by)
            }
            Filter::Or(parts) => {
                let parts: Vec<String> = parts.iter().map(|p| self.part(p, matches!(p, Filter::Or(_)))).collect();
                let by = self.one(&[" OR ", " or ", " || "]);
                parts.join(&by)
            }
            Filter::Not(inner) => {
                if let Filter::Field(Some(name), Test::Exact(text)) = &**inner
                    && self.rng.chance(30)
                {
                    return format!("{}!={}", name_text(name), self.text(text));
                }
                let not = self.one(&["NOT ", "not ", "-", "!"]);
                let compound = matches!(
                    **inner,
                    Filter::And(_) | Filter::Or(_) | Filter::Not(_) | Filter::All | Filter::Stream(_)
                );
                format!("{not}{}", self.part(inner, compound))
            }
            Filter::Field(field, test) => self.field(field.as_deref(), test),
            Filter::Time(from, to) => {
                let name = self.one(&["timestamp", "_time", "@timestamp"]);
                match (from, to) {
                    (Some((ns, true)), None) => format!("{name}>={}", time_text(*ns)),
                    (Some((ns, false)), None) => format!("{name}>{}", time_text(*ns)),
                    (None, Some((ns, true))) => format!("{name}<={}", time_text(*ns)),
                    (None, Some((ns, false))) => format!("{name}<{}", time_text(*ns)),
                    (Some((a, low)), Some((b, high))) => {
                        let (open, close) = (if *low { '[' } else { '{' }, if *high { ']' } else { '}' });
                        format!("{name}:{open}{} TO {}{close}", time_text(*a), time_text(*b))
                    }
                    (None, None) => "*".into(),
                }
            }
            Filter::Stream(labels) => {
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(name, op, text)| {
                        let op = match op {
                            Label::Is => "=",
                            Label::IsNot => "!=",
                            Label::Matches => "=~",
                            Label::MatchesNot => "!~",
                        };
                        format!("{name}{op}{}", quoted(text))
                    })
                    .collect();
                format!("{{{}}}", labels.join(", "))
            }
        }
    }

    fn part(&mut self, filter: &Filter, parentheses: bool) -> String {
        let inner = self.filter(filter);
        if parentheses || self.rng.chance(5) { format!("({inner})") } else { inner }
    }

    fn field(&mut self, field: Option<&str>, test: &Test) -> String {
        let colon = field.map_or(String::new(), |name| {
            let at = if self.rng.chance(5) && is_plain_name(name) { "@" } else { "" };
            format!("{at}{}:", name_text(name))
        });
        let name = field.map_or(String::new(), name_text);
        match test {
            Test::Phrase(text) => format!("{colon}{}", self.text(text)),
            Test::Wildcard(parts) => {
                let parts: String = parts
                    .iter()
                    .map(|p| match p {
                        Wild::Text(text) => text.clone(),
                        Wild::Many => "*".into(),
                        Wild::One => "?".into(),
                    })
                    .collect();
                format!("{colon}{parts}")
            }
            Test::Near(words, distance) => format!("{colon}\"{}\"~{distance}", words.join(" ")),
            Test::Fuzzy(word, edits) => format!("{colon}{word}~{edits}"),
            Test::Exact(text) => match self.rng.below(3) {
                0 => format!("{name}={}", self.text(text)),
                1 => format!("{colon}={}", self.text(text)),
                _ => format!("{colon}=={}", quoted(text)),
            },
            Test::In(values) => {
                let values: Vec<String> = values.iter().map(|v| self.text(v)).collect();
                match self.rng.below(3) {
                    0 => format!("{colon}in({})", values.join(", ")),
                    1 => format!("{name} IN ({})", values.join(",")),
                    _ => format!("{colon} IN [{}]", values.join(" ")),
                }
            }
            Test::Exists => format!("{colon}*"),
            Test::Empty => format!("{colon}\"\""),
            Test::Compare(op, text, in_quotes) => {
                let op = match op {
                    Op::Less => "<",
                    Op::LessOrEqual => "<=",
                    Op::Greater => ">",
                    Op::GreaterOrEqual => ">=",
                };
                let text = if *in_quotes { quoted(text) } else { text.clone() };
                match self.rng.below(3) {
                    0 => format!("{name}{op}{text}"),
                    1 => format!("{name} {op} {text}"),
                    _ => format!("{colon}{op}{text}"),
                }
            }
            Test::Range(low, high) => {
                let end = |end: &Option<(String, bool)>| end.as_ref().map_or("*".to_string(), |(text, _)| text.clone());
                let taken = |end: &Option<(String, bool)>| end.as_ref().is_none_or(|(_, taken)| *taken);
                if self.rng.chance(30) && low.is_some() && high.is_some() {
                    let (open, close) = (if taken(low) { '[' } else { '(' }, if taken(high) { ']' } else { ')' });
                    return format!("{colon}range{open}{}, {}{close}", end(low), end(high));
                }
                let (open, close) = (if taken(low) { '[' } else { '{' }, if taken(high) { ']' } else { '}' });
                format!("{colon}{open}{} TO {}{close}", end(low), end(high))
            }
            Test::Regex(pattern, ignore_case) => {
                let flag = if *ignore_case { "i" } else { "" };
                if field.is_some() && !ignore_case && self.rng.chance(40) {
                    return format!(
                        "{}~{}",
                        if self.rng.chance(50) { colon } else { format!("{name}=") },
                        quoted(pattern)
                    );
                }
                format!("{colon}/{}/{flag}", pattern.replace('/', "\\/"))
            }
            Test::Network(net) => {
                if self.rng.chance(50) {
                    format!("{colon}ipv4_range({net})")
                } else {
                    format!("{colon}{net}")
                }
            }
        }
    }

    /// A word, bare where it can be, else a text in one of the kinds of quotes.
    fn text(&mut self, text: &str) -> String {
        if is_plain_word(text) && self.rng.chance(60) {
            return text.to_string();
        }
        match self.rng.below(4) {
            0 if !text.contains('`') => format!("`{text}`"),
            1 if !text.contains(['\\', '\'', '\n']) => format!("'{text}'"),
            _ => quoted(text),
        }
    }

    fn pipe(&mut self, pipe: &Pipe) -> String {
        let list = |names: &[String]| names.iter().map(|n| pattern_text(n)).collect::<Vec<_>>().join(", ");
        match pipe {
            Pipe::Fields(names) => format!("{} {}", self.one(&["fields", "keep"]), list(names)),
            Pipe::Delete(names) => format!("{} {}", self.one(&["delete", "drop", "rm"]), list(names)),
            Pipe::Filter(filter) => format!("{} {}", self.one(&["filter", "where"]), self.filter(filter)),
            Pipe::Sort(keys, offset, limit) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(name, down)| format!("{}{}", name_text(name), if *down { " desc" } else { "" }))
                    .collect();
                let mut out = format!("{} by ({})", self.one(&["sort", "order"]), keys.join(", "));
                if *offset > 0 {
                    out.push_str(&format!(" offset {offset}"));
                }
                if let Some(limit) = limit {
                    out.push_str(&format!(" limit {limit}"));
                }
                out
            }
            Pipe::Limit(n) => format!("{} {n}", self.one(&["limit", "head"])),
            Pipe::Offset(n) => format!("{} {n}", self.one(&["offset", "skip"])),
            Pipe::Stats(by, functions) => {
                let by: Vec<String> = by
                    .iter()
                    .map(|key| match key {
                        Key::Field(name) => name_text(name),
                        Key::Time(step) => format!("_time:{}s", step / 1_000_000_000),
                    })
                    .collect();
                let by = if by.is_empty() { String::new() } else { format!("by ({}) ", by.join(", ")) };
                let functions: Vec<String> = functions.iter().map(|f| self.function(f)).collect();
                format!("stats {by}{}", functions.join(", "))
            }
            Pipe::Top(n, by) => format!("top {n} by ({})", list(by)),
            Pipe::Uniq(by, hits) => format!("uniq by ({}){}", list(by), if *hits { " with hits" } else { "" }),
        }
    }

    fn function(&mut self, f: &Function) -> String {
        let field = f.field.as_deref().map_or(String::new(), name_text);
        let call = match f.name {
            "quantile" if self.rng.chance(50) && (50..100).contains(&f.percent) => format!("p{}({field})", f.percent),
            "quantile" => format!("quantile({}, {field})", f.percent as f64 / 100.0),
            name => format!("{name}({field})"),
        };
        let condition = f.condition.as_ref().map_or(String::new(), |c| format!(" if ({})", self.filter(c)));
        format!("{call}{condition} as {}", f.alias)
    }
}

fn is_plain_word(text: &str) -> bool {
    const RESERVED: &[&str] = &["and", "or", "not", "in", "to", "select", "range"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

fn is_plain_name(name: &str) -> bool {
    name.split('.').all(is_plain_word)
}

fn name_text(name: &str) -> String {
    if is_plain_name(name) || name == "_msg" { name.to_string() } else { quoted(name) }
}

/// A name that may end in `*`.
fn pattern_text(name: &str) -> String {
    name.strip_suffix('*').map_or_else(|| name_text(name), |prefix| format!("{prefix}*"))
}

pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
