//! Regular expressions, and the texts that stand in everything that they match.

use super::scan::FoldedSearch;
use crate::exec::ExecError;
use crate::query::ast;
use crate::record::text::fold;
use regex_syntax::hir::{Class, Hir, HirKind};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

/// Bytes that a compiled expression may take. Linear time holds for any size; memory does not.
pub(crate) const REGEX_BYTES_MAX: usize = 4 << 20;
/// Bytes that the lazy automaton of an expression may take, for each thread that uses it.
pub(crate) const REGEX_CACHE_BYTES_MAX: usize = 2 << 20;
/// How deep parentheses may go.
pub(crate) const REGEX_NEST_MAX: u32 = 100;
/// Most texts of which one must stand in a match.
const ALTERNATIVES_MAX: usize = 16;
/// Most distinct foldings of a class that is taken as a choice of texts.
const CLASS_TEXTS_MAX: usize = 4;
/// Shorter texts are in nearly every block.
const LITERAL_BYTES_MIN: usize = 2;

/// An expression, ready for search.
#[derive(Debug)]
pub(crate) struct RegexTest {
    regex: regex::bytes::Regex,
    /// One for each thread: threads that share one take turns for its buffers at every value.
    own: Mutex<FxHashMap<ThreadId, Arc<regex::bytes::Regex>>>,
    required: Vec<Vec<String>>,
    search: Option<FoldedSearch>,
    ignore_case: bool,
}

impl RegexTest {
    pub(crate) fn new(ast: &ast::Regex) -> Result<Self, ExecError> {
        let required = required(&ast.pattern, ast.ignore_case);
        let longest = required.iter().map(|texts| common(texts)).max_by_key(|text| text.len());
        Ok(RegexTest {
            search: longest.filter(|text| text.len() >= LITERAL_BYTES_MIN).map(FoldedSearch::new),
            regex: compile(&ast.pattern, ast.ignore_case)?,
            own: Mutex::default(),
            required,
            ignore_case: ast.ignore_case,
        })
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The expression as it was written.
    pub(crate) fn pattern(&self) -> &str {
        self.regex.as_str()
    }

    /// Does it ignore case from its beginning?
    pub(crate) fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// The expression for many searches on this thread.
    pub(crate) fn of_this_thread(&self) -> Arc<regex::bytes::Regex> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.entry(std::thread::current().id()).or_insert_with(|| Arc::new(self.regex.clone())).clone()
    }

    /// Of each of these lists, one text stands, folded, in every text that matches, folded.
    pub(crate) fn required(&self) -> &[Vec<String>] {
        &self.required
    }

    /// Texts that each stand, folded, in every text that matches: of each list what its texts have in common.
    pub(crate) fn common(&self) -> impl Iterator<Item = &str> {
        self.required.iter().map(|texts| common(texts))
    }

    /// A search for a text that stands in everything that matches.
    pub(crate) fn search(&self) -> Option<&FoldedSearch> {
        self.search.as_ref()
    }
}

/// The longest text that all of these begin with, or all end with.
fn common(texts: &[String]) -> &str {
    let Some((first, others)) = texts.split_first() else { return "" };
    let (mut head, mut tail) = (first.as_str(), first.as_str());
    for other in others {
        let same = head.chars().zip(other.chars()).take_while(|(a, b)| a == b);
        head = &head[..same.map(|(c, _)| c.len_utf8()).sum()];
        let same = tail.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b);
        tail = &tail[tail.len() - same.map(|(c, _)| c.len_utf8()).sum::<usize>()..];
    }
    if head.len() >= tail.len() { head } else { tail }
}

/// Compiles an expression within the limits.
pub(crate) fn compile(pattern: &str, ignore_case: bool) -> Result<regex::bytes::Regex, ExecError> {
    regex::bytes::RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_CACHE_BYTES_MAX)
        .nest_limit(REGEX_NEST_MAX)
        .build()
        .map_err(|error| ExecError::Regex {
            pattern: pattern.chars().take(200).collect(),
            reason: match error {
                regex::Error::CompiledTooBig(_) => format!("compiled, it takes more than {REGEX_BYTES_MAX} bytes"),
                error => error.to_string(),
            },
        })
}

/// The lists of folded texts of which one each must stand in the folded form of whatever matches.
///
/// Folding goes character by character, so that a text that stands in a value, folded, stands in the folded value. A
/// class of characters that all fold to the same (as `(?i)` makes them) is as good as a literal; a few that fold
/// differently (such as `s` and the long s) are a choice.
fn required(pattern: &str, ignore_case: bool) -> Vec<Vec<String>> {
    let parsed = regex_syntax::ParserBuilder::new()
        .case_insensitive(ignore_case)
        .nest_limit(REGEX_NEST_MAX)
        .utf8(false)
        .build()
        .parse(pattern);
    let mut all = match parsed {
        Ok(hir) => clauses(&hir),
        Err(_) => Vec::new(),
    };
    all.retain(|texts| texts.iter().all(|t| t.len() >= LITERAL_BYTES_MIN));
    all.sort_by_key(|texts| texts.len());
    all.dedup();
    all
}

