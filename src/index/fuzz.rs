//! Body of the fuzz target: arbitrary bytes as a bundle.

use crate::format::bundle::{Bundle, Tokenizer};

/// Decodes bytes as a bundle, and asks what was decoded.
pub fn fuzz_bundle(data: &[u8]) {
    let Ok(Some(bundle)) = Bundle::decode(data) else { return };
    let mut tokenizer = Tokenizer::default();
    for block in 0..bundle.header.blocks.min(16) {
        for text in ["timeout 10.0.0.1", "550e8400-e29b-41d4-a716-446655440000", "é", "req_0123456789abcdef"] {
            let _ = bundle.first_missing(block, text, &mut tokenizer);
        }
    }
    if let Some(list) = &bundle.list {
        let mut words = Vec::new();
        let walked = list.for_each(|word, blocks| words.push((word.to_vec(), blocks)));
        assert!(walked.is_ok(), "a list that was decoded can be walked");
        for (word, blocks) in words.iter().take(64) {
            assert_eq!(list.get(word), Ok(*blocks), "what a list holds, it finds");
        }
    }
}
