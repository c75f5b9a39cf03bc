//! Random records and random queries that have something to find in them.

use super::Rec;
use super::eval::text_of;
use super::tree::{Filter, Function, Key, Label, Op, Pipe, Query, Test};
use super::words::Wild;
use crate::support::json::Val;
use crate::support::rng::Rng;
use std::collections::BTreeMap;

const BASE_NS: i64 = 1_740_787_200_000_000_000;
const WORDS: &[&str] = &[
    "timeout",
    "connection",
    "reset",
    "peer",
    "error",
    "Login",
    "failed",
    "user",
    "GET",
    "api",
    "λόγος",
    "Größe",
    "日本語",
    "ok",
    "retry",
    "x_1",
    "café",
    "needle",
    "Ж",
    "foo",
];
const LEVELS: &[&str] =
    &["error", "ERROR", "warn", "warning", "info", "info", "debug", "fatal", "critical", "trace", "weird"];
const CATEGORIES: &[&str] = &["api", "auth", "mcp", "database"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "42",
    "100",
    "1500",
    "0.5",
    "-2.25",
    "1e3",
    "9007199254740993",
    "9007199254740992",
    "18446744073709551615",
    "-9223372036854775808",
    "1094.50",
];
const DURATIONS: &[&str] = &["1.5s", "250ms", "1h30m", "2m", "n/a", "900us"];
const SIZES: &[&str] = &["10KiB", "5MB", "512B", "big"];
const CODES: &[&str] = &["200", "404", "500", "2K", "50%", "1s", "abc"];
const NETWORKS: &[&str] = &["10.0.0.0/8", "10.1.0.0/16", "192.168.1.0/24", "0.0.0.0/0", "10.1.2.3/32"];
const REGEXES: &[&str] = &[
    "time(d )?out",
    "^GET",
    r"\d{3}",
    "user-0000[1-3]",
    "/api/v[12]",
    "λ.γος",
    "^$",
    "(failed|reset)$",
    "[A-Z]rö",
    r"\bx_1\b",
    "^[0-9a-f]{8}-",
];

fn sentence(rng: &mut Rng) -> String {
    let mut parts: Vec<String> = (0..1 + rng.below(7)).map(|_| rng.pick(WORDS).to_string()).collect();
    if rng.chance(50) {
        parts.push(format!("{}ms", rng.below(3000)));
    }
    if rng.chance(20) {
        parts.push(format!("/api/v{}/x?q={}", 1 + rng.below(3), rng.below(9)));
    }
    let by = *rng.choose(&[" ", " ", " ", "-", ": ", ", ", "\n", "/"]);
    let mut out = parts.join(by);
    if rng.chance(5) {
        out.push_str(" \"quoted\" \\ \u{1F680}\u{0}");
    }
    out
}

fn scalar(rng: &mut Rng) -> Val {
    match rng.below(6) {
        0 => Val::Null,
        1 => Val::Bool(rng.chance(50)),
        2 => Val::num(rng.pick(NUMBERS)),
        3 => Val::str(""),
        4 => Val::str(sentence(rng)),
        _ => Val::str(rng.pick(WORDS)),
    }
}

fn array(rng: &mut Rng) -> Val {
    let items = (0..rng.below(4))
        .map(|_| match rng.below(8) {
            0 => Val::Arr(vec![scalar(rng)]),
            1 => Val::Obj(vec![("k".into(), Val::num(rng.below(9)))]),
            _ => scalar(rng),
        })
        .collect();
    Val::Arr(items)
}

fn number_or(rng: &mut Rng, texts: &[&str]) -> Val {
    match rng.below(8) {
        0..4 => Val::num(rng.below(3000)),
        4 => Val::num(format!("{}.{:02}", rng.below(300), rng.below(100))),
        5 => Val::str(rng.below(3000).to_string()),
        6 => Val::Null,
        _ => Val::str(rng.pick(texts)),
    }
}