/// The texts that a part gives exactly, folded; `None` where they are too many or not known.
fn exact(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![fold(std::str::from_utf8(&literal.0).ok()?)]),
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            // A negated class has a million characters.
            let few: Vec<char> = class.iter().flat_map(|r| r.start()..=r.end()).take(CLASS_TEXTS_MAX * 4 + 1).collect();
            if few.len() > CLASS_TEXTS_MAX * 4 {
                return None;
            }
            let mut texts: Vec<String> = few.iter().map(|c| fold(c.encode_utf8(&mut [0; 4]))).collect();
            texts.sort();
            texts.dedup();
            (texts.len() <= CLASS_TEXTS_MAX && !texts.is_empty()).then_some(texts)
        }
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![String::new()], |so_far, part| cross(&so_far, &exact(part)?))
        }
        HirKind::Alternation(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                texts.extend(exact(part)?);
            }
            texts.sort();
            texts.dedup();
            (texts.len() <= ALTERNATIVES_MAX).then_some(texts)
        }
        HirKind::Repetition(repetition) if repetition.max == Some(repetition.min) && repetition.min <= 4 => {
            let once = exact(&repetition.sub)?;
            (0..repetition.min).try_fold(vec![String::new()], |so_far, _| cross(&so_far, &once))
        }
        HirKind::Class(_) | HirKind::Repetition(_) => None,
    }
}

fn cross(left: &[String], right: &[String]) -> Option<Vec<String>> {
    (left.len() * right.len() <= ALTERNATIVES_MAX)
        .then(|| left.iter().flat_map(|l| right.iter().map(move |r| format!("{l}{r}"))).collect())
}

/// Lists of which one text each must stand in a match of this part.
fn clauses(hir: &Hir) -> Vec<Vec<String>> {
    if let Some(texts) = exact(hir) {
        return vec![texts];
    }
    match hir.kind() {
        HirKind::Capture(capture) => clauses(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => clauses(&repetition.sub),
        HirKind::Concat(parts) => {
            let mut all = Vec::new();
            // Neighbours that are known exactly are joined as far as they stay few.
            let mut run: Option<Vec<String>> = None;
            for part in parts {
                match (exact(part), run.take()) {
                    (Some(texts), None) => run = Some(texts),
                    (Some(texts), Some(before)) => match cross(&before, &texts) {
                        Some(joined) => run = Some(joined),
                        None => {
                            all.push(before);
                            run = Some(texts);
                        }
                    },
                    (None, before) => {
                        all.extend(before);
                        all.extend(clauses(part));
                    }
                }
            }
            all.extend(run);
            all
        }
        HirKind::Alternation(parts) => {
            // Of each branch its best list; the union must stay small.
            let mut union = Vec::new();
            for part in parts {
                let lists = clauses(part);
                let shortest = |texts: &Vec<String>| texts.iter().map(String::len).min().unwrap_or(0);
                let Some(best) = lists.into_iter().max_by_key(shortest) else { return Vec::new() };
                union.extend(best);
            }
            union.sort();
            union.dedup();
            if union.len() <= ALTERNATIVES_MAX { vec![union] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn required_texts() {
        for (pattern, ignore_case, expect) in [
            ("connection reset", false, "[[\"connection reset\"]]"),
            ("^GET /api/v[12]", false, "[[\"get /api/v1\", \"get /api/v2\"]]"),
            ("foo.*bar", false, "[[\"foo\"], [\"bar\"]]"),
            ("(foo|ba[rz])+", false, "[[\"bar\", \"baz\", \"foo\"]]"),
            ("foo|.*", false, "[]"),
            ("kill", true, "[[\"kill\"]]"),
            ("so", true, "[[\"so\", \"ſo\"]]"),
            ("[^x]y", false, "[]"),
            ("(ab)?c", false, "[]"),
            ("ab{2}c", false, "[[\"abbc\"]]"),
            ("a\\bb-c", false, "[[\"ab-c\"]]"),
        ] {
            assert_eq!(format!("{:?}", required(pattern, ignore_case)), expect, "{pattern}");
        }
    }

    #[test]
    fn common_texts() {
        for (texts, expect) in [
            (&["code 1", "code 134", "code 2"][..], "code "),
            (&["aß", "aé"], "a"),
            (&["éa", "ßa"], "a"),
            (&["xab", "yab"], "ab"),
            (&["one"], "one"),
            (&["a", "b"], ""),
        ] {
            assert_eq!(common(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>()), expect, "{texts:?}");
        }
    }

    #[test]
    fn too_large_is_an_error() {
        let error = compile("(\\p{L}{100}){100}", false).map(|_| ()).map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("4194304 bytes")));
        assert!(compile("(", false).is_err());
    }

    proptest! {
        #[test]
        fn what_is_required_stands_in_what_matches(
            pattern in "([abkS]|[bk]{1,2}|\\(a\\|b[ks]\\)|\\[ks\\]|\\(\\?i:sk\\)|\\.|a\\*|b\\+){1,5}",
            text in "[aAbBkKsSſK]{0,8}",
            ignore_case: bool,
        ) {
            let Ok(regex) = compile(&pattern, ignore_case) else { return Ok(()) };
            if regex.is_match(text.as_bytes()) {
                let folded = fold(&text);
                for texts in required(&pattern, ignore_case) {
                    prop_assert!(texts.iter().any(|t| folded.contains(t.as_str())), "{} {} {:?}", pattern, text, texts);
                }
            }
        }
    }
}
