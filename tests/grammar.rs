//! Holds parser, printer, grammar, corpus and user's page together.

#[path = "grammar/arbitrary.rs"]
mod arbitrary;
#[path = "grammar/corpus.rs"]
mod corpus;
#[path = "grammar/ebnf.rs"]
mod ebnf;

use duramen::query::{self, limits};
use ebnf::{Grammar, Random};
use proptest::prelude::*;

fn grammar() -> Grammar {
    Grammar::read(include_str!("../grammar/duramen.ebnf"))
}

#[test]
fn corpus_replays() {
    corpus::replay();
}

#[test]
fn sentences_of_the_grammar_parse() {
    let grammar = grammar();
    let mut random = Random(1);
    let mut failures = Vec::new();
    for round in 0..6_000 {
        let sentence = grammar.draw("Query", &mut random, 8 + round % 16);
        match query::parse(&sentence) {
            Err(e) => failures.push(format!("{sentence:?}\n{e}")),
            Ok(parsed) => {
                let canonical = parsed.to_string();
                assert_eq!(query::parse(&canonical).as_ref(), Ok(&parsed), "{sentence:?} printed as {canonical:?}");
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} fail, such as\n{}",
        failures.len(),
        failures[..failures.len().min(12)].join("\n\n")
    );
}

#[test]
fn canonical_texts_are_sentences_of_the_grammar() {
    let grammar = grammar();
    let wrong: Vec<String> = corpus::cases()
        .iter()
        .filter_map(|case| query::parse(&case.text).ok())
        .map(|parsed| parsed.to_string())
        .filter(|canonical| !grammar.derives("Query", canonical))
        .collect();
    assert!(wrong.is_empty(), "{} are not derivable: {wrong:#?}", wrong.len());
}

/// What holds of every text: nothing panics, a tree's print reads back as the tree, a span lies in the text.
fn check_any_text(text: &str) -> Result<(), TestCaseError> {
    let end = query::tokens(text).iter().try_fold(0, |at, token| (token.span.start == at).then_some(token.span.end));
    prop_assert_eq!(end, Some(text.len()), "tokens cover the text");
    match query::parse(text) {
        Ok(parsed) => {
            let canonical = parsed.to_string();
            let again = query::parse(&canonical);
            prop_assert_eq!(again.as_ref(), Ok(&parsed), "printed as {:?}", canonical);
        }
        Err(e) => {
            prop_assert!(text.get(e.span.clone()).is_some(), "{:?} of {:?}", e.span, text);
            prop_assert!(!e.to_string().is_empty() && serde_json::to_string(&e).is_ok());
        }
    }
    Ok(())
}

/// A corpus query with some of its characters dropped, doubled, swapped or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<String> = corpus::cases().into_iter().map(|case| case.text).collect();
    let edit = (
        any::<prop::sample::Index>(),
        0..4u8,
        prop::sample::select("()[]{}|:\"'`*?~^-+!=<>&#\\/, aé😀\0\n0".chars().collect::<Vec<_>>()),
    );
    (prop::sample::select(texts), prop::collection::vec(edit, 1..5)).prop_map(|(text, edits)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, kind, new) in edits {
            let at = at.index(chars.len() + 1);
            match kind {
                0 if at < chars.len() => drop(chars.remove(at)),
                1 if at < chars.len() => chars.insert(at, chars[at]),
                2 if at + 1 < chars.len() => chars.swap(at, at + 1),
                _ => chars.insert(at, new),
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_print_and_read_back(tree in arbitrary::query()) {
        let text = tree.to_string();
        let again = query::parse(&text);
        prop_assert_eq!(again.as_ref().map_err(ToString::to_string), Ok(&tree), "printed as {}", text);
    }

    #[test]
    fn any_text_is_a_query_or_an_error(text in any::<String>()) {
        check_any_text(&text)?;
    }

    #[test]
    fn marks_in_any_order(text in "[-()\\[\\]{}|:\"'`*?~^+!=<>&#\\\\/, ab1é\n]{0,24}") {
        check_any_text(&text)?;
    }

    #[test]
    fn mutated_queries(text in mutated()) {
        check_any_text(&text)?;
    }
}

#[test]
fn limits_are_named() {
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    let depth = limits::NESTING_DEPTH_MAX;
    assert!(query::parse(&deep(depth)).is_ok());
    assert!(query::parse(&format!("{}a", "!".repeat(depth))).is_ok());
    let named = |text: &str, name: &str| {
        let message = query::parse(text).expect_err(name).message;
        assert!(message.contains(name), "{message}");
    };
    for open in ["(", "!", "NOT ", "-(", "!("] {
        named(&open.repeat(limits::QUERY_BYTES_MAX / 8), "NESTING_DEPTH_MAX");
    }
    named(&deep(depth + 1), "NESTING_DEPTH_MAX");
    named(&format!("a:{}", "(".repeat(1_000)), "NESTING_DEPTH_MAX");
    named(&format!("a:{}", "!(".repeat(1_000)), "NESTING_DEPTH_MAX");
    named(&format!("* | stats count() if {}", "(".repeat(1_000)), "NESTING_DEPTH_MAX");
    // What is at the limit still prints as something that reads back.
    let nested = (0..depth).fold("a!=b".to_owned(), |inner, i| {
        if i % 2 == 0 { format!("(x OR {inner})") } else { format!("(y AND {inner})") }
    });
    if let Ok(parsed) = query::parse(&nested) {
        assert_eq!(query::parse(&parsed.to_string()), Ok(parsed));
    }
    named(&"a ".repeat(limits::CLAUSES_MAX + 1), "CLAUSES_MAX");
    named(&format!("a:in({}1)", "1,".repeat(limits::LIST_LENGTH_MAX)), "LIST_LENGTH_MAX");
    named(&"x".repeat(limits::QUERY_BYTES_MAX + 1), "QUERY_BYTES_MAX");
    named(&format!("{}:({})", "n".repeat(2_000), "a ".repeat(1_000)), "QUERY_BYTES_MAX");
    named(&format!("/{}/", "x".repeat(limits::REGEX_BYTES_MAX + 1)), "REGEX_BYTES_MAX");
    named("/(a{1000}){1000}/", "REGEX_COMPILED_BYTES_MAX");
    named(&"/x/ ".repeat(limits::REGEX_COUNT_MAX + 1), "REGEX_COUNT_MAX");
    named(
        &"*".to_owned().repeat(1).chars().chain("| limit 1".repeat(limits::PIPES_MAX + 1).chars()).collect::<String>(),
        "PIPES_MAX",
    );
    named(&format!("{}:x", "n".repeat(limits::NAME_BYTES_MAX + 1)), "NAME_BYTES_MAX");
    named("\"a b\"~1001", "NEAR_WORDS_MAX");
    named("word~3", "FUZZY_EDITS_MAX");
}

/// Time grows with the text and not with its square: each of these is as long as a query may be.
#[test]
fn long_texts_take_linear_time() {
    let n = limits::QUERY_BYTES_MAX;
    let started = std::time::Instant::now();
    for part in [
        "a ", "(", "/a ", "/\\/ ", "\"a\" ", "a:b ", "a IN (", "a:[1 ", "#\n", "* ", "a|", "{a=b ", "not ", "a,", "\\",
        "é", "' ",
    ] {
        for end in ["", ")", "/", "\""] {
            let text: String = part.repeat(n / part.len() - 1) + end;
            drop(query::parse(&text));
            drop(query::tokens(&text));
        }
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}
