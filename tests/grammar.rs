//! Holds parser, printer, grammar, corpus and user's page together.

#[path = "grammar/corpus.rs"]
mod corpus;
#[path = "grammar/ebnf.rs"]
mod ebnf;

use duramen::query;
use ebnf::{Grammar, Random};

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
