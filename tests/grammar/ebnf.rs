//! A small reader of the W3C's EBNF, a generator of sentences and a recogniser.

use std::collections::{BTreeSet, HashMap};

/// Part of a rule.
#[derive(Debug)]
enum Node {
    Rule(usize),
    Literal {
        text: String,
        ignore_case: bool,
    },
    Class {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    /// From so many times to so many.
    Repeat(Box<Node>, usize, usize),
    /// The first but not the second.
    Except(Box<Node>, Box<Node>),
}

/// Most repetitions that are drawn for `*` and `+`.
const REPEAT_MAX: usize = usize::MAX;

pub struct Grammar {
    names: HashMap<String, usize>,
    rules: Vec<Option<Node>>,
    /// The least depth of rules that a rule needs, to come to an end when drawing.
    depths: Vec<usize>,
}

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    grammar: Grammar,
}

impl Grammar {
    /// Reads a grammar. Panics on what is no EBNF, and on rules that are used and not given, or given and not used.
    pub fn read(text: &str) -> Grammar {
        let grammar = Grammar { names: HashMap::new(), rules: Vec::new(), depths: Vec::new() };
        // A rule begins with a name and `::=`; joining the lines of each makes the rest context-free.
        let mut reader = Reader { chars: "".chars().peekable(), grammar };
        let mut rules: Vec<(String, String)> = Vec::new();
        for line in without_comments(text).lines() {
            match line.split_once("::=") {
                Some((name, body)) if !line.starts_with(' ') => rules.push((name.trim().into(), body.into())),
                _ => rules.last_mut().map_or((), |(_, body)| body.push_str(&format!("\n{line}"))),
            }
        }
        for (name, body) in &rules {
            let body: &str = body;
            let mut inner = Reader { chars: body.chars().peekable(), grammar: reader.grammar };
            let node = inner.choice();
            inner.space();
            assert!(inner.chars.peek().is_none(), "{name}: what is {:?}?", inner.chars.collect::<String>());
            reader = Reader { chars: "".chars().peekable(), grammar: inner.grammar };
            let at = reader.grammar.named(name);
            assert!(reader.grammar.rules[at].replace(node).is_none(), "{name} is given twice");
        }
        let mut grammar = reader.grammar;
        for (name, at) in &grammar.names {
            assert!(grammar.rules[*at].is_some(), "the rule {name} is used and not given");
        }
        grammar.measure();
        grammar
    }

    fn named(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        self.rules.push(None);
        self.names.insert(name.to_owned(), self.rules.len() - 1);
        self.rules.len() - 1
    }

    fn measure(&mut self) {
        self.depths = vec![usize::MAX; self.rules.len()];
        loop {
            let next: Vec<usize> = self.rules.iter().flatten().map(|rule| self.depth(rule).saturating_add(1)).collect();
            if next == self.depths {
                break;
            }
            self.depths = next;
        }
        assert!(!self.depths.contains(&usize::MAX), "a rule never comes to an end");
    }

    fn depth(&self, node: &Node) -> usize {
        match node {
            Node::Rule(at) => self.depths[*at],
            Node::Literal { .. } | Node::Class { .. } | Node::Repeat(_, 0, _) => 0,
            Node::Sequence(parts) => parts.iter().map(|p| self.depth(p)).max().unwrap_or(0),
            Node::Choice(parts) => parts.iter().map(|p| self.depth(p)).min().unwrap_or(0),
            Node::Repeat(part, ..) => self.depth(part),
            Node::Except(part, _) => self.depth(part),
        }
    }

    /// Draws a sentence of a rule, at most about so deep.
    pub fn draw(&self, rule: &str, random: &mut Random, depth: usize) -> String {
        let mut out = String::new();
        self.draw_node(&Node::Rule(self.names[rule]), random, depth, &mut out);
        out
    }

