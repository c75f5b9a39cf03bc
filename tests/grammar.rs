//! Holds parser, printer, grammar, corpus and user's page together.

#[path = "grammar/arbitrary.rs"]
mod arbitrary;
#[path = "grammar/corpus.rs"]
mod corpus;
#[path = "grammar/ebnf.rs"]
mod ebnf;
#[path = "grammar/page.rs"]
mod page;

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
    named(&"| limit 1".repeat(limits::PIPES_MAX + 1), "PIPES_MAX");
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

#[test]
fn examples_of_the_page_parse() {
    let examples = page::examples();
    assert!(examples.len() > 100, "{examples:?}");
    for example in examples {
        if let Err(e) = query::parse(&example) {
            panic!("docs/query-language.md: {example}\n{e}");
        }
    }
}

#[test]
fn limits_of_the_page_are_those_of_the_code() {
    let code: Vec<(String, usize)> = limits::LIMITS.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    assert_eq!(page::limits(), code);
}

/// The page names everything that comes later, and the parser refuses it by that name.
#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let page = include_str!("../docs/query-language.md");
    for name in "seq i contains_all contains_any contains_common_case equals_common_case json_array_contains_any \
                 pattern_match len_range string_range eq_field lt_field le_field value_type"
        .split_whitespace()
    {
        assert!(page.contains(&format!("`{name}()`")), "{name}");
        for text in [format!("{name}(a, b)"), format!("f:{name}(\"a\")"), format!("f:({name}(\"a\"))")] {
            let message = query::parse(&text).expect_err(&text).message;
            assert_eq!(message, format!("`{name}()` is not supported yet"));
        }
    }
    for name in "copy rename first last rare count timechart hits facets field_names field_values extract extract_regexp \
                 unpack_json unpack_logfmt unpack_syslog unpack_words unroll replace replace_regexp format math len hash \
                 json_array_len pack_json pack_logfmt collapse_nums decolorize drop_empty_fields sample join union \
                 stream_context blocks_count block_stats patterns explain"
        .split_whitespace()
    {
        assert!(page.contains(&format!("`{name}`")), "{name}");
        for text in [format!("* | {name}"), format!("* | {name} a b"), format!("* | {name} by (a)")] {
            let message = query::parse(&text).expect_err(&text).message;
            assert_eq!(message, format!("the pipe `{name}` is not supported yet"));
        }
    }
    for name in
        "count_empty count_uniq_hash stddev histogram rate rate_sum row_any row_min row_max sum_len json_values \
                 first last"
            .split_whitespace()
    {
        assert!(page.contains(&format!("`{name}`")), "{name}");
        let message = query::parse(&format!("* | stats {name}(a)")).expect_err(name).message;
        assert_eq!(message, format!("the stats function `{name}` is not supported yet"));
    }
}