fn uuid(rng: &mut Rng) -> String {
    let h = format!("{:016x}{:016x}", rng.next(), rng.next());
    format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..])
}

/// Records in order of arrival; `Rec::seq` is the place in it.
pub fn records(rng: &mut Rng, count: usize) -> Vec<Rec> {
    let mut time = BASE_NS;
    let mut last_trace = uuid(rng);
    (0..count)
        .map(|i| {
            // Some share their time, some come late, some have parts of a microsecond.
            match rng.below(10) {
                0..3 => {}
                3 => time += rng.range(1, 999),
                _ => time += rng.range(0, 30_000) * 1_000_000,
            }
            let late = if rng.chance(6) { rng.range(0, 90) * 1_000_000_000 } else { 0 };
            let mut members: Vec<(String, Val)> = vec![("id".into(), Val::str(format!("r{i:05}")))];
            let mut put = |name: &str, value: Val| members.push((name.to_string(), value));
            put("category", Val::str(rng.pick(CATEGORIES)));
            if rng.chance(95) {
                put("level", Val::str(rng.pick(LEVELS)));
            }
            if rng.chance(95) {
                put("message", Val::str(sentence(rng)));
            }
            if rng.chance(4) {
                put("msg", Val::str(sentence(rng)));
            }
            if rng.chance(70) {
                put("userId", Val::str(format!("user-{:05}", rng.below(6))));
            }
            if rng.chance(40) {
                let last = rng.below(9);
                put(
                    "ip",
                    Val::str(*rng.choose(&["10.1.2.3", "192.168.1.7", "10.200.0.1", "not 10.1.2.3", "::1", "8.8.8.8"])),
                );
                put("host", Val::str(format!("node-{last:02}.example.net")));
            }
            if rng.chance(50) {
                put("duration", number_or(rng, DURATIONS));
            }
            if rng.chance(30) {
                put("elapsed_ms", number_or(rng, DURATIONS));
            }
            if rng.chance(30) {
                put("size_bytes", number_or(rng, SIZES));
            }
            if rng.chance(60) {
                let text = rng.pick(CODES);
                put("code", if rng.chance(60) { Val::num(rng.choose(&[200, 404, 500, 503])) } else { Val::str(text) });
            }
            if rng.chance(80) {
                put("n", Val::num(rng.pick(NUMBERS)));
            }
            if rng.chance(40) {
                put("tags", array(rng));
            }
            if rng.chance(40) {
                let empty = Val::Obj(Vec::new());
                let value = if rng.chance(20) { empty } else { scalar(rng) };
                put("note", value);
            }
            if rng.chance(40) {
                let status = Val::num(rng.choose(&[200, 404, 500]));
                let path = Val::str(format!("/api/v{}/items/{}", 1 + rng.below(2), rng.below(5)));
                if rng.chance(70) {
                    put("http", Val::Obj(vec![("status".into(), status), ("path".into(), path)]));
                } else {
                    put("http.status", status);
                }
            }
            if rng.chance(10) {
                put("odd name", Val::str(sentence(rng)));
            }
            if rng.chance(10) {
                put("Ünï", scalar(rng));
            }
            if rng.chance(60) {
                if rng.chance(60) {
                    last_trace = uuid(rng);
                }
                put("trace", Val::str(last_trace.clone()));
            }
            if rng.chance(5) {
                let name = format!("rare_{}", rng.below(40));
                put(&name, scalar(rng));
            }
            Rec { time: time - late, seq: i as u64, labels: labels(rng), fields: Val::Obj(members).flat() }
        })
        .collect()
}

fn labels(rng: &mut Rng) -> Vec<(String, String)> {
    if rng.chance(20) {
        return Vec::new();
    }
    let mut out = vec![("service".to_string(), rng.pick(&["web", "worker"]).to_string())];
    if rng.chance(50) {
        out.insert(0, ("env".to_string(), rng.pick(&["prod-eu", "prod-us", "test"]).to_string()));
    }
    out
}

