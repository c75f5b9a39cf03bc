//! The body of the fuzz target for queries, here so that the tests can replay its corpus.

/// Reads any bytes as a query, and checks what the language promises of every text.
///
/// # Panics
///
/// Where a promise is broken: that is what a fuzzer looks for.
pub fn fuzz_query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut end = 0;
    for token in super::tokens(&text) {
        assert_eq!(token.span.start, end, "tokens leave no gap");
        end = token.span.end;
        assert!(text.is_char_boundary(end), "a token ends between characters");
    }
    assert_eq!(end, text.len(), "tokens reach the end");
    match super::parse(&text) {
        Ok(query) => {
            let canonical = query.to_string();
            let again = super::parse(&canonical);
            assert_eq!(again.as_ref(), Ok(&query), "the canonical text reads back: {canonical}");
            assert_eq!(again.map(|q| q.to_string()).as_ref(), Ok(&canonical), "printing twice changes nothing");
            drop(query.to_json());
        }
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some(), "the span lies in the text: {error:?}");
            drop((error.to_string(), serde_json::to_string(&error)));
        }
    }
}

#[cfg(test)]
mod tests {
    /// The seeds of the fuzz target hold all the time, not only when somebody fuzzes.
    #[test]
    fn corpus_holds() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/query");
        let mut count = 0;
        for entry in std::fs::read_dir(seeds).expect("fuzz/corpus/query is there") {
            super::fuzz_query(&std::fs::read(entry.expect("an entry").path()).expect("a seed can be read"));
            count += 1;
        }
        assert!(count >= 30, "{count} seeds");
    }
}