    fn draw_node(&self, node: &Node, random: &mut Random, depth: usize, out: &mut String) {
        match node {
            Node::Rule(at) => {
                let rule = self.rules[*at].as_ref().expect("checked when read");
                self.draw_node(rule, random, depth.saturating_sub(1), out);
            }
            Node::Literal { text, ignore_case: true } if random.below(4) == 0 => out.push_str(&text.to_uppercase()),
            Node::Literal { text, .. } => out.push_str(text),
            Node::Class { ranges, negated: false } => {
                let (from, to) = ranges[random.below(ranges.len())];
                out.push(
                    char::from_u32(from as u32 + random.below((to as u32 - from as u32 + 1) as usize) as u32)
                        .expect("a range of characters"),
                );
            }
            Node::Class { ranges, .. } => {
                let pool: Vec<char> = (' '..='~').chain(['é', 'ש', '😀']).collect();
                let fits: Vec<&char> =
                    pool.iter().filter(|c| !ranges.iter().any(|(a, b)| (a..=b).contains(c))).collect();
                out.push(*fits[random.below(fits.len())]);
            }
            Node::Sequence(parts) => parts.iter().for_each(|p| self.draw_node(p, random, depth, out)),
            Node::Choice(parts) => {
                let least = parts.iter().map(|p| self.depth(p)).min().unwrap_or(0);
                // Too deep already: only the parts that end soonest.
                let fits: Vec<&Node> = parts.iter().filter(|p| self.depth(p) <= depth.max(least)).collect();
                self.draw_node(fits[random.below(fits.len())], random, depth, out);
            }
            Node::Repeat(part, least, most) => {
                let mut times = *least;
                while times < *most && self.depth(part) <= depth && random.below(2) == 0 {
                    times += 1;
                }
                (0..times).for_each(|_| self.draw_node(part, random, depth, out));
            }
            Node::Except(part, not) => loop {
                let mut drawn = String::new();
                self.draw_node(part, random, depth, &mut drawn);
                if !self.matches_node(not, &drawn) {
                    out.push_str(&drawn);
                    return;
                }
            },
        }
    }

    /// Is the text a sentence of this rule?
    pub fn derives(&self, rule: &str, text: &str) -> bool {
        self.matches_node(&Node::Rule(self.names[rule]), text)
    }

    fn matches_node(&self, node: &Node, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        Recogniser { grammar: self, text: &chars, known: HashMap::new() }.ends(node, 0).contains(&chars.len())
    }
}

/// Finds every place where a part that begins at some place can end. No rule may begin with itself.
struct Recogniser<'a> {
    grammar: &'a Grammar,
    text: &'a [char],
    known: HashMap<(usize, usize), BTreeSet<usize>>,
}

impl Recogniser<'_> {
    fn ends(&mut self, node: &Node, at: usize) -> BTreeSet<usize> {
        match node {
            Node::Rule(rule) => {
                if let Some(known) = self.known.get(&(*rule, at)) {
                    return known.clone();
                }
                let body = self.grammar.rules[*rule].as_ref().expect("checked when read");
                let ends = self.ends(body, at);
                self.known.insert((*rule, at), ends.clone());
                ends
            }
            Node::Literal { text, ignore_case } => {
                let same = |(a, b): (char, &char)| a == *b || *ignore_case && a.eq_ignore_ascii_case(b);
                let len = text.chars().count();
                let here = self.text.get(at..at + len);
                here.filter(|here| text.chars().zip(here.iter()).all(same)).map(|_| at + len).into_iter().collect()
            }
            Node::Class { ranges, negated } => {
                let fits = |c: &&char| ranges.iter().any(|(a, b)| (a..=b).contains(c)) != *negated;
                self.text.get(at).filter(fits).map(|_| at + 1).into_iter().collect()
            }
            Node::Sequence(parts) => parts.iter().fold(BTreeSet::from([at]), |places, part| {
                places.into_iter().flat_map(|place| self.ends(part, place)).collect()
            }),
            Node::Choice(parts) => parts.iter().flat_map(|part| self.ends(part, at)).collect(),
            Node::Repeat(part, least, most) => {
                let (mut all, mut new, mut times) = (BTreeSet::new(), BTreeSet::from([at]), 0);
                if *least == 0 {
                    all.insert(at);
                }
                while times < *most && !new.is_empty() {
                    let next: BTreeSet<usize> = new.into_iter().flat_map(|place| self.ends(part, place)).collect();
                    times += 1;
                    new = next.difference(&all).copied().collect();
                    if times >= *least {
                        all.extend(next);
                    }
                }
                all
            }
            Node::Except(part, not) => {
                let excluded = self.ends(not, at);
                self.ends(part, at).difference(&excluded).copied().collect()
            }
        }
    }
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    // Comments stand between rules and at line starts only, so that `/*` in a terminal is none.
    while let Some(at) = rest.find("/* ").filter(|at| *at == 0 || rest[..*at].ends_with('\n')) {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once("*/").expect("a comment ends").1;
        if let Some(next) = rest.find("\n/* ") {
            out.push_str(&rest[..=next]);
            rest = &rest[next + 1..];
        }
    }
    out.push_str(rest);
    out
}