/// Draws queries over some records, so that values can be taken from them.
pub struct Draw<'a> {
    pub rng: Rng,
    pub records: &'a [Rec],
}

impl Draw<'_> {
    fn rec(&mut self) -> &Rec {
        let at = self.rng.below(self.records.len());
        &self.records[at]
    }

    /// The text of some record's field, which may well be missing.
    fn text(&mut self, name: &str) -> Option<String> {
        (0..6).find_map(|_| self.rec().get(name).map(|v| text_of(&v))).filter(|t| !t.is_empty())
    }

    fn time(&mut self) -> i64 {
        let time = self.rec().time;
        time + *self.rng.choose(&[0, 0, 1, -1, 5_000_000_000])
    }

    pub fn query(&mut self) -> Query {
        let filter = if self.rng.chance(8) { Filter::All } else { self.filter(3) };
        let pipes = match self.rng.below(12) {
            0..4 => Vec::new(),
            10 => vec![Pipe::Filter(self.filter(1)), self.stats()],
            11 => {
                let hits = self.rng.chance(50);
                let down = self.rng.chance(50);
                vec![Pipe::Uniq(vec!["category".into()], hits), Pipe::Sort(vec![("category".into(), down)], 0, Some(3))]
            }
            4 => vec![Pipe::Limit(1 + self.rng.below(20))],
            5 => self.cuts(),
            6 => vec![self.sort()],
            7 => vec![self.top_or_uniq()],
            _ => vec![self.stats()],
        };
        Query { filter, pipes }
    }

    pub fn filter(&mut self, depth: usize) -> Filter {
        if depth == 0 || self.rng.chance(45) {
            return self.leaf();
        }
        let some = |s: &mut Self| (0..2 + s.rng.below(2)).map(|_| s.filter(depth - 1)).collect::<Vec<_>>();
        match self.rng.below(3) {
            0 => Filter::And(some(self)),
            1 => Filter::Or(some(self)),
            _ => Filter::Not(Box::new(self.filter(depth - 1))),
        }
    }

    fn leaf(&mut self) -> Filter {
        match self.rng.below(20) {
            0 => {
                let (a, b) = (self.time(), self.time());
                let (low, high) = (self.rng.chance(50), self.rng.chance(50));
                match self.rng.below(3) {
                    0 => Filter::Time(Some((a, low)), None),
                    1 => Filter::Time(None, Some((a, high))),
                    _ => Filter::Time(Some((a.min(b), low)), Some((a.max(b), high))),
                }
            }
            1 => {
                let op = *self.rng.choose(&[Label::Is, Label::IsNot, Label::Matches, Label::MatchesNot]);
                let (name, text) =
                    *self.rng.choose(&[("service", "web"), ("env", "prod.*"), ("env", "test"), ("gone", "")]);
                Filter::Stream(vec![(name.into(), op, text.into())])
            }
            2..7 => {
                let test = self.word_test("message");
                Filter::Field(None, test)
            }
            _ => self.field_leaf(),
        }
    }

    fn field_leaf(&mut self) -> Filter {
        const NAMES: &[&str] = &[
            "level",
            "category",
            "message",
            "_msg",
            "msg",
            "userId",
            "ip",
            "host",
            "duration",
            "elapsed_ms",
            "size_bytes",
            "code",
            "n",
            "tags",
            "note",
            "http.status",
            "http.path",
            "odd name",
            "Ünï",
            "trace",
            "service",
            "env",
            "rare_7",
            "missing_one",
        ];
        let name = self.rng.pick(NAMES).to_string();
        let test = match self.rng.below(10) {
            0 => Test::Exists,
            1 => Test::Empty,
            2 => match self.text(&name) {
                Some(text) => Test::Exact(text),
                None => Test::Exact("nothing like it".into()),
            },
            3 => {
                let mut values: Vec<String> = (0..3).filter_map(|_| self.text(&name)).collect();
                values.push("other".into());
                Test::In(values)
            }
            4..6 => self.order_test(&name),
            6 if name == "ip" => Test::Network(self.rng.pick(NETWORKS).into()),
            _ => self.word_test(&name),
        };
        Filter::Field(Some(name), test)
    }

    fn order_test(&mut self, name: &str) -> Test {
        let bound = |s: &mut Self| -> String {
            match name {
                "level" => s.rng.pick(LEVELS).into(),
                "duration" | "elapsed_ms" => s.rng.pick(&["100", "1000", "1.5s", "250ms", "2m", "0.5"]).into(),
                "size_bytes" => s.rng.pick(&["100", "10KiB", "1MB", "512"]).into(),
                "n" => s.rng.pick(NUMBERS).into(),
                "code" => s.rng.pick(&["200", "404.5", "2K", "1s", "50%"]).into(),
                "http.status" => s.rng.pick(&["200", "404", "500"]).into(),
                _ => s.rng.pick(&["a", "m", "user", "5", "W"]).into(),
            }
        };
        let quote = self.rng.chance(10);
        if self.rng.chance(70) {
            let op = *self.rng.choose(&[Op::Less, Op::LessOrEqual, Op::Greater, Op::GreaterOrEqual]);
            return Test::Compare(op, bound(self), quote);
        }
        let end = |s: &mut Self| if s.rng.chance(20) { None } else { Some((bound(s), s.rng.chance(50))) };
        match (end(self), end(self)) {
            (None, None) => Test::Range(Some((bound(self), true)), None),
            (low, high) => Test::Range(low, high),
        }
    }

    fn word_test(&mut self, name: &str) -> Test {
        let word = self.word(name);
        match self.rng.below(12) {
            0 | 1 => Test::Regex(self.rng.pick(REGEXES).into(), self.rng.chance(30)),
            2 => {
                let other = self.word(name);
                Test::Near(vec![word, other], self.rng.below(4))
            }
            3 if word.chars().count() > 3 => {
                let mut chars: Vec<char> = word.chars().collect();
                let at = 1 + self.rng.below(chars.len() - 2);
                if self.rng.chance(50) {
                    chars.remove(at);
                } else {
                    chars.swap(at, at + 1);
                }
                Test::Fuzzy(chars.into_iter().collect(), 1 + self.rng.below(2))
            }
            4 | 5 => self.wildcard(&word),
            6 | 7 => Test::Phrase(self.piece(name).unwrap_or(word)),
            _ => Test::Phrase(if self.rng.chance(30) { word.to_uppercase() } else { word }),
        }
    }

    /// One word of a field, or of the vocabulary; of letters and digits only, so that it stands bare in patterns.
    fn word(&mut self, name: &str) -> String {
        let text = self.text(name).unwrap_or_default();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| w.starts_with(|c: char| c.is_ascii_alphabetic()))
            .collect();
        match words.len() {
            n if n > 0 && self.rng.chance(70) => {
                let word = words[self.rng.below(n)].to_string();
                if ["and", "or", "not", "in", "to"].contains(&word.as_str()) { "ok".into() } else { word }
            }
            _ => self.rng.pick(&["timeout", "connection", "reset", "needle", "failed", "absent", "api"]).into(),
        }
    }

    /// A piece of a field's text, from the beginning of a character to the end of another.
    fn piece(&mut self, name: &str) -> Option<String> {
        let chars: Vec<char> = self.text(name)?.chars().collect();
        let from = self.rng.below(chars.len());
        let to = from + 1 + self.rng.below((chars.len() - from).min(14));
        let piece: String = chars[from..to].iter().collect();
        let piece = piece.trim().to_string();
        (!piece.is_empty() && !piece.contains('\0')).then_some(piece)
    }

    fn wildcard(&mut self, word: &str) -> Test {
        let chars: Vec<char> = word.chars().collect();
        let at = self.rng.below(chars.len());
        let text = |c: &[char]| Wild::Text(c.iter().collect());
        let parts = match self.rng.below(5) {
            0 => vec![text(&chars[..=at]), Wild::Many],
            1 => vec![Wild::Many, text(&chars[at..])],
            2 => vec![Wild::Many, text(&chars[at..=at]), Wild::Many],
            3 if at > 0 && at + 1 < chars.len() => vec![text(&chars[..at]), Wild::One, text(&chars[at + 1..])],
            _ => vec![text(&chars[..1]), Wild::Many, text(&chars[chars.len() - 1..])],
        };
        Test::Wildcard(parts)
    }

    fn cuts(&mut self) -> Vec<Pipe> {
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let mut pipes = Vec::new();
        if self.rng.chance(50) {
            pipes.push(Pipe::Filter(self.filter(1)));
        }
        if self.rng.chance(50) {
            pipes.push(Pipe::Offset(self.rng.below(10)));
        }
        pipes.push(match self.rng.below(3) {
            0 => Pipe::Fields(names(&["id", "level", "http.status", "service"])),
            1 => Pipe::Fields(names(&["id", "timestamp", "h*"])),
            _ => Pipe::Delete(names(&["message", "rare*", "trace"])),
        });
        pipes
    }

    fn sort(&mut self) -> Pipe {
        let name = self.rng.pick(&["n", "category", "userId", "http.status", "host"]).to_string();
        let down = self.rng.chance(50);
        let limit = self.rng.chance(40).then(|| 1 + self.rng.below(30));
        Pipe::Sort(
            vec![(name, down), ("id".into(), self.rng.chance(50))],
            if limit.is_some() { self.rng.below(5) } else { 0 },
            limit,
        )
    }

    fn top_or_uniq(&mut self) -> Pipe {
        let by = match self.rng.below(3) {
            0 => vec!["category".to_string()],
            1 => vec!["userId".to_string()],
            _ => vec!["category".to_string(), "host".to_string()],
        };
        if self.rng.chance(50) { Pipe::Top(1 + self.rng.below(6), by) } else { Pipe::Uniq(by, self.rng.chance(50)) }
    }

    fn stats(&mut self) -> Pipe {
        let by = match self.rng.below(6) {
            0 | 1 => vec![],
            2 => vec![Key::Field("category".into())],
            3 => vec![Key::Field("userId".into()), Key::Field("service".into())],
            4 => vec![Key::Field("host".into())],
            _ => vec![Key::Time(*self.rng.choose(&[60, 300, 3600]) * 1_000_000_000)],
        };
        const FUNCTIONS: &[&str] = &[
            "count",
            "count",
            "count_uniq",
            "sum",
            "avg",
            "min",
            "max",
            "median",
            "quantile",
            "values",
            "uniq_values",
        ];
        let functions = (0..1 + self.rng.below(3))
            .map(|i| {
                let name = self.rng.pick(FUNCTIONS);
                let field = match name {
                    "count" => [None, Some("note"), Some("tags")][self.rng.below(3)],
                    "count_uniq" | "values" | "uniq_values" => {
                        Some(self.rng.pick(&["category", "host", "userId", "env"]))
                    }
                    _ => Some(self.rng.pick(&["n", "http.status"])),
                };
                Function {
                    name: FUNCTIONS.iter().find(|f| **f == name).unwrap(),
                    percent: 1 + self.rng.below(99),
                    field: field.map(str::to_string),
                    condition: self.rng.chance(25).then(|| self.filter(1)),
                    alias: format!("a{i}"),
                }
            })
            .collect();
        Pipe::Stats(by, functions)
    }
}

/// The record as JSON, as it would be sent.
pub fn json(rec: &Rec) -> String {
    let fields: BTreeMap<String, Val> = rec.fields.clone();
    Val::Obj(fields.into_iter().collect()).to_string()
}