impl Reader<'_> {
    fn space(&mut self) {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn choice(&mut self) -> Node {
        let mut parts = vec![self.sequence()];
        self.space();
        while self.chars.next_if_eq(&'|').is_some() {
            parts.push(self.sequence());
            self.space();
        }
        if parts.len() == 1 { parts.remove(0) } else { Node::Choice(parts) }
    }

    fn sequence(&mut self) -> Node {
        let mut parts = Vec::new();
        loop {
            self.space();
            match self.chars.peek() {
                None | Some('|' | ')') => break,
                Some('-') => {
                    self.chars.next();
                    let first = parts.pop().expect("something before `-`");
                    let not = self.item();
                    parts.push(Node::Except(Box::new(first), Box::new(not)));
                }
                _ => parts.push(self.item()),
            }
        }
        if parts.len() == 1 { parts.remove(0) } else { Node::Sequence(parts) }
    }

    fn item(&mut self) -> Node {
        self.space();
        let node = match self.chars.next().expect("a part of a rule") {
            '(' => {
                let node = self.choice();
                self.space();
                assert_eq!(self.chars.next(), Some(')'));
                node
            }
            quote @ ('\'' | '"') => {
                let text: String = std::iter::from_fn(|| self.chars.next_if(|c| *c != quote)).collect();
                assert_eq!(self.chars.next(), Some(quote), "{text}");
                Node::Literal { text, ignore_case: quote == '"' }
            }
            '[' => self.class(),
            c if c.is_alphabetic() => {
                let rest: String = std::iter::from_fn(|| self.chars.next_if(|c| c.is_alphanumeric())).collect();
                Node::Rule(self.grammar.named(&format!("{c}{rest}")))
            }
            c => panic!("what is {c:?}?"),
        };
        match self.chars.peek() {
            Some('?') => self.repeat(node, 0, 1),
            Some('*') => self.repeat(node, 0, REPEAT_MAX),
            Some('+') => self.repeat(node, 1, REPEAT_MAX),
            _ => node,
        }
    }

    fn repeat(&mut self, node: Node, least: usize, most: usize) -> Node {
        self.chars.next();
        Node::Repeat(Box::new(node), least, most)
    }

    /// A class of characters; a `]` that is the first one stands for itself, and so does a `-` there.
    fn class(&mut self) -> Node {
        let negated = self.chars.next_if_eq(&'^').is_some();
        let mut ranges: Vec<(char, char)> = Vec::new();
        let mut first = true;
        loop {
            let c = self.chars.next().expect("a class ends");
            if c == ']' && !first {
                break;
            }
            let c = self.coded(c);
            let next_is_end = |chars: &std::iter::Peekable<std::str::Chars<'_>>| chars.clone().nth(1) == Some(']');
            if self.chars.peek() == Some(&'-') && !first_dash(c, first) && !next_is_end(&self.chars) {
                self.chars.next();
                let end = self.chars.next().expect("a range ends");
                let end = self.coded(end);
                ranges.push((c, end));
            } else {
                ranges.push((c, c));
            }
            first = false;
        }
        Node::Class { ranges, negated }
    }

    /// A character, or the one that `#x1F` stands for.
    fn coded(&mut self, c: char) -> char {
        if c != '#' || self.chars.peek() != Some(&'x') {
            return c;
        }
        self.chars.next();
        let digits: String = std::iter::from_fn(|| self.chars.next_if(char::is_ascii_hexdigit)).collect();
        char::from_u32(u32::from_str_radix(&digits, 16).expect("hex digits")).expect("a character")
    }
}

fn first_dash(c: char, first: bool) -> bool {
    first && c == '-'
}

/// A small generator of random numbers (SplitMix64), so that every run draws the same sentences.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}
